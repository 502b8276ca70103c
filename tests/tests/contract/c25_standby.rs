//! A hot standby: confined as on the primary, and its records reach the log, whatever happens to either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::{Bench, Case, Cluster, cases};

pub const CASES: &[Case] = cases![
    confined_as_on_the_primary,
    its_records_reach_the_log,
    a_primary_that_is_away,
    what_the_shipper_may,
    records_that_are_none,
    nobody_else_may_hand_over,
    trouble_is_told,
    without_shipping_they_wait_for_promotion,
    a_copied_number_is_noticed,
    a_database_can_be_dropped,
];

pub const SHIP: &str = "agent_policy.audit_ship_conninfo = 'user=shipper'\n";

/// A primary, and a hot standby of it.
pub struct Pair {
    pub primary: Bench,
    pub standby: Bench,
}

impl Pair {
    /// The shop is masked, and the standby ships by a role that may.
    pub fn new(b: &Bench) -> Self {
        let pair = Self::with(b, SHIP);
        pair.primary
            .setup("SELECT agent_policy.add_standby('shipper')");
        pair
    }

    pub fn with(b: &Bench, conf: &str) -> Self {
        let primary = Bench::new(Arc::new(Cluster::start(b.version, "")));
        primary.mask();
        primary.setup("CREATE ROLE shipper LOGIN");
        let standby = primary.on(Arc::new(Cluster::standby(&primary.cluster, conf)));
        Self { primary, standby }
    }

    /// The standby has what the primary has by now.
    pub fn caught_up(&self) {
        let at = self.primary.value("SELECT pg_current_wal_insert_lsn()");
        wait("replay", || {
            self.standby
                .value(&format!("SELECT pg_last_wal_replay_lsn() >= '{at}'"))
                == "t"
        });
    }
}

#[track_caller]
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(180),
            "no {what} within three minutes"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn count(b: &Bench, filter: &str) -> usize {
    b.value(&format!(
        "SELECT count(*) FROM agent_policy.audit_log WHERE {filter}"
    ))
    .parse()
    .expect("a number")
}

#[track_caller]
pub fn wait_for(b: &Bench, n: usize, filter: &str) {
    wait(&format!("{n} records where {filter}"), || {
        count(b, filter) >= n
    });
    assert_eq!(count(b, filter), n, "{filter}");
}

/// The chain has no gap, and nothing was changed.
#[track_caller]
pub fn intact(b: &Bench) {
    let answer = b.setup("SELECT intact FROM agent_policy.audit_verify()");
    assert_eq!(answer.one(), "t", "{:?}", answer.notices);
}

/// Nothing is left to hand over, and nothing lies about.
pub fn wait_until_empty(pair: &Pair) {
    let bytes = || {
        pair.standby
            .value("SELECT spool_bytes FROM agent_policy.health")
    };
    let began = Instant::now();
    while bytes() != "0" {
        if began.elapsed() > Duration::from_secs(180) {
            let both = [&pair.standby, &pair.primary].map(|b| {
                b.setup(
                    "SELECT h::text FROM agent_policy.health h
                     UNION ALL SELECT p::text FROM agent_policy.audit_progress p",
                )
                .column()
            });
            panic!("no empty spool within three minutes: {both:?}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn node(b: &Bench) -> String {
    b.value("SELECT node FROM agent_policy.health")
}

/// Files in the spool of a database whose names are so.
pub fn files(b: &Bench, names: &str) -> usize {
    files_in(b, "", names)
}

/// Copies of a standby's files whose names are so.
pub fn copies(b: &Bench, names: &str) -> usize {
    files_in(b, ".received", names)
}

fn files_in(b: &Bench, suffix: &str, names: &str) -> usize {
    b.value(&format!(
        "SELECT count(*) FROM pg_ls_dir('agent_policy/pgsql_tmp_spool/' || (SELECT oid FROM pg_database
         WHERE datname = current_database()) || '{suffix}', true, false) AS file WHERE file {names}"
    ))
    .parse()
    .expect("a number")
}

fn confined_as_on_the_primary(b: &Bench) {
    let pair = Pair::new(b);
    pair.primary
        .setup("SELECT agent_policy.set_limits('@agent@', max_rows => 3)");
    pair.caught_up();
    let s = &pair.standby;
    s.masks("SELECT email, ssn, phone FROM shop.customers LIMIT 2");
    s.denies("SELECT * FROM vault.secrets", "42501", "");
    s.denies("UPDATE shop.orders SET id = id", "25006", "read_only");
    let answer = s.agent().simple("SELECT id FROM shop.orders");
    assert_eq!(answer.rows.len(), 3, "max_rows");
    // The policy of the primary is followed without delay beyond replay.
    pair.primary
        .setup("SELECT agent_policy.disallow_schema('@agent@', 'shop')");
    pair.caught_up();
    s.denies("SELECT id FROM shop.orders", "42501", "");
}

fn its_records_reach_the_log(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    p.agent().query("SELECT 1 AS on_the_primary");
    let mut agent = s.agent();
    agent.query("SELECT id AS on_the_standby FROM shop.orders LIMIT 2");
    agent.simple("SELECT * FROM vault.secrets");
    agent.simple("SELEKT");
    wait_for(
        p,
        1,
        "statement LIKE '%on_the_standby%' AND rows_returned = 2 AND outcome = 'ok'",
    );
    wait_for(p, 1, "verdict = 'denied'");
    wait_for(p, 1, "sqlstate = '42601'");
    let rows = p.audit("statement LIKE '%on_the_%'");
    for (row, server) in [(&rows[0], p), (&rows[1], s)] {
        let session = row["session_id"].as_str().unwrap_or_default();
        assert!(
            session.ends_with(&format!("@{}", node(server))),
            "{session}"
        );
        assert_eq!(row["user_email"], "alice@example.com");
    }
    assert_ne!(node(p), node(s));
    // A session that goes on, and one that ends.
    agent.query("SELECT 2 AS once_more");
    drop(agent);
    wait_for(p, 1, "statement LIKE '%once_more%'");
    wait_until_empty(&pair);
    let of_standby = format!("LIKE '{}-%'", node(s));
    wait("removal of its files", || files(s, &of_standby) == 0);
    wait("forgetting of its sessions", || {
        p.value(&format!(
            "SELECT count(*) FROM agent_policy.audit_progress WHERE session {of_standby}"
        )) == "0"
    });
    wait("removal of the copies", || copies(p, &of_standby) == 0);
    intact(p);
    assert_eq!(count(p, "true"), 5);
    // A statement that is being executed when its backend is killed.
    let mut agent = s.agent();
    agent.send(
        "SELECT o.id AS killed, repeat('x', 1000) FROM shop.orders o, generate_series(1, 100000) g",
    );
    // Rows have left: it has a record, and goes on.
    agent.wait_for_bytes(100_000);
    let killed = s.cluster.kill_process(&agent.pid.to_string());
    assert!(killed, "the server goes on");
    let _ = agent.collect();
    wait_for(p, 1, "statement LIKE '%killed%' AND outcome = 'unknown'");
}

fn a_primary_that_is_away(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let mut agent = s.agent();
    agent.query("SELECT 1 AS m_0");
    wait_for(p, 1, "statement LIKE '%m\\_%'");
    for round in 0..2 {
        p.cluster.kill_all();
        for i in 0..20 {
            agent.query(&format!("SELECT {i} AS m_{round}_{i}"));
        }
        s.agent().query(&format!("SELECT 1 AS m_{round}_another"));
        wait("a word about it", || {
            s.value(
                "SELECT coalesce(last_error, '') <> '' AND failures > 0 AND spool_bytes > 0
                     FROM agent_policy.health",
            ) == "t"
        });
        p.cluster.start_again();
        wait_for(p, 1 + 21 * (round + 1), "statement LIKE '%m\\_%'");
    }
    wait_until_empty(&pair);
    assert_eq!(s.value("SELECT failures FROM agent_policy.health"), "0");
    assert_eq!(
        p.value("SELECT count(DISTINCT event_id) = count(*) FROM agent_policy.audit_log"),
        "t"
    );
    intact(p);
    // A standby that is killed goes on where it was.
    for i in 0..10 {
        agent.query(&format!("SELECT {i} AS k_{i}"));
    }
    s.cluster.kill_all();
    s.cluster.start_again();
    wait_for(p, 10, "statement LIKE '%k\\_%'");
}

/// A name that a session of this server could have, and a record of it.
pub fn forged(of: &str) -> String {
    format!("'{of}-00000825000000000000-4711'")
}

fn what_the_shipper_may(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    s.agent().query("SELECT 1 AS genuine");
    wait_for(p, 1, "statement LIKE '%genuine%'");
    let login = || {
        p.cluster
            .connect("shipper", &p.db, &[])
            .expect("it may log in")
    };
    for statement in [
        "SELECT * FROM agent_policy.audit_log",
        "DELETE FROM agent_policy.audit_log",
        "UPDATE agent_policy.audit_log SET statement = ''",
        "TRUNCATE agent_policy.audit_log",
        "INSERT INTO agent_policy.audit_log SELECT",
        "SELECT * FROM agent_policy.audit_progress",
        "DELETE FROM agent_policy.audit_progress",
        "SELECT * FROM agent_policy.audit_state",
        "SELECT * FROM agent_policy.audit_block",
        "SELECT * FROM agent_policy.audit_node",
        "UPDATE agent_policy.audit_node SET role = 'shipper'",
        "INSERT INTO agent_policy.audit_shipper VALUES ('postgres')",
        "SELECT * FROM agent_policy.health",
        "SELECT agent_policy.audit_flush()",
        "SELECT agent_policy.audit_drop_expired()",
        "SELECT agent_policy.audit_partition(1)",
        "SELECT agent_policy.set_audit_retention('1 day')",
        "SELECT agent_policy.audit_note(1, 1, 'x')",
        "SELECT agent_policy.add_standby('shipper')",
        "SELECT agent_policy.remove_standby('shipper')",
        "SELECT agent_policy.protect_role('shipper')",
        "SELECT * FROM shop.customers",
        "SELECT pg_ls_dir('agent_policy')",
        "COPY shop.customers TO '/tmp/x'",
    ] {
        let error = login().error(statement);
        assert_eq!(error.code, "42501", "{statement}: {error}");
    }
    // The log's tables are not to be locked, and the worker not to be held up by a transaction.
    let mut held = login();
    held.query("BEGIN ISOLATION LEVEL SERIALIZABLE");
    let foreign = forged(&node(s));
    let record = super::c25_shipping::record(&node(s), "held", |_| {});
    held.query(&super::c25_shipping::receive(&foreign, 0, 0, &record));
    p.agent().query("SELECT 1 AS not_held_up");
    wait_for(p, 1, "statement LIKE '%not_held_up%'");
    for table in ["audit_log", "audit_progress", "audit_node"] {
        let error = login().error(&format!(
            "BEGIN; LOCK TABLE agent_policy.{table} IN ACCESS SHARE MODE"
        ));
        assert_eq!(error.code, "42501", "{error}");
    }
    held.query("ROLLBACK");
    intact(p);
}

fn records_that_are_none(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    s.agent().query("SELECT 1 AS genuine");
    wait_for(p, 1, "statement LIKE '%genuine%'");
    let mut shipper = p
        .cluster
        .connect("shipper", &p.db, &[])
        .expect("it may log in");
    let mine = forged(&node(s));
    let mut refused = |arguments: &str, code: &str| {
        let statement = format!("SELECT * FROM agent_policy.audit_receive({arguments})");
        let error = shipper.error(&statement);
        assert_eq!(error.code, code, "{statement}: {error}");
    };
    // Of this very server, and of one that belongs to somebody else.
    refused(&format!("{}, 0, 0, ''", forged(&node(p))), "42501");
    p.setup(
        "CREATE ROLE other LOGIN; SELECT agent_policy.add_standby('other', '00000000000000ff')",
    );
    refused(
        &format!("{}, 0, 0, ''", forged("00000000000000ff")),
        "42501",
    );
    // Names that lead elsewhere.
    for name in [
        "NULL",
        "''",
        "'../../x'",
        "'/etc/passwd'",
        "'x-1-1'",
        &mine.replace("-4711", "-4711/../x"),
    ] {
        refused(&format!("{name}, 0, 0, ''"), "22000");
    }
    for position in ["-1, 0", "0, -1", "2147483647, 0", "0, NULL"] {
        refused(&format!("{mine}, {position}, ''"), "22000");
    }
    // Bytes that are no records, and a record that says another server: one of the primary's own.
    for bytes in [
        "''",
        "'\\x00'",
        "'\\x0000000000000000'",
        "decode(repeat('ff', 100), 'hex')",
    ] {
        refused(&format!("{mine}, 0, 0, {bytes}"), "22000");
    }
    let mut agent = p.agent();
    agent.query("SELECT 1 AS of_the_primary");
    let spool = p.value(
        "SELECT encode(pg_read_binary_file(f), 'hex') FROM (SELECT 'agent_policy/pgsql_tmp_spool/' || o || '/' ||
             pg_ls_dir('agent_policy/pgsql_tmp_spool/' || o) AS f
         FROM (SELECT oid::text AS o FROM pg_database WHERE datname = current_database()) d) f
         WHERE f LIKE '%.spool' AND length(pg_read_binary_file(f)) > 0
         ORDER BY (pg_stat_file(f)).modification DESC LIMIT 1",
    );
    let end = 8
        + usize::from_str_radix(&spool[2..4], 16).expect("hex") * 256
        + usize::from_str_radix(&spool[0..2], 16).expect("hex");
    refused(
        &format!("{mine}, 0, 0, '\\x{}'", &spool[..2 * end]),
        "22000",
    );
    drop(agent);
    // Where the standby's role breaks off, it goes on: positions that lie ahead are not believed.
    let record = super::c25_shipping::record(&node(s), "ahead", |_| {});
    let answer = shipper.query(&super::c25_shipping::receive(&mine, 0, 5000, &record));
    assert_eq!(answer.rows[0][1].as_deref(), Some(b"0".as_slice()));
    p.agent().query("SELECT 1 AS still_there");
    wait_for(p, 1, "statement LIKE '%still_there%'");
    s.agent().query("SELECT 1 AS still_shipped");
    wait_for(p, 1, "statement LIKE '%still_shipped%'");
    assert_eq!(count(p, "statement LIKE '%of_the_primary%'"), 1);
    intact(p);
}

fn nobody_else_may_hand_over(b: &Bench) {
    b.mask();
    let foreign = forged("00000000000000aa");
    let statement = format!("SELECT * FROM agent_policy.audit_receive({foreign}, 0, 0, ''::bytea)");
    assert_eq!(b.unconfined().error(&statement).code, "42501");
    b.denies(&statement, "42501", "");
    // A right to call it is not enough.
    b.setup("GRANT EXECUTE ON FUNCTION agent_policy.audit_receive(text, integer, bigint, bytea, bigint) TO @plain@");
    assert_eq!(b.unconfined().error(&statement).code, "42501");
    assert_eq!(
        b.setup_error("SELECT agent_policy.add_standby('postgres')")
            .code,
        "22023"
    );
    assert_eq!(
        b.setup_error("SELECT agent_policy.add_standby('@agent@')")
            .code,
        "22023"
    );
    b.setup("SELECT agent_policy.add_standby('@plain@')");
    b.unconfined().query(&statement);
    b.setup("SELECT agent_policy.remove_standby('@plain@')");
    assert_eq!(b.unconfined().error(&statement).code, "42501");
    b.setup("GRANT agent_policy_admin TO @plain@");
    assert_eq!(
        b.unconfined()
            .error(&b.fill("SELECT agent_policy.add_standby('@plain@')"))
            .code,
        "42501"
    );
    b.setup("REVOKE agent_policy_admin FROM @plain@");
    // What can be seen of the setting: nothing.
    assert_eq!(
        b.unconfined()
            .error("SHOW agent_policy.audit_ship_conninfo")
            .code,
        "42501"
    );
    assert_eq!(
        b.setup_error("SET agent_policy.audit_ship_conninfo = 'host=elsewhere'")
            .code,
        "55P02"
    );
}

fn trouble_is_told(b: &Bench) {
    let pair = Pair::with(b, SHIP);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let mut agent = s.agent();
    agent.query("SELECT 1 AS unheard");
    let error = |part: &str| {
        wait(part, || {
            s.value("SELECT coalesce(last_error, '') FROM agent_policy.health")
                .contains(part)
        });
    };
    error("permission denied for function audit_receive");
    assert_eq!(s.value("SELECT state FROM agent_policy.health"), "behind");
    wait("warning", || {
        s.cluster
            .log()
            .contains("cannot be handed over to the primary")
    });
    for (conninfo, part) in [
        ("user=shipper password=secret", "must not have password"),
        ("user=nobody_of_that_name", "does not exist"),
        ("no connection string", "agent_policy.audit_ship_conninfo"),
        ("user=shipper host=/nowhere", "/nowhere"),
    ] {
        s.cluster
            .configure(&format!("agent_policy.audit_ship_conninfo = '{conninfo}'"));
        s.setup("SELECT pg_reload_conf()");
        error(part);
    }
    let shown = s.setup("SELECT * FROM agent_policy.health");
    assert!(!String::from_utf8_lossy(&shown.bytes).contains("secret"));
    // A standby is no place to ship to.
    s.cluster.configure(&format!(
        "agent_policy.audit_ship_conninfo = 'user=shipper host={}'",
        s.cluster.socket_dir().display()
    ));
    s.setup("SELECT pg_reload_conf()");
    error("read-only");
    // None of this is the agent's problem.
    agent.query("SELECT 2 AS unheard");
    s.cluster.configure(SHIP);
    s.setup("SELECT pg_reload_conf()");
    p.setup("SELECT agent_policy.add_standby('shipper')");
    wait_for(p, 2, "statement LIKE '%unheard%'");
    wait("good health", || {
        s.value("SELECT state || coalesce(last_error, '') FROM agent_policy.health") == "ok"
    });
}

fn without_shipping_they_wait_for_promotion(b: &Bench) {
    let pair = Pair::with(b, "");
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let mut agent = s.agent();
    for i in 0..5 {
        agent.query(&format!("SELECT {i} AS m_{i}"));
    }
    wait("a word about it", || {
        s.value(
            "SELECT writer = 'waits for promotion' AND spool_bytes > 0 FROM agent_policy.health",
        ) == "t"
    });
    assert_eq!(count(p, "statement LIKE '%m\\_%'"), 0);
    s.cluster.promote();
    agent.query("SELECT 5 AS m_5");
    wait_for(s, 6, "statement LIKE '%m\\_%'");
    intact(s);
}

fn a_copied_number_is_noticed(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    s.cluster.stop();
    let file = "agent_policy/pgsql_tmp_spool/node";
    let number = std::fs::read(p.cluster.data().join(file)).expect("a file");
    std::fs::write(s.cluster.data().join(file), number).expect("a file");
    s.cluster.start_again();
    s.agent().query("SELECT 1 AS mistaken");
    wait("a word about it", || {
        s.value("SELECT coalesce(last_error, '') FROM agent_policy.health")
            .contains("records of this very server")
    });
    // Without its number nobody could say whose records they are.
    s.cluster.stop();
    std::fs::write(s.cluster.data().join(file), "x").expect("a file");
    s.cluster.start_again();
    let error = s.agent().error("SELECT 1");
    assert_eq!(error.code, "58030", "{error}");
}

fn a_database_can_be_dropped(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    s.agent().query("SELECT 1 AS last_words");
    wait_for(p, 1, "statement LIKE '%last_words%'");
    let mut su = p
        .cluster
        .connect("postgres", "postgres", &[])
        .expect("the superuser connects");
    // The bench's own connections would be in the way.
    su.query(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND usename = 'postgres'
         AND backend_type = 'client backend'",
        p.db
    ));
    // Each of them waits five seconds for others to go.
    let mut attempts = 0;
    wait("DROP DATABASE", || {
        attempts += 1;
        su.simple(&format!("DROP DATABASE {}", p.db))
            .errors
            .is_empty()
    });
    assert!(attempts <= 4, "{attempts}");
    wait("replay of it", || {
        s.cluster
            .connect("postgres", &p.db, &[])
            .is_err_and(|e| e.code == "3D000")
    });
}
