//! The worker of a database on a standby: from its spool files to the primary.
//!
//! A file is handed over byte by byte under its own name, and removed when `audit_progress`, as
//! replicated, says that the primary's worker has read it: rows and progress come in one
//! transaction. So whenever this server is promoted, its tables say what of its files is missing in
//! them; what the primary was given and had not committed, or not sent, is among it. Nothing is
//! remembered here that a restart could lose.

mod files;

use super::received::Position;
use super::settings::ship_conninfo;
use super::{node, now, primary, spool, tables};
use crate::pg::bgworker::{self, transaction};
use crate::pg::facts;
use crate::pg::libpq::{Connection, Failure, Param};
use crate::pg::shmem::{Slot, State};
use pgrx::prelude::*;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// A connection that stayed open would keep the primary from dropping the database.
const IDLE: Duration = Duration::from_secs(2);
const ANSWERING: Duration = Duration::from_secs(30);
/// How long the log may lag behind what was handed over of a session before the primary is asked again.
const UNSEEN: Duration = Duration::from_secs(30);
const FORGET_AGAIN: Duration = Duration::from_secs(10);
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
const RECEIVE: &CStr =
    c"SELECT next_segment, next_at, finished FROM agent_policy.audit_receive($1, $2, $3, $4, $5)";
/// Bytes handed over at a time, or one record.
const AT_A_TIME: usize = 256 << 10;

/// What there was at a time: where each session's records ended, and how much had been written.
struct Mark {
    at: i64,
    written: u64,
    ends: BTreeMap<String, Position>,
}

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
    /// It knows that nothing follows.
    told: bool,
    /// When the table, or the primary, last went on with it.
    advanced: Option<Instant>,
    /// When it last refused what is in the files, and why.
    refused: Option<(Instant, String)>,
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

    /// Hands it over again from where the table is, if that has not moved for long.
    fn doubt(&mut self) {
        if self.unseen() == 0 && !self.gone {
            self.advanced = None;
        } else if self.advanced.get_or_insert_with(Instant::now).elapsed() > UNSEEN {
            self.start_over();
        }
    }

    fn start_over(&mut self) {
        self.given = self.seen;
        self.told = false;
        self.advanced = None;
    }

    /// Is there something that the primary has not been given?
    fn waits(&self) -> bool {
        if self
            .refused
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() < REFUSED_AGAIN)
        {
            return false;
        }
        let (segment, at) = self.given.or(self.seen).unwrap_or_default();
        let more = |(n, end): (&u32, &u64)| *end > if *n == segment { at } else { 0 };
        self.ends.range(segment..).any(more) || self.gone && !self.told
    }

    /// Hands over what there is.
    fn give(&mut self, connection: &mut Connection, dir: &Path, name: &str) -> Result<(), Failure> {
        let session = c(name);
        let spool = |e| Failure::new(format!("could not read the audit spool: {e}"));
        while let Some((position, records)) = next(dir, name, self).map_err(spool)? {
            let (reached, _) = call(connection, &session, Some(position), Some(&records))?;
            if self.given.replace(reached) == Some(reached) {
                return Err(Failure::new("the primary does not take what it asks for"));
            }
            self.advanced = None;
            pg_sys::check_for_interrupts!();
            if !bgworker::in_recovery() {
                return Ok(());
            }
        }
        if self.gone && !self.told {
            let position = self.given.unwrap_or_default();
            call(connection, &session, Some(position), None)?;
            self.told = true;
        }
        Ok(())
    }
}

struct Shipper<'a> {
    slot: &'a Slot,
    own: String,
    dir: PathBuf,
    sessions: BTreeMap<String, Session>,
    /// In the table, without files: when the primary was last told.
    forgotten: BTreeMap<String, Option<Instant>>,
    /// In the table, not finished, and nothing that this server ever had.
    strange: Option<String>,
    /// What was told of single sessions.
    told: Option<String>,
    /// When this server started, as sessions say it.
    started_at: i64,
    connection: Option<Connection>,
    /// After a failure.
    not_before: Option<Instant>,
    /// The log has not yet all that there was then.
    mark: Option<Mark>,
}

/// Hands over what there is; runs until there has been nothing to do for a while, or this is no
/// standby any more.
pub fn ship(database: u32, slot: &Slot) {
    let Some(own) = node::own() else {
        error!("it is not known which server this is");
    };
    if !transaction(bgworker::extension_installed) {
        slot.failed_at.store(now(), SeqCst);
        slot.set_state(State::NoExtension);
        return;
    }
    let mut shipper = Shipper {
        slot,
        own,
        dir: spool::root(&bgworker::this_backend().data_dir).join(database.to_string()),
        sessions: BTreeMap::new(),
        forgotten: BTreeMap::new(),
        strange: None,
        told: None,
        started_at: facts::server_started_at(),
        connection: None,
        not_before: None,
        mark: None,
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
            shipper.connection = None;
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
        let (written, began) = (slot.written(), now());
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
            slot.caught_up(began, written);
            self.mark = None;
        } else {
            self.follow(began, written);
        }
        self.sessions.values_mut().for_each(Session::doubt);
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
                    self.well();
                }
                Err(e) => self.failed(&e),
            }
        }
        if self.not_before.is_none() {
            self.tell_of_sessions();
        }
        let left = waits
            || self.strange.is_some()
            || self.unseen() > 0
            || !self.forgotten.is_empty()
            || self.over_but_kept();
        (cleared || given, left)
    }

    /// What the log has is always a little behind: it is compared with what there was some looks ago.
    fn follow(&mut self, began: i64, written: u64) {
        let has = |(name, end): (&String, &Position)| {
            let session = self.sessions.get(name);
            session.is_none_or(|s| s.seen.is_some_and(|seen| seen >= *end))
        };
        if let Some(mark) = &self.mark {
            if !mark.ends.iter().all(has) {
                return;
            }
            self.slot.caught_up(mark.at, mark.written);
        }
        let end = |s: &Session| s.ends.iter().next_back().map(|(n, end)| (*n, *end));
        self.mark = Some(Mark {
            at: began,
            written,
            ends: self
                .sessions
                .iter()
                .filter_map(|(name, s)| Some((name.clone(), end(s)?)))
                .collect(),
        });
    }

    fn unseen(&self) -> u64 {
        self.sessions.values().map(Session::unseen).sum()
    }

    /// Sessions that are over, whose files the table has not let go.
    fn over_but_kept(&self) -> bool {
        self.sessions.values().any(|s| s.gone)
    }

    /// Everything is handed over again that the table has not.
    fn start_over(&mut self) {
        self.connection = None;
        self.sessions.values_mut().for_each(Session::start_over);
    }

    fn well(&mut self) {
        if !self.sessions.values().any(|s| s.refused.is_some()) && self.strange.is_none() {
            self.slot.failures.store(0, SeqCst);
            self.slot.set_error("");
        }
    }

    /// What is wrong with single sessions, while the others are handed over.
    fn tell_of_sessions(&mut self) {
        let refused = self.sessions.values().find_map(|s| s.refused.as_ref());
        let trouble = self
            .strange
            .as_ref()
            .map(|session| {
                format!(
                    "session {session} is none of this server: another one has its number, one is \
                     a copy of the other"
                )
            })
            .or_else(|| refused.map(|(_, why)| why.clone()));
        match &trouble {
            Some(what) if trouble != self.told => {
                self.slot.set_error(what);
                self.slot.failed_at.store(now(), SeqCst);
                self.slot.failures.fetch_max(1, SeqCst);
            }
            None if self.told.is_some() => self.well(),
            _ => {}
        }
        self.told = trouble;
    }

    fn failed(&mut self, e: &Failure) {
        self.start_over();
        self.told = None;
        let failures = self.slot.failed(&one_line(&e.message)).min(5);
        self.not_before = Some(Instant::now() + Duration::from_secs(1 << failures));
    }

    /// Hands over everything that the primary has not. What it refuses of one session does not keep
    /// it from the others.
    fn give(&mut self) -> Result<(), Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                // Whatever was said before, it may be another server by now.
                self.start_over();
                primary::connect()?
            }
        };
        for (name, s) in self.sessions.iter_mut().filter(|(_, s)| s.waits()) {
            match s.give(&mut connection, &self.dir, name) {
                Ok(()) => s.refused = None,
                Err(e) if e.is_about_data() => {
                    s.refused = Some((Instant::now(), one_line(&e.message)));
                }
                Err(e) => return Err(e),
            }
            pg_sys::check_for_interrupts!();
            if !bgworker::in_recovery() {
                return Ok(());
            }
        }
        for (session, told) in &mut self.forgotten {
            if told.is_none_or(|t| t.elapsed() > FORGET_AGAIN) {
                call(&mut connection, &c(session), None, None)?;
                *told = Some(Instant::now());
            }
        }
        self.connection = Some(connection);
        Ok(())
    }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The records to hand over next, and where they stand.
fn next(dir: &Path, name: &str, s: &Session) -> io::Result<Option<(Position, Vec<u8>)>> {
    let (from, at) = s.given.unwrap_or_default();
    for (&segment, &end) in s.ends.range(from..) {
        let at = if segment == from { at } else { 0 };
        if at < end {
            let file = File::open(dir.join(spool::segment_name(name, segment)))?;
            let records = spool::frames_at(&file, at, AT_A_TIME)?;
            if records.is_empty() {
                return Err(io::Error::other("no record where the primary asks for one"));
            }
            return Ok(Some(((segment, at), records)));
        }
    }
    Ok(None)
}

/// How far the primary is, and whether it has the session as over. Without a position: nothing is
/// left of it here.
fn call(
    connection: &mut Connection,
    session: &CStr,
    position: Option<Position>,
    records: Option<&[u8]>,
) -> Result<(Position, bool), Failure> {
    let number = |n: Option<u64>| n.map(|n| c(&n.to_string()));
    let segment = number(position.map(|(segment, _)| segment.into()));
    let at = number(position.map(|(_, at)| at));
    let start = c(&node::start().to_string());
    // The first call of a server is to note who calls.
    for _ in 0..3 {
        let answer = connection.query(
            RECEIVE,
            &[
                Param::Text(session),
                segment.as_deref().map_or(Param::Null, Param::Text),
                at.as_deref().map_or(Param::Null, Param::Text),
                records.map_or(Param::Null, Param::Bytes),
                Param::Text(&start),
            ],
            ANSWERING,
        )?;
        if answer.is_empty() {
            continue;
        }
        let field = |n: usize| answer.get(n).and_then(Option::as_deref);
        let number = |n| field(n).and_then(|v| v.parse::<u64>().ok());
        return match (number(0).and_then(|n| u32::try_from(n).ok()), number(1)) {
            (Some(segment), Some(at)) => Ok(((segment, at), field(2) == Some("t"))),
            _ => Err(Failure::new("the primary gave no answer that makes sense")),
        };
    }
    Err(Failure::new(
        "the primary does not note whose records these are",
    ))
}
