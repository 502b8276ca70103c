//! COPY and its messages: at the wrong moment, in the wrong direction, to the end or not.

use cluster_tests::bench::leak;
use cluster_tests::raw::{End, msg};
use cluster_tests::{Bench, Case, cases};

use crate::common::{agent, asks, hides, others_served, plain, usable};

pub const CASES: &[Case] = cases![
    data_after_a_refusal,
    data_without_copy,
    data_while_rows_come_out,
    tables_and_queries_out,
    out_in_binary,
    out_is_limited,
    into_a_table_and_interrupted,
    a_reader_that_goes_away,
    several_copies_in_one_message,
];

fn rows() -> Vec<u8> {
    [
        msg::copy_data(b"70\tQUAGGA typed\n71\tx\n"),
        msg::copy_data(b"72\ty\n"),
        msg::copy_done(),
    ]
    .concat()
}

/// The client does not wait for the answer to COPY, as it need not.
fn data_after_a_refusal(b: &Bench) {
    b.allow();
    let count = || b.value("SELECT count(*) FROM shop.scratch");
    for sql in [
        "COPY shop.scratch FROM STDIN",
        "COPY shop.scratch (id, v) FROM STDIN WITH (FORMAT csv)",
        "COPY shop.scratch FROM STDIN BINARY",
        "COPY pg_temp.x FROM STDIN",
    ] {
        let simple = [msg::query(sql), rows()].concat();
        let extended = [
            msg::parse("", sql, &[]),
            msg::bind("", "", &[]),
            msg::execute("", 0),
            rows(),
            msg::sync(),
        ]
        .concat();
        for messages in [simple, extended] {
            let mut raw = agent(b);
            let reply = raw.ask(&messages, 1);
            assert_eq!(reply.kinds().replace(['1', '2'], ""), "EZ", "{sql}");
            assert_eq!(reply.code(), "25006", "{}", reply.errors()[0]);
            assert_eq!(count(), "2");
            usable(&mut raw);
        }
    }
    let reply = plain(b).ask(
        &[msg::query("COPY shop.scratch FROM STDIN"), rows()].concat(),
        1,
    );
    assert_eq!(
        (reply.kinds().as_str(), count().as_str()),
        ("GCZ", "5"),
        "control"
    );
}

fn data_without_copy(b: &Bench) {
    b.mask();
    let email = || msg::query("SELECT email FROM shop.customers LIMIT 1");
    for stray in [
        msg::copy_data(b"x"),
        msg::copy_done(),
        msg::copy_fail("no"),
        rows(),
    ] {
        hides(
            b,
            &[
                stray.clone(),
                email(),
                stray.clone(),
                email(),
                stray.clone(),
            ],
        );
        let parsed = [
            msg::parse("", "SELECT email FROM shop.customers", &[]),
            stray.clone(),
            msg::bind("", "", &[]),
            stray.clone(),
            msg::execute("", 1),
            stray.clone(),
            msg::execute("", 1),
            msg::sync(),
        ];
        let reply = hides(b, &parsed);
        assert!(reply.rows().len() <= 2);
    }
}

fn data_while_rows_come_out(b: &Bench) {
    b.mask();
    for stray in [
        msg::copy_data(b"x"),
        msg::copy_done(),
        msg::copy_fail("no"),
        msg::flush(),
    ] {
        let reply = hides(
            b,
            &[
                msg::query("COPY shop.customers TO STDOUT"),
                stray.clone(),
                stray.clone(),
                msg::query("COPY (SELECT email, c FROM shop.customers c) TO STDOUT"),
                stray,
            ],
        );
        // The table by itself, and with what inherits from it.
        assert_eq!(reply.tags(), ["COPY 400", "COPY 401"]);
    }
}

fn tables_and_queries_out(b: &Bench) {
    b.mask();
    for sql in [
        "COPY shop.customers TO STDOUT",
        "COPY shop.customers (email, ssn) TO STDOUT CSV HEADER",
        "COPY (TABLE shop.customers) TO STDOUT",
        "COPY (SELECT c FROM shop.customers c) TO STDOUT",
        "COPY shop.events TO STDOUT",
        "COPY (SELECT * FROM shop.events) TO STDOUT",
        "COPY shop.hidden TO STDOUT",
        "COPY vault.secrets TO STDOUT",
        "COPY (SELECT * FROM vault.secrets) TO STDOUT",
    ] {
        if sql == "COPY shop.hidden TO STDOUT" {
            b.setup("SELECT agent_policy.deny_relation('@agent@', 'shop.hidden')");
        }
        if sql == "COPY shop.events TO STDOUT" {
            // The server has no COPY of a partitioned table: it says so to everybody.
            assert!(!asks(b, &[msg::query(sql)]).errors().is_empty());
            continue;
        }
        hides(b, &[msg::query(sql)]);
        hides(
            b,
            &[
                msg::parse("c", sql, &[]),
                msg::describe(b'S', "c"),
                msg::bind("p", "c", &[]),
                msg::describe(b'P', "p"),
                msg::execute("p", 1),
                msg::execute("p", 0),
                msg::sync(),
            ],
        );
    }
}

fn out_in_binary(b: &Bench) {
    b.mask();
    for sql in [
        "COPY shop.customers TO STDOUT BINARY",
        "COPY (SELECT email, note, phone FROM shop.customers) TO STDOUT (FORMAT binary)",
        "COPY (SELECT array_agg(email) FROM shop.customers) TO STDOUT BINARY",
    ] {
        let reply = hides(b, &[msg::query(sql)]);
        assert!(reply.errors().is_empty(), "{sql}: {}", reply.errors()[0]);
    }
}

fn out_is_limited(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 50)");
    let copy = msg::query("COPY shop.orders TO STDOUT");
    let lines = |reply: cluster_tests::raw::Reply| {
        reply
            .messages
            .iter()
            .filter(|m| m.kind == b'd')
            .flat_map(|m| &m.body)
            .filter(|byte| **byte == b'\n')
            .count()
    };
    assert_eq!(lines(plain(b).ask(&copy, 1)), 3000, "control");
    let got = lines(agent(b).ask(&copy, 1));
    assert!(got <= 50, "{got} rows");
}

/// A role that may write begins to send, and does something else.
fn into_a_table_and_interrupted(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write')");
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')");
    let begin = || {
        [
            msg::query("COPY shop.scratch FROM STDIN"),
            msg::copy_data(b"80\tz\n"),
        ]
        .concat()
    };
    let count = || b.value("SELECT count(*) FROM shop.scratch");
    // Flush and Sync are nothing here; the rows arrive.
    let mut raw = agent(b);
    let reply = raw.ask(
        &[begin(), msg::flush(), msg::sync(), msg::copy_done()].concat(),
        1,
    );
    assert_eq!((reply.kinds().as_str(), count().as_str()), ("GCZ", "3"));
    // Anything else ends it, with an error or with the session.
    for other in [
        msg::copy_fail("changed my mind"),
        msg::query("SELECT * FROM vault.secrets"),
        msg::parse("", "SELECT * FROM vault.secrets", &[]),
        msg::call(870, &[], &[Some(b"x")], 0),
        msg::terminate(),
        msg::frame(b'!', b"what"),
        Vec::new(),
    ] {
        let reply = agent(b).finish(&[begin(), other].concat());
        assert_eq!(reply.end, End::Closed);
        assert_eq!(leak(&reply.bytes()), None);
        assert_eq!(count(), "3");
    }
    others_served(b);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while b.audit("command_tag = 'COPY' AND outcome <> 'ok'").len() < 7 {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            b.audit("true")
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn a_reader_that_goes_away(b: &Bench) {
    b.mask();
    for sql in [
        "COPY (SELECT c.email FROM shop.customers c, shop.orders o) TO STDOUT",
        "SELECT c.email, repeat('x', 100) FROM shop.customers c, shop.orders o",
    ] {
        for read in [0, 1, 5000] {
            let mut raw = agent(b);
            raw.send(&msg::query(sql));
            let got = raw.bytes(read);
            assert_eq!(leak(&got), None);
        }
    }
    others_served(b);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while b.audit("'shop.orders' = ANY (relations)").len() < 6 {
        assert!(
            std::time::Instant::now() < deadline,
            "{:?}",
            b.audit("true")
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn several_copies_in_one_message(b: &Bench) {
    b.mask();
    let reply = hides(
        b,
        &[msg::query(
            "COPY shop.customers TO STDOUT; SELECT 1; COPY (SELECT email FROM shop.customers) TO STDOUT; SELECT email FROM shop.customers",
        )],
    );
    assert_eq!(reply.tags().len(), 4);
    assert_eq!(b.audit("'shop.customers' = ANY (relations)").len(), 3);
    let reply = asks(
        b,
        &[
            msg::query("COPY shop.customers TO STDOUT; COPY shop.scratch FROM STDIN; SELECT 1"),
            msg::copy_done(),
        ],
    );
    assert_eq!(reply.code(), "25006");
}
