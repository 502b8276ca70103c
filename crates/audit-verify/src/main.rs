//! Checks an exported audit log without a server.
//!
//! ```text
//! agent-policy-audit-verify [--key FILE] [--heads FILE] LOG
//! ```
//!
//! LOG is what `agent_policy.audit_export()` gives, "-" for standard input. Status 0: intact; 1: not
//! intact; 2: the check could not be made.
#![forbid(unsafe_code)]

use evidence::block::{Block, Kind};
use evidence::export::{self, Line};
use evidence::head::Head;
use evidence::key::Keys;
use evidence::verify::{Headers, Rows, Trust};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;

const USAGE: &str = "\
usage: agent-policy-audit-verify [--key FILE] [--heads FILE] LOG

Checks an audit log exported by agent_policy.audit_export(); LOG \"-\" is standard input.

  --key FILE    public keys in PEM that are trusted; without it those in the log are, which only
                tells that whoever wrote the log had one key
  --heads FILE  heads that were kept elsewhere (agent_policy.audit_checkpoints), one a line

Status 0: intact; 1: not intact; 2: the check could not be made.";

struct Options {
    key: Option<String>,
    heads: Option<String>,
    log: String,
}

fn options() -> Result<Options, String> {
    let (mut key, mut heads, mut log) = (None, None, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let slot = match arg.as_str() {
            "--key" => &mut key,
            "--heads" => &mut heads,
            "-h" | "--help" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other if other.starts_with("--") => return Err(format!("unknown option {other}")),
            _ if log.is_none() => {
                log = Some(arg);
                continue;
            }
            _ => return Err("more than one log".to_owned()),
        };
        *slot = Some(args.next().ok_or(format!("{arg} needs a file"))?);
    }
    let log = log.ok_or("no log is given")?;
    Ok(Options { key, heads, log })
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

/// Whether the log is intact.
fn check(options: &Options) -> Result<bool, String> {
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
    let mut next = || -> Result<Option<Line>, String> {
        let Some((line, number)) = lines.next() else {
            return Ok(None);
        };
        let line = line.map_err(|e| format!("{}: {e}", options.log))?;
        let parsed = export::parse(&line);
        parsed
            .map(Some)
            .map_err(|e| format!("{}, line {number}: {e}", options.log))
    };
    let Some(Line::Log { chain, days }) = next()? else {
        return Err("the first line does not say which log it is".to_owned());
    };
    let mut blocks: Vec<Block> = Vec::new();
    let first_row = loop {
        match next()? {
            Some(Line::Key(key)) if options.key.is_none() => keys.public.push(key),
            Some(Line::Key(_)) => {}
            Some(Line::Block(block)) => blocks.push(*block),
            Some(Line::Log { .. }) => return Err("there is more than one log".to_owned()),
            Some(Line::Row(row)) => break Some(row),
            None => break None,
        }
    };

    let trust = Trust { chain, keys: &keys };
    let mut headers = Headers::new(trust, 0..=i64::MAX);
    let begin = blocks.first().map_or(1, |b| b.number);
    for head in heads {
        // What is before the export cannot be looked at in it.
        if head.number >= begin {
            headers.kept(head);
        } else {
            println!(
                "note: the head of block {} is older than this export",
                head.number
            );
        }
    }
    blocks.iter().for_each(|b| headers.header(b.clone()));
    let mut rows = Rows::new(headers.end(None), days.0..=days.1);

    let mut row = first_row;
    for block in blocks {
        let (kind, last) = (block.kind, block.last_seq);
        // Headers go on to the newest block; rows are those of the days that were exported.
        if kind == Kind::Rows && !(days.0..=days.1).contains(&block.day) {
            continue;
        }
        rows.block(block);
        while let Some(r) = &row {
            let parsed = r.row()?;
            if kind != Kind::Rows || parsed.seq > last {
                break;
            }
            rows.row(&parsed, &r.mark);
            row = match next()? {
                None => None,
                Some(Line::Row(r)) => Some(r),
                Some(_) => return Err("the rows are not at the end".to_owned()),
            };
        }
    }
    let more = row.is_some();
    if let Some(r) = row {
        rows.row(&r.row()?, &r.mark);
    }
    let checked_rows = rows.rows;
    let checked = rows.end();
    for finding in &checked.findings.first {
        println!("seq {}: {}", finding.seq, finding.text);
    }
    if more {
        println!("rows follow that no block has");
    }
    if options.key.is_none() {
        println!("note: no --key is given; the keys in the log itself were trusted");
    }
    let intact = checked.findings.intact();
    println!(
        "{}: {checked_rows} rows checked{}",
        if intact { "intact" } else { "NOT INTACT" },
        match checked.findings.lowest_seq {
            Some(seq) => format!(", first bad seq {seq}"),
            None => String::new(),
        }
    );
    if let Some(head) = checked.head {
        println!("{head}");
    }
    Ok(intact)
}

fn main() -> ExitCode {
    let result = options()
        .map_err(|e| format!("{e}\n\n{USAGE}"))
        .and_then(|o| check(&o));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(2)
        }
    }
}
