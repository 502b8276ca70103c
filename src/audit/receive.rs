//! What a standby calls on the primary: `agent_policy.audit_receive`.
//!
//! The one thing that its role may do. Records become a copy of the standby's spool file, which the
//! worker reads as it reads those of this server: same order, same chain, same transaction for rows
//! and progress. No lock of PostgreSQL is held beyond the call that could keep the worker waiting.

use super::api::{my_slot, raise};
use super::received::{self, Position};
use super::settings::max_spool;
use super::{node, now, spool, tables};
use crate::pg::shmem::{self, Slot};
use crate::pg::{bgworker, users};
use pgrx::PgSqlErrorCode as Code;
use pgrx::prelude::*;
use policy::record::{self, Frame, Record};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const DAY: i64 = 86_400_000_000;
/// Each day is a partition.
const OLDEST: i64 = 366 * DAY;
/// Clocks differ.
const AHEAD: i64 = DAY;
const MOST_SEGMENTS: u32 = 99_999_999;
const PATIENCE: Duration = Duration::from_secs(5);

fn refuse(code: Code, message: &str, hint: &str) -> ! {
    raise(code, message, hint)
}

fn failed(what: &str, e: &io::Error) -> ! {
    refuse(
        Code::ERRCODE_IO_ERROR,
        &format!("could not {what} audit records of a standby: {e}"),
        "It will hand them over again.",
    )
}

/// Takes records of a session of another server that begin `at` in its spool file `segment`; how
/// far its files are here, which is what to go on from. Without records: the files end there.
/// Without a segment: the server has none any more.
#[pg_extern(sql = false)]
fn audit_receive(
    session: Option<&str>,
    segment: Option<i32>,
    at: Option<i64>,
    records: Option<&[u8]>,
) -> TableIterator<
    'static,
    (
        name!(next_segment, i32),
        name!(next_at, i64),
        name!(finished, bool),
    ),
> {
    let session = session.unwrap_or_default();
    let slot = admit(session);
    let dir = spool::root(&bgworker::this_backend().data_dir).join(slot.database().to_string());
    if let Err(e) = spool::create_dirs(&dir) {
        failed("store", &e);
    }
    let position = match (segment, at) {
        (None, _) => None,
        (Some(segment), Some(at)) => {
            let segment = u32::try_from(segment).ok().filter(|n| *n <= MOST_SEGMENTS);
            match (segment, u64::try_from(at)) {
                (Some(segment), Ok(at)) => Some((segment, at)),
                _ => refuse(
                    Code::ERRCODE_DATA_EXCEPTION,
                    "no such position",
                    "See audit_receive.",
                ),
            }
        }
        (Some(_), None) => refuse(
            Code::ERRCODE_DATA_EXCEPTION,
            "no position",
            "See audit_receive.",
        ),
    };
    let (reached, finished) = match (position, records) {
        (None, _) => {
            if let Err(e) = received::note_forget(&dir, session) {
                failed("forget", &e);
            }
            news(slot);
            ((0, 0), true)
        }
        (Some(position), None) => {
            let known = tables::progress_of(session);
            let finished = known.is_some_and(|(_, finished)| finished);
            if !finished {
                if let Err(e) = received::note_end(&dir, session, position) {
                    failed("end", &e);
                }
                news(slot);
            }
            (position, finished)
        }
        (Some(position), Some(records)) => {
            check(session, records);
            match take(slot, &dir, session, position, records) {
                Ok(answer) => answer,
                Err(e) => failed("store", &e),
            }
        }
    };
    TableIterator::once((
        i32::try_from(reached.0).unwrap_or(i32::MAX),
        i64::try_from(reached.1).unwrap_or(i64::MAX),
        finished,
    ))
}

fn news(slot: &Slot) {
    slot.ended.fetch_add(1, SeqCst);
    wake(slot);
}

fn wake(slot: &Slot) {
    if slot.worker.pid().is_none()
        && let Some(shared) = shmem::shared()
    {
        shared.wake_launcher();
    }
}

/// Whether the caller may speak for the server whose session this is.
fn admit(session: &str) -> &'static Slot {
    let slot = my_slot();
    if bgworker::in_recovery() {
        refuse(
            Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "a standby takes no audit records",
            "Name the primary's host in agent_policy.audit_ship_conninfo.",
        );
    }
    if !node::is_session(session) {
        refuse(
            Code::ERRCODE_DATA_EXCEPTION,
            "that is not the name of a session",
            "Call it from the audit worker of a standby only.",
        );
    }
    let of = node::of(session);
    let caller = users::login();
    if !tables::is_shipper(caller) {
        refuse(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "this role may not hand over audit records",
            "SELECT agent_policy.add_standby('role');",
        );
    }
    if node::own().is_none_or(|own| own == of) {
        refuse(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "these are audit records of this very server",
            "A standby that was made by copying files has the primary's number: stop it, remove \
             agent_policy/pgsql_tmp_spool from its data directory, and start it again.",
        );
    }
    if !tables::claim_node(of, caller) {
        refuse(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            &format!("server {of} does not hand over its audit records by this role"),
            &format!("If it does: SELECT agent_policy.add_standby('role', '{of}');"),
        );
    }
    let backlog = slot.backlog();
    if backlog > max_spool() / 2 {
        refuse(
            Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            &format!("{backlog} bytes of audit records wait on the primary"),
            "They are taken again when its worker has caught up.",
        );
    }
    slot
}

/// Whole records, that say which server wrote them, of a time that can be.
fn check(session: &str, records: &[u8]) {
    let mut rest = records;
    let suffix = node::session_id("", node::of(session));
    let days = now() - OLDEST..now() + AHEAD;
    while !rest.is_empty() {
        let Frame::Whole(payload, n) = record::first_frame(rest) else {
            not_records();
        };
        match record::decode(payload) {
            Some(Record::Start(s) | Record::Whole(s, _))
                if !s.origin.session_id.ends_with(&suffix) || !days.contains(&s.started_at) =>
            {
                not_records()
            }
            Some(_) => rest = rest.get(n..).unwrap_or_default(),
            None => not_records(),
        }
    }
}

fn not_records() -> ! {
    refuse(
        Code::ERRCODE_DATA_EXCEPTION,
        "these are not audit records of that server",
        "The primary must have the version of agent_policy that the standby has.",
    )
}

fn take(
    slot: &Slot,
    dir: &Path,
    session: &str,
    (segment, at): Position,
    records: &[u8],
) -> io::Result<(Position, bool)> {
    let path = dir.join(spool::segment_name(session, segment));
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    lock(&file)?;
    // After the lock: the worker commits how far it has read before it removes a file.
    let known = tables::progress_of(session);
    let begin = match known {
        Some((reached, finished)) if finished || reached.0 > segment => {
            if is_new {
                fs::remove_file(&path)?;
            }
            return Ok((reached, finished));
        }
        Some((reached, _)) if reached.0 == segment => reached.1,
        _ => 0,
    };
    let len = file.metadata()?.len();
    if at != len.max(begin) {
        let end = whole(&file, begin, len)?;
        if end < len {
            file.set_len(end)?;
        }
        return Ok(((segment, end), false));
    }
    if is_new {
        let lowest = known.map_or(0, |(reached, _)| reached.0);
        before(dir, session, lowest, segment)?;
    }
    file.write_all_at(records, at)?;
    slot.written.fetch_add(records.len() as u64, SeqCst);
    wake(slot);
    Ok(((segment, at + records.len() as u64), false))
}

/// The worker goes on to a segment where the one before it ends: that must not be lost when this
/// one is there.
fn before(dir: &Path, session: &str, lowest: u32, segment: u32) -> io::Result<()> {
    let earlier = (lowest..segment)
        .rev()
        .take(64)
        .map(|n| dir.join(spool::segment_name(session, n)))
        .find(|p| p.exists());
    if let Some(path) = earlier {
        File::open(path)?.sync_data()?;
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Where the whole records end that begin at `begin`.
fn whole(file: &File, begin: u64, len: u64) -> io::Result<u64> {
    let mut end = begin;
    while end < len {
        let buf = spool::frames_at(file, end)?;
        if buf.is_empty() {
            break;
        }
        end += buf.len() as u64;
    }
    Ok(end)
}

/// Another connection of the standby may be at it, one that it has given up.
fn lock(file: &File) -> io::Result<()> {
    let began = Instant::now();
    while file.try_lock().is_err() {
        if began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        bgworker::nap(Duration::from_millis(10));
    }
    Ok(())
}
