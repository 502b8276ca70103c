//! The worker of a database on a standby: from its spool files to the primary.
//!
//! A file is handed over byte by byte under its own name, and removed when `audit_progress`, as
//! replicated, says that the primary's worker has read it: rows and progress come in one
//! transaction. So whenever this server is promoted, its tables say what of its files is missing in
//! them; what the primary was given and had not committed, or not sent, is among it. Nothing is
//! remembered here that a restart could lose.

use super::received::Position;
use super::settings::ship_conninfo;
use super::{node, now, spool, tables};
use crate::pg::bgworker::{self, transaction};
use crate::pg::facts;
use crate::pg::libpq::{self, Connection, Failure, Param};
use crate::pg::shmem::{Slot, State};
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A connection that stayed open would keep the primary from dropping the database.
const IDLE: Duration = Duration::from_secs(2);
const CONNECTING: Duration = Duration::from_secs(10);
const ANSWERING: Duration = Duration::from_secs(30);
/// How long the log may lag behind what was handed over before the primary is asked again.
const UNSEEN: Duration = Duration::from_secs(60);
const FORGET_AGAIN: Duration = Duration::from_secs(10);
const RECEIVE: &CStr =
    c"SELECT next_segment, next_at, finished FROM agent_policy.audit_receive($1, $2, $3, $4)";

/// A session of this server.
#[derive(Default)]
struct Session {
    /// Where the whole records of each segment end.
    ends: BTreeMap<u32, u64>,
    /// Its process is gone.
    gone: bool,
    /// How far the table is, as replicated; `None` as long as it knows nothing of the session.
    seen: Option<Position>,
    /// How far the primary is, as it said.
    given: Option<Position>,
    /// … over the connection at hand.
    asked: bool,
    /// It knows that nothing follows.
    told: bool,
}

impl Session {
    /// Bytes that the table has not.
    fn unseen(&self) -> u64 {
        let (segment, at) = self.seen.unwrap_or_default();
        let behind = self.ends.range(segment..);
        let all: u64 = behind.map(|(_, end)| end).sum();
        let read = self.ends.get(&segment).map_or(0, |end| at.min(*end));
        all.saturating_sub(read)
    }

    /// Is there something that the primary has not been given?
    fn waits(&self) -> bool {
        let (segment, at) = self.given.or(self.seen).unwrap_or_default();
        let more = |(n, end): (&u32, &u64)| *end > if *n == segment { at } else { 0 };
        self.ends.range(segment..).any(more) || self.gone && !self.told
    }
}

struct Shipper<'a> {
    slot: &'a Slot,
    own: String,
    dir: PathBuf,
    database: String,
    sessions: BTreeMap<String, Session>,
    /// In the table, without files: when the primary was last told.
    forgotten: BTreeMap<String, Option<Instant>>,
    connection: Option<Connection>,
    /// After a failure.
    not_before: Option<Instant>,
    /// When the table, or the primary, last went on.
    advanced: Instant,
}

/// Hands over what there is; runs until there has been nothing to do for a while, or this is no
/// standby any more.
pub fn ship(database: u32, slot: &Slot) {
    let Some(own) = node::own() else {
        error!("it is not known which server this is");
    };
    let name = transaction(|| bgworker::extension_installed().then(facts::database_name));
    let Some(name) = name else {
        slot.failed_at.store(now(), SeqCst);
        slot.set_state(State::NoExtension);
        return;
    };
    let mut shipper = Shipper {
        slot,
        own,
        dir: spool::root(&bgworker::this_backend().data_dir).join(database.to_string()),
        database: name,
        sessions: BTreeMap::new(),
        forgotten: BTreeMap::new(),
        connection: None,
        not_before: None,
        advanced: Instant::now(),
    };
    let mut busy_at = Instant::now();
    loop {
        if bgworker::reload_config() {
            // There may be another way to the primary now.
            shipper.start_over();
            shipper.not_before = None;
        }
        // Nobody can be notified here.
        slot.to_notify.store(0, SeqCst);
        if !bgworker::in_recovery() || ship_conninfo().is_none() {
            return;
        }
        let (busy, left) = shipper.look();
        if busy {
            busy_at = Instant::now();
        } else if busy_at.elapsed() > IDLE {
            shipper.disconnect();
            if !left {
                return;
            }
        }
        bgworker::nap(BETWEEN_LOOKS);
    }
}

impl Shipper<'_> {
    /// Whether anything was done, and whether anything is left to do.
    fn look(&mut self) -> (bool, bool) {
        let slot = self.slot;
        let ticket = slot.wanted.load(SeqCst);
        let ended = slot.ended.load(SeqCst);
        let written = slot.written.load(SeqCst);
        let seen = transaction(|| {
            bgworker::hold_extension();
            if !bgworker::extension_installed() {
                error!("the extension was dropped");
            }
            tables::progress_of_node(&self.own)
        });
        let cleared = match self.list(&seen) {
            Ok(cleared) => cleared,
            Err(e) => error!("could not read the audit spool: {e}"),
        };
        slot.seen_written.store(written, SeqCst);
        slot.backlog.store(self.unseen(), SeqCst);
        slot.seen_ended.store(ended, SeqCst);
        slot.done.store(ticket, SeqCst);
        if self.unseen() == 0 {
            slot.caught_up_at.store(now(), SeqCst);
        }
        if self.unseen() == 0 && !self.over_but_kept() {
            self.advanced = Instant::now();
        } else if self.advanced.elapsed() > UNSEEN {
            self.start_over();
            self.advanced = Instant::now();
        }
        let due = self.not_before.is_none_or(|t| Instant::now() >= t);
        let waits = self.sessions.values().any(Session::waits)
            || self
                .forgotten
                .values()
                .any(|t| t.is_none_or(|t| t.elapsed() > FORGET_AGAIN));
        let mut given = false;
        if waits && due {
            match self.give() {
                Ok(()) => {
                    given = true;
                    self.not_before = None;
                    slot.failures.store(0, SeqCst);
                    slot.set_error("");
                }
                Err(e) => self.failed(&e),
            }
        }
        let left = waits || self.unseen() > 0 || !self.forgotten.is_empty() || self.over_but_kept();
        (cleared || given, left)
    }

    fn unseen(&self) -> u64 {
        self.sessions.values().map(Session::unseen).sum()
    }

    /// Sessions that are over, whose files the table has not let go.
    fn over_but_kept(&self) -> bool {
        self.sessions.values().any(|s| s.gone)
    }

    fn disconnect(&mut self) {
        self.connection = None;
        self.sessions.values_mut().for_each(|s| s.asked = false);
    }

    /// Everything is handed over again that the table has not.
    fn start_over(&mut self) {
        self.disconnect();
        for s in self.sessions.values_mut() {
            s.given = None;
            s.told = false;
        }
    }

    fn failed(&mut self, e: &Failure) {
        self.start_over();
        let slot = self.slot;
        let failures = slot.failures.fetch_add(1, SeqCst).min(5);
        slot.failed_at.store(now(), SeqCst);
        let words: Vec<_> = e.message.split_whitespace().collect();
        slot.set_error(&words.join(" "));
        self.not_before = Some(Instant::now() + Duration::from_secs(1 << failures));
    }

    /// Looks at the files and removes those that the table has; whether there were any.
    fn list(&mut self, seen: &BTreeMap<String, (Position, bool)>) -> io::Result<bool> {
        let mut files: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(entries) => {
                for entry in entries {
                    let name = entry?.file_name();
                    let Some((session, segment)) = name.to_str().and_then(spool::parse_name) else {
                        continue;
                    };
                    if node::of(session) == self.own {
                        files.entry(session.to_owned()).or_default().insert(segment);
                    }
                }
            }
        }
        let mut removed = false;
        for (session, segments) in &mut files {
            let Some(((reached, _), finished)) = seen.get(session) else {
                continue;
            };
            for segment in segments.extract_if(.., |n| *finished || *n < *reached) {
                fs::remove_file(self.dir.join(spool::segment_name(session, segment)))?;
                removed = true;
            }
        }
        if removed {
            File::open(&self.dir)?.sync_all()?;
        }
        files.retain(|_, segments| !segments.is_empty());
        // Only what is durably gone is forgotten.
        self.forgotten
            .retain(|s, _| seen.contains_key(s) && !files.contains_key(s));
        for session in seen.keys().filter(|s| !files.contains_key(*s)) {
            self.forgotten.entry(session.clone()).or_default();
        }
        self.sessions.retain(|s, _| files.contains_key(s));
        for (name, segments) in files {
            self.scan(&name, &segments, seen.get(&name).map(|(p, _)| *p))?;
        }
        Ok(removed)
    }

    fn scan(
        &mut self,
        name: &str,
        segments: &BTreeSet<u32>,
        seen: Option<Position>,
    ) -> io::Result<()> {
        let s = self.sessions.entry(name.to_owned()).or_default();
        if s.seen != seen {
            s.seen = seen;
            self.advanced = Instant::now();
        }
        s.given = s.given.max(seen);
        s.ends.retain(|n, _| segments.contains(n));
        if s.gone {
            return Ok(());
        }
        // Asked before its files are read to the end.
        let path = |n| self.dir.join(spool::segment_name(name, n));
        let last = segments.last().copied().unwrap_or(0);
        let gone = File::open(path(last))?.try_lock_shared().is_ok() && !path(last + 1).exists();
        for &segment in segments.range(s.ends.keys().next_back().copied().unwrap_or(0)..) {
            let end = s.ends.entry(segment).or_insert(match seen {
                Some((reached, at)) if reached == segment => at,
                _ => 0,
            });
            let file = File::open(path(segment))?;
            loop {
                let frames = spool::frames_at(&file, *end)?;
                if frames.is_empty() {
                    break;
                }
                *end += frames.len() as u64;
                pg_sys::check_for_interrupts!();
            }
        }
        s.gone = gone;
        Ok(())
    }

    /// Hands over everything that the primary has not.
    fn give(&mut self) -> Result<(), Failure> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.options()?, CONNECTING)?);
        }
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        for (name, s) in self.sessions.iter_mut().filter(|(_, s)| s.waits()) {
            let session = c(name);
            if !s.asked {
                // Whatever an earlier connection said, it may be another server by now.
                (s.given, s.told, s.asked) = (s.seen, false, true);
            }
            while let Some((position, records)) = next(&self.dir, name, s)
                .map_err(|e| Failure::new(format!("could not read the audit spool: {e}")))?
            {
                let (reached, finished) = call(connection, &session, position, Some(&records))?;
                if finished {
                    s.given = s.ends.last_key_value().map(|(n, end)| (*n, *end));
                    s.told = true;
                    break;
                }
                let before = s.given.replace(reached);
                if before == Some(reached) {
                    return Err(Failure::new("the primary does not take what it asks for"));
                }
                self.advanced = Instant::now();
                pg_sys::check_for_interrupts!();
                if !bgworker::in_recovery() {
                    return Ok(());
                }
            }
            if s.gone && !s.told {
                call(connection, &session, s.given.unwrap_or_default(), None)?;
                s.told = true;
            }
        }
        for (session, told) in &mut self.forgotten {
            if told.is_none_or(|t| t.elapsed() > FORGET_AGAIN) {
                connection.query(
                    RECEIVE,
                    &[
                        Param::Text(&c(session)),
                        Param::Null,
                        Param::Null,
                        Param::Null,
                    ],
                    ANSWERING,
                )?;
                *told = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// What the setting says; what it does not, replication does.
    fn options(&self) -> Result<Vec<(String, String)>, Failure> {
        const FROM_REPLICATION: &[&str] = &[
            "host",
            "hostaddr",
            "port",
            "sslmode",
            "sslnegotiation",
            "sslcert",
            "sslkey",
            "sslrootcert",
            "sslcrl",
            "sslcrldir",
            "sslsni",
            "ssl_min_protocol_version",
            "ssl_max_protocol_version",
            "gssencmode",
            "krbsrvname",
            "channel_binding",
            "keepalives",
            "keepalives_idle",
            "keepalives_interval",
            "keepalives_count",
            "tcp_user_timeout",
        ];
        let set = ship_conninfo().unwrap_or_default();
        let mut options = libpq::parse(&set).map_err(|e| {
            Failure::new(format!("agent_policy.audit_ship_conninfo: {}", e.message))
        })?;
        let has = |options: &[(String, String)], key: &str| options.iter().any(|(k, _)| k == key);
        for (key, instead) in [
            ("password", "use passfile or service"),
            (
                "dbname",
                "each database's records go to the database of that name",
            ),
            ("replication", "leave it out"),
        ] {
            if has(&options, key) {
                return Err(Failure::new(format!(
                    "agent_policy.audit_ship_conninfo must not have {key}: {instead}"
                )));
            }
        }
        let elsewhere = ["host", "hostaddr", "service"]
            .iter()
            .any(|k| has(&options, k));
        if !elsewhere && let Some(replication) = facts::primary_conninfo() {
            for (key, value) in libpq::parse(&replication)? {
                if FROM_REPLICATION.contains(&key.as_str()) && !has(&options, &key) {
                    options.push((key, value));
                }
            }
        }
        options.push(("dbname".into(), self.database.clone()));
        for (key, value) in [
            ("application_name", "agent_policy audit shipper"),
            ("target_session_attrs", "read-write"),
            ("client_encoding", "UTF8"),
        ] {
            if !has(&options, key) {
                options.push((key.into(), value.into()));
            }
        }
        Ok(options)
    }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// The records to hand over next, and where they stand.
fn next(dir: &std::path::Path, name: &str, s: &Session) -> io::Result<Option<(Position, Vec<u8>)>> {
    let (from, at) = s.given.unwrap_or_default();
    for (&segment, &end) in s.ends.range(from..) {
        let at = if segment == from { at } else { 0 };
        if at < end {
            let file = File::open(dir.join(spool::segment_name(name, segment)))?;
            let records = spool::frames_at(&file, at)?;
            if records.is_empty() {
                return Err(io::Error::other("no record where the primary asks for one"));
            }
            return Ok(Some(((segment, at), records)));
        }
    }
    Ok(None)
}

/// How far the primary is, and whether it has the whole session.
fn call(
    connection: &mut Connection,
    session: &CStr,
    (segment, at): Position,
    records: Option<&[u8]>,
) -> Result<(Position, bool), Failure> {
    let answer = connection.query(
        RECEIVE,
        &[
            Param::Text(session),
            Param::Text(&c(&segment.to_string())),
            Param::Text(&c(&at.to_string())),
            records.map_or(Param::Null, Param::Bytes),
        ],
        ANSWERING,
    )?;
    let field = |n: usize| answer.get(n).and_then(Option::as_deref);
    let number = |n| field(n).and_then(|v| v.parse::<u64>().ok());
    match (number(0).and_then(|n| u32::try_from(n).ok()), number(1)) {
        (Some(segment), Some(at)) => Ok(((segment, at), field(2) == Some("t"))),
        _ => Err(Failure::new("the primary gave no answer that makes sense")),
    }
}
