//! What a check was about, and what it cannot tell: nobody is to take a part of a log for all of it.

use evidence::block::{Block, Kind};
use evidence::calendar::{date, time};
use evidence::head::Head;
use evidence::hex;
use evidence::key::Keys;
use evidence::verify::{Checked, Tally};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

pub struct Summary<'c> {
    pub chain: [u8; 16],
    /// Days since 1970 that the export says are whole in it.
    pub days: (i32, i32),
    /// Whether it says that personal fields are in it.
    pub personal: Option<bool>,
    pub blocks: &'c [Block],
    pub checked: &'c Checked,
    pub tally: &'c Tally,
    pub keys: &'c Keys,
    /// The keys are those of the log itself.
    pub own_keys: bool,
    /// Heads that were given.
    pub heads: &'c [Head],
}

/// A number of things, and what one is called.
fn count(n: u64, one: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// The first and the last of them.
fn span<T: PartialEq>(first: T, last: T, show: impl Fn(T) -> String) -> String {
    if first == last {
        return show(first);
    }
    format!("{} to {}", show(first), show(last))
}

fn numbers(list: &BTreeSet<i64>) -> String {
    match (list.first(), list.last()) {
        (Some(a), Some(b)) => span(a, b, |n| n.to_string()),
        _ => "none".to_owned(),
    }
}

impl Summary<'_> {
    fn is_whole(&self) -> bool {
        self.days == (i32::MIN, i32::MAX)
    }

    fn has_day(&self, day: i32) -> bool {
        (self.days.0..=self.days.1).contains(&day)
    }

    fn dropped(&self, block: &Block) -> bool {
        let by = self.checked.dropped.get(&block.day);
        by.is_some_and(|by| *by > block.number)
    }

    /// Rows of blocks of rows for which this holds.
    fn rows_where(&self, holds: impl Fn(&Block) -> bool) -> u64 {
        let blocks = self.blocks.iter().filter(|b| holds(b));
        blocks.map(|b| u64::try_from(b.rows()).unwrap_or(0)).sum()
    }

    fn first_block(&self) -> i64 {
        self.blocks.first().map_or(1, |b| b.number)
    }

    /// Numbers of the blocks of heads that are, or are not, older than the export.
    fn heads_where(&self, older: bool) -> BTreeSet<i64> {
        let heads = self.heads.iter();
        heads
            .map(|h| h.number)
            .filter(|n| (*n < self.first_block()) == older)
            .collect()
    }

    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "checked:")?;
        for (name, text) in self.checked() {
            writeln!(out, "  {name:<8}{text}")?;
        }
        writeln!(out, "not checked:")?;
        for text in self.unchecked() {
            writeln!(out, "  - {text}")?;
        }
        Ok(())
    }

    fn checked(&self) -> Vec<(&'static str, String)> {
        let mut said = vec![("chain", hex::encode(&self.chain))];
        said.push((
            "export",
            match self.is_whole() {
                true => "everything".to_owned(),
                false => format!(
                    "the days from {} to {} (UTC)",
                    date(self.days.0),
                    date(self.days.1)
                ),
            },
        ));
        let tally = self.tally;
        let mut rows = tally.rows.to_string();
        if let (Some((first, last)), Some((oldest, newest))) = (tally.seqs, tally.times) {
            rows += &format!(
                ": seq {}; started {} (UTC)",
                span(first, last, |n| n.to_string()),
                span(oldest, newest, time)
            );
        }
        said.push(("rows", rows));
        let mut blocks = self.blocks.len().to_string();
        if let (Some(first), Some(last)) = (self.blocks.first(), self.blocks.last()) {
            blocks += &format!(
                ": number {}; sealed {} (UTC)",
                span(first.number, last.number, |n| n.to_string()),
                span(first.sealed_at, last.sealed_at, time)
            );
        }
        said.push(("blocks", blocks));
        let of_rows = |b: &&Block| b.kind == Kind::Rows && self.has_day(b.day) && !self.dropped(b);
        let days: BTreeSet<i32> = self.blocks.iter().filter(of_rows).map(|b| b.day).collect();
        let mut text = days.len().to_string();
        if let (Some(first), Some(last)) = (days.first(), days.last()) {
            text += &format!(": {} (UTC)", span(*first, *last, date));
        }
        said.push(("days", text));
        let heads = self.heads_where(false);
        said.push((
            "heads",
            match heads.is_empty() {
                true => "none that were kept elsewhere".to_owned(),
                false => format!(
                    "{} kept elsewhere: of block {}",
                    heads.len(),
                    numbers(&heads)
                ),
            },
        ));
        let mut by_key: BTreeMap<[u8; 8], u64> = BTreeMap::new();
        self.blocks
            .iter()
            .for_each(|b| *by_key.entry(b.key_id).or_default() += 1);
        for (id, n) in by_key {
            let origin = match self.keys.find(&id) {
                None => "not trusted",
                Some(_) if self.own_keys => "found in the log itself",
                Some(_) => "given by --key",
            };
            let text = format!("{}, {origin}: {}", hex::encode(&id), count(n, "block"));
            said.push(("key", text));
        }
        said
    }

    fn unchecked(&self) -> Vec<String> {
        let mut said = Vec::new();
        said.push(match self.blocks.last() {
            Some(b) => format!(
                "records that were in no block yet: the newest block, {}, is of {} (UTC)",
                b.number,
                time(b.sealed_at)
            ),
            None => "records that were in no block yet: there is no block".to_owned(),
        });
        if self.first_block() > 1 {
            let last = self.first_block() - 1;
            let range = span(1, last, |n| n.to_string());
            said.push(format!("blocks that are not in this export: {range}"));
        }
        let other = self.rows_where(|b| !self.has_day(b.day));
        if other > 0 {
            said.push(format!(
                "{} of other days: of their blocks the headers alone are in this export",
                count(other, "row")
            ));
        }
        let dropped = self.rows_where(|b| self.has_day(b.day) && self.dropped(b));
        if dropped > 0 {
            let days = self.checked.dropped.iter();
            let days = days.filter(|(day, _)| self.has_day(**day));
            let days: Vec<String> = days
                .map(|(day, by)| format!("{} (block {by})", date(*day)))
                .collect();
            let (shown, more) = days.split_at(days.len().min(10));
            said.push(format!(
                "{} of days that were dropped: {}{}",
                count(dropped, "row"),
                shown.join(", "),
                if more.is_empty() {
                    String::new()
                } else {
                    format!(", and {} more", more.len())
                }
            ));
        }
        if self.checked.unjudged > 0 {
            said.push(format!(
                "whether the time of {} that went was over: the retention was set before this export begins",
                count(self.checked.unjudged, "day")
            ));
        }
        let groups = [
            (
                "who they are of",
                self.tally.erased[0],
                self.tally.withheld[0],
            ),
            (
                "what they said",
                self.tally.erased[1],
                self.tally.withheld[1],
            ),
        ];
        for (group, erased, withheld) in groups {
            if withheld > 0 {
                let why = match self.personal {
                    Some(false) => "kept back, as the export says",
                    Some(true) => "kept back, though the export says that it is complete",
                    None => "kept back; the export does not say whether it is complete",
                };
                said.push(format!("of {}, {group}: {why}", count(withheld, "row")));
            }
            if erased > 0 {
                said.push(format!(
                    "of {}, {group}: erased, as blocks tell",
                    count(erased, "row")
                ));
            }
        }
        let notes = self.blocks.iter();
        let notes = notes
            .filter(|b| b.kind == Kind::Reads && b.note.is_none())
            .count();
        if notes > 0 {
            let notes = count(notes as u64, "block");
            said.push(format!(
                "who read the log, of {notes}: erased, or gone with their days"
            ));
        }
        let older = self.heads_where(true);
        if !older.is_empty() {
            let heads = match older.len() {
                1 => format!("the head of block {} is", numbers(&older)),
                n => format!("each of {n} heads, of block {}, is", numbers(&older)),
            };
            said.push(format!("heads: {heads} older than this export"));
        }
        if self.heads_where(false).is_empty() {
            said.push(
                "whether somebody who had the key made all of it anew: heads that were kept elsewhere tell (--heads)"
                    .to_owned(),
            );
        }
        if self.own_keys {
            said.push(
                "who wrote it: no --key is given; the keys in the log itself were trusted"
                    .to_owned(),
            );
        }
        said
    }
}
