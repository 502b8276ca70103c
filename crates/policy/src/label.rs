//! The security label of a protected role: in which databases of the cluster a policy confines it.
//!
//! It is read at login, where no database is open yet. Text: a JSON object by database name,
//! `{"warehouse":{"oid":16384,"mode":"enforce"}}`, in ASCII whatever the names are, so that it means
//! the same in databases of every encoding. A database is found by its name or its number: the name
//! survives a dump, the number a change of name.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// One database of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub oid: u32,
    /// False where the policy only monitors.
    pub enforced: bool,
}

/// The databases in which a role is protected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Databases(BTreeMap<String, Entry>);

impl Databases {
    /// Reads a label; `None` when it is none of ours. An unknown mode is read as the strictest.
    #[must_use]
    pub fn parse(label: &str) -> Option<Self> {
        let Value::Object(object) = serde_json::from_str(label).ok()? else {
            return None;
        };
        object
            .into_iter()
            .map(|(name, entry)| {
                let oid = u32::try_from(entry.get("oid")?.as_u64()?).ok()?;
                let enforced = entry.get("mode")?.as_str()? != "monitor";
                Some((name, Entry { oid, enforced }))
            })
            .collect::<Option<_>>()
            .map(Self)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is the role confined anywhere, and not just watched?
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.0.values().any(|entry| entry.enforced)
    }

    /// The entry of a database, by name or number.
    #[must_use]
    pub fn find(&self, name: &str, oid: Option<u32>) -> Option<Entry> {
        self.0.get(name).copied().or_else(|| {
            let oid = oid?;
            self.0.values().copied().find(|entry| entry.oid == oid)
        })
    }

    /// Enters a database, in the place of what was known of that name or number.
    pub fn set(&mut self, name: &str, entry: Entry) {
        self.remove(name, entry.oid);
        self.0.insert(name.to_owned(), entry);
    }

    /// Takes a database out.
    pub fn remove(&mut self, name: &str, oid: u32) {
        self.0
            .retain(|known, entry| known != name && entry.oid != oid);
    }

    /// Keeps the databases of which `exists` says so.
    pub fn retain(&mut self, mut exists: impl FnMut(&str, u32) -> bool) {
        self.0.retain(|name, entry| exists(name, entry.oid));
    }

    /// The names of the databases, for people.
    #[must_use]
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        names.join(", ")
    }
}

impl fmt::Display for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, entry)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let mode = if entry.enforced { "enforce" } else { "monitor" };
            write!(
                f,
                r#"{comma}{}:{{"oid":{},"mode":"{mode}"}}"#,
                ascii(name),
                entry.oid
            )?;
        }
        f.write_str("}")
    }
}

/// A JSON string without any byte above 127.
fn ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 2);
    for c in Value::from(text).to_string().chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Entry = Entry {
        oid: 16384,
        enforced: true,
    };
    const WATCHED: Entry = Entry {
        oid: 5,
        enforced: false,
    };

    #[test]
    fn text_and_back() {
        let mut label = Databases::default();
        label.set("warehouse", HERE);
        assert_eq!(
            label.to_string(),
            r#"{"warehouse":{"oid":16384,"mode":"enforce"}}"#
        );
        label.set("caf\u{e9} \"\\\u{1f418}\n", WATCHED);
        assert!(label.to_string().is_ascii());
        assert_eq!(Databases::parse(&label.to_string()), Some(label));
        assert_eq!(
            Databases::parse(&Databases::default().to_string()),
            Some(Databases::default())
        );
    }

    #[test]
    fn what_is_no_label() {
        for text in [
            "",
            "unclassified",
            "[]",
            "{",
            r#"{"a":1}"#,
            r#"{"a":{"oid":-1,"mode":"enforce"}}"#,
            r#"{"a":{"oid":1}}"#,
            r#"{"a":{"oid":4294967296,"mode":"enforce"}}"#,
        ] {
            assert_eq!(Databases::parse(text), None, "{text}");
        }
        let unknown = Databases::parse(r#"{"a":{"oid":1,"mode":"later"}}"#);
        assert!(unknown.is_some_and(|label| label.enforced()));
    }

    #[test]
    fn by_name_or_number() {
        let mut label = Databases::default();
        label.set("warehouse", HERE);
        assert_eq!(label.find("warehouse", None), Some(HERE));
        assert_eq!(label.find("renamed", Some(16384)), Some(HERE));
        assert_eq!(label.find("postgres", Some(5)), None);
        assert_eq!(label.find("postgres", None), None);
        // A new name and a new number take the place of the old ones.
        label.set("renamed", HERE);
        assert_eq!(label.names(), "renamed");
        label.set("renamed", Entry { oid: 7, ..HERE });
        assert_eq!(label.names(), "renamed");
        label.set("other", WATCHED);
        assert_eq!(label.names(), "other, renamed");
        label.retain(|name, oid| name != "renamed" && oid == 5);
        assert!(!label.enforced());
        label.remove("whatever", 5);
        assert!(label.is_empty());
    }
}
