//! A small log, made here: what is said about it.

use super::*;
use evidence::block::{Block, Kind, genesis, note_root};
use evidence::hex;
use evidence::key::PrivateKey;
use evidence::merkle::Tree;
use evidence::record::{Group, Row, Seal};
use serde_json::{Value, json};

const CHAIN: [u8; 16] = [1; 16];
const DAY: i64 = 86_400_000_000;
/// 2026-11-21.
const FIRST: i64 = 20_778;

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

fn row(seq: i64) -> Row<'static> {
    Row {
        seq,
        user_email: Some(b"alice@example.com"),
        assurance: b"connection",
        role_name: b"agent",
        session_user_name: b"agent",
        statement: Some(b"SELECT $1"),
        verdict: b"allowed",
        outcome: b"ok",
        started_at: (FIRST + (seq - 1) / 2) * DAY + seq,
        who_seal: &[3; 16],
        text_seal: &[4; 16],
        ..Row::default()
    }
}

fn bytes(b: &[u8]) -> String {
    format!("\\x{}", hex::encode(b))
}

fn at(micros: i64) -> String {
    let fraction = micros.rem_euclid(1_000_000);
    let text = evidence::calendar::time(micros).replace(' ', "T");
    format!("{text}.{fraction:06}+00:00")
}

fn json_row(r: &Row) -> Value {
    let text = |t: &[u8]| String::from_utf8_lossy(t).into_owned();
    let opt = |t: Option<&[u8]>| t.map(text);
    let leaf = r.leaf().expect("in order");
    json!({
        "type": "row", "seq": r.seq, "event_id": hex::encode(&r.event_id),
        "user_email": opt(r.user_email), "assurance": text(r.assurance),
        "role_name": text(r.role_name), "session_user_name": text(r.session_user_name),
        "database_name": "", "application_name": "", "client_addr": null, "backend_pid": 0,
        "session_id": "", "transaction_id": null, "started_at": at(r.started_at),
        "duration_ms": null, "nesting_level": 0, "command_tag": null, "query_id": null,
        "statement": opt(r.statement), "statement_sha256": "\\x", "relations": [],
        "masked_columns": [], "functions": [], "rows_returned": null, "rows_processed": null,
        "bytes_returned": null, "truncated": false, "verdict": text(r.verdict), "rule": null,
        "object": null, "outcome": text(r.outcome), "sqlstate": null, "agent": null,
        "conversation": null, "trace_id": null, "policy_version": 0, "backend_seq": 0,
        "mark": bytes(leaf.first_chunk::<8>().expect("it is longer")),
        "who_seal": bytes(r.who_seal), "text_seal": bytes(r.text_seal),
    })
}

fn json_block(b: &Block) -> Value {
    json!({
        "type": "block", "number": b.number, "kind": b.kind as i32, "first_seq": b.first_seq,
        "last_seq": b.last_seq, "day": evidence::calendar::date(b.day), "oldest": at(b.oldest),
        "newest": at(b.newest), "sealed_at": at(b.sealed_at), "root": bytes(&b.root),
        "note": b.note, "hash": bytes(&b.hash), "key_id": bytes(&b.key_id),
        "signature": bytes(&b.signature),
    })
}

/// A block behind others, sealed at the end of its day.
fn append(blocks: &mut Vec<Block>, kind: Kind, seqs: (i64, i64), day: i64, note: Option<&str>) {
    let previous = blocks.last().map_or(genesis(&CHAIN), |b| b.hash);
    let mut tree = Tree::default();
    for seq in seqs.0..=seqs.1 {
        tree.push(row(seq).leaf().expect("in order"));
    }
    let mut block = Block {
        number: blocks.len() as i64 + 1,
        kind,
        first_seq: seqs.0,
        last_seq: seqs.1,
        day: i32::try_from(day).expect("a day"),
        oldest: day * DAY,
        newest: day * DAY,
        sealed_at: (day + 1) * DAY,
        root: note.map_or_else(|| tree.root(), note_root),
        note: note.map(str::to_owned),
        hash: [0; 32],
        key_id: [0; 8],
        signature: [0; 64],
    };
    block.hash = block.chained(&previous);
    evidence::head::sign(&mut block, &CHAIN, &key());
    blocks.push(block);
}

/// The blocks of a log of two days with two rows each, and one that says that somebody read it.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    append(&mut blocks, Kind::Rows, (1, 2), FIRST, None);
    append(&mut blocks, Kind::Rows, (3, 4), FIRST + 1, None);
    append(&mut blocks, Kind::Reads, (5, 4), FIRST + 1, Some("[]"));
    blocks
}

fn log(personal: Value, rows: impl IntoIterator<Item = Value>) -> Vec<Value> {
    let public = key().public();
    let mut lines = vec![
        json!({
            "type": "log", "version": 1, "chain": hex::encode(&CHAIN), "first_day": "-infinity",
            "last_day": "infinity", "last_block": 3,
        }),
        json!({
            "type": "key", "key_id": bytes(&public.id()), "public_key": bytes(&public.to_bytes()),
        }),
    ];
    if personal != Value::Null {
        lines[0]["personal"] = personal;
    }
    lines.extend(blocks().iter().map(json_block));
    lines.extend(rows);
    lines
}

/// A log of other blocks, without rows.
fn log_of(blocks: &[Block]) -> Vec<Value> {
    let mut lines = log(json!(true), []);
    lines[0]["last_block"] = json!(blocks.last().map_or(0, |b| b.number));
    lines.truncate(2);
    lines.extend(blocks.iter().map(json_block));
    lines
}

fn rows() -> Vec<Value> {
    (1..=4).map(|seq| json_row(&row(seq))).collect()
}

/// Status and words.
fn said(lines: &[String], key_given: bool, heads: Option<&str>) -> (bool, String) {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("audit-verify-{}-{n}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let options = Options {
        key: key_given.then(|| put("key", &key().public().to_pem())),
        heads: heads.map(|text| put("heads", text)),
        log: put("log", &lines.join("\n")),
    };
    let mut out = Vec::new();
    let intact = check(&options, &mut out);
    std::fs::remove_dir_all(&dir).expect("removed");
    let out = String::from_utf8(out).expect("text");
    println!("{out}");
    (intact.expect("a check"), out)
}

fn texts(lines: &[Value]) -> Vec<String> {
    lines.iter().map(Value::to_string).collect()
}

fn has(out: &str, words: &[&str]) {
    for word in words {
        assert!(out.contains(word), "not said: {word}\n{out}");
    }
}

#[test]
fn what_was_checked_and_what_was_not() {
    let lines = texts(&log(json!(true), rows()));
    let id = hex::encode(&key().public().id());
    let (intact, out) = said(&lines, false, None);
    assert!(intact);
    has(
        &out,
        &[
            "  chain   01010101010101010101010101010101\n",
            "  export  everything\n",
            "  rows    4: seq 1 to 4; started 2026-11-21 00:00:00 to 2026-11-22 00:00:00 (UTC)\n",
            "  blocks  3: number 1 to 3; sealed 2026-11-22 00:00:00 to 2026-11-23 00:00:00 (UTC)\n",
            "  days    2: 2026-11-21 to 2026-11-22 (UTC)\n",
            "  heads   none that were kept elsewhere\n",
            &format!("  key     {id}, found in the log itself: 3 blocks\n"),
            "not checked:\n  - records that were in no block yet: the newest block, 3, is of 2026-11-23",
            "(--heads)\n",
            "no --key is given",
            "\nintact: 4 rows checked\nagent_policy-head:1:",
        ],
    );
    let heads: Vec<String> = blocks()
        .iter()
        .map(|b| Head::of(b, &CHAIN).to_string())
        .collect();
    let (intact, out) = said(&lines, true, Some(&heads.join("\n")));
    assert!(intact);
    has(
        &out,
        &[
            "  heads   3 kept elsewhere: of block 1 to 3\n",
            &format!("  key     {id}, given by --key: 3 blocks\n"),
        ],
    );
    for not in [
        "--heads",
        "--key is",
        "kept back",
        "dropped",
        "erased",
        "other days",
        "older",
    ] {
        assert!(!out.contains(not), "{not}: {out}");
    }
}

/// The first of the two days: its blocks, the headers of the others, its rows.
#[test]
fn a_part_is_said_to_be_one() {
    let mut lines = log(json!(true), rows().into_iter().take(2));
    lines[0]["first_day"] = json!("2026-11-21");
    lines[0]["last_day"] = json!("2026-11-21");
    let (intact, out) = said(&texts(&lines), true, None);
    assert!(intact);
    has(
        &out,
        &[
            "  export  the days from 2026-11-21 to 2026-11-21 (UTC)\n",
            "  rows    2: seq 1 to 2;",
            "  days    1: 2026-11-21 (UTC)\n",
            "  - 2 rows of other days",
        ],
    );
    // The last alone, without the first block; a head of that tells nothing.
    let mut lines = log(json!(true), rows().into_iter().skip(2));
    lines[0]["first_day"] = json!("2026-11-23");
    let head = Head::of(&blocks()[0], &CHAIN).to_string();
    let whole: Vec<Value> = lines
        .iter()
        .enumerate()
        .filter(|(i, _)| ![2, 5, 6].contains(i))
        .map(|(_, l)| l.clone())
        .collect();
    let (intact, out) = said(&texts(&whole), true, Some(&head));
    assert!(intact);
    has(
        &out,
        &[
            "  rows    0\n",
            "  - blocks that are not in this export: 1\n",
            "  - heads: the head of block 1 is older than this export\n",
        ],
    );
}

#[test]
fn what_no_row_has_is_found() {
    let lines = log(json!(true), rows());
    let plain = texts(&lines);
    let (block, second) = (3, 6);
    for (line, from, to, seq, words) in [
        (
            second,
            "{",
            "{\"remark\":\"approved by Bob\",",
            2,
            "row 2 has \"remark\"",
        ),
        (
            second,
            "{",
            "{\"statement\":\"SELECT 2\",",
            2,
            "row 2 has a member twice",
        ),
        (
            second,
            "}",
            ",\"user_email\":\"alice@example.com\"}",
            2,
            "row 2 has a member twice",
        ),
        (block, "{", "{\"remark\":\"\",", 3, "block 2 has \"remark\""),
        (
            0,
            "{",
            "{\"exported_by\":\"Bob\",",
            1,
            "the line of the log has \"exported_by\"",
        ),
        (
            1,
            "{",
            "{\"owner\":\"Bob\",",
            1,
            "the line of a key has \"owner\"",
        ),
    ] {
        let mut other = plain.clone();
        other[line] = match from {
            "{" => other[line].replacen(from, to, 1),
            _ => format!("{}{to}", other[line].strip_suffix('}').expect("an object")),
        };
        let (intact, out) = said(&other, true, None);
        assert!(!intact, "{to}");
        has(
            &out,
            &[
                words,
                &format!("NOT INTACT: 4 rows checked, first bad seq {seq}\n"),
            ],
        );
    }
}

#[test]
fn fields_that_are_kept_back_are_counted() {
    let open = row(3);
    let (Some(Seal::Open(who)), Some(Seal::Open(text))) =
        (Seal::parse(open.who_seal), Seal::parse(open.text_seal))
    else {
        panic!("{open:?}")
    };
    let (who, text) = (
        open.commitment(Group::Who, &who),
        open.commitment(Group::Text, &text),
    );
    let mut closed = row(3);
    (closed.user_email, closed.who_seal) = (None, &who);
    let mut both = closed.clone();
    (both.statement, both.text_seal) = (None, &text);
    for (row, groups) in [(closed, 1), (both, 2)] {
        let mut rows = rows();
        rows[2] = json_row(&row);
        for (personal, why) in [
            (json!(false), "kept back, as the export says\n"),
            (
                Value::Null,
                "kept back; the export does not say whether it is complete\n",
            ),
        ] {
            let (intact, out) = said(&texts(&log(personal, rows.clone())), true, None);
            assert!(intact, "{out}");
            has(&out, &["of 1 row, who they are of: ", why]);
            assert_eq!(out.matches("kept back").count(), groups);
        }
        // An export that is said to be complete has them.
        let (intact, out) = said(&texts(&log(json!(true), rows)), true, None);
        assert!(!intact);
        has(
            &out,
            &[
                "seq 3: personal fields of row 3 are kept back\n",
                "4 rows checked, first bad seq 3\n",
            ],
        );
    }
}

/// A day that is dropped has to be over by what the chain says of the retention.
#[test]
fn days_go_when_their_time_is_over() {
    let keep = |days: i64| json!({"keep": {"months": 0, "days": days, "us": 0}}).to_string();
    let for_ever = json!({"keep": null}).to_string();
    let dropped_by = |notes: &[&str]| {
        let mut blocks = Vec::new();
        append(&mut blocks, Kind::Rows, (1, 2), FIRST, None);
        for note in notes {
            append(&mut blocks, Kind::Retention, (3, 2), FIRST, Some(note));
        }
        // At the end of the eighth day after that.
        append(&mut blocks, Kind::Dropped, (3, 2), FIRST, Some("{}"));
        let last = blocks.last_mut().expect("a block");
        last.sealed_at = (FIRST + 9) * DAY;
        let previous = blocks
            .iter()
            .rev()
            .nth(1)
            .map_or(genesis(&CHAIN), |b| b.hash);
        let last = blocks.last_mut().expect("a block");
        last.hash = last.chained(&previous);
        evidence::head::sign(last, &CHAIN, &key());
        blocks
    };
    for (notes, allowed) in [
        (&[] as &[&str], false),
        (&[&keep(8)], true),
        (&[&keep(9)], false),
        (&[&for_ever], false),
        (&[&keep(8), &keep(9)], false),
        (&[&keep(9), &keep(8)], true),
        (&[&keep(8), &for_ever], false),
        (&[&keep(8), "{}"], false),
    ] {
        let (intact, out) = said(&texts(&log_of(&dropped_by(notes))), true, None);
        assert_eq!(intact, allowed, "{notes:?}");
        let words = match allowed {
            true => "  - 2 rows of days that were dropped: 2026-11-21 (block ",
            false => "seq 1: block ",
        };
        has(&out, &[words]);
    }
    // An export that begins behind the retention.
    let blocks = dropped_by(&[&keep(9), &for_ever, &keep(9)]);
    let mut lines = log_of(&blocks);
    lines[0]["first_day"] = json!("2026-11-29");
    lines.drain(2..4);
    let (intact, out) = said(&texts(&lines), true, None);
    assert!(!intact);
    has(&out, &["which no retention in the chain allows"]);
    // The hash of the first header cannot be checked, nor what it says be trusted.
    lines.remove(2);
    let (intact, out) = said(&texts(&lines), true, None);
    assert!(intact);
    has(
        &out,
        &[
            "  - whether the time of 1 day that went was over: the retention was set before this export begins\n",
        ],
    );
}
