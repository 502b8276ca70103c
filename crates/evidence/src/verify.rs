//! The check itself: headers first, then rows against them.
//!
//! Headers are walked from the first block in question to the newest one, so that the newest
//! signature speaks for all of them. Rows are compared with the root of their block; which row it
//! is that differs, the mark stored beside it says (the first bytes of its leaf).

use crate::block::{self, Block, Kind};
use crate::head::Head;
use crate::key::Keys;
use crate::merkle::Tree;
use crate::record::{Row, Seal};
use crate::retention::{self, Keep};
use crate::{Hash, calendar, hex};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Length of the mark that is stored with a row.
pub const MARK: usize = 8;
const DAY: i64 = 86_400_000_000;
/// Findings beyond this are counted only.
const KEPT: usize = 100;

/// What is wrong, and from which row on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub seq: i64,
    pub text: String,
}

#[derive(Debug, Default)]
pub struct Findings {
    pub first: Vec<Finding>,
    pub count: u64,
    pub lowest_seq: Option<i64>,
}

impl Findings {
    pub fn add(&mut self, seq: i64, text: impl Into<String>) {
        let seq = seq.max(1);
        self.count += 1;
        self.lowest_seq = Some(self.lowest_seq.map_or(seq, |s| s.min(seq)));
        if self.first.len() < KEPT {
            let text = text.into();
            self.first.push(Finding { seq, text });
        }
    }

    #[must_use]
    pub fn intact(&self) -> bool {
        self.count == 0
    }
}

/// The rows that an erasure changed on a day: their number, and SHA-256 over the `seq` of each and
/// which groups of it are gone (1, 2, or 3 for both), in the order of `seq`.
#[derive(Clone, Default)]
struct Digest {
    first: i64,
    rows: u64,
    hash: sha2::Sha256,
}

impl Digest {
    fn add(&mut self, seq: i64, groups: u8) {
        use sha2::Digest as _;
        if self.rows == 0 {
            self.first = seq;
        }
        self.rows += 1;
        self.hash.update(seq.to_be_bytes());
        self.hash.update([groups]);
    }

    fn text(&self) -> String {
        use sha2::Digest as _;
        let hash: Hash = self.hash.clone().finalize().into();
        format!("{} {}", self.rows, hex::encode(&hash))
    }
}

/// What goes into the note of an erasure for each day; `rows` in the order of `seq`.
#[must_use]
pub fn erasure_digest(rows: impl Iterator<Item = (i64, u8)>) -> String {
    let mut digest = Digest::default();
    rows.for_each(|(seq, groups)| digest.add(seq, groups));
    digest.text()
}

/// Whose check this is.
#[derive(Debug, Clone)]
pub struct Trust<'k> {
    pub chain: [u8; 16],
    pub keys: &'k Keys,
}

/// Blocks before those of a range of days that a check of the range begins with: the hash of the first
/// one cannot be checked, that of the second can, and so nobody makes a block of the range one of
/// another day, or takes it away, unnoticed.
pub const LEAD: usize = 2;

/// First pass: headers in the order of their numbers, from any one to the newest.
pub struct Headers<'k> {
    trust: Trust<'k>,
    /// Each signature in this range is checked, and that of the last header.
    signed: RangeInclusive<i64>,
    /// Heads kept elsewhere, by number of their block.
    heads: BTreeMap<i64, Vec<Head>>,
    /// The last sequence number that a head of elsewhere vouches for.
    vouched: i64,
    /// The block that the walk is to begin with, if that is known.
    begin: Option<i64>,
    previous: Option<Block>,
    /// Days dropped, and the block that says so.
    dropped: BTreeMap<i32, i64>,
    /// How long days are kept, if that is known: it is where the walk begins with the first block, or has
    /// met one that says so.
    keep: Option<Option<Keep>>,
    /// Days that were dropped when it was not.
    unjudged: u64,
    /// The first row of each day that was not dropped.
    first_rows: BTreeMap<i32, i64>,
    /// What erasures say of their days.
    erased: BTreeMap<i64, BTreeMap<i32, String>>,
    /// Notes that erasures took away.
    blanked: BTreeSet<i64>,
    pub findings: Findings,
}

impl<'k> Headers<'k> {
    #[must_use]
    pub fn new(trust: Trust<'k>, signed: RangeInclusive<i64>) -> Self {
        Self {
            trust,
            signed,
            heads: BTreeMap::new(),
            vouched: 0,
            begin: None,
            previous: None,
            dropped: BTreeMap::new(),
            keep: None,
            unjudged: 0,
            first_rows: BTreeMap::new(),
            erased: BTreeMap::new(),
            blanked: BTreeSet::new(),
            findings: Findings::default(),
        }
    }

    /// The walk is to begin with this block: what is missing before the first that comes is found.
    pub fn begins_with(&mut self, number: i64) {
        self.begin = Some(number);
    }

    /// A head that was kept elsewhere. The walk has to begin at its block or before.
    pub fn kept(&mut self, head: Head) {
        if head.chain == self.trust.chain {
            self.heads.entry(head.number).or_default().push(head);
        } else {
            self.findings.add(
                1,
                format!("the head of block {} is of another chain", head.number),
            );
        }
    }

    fn check_signature(&mut self, block: &Block) {
        let text = match Head::of(block, &self.trust.chain).signed_by(self.trust.keys) {
            Some(true) => return,
            Some(false) => format!("the signature of block {} is false", block.number),
            None => format!(
                "block {} is signed by the key {}, which is not trusted",
                block.number,
                hex::encode(&block.key_id)
            ),
        };
        self.findings.add(block.first_seq, text);
    }

    /// The next header.
    pub fn header(&mut self, block: Block) {
        let number = block.number;
        let expected = match &self.previous {
            Some(p) => {
                if number != p.number + 1 {
                    let text = format!("blocks {} to {} are missing", p.number + 1, number - 1);
                    self.findings.add(p.last_seq + 1, text);
                    None
                } else {
                    if block.first_seq != p.last_seq + 1 {
                        let text = format!("block {number} does not follow the one before");
                        self.findings.add(p.last_seq + 1, text);
                    }
                    Some(p.hash)
                }
            }
            None if self.begin.is_some_and(|begin| number > begin) => {
                let begin = self.begin.unwrap_or(number);
                let text = format!("blocks {begin} to {} are missing", number - 1);
                // Nothing tells where the rows of the one before ended.
                let seq = if begin == 1 { 1 } else { block.first_seq - 1 };
                self.findings.add(seq, text);
                None
            }
            None if number == 1 => {
                self.keep = Some(None);
                Some(block::genesis(&self.trust.chain))
            }
            // Nothing before it was asked for: its signature stands for that.
            None => None,
        };
        let first = self.previous.is_none();
        let mut genuine = true;
        if expected.is_some_and(|previous| block.chained(&previous) != block.hash) {
            genuine = false;
            let text = format!("the hash of block {number} is not that of its contents");
            self.findings.add(block.first_seq, text);
        }
        if let Some(note) = &block.note
            && block::note_root(note) != block.root
        {
            genuine = false;
            let text = format!("the note of block {number} was changed");
            self.findings.add(block.first_seq, text);
        }
        if first || self.signed.contains(&number) {
            self.check_signature(&block);
        }
        for head in self.heads.remove(&number).unwrap_or_default() {
            if head.hash == block.hash {
                self.vouched = self.vouched.max(head.last_seq);
                if head.signed_by(self.trust.keys) == Some(false) {
                    let text = format!("the signature of the head of block {number} is false");
                    self.findings.add(block.first_seq, text);
                }
            } else {
                let text = format!("block {number} is not the one whose head was kept");
                self.findings.add(self.vouched + 1, text);
            }
        }
        if expected.is_none() {
            // Nobody knows what the blocks before it said.
            self.keep = None;
        } else if genuine {
            self.note(&block);
        }
        self.previous = Some(block);
    }

    fn note(&mut self, block: &Block) {
        match block.kind {
            Kind::Dropped => {
                self.judge(block);
                self.dropped.insert(block.day, block.number);
            }
            Kind::Retention => {
                // One that says nothing allows nothing.
                self.keep = Some(block.note.as_deref().and_then(retention::of_note).flatten());
            }
            Kind::Erased => {
                let (days, reads) = block.note.as_deref().map(erasure).unwrap_or_default();
                self.erased.insert(block.number, days);
                self.blanked.extend(reads);
            }
            Kind::Rows => {
                let first = self.first_rows.entry(block.day);
                first.or_insert(block.first_seq);
            }
            Kind::Reads => {}
        }
    }

    /// Whether a day was dropped because its time was over.
    fn judge(&mut self, block: &Block) {
        let first = self.first_rows.remove(&block.day);
        let allowed = match self.keep {
            None => {
                self.unjudged += 1;
                return;
            }
            Some(keep) => keep.is_some_and(|k| k.is_over(block.day, block.sealed_at)),
        };
        if !allowed {
            let text = format!(
                "block {} tells that {} was dropped, which no retention in the chain allows",
                block.number,
                calendar::date(block.day)
            );
            self.findings.add(first.unwrap_or(block.first_seq), text);
        }
    }

    /// After the newest header. `witness`: the newest head that anybody else knows of.
    #[must_use]
    pub fn end(mut self, witness: Option<Head>) -> Checked {
        if let Some(newest) = self.previous.clone() {
            self.check_signature(&newest);
        }
        let newest = self.previous.as_ref().map_or(0, |b| b.last_seq);
        let last = self.previous.as_ref().map_or(0, |b| b.number);
        for head in std::mem::take(&mut self.heads).into_values().flatten() {
            let text = format!("block {}, whose head was kept, is not there", head.number);
            let seq = if head.number > last {
                newest + 1
            } else {
                self.vouched + 1
            };
            self.findings.add(seq, text);
        }
        if let Some(w) = witness
            && w.chain == self.trust.chain
        {
            if w.number > last {
                let text = format!("blocks {} to {} are missing at the end", last + 1, w.number);
                self.findings.add(newest + 1, text);
            } else if let Some(b) = &self.previous
                && w.number == b.number
                && w.hash != b.hash
            {
                let text = format!("block {last} is not the one that was written");
                self.findings.add(b.first_seq, text);
            }
        }
        Checked {
            head: self.previous.map(|b| Head::of(&b, &self.trust.chain)),
            dropped: self.dropped,
            unjudged: self.unjudged,
            erased: self.erased,
            blanked: self.blanked,
            findings: self.findings,
        }
    }
}

/// What the note of an erasure says: `{"days": {"20778": "12 <hash>"}, "reads": [7], …}`, the days
/// since 1970 with what [`erasure_digest`] gives, the numbers of blocks that lost their note. The records of readers
/// that were in these go on in blocks of their own behind the erasure, which are checked like any other.
fn erasure(note: &str) -> (BTreeMap<i32, String>, Vec<i64>) {
    let note: serde_json::Value = serde_json::from_str(note).unwrap_or_default();
    let days = note.get("days").and_then(|d| d.as_object());
    let days = days
        .into_iter()
        .flatten()
        .filter_map(|(day, text)| Some((day.parse().ok()?, text.as_str()?.to_owned())));
    let reads = note.get("reads").and_then(|r| r.as_array());
    let reads = reads.into_iter().flatten().filter_map(|n| n.as_i64());
    (days.collect(), reads.collect())
}

/// What the headers said.
pub struct Checked {
    /// Of the newest block.
    pub head: Option<Head>,
    /// Days dropped, and the block that says so last.
    pub dropped: BTreeMap<i32, i64>,
    /// How many were when it is not known what the retention was.
    pub unjudged: u64,
    erased: BTreeMap<i64, BTreeMap<i32, String>>,
    blanked: BTreeSet<i64>,
    pub findings: Findings,
}

/// Second pass: blocks again, each followed by its rows.
pub struct Rows {
    checked: Checked,
    /// Days of which every row is looked at.
    whole: RangeInclusive<i32>,
    open: Option<Open>,
    erasures: BTreeMap<(i64, i32), Digest>,
    /// Days with a row that is known to be wrong: their erasures cannot come out right.
    bad_days: BTreeSet<i32>,
    /// Personal fields may have been kept back, as exports do that say so.
    pub closed: bool,
    pub tally: Tally,
}

/// What was looked at.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub rows: u64,
    /// The lowest and the highest `seq` of them.
    pub seqs: Option<(i64, i64)>,
    /// Start of the oldest and of the newest.
    pub times: Option<(i64, i64)>,
    /// Rows of which the groups "who" and "text" were erased.
    pub erased: [u64; 2],
    /// The same of what was kept back.
    pub withheld: [u64; 2],
}

impl Tally {
    fn add(&mut self, row: &Row) {
        let wider = |range: Option<(i64, i64)>, n: i64| {
            let (low, high) = range.unwrap_or((n, n));
            Some((low.min(n), high.max(n)))
        };
        self.rows += 1;
        self.seqs = wider(self.seqs, row.seq);
        self.times = wider(self.times, row.started_at);
        let groups = self.erased.iter_mut().zip(&mut self.withheld);
        for ((erased, withheld), seal) in groups.zip([row.who_seal, row.text_seal]) {
            match Seal::parse(seal) {
                Some(Seal::Erased(..)) => *erased += 1,
                Some(Seal::Closed(_)) => *withheld += 1,
                Some(Seal::Open(_)) | None => {}
            }
        }
    }
}

struct Open {
    block: Block,
    tree: Tree,
    /// Its rows are to be there.
    kept: bool,
    next: i64,
    /// Something is known to be wrong with it.
    damaged: bool,
    /// Rows whose mark is not that of their contents.
    marked: Vec<i64>,
}

impl Rows {
    #[must_use]
    pub fn new(checked: Checked, whole: RangeInclusive<i32>) -> Self {
        Self {
            checked,
            whole,
            open: None,
            erasures: BTreeMap::new(),
            bad_days: BTreeSet::new(),
            closed: false,
            tally: Tally::default(),
        }
    }

    /// The next block.
    pub fn block(&mut self, block: Block) {
        self.close();
        if block.kind != Kind::Rows {
            let taken = block.kind == Kind::Reads
                && (self.is_dropped(&block) || self.checked.blanked.contains(&block.number));
            if block.note.is_none() && !taken {
                let text = format!("block {} has lost its note", block.number);
                self.checked.findings.add(block.first_seq, text);
            }
            return;
        }
        self.open = Some(Open {
            kept: !self.is_dropped(&block),
            next: block.first_seq,
            block,
            tree: Tree::default(),
            damaged: false,
            marked: Vec::new(),
        });
    }

    fn is_dropped(&self, block: &Block) -> bool {
        let dropped = self.checked.dropped.get(&block.day);
        dropped.is_some_and(|by| *by > block.number)
    }

    /// What somebody else has found.
    pub fn found(&mut self, seq: i64, text: impl Into<String>) {
        self.checked.findings.add(seq, text);
    }

    /// The next row, in the order of `seq`, not beyond the block's last. `mark`: as stored.
    pub fn row(&mut self, row: &Row, mark: &[u8]) {
        self.tally.add(row);
        let findings = &mut self.checked.findings;
        let Some(open) = &mut self.open else {
            findings.add(row.seq, "a row that no block has");
            return;
        };
        if !open.kept || row.seq < open.next || row.seq > open.block.last_seq {
            findings.add(row.seq, format!("row {} was inserted", row.seq));
            return;
        }
        if row.seq > open.next {
            missing(findings, open.next, row.seq - 1);
            open.damaged = true;
        }
        open.next = row.seq + 1;
        let closed = [row.who_seal, row.text_seal]
            .iter()
            .any(|s| matches!(Seal::parse(s), Some(Seal::Closed(_))));
        let Ok(leaf) = row.leaf() else {
            findings.add(row.seq, format!("row {} was changed", row.seq));
            open.damaged = true;
            return;
        };
        if closed && !self.closed {
            let text = format!("personal fields of row {} are kept back", row.seq);
            findings.add(row.seq, text);
            // What an erasure says of its day cannot be compared any more.
            self.bad_days.insert(open.block.day);
        }
        if leaf.get(..MARK) != Some(mark) {
            open.marked.push(row.seq);
        }
        open.tree.push(leaf);
        let gone = |seal| match Seal::parse(seal) {
            Some(Seal::Erased(_, by)) => Some(by),
            _ => None,
        };
        let (who, text) = (gone(row.who_seal), gone(row.text_seal));
        let day = i32::try_from(row.started_at.div_euclid(DAY)).unwrap_or(i32::MAX);
        for by in [who, text].into_iter().flatten().collect::<BTreeSet<_>>() {
            if by <= open.block.number {
                findings.add(row.seq, format!("row {} was erased by nobody", row.seq));
                continue;
            }
            let groups = u8::from(who == Some(by)) | u8::from(text == Some(by)) << 1;
            self.erasures
                .entry((by, day))
                .or_default()
                .add(row.seq, groups);
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if !open.kept {
            return;
        }
        if open.damaged || !open.marked.is_empty() || open.next <= open.block.last_seq {
            self.bad_days.insert(open.block.day);
        }
        let findings = &mut self.checked.findings;
        let (first, last) = (open.block.first_seq, open.block.last_seq);
        if open.next <= last {
            missing(findings, open.next, last);
        }
        let whole = !open.damaged && open.next > last;
        let fits = whole && open.tree.root() == open.block.root;
        for seq in &open.marked {
            let what = if fits { "the mark of row" } else { "row" };
            findings.add(*seq, format!("{what} {seq} was changed"));
        }
        if whole && !fits && open.marked.is_empty() {
            let text = format!("rows among {first} to {last} were changed, and their marks");
            findings.add(first, text);
        }
    }

    /// After the last row.
    #[must_use]
    pub fn end(mut self) -> Checked {
        self.close();
        let checked = &mut self.checked;
        for ((by, day), digest) in self.erasures {
            let said = checked.erased.get(&by).and_then(|days| days.get(&day));
            let true_to_it = match said {
                None => false,
                Some(said) => !self.whole.contains(&day) || *said == digest.text(),
            };
            if !true_to_it && !self.bad_days.contains(&day) {
                let text = format!(
                    "block {by} does not tell of exactly the rows of day {day} that name it as their erasure"
                );
                checked.findings.add(digest.first, text);
            }
        }
        self.checked
    }
}

fn missing(findings: &mut Findings, first: i64, last: i64) {
    findings.add(
        first,
        match first == last {
            true => format!("row {first} is missing"),
            false => format!("rows {first} to {last} are missing"),
        },
    );
}
