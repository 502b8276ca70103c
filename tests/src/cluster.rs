//! PostgreSQL servers of one's own: made from a template, on a Unix socket only, gone with the process.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

use crate::faults::Faults;
use crate::wire::{SqlError, Wire};

const PORT: u16 = 5432;
/// The user that servers run as when the harness is root.
const SERVER_USER: &str = "postgres";

/// AGENT_POLICY_PLAIN=1: clusters without the extension, for control runs and for work on the harness itself.
pub fn plain() -> bool {
    std::env::var("AGENT_POLICY_PLAIN").is_ok_and(|v| v == "1")
}

/// The major versions to test: AGENT_POLICY_PG, or all of 15–18 that can be found.
pub fn versions() -> Vec<u32> {
    match std::env::var("AGENT_POLICY_PG") {
        Ok(list) if !list.trim().is_empty() => list
            .split([' ', ','])
            .filter(|v| !v.is_empty())
            .map(|v| {
                v.parse()
                    .unwrap_or_else(|_| panic!("AGENT_POLICY_PG: '{v}' is no version"))
            })
            .collect(),
        // A version that is missing in CI is a failure: it is listed, and its cluster will not start.
        _ if std::env::var("CI").is_ok_and(|v| v == "true") => vec![15, 16, 17, 18],
        _ => (15..=18).filter(|v| pg_config(*v).is_some()).collect(),
    }
}

/// PG_CONFIG_nn, else what scripts/pg_config.sh finds.
pub fn pg_config(version: u32) -> Option<PathBuf> {
    static FOUND: Mutex<Vec<(u32, Option<PathBuf>)>> = Mutex::new(Vec::new());
    let mut found = FOUND.lock().expect("no panic while held");
    if let Some((_, path)) = found.iter().find(|(v, _)| *v == version) {
        return path.clone();
    }
    let path = std::env::var_os(format!("PG_CONFIG_{version}"))
        .map(PathBuf::from)
        .or_else(|| {
            let script = project_root().join("scripts/pg_config.sh");
            let output = Command::new(script)
                .arg(version.to_string())
                .stderr(Stdio::null())
                .output()
                .ok()?;
            let path = String::from_utf8(output.stdout).ok()?;
            output.status.success().then(|| PathBuf::from(path.trim()))
        })
        .or_else(|| {
            Some(PathBuf::from(format!(
                "/usr/lib/postgresql/{version}/bin/pg_config"
            )))
        })
        .filter(|p| p.exists());
    found.push((version, path.clone()));
    path
}

/// Of the tree whose tests these are: what is built may come from another one's, where they share a target directory.
pub fn project_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let tests = env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
        Path::new(&tests)
            .parent()
            .expect("tests/ has a parent")
            .to_owned()
    })
}

fn bindir(version: u32) -> PathBuf {
    let config = pg_config(version)
        .unwrap_or_else(|| panic!("PostgreSQL {version} not found; set PG_CONFIG_{version}"));
    let output = Command::new(&config)
        .arg("--bindir")
        .output()
        .expect("pg_config runs");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim())
}

fn root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        Command::new("id")
            .arg("-u")
            .output()
            .is_ok_and(|o| o.stdout == b"0\n")
    })
}

/// A command as the server's user: PostgreSQL refuses to run as root.
fn as_server(program: impl AsRef<OsStr>) -> Command {
    let mut command = if root() {
        let mut c = Command::new("setpriv");
        c.args([
            "--reuid",
            SERVER_USER,
            "--regid",
            SERVER_USER,
            "--init-groups",
            "--",
        ])
        .arg(program);
        c
    } else {
        Command::new(program)
    };
    command
        .current_dir("/")
        .env_remove("PGPORT")
        .env_remove("PGDATA")
        .env("LC_ALL", "C");
    command
}

fn must(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// This process's directory below the temporary one, made once, owned by the server's user.
fn work_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("agent_policy_tests.{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory");
        if root() {
            must(Command::new("chown").arg(SERVER_USER).arg(&dir));
        }
        dir
    })
}

/// An initialised data directory, once for a version and process.
fn template(version: u32) -> PathBuf {
    static MADE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MADE.lock().unwrap_or_else(|e| e.into_inner());
    let dir = work_dir().join(format!("template{version}"));
    if !dir.exists() {
        let initdb = bindir(version).join("initdb");
        must(
            as_server(initdb)
                .args([
                    "--no-sync",
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C",
                    "-D",
                ])
                .arg(&dir),
        );
    }
    dir
}

/// A directory for a server.
fn new_dir(version: u32) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = work_dir().join(format!(
        "{version}.{}",
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    must(as_server("mkdir").arg(&dir));
    dir
}

/// Set when a test fails: directories are then kept, logs and all.
pub static KEEP: AtomicBool = AtomicBool::new(false);

/// A running server. Dropping it stops the server at once and removes its directory.
///
/// The server also stops when this process dies: a shell of ours waits on a pipe that only we hold open.
pub struct Cluster {
    pub version: u32,
    dir: PathBuf,
    server: Mutex<Option<(Child, ChildStdin)>>,
    faults: Option<Faults>,
    seen: Mutex<Seen>,
    prepared: Once,
}

/// How far the log was read for crashes, and how many there were.
#[derive(Default)]
struct Seen {
    bytes: u64,
    crashes: usize,
}

impl Cluster {
    /// A new cluster; `conf` is appended to postgresql.conf. Panics if it does not start.
    pub fn start(version: u32, conf: &str) -> Self {
        let preload = if plain() { "" } else { "agent_policy" };
        Self::start_with(
            version,
            &format!("shared_preload_libraries = '{preload}'\n{conf}"),
        )
    }

    /// One whose disk can be made to fail.
    pub fn start_faulty(version: u32, conf: &str) -> Self {
        let conf = format!("shared_preload_libraries = 'agent_policy'\nfsync = on\n{conf}");
        Self::start_in(version, &conf, true)
    }

    /// Of one from [`start_faulty`](Self::start_faulty).
    pub fn faults(&self) -> &Faults {
        self.faults.as_ref().expect("started with start_faulty")
    }

    /// Nothing preloaded.
    pub fn start_bare(version: u32) -> Self {
        Self::start_with(version, "")
    }

    /// AGENT_POLICY_CONF in the environment is more of postgresql.conf, for every cluster.
    fn start_with(version: u32, conf: &str) -> Self {
        Self::start_in(version, conf, false)
    }

    /// A hot standby of a server, made from a base backup of it.
    pub fn standby(primary: &Self, conf: &str) -> Self {
        let cluster = Self {
            version: primary.version,
            dir: new_dir(primary.version),
            server: Mutex::new(None),
            faults: None,
            seen: Mutex::default(),
            prepared: Once::new(),
        };
        cluster.follow(primary, conf);
        cluster
    }

    /// Starts as a hot standby of another server, from a base backup of it. Of what was there before only
    /// the spool of the audit is kept.
    pub fn follow(&self, primary: &Self, conf: &str) {
        self.stop();
        let spool = self.data().join("agent_policy/pgsql_tmp_spool");
        let kept = self.dir.join("spool");
        if spool.exists() {
            fs::rename(&spool, &kept).expect("a directory of ours");
        }
        let _ = fs::remove_dir_all(self.data());
        must(
            as_server(bindir(self.version).join("pg_basebackup"))
                .args([
                    "-U",
                    "postgres",
                    "-X",
                    "stream",
                    "-c",
                    "fast",
                    "--no-sync",
                    "-h",
                ])
                .arg(primary.socket_dir())
                .args(["-p", &PORT.to_string(), "-D"])
                .arg(self.data()),
        );
        assert!(!spool.exists(), "a base backup has the spool in it");
        if kept.exists() {
            fs::rename(&kept, &spool).expect("a directory of ours");
        }
        must(as_server("touch").arg(self.data().join("standby.signal")));
        self.configure(&format!(
            "unix_socket_directories = '{}'\nhot_standby = on\nhot_standby_feedback = on\n\
             primary_conninfo = 'host={} port={PORT} user=postgres application_name=standby'\n{conf}",
            self.dir.display(),
            primary.dir.display()
        ));
        self.launch();
    }

    /// More of postgresql.conf, for the next start or reload.
    pub fn configure(&self, conf: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .expect("postgresql.conf");
        writeln!(file, "{conf}").expect("postgresql.conf can be written");
    }

    /// A file in the data directory that only the server reads.
    pub fn put_file(&self, name: &str, text: &str) {
        let place = self.data().join(name);
        must(
            as_server("sh")
                .args(["-c", "umask 077 && printf %s \"$0\" >\"$1\"", text])
                .arg(place),
        );
    }

    /// Ends recovery: the standby is a primary from now on.
    pub fn promote(&self) {
        let mut su = self
            .connect("postgres", "postgres", &[])
            .expect("the superuser connects");
        let answer = su.query("SELECT pg_promote(true, 60)");
        assert_eq!(answer.one(), "t", "promotion");
    }

    fn start_in(version: u32, conf: &str, faulty: bool) -> Self {
        let dir = new_dir(version);
        let data = dir.join("data");
        must(
            as_server("cp")
                .args(["--reflink=auto", "-a"])
                .arg(template(version))
                .arg(&data),
        );
        let text = format!(
            "listen_addresses = ''\nunix_socket_directories = '{dir}'\nport = {PORT}\n\
             fsync = off\nshared_buffers = 32MB\nmax_connections = 120\nmax_worker_processes = 64\n\
             max_prepared_transactions = 4\nlog_line_prefix = '%m [%p] %u@%d '\nlogging_collector = off\n\
             wal_level = logical\nwal_keep_size = 128MB\nautovacuum_naptime = 1h\n{conf}\n{more}\n",
            dir = dir.display(),
            more = std::env::var("AGENT_POLICY_CONF").unwrap_or_default()
        );
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("postgresql.conf");
        file.write_all(text.as_bytes())
            .expect("postgresql.conf can be written");
        let faults = faulty.then(|| {
            let control = dir.join("faults");
            must(as_server("mkdir").args(["-m", "777"]).arg(&control));
            Faults::new(control)
        });
        let cluster = Self {
            version,
            dir,
            server: Mutex::new(None),
            faults,
            seen: Mutex::default(),
            prepared: Once::new(),
        };
        cluster.launch();
        cluster
    }

    fn launch(&self) {
        // $1 postgres, $2 directory, $3 what to preload. The pipe on stdin ends with us.
        const KEEPER: &str = r#"
            LD_PRELOAD="$3" FAULTS="$2/faults" "$1" -D "$2/data" >>"$2/log" 2>&1 </dev/null &
            pid=$!
            while read -r line; do :; done
            kill -QUIT $pid 2>/dev/null
            wait $pid"#;
        let mut child = as_server("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(bindir(self.version).join("postgres"))
            .arg(&self.dir)
            .arg(self.faults.as_ref().map_or(Path::new(""), Faults::library))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell starts");
        let stdin = child.stdin.take().expect("a pipe was asked for");
        *self.server.lock().unwrap_or_else(|e| e.into_inner()) = Some((child, stdin));
        self.wait_until_ready();
    }

    /// Waits for the server to take connections.
    pub fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            match self.connect("postgres", "postgres", &[]) {
                Ok(_) => return,
                Err(e) if Instant::now() > deadline => {
                    KEEP.store(true, Ordering::Relaxed);
                    panic!(
                        "PostgreSQL {} does not start: {e}\n{}",
                        self.version,
                        tail(&self.log(), 30)
                    )
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// After a process was killed: waits until the server takes connections again, or has ended, as it does where its
    /// recovery fails (what it replays has to be written). Whether it goes on.
    pub fn recovers(&self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(180);
        while Instant::now() < deadline {
            if self.connect("postgres", "postgres", &[]).is_ok() {
                return true;
            }
            if !self.data().join("postmaster.pid").exists() {
                self.stop();
                self.wait_until_gone();
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("neither up nor down:\n{}", tail(&self.log(), 30))
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join(format!(".s.PGSQL.{PORT}"))
    }

    pub fn socket_dir(&self) -> &Path {
        &self.dir
    }

    pub fn port(&self) -> u16 {
        PORT
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn connect(
        &self,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Wire, SqlError> {
        // A server that another test brought down is that test's failure: wait for it to come back.
        for _ in 0..600 {
            match Wire::connect(&self.socket(), user, database, parameters) {
                Err(error) if error.code == "57P03" => {
                    std::thread::sleep(Duration::from_millis(200))
                }
                other => return other,
            }
        }
        Wire::connect(&self.socket(), user, database, parameters)
    }

    /// How often a server process of this cluster has died by itself so far.
    pub fn crashes(&self) -> usize {
        let mut seen = self.seen.lock().unwrap_or_else(|e| e.into_inner());
        // Asked around every test: only what is new is read, up to its last whole line.
        let mut new = Vec::new();
        if let Ok(mut file) = fs::File::open(self.dir.join("log")) {
            file.seek(SeekFrom::Start(seen.bytes))
                .and_then(|_| file.read_to_end(&mut new))
                .expect("the server's log can be read");
        }
        let whole = new.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&new[..whole]);
        seen.bytes += whole as u64;
        seen.crashes += text.matches("was terminated by signal 6:").count()
            + text.matches("was terminated by signal 11:").count();
        seen.crashes
    }

    /// What is to be done once in this cluster, before the first test in it.
    pub fn once(&self, prepare: impl FnOnce()) {
        self.prepared.call_once(prepare);
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    pub fn postmaster_pid(&self) -> String {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).expect("postmaster.pid");
        file.lines().next().expect("a pid").to_owned()
    }

    /// A signal to a process of this cluster.
    pub fn signal(&self, signal: &str, pid: &str) {
        must(Command::new("kill").args([&format!("-{signal}"), pid]));
    }

    /// psql of this version: for scripts with backslash commands.
    pub fn psql(&self, database: &str, file: &Path) {
        must(
            Command::new(bindir(self.version).join("psql"))
                .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-h"])
                .arg(&self.dir)
                .args(["-p", &PORT.to_string(), "-d", database, "-f"])
                .arg(file),
        );
    }

    /// One of the version's client programs, as a role: what it printed, or what it complained of.
    pub fn program(
        &self,
        program: &str,
        role: &str,
        database: &str,
        options: &str,
        arguments: &[&str],
    ) -> Result<String, String> {
        let output = Command::new(bindir(self.version).join(program))
            .args(["-U", role, "-h"])
            .arg(&self.dir)
            .args(["-p", &PORT.to_string(), "-d", database])
            .args(arguments)
            .env("PGOPTIONS", options)
            .output()
            .expect("the program runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Leaves a backend so many kB of address space beyond what it has (Linux).
    pub fn limit_memory(&self, pid: i32, room: u64) {
        let status =
            fs::read_to_string(format!("/proc/{pid}/status")).expect("the backend is there");
        let size = status
            .lines()
            .find_map(|line| line.strip_prefix("VmSize:"))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|size| size.parse::<u64>().ok())
            .expect("Linux says how large a process is");
        let limit = (size + room) * 1024;
        must(as_server("prlimit").args([format!("--pid={pid}"), format!("--as={limit}:{limit}")]));
    }

    /// Stops at once, as a power cut would for its clients.
    pub fn stop(&self) {
        if let Some((mut child, stdin)) =
            self.server.lock().unwrap_or_else(|e| e.into_inner()).take()
        {
            drop(stdin);
            let _ = child.wait();
        }
    }

    /// Stops at once and starts again: crash recovery.
    pub fn restart(&self) {
        self.stop();
        self.launch();
    }

    /// SIGKILL to every process of the server at once, as far as that goes: the postmaster is stopped
    /// first and can start no others.
    pub fn kill_all(&self) {
        let postmaster = self.postmaster_pid();
        self.signal("STOP", &postmaster);
        for child in children(&postmaster) {
            let _ = Command::new("kill").args(["-KILL", &child]).output();
        }
        self.signal("KILL", &postmaster);
        self.stop();
        self.wait_until_gone();
    }

    /// SIGKILL to the postmaster; its children notice by themselves.
    pub fn kill_postmaster_alone(&self) {
        self.signal("KILL", &self.postmaster_pid());
        self.wait_until_gone();
        self.stop();
    }

    /// Waits for every process that worked in the data directory: a start before that is refused.
    fn wait_until_gone(&self) {
        let data = self.data();
        let deadline = Instant::now() + Duration::from_secs(180);
        // A thread may end after the process's first one.
        let works_there = |process: &Path| {
            fs::read_dir(process.join("task")).is_ok_and(|all| {
                all.flatten()
                    .any(|t| fs::read_link(t.path().join("cwd")).is_ok_and(|cwd| cwd == data))
            })
        };
        while fs::read_dir("/proc").is_ok_and(|all| all.flatten().any(|p| works_there(&p.path()))) {
            assert!(
                Instant::now() < deadline,
                "processes of a killed server go on"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_file(data.join("postmaster.pid"));
    }

    /// A power cut, as far as the audit's spool is concerned: all processes end, and of the spool only
    /// that remains which was synced.
    pub fn power_cut(&self) {
        self.kill_all();
        self.faults().leave_what_is_durable();
    }

    /// Starts a server that has been stopped.
    pub fn start_again(&self) {
        self.launch();
    }

    /// SIGKILL to the postmaster, then a start as soon as the directory is free.
    pub fn kill_postmaster(&self) {
        self.kill_postmaster_alone();
        self.launch();
    }

    /// SIGKILL to one of the server's processes; waits until the server has ended all others for that and started
    /// anew. False where it has not: the process was about to end by itself.
    pub fn kill_process(&self, pid: &str) -> bool {
        let restarts = || {
            self.log()
                .matches("all server processes terminated; reinitializing")
                .count()
        };
        let before = restarts();
        let killed = Command::new("kill").args(["-KILL", pid]).output();
        let killed = killed.is_ok_and(|k| k.status.success());
        let mut deadline = Instant::now() + Duration::from_secs(20);
        let mut restarted = false;
        while !restarted && killed && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            if !Path::new("/proc").join(pid).exists() {
                // The postmaster has been told how it ended.
                deadline = deadline.min(Instant::now() + Duration::from_secs(5));
            }
            restarted = restarts() > before;
        }
        self.wait_until_ready();
        restarted
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
        if !KEEP.load(Ordering::Relaxed) && !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// The processes that a process has started and that are still there.
pub fn children(parent: &str) -> Vec<String> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// To be called last: removes what is left, or says where it was kept.
pub fn clean_up(failed: bool) {
    let dir = work_dir();
    for version in 15..=18 {
        let _ = fs::remove_dir_all(dir.join(format!("template{version}")));
    }
    if failed {
        let mut left = false;
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            left = true;
            // The log and the spool are worth keeping, the relations are not.
            let _ = fs::remove_dir_all(entry.path().join("data/base"));
            let _ = fs::remove_dir_all(entry.path().join("data/pg_wal"));
        }
        if left {
            eprintln!("server logs kept in {}", dir.display());
        }
    } else {
        let _ = fs::remove_dir_all(dir);
    }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
