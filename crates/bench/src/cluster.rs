//! Throw-away clusters on a Unix socket and the programs run against them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;

/// Where PostgreSQL's programs are, and as whom the servers run.
pub struct Place {
    pub bin: PathBuf,
    pub dir: PathBuf,
    pub tpch: PathBuf,
    /// When started as root: the user and group of the servers.
    pub owner: Option<(u32, u32)>,
}

impl Place {
    fn program(&self, name: &str) -> Command {
        Command::new(self.bin.join(name))
    }

    fn as_owner(&self, mut command: Command) -> Command {
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command.current_dir("/");
        command
    }

    /// Is a library there to be preloaded?
    pub fn has_library(&self, name: &str) -> Result<bool> {
        let dir = output(Command::new(self.bin.join("pg_config")).arg("--pkglibdir"))?;
        Ok(Path::new(dir.trim()).join(format!("{name}.so")).exists())
    }

    pub fn version(&self) -> Result<String> {
        let mut command = self.program("postgres");
        Ok(output(command.arg("--version"))?.trim().to_owned())
    }
}

/// A server that is stopped when this is dropped.
pub struct Cluster<'a> {
    place: &'a Place,
    pub data: PathBuf,
    socket: PathBuf,
    pub postmaster: u32,
}

/// One role's way into a cluster.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    cluster: &'a Cluster<'a>,
    role: &'a str,
}

/// What pgbench is to do.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    /// None: `-S`.
    pub script: Option<&'a str>,
    pub protocol: &'a str,
    pub clients: u32,
    pub processors: Processors,
}

/// Where pgbench and its sessions run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Processors {
    /// Wherever the system puts them.
    Any,
    /// On one; everything else of the server wherever the system puts it. A statement's time is then that of the work done
    /// for it: on two processors it is also how long the one takes to wake up the other, which with one client is half as
    /// much again or not, by where the system has happened to put them.
    One,
}

impl Processors {
    /// On one as well where there is one client, and no work for another processor.
    pub fn of(clients: u32) -> &'static [Self] {
        if clients == 1 {
            &[Self::One, Self::Any]
        } else {
            &[Self::Any]
        }
    }

    /// For the name of a figure.
    pub fn words(self) -> &'static str {
        match self {
            Self::One => ", on one processor",
            Self::Any => "",
        }
    }
}

/// The first CPU that this process may use.
fn first_cpu() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .ok_or("no list of CPUs")?;
    Ok(list
        .trim()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect())
}

/// The same program, environment included, on that CPU.
fn on_cpu(cpu: &str, command: &Command) -> Command {
    let mut there = Command::new("taskset");
    there.args(["-c", cpu]).arg(command.get_program());
    there.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    there
}

/// What a run of pgbench came to.
#[derive(Debug, Clone, Copy)]
pub struct Throughput {
    pub per_second: f64,
    /// Microseconds of the backends' CPU time for one transaction.
    pub cpu: f64,
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output()?;
    if !done.status.success() {
        return Err(format!("{command:?}\n{}", String::from_utf8_lossy(&done.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

impl<'a> Cluster<'a> {
    /// Creates and starts one; `settings` are lines of postgresql.conf.
    pub fn start(place: &'a Place, name: &str, settings: &str) -> Result<Self> {
        let data = place.dir.join(name);
        let socket = place.dir.join(format!("{name}.s"));
        for dir in [&data, &socket] {
            fs::create_dir_all(dir)?;
            if let Some((uid, gid)) = place.owner {
                chown(dir, Some(uid), Some(gid))?;
            }
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        }
        let mut initdb = place.as_owner(place.program("initdb"));
        initdb.arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        ]);
        output(&mut initdb)?;
        fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))?
            .write_all(
                format!(
                    "listen_addresses = ''\nunix_socket_directories = '{}'\n{settings}\n",
                    socket.display()
                )
                .as_bytes(),
            )?;
        let mut start = place.as_owner(place.program("pg_ctl"));
        start
            .arg("-D")
            .arg(&data)
            .arg("-l")
            .arg(data.join("log"))
            .args(["-w", "start"]);
        output(&mut start).map_err(|e| {
            format!(
                "{e}\n{}",
                fs::read_to_string(data.join("log")).unwrap_or_default()
            )
        })?;
        let postmaster = fs::read_to_string(data.join("postmaster.pid"))?
            .lines()
            .next()
            .and_then(|line| line.parse().ok())
            .ok_or("no pid in postmaster.pid")?;
        Ok(Self {
            place,
            data,
            socket,
            postmaster,
        })
    }

    pub fn client(&'a self, role: &'a str) -> Client<'a> {
        Client {
            cluster: self,
            role,
        }
    }

    /// Loads tables of TPC-H into the schema `public`, which has them.
    pub fn load_tpch(&self, scale: f64, tables: &[&str]) -> Result<()> {
        let mut generator = Command::new(&self.place.tpch)
            .arg(scale.to_string())
            .args(tables)
            .stdout(Stdio::piped())
            .spawn()?;
        let rows = generator.stdout.take().ok_or("no stdout")?;
        let mut psql = self.client("postgres").psql();
        let done = psql
            .args(["-q", "-o", "/dev/null"])
            .stdin(rows)
            .stdout(Stdio::null())
            .status()?;
        if !done.success() || !generator.wait()?.success() {
            return Err("loading TPC-H failed".into());
        }
        Ok(())
    }

    /// CPU time of the backends that have ended, in clock ticks: the postmaster waits for them.
    fn ended_ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.postmaster))?;
        let fields = stat.rsplit(')').next().ok_or("no stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Fields 16 and 17 of proc(5), the third being the first after the name.
        let of = |n: usize| {
            fields
                .get(n - 3)
                .and_then(|f| f.parse::<u64>().ok())
                .unwrap_or(0)
        };
        Ok(of(16) + of(17))
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        let mut stop = self.place.as_owner(self.place.program("pg_ctl"));
        stop.arg("-D")
            .arg(&self.data)
            .args(["-m", "immediate", "-w", "stop"]);
        if let Err(error) = output(&mut stop) {
            eprintln!("bench: {error}");
        }
        for dir in [&self.data, &self.socket] {
            let _ = fs::remove_dir_all(dir);
        }
    }
}

impl Client<'_> {
    fn connected(&self, program: &str) -> Command {
        let mut command = self.cluster.place.program(program);
        command
            .arg("-h")
            .arg(&self.cluster.socket)
            .args(["-U", self.role]);
        for (name, _) in std::env::vars() {
            if name.starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("PGOPTIONS", "-c agent_policy.user_email=bench@example.com");
        command
    }

    pub fn psql(&self) -> Command {
        let mut command = self.connected("psql");
        command.args(["-X", "-d", "postgres", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// Runs SQL; what it returns, unaligned.
    pub fn sql(&self, sql: &str) -> Result<String> {
        output(self.psql().args(["-qAt", "-c", sql])).map(|s| s.trim().to_owned())
    }

    /// Runs `sql` in a session of its own after `before`, once to warm up and then `times` times;
    /// the median of the times in milliseconds.
    pub fn time(&self, before: &str, sql: &str, times: usize) -> Result<f64> {
        let before = format!("{before};\n");
        self.time_with(self.psql(), &before, sql, times)
            .map(|(time, _)| time)
    }

    /// The same with client and session on one CPU; see [`Processors::One`].
    pub fn time_on_one_cpu(&self, sql: &str, times: usize) -> Result<f64> {
        let cpu = first_cpu()?;
        let there = on_cpu(&cpu, &self.psql());
        let before = format!(
            "SELECT pg_backend_pid() AS session \\gset\n\\echo `taskset -cp {cpu} :session > /dev/null && echo on one CPU`\n"
        );
        let (time, out) = self.time_with(there, &before, sql, times)?;
        if !out.contains("on one CPU") {
            return Err(format!("taskset: {out}").into());
        }
        Ok(time)
    }

    fn time_with(
        &self,
        mut psql: Command,
        before: &str,
        sql: &str,
        times: usize,
    ) -> Result<(f64, String)> {
        let mut script = format!("{before}{sql};\n\\timing on\n");
        for _ in 0..times {
            script.push_str(&format!("{sql};\n"));
        }
        let path = self
            .cluster
            .place
            .dir
            .join(format!("time-{}.sql", std::process::id()));
        fs::write(&path, script)?;
        let out = output(psql.args(["-q", "-o", "/dev/null", "-f"]).arg(&path))?;
        fs::remove_file(&path)?;
        let mut seen: Vec<f64> = out
            .lines()
            .filter_map(|line| line.strip_prefix("Time: ")?.split(' ').next()?.parse().ok())
            .collect();
        if seen.len() != times {
            return Err(format!("{} of {times} times in: {out}", seen.len()).into());
        }
        Ok((crate::median(&mut seen), out))
    }

    pub fn pgbench_init(&self, scale: u32) -> Result<()> {
        let mut command = self.connected("pgbench");
        output(command.args(["-i", "-q", "-s", &scale.to_string(), "postgres"])).map(drop)
    }

    /// pgbench for that long.
    pub fn load(&self, load: &Load, time: Duration) -> Result<Throughput> {
        let before = self.cluster.ended_ticks()?;
        let mut command = self.connected("pgbench");
        let seconds = time.as_secs().max(1).to_string();
        let clients = load.clients.to_string();
        let threads = load.clients.min(2).to_string();
        command.args(["-n", "-M", load.protocol, "-c", &clients, "-j", &threads]);
        command.args(["-T", &seconds]);
        match load.script {
            Some(script) => {
                let path = self
                    .cluster
                    .place
                    .dir
                    .join(format!("load-{}.sql", std::process::id()));
                fs::write(&path, script)?;
                command.arg("-f").arg(path);
            }
            None => {
                command.arg("-S");
            }
        }
        command.arg("postgres");
        let out = match load.processors {
            Processors::Any => output(&mut command)?,
            Processors::One => self.on_one_cpu(&command)?,
        };
        let number = |prefix: &str| -> Option<f64> {
            let line = out.lines().find_map(|line| line.strip_prefix(prefix))?;
            line.split([' ', '/']).find(|w| !w.is_empty())?.parse().ok()
        };
        let per_second = number("tps = ").ok_or_else(|| format!("no tps in: {out}"))?;
        let done = number("number of transactions actually processed: ").ok_or("no count")?;
        // The postmaster reaps a backend after the client has seen it go.
        std::thread::sleep(Duration::from_millis(200));
        let ticks = self.cluster.ended_ticks()? - before;
        Ok(Throughput {
            per_second,
            cpu: ticks as f64 * 10_000.0 / done,
        })
    }

    /// What a pgbench of one client prints that shares a CPU with its session.
    fn on_one_cpu(&self, pgbench: &Command) -> Result<String> {
        let cpu = first_cpu()?;
        let mut there = on_cpu(&cpu, pgbench);
        let running = there
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Its first connection is one to look around, and is gone at once.
        let lasting = "FROM pg_stat_activity WHERE application_name = 'pgbench' AND clock_timestamp() - backend_start > '0.1 s'";
        let session = self.cluster.client("postgres").sql(&format!(
            "DO $$BEGIN
               FOR i IN 1 .. 500 LOOP
                 EXIT WHEN EXISTS (SELECT {lasting});
                 PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
               END LOOP;
             END$$;
             SELECT pid {lasting}"
        ));
        // Its threads, too.
        let moved = session.and_then(|session| {
            output(
                Command::new("taskset")
                    .args(["-a", "-c", "-p", &cpu])
                    .arg(session),
            )
        });
        let done = running.wait_with_output()?;
        moved?;
        if !done.status.success() {
            return Err(format!("{there:?}\n{}", String::from_utf8_lossy(&done.stderr)).into());
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Kilobytes of memory of its own that a backend holds after `sql`.
    pub fn private_memory(&self, sql: &str) -> Result<f64> {
        let path = self
            .cluster
            .place
            .dir
            .join(format!("memory-{}.sql", std::process::id()));
        // psql does not put variables into \!, hence the environment.
        fs::write(
            &path,
            format!(
                "{sql};\nSELECT pg_backend_pid() AS pid \\gset\n\\setenv BACKEND :pid\n\\! cat /proc/$BACKEND/smaps\n"
            ),
        )?;
        let out = output(self.psql().args(["-qAt", "-f"]).arg(&path))?;
        fs::remove_file(&path)?;
        // A page of shared memory that nobody else has touched yet counts as private, too: only
        // mappings that are private (rw-p, not rw-s) are added up.
        let (mut sum, mut private) = (0.0, false);
        for line in out.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some(range), Some(flags)) if range.contains('-') && flags.len() == 4 => {
                    private = flags.ends_with('p');
                }
                (Some("Private_Dirty:" | "Private_Clean:"), Some(kb)) if private => {
                    sum += kb.parse::<f64>()?;
                }
                _ => {}
            }
        }
        Ok(sum)
    }
}

/// Bytes of a file.
pub fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.len())
}
