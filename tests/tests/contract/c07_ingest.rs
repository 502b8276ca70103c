//! From the spool into the table: exactly once, whatever is done to the table meanwhile.

use cluster_tests::faults::Fault;
use cluster_tests::{Bench, Case, Cluster, cases};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    exactly_once_over_restarts_of_the_worker,
    rows_of_a_commit_are_in_the_order_in_which_they_began,
    a_partition_that_is_dropped_detached_or_taken,
    partitions_of_the_dba,
    a_locked_partition_costs_nobody_more_than_the_limit,
    a_full_table_loses_nothing,
    too_many_bytes_in_the_spool,
    listeners_are_told,
    an_idle_hour_is_no_lag,
    retention_drops_days,
    retention_waits_for_readers_and_they_not_for_it,
    readers_and_copies_are_not_held_up,
    several_databases,
    drop_database_without_force,
    a_copied_database,
];

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// `count` statements, told apart by a name.
fn work(b: &Bench, name: &str, count: usize) {
    let mut agent = b.agent();
    for i in 0..count {
        agent.query(&format!("SELECT id AS {name}_{i} FROM shop.orders LIMIT 1"));
    }
}

fn recorded(b: &Bench, name: &str) -> usize {
    let rows = b.audit(&format!("statement LIKE '% AS {name}#_%' ESCAPE '#'"));
    let mut ids: Vec<String> = rows.iter().map(|r| r["event_id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), rows.len(), "a record twice");
    rows.len()
}

fn own(b: &Bench) -> Bench {
    Bench::new(Arc::new(Cluster::start(b.version, "")))
}

fn worker(b: &Bench) -> String {
    b.value("SELECT coalesce((SELECT pid::text FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer' AND datname = current_database() LIMIT 1), '')")
}

fn exactly_once_over_restarts_of_the_worker(b: &Bench) {
    b.allow();
    for round in 0..6 {
        work(b, &format!("round{round}"), 40);
        // It comes when there is something to do, and goes when there has been nothing for a while.
        until("a worker", || {
            let pid = worker(b);
            let there = !pid.is_empty();
            if there {
                b.setup(&format!("SELECT pg_terminate_backend({pid})"));
            } else {
                work(b, "more", 1);
            }
            there
        });
    }
    for round in 0..6 {
        assert_eq!(recorded(b, &format!("round{round}")), 40);
    }
    // seq has no gaps.
    assert_eq!(
        b.value("SELECT max(seq) - min(seq) + 1 - count(*) FROM agent_policy.audit_log"),
        "0"
    );
}

/// Also those of functions, whose records are whole before that of the statement that called them, and of
/// sessions side by side.
fn rows_of_a_commit_are_in_the_order_in_which_they_began(b: &Bench) {
    let own = own(b);
    own.allow();
    own.setup("SELECT agent_policy.allow_function('@agent@', 'shop.swallow(text)')");
    work(&own, "first", 1);
    own.flush_audit();
    let mut locker = own
        .cluster
        .connect("postgres", &own.db, &[])
        .expect("connects");
    // One batch may be on its way to the lock, the next has all that comes until it is gone.
    locker.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    work(&own, "locked", 1);
    let mut agents = [own.agent(), own.agent()];
    for i in 0..20 {
        for agent in &mut agents {
            agent.query(&format!(
                "SELECT shop.swallow('SELECT count(*) FROM shop.orders') AS call_{i}"
            ));
        }
    }
    locker.query("COMMIT");
    own.flush_audit();
    let of_calls = "FROM agent_policy.audit_log a JOIN agent_policy.audit_block k
        ON k.kind = 0 AND a.seq BETWEEN k.first_seq AND k.last_seq WHERE session_user_name = '@agent@'";
    let nested = format!("SELECT count(*) {of_calls} AND nesting_level > 0");
    assert_eq!(own.value(&nested), "40");
    let together = format!(
        "SELECT max(sessions) FROM (SELECT count(DISTINCT session_id) AS sessions {of_calls} GROUP BY k.number) s"
    );
    assert_ne!(own.value(&together), "1", "no block of several sessions");
    let back = format!(
        "SELECT count(*) FROM (SELECT a.started_at < lag(a.started_at) OVER (PARTITION BY k.number ORDER BY a.seq) AS back {of_calls}) s WHERE back"
    );
    assert_eq!(own.value(&back), "0");
}

fn today(b: &Bench) -> String {
    b.the_day_is_young();
    b.value("SELECT 'agent_policy.audit_log_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
}

fn a_partition_that_is_dropped_detached_or_taken(b: &Bench) {
    b.allow();
    work(b, "before", 5);
    assert_eq!(recorded(b, "before"), 5);
    let today = today(b);
    b.setup(&format!("DROP TABLE {today}"));
    work(b, "dropped", 5);
    assert_eq!(recorded(b, "dropped"), 5);
    // Detached for an archive: its name is taken, its rows are its own.
    b.setup(&format!(
        "ALTER TABLE agent_policy.audit_log DETACH PARTITION {today}"
    ));
    work(b, "detached", 5);
    assert_eq!(recorded(b, "detached"), 5);
    assert_eq!(b.value(&format!("SELECT count(*) FROM {today}")), "5");
    // And put back in the place of the other.
    b.setup(&format!(
        "DROP TABLE {today}_2; ALTER TABLE agent_policy.audit_log ATTACH PARTITION {today} FOR VALUES FROM (date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') TO (date_trunc('day', now() AT TIME ZONE 'UTC' + '1 day') AT TIME ZONE 'UTC')"
    ));
    work(b, "back", 5);
    assert_eq!((recorded(b, "back"), recorded(b, "dropped")), (5, 5));
    // Made by hand, empty, with what LIKE takes along.
    b.setup(&format!(
        "DROP TABLE {today}; CREATE TABLE {today} (LIKE agent_policy.audit_log)"
    ));
    work(b, "taken", 5);
    assert_eq!(recorded(b, "taken"), 5);
}

fn partitions_of_the_dba(b: &Bench) {
    b.allow();
    b.flush_audit();
    // One for many days, and a default one, in the place of all others. In one transaction, since the
    // worker makes the next days' ahead.
    for bound in [
        "FOR VALUES FROM (now() - interval '20 days') TO (now() + interval '20 days')",
        "DEFAULT",
    ] {
        b.setup(&format!(
            "LOCK TABLE agent_policy.audit_log; DO $$ DECLARE t text; BEGIN FOR t IN SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'agent_policy.audit_log'::regclass LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$; \
             CREATE TABLE public.mine PARTITION OF agent_policy.audit_log {bound}"
        ));
        work(b, "mine", 3);
        assert_eq!(recorded(b, "mine"), 3, "{bound}");
        b.setup("DROP TABLE public.mine");
    }
    work(b, "after", 3);
    assert_eq!(recorded(b, "after"), 3);
}

fn a_locked_partition_costs_nobody_more_than_the_limit(b: &Bench) {
    let own = own(b);
    own.allow();
    work(&own, "first", 1);
    own.flush_audit();
    let today = today(&own);
    let mut locker = own
        .cluster
        .connect("postgres", &own.db, &[])
        .expect("connects");
    locker.query(&format!(
        "BEGIN; LOCK TABLE {today} IN ACCESS EXCLUSIVE MODE"
    ));
    // In the spool it is durable: nobody waits.
    work(&own, "spool", 20);
    // Where the table is what counts, an agent waits for it as long as its limit says.
    own.setup("ALTER SYSTEM SET agent_policy.audit_durability = 'table'");
    own.setup("SELECT pg_reload_conf(); SELECT agent_policy.set_limits('@agent@', statement_timeout => '1 s')");
    let mut agent = own.agent();
    agent.set_patience(Duration::from_secs(45));
    until("the setting is there", || {
        own.value("SHOW agent_policy.audit_durability") == "table"
    });
    let answer = agent.simple("SELECT id AS table_0 FROM shop.orders LIMIT 1");
    assert!(answer.rows.is_empty() && !answer.closed);
    assert!(
        matches!(answer.err().code.as_str(), "57014" | "58030"),
        "{}",
        answer.err()
    );
    locker.query("COMMIT");
    own.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '60 s')");
    until("agents are served again", || {
        own.agent()
            .simple("SELECT id AS table_1 FROM shop.orders LIMIT 1")
            .errors
            .is_empty()
    });
    assert_eq!(recorded(&own, "spool"), 20);
}

fn a_full_table_loses_nothing(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start_faulty(b.version, "")));
    own.allow();
    work(&own, "first", 1);
    own.flush_audit();
    own.cluster.faults().begin(Fault::TableFull);
    work(&own, "meanwhile", 60);
    until("the worker fails", || {
        own.value("SELECT failures FROM agent_policy.health") != "0"
    });
    let error = own.value("SELECT last_error FROM agent_policy.health");
    assert!(
        error.contains("space") || error.contains("extend"),
        "{error}"
    );
    assert_eq!(own.value("SELECT state FROM agent_policy.health"), "behind");
    own.cluster.faults().end(Fault::TableFull);
    own.setup("SELECT agent_policy.audit_flush('50 s')");
    assert_eq!(recorded(&own, "meanwhile"), 60);
    until("all is well", || {
        own.value("SELECT state FROM agent_policy.health") == "ok"
    });
}

fn too_many_bytes_in_the_spool(b: &Bench) {
    let own = Bench::new(Arc::new(Cluster::start(
        b.version,
        "agent_policy.audit_max_spool = '1MB'",
    )));
    own.allow();
    work(&own, "first", 1);
    own.flush_audit();
    let mut locker = own
        .cluster
        .connect("postgres", &own.db, &[])
        .expect("connects");
    locker.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    let long = "x".repeat(20_000);
    let mut agent = own.agent();
    let mut served = 0;
    let refusal = loop {
        let answer = agent.simple(&format!(
            "SELECT id AS \"many_{served}\", id AS {long} FROM shop.orders LIMIT 1"
        ));
        match answer.errors.first() {
            None => served += 1,
            Some(error) => break error.clone(),
        }
        assert!(served < 2000, "never refused");
    };
    assert_eq!(
        (refusal.code.as_str(), refusal.rule().as_str()),
        ("58030", "audit_unavailable")
    );
    assert!(served > 10, "{served}");
    assert_eq!(
        own.value("SELECT state FROM agent_policy.health"),
        "agents are refused"
    );
    locker.query("ROLLBACK");
    until("agents are served again", || {
        agent.simple("SELECT 1").errors.is_empty()
    });
    assert_eq!(
        own.audit("statement LIKE '%many#_%' ESCAPE '#' AND outcome = 'ok'")
            .len(),
        served
    );
}

fn listeners_are_told(b: &Bench) {
    let own = own(b);
    own.allow();
    work(&own, "first", 1);
    own.flush_audit();
    let mut listener = own
        .cluster
        .connect("postgres", &own.db, &[])
        .expect("connects");
    listener.query("LISTEN agent_policy");
    let mut locker = own
        .cluster
        .connect("postgres", &own.db, &[])
        .expect("connects");
    locker.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    work(&own, "meanwhile", 1);
    let told = std::cell::RefCell::new((listener, Vec::<String>::new()));
    let hears = |word: &str| {
        let (listener, heard) = &mut *told.borrow_mut();
        heard.extend(listener.query("SELECT 1").notifications);
        heard.iter().any(|n| n.contains(word))
    };
    until("trouble is told", || hears("\"trouble\""));
    let log = own.cluster.log();
    // Whichever of the two is noticed first.
    assert!(
        log.contains("agent_policy.audit_log cannot be written")
            || log.contains("have waited for agent_policy.audit_log")
    );
    locker.query("ROLLBACK");
    until("its end is told", || hears("\"well\""));
    assert_eq!(recorded(&own, "meanwhile"), 1);
}

/// The lag is that of what waits, and not the time since the worker last had something to do.
fn an_idle_hour_is_no_lag(b: &Bench) {
    let own = own(b);
    own.allow();
    work(&own, "first", 1);
    own.flush_audit();
    let health = |what: &str| own.value(&format!("SELECT {what} FROM agent_policy.health"));
    until("the worker goes", || health("writer") == "idle");
    assert_eq!(health("lag"), "00:00:00");
    std::thread::sleep(Duration::from_secs(4));
    let mut locker = own
        .cluster
        .connect("postgres", &own.db, &[])
        .expect("connects");
    locker.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    let before = own.value("SELECT clock_timestamp()");
    work(&own, "then", 1);
    let lag = own.setup(&format!(
        "SELECT lag <= clock_timestamp() - '{before}'::timestamptz, lag FROM agent_policy.health"
    ));
    assert_eq!(lag.text(0, 0), "t", "{}", lag.text(0, 1));
    until("it lags", || health("lag > '3 s'") == "t");
    locker.query("ROLLBACK");
    assert_eq!(recorded(&own, "then"), 1);
    until("nothing waits", || health("lag = '0'") == "t");
}

fn partitions(b: &Bench) -> Vec<String> {
    b.setup("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'agent_policy.audit_log'::regclass ORDER BY 1")
        .column()
}

/// Days that are over, with a row in each.
fn old_days(b: &Bench, days: std::ops::RangeInclusive<i32>) {
    for day in days {
        b.setup(&format!(
            "SELECT agent_policy.audit_partition((now() AT TIME ZONE 'UTC')::date - date '1970-01-01' - {day}); \
             INSERT INTO agent_policy.audit_log SELECT (jsonb_populate_record(NULL::agent_policy.audit_log, to_jsonb(a) || jsonb_build_object('started_at', now() - interval '{day} days', 'event_id', gen_random_uuid()))).* FROM (SELECT * FROM agent_policy.audit_log ORDER BY seq LIMIT 1) a"
        ));
    }
}

fn retention_drops_days(b: &Bench) {
    b.the_day_is_young();
    b.allow();
    work(b, "first", 1);
    b.flush_audit();
    old_days(b, 1..=9);
    let all = partitions(b).len();
    b.setup("SELECT agent_policy.set_audit_retention('5 days')");
    let kept = partitions(b);
    assert_eq!(all - kept.len(), 4, "{kept:?}");
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE started_at < now() - interval '6 days'"),
        "0"
    );
    assert_eq!(recorded(b, "first"), 6, "today's and five days'");
    assert!(
        b.value("SELECT count(*) FROM agent_policy.policy_history WHERE function = 'set_audit_retention'") == "1"
    );
    // From then on the worker does it, and tomorrow's partition is there before it is needed.
    old_days(b, 8..=8);
    work(b, "second", 1);
    b.flush_audit();
    let tomorrow = b.value("SELECT 'agent_policy.audit_log_' || to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')");
    assert!(partitions(b).contains(&tomorrow), "{:?}", partitions(b));
    until("a worker that starts drops what is over", || {
        let pid = worker(b);
        if !pid.is_empty() {
            b.setup(&format!("SELECT pg_terminate_backend({pid})"));
        }
        work(b, "more", 1);
        b.flush_audit();
        b.value("SELECT count(*) FROM agent_policy.audit_log WHERE started_at < now() - interval '7 days'") == "0"
    });
    b.setup("SELECT agent_policy.set_audit_retention(NULL)");
    b.setup_error("SELECT agent_policy.set_audit_retention('-1 day')");
}

fn retention_waits_for_readers_and_they_not_for_it(b: &Bench) {
    b.the_day_is_young();
    b.allow();
    work(b, "first", 1);
    b.flush_audit();
    old_days(b, 7..=8);
    let all = partitions(b).len();
    let mut reader = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    reader.set_patience(Duration::from_secs(60));
    reader.query("BEGIN; SELECT count(*) FROM agent_policy.audit_log");
    b.setup("SELECT agent_policy.set_audit_retention('5 days')");
    assert_eq!(partitions(b).len(), all, "in use");
    reader.query("SELECT count(*) FROM agent_policy.audit_log");
    // Records go on into it.
    work(b, "second", 3);
    assert_eq!(recorded(b, "second"), 3);
    reader.query("COMMIT");
    b.setup("SELECT agent_policy.set_audit_retention('5 days')");
    assert_eq!(partitions(b).len(), all - 2);
}

fn readers_and_copies_are_not_held_up(b: &Bench) {
    b.allow();
    work(b, "first", 1);
    b.flush_audit();
    // A reader in the middle of its transaction holds nobody up, and is held up by nobody.
    let mut reader = b.cluster.connect("postgres", &b.db, &[]).expect("connects");
    reader.set_patience(Duration::from_secs(60));
    reader.query("BEGIN; SELECT count(*) FROM agent_policy.audit_log");
    b.setup(&format!("DROP TABLE IF EXISTS {}_never", today(b)));
    for _ in 0..5 {
        work(b, "more", 20);
        b.flush_audit();
        reader.query("SELECT count(*) FROM agent_policy.audit_log");
        reader.query(&format!("COPY {} TO STDOUT", today(b)));
        reader.query("COPY (SELECT to_jsonb(a) FROM agent_policy.audit_log a) TO STDOUT");
    }
    // The worker never waits for a lock that it holds others up with while it waits.
    assert_eq!(
        b.value("SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'agent_policy audit writer' AND a.datname = current_database() AND NOT l.granted"),
        "0"
    );
    // A new partition is attached beside it, too.
    b.setup("SELECT agent_policy.audit_partition((now() AT TIME ZONE 'UTC')::date - date '1970-01-01' - 40)");
    reader.query("SELECT count(*) FROM agent_policy.audit_log");
    reader.query("COMMIT");
}

fn several_databases(b: &Bench) {
    let own = own(b);
    own.allow();
    let others: Vec<Bench> = (0..4)
        .map(|_| Bench::new(Arc::clone(&own.cluster)))
        .collect();
    others.iter().for_each(Bench::allow);
    for round in 0..3 {
        for one in others.iter().chain([&own]) {
            work(one, &format!("round{round}"), 5);
        }
    }
    for one in others.iter().chain([&own]) {
        for round in 0..3 {
            assert_eq!(recorded(one, &format!("round{round}")), 5);
        }
        assert_eq!(
            one.value("SELECT count(*) FROM agent_policy.audit_log WHERE database_name <> current_database()"),
            "0"
        );
    }
}

fn drop_database_without_force(b: &Bench) {
    let own = own(b);
    let other = Bench::new(Arc::clone(&own.cluster));
    other.allow();
    work(&other, "last", 30);
    let db = other.db.clone();
    let cluster = Arc::clone(&own.cluster);
    // The harness's own session in it has to go; the worker goes by itself.
    other.setup("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()");
    drop_sessions(other);
    let mut su = cluster
        .connect("postgres", "postgres", &[])
        .expect("connects");
    until("nobody but the worker is there", || {
        own.value(&format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{db}' AND backend_type = 'client backend'")) == "0"
    });
    // Each of them waits five seconds for others to go.
    let mut attempts = 0;
    until("DROP DATABASE", || {
        attempts += 1;
        su.simple(&format!("DROP DATABASE {db}")).errors.is_empty()
    });
    assert!(attempts <= 4, "{attempts}");
    own.allow();
    work(&own, "goes_on", 3);
    assert_eq!(recorded(&own, "goes_on"), 3);
}

/// Ends a bench's sessions and leaves its database.
fn drop_sessions(b: Bench) {
    b.end_sessions();
    std::mem::forget(b);
}

fn a_copied_database(b: &Bench) {
    let own = own(b);
    own.allow();
    work(&own, "original", 5);
    own.flush_audit();
    own.end_sessions();
    let mut su = own
        .cluster
        .connect("postgres", "postgres", &[])
        .expect("connects");
    until("the copy is made", || {
        let mut su = own
            .cluster
            .connect("postgres", "postgres", &[])
            .expect("connects");
        su.simple(&format!("CREATE DATABASE a_copy TEMPLATE {}", own.db))
            .errors
            .is_empty()
    });
    // It has a log of its own from here on, and the rows that were in the original.
    let mut dba = own
        .cluster
        .connect("postgres", "a_copy", &[])
        .expect("connects");
    dba.query(&format!(
        "SELECT agent_policy.protect_role('{}')",
        own.agent
    ));
    let mut agent = own
        .cluster
        .connect(
            &own.agent,
            "a_copy",
            &[("options", "-c agent_policy.user_email=alice@example.com")],
        )
        .expect("connects");
    agent.query("SELECT id AS in_the_copy FROM shop.orders LIMIT 1");
    let mut dba = own
        .cluster
        .connect("postgres", "a_copy", &[])
        .expect("connects");
    dba.query("SELECT agent_policy.audit_flush()");
    assert_eq!(
        dba.value(
            "SELECT count(*) FROM agent_policy.audit_log WHERE statement LIKE '%in_the_copy%'"
        ),
        "1"
    );
    assert_eq!(
        dba.value("SELECT count(*) - count(DISTINCT event_id) FROM agent_policy.audit_log"),
        "0"
    );
    assert_eq!(recorded(&own, "original"), 5);
    drop(agent);
    drop(dba);
    su.query("DROP DATABASE a_copy WITH (FORCE)");
}
