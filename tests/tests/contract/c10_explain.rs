//! check(), describe(), monitor mode, and denials that lead to the next try.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    check_without_running,
    check_says_what_running_would,
    check_takes_what_does_not_parse,
    check_shows_masks_filters_and_cost,
    check_in_monitor_mode,
    monitor_mode_blocks_and_masks_nothing,
    denial_detail_is_json,
    hints_name_what_would_pass,
];

fn check(b: &Bench, sql: &str) -> Vec<Vec<String>> {
    b.setup(&format!(
        "SELECT verdict, rule, object, message, hint FROM agent_policy.check('@agent@', {}, 'alice@example.com')",
        cluster_tests::sql::literal(sql)
    ))
    .texts()
}

fn check_without_running(b: &Bench) {
    b.allow();
    let rows = check(b, "SELECT count(*) FROM shop.orders");
    assert_eq!(
        (rows.len(), rows[0][0].as_str()),
        (1, "allowed"),
        "{rows:?}"
    );
    let rows = check(b, "DELETE FROM shop.scratch");
    assert_eq!(
        (rows[0][0].as_str(), rows[0][1].as_str()),
        ("denied", "read_only"),
        "{rows:?}"
    );
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
    let rows = check(b, "SELECT * FROM vault.secrets");
    assert_eq!(
        (rows[0][0].as_str(), rows[0][1].as_str()),
        ("denied", "relation_not_allowed"),
        "{rows:?}"
    );
    assert!(
        rows[0][2].contains("vault.secrets") && rows[0][4] != "∅",
        "{rows:?}"
    );
    // One row a finding.
    let rows = check(b, "SELECT pg_sleep(1) FROM vault.secrets");
    assert!(rows.len() >= 2, "{rows:?}");
}

fn check_says_what_running_would(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'amount')");
    for sql in [
        "SELECT 1",
        "SELECT * FROM shop.orders",
        "SELECT id FROM shop.orders",
        "SELECT email FROM shop.customers",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT shop.plus_one(1)",
        "COPY shop.customers TO STDOUT",
        "COPY shop.scratch TO '/tmp/x'",
        "SELECT * FROM pg_authid",
        "SELECT relname FROM pg_class",
        "SET application_name = 'x'",
        "SET session_replication_role = replica",
        "CREATE TABLE shop.x (a int)",
        "BEGIN",
        "SELECT * FROM shop.contacts",
        "SELECT token FROM shop.vault_invoker",
        "SELECT token FROM shop.vault_view",
        "SELECT * FROM shop.scratch FOR UPDATE",
        "EXPLAIN SELECT 1",
        "WITH d AS (DELETE FROM shop.scratch RETURNING *) SELECT * FROM d",
        "LISTEN x",
    ] {
        let verdict = check(b, sql).iter().any(|row| row[0] == "denied");
        let error = b.agent().simple(sql).errors.first().cloned();
        assert_eq!(
            verdict,
            error.is_some(),
            "{sql}: check and run differ: {error:?}"
        );
    }
}

fn check_takes_what_does_not_parse(b: &Bench) {
    b.allow();
    for sql in [
        "SELEKT",
        "",
        "SELECT 'unterminated",
        "SELECT * FROM no_such_table",
        "))))",
    ] {
        let rows = check(b, sql);
        assert!(!rows.is_empty(), "at least one row for {sql:?}");
    }
}

fn check_shows_masks_filters_and_cost(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'id < 100')");
    let row = b.setup(
        "SELECT masked_columns::text, row_filters::text, plan_cost::text, plan_rows::text FROM agent_policy.check('@agent@', 'SELECT c.email FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id', 'alice@example.com')",
    );
    assert!(row.text(0, 0).contains("email"), "{:?}", row.texts());
    assert!(
        row.text(0, 1).contains("orders") || row.text(0, 1).contains("id < 100"),
        "{:?}",
        row.texts()
    );
    assert!(
        row.text(0, 2).parse::<f64>().is_ok_and(|c| c > 0.0),
        "{:?}",
        row.texts()
    );
}

fn check_in_monitor_mode(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', mode => 'monitor')");
    assert_eq!(check(b, "SELECT * FROM vault.secrets")[0][0], "would_deny");
}

fn monitor_mode_blocks_and_masks_nothing(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.filter_rows('shop.orders', 'false'); SELECT agent_policy.set_limits('@agent@', max_rows => 5)");
    b.setup("SELECT agent_policy.protect_role('@agent@', mode => 'monitor')");
    let mut agent = b.agent();
    assert!(
        agent
            .query("SELECT email FROM shop.customers")
            .shows("okapi.test")
    );
    assert_eq!(
        agent.query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
    agent.query("DELETE FROM shop.scratch WHERE id = 1");
    agent.query("SELECT pg_sleep(0)");
    agent.query("CREATE TEMP TABLE t (a int)");
    b.agent_with(&[]).expect("connects").query("SELECT 1");
}

fn denial_detail_is_json(b: &Bench) {
    b.mask();
    let error = b.denies(
        "SELECT * FROM vault.secrets",
        "42501",
        "relation_not_allowed",
    );
    assert!(
        error.detail_json()["object"]
            .as_str()
            .is_some_and(|o| o.contains("vault.secrets")),
        "{error}"
    );
    let error = b.denies("SELECT pg_sleep(0)", "42501", "function_not_allowed");
    assert!(
        error.detail_json()["object"]
            .as_str()
            .is_some_and(|o| o.contains("pg_sleep")),
        "{error}"
    );
    b.denies("DELETE FROM shop.scratch", "25006", "read_only");
    b.denies("VACUUM", "42501", "statement_not_allowed");
    b.denies(
        "SET session_replication_role = replica",
        "42501",
        "setting_not_allowed",
    );
    // A name that does not exist and one that is denied read alike enough: no error tells a denied table's columns.
    let error = b.agent().error("SELECT no_such_column FROM vault.secrets");
    assert!(
        !error.message.contains("token") && !error.hint.contains("token"),
        "{error}"
    );
}

fn hints_name_what_would_pass(b: &Bench) {
    b.protect();
    b.setup("SELECT agent_policy.allow_relation('@agent@', 'shop.orders'); SELECT agent_policy.allow_relation('@agent@', 'shop.customers'); SELECT agent_policy.deny_column('@agent@', 'shop.customers', 'ssn')");
    let error = b.denies("SELECT * FROM shop.customers", "42501", "column_denied");
    assert!(
        error.hint.contains("name") && !error.hint.contains("ssn,"),
        "{error}"
    );
    let error = b.denies(
        "SELECT * FROM shop.scratch",
        "42501",
        "relation_not_allowed",
    );
    assert!(
        error.hint.contains("shop.orders") || error.hint.contains("describe"),
        "{error}"
    );
}
