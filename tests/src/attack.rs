//! Attack files: reading, running over the wire, judging by canary.
//!
//! Every attack stands below a line `-- id: X | control: Y | expect: deny|masked|limited|same-as-plain | note`.
//! Flags in the note, in square brackets: `multi` (the block is one simple Query), `dos`, `pg16+` …, `pg15only`,
//! `contrib:NAME`, `overgrant`, `user:ROLE`, `infer` (no canary can show: the answer must not depend on hidden values),
//! `reset` (changes the role; put back afterwards), `native` (the server itself refuses), `syntaxok`.
//!
//! Of the project's own only: `rw`, `ddl` (by a role of that capability), `super` (only a superuser's control run can
//! do the harm), `varies` (the answer holds a time, a number of a process or the like). A line `-- as: plain` or
//! `-- as: dba` hands the next statements to somebody else, `-- as: agent` back; `-- copy: …` is what the next COPY
//! FROM STDIN reads.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex::bytes::Regex;

use crate::sql;
use crate::wire::{SqlError, Wire};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Deny,
    Masked,
    Limited,
    SameAsPlain,
}

#[derive(Clone, Debug)]
pub struct Attack {
    pub id: String,
    pub control: String,
    pub expect: Expect,
    pub flags: Vec<String>,
    pub sql: String,
    pub file: String,
}

impl Attack {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// The value of `name:value`.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags
            .iter()
            .find_map(|f| f.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Do others say something in between?
    pub fn has_turns(&self) -> bool {
        self.sql.lines().any(|line| line.starts_with("-- as: "))
    }

    pub fn runs_on(&self, version: u32) -> bool {
        self.flags.iter().all(|flag| {
            let Some(rest) = flag.strip_prefix("pg") else {
                return true;
            };
            if let Some(least) = rest.strip_suffix('+').and_then(|v| v.parse::<u32>().ok()) {
                version >= least
            } else if let Some(only) = rest
                .strip_suffix("only")
                .and_then(|v| v.parse::<u32>().ok())
            {
                version == only
            } else {
                true
            }
        })
    }

    fn parts(&self, sql: &str) -> Vec<String> {
        if self.has("multi") {
            vec![sql.to_owned()]
        } else {
            sql::split(sql)
        }
    }
}

/// All attacks of a directory; 00_ to 02_ are set-up.
pub fn read_dir(dir: &Path) -> Vec<Attack> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .filter(|path| {
            !["00_", "01_", "02_"].iter().any(|p| {
                path.file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(p))
            })
        })
        .collect();
    files.sort();
    let mut attacks = Vec::new();
    for file in files {
        let name = file
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&std::fs::read(&file).expect("the file can be read"))
            .into_owned();
        attacks.extend(read(&text, &name));
    }
    for (i, attack) in attacks.iter().enumerate() {
        assert!(
            !attacks[..i].iter().any(|other| other.id == attack.id),
            "two attacks have the id {}",
            attack.id
        );
    }
    attacks
}

/// Panics on a header it cannot read: an attack that silently drops out would count as passed.
pub fn read(text: &str, file: &str) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("-- id:") {
            let fields: Vec<&str> = header.splitn(4, '|').map(str::trim).collect();
            let [id, control, expect, note] = fields[..] else {
                panic!("{file}: header '{line}'")
            };
            let value = |field: &str, name: &str| {
                field
                    .strip_prefix(name)
                    .unwrap_or_else(|| panic!("{file}: {name} missing in '{line}'"))
                    .trim()
                    .to_owned()
            };
            let expect = match value(expect, "expect:").as_str() {
                "deny" => Expect::Deny,
                "masked" => Expect::Masked,
                "limited" => Expect::Limited,
                "same-as-plain" => Expect::SameAsPlain,
                other => panic!("{file}: expect '{other}' in '{line}'"),
            };
            let flags = note
                .split('[')
                .skip(1)
                .filter_map(|rest| rest.split_once(']'))
                .map(|(flag, _)| flag.to_owned());
            attacks.push(Attack {
                id: id.to_owned(),
                control: value(control, "control:"),
                expect,
                flags: flags.collect(),
                sql: String::new(),
                file: file.to_owned(),
            });
        } else if let Some(attack) = attacks.last_mut() {
            attack.sql.push_str(line);
            attack.sql.push('\n');
        }
    }
    attacks
}

/// What an attack got.
#[derive(Debug, Default)]
pub struct Outcome {
    pub errors: Vec<SqlError>,
    pub notices: usize,
    pub rows: usize,
    pub most_rows: usize,
    pub tags: Vec<String>,
    /// Rows, COPY data, errors, notices, notifications: everything since the start of the attack.
    pub bytes: Vec<u8>,
    pub answers: Vec<Vec<Vec<String>>>,
    pub closed: bool,
    pub elapsed: Duration,
}

/// Runs the block in this session.
pub fn run(
    attack: &Attack,
    sql: &str,
    wire: &mut Wire,
    extended: bool,
    patience: Duration,
) -> Outcome {
    run_among(attack, sql, wire, extended, patience, &mut |who| {
        panic!("{}: nobody called '{who}' here", attack.id)
    })
}

/// Runs the block in this session, parts of it in sessions of others, of which nothing is kept.
pub fn run_among(
    attack: &Attack,
    sql: &str,
    wire: &mut Wire,
    extended: bool,
    patience: Duration,
    others: &mut dyn FnMut(&str) -> Wire,
) -> Outcome {
    let mut outcome = Outcome::default();
    wire.set_patience(patience);
    let from = wire.received.len();
    let start = Instant::now();
    for (who, text) in turns(sql) {
        if who == "agent" {
            run_turn(attack, &text, wire, extended, &mut outcome);
        } else {
            let mut other = others(&who);
            for part in attack.parts(&text) {
                other.simple(&part);
            }
        }
        if outcome.closed {
            break;
        }
    }
    outcome.elapsed = start.elapsed();
    outcome.bytes = wire.received[from..].to_vec();
    outcome
}

/// Who says what, by the lines `-- as: …`.
fn turns(sql: &str) -> Vec<(String, String)> {
    let mut turns = vec![("agent".to_owned(), String::new())];
    for line in sql.lines() {
        if let Some(who) = line.strip_prefix("-- as: ") {
            turns.push((who.trim().to_owned(), String::new()));
        } else if let Some((_, text)) = turns.last_mut() {
            text.push_str(line);
            text.push('\n');
        }
    }
    turns
}

fn run_turn(attack: &Attack, sql: &str, wire: &mut Wire, extended: bool, outcome: &mut Outcome) {
    if let Some(data) = sql.lines().find_map(|line| line.strip_prefix("-- copy: ")) {
        wire.copy_in = data.replace("\\t", "\t").replace("\\n", "\n").into_bytes();
    }
    for part in attack.parts(sql) {
        let answer = if extended && !attack.has("multi") {
            wire.extended(&part, &[])
        } else {
            wire.simple(&part)
        };
        outcome.rows += answer.rows.len() + answer.copied.iter().filter(|b| **b == b'\n').count();
        outcome.most_rows = outcome.most_rows.max(answer.rows.len());
        outcome.notices += answer.notices.len();
        outcome.answers.push(answer.texts());
        outcome.tags.extend(answer.tags);
        outcome.errors.extend(answer.errors);
        if answer.closed {
            outcome.closed = true;
            break;
        }
    }
}

/// Tokens that must not reach an agent, in any spelling.
pub struct Canaries(Regex);

impl Canaries {
    /// `words` are plain texts for which hex, base64 and reversed forms count too.
    pub fn new(pattern: &str, words: &[&str]) -> Self {
        let mut alternatives = vec![pattern.to_owned()];
        for word in words {
            let hex = |bytes: &mut dyn Iterator<Item = u8>| -> String {
                bytes.map(|b| format!("{b:02x}")).collect()
            };
            alternatives.push(hex(&mut word.bytes()));
            alternatives.push(hex(&mut word.bytes().rev()));
            // As `bytea` has it in the escape format, and as a list of codes.
            alternatives.push(
                word.bytes()
                    .map(|b| b.to_string())
                    .collect::<Vec<_>>()
                    .join("[, ]{1,2}"),
            );
            alternatives.push(regex::escape(&word.chars().rev().collect::<String>()));
            alternatives.extend(
                base64_forms(word)
                    .iter()
                    .map(|form| format!("(?-i:{})", regex::escape(form))),
            );
        }
        Self(Regex::new(&format!("(?i){}", alternatives.join("|"))).expect("a valid pattern"))
    }

    /// The first canary that the attacker did not type.
    pub fn leak(&self, bytes: &[u8], typed: &str) -> Option<String> {
        let typed = typed.to_lowercase();
        self.0
            .find_iter(bytes)
            .map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned())
            .find(|found| !typed.contains(&found.to_lowercase()))
    }
}

/// What a word looks like inside base64, for each of its three alignments, without the characters at the edges.
fn base64_forms(word: &str) -> Vec<String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..3)
        .map(|lead| {
            let mut bits = vec![0_u8; lead];
            bits.extend(word.bytes());
            let all: Vec<char> = bits
                .chunks(3)
                .flat_map(|chunk| {
                    let n = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b))
                        << (8 * (3 - chunk.len()));
                    (0..=chunk.len())
                        .map(move |i| char::from(ALPHABET[(n >> (18 - 6 * i) & 63) as usize]))
                })
                .collect();
            let skip = (lead * 8).div_ceil(6);
            let end = (lead + word.len()) * 8 / 6;
            all[skip..end].iter().collect()
        })
        .filter(|form: &String| form.len() >= 6)
        .collect()
}

/// The limits that `limited` attacks are judged by.
pub struct Limits {
    pub rows: usize,
    pub bytes: usize,
    pub time: Duration,
}

/// Ok, or why it is an escape (or, for `same-as-plain`, an undue refusal).
pub fn judge(
    attack: &Attack,
    typed: &str,
    outcome: &Outcome,
    canaries: &Canaries,
    limits: &Limits,
) -> Result<(), String> {
    if let Some(leak) = canaries.leak(&outcome.bytes, typed) {
        return Err(format!("LEAK of {leak}"));
    }
    if outcome.errors.iter().any(|e| e.code == "SILENT") {
        return Err(SILENT.into());
    }
    if outcome.closed && outcome.errors.is_empty() && attack.id != "AU-08" {
        return Err("CRASH: the connection was lost without an error".into());
    }
    if let Some(error) = outcome
        .errors
        .iter()
        .find(|e| e.code == "XX000" || e.code == "XX001")
    {
        return Err(format!("INTERNAL: {error}"));
    }
    match attack.expect {
        Expect::Deny if outcome.errors.is_empty() => Err("ESCAPE: accepted".into()),
        Expect::Limited if outcome.rows > limits.rows => {
            Err(format!("ESCAPE: {} rows", outcome.rows))
        }
        Expect::Limited if outcome.bytes.len() > limits.bytes => {
            Err(format!("ESCAPE: {} bytes", outcome.bytes.len()))
        }
        Expect::Limited if outcome.elapsed > limits.time => {
            Err(format!("ESCAPE: took {:?}", outcome.elapsed))
        }
        Expect::SameAsPlain => match outcome.errors.first() {
            Some(error) => Err(format!("REFUSED: {error}")),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Runs and judges. What only took too long gets more runs: a busy machine is not what is tested, and what takes too
/// long by itself does so in each of them.
pub fn run_and_judge(
    attack: &Attack,
    canaries: &Canaries,
    limits: &Limits,
    mut run: impl FnMut() -> Outcome,
) -> (Outcome, Result<(), String>) {
    let mut runs = 0;
    loop {
        let outcome = run();
        let verdict = judge(attack, &attack.sql, &outcome, canaries, limits);
        let slow = |why: &String| why.starts_with("ESCAPE: took") || why.starts_with(SILENT);
        runs += 1;
        if runs == 5 || !verdict.as_ref().is_err_and(slow) {
            return (outcome, verdict);
        }
    }
}

const SILENT: &str = "ESCAPE: no answer in time";

/// By its tag: a statement after which nothing but its own session is different.
pub fn changes_nothing(tag: &str) -> bool {
    const WORDS: &[&str] = &[
        "SELECT",
        "SHOW",
        "BEGIN",
        "START",
        "COMMIT",
        "ROLLBACK",
        "SET",
        "RESET",
        "EXPLAIN",
        "FETCH",
        "MOVE",
        "DECLARE",
        "CLOSE",
        "PREPARE",
        "DEALLOCATE",
        "DISCARD",
        "SAVEPOINT",
        "RELEASE",
        "LISTEN",
        "NOTIFY",
        "UNLISTEN",
    ];
    let word = tag.split(' ').next().unwrap_or_default();
    WORDS.contains(&word) && !tag.starts_with("SELECT INTO")
}

/// Did the statement do its harm here, without a policy?
pub fn harmful(
    attack: &Attack,
    typed: &str,
    outcome: &Outcome,
    canaries: &Canaries,
    limits: &Limits,
) -> Result<(), String> {
    if attack.has("native") || attack.has("dos") {
        return Ok(());
    }
    let failed = || {
        outcome
            .errors
            .first()
            .map(|e| e.to_string())
            .unwrap_or_else(|| "connection lost".into())
    };
    match attack.expect {
        // The caller compares two worlds.
        Expect::Masked if attack.has("infer") => Ok(()),
        Expect::Masked if canaries.leak(&outcome.bytes, typed).is_some() => Ok(()),
        Expect::Masked => Err("no canary shows".into()),
        Expect::Limited
            if outcome.rows > limits.rows
                || outcome.bytes.len() > limits.bytes
                || outcome.elapsed > limits.time =>
        {
            Ok(())
        }
        Expect::Limited => Err("stays within the limits".into()),
        Expect::Deny | Expect::SameAsPlain if outcome.errors.is_empty() => Ok(()),
        // An error that carries a canary is harm too.
        Expect::Deny if canaries.leak(&outcome.bytes, typed).is_some() => Ok(()),
        Expect::Deny | Expect::SameAsPlain => Err(failed()),
    }
}

/// SQL that writes the hidden values of one of the two worlds of `tests/attacks/field.sql`.
pub fn hidden_values(other: bool) -> String {
    let values = [
        ("@digits@", "0123456789", "abcdefghij"),
        ("@turned@", "0123456789", "9876543210"),
        ("@letters@", "cikn", "nkic"),
        ("@hidden@", "hidden", "nothid"),
        ("@vault@", "vault", "tluav"),
        ("@n@", "0", "1"),
    ];
    values.iter().fold(
        include_str!("../attacks/field_twin.sql").to_owned(),
        |text, (name, here, there)| text.replace(name, if other { there } else { here }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_in_every_spelling() {
        let canaries = Canaries::new("QUAGGA", &["QUAGGA"]);
        for text in [
            "a quagga b",
            "515541474741",
            "AGGAUQ",
            "UVVBR0dB",
            "eFFVQUdHQQ==",
            "eHhRVUFHR0E=",
            "414747415551",
            "{81,85,65,71,71,65}",
        ] {
            assert!(canaries.leak(text.as_bytes(), "").is_some(), "{text}");
        }
        assert!(canaries.leak(b"QUAGGA", "SELECT 'quagga'").is_none());
        assert!(canaries.leak(b"zebra", "").is_none());
    }

    #[test]
    fn headers() {
        let attacks = read(
            "-- id: A-1 | control: mask | expect: masked | a note [pg16+] [user:x]\nSELECT 1;\n",
            "f",
        );
        assert_eq!(
            (
                attacks.len(),
                attacks[0].flag("user"),
                attacks[0].runs_on(15),
                attacks[0].runs_on(17)
            ),
            (1, Some("x"), false, true)
        );
    }
}
