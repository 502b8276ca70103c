//! The audit survives crashes, locks and dropped databases, and nobody can touch it.

use cluster_tests::{Bench, Case, Cluster, cases};
use std::sync::Arc;
use std::time::Duration;

pub const CASES: &[Case] = cases![
    kill_9_mid_statement_is_unknown,
    a_crashed_server_loses_nothing,
    a_killed_postmaster_loses_nothing,
    durable_before_the_first_row,
    health_is_told,
    the_agent_cannot_touch_it,
    a_locked_audit_table_hangs_nobody,
    drop_database_does_not_hang,
];

/// A server of its own, with fsync as it should be.
fn own(b: &Bench) -> Bench {
    Bench::new(Arc::new(Cluster::start(b.version, "fsync = on")))
}

fn kill_9_mid_statement_is_unknown(b: &Bench) {
    let own = own(b);
    own.allow();
    let mut agent = own.agent();
    agent.query("SELECT 1 AS before");
    let pid = agent.pid.to_string();
    agent.send("SELECT o.id, repeat('x', 1000) FROM shop.orders o, generate_series(1, 100000) g");
    // Rows have left: it has a record, and goes on.
    agent.wait_for_bytes(100_000);
    assert!(own.cluster.kill_process(&pid), "the server goes on");
    let _ = agent.collect();
    let rows = own.audit("true");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[1]["outcome"], "unknown", "{}", rows[1]);
    assert!(
        rows[1]["relations"].to_string().contains("shop.orders"),
        "{}",
        rows[1]
    );
}

fn numbered(b: &Bench, count: usize) {
    let mut agent = b.agent();
    for i in 0..count {
        agent.query(&format!("SELECT id FROM shop.orders LIMIT {}", i + 1));
    }
}

fn all_numbered(b: &Bench, count: usize) {
    let rows = b.audit("relations::text LIKE '%shop.orders%'");
    assert_eq!(rows.len(), count, "statements answered: {count}");
}

fn a_crashed_server_loses_nothing(b: &Bench) {
    let own = own(b);
    own.allow();
    numbered(&own, 25);
    own.cluster.restart();
    all_numbered(&own, 25);
    numbered(&own, 5);
    own.cluster.restart();
    all_numbered(&own, 30);
}

fn a_killed_postmaster_loses_nothing(b: &Bench) {
    let own = own(b);
    own.allow();
    numbered(&own, 10);
    own.cluster.kill_postmaster();
    all_numbered(&own, 10);
}

fn durable_before_the_first_row(b: &Bench) {
    let own = own(b);
    own.allow();
    let mut agent = own.agent();
    agent.query("BEGIN");
    agent
        .parse("", "SELECT id FROM shop.orders")
        .bind("p", "", &[], false)
        .sync()
        .ok();
    let answer = agent.execute("p", 1).sync().ok();
    assert_eq!(answer.rows.len(), 1);
    // The row is here, so its record has to outlive the power.
    own.cluster.restart();
    let rows = own.audit("relations::text LIKE '%shop.orders%' AND rows_returned = 1");
    assert_eq!(rows.len(), 1, "{rows:?}");
}

fn health_is_told(b: &Bench) {
    b.allow();
    b.agent().query("SELECT 1");
    b.flush_audit();
    let health = b
        .setup("SELECT to_jsonb(h)::text FROM agent_policy.health h")
        .column()
        .join("\n");
    assert!(
        health.contains("spool") && health.contains("lag") && health.contains("writer"),
        "{health}"
    );
}

fn the_agent_cannot_touch_it(b: &Bench) {
    b.allow();
    b.setup("GRANT ALL ON ALL TABLES IN SCHEMA agent_policy TO @agent@; GRANT USAGE ON SCHEMA agent_policy TO @agent@; SELECT agent_policy.protect_role('@agent@', 'ddl');");
    b.setup_error("SELECT agent_policy.allow_schema('@agent@', 'agent_policy', 'write')");
    for sql in [
        "DELETE FROM agent_policy.audit_log",
        "TRUNCATE agent_policy.audit_log",
        "UPDATE agent_policy.audit_log SET user_email = 'x'",
        "DROP TABLE agent_policy.audit_log",
        "INSERT INTO agent_policy.audit_log SELECT * FROM agent_policy.audit_log",
        "LOCK TABLE agent_policy.audit_log",
    ] {
        assert!(!b.agent().simple(sql).errors.is_empty(), "{sql}");
    }
}

fn a_locked_audit_table_hangs_nobody(b: &Bench) {
    b.allow();
    let mut locker = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    locker.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    let mut agent = b.agent();
    // Less than its time limit, which would end its wait.
    agent.set_patience(Duration::from_secs(45));
    agent.query("SELECT count(*) FROM shop.orders");
    locker.query("ROLLBACK");
    assert_eq!(b.audit("relations::text LIKE '%orders%'").len(), 1);
}

fn drop_database_does_not_hang(b: &Bench) {
    let other = Bench::new(Arc::clone(&b.cluster));
    other.allow();
    other.agent().query("SELECT 1 FROM shop.orders");
    let mut su = b
        .cluster
        .connect("postgres", "postgres", &[])
        .expect("connects");
    // Each of them waits five seconds for those to go that it has ended.
    let drop = format!("DROP DATABASE {} WITH (FORCE)", other.db);
    assert!((0..4).any(|_| su.simple(&drop).errors.is_empty()), "{drop}");
    std::mem::forget(other);
    // The others are audited as before.
    b.allow();
    b.agent().query("SELECT 1");
    assert_eq!(b.audit("true").len(), 1);
}
