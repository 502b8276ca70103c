//! What a standby hands over is checked, counted and kept apart: it costs the primary's agents nothing, whoever
//! speaks for the standby.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use cluster_tests::{Bench, Case, Cluster, Wire, cases};
use policy::record::{self, End, Objects, Origin, Start};

use super::c25_standby::{
    Pair, SHIP, copies, count, files, forged, intact, node, wait, wait_for, wait_until_empty,
};

pub const CASES: &[Case] = cases![
    records_that_the_table_would_not_take,
    a_record_that_is_not_taken_costs_its_session,
    claims_that_are_rolled_back,
    a_copy_of_a_standby_is_noticed,
    a_role_that_is_taken_away,
    agents_of_the_primary_are_not_refused,
    nothing_is_made_of_unknown_sessions,
    options_of_replication,
    a_silent_host,
    a_server_that_is_not_the_primary,
    a_lost_number,
];

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.expect("it is later").as_micros()).expect("a time")
}

fn start(of: &str, text: &str) -> Start {
    Start {
        event_id: (now() as u128).to_be_bytes(),
        backend_seq: 1,
        origin: origin(of, |_| {}),
        started_at: now(),
        statement: Some(format!("SELECT '{text}'").into()),
        ..Start::default()
    }
}

fn origin(of: &str, change: impl FnOnce(&mut Origin)) -> record::SharedOrigin {
    let mut origin = Origin {
        user_email: Some("mallory@example.com".into()),
        assurance: "connection".into(),
        role_name: "agent".into(),
        session_id: format!("65a1b2c3.1f2e@{of}"),
        ..Origin::default()
    };
    change(&mut origin);
    origin.into()
}

/// A whole statement of a session of that server.
pub fn record(of: &str, text: &str, change: impl FnOnce(&mut Start)) -> Vec<u8> {
    let mut s = start(of, text);
    change(&mut s);
    let end = End {
        event_id: s.event_id,
        ..End::default()
    };
    let mut out = Vec::new();
    record::encode_whole(&s, &end, &mut out).expect("short enough");
    out
}

/// The call that hands it over.
pub fn receive(session: &str, segment: u32, at: usize, records: &[u8]) -> String {
    let hex: String = records.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "SELECT next_segment, next_at, finished
         FROM agent_policy.audit_receive({session}, {segment}, {at}, '\\x{hex}')"
    )
}

fn shipper(p: &Bench) -> Wire {
    p.cluster
        .connect("shipper", &p.db, &[])
        .expect("it may log in")
}

fn last_error(b: &Bench) -> String {
    b.value("SELECT coalesce(last_error, '') FROM agent_policy.health")
}

/// A primary with a role that hands over records of a server that is invented here.
fn primary(b: &Bench, conf: &str) -> (Bench, String) {
    let p = Bench::new(Arc::new(Cluster::start(b.version, conf)));
    p.mask();
    let of = "00000000000000ab".to_owned();
    p.setup("CREATE ROLE shipper LOGIN");
    p.setup(&format!(
        "SELECT agent_policy.add_standby('shipper', '{of}')"
    ));
    (p, of)
}

fn records_that_the_table_would_not_take(b: &Bench) {
    let (p, of) = primary(b, "");
    let mine = forged(&of);
    let mut shipper = shipper(&p);
    let long = || "x".repeat(3000);
    let one = |s: Start| {
        let mut out = Vec::new();
        record::encode_start(&s, &mut out).expect("short enough");
        out
    };
    let ended = |sqlstate: &[u8; 5]| {
        let mut out = Vec::new();
        let end = End {
            sqlstate: Some(*sqlstate),
            ..End::default()
        };
        record::encode_end(&end, &mut out).expect("short enough");
        out
    };
    let read = |of: &str, at: i64| {
        let s = Start {
            started_at: at,
            ..start(of, "read")
        };
        let mut out = Vec::new();
        record::encode_read(&s, &mut out).expect("short enough");
        out
    };
    let begun = |change: &dyn Fn(&mut Origin)| {
        one(Start {
            origin: origin(&of, change),
            ..start(&of, "begun")
        })
    };
    for (what, bytes) in [
        ("no record", Vec::new()),
        ("email", begun(&|o| o.user_email = Some(long()))),
        (
            "escaped",
            begun(&|o| o.user_email = Some("\u{4e2d}".repeat(300))),
        ),
        ("role", begun(&|o| o.role_name = long())),
        ("login", begun(&|o| o.session_user_name = long())),
        ("database", begun(&|o| o.database_name = long())),
        ("application", begun(&|o| o.application_name = long())),
        (
            "session",
            begun(&|o| o.session_id = format!("{}@{of}", long())),
        ),
        (
            "number",
            record(&of, "x", |s| s.backend_seq = i64::MAX as u64),
        ),
        ("NUL", ended(b"4250\0")),
        ("spelling", ended(b"4250a")),
        ("a read elsewhere", read(&node(&p), now())),
        ("a read long ago", read(&of, 0)),
        (
            "too many names",
            record(&of, "x", |s| {
                s.objects = Objects {
                    relations: vec![String::new(); (1 << 20) + 1],
                    ..Objects::default()
                }
                .into();
            }),
        ),
    ] {
        let error = shipper.error(&receive(&mine, 0, 0, &bytes));
        assert_eq!(error.code, "22000", "{what}: {error}");
    }
    let error = shipper.error(&format!(
        "SELECT * FROM agent_policy.audit_receive({mine}, 0, 0, decode(repeat('00', 18 << 20), 'hex'))"
    ));
    assert_eq!(error.code, "54000", "{error}");
    assert_eq!(copies(&p, "LIKE '%.spool'"), 0);
    // Any number of statements that do not end: they are in the log, and not in the way of others.
    let mut nested = Vec::new();
    for i in 0..3000_u32 {
        nested.extend(one(Start {
            event_id: u128::from(i + 1).to_be_bytes(),
            nesting_level: 1,
            ..start(&of, "nested")
        }));
    }
    shipper.query(&receive(&mine, 0, 0, &nested));
    wait("records", || count(&p, "outcome = 'unknown'") >= 2000);
    assert_eq!(count(&p, "outcome = 'unknown'"), 2000);
    p.agent().query("SELECT 1 AS after_it");
    wait_for(&p, 1, "statement LIKE '%after_it%'");
    assert_eq!(
        p.value("SELECT count(*) FROM agent_policy.audit_gaps()"),
        "0"
    );
    intact(&p);
}

fn a_record_that_is_not_taken_costs_its_session(b: &Bench) {
    let pair = Pair::new(b);
    let (p, s) = (&pair.primary, &pair.standby);
    p.setup("ALTER TABLE agent_policy.audit_log ADD CHECK (statement NOT LIKE '%poison%')");
    p.cluster.configure("agent_policy.audit_durability = table");
    p.setup("SELECT pg_reload_conf()");
    pair.caught_up();
    let mut good = s.agent();
    let mut bad = s.agent();
    good.query("SELECT 1 AS good_0");
    bad.query("SELECT 1 AS poison");
    good.query("SELECT 1 AS good_1");
    wait("word on the standby", || {
        last_error(s).contains("does not take")
    });
    wait_for(p, 2, "statement LIKE '%good\\_%'");
    assert_eq!(copies(p, "LIKE '%.refused'"), 2, "why, and what");
    assert_eq!(p.value("SELECT state FROM agent_policy.health"), "behind");
    assert!(
        last_error(p).contains("check constraint"),
        "{}",
        last_error(p)
    );
    assert!(p.cluster.log().contains("of a standby are refused"));
    // Nobody else notices.
    for i in 0..5 {
        p.agent().query(&format!("SELECT {i} AS own_{i}"));
        s.agent().query(&format!("SELECT {i} AS others_{i}"));
    }
    wait_for(p, 5, "statement LIKE '%own\\_%'");
    wait_for(p, 5, "statement LIKE '%others\\_%'");
    bad.query("SELECT 1 AS behind_it");
    drop(bad);
    // When the reason is gone, somebody says so.
    p.setup("ALTER TABLE agent_policy.audit_log DROP CONSTRAINT audit_log_statement_check");
    let dir = p
        .cluster
        .data()
        .join("agent_policy/pgsql_tmp_spool")
        .join(format!(
            "{}.received",
            p.value("SELECT oid FROM pg_database WHERE datname = current_database()")
        ));
    for file in std::fs::read_dir(dir).expect("a directory").flatten() {
        if file.path().extension().is_some_and(|e| e == "refused") {
            std::fs::remove_file(file.path()).expect("a file");
        }
    }
    wait_for(p, 1, "statement LIKE '%poison%'");
    wait_for(p, 1, "statement LIKE '%behind_it%'");
    wait_until_empty(&pair);
    for b in [p, s] {
        wait("good health", || {
            b.value("SELECT state FROM agent_policy.health") == "ok"
        });
    }
    assert_eq!(
        p.value("SELECT count(DISTINCT event_id) = count(*) FROM agent_policy.audit_log"),
        "t"
    );
    intact(p);
}

fn claims_that_are_rolled_back(b: &Bench) {
    let (p, _) = primary(b, "");
    let of = "00000000000000cd";
    let mine = forged(of);
    let bytes = record(of, "rolled_back", |_| {});
    let call = receive(&mine, 0, 0, &bytes);
    let mut wire = shipper(&p);
    for undo in ["ROLLBACK", "ROLLBACK TO a; COMMIT"] {
        wire.query("BEGIN; SAVEPOINT a");
        for _ in 0..2 {
            assert!(wire.query(&call).rows.is_empty());
        }
        wire.query("SAVEPOINT b");
        assert!(wire.query(&call).rows.is_empty());
        wire.query(undo);
        assert_eq!(copies(&p, "LIKE '%.spool'"), 0);
        assert_eq!(
            p.value(&format!(
                "SELECT count(*) FROM agent_policy.audit_node WHERE node = '{of}'"
            )),
            "0"
        );
    }
    // The first call is who it is, the second what it brings.
    assert!(wire.query(&call).rows.is_empty());
    assert_eq!(wire.query(&call).rows.len(), 1);
    wait_for(&p, 1, "statement LIKE '%rolled_back%'");
}

fn a_copy_of_a_standby_is_noticed(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let mut agent = s.agent();
    agent.query("SELECT 1 AS before_it");
    wait_for(p, 1, "statement LIKE '%before_it%'");
    let copy = p.on(Arc::new(Cluster::standby(&p.cluster, SHIP)));
    let spool = "agent_policy/pgsql_tmp_spool";
    let number = |b: &Bench| b.cluster.data().join(spool).join("node");
    copy.cluster.stop();
    std::fs::copy(number(s), number(&copy)).expect("a file");
    copy.cluster.start_again();
    assert_eq!(node(s), node(&copy));
    copy.agent().query("SELECT 1 AS of_the_copy");
    wait_for(p, 1, "statement LIKE '%of_the_copy%'");
    // The copy says that it has no such session: it goes on all the same, and nothing of it is lost.
    std::thread::sleep(Duration::from_secs(2));
    agent.query("SELECT 1 AS after_it");
    wait("word about it", || {
        let error = last_error(s);
        error.contains("two servers have the number") || error.contains("none of this server")
    });
    wait("word that it is behind", || {
        s.value("SELECT state FROM agent_policy.health") == "behind"
    });
    std::thread::sleep(Duration::from_secs(3));
    let live = format!("LIKE '{}-%.spool'", node(s));
    assert!(files(s, &live) > 0, "the file of a session that goes on");
    drop(agent);
    std::thread::sleep(Duration::from_secs(3));
    assert!(files(s, &live) > 0, "the log does not have all of it");
    // As it says: the copy gets a number of its own.
    copy.cluster.stop();
    std::fs::remove_dir_all(copy.cluster.data().join(spool)).expect("a directory");
    s.cluster.restart();
    copy.cluster.start_again();
    assert_ne!(node(s), node(&copy));
    wait_for(p, 1, "statement LIKE '%after_it%'");
    copy.agent().query("SELECT 2 AS of_the_copy");
    wait_for(p, 2, "statement LIKE '%of_the_copy%'");
    wait_until_empty(&pair);
    wait("good health", || {
        s.value("SELECT state || coalesce(last_error, '') FROM agent_policy.health") == "ok"
    });
    intact(p);
}

fn a_role_that_is_taken_away(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let mut agent = s.agent();
    agent.send(
        "SELECT o.id AS going_on, repeat('x', 1000) FROM shop.orders o, generate_series(1, 100000) g",
    );
    wait("start of it", || {
        p.value("SELECT count(*) FROM agent_policy.audit_progress WHERE length(pending) > 0") == "1"
    });
    assert_eq!(count(p, "statement LIKE '%going_on%'"), 0);
    p.setup("SELECT agent_policy.remove_standby('shipper')");
    p.setup("SELECT agent_policy.audit_flush()");
    wait_for(p, 1, "statement LIKE '%going_on%' AND outcome = 'unknown'");
    wait("removal of the copies", || copies(p, "LIKE '%.spool'") == 0);
    // It comes back, and goes on where it was.
    p.setup("SELECT agent_policy.add_standby('shipper')");
    p.setup(&format!(
        "SELECT agent_policy.add_standby('shipper', '{}')",
        node(s)
    ));
    let _ = agent.collect();
    agent.query("SELECT 1 AS back_again");
    wait_for(p, 1, "statement LIKE '%back_again%'");
    assert_eq!(count(p, "statement LIKE '%going_on%'"), 1);
    intact(p);
}

fn agents_of_the_primary_are_not_refused(b: &Bench) {
    let (p, of) = primary(b, "agent_policy.audit_max_spool = '1MB'");
    let mut su = p
        .cluster
        .connect("postgres", &p.db, &[])
        .expect("the superuser connects");
    su.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    // One that is too long whatever else there is, and then as many as are taken.
    let text = |n: usize| record(&of, &"x".repeat(n), |_| {});
    let error = shipper(&p).error(&receive(&forged(&of), 0, 0, &text(600_000)));
    assert_eq!(error.code, "53400", "{error}");
    assert!(error.hint.contains("audit_max_spool"), "{error}");
    let clients: Vec<_> = (0..4_usize)
        .map(|client| {
            let (mut wire, bytes) = (shipper(&p), text(30_000));
            let session = forged(&of).replace("4711", &format!("471{client}"));
            std::thread::spawn(move || {
                let mut taken = 0;
                for _ in 0..20 {
                    let answer = wire.simple(&receive(&session, 0, taken, &bytes));
                    match answer.errors.first() {
                        None => taken += bytes.len(),
                        Some(e) => assert_eq!(e.code, "53400", "{e}"),
                    }
                }
                taken
            })
        })
        .collect();
    let taken: usize = clients
        .into_iter()
        .map(|c| c.join().expect("a client panicked"))
        .sum();
    assert!(
        (300_000..=512 << 10).contains(&taken),
        "{taken} bytes were taken"
    );
    p.agent().query("SELECT 1 AS not_refused");
    su.query("ROLLBACK");
    wait_for(&p, 1, "statement LIKE '%not_refused%'");
    wait_for(&p, taken / text(30_000).len(), "statement LIKE '%xxx%'");
}

fn nothing_is_made_of_unknown_sessions(b: &Bench) {
    let (p, of) = primary(b, "");
    let mut wire = shipper(&p);
    let mine = forged(&of);
    let record = record(&of, "ahead", |_| {});
    wire.query(&receive(&mine, 0, 0, &record));
    wait_for(&p, 1, "statement LIKE '%ahead%'");
    let unknown = mine.replace("4711", "4712");
    for call in [
        format!("SELECT * FROM agent_policy.audit_receive({unknown}, NULL, NULL, NULL)"),
        format!("SELECT * FROM agent_policy.audit_receive({unknown}, 0, 0, NULL)"),
        receive(&unknown, 3, 4000, &record),
    ] {
        assert_eq!(wire.query(&call).rows.len(), 1, "{call}");
    }
    assert_eq!(copies(&p, "LIKE '%-4712%'"), 0);
    // One that is known is over, forgotten, and not there again.
    let of_it = format!("SELECT count(*) FROM agent_policy.audit_progress WHERE session = {mine}");
    assert_eq!(p.value(&of_it), "1");
    wire.query(&format!(
        "SELECT * FROM agent_policy.audit_receive({mine}, 0, {}, NULL)",
        record.len()
    ));
    for _ in 0..2 {
        wire.query(&format!(
            "SELECT * FROM agent_policy.audit_receive({mine}, NULL, NULL, NULL)"
        ));
        wait("forgetting", || p.value(&of_it) == "0");
        wait("removal of its files", || copies(&p, "LIKE '%-4711%'") == 0);
    }
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        p.value("SELECT count(*) FROM agent_policy.audit_progress WHERE session LIKE '%-471_'"),
        "0"
    );
}

fn options_of_replication(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    // The one way in which TLS options are felt on a socket.
    let host = p.cluster.socket_dir().display();
    s.cluster.configure(&format!(
        "primary_conninfo = 'host={host} port={} user=postgres requirepeer=somebody_else'\n\
         agent_policy.audit_ship_conninfo = 'host={host} user=shipper'",
        p.cluster.port()
    ));
    s.setup("SELECT pg_reload_conf()");
    s.agent().query("SELECT 1 AS to_a_peer");
    wait("word about it", || last_error(s).contains("requirepeer"));
    s.cluster.configure(&format!(
        "primary_conninfo = 'host={host} port={} user=postgres'",
        p.cluster.port()
    ));
    s.setup("SELECT pg_reload_conf()");
    wait_for(p, 1, "statement LIKE '%to_a_peer%'");
}

fn a_silent_host(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    s.cluster.configure(&format!(
        "agent_policy.audit_ship_conninfo = 'host=127.0.0.1,{} port={},{} user=shipper'",
        p.cluster.socket_dir().display(),
        silent.local_addr().expect("an address").port(),
        p.cluster.port()
    ));
    s.setup("SELECT pg_reload_conf()");
    let began = Instant::now();
    s.agent().query("SELECT 1 AS round_about");
    wait_for(p, 1, "statement LIKE '%round_about%'");
    assert!(began.elapsed() < Duration::from_secs(30));
}

fn a_server_that_is_not_the_primary(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let other = Cluster::start(b.version, "");
    let mut su = other
        .connect("postgres", "postgres", &[])
        .expect("the superuser connects");
    su.query("CREATE ROLE shipper LOGIN");
    su.query(&format!("CREATE DATABASE {}", p.db));
    s.cluster.configure(&format!(
        "agent_policy.audit_ship_conninfo = 'user=shipper host={}'",
        other.socket_dir().display()
    ));
    s.setup("SELECT pg_reload_conf()");
    s.agent().query("SELECT 1 AS not_for_you");
    wait("word about it", || {
        last_error(s).contains("is not the primary of this standby")
    });
    s.cluster.configure(SHIP);
    s.setup("SELECT pg_reload_conf()");
    wait_for(p, 1, "statement LIKE '%not_for_you%'");
}

fn a_lost_number(b: &Bench) {
    let pair = Pair::with(b, "");
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let old = node(s);
    for i in 0..3 {
        s.agent().query(&format!("SELECT {i} AS kept_{i}"));
    }
    s.cluster.stop();
    std::fs::remove_file(s.cluster.data().join("agent_policy/pgsql_tmp_spool/node"))
        .expect("a file");
    s.cluster.start_again();
    assert_ne!(node(s), old);
    assert_eq!(files(s, &format!("LIKE '{old}-%.spool'")), 3);
    s.cluster.promote();
    wait_for(s, 3, "statement LIKE '%kept\\_%'");
    wait("removal of them", || {
        files(s, &format!("LIKE '{old}-%.spool'")) == 0
    });
    assert_eq!(
        s.value(&format!(
            "SELECT count(*) FROM agent_policy.audit_progress WHERE session LIKE '{old}-%'"
        )),
        "0"
    );
    intact(s);
    // Copies of others are no loss, and it is told that they were removed.
    let of = "00000000000000ab";
    p.setup(&format!(
        "SELECT agent_policy.add_standby('shipper', '{of}')"
    ));
    shipper(p).query(&receive(&forged(of), 0, 0, &record(of, "copy", |_| {})));
    wait_for(p, 1, "statement LIKE '%copy%'");
    p.cluster.stop();
    std::fs::write(p.cluster.data().join("standby.signal"), "").expect("a file");
    p.cluster.start_again();
    wait("word about them", || {
        p.cluster.log().contains("that standbys handed over")
    });
}
