//! The audit under a storm of crashes: sixteen clients at work, and again and again something is
//! killed, the power goes, or the disk fails. Whatever a client got has its record, once; nobody gets
//! anything while it cannot be recorded; what was changed has its record, whether its client got an
//! answer or not; and everything goes on by itself.
//!
//! AGENT_POLICY_CRASHES is how many there are (6 without it), AGENT_POLICY_SEED chooses which.

#![forbid(unsafe_code)]

mod clients;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster_tests::cluster::{children, versions};
use cluster_tests::faults::Fault;
use cluster_tests::run::guarded;
use cluster_tests::{Bench, Cluster};
use libtest_mimic::Trial;

use clients::{Clients, Got};

/// xorshift64*: enough to choose what happens, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.roll(from.len() as u64) as usize])
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| {
        v.parse()
            .unwrap_or_else(|_| panic!("{name}: '{v}' is no number"))
    })
}

struct Storm {
    bench: Bench,
    clients: Clients,
    dice: Dice,
    /// What has happened, by kind.
    done: HashMap<&'static str, u64>,
    /// Up to which seq the log has been compared.
    seen: i64,
    /// Of all that clients got, what was found.
    rows: u64,
    found: u64,
    /// Rows that were inserted and tables that were made.
    changes: u64,
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

impl Storm {
    fn cluster(&self) -> &Cluster {
        &self.bench.cluster
    }

    /// A process of the server, by what it calls itself.
    fn process(&mut self, is: &[&str]) -> Option<String> {
        let postmaster = self.cluster().postmaster_pid();
        let found: Vec<String> = children(&postmaster)
            .into_iter()
            .filter(|pid| {
                let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let title = String::from_utf8_lossy(&title).into_owned();
                is.iter().any(|word| title.contains(word))
            })
            .collect();
        self.dice.pick(&found).cloned()
    }

    fn kill(&mut self, is: &[&str]) -> bool {
        match self.process(is) {
            Some(pid) => {
                self.cluster().kill_process(&pid);
                true
            }
            None => false,
        }
    }

    /// Something bad happens; whether the server went down by it.
    fn blow(&mut self) -> &'static str {
        let agent = self.bench.agent.clone();
        match self.dice.roll(12) {
            0 | 1 if self.kill(&[&agent]) => "a backend was killed",
            2 | 3 if self.kill(&["audit writer"]) => "the worker was killed",
            4 if self.kill(&["audit launcher"]) => "the launcher was killed",
            5 if self.kill(&["checkpointer", "walwriter", "background writer"]) => {
                "a process of the server was killed"
            }
            6 => {
                self.cluster().kill_postmaster_alone();
                self.cluster().start_again();
                "the postmaster was killed"
            }
            7 => {
                self.cluster().kill_all();
                self.cluster().start_again();
                "all processes were killed"
            }
            _ => {
                self.cluster().power_cut();
                self.cluster().start_again();
                "the power went"
            }
        }
    }

    /// The disk fails for a while; nobody gets anything from a statement begun then.
    fn trouble(&mut self) {
        let (fault, name, strict) = match self.dice.roll(3) {
            0 => (Fault::SyncFails, "syncs failed", true),
            1 => (Fault::WriteFails, "writes failed", true),
            // What was reserved is used up first.
            _ => (Fault::DiskFull, "the disk was full", false),
        };
        self.cluster().faults().begin(fault);
        let from = Instant::now();
        sleep(250);
        let to = Instant::now();
        // A second blow while it lasts, now and then.
        let mut ended = false;
        let second = match self.dice.roll(3) {
            0 if self.kill(&["audit writer", &self.bench.agent.clone()]) => {
                ended = !self.cluster().recovers();
                Some("something was killed while the disk failed")
            }
            1 => {
                self.cluster().power_cut();
                ended = true;
                Some("the power went while the disk failed")
            }
            _ => None,
        };
        if let Some(second) = second {
            *self.done.entry(second).or_default() += 1;
        }
        self.cluster().faults().end(fault);
        if ended {
            self.cluster().start_again();
            *self
                .done
                .entry("the server began again after the disk had failed")
                .or_default() += 1;
        }
        *self.done.entry(name).or_default() += 1;
        if strict {
            let served = self.clients.served_between(from, to);
            assert!(served.is_empty(), "{name}, and yet: {served:?}");
        }
    }

    /// Every client gets an answer again.
    fn goes_on(&self) {
        let before = self.clients.answered();
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let now = self.clients.answered();
            if before.iter().zip(&now).all(|(b, n)| n > b) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "clients wait for ever: {:?}",
                self.clients.last_errors()
            );
            sleep(20);
        }
    }

    /// Compares what the clients got with the log.
    fn compare(&mut self) {
        let changed = self.changed();
        let got = self.clients.take();
        self.bench.setup("SELECT agent_policy.audit_flush('60 s')");
        let answer = self.bench.setup(&format!(
            "SELECT seq, coalesce(substring(statement FROM '[ms]_[0-9]+_[0-9]+'), ''), outcome, verdict, coalesce(rows_returned, -1), coalesce(sqlstate, ''), nesting_level \
             FROM agent_policy.audit_log WHERE seq > {} AND command_tag IS DISTINCT FROM 'DECLARE CURSOR' ORDER BY seq",
            self.seen
        ));
        // Records of statements whose clients have not been asked yet are kept for the next time.
        for row in answer.texts() {
            self.seen = self.seen.max(row[0].parse().expect("a number"));
            if row[6] == "0" {
                self.clients.recorded(
                    &row[1],
                    clients::Record {
                        outcome: row[2].clone(),
                        verdict: row[3].clone(),
                        sqlstate: row[5].clone(),
                        rows: row[4].parse().expect("a number"),
                    },
                );
            }
        }
        for (mark, got) in got {
            self.rows += got.rows;
            let records = self.clients.records(&mark);
            let once = records.len() == 1 || mark.starts_with('s') && !records.is_empty();
            assert!(once, "{mark}, {got:?}: {records:?}");
            self.found += 1;
            self.judge(&mark, &got, &records);
        }
        for mark in changed {
            assert!(
                self.clients.has_record(&mark),
                "a change without its record: {mark}"
            );
            self.changes += 1;
        }
    }

    /// What agents have changed since the last time, by marks; it is put away.
    fn changed(&self) -> Vec<String> {
        let b = &self.bench;
        let mut marks = b
            .setup("WITH gone AS (DELETE FROM shop.kept RETURNING mark) SELECT mark FROM gone")
            .column();
        let tables = b
            .setup("SELECT relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relname ~ '^m_[0-9]+_'")
            .column();
        if !tables.is_empty() {
            b.setup(&format!("DROP TABLE shop.{}", tables.join(", shop.")));
        }
        marks.extend(tables);
        marks
    }

    fn judge(&self, mark: &str, got: &Got, records: &[clients::Record]) {
        assert!(!got.error.contains("XX000"), "{mark}, {got:?}");
        if got.denied {
            assert!(
                records
                    .iter()
                    .all(|r| r.verdict == "denied" && r.sqlstate == "42501"),
                "{mark}: {records:?}"
            );
        }
        // Without an end it is not known how many rows left; never fewer than the client got.
        let known: i64 = records.iter().map(|r| r.rows).sum();
        if records.iter().all(|r| r.outcome != "unknown") {
            assert!(known >= got.rows as i64, "{mark}, {got:?}: {records:?}");
        }
        if got.complete {
            let known = records.iter().all(|r| r.outcome != "unknown");
            assert!(
                !known || got.rows as i64 == records.iter().map(|r| r.rows).sum::<i64>(),
                "{mark}, {got:?}: {records:?}"
            );
        }
    }

    /// Of the whole log: no record twice, no number twice or left out, and the chain.
    fn whole(&self) {
        let b = &self.bench;
        let twice = b.setup(
            "SELECT a.event_id, a.seq, a.session_id, a.backend_seq, a.started_at, a.outcome, a.nesting_level, a.statement \
             FROM agent_policy.audit_log a WHERE event_id IN \
             (SELECT event_id FROM agent_policy.audit_log GROUP BY 1 HAVING count(*) > 1) ORDER BY 1, 2",
        );
        assert!(twice.rows.is_empty(), "records twice: {:?}", twice.texts());
        assert_eq!(
            b.setup("SELECT count(*) - count(DISTINCT event_id), max(seq) - min(seq) + 1 - count(*), count(*) - count(DISTINCT seq) FROM agent_policy.audit_log").texts(),
            [["0", "0", "0"]],
            "a record twice, or a gap"
        );
        let verify = "agent_policy.audit_verify(timestamptz,timestamptz)";
        if b.value(&format!("SELECT to_regprocedure('{verify}') IS NOT NULL")) == "t" {
            let verdict = b
                .setup("SELECT * FROM agent_policy.audit_verify('-infinity', 'infinity')")
                .texts();
            assert_eq!(verdict[0][0], "t", "the chain: {verdict:?}");
        }
        assert!(
            !self.cluster().log().contains("already mutably borrowed"),
            "a signal came in between"
        );
        assert_eq!(self.cluster().crashes(), 0, "something crashed by itself");
    }
}

fn storm(version: u32, crashes: u64, seed: u64) {
    let cluster = Cluster::start_faulty(
        version,
        "restart_after_crash = on\nmax_wal_size = 256MB\ncheckpoint_timeout = 1h",
    );
    let bench = Bench::new(Arc::new(cluster));
    bench.allow();
    bench.setup(
        "SELECT agent_policy.protect_role('@agent@', 'ddl'); SELECT agent_policy.allow_schema('@agent@', 'shop', 'write');
         CREATE TABLE shop.kept (mark text);
         GRANT INSERT, SELECT ON shop.kept TO @agent@; GRANT CREATE ON SCHEMA shop TO @agent@",
    );
    let clients = Clients::start(&bench, 16);
    let mut storm = Storm {
        bench,
        clients,
        dice: Dice(seed | 1),
        done: HashMap::new(),
        seen: 0,
        rows: 0,
        found: 0,
        changes: 0,
    };
    let began = Instant::now();
    storm.goes_on();
    for n in 0..crashes {
        sleep(50 + storm.dice.roll(250));
        if storm.dice.roll(4) == 0 {
            storm.trouble();
        }
        let what = storm.blow();
        *storm.done.entry(what).or_default() += 1;
        storm.cluster().wait_until_ready();
        storm.goes_on();
        storm.compare();
        if n % 25 == 24 {
            storm.whole();
            eprintln!(
                "  {version}: {} crashes, {} statements with their records, {} s",
                n + 1,
                storm.found,
                began.elapsed().as_secs()
            );
        }
    }
    storm.clients.stop();
    storm.compare();
    storm.whole();
    let records = storm
        .bench
        .value("SELECT count(*) FROM agent_policy.audit_log");
    let mut done: Vec<_> = storm.done.iter().collect();
    done.sort();
    eprintln!(
        "storm on {version}, seed {seed}: {crashes} crashes in {} s; {} answers with {} rows and {} changes, each with its record; {records} records, none twice; {done:?}",
        began.elapsed().as_secs(),
        storm.found,
        storm.rows,
        storm.changes,
    );
    assert!(storm.found > crashes, "next to no answers: {}", storm.found);
    assert!(storm.changes > 0, "nothing was changed");
}

fn main() -> ExitCode {
    let crashes = setting("AGENT_POLICY_CRASHES", 6);
    let seed = setting("AGENT_POLICY_SEED", 20_261_121);
    let trials = versions()
        .into_iter()
        .map(|version| {
            Trial::test(format!("storm::pg{version}"), move || {
                guarded(|| storm(version, crashes, seed + u64::from(version)))
            })
            .with_ignored_flag(cluster_tests::cluster::plain())
        })
        .collect();
    cluster_tests::run::main(trials)
}
