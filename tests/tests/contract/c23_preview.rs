//! `agent_policy.preview`: what an agent would see, for a DBA.

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    shows_what_the_agent_sees,
    row_filters_know_the_user,
    refuses_what_the_agent_is_refused,
    writes_nothing,
    leaves_no_trace,
    advisory_locks_are_the_sessions,
    is_for_those_who_may_act_as_the_role,
    errors_are_the_agents,
];

fn preview(b: &Bench, email: &str, sql: &str) -> Vec<String> {
    b.setup(&format!(
        "SELECT agent_policy.preview('@agent@', '{email}', $preview${sql}$preview$)"
    ))
    .column()
}

fn shows_what_the_agent_sees(b: &Bench) {
    b.mask();
    for sql in [
        "SELECT * FROM shop.customers ORDER BY id",
        "SELECT c FROM shop.customers c ORDER BY id",
        "SELECT max(email), count(*), array_agg(ssn) FROM shop.customers",
        "SELECT * FROM shop.customer_list ORDER BY id",
        "WITH x AS (SELECT * FROM shop.events) SELECT * FROM x ORDER BY id",
        "VALUES (1, 'x'), (2, NULL)",
        "SELECT 1 AS a, true AS b, '{\"k\": 1.50}'::jsonb AS c, now() - now() AS d, 1.50 AS e, NULL AS f",
    ] {
        let rows = b.setup(&format!(
            "SELECT agent_policy.preview('@agent@', 'alice@example.com', $p${sql}$p$)"
        ));
        assert_eq!(leak(&rows.bytes), None, "{sql}");
        // The same as the agent's own answer, made into JSON by the server.
        let wrapped = format!("SELECT to_jsonb(p) FROM ({sql} LIMIT 20) p");
        assert_eq!(rows.column(), b.allows(&wrapped).column(), "{sql}");
    }
    // The DBA, afterwards, is who it was.
    assert!(
        b.value("SELECT email FROM shop.customers WHERE id = 1")
            .contains("okapi.test")
    );
    // Without a user it is refused like the agent, unless the policy asks for none.
    let error = b.setup_error("SELECT agent_policy.preview('@agent@', NULL, 'SELECT 1')");
    assert_eq!(error.code, "28000", "{error}");
    b.setup("SELECT agent_policy.require_identity('@agent@', 'none')");
    assert_eq!(
        b.setup("SELECT count(*) FROM agent_policy.preview('@agent@', NULL, 'SELECT id FROM shop.customers', 7)").one(),
        "7"
    );
    assert_eq!(
        preview(b, "a@b.c", "SELECT id FROM shop.customers").len(),
        20
    );
    // No more than the agent would get.
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 3)");
    assert_eq!(
        preview(b, "a@b.c", "SELECT id FROM shop.customers").len(),
        3
    );
    assert_eq!(
        b.value("SELECT jsonb_typeof(agent_policy.preview('@agent@', NULL, 'SELECT 1 AS x'))"),
        "object"
    );
}

fn row_filters_know_the_user(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.filter_rows('shop.customers', $$region = CASE agent_policy.user_email() WHEN 'alice@example.com' THEN 'north' ELSE 'south' END$$)");
    let sql = "SELECT DISTINCT region FROM shop.customers";
    assert_eq!(
        preview(b, "alice@example.com", sql),
        [r#"{"region": "north"}"#]
    );
    assert_eq!(
        preview(b, "bob@example.com", sql),
        [r#"{"region": "south"}"#]
    );
    assert_eq!(
        preview(
            b,
            "bob@example.com",
            "SELECT agent_policy.user_email() AS me, current_user AS who"
        ),
        [format!(
            r#"{{"me": "bob@example.com", "who": "{}"}}"#,
            b.agent
        )]
    );
    // Row security of the table is the role's, too.
    b.setup("ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON shop.orders TO @agent@ USING (id = 7)");
    assert_eq!(
        preview(b, "a@b.c", "SELECT id FROM shop.orders"),
        [r#"{"id": 7}"#]
    );
}

fn refuses_what_the_agent_is_refused(b: &Bench) {
    b.mask();
    for (sql, code, rule) in [
        (
            "SELECT * FROM vault.secrets",
            "42501",
            "relation_not_allowed",
        ),
        (
            "SELECT pg_read_file('PG_VERSION')",
            "42501",
            "function_not_allowed",
        ),
        ("SELECT shop.get_email(1)", "42501", "function_not_allowed"),
        ("DELETE FROM shop.customers", "25006", "read_only"),
    ] {
        let error = b.setup_error(&format!(
            "SELECT agent_policy.preview('@agent@', 'a@b.c', $p${sql}$p$)"
        ));
        assert_eq!(error.code, code, "{sql}: {error}");
        assert!(!error.hint.is_empty(), "{error}");
        assert_eq!(error.detail_json()["rule"], rule, "{sql}: {error}");
    }
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.secdef_email(int)')");
    let masked = preview(b, "a@b.c", "SELECT shop.secdef_email(1) AS mail");
    assert_eq!(masked, [r#"{"mail": "c***@example.com"}"#]);
    // A function that reaches for what is denied is stopped inside.
    b.setup("CREATE FUNCTION shop.peek() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN (SELECT token FROM vault.secrets); END $$;
             SELECT agent_policy.allow_function('@agent@', 'shop.peek()')");
    let error =
        b.setup_error("SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT shop.peek()')");
    assert_eq!(
        (error.code.as_str(), error.detail_json()["rule"].as_str()),
        ("42501", Some("relation_not_allowed")),
        "{error}"
    );
}

fn writes_nothing(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         CREATE FUNCTION shop.spoil() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.scratch VALUES (99, 'x'); RETURN 1; END $$;
         SELECT agent_policy.allow_function('@agent@', 'shop.spoil()')",
    );
    for sql in [
        "DELETE FROM shop.scratch RETURNING id",
        "WITH d AS (DELETE FROM shop.scratch RETURNING id) SELECT * FROM d",
        "INSERT INTO shop.scratch VALUES (98, 'x')",
        "SELECT id FROM shop.scratch FOR UPDATE",
        "CREATE TABLE shop.made (i int)",
        "SELECT 1 INTO shop.made",
        "CREATE TABLE shop.made AS SELECT 1",
        "EXPLAIN ANALYZE DELETE FROM shop.scratch",
        "COPY shop.scratch FROM STDIN",
        "SELECT shop.spoil()",
        "SELECT 1; SELECT 2",
        "",
        "SELEC 1",
        "COMMIT",
    ] {
        let error = b.setup_error(&format!(
            "SELECT agent_policy.preview('@agent@', 'a@b.c', $p${sql}$p$)"
        ));
        assert!(
            matches!(error.code.as_str(), "25006" | "22023" | "42501" | "0A000"),
            "{sql}: {error}"
        );
    }
    // The control run: the agent itself may.
    b.agent().query("SELECT shop.spoil()");
    assert_eq!(
        b.value("SELECT count(*) FROM shop.scratch WHERE id = 99"),
        "1"
    );
    b.setup("DELETE FROM shop.scratch WHERE id = 99");
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
    assert_eq!(b.value("SELECT to_regclass('shop.made') IS NULL"), "t");
}

/// Not in the audit, not in the session of the DBA, not in the transaction.
fn leaves_no_trace(b: &Bench) {
    b.mask();
    let before = b.audit("true").len();
    b.setup(
        "BEGIN; CREATE TEMP TABLE mine (i int); SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT email FROM shop.customers');
         INSERT INTO mine VALUES (1); SAVEPOINT s",
    );
    b.setup_error("SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT * FROM vault.secrets')");
    b.setup("ROLLBACK TO s; INSERT INTO mine SELECT count(*) FROM vault.secrets; COMMIT");
    assert_eq!(b.value("SELECT count(*) FROM mine"), "2");
    assert_eq!(b.value("SELECT current_user = session_user AND NOT current_setting('transaction_read_only')::bool"), "t");
    assert!(
        b.value("SELECT email FROM shop.customers WHERE id = 2")
            .contains("okapi.test")
    );
    assert!(
        b.value("SELECT agent_policy.user_email() IS NULL")
            .starts_with('t')
    );
    assert_eq!(b.audit("true").len(), before);
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.policy_history WHERE function = 'preview'"),
        "0"
    );
}

/// They outlive what is rolled back, and are those of whoever asks.
fn advisory_locks_are_the_sessions(b: &Bench) {
    b.mask();
    b.setup(
        "CREATE FUNCTION shop.frees() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_unlock_all(); RETURN 1; END $$;
         SELECT agent_policy.allow_function('@agent@', 'shop.frees()', trusted => true);
         SELECT agent_policy.allow_function('@agent@', 'pg_catalog.pg_advisory_lock(bigint)');
         SELECT agent_policy.allow_function('@agent@', 'pg_catalog.pg_advisory_unlock(bigint)')",
    );
    let locks =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()";
    b.setup("SELECT pg_advisory_lock(7)");
    for sql in [
        "SELECT pg_advisory_unlock_all()",
        "SELECT pg_advisory_lock(8)",
        "SELECT pg_advisory_unlock(7)",
        "SELECT shop.frees()",
    ] {
        b.agent().query(sql);
        let error = b.setup_error(&format!(
            "SELECT agent_policy.preview('@agent@', 'a@b.c', $p${sql}$p$)"
        ));
        assert_eq!(error.code, "0A000", "{sql}: {error}");
        assert!(
            error.message.starts_with("preview: ") && !error.hint.is_empty(),
            "{sql}: {error}"
        );
        assert_eq!(b.value(locks), "1", "{sql}");
    }
    b.setup("SELECT pg_advisory_unlock(7)");
}

fn is_for_those_who_may_act_as_the_role(b: &Bench) {
    b.mask();
    let sql = b.fill(
        "SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT email FROM shop.customers')",
    );
    assert_eq!(b.unconfined().error(&sql).code, "42501", "no EXECUTE");
    b.setup("GRANT agent_policy_admin TO @plain@");
    let error = b.unconfined().error(&sql);
    assert!(error.code == "42501" && !error.hint.is_empty(), "{error}");
    // Being a member would confine it: SET ROLE without inheriting does not.
    b.setup("ALTER ROLE @plain@ NOINHERIT; GRANT @agent@ TO @plain@");
    if b.version < 16 {
        b.setup("REVOKE agent_policy_admin FROM @plain@; GRANT EXECUTE ON FUNCTION agent_policy.preview(regrole, text, text, int), agent_policy._preview(regrole, text, text, int) TO @plain@");
    }
    let answer = b.unconfined().simple(&sql);
    assert_eq!(leak(&answer.bytes), None);
    // The agent itself has no use for it.
    b.setup("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA agent_policy TO @agent@");
    b.denies(&sql, "42501", "function_not_allowed");
    for (sql, code) in [
        (
            "SELECT agent_policy.preview('@plain@', 'a@b.c', 'SELECT 1')",
            "22023",
        ),
        (
            "SELECT agent_policy.preview('@agent@', 'a@b.c', NULL)",
            "22004",
        ),
        (
            "SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT 1', 0)",
            "22023",
        ),
    ] {
        assert_eq!(b.setup_error(sql).code, code, "{sql}");
    }
}

fn errors_are_the_agents(b: &Bench) {
    b.mask();
    let error = b.setup_error("SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT 1 / 0')");
    assert_eq!(error.code, "22012", "{error}");
    // A cast of a masked value tells of the mask.
    let error = b.setup_error(
        "SELECT agent_policy.preview('@agent@', 'a@b.c', 'SELECT email::int FROM shop.customers')",
    );
    assert!(
        error.code == "22P02" && error.message.contains("***@example.com"),
        "{error}"
    );
    // In monitor mode nothing is masked.
    b.setup("SELECT agent_policy.protect_role('@agent@', mode => 'monitor')");
    assert!(
        preview(b, "a@b.c", "SELECT email FROM shop.customers WHERE id = 1")[0]
            .contains("okapi.test")
    );
}
