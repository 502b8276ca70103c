//! What came of the attacks, by corpus, version and protocol.

use std::collections::BTreeMap;
use std::sync::Mutex;

use cluster_tests::attack::{Attack, Expect};

#[derive(Default, Clone, Copy)]
struct Count {
    attacks: usize,
    passed: usize,
    /// One attack by one role over one protocol.
    simple: usize,
    extended: usize,
    escapes: usize,
    refusals: usize,
    /// Control runs without harm.
    inert: usize,
    /// Not met, and listed with the reason.
    known: usize,
}

static COUNTS: Mutex<BTreeMap<(&'static str, u32), Count>> = Mutex::new(BTreeMap::new());

fn count(corpus: &'static str, version: u32, change: impl FnOnce(&mut Count)) {
    let mut counts = COUNTS.lock().unwrap_or_else(|e| e.into_inner());
    change(counts.entry((corpus, version)).or_default());
}

/// Counts a control run that did no harm.
pub fn inert(corpus: &'static str, version: u32) {
    count(corpus, version, |c| c.inert += 1);
}

/// Is it listed that this attack is not met (on this version)?
fn known(id: &str, version: u32) -> bool {
    include_str!("../../attacks/known.txt").lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(id) && {
            let versions: Vec<&str> = words.collect();
            versions.is_empty() || versions.contains(&version.to_string().as_str())
        }
    })
}

/// Is it listed for any version?
pub fn known_anywhere(id: &str) -> bool {
    (15..=18).any(|version| known(id, version))
}

/// How one run went: by whom and over which protocol, and why it counts as an escape.
pub struct Verdict {
    pub how: String,
    pub extended: bool,
    pub result: Result<(), String>,
}

/// Counts the verdicts; panics with all of them if any is bad.
pub fn settle(corpus: &'static str, version: u32, attack: &Attack, verdicts: Vec<Verdict>) {
    let extended = verdicts.iter().filter(|v| v.extended).count();
    let simple = verdicts.len() - extended;
    let bad: Vec<String> = verdicts
        .into_iter()
        .filter_map(|v| Some(format!("{}: {}", v.how, v.result.err()?)))
        .collect();
    let known = known(&attack.id, version);
    let refusal = attack.expect == Expect::SameAsPlain && !bad.iter().any(|b| b.contains("LEAK"));
    count(corpus, version, |c| {
        c.attacks += 1;
        c.simple += simple;
        c.extended += extended;
        match (known, bad.is_empty(), refusal) {
            (true, ..) => c.known += 1,
            (_, true, _) => c.passed += 1,
            (.., true) => c.refusals += 1,
            _ => c.escapes += 1,
        }
    });
    assert!(
        !(known && bad.is_empty()),
        "{} does as expected now: take it off tests/attacks/known.txt",
        attack.id
    );
    assert!(
        known || bad.is_empty(),
        "{} ({}, {:?})\n  {}\n  {}",
        attack.id,
        attack.file,
        attack.expect,
        bad.join("\n  "),
        attack.sql.trim().replace('\n', "\n  ")
    );
}

/// One line for each corpus and version.
pub fn report() {
    for ((corpus, version), c) in
        std::mem::take(&mut *COUNTS.lock().unwrap_or_else(|e| e.into_inner()))
    {
        println!(
            "attacks {corpus} pg{version}: {} attacks, {} passed, {} got through, {} undue refusals, {} listed as not met; \
             runs: {} simple, {} extended; {} control runs without harm",
            c.attacks, c.passed, c.escapes, c.refusals, c.known, c.simple, c.extended, c.inert
        );
    }
}
