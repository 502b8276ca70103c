//! Cancel requests: at every moment, with and without the right key.

use std::time::Duration;

use cluster_tests::bench::leak;
use cluster_tests::raw::{End, Raw, msg};
use cluster_tests::{Bench, Case, Cluster, cases};

use crate::common::{agent, others_served, plain, usable};

pub const CASES: &[Case] = cases![
    with_the_right_key,
    with_a_wrong_key,
    others_are_not_cancelled,
    while_rows_wait_for_their_record,
    in_every_state,
    a_cancelled_statement_is_recorded,
];

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 2000000000)";

fn with_the_right_key(b: &Bench) {
    b.allow();
    let mut raw = agent(b);
    raw.send(&msg::query(ENDLESS));
    b.wait_until_active(raw.pid);
    raw.cancel();
    cancelled(&mut raw);
    usable(&mut raw);
}

/// Ended by the request, and not by its time limit.
#[track_caller]
fn cancelled(raw: &mut Raw) {
    let reply = raw.until(1);
    assert_eq!(reply.code(), "57014", "{}", reply.kinds());
    assert_eq!(reply.errors()[0].rule(), "", "{}", reply.errors()[0]);
}

fn with_a_wrong_key(b: &Bench) {
    b.allow();
    let mut raw = agent(b);
    raw.send(&msg::query(ENDLESS));
    b.wait_until_active(raw.pid);
    let mut wrong = raw.key.clone();
    wrong[0] ^= 1;
    for (pid, key) in [
        (raw.pid, wrong),
        (raw.pid, vec![0; 4]),
        (raw.pid, Vec::new()),
        (raw.pid, vec![0xff; 32]),
        (raw.pid, raw.key[..3].to_vec()),
        (raw.pid, [&raw.key[..], b"more"].concat()),
        (raw.pid + 1, raw.key.clone()),
        (-1, raw.key.clone()),
    ] {
        raw.cancel_with(pid, &key);
    }
    // Each of them has been looked at by now.
    let quiet = raw.read(Duration::from_millis(500), |_| true);
    assert_eq!(quiet.end, End::Silent, "{}", quiet.kinds());
    b.wait_until_active(raw.pid);
    raw.cancel();
    cancelled(&mut raw);
    usable(&mut raw);
}

fn others_are_not_cancelled(b: &Bench) {
    b.allow();
    let mut bystander = plain(b);
    b.setup("SELECT pg_advisory_lock(4711)");
    bystander.send(&msg::query("SELECT pg_advisory_lock(4711)"));
    b.wait_until_active(bystander.pid);
    let mut agent = agent(b);
    // What an agent may know of others: their pids, if that.
    for _ in 0..5 {
        agent.cancel_with(bystander.pid, &agent.key.clone());
    }
    for sql in [
        format!("SELECT pg_cancel_backend({})", bystander.pid),
        format!("SELECT pg_terminate_backend({})", bystander.pid),
    ] {
        assert_eq!(agent.ask(&msg::query(sql), 1).code(), "42501");
    }
    let quiet = bystander.read(Duration::from_millis(300), |_| true);
    assert_eq!(quiet.end, End::Silent, "{}", quiet.kinds());
    b.setup("SELECT pg_advisory_unlock(4711)");
    let reply = bystander.until(1);
    assert!(reply.errors().is_empty(), "{}", reply.errors()[0]);
}

/// Rows are held until the record is in the log table, which takes its time: the cancellation comes in between.
fn while_rows_wait_for_their_record(b: &Bench) {
    let cluster = Cluster::start(b.version, "agent_policy.audit_durability = 'table'");
    let own = Bench::new(std::sync::Arc::new(cluster));
    own.mask();
    let sql = msg::query("SELECT email FROM shop.customers");
    let mut cancelled = 0;
    for wait in [0, 1, 2, 3, 5, 8, 13, 20, 30, 50] {
        let mut raw = agent(&own);
        raw.send(&sql);
        std::thread::sleep(Duration::from_millis(wait));
        raw.cancel();
        let reply = raw.until(1);
        assert_eq!(reply.end, End::Found, "{}", reply.kinds());
        assert_eq!(leak(&raw.received), None);
        if reply.code() == "57014" {
            cancelled += 1;
        } else {
            assert!(reply.errors().is_empty(), "{}", reply.errors()[0]);
            assert_eq!(reply.rows().len(), 401);
        }
        usable(&mut raw);
    }
    let log = own.audit("'shop.customers' = ANY (relations)");
    assert_eq!(
        log.iter().filter(|r| r["outcome"] == "ok").count(),
        10 - cancelled
    );
    let shown: u64 = log.iter().filter_map(|r| r["rows_returned"].as_u64()).sum();
    assert!(shown >= 401 * (10 - cancelled as u64), "{shown}");
}

/// Each state of the protocol, with a request that comes when it may.
fn in_every_state(b: &Bench) {
    b.mask();
    let email = "SELECT c.email FROM shop.customers c, shop.orders";
    let states: &[Vec<Vec<u8>>] = &[
        vec![],
        vec![msg::parse("s", email, &[])],
        vec![msg::parse("s", email, &[]), msg::bind("p", "s", &[])],
        vec![
            msg::parse("s", email, &[]),
            msg::bind("p", "s", &[]),
            msg::execute("p", 5),
        ],
        vec![msg::query("BEGIN"), msg::query(email)],
        vec![msg::query(format!(
            "BEGIN; DECLARE c CURSOR FOR {email}; FETCH 100 FROM c"
        ))],
        vec![msg::query(format!("COPY ({email}) TO STDOUT"))],
        vec![msg::query("SELECT * FROM vault.secrets")],
        vec![msg::query(format!("EXPLAIN ANALYZE {email}"))],
        vec![msg::query("SELECT 1/0")],
    ];
    for state in states {
        for wait in [0, 2, 15] {
            let mut raw = agent(b);
            raw.send(&state.concat());
            std::thread::sleep(Duration::from_millis(wait));
            for _ in 0..3 {
                raw.cancel();
            }
            let turns = 1 + state.iter().filter(|m| m[0] == b'Q').count();
            let reply = raw.ask(&msg::sync(), turns);
            assert_eq!(
                reply.end,
                End::Found,
                "{}",
                reply
                    .errors()
                    .first()
                    .map_or(String::new(), |e| e.to_string())
            );
            assert_eq!(leak(&raw.received), None);
            // A late one may still hit what comes next.
            raw.ask(&msg::query("ROLLBACK"), 1);
            usable(&mut raw);
        }
    }
    others_served(b);
}

fn a_cancelled_statement_is_recorded(b: &Bench) {
    b.allow();
    let mut raws: Vec<Raw> = (0..4).map(|_| agent(b)).collect();
    for raw in &mut raws {
        raw.send(&msg::query(ENDLESS));
    }
    for raw in &mut raws {
        b.wait_until_active(raw.pid);
        raw.cancel();
        cancelled(raw);
    }
    let log = b.audit("outcome = 'cancelled'");
    assert_eq!(log.len(), 4);
    assert!(log.iter().all(|r| r["sqlstate"] == "57014"));
}
