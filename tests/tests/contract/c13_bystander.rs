//! Everybody else: sees nothing of it.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    another_role_sees_raw_values,
    another_role_writes_and_defines,
    plans_are_the_same,
    settings_and_functions_are_the_same,
    tools_dump_and_restore_statements,
    an_unconfined_session_is_not_slowed_by_denials,
    superusers_and_owners,
    the_catalog_looks_as_before,
    prepared_statements_survive_policy_changes,
    serializable_transactions_hold_no_lock_on_the_policy,
];

fn another_role_sees_raw_values(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'false'); SELECT agent_policy.set_limits('@agent@', max_rows => 1)");
    let mut plain = b.unconfined();
    let answer = plain.query("SELECT * FROM shop.customers ORDER BY id");
    assert_eq!((answer.rows.len(), answer.notices.len()), (401, 0));
    assert!(answer.shows("c1@okapi.test") && answer.shows("811-22-0400"));
    assert_eq!(
        plain.query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
    plain.query("SELECT * FROM vault.secrets; SELECT ctid, xmin FROM shop.customers; COPY shop.customers TO STDOUT");
}

fn another_role_writes_and_defines(b: &Bench) {
    b.mask();
    b.unconfined().query(
        "CREATE TEMP TABLE t AS SELECT email FROM shop.customers; INSERT INTO shop.scratch VALUES (5, 'x'); DO $$ BEGIN NULL; END $$;
         CREATE TABLE shop.mine (a int); DROP TABLE shop.mine; LISTEN a; NOTIFY a; SELECT pg_sleep(0), pg_advisory_lock(1), nextval('shop.counter');
         SET statement_timeout = 0; SET session_authorization = default; LOCK TABLE shop.orders; SELECT * FROM shop.orders WHERE id = 1 FOR UPDATE;
         UPDATE shop.customers SET note = email WHERE ssn = '811-22-0001'",
    );
    assert_eq!(
        b.value("SELECT note FROM shop.customers WHERE id = 1"),
        "c1@okapi.test"
    );
}

fn plans_are_the_same(b: &Bench) {
    let explain = |b: &Bench, sql: &str| {
        b.unconfined()
            .query(&format!("EXPLAIN (VERBOSE) {sql}"))
            .column()
            .join("\n")
    };
    let statements = [
        "SELECT * FROM shop.customers WHERE ssn = '811-22-0001'",
        "SELECT * FROM shop.all_customers() WHERE id = 3",
        "SELECT max(email) FROM shop.customers",
        "SELECT * FROM shop.customer_list WHERE email LIKE 'c1%'",
    ];
    let before: Vec<_> = statements.iter().map(|s| explain(b, s)).collect();
    b.mask();
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$region = 'north'$$)");
    let after: Vec<_> = statements.iter().map(|s| explain(b, s)).collect();
    assert_eq!(
        before, after,
        "SQL functions are still inlined, plans unchanged"
    );
}

fn settings_and_functions_are_the_same(b: &Bench) {
    b.allow();
    let mut plain = b.unconfined();
    for sql in [
        "SET work_mem = '10MB'",
        "SET default_transaction_read_only = on",
        "RESET ALL",
        "DISCARD ALL",
        "SELECT pg_backend_pid()",
        "SELECT shop.plus_one(1)",
        "SELECT txid_current()",
        "SELECT count(*) FROM pg_stats",
        "SELECT query FROM pg_stat_activity",
    ] {
        plain.query(sql);
    }
}

fn tools_dump_and_restore_statements(b: &Bench) {
    b.mask();
    b.setup("COPY shop.customers TO STDOUT");
    b.setup("SELECT pg_get_viewdef('shop.customer_list'::regclass), pg_get_functiondef('shop.get_email(int)'::regprocedure)");
    b.setup("VACUUM ANALYZE shop.customers");
    b.setup("REINDEX TABLE shop.customers");
    b.setup("ALTER TABLE shop.customers ADD COLUMN more text");
    b.masks("SELECT * FROM shop.customers");
}

fn an_unconfined_session_is_not_slowed_by_denials(b: &Bench) {
    b.allow();
    b.agent().simple("SELECT * FROM vault.secrets");
    assert_eq!(
        b.unconfined()
            .query("SELECT token FROM vault.secrets")
            .one(),
        "QUAGGA vault"
    );
    let error = b.unconfined().error("SELECT * FROM no_such_table");
    assert_eq!(
        (
            error.code.as_str(),
            error.detail.as_str(),
            error.hint.as_str()
        ),
        ("42P01", "", "")
    );
}

fn superusers_and_owners(b: &Bench) {
    b.mask();
    assert!(
        b.setup("SELECT email FROM shop.customers")
            .shows("okapi.test")
    );
    assert!(
        b.setup("SET ROLE shop_owner; SELECT email FROM shop.customers; RESET ROLE")
            .shows("okapi.test")
    );
}

fn the_catalog_looks_as_before(b: &Bench) {
    let look = |b: &Bench| {
        b.value("SELECT md5(string_agg(concat_ws(' ', c.relname, c.relkind, c.relrowsecurity, c.relhasrules, c.relhastriggers, a.attname, a.atttypid), ',' ORDER BY c.relname, a.attnum)) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE relnamespace = 'shop'::regnamespace")
    };
    let before = look(b);
    b.mask();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id < 5')");
    assert_eq!(look(b), before, "the policy leaves the relations alone");
    b.setup("SELECT agent_policy.release_role('@agent@')");
    assert_eq!(look(b), before);
}

fn prepared_statements_survive_policy_changes(b: &Bench) {
    let mut plain = b.unconfined();
    plain.query("PREPARE p AS SELECT email FROM shop.customers WHERE id = 1");
    for _ in 0..6 {
        plain.query("EXECUTE p");
    }
    b.mask();
    assert_eq!(plain.query("EXECUTE p").one(), "c1@okapi.test");
}

/// The policy is read in everybody's sessions, and must not become part of what they read.
fn serializable_transactions_hold_no_lock_on_the_policy(b: &Bench) {
    b.mask();
    let mut plain = b.unconfined();
    plain.query("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM shop.scratch");
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 5)");
    plain.query("SELECT id FROM shop.orders WHERE id = 1");
    let locked = plain.query(
        "SELECT DISTINCT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'SIReadLock' ORDER BY 1",
    );
    assert!(
        locked.column().iter().all(|name| name.starts_with("shop.")),
        "{:?}",
        locked.column()
    );
    assert!(!locked.rows.is_empty());
    plain.query("COMMIT");
}
