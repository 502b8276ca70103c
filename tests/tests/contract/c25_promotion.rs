//! A standby is promoted in the middle of load, and the old primary comes back: nothing is lost, nothing is there
//! twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use cluster_tests::{Bench, Case, Wire, cases};

use super::c25_standby::{Pair, SHIP, copies, count, intact, node, wait, wait_for};

pub const CASES: &[Case] = cases![promotion_under_load, the_old_primary_comes_back];

/// Clients, each of which notes what it got an answer to.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(b: &Bench, clients: usize, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..clients)
            .map(|client| {
                let stop = Arc::clone(&stop);
                let (socket, role, db) = (b.cluster.socket(), b.agent.clone(), b.db.clone());
                std::thread::spawn(move || {
                    let mut answered = Vec::new();
                    let mut wire: Option<Wire> = None;
                    let mut n = 0;
                    while !stop.load(SeqCst) {
                        if wire.is_none() || n % 40 == 39 {
                            let options =
                                [("options", "-c agent_policy.user_email=alice@example.com")];
                            wire = Wire::connect(&socket, &role, &db, &options).ok();
                        }
                        let Some(w) = &mut wire else {
                            std::thread::sleep(Duration::from_millis(50));
                            continue;
                        };
                        let mark = format!("{name}_{client}_{n}_");
                        n += 1;
                        let answer =
                            w.simple(&format!("SELECT id AS {mark} FROM shop.orders LIMIT 3"));
                        if !answer.rows.is_empty()
                            || answer.errors.iter().any(|e| !e.detail.is_empty())
                        {
                            answered.push(mark);
                        }
                        if answer.closed || !answer.errors.is_empty() {
                            wire = None;
                        }
                    }
                    answered
                })
            })
            .collect();
        Self { stop, threads }
    }

    /// The marks of the statements that were answered.
    fn stop(self) -> Vec<String> {
        self.stop.store(true, SeqCst);
        self.threads
            .into_iter()
            .flat_map(|t| t.join().expect("a client panicked"))
            .collect()
    }
}

/// Every statement that was answered has one record, and no statement has two.
#[track_caller]
fn complete(b: &Bench, answered: &[String], name: &str) {
    let records = || -> HashMap<String, usize> {
        let mut records = HashMap::new();
        let rows = b.setup(&format!(
            "SELECT substring(statement from '{name}_[0-9]+_[0-9]+_') FROM agent_policy.audit_log
             WHERE statement LIKE '%{name}\\_%'"
        ));
        for mark in rows.column() {
            *records.entry(mark).or_insert(0) += 1;
        }
        records
    };
    assert!(
        answered.len() > 20,
        "{} statements were answered",
        answered.len()
    );
    wait("record of every answer", || {
        let records = records();
        answered.iter().all(|mark| records.contains_key(mark))
    });
    std::thread::sleep(Duration::from_secs(1));
    for (mark, n) in records() {
        assert_eq!(n, 1, "records of {mark}");
    }
    assert_eq!(
        b.value("SELECT count(DISTINCT event_id) = count(*) FROM agent_policy.audit_log"),
        "t"
    );
    intact(b);
}

fn promotion_under_load(b: &Bench) {
    let pair = Pair::new(b);
    pair.caught_up();
    let (p, s) = (&pair.primary, &pair.standby);
    let load = Load::start(s, 4, "load");
    wait("shipped record", || {
        count(p, "statement LIKE '%load\\_%'") > 20
    });
    // What is shipped from now on reaches the primary's files at most.
    let mut lock = p
        .cluster
        .connect("postgres", &p.db, &[])
        .expect("the superuser connects");
    lock.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    std::thread::sleep(Duration::from_secs(3));
    let of_standby = format!("LIKE '{}-%'", node(s));
    wait("copy of what was shipped under the lock", || {
        copies(p, &of_standby) > 0
    });
    p.cluster.kill_all();
    s.cluster.promote();
    std::thread::sleep(Duration::from_secs(2));
    let answered = load.stop();
    complete(s, &answered, "load");
    wait("own worker", || {
        s.value("SELECT state || spool_bytes FROM agent_policy.health") == "ok0"
    });
}

fn the_old_primary_comes_back(b: &Bench) {
    let pair = Pair::new(b);
    let (p, s) = (&pair.primary, &pair.standby);
    p.setup(&format!(
        "SELECT agent_policy.add_standby('shipper', '{}')",
        node(p)
    ));
    pair.caught_up();
    let load = Load::start(p, 2, "old");
    let there = Load::start(s, 2, "new");
    wait("record", || count(p, "statement LIKE '%old\\_%'") > 20);
    wait("shipped record", || {
        count(p, "statement LIKE '%new\\_%'") > 20
    });
    pair.caught_up();
    let mut lock = p
        .cluster
        .connect("postgres", &p.db, &[])
        .expect("the superuser connects");
    lock.query("BEGIN; LOCK TABLE agent_policy.audit_log IN ACCESS EXCLUSIVE MODE");
    pair.caught_up();
    std::thread::sleep(Duration::from_secs(2));
    p.cluster.kill_all();
    s.cluster.promote();
    let old = load.stop();
    std::thread::sleep(Duration::from_secs(1));
    let new = there.stop();
    // The spool of the old primary is all that is left of what it had not committed.
    p.cluster.follow(&s.cluster, SHIP);
    complete(s, &old, "old");
    complete(s, &new, "new");
    // And it does the standby's work from now on.
    p.agent().query("SELECT 1 AS turned_round");
    wait_for(s, 1, "statement LIKE '%turned_round%'");
    wait("removal of its files", || {
        s.value(&format!(
            "SELECT count(*) FROM agent_policy.audit_progress WHERE session LIKE '{}-%'",
            node(p)
        )) == "0"
    });
    // Promoted again, it has everything once.
    let caught = s.value("SELECT pg_current_wal_insert_lsn()");
    wait("replay", || {
        p.value(&format!("SELECT pg_last_wal_replay_lsn() >= '{caught}'")) == "t"
    });
    s.cluster.kill_all();
    p.cluster.promote();
    complete(p, &old, "old");
    complete(p, &new, "new");
}
