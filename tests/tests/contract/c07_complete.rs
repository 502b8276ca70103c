//! Nothing is left out of the audit: what other audits of PostgreSQL miss, point by point.

use cluster_tests::{Answer, Bench, Case, Wire, cases};
use serde_json::Value;
use std::time::Duration;

pub const CASES: &[Case] = cases![
    an_error_after_rows_have_left,
    a_timeout_after_rows_have_left,
    the_end_of_the_session_in_the_middle_of_a_scan,
    a_client_that_goes_away_in_the_middle_of_a_scan,
    a_client_that_goes_away_after_its_statement,
    slices_of_portals_and_cursors,
    slices_over_several_messages,
    copy_out_with_rows_and_bytes,
    copy_in_with_rows,
    execute_with_the_text_of_what_ran,
    execute_of_several_prepared_in_one_message,
    bodies_of_functions_under_their_own_text,
    a_body_that_was_cut_short,
    statements_one_by_one,
    statements_of_a_pipeline,
    a_commit_that_fails,
    errors_outside_of_execution,
    calls_on_the_fast_path,
    produced_is_not_returned,
    parallel_and_nested_at_once,
    settings_do_not_silence_it,
    names_that_look_like_records,
    an_agent_writes_no_record,
    a_long_statement,
];

fn top(b: &Bench) -> Vec<Value> {
    b.audit("nesting_level = 0")
}

/// The only record at top level since the log was emptied.
#[track_caller]
fn only(b: &Bench) -> Value {
    let rows = top(b);
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.into_iter().next().expect("one")
}

fn empty(b: &Bench) {
    b.flush_audit();
    b.setup("TRUNCATE agent_policy.audit_log");
}

fn number(row: &Value, column: &str) -> i64 {
    row[column]
        .as_i64()
        .unwrap_or_else(|| panic!("{column} in {row}"))
}

/// Rows and bytes as the client has seen them: bodies of DataRow and CopyData.
fn seen(answer: &Answer) -> (i64, i64) {
    let rows = answer.rows.len() as i64;
    // A DataRow is two bytes and four for each column before its values.
    let bytes: usize = answer
        .rows
        .iter()
        .map(|row| {
            2 + row
                .iter()
                .map(|v| 4 + v.as_ref().map_or(0, Vec::len))
                .sum::<usize>()
        })
        .sum();
    (rows, bytes as i64)
}

fn same_as_seen(row: &Value, answer: &Answer) {
    let (rows, bytes) = seen(answer);
    assert_eq!(
        (number(row, "rows_returned"), number(row, "bytes_returned")),
        (rows, bytes),
        "{row}"
    );
}

fn an_error_after_rows_have_left(b: &Bench) {
    b.allow();
    for simple in [true, false] {
        empty(b);
        let sql = "SELECT id, 1 / (id - 2500) FROM shop.orders ORDER BY id";
        let answer = if simple {
            b.agent().simple(sql)
        } else {
            b.agent().extended(sql, &[])
        };
        assert_eq!(answer.err().code, "22012");
        assert_eq!(answer.rows.len(), 2499, "rows before the error");
        let row = only(b);
        assert_eq!(row["outcome"], "error");
        assert_eq!(row["sqlstate"], "22012");
        assert_eq!(row["relations"][0], "shop.orders");
        same_as_seen(&row, &answer);
    }
}

fn a_timeout_after_rows_have_left(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '700 ms')");
    let answer = b.agent().simple(
        "SELECT g, CASE WHEN g = 3000 THEN (SELECT count(*) FROM generate_series(1, 2000000000) h WHERE h > g) END FROM generate_series(1, 100000) g",
    );
    assert_eq!(answer.err().code, "57014");
    assert!(!answer.rows.is_empty(), "rows before the time was up");
    let row = only(b);
    assert_eq!(row["outcome"], "cancelled");
    assert_eq!(row["rule"], "statement_timeout");
    same_as_seen(&row, &answer);
}

/// Reads until some rows have come.
fn begin_to_read(agent: &mut Wire, rows: usize) {
    agent.wait_for_bytes(rows * 1100);
}

fn the_end_of_the_session_in_the_middle_of_a_scan(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 100000000, max_bytes => 100000000000)");
    let mut agent = b.agent();
    agent.send("SELECT o.id, repeat('x', 1000) FROM shop.orders o, generate_series(1, 100000) g");
    begin_to_read(&mut agent, 500);
    b.setup(&format!("SELECT pg_terminate_backend({})", agent.pid));
    let answer = agent.collect();
    assert!(answer.closed);
    // The server does not wait for its client's socket to tell it so.
    assert!(
        answer.errors.iter().all(|e| e.code == "57P01"),
        "{:?}",
        answer.errors
    );
    assert!(answer.rows.len() >= 500);
    drop(agent);
    let row = settled(b);
    assert_eq!(row["outcome"], "error");
    assert_eq!(row["sqlstate"], "57P01");
    assert_eq!(row["relations"][0], "shop.orders");
    let (rows, bytes) = seen(&answer);
    assert!(
        number(&row, "rows_returned") >= rows && number(&row, "bytes_returned") >= bytes,
        "{row}"
    );
}

/// The record of a session that is ending.
fn settled(b: &Bench) -> Value {
    for _ in 0..100 {
        let rows = top(b);
        if let [row] = rows.as_slice() {
            return row.clone();
        }
        assert!(rows.is_empty(), "{rows:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no record");
}

fn a_client_that_goes_away_in_the_middle_of_a_scan(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 100000000, max_bytes => 100000000000)");
    let mut agent = b.agent();
    agent.send("SELECT o.id, repeat('x', 1000) FROM shop.orders o, generate_series(1, 100000) g");
    begin_to_read(&mut agent, 500);
    drop(agent);
    let row = settled(b);
    assert_eq!(row["outcome"], "error", "{row}");
    assert_eq!(row["sqlstate"], "08006", "{row}");
    assert!(number(&row, "rows_returned") >= 500, "{row}");
    assert!(number(&row, "bytes_returned") >= 500_000, "{row}");
    assert!(
        row["duration_ms"].as_f64().is_some_and(|n| n > 0.0),
        "{row}"
    );
}

fn a_client_that_goes_away_after_its_statement(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.send("SELECT id FROM shop.orders LIMIT 12");
    // Terminate is in the socket before the server has answered.
    drop(agent);
    let row = settled(b);
    assert!(
        row["outcome"] == "ok" || row["sqlstate"] == "08006",
        "{row}"
    );
    assert_eq!(row["relations"][0], "shop.orders");
}

fn sums(b: &Bench, relation: &str) -> (i64, i64) {
    let rows = b.audit(&format!("'{relation}' = ANY (relations)"));
    (
        rows.iter().map(|r| number(r, "rows_returned")).sum(),
        rows.iter().map(|r| number(r, "bytes_returned")).sum(),
    )
}

fn slices_of_portals_and_cursors(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("BEGIN");
    let answer = agent
        .parse("", "SELECT id, status FROM shop.orders ORDER BY id")
        .bind("p", "", &[], false)
        .execute("p", 100)
        .execute("p", 1)
        .execute("p", 0)
        .sync()
        .ok();
    assert_eq!(answer.rows.len(), 3000);
    agent.query("COMMIT");
    assert_eq!(sums(b, "shop.orders"), seen(&answer));
    empty(b);
    agent.query("BEGIN");
    agent.query("DECLARE c SCROLL CURSOR FOR SELECT id, status FROM shop.orders ORDER BY id");
    let mut all = (0, 0);
    for fetch in [
        "FETCH 20 FROM c",
        "FETCH BACKWARD 7 FROM c",
        "FETCH ALL FROM c",
        "FETCH 5 FROM c",
    ] {
        let got = seen(&agent.query(fetch));
        all = (all.0 + got.0, all.1 + got.1);
    }
    agent.query("MOVE BACKWARD 10 FROM c");
    agent.query("CLOSE c; COMMIT");
    assert_eq!(sums(b, "shop.orders"), all);
    let moved = b.audit("command_tag LIKE 'MOVE%'");
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert_eq!(number(&moved[0], "rows_returned"), 0);
    for fetch in b.audit("command_tag LIKE 'FETCH%'") {
        assert_eq!(fetch["relations"][0], "shop.orders", "{fetch}");
        assert!(
            fetch["statement"]
                .as_str()
                .is_some_and(|s| s.starts_with("FETCH")),
            "{fetch}"
        );
    }
}

fn slices_over_several_messages(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent
        .parse("", "SELECT id, status FROM shop.orders ORDER BY id")
        .bind("p", "", &[], false)
        .sync()
        .ok();
    let mut all = (0, 0);
    for _ in 0..4 {
        let got = seen(&agent.execute("p", 50).sync().ok());
        all = (all.0 + got.0, all.1 + got.1);
        // Another statement between the slices has a record of its own.
        agent.query("SELECT count(*) FROM shop.customers");
    }
    agent.query("ROLLBACK");
    assert_eq!(all.0, 200);
    assert_eq!(sums(b, "shop.orders"), all);
    assert_eq!(b.audit("'shop.customers' = ANY (relations)").len(), 4);
}

fn copy_out_with_rows_and_bytes(b: &Bench) {
    b.allow();
    for sql in [
        "COPY shop.orders TO STDOUT",
        "COPY (SELECT id FROM shop.orders WHERE id <= 21) TO STDOUT (FORMAT csv, HEADER)",
        "COPY shop.orders (id, status) TO STDOUT (FORMAT binary)",
    ] {
        empty(b);
        let answer = b.agent().query(sql);
        let row = only(b);
        let tag: i64 = answer.tags[0]
            .strip_prefix("COPY ")
            .and_then(|n| n.parse().ok())
            .expect("COPY n");
        assert_eq!(number(&row, "rows_returned"), tag, "{sql}: {row}");
        assert_eq!(
            number(&row, "bytes_returned"),
            answer.copied.len() as i64,
            "{sql}: {row}"
        );
        assert_eq!(row["command_tag"], "COPY");
        assert_eq!(row["relations"][0], "shop.orders", "{row}");
    }
    // One that fails after rows have left.
    empty(b);
    let answer = b
        .agent()
        .simple("COPY (SELECT id, 1 / (id - 2000) FROM shop.orders ORDER BY id) TO STDOUT");
    assert_eq!(answer.err().code, "22012");
    let row = only(b);
    assert_eq!(row["outcome"], "error");
    assert_eq!(
        (
            number(&row, "rows_returned"),
            number(&row, "bytes_returned")
        ),
        (1999, answer.copied.len() as i64),
        "{row}"
    );
}

fn copy_in_with_rows(b: &Bench) {
    b.allow();
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_relation('@agent@', 'shop.scratch', 'write')");
    let mut agent = b.agent();
    agent.copy_in = b"901\tSECRET\n902\tSECRET\n903\tSECRET\n".to_vec();
    agent.query("COPY shop.scratch FROM STDIN");
    let row = only(b);
    assert_eq!(
        (
            number(&row, "rows_processed"),
            number(&row, "rows_returned")
        ),
        (3, 0),
        "{row}"
    );
    assert_eq!(row["relations"][0], "shop.scratch");
    assert!(!row.to_string().contains("SECRET"));
    empty(b);
    agent.copy_in = b"904\tgood\n901\ttwice\n".to_vec();
    assert_eq!(
        agent.simple("COPY shop.scratch FROM STDIN").err().code,
        "23505"
    );
    let row = only(b);
    assert_eq!(
        (row["outcome"].as_str(), row["sqlstate"].as_str()),
        (Some("error"), Some("23505"))
    );
}

fn statement(row: &Value) -> &str {
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

fn texts(rows: &[Value]) -> Vec<(String, String)> {
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

fn produced_is_not_returned(b: &Bench) {
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')",
    );
    for (sql, processed, returned) in [
        ("SELECT id FROM shop.orders LIMIT 9", 9, 9),
        ("SELECT EXISTS (SELECT 1 FROM shop.orders)", 1, 1),
        ("SELECT count(*) FROM shop.orders", 1, 1),
        ("VALUES (1), (2)", 2, 2),
        (
            "INSERT INTO shop.scratch SELECT g, 'n' FROM generate_series(100, 119) g",
            20,
            0,
        ),
        (
            "UPDATE shop.scratch SET v = 'm' WHERE id >= 100 AND id < 105 RETURNING id",
            5,
            5,
        ),
        (
            "WITH gone AS (DELETE FROM shop.scratch WHERE id >= 110 RETURNING id) SELECT count(*) FROM gone",
            1,
            1,
        ),
        (
            "CREATE TABLE shop.copied AS SELECT id FROM shop.orders LIMIT 30",
            30,
            0,
        ),
        (
            "MERGE INTO shop.scratch s USING (VALUES (100), (500)) v (id) ON s.id = v.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'x')",
            2,
            0,
        ),
    ] {
        empty(b);
        b.agent().query(sql);
        let row = only(b);
        assert_eq!(
            (
                number(&row, "rows_processed"),
                number(&row, "rows_returned")
            ),
            (processed, returned),
            "{sql}: {row}"
        );
    }
    // What the limit kept back was produced all the same.
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 5)");
    empty(b);
    b.agent().query("SELECT id FROM shop.orders");
    let row = only(b);
    assert_eq!(number(&row, "rows_returned"), 5);
    assert!(number(&row, "rows_processed") >= 5, "{row}");
    assert_eq!(row["truncated"], true);
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

fn settings_do_not_silence_it(b: &Bench) {
    b.allow();
    let mut agent = b.agent();
    let attempts = [
        "SET log_min_messages = panic",
        "SET log_min_error_statement = panic",
        "SET client_min_messages = error",
        "SET log_statement = 'none'",
        "SET agent_policy.audit_durability = 'async'",
        "SET agent_policy.user_email = 'bob@example.com'",
        "SET session_replication_role = replica",
        "SET row_security = off",
        "SET transaction_read_only = on",
        "SET synchronous_commit = off",
        "SET track_activities = off",
        "SET session authorization default",
        "DISCARD ALL",
        "RESET ALL",
        "UNLISTEN *",
    ];
    for sql in attempts {
        agent.simple(sql);
    }
    let rows = top(b);
    assert_eq!(rows.len(), attempts.len(), "{:?}", texts(&rows));
    empty(b);
    agent.simple("SELECT id FROM shop.orders LIMIT 3");
    agent.simple("SELEKT");
    agent.simple("SELECT 1 / 0");
    agent.simple("TABLE vault.secrets");
    let rows = top(b);
    assert_eq!(
        rows.iter()
            .map(|r| r["outcome"].as_str().unwrap_or_default())
            .collect::<Vec<_>>(),
        ["ok", "error", "error", "error"],
        "{rows:?}"
    );
    assert!(
        rows.iter().all(|r| r["user_email"] == "alice@example.com"),
        "{rows:?}"
    );
}

fn names_that_look_like_records(b: &Bench) {
    b.allow();
    let name = "x\",\"verdict\":\"denied\"}\n{\"user_email\":\"bob@example.com";
    let mut agent = b
        .agent_with(&[
            ("options", "-c agent_policy.user_email=alice@example.com"),
            ("application_name", name),
        ])
        .expect("connects");
    agent.query(
        "SELECT id AS \"', 'bob@example.com', now()); --\nINSERT\" FROM shop.orders LIMIT 1",
    );
    agent.query("SET application_name = 'other'");
    agent.query("SELECT 2");
    let rows = top(b);
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(
        rows.iter()
            .all(|r| r["user_email"] == "alice@example.com" && r["verdict"] == "allowed"),
        "{rows:?}"
    );
    assert_eq!(rows[2]["application_name"], "other");
    // Where and who are the server's own words.
    assert!(
        rows.iter()
            .all(|r| r["backend_pid"].as_i64() == Some(i64::from(agent.pid)))
    );
    assert_eq!(rows[0]["session_id"], rows[2]["session_id"]);
}

fn an_agent_writes_no_record(b: &Bench) {
    b.allow();
    // Even with every right that PostgreSQL has on them.
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); GRANT USAGE, CREATE ON SCHEMA agent_policy TO @agent@; \
         GRANT ALL ON ALL TABLES IN SCHEMA agent_policy TO @agent@; GRANT ALL ON ALL FUNCTIONS IN SCHEMA agent_policy TO @agent@",
    );
    b.agent().query("SELECT 1");
    b.flush_audit();
    let partition = b.value("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'agent_policy.audit_log'::regclass ORDER BY 1 LIMIT 1");
    let before =
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE user_email = 'bob@example.com'");
    let attempts: Vec<String> = [
        "INSERT INTO agent_policy.audit_log SELECT * FROM agent_policy.audit_log".to_owned(),
        format!("INSERT INTO {partition} SELECT * FROM {partition}"),
        format!("UPDATE {partition} SET user_email = 'bob@example.com'"),
        format!("DELETE FROM {partition}"),
        format!("TRUNCATE {partition}"),
        format!("DROP TABLE {partition}"),
        format!("ALTER TABLE agent_policy.audit_log DETACH PARTITION {partition}"),
        "DELETE FROM agent_policy.audit_progress".to_owned(),
        "UPDATE agent_policy.audit_state SET last_seq = 0".to_owned(),
        "SELECT agent_policy.set_audit_retention('1 second')".to_owned(),
        "SELECT agent_policy.audit_drop_expired()".to_owned(),
        "SELECT agent_policy.audit_partition(1)".to_owned(),
        "SELECT pg_logical_emit_message(false, 'agent_policy', 'x')".to_owned(),
        "SELECT pg_notify('agent_policy', 'x')".to_owned(),
        "NOTIFY agent_policy, 'x'".to_owned(),
        "LISTEN agent_policy".to_owned(),
        "SELECT pg_file_write('x', 'y', false)".to_owned(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity".to_owned(),
        "CREATE TRIGGER t BEFORE INSERT ON agent_policy.audit_log FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()".to_owned(),
        "CREATE RULE r AS ON INSERT TO agent_policy.audit_log DO INSTEAD NOTHING".to_owned(),
        "LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE".to_owned(),
    ]
    .into();
    for sql in &attempts {
        let answer = b.agent().simple(sql);
        assert!(!answer.errors.is_empty(), "{sql}");
    }
    let rows = top(b);
    assert_eq!(
        rows.len(),
        attempts.len() + 1,
        "each attempt is in it: {:?}",
        texts(&rows)
    );
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE user_email = 'bob@example.com'"),
        before
    );
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
