//! What a standby calls on the primary: `agent_policy.audit_receive`.
//!
//! The one thing that its role may do. Records become a copy of the standby's spool file, which the
//! worker reads as it reads those of this server: same order, same chain, same transaction for rows
//! and progress. No lock of PostgreSQL is held beyond the call that could keep the worker waiting.

use super::api::{my_slot, raise};
use super::received::{self, Position};
use super::settings::max_spool;
use super::tables::Claim;
use super::{node, now, spool, tables};
use crate::pg::shmem::{self, Slot};
use crate::pg::{bgworker, users};
use pgrx::PgSqlErrorCode as Code;
use pgrx::prelude::*;
use policy::record::{self, End, Frame, Record, Start};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

const DAY: i64 = 86_400_000_000;
/// Each day is a partition.
const OLDEST: i64 = 366 * DAY;
/// Clocks differ.
const AHEAD: i64 = DAY;
const MOST_SEGMENTS: u32 = 99_999_999;
/// A standby hands over one record, or some that are not longer than this together.
const MOST_BYTES: usize = record::MAX_PAYLOAD + record::FRAME_HEADER + (1 << 20);
/// What a new file takes of the disk beyond its records.
const FILE: u64 = 4096;
/// What an index row has room for, and more than any name has.
const LONGEST_NAME: usize = 1024;
/// Numbers that are added to.
const MOST_RECORDS: u64 = 1 << 48;
/// Names of objects in a record.
const MOST_NAMES: usize = 1 << 20;

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
/// Without a segment: the server has none any more. No row: nothing was done but to note whose
/// server it is, which has to be committed first; to be called again.
#[pg_extern(sql = false)]
fn audit_receive(
    session: Option<&str>,
    segment: Option<i32>,
    at: Option<i64>,
    records: Option<&[u8]>,
    start: Option<i64>,
) -> TableIterator<
    'static,
    (
        name!(next_segment, i32),
        name!(next_at, i64),
        name!(finished, bool),
    ),
> {
    let session = session.unwrap_or_default();
    let slot = my_slot();
    if !admit(session, start) {
        return TableIterator::new(std::iter::empty());
    }
    let position = position(segment, at);
    if let (Some(_), Some(records)) = (position, records) {
        check(session, records);
    }
    let root = spool::root(&bgworker::this_backend().data_dir);
    let dir = received::dir(&root, slot.database());
    let locked = spool::create_dirs(&dir).and_then(|()| received::lock(&dir));
    let _lock = locked.unwrap_or_else(|e| failed("store", &e));
    let stored = match (position, records) {
        (None, _) => forget(slot, &dir, session),
        (Some(position), None) => end(slot, &dir, session, position),
        (Some(position), Some(records)) => take(slot, &dir, session, position, records),
    };
    let (reached, finished) = stored.unwrap_or_else(|e| failed("store", &e));
    TableIterator::once((
        i32::try_from(reached.0).unwrap_or(i32::MAX),
        i64::try_from(reached.1).unwrap_or(i64::MAX),
        finished,
    ))
}

fn position(segment: Option<i32>, at: Option<i64>) -> Option<Position> {
    let segment = segment?;
    let segment = u32::try_from(segment).ok().filter(|n| *n <= MOST_SEGMENTS);
    let at = at.and_then(|at| u64::try_from(at).ok());
    match (segment, at) {
        (Some(segment), Some(at)) if at <= i64::MAX as u64 / 2 => Some((segment, at)),
        _ => refuse(
            Code::ERRCODE_DATA_EXCEPTION,
            "no such position",
            "See audit_receive.",
        ),
    }
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

/// Whether the caller may speak for the server whose session this is: false when that was noted
/// just now, and can still be rolled back.
fn admit(session: &str, start: Option<i64>) -> bool {
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
    match tables::claim_node(of, caller, start) {
        Claim::Committed => true,
        Claim::Made => false,
        Claim::Refused => refuse(
            Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
            &format!("server {of} does not hand over its audit records by this role"),
            &format!("If it does: SELECT agent_policy.add_standby('role', '{of}');"),
        ),
        Claim::Copied => refuse(
            Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            &format!("two servers have the number {of}: one is a copy of the other"),
            "Stop the copy, move agent_policy/pgsql_tmp_spool out of its data directory, and start \
             both again.",
        ),
    }
}

/// So many bytes more, and this server's own sessions still have the greater part for themselves.
fn reserve(slot: &Slot, bytes: u64) {
    let backlog = slot.backlog();
    let most = max_spool() / 2;
    if backlog.saturating_add(bytes) > most {
        refuse(
            Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
            &format!(
                "{backlog} bytes of audit records wait on the primary, and {bytes} more are not taken"
            ),
            &format!(
                "They are taken when its worker has caught up, unless they are more than half of \
                 agent_policy.audit_max_spool there, which is {most} bytes."
            ),
        );
    }
    slot.wrote(bytes);
}

/// Whole records, that say which server wrote them, of a time that can be, and that the table takes.
fn check(session: &str, records: &[u8]) {
    if records.len() > MOST_BYTES {
        refuse(
            Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            &format!(
                "{} bytes are too many audit records at a time",
                records.len()
            ),
            "The primary must have the version of agent_policy that the standby has.",
        );
    }
    let suffix = node::session_id("", node::of(session));
    let days = now() - OLDEST..now() + AHEAD;
    let mut rest = records;
    loop {
        let Frame::Whole(payload, n) = record::first_frame(rest) else {
            not_records();
        };
        let well = match record::decode(payload) {
            Some(Record::Start(s) | Record::Read(s)) => fits(&s, &suffix, &days),
            Some(Record::Whole(s, e)) => fits(&s, &suffix, &days) && end_fits(&e),
            Some(Record::End(e)) => end_fits(&e),
            None => false,
        };
        rest = rest.get(n..).unwrap_or_default();
        if !well {
            not_records();
        }
        if rest.is_empty() {
            return;
        }
    }
}

fn fits(s: &Start, suffix: &str, days: &std::ops::Range<i64>) -> bool {
    let o = &*s.origin;
    let names = [
        o.user_email.as_deref().unwrap_or_default(),
        &o.assurance,
        &o.role_name,
        &o.session_user_name,
        &o.database_name,
        &o.application_name,
        &o.session_id,
    ];
    let objects = [
        &s.objects.relations,
        &s.objects.masked_columns,
        &s.objects.functions,
    ];
    o.session_id.ends_with(suffix)
        && days.contains(&s.started_at)
        && names.iter().all(|name| stored(name) <= LONGEST_NAME)
        && s.backend_seq <= MOST_RECORDS
        && objects.iter().map(|list| list.len()).sum::<usize>() <= MOST_NAMES
}

/// Bytes it may take in the table: characters that the database's encoding lacks are escaped.
fn stored(text: &str) -> usize {
    text.bytes().map(|b| if b.is_ascii() { 1 } else { 4 }).sum()
}

fn end_fits(e: &End) -> bool {
    let code = |b: &u8| b.is_ascii_digit() || b.is_ascii_uppercase();
    let objects = [&e.relations, &e.masked_columns, &e.functions];
    e.sqlstate.iter().flatten().all(code)
        && objects.into_iter().flatten().map(Vec::len).sum::<usize>() <= MOST_NAMES
}

fn not_records() -> ! {
    refuse(
        Code::ERRCODE_DATA_EXCEPTION,
        "these are not audit records of that server",
        "The primary must have the version of agent_policy that the standby has.",
    )
}

/// Is there anything of a session, in the table or here?
fn is_known(dir: &Path, session: &str) -> io::Result<bool> {
    if tables::progress_of(session).is_some() {
        return Ok(true);
    }
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        let of = name.to_str().and_then(spool::parse_name);
        if of.is_some_and(|(of, _)| of == session) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn forget(slot: &Slot, dir: &Path, session: &str) -> io::Result<(Position, bool)> {
    if tables::progress_of(session).is_some() {
        received::note_forget(dir, session)?;
        news(slot);
    }
    Ok(((0, 0), true))
}

fn end(slot: &Slot, dir: &Path, session: &str, position: Position) -> io::Result<(Position, bool)> {
    if !is_known(dir, session)? {
        // It would be a file for nothing: the standby has nothing to hand over, either.
        return Ok((position, true));
    }
    let known = tables::progress_of(session);
    let finished = known.is_some_and(|(_, finished)| finished);
    if !finished {
        received::note_end(dir, session, position)?;
        news(slot);
    }
    Ok((position, finished))
}

fn take(
    slot: &Slot,
    dir: &Path,
    session: &str,
    (segment, at): Position,
    records: &[u8],
) -> io::Result<(Position, bool)> {
    if received::is_refused(dir, session) {
        refuse(
            Code::ERRCODE_DATA_EXCEPTION,
            "agent_policy.audit_log does not take a record of this session",
            &format!(
                "Why is in {session}.refused below agent_policy/pgsql_tmp_spool on the primary; \
                 remove that file to have it tried again."
            ),
        );
    }
    let path = dir.join(spool::segment_name(session, segment));
    // Under the lock: the worker commits how far it has read before it removes a file.
    let known = tables::progress_of(session);
    let begin = match known {
        Some((reached, finished)) if (segment, at) < reached => return Ok((reached, finished)),
        Some((reached, _)) if reached.0 == segment => reached.1,
        _ => 0,
    };
    let file = match OpenOptions::new().read(true).write(true).open(&path) {
        Ok(file) => Some(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let len = match &file {
        Some(file) => file.metadata()?.len(),
        None => 0,
    };
    if at != len.max(begin) {
        let Some(file) = file else {
            return Ok(((segment, begin), false));
        };
        let end = whole(&file, begin, len)?;
        if end < len {
            file.set_len(end)?;
        }
        return Ok(((segment, end), false));
    }
    let bytes = records.len() as u64;
    reserve(slot, bytes + if file.is_none() { FILE } else { 0 });
    let file = match file {
        Some(file) => file,
        None => {
            let lowest = known.map_or(0, |(reached, _)| reached.0);
            before(dir, session, lowest, segment)?;
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?
        }
    };
    file.write_all_at(records, at)?;
    wake(slot);
    Ok(((segment, at + bytes), false))
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
        let buf = spool::frames_at(file, end, 1 << 20)?;
        if buf.is_empty() {
            break;
        }
        end += buf.len() as u64;
    }
    Ok(end)
}
