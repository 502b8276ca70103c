//! Tamper evidence: what is changed in the log, by whomever, is found and named.

use std::sync::Arc;

use cluster_tests::{Bench, Case, Cluster, cases};

pub const CASES: &[Case] = cases![
    an_untouched_log_is_intact,
    each_column_that_is_changed_is_found,
    removed_rows_are_found,
    the_last_rows_are_missed,
    reordered_rows_are_found,
    inserted_rows_are_found,
    rows_of_any_time_are_looked_at,
    long_rows_take_no_memory_for_good,
    rewritten_blocks_are_found,
    removed_blocks_stay_visible,
    what_functions_append_is_missed,
    a_log_rebuilt_with_another_key_is_found_by_heads,
    days_that_are_dropped_leave_headers,
    days_that_somebody_drops_are_missed,
    it_holds_while_agents_write,
    only_the_server_reads_the_key,
    a_key_of_ones_own_and_the_next,
    who_may_verify,
];

/// `n` statements of the agent, some of them denied.
pub fn write(b: &Bench, n: usize) {
    let mut agent = b.agent();
    for i in 0..n {
        match i % 4 {
            3 => drop(agent.simple("SELECT * FROM vault.secrets")),
            _ => drop(agent.query(&format!("SELECT id FROM shop.orders LIMIT {}", i + 1))),
        }
    }
    drop(agent);
    b.flush_audit();
}

fn filled(b: &Bench) {
    b.allow();
    write(b, 8);
    write(b, 8);
}

/// intact, first_bad_seq, checked
pub fn verify(b: &Bench, arguments: &str) -> (bool, Option<i64>, i64) {
    let answer = b.setup(&format!(
        "SELECT concat_ws(' ', intact, coalesce(first_bad_seq, 0), checked) FROM agent_policy.audit_verify({arguments})"
    ));
    // What a failed test prints.
    for found in &answer.notices {
        eprintln!("{}", found.message);
    }
    let row = answer.one();
    let parts: Vec<&str> = row.split(' ').collect();
    let number = |n: usize| parts[n].parse::<i64>().expect("a number");
    (
        parts[0] == "t",
        Some(number(1)).filter(|n| *n != 0),
        number(2),
    )
}

/// As an attacker who is a superuser: no trigger fires.
pub fn tamper(b: &Bench, sql: &str) {
    b.setup(&format!(
        "SET session_replication_role = replica; {sql}; RESET session_replication_role"
    ));
}

#[track_caller]
pub fn intact(b: &Bench) -> i64 {
    let (intact, bad, checked) = verify(b, "");
    assert!(intact && bad.is_none(), "from {bad:?} on");
    checked
}

#[track_caller]
pub fn bad_from(b: &Bench, seq: i64) {
    let (intact, bad, _) = verify(b, "");
    assert_eq!((intact, bad), (false, Some(seq)));
}

fn rows(b: &Bench) -> i64 {
    b.value("SELECT count(*) FROM agent_policy.audit_log")
        .parse()
        .expect("a count")
}

fn an_untouched_log_is_intact(b: &Bench) {
    // Nothing written yet.
    assert_eq!(verify(b, ""), (true, None, 0));
    filled(b);
    b.agent_for("bob@example.com").simple("SELEKT 'ü' /* é */");
    b.agent().query("SELECT 1 AS \"ein Ünïcode-Name 名\"");
    b.flush_audit();
    assert_eq!(intact(b), rows(b));
    assert!(rows(b) >= 18);
    assert_eq!(verify(b, "now() - interval '1 day', now()").2, rows(b));
    assert_eq!(verify(b, "now() + interval '2 days'"), (true, None, 0));
    let gaps = "SELECT count(*) FROM (SELECT lead(seq) OVER (ORDER BY seq) - seq AS step FROM agent_policy.audit_log) s WHERE step <> 1";
    assert_eq!(b.value(gaps), "0", "seq has no gaps");
    // The head that is answered is one that can be kept.
    b.setup("CREATE TABLE public.kept AS SELECT head FROM agent_policy.audit_verify()");
    write(b, 3);
    assert!(verify(b, "heads => ARRAY(SELECT head FROM public.kept)").0);
    assert!(
        verify(
            b,
            "heads => ARRAY(SELECT head FROM agent_policy.audit_checkpoints)"
        )
        .0
    );
    let error = b.setup_error("SELECT agent_policy.audit_verify(heads => ARRAY['no head'])");
    assert_eq!(error.code, "22023");
    assert!(error.hint.contains("audit_checkpoints"), "{error}");
}

fn each_column_that_is_changed_is_found(b: &Bench) {
    filled(b);
    for (column, value) in [
        ("event_id", "gen_random_uuid()"),
        ("user_email", "'mallory@example.com'"),
        ("user_email", "NULL"),
        ("assurance", "'signed'"),
        ("role_name", "'somebody'"),
        ("session_user_name", "'somebody'"),
        ("database_name", "'elsewhere'"),
        ("application_name", "'psql'"),
        ("client_addr", "'192.0.2.1'"),
        ("backend_pid", "1"),
        ("session_id", "'1.1'"),
        ("transaction_id", "7"),
        ("started_at", "started_at + interval '1 microsecond'"),
        ("duration_ms", "coalesce(duration_ms, 0) + 0.001"),
        ("nesting_level", "1"),
        ("command_tag", "'INSERT'"),
        ("query_id", "1"),
        ("statement", "'SELECT 1'"),
        ("statement_sha256", "sha256('')"),
        ("relations", "'{}'"),
        ("masked_columns", "'{a.b.c}'"),
        ("functions", "ARRAY['f()']"),
        ("rows_returned", "0"),
        ("rows_processed", "999"),
        ("bytes_returned", "NULL"),
        ("truncated", "NOT truncated"),
        ("verdict", "'would_deny'"),
        ("rule", "'read_only'"),
        ("object", "'x'"),
        ("outcome", "'unknown'"),
        ("sqlstate", "'00000'"),
        ("agent", "'another'"),
        ("conversation", "'another'"),
        ("trace_id", "'another'"),
        ("policy_version", "policy_version + 1"),
        ("backend_seq", "backend_seq + 1"),
        ("mark", "'\\x0000000000000000'"),
        ("who_seal", "'\\x00000000000000000000000000000000'"),
        ("text_seal", "text_seal || '\\x00'"),
    ] {
        b.setup("CREATE TABLE public.before AS SELECT * FROM agent_policy.audit_log WHERE seq = 6");
        tamper(
            b,
            &format!("UPDATE agent_policy.audit_log SET {column} = {value} WHERE seq = 6"),
        );
        assert_eq!(verify(b, "").1, Some(6), "{column} = {value}");
        tamper(
            b,
            "DELETE FROM agent_policy.audit_log WHERE seq = 6; INSERT INTO agent_policy.audit_log SELECT * FROM public.before",
        );
        b.setup("DROP TABLE public.before");
        intact(b);
    }
    let columns = b.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'agent_policy.audit_log'::regclass AND attnum > 0");
    assert_eq!(columns, "39", "a new column has to be covered, too");
    // Several, together with their marks.
    tamper(
        b,
        "UPDATE agent_policy.audit_log SET mark = '\\x0000000000000000', rows_returned = 0 WHERE seq IN (4, 5)",
    );
    bad_from(b, 4);
}

fn removed_rows_are_found(b: &Bench) {
    filled(b);
    let partition = b.value("SELECT max(tableoid::regclass::text) FROM agent_policy.audit_log");
    tamper(b, &format!("DELETE FROM {partition} WHERE seq = 5"));
    bad_from(b, 5);
    tamper(b, &format!("TRUNCATE {partition}"));
    bad_from(b, 1);
    // Nor with what says that there was a log, whether or not another one begins.
    tamper(
        b,
        "DELETE FROM agent_policy.audit_log; DELETE FROM agent_policy.audit_block; DELETE FROM agent_policy.audit_state",
    );
    bad_from(b, 1);
    write(b, 3);
    bad_from(b, 1);
    write(b, 3);
    bad_from(b, 1);
    // One that a DBA has done away with is no log any more.
    b.setup("DROP EXTENSION agent_policy CASCADE; CREATE EXTENSION agent_policy");
    assert_eq!(
        b.value("SELECT intact FROM agent_policy.audit_verify()"),
        "t"
    );
    b.setup_error("SELECT agent_policy.audit_verify(heads => ARRAY[NULL])");
}

fn the_last_rows_are_missed(b: &Bench) {
    filled(b);
    let all = rows(b);
    b.setup("CREATE TABLE public.log AS SELECT * FROM agent_policy.audit_log; CREATE TABLE public.block AS SELECT * FROM agent_policy.audit_block; CREATE TABLE public.state AS SELECT * FROM agent_policy.audit_state");
    tamper(
        b,
        &format!("DELETE FROM agent_policy.audit_log WHERE seq = {all}"),
    );
    bad_from(b, all);
    // With every trace of them that SQL reaches.
    let last: i64 = b
        .value("SELECT first_seq FROM agent_policy.audit_block ORDER BY number DESC LIMIT 1")
        .parse()
        .expect("a number");
    tamper(
        b,
        &format!(
            "DELETE FROM agent_policy.audit_log WHERE seq >= {last}; DELETE FROM agent_policy.audit_block WHERE first_seq >= {last}; UPDATE agent_policy.audit_state SET last_seq = {last} - 1"
        ),
    );
    bad_from(b, last);
    // What is written after that does not cover it up.
    write(b, 6);
    bad_from(b, last);
    // Nor is the whole of it gone without being missed.
    tamper(
        b,
        "DELETE FROM agent_policy.audit_log; DELETE FROM agent_policy.audit_block; UPDATE agent_policy.audit_state SET last_seq = 0",
    );
    bad_from(b, 1);
}

fn reordered_rows_are_found(b: &Bench) {
    filled(b);
    tamper(
        b,
        "UPDATE agent_policy.audit_log SET seq = 11 - seq WHERE seq IN (5, 6)",
    );
    bad_from(b, 5);
}

fn inserted_rows_are_found(b: &Bench) {
    filled(b);
    let all = rows(b);
    let columns = "event_id, user_email, assurance, role_name, session_user_name, database_name, application_name, client_addr, backend_pid, session_id, transaction_id, started_at, duration_ms, nesting_level, command_tag, query_id, statement, statement_sha256, relations, masked_columns, functions, rows_returned, rows_processed, bytes_returned, truncated, verdict, rule, object, outcome, sqlstate, agent, conversation, trace_id, policy_version, backend_seq, mark, who_seal, text_seal";
    for seq in [all + 1, 7, 0, -5, all + 100] {
        tamper(
            b,
            &format!(
                "INSERT INTO agent_policy.audit_log (seq, {columns}) SELECT {seq}, {columns} FROM agent_policy.audit_log WHERE seq = 3"
            ),
        );
        let (intact_, bad, _) = verify(b, "");
        assert_eq!(
            (intact_, bad),
            (false, Some(seq.clamp(1, all + 1))),
            "{seq}"
        );
        tamper(
            b,
            &format!(
                "DELETE FROM agent_policy.audit_log WHERE ctid IN (SELECT max(ctid) FROM agent_policy.audit_log WHERE seq = {seq})"
            ),
        );
        intact(b);
    }
}

/// Every column but `seq`, `started_at` and `statement`.
const OTHERS: &str = "event_id, user_email, assurance, role_name, session_user_name, database_name, application_name, client_addr, backend_pid, session_id, transaction_id, duration_ms, nesting_level, command_tag, query_id, statement_sha256, relations, masked_columns, functions, rows_returned, rows_processed, bytes_returned, truncated, verdict, rule, object, outcome, sqlstate, agent, conversation, trace_id, policy_version, backend_seq, mark, who_seal, text_seal";

/// Days that no server ever had are those of the log as well, once somebody has made room for them.
fn rows_of_any_time_are_looked_at(b: &Bench) {
    filled(b);
    b.setup(
        "CREATE TABLE shop.long_ago (LIKE agent_policy.audit_log INCLUDING ALL);
         ALTER TABLE agent_policy.audit_log ATTACH PARTITION shop.long_ago FOR VALUES FROM (MINVALUE) TO ('1960-01-01');
         CREATE TABLE shop.far_off (LIKE agent_policy.audit_log INCLUDING ALL);
         ALTER TABLE agent_policy.audit_log ATTACH PARTITION shop.far_off FOR VALUES FROM ('9000-01-01') TO (MAXVALUE)",
    );
    let all = intact(b);
    for (at, day) in [
        ("-infinity", None),
        ("4714-11-24 00:00:00+00 BC", Some("4714-11-24 BC")),
        ("0044-03-15 BC", Some("0044-03-15 BC")),
        ("1900-01-01", Some("1900-01-01")),
        ("1942-08-14 12:00", Some("1942-08-14")),
        ("20000-01-01", Some("20000-01-01")),
        ("294276-12-31 23:59:59.999999+00", Some("294276-12-31")),
        ("infinity", None),
    ] {
        b.setup(&format!(
            "BEGIN; SET LOCAL timezone = 'UTC'; INSERT INTO agent_policy.audit_log (seq, started_at, statement, {OTHERS})
             SELECT seq, '{at}', 'DROP TABLE x', {OTHERS} FROM agent_policy.audit_log WHERE seq = 3"
        ));
        assert_eq!(verify(b, ""), (false, Some(3), all + 1), "{at}");
        if let Some(day) = day {
            let (intact_, bad, n) = verify(b, &format!("'{day}', '{day}'"));
            assert_eq!((intact_, bad, n), (false, Some(3), 1), "{at}");
        }
        assert!(verify(b, "now() - interval '1 day', now()").0, "{at}");
        b.setup("ROLLBACK");
    }
    // Nor does a header of such a day keep anybody from looking.
    for change in [
        "day = 'infinity'",
        "day = '-infinity'",
        "oldest = '-infinity'",
    ] {
        b.setup("BEGIN; SET LOCAL session_replication_role = replica");
        b.setup(&format!(
            "UPDATE agent_policy.audit_block SET {change} WHERE number = 1"
        ));
        bad_from(b, 1);
        b.setup("ROLLBACK");
    }
    assert_eq!(intact(b), all);
}

/// Memory of a process that is its own, in kB.
fn own_memory(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The statements of a log may be longer, all of them together, than there is memory.
fn long_rows_take_no_memory_for_good(b: &Bench) {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    filled(b);
    // 300 MB once they are no longer compressed.
    b.setup(&format!(
        "INSERT INTO agent_policy.audit_log (seq, started_at, statement, {OTHERS})
         SELECT seq, started_at, repeat(md5(n::text), 3200), {OTHERS}
         FROM agent_policy.audit_log, generate_series(1, 3000) n WHERE seq = 3"
    ));
    let pid = b.value("SELECT pg_backend_pid()");
    let (before, done) = (own_memory(&pid), AtomicBool::new(false));
    assert!(before > 0, "no memory of process {pid}");
    let most = std::thread::scope(|s| {
        let watch = s.spawn(|| {
            let mut most = 0;
            while !done.load(SeqCst) {
                most = own_memory(&pid).max(most);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            most
        });
        let (intact_, bad, n) = verify(b, "");
        done.store(true, SeqCst);
        assert_eq!((intact_, bad), (false, Some(3)));
        assert!(n > 3_000, "{n} rows");
        watch.join().expect("the watch")
    });
    assert!(
        most < before + 60_000,
        "{before} kB before, {most} kB at most"
    );
}

fn rewritten_blocks_are_found(b: &Bench) {
    filled(b);
    b.setup("CREATE TABLE public.block AS SELECT * FROM agent_policy.audit_block");
    let number = "(SELECT min(number) FROM agent_policy.audit_block WHERE first_seq > 1)";
    let seq: i64 = b
        .value(&format!(
            "SELECT first_seq FROM agent_policy.audit_block WHERE number = {number}"
        ))
        .parse()
        .expect("a number");
    for change in [
        "root = sha256('x')",
        "hash = sha256('x')",
        "sealed_at = sealed_at + interval '1 s'",
        "oldest = oldest - interval '1 s'",
        "newest = newest + interval '1 s'",
        "kind = 1",
        "kind = 7",
        "note = 'x'",
        "last_seq = last_seq - 1",
        "first_seq = first_seq + 1",
        "signature = decode(repeat('00', 64), 'hex')",
        "key_id = '\\x0000000000000000'",
        "root = '\\x00'",
        "number = number + 100",
    ] {
        tamper(
            b,
            &format!("UPDATE agent_policy.audit_block SET {change} WHERE number = {number}"),
        );
        let (intact_, bad, _) = verify(b, "");
        assert!(!intact_, "{change}");
        assert!(
            bad.is_some_and(|n| (1..=seq + 1).contains(&n)),
            "{change}: {bad:?}"
        );
        tamper(
            b,
            "DELETE FROM agent_policy.audit_block; INSERT INTO agent_policy.audit_block SELECT * FROM public.block",
        );
        intact(b);
    }
    // Rows changed and every hash computed anew, as anybody can who knows how: only the signatures
    // cannot be made. Here the last block says what the first one says.
    tamper(
        b,
        &format!(
            "DELETE FROM agent_policy.audit_block WHERE number >= {number}; DELETE FROM agent_policy.audit_log WHERE seq >= {seq}; UPDATE agent_policy.audit_state SET last_seq = {seq} - 1"
        ),
    );
    bad_from(b, seq);
}

fn removed_blocks_stay_visible(b: &Bench) {
    filled(b);
    let last: i64 = b
        .value("SELECT first_seq FROM agent_policy.audit_block ORDER BY number DESC LIMIT 1")
        .parse()
        .expect("a number");
    tamper(
        b,
        &format!("DELETE FROM agent_policy.audit_block WHERE first_seq >= {last}"),
    );
    // A worker that has forgotten everything: it goes away when it has had nothing to do.
    b.setup("DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer' AND datname = current_database()) LOOP PERFORM pg_sleep(0.1); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$");
    write(b, 4);
    let (intact_, bad, _) = verify(b, "");
    assert_eq!((intact_, bad), (false, Some(last)));
    let (_, _, _) = verify(b, "");
    // The log itself goes on: nobody is denied, nothing is written twice.
    assert_eq!(
        b.value("SELECT count(*) FROM agent_policy.audit_log"),
        b.value("SELECT count(DISTINCT seq) FROM agent_policy.audit_log")
    );
}

/// Blocks of functions are known beside the key like those of the worker, which is told when they are committed.
fn what_functions_append_is_missed(b: &Bench) {
    filled(b);
    let file = b.value(
        "SELECT format('agent_policy/audit_head.%s', oid) FROM pg_database WHERE datname = current_database()",
    );
    let file = b.cluster.data().join(file);
    let noted = |number: &str| {
        super::c25_standby::wait("note of the newest block", || {
            let head = std::fs::read_to_string(&file).unwrap_or_default();
            let noted = head.split(':').nth(3).and_then(|n| n.parse::<i64>().ok());
            // The worker may have appended another: who erases is a reader.
            noted >= number.parse().ok()
        });
    };
    let newest = "SELECT max(number) FROM agent_policy.audit_block";
    b.setup("SET synchronous_commit = off");
    for change in [
        "SELECT agent_policy.set_audit_retention('400 days')",
        "SELECT agent_policy.erase_user('alice@example.com')",
        "SELECT agent_policy.set_audit_retention(NULL)",
    ] {
        b.setup(change);
        let number = b.value(newest);
        noted(&number);
        intact(b);
        b.setup(&format!(
            "BEGIN; DELETE FROM agent_policy.audit_block WHERE number = {number}"
        ));
        assert!(!verify(b, "").0, "{change}");
        b.setup("ROLLBACK");
    }
    // What is rolled back is nobody's loss.
    let before = b.value(newest);
    b.setup("BEGIN; SELECT agent_policy.set_audit_retention('300 days'); ROLLBACK");
    b.setup("BEGIN; SAVEPOINT s; SELECT agent_policy.set_audit_retention('200 days'); ROLLBACK TO s; COMMIT");
    b.setup("RESET synchronous_commit; SELECT agent_policy.audit_flush()");
    assert_eq!(b.value(newest), before);
    intact(b);
    b.setup("SELECT agent_policy.set_audit_retention('300 days')");
    noted(&b.value(newest));
    intact(b);
}

fn a_log_rebuilt_with_another_key_is_found_by_heads(b: &Bench) {
    use cluster_tests::Cluster;
    let own = Bench::new(std::sync::Arc::new(Cluster::start(
        b.version,
        "fsync = off",
    )));
    filled(&own);
    let head =
        own.value("SELECT head FROM agent_policy.audit_checkpoints ORDER BY block DESC LIMIT 1");
    // An attacker with the server's file system: no key, no head file, no row of the log.
    own.setup("DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'agent_policy audit writer') LOOP PERFORM pg_sleep(0.1); PERFORM pg_stat_clear_snapshot(); END LOOP; END $$");
    let files = format!("{}/agent_policy", own.value("SHOW data_directory"));
    for entry in std::fs::read_dir(&files).expect("the directory").flatten() {
        if entry.file_name().to_string_lossy().starts_with("audit_") {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
    tamper(
        &own,
        "DELETE FROM agent_policy.audit_log; DELETE FROM agent_policy.audit_block; DELETE FROM agent_policy.audit_key; UPDATE agent_policy.audit_state SET last_seq = 0",
    );
    filled(&own);
    // In itself it is in order; that is what heads are kept elsewhere for.
    intact(&own);
    // The row named is the first of the block that the head was of: where that begins depends on how
    // the rows came to be read.
    let (intact_, bad, _) = verify(&own, &format!("heads => ARRAY['{head}']"));
    assert!(!intact_ && bad.is_some(), "{bad:?}");
}

/// Rows of the days before, as if the server had been running then.
fn past_days(b: &Bench) {
    b.the_day_is_young();
    filled(b);
    b.setup("SELECT agent_policy.audit_partition(current_date - date '1970-01-01' - d) FROM generate_series(0, 4) d");
}

fn days_that_are_dropped_leave_headers(b: &Bench) {
    past_days(b);
    b.setup("SELECT agent_policy.set_audit_retention('2 days')");
    let dropped = b.value("SELECT count(*) FROM agent_policy.audit_block WHERE kind = 2");
    assert!(dropped != "0", "no block tells of it");
    intact(b);
    b.setup("SELECT agent_policy.set_audit_retention(NULL)");
    let before = rows(b);
    // A whole day of rows: today's, which is too early for any retention.
    let day = b.value("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')");
    b.setup(&format!(
        "BEGIN; SELECT agent_policy.audit_note(2, (now() AT TIME ZONE 'UTC')::date - date '1970-01-01', '{{}}'); DROP TABLE agent_policy.audit_log_{day}; COMMIT"
    ));
    assert!(before > 0);
    assert_eq!(verify(b, ""), (false, Some(1), 0));
    let headers = b
        .value("SELECT sum(last_seq - first_seq + 1) FROM agent_policy.audit_block WHERE kind = 0");
    assert_eq!(headers, before.to_string(), "headers stay");
    // And it goes on, on the same day.
    write(b, 5);
    let (_, bad, checked) = verify(b, "");
    assert_eq!((bad, checked), (Some(1), rows(b)));
    assert!(checked > 0);
}

fn days_that_somebody_drops_are_missed(b: &Bench) {
    filled(b);
    let partition = b.value("SELECT max(tableoid::regclass::text) FROM agent_policy.audit_log");
    tamper(b, &format!("DROP TABLE {partition}"));
    bad_from(b, 1);
}

fn it_holds_while_agents_write(b: &Bench) {
    b.allow();
    std::thread::scope(|s| {
        let writers: Vec<_> = (0..3)
            .map(|_| {
                s.spawn(|| {
                    let mut agent = b.agent();
                    for i in 0..150 {
                        agent.query(&format!("SELECT id FROM shop.orders LIMIT {}", i % 9 + 1));
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while writers.iter().any(|w| !w.is_finished()) {
            seen = intact(b).max(seen);
        }
    });
    b.flush_audit();
    assert_eq!(intact(b), 450);
}

fn only_the_server_reads_the_key(b: &Bench) {
    use std::os::unix::fs::PermissionsExt;
    filled(b);
    let file = format!("{}/agent_policy/audit_key", b.value("SHOW data_directory"));
    let mode = std::fs::metadata(&file)
        .expect("the key")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        b.setup_error("SET agent_policy.audit_key_file = '/tmp/x'")
            .code
            .starts_with("55")
    );
    let shown = b.agent().simple("SHOW agent_policy.audit_key_file");
    assert!(
        !shown.errors.is_empty(),
        "the agent is not told where the key is"
    );
}

/// `audit_key_file`: a key that somebody keeps elsewhere, one that is missing, and one that follows another.
fn a_key_of_ones_own_and_the_next(b: &Bench) {
    const FIRST: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";
    const SECOND: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIP/+/fz7+vn49/b19PPy8fDv7u3s6+rp6Ofm5eTj4uHg\n-----END PRIVATE KEY-----\n";
    let own = Bench::new(Arc::new(Cluster::start(b.version, "")));
    let place = |name: &str| own.cluster.data().join(name).display().to_string();
    let put = |name: &str, text: &str| own.cluster.put_file(name, text);
    let use_key = |name: &str| {
        own.cluster
            .configure(&format!("agent_policy.audit_key_file = '{}'", place(name)));
        own.setup("SELECT pg_reload_conf()");
    };
    let keys = || {
        own.value("SELECT count(DISTINCT key_id) FROM agent_policy.audit_checkpoints")
            .parse::<i64>()
            .expect("a count")
    };
    // Missing: nothing is made in its place, and somebody is told.
    use_key("first");
    own.allow();
    own.agent().query("SELECT count(*) FROM shop.orders");
    super::c25_standby::wait("word of the missing key", || {
        own.value("SELECT coalesce(last_error, '') FROM agent_policy.health")
            .contains("the audit's key")
    });
    assert!(!own.cluster.data().join("first").exists());
    assert_eq!(rows(&own), 0);
    put("first", FIRST);
    super::c25_standby::wait("row", || rows(&own) > 0);
    write(&own, 8);
    assert_eq!((intact(&own) > 0, keys()), (true, 1));
    // Another one alone: who signed before is not trusted any more.
    put("second", SECOND);
    use_key("second");
    write(&own, 4);
    assert_eq!(keys(), 2);
    bad_from(&own, 1);
    // With the public half of the first beside it, both are.
    let public = own.value(
        "SELECT concat(E'-----BEGIN PUBLIC KEY-----\\n', encode('\\x302a300506032b6570032100' || public_key, 'base64'), E'\\n-----END PUBLIC KEY-----\\n')
         FROM agent_policy.audit_key ORDER BY first_used LIMIT 1",
    );
    put("second", &format!("{SECOND}{public}"));
    intact(&own);
    write(&own, 4);
    intact(&own);
}

fn who_may_verify(b: &Bench) {
    filled(b);
    for statement in [
        "SELECT * FROM agent_policy.audit_verify()",
        "SELECT * FROM agent_policy.audit_checkpoints",
        "SELECT * FROM agent_policy.audit_block",
        "SELECT agent_policy.audit_note(0, 0, '{}')",
    ] {
        let agent = b.agent().simple(statement);
        assert_eq!(agent.errors[0].code, "42501", "{statement}");
        let plain = b.unconfined().simple(statement);
        assert_eq!(plain.errors[0].code, "42501", "{statement}");
    }
    b.setup("GRANT agent_policy_admin TO @plain@");
    let mut admin = b.unconfined();
    admin.query("SELECT * FROM agent_policy.audit_verify()");
    admin.query("SELECT head FROM agent_policy.audit_checkpoints");
    assert_eq!(
        admin
            .simple("SELECT agent_policy.audit_note(0, 0, '{}')")
            .errors[0]
            .code,
        "42501"
    );
    b.setup("REVOKE agent_policy_admin FROM @plain@");
}
