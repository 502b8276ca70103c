//! Random statements by sqlsmith as a confined role, through a relay that reads every byte the
//! server sends: no raw value of a masked column, no internal error, no crash.
//!
//! SQLSMITH_SECONDS says for how long (default 30), SQLSMITH_SEED with which seed (by itself always the same one;
//! `make sqlsmith` takes another each time).

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cluster_tests::bench::leak;
use cluster_tests::{Bench, Cluster, cluster, run};
use libtest_mimic::Trial;

fn main() -> std::process::ExitCode {
    let trials = cluster::versions()
        .into_iter()
        .map(|version| {
            Trial::test(format!("sqlsmith::pg{version}"), move || {
                run::guarded(|| smith(version))
            })
        })
        .collect();
    run::main(trials)
}

/// An error of PostgreSQL's parser about literals whose type nobody has said, raised before any hook:
/// sqlsmith has it in its own list of known ones.
const KNOWN: &str = "failed to find conversion function from unknown to ";

/// What passed the relay.
#[derive(Default)]
struct Seen {
    /// ReadyForQuery
    answers: u64,
    /// CommandComplete
    completed: u64,
    codes: BTreeMap<String, u64>,
    leaks: Vec<String>,
}

impl Seen {
    fn and(&mut self, more: Self) {
        self.answers += more.answers;
        self.completed += more.completed;
        for (code, times) in more.codes {
            *self.codes.entry(code).or_default() += times;
        }
        self.leaks.extend(more.leaks);
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn smith(version: u32) {
    let seconds = number("SQLSMITH_SECONDS", 30);
    let seed = number("SQLSMITH_SEED", 27_186);
    // The SQLSTATE begins each line of the log.
    let cluster = Arc::new(Cluster::start(version, "log_line_prefix = '%e %u '"));
    let bench = Bench::new(Arc::clone(&cluster));
    bench.mask();
    // Canaries that no mask covers; a view that is allowed covers what it reads.
    bench.setup(
        "SELECT agent_policy.deny_relation('@agent@', 'shop.hidden');
         SELECT agent_policy.deny_relation('@agent@', 'shop.vault_view')",
    );
    bench.setup("SELECT agent_policy.set_limits('@agent@', statement_timeout => '1 s'), agent_policy.reset_limits('@agent@', 'max_rows')");
    // Without the policy the same statements show what must not be seen. One that runs on and on would keep
    // the others back, and what they write would fill the disk: rows of a statement that was stopped stay
    // where they are.
    bench.setup(
        "ALTER ROLE @plain@ SET statement_timeout = '1 s';
         ALTER ROLE @plain@ SET default_transaction_read_only = on;
         ALTER ROLE @plain@ SET temp_file_limit = '1 GB'; ALTER ROLE @agent@ SET temp_file_limit = '1 GB'",
    );
    let control = Run {
        user: &bench.plain,
        first_leak: true,
        least: (3_000, 0),
        ..Run::new(&bench, Duration::from_secs(60), seed)
    }
    .go();
    assert!(
        !control.leaks.is_empty(),
        "control run: {} statements, and no canary seen",
        control.answers
    );
    let mut seen = Seen::default();
    // Half of what must have run at least.
    let least = (10 * seconds + 1, seconds / 2 + 1);
    for catalogs in [false, true] {
        let run = Run {
            catalogs,
            least,
            ..Run::new(&bench, Duration::from_secs(seconds) / 2, seed)
        };
        seen.and(run.go());
    }
    eprintln!(
        "  sqlsmith pg{version}, seed {seed}, {seconds} s: {} answers, {} without an error; {:?}",
        seen.answers, seen.completed, seen.codes
    );
    assert!(seen.leaks.is_empty(), "seed {seed}: {:#?}", seen.leaks);
    let log = cluster.log();
    let internal: Vec<&str> = log
        .lines()
        .filter(|line| line.starts_with("XX") && line.contains(&bench.agent))
        .filter(|line| {
            ["ERROR: ", "FATAL: ", "PANIC: "]
                .iter()
                .any(|severity| line.contains(severity))
        })
        .collect();
    let (known, unknown): (Vec<&str>, Vec<&str>) =
        internal.into_iter().partition(|line| line.contains(KNOWN));
    assert!(unknown.is_empty(), "seed {seed}: {unknown:#?}");
    // As many as the server has logged, and no other, have come to the client.
    let sent: u64 = seen
        .codes
        .iter()
        .filter(|(code, _)| code.starts_with("XX"))
        .map(|(_, times)| times)
        .sum();
    assert_eq!(sent, known.len() as u64, "seed {seed}: {:?}", seen.codes);
    assert_eq!(cluster.crashes(), 0, "seed {seed}: the server crashed");
    assert!(
        seen.answers > 20 * seconds && seen.completed > seconds,
        "hardly anything ran: {} answers, {} without an error; {:?}",
        seen.answers,
        seen.completed,
        seen.codes
    );
    bench.flush_audit();
    let written: u64 = bench
        .value("SELECT count(*) FROM agent_policy.audit_log WHERE nesting_level = 0")
        .parse()
        .expect("a number");
    let failed: u64 = seen.codes.values().sum();
    assert_eq!(
        written,
        seen.completed + failed,
        "records of {} completed and {failed} failed statements",
        seen.completed
    );
}

/// A run of sqlsmith.
struct Run<'a> {
    bench: &'a Bench,
    user: &'a str,
    /// How long, unless it is to end with the first canary.
    time: Duration,
    /// So many answers, and so many without an error, are waited for: a busy machine takes longer for them.
    least: (u64, u64),
    first_leak: bool,
    seed: u64,
    /// Reads catalogs as well: there are many more of them than tables that have something to hide.
    catalogs: bool,
}

impl<'a> Run<'a> {
    /// As the agent, on tables.
    fn new(bench: &'a Bench, time: Duration, seed: u64) -> Self {
        Self {
            bench,
            user: &bench.agent,
            time,
            least: (0, 0),
            first_leak: false,
            seed,
            catalogs: false,
        }
    }

    fn go(&self) -> Seen {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let relay = Relay::new(&self.bench.cluster.socket(), Arc::clone(&seen));
        let start = Instant::now();
        let mut round = 0;
        let over = || {
            let (answers, completed) = {
                let seen = seen.lock().expect("no panic while held");
                (seen.answers, seen.completed)
            };
            let enough = answers >= self.least.0 && completed >= self.least.1;
            start.elapsed() >= self.time && (enough || start.elapsed() >= 5 * self.time)
        };
        // It ends by itself when it loses its connection.
        while !over() {
            let target = format!(
                "host={} port=5432 user={} dbname={} options='-c agent_policy.user_email=alice@example.com'",
                relay.dir.display(),
                self.user,
                self.bench.db
            );
            let mut child = Command::new("sqlsmith")
                .arg(format!("--target={target}"))
                .arg(format!("--seed={}", self.seed + round))
                .args((!self.catalogs).then_some("--exclude-catalog"))
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("sqlsmith runs (scripts/setup.sh sqlsmith)");
            let mut errors = child.stderr.take().expect("a pipe was asked for");
            let reader = std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = errors.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            });
            let leaked = || !seen.lock().expect("no panic while held").leaks.is_empty();
            let done = loop {
                let enough = over() || self.first_leak && leaked();
                if enough {
                    let _ = child.kill();
                }
                if child.try_wait().expect("a child").is_some() {
                    break enough;
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            let said = reader.join().expect("the reader ends");
            if done {
                break;
            }
            round += 1;
            assert!(round < 20, "sqlsmith ends by itself: {said}");
        }
        // The statement that was under way when sqlsmith ended has an answer and a record, too.
        relay.drain();
        std::mem::take(&mut *seen.lock().expect("no panic while held"))
    }
}

/// A socket that hands everything on to the server's.
struct Relay {
    dir: PathBuf,
    /// What hands on the answers of each connection.
    answers: Arc<Mutex<Vec<std::thread::JoinHandle<()>>>>,
}

impl Relay {
    fn new(server: &Path, seen: Arc<Mutex<Seen>>) -> Self {
        let dir = std::env::temp_dir().join(format!(
            "agent_policy_relay.{}.{}",
            std::process::id(),
            Instant::now().elapsed().as_nanos()
        ));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let listener = UnixListener::bind(dir.join(".s.PGSQL.5432")).expect("a socket");
        let server = server.to_owned();
        let answers = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&answers);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(backend) = UnixStream::connect(&server) else {
                    return;
                };
                let (client_in, backend_out) = (
                    client.try_clone().expect("a socket"),
                    backend.try_clone().expect("a socket"),
                );
                std::thread::spawn(move || copy(client_in, backend_out, |_| {}));
                let seen = Arc::clone(&seen);
                let mut frames = Vec::new();
                let answers = std::thread::spawn(move || {
                    copy(backend, client, move |bytes| {
                        frames.extend_from_slice(bytes);
                        let used = note(&frames, &seen);
                        frames.drain(..used);
                    });
                });
                all.lock().expect("no panic while held").push(answers);
            }
        });
        Self { dir, answers }
    }

    /// Waits until the server has said all that it has to say.
    fn drain(self) {
        let answers = std::mem::take(&mut *self.answers.lock().expect("no panic while held"));
        for answer in answers {
            answer.join().expect("the relay does not panic");
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Until `from` ends; what `to` no longer takes is seen all the same.
fn copy(mut from: UnixStream, mut to: UnixStream, mut see: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 65536];
    let mut taken = true;
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 {
            break;
        }
        see(&buffer[..length]);
        taken = taken && to.write_all(&buffer[..length]).is_ok();
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

/// Notes the whole messages in `frames`; how many bytes they are.
fn note(frames: &[u8], seen: &Mutex<Seen>) -> usize {
    let mut at = 0;
    let mut seen = seen.lock().expect("no panic while held");
    while let Some(head) = frames.get(at..at + 5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some(body) = frames.get(at + 5..at + 1 + length) else {
            break;
        };
        match head[0] {
            b'Z' => seen.answers += 1,
            b'C' => seen.completed += 1,
            b'E' => {
                let code = body
                    .split(|b| *b == 0)
                    .find(|field| field.first() == Some(&b'C'))
                    .map(|field| String::from_utf8_lossy(&field[1..]).into_owned());
                *seen.codes.entry(code.unwrap_or_default()).or_default() += 1;
            }
            _ => {}
        }
        if leak(body).is_some() && seen.leaks.len() < 20 {
            let text = String::from_utf8_lossy(body).into_owned();
            seen.leaks.push(format!("{} {text}", head[0] as char));
        }
        at += 1 + length;
    }
    at
}
