//! Checks an exported audit log without a server: see [`check`].
#![forbid(unsafe_code)]

mod summary;
#[cfg(test)]
mod tests;

use evidence::block::{Block, Kind};
use evidence::export::{self, Line, Parsed};
use evidence::head::Head;
use evidence::key::Keys;
use evidence::verify::{Headers, LEAD, Rows, Trust};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use summary::Summary;

/// What is to be checked.
#[derive(Debug, Default)]
pub struct Options {
    /// Public keys in PEM that are trusted; without them those in the log are.
    pub key: Option<String>,
    /// Heads that were kept elsewhere, one a line.
    pub heads: Option<String>,
    /// What `agent_policy.audit_export()` gave; "-" for standard input.
    pub log: String,
}

macro_rules! say {
    ($out:expr, $($text:tt)*) => {
        writeln!($out, $($text)*).map_err(|e| e.to_string())?
    };
}

fn lines(path: &str) -> Result<Box<dyn BufRead>, String> {
    if path == "-" {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).map_err(|e| format!("{path}: {e}"))?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, file)))
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Whether the log is intact; what is found goes to `out`.
///
/// # Errors
/// Why the check could not be made.
pub fn check(options: &Options, out: &mut impl Write) -> Result<bool, String> {
    let mut keys = match &options.key {
        Some(path) => Keys::from_pem(&read(path)?).map_err(|e| format!("{path}: {e}"))?,
        None => Keys::default(),
    };
    let mut heads = Vec::new();
    if let Some(path) = &options.heads {
        for line in read(path)?.lines().filter(|l| !l.trim().is_empty()) {
            heads.push(line.parse::<Head>().map_err(|e| format!("{path}: {e}"))?);
        }
    }

    let mut lines = lines(&options.log)?.lines().zip(1_u64..);
    let mut next = || -> Result<Option<Parsed>, String> {
        let Some((line, number)) = lines.next() else {
            return Ok(None);
        };
        let line = line.map_err(|e| format!("{}: {e}", options.log))?;
        let parsed = export::parse(&line);
        parsed
            .map(Some)
            .map_err(|e| format!("{}, line {number}: {e}", options.log))
    };
    let Some(Parsed {
        line:
            Line::Log {
                chain,
                days,
                last_block,
                personal,
            },
        strange,
    }) = next()?
    else {
        return Err("the first line does not say which log it is".to_owned());
    };
    let mut planted: Vec<(i64, String)> = Vec::new();
    planted.extend(strange.map(|what| (1, format!("the line of the log {what}"))));
    let mut blocks: Vec<Block> = Vec::new();
    let mut row = loop {
        let Some(Parsed { line, strange }) = next()? else {
            break None;
        };
        let found = |seq: i64, of: &str| strange.as_ref().map(|what| (seq, format!("{of} {what}")));
        match line {
            Line::Key(key) => {
                planted.extend(found(1, "the line of a key"));
                if options.key.is_none() {
                    keys.public.push(key);
                }
            }
            Line::Block(block) => {
                planted.extend(found(block.first_seq, &format!("block {}", block.number)));
                blocks.push(*block);
            }
            Line::Log { .. } => return Err("there is more than one log".to_owned()),
            Line::Row(row) => break Some((row, strange)),
        }
    };

    let trust = Trust { chain, keys: &keys };
    let mut headers = Headers::new(trust, 0..=i64::MAX);
    for (seq, text) in planted {
        headers.findings.add(seq, text);
    }
    let begin = blocks.first().map_or(1, |b| b.number);
    // What is before the export cannot be looked at in it.
    for head in heads.iter().filter(|h| h.number >= begin) {
        headers.kept(head.clone());
    }
    if days.0 == i32::MIN {
        headers.begins_with(1);
    }
    blocks.iter().for_each(|b| headers.header(b.clone()));
    let led = blocks
        .iter()
        .take(LEAD)
        .any(|b| (days.0..=days.1).contains(&b.day));
    if begin > 1 && led {
        headers.findings.add(
            blocks.first().map_or(1, |b| b.first_seq) - 1,
            "the blocks before those of the days that were exported are missing",
        );
    }
    let end = blocks.last().map_or(0, |b| b.number);
    if last_block > end {
        headers.findings.add(
            blocks.last().map_or(0, |b| b.last_seq) + 1,
            format!("blocks {} to {last_block} are missing at the end", end + 1),
        );
    }
    let mut rows = Rows::new(headers.end(None), days.0..=days.1);
    rows.closed = personal != Some(true);

    for block in &blocks {
        let (kind, last) = (block.kind, block.last_seq);
        // Headers go on to the newest block; rows are those of the days that were exported.
        if kind == Kind::Rows && !(days.0..=days.1).contains(&block.day) {
            continue;
        }
        rows.block(block.clone());
        while let Some((r, strange)) = &row {
            let parsed = r.row()?;
            if kind != Kind::Rows || parsed.seq > last {
                break;
            }
            if let Some(what) = strange {
                rows.found(parsed.seq, format!("row {} {what}", parsed.seq));
            }
            rows.row(&parsed, &r.mark);
            row = match next()? {
                None => None,
                Some(Parsed {
                    line: Line::Row(r),
                    strange,
                }) => Some((r, strange)),
                Some(_) => return Err("the rows are not at the end".to_owned()),
            };
        }
    }
    let more = row.is_some();
    if let Some((r, _)) = row {
        rows.row(&r.row()?, &r.mark);
    }
    let tally = rows.tally.clone();
    let checked = rows.end();
    for finding in &checked.findings.first {
        say!(out, "seq {}: {}", finding.seq, finding.text);
    }
    let told = checked.findings.first.len() as u64;
    if checked.findings.count > told {
        say!(out, "{} more findings", checked.findings.count - told);
    }
    if more {
        say!(out, "rows follow that no block has");
    }
    let summary = Summary {
        chain,
        days,
        personal,
        blocks: &blocks,
        checked: &checked,
        tally: &tally,
        keys: &keys,
        own_keys: options.key.is_none(),
        heads: &heads,
    };
    summary.write(out).map_err(|e| e.to_string())?;
    let intact = checked.findings.intact();
    say!(
        out,
        "{}: {} rows checked{}",
        if intact { "intact" } else { "NOT INTACT" },
        tally.rows,
        match checked.findings.lowest_seq {
            Some(seq) => format!(", first bad seq {seq}"),
            None => String::new(),
        }
    );
    if let Some(head) = checked.head {
        say!(out, "{head}");
    }
    Ok(intact)
}
