//! The audit: one row a statement, whatever becomes of it.

use cluster_tests::{Bench, Case, cases};

use super::c07_complete::{empty, only};

pub const CASES: &[Case] = cases![
    one_row_a_statement,
    keyed_by_the_forwarded_user,
    literals_are_replaced_and_comments_gone,
    rolled_back,
    runtime_errors,
    denials,
    a_denial_swallowed_in_plpgsql,
    read_only_transactions,
    syntax_errors,
    unknown_tables,
    native_permission_denied,
    aborted_transactions,
    ends_of_failed_transactions,
    row_counts,
    copy_counts,
    cursors_and_portals,
    execute_logs_its_own_statement,
    parsing_ahead_is_not_a_statement,
    nested_statements,
    functions_of_the_server_have_no_records,
    security_definer_bodies,
    masked_columns_and_relations,
    truncation,
    timeouts_and_cancels,
    several_statements_in_one_query,
    explain_analyze_and_exists,
    text_that_does_not_lex,
    forged_looking_notices,
    monitor_mode_says_would_deny,
    unconfined_roles_are_not_audited,
    connection_details,
    parallel_plans_count_once,
];

fn one_row_a_statement(b: &Bench) {
    b.allow();
    b.agent().query("SELECT count(*) FROM shop.orders");
    let rows = b.audit("true");
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!(row["user_email"], "alice@example.com");
    assert_eq!(row["assurance"], "connection");
    assert_eq!(row["role_name"], b.agent);
    assert_eq!(row["session_user_name"], b.agent);
    assert_eq!(row["database_name"], b.db);
    assert_eq!(
        row["command_tag"].as_str().map(|t| t.starts_with("SELECT")),
        Some(true),
        "{row}"
    );
    assert_eq!(row["verdict"], "allowed");
    assert_eq!(row["outcome"], "ok");
    assert_eq!(row["rows_returned"], 1);
    assert_eq!(row["nesting_level"].as_i64(), Some(0), "top level: {row}");
    assert!(
        row["relations"].to_string().contains("shop.orders"),
        "{row}"
    );
    assert!(row["duration_ms"].as_f64().is_some(), "{row}");
    assert!(
        row["bytes_returned"].as_i64().is_some_and(|n| n > 0),
        "{row}"
    );
    assert!(row["statement_sha256"].as_str().is_some(), "{row}");
    for column in [
        "event_id",
        "seq",
        "application_name",
        "client_addr",
        "backend_pid",
        "session_id",
        "transaction_id",
        "started_at",
        "query_id",
        "masked_columns",
        "functions",
        "rows_processed",
        "truncated",
        "rule",
        "object",
        "sqlstate",
        "agent",
        "conversation",
        "trace_id",
        "policy_version",
    ] {
        assert!(row.get(column).is_some(), "no column {column}");
    }
    b.agent()
        .extended("SELECT id FROM shop.orders WHERE id < $1", &[Some("4")])
        .ok();
    let rows = b.audit("true");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[1]["rows_returned"], 3);
}

fn keyed_by_the_forwarded_user(b: &Bench) {
    b.allow();
    b.agent_for("alice@example.com").query("SELECT 1");
    b.agent_for("bob@example.com").query("SELECT 2");
    assert_eq!(b.audit("user_email = 'alice@example.com'").len(), 1);
    assert_eq!(b.audit("user_email = 'bob@example.com'").len(), 1);
}

fn literals_are_replaced_and_comments_gone(b: &Bench) {
    b.allow();
    b.agent().query("SELECT id /* SECRET_A */ FROM shop.customers -- SECRET_B\n WHERE name = 'SECRET_C' OR name = $q$SECRET_D$q$ OR id = 123454321 OR name = E'SECRET\\_E'");
    b.agent()
        .extended(
            "SELECT id FROM shop.customers WHERE name = $1",
            &[Some("SECRET_F")],
        )
        .ok();
    b.agent().simple("SELECT 'SECRET_G'::int");
    b.agent().simple("SELEKT 'SECRET_H'");
    b.agent()
        .simple("SELECT * FROM vault.secrets WHERE token = 'SECRET_I'");
    b.agent()
        .simple("SELECT U&'SECRET_J', B'101', X'1FF', N'SECRET_K'");
    let rows = b.audit("true");
    assert_eq!(rows.len(), 6);
    let text = format!("{rows:?}");
    assert!(!text.contains("SECRET"), "{text}");
    assert!(!text.contains("123454321"), "{text}");
    assert!(
        rows[0]["statement"].as_str().is_some_and(
            |s| s.contains("shop.customers") && s.to_lowercase().contains("where name")
        ),
        "{}",
        rows[0]
    );
}

fn rolled_back(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent.query("SELECT id FROM shop.orders LIMIT 7");
    agent.query("ROLLBACK");
    assert_eq!(b.audit("rows_returned = 7 AND outcome = 'ok'").len(), 1);
}

fn runtime_errors(b: &Bench) {
    b.allow();
    b.agent().simple("SELECT 1 / (id - 500) FROM shop.orders");
    let rows = b.audit("outcome = 'error'");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["sqlstate"], "22012");
    assert_eq!(rows[0]["verdict"], "allowed");
    assert!(rows[0]["relations"].to_string().contains("shop.orders"));
}

fn denials(b: &Bench) {
    b.allow();
    b.agent().simple("SELECT * FROM vault.secrets");
    b.agent().simple("DELETE FROM shop.scratch");
    b.agent().simple("SELECT pg_sleep(0)");
    b.agent().simple("CREATE TABLE shop.x (a int)");
    let rows = b.audit("verdict = 'denied'");
    let rules: Vec<_> = rows
        .iter()
        .map(|r| r["rule"].as_str().unwrap_or("").to_owned())
        .collect();
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert_eq!(
        rules[..3],
        ["relation_not_allowed", "read_only", "function_not_allowed"],
        "{rules:?}"
    );
    assert!(
        rows[0]["object"]
            .as_str()
            .is_some_and(|o| o.contains("vault.secrets")),
        "{}",
        rows[0]
    );
    assert_eq!(
        (rows[0]["outcome"].as_str(), rows[0]["sqlstate"].as_str()),
        (Some("error"), Some("42501"))
    );
}

fn a_denial_swallowed_in_plpgsql(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow(text)')");
    b.agent()
        .simple("SELECT shop.swallow('SELECT * FROM vault.secrets')");
    let rows = b.audit("verdict = 'denied'");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["rule"], "relation_not_allowed");
    assert!(
        rows[0]["nesting_level"].as_i64().is_some_and(|n| n > 0),
        "{}",
        rows[0]
    );
}

fn read_only_transactions(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("BEGIN READ ONLY");
    agent.query("SELECT id FROM shop.orders LIMIT 3");
    agent.query("COMMIT");
    agent.query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE");
    agent.query("SELECT id FROM shop.orders LIMIT 4");
    agent.query("COMMIT");
    assert_eq!(b.audit("rows_returned IN (3, 4)").len(), 2);
}

fn syntax_errors(b: &Bench) {
    b.allow();
    b.agent().simple("SELEKT 1 FROM shop.orders");
    b.agent().extended("SELECT FROM WHERE", &[]);
    let rows = b.audit("sqlstate = '42601'");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0]["outcome"], "error");
}

fn unknown_tables(b: &Bench) {
    b.allow();
    b.agent().simple("SELECT * FROM shop.no_such_table");
    b.agent().simple("SELECT no_such_column FROM shop.orders");
    assert_eq!(
        b.audit("sqlstate IN ('42P01', '42703') AND outcome = 'error'")
            .len(),
        2
    );
}

fn native_permission_denied(b: &Bench) {
    b.allow();
    b.setup("REVOKE ALL ON shop.orders FROM @agent@");
    b.agent().simple("SELECT * FROM shop.orders");
    assert_eq!(b.audit("sqlstate = '42501' AND outcome = 'error'").len(), 1);
}

fn aborted_transactions(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent.simple("SELECT 1/0");
    agent.simple("SELECT 'after the error' FROM shop.orders");
    agent.simple("ROLLBACK");
    assert_eq!(b.audit("sqlstate = '25P02'").len(), 1);
    assert_eq!(
        outcomes(b),
        [
            "BEGIN ok",
            "SELECT error 22012",
            "SELECT error 25P02",
            "ROLLBACK ok"
        ]
    );
}

/// Tag, outcome and SQLSTATE of each statement.
fn outcomes(b: &Bench) -> Vec<String> {
    b.audit("nesting_level = 0")
        .iter()
        .map(|row| {
            let word = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {} {}",
                word("command_tag"),
                word("outcome"),
                word("sqlstate")
            )
            .trim_end()
            .to_owned()
        })
        .collect()
}

/// In a failed transaction no catalog can be read; what ends it is recorded all the same.
fn ends_of_failed_transactions(b: &Bench) {
    b.allow();
    for (end, recorded) in [
        ("ROLLBACK", "ROLLBACK ok"),
        ("COMMIT", "COMMIT ok"),
        ("ROLLBACK AND CHAIN; ROLLBACK", "ROLLBACK ok ROLLBACK ok"),
        (
            "ROLLBACK TO SAVEPOINT nowhere; ROLLBACK",
            "ROLLBACK error 3B001",
        ),
        (
            "ROLLBACK TO SAVEPOINT s; SELECT 1; ROLLBACK",
            "ROLLBACK ok SELECT ok ROLLBACK ok",
        ),
    ] {
        for simple in [true, false] {
            b.setup("SELECT agent_policy.audit_flush(); DELETE FROM agent_policy.audit_log");
            let mut agent = b.agent();
            agent.query("BEGIN; SAVEPOINT s");
            agent.simple("SELECT 1/0");
            if simple {
                agent.simple(end);
            } else {
                for part in cluster_tests::sql::split(end) {
                    if agent.extended(&part, &[]).errors.is_empty() {
                        continue;
                    }
                    break;
                }
            }
            let seen = outcomes(b);
            assert_eq!(seen[3..].join(" "), recorded, "{end}: {seen:?}");
            let row = b.audit("true").pop().expect("a record");
            assert_eq!(row["user_email"], "alice@example.com");
            assert_eq!(row["session_user_name"], b.agent);
        }
    }
}

fn row_counts(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')");
    let mut agent = b.agent();
    agent.query("SELECT id FROM shop.orders LIMIT 11");
    agent.query("UPDATE shop.scratch SET v = 'z'");
    agent.query("DELETE FROM shop.scratch RETURNING id");
    let rows = b.audit("true");
    assert_eq!(rows[0]["rows_returned"], 11, "{}", rows[0]);
    assert_eq!(
        (
            rows[1]["rows_processed"].as_i64(),
            rows[1]["rows_returned"].as_i64()
        ),
        (Some(2), Some(0)),
        "{}",
        rows[1]
    );
    assert_eq!(
        (
            rows[2]["rows_processed"].as_i64(),
            rows[2]["rows_returned"].as_i64()
        ),
        (Some(2), Some(2)),
        "{}",
        rows[2]
    );
}

fn copy_counts(b: &Bench) {
    b.allow();
    b.agent()
        .query("COPY (SELECT id FROM shop.orders LIMIT 13) TO STDOUT");
    b.agent().query("COPY shop.scratch TO STDOUT");
    let rows = b.audit("nesting_level = 0");
    assert_eq!(
        (
            rows[0]["rows_returned"].as_i64(),
            rows[1]["rows_returned"].as_i64()
        ),
        (Some(13), Some(2)),
        "{rows:?}"
    );
    assert!(
        rows.iter()
            .all(|r| r["bytes_returned"].as_i64().is_some_and(|n| n > 0)),
        "{rows:?}"
    );
    assert!(
        rows[1]["relations"].to_string().contains("shop.scratch"),
        "{}",
        rows[1]
    );
}

fn cursors_and_portals(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent.query("DECLARE c CURSOR FOR SELECT id FROM shop.orders");
    agent.query("FETCH 17 FROM c");
    agent.query("CLOSE c");
    agent.query("COMMIT");
    agent.query("BEGIN");
    agent
        .parse("", "SELECT id FROM shop.customers")
        .bind("p", "", &[], false)
        .execute("p", 19)
        .execute("p", 5)
        .sync()
        .ok();
    agent.query("COMMIT");
    let rows = b.audit("true");
    let returned: i64 = rows
        .iter()
        .filter(|r| r["relations"].to_string().contains("shop.orders"))
        .filter_map(|r| r["rows_returned"].as_i64())
        .sum();
    assert_eq!(returned, 17, "rows that left through FETCH: {rows:?}");
    let returned: i64 = rows
        .iter()
        .filter(|r| r["relations"].to_string().contains("shop.customers"))
        .filter_map(|r| r["rows_returned"].as_i64())
        .sum();
    assert_eq!(
        returned, 24,
        "rows that left through Execute limits: {rows:?}"
    );
}

fn execute_logs_its_own_statement(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("PREPARE p AS SELECT id FROM shop.orders LIMIT 5");
    agent.query("EXECUTE p");
    agent.query("EXECUTE p");
    let returned: i64 = b
        .audit("true")
        .iter()
        .filter_map(|r| r["rows_returned"].as_i64())
        .sum();
    assert_eq!(returned, 10, "an execution counts once");
}

fn parsing_ahead_is_not_a_statement(b: &Bench) {
    // Drivers parse once and execute often: one row an execution, none for the Parse alone.
    b.allow();
    let mut agent = b.agent();
    agent
        .parse("p", "SELECT id FROM shop.orders LIMIT 3")
        .describe(b'S', "p")
        .sync()
        .ok();
    for _ in 0..3 {
        agent.run("p", &[]).ok();
    }
    let rows = b.audit("relations::text LIKE '%shop.orders%'");
    assert_eq!(rows.len(), 3, "{rows:?}");
}

fn nested_statements(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.run(text)')");
    b.agent()
        .query("SELECT shop.run('SELECT name FROM shop.customers WHERE id = 1')");
    let rows = b.audit("true");
    assert!(
        rows.iter()
            .any(|r| r["nesting_level"] == 0 && r["functions"].to_string().contains("shop.run")),
        "{rows:?}"
    );
    assert!(
        rows.iter().any(|r| r["nesting_level"].as_i64() > Some(0)
            && r["relations"].to_string().contains("shop.customers")),
        "{rows:?}"
    );
}

/// Views of `information_schema` call functions in SQL for each row: they are part of the statement.
/// What somebody else wrote in SQL has its record, whatever form its body has.
fn functions_of_the_server_have_no_records(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    for statement in [
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM information_schema.key_column_usage",
        "COPY (SELECT * FROM information_schema.columns) TO STDOUT",
        "SELECT id || 'x', quote_literal(id) FROM shop.orders",
    ] {
        let before = b.audit("true").len();
        let answer = agent.query(statement);
        assert!(answer.rows.len() + answer.copied.len() > 5, "{statement}");
        let rows = b.audit("true");
        assert_eq!(rows.len(), before + 1, "{statement}: {rows:?}");
        let row = rows.last().expect("a row");
        assert_eq!(row["nesting_level"], 0, "{statement}: {row}");
        assert_eq!(
            row["rows_processed"], row["rows_returned"],
            "{statement}: {row}"
        );
    }
    b.setup(
        "CREATE FUNCTION shop.orders_of(c int) RETURNS bigint LANGUAGE sql STABLE
             BEGIN ATOMIC SELECT count(*) FROM shop.orders WHERE customer_id = c; END;
         SELECT agent_policy.allow_function('@agent@', 'shop.orders_of(int)')",
    );
    b.agent()
        .query("SELECT shop.orders_of(id) FROM shop.customers WHERE id < 4");
    let rows = b.audit("nesting_level > 0");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(
        rows.iter()
            .all(|row| row["relations"].to_string().contains("shop.orders")),
        "{rows:?}"
    );
}

fn security_definer_bodies(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.secdef_email(int)')");
    b.agent().query("SELECT shop.secdef_email(1)");
    b.flush_audit();
    let rows = b.setup(
        "SELECT to_jsonb(a)::text FROM agent_policy.audit_log a WHERE session_user_name::text = '@agent@' AND relations::text LIKE '%shop.customers%'",
    );
    assert!(
        !rows.rows.is_empty(),
        "the body of a SECURITY DEFINER function has no row"
    );
}

fn masked_columns_and_relations(b: &Bench) {
    b.mask();
    b.agent().query("SELECT c.email, o.id FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id LIMIT 1");
    let rows = b.audit("true");
    assert!(
        rows[0]["masked_columns"].to_string().contains("email"),
        "{}",
        rows[0]
    );
    assert!(
        rows[0]["relations"].to_string().contains("shop.customers")
            && rows[0]["relations"].to_string().contains("shop.orders")
    );
}

fn truncation(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 5)");
    b.agent().query("SELECT id FROM shop.orders");
    let rows = b.audit("truncated");
    assert_eq!(
        (rows.len(), rows[0]["rows_returned"].as_i64()),
        (1, Some(5)),
        "{rows:?}"
    );
}

fn timeouts_and_cancels(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '400 ms')");
    b.agent()
        .simple("SELECT count(*) FROM generate_series(1, 2000000000)");
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '60 s')");
    let mut agent = b.agent();
    agent.send("SELECT count(*) FROM generate_series(1, 2000000000)");
    b.wait_until_active(agent.pid);
    agent.cancel();
    let error = agent.collect().err();
    assert_eq!((error.code.as_str(), error.rule().as_str()), ("57014", ""));
    let rows = b.audit("sqlstate = '57014'");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|r| r["outcome"] == "cancelled"), "{rows:?}");
}

fn several_statements_in_one_query(b: &Bench) {
    b.allow();
    b.agent()
        .query("SELECT id FROM shop.orders LIMIT 2; SELECT id FROM shop.customers LIMIT 3");
    let rows = b.audit("true");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(
        (
            rows[0]["rows_returned"].as_i64(),
            rows[1]["rows_returned"].as_i64()
        ),
        (Some(2), Some(3))
    );
    assert!(
        !rows[0]["statement"]
            .as_str()
            .unwrap_or("")
            .contains("customers"),
        "a row holds its own statement: {}",
        rows[0]
    );
}

fn explain_analyze_and_exists(b: &Bench) {
    b.mask();
    b.agent().query("SELECT EXISTS (SELECT 1 FROM shop.orders)");
    assert_eq!(b.audit("true")[0]["rows_returned"], 1);
    b.agent().query("EXPLAIN SELECT * FROM shop.orders");
    assert!(b.audit("command_tag LIKE 'EXPLAIN%'").len() == 1);
    for (sql, relations) in [
        (
            "EXPLAIN ANALYZE SELECT count(*) FROM shop.orders WHERE id < 4711",
            &["shop.orders"][..],
        ),
        (
            "EXPLAIN (ANALYZE, COSTS OFF, FORMAT json) SELECT email FROM shop.customers c JOIN shop.orders o ON o.customer_id = c.id WHERE o.id < 4711",
            &["shop.customers", "shop.orders", "shop.vips"],
        ),
    ] {
        for extended in [false, true] {
            empty(b);
            let mut agent = b.agent();
            let answer = if extended {
                agent.extended(sql, &[]).ok()
            } else {
                agent.query(sql)
            };
            assert!(!answer.rows.is_empty());
            let row = only(b);
            assert_eq!(
                (
                    row["command_tag"].as_str(),
                    row["outcome"].as_str(),
                    row["verdict"].as_str()
                ),
                (Some("EXPLAIN"), Some("ok"), Some("allowed")),
                "{row}"
            );
            assert_eq!(row["relations"], serde_json::json!(relations), "{row}");
            let text = row["statement"].as_str().expect("a text");
            assert!(
                text.starts_with("EXPLAIN") && !text.contains("4711"),
                "{row}"
            );
            // What is sent is the plan; what ran has sent nothing.
            assert_eq!(row["rows_returned"], answer.rows.len(), "{row}");
        }
    }
    // It runs what it shows: what that changes, calls or may not read is told.
    empty(b);
    b.agent()
        .error("EXPLAIN ANALYZE SELECT 1 / (id - 5) FROM shop.orders");
    let row = only(b);
    assert_eq!(
        (row["outcome"].as_str(), row["sqlstate"].as_str()),
        (Some("error"), Some("22012")),
        "{row}"
    );
    assert!(
        row["relations"].to_string().contains("shop.orders"),
        "{row}"
    );
    empty(b);
    b.agent()
        .error("EXPLAIN ANALYZE SELECT token FROM vault.secrets");
    let row = only(b);
    assert_eq!(
        (row["verdict"].as_str(), row["rule"].as_str()),
        (Some("denied"), Some("relation_not_allowed")),
        "{row}"
    );
}

fn text_that_does_not_lex(b: &Bench) {
    b.allow();
    b.agent()
        .simple("SELECT 'SECRET unterminated FROM shop.orders");
    let rows = b.audit("true");
    assert_eq!(rows.len(), 1);
    assert!(!rows[0].to_string().contains("SECRET"), "{}", rows[0]);
}

/// What a function raises reaches the client, and is no record of its own.
fn forged_looking_notices(b: &Bench) {
    const FORGED: [&str; 2] = [
        "AUDIT: SESSION,1,1,READ,SELECT,,,forged_1",
        r#"{"role_name":"nobody","statement":"SELECT forged_2","verdict":"allowed","user_email":"bob@example.com"}"#,
    ];
    b.allow();
    b.setup(&format!(
        "CREATE FUNCTION shop.forge() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE LOG '%', '{0}'; RAISE NOTICE '%', '{0}'; RAISE WARNING '%', '{1}'; RETURN 1; END $$;
         CREATE FUNCTION shop.forge_and_fail() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', '{1}'; END $$;
         SELECT agent_policy.allow_function('@agent@', 'shop.forge()'), agent_policy.allow_function('@agent@', 'shop.forge_and_fail()')",
        FORGED[0], FORGED[1]
    ));
    let mut agent = b.agent();
    let answer = agent.query("SELECT shop.forge()");
    let raised: Vec<&str> = answer.notices.iter().map(|n| n.message.as_str()).collect();
    assert_eq!(raised, FORGED, "control: they were raised");
    assert_eq!(
        agent.error("SELECT shop.forge_and_fail()").message,
        FORGED[1],
        "control"
    );
    assert!(
        b.cluster.log().contains(FORGED[0]),
        "control: the server has logged it"
    );
    let rows = b.audit("true");
    let told: Vec<_> = rows
        .iter()
        .map(|r| {
            (
                r["statement"].as_str(),
                r["outcome"].as_str(),
                r["user_email"].as_str(),
            )
        })
        .collect();
    let alice = Some("alice@example.com");
    assert_eq!(
        told,
        [
            (Some("SELECT shop.forge()"), Some("ok"), alice),
            (Some("SELECT shop.forge_and_fail()"), Some("error"), alice),
        ]
    );
    for row in &rows {
        let row = row.to_string();
        assert!(!row.contains("forged_") && !row.contains("AUDIT:"), "{row}");
    }
    // Nor under another's name.
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_log a WHERE to_jsonb(a)::text LIKE '%forged#_%' ESCAPE '#'"),
        "0"
    );
}

fn monitor_mode_says_would_deny(b: &Bench) {
    b.mask();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_only', 'monitor')");
    let mut agent = b.agent();
    assert_eq!(
        agent.query("SELECT token FROM vault.secrets").one(),
        "QUAGGA vault"
    );
    agent.query("INSERT INTO shop.scratch VALUES (70, 'x')");
    let rows = b.audit("verdict = 'would_deny'");
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(
        (rows[0]["rule"].as_str(), rows[1]["rule"].as_str()),
        (Some("relation_not_allowed"), Some("read_only"))
    );
    assert!(rows.iter().all(|r| r["outcome"] == "ok"), "{rows:?}");
}

fn unconfined_roles_are_not_audited(b: &Bench) {
    b.allow();
    b.unconfined().query("SELECT count(*) FROM shop.orders");
    b.flush_audit();
    assert_eq!(
        b.value(
            "SELECT count(*) FROM agent_policy.audit_log WHERE session_user_name::text = '@plain@'"
        ),
        "0"
    );
}

fn connection_details(b: &Bench) {
    b.allow();
    let mut agent = b
        .agent_with(&[
            ("options", "-c agent_policy.user_email=alice@example.com"),
            ("application_name", "the app"),
        ])
        .expect("connects");
    agent.query("BEGIN; SELECT 1; COMMIT");
    let rows = b.audit("command_tag LIKE 'SELECT%'");
    assert_eq!(rows[0]["application_name"], "the app", "{}", rows[0]);
    assert_eq!(rows[0]["backend_pid"].as_i64(), Some(i64::from(agent.pid)));
    let version = rows[0]["policy_version"].to_string();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 77)");
    agent.query("SELECT 2");
    let rows = b.audit("command_tag LIKE 'SELECT%'");
    assert_ne!(
        rows[1]["policy_version"].to_string(),
        version,
        "another policy, another version"
    );
    assert_eq!(rows[0]["session_id"], rows[1]["session_id"]);
}

fn parallel_plans_count_once(b: &Bench) {
    b.allow();
    b.in_workers();
    let mut agent = b.agent();
    for (sql, count) in [
        (
            "SELECT shop.worked_by(), id FROM shop.orders WHERE id <= 9",
            9,
        ),
        (
            "SELECT shop.worked_by(), count(*) FROM shop.orders GROUP BY 1 HAVING count(*) > 0",
            0,
        ),
    ] {
        b.from_workers(&mut agent, sql);
        // Now that it is known to be shared: once more, for the record.
        empty(b);
        let answer = agent.query(sql);
        let row = only(b);
        assert_eq!(row["rows_returned"], answer.rows.len(), "{row}");
        assert!(count == 0 || answer.rows.len() == count);
        assert_eq!(
            row["relations"],
            serde_json::json!(["shop.orders"]),
            "{row}"
        );
        assert_eq!(
            b.audit("true").len(),
            1,
            "no worker has a record of its own"
        );
    }
}
