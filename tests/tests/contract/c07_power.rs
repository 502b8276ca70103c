//! Durable before the first row or error leaves: a proxy stops the world at the first byte of data.

use cluster_tests::faults::Fault;
use cluster_tests::{Answer, Bench, Case, Cluster, Wire, cases};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = cases![
    the_power_goes_at_the_first_byte,
    the_power_goes_at_the_first_byte_of_others,
    in_the_table_at_the_first_byte,
    rows_wait_for_the_disk_and_the_work_does_not,
    that_there_are_none_waits_for_the_disk,
    rows_that_wait_are_dropped_together,
    no_sync_no_row_and_no_error,
    no_write_no_row_and_no_error,
    a_full_disk,
    a_disk_that_hangs_costs_no_more_than_the_limit,
    the_journal_brings_back_what_spool_files_lost,
];

fn faulty(b: &Bench) -> Bench {
    Bench::new(Arc::new(Cluster::start_faulty(b.version, "")))
}

/// A proxy between one client and its server. It reads the server's messages, and at the first one
/// of data, an error, or that there is no more (which says that there was nothing, where nothing
/// came before), before a byte of it is handed on, everything ends.
struct Proxy {
    path: PathBuf,
    armed: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    fn new(cluster: &Arc<Cluster>) -> Self {
        let path = cluster.socket_dir().join("proxy");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let armed = Arc::new(AtomicBool::new(false));
        let cut = Arc::new(AtomicBool::new(false));
        let proxy = Self {
            path,
            armed: Arc::clone(&armed),
            cut: Arc::clone(&cut),
        };
        let cluster = Arc::clone(cluster);
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut server = UnixStream::connect(cluster.socket()).expect("a server");
            let (mut from_client, mut to_server) = (
                client.try_clone().expect("a copy"),
                server.try_clone().expect("a copy"),
            );
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let mut head = [0_u8; 5];
            while server.read_exact(&mut head).is_ok() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                let data = matches!(head[0], b'D' | b'd' | b'E' | b'V' | b'C' | b'c' | b's');
                if data && armed.load(Ordering::SeqCst) {
                    cluster.power_cut();
                    cut.store(true, Ordering::SeqCst);
                    let _ = client.shutdown(std::net::Shutdown::Both);
                    return;
                }
                let mut body = vec![0; length - 4];
                if server.read_exact(&mut body).is_err()
                    || client.write_all(&head).is_err()
                    || client.write_all(&body).is_err()
                {
                    return;
                }
            }
        });
        proxy
    }

    fn connect(&self, b: &Bench) -> Wire {
        let options = [("options", "-c agent_policy.user_email=alice@example.com")];
        Wire::connect(&self.path, &b.agent, &b.db, &options).expect("the agent connects")
    }

    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

fn the_power_goes_at_the_first_byte(b: &Bench) {
    let own = faulty(b);
    own.mask();
    for (first, sql, verdict) in [
        // With and without a spool file that is there and durable already.
        (false, "SELECT id AS row_1 FROM shop.orders", "allowed"),
        (true, "SELECT id AS row_2 FROM shop.orders", "allowed"),
        (true, "SELECT token AS row_3 FROM vault.secrets", "denied"),
        (
            false,
            "SELECT no_such_column AS row_4 FROM shop.orders",
            "allowed",
        ),
        (
            true,
            "SELECT 1 / (id - 1) AS row_5 FROM shop.orders",
            "allowed",
        ),
        (
            true,
            "COPY (SELECT email AS row_6 FROM shop.customers) TO STDOUT",
            "allowed",
        ),
        (false, "SELEKT row_7", "allowed"),
    ] {
        let proxy = Proxy::new(&own.cluster);
        let mut agent = proxy.connect(&own);
        if first {
            agent.query("SELECT 1 AS nothing");
        }
        proxy.arm();
        let answer = agent.simple(sql);
        assert!(
            answer.closed && answer.rows.is_empty() && answer.errors.is_empty(),
            "{sql}"
        );
        assert!(proxy.cut.load(Ordering::SeqCst), "{sql}");
        own.cluster.start_again();
        let name = &sql[sql.find("row_").expect("a name")..][..5];
        let rows = own.audit(&format!("statement LIKE '%{name}%'"));
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        assert_eq!(rows[0]["verdict"], verdict, "{sql}: {}", rows[0]);
        assert_eq!(rows[0]["user_email"], "alice@example.com");
    }
}

/// The same where the first byte comes by the extended protocol, from a cursor, or says that there is no row.
fn the_power_goes_at_the_first_byte_of_others(b: &Bench) {
    let own = faulty(b);
    own.mask();
    let extended = |agent: &mut Wire, sql: &str| agent.extended(sql, &[]);
    let simple = |agent: &mut Wire, sql: &str| agent.simple(sql);
    let in_slices = |agent: &mut Wire, _: &str| agent.execute("p", 2).sync();
    type Ask<'a> = &'a dyn Fn(&mut Wire, &str) -> Answer;
    // What is done before, what is asked then, how, and the relation and verdict in its record.
    let asked: &[(&[&str], &str, Ask, &str, &str)] = &[
        (
            &[],
            "SELECT id AS row_1 FROM shop.orders",
            &extended,
            "shop.orders",
            "allowed",
        ),
        (
            &[],
            "SELECT token AS row_2 FROM vault.secrets",
            &extended,
            "",
            "denied",
        ),
        (
            &[],
            "SELECT 1 / (id - 1) AS row_3 FROM shop.orders",
            &extended,
            "shop.orders",
            "allowed",
        ),
        (
            &["BEGIN", "bind"],
            "SELECT email AS row_4 FROM shop.customers",
            &in_slices,
            "shop.customers",
            "allowed",
        ),
        (
            &[
                "BEGIN",
                "DECLARE row_5 CURSOR FOR SELECT email FROM shop.customers",
            ],
            "FETCH 2 FROM row_5",
            &simple,
            "shop.customers",
            "allowed",
        ),
        (
            &[
                "BEGIN",
                "DECLARE row_6 CURSOR FOR SELECT email FROM shop.customers",
            ],
            "FETCH 2 FROM row_6",
            &extended,
            "shop.customers",
            "allowed",
        ),
        (
            &[
                "BEGIN",
                "DECLARE row_7 CURSOR FOR SELECT email FROM shop.customers",
            ],
            "MOVE 500 FROM row_7",
            &simple,
            "shop.customers",
            "allowed",
        ),
        (
            &[],
            "SELECT id AS row_8 FROM shop.orders WHERE id = -1",
            &simple,
            "shop.orders",
            "allowed",
        ),
        (
            &[],
            "SELECT id AS row_9 FROM shop.orders WHERE false",
            &simple,
            "shop.orders",
            "allowed",
        ),
        (
            &[],
            "SELECT id AS row_a FROM shop.orders WHERE id = -1",
            &extended,
            "shop.orders",
            "allowed",
        ),
        (
            &[],
            "COPY (SELECT id AS row_b FROM shop.orders WHERE id = -1) TO STDOUT",
            &simple,
            "shop.orders",
            "allowed",
        ),
    ];
    for (before, sql, ask, relation, verdict) in asked {
        let proxy = Proxy::new(&own.cluster);
        let mut agent = proxy.connect(&own);
        agent.query("SELECT 1 AS nothing");
        for step in *before {
            if *step == "bind" {
                agent.parse("", sql).bind("p", "", &[], false).sync().ok();
            } else {
                agent.query(step);
            }
        }
        proxy.arm();
        let answer = ask(&mut agent, sql);
        assert!(
            answer.closed
                && answer.rows.is_empty()
                && answer.errors.is_empty()
                && answer.tags.is_empty(),
            "{sql}"
        );
        assert!(proxy.cut.load(Ordering::SeqCst), "{sql}");
        own.cluster.start_again();
        let name = &sql[sql.find("row_").expect("a name")..][..5];
        let rows = own.audit(&format!("statement LIKE '%{name}%'"));
        let rows: Vec<_> = rows
            .iter()
            .filter(|r| r["command_tag"] != "DECLARE CURSOR")
            .collect();
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        assert_eq!(rows[0]["verdict"], *verdict, "{sql}: {}", rows[0]);
        assert!(
            rows[0]["relations"].to_string().contains(relation),
            "{sql}: {}",
            rows[0]
        );
        assert_eq!(rows[0]["user_email"], "alice@example.com");
    }
}

/// Waits for something that is bound to happen.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// With `audit_durability = table` the record is in the log by then, and needs no spool any more.
fn in_the_table_at_the_first_byte(b: &Bench) {
    // The worker's commit is what counts, whatever the server does not wait for elsewhere.
    let of = |durability: &str| {
        let settings = format!(
            "agent_policy.audit_durability = '{durability}'\nsynchronous_commit = off\nwal_writer_delay = '10s'"
        );
        let own = Bench::new(Arc::new(Cluster::start_faulty(b.version, &settings)));
        own.mask();
        own.setup("CHECKPOINT");
        own
    };
    let kept = |own: &Bench, sql: &str, extended: bool| {
        let proxy = Proxy::new(&own.cluster);
        let mut agent = proxy.connect(own);
        proxy.arm();
        let answer = match extended {
            true => agent.extended(sql, &[]),
            false => agent.simple(sql),
        };
        assert!(
            answer.closed && answer.rows.is_empty() && answer.errors.is_empty(),
            "{sql}"
        );
        assert!(proxy.cut.load(Ordering::SeqCst), "{sql}");
        std::fs::remove_dir_all(own.cluster.data().join("agent_policy/pgsql_tmp_spool"))
            .expect("a spool");
        own.cluster.start_again();
        // Somebody else's record, for the worker to come.
        own.agent().query("SELECT 'later'");
        own.flush_audit();
        let name = &sql[sql.find("row_").expect("a name")..][..5];
        own.value(&format!(
            "SELECT count(*) FROM agent_policy.audit_log WHERE statement LIKE '%{name}%'"
        ))
    };
    let own = of("table");
    for (sql, extended) in [
        ("SELECT id AS row_1 FROM shop.orders", false),
        ("SELECT id AS row_2 FROM shop.orders", true),
        ("SELECT token AS row_3 FROM vault.secrets", false),
        ("SELECT no_such_column AS row_4 FROM shop.orders", false),
        (
            "COPY (SELECT email AS row_5 FROM shop.customers) TO STDOUT",
            false,
        ),
        ("SELEKT row_6", false),
    ] {
        assert_eq!(kept(&own, sql, extended), "1", "{sql}");
    }
    // Otherwise it is in the spool, unless the worker happens to have come first.
    let own = of("spool");
    let missed = (0..9).any(|n| {
        let sql = format!("SELECT id AS row_{n} FROM shop.orders");
        kept(&own, &sql, false) == "0"
    });
    assert!(missed, "the spool is needed for nothing");
}

fn rows_wait_for_the_disk_and_the_work_does_not(b: &Bench) {
    let own = faulty(b);
    own.allow();
    own.setup(
        "CREATE FUNCTION shop.begun() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_lock(4711); RETURN 1; END $$; \
         SELECT agent_policy.allow_function('@agent@', 'shop.begun()', trusted => true)",
    );
    let mut agent = own.agent();
    agent.query("SELECT 1");
    own.cluster.faults().begin(Fault::SyncWaits);
    agent.send("SELECT shop.begun(), count(*) FROM shop.orders");
    // It runs while its record is on its way to the disk …
    until("the statement runs", || {
        own.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711")
            == "1"
    });
    until("the statement has run", || {
        own.value(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND state = 'idle'",
            agent.pid
        )) == "1"
    });
    // … and no row leaves before it is there.
    agent.set_patience(Duration::from_millis(500));
    assert_eq!(agent.collect().err().code, "SILENT");
    agent.set_patience(Duration::from_secs(90));
    own.cluster.faults().end(Fault::SyncWaits);
    let answer = agent.collect().ok();
    assert_eq!(answer.text(0, 1), "3000");
}

/// An answer without a row answers the question.
fn that_there_are_none_waits_for_the_disk(b: &Bench) {
    let own = faulty(b);
    own.setup(
        "SELECT agent_policy.protect_role('@agent@', 'read_write'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write')",
    );
    let mut agent = own.agent();
    agent.query("PREPARE none AS SELECT id FROM shop.orders WHERE id = -1");
    agent.query("SELECT 1");
    for (sql, tag) in [
        ("SELECT id FROM shop.orders WHERE id = -1", "SELECT 0"),
        ("EXECUTE none", "SELECT 0"),
        ("UPDATE shop.scratch SET v = v WHERE id = -1", "UPDATE 0"),
        ("BEGIN; UPDATE shop.scratch SET v = v; ROLLBACK", ""),
        (
            "BEGIN; DECLARE c CURSOR FOR SELECT id FROM shop.orders; MOVE 5 FROM c; COMMIT",
            "",
        ),
        ("COPY (SELECT 1 WHERE false) TO STDOUT", "COPY 0"),
    ] {
        own.cluster.faults().begin(Fault::SyncWaits);
        agent.send(sql);
        agent.set_patience(Duration::from_millis(300));
        let early = agent.collect();
        assert_eq!(early.err().code, "SILENT", "{sql}");
        assert!(
            early
                .tags
                .iter()
                .all(|tag| !tag.ends_with(|c: char| c.is_ascii_digit())),
            "{sql}: {:?}",
            early.tags
        );
        agent.set_patience(Duration::from_secs(90));
        own.cluster.faults().end(Fault::SyncWaits);
        let answer = agent.collect().ok();
        if !tag.is_empty() {
            assert_eq!(answer.tags, [tag], "{sql}");
        }
    }
}

/// A statement goes on while its first rows wait; should their record fail, nothing that catches errors or writes makes
/// a shorter result of it, nor a change that nobody is told of.
fn rows_that_wait_are_dropped_together(b: &Bench) {
    let own = faulty(b);
    own.allow();
    own.setup(
        "CREATE FUNCTION shop.noisy(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'n is %', n; RETURN n; \
             EXCEPTION WHEN OTHERS THEN RETURN -n; END $$; \
         CREATE FUNCTION shop.writes(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
             IF n = 3 THEN INSERT INTO shop.scratch VALUES (4711); END IF; RETURN n; END $$; \
         SELECT agent_policy.protect_role('@agent@', 'read_write'); \
         SELECT agent_policy.allow_schema('@agent@', 'shop', 'write'); \
         SELECT agent_policy.allow_function('@agent@', 'shop.noisy(int)'); \
         SELECT agent_policy.allow_function('@agent@', 'shop.writes(int)')",
    );
    let (noisy, writes) = (
        "SELECT shop.noisy(n) FROM generate_series(1, 5) n",
        "SELECT shop.writes(n) FROM generate_series(1, 5) n",
    );
    let written = || own.value("SELECT count(*) FROM shop.scratch WHERE id = 4711");
    let mut agent = own.agent();
    assert_eq!(agent.query(noisy).column(), ["1", "2", "3", "4", "5"]);
    assert_eq!(agent.query(writes).column(), ["1", "2", "3", "4", "5"]);
    assert_eq!(written(), "1");
    for sql in [noisy, writes] {
        own.cluster.faults().begin(Fault::SyncFails);
        let answer = agent.simple(sql);
        own.cluster.faults().end(Fault::SyncFails);
        assert!(answer.rows.is_empty(), "{sql}");
        assert_eq!(answer.err().code, "58030", "{sql}");
        until("the audit works again", || {
            agent.simple("SELECT 1").errors.is_empty()
        });
    }
    assert_eq!(written(), "1", "rolled back");
    assert_eq!(agent.query(noisy).column().len(), 5);
}

/// Nothing of a statement leaves, be it rows or what is wrong with it, and all goes on by itself.
/// How many files there are in the spools of all databases.
fn spool_files(b: &Bench) -> usize {
    let root = b.cluster.data().join("agent_policy/pgsql_tmp_spool");
    let list = |dir: &std::path::Path| std::fs::read_dir(dir).expect("a directory").flatten();
    list(&root)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| list(&entry.path()).count())
        .sum()
}

fn refused_while(own: &Bench, fault: Fault) {
    let mut agent = own.agent();
    agent.query("SELECT 1");
    own.setup(
        "CREATE OR REPLACE FUNCTION shop.says(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'QUAGGA %', t USING ERRCODE = '58030'; END $$; \
         SELECT agent_policy.allow_function('@agent@', 'shop.says(text)')",
    );
    assert!(
        agent
            .error("SELECT shop.says(status) FROM shop.orders LIMIT 1")
            .message
            .starts_with("QUAGGA")
    );
    own.cluster.faults().begin(fault);
    let answer = agent.simple("SELECT shop.says(status) FROM shop.orders LIMIT 1");
    assert!(
        !answer.err().to_string().contains("QUAGGA"),
        "{}",
        answer.err()
    );
    // That a COPY ends without a row is not told, either.
    let copies = [1, -1].map(|id| {
        let mut answer = agent.simple(&format!(
            "COPY (SELECT id FROM shop.orders WHERE id = {id}) TO STDOUT"
        ));
        answer.bytes.retain(|byte| *byte == b'c');
        answer.bytes.len()
    });
    assert_eq!(copies[0], copies[1]);
    for sql in [
        "SELECT id FROM shop.orders",
        "SELECT id FROM shop.orders WHERE id = -1",
        "COPY shop.orders TO STDOUT",
        "COPY (SELECT id FROM shop.orders WHERE id = -1) TO STDOUT",
        "SELECT 1 / (id - 1) FROM shop.orders",
        "SELECT token FROM vault.secrets",
        "SELECT no_such_column FROM shop.orders",
        "SELEKT",
        "SHOW work_mem",
        "BEGIN; SELECT id FROM shop.orders",
        "ROLLBACK",
    ] {
        let answer = agent.simple(sql);
        assert!(!answer.closed, "{sql}");
        assert!(answer.rows.is_empty() && answer.copied.is_empty(), "{sql}");
        if sql == "ROLLBACK" {
            // A transaction can always be ended; nothing is told by that.
            continue;
        }
        let error = answer.err();
        assert_eq!(
            (error.code.as_str(), error.rule().as_str()),
            ("58030", "audit_unavailable"),
            "{sql}: {error}"
        );
        assert!(!error.hint.is_empty(), "{error}");
    }
    if matches!(fault, Fault::WriteFails) {
        // Refusals leave no files behind, however many there are.
        let before = spool_files(own);
        for _ in 0..50 {
            assert_eq!(agent.simple("SELECT 1").code(), "58030");
        }
        let after = spool_files(own);
        assert!(after <= before, "{before} files, then {after}");
    }
    // A new session fares no better, and its first text neither.
    for sql in ["SELECT id FROM shop.orders", "SELEKT"] {
        let answer = own.agent().simple(sql);
        assert!(answer.rows.is_empty());
        assert_eq!(answer.err().code, "58030", "{sql}");
    }
    // Nobody else notices.
    assert_eq!(
        own.unconfined().value("SELECT count(*) FROM shop.orders"),
        "3000"
    );
    assert_eq!(
        own.value("SELECT state FROM agent_policy.health"),
        "agents are refused"
    );
    assert!(own.value("SELECT write_failures FROM agent_policy.health") != "0");
    until("a warning in the log", || {
        own.cluster.log().contains("WARNING:  database")
    });
    own.cluster.faults().end(fault);
    assert_eq!(
        agent
            .query("SELECT count(*) AS good_again FROM shop.orders")
            .one(),
        "3000"
    );
    assert_eq!(
        own.agent()
            .query("SELECT count(*) AS good_again FROM shop.orders")
            .one(),
        "3000"
    );
    assert_eq!(own.audit("statement LIKE '%good_again%'").len(), 2);
    until("all is well", || {
        own.value("SELECT state FROM agent_policy.health") == "ok"
    });
    until("the log says so", || {
        own.cluster.log().contains("the audit works again")
    });
}

fn no_sync_no_row_and_no_error(b: &Bench) {
    let own = faulty(b);
    own.allow();
    refused_while(&own, Fault::SyncFails);
}

fn no_write_no_row_and_no_error(b: &Bench) {
    let own = faulty(b);
    own.allow();
    refused_while(&own, Fault::WriteFails);
}

fn a_full_disk(b: &Bench) {
    let own = faulty(b);
    own.allow();
    let mut agent = own.agent();
    agent.query("SELECT 1");
    own.cluster.faults().begin(Fault::DiskFull);
    // What was reserved for the session's records serves until it is used up; then agents wait for
    // room. The table takes no rows either, so nothing is given back.
    let (mut served, mut refused) = (0, 0);
    for i in 0..2000 {
        let answer = agent.simple(&format!("SELECT id AS served_{i} FROM shop.orders LIMIT 1"));
        match answer.errors.first() {
            None => {
                assert_eq!(refused, 0, "refused, and then served with no room");
                served += 1;
            }
            Some(error) => {
                assert_eq!(error.code, "58030", "{error}");
                assert!(answer.rows.is_empty());
                refused += 1;
                if refused > 5 {
                    break;
                }
            }
        }
    }
    assert!(refused > 5, "served {served}");
    own.cluster.faults().end(Fault::DiskFull);
    until("there is room again", || agent_serves(&own));
    // The end of the last one could not be written. It is known to be lost when another begins.
    agent.query("SELECT 1");
    let rows = own.audit("statement LIKE '%served#_%' ESCAPE '#' AND outcome <> 'error'");
    let (mut answered, mut others) = (vec![0; served], 0);
    for row in &rows {
        let text = row["statement"].as_str().unwrap_or_default();
        let mark = text
            .split(' ')
            .find_map(|word| word.strip_prefix("served_"));
        let number: usize = mark.and_then(|n| n.parse().ok()).expect("a mark");
        match answered.get_mut(number) {
            Some(times) => *times += 1,
            // The file may have had room for its beginning, and nothing for what was to make that durable: nothing
            // left, and there was no room to say so.
            None => {
                assert_eq!(row["outcome"], "unknown", "{row}");
                assert!(row["rows_returned"].is_null(), "{row}");
                others += 1;
            }
        }
    }
    assert_eq!(answered, vec![1; served]);
    assert!(others <= 1, "{others}: {rows:?}");
    assert_eq!(
        own.value("SELECT count(*) - count(DISTINCT event_id) FROM agent_policy.audit_log"),
        "0"
    );
}

fn agent_serves(b: &Bench) -> bool {
    b.agent().simple("SELECT 1").errors.is_empty()
}

/// Neither who has begun the sync, for all, nor another one.
fn a_disk_that_hangs_costs_no_more_than_the_limit(b: &Bench) {
    let own = faulty(b);
    own.allow();
    let (mut first, mut agent) = (own.agent(), own.agent());
    for agent in [&mut first, &mut agent] {
        agent.query("SELECT 1");
    }
    // Until the journal serves, every session syncs its own records in a thread.
    until("the journal serves", || {
        first.query("SELECT 1");
        own.cluster
            .data()
            .join("agent_policy/pgsql_tmp_spool/journal.spool")
            .exists()
    });
    first.query("SELECT 1");
    own.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '500 ms')");
    own.cluster.faults().begin(Fault::SyncWaits);
    for agent in [&mut first, &mut agent] {
        agent.set_patience(Duration::from_secs(60));
        for sql in [
            "SELECT id FROM shop.orders",
            "SELECT token FROM vault.secrets",
            "SELECT 2",
        ] {
            // The best of some: a busy machine is not what is tested.
            let in_time = (0..5).any(|_| {
                let began = Instant::now();
                let answer = agent.simple(sql);
                assert!(answer.rows.is_empty() && !answer.closed, "{sql}");
                let error = answer.err();
                assert!(
                    matches!(error.code.as_str(), "58030" | "57014"),
                    "{sql}: {error}"
                );
                began.elapsed() < Duration::from_secs(4)
            });
            assert!(in_time, "{sql}");
        }
    }
    own.cluster.faults().end(Fault::SyncWaits);
    own.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '60 s')");
    for agent in [&mut first, &mut agent] {
        agent.set_patience(Duration::from_secs(90));
        until("the session goes on", || {
            agent.simple("SELECT 3").errors.is_empty()
        });
    }
}

/// What a statement that got its answer wrote is not in its spool file after a power cut, but in the
/// journal; what had been read is not there a second time.
fn the_journal_brings_back_what_spool_files_lost(b: &Bench) {
    let own = faulty(b);
    own.allow();
    let journal = own
        .cluster
        .data()
        .join("agent_policy/pgsql_tmp_spool/journal.spool");
    let mut agents: Vec<_> = (0..4).map(|_| own.agent()).collect();
    until("the journal serves", || {
        agents[0].query("SELECT 'before'");
        journal.exists()
    });
    own.audit("true");
    let mut asked = 0;
    for round in 0..30 {
        for agent in &mut agents {
            agent.query(&format!(
                "SELECT id AS kept_{asked}_ FROM shop.orders LIMIT 1"
            ));
            asked += 1;
        }
        // Too long for the journal: its session syncs the file, what is in the journal before and after.
        if round % 10 == 5 {
            agents[1].query(&format!(
                "SELECT id AS kept_{asked}_ FROM shop.orders WHERE {} LIMIT 1",
                vec!["orders.id > 0"; 3_000].join(" AND ")
            ));
            asked += 1;
        }
        if round == 12 {
            // Sessions that are over, read, and whose files are gone.
            agents[3] = own.agent();
            own.audit("true");
        }
    }
    own.cluster.power_cut();
    own.cluster.start_again();
    let kept = "statement LIKE '%kept#_%' ESCAPE '#'";
    assert_eq!(own.audit(kept).len(), asked);
    assert_eq!(
        own.value("SELECT count(*) - count(DISTINCT event_id) FROM agent_policy.audit_log"),
        "0"
    );
    assert!(
        own.cluster.log().contains("put back into spool files"),
        "nothing was missing"
    );
    // And once more, with what the first start made of it.
    own.cluster.power_cut();
    own.cluster.start_again();
    assert_eq!(own.audit(kept).len(), asked);
    assert_eq!(
        own.agent().query("SELECT count(*) FROM shop.orders").one(),
        "3000"
    );
}
