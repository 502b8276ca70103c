//! The clock: whatever a statement does, it ends within its limit and a second.

use std::time::{Duration, Instant};

use cluster_tests::bench::denial;
use cluster_tests::wire::{Wire, clip};
use cluster_tests::{Answer, Bench, Case, cases};

use super::c25_standby::wait;

pub const CASES: &[Case] = cases![
    products_and_recursion_end,
    long_calls_end,
    matchers_end,
    parsing_ends,
    planning_ends,
    many_relations_end,
    copy_and_cursors_end,
    one_message_has_one_clock,
    catching_does_not_help,
    work_at_commit_ends,
    locks_end_from_the_first_statement_on,
    a_client_that_does_not_read_loses_its_session,
    a_client_that_does_not_feed_copy_loses_its_session,
    a_pipeline_without_sync_ends,
    what_sleeps_is_denied,
    an_idle_transaction_ends,
    a_transaction_has_an_age,
    the_words_of_the_clock,
    a_login_does_not_wait_for_the_policy,
];

const LIMIT: Duration = Duration::from_millis(500);
/// What the promise adds to the limit.
const GRACE: Duration = Duration::from_secs(1);

pub fn limited(b: &Bench) {
    b.allow();
    limit(b, "500 ms");
}

/// For sessions that are there already, too.
fn limit(b: &Bench, time: &str) {
    b.setup(&format!(
        "SELECT agent_policy.set_limits('@agent@', statement_timeout => '{time}')"
    ));
}

/// A session that has done this before: for that it had as much time as it takes.
fn after(b: &Bench, before: &str) -> Wire {
    limit(b, "60 s");
    let mut agent = b.agent();
    agent.query(before);
    limit(b, "500 ms");
    agent
}

/// The statement must still run after the limit and the grace when nobody limits it.
#[track_caller]
fn control(b: &Bench, sql: &str) {
    let mut plain = b.unconfined();
    let start = Instant::now();
    plain.send(sql);
    // The wait may be over some microseconds early.
    plain.set_patience(LIMIT + GRACE + Duration::from_millis(20));
    let answer = plain.collect();
    assert!(
        start.elapsed() >= LIMIT + GRACE,
        "control run: ends by itself after {:?}: {}\n{:?}",
        start.elapsed(),
        clip(sql),
        answer.errors
    );
    b.setup(&format!("SELECT pg_terminate_backend({})", plain.pid));
}

/// What a run took, and what came of it; or why it says nothing.
type Run<T> = Result<(Duration, T), String>;

/// The best of many runs: what takes too long by itself does so in each of them, and a busy machine is not what is
/// tested. The longer it is busy, the longer it is left alone.
#[track_caller]
fn best_of<T>(what: &str, most: Duration, mut run: impl FnMut() -> Run<T>) -> T {
    let start = Instant::now();
    let mut runs = Vec::new();
    while runs.len() < 3 || runs.len() < 20 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(100) * runs.len() as u32);
        match run() {
            Ok((took, value)) if took < most => return value,
            Ok((took, _)) => runs.push(format!("took {took:?}")),
            Err(why) => runs.push(why),
        }
    }
    panic!("{}: {}", runs.join(", "), clip(what));
}

/// One of the runs ends within the limit and the grace.
#[track_caller]
pub fn timed(what: &str, mut run: impl FnMut() -> Answer) -> Answer {
    timed_in(what, || (), |()| run())
}

/// The same, after something that is not timed.
#[track_caller]
fn timed_in<S>(
    what: &str,
    mut before: impl FnMut() -> S,
    mut run: impl FnMut(&mut S) -> Answer,
) -> Answer {
    best_of(what, LIMIT + GRACE, || {
        let mut session = before();
        let start = Instant::now();
        let answer = run(&mut session);
        Ok((start.elapsed(), answer))
    })
}

/// Ends in time, with the clock's own words or its end of the session.
#[track_caller]
fn ends(b: &Bench, sql: &str) -> Answer {
    let answer = timed(sql, || b.agent().simple(sql));
    let error = denial(&answer, sql, "57014", "statement_timeout");
    assert!(error.message.contains("500 ms"), "{error}");
    answer
}

#[track_caller]
fn bombs(b: &Bench, all: &[&str]) {
    for sql in all {
        control(b, sql);
        ends(b, sql);
    }
}

fn products_and_recursion_end(b: &Bench) {
    limited(b);
    bombs(
        b,
        &[
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
            "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
            "SELECT count(*) FROM shop.orders a, shop.orders b, shop.orders c WHERE a.status || b.status < c.status",
            "SELECT count(*) FROM (SELECT md5(a::text || b) m FROM generate_series(1, 10000) a, generate_series(1, 10000) b ORDER BY m) s",
            "SELECT sum(cardinality(a)) FROM (SELECT array_agg(g) OVER (ORDER BY g ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM generate_series(1, 100000) g) s(a)",
            "SELECT (SELECT count(*) FROM generate_series(1, 3000000) WHERE generate_series % 7 = a) FROM generate_series(1, 1000000) a",
        ],
    );
}

fn long_calls_end(b: &Bench) {
    limited(b);
    bombs(
        b,
        &[
            "SELECT length(factorial(30000)::text) + length(factorial(29999)::text) + length(factorial(29998)::text) + length(factorial(29997)::text) + length(factorial(29996)::text) + length(factorial(29995)::text) + length(factorial(29994)::text) + length(factorial(29993)::text)",
            "SELECT sum(factorial(g::int)) FROM generate_series(1, 4000) g",
            "SELECT length(string_agg(md5(g::text), ',')) FROM generate_series(1, 100000000) g",
            "SELECT jsonb_path_exists((SELECT jsonb_agg(g) FROM generate_series(1, 400) g), '$[*] ? (exists($[*] ? (exists($[*] ? (@ == -1)))))')",
            "SELECT count(*) FROM generate_series(1, 1000000) g WHERE to_tsvector('simple', repeat(g::text || ' ', 1000)) @@ 'nothing'",
            "SELECT count(*) FROM generate_series(1, 1000000) g WHERE length(array_to_string(array_fill(g, ARRAY[10000]), ',')) = 1",
        ],
    );
}

fn matchers_end(b: &Bench) {
    limited(b);
    bombs(
        b,
        &[
            "SELECT count(*) FROM generate_series(1, 1000000) g WHERE repeat('a', 3000) ~ ('^(a+)+\\1$b' || g)",
            "SELECT count(*) FROM generate_series(1, 1000000) g WHERE repeat('a', 2000) ~ ('^(a*)(a*)(a*)\\1\\2\\3$b' || g)",
            "SELECT count(*) FROM generate_series(1, 1000000) g WHERE repeat('a', 300000) LIKE '%aab_a%a%' || g",
            "SELECT count(*) FROM generate_series(1, 1000000) g WHERE repeat('a', 1500) SIMILAR TO '(a|aa|aaa)*(a|aa|aaa)*(a|aa|aaa)*b' || g",
        ],
    );
}

/// Texts whose parsing takes the square of their length, where PostgreSQL looks for no cancellation.
fn parsing_ends(b: &Bench) {
    limited(b);
    let list =
        |n: usize, item: &dyn Fn(usize) -> String| (0..n).map(item).collect::<Vec<_>>().join(", ");
    let texts = [
        format!("SELECT {}1{}", "/*".repeat(50_000), "*/".repeat(50_000)),
        format!(
            "SELECT 1 FROM (SELECT 1 AS a) t ORDER BY {}",
            list(20_000, &|i| format!("a + {i}"))
        ),
        format!("SELECT 1 {}1", "+-".repeat(50_000)),
        format!(
            "SELECT 1 FROM {}",
            list(28_000, &|i| format!("(SELECT 1) a{i}"))
        ),
        format!(
            "WITH {} SELECT 1",
            list(46_000, &|i| format!("a{i} AS (SELECT 1)"))
        ),
    ];
    for sql in &texts {
        control(b, sql);
        let answer = timed(sql, || b.agent().simple(sql));
        assert_eq!(answer.code(), "57014", "{}", clip(sql));
    }
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow(text)')");
    for sql in &texts[..2] {
        let answer = timed(sql, || b.agent().extended(sql, &[]));
        assert_eq!(answer.code(), "57014", "{}", clip(sql));
        // Where an error is caught, and in a session that goes on.
        let quoted = format!("SELECT shop.swallow($bomb${sql}$bomb$)");
        best_of(sql, LIMIT + GRACE, || {
            let mut agent = b.agent();
            let mut most = Duration::ZERO;
            for _ in 0..2 {
                limit(b, "500 ms");
                let start = Instant::now();
                let answer = agent.simple(&quoted);
                most = most.max(start.elapsed());
                assert_eq!(answer.code(), "57014", "{}", clip(sql));
                limit(b, "60 s");
                let answer = agent.simple("SELECT 1");
                // That is the clock's last means: an error that takes long is taken for one that was caught.
                if answer.closed {
                    return Err("the session has ended".into());
                }
                assert_eq!(answer.one(), "1");
            }
            Ok((most, ()))
        });
        limit(b, "500 ms");
    }
    // Another session ends it.
    limit(b, "1 min");
    for sql in &texts[..2] {
        best_of(sql, GRACE, || {
            let mut agent = b.agent();
            agent.send(sql);
            std::thread::sleep(Duration::from_millis(200));
            let start = Instant::now();
            b.setup(&format!("SELECT pg_terminate_backend({})", agent.pid));
            match agent.collect().code() {
                "57P01" => Ok((start.elapsed(), ())),
                // It was over before.
                code => Err(format!("'{code}'")),
            }
        });
    }
    let rows = b.audit("sqlstate = '57014' AND nesting_level = 0");
    assert!(rows.len() >= 9, "{}", rows.len());
}

fn planning_ends(b: &Bench) {
    limited(b);
    let from = (1..=16)
        .map(|i| format!("shop.orders a{i}"))
        .collect::<Vec<_>>()
        .join(", ");
    let on = (1..=16)
        .flat_map(|i| (i + 1..=16).map(move |j| format!("a{i}.id = a{j}.customer_id")))
        .collect::<Vec<_>>()
        .join(" AND ");
    let join = format!("SELECT 1 FROM {from} WHERE {on}");
    for role in ["@agent@", "@plain@"] {
        b.setup(&format!("ALTER ROLE {role} SET geqo = off; ALTER ROLE {role} SET join_collapse_limit = 30; ALTER ROLE {role} SET from_collapse_limit = 30"));
    }
    bombs(
        b,
        &[
            &join,
            &format!("EXPLAIN {join}"),
            // Folded by the planner.
            "SELECT length(factorial(30000)::text) + length(factorial(29999)::text) + length(factorial(29998)::text) + length(factorial(29997)::text) + length(factorial(29996)::text) + length(factorial(29995)::text) + length(factorial(29994)::text) + length(factorial(29993)::text) FROM shop.orders WHERE id < 0",
        ],
    );
    // Parse alone, and Parse with Bind.
    let answer = timed("Parse and Describe", || {
        let mut agent = b.agent();
        agent.parse("s", &join).bind("", "s", &[], false).sync()
    });
    denial(&answer, &join, "57014", "statement_timeout");
}

fn many_relations_end(b: &Bench) {
    b.setup(
        "CREATE VIEW shop.v0 AS SELECT id FROM shop.orders;
         DO $$ BEGIN FOR i IN 1..12 LOOP
             EXECUTE format('CREATE VIEW shop.v%s AS SELECT a.id FROM shop.v%s a JOIN shop.v%s b USING (id)', i, i - 1, i - 1);
         END LOOP; END $$;
         CREATE TABLE shop.parts (id int, k int) PARTITION BY LIST (k);
         DO $$ BEGIN FOR i IN 1..300 LOOP
             EXECUTE format('CREATE TABLE shop.parts_%s PARTITION OF shop.parts FOR VALUES IN (%s)', i, i);
         END LOOP; END $$;
         GRANT SELECT ON ALL TABLES IN SCHEMA shop TO @agent@, @plain@",
    );
    limited(b);
    b.setup("SELECT agent_policy.mask_column('shop.orders', 'status')");
    ends(b, "SELECT count(*) FROM shop.v12");
    let joins = (0..8)
        .map(|i| format!("shop.parts p{i}"))
        .collect::<Vec<_>>()
        .join(", ");
    let on = (1..8)
        .map(|i| format!("p{i}.id > p0.id + {i}"))
        .collect::<Vec<_>>()
        .join(" AND ");
    let sql = format!("SELECT count(*) FROM {joins} WHERE {on}");
    timed(&sql, || b.agent().simple(&sql));
    let list = (0..30_000).map(|i| i.to_string()).collect::<Vec<_>>();
    let sql = format!(
        "SELECT count(*) FROM shop.orders WHERE id IN ({})",
        list.join(",")
    );
    timed(&sql, || b.agent().simple(&sql));
    let sql = format!(
        "SELECT count(*) FROM shop.orders WHERE {}",
        list[..5_000]
            .iter()
            .map(|i| format!("id + 1 = {i}"))
            .collect::<Vec<_>>()
            .join(" OR ")
    );
    timed(&sql, || b.agent().simple(&sql));
}

fn copy_and_cursors_end(b: &Bench) {
    limited(b);
    b.setup("SELECT agent_policy.reset_limits('@agent@', 'max_rows'), agent_policy.reset_limits('@agent@', 'max_bytes')");
    ends(
        b,
        "COPY (SELECT * FROM generate_series(1, 2000000000) g WHERE g < 0) TO STDOUT",
    );
    let endless =
        "COPY (SELECT a FROM generate_series(1, 100000) a, generate_series(1, 100000) b) TO STDOUT";
    let answer = timed(endless, || b.agent().simple(endless));
    denial(&answer, endless, "57014", "statement_timeout");
    let cursor =
        "BEGIN; DECLARE c CURSOR FOR SELECT 1 FROM generate_series(1, 2000000000) g WHERE g < 0";
    let answer = best_of("FETCH", LIMIT + GRACE, || {
        let mut agent = b.agent();
        if let Some(error) = agent.simple(cursor).errors.first() {
            return Err(error.to_string());
        }
        let start = Instant::now();
        let answer = agent.simple("FETCH 1 FROM c");
        Ok((start.elapsed(), answer))
    });
    denial(&answer, "FETCH", "57014", "statement_timeout");
    let prepared = "PREPARE p AS SELECT count(*) FROM generate_series(1, 2000000000)";
    let answer = timed_in(
        "EXECUTE",
        || after(b, prepared),
        |agent| agent.simple("EXECUTE p"),
    );
    denial(&answer, "EXECUTE", "57014", "statement_timeout");
    let answer = timed("a portal", || {
        let mut agent = b.agent();
        agent
            .parse(
                "",
                "SELECT 1 FROM generate_series(1, 2000000000) g WHERE g < 0",
            )
            .bind("", "", &[], false)
            .execute("", 10)
            .sync()
    });
    denial(&answer, "a portal", "57014", "statement_timeout");
}

/// About 300 ms.
const SHORT: &str = "SELECT count(*) FROM generate_series(1, 700000) a, generate_series(1, 3) b";

fn one_message_has_one_clock(b: &Bench) {
    limited(b);
    let many = format!("{SHORT};").repeat(40);
    let answer = ends(b, &many);
    assert!(answer.rows.len() < 20, "{} of them ran", answer.rows.len());
    ends(
        b,
        &format!(
            "BEGIN; {}",
            format!("SAVEPOINT a; {SHORT}; ROLLBACK TO a;").repeat(40)
        ),
    );
    ends(b, &format!("BEGIN; {SHORT}; COMMIT; ").repeat(40));
    // The same in a pipeline.
    let answer = timed("a pipeline", || {
        let mut agent = b.agent();
        for _ in 0..40 {
            agent
                .parse("", SHORT)
                .bind("", "", &[], false)
                .execute("", 0);
        }
        agent.sync()
    });
    denial(&answer, "a pipeline", "57014", "statement_timeout");
    // An error in between leaves the next message its clock.
    let endless = "SELECT count(*) FROM generate_series(1, 2000000000)";
    let answers = best_of(endless, 2 * (LIMIT + GRACE), || {
        let mut agent = after(b, "BEGIN; SAVEPOINT a");
        let start = Instant::now();
        let answers = [(); 2].map(|()| {
            agent.simple("ROLLBACK TO a");
            agent.simple(endless)
        });
        Ok((start.elapsed(), answers))
    });
    for answer in answers {
        denial(&answer, endless, "57014", "statement_timeout");
    }
    for error in ["SELECT 1 / 0", "SELEKT", "SELECT * FROM vault.secrets"] {
        let failed = || {
            let mut agent = b.agent();
            agent.simple(error);
            agent
        };
        let answer = timed_in(endless, failed, |agent| agent.simple(endless));
        denial(&answer, endless, "57014", "statement_timeout");
    }
}

fn catching_does_not_help(b: &Bench) {
    b.setup(
        "CREATE FUNCTION shop.again() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            LOOP BEGIN PERFORM count(*) FROM generate_series(1, 1000000000);
            EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
         CREATE FUNCTION shop.others() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            LOOP BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;
         CREATE FUNCTION shop.spins() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LOOP NULL; END LOOP; END $$",
    );
    limited(b);
    for function in ["again", "others", "spins"] {
        b.setup(&format!(
            "SELECT agent_policy.allow_function('@agent@', 'shop.{function}()')"
        ));
        let sql = format!("SELECT shop.{function}()");
        control(b, &sql);
        // An error that takes long to tell is taken for one that was caught.
        best_of(&sql, Duration::MAX, || {
            let answer = ends(b, &sql);
            if answer.closed == (function == "again") {
                Ok((LIMIT, ()))
            } else {
                Err(format!("closed: {}", answer.closed))
            }
        });
    }
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.again()', trusted => true)");
    ends(b, "SELECT shop.again()");
    b.denies("DO $$ BEGIN NULL; END $$", "42501", "statement_not_allowed");
}

fn work_at_commit_ends(b: &Bench) {
    b.setup(
        "CREATE TABLE shop.deferred (id int);
         CREATE FUNCTION shop.slow_check() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM count(*) FROM generate_series(1, 1000000000); RETURN NULL; END $$;
         CREATE FUNCTION shop.stubborn_check() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            LOOP BEGIN PERFORM count(*) FROM generate_series(1, 1000000000);
            EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON shop.deferred DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION shop.slow_check();
         CREATE CONSTRAINT TRIGGER stubborn AFTER INSERT ON shop.deferred DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION shop.stubborn_check();
         GRANT ALL ON shop.deferred TO @agent@, @plain@",
    );
    limited(b);
    b.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write');
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         SELECT agent_policy.allow_function('@agent@', 'shop.slow_check()');
         SELECT agent_policy.allow_function('@agent@', 'shop.stubborn_check()')",
    );
    control(b, "INSERT INTO shop.deferred VALUES (1)");
    ends(b, "INSERT INTO shop.deferred VALUES (1)");
    let answer = timed_in(
        "COMMIT",
        || after(b, "BEGIN; INSERT INTO shop.deferred VALUES (1)"),
        |agent| agent.simple("COMMIT"),
    );
    denial(&answer, "COMMIT", "57014", "statement_timeout");
    let answer = ends(b, "INSERT INTO shop.deferred VALUES (2)");
    assert!(answer.closed);
    assert_eq!(b.value("SELECT count(*) FROM shop.deferred"), "0");
}

fn locks_end_from_the_first_statement_on(b: &Bench) {
    limited(b);
    let mut holder = b
        .cluster
        .connect("postgres", &b.db, &[])
        .expect("the superuser connects");
    holder.query("BEGIN; LOCK TABLE shop.orders IN ACCESS EXCLUSIVE MODE");
    let sql = "SELECT count(*) FROM shop.orders";
    control(b, sql);
    for sql in [
        sql,
        "EXPLAIN SELECT * FROM shop.orders",
        "COPY shop.orders TO STDOUT",
    ] {
        ends(b, sql);
        let answer = timed_in(sql, || after(b, "SELECT 1"), |agent| agent.simple(sql));
        denial(&answer, sql, "57014", "statement_timeout");
        let answer = timed(sql, || b.agent().extended(sql, &[]));
        denial(&answer, sql, "57014", "statement_timeout");
    }
    holder.query("ROLLBACK");
}

/// When the session has gone, or has no transaction any more.
#[track_caller]
fn gone(b: &Bench, agent: &Wire, start: Instant) -> Duration {
    let of = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND (xact_start IS NOT NULL OR state = 'active')",
        agent.pid
    );
    wait("end of it", || b.value(&of) == "0");
    start.elapsed()
}

/// What the clock does last comes some looks later, and is looked for now and then.
const GONE: Duration = Duration::from_millis(3500);

fn a_client_that_does_not_read_loses_its_session(b: &Bench) {
    limited(b);
    b.setup("SELECT agent_policy.reset_limits('@agent@', 'max_rows'), agent_policy.reset_limits('@agent@', 'max_bytes')");
    let mut pids = Vec::new();
    for sql in [
        "SELECT repeat('x', 10000) FROM generate_series(1, 50000)",
        "COPY (SELECT repeat('x', 10000) FROM generate_series(1, 50000)) TO STDOUT",
        "BEGIN; SELECT repeat('x', 1000) FROM generate_series(1, 50000)",
    ] {
        best_of(sql, GONE, || {
            let mut agent = b.agent();
            agent.send(sql);
            // Bytes are on their way, and nobody takes them; unless its time was over before that.
            let waits = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event = 'ClientWrite'",
                agent.pid
            );
            let start = Instant::now();
            while b.value(&waits) == "0" {
                if start.elapsed() > Duration::from_secs(3) {
                    return Err("it does not wait".into());
                }
            }
            let took = gone(b, &agent, start);
            // What was in the pipe, and then its end.
            let answer = agent.collect();
            assert!(answer.closed && answer.code() != "SILENT", "{sql}");
            pids.push(agent.pid.to_string());
            Ok((took, ()))
        });
    }
    // Nobody was told; the audit was.
    let log = b.audit(&format!(
        "rule = 'statement_timeout' AND outcome = 'cancelled' AND backend_pid IN ({})",
        pids.join(", ")
    ));
    assert_eq!(log.len(), pids.len(), "{log:?}");
    // Answers of just the size at which the end of one does not fit any more.
    for rows in [150, 180, 200, 210, 220, 230, 260, 300] {
        best_of(&format!("{rows} rows"), 2 * (LIMIT + GRACE), || {
            let mut agent = after(b, "BEGIN");
            agent.send(&format!(
                "SELECT repeat('x', 1000) FROM generate_series(1, {rows})"
            ));
            let start = Instant::now();
            std::thread::sleep(Duration::from_millis(100));
            agent.send(&format!(
                "SELECT 1 / (g - {rows}) FROM generate_series(1, {rows}) g"
            ));
            std::thread::sleep(Duration::from_millis(100));
            agent.send("SELECT count(*) FROM generate_series(1, 2000000000)");
            // With a little read now and then, everything is over in time.
            std::thread::sleep(LIMIT);
            for _ in 0..3 {
                if agent.collect().closed {
                    break;
                }
            }
            Ok((gone(b, &agent, start), ()))
        });
    }
}

fn a_client_that_does_not_feed_copy_loses_its_session(b: &Bench) {
    b.setup("GRANT ALL ON shop.scratch TO @agent@");
    limited(b);
    b.setup("SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')");
    for slowly in [false, true] {
        let what = format!("fed slowly: {slowly}");
        best_of(&what, GONE, || {
            let mut agent = after(b, "SELECT 1");
            let start = Instant::now();
            agent.put(b'Q', b"COPY shop.scratch FROM STDIN\0");
            agent.flush();
            // It is asked for data.
            agent.wait_for_bytes(1);
            // Feeding it slowly does not help.
            while slowly && start.elapsed() < LIMIT + GRACE {
                agent.put(b'd', b"1\t");
                agent.flush();
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok((gone(b, &agent, start), ()))
        });
    }
}

fn a_pipeline_without_sync_ends(b: &Bench) {
    limited(b);
    best_of("a pipeline", GONE, || {
        let mut agent = after(b, "SELECT 1");
        let start = Instant::now();
        agent
            .parse("", "SELECT id FROM shop.orders")
            .bind("", "", &[], false)
            .execute("", 1);
        agent.put(b'H', b"");
        agent.flush();
        agent.wait_for_bytes(1);
        Ok((gone(b, &agent, start), ()))
    });
}

fn what_sleeps_is_denied(b: &Bench) {
    b.allow();
    for sql in [
        "SELECT pg_sleep(3)",
        "SELECT pg_sleep_for('3 s')",
        "SELECT pg_sleep_until(now() + '3 s')",
        "SELECT 1 FROM shop.orders WHERE pg_sleep(1) IS NOT NULL",
    ] {
        b.denies(sql, "42501", "function_not_allowed");
    }
}

fn an_idle_transaction_ends(b: &Bench) {
    b.allow();
    // Thirty times that is what a transaction may be idle in any case.
    limit(b, "10 s");
    let show = "SHOW idle_in_transaction_session_timeout";
    let mut agent = b.agent();
    assert_eq!(agent.query(show).one(), "5min");
    for raised in [
        "SET idle_in_transaction_session_timeout = 0",
        "SET idle_in_transaction_session_timeout = '1 d'",
        "RESET idle_in_transaction_session_timeout",
        "RESET ALL",
        "DISCARD ALL",
        "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; ROLLBACK",
        "SELECT set_config('idle_in_transaction_session_timeout', '0', false)",
    ] {
        agent.simple(raised);
        assert_eq!(agent.query(show).one(), "5min", "{raised}");
    }
    // The transaction that switches it off is under it, too.
    let mut agent = b.agent();
    agent.query("BEGIN; SET idle_in_transaction_session_timeout = 0");
    assert_eq!(agent.query(show).one(), "5min");
    // Lowered, it is seen to work.
    let mut agent = b.agent();
    agent.query("SET idle_in_transaction_session_timeout = '300 ms'; BEGIN; SELECT 1");
    let answer = agent.collect();
    assert_eq!((answer.code(), answer.closed), ("25P03", true));
    assert_eq!(b.unconfined().query(show).one(), "0");
}

fn a_transaction_has_an_age(b: &Bench) {
    b.allow();
    // Sixty times as old as a statement.
    let (most, short) = (Duration::from_millis(2400), "40 ms");
    // So short a limit may be over before the simplest statement is: that says nothing.
    let slow = |answer: &Answer| {
        let error = answer.errors.first();
        error.is_some_and(|e| e.code == "58030" || e.message.contains("the statement took longer"))
    };
    best_of("a transaction", Duration::MAX, || {
        limit(b, "60 s");
        let mut agent = b.agent();
        let before = Instant::now();
        agent.query("BEGIN; SELECT 1");
        let begun = Instant::now();
        std::thread::sleep(most - Duration::from_millis(200));
        limit(b, short);
        let answer = agent.simple("SELECT 1");
        if before.elapsed() >= most || slow(&answer) {
            return Err("not asked in time".into());
        }
        answer.ok();
        std::thread::sleep(most.saturating_sub(begun.elapsed()) + Duration::from_millis(20));
        let answer = agent.simple("SELECT 1");
        if slow(&answer) {
            return Err("the second is slow".into());
        }
        let error = answer.err();
        assert!(error.message.contains("transaction has lasted"), "{error}");
        assert_eq!(
            (error.code.as_str(), error.rule().as_str()),
            ("57014", "statement_timeout")
        );
        // It can be ended, and another begins to count anew.
        for sql in ["ROLLBACK", "BEGIN", "SELECT 1", "COMMIT"] {
            let answer = agent.simple(sql);
            if slow(&answer) {
                return Err(format!("{sql} is slow"));
            }
            answer.ok();
        }
        Ok((most, ()))
    });
}

fn the_words_of_the_clock(b: &Bench) {
    limited(b);
    b.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow_timeout()')");
    let mut runs = 0;
    best_of("an endless one", Duration::MAX, || {
        runs += 1;
        let sql = "SELECT count(*) FROM generate_series(1, 2000000000)";
        let answer = b.agent().simple(sql);
        let error = denial(&answer, sql, "57014", "statement_timeout");
        assert!(error.message.contains("500 ms"), "{error}");
        // An error that takes long to tell is taken for one that was caught.
        if answer.closed {
            return Err("the session has ended".into());
        }
        Ok((LIMIT, ()))
    });
    let log = b.audit("rule = 'statement_timeout'");
    assert_eq!(log.len(), runs, "{log:?}");
    for row in log {
        assert_eq!(row["outcome"], "cancelled");
        assert_eq!(row["verdict"], "denied");
    }
}

fn a_login_does_not_wait_for_the_policy(b: &Bench) {
    limited(b);
    let mut holder = b
        .cluster
        .connect("postgres", &b.db, &[])
        .expect("the superuser connects");
    holder.query("BEGIN; LOCK TABLE agent_policy.policy_role IN ACCESS EXCLUSIVE MODE");
    let mut plain = best_of("a login", Duration::from_secs(2), || {
        let start = Instant::now();
        let plain = b.unconfined();
        Ok((start.elapsed(), plain))
    });
    holder.query("ROLLBACK");
    plain.query("SELECT count(*) FROM shop.orders");
}
