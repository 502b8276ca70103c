//! What check() says of commands: what the hooks would, by the same rule, without running anything.

use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    copy_to,
    copy_from,
    settings_and_roles,
    select_into,
    definitions,
    views,
    where_definitions_go,
    what_definitions_change,
    explain,
    explain_of_what_is_hidden,
    privileges,
    prepared_statements_and_cursors,
    arguments_of_execute,
    names_in_arguments,
    names_that_are_not_there,
    in_the_databases_encoding,
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
    agree_after(b, "", allowed, statements);
}

/// The same, where the agent has done something before.
#[track_caller]
fn agree_after(b: &Bench, before: &str, allowed: bool, statements: &[&str]) {
    for sql in statements {
        let sql = b.fill(sql);
        let mut agent = b.agent();
        agent.query(&format!("BEGIN; {before}"));
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

/// The server refuses these by itself: they are no denials, and check() does not allow them. It says what the server
/// says.
#[track_caller]
fn invalid(b: &Bench, statements: &[&str]) {
    for sql in statements {
        let sql = b.fill(sql);
        let mut agent = b.agent();
        agent.query("BEGIN");
        let error = agent.error(&sql);
        assert!(error.rule().is_empty(), "{sql}: {error}");
        assert_eq!(
            check(b, &sql)[..2],
            ["denied", "statement_invalid"],
            "{sql}"
        );
        assert_eq!(message(b, &sql), error.message, "{sql}");
    }
}

/// The message of the first finding.
fn message(b: &Bench, sql: &str) -> String {
    b.setup(&format!(
        "SELECT message FROM agent_policy.check('@agent@', {}, 'alice@example.com')",
        cluster_tests::sql::literal(sql)
    ))
    .column()
    .swap_remove(0)
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
    // What SHOW ALL would show depends on the role, not on who asks.
    b.setup("GRANT pg_read_all_settings TO @agent@");
    agree(b, false, &["SHOW ALL"]);
    b.setup("REVOKE pg_read_all_settings FROM @agent@");
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

/// The agent may define in shop, where it owns some relations, and, but for its policy, in vault and other.
fn definer(b: &Bench) {
    policy(b);
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         CREATE SCHEMA other; GRANT ALL ON SCHEMA other, vault TO @agent@; CREATE SCHEMA closed;
         CREATE TABLE shop.mine (id int, v text); CREATE TABLE vault.mine (id int); CREATE INDEX mine_i ON shop.mine (id);
         CREATE VIEW shop.my_view AS SELECT 1 AS a; CREATE SEQUENCE shop.my_sequence;
         ALTER TABLE shop.mine OWNER TO @agent@; ALTER TABLE vault.mine OWNER TO @agent@; ALTER VIEW shop.my_view OWNER TO @agent@;
         ALTER SEQUENCE shop.my_sequence OWNER TO @agent@",
    );
}

fn views(b: &Bench) {
    definer(b);
    agree(
        b,
        true,
        &[
            "CREATE VIEW shop.made AS SELECT id FROM shop.scratch",
            "CREATE VIEW shop.made AS SELECT email FROM shop.customers",
            "CREATE VIEW shop.made AS SELECT token FROM shop.vault_view",
            "CREATE OR REPLACE VIEW shop.my_view AS SELECT 2 AS a",
            "CREATE RECURSIVE VIEW shop.made (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM made WHERE n < 10",
            "CREATE MATERIALIZED VIEW shop.made AS SELECT id FROM shop.scratch",
            "CREATE TABLE shop.made AS SELECT id FROM shop.scratch WITH NO DATA",
            "CREATE TABLE IF NOT EXISTS shop.mine AS SELECT 1 AS a",
        ],
    );
    agree(
        b,
        false,
        &[
            "CREATE VIEW shop.made AS SELECT * FROM shop.hidden",
            "CREATE VIEW shop.made AS SELECT token FROM vault.secrets",
            "CREATE VIEW shop.made AS SELECT amount FROM shop.orders",
            "CREATE VIEW shop.made AS SELECT shop.plus_one(1)",
            "CREATE VIEW shop.made AS SELECT pg_sleep(0)",
            "CREATE OR REPLACE VIEW shop.my_view AS SELECT id AS a FROM shop.hidden",
            "CREATE MATERIALIZED VIEW shop.made AS TABLE shop.hidden",
            "CREATE MATERIALIZED VIEW shop.made AS TABLE shop.hidden WITH NO DATA",
            "CREATE TABLE shop.made AS TABLE shop.hidden WITH NO DATA",
            "CREATE RULE r AS ON INSERT TO shop.mine DO ALSO SELECT * FROM shop.hidden",
            "CREATE RULE r AS ON INSERT TO shop.mine DO INSTEAD NOTHING",
            "REFRESH MATERIALIZED VIEW shop.contacts",
        ],
    );
    invalid(
        b,
        &[
            "CREATE VIEW shop.made AS SELECT nothing FROM shop.scratch",
            "CREATE VIEW shop.made (a, b) AS SELECT 1",
            "CREATE VIEW shop.made AS SELECT 1 AS a INTO shop.x",
            "CREATE VIEW shop.made AS WITH d AS (DELETE FROM shop.scratch RETURNING id) SELECT * FROM d",
            "CREATE VIEW shop.my_view AS SELECT 1 AS a",
            "CREATE OR REPLACE VIEW shop.mine AS SELECT 1 AS a",
            "CREATE OR REPLACE VIEW shop.customer_list AS SELECT 1 AS a",
            "CREATE TABLE shop.mine AS SELECT 1 AS a",
            "EXPLAIN CREATE TABLE shop.mine AS SELECT 1 AS a",
        ],
    );
    assert_eq!(b.value("SELECT to_regclass('shop.made') IS NULL"), "t");
}

fn where_definitions_go(b: &Bench) {
    definer(b);
    agree(
        b,
        true,
        &[
            "CREATE TABLE shop.made (id int PRIMARY KEY, b serial, c text CHECK (c <> ''))",
            "CREATE TABLE IF NOT EXISTS shop.mine (id int)",
            "CREATE TABLE IF NOT EXISTS vault.mine (id int)",
            "CREATE SEQUENCE shop.made",
            "EXPLAIN CREATE TABLE vault.made AS SELECT 1 AS a",
        ],
    );
    agree(
        b,
        false,
        &[
            "CREATE TABLE vault.made (id int)",
            "CREATE TABLE other.made (id int)",
            "CREATE TABLE nowhere.made (id int)",
            "CREATE TABLE other.made AS SELECT 1 AS a",
            "CREATE MATERIALIZED VIEW other.made AS SELECT 1 AS a",
            "CREATE VIEW other.made AS SELECT 1 AS a",
            "CREATE SEQUENCE other.made",
            "SELECT 1 AS a INTO other.made",
            "CREATE TEMP TABLE made (id int)",
            "CREATE TABLE pg_temp.made (id int)",
            "CREATE TEMP TABLE made AS SELECT 1 AS a",
            "CREATE TEMP VIEW made AS SELECT 1 AS a",
            "SELECT 1 AS a INTO TEMP made",
            "EXPLAIN ANALYZE CREATE TABLE other.made AS SELECT 1 AS a",
            "CREATE INDEX ON vault.mine (id)",
        ],
    );
    invalid(
        b,
        &[
            "CREATE TABLE shop.mine (id int)",
            "CREATE TABLE made (id int)",
            "CREATE TABLE shop.made (id nothing)",
            "CREATE TABLE shop.made () INHERITS (shop.scratch)",
        ],
    );
    assert_eq!(b.value("SELECT to_regclass('shop.made') IS NULL"), "t");
}

fn what_definitions_change(b: &Bench) {
    definer(b);
    agree(
        b,
        true,
        &[
            "TRUNCATE shop.mine",
            "TRUNCATE shop.scratch",
            "DROP TABLE shop.mine",
            "DROP TABLE IF EXISTS shop.nothing",
            "DROP VIEW shop.my_view",
            "DROP INDEX shop.mine_i",
            "DROP SEQUENCE shop.my_sequence",
            "ALTER TABLE shop.mine ADD x int",
            "ALTER TABLE IF EXISTS shop.nothing ADD x int",
            "ALTER TABLE shop.mine RENAME TO made",
            "ALTER TABLE shop.mine RENAME v TO w",
            "ALTER VIEW shop.my_view RENAME TO made",
            "ALTER SEQUENCE shop.my_sequence RESTART",
            "CREATE INDEX ON shop.mine (id, lower(v))",
        ],
    );
    agree(
        b,
        false,
        &[
            "TRUNCATE vault.mine",
            "TRUNCATE shop.mine, shop.hidden",
            "DROP TABLE vault.mine",
            "DROP TABLE vault.secrets",
            "DROP TABLE IF EXISTS vault.nothing",
            "ALTER TABLE vault.mine ADD x int",
            "ALTER TABLE vault.nothing ADD x int",
            "ALTER TABLE vault.mine RENAME TO made",
            "ALTER SEQUENCE vault.nothing RESTART",
            "ALTER TABLE shop.mine SET SCHEMA vault",
            "COMMENT ON TABLE shop.mine IS 'x'",
            "COMMENT ON TABLE vault.secrets IS 'x'",
            "CREATE INDEX ON shop.hidden (id)",
            "CREATE INDEX ON shop.mine (shop.plus_one(id))",
        ],
    );
    invalid(
        b,
        &[
            "TRUNCATE shop.nothing",
            "TRUNCATE shop.my_view",
            "DROP TABLE shop.scratch",
            "DROP TABLE shop.nothing",
            "DROP VIEW shop.mine",
            "ALTER TABLE shop.scratch ADD x int",
            "ALTER TABLE shop.nothing ADD x int",
            "ALTER TABLE shop.scratch RENAME TO made",
            "ALTER TABLE shop.mine RENAME TO scratch",
            "ALTER TABLE shop.mine RENAME nothing TO w",
            "ALTER SEQUENCE shop.counter RESTART",
            "CREATE INDEX ON shop.scratch (id)",
            "CREATE INDEX ON shop.mine (nothing)",
            "CREATE INDEX ON shop.mine (lower(nothing))",
        ],
    );
    assert_eq!(b.value("SELECT count(*) FROM shop.scratch"), "2");
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

/// A plan that is only shown reads no group, and costs nothing.
fn explain_of_what_is_hidden(b: &Bench) {
    policy(b);
    b.setup("SELECT agent_policy.require_group_size('shop.scratch', 5)");
    agree(
        b,
        true,
        &[
            "EXPLAIN SELECT id FROM shop.scratch",
            "EXPLAIN ANALYZE SELECT id FROM shop.scratch",
            "EXPLAIN DECLARE c CURSOR FOR SELECT id FROM shop.scratch",
            "PREPARE p AS SELECT id FROM shop.scratch",
            "SELECT count(*) FROM shop.scratch",
        ],
    );
    agree(
        b,
        false,
        &[
            "SELECT id FROM shop.scratch",
            "DECLARE c CURSOR FOR SELECT id FROM shop.scratch",
            "COPY (SELECT id FROM shop.scratch) TO STDOUT",
        ],
    );
    b.setup("SELECT agent_policy.set_limits('@agent@', max_plan_cost => 1)");
    agree(
        b,
        true,
        &[
            "EXPLAIN SELECT email FROM shop.customers",
            "EXPLAIN ANALYZE SELECT email FROM shop.customers",
        ],
    );
    agree(
        b,
        false,
        &[
            "SELECT email FROM shop.customers",
            "EXPLAIN ANALYZE SELECT id FROM shop.orders",
        ],
    );
    if b.version >= 18 {
        b.setup(
            "SELECT agent_policy.reset_limits('@agent@', 'max_plan_cost');
             CREATE TABLE shop.computed (id int, raw text, shown text GENERATED ALWAYS AS (upper(raw)) VIRTUAL); GRANT ALL ON shop.computed TO @agent@;
             SELECT agent_policy.mask_column('shop.computed', 'raw')",
        );
        agree(
            b,
            true,
            &[
                "SELECT shown FROM shop.computed",
                "EXPLAIN SELECT id FROM shop.computed",
            ],
        );
        agree(b, false, &["EXPLAIN SELECT shown FROM shop.computed"]);
    }
}

/// The server's own privileges: what is missing is said, and with the HINT's GRANT it passes.
fn privileges(b: &Bench) {
    policy(b);
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         CREATE TABLE shop.plain (id int, v text, w text); CREATE VIEW shop.over AS SELECT * FROM vault.secrets; ALTER VIEW shop.over OWNER TO @plain@;
         GRANT SELECT ON shop.over TO @agent@; CREATE MATERIALIZED VIEW shop.copied AS SELECT id FROM shop.plain; GRANT ALL ON shop.copied TO @agent@; REVOKE SELECT ON vault.secrets FROM @plain@;
         CREATE FUNCTION shop.own() RETURNS int LANGUAGE sql AS 'SELECT 1'; REVOKE ALL ON FUNCTION shop.own() FROM PUBLIC;
         SELECT agent_policy.allow_function('@agent@', 'shop.own()')",
    );
    for (granted, sql, missing) in [
        ("", "SELECT id FROM shop.plain", "SELECT"),
        ("", "SELECT count(*) FROM shop.plain", "SELECT"),
        ("SELECT (id)", "SELECT id, w FROM shop.plain", "SELECT (w)"),
        ("SELECT (id)", "SELECT p FROM shop.plain p", "SELECT"),
        (
            "SELECT (id)",
            "SELECT * FROM shop.plain WHERE v = 'x'",
            "SELECT (v, w)",
        ),
        (
            "SELECT",
            "INSERT INTO shop.plain VALUES (1, 'x', 'y')",
            "INSERT",
        ),
        (
            "INSERT (id)",
            "INSERT INTO shop.plain (id, v) VALUES (1, 'x')",
            "INSERT (v)",
        ),
        (
            "INSERT (id)",
            "INSERT INTO shop.plain (id) VALUES (1) RETURNING id",
            "SELECT",
        ),
        ("SELECT", "UPDATE shop.plain SET v = 'x'", "UPDATE"),
        (
            "UPDATE (v)",
            "UPDATE shop.plain SET v = 'x', w = 'y'",
            "UPDATE (w)",
        ),
        ("", "UPDATE shop.plain SET v = w", "SELECT, UPDATE"),
        ("SELECT", "DELETE FROM shop.plain", "DELETE"),
        ("SELECT", "SELECT id FROM shop.plain FOR UPDATE", "UPDATE"),
        ("SELECT", "TRUNCATE shop.plain", "TRUNCATE"),
        ("SELECT", "EXPLAIN DELETE FROM shop.plain", "DELETE"),
        ("SELECT", "COPY shop.plain FROM STDIN", "INSERT"),
        ("", "COPY shop.plain TO STDOUT", "SELECT"),
        ("", "DECLARE c CURSOR FOR TABLE shop.plain", "SELECT"),
        ("", "CREATE TABLE shop.made AS TABLE shop.plain", "SELECT"),
        ("", "LOCK TABLE shop.plain IN ACCESS SHARE MODE", "SELECT"),
        (
            "SELECT",
            "MERGE INTO shop.plain p USING shop.scratch s ON p.id = s.id WHEN MATCHED THEN DELETE",
            "DELETE",
        ),
    ] {
        b.setup("REVOKE ALL ON shop.plain FROM @agent@; REVOKE ALL (id, v, w) ON shop.plain FROM @agent@");
        if !granted.is_empty() {
            b.setup(&format!("GRANT {granted} ON shop.plain TO @agent@"));
        }
        let mut agent = b.agent();
        agent.query("BEGIN");
        let error = agent.error(sql);
        assert!(
            error.code == "42501" && error.rule().is_empty(),
            "{sql}: {error}"
        );
        let found = check(b, sql);
        assert_eq!(
            found[..3],
            ["denied", "relation_not_allowed", "shop.plain"],
            "{sql}"
        );
        let role = &b.agent;
        assert_eq!(
            message(b, sql),
            format!("role {role} has no {missing} privilege on shop.plain"),
            "{sql}"
        );
        let grant = found[3].split(';').next().unwrap_or_default();
        assert!(
            grant.starts_with(&format!("GRANT {missing} ON shop.plain TO ")),
            "{grant}"
        );
        b.setup(grant);
        agree(b, true, &[sql]);
    }
    // What stands behind a view is its owner's to read.
    assert!(
        message(b, "SELECT * FROM shop.over")
            .starts_with(&format!("role {} has no SELECT", b.plain))
    );
    invalid(
        b,
        &[
            "SELECT shop.own()",
            "SELECT * FROM shop.own()",
            "INSERT INTO shop.copied VALUES (1)",
        ],
    );
    // PREPARE asks for none.
    b.setup("REVOKE ALL ON shop.plain FROM @agent@");
    agree(
        b,
        true,
        &[
            "PREPARE p AS TABLE shop.plain",
            "CREATE VIEW shop.made AS TABLE shop.plain",
        ],
    );
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

fn arguments_of_execute(b: &Bench) {
    policy(b);
    b.setup("SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    let before = "PREPARE n (int) AS SELECT $1; PREPARE t (text) AS SELECT $1";
    agree_after(
        b,
        before,
        true,
        &[
            "EXECUTE n (1 + length('x'))",
            "EXECUTE t (upper('x'))",
            "EXPLAIN EXECUTE n (1)",
            "CREATE TABLE shop.made AS EXECUTE n (1)",
        ],
    );
    agree_after(
        b,
        before,
        false,
        &[
            "EXECUTE n (shop.plus_one(1))",
            "EXECUTE t (shop.get_email(1))",
            "EXECUTE t (pg_get_viewdef('shop.customer_list'))",
            "EXECUTE t (current_setting('data_directory'))",
            "EXPLAIN EXECUTE n (shop.plus_one(1))",
            "CREATE TABLE shop.made AS EXECUTE n (shop.plus_one(1))",
        ],
    );
    // check() does not know what has been prepared.
    assert_eq!(check(b, "EXECUTE nothing")[0], "allowed");
    for sql in [
        "EXECUTE n ((SELECT 1))",
        "EXECUTE n ((SELECT id FROM vault.secrets))",
    ] {
        let mut agent = b.agent();
        agent.query(before);
        assert_eq!(message(b, sql), agent.error(sql).message, "{sql}");
    }
}

/// A name or a setting that a constant says is checked as the query runs, and known before.
fn names_in_arguments(b: &Bench) {
    policy(b);
    agree(
        b,
        true,
        &[
            "SELECT current_setting('server_version')",
            "SELECT set_config('application_name', 'x', false)",
            "SELECT has_table_privilege('shop.orders', 'select')",
            "SELECT to_regclass('vault.secrets')",
            "EXPLAIN SELECT current_setting('data_directory') FROM shop.scratch",
        ],
    );
    agree(
        b,
        false,
        &[
            "SELECT current_setting('data_directory')",
            "SELECT set_config('role', '@plain@', false)",
            "SELECT set_config('search_path', 'vault', false), set_config('session_authorization', 'x', true)",
            "SELECT has_table_privilege('vault.secrets', 'select')",
            "SELECT has_table_privilege('nowhere.x', 'select')",
            "SELECT pg_get_viewdef('shop.vault_invoker'), has_schema_privilege('vault', 'usage')",
        ],
    );
}

/// What is hidden and what is not there get the agent's answer here, too.
fn names_that_are_not_there(b: &Bench) {
    policy(b);
    agree(
        b,
        false,
        &[
            "SELECT * FROM vault.nothing",
            "SELECT * FROM nowhere.nothing",
            "SELECT nowhere.nothing()",
            "SELECT 'x'::nowhere.t",
            "SELECT 'nowhere.x'::regclass",
            "SELECT 'nobody'::regrole",
            "DECLARE c CURSOR FOR SELECT * FROM vault.nothing",
            "COPY (SELECT * FROM nowhere.x) TO STDOUT",
            "COPY vault.nothing TO STDOUT",
            "PREPARE p (vault.t) AS SELECT 1",
            "EXPLAIN SELECT * FROM vault.nothing",
            "LOCK TABLE vault.nothing IN ACCESS SHARE MODE",
            "SET CONSTRAINTS vault.nothing DEFERRED",
        ],
    );
    invalid(
        b,
        &[
            "SELECT * FROM shop.nothing",
            "LOCK TABLE shop.nothing IN ACCESS SHARE MODE",
            "SHOW nothing",
            "SET TimeZone = 'nowhere'",
            "SET statement_timeout = 'x'",
            "COPY shop.scratch TO STDOUT (FORMAT nothing)",
            "COPY shop.scratch TO STDOUT (nothing true)",
            "SELECT 1 / 0",
        ],
    );
}

/// What the server says, in a database whose encoding is not UTF-8.
fn in_the_databases_encoding(b: &Bench) {
    let own = Bench::with_database(
        std::sync::Arc::clone(&b.cluster),
        "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    );
    own.mask();
    let mut su = own
        .cluster
        .connect("postgres", &own.db, &[("client_encoding", "UTF8")])
        .expect("connects");
    for (sql, said) in [
        (
            "SELECT \"é\" FROM shop.orders",
            "column \"é\" does not exist",
        ),
        (
            "SELECT 'ü'::int",
            "invalid input syntax for type integer: \"ü\"",
        ),
        ("SELEC 'é' ü", "syntax error at or near \"SELEC\""),
        (
            "EXPLAIN SELECT 1 FROM shop.\"ø\"",
            "relation \"shop.ø\" does not exist",
        ),
        (
            "COPY shop.\"ø\" TO STDOUT",
            "relation \"shop.ø\" does not exist",
        ),
        ("PREPARE p (\"ß\") AS SELECT 1", "type \"ß\" does not exist"),
    ] {
        let asked = format!(
            "SELECT message FROM agent_policy.check('{}', {}, 'alice@example.com')",
            own.agent,
            cluster_tests::sql::literal(sql)
        );
        assert_eq!(su.query(&asked).column(), [said], "{sql}");
    }
    let denied = format!(
        "SELECT object FROM agent_policy.check('{}', 'SELECT * FROM \"é\".x')",
        own.agent
    );
    assert_eq!(su.query(&denied).column(), ["\"é\".x"]);
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
        (true, "EXECUTE p('{1}'::pub.d[])"),
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
