//! How much: rows, bytes, time, cost, budgets.

use std::time::{Duration, Instant};

use cluster_tests::bench::denial;
use cluster_tests::{Bench, Case, cases};

pub const CASES: &[Case] = cases![
    truncate_warns,
    the_planner_knows,
    more_rows_than_were_expected,
    error_on_excess,
    exactly_the_limit_is_no_excess,
    over_the_extended_protocol,
    slices_with_execute_limits_add_up,
    cursors_add_up,
    copy_is_limited,
    every_statement_of_one_query_is_limited,
    rows_inside_do_not_count,
    bytes,
    one_huge_value,
    returning_is_limited,
    explain_prepared_and_execute,
    aggregates_are_whole_before_the_cut,
    timeout_ends_a_statement,
    the_agent_cannot_raise_the_timeout,
    the_timeout_cannot_be_caught,
    lowering_the_timeout_works,
    the_timeout_covers_planning_copy_and_fetches,
    plan_cost,
    limits_are_the_agents_only,
];

fn limited(b: &Bench, limits: &str) {
    b.allow();
    b.setup(&format!(
        "SELECT agent_policy.set_limits('@agent@', {limits})"
    ));
}

fn truncate_warns(b: &Bench) {
    limited(b, "max_rows => 100");
    let answer = b.agent().query("SELECT * FROM shop.orders");
    assert_eq!(answer.rows.len(), 100);
    assert!(
        answer
            .notices
            .iter()
            .any(|n| n.severity == "WARNING" && n.message.contains("100")),
        "{:?}",
        answer.notices
    );
    // The session goes on.
    let mut agent = b.agent();
    agent.query("SELECT * FROM shop.orders");
    assert_eq!(
        agent.query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
}

/// So it keeps the few rows that leave while it sorts, not all.
fn the_planner_knows(b: &Bench) {
    limited(b, "max_rows => 20");
    let sql = "SELECT * FROM shop.orders ORDER BY status, id";
    let explain = format!("EXPLAIN (COSTS OFF) {sql}");
    let ours = b.agent().query(&explain).column();
    let plain = b.unconfined().query(&explain).column();
    assert!(ours[0].starts_with("Limit"), "{ours:?}");
    assert!(plain[0].starts_with("Sort"), "{plain:?}");
    assert_eq!(b.agent().query(sql).rows.len(), 20);
    let analyzed = b
        .agent()
        .query(&format!("EXPLAIN (ANALYZE, COSTS OFF) {sql}"));
    assert!(
        analyzed
            .column()
            .iter()
            .any(|line| line.contains("top-N heapsort")),
        "{analyzed:?}"
    );
    // Its own LIMIT is as it was said; what is above the role's is cut.
    assert_eq!(b.agent().query(&format!("{sql} LIMIT 5")).rows.len(), 5);
    assert_eq!(b.agent().query(&format!("{sql} LIMIT 500")).rows.len(), 20);
}

/// Where few rows are expected there is no node for the limit: what stops the plan is the receiver.
fn more_rows_than_were_expected(b: &Bench) {
    limited(b, "max_rows => 300");
    // Each of these is expected to leave one row in two hundred.
    let all = "o.id + 0 = o.id AND o.id + 1 - 1 = o.id AND o.id * 1 = o.id";
    let scan = format!("SELECT o.id FROM shop.orders o WHERE {all}");
    let join = format!(
        "SELECT o.id, p.id FROM shop.orders o JOIN shop.orders p ON p.id = o.id WHERE {all}"
    );
    let groups = format!("SELECT o.id, count(*) FROM shop.orders o WHERE {all} GROUP BY o.id");
    for sql in [&scan, &join, &groups] {
        let plan = b
            .unconfined()
            .query(&format!("EXPLAIN (FORMAT JSON) {sql}"))
            .one();
        let expected =
            serde_json::from_str::<serde_json::Value>(&plan).unwrap()[0]["Plan"]["Plan Rows"]
                .as_u64()
                .unwrap();
        assert!(expected <= 3, "{sql}: {plan}");
        assert_eq!(b.unconfined().query(sql).rows.len(), 3000);

        let answer = b.allows(sql);
        assert_eq!(answer.rows.len(), 300, "{sql}");
        assert!(answer.notices.iter().any(|n| n.severity == "WARNING"));
        let mut agent = b.agent();
        agent.query(&format!("BEGIN; DECLARE c SCROLL CURSOR FOR {sql}"));
        assert_eq!(agent.query("FETCH 200 FROM c").rows.len(), 200);
        agent.query("MOVE BACKWARD ALL FROM c");
        assert_eq!(agent.query("FETCH ALL FROM c").rows.len(), 100, "{sql}");
        agent.query("COMMIT");
    }
    // Its own limit stays, and that of a query inside.
    for own in [
        format!("{scan} LIMIT 7"),
        format!("SELECT * FROM ({join} LIMIT 7) s"),
        format!("SELECT * FROM (VALUES (1)) v, LATERAL ({groups} LIMIT 7) s"),
    ] {
        assert_eq!(b.allows(&own).rows.len(), 7, "{own}");
    }
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    for sql in [&scan, &join, &groups] {
        b.denies(sql, "54000", "max_rows");
    }
}

fn error_on_excess(b: &Bench) {
    limited(b, "max_rows => 100, on_excess => 'error'");
    b.denies("SELECT * FROM shop.orders", "54000", "max_rows");
    assert_eq!(
        b.allows("SELECT * FROM shop.orders LIMIT 100").rows.len(),
        100
    );
    let answer = b.agent().simple("SELECT * FROM shop.orders");
    assert!(answer.rows.len() <= 100);
}

fn exactly_the_limit_is_no_excess(b: &Bench) {
    limited(b, "max_rows => 3000");
    let answer = b.allows("SELECT id FROM shop.orders");
    assert_eq!(answer.rows.len(), 3000);
    assert!(
        answer.notices.is_empty(),
        "no warning without a cut: {:?}",
        answer.notices
    );
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    b.allows("SELECT id FROM shop.orders");
}

fn over_the_extended_protocol(b: &Bench) {
    limited(b, "max_rows => 100");
    let answer = b
        .agent()
        .extended("SELECT * FROM shop.orders WHERE id > $1", &[Some("5")])
        .ok();
    assert_eq!(answer.rows.len(), 100);
    assert!(answer.notices.iter().any(|n| n.severity == "WARNING"));
}

fn slices_with_execute_limits_add_up(b: &Bench) {
    limited(b, "max_rows => 100");
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent
        .parse("", "SELECT id FROM shop.orders")
        .bind("p", "", &[], false)
        .sync()
        .ok();
    let mut rows = 0;
    let mut warned = false;
    for _ in 0..10 {
        let answer = agent.execute("p", 30).sync().ok();
        rows += answer.rows.len();
        warned |= answer.notices.iter().any(|n| n.severity == "WARNING");
        if !answer.suspended {
            break;
        }
    }
    assert_eq!(rows, 100);
    assert!(warned, "the cut is announced");
    agent.simple("ROLLBACK");
    // The same with an error.
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent
        .parse("", "SELECT id FROM shop.orders")
        .bind("p", "", &[], false)
        .sync()
        .ok();
    let mut rows = 0;
    let error = loop {
        let answer = agent.execute("p", 30).sync();
        rows += answer.rows.len();
        assert!(rows <= 100, "{rows} rows came");
        if let Some(error) = answer.errors.first() {
            break error.clone();
        }
        assert!(
            answer.suspended,
            "the portal ended without an error after {rows} rows"
        );
    };
    assert_eq!(
        (error.code.as_str(), error.rule().as_str()),
        ("54000", "max_rows"),
        "{error}"
    );
}

fn cursors_add_up(b: &Bench) {
    limited(b, "max_rows => 100");
    let mut agent = b.agent();
    agent.query("BEGIN");
    agent.query("DECLARE c SCROLL CURSOR FOR SELECT id FROM shop.orders");
    let mut warnings = Vec::new();
    for (fetch, rows) in [
        ("FETCH 60 FROM c", 60),
        ("FETCH 60 FROM c", 40),
        ("FETCH 60 FROM c", 0),
        ("FETCH ALL FROM c", 0),
        ("FETCH BACKWARD ALL FROM c", 0),
        ("MOVE FIRST IN c", 0),
        ("FETCH ALL FROM c", 0),
        ("FETCH LAST FROM c", 0),
        ("FETCH ABSOLUTE 5 FROM c", 0),
    ] {
        let answer = agent.query(fetch);
        assert_eq!(answer.rows.len(), rows, "{fetch}");
        warnings.push(answer.warned("truncated after 100 rows"));
    }
    assert_eq!(warnings[..2], [false, true]);
    // Another cursor is another result.
    agent.query("DECLARE d CURSOR FOR SELECT id FROM shop.orders");
    assert_eq!(agent.query("FETCH ALL FROM d").rows.len(), 100);
    // Where too much is an error, nothing beyond comes either.
    agent.query("ROLLBACK");
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    let mut agent = b.agent();
    agent.query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM shop.orders");
    assert_eq!(agent.query("FETCH 60 FROM c").rows.len(), 60);
    assert_eq!(agent.query("FETCH 40 FROM c").rows.len(), 40);
    let answer = agent.simple("FETCH 1 FROM c");
    assert!(answer.rows.is_empty());
    assert_eq!(answer.err().rule(), "max_rows");
}

fn copy_is_limited(b: &Bench) {
    limited(b, "max_rows => 100");
    for sql in [
        "COPY shop.orders TO STDOUT",
        "COPY (SELECT * FROM shop.orders) TO STDOUT",
        "COPY shop.orders TO STDOUT (FORMAT binary)",
        "COPY shop.orders TO STDOUT CSV HEADER",
    ] {
        let answer = b.agent().query(sql);
        assert_eq!(answer.tags, ["COPY 100"], "{sql}");
        assert!(
            answer.notices.iter().any(|n| n.severity == "WARNING"),
            "{sql}"
        );
    }
    assert_eq!(
        b.agent()
            .query("COPY shop.orders TO STDOUT")
            .copied
            .iter()
            .filter(|c| **c == b'\n')
            .count(),
        100
    );
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    b.denies("COPY shop.orders TO STDOUT", "54000", "max_rows");
}

fn every_statement_of_one_query_is_limited(b: &Bench) {
    limited(b, "max_rows => 10");
    let answer = b
        .agent()
        .query("SELECT id FROM shop.orders; SELECT id FROM shop.orders");
    assert_eq!(answer.rows.len(), 20);
}

fn rows_inside_do_not_count(b: &Bench) {
    limited(b, "max_rows => 10");
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.all_customers()')");
    assert_eq!(
        b.allows("SELECT count(*) FROM shop.all_customers()").one(),
        "401"
    );
    assert_eq!(b.allows("SELECT count(*) FROM shop.orders a, (SELECT * FROM shop.orders OFFSET 0) b WHERE a.id = b.id").one(), "3000");
    assert_eq!(
        b.allows("SELECT status FROM shop.orders GROUP BY status")
            .rows
            .len(),
        3
    );
}

fn bytes(b: &Bench) {
    limited(b, "max_bytes => 20000");
    let answer = b.agent().query("SELECT repeat('x', 100) FROM shop.orders");
    assert!(
        answer.rows.len() > 50 && answer.bytes.len() < 40_000,
        "{} rows, {} bytes",
        answer.rows.len(),
        answer.bytes.len()
    );
    assert!(answer.notices.iter().any(|n| n.severity == "WARNING"));
    let answer = b
        .agent()
        .query("COPY (SELECT repeat('x', 100) FROM shop.orders) TO STDOUT");
    assert!(
        answer.copied.len() < 25_000,
        "{} bytes by COPY",
        answer.copied.len()
    );
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    b.denies(
        "SELECT repeat('x', 100) FROM shop.orders",
        "54000",
        "max_bytes",
    );
}

fn one_huge_value(b: &Bench) {
    limited(b, "max_bytes => 20000, max_rows => 10");
    for sql in [
        "SELECT repeat('x', 1000000)",
        "SELECT string_agg(repeat('x', 100), '') FROM shop.orders",
        "SELECT jsonb_agg(o) FROM shop.orders o",
        "COPY (SELECT array_agg(repeat('x', 100)) FROM shop.orders) TO STDOUT",
        "SELECT repeat('x', 1000000)::int",
        "SELECT set_config('application_name', repeat('x', 1000000), false)",
    ] {
        let answer = b.agent().simple(sql);
        assert!(
            answer.bytes.len() < 45_000,
            "{sql}: {} bytes came",
            answer.bytes.len()
        );
    }
}

fn returning_is_limited(b: &Bench) {
    limited(b, "max_rows => 100");
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    let answer = b
        .agent()
        .simple("UPDATE shop.orders SET status = status RETURNING *");
    assert!(
        answer.rows.len() <= 100,
        "{} rows by RETURNING",
        answer.rows.len()
    );
    // What is not shown is changed all the same: half a change would be worse than none.
    b.setup("SELECT agent_policy.set_limits('@agent@', max_rows => 5); GRANT ALL ON shop.scratch TO @agent@");
    for (sql, check, count) in [
        (
            "UPDATE shop.orders SET status = 'a' RETURNING id",
            "SELECT count(*) FROM shop.orders WHERE status = 'a'",
            "3000",
        ),
        (
            "WITH u AS (UPDATE shop.orders SET status = 'b' RETURNING id) SELECT * FROM u",
            "SELECT count(*) FROM shop.orders WHERE status = 'b'",
            "3000",
        ),
        (
            "INSERT INTO shop.scratch SELECT i, 'many' FROM generate_series(1001, 2000) i RETURNING *",
            "SELECT count(*) FROM shop.scratch WHERE v = 'many'",
            "1000",
        ),
        (
            "DELETE FROM shop.orders WHERE status = 'b' RETURNING *",
            "SELECT count(*) FROM shop.orders",
            "0",
        ),
    ] {
        let answer = b.agent().query(sql);
        assert_eq!(answer.rows.len(), 5, "{sql}");
        assert!(
            answer
                .notices
                .iter()
                .any(|notice| notice.message.contains("truncated")),
            "{sql}"
        );
        assert_eq!(b.value(check), count, "{sql}");
    }
    let answer = b
        .agent()
        .extended("UPDATE shop.scratch SET v = 'c' RETURNING *", &[]);
    assert_eq!(answer.rows.len(), 5);
    assert_eq!(
        b.value("SELECT count(*) FROM shop.scratch WHERE v = 'c'"),
        "1002"
    );
    // An error changes nothing.
    b.setup("SELECT agent_policy.set_limits('@agent@', on_excess => 'error')");
    let answer = b
        .agent()
        .simple("UPDATE shop.scratch SET v = 'd' RETURNING *");
    assert_eq!(answer.err().code, "54000");
    assert_eq!(
        b.value("SELECT count(*) FROM shop.scratch WHERE v = 'd'"),
        "0"
    );
    // Bytes, too.
    b.setup("SELECT agent_policy.reset_limits('@agent@', 'max_rows'), agent_policy.set_limits('@agent@', max_bytes => 2000, on_excess => 'truncate')");
    b.agent()
        .simple("UPDATE shop.scratch SET v = repeat('e', 100) RETURNING *");
    assert_eq!(
        b.value("SELECT count(*) FROM shop.scratch WHERE v LIKE 'e%'"),
        "1002"
    );
}

fn explain_prepared_and_execute(b: &Bench) {
    limited(b, "max_rows => 10");
    let mut agent = b.agent();
    agent.query("PREPARE p AS SELECT id FROM shop.orders");
    for _ in 0..7 {
        assert_eq!(agent.query("EXECUTE p").rows.len(), 10);
    }
}

fn aggregates_are_whole_before_the_cut(b: &Bench) {
    limited(b, "max_rows => 2");
    let rows = b
        .allows("SELECT status, count(*) FROM shop.orders GROUP BY 1 ORDER BY 1")
        .texts();
    assert_eq!(
        rows,
        vec![
            vec!["new".to_owned(), "1000".into()],
            vec!["paid".into(), "1000".into()]
        ]
    );
}

const SLOW: &str = "SELECT count(*) FROM generate_series(1, 2000000000)";

/// The best of some runs: a busy machine is not what is tested.
#[track_caller]
fn quickly<T>(limit: u64, mut work: impl FnMut() -> T) -> T {
    let mut all = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        if took < Duration::from_secs(limit) {
            return result;
        }
        all.push(took);
    }
    panic!("took {all:?}");
}

/// A session that has done this before: for that it had as much time as it takes.
fn after(b: &Bench, before: &str) -> cluster_tests::Wire {
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '60 s')");
    let mut agent = b.agent();
    for part in cluster_tests::sql::split(before) {
        agent.query(&part);
    }
    b.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '700 ms')");
    agent
}

fn timeout_ends_a_statement(b: &Bench) {
    limited(b, "statement_timeout => '700 ms'");
    let answer = quickly(6, || b.agent().simple(SLOW));
    denial(&answer, SLOW, "57014", "statement_timeout");
    let answer = quickly(6, || b.agent().extended(SLOW, &[]));
    denial(&answer, SLOW, "57014", "statement_timeout");
}

fn the_agent_cannot_raise_the_timeout(b: &Bench) {
    limited(b, "statement_timeout => '700 ms'");
    for before in [
        "SET statement_timeout = 0",
        "SET statement_timeout = '1 h'",
        "SELECT set_config('statement_timeout', '0', false)",
        "RESET statement_timeout",
        "RESET ALL",
        "DISCARD ALL",
        "BEGIN; SET LOCAL statement_timeout = 0",
    ] {
        let answer = quickly(6, || after(b, before).simple(SLOW));
        assert_eq!(answer.err().code, "57014", "{before}: {}", answer.err());
    }
    let mut agent = b
        .agent_with(&[(
            "options",
            "-c agent_policy.user_email=alice@example.com -c statement_timeout=0",
        )])
        .expect("connects");
    let answer = quickly(6, || agent.simple(SLOW));
    assert_eq!(answer.err().code, "57014", "start-up packet");
}

fn the_timeout_cannot_be_caught(b: &Bench) {
    limited(b, "statement_timeout => '700 ms'");
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow_timeout()'); SELECT agent_policy.allow_function('@agent@', 'shop.swallow(text)')");
    let answer = quickly(12, || b.agent().simple("SELECT shop.swallow_timeout()"));
    assert!(!answer.shows("survived") && (answer.closed || !answer.errors.is_empty()));
    quickly(12, || {
        b.agent().simple(&format!("SELECT shop.swallow($q${SLOW}$q$), shop.swallow($q${SLOW}$q$), shop.swallow($q${SLOW}$q$)"))
    });
}

fn lowering_the_timeout_works(b: &Bench) {
    b.allow();
    let answer = quickly(6, || {
        let mut agent = b.agent();
        agent.query("SET statement_timeout = '300 ms'");
        agent.simple(SLOW)
    });
    assert_eq!(answer.err().code, "57014");
}

fn the_timeout_covers_planning_copy_and_fetches(b: &Bench) {
    limited(b, "statement_timeout => '700 ms'");
    quickly(6, || {
        b.agent().simple("COPY (SELECT * FROM generate_series(1, 2000000000) WHERE generate_series < 0) TO STDOUT").err()
    });
    // What opens the cursor is under the same limit, which may be too little for it on a busy machine.
    let open = || {
        let mut agent = b.agent();
        let opened = agent.simple(
            "BEGIN; DECLARE c CURSOR FOR SELECT 1 FROM generate_series(1, 2000000000) g WHERE g < 0",
        );
        opened.errors.is_empty().then_some(agent)
    };
    let answer = quickly(6, || {
        let agent = (0..20).find_map(|_| open());
        agent.expect("a cursor").simple("FETCH 1 FROM c")
    });
    assert_eq!(answer.err().code, "57014");
    quickly(6, || b.agent().simple(&format!("EXPLAIN ANALYZE {SLOW}")));
    quickly(8, || {
        b.agent().simple(&format!("SELECT 1; {SLOW}; {SLOW}")).err()
    });
}

fn plan_cost(b: &Bench) {
    limited(b, "max_plan_cost => 1000");
    b.denies(
        "SELECT count(*) FROM shop.orders a, shop.orders b, shop.orders c",
        "54000",
        "max_plan_cost",
    );
    b.allows("SELECT count(*) FROM shop.orders");
    for before in [
        "SET seq_page_cost = 0",
        "SET cpu_tuple_cost = 0",
        "SET cpu_operator_cost = 0",
    ] {
        let mut agent = b.agent();
        agent.simple(before);
        agent.simple("SET cpu_tuple_cost = 0; SET cpu_operator_cost = 0; SET seq_page_cost = 0; SET random_page_cost = 0");
        let answer =
            agent.simple("SELECT count(*) FROM shop.orders a, shop.orders b, shop.orders c");
        assert_eq!(
            answer.err().code,
            "54000",
            "cost settings lower the price: {before}"
        );
    }
}

fn limits_are_the_agents_only(b: &Bench) {
    limited(
        b,
        "max_rows => 1, statement_timeout => '1 s', max_plan_cost => 1",
    );
    let answer = b.unconfined().query("SELECT * FROM shop.orders");
    assert_eq!((answer.rows.len(), answer.notices.len()), (3000, 0));
}
