//! Many messages before anybody reads an answer, and many statements in one message.

use std::time::{Duration, Instant};

use cluster_tests::bench::leak;
use cluster_tests::raw::{End, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, agent_with, asks, hides, plain, usable};

pub const CASES: &[Case] = cases![
    each_statement_has_its_record,
    an_error_in_the_middle,
    denials_between_allowed_ones,
    out_of_a_read_only_wrapper,
    transactions_inside_one_message,
    another_user_within_a_pipeline,
    one_clock_for_the_whole_message,
    session_resets_in_a_pipeline,
    thousands_of_statements,
    a_storm_of_syncs,
    statements_that_are_closed_again,
    flush_and_no_sync,
];

fn one(sql: &str) -> Vec<u8> {
    [
        msg::parse("", sql, &[]),
        msg::bind("", "", &[]),
        msg::describe(b'P', ""),
        msg::execute("", 0),
    ]
    .concat()
}

fn each_statement_has_its_record(b: &Bench) {
    b.allow();
    let mut messages: Vec<u8> = (1..=40)
        .flat_map(|i| one(&format!("SELECT id FROM shop.orders LIMIT {i}")))
        .collect();
    messages.extend(msg::sync());
    let mut raw = agent(b);
    let reply = raw.ask(&messages, 1);
    assert_eq!(reply.rows().len(), 820);
    let log = b.audit("'shop.orders' = ANY (relations)");
    let rows: Vec<_> = log.iter().map(|r| r["rows_returned"].as_u64()).collect();
    assert_eq!(rows, (1..=40).map(Some).collect::<Vec<_>>());
    // The same in one simple Query.
    let many: String = (1..=40)
        .map(|i| format!("SELECT id FROM shop.customers LIMIT {i};"))
        .collect();
    assert_eq!(raw.ask(&msg::query(many), 1).rows().len(), 820);
    let log = b.audit("'shop.customers' = ANY (relations)");
    let rows: Vec<_> = log.iter().map(|r| r["rows_returned"].as_u64()).collect();
    assert_eq!(rows, (1..=40).map(Some).collect::<Vec<_>>());
}

fn an_error_in_the_middle(b: &Bench) {
    b.mask();
    let email = "SELECT email FROM shop.customers LIMIT 3";
    for bad in [
        "SELECT * FROM nowhere",
        "SELECT 1/0",
        "SELEKT",
        "SELECT * FROM vault.secrets",
    ] {
        let messages = [
            one(email),
            one(bad),
            one(email),
            one(email),
            msg::sync(),
            one(email),
            msg::sync(),
        ];
        let reply = hides(b, &messages);
        // What follows an error is skipped up to Sync.
        let got = (reply.errors().len(), reply.rows().len());
        assert_eq!(got, (1, 6), "{bad}: {}", reply.kinds());
    }
    let recorded = b
        .audit("'shop.customers' = ANY (relations) AND outcome = 'ok'")
        .len();
    assert_eq!(recorded, 8, "two that ran, in each of four pipelines");
}

fn denials_between_allowed_ones(b: &Bench) {
    b.allow();
    let mut messages = Vec::new();
    for _ in 0..30 {
        messages.extend(one("SELECT 1"));
        messages.extend(one("SELECT * FROM vault.secrets"));
        messages.extend(one("SELECT * FROM vault.secrets"));
        messages.extend(msg::sync());
    }
    let mut raw = agent(b);
    let reply = raw.ask(&messages, 30);
    assert_eq!((reply.count(b'D'), reply.count(b'E')), (30, 30));
    assert_eq!(leak(&raw.received), None);
    assert_eq!(b.audit("verdict = 'denied'").len(), 30);
    assert_eq!(b.audit("verdict = 'allowed'").len(), 30);
}

/// The wrapper that a well-known MCP server puts around a model's text, and the way out of it.
fn out_of_a_read_only_wrapper(b: &Bench) {
    b.allow();
    for wrapped in [
        "BEGIN TRANSACTION READ ONLY; COMMIT; DELETE FROM shop.scratch; BEGIN; SELECT 1",
        "BEGIN READ ONLY; SET TRANSACTION READ WRITE; DELETE FROM shop.scratch; COMMIT",
        "BEGIN READ ONLY; ROLLBACK AND CHAIN; SET TRANSACTION READ WRITE; DELETE FROM shop.scratch; COMMIT",
        "SET default_transaction_read_only = off; DELETE FROM shop.scratch",
        "START TRANSACTION READ WRITE; SAVEPOINT a; DELETE FROM shop.scratch; COMMIT",
    ] {
        let mut raw = agent(b);
        let reply = raw.ask(&msg::query(wrapped), 1);
        assert_eq!(reply.code(), "25006", "{wrapped}: {}", reply.kinds());
        assert_eq!(
            b.value("SELECT count(*) FROM shop.scratch"),
            "2",
            "{wrapped}"
        );
        usable(&mut raw);
        // One by one over the extended protocol, without a Sync in between.
        let mut messages: Vec<u8> = wrapped.split(';').flat_map(one).collect();
        messages.extend(msg::sync());
        let mut raw = agent(b);
        let reply = raw.ask(&messages, 1);
        assert_eq!(reply.code(), "25006", "{wrapped}: {}", reply.kinds());
        assert_eq!(
            b.value("SELECT count(*) FROM shop.scratch"),
            "2",
            "{wrapped}"
        );
        usable(&mut raw);
    }
    let reply = plain(b).ask(
        &msg::query("BEGIN READ ONLY; COMMIT; DELETE FROM shop.scratch; COMMIT"),
        1,
    );
    assert!(reply.errors().is_empty());
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "0", "control");
}

fn transactions_inside_one_message(b: &Bench) {
    b.mask();
    let text = "BEGIN; SELECT email FROM shop.customers LIMIT 1; SAVEPOINT s; SELECT 1; ROLLBACK TO s; \
                SELECT ssn FROM shop.customers LIMIT 1; COMMIT; BEGIN; SELECT note FROM shop.customers LIMIT 1; ROLLBACK";
    let reply = hides(b, &[msg::query(text)]);
    assert_eq!(reply.tags().len(), 10, "{:?}", reply.tags());
    // Those, and what looks whether the session is still usable.
    assert_eq!(b.audit("true").len(), 12);
    assert_eq!(b.audit("command_tag = 'ROLLBACK'").len(), 3);
}

fn another_user_within_a_pipeline(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'asserted')");
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$region = CASE agent_policy.user_email() WHEN 'alice@example.com' THEN 'north' WHEN 'bob@example.com' THEN 'south' END$$)");
    let rows = "SELECT DISTINCT region FROM shop.customers";
    let assert = |who: &str| {
        one(&format!(
            "SELECT agent_policy.assert_user('{who}@example.com')"
        ))
    };
    let mut raw = agent_with(b, &[]);
    let messages = [
        one("BEGIN"),
        assert("alice"),
        one(rows),
        one("COMMIT"),
        one("BEGIN"),
        assert("bob"),
        one(rows),
        one("COMMIT"),
        msg::sync(),
    ];
    let reply = raw.ask(&messages.concat(), 1);
    assert!(reply.errors().is_empty(), "{:?}", reply.errors());
    let got: Vec<_> = reply
        .rows()
        .iter()
        .filter_map(|r| r[0].clone())
        .filter(|v| !v.is_empty())
        .collect();
    assert_eq!(got, [b"north".to_vec(), b"south".to_vec()]);
    // A second one in the same transaction, and none.
    let messages = [
        one("BEGIN"),
        assert("alice"),
        assert("bob"),
        one(rows),
        msg::sync(),
        msg::query("ROLLBACK"),
    ];
    let reply = raw.ask(&messages.concat(), 2);
    assert_eq!((reply.errors().len(), reply.code().as_str()), (1, "25001"));
    assert_eq!(
        raw.ask(&[one(rows), msg::sync()].concat(), 1).code(),
        "28000"
    );
    // A named statement, planned for one, executed for the other.
    let messages = [
        msg::parse("s", rows, &[]),
        one("BEGIN"),
        assert("alice"),
        msg::bind("", "s", &[]),
        msg::execute("", 0),
        one("COMMIT"),
        one("BEGIN"),
        assert("bob"),
        msg::bind("", "s", &[]),
        msg::execute("", 0),
        one("COMMIT"),
        msg::sync(),
    ];
    for _ in 0..8 {
        raw.send(&msg::close(b'S', "s"));
        let reply = raw.ask(&messages.concat(), 1);
        let got: Vec<_> = reply
            .rows()
            .iter()
            .filter_map(|r| r[0].clone())
            .filter(|v| !v.is_empty())
            .collect();
        assert_eq!(got, [b"north".to_vec(), b"south".to_vec()]);
    }
    for (who, region) in [("alice", "north"), ("bob", "south")] {
        let log = b.audit(&format!("user_email = '{who}@example.com' AND 'shop.customers' = ANY (relations) AND outcome = 'ok'"));
        assert_eq!(log.len(), 9, "{region}");
    }
}

fn one_clock_for_the_whole_message(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '1 s')");
    let slow = "SELECT count(*) FROM generate_series(1, 700000)";
    let simple = msg::query(format!("{slow};").repeat(60));
    let mut pipeline: Vec<u8> = (0..60).flat_map(|_| one(slow)).collect();
    pipeline.extend(msg::sync());
    for messages in [simple, pipeline] {
        // The best of some: a busy machine is not what is tested.
        let in_time = (0..5).any(|_| {
            let mut raw = agent(b);
            let start = Instant::now();
            let reply = raw.ask(&messages, 1);
            let took = start.elapsed();
            assert_eq!(reply.code(), "57014", "{}", reply.kinds());
            assert_eq!(
                reply.errors()[0].rule(),
                "statement_timeout",
                "{}",
                reply.errors()[0]
            );
            usable(&mut raw);
            took < Duration::from_secs(4)
        });
        assert!(in_time);
    }
}

fn session_resets_in_a_pipeline(b: &Bench) {
    b.mask();
    let email = "SELECT email FROM shop.customers LIMIT 1";
    for reset in [
        "DISCARD ALL",
        "DEALLOCATE ALL",
        "DISCARD PLANS",
        "RESET ALL",
        "CLOSE ALL",
        "RESET ROLE",
        "ABORT",
    ] {
        asks(
            b,
            &[
                msg::parse("s", email, &[]),
                msg::bind("p", "s", &[]),
                msg::execute("p", 1),
                msg::sync(),
                one(reset),
                msg::bind("p", "s", &[]),
                msg::execute("p", 0),
                msg::sync(),
                msg::query(email),
            ],
        );
    }
}

fn thousands_of_statements(b: &Bench) {
    b.allow();
    let mut messages: Vec<u8> = (0..3000)
        .flat_map(|_| one("SELECT repeat('x', 100)"))
        .collect();
    messages.extend(msg::sync());
    let mut raw = agent(b);
    let reply = raw.ask(&messages, 1);
    assert_eq!((reply.end, reply.count(b'D')), (End::Found, 3000));
    assert_eq!(b.audit("true").len(), 3000);
    usable(&mut raw);
}

fn a_storm_of_syncs(b: &Bench) {
    b.allow();
    let mut raw = agent(b);
    assert_eq!(
        raw.ask(&msg::sync().repeat(5000), 5000).kinds(),
        "Z".repeat(5000)
    );
    assert_eq!(
        raw.ask(&msg::query("").repeat(500), 500).kinds(),
        "IZ".repeat(500)
    );
    usable(&mut raw);
}

fn statements_that_are_closed_again(b: &Bench) {
    b.mask();
    let email = "SELECT email FROM shop.customers LIMIT 1";
    let mut messages = Vec::new();
    for i in 0..300 {
        let name = format!("s{}", i % 7);
        messages.push(msg::close(b'S', &name));
        messages.push(msg::parse(&name, email, &[]));
        messages.push(msg::bind(&name, &name, &[]));
        messages.push(msg::execute(&name, 1));
        messages.push(msg::close(b'P', &name));
    }
    messages.push(msg::sync());
    let reply = hides(b, &messages);
    assert_eq!(reply.rows().len(), 300);
    // Closed while it waits for its next slice, by name and by the statement's end.
    hides(
        b,
        &[
            msg::query("BEGIN"),
            msg::parse("s", "SELECT email FROM shop.customers", &[]),
            msg::bind("p", "s", &[]),
            msg::execute("p", 2),
            msg::close(b'S', "s"),
            msg::execute("p", 2),
            msg::close(b'P', "p"),
            msg::close(b'P', "never"),
            msg::close(b'S', "never"),
            msg::execute("p", 2),
            msg::sync(),
        ],
    );
}

fn flush_and_no_sync(b: &Bench) {
    b.mask();
    let mut raw = agent(b);
    for _ in 0..20 {
        raw.send(
            &[
                one("SELECT email FROM shop.customers LIMIT 5"),
                msg::flush(),
            ]
            .concat(),
        );
        let reply = raw.read(Duration::from_secs(90), |m| matches!(m.kind, b'C' | b'E'));
        assert_eq!(
            (reply.end, reply.rows().len()),
            (End::Found, 5),
            "{}",
            reply.kinds()
        );
    }
    // Its records are there before a Sync is.
    assert!(b.audit("'shop.customers' = ANY (relations)").len() >= 19);
    assert_eq!(leak(&raw.received), None);
    raw.ask(&msg::sync(), 1);
    usable(&mut raw);
}
