//! Agents at work, each of which notes what it got of which statement.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cluster_tests::{Answer, Bench, Wire};

/// What a client got of the statement that has a mark in its text.
#[derive(Clone, Debug)]
pub struct Got {
    pub rows: u64,
    pub denied: bool,
    /// Up to its end, without an error.
    pub complete: bool,
    pub error: String,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub outcome: String,
    pub verdict: String,
    pub sqlstate: String,
    pub rows: i64,
}

#[derive(Default)]
struct Notes {
    got: HashMap<String, Got>,
    /// All of them, for what happened when.
    served: Vec<(Instant, Instant, String)>,
    error: String,
}

struct Client {
    notes: Mutex<Notes>,
    answered: AtomicU64,
}

pub struct Clients {
    all: Vec<Arc<Client>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    records: Mutex<HashMap<String, Vec<Record>>>,
    /// All marks that were in the log.
    marks: Mutex<HashSet<String>>,
}

impl Clients {
    /// `count` of them.
    pub fn start(b: &Bench, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let all: Vec<Arc<Client>> = (0..count)
            .map(|_| {
                Arc::new(Client {
                    notes: Mutex::default(),
                    answered: AtomicU64::new(0),
                })
            })
            .collect();
        let threads = all
            .iter()
            .enumerate()
            .map(|(number, client)| {
                let (client, stop) = (Arc::clone(client), Arc::clone(&stop));
                let (socket, role, db) = (b.cluster.socket(), b.agent.clone(), b.db.clone());
                std::thread::spawn(move || work(number, &client, &stop, &socket, &role, &db))
            })
            .collect();
        Self {
            all,
            threads,
            stop,
            records: Mutex::default(),
            marks: Mutex::default(),
        }
    }

    pub fn stop(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client panicked");
        }
    }

    /// Answers so far, by client.
    pub fn answered(&self) -> Vec<u64> {
        self.all.iter().map(|c| c.answered.load(SeqCst)).collect()
    }

    pub fn last_errors(&self) -> Vec<String> {
        self.all
            .iter()
            .map(|c| c.notes.lock().expect("no panic").error.clone())
            .collect()
    }

    /// What was got since the last time.
    pub fn take(&self) -> HashMap<String, Got> {
        let mut all = HashMap::new();
        for client in &self.all {
            all.extend(client.notes.lock().expect("no panic").got.drain());
        }
        all
    }

    /// Statements that were begun after `from`, ended before `to` and got something.
    pub fn served_between(&self, from: Instant, to: Instant) -> Vec<String> {
        self.all
            .iter()
            .flat_map(|client| {
                let mut notes = client.notes.lock().expect("no panic");
                let served = std::mem::take(&mut notes.served);
                served
                    .into_iter()
                    .filter(|(begun, ended, _)| *begun > from && *ended < to)
                    .map(|(_, _, mark)| mark)
            })
            .collect()
    }

    pub fn recorded(&self, mark: &str, record: Record) {
        if !mark.is_empty() {
            self.marks.lock().expect("no panic").insert(mark.to_owned());
            self.records
                .lock()
                .expect("no panic")
                .entry(mark.to_owned())
                .or_default()
                .push(record);
        }
    }

    /// Whether there was ever a record of it.
    pub fn has_record(&self, mark: &str) -> bool {
        self.marks.lock().expect("no panic").contains(mark)
    }

    pub fn records(&self, mark: &str) -> Vec<Record> {
        self.records
            .lock()
            .expect("no panic")
            .remove(mark)
            .unwrap_or_default()
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

fn work(number: usize, client: &Client, stop: &AtomicBool, socket: &Path, role: &str, db: &str) {
    let email = format!("-c agent_policy.user_email=user{number}@example.com");
    let mut session: Option<Wire> = None;
    let mut n = 0_u64;
    while !stop.load(SeqCst) {
        let Some(wire) = &mut session else {
            match Wire::connect(socket, role, db, &[("options", &email)]) {
                Ok(mut wire) => {
                    wire.set_patience(Duration::from_secs(60));
                    session = Some(wire);
                }
                Err(e) => {
                    client.notes.lock().expect("no panic").error = e.to_string();
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            continue;
        };
        n += 1;
        let mark = mark(number, n);
        let begun = Instant::now();
        let (kind, answer) = ask(wire, n, &mark);
        let (got, ended) = (note(&answer), Instant::now());
        let mut notes = client.notes.lock().expect("no panic");
        if let Some(error) = answer.errors.first() {
            notes.error = error.to_string();
        }
        let told = answer
            .errors
            .first()
            .is_some_and(|e| e.severity == "ERROR" && e.code != "58030");
        // Rows, or an error that says something of the statement: both have a record.
        if got.rows > 0 || told || got.complete {
            notes
                .served
                .push((begun, ended, format!("{mark}: {got:?}")));
            if notes.served.len() > 2000 {
                notes.served.drain(..1000);
            }
            notes.got.insert(mark, got);
            client.answered.fetch_add(1, SeqCst);
        }
        drop(notes);
        if answer.closed {
            session = None;
        } else if kind == 9 || n.is_multiple_of(400) {
            // A session that ends in order, and a new file for the next.
            session = None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn note(answer: &Answer) -> Got {
    let copied = answer.copied.iter().filter(|b| **b == b'\n').count();
    Got {
        rows: (answer.rows.len() + copied) as u64,
        denied: answer.code() == "42501",
        complete: answer.errors.is_empty() && !answer.closed && !answer.tags.is_empty(),
        error: answer
            .errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; "),
    }
}

const KINDS: u64 = 15;
/// Read in slices, each of which may have a record.
const SLICES: u64 = 12;

/// What stands in the statement's text, and is no literal.
fn mark(number: usize, n: u64) -> String {
    let kind = if n % KINDS == SLICES { 's' } else { 'm' };
    format!("{kind}_{number}_{n}")
}

/// One statement, of a kind that depends on its number.
fn ask(wire: &mut Wire, n: u64, mark: &str) -> (u64, Answer) {
    let kind = n % KINDS;
    let answer = match kind {
        0 | 1 => wire.simple(&format!("SELECT id AS {mark} FROM shop.orders LIMIT 7")),
        2 => wire.extended(
            &format!("SELECT id AS {mark}, status FROM shop.orders WHERE id < $1"),
            &[Some("40")],
        ),
        3 => wire.simple(&format!("SELECT token AS {mark} FROM vault.secrets")),
        4 => wire.simple(&format!(
            "SELECT 1 / (id - 300) AS {mark} FROM shop.orders WHERE id < 400"
        )),
        5 => wire.simple(&format!(
            "COPY (SELECT id AS {mark} FROM shop.orders LIMIT 90) TO STDOUT"
        )),
        6 => wire.simple(&format!("SELECT {mark} FROM shop.orders")),
        7 => wire.simple(&format!(
            "SELECT o.id AS {mark}, repeat('x', 300) FROM shop.orders o LIMIT 2000"
        )),
        // In a transaction that is rolled back.
        8 => between(
            wire,
            &["BEGIN READ ONLY"],
            &format!("SELECT id AS {mark} FROM shop.orders LIMIT 3"),
            "ROLLBACK",
        ),
        10 => wire.simple(&format!(
            "INSERT INTO shop.kept AS {mark} VALUES ('{mark}') RETURNING 1"
        )),
        11 => between(
            wire,
            &["BEGIN"],
            &format!("INSERT INTO shop.kept AS {mark} VALUES ('{mark}')"),
            "COMMIT",
        ),
        SLICES => wire
            .parse(
                "",
                &format!("SELECT id AS {mark} FROM shop.orders LIMIT 60"),
            )
            .bind("", "", &[], false)
            .execute("", 20)
            .execute("", 5)
            .execute("", 0)
            .sync(),
        13 => between(
            wire,
            &[
                "BEGIN",
                &format!("DECLARE {mark} CURSOR FOR SELECT id FROM shop.orders"),
            ],
            &format!("FETCH 30 FROM {mark}"),
            "COMMIT",
        ),
        14 if n % (KINDS * 4) == 14 => wire.simple(&format!("CREATE TABLE shop.{mark} ()")),
        _ => wire.simple(&format!("SELECT count(*) AS {mark} FROM shop.customers")),
    };
    (kind, answer)
}

/// A statement between others; when one before it fails, it is never sent.
fn between(wire: &mut Wire, before: &[&str], statement: &str, after: &str) -> Answer {
    for sql in before {
        let answer = wire.simple(sql);
        if answer.closed || !answer.errors.is_empty() {
            // A transaction that was begun is none any more.
            let closed = answer.closed || wire.simple("ROLLBACK").closed;
            return Answer {
                closed,
                ..Answer::default()
            };
        }
    }
    let answer = wire.simple(statement);
    if !answer.closed {
        wire.simple(after);
    }
    answer
}
