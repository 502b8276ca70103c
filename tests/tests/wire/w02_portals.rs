//! Portals: in slices, side by side, over errors, savepoints and changes of policy.

use cluster_tests::bench::leak;
use cluster_tests::raw::{Raw, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, agent_with, plain, usable};

pub const CASES: &[Case] = cases![
    slices_add_up,
    slices_of_bytes_add_up,
    interleaved_portals_are_counted_each,
    fetch_and_execute_of_the_same_portal,
    rows_of_a_writing_statement,
    a_portal_over_a_savepoint,
    a_portal_and_another_policy,
    a_portal_and_another_user,
    a_portal_does_not_outlive_its_transaction,
    executed_again_after_its_end,
    every_slice_is_recorded,
];

const MAX: usize = 100;

fn limited(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 100)");
}

/// Executes the portal so many times, in the transaction at hand; rows that came.
fn slices(raw: &mut Raw, portal: &str, limit: i32, times: usize) -> usize {
    let messages = [msg::execute(portal, limit), msg::sync()].concat();
    (0..times).map(|_| raw.ask(&messages, 1).rows().len()).sum()
}

fn bound(raw: &mut Raw, portal: &str, sql: &str) {
    let messages = [
        msg::parse("", sql, &[]),
        msg::bind(portal, "", &[]),
        msg::sync(),
    ];
    let reply = raw.ask(&messages.concat(), 1);
    assert!(reply.errors().is_empty(), "{}", reply.errors()[0]);
}

fn slices_add_up(b: &Bench) {
    limited(b);
    for limit in [1, 7, 99, 100, 101] {
        let times = 250 / limit as usize + 3;
        for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
            raw.ask(&msg::query("BEGIN"), 1);
            bound(&mut raw, "p", "SELECT * FROM shop.customers");
            let rows = slices(&mut raw, "p", limit, times);
            if confined {
                assert!(rows <= MAX, "{rows} rows in slices of {limit}");
            } else {
                assert!(rows > MAX, "control: {rows} rows");
            }
            raw.ask(&msg::sync(), 1);
            usable(&mut raw);
        }
    }
}

fn slices_of_bytes_add_up(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_bytes => 20000)");
    for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
        raw.ask(&msg::query("BEGIN"), 1);
        bound(&mut raw, "p", "SELECT repeat('x', 1000) FROM shop.orders");
        let from = raw.received.len();
        slices(&mut raw, "p", 3, 30);
        let bytes = raw.received.len() - from;
        assert_eq!(bytes > 30_000, !confined, "{bytes} bytes");
        usable(&mut raw);
    }
}

/// Each execution of a statement has its limit, however they are mixed.
fn interleaved_portals_are_counted_each(b: &Bench) {
    limited(b);
    for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
        raw.ask(&msg::query("BEGIN"), 1);
        let both = [
            msg::parse("s", "SELECT id FROM shop.orders", &[]),
            msg::bind("one", "s", &[]),
            msg::bind("two", "s", &[]),
            msg::sync(),
        ];
        assert_eq!(raw.ask(&both.concat(), 1).kinds(), "122Z");
        let (mut one, mut two) = (0, 0);
        for _ in 0..30 {
            one += slices(&mut raw, "one", 9, 1);
            two += slices(&mut raw, "two", 5, 1);
        }
        if confined {
            assert!(one <= MAX && two <= MAX, "{one} and {two} rows");
            assert!(one > 0 && two > 0);
        } else {
            assert_eq!((one, two), (270, 150));
        }
        usable(&mut raw);
    }
}

fn fetch_and_execute_of_the_same_portal(b: &Bench) {
    limited(b);
    for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
        raw.ask(
            &msg::query("BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM shop.orders"),
            1,
        );
        let mut rows = 0;
        for _ in 0..20 {
            rows += slices(&mut raw, "c", 9, 1);
            rows += raw.ask(&msg::query("FETCH 9 FROM c"), 1).rows().len();
        }
        assert_eq!(rows > MAX, !confined, "{rows} rows");
        usable(&mut raw);
    }
}

/// RETURNING runs to its end first and is sent from a store: another way than a SELECT's.
fn rows_of_a_writing_statement(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write')");
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.orders', 'write')");
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 100)");
    for sql in [
        "UPDATE shop.orders SET status = status RETURNING id",
        "WITH u AS (UPDATE shop.orders SET status = status RETURNING id) SELECT * FROM u",
        "INSERT INTO shop.orders SELECT id + 100000, customer_id, amount FROM shop.orders RETURNING id",
    ] {
        for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
            raw.ask(&msg::query("BEGIN"), 1);
            bound(&mut raw, "p", sql);
            let rows = slices(&mut raw, "p", 7, 60);
            assert_eq!(rows > MAX, !confined, "{rows} rows from {sql}");
            let rows = raw.ask(&msg::query(sql), 1).rows().len();
            assert!(!confined || rows <= MAX, "{rows} rows from {sql}");
            usable(&mut raw);
        }
    }
}

fn a_portal_over_a_savepoint(b: &Bench) {
    limited(b);
    for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
        raw.ask(&msg::query("BEGIN"), 1);
        bound(&mut raw, "p", "SELECT email FROM shop.customers");
        let mut rows = 0;
        for _ in 0..20 {
            raw.send(&msg::query("SAVEPOINT s"));
            raw.until(1);
            rows += slices(&mut raw, "p", 9, 1);
            raw.ask(&msg::query("SELECT * FROM nowhere"), 1);
            let reply = raw.ask(&msg::query("ROLLBACK TO s"), 1);
            assert!(reply.errors().is_empty());
            rows += slices(&mut raw, "p", 9, 1);
        }
        assert_eq!(rows > MAX, !confined, "{rows} rows");
        assert_eq!(leak(&raw.received).is_some(), !confined);
        usable(&mut raw);
    }
}

fn a_portal_and_another_policy(b: &Bench) {
    b.allow();
    let mut raw = agent(b);
    raw.ask(&msg::query("BEGIN"), 1);
    bound(&mut raw, "p", "SELECT email FROM shop.customers");
    bound(&mut raw, "q", "SELECT email FROM shop.customers");
    assert_eq!(slices(&mut raw, "p", 3, 1), 3);
    let before = raw.received.len();
    b.setup("SELECT agent_policy.mask_column('shop.customers', 'email')");
    for portal in ["p", "q"] {
        slices(&mut raw, portal, 3, 1);
        assert_eq!(leak(&raw.received[before..]), None);
    }
    usable(&mut raw);
}

/// Rows that were fetched for one user are not there for the next.
fn a_portal_and_another_user(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.require_identity('@agent@', 'none')");
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$region = CASE agent_policy.user_email() WHEN 'alice@example.com' THEN 'north' WHEN 'bob@example.com' THEN 'south' END$$)");
    let mut raw = agent_with(b, &[]);
    raw.ask(&msg::query("BEGIN"), 1);
    // Sorted: all rows are read when the first one is asked for.
    bound(
        &mut raw,
        "p",
        "SELECT region FROM shop.customers ORDER BY name",
    );
    raw.ask(
        &msg::query("SAVEPOINT s; SELECT agent_policy.assert_user('alice@example.com')"),
        1,
    );
    assert_eq!(slices(&mut raw, "p", 2, 1), 2, "Alice has rows");
    raw.ask(&msg::query("ROLLBACK TO s"), 1);
    let reply = raw.ask(
        &msg::query("SELECT agent_policy.assert_user('bob@example.com')"),
        1,
    );
    assert!(reply.errors().is_empty(), "{}", reply.errors()[0]);
    raw.send(&[msg::execute("p", 5), msg::sync()].concat());
    let reply = raw.until(1);
    assert!(
        !String::from_utf8_lossy(&reply.bytes()).contains("north"),
        "Bob gets Alice's rows"
    );
    usable(&mut raw);
}

fn a_portal_does_not_outlive_its_transaction(b: &Bench) {
    limited(b);
    let mut raw = agent(b);
    bound(&mut raw, "p", "SELECT id FROM shop.orders");
    raw.ask(&msg::sync(), 1);
    assert_eq!(
        raw.ask(&[msg::execute("p", 5), msg::sync()].concat(), 1)
            .code(),
        "34000"
    );
    // WITH HOLD, by which it would, is refused.
    let reply = raw.ask(
        &msg::extended("DECLARE h CURSOR WITH HOLD FOR SELECT email FROM shop.customers"),
        1,
    );
    assert_eq!(reply.code(), "42501");
    usable(&mut raw);
}

fn executed_again_after_its_end(b: &Bench) {
    limited(b);
    for (mut raw, confined) in [(plain(b), false), (agent(b), true)] {
        raw.ask(&msg::query("BEGIN"), 1);
        bound(&mut raw, "p", "SELECT id FROM shop.orders");
        let mut rows = 0;
        for _ in 0..5 {
            rows += slices(&mut raw, "p", 0, 1);
        }
        assert_eq!(rows > MAX, !confined, "{rows} rows");
        usable(&mut raw);
    }
}

fn every_slice_is_recorded(b: &Bench) {
    b.allow();
    let mut raw = agent(b);
    raw.ask(&msg::query("BEGIN"), 1);
    bound(&mut raw, "one", "SELECT id FROM shop.orders");
    bound(&mut raw, "two", "SELECT id FROM shop.customers");
    for _ in 0..4 {
        slices(&mut raw, "one", 11, 1);
        slices(&mut raw, "two", 13, 1);
    }
    usable(&mut raw);
    for (relation, rows) in [("shop.orders", 44), ("shop.customers", 52)] {
        let recorded: u64 = b
            .audit(&format!("'{relation}' = ANY (relations)"))
            .iter()
            .filter_map(|r| r["rows_returned"].as_u64())
            .sum();
        assert_eq!(recorded, rows, "{relation}");
    }
}
