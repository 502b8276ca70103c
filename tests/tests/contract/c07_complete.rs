//! Nothing is left out of the audit: every statement has its record, under the text of what ran and with its own
//! outcome, however it was sent and wherever it failed.

use cluster_tests::{Bench, Case, cases};
use serde_json::Value;
use std::time::Duration;

pub const CASES: &[Case] = cases![
    execute_with_the_text_of_what_ran,
    execute_of_several_prepared_in_one_message,
    bodies_of_functions_under_their_own_text,
    a_body_that_was_cut_short,
    statements_one_by_one,
    statements_of_a_pipeline,
    a_commit_that_fails,
    errors_outside_of_execution,
    calls_on_the_fast_path,
    parallel_and_nested_at_once,
    a_long_statement,
    calls_before_the_run,
    expressions_of_plpgsql_have_no_records,
    errors_behind_calls_before_the_run,
    a_body_that_fails_again_and_again,
    monitor_mode_behind_calls_before_the_run,
];

pub fn top(b: &Bench) -> Vec<Value> {
    b.audit("nesting_level = 0")
}

/// The only record at top level since the log was emptied.
#[track_caller]
pub fn only(b: &Bench) -> Value {
    let rows = top(b);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.into_iter().next().expect("one")
}

pub fn empty(b: &Bench) {
    b.flush_audit();
    b.setup("TRUNCATE agent_policy.audit_log");
}

pub fn number(row: &Value, column: &str) -> i64 {
    row[column]
        .as_i64()
        .unwrap_or_else(|| panic!("{column} in {row}"))
}

/// The record of a session that is ending.
pub fn settled(b: &Bench) -> Value {
    for _ in 0..1200 {
        let rows = top(b);
        if let [row] = rows.as_slice() {
            return row.clone();
        }
        assert!(rows.is_empty(), "{rows:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no record");
}

pub fn statement(row: &Value) -> &str {
    row["statement"].as_str().unwrap_or_default()
}

fn execute_with_the_text_of_what_ran(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("PREPARE p (int, text) AS SELECT id FROM shop.orders WHERE id < $1 AND status <> $2 AND status <> 'SECRET'");
    agent.query("EXECUTE p (5, 'PRIVATE')");
    let rows = top(b);
    assert_eq!(rows.len(), 2, "{rows:?}");
    let row = &rows[1];
    assert!(statement(row).starts_with("EXECUTE p"), "{row}");
    assert!(
        statement(row).contains("FROM shop.orders WHERE id <"),
        "what ran: {row}"
    );
    assert!(!row.to_string().contains("PREPARE p"), "{row}");
    assert!(
        !row.to_string().contains("SECRET") && !row.to_string().contains("PRIVATE"),
        "{row}"
    );
    assert_eq!(row["command_tag"], "EXECUTE");
    assert_eq!(row["relations"][0], "shop.orders");
    assert_eq!(number(row, "rows_returned"), 4);
    // By the protocol the text is the statement's own.
    empty(b);
    agent
        .parse("q", "SELECT id FROM shop.orders WHERE id < $1")
        .sync()
        .ok();
    agent.query("SELECT 1");
    agent.run("q", &[Some("4")]).ok();
    let rows = top(b);
    assert_eq!(
        statement(&rows[1]),
        "SELECT id FROM shop.orders WHERE id < $1"
    );
    // One that does not exist, and one whose error comes after rows.
    empty(b);
    assert_eq!(agent.simple("EXECUTE nobody").err().code, "26000");
    let row = only(b);
    assert_eq!(
        (row["outcome"].as_str(), statement(&row)),
        (Some("error"), "EXECUTE nobody")
    );
}

fn execute_of_several_prepared_in_one_message(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query(
        "PREPARE a AS SELECT id FROM shop.orders LIMIT 2; PREPARE b AS SELECT id FROM shop.customers LIMIT 3; EXECUTE b; EXECUTE a",
    );
    let rows = top(b);
    assert_eq!(rows.len(), 4, "{rows:?}");
    assert!(
        statement(&rows[2]).contains("shop.customers")
            && !statement(&rows[2]).contains("shop.orders")
    );
    assert!(
        statement(&rows[3]).contains("shop.orders")
            && !statement(&rows[3]).contains("shop.customers")
    );
    assert_eq!(
        (
            number(&rows[2], "rows_returned"),
            number(&rows[3], "rows_returned")
        ),
        (3, 2)
    );
    // EXPLAIN EXECUTE and CREATE TABLE AS EXECUTE name the relations, too.
    empty(b);
    agent.query("EXPLAIN EXECUTE a");
    assert_eq!(only(b)["relations"][0], "shop.orders");
}

fn bodies_of_functions_under_their_own_text(b: &Bench) {
    b.allow();
    b.setup(
        "SELECT agent_policy.allow_function('@agent@', 'shop.secdef_email(int)'); SELECT agent_policy.allow_function('@agent@', 'shop.get_email(int)'); \
         CREATE FUNCTION shop.two_steps() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ DECLARE n int; BEGIN SELECT count(*) INTO n FROM shop.orders; PERFORM 1 FROM shop.customers WHERE id = n - 2999; RETURN n; END $$; \
         SELECT agent_policy.allow_function('@agent@', 'shop.two_steps()')",
    );
    for (call, statements) in [
        ("SELECT shop.secdef_email(1)", 1),
        ("SELECT shop.get_email(1)", 1),
        ("SELECT shop.two_steps()", 2),
        (
            "SELECT shop.secdef_email(o.id) FROM shop.orders o WHERE o.id <= 3",
            3,
        ),
    ] {
        b.setup("SELECT agent_policy.audit_flush(); TRUNCATE agent_policy.audit_log");
        b.agent().query(call);
        b.flush_audit();
        let nested: Vec<Value> = b
            .setup("SELECT to_jsonb(a) FROM agent_policy.audit_log a WHERE session_user_name = '@agent@' AND nesting_level > 0 ORDER BY seq")
            .column()
            .iter()
            .map(|row| serde_json::from_str(row).expect("JSON"))
            .collect();
        assert_eq!(nested.len(), statements, "{call}: {nested:?}");
        for row in nested {
            assert!(
                row["relations"].to_string().contains("shop.")
                    && !statement(&row).contains("shop.two_steps"),
                "{row}"
            );
            assert_eq!(row["outcome"], "ok", "{row}");
            assert_eq!(
                number(&row, "rows_returned"),
                0,
                "nothing of it went to the client itself: {row}"
            );
            assert_eq!(number(&row, "rows_processed"), 1, "{row}");
        }
    }
}

fn a_body_that_was_cut_short(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow(text)'); SELECT agent_policy.allow_function('@agent@', 'shop.run(text)')");
    b.agent()
        .query("SELECT shop.swallow('SELECT 1 / (id - 5) FROM shop.orders')");
    let rows = b.audit("true");
    let nested: Vec<_> = rows
        .iter()
        .filter(|r| {
            number(r, "nesting_level") > 0 && r["relations"].to_string().contains("shop.orders")
        })
        .collect();
    assert_eq!(nested.len(), 1, "{rows:?}");
    assert_eq!(nested[0]["outcome"], "error", "{rows:?}");
    let outer: Vec<_> = rows
        .iter()
        .filter(|r| number(r, "nesting_level") == 0)
        .collect();
    assert_eq!(
        (outer.len(), outer[0]["outcome"].as_str()),
        (1, Some("ok")),
        "{rows:?}"
    );
    // What does not parse inside, and is swallowed, is the text of the one that ran it.
    empty(b);
    b.agent()
        .query("SELECT shop.swallow('SELECT * FROM shop.nothing_here')");
    assert_eq!(only(b)["outcome"], "ok");
    empty(b);
    assert_eq!(
        b.agent()
            .simple("SELECT shop.run('SELECT 1 / (id - 1) FROM shop.orders')")
            .err()
            .code,
        "22012"
    );
    let rows = b.audit("true");
    let rows: Vec<_> = rows.iter().filter(|r| statement(r) != "q").collect();
    assert!(rows.iter().all(|r| r["outcome"] == "error"), "{rows:?}");
    assert_eq!(rows.len(), 2, "{rows:?}");
}

pub fn texts(rows: &[Value]) -> Vec<(String, String)> {
    rows.iter()
        .map(|r| {
            (
                statement(r).to_owned(),
                r["outcome"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

fn statements_one_by_one(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    let answer = agent.simple("SELECT id FROM shop.orders LIMIT 2; SELECT count(*) FROM shop.customers; SELECT 1 / 0; SELECT id FROM shop.events");
    assert_eq!(answer.err().code, "22012");
    let rows = top(b);
    let expected = [
        ("SELECT id FROM shop.orders LIMIT $1", "ok"),
        ("SELECT count(*) FROM shop.customers", "ok"),
        ("SELECT $1 / $2", "error"),
    ]
    .map(|(s, o)| (s.to_owned(), o.to_owned()));
    assert_eq!(texts(&rows), expected, "{rows:?}");
    assert_eq!(
        [0, 1, 2].map(|i| number(&rows[i], "rows_returned")),
        [2, 1, 0]
    );
    empty(b);
    // A denial in the middle: what came before has run, the rest has not.
    agent.simple("SELECT 1; TABLE vault.secrets; SELECT 2");
    let rows = top(b);
    assert_eq!(
        rows.iter()
            .map(|r| r["verdict"].as_str().unwrap_or_default())
            .collect::<Vec<_>>(),
        ["allowed", "denied"],
        "{rows:?}"
    );
    assert_eq!(statement(&rows[1]), "TABLE vault.secrets");
}

fn statements_of_a_pipeline(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    for n in 1..=5 {
        agent
            .parse("", &format!("SELECT id FROM shop.orders WHERE id <= {n}"))
            .bind("", "", &[], n % 2 == 0)
            .describe(b'P', "")
            .execute("", 0);
    }
    let answer = agent.sync().ok();
    assert_eq!(answer.rows.len(), 15);
    let rows = top(b);
    assert_eq!(
        rows.iter()
            .map(|r| number(r, "rows_returned"))
            .collect::<Vec<_>>(),
        [1, 2, 3, 4, 5],
        "{rows:?}"
    );
}

fn a_commit_that_fails(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE TABLE shop.later (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); GRANT ALL ON shop.later TO @agent@; \
         SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.later', 'write')",
    );
    let mut agent = b.agent();
    agent.query("BEGIN; INSERT INTO shop.later VALUES (1), (1)");
    assert_eq!(agent.simple("COMMIT").err().code, "23505");
    let rows = top(b);
    let last = rows.last().expect("records");
    assert_eq!(
        (
            last["command_tag"].as_str(),
            last["outcome"].as_str(),
            last["sqlstate"].as_str()
        ),
        (Some("COMMIT"), Some("error"), Some("23505")),
        "{rows:?}"
    );
    empty(b);
    // The same at the end of a statement that is its own transaction.
    assert_eq!(
        agent
            .simple("INSERT INTO shop.later VALUES (2), (2)")
            .err()
            .code,
        "23505"
    );
    let row = only(b);
    assert_eq!(
        (row["outcome"].as_str(), row["sqlstate"].as_str()),
        (Some("error"), Some("23505")),
        "{row}"
    );
}

fn errors_outside_of_execution(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    // The value of a parameter, at Bind.
    let answer = agent.extended(
        "SELECT id FROM shop.orders WHERE id = $1",
        &[Some("SECRET")],
    );
    assert_eq!(answer.err().code, "22P02");
    let row = only(b);
    assert_eq!(
        (row["outcome"].as_str(), row["sqlstate"].as_str()),
        (Some("error"), Some("22P02")),
        "{row}"
    );
    assert_eq!(statement(&row), "SELECT id FROM shop.orders WHERE id = $1");
    assert!(!row.to_string().contains("SECRET"));
    // A portal that is not there, a statement that is not there: there is no text.
    for code in ["34000", "26000"] {
        empty(b);
        let answer = if code == "34000" {
            agent.execute("nowhere", 0).sync()
        } else {
            agent.bind("", "nowhere", &[], false).sync()
        };
        assert_eq!(answer.err().code, code);
        let row = only(b);
        assert_eq!(
            (row["outcome"].as_str(), row["sqlstate"].as_str()),
            (Some("error"), Some(code)),
            "{row}"
        );
    }
    // A message that makes no sense.
    empty(b);
    agent.put(b'P', b"no end");
    assert_eq!(agent.sync().err().code, "08P01");
    let row = settled(b);
    assert_eq!(row["sqlstate"], "08P01", "{row}");
    // The parser's stack.
    empty(b);
    let deep = format!("SELECT {}1{}", "(".repeat(200_000), ")".repeat(200_000));
    let code = b.agent().simple(&deep).err().code;
    let row = settled(b);
    assert_eq!(
        row["sqlstate"].as_str(),
        Some(code.as_str()),
        "{}",
        row["sqlstate"]
    );
}

fn calls_on_the_fast_path(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.plus_one(int)')");
    let oid: u32 = b
        .value("SELECT 'shop.plus_one(int)'::regprocedure::oid")
        .parse()
        .expect("an OID");
    let mut agent = b.agent();
    let answer = agent.fastpath(oid, &["41"]);
    let row = only(b);
    assert!(
        row["statement"].is_null()
            || statement(&row).is_empty()
            || statement(&row).contains("plus_one"),
        "{row}"
    );
    if answer.errors.is_empty() {
        assert_eq!(row["verdict"], "allowed");
    } else {
        assert_eq!(row["verdict"], "denied");
    }
    assert!(
        row["functions"].to_string().contains("shop.plus_one")
            || row["object"].to_string().contains("plus_one")
            || row["rule"] == "statement_not_allowed",
        "{row}"
    );
}

fn parallel_and_nested_at_once(b: &Bench) {
    b.allow();
    let force = if b.version >= 16 {
        "debug_parallel_query"
    } else {
        "force_parallel_mode"
    };
    b.setup(&format!(
        "CREATE FUNCTION shop.par(i int) RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$ BEGIN RETURN (SELECT count(*) FROM shop.customers WHERE id = i); END $$; \
         SELECT agent_policy.allow_function('@agent@', 'shop.par(int)'); \
         ALTER ROLE @agent@ SET {force} = on; ALTER ROLE @agent@ SET parallel_setup_cost = 0; ALTER ROLE @agent@ SET parallel_tuple_cost = 0; ALTER ROLE @agent@ SET min_parallel_table_scan_size = 0"
    ));
    let answer = b
        .agent()
        .query("SELECT count(*) FROM shop.orders WHERE status = 'new'");
    assert_eq!(answer.one(), "1000");
    let row = only(b);
    assert_eq!(
        (
            number(&row, "rows_returned"),
            number(&row, "rows_processed")
        ),
        (1, 1),
        "{row}"
    );
    empty(b);
    // A function inside a worker: its statement is there, or the plan was not parallel; never twice.
    b.agent()
        .query("SELECT shop.par(id) FROM shop.orders WHERE id <= 4");
    let rows = b.audit("true");
    assert_eq!(
        rows.iter()
            .filter(|r| number(r, "nesting_level") == 0)
            .count(),
        1,
        "{rows:?}"
    );
    let nested = rows
        .iter()
        .filter(|r| number(r, "nesting_level") > 0)
        .count();
    assert_eq!(nested, 4, "each call of the body once: {rows:?}");
}

fn a_long_statement(b: &Bench) {
    b.allow();
    let list: Vec<String> = (0..60_000).map(|i| (i * 7).to_string()).collect();
    let sql = format!(
        "SELECT count(*) FROM shop.orders WHERE id IN ({})",
        list.join(", ")
    );
    b.agent().query(&sql);
    let row = only(b);
    assert!(
        statement(&row).starts_with("SELECT count(*) FROM shop.orders WHERE id IN"),
        "{}",
        &statement(&row)[..60]
    );
    assert_eq!(row["relations"][0], "shop.orders");
    let hash = b.value(&format!(
        "SELECT encode(sha256(convert_to('{sql}', 'UTF8')), 'hex')"
    ));
    assert_eq!(
        row["statement_sha256"].as_str(),
        Some(format!("\\x{hash}").as_str())
    );
}

/// A table whose partitions a call prunes.
const PARTS: &str = "CREATE TABLE shop.parts (id int) PARTITION BY LIST (id);
    CREATE TABLE shop.parts_1 PARTITION OF shop.parts FOR VALUES IN (1);
    CREATE TABLE shop.parts_2 PARTITION OF shop.parts FOR VALUES IN (2);
    INSERT INTO shop.parts VALUES (1), (2);
    GRANT SELECT ON shop.parts TO @agent@, @plain@";

/// Calls that the planner folds, and those that prune partitions when the query starts: inside a statement that
/// has no record yet.
fn calls_before_the_run(b: &Bench) {
    b.allow();
    b.setup(PARTS);
    b.setup(
        "CREATE FUNCTION shop.folded() RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$
         DECLARE n bigint := 0; r record;
         BEGIN FOR r IN SELECT g FROM shop.orders, generate_series(1, 50) g LOOP n := n + 1; END LOOP; RETURN n; END $$;
         CREATE FUNCTION shop.folded_by_sql() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM shop.orders';
         CREATE FUNCTION shop.pruning() RETURNS int LANGUAGE sql STABLE AS 'SELECT min(id) * 0 + 1 FROM shop.orders';
         CREATE FUNCTION shop.refused() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
         BEGIN PERFORM 1 FROM vault.secrets; RETURN 1; EXCEPTION WHEN insufficient_privilege THEN RETURN 2; END $$;
         SELECT agent_policy.allow_function('@agent@', f::regprocedure)
         FROM unnest(ARRAY['shop.folded()', 'shop.folded_by_sql()', 'shop.pruning()', 'shop.refused()']) f;
         SELECT agent_policy.set_limits('@agent@', max_rows => 3)",
    );
    let overlaps = "SELECT 1 WHERE overlaps(NULL::time, NULL::interval, NULL::time, NULL::time)";
    for (statement, inner, denied) in [
        (overlaps, 0, 0),
        ("SELECT shop.folded() AS n", 1, 0),
        ("SELECT 1 WHERE shop.folded_by_sql() > 0", 1, 0),
        ("SELECT id FROM shop.parts WHERE id = shop.pruning()", 1, 0),
        ("SELECT shop.refused()", 0, 1),
    ] {
        let wanted = b.unconfined().query(statement);
        let before = b.audit("true").len();
        let answer = b.agent().query(statement);
        if denied == 0 {
            assert_eq!(answer.texts(), wanted.texts(), "{statement}");
        }
        let rows = b.audit("true").split_off(before);
        let of = |filter: &dyn Fn(&Value) -> bool| rows.iter().filter(|r| filter(r)).count();
        assert_eq!(
            of(&|r| r["verdict"] == "denied"),
            denied,
            "{statement}: {rows:#?}"
        );
        let nested = of(&|r| r["nesting_level"] != 0 && r["verdict"] == "allowed");
        assert!(nested >= inner, "{statement}: {rows:#?}");
        let outermost: Vec<&Value> = rows.iter().filter(|r| r["nesting_level"] == 0).collect();
        assert_eq!(outermost.len(), 1, "{statement}: {rows:#?}");
        assert_eq!(
            outermost[0]["command_tag"], "SELECT",
            "{statement}: {rows:#?}"
        );
        assert_eq!(outermost[0]["outcome"], "ok", "{statement}: {rows:#?}");
        assert_eq!(
            outermost[0]["rows_returned"],
            wanted.rows.len(),
            "{statement}: {rows:#?}"
        );
    }
}

/// A loop of PL/pgSQL evaluates expressions without end. What reads, changes or calls anything has its record.
fn expressions_of_plpgsql_have_no_records(b: &Bench) {
    b.allow();
    let body = |steps: &str| {
        b.setup(&format!(
            "CREATE OR REPLACE FUNCTION shop.steps() RETURNS bigint LANGUAGE plpgsql AS $$
             DECLARE n bigint := 0; t text; BEGIN FOR i IN 1..20 LOOP {steps} END LOOP; RETURN n; END $$"
        ));
    };
    body("NULL;");
    b.setup(
        "CREATE SEQUENCE shop.counted; GRANT ALL ON shop.counted TO @agent@;
         CREATE FUNCTION shop.one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
         SELECT agent_policy.allow_function('@agent@', f::regprocedure)
         FROM unnest(ARRAY['shop.steps()', 'shop.one()']) f",
    );
    for (steps, records) in [
        (
            "n := n + i; t := upper(t || n) || CASE WHEN n > 3 THEN 'x' ELSE NULL END; IF n % 2 = 1 AND t IS NULL THEN CONTINUE; END IF;",
            0,
        ),
        ("n := (SELECT count(*) FROM shop.orders);", 20),
        ("n := count(*) FROM shop.orders;", 20),
        ("n := n + shop.one();", 20),
        ("PERFORM 1;", 20),
        ("EXECUTE 'SELECT 1' INTO n;", 20),
        ("EXECUTE '(SELECT 1)' INTO n;", 20),
        ("EXECUTE '/* */ SELECT 1' INTO n;", 20),
        ("EXECUTE 'VALUES (1)' INTO n;", 20),
        ("n := random();", 20),
        ("EXECUTE chr(59) || 'SELECT 1' INTO n;", 20),
        ("EXECUTE chr(10) || 'SELECT 1' INTO n;", 20),
    ] {
        body(steps);
        empty(b);
        b.agent().query("SELECT shop.steps()");
        let rows = b.audit("nesting_level > 0");
        assert_eq!(rows.len(), records, "{steps}: {rows:#?}");
        assert_eq!(top(b).len(), 1);
    }
}

/// What a planner calls is done before its statement has a record; that fails, or is refused, all the same.
fn errors_behind_calls_before_the_run(b: &Bench) {
    b.allow();
    b.setup(PARTS);
    b.setup(
        "CREATE FUNCTION shop.three_thousand() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM shop.orders';
         CREATE FUNCTION shop.hidden_rows() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM vault.secrets';
         CREATE FUNCTION shop.swallows() RETURNS int LANGUAGE plpgsql STABLE AS $$
         BEGIN PERFORM 1 FROM vault.secrets; RETURN 1; EXCEPTION WHEN insufficient_privilege THEN
         PERFORM count(*) FROM shop.orders; RETURN 1; END $$;
         SELECT agent_policy.allow_function('@agent@', f::regprocedure)
         FROM unnest(ARRAY['shop.three_thousand()', 'shop.hidden_rows()', 'shop.swallows()']) f",
    );
    for (statement, code, denied) in [
        ("SELECT 1 / (shop.three_thousand() - 3000)", "22012", false),
        (
            "SELECT shop.three_thousand(), 'x'::text::int",
            "22P02",
            false,
        ),
        ("SELECT shop.hidden_rows()", "42501", true),
        (
            "SELECT id FROM shop.parts WHERE id = shop.swallows()",
            "",
            true,
        ),
        (
            "PREPARE p AS SELECT id FROM shop.parts WHERE id = shop.swallows(); EXECUTE p",
            "",
            true,
        ),
        (
            "COPY (SELECT id FROM shop.parts WHERE id = shop.swallows()) TO STDOUT",
            "",
            true,
        ),
    ] {
        empty(b);
        let mut agent = b.agent();
        agent.query("SELECT 1 AS before");
        let mut last = agent.simple("SELECT 2 AS before");
        for part in statement.split("; ") {
            last = agent.simple(part);
        }
        assert_eq!(last.code(), code, "{statement}");
        agent.query("SELECT 3 AS behind");
        let rows = b.audit("true");
        let of_client: Vec<&Value> = rows.iter().filter(|r| r["nesting_level"] == 0).collect();
        assert_eq!(
            of_client.len(),
            4 + statement.matches("; ").count(),
            "{statement}: {rows:#?}"
        );
        let own = of_client[of_client.len() - 2];
        let text = own["statement"].as_str().unwrap_or_default();
        let named = [
            "shop.three_thousand()",
            "shop.hidden_rows()",
            "shop.swallows()",
        ];
        assert!(
            named.iter().any(|f| text.contains(f)),
            "{statement}: {own:#?}"
        );
        let outcome = if code.is_empty() { "ok" } else { "error" };
        assert_eq!(own["outcome"], outcome, "{statement}: {own:#?}");
        if code.is_empty() {
            assert_eq!(own["verdict"], "allowed", "{statement}: {own:#?}");
            assert_eq!(number(own, "rows_returned"), 1, "{statement}: {own:#?}");
        } else {
            assert_eq!(own["sqlstate"], code, "{statement}: {own:#?}");
        }
        let refused = rows.iter().filter(|r| {
            r["verdict"] == "denied"
                && r["statement"]
                    .as_str()
                    .is_some_and(|s| s.contains("vault.secrets"))
        });
        assert_eq!(refused.count() > 0, denied, "{statement}: {rows:#?}");
        for row in rows.iter().filter(|r| r["nesting_level"] != 0) {
            assert_eq!(number(row, "rows_returned"), 0, "{statement}: {row:#?}");
        }
    }
}

/// A query that something caught leaves its place to the next one, which is not it.
fn a_body_that_fails_again_and_again(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE FUNCTION shop.fails() RETURNS int LANGUAGE plpgsql AS $$
         DECLARE n int := 0; BEGIN FOR i IN 1..20 LOOP
         BEGIN PERFORM 1 / (count(*) - count(*)) FROM shop.orders; EXCEPTION WHEN division_by_zero THEN n := n + 1; END;
         END LOOP; RETURN n; END $$;
         SELECT agent_policy.allow_function('@agent@', 'shop.fails()')",
    );
    assert_eq!(b.agent().query("SELECT shop.fails()").one(), "20");
    let rows = b.audit("nesting_level > 0");
    assert_eq!(rows.len(), 20, "{rows:#?}");
    for row in rows {
        assert_eq!(row["outcome"], "error", "{row:#?}");
    }
}

/// What monitor mode finds before anything is planned belongs to the client's statement.
fn monitor_mode_behind_calls_before_the_run(b: &Bench) {
    b.allow();
    b.setup(
        "CREATE FUNCTION shop.three_thousand() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT count(*) FROM shop.orders';
         SELECT agent_policy.protect_role('@agent@', mode => 'monitor')",
    );
    b.agent()
        .query("SELECT shop.three_thousand(), token FROM vault.secrets");
    let row = only(b);
    assert_eq!(row["verdict"], "would_deny", "{row:#?}");
    assert_eq!(row["outcome"], "ok", "{row:#?}");
}
