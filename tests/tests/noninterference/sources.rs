//! Statements that were not made here: the project's attacks, real questions, sqlsmith.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cluster_tests::{attack, cluster, defog, sql};

use crate::case::{Case, Step};
use crate::hunt::{Hunt, Until};
use crate::world::{USER, Worlds};

fn steps(texts: &[String], extended: bool) -> Vec<Step> {
    texts
        .iter()
        .map(|text| {
            if extended {
                Step::Extended {
                    text: text.clone(),
                    values: Vec::new(),
                    binary: false,
                    rows: 0,
                }
            } else {
                Step::Simple(text.clone())
            }
        })
        .collect()
}

/// tests/attacks, by every role, over both protocols.
pub fn attacks(hunt: &mut Hunt<'_>, until: &Until) {
    let mut cases = Vec::new();
    for attack in attack::read_dir(&cluster::project_root().join("tests/attacks")) {
        // Those that others take part in, and those that only take time, are judged by `attacks` alone.
        // Those that move all rows of a large table put them where there is room, which depends on who else
        // looks at the time.
        let other = attack.has("dos") || attack.has("moves") || attack.has_turns();
        if other || !attack.runs_on(hunt.worlds().version) {
            continue;
        }
        let texts = if attack.has("multi") {
            vec![attack.sql.clone()]
        } else {
            sql::split(&attack.sql)
        };
        let data = attack
            .sql
            .lines()
            .find_map(|line| line.strip_prefix("-- copy: "));
        for role in ["ro", "over", "rw", "ddl"] {
            for extended in [false, true] {
                if extended && attack.has("multi") {
                    continue;
                }
                let mut steps = steps(&texts, extended);
                if let (Some(data), false) = (data, extended) {
                    let data = data.replace("\\t", "\t").replace("\\n", "\n");
                    steps = texts
                        .iter()
                        .map(|text| Step::Copy {
                            text: text.clone(),
                            data: data.clone(),
                        })
                        .collect();
                }
                // What changes definitions comes last.
                let late = role == "ddl";
                cases.push((
                    late,
                    Case {
                        role,
                        database: "shop",
                        origin: format!("attack {}", attack.id),
                        steps,
                    },
                ));
            }
        }
    }
    cases.sort_by_key(|(late, _)| *late);
    for (_, case) in &cases {
        if until.over() || hunt.full() {
            return;
        }
        hunt.case(case);
    }
}

/// Questions that models were asked, where they lie beside the project.
pub fn workload(hunt: &mut Hunt<'_>, until: &Until) {
    let Some(dir) = defog::dir() else { return };
    let queries = defog::queries(&dir);
    for extended in [false, true] {
        for (id, schema, text) in &queries {
            if until.over() || hunt.full() {
                return;
            }
            let mut all = steps(&[format!("SET search_path = {schema}")], false);
            all.extend(steps(std::slice::from_ref(text), extended));
            hunt.case(&Case {
                role: "reader",
                database: "defog",
                origin: id.clone(),
                steps: all,
            });
        }
    }
}

/// What sqlsmith says to a third world, said in both.
pub fn sqlsmith(hunt: &mut Hunt<'_>, worlds: &Worlds, seed: u64, until: &Until) {
    if Command::new("sqlsmith")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_err()
    {
        return;
    }
    let third = Worlds::new(worlds.version, seed, "");
    let recorder = Recorder::new(third.here.socket());
    let target = format!(
        "host={} port=5432 user=ro dbname=lab options='-c agent_policy.user_email={USER}'",
        recorder.dir.display()
    );
    let mut child = Command::new("sqlsmith")
        .arg(format!("--target={target}"))
        .arg(format!("--seed={seed}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sqlsmith runs");
    // It says as much in a fifth of the time as is repeated in the rest.
    let recording = until.part(0.2);
    while !recording.over() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
    let said = std::mem::take(&mut *recorder.said.lock().expect("no panic while held"));
    drop((recorder, third));
    for (n, text) in said.iter().enumerate() {
        if until.over() || hunt.full() {
            return;
        }
        let steps = steps(std::slice::from_ref(text), n % 4 == 3);
        hunt.case(&Case {
            role: "ro",
            database: "lab",
            origin: format!("sqlsmith {seed} {n}"),
            steps,
        });
    }
}

/// A socket that hands everything on and keeps the simple queries.
struct Recorder {
    dir: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn new(server: PathBuf) -> Self {
        let dir =
            std::env::temp_dir().join(format!("agent_policy_recorder.{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let listener = UnixListener::bind(dir.join(".s.PGSQL.5432")).expect("a socket");
        let said = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&said);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(backend) = UnixStream::connect(&server) else {
                    return;
                };
                let (mut client_in, mut backend_out) = (
                    client.try_clone().expect("a socket"),
                    backend.try_clone().expect("a socket"),
                );
                let (mut backend, mut client) = (backend, client);
                std::thread::spawn(move || std::io::copy(&mut backend, &mut client));
                let list = Arc::clone(&list);
                std::thread::spawn(move || {
                    let (mut buffer, mut unread) = (vec![0; 65536], Vec::new());
                    while let Ok(n @ 1..) = client_in.read(&mut buffer) {
                        unread.extend_from_slice(&buffer[..n]);
                        note(&mut unread, &list);
                        if backend_out.write_all(&buffer[..n]).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { dir, said }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Keeps the texts of whole simple queries; the start-up packet, which has no kind, begins with a length.
fn note(unread: &mut Vec<u8>, list: &Mutex<Vec<String>>) {
    loop {
        let start_up = unread.first() == Some(&0);
        let head = if start_up { 0 } else { 1 };
        let Some(length) = unread.get(head..head + 4) else {
            return;
        };
        let length =
            u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize + head;
        if unread.len() < length {
            return;
        }
        if unread[0] == b'Q' {
            let text = String::from_utf8_lossy(&unread[5..length - 1]).into_owned();
            // Not what it looks at first, no time or chance, and nothing that docs/noninterference.md
            // declassifies.
            let varies = [
                "pg_database_size",
                "pg_stat",
                "random(",
                "clock_timestamp",
                "timeofday",
                "now()",
                "current_timestamp",
                "localtime",
            ]
            .iter()
            .any(|w| text.contains(w));
            if text.starts_with("select") && !varies {
                list.lock().expect("no panic while held").push(text);
            }
        }
        unread.drain(..length);
    }
}
