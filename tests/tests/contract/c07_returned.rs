//! The audit says what left: rows and bytes as the client has seen them, also of a statement that was cut short.

use cluster_tests::{Answer, Bench, Case, Wire, cases};
use serde_json::Value;

use super::c07_complete::{empty, number, only, settled};

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
    produced_is_not_returned,
    the_number_of_the_transaction,
];

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
    // Long enough for the first rows on a busy machine.
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '3 s')");
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

/// Also of its first write, which is what gives it one: the rows name it in xmin.
fn the_number_of_the_transaction(b: &Bench) {
    b.allow();
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')",
    );
    let number_of = |what: &str| {
        let rows = b.audit(&format!("statement LIKE '{what}%' AND nesting_level = 0"));
        assert_eq!(rows.len(), 1, "{what}");
        rows[0]["transaction_id"].as_i64()
    };
    let xmin = |id: i32| {
        let n = b.value(&format!(
            "SELECT xmin::text FROM shop.scratch WHERE id = {id}"
        ));
        n.parse::<i64>().ok()
    };
    let mut agent = b.agent();
    agent.query("INSERT INTO shop.scratch VALUES (300, 'x')");
    agent
        .extended("UPDATE shop.scratch SET v = 'y' WHERE id = 1", &[])
        .ok();
    agent.query("BEGIN");
    agent.query("SELECT count(*) FROM shop.orders");
    agent.query("INSERT INTO shop.scratch VALUES (301, 'x'), (302, 'x')");
    agent.query("SELECT max(id) FROM shop.orders");
    agent.query("COMMIT");
    agent.query("SELECT min(id) FROM shop.orders");
    agent.query("CREATE TABLE shop.numbered (id int)");
    agent.error("INSERT INTO shop.scratch VALUES (1, 'twice')");
    b.flush_audit();
    let first = number_of(
        "INSERT INTO shop.scratch VALUES ($1, $2)' AND outcome = 'ok' AND statement NOT LIKE '%), (",
    );
    assert_eq!((first, first.is_some()), (xmin(300), true));
    assert_eq!(number_of("UPDATE"), xmin(1));
    assert_eq!(number_of("SELECT count"), None, "none yet");
    let second = number_of("INSERT INTO shop.scratch VALUES ($1, $2), (");
    assert_eq!((second, second.is_some()), (xmin(301), true));
    assert_eq!(number_of("SELECT max"), second);
    assert_eq!(number_of("COMMIT"), second);
    assert_eq!(number_of("SELECT min"), None);
    assert!(number_of("CREATE TABLE").is_some());
    assert!(
        number_of("INSERT INTO shop.scratch VALUES ($1, $2)' AND outcome = 'error' AND '%' LIKE '")
            .is_some()
    );
}
