//! Statements that real clients were seen to send: `fixtures/clients/*.sql`, written by
//! `clients/record.py`.

use std::fs;

use crate::Bench;
use crate::cluster::project_root;
use crate::wire::{Answer, Wire};

pub struct Recorded {
    /// File and number, for messages.
    pub origin: String,
    pub text: String,
    pub parameters: Vec<Option<String>>,
}

impl Recorded {
    /// In a transaction of its own, which is rolled back; with parameters over the extended protocol.
    pub fn send(&self, wire: &mut Wire) -> Answer {
        wire.simple("BEGIN");
        let answer = if self.parameters.is_empty() {
            wire.simple(&self.text)
        } else {
            let values: Vec<Option<&str>> = self.parameters.iter().map(Option::as_deref).collect();
            wire.extended(&self.text, &values)
        };
        wire.simple("ROLLBACK");
        answer
    }
}

/// Every recorded statement, with the bench's names and numbers filled in.
pub fn statements(bench: &Bench) -> Vec<Recorded> {
    let place = project_root().join("tests/fixtures/clients");
    let mut files: Vec<_> = fs::read_dir(&place)
        .unwrap_or_else(|e| panic!("{}: {e}", place.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let client = file.file_stem().unwrap_or_default().to_string_lossy();
        let script = fs::read_to_string(&file).expect("a recording is text");
        for (number, part) in script.split("-- next\n").skip(1).enumerate() {
            let part = numbers(bench, &bench.fill(part));
            let (parameters, text) = match part.strip_prefix("-- parameters: ") {
                Some(rest) => {
                    let (list, text) = rest.split_once('\n').expect("a statement follows");
                    (values(list), text.to_owned())
                }
                None => (Vec::new(), part),
            };
            all.push(Recorded {
                origin: format!("{client} {}", number + 1),
                text,
                parameters,
            });
        }
    }
    all
}

/// `@oid:shop.orders@` into the number of that relation or schema.
fn numbers(bench: &Bench, text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@oid:") {
        let (name, after) = after.split_once('@').expect("@oid:NAME@");
        let oid = bench.value(&format!(
            "SELECT coalesce(to_regclass('{name}')::oid, to_regnamespace('{name}')::oid, 0)"
        ));
        out.push_str(before);
        out.push_str(&oid);
        rest = after;
    }
    out + rest
}

/// `'a', NULL, 'it''s'`
fn values(list: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = list;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("NULL") {
            values.push(None);
            rest = after;
        } else {
            let mut value = String::new();
            rest = rest.strip_prefix('\'').expect("a quoted value");
            loop {
                let (part, after) = rest.split_once('\'').expect("the quote ends");
                value.push_str(part);
                rest = after;
                match rest.strip_prefix('\'') {
                    Some(after) => {
                        value.push('\'');
                        rest = after;
                    }
                    None => break,
                }
            }
            values.push(Some(value));
        }
        rest = rest.strip_prefix(", ").unwrap_or(rest);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn parameters_are_read() {
        let some = |v: &str| Some(v.to_owned());
        assert_eq!(
            values("'a', NULL, 'it''s, b'"),
            [some("a"), None, some("it's, b")]
        );
        assert_eq!(values("''"), [some("")]);
    }
}
