//! What check() says of commands: what the hooks would, by the same rule, without running anything.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    copy_to,
    copy_from,
    settings_and_roles,
    select_into,
    definitions,
    explain,
    prepared_statements_and_cursors,
    cost,
    in_monitor_mode,
    preview_is_for_selects,
    nothing_runs_with_the_rights_of_who_asks,
];

/// Verdict, rule, object and hint of the first finding.
fn check(b: &Bench, sql: &str) -> Vec<String> {
    b.setup(&format!(
        "SELECT verdict, rule, object, hint FROM agent_policy.check('@agent@', {}, 'alice@example.com')",
        cluster_tests::sql::literal(sql)
    ))
    .texts()
    .swap_remove(0)
}

/// Runs each statement as the agent, in a transaction that is rolled back, and by check(): what is allowed is allowed
/// in both, and a denial has the same rule, object and hint. `allowed` is how it has to be.
#[track_caller]
fn agree(b: &Bench, allowed: bool, statements: &[&str]) {
    for sql in statements {
        let sql = b.fill(sql);
        let mut agent = b.agent();
        agent.query("BEGIN");
        let answer = agent.simple(&sql);
        assert!(!answer.closed, "connection lost in: {sql}");
        agent.simple("ROLLBACK");
        let error = answer.errors.first();
        assert_eq!(error.is_none(), allowed, "{sql}: {error:?}");
        let found = check(b, &sql);
        let Some(error) = error else {
            assert_eq!(found[..2], ["allowed", "∅"], "{sql}: {found:?}");
            continue;
        };
        let detail = error.detail_json();
        let object = detail["object"].as_str().unwrap_or_default();
        assert_eq!(
            found,
            ["denied", error.rule().as_str(), object, error.hint.as_str()],
            "{sql}: {error}"
        );
    }
}

/// The server refuses these by itself: they are no denials, and check() does not allow them.
#[track_caller]
fn invalid(b: &Bench, statements: &[&str]) {
    for sql in statements {
        let mut agent = b.agent();
        agent.query("BEGIN");
        let error = agent.error(sql);
        assert!(error.rule().is_empty(), "{sql}: {error}");
        let found = check(b, sql);
        assert_eq!(found[..2], ["denied", "statement_invalid"], "{sql}");
    }
}

/// Masks, a denied column (shop.orders.amount) and a denied relation (shop.hidden).
fn policy(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.deny_column('@agent@', 'shop.orders', 'amount');
         SELECT agent_policy.deny_relation('@agent@', 'shop.hidden')",
    );
}

fn copy_to(b: &Bench) {
    policy(b);
    agree(
        b,
        true,
        &[
            "COPY shop.customers TO STDOUT",
            "COPY shop.orders (id, status) TO STDOUT",
            "COPY (SELECT email FROM shop.customers) TO STDOUT",
            "LOCK TABLE shop.orders IN ACCESS SHARE MODE",
        ],
    );
    agree(
        b,
        false,
        &[
            "COPY shop.hidden TO STDOUT",
            "COPY vault.secrets TO STDOUT",
            "COPY shop.orders TO STDOUT",
            "COPY shop.orders (id, amount) TO STDOUT",
            "COPY shop.counter TO STDOUT",
            "COPY (SELECT * FROM shop.hidden) TO STDOUT",
            "COPY (SELECT * FROM vault.secrets) TO STDOUT",
            "COPY (SELECT pg_sleep(0)) TO STDOUT",
            "COPY (DELETE FROM shop.scratch RETURNING id) TO STDOUT",
            "COPY shop.scratch TO '/tmp/x'",
            "COPY (SELECT 1) TO PROGRAM 'cat'",
            // Partitioned, and masked: it is refused before the server says that it does not copy such.
            "COPY shop.events TO STDOUT",
            "LOCK TABLE shop.hidden IN ACCESS SHARE MODE",
            "LOCK TABLE vault.secrets IN ACCESS SHARE MODE",
            "LOCK TABLE shop.orders",
        ],
    );
    invalid(
        b,
        &[
            "COPY shop.customer_list TO STDOUT",
            "COPY shop.vault_invoker TO STDOUT",
            "COPY shop.scratch (nothing) TO STDOUT",
            "COPY shop.nothing TO STDOUT",
            "COPY (SELECT 1 AS a INTO shop.made) TO STDOUT",
        ],
    );
}

fn copy_from(b: &Bench) {
    policy(b);
    agree(
        b,
        false,
        &[
            "COPY shop.scratch FROM STDIN",
            "COPY shop.hidden FROM STDIN",
            "COPY shop.scratch FROM PROGRAM 'id'",
        ],
    );
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')",
    );
    agree(
        b,
        true,
        &[
            "COPY shop.scratch FROM STDIN",
            "COPY shop.scratch (id) FROM STDIN WHERE id > 1",
            "COPY shop.orders (id, status) FROM STDIN",
            "COPY shop.customers (id, name) FROM STDIN",
        ],
    );
    agree(
        b,
        false,
        &[
            "COPY shop.hidden FROM STDIN",
            "COPY shop.orders FROM STDIN",
            "COPY shop.customers FROM STDIN",
            "COPY shop.customers (id, email) FROM STDIN",
            "COPY shop.customers (id, name) FROM STDIN WHERE email = 'x'",
            "COPY shop.scratch FROM STDIN WHERE shop.plus_one(id) = 2",
            "COPY shop.scratch FROM STDIN WHERE id = length(repeat('x', id))",
            "COPY shop.scratch FROM '/etc/passwd'",
        ],
    );
    invalid(b, &["COPY shop.scratch (nothing) FROM STDIN"]);
    b.setup("SELECT agent_policy.filter_rows('shop.scratch', 'id > 0')");
    agree(b, true, &["COPY shop.scratch TO STDOUT"]);
    agree(b, false, &["COPY shop.scratch FROM STDIN"]);
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
}

fn settings_and_roles(b: &Bench) {
    policy(b);
    agree(
        b,
        true,
        &[
            "SHOW server_version",
            "SHOW TimeZone",
            "SHOW ALL",
            "SET application_name = 'x'",
            "RESET ALL",
        ],
    );
    agree(
        b,
        false,
        &[
            "SHOW data_directory",
            "SHOW hba_file",
            "SET ROLE @plain@",
            "SET LOCAL ROLE @plain@",
            "SET ROLE NONE",
            "RESET ROLE",
            "SET role = @plain@",
            "SET SESSION AUTHORIZATION @plain@",
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET SESSION AUTHORIZATION",
            "SET session_authorization = @plain@",
            "SET session_replication_role = replica",
        ],
    );
    // Nobody has become anybody else.
    assert_eq!(
        b.value("SELECT current_user = 'postgres' AND session_user = 'postgres'"),
        "t"
    );
}

/// All forms of it, read-only.
const MAKING: &[&str] = &[
    "SELECT id INTO shop.made FROM shop.scratch",
    "SELECT token INTO shop.made FROM vault.secrets",
    "SELECT * INTO shop.made FROM shop.hidden",
    "SELECT id INTO TEMP made FROM shop.scratch",
    "SELECT 1 AS a INTO shop.made UNION SELECT 2",
    "CREATE TABLE shop.made AS SELECT 1 AS a",
    "CREATE TABLE shop.made AS TABLE shop.hidden",
    "CREATE TABLE shop.made AS SELECT amount FROM shop.orders",
    "CREATE TABLE IF NOT EXISTS shop.scratch AS SELECT 1 AS a",
    "CREATE TEMP TABLE made AS SELECT 1 AS a",
    "CREATE MATERIALIZED VIEW shop.made AS SELECT 1 AS a",
    "CREATE TABLE shop.made AS EXECUTE nothing",
];

fn select_into(b: &Bench) {
    policy(b);
    agree(b, false, MAKING);
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    agree(b, false, MAKING);
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl')");
    agree(
        b,
        true,
        &[
            "SELECT id INTO shop.made FROM shop.scratch",
            "SELECT 1 AS a INTO shop.made UNION SELECT 2",
            "CREATE TABLE shop.made AS SELECT 1 AS a",
        ],
    );
    agree(
        b,
        false,
        &[
            "SELECT token INTO shop.made FROM vault.secrets",
            "SELECT * INTO shop.made FROM shop.hidden",
            "CREATE TABLE shop.made AS TABLE shop.hidden",
            "CREATE TABLE shop.made AS SELECT amount FROM shop.orders",
            "CREATE TABLE shop.made AS SELECT shop.plus_one(1)",
            "CREATE MATERIALIZED VIEW shop.made AS TABLE vault.secrets",
        ],
    );
    assert_eq!(b.value("SELECT to_regclass('shop.made') IS NULL"), "t");
}

fn definitions(b: &Bench) {
    policy(b);
    agree(
        b,
        false,
        &[
            "CREATE TABLE shop.made (a int)",
            "DROP TABLE shop.scratch",
            "TRUNCATE shop.scratch",
            "ALTER TABLE shop.customers ADD x int",
            "VACUUM",
            "DO $$ BEGIN END $$",
            "LISTEN x",
        ],
    );
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    agree(
        b,
        true,
        &["CREATE TABLE shop.made (a int, k text DEFAULT upper('k'))"],
    );
    agree(
        b,
        false,
        &[
            "ALTER TABLE shop.customers ADD x int",
            "TRUNCATE shop.hidden",
            "CREATE TABLE shop.made (LIKE shop.customers)",
            "CREATE TABLE shop.made (k int DEFAULT shop.plus_one(1))",
        ],
    );
}

fn explain(b: &Bench) {
    policy(b);
    agree(
        b,
        true,
        &[
            "EXPLAIN SELECT id FROM shop.orders",
            "EXPLAIN (ANALYZE, COSTS off) SELECT id FROM shop.orders",
            "EXPLAIN SELECT email FROM shop.customers",
            "EXPLAIN DECLARE c CURSOR FOR SELECT id FROM shop.orders",
            "EXPLAIN CREATE TABLE shop.made AS SELECT 1 AS a",
            "EXPLAIN (ANALYZE off) SELECT 1 AS a INTO shop.made",
        ],
    );
    agree(
        b,
        false,
        &[
            "EXPLAIN SELECT * FROM vault.secrets",
            "EXPLAIN ANALYZE SELECT * FROM shop.hidden",
            "EXPLAIN SELECT amount FROM shop.orders",
            "EXPLAIN SELECT pg_sleep(0)",
            // What a view of an allowed schema reads may be read by it, and not be shown in a plan.
            "EXPLAIN SELECT token FROM shop.vault_view",
            "EXPLAIN DELETE FROM shop.scratch",
            "EXPLAIN ANALYZE DELETE FROM shop.scratch",
            "EXPLAIN DECLARE c CURSOR FOR SELECT * FROM vault.secrets",
            "EXPLAIN CREATE TABLE shop.made AS TABLE shop.hidden",
            "EXPLAIN ANALYZE CREATE TABLE shop.made AS SELECT 1 AS a",
            "EXPLAIN (ANALYZE) SELECT 1 AS a INTO shop.made",
            "EXPLAIN EXECUTE nothing (repeat('x', 5))",
        ],
    );
    invalid(b, &["EXPLAIN SELECT nothing FROM shop.orders"]);
}

fn prepared_statements_and_cursors(b: &Bench) {
    policy(b);
    agree(
        b,
        true,
        &[
            "PREPARE p AS SELECT email FROM shop.customers WHERE id = $1",
            "PREPARE p (int[]) AS SELECT unnest($1)",
            "DECLARE c CURSOR FOR SELECT id FROM shop.orders",
        ],
    );
    agree(
        b,
        false,
        &[
            "PREPARE p AS SELECT * FROM vault.secrets",
            "PREPARE p AS TABLE shop.hidden",
            "PREPARE p (int) AS SELECT amount FROM shop.orders WHERE id = $1",
            "PREPARE p AS SELECT pg_sleep($1)",
            "PREPARE p AS DELETE FROM shop.scratch",
            "EXECUTE nothing ('shop.orders'::regclass)",
            "EXECUTE nothing (repeat('x', 5))",
            "DECLARE c CURSOR FOR SELECT * FROM vault.secrets",
            "DECLARE c CURSOR FOR SELECT amount FROM shop.orders",
            "DECLARE c CURSOR FOR SELECT id FROM shop.scratch FOR UPDATE",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM vault.secrets",
        ],
    );
    invalid(
        b,
        &[
            "PREPARE p (nothing) AS SELECT 1",
            "PREPARE p AS SELECT nothing",
            "DECLARE c CURSOR FOR SELECT nothing FROM shop.orders",
        ],
    );
}

/// A plan that is not run may cost what it likes.
fn cost(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_plan_cost => 10)");
    agree(
        b,
        true,
        &[
            "EXPLAIN SELECT count(*) FROM shop.orders",
            "PREPARE p AS SELECT count(*) FROM shop.orders",
        ],
    );
    agree(
        b,
        false,
        &[
            "SELECT count(*) FROM shop.orders",
            "EXPLAIN ANALYZE SELECT count(*) FROM shop.orders",
            "DECLARE c CURSOR FOR SELECT count(*) FROM shop.orders",
            "COPY (SELECT count(*) FROM shop.orders) TO STDOUT",
            "COPY shop.orders TO STDOUT",
        ],
    );
}

fn in_monitor_mode(b: &Bench) {
    policy(b);
    b.setup("SELECT agent_policy.protect_role('@agent@', mode => 'monitor')");
    for (sql, rule) in [
        ("COPY vault.secrets TO STDOUT", "relation_not_allowed"),
        ("COPY shop.orders TO STDOUT", "column_denied"),
        ("COPY shop.scratch FROM STDIN", "read_only"),
        ("SET ROLE @plain@", "statement_not_allowed"),
        ("SHOW data_directory", "setting_not_allowed"),
        ("SELECT 1 AS a INTO shop.made", "read_only"),
        ("CREATE TABLE shop.made AS SELECT 1 AS a", "read_only"),
        ("EXPLAIN TABLE shop.hidden", "relation_not_allowed"),
        ("PREPARE p AS TABLE shop.hidden", "relation_not_allowed"),
        (
            "LOCK TABLE shop.hidden IN ACCESS SHARE MODE",
            "relation_not_allowed",
        ),
    ] {
        assert_eq!(check(b, &b.fill(sql))[..2], ["would_deny", rule], "{sql}");
    }
    assert_eq!(check(b, "COPY shop.customers TO STDOUT")[0], "allowed");
}

/// Parse analysis runs the checks of domains: as the role that is tried, in a transaction that does not write.
fn nothing_runs_with_the_rights_of_who_asks(b: &Bench) {
    policy(b);
    b.setup(
        "CREATE SCHEMA pub; GRANT ALL ON SCHEMA pub TO PUBLIC;
         CREATE SEQUENCE pub.super START 1; CREATE SEQUENCE pub.agent START 1; GRANT ALL ON SEQUENCE pub.super, pub.agent TO PUBLIC;
         CREATE FUNCTION pub.f(n int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
             RAISE NOTICE 'ran as %', current_user;
             PERFORM nextval(CASE WHEN (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN 'pub.super' ELSE 'pub.agent' END::regclass);
             RETURN true; END $$;
         CREATE DOMAIN pub.d AS int CHECK (pub.f(VALUE));
         CREATE DOMAIN pub.named AS int CHECK (current_user::int IS NOT NULL);
         CREATE FUNCTION pub.slow(n int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
             FOR i IN 1..100000000 LOOP END LOOP; RETURN true; END $$;
         CREATE DOMAIN pub.s AS int CHECK (pub.slow(VALUE));
         SELECT agent_policy.allow_schema('@agent@', 'pub')",
    );
    let who_ran = |sql: &str| -> Vec<String> {
        let notices = b.su().simple(&b.fill(sql)).notices;
        notices.into_iter().map(|notice| notice.message).collect()
    };
    let named = |who: &str| b.fill(&format!("invalid input syntax for type integer: \"{who}\""));
    assert_eq!(who_ran("SELECT '{1}'::pub.d[]"), ["ran as postgres"]);
    assert_eq!(
        b.value("SELECT is_called FROM pub.super"),
        "t",
        "control run: the superuser runs it"
    );
    assert_eq!(
        b.setup_error("SELECT '{1}'::pub.named[]").message,
        named("postgres")
    );
    b.setup("ALTER SEQUENCE pub.super RESTART 1");
    for (analyzed, sql) in [
        (true, "SELECT '{1}'::pub.d[]"),
        (true, "COPY (SELECT '{1}'::pub.d[]) TO STDOUT"),
        (true, "EXPLAIN SELECT '{1}'::pub.d[]"),
        (true, "PREPARE p AS SELECT '{1}'::pub.d[]"),
        (true, "SELECT '{1}'::pub.d[] INTO shop.made"),
        (true, "CREATE TABLE shop.made AS SELECT '{1}'::pub.d[] AS a"),
        (true, "DECLARE c CURSOR FOR SELECT '{1}'::pub.d[]"),
        (false, "EXECUTE p('{1}'::pub.d[])"),
    ] {
        let asking = |sql: &str| {
            let sql = cluster_tests::sql::literal(sql);
            [
                format!(
                    "SELECT message FROM agent_policy.check('@agent@', {sql}, 'alice@example.com')"
                ),
                format!("SELECT agent_policy.preview('@agent@', 'alice@example.com', {sql})"),
            ]
        };
        for asked in asking(sql) {
            let expected: &[String] = if analyzed {
                &[b.fill("ran as @agent@")]
            } else {
                &[]
            };
            assert_eq!(who_ran(&asked), expected, "{asked}");
            assert_eq!(b.value("SELECT is_called FROM pub.super"), "f", "{asked}");
        }
        if analyzed {
            let [check, preview] = asking(&sql.replace("pub.d", "pub.named"));
            assert_eq!(b.setup(&check).column(), [named("@agent@")], "{sql}");
            let error = b.setup_error(&preview);
            assert!(error.message.ends_with(&named("@agent@")), "{sql}: {error}");
        }
    }
    // A cancellation is no verdict.
    let error = b.setup_error(
        "SET LOCAL statement_timeout = '300 ms'; SELECT * FROM agent_policy.check('@agent@', $$SELECT '{1}'::pub.s[]$$)",
    );
    assert_eq!(error.code, "57014", "{error}");
}

fn preview_is_for_selects(b: &Bench) {
    b.mask();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl');
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')",
    );
    let refused = |sql: &str| {
        b.setup_error(&format!(
            "SELECT agent_policy.preview('@agent@', 'alice@example.com', $p${sql}$p$)"
        ))
    };
    for sql in [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT email FROM shop.customers",
        "SELECT 1 AS a INTO shop.made",
        "SELECT 1 AS a INTO shop.made UNION SELECT 2",
        "CREATE TABLE shop.made AS SELECT 1 AS a",
        "COPY shop.customers TO STDOUT",
        "COPY (SELECT 1) TO STDOUT",
        "COPY shop.scratch FROM STDIN",
        "DECLARE c CURSOR FOR SELECT 1",
        "PREPARE p AS SELECT 1",
        "EXECUTE nothing",
        "SHOW server_version",
        "SET application_name = 'x'",
        "LOCK TABLE shop.orders IN ACCESS SHARE MODE",
    ] {
        let error = refused(sql);
        assert_eq!(error.code, "25006", "{sql}: {error}");
        assert!(error.message.starts_with("preview: "), "{sql}: {error}");
        assert!(!error.hint.is_empty(), "{sql}: {error}");
    }
    for sql in [
        "EXPLAIN SELECT nothing FROM shop.orders",
        "SELECT nothing INTO shop.made FROM shop.orders",
        "COPY shop.customer_list TO STDOUT",
    ] {
        let error = refused(sql);
        assert_eq!(error.code, "22023", "{sql}: {error}");
        assert!(error.message.starts_with("preview: "), "{sql}: {error}");
    }
    // A denial is told as the agent would be.
    let error = refused("EXPLAIN SELECT * FROM vault.secrets");
    assert_eq!(
        (error.code.as_str(), error.rule().as_str()),
        ("42501", "relation_not_allowed"),
        "{error}"
    );
    assert_eq!(b.value("SELECT to_regclass('shop.made') IS NULL"), "t");
}
