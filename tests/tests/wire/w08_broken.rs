//! Broken bytes, lying lengths, messages of every kind, connections that end anywhere.

use std::time::Duration;

use cluster_tests::bench::leak;
use cluster_tests::raw::{End, Raw, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, agent_with, asks, hides, others_served, plain, usable};

pub const CASES: &[Case] = cases![
    names_of_statements_and_portals,
    broken_text,
    broken_text_is_recorded,
    other_encodings_in_the_middle,
    every_kind_of_message,
    lengths_that_lie,
    truncated_everywhere,
    gone_in_every_state,
    terminate_in_every_state,
    a_hundred_megabytes_by_parse,
    a_hundred_megabytes_as_a_value,
    kinds_of_copy_both,
];

fn names_of_statements_and_portals(b: &Bench) {
    b.mask();
    let email = "SELECT email FROM shop.customers LIMIT 2";
    let long = "n".repeat(9_000);
    for name in ["", " ", "a\"b'c;--", "pg_catalog", "é", "\u{1f40d}", &long] {
        // Over and over the same name: 42P05, unless it is the unnamed one.
        let reply = hides(
            b,
            &[
                msg::query("BEGIN"),
                msg::parse(name, email, &[]),
                msg::bind(name, name, &[]),
                msg::describe(b'S', name),
                msg::describe(b'P', name),
                msg::execute(name, 1),
                msg::execute(name, 0),
                msg::close(b'P', name),
                msg::close(b'S', name),
                msg::sync(),
            ],
        );
        assert_eq!(reply.rows().len(), 2, "{}", reply.kinds());
        assert!(reply.errors().is_empty());
        let reply = asks(
            b,
            &[
                msg::parse(name, email, &[]),
                msg::parse(name, email, &[]),
                msg::sync(),
            ],
        );
        assert_eq!(reply.count(b'E'), usize::from(!name.is_empty()));
    }
    // Errors that repeat such a name stay short.
    for message in [
        msg::bind("p", &long, &[]),
        msg::execute(&long, 0),
        msg::describe(b'S', &long),
        msg::describe(b'P', &long),
    ] {
        let reply = asks(b, &[message, msg::sync()]);
        assert_eq!(reply.count(b'E'), 1);
        assert!(
            reply.bytes().len() < 10_000,
            "{} bytes",
            reply.bytes().len()
        );
    }
    // A longer one than such messages may be ends the session.
    for message in [
        msg::execute(&long.repeat(9), 0),
        msg::describe(b'S', &long.repeat(9)),
    ] {
        let reply = agent(b).finish(&message);
        assert_eq!((reply.end, reply.kinds().as_str()), (End::Closed, ""));
    }
    for kind in [b'X', 0, b's', 0xff] {
        let reply = asks(
            b,
            &[
                msg::describe(kind, ""),
                msg::sync(),
                msg::close(kind, ""),
                msg::sync(),
            ],
        );
        assert_eq!(reply.count(b'E'), 2, "{}", reply.kinds());
    }
}

const BROKEN: &[&[u8]] = &[
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc0\x80",
    b"\xe2\x82",
    b"\x80\x80\x80",
];

fn broken_text(b: &Bench) {
    b.mask();
    for bytes in BROKEN {
        for (before, after) in [
            (&b"SELECT email AS \""[..], &b"\" FROM shop.customers"[..]),
            (b"SELECT email FROM shop.customers WHERE name = '", b"'"),
            (b"SELECT email FROM shop.customers -- ", b""),
            (b"SELECT email FROM shop.customers /* ", b" */"),
            (b"SELECT * FROM vault.secrets WHERE token = '", b"'"),
            (b"SELECT $", b"$ email $"),
        ] {
            let text = [before, bytes, after].concat();
            for messages in [
                vec![msg::query(&text)],
                vec![
                    msg::parse("", &text, &[]),
                    msg::bind("", "", &[]),
                    msg::execute("", 0),
                    msg::sync(),
                ],
            ] {
                let reply = asks(b, &messages);
                assert_eq!(reply.code(), "22021", "{}", String::from_utf8_lossy(&text));
            }
        }
        // In the names of statements and portals, which the server takes as they come or refuses.
        let mut body = bytes.to_vec();
        body.extend(b"\0SELECT email FROM shop.customers\0\0\0");
        let mut raw = agent(b);
        raw.ask(&[msg::frame(b'P', &body), msg::sync()].concat(), 1);
        let mut body = b"p\0".to_vec();
        body.extend(*bytes);
        body.extend(b"\0\0\0\0\0\0\0");
        raw.ask(
            &[msg::frame(b'B', &body), msg::execute("p", 0), msg::sync()].concat(),
            1,
        );
        assert_eq!(leak(&raw.received), None);
        usable(&mut raw);
        // NUL in the middle of a text ends it.
        for body in [
            &b"SELECT 1\0DELETE FROM shop.scratch\0"[..],
            b"",
            b"\0",
            b"SELECT email FROM shop.customers",
        ] {
            let reply = agent(b).finish(&msg::frame(b'Q', body));
            assert_eq!(leak(&reply.bytes()), None);
        }
        assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
    }
    others_served(b);
}

fn broken_text_is_recorded(b: &Bench) {
    b.allow();
    for (i, bytes) in BROKEN.iter().enumerate() {
        let text = [b"SELECT '", *bytes, b"'"].concat();
        agent(b).ask(&msg::query(&text), 1);
        agent(b).ask(&[msg::parse("", &text, &[]), msg::sync()].concat(), 1);
        assert_eq!(
            b.audit("outcome = 'error' AND sqlstate = '22021'").len(),
            2 * (i + 1)
        );
    }
}

fn other_encodings_in_the_middle(b: &Bench) {
    b.mask();
    let email = "SELECT email, note FROM shop.customers LIMIT 2";
    for encoding in [
        "LATIN1",
        "SJIS",
        "BIG5",
        "GB18030",
        "EUC_KR",
        "SQL_ASCII",
        "WIN1252",
        "UTF8",
        "JOHAB",
        "UHC",
    ] {
        let set = format!("SET client_encoding = '{encoding}'");
        for (first, then) in [(set.as_str(), email), (email, set.as_str())] {
            let messages = [
                msg::parse("s", first, &[]),
                msg::parse("t", then, &[]),
                msg::bind("", "s", &[]),
                msg::execute("", 0),
                msg::bind("", "t", &[]),
                msg::execute("", 0),
                msg::sync(),
                msg::query(email),
                // A lead byte of a multi-byte character in front of a quote.
                msg::query([b"SELECT '\x95' , email FROM shop.customers --'".as_slice()].concat()),
                msg::query(b"SELECT '\x81\x27; SELECT email FROM shop.customers; --"),
                msg::query("RESET client_encoding"),
                msg::query(email),
            ];
            hides(b, &messages);
        }
        let parameters = [
            ("client_encoding", encoding),
            ("options", "-c agent_policy.user_email=alice@example.com"),
        ];
        // Encodings that nobody reviewed are refused at login.
        if let Err(error) = b.agent_with(&parameters) {
            assert_eq!(error.code, "42501", "{encoding}: {error}");
            assert!(
                !matches!(encoding, "UTF8" | "LATIN1" | "WIN1252"),
                "{encoding}"
            );
            continue;
        }
        let mut raw = agent_with(b, &parameters);
        raw.ask(&msg::query(email), 1);
        assert_eq!(leak(&raw.received), None, "{encoding}");
    }
}

/// After the login every byte may be a message's kind.
fn every_kind_of_message(b: &Bench) {
    b.mask();
    for kind in 0..=255_u8 {
        for body in [&b""[..], b"S\0\0\0\0\0\0\0"] {
            let mut raw = agent(b);
            raw.send(&msg::query("SELECT email FROM shop.customers LIMIT 1"));
            let reply = raw.finish(&msg::frame(kind, body));
            assert_ne!(reply.end, End::Silent, "kind {kind}");
            assert_eq!(leak(&raw.received), None, "kind {kind}");
        }
    }
    others_served(b);
}

fn lengths_that_lie(b: &Bench) {
    b.mask();
    let email = msg::query("SELECT email FROM shop.customers LIMIT 1");
    for kind in *b"QPBDECSHFdcfX" {
        for length in [-1_i32, 0, 1, 3, 4, 5, 1000, i32::MAX, i32::MIN, 0x4000_0000] {
            let mut message = vec![kind];
            message.extend(length.to_be_bytes());
            message.extend(b"SELECT 1\0");
            let mut raw = agent(b);
            raw.send(&email);
            let reply = raw.finish(&[message, email.clone()].concat());
            assert_ne!(reply.end, End::Silent, "{} {length}", char::from(kind));
            assert_eq!(leak(&raw.received), None);
        }
    }
    others_served(b);
    // One that only promises a lot must not cost anything.
    let mut raws: Vec<Raw> = (0..8).map(|_| agent(b)).collect();
    for raw in &mut raws {
        raw.send(&[&b"Q"[..], &0x3fff_ffff_i32.to_be_bytes(), b"SELECT"].concat());
    }
    std::thread::sleep(Duration::from_millis(200));
    others_served(b);
}

fn sequence() -> Vec<u8> {
    [
        msg::parse("s", "SELECT email FROM shop.customers WHERE id < $1", &[23]),
        msg::bind("p", "s", &["50"]),
        msg::describe(b'P', "p"),
        msg::execute("p", 10),
        msg::execute("p", 0),
        msg::close(b'P', "p"),
        msg::sync(),
        msg::query("COPY shop.customers TO STDOUT"),
        msg::call(2_311, &[], &[Some(b"x")], 0),
    ]
    .concat()
}

fn truncated_everywhere(b: &Bench) {
    b.mask();
    let all = sequence();
    for end in (0..all.len()).step_by(7) {
        let mut raw = agent(b);
        let reply = raw.finish(&all[..end]);
        assert_ne!(reply.end, End::Silent, "after {end} bytes");
        assert_eq!(leak(&raw.received), None);
    }
    others_served(b);
}

/// What of a session was recorded, when it has ended.
fn recorded(b: &Bench, pid: i32) -> usize {
    b.audit(&format!("backend_pid = {pid}")).len()
}

fn gone_in_every_state(b: &Bench) {
    b.mask();
    let endless = "SELECT count(*) FROM shop.customers, generate_series(1, 2000000000)";
    // With what the server says when it has come that far.
    for (state, records, last) in [
        (vec![], 0, None),
        (vec![msg::parse("", endless, &[])], 0, Some((b'1', 1))),
        (
            vec![msg::parse("", endless, &[]), msg::bind("", "", &[])],
            1,
            Some((b'2', 1)),
        ),
        (
            vec![
                msg::query("BEGIN"),
                msg::query("SELECT email FROM shop.customers"),
            ],
            2,
            Some((b'Z', 2)),
        ),
        (
            vec![msg::query(
                "BEGIN; DECLARE c CURSOR FOR SELECT email FROM shop.customers; FETCH 5 FROM c",
            )],
            3,
            Some((b'Z', 1)),
        ),
        (
            vec![msg::query("COPY shop.customers TO STDOUT")],
            1,
            Some((b'Z', 1)),
        ),
        (
            vec![msg::query("SELECT * FROM vault.secrets")],
            1,
            Some((b'Z', 1)),
        ),
        (vec![msg::query("BEGIN; SELECT 1/0")], 2, Some((b'Z', 1))),
    ] {
        let mut raw = agent(b);
        let pid = raw.pid;
        raw.send(&[state.concat(), msg::flush()].concat());
        if let Some((kind, mut times)) = last {
            let reply = raw.read(raw.patience, |m| {
                times -= usize::from(m.kind == kind);
                times == 0
            });
            assert_eq!(reply.end, End::Found, "{}", reply.kinds());
        }
        drop(raw);
        let deadline = std::time::Instant::now() + Duration::from_secs(90);
        while recorded(b, pid) < records {
            assert!(
                std::time::Instant::now() < deadline,
                "{records} records expected: {:?}",
                b.audit(&format!("backend_pid = {pid}"))
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    others_served(b);
}

fn terminate_in_every_state(b: &Bench) {
    b.mask();
    let all = [
        msg::query("BEGIN"),
        msg::parse("s", "SELECT email FROM shop.customers", &[]),
        msg::bind("p", "s", &[]),
        msg::execute("p", 3),
        msg::query("SELECT * FROM vault.secrets"),
        msg::query("COPY shop.customers TO STDOUT"),
    ];
    for i in 0..=all.len() {
        let mut messages = all[..i].to_vec();
        messages.push(msg::terminate());
        messages.extend(all[i..].to_vec());
        let mut raw = agent(b);
        let reply = raw.finish(&messages.concat());
        assert_eq!(reply.end, End::Closed);
        assert_eq!(leak(&raw.received), None);
    }
    others_served(b);
}

fn a_hundred_megabytes_by_parse(b: &Bench) {
    b.mask();
    let filler = "x".repeat(100_000_000);
    let sql = format!("SELECT email FROM shop.customers /* {filler} */");
    let mut raw = agent(b);
    raw.patience = Duration::from_secs(120);
    let messages = [
        msg::parse("", &sql, &[]),
        msg::bind("", "", &[]),
        msg::execute("", 5),
        msg::sync(),
    ];
    let reply = raw.ask(&messages.concat(), 1);
    assert_eq!((reply.end, reply.rows().len()), (End::Found, 5));
    assert_eq!(leak(&raw.received), None);
    usable(&mut raw);
    assert_eq!(b.audit("'shop.customers' = ANY (relations)").len(), 1);
    others_served(b);
}

fn a_hundred_megabytes_as_a_value(b: &Bench) {
    b.mask();
    let value = vec![b'x'; 100_000_000];
    let mut raw = agent(b);
    raw.patience = Duration::from_secs(120);
    let reply = raw.ask(
        &[
            msg::parse(
                "",
                "SELECT email FROM shop.customers WHERE name <> $1 LIMIT 1",
                &[25],
            ),
            msg::bind_as("", "", &[1], &[Some(&value)], &[]),
            msg::execute("", 0),
            msg::sync(),
        ]
        .concat(),
        1,
    );
    assert_eq!(reply.rows().len(), 1, "{}", reply.kinds());
    assert_eq!(leak(&raw.received), None);
    usable(&mut raw);
}

/// Commands of the replication protocol are syntax errors to an ordinary session, whatever follows them.
fn kinds_of_copy_both(b: &Bench) {
    b.mask();
    for command in [
        "IDENTIFY_SYSTEM",
        "START_REPLICATION 0/0",
        "BASE_BACKUP",
        "CREATE_REPLICATION_SLOT x LOGICAL pgoutput",
        "TIMELINE_HISTORY 1",
    ] {
        let messages = [
            msg::query(command),
            msg::copy_data(b"r\0\0\0\0\0\0\0\0"),
            msg::copy_done(),
        ];
        let reply = asks(b, &messages);
        assert_eq!(reply.kinds(), "EZ", "{command}");
        assert!(plain(b).ask(&messages.concat(), 1).kinds().starts_with('E'));
    }
}
