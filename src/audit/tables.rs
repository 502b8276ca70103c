//! The worker's tables; everything here runs inside its transaction.

use super::progress::Session;
use crate::pg::facts;
use crate::pg::rows::{self, Cursor, Fields};
use evidence::block::{Block, Kind};
use evidence::key::PublicKey;
use pgrx::datum::{DatumWithOid, TimestampWithTimeZone};
use pgrx::prelude::*;
use policy::record::{self, Frame, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;

fn run(sql: &str, args: &[DatumWithOid]) {
    Spi::connect_mut(|c| c.update(sql, None, args).map(drop))
        .unwrap_or_else(|e| error!("audit: {e}"));
}

fn number(sql: &str, args: &[DatumWithOid]) -> i64 {
    Spi::connect_mut(|c| c.update(sql, None, args)?.first().get_one::<i64>())
        .unwrap_or_else(|e| error!("audit: {e}"))
        .unwrap_or(0)
}

pub fn last_seq() -> i64 {
    number(
        "SELECT coalesce(pg_catalog.max(last_seq), 0) FROM agent_policy.audit_state",
        &[],
    )
}

/// The id of the chain and the last number given; None when nothing was ever written. Where cursors can
/// be opened.
pub fn state(open: impl FnOnce(&CStr) -> Cursor) -> Option<([u8; 16], i64)> {
    let mut cursor = open(c"SELECT chain, last_seq FROM agent_policy.audit_state");
    let found = cursor
        .next()
        .and_then(|row| Some((row.uuid(1)?, row.i64(2)?)));
    cursor.close();
    found
}

/// The last number given, and the id of the chain. The row lock keeps others from appending.
pub fn lock_state() -> (i64, [u8; 16]) {
    let sql = "INSERT INTO agent_policy.audit_state AS s (last_seq) VALUES (0)
         ON CONFLICT (id) DO UPDATE SET last_seq = s.last_seq RETURNING last_seq, chain";
    Spi::connect_mut(|c| {
        let row = c.update(sql, None, &[])?.first();
        let last = row.get::<i64>(1)?.unwrap_or(0);
        let chain = row.get::<pgrx::Uuid>(2)?.map(|u| *u.as_bytes());
        Ok::<_, spi::Error>((last, chain.unwrap_or_default()))
    })
    .unwrap_or_else(|e| error!("audit: {e}"))
}

/// By whoever holds its lock.
pub fn set_last_seq(last: i64) {
    let sql = "UPDATE agent_policy.audit_state SET last_seq = $1 WHERE last_seq <> $1";
    run(sql, &[last.into()]);
}

/// The columns of a block, in the order in which [`block`] takes them.
macro_rules! block_query {
    ($rest:literal) => {
        concat!(
            "SELECT number, kind::bigint, first_seq, last_seq, ",
            "CASE WHEN pg_catalog.isfinite(day) THEN day - date '1970-01-01' END, oldest, newest, sealed_at, root, ",
            "note, hash, key_id, signature FROM agent_policy.audit_block ",
            $rest,
            "\0"
        )
    };
}
pub(super) use block_query;

/// From 1970 to PostgreSQL's epoch, 2000-01-01, in microseconds.
const PG_EPOCH: i64 = 946_684_800_000_000;

/// What [`block_query`] makes.
pub fn sql(text: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(text.as_bytes()).unwrap_or_default()
}

/// A row of `audit_block`; None when it has a form that no block has.
pub fn block(row: &Fields) -> Option<Block> {
    let time = |n| row.i64(n).map(|t| t.saturating_add(PG_EPOCH));
    Some(Block {
        number: row.i64(1)?,
        kind: Kind::from_number(row.i64(2)?)?,
        first_seq: row.i64(3)?,
        last_seq: row.i64(4)?,
        day: row.i32(5)?,
        oldest: time(6)?,
        newest: time(7)?,
        sealed_at: time(8)?,
        root: row.bytes(9)?.try_into().ok()?,
        note: row
            .text(10)
            .map(|n| String::from_utf8_lossy(&n).into_owned()),
        hash: row.bytes(11)?.try_into().ok()?,
        key_id: row.bytes(12)?.try_into().ok()?,
        signature: row.bytes(13)?.try_into().ok()?,
    })
}

pub fn newest_block() -> Option<Block> {
    rows::connected(|| {
        let mut cursor = Cursor::open(sql(block_query!("ORDER BY number DESC LIMIT 1")));
        let block = cursor.next().and_then(|row| block(&row));
        cursor.close();
        block
    })
}

/// The newest block that is about the retention, and the one before it.
pub fn retention_blocks() -> Vec<Block> {
    rows::connected(|| {
        let mut cursor = Cursor::open(sql(block_query!(
            "WHERE number <= (SELECT pg_catalog.max(number) FROM agent_policy.audit_block WHERE kind = 4)
             ORDER BY number DESC LIMIT 2"
        )));
        let mut blocks = Vec::new();
        while let Some(row) = cursor.next() {
            blocks.extend(block(&row));
        }
        cursor.close();
        blocks
    })
}

pub fn save_block(b: &Block) {
    let time = |t: i64| TimestampWithTimeZone::try_from(t.saturating_sub(PG_EPOCH)).ok();
    run(
        "INSERT INTO agent_policy.audit_block (number, kind, first_seq, last_seq, day, oldest, newest,
             sealed_at, root, note, hash, key_id, signature)
         VALUES ($1, ($2)::int, $3, $4, date '1970-01-01' + ($5)::int, $6, $7, $8, $9, $10, $11, $12, $13)",
        &[
            b.number.into(),
            (b.kind as i32).into(),
            b.first_seq.into(),
            b.last_seq.into(),
            b.day.into(),
            time(b.oldest).into(),
            time(b.newest).into(),
            time(b.sealed_at).into(),
            b.root.as_slice().into(),
            b.note.as_deref().into(),
            b.hash.as_slice().into(),
            b.key_id.as_slice().into(),
            b.signature.as_slice().into(),
        ],
    );
}

/// For whoever checks an export; nobody trusts a key because it is here.
pub fn save_key(key: &PublicKey) {
    run(
        "INSERT INTO agent_policy.audit_key (key_id, public_key) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        &[key.id().as_slice().into(), key.to_bytes().as_slice().into()],
    );
}

pub fn load_progress() -> BTreeMap<String, Session> {
    let sql =
        "SELECT session, segment, read_to, pending, finished FROM agent_policy.audit_progress";
    Spi::connect(|c| {
        let mut sessions = BTreeMap::new();
        for row in c.select(sql, None, &[])? {
            let ((segment, read_to), finished) =
                (position(&row, 2)?, row.get::<bool>(5)?.unwrap_or(false));
            let mut s = Session::new(segment, read_to, finished);
            let pending = row.get::<Vec<u8>>(4)?.unwrap_or_default();
            let mut rest = pending.as_slice();
            while let Frame::Whole(payload, n) = record::first_frame(rest) {
                if let Some(Record::Start(start)) = record::decode(payload) {
                    s.begin(start);
                }
                rest = rest.get(n..).unwrap_or_default();
            }
            sessions.insert(row.get::<String>(1)?.unwrap_or_default(), s);
        }
        Ok::<_, spi::Error>(sessions)
    })
    .unwrap_or_else(|e| error!("audit: {e}"))
}

pub fn save_progress<'a>(sessions: impl Iterator<Item = (&'a String, &'a Session)>) {
    let (mut names, mut segments, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    let (mut pending, mut finished) = (Vec::new(), Vec::new());
    for (name, s) in sessions {
        let mut frames = Vec::new();
        for start in s.pending() {
            // It was short enough when it was read.
            let _ = record::encode_start(start, &mut frames);
        }
        names.push(name.clone());
        segments.push(i32::try_from(s.segment).unwrap_or(i32::MAX));
        offsets.push(i64::try_from(s.read_to).unwrap_or(i64::MAX));
        pending.push(frames);
        finished.push(s.finished);
    }
    if names.is_empty() {
        return;
    }
    run(
        "INSERT INTO agent_policy.audit_progress (session, segment, read_to, pending, finished)
         SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::int[]),
             pg_catalog.unnest($3::bigint[]), pg_catalog.unnest($4::bytea[]), pg_catalog.unnest($5::boolean[]))
         ON CONFLICT (session) DO UPDATE SET segment = EXCLUDED.segment, read_to = EXCLUDED.read_to,
             pending = EXCLUDED.pending, finished = EXCLUDED.finished",
        &[names.into(), segments.into(), offsets.into(), pending.into(), finished.into()],
    );
}

pub fn forget_progress(sessions: &[String]) {
    if !sessions.is_empty() {
        let sql = "DELETE FROM agent_policy.audit_progress WHERE session = ANY ($1)";
        run(sql, &[sessions.to_vec().into()]);
    }
}

/// A partition for each of the days since 1970, in UTC. Attached, not created in place: that
/// would wait for every reader of the log.
pub fn ensure_partitions(days: &BTreeSet<i64>) {
    for day in days {
        run(
            "SELECT agent_policy.audit_partition(($1)::int)",
            &[(*day).into()],
        );
    }
}

/// Has every session read the list of partitions again, in a transaction of its own after the one that made some: a
/// session that reads the list while word of a change arrives keeps what it has read (`RelationBuildPartitionDesc` in
/// partdesc.c), and would miss the new day until something else changes.
pub fn announce_partitions() {
    let oid = number(
        "SELECT 'agent_policy.audit_log'::regclass::oid::bigint",
        &[],
    );
    facts::relation_changes((oid as u32).into());
}

/// Drops the partitions that the retention is over for, but those that are in use.
pub fn drop_expired() {
    run("SELECT agent_policy.audit_drop_expired()", &[]);
}

/// Tells listeners on the channel `agent_policy` how the audit stands.
pub fn notify(state: &str, message: &str, spool_bytes: u64) {
    run(
        "SELECT pg_catalog.pg_notify('agent_policy', pg_catalog.jsonb_build_object(
             'database', pg_catalog.current_database(), 'audit', $1::text, 'message', $2::text,
             'spool_bytes', $3::bigint)::text)",
        &[
            state.into(),
            message.into(),
            i64::try_from(spool_bytes).unwrap_or(i64::MAX).into(),
        ],
    );
}

/// How far a session's files are read, and whether that is all.
pub fn progress_of(session: &str) -> Option<((u32, u64), bool)> {
    let sql =
        "SELECT segment, read_to, finished FROM agent_policy.audit_progress WHERE session = $1";
    Spi::connect_mut(|c| {
        // With a snapshot of its own, unlike a SELECT that is read-only.
        let rows = c.update(sql, None, &[session.into()])?;
        let mut found = None;
        for row in rows {
            found = Some((position(&row, 1)?, row.get::<bool>(3)?.unwrap_or(false)));
        }
        Ok::<_, spi::Error>(found)
    })
    .unwrap_or_else(|e| error!("audit: {e}"))
}

fn position(row: &spi::SpiHeapTupleData, first: usize) -> Result<(u32, u64), spi::Error> {
    let segment = row.get::<i32>(first)?.unwrap_or(0);
    let at = row.get::<i64>(first + 1)?.unwrap_or(0);
    Ok((segment.try_into().unwrap_or(0), at.try_into().unwrap_or(0)))
}

/// The same of all sessions of a server.
pub fn progress_of_node(node: &str) -> BTreeMap<String, ((u32, u64), bool)> {
    let sql = "SELECT session, segment, read_to, finished FROM agent_policy.audit_progress
               WHERE pg_catalog.starts_with(session, $1 || '-')";
    Spi::connect(|c| {
        let mut sessions = BTreeMap::new();
        for row in c.select(sql, None, &[node.into()])? {
            let name = row.get::<String>(1)?.unwrap_or_default();
            sessions.insert(
                name,
                (position(&row, 2)?, row.get::<bool>(4)?.unwrap_or(false)),
            );
        }
        Ok::<_, spi::Error>(sessions)
    })
    .unwrap_or_else(|e| error!("audit: {e}"))
}

/// Whether a role may hand over records of another server.
pub fn is_shipper(role: pg_sys::Oid) -> bool {
    let sql = "SELECT pg_catalog.count(*) FROM agent_policy.audit_shipper WHERE role = $1";
    number(sql, &[role.into()]) > 0
}

/// What a role is to a server that it speaks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody can take it back by a rollback.
    Committed,
    /// Made, or changed, in the transaction at hand.
    Made,
    /// Another one speaks for it, or nobody.
    Refused,
    /// Two servers have this number: since this one, the other has called.
    Copied,
}

/// Whether a role speaks for a server, and which one of that number; the first that does so for a
/// new server goes on to. `start` is what the server drew when it started.
pub fn claim_node(node: &str, role: pg_sys::Oid, start: Option<i64>) -> Claim {
    let look = || -> Option<(bool, Vec<i64>, i64)> {
        let sql = "SELECT role = $2, starts, xmin::text::bigint FROM agent_policy.audit_node WHERE node = $1";
        Spi::connect_mut(|c| {
            let mut found = None;
            for row in c.update(sql, None, &[node.into(), role.into()])? {
                found = Some((
                    row.get::<bool>(1)?.unwrap_or(false),
                    row.get::<Vec<i64>>(2)?.unwrap_or_default(),
                    row.get::<i64>(3)?.unwrap_or(0),
                ));
            }
            Ok::<_, spi::Error>(found)
        })
        .unwrap_or_else(|e| error!("audit: {e}"))
    };
    let Some((mine, starts, xid)) = look() else {
        let sql = "INSERT INTO agent_policy.audit_node (node, role, starts)
                   SELECT $1, $2, CASE WHEN $3 IS NULL THEN '{}' ELSE ARRAY[$3] END
                   WHERE NOT EXISTS (SELECT FROM agent_policy.audit_progress
                                     WHERE pg_catalog.starts_with(session, $1 || '-'))
                   ON CONFLICT DO NOTHING";
        run(sql, &[node.into(), role.into(), start.into()]);
        return match look() {
            Some((true, ..)) => Claim::Made,
            _ => Claim::Refused,
        };
    };
    match start {
        _ if !mine => Claim::Refused,
        Some(start) if starts.last() != Some(&start) && starts.contains(&start) => Claim::Copied,
        Some(start) if starts.last() != Some(&start) => {
            let sql = "UPDATE agent_policy.audit_node SET starts = (starts || $3)[
                           greatest(1, pg_catalog.cardinality(starts) - 98):]
                       WHERE node = $1 AND role = $2 AND NOT $3 = ANY (starts)";
            run(sql, &[node.into(), role.into(), start.into()]);
            Claim::Made
        }
        _ if facts::is_current_transaction(u32::try_from(xid).unwrap_or(0)) => Claim::Made,
        _ => Claim::Committed,
    }
}

/// Notes that a server is or was the primary: nobody speaks for it unbidden.
pub fn note_primary(node: &str) {
    let sql = "INSERT INTO agent_policy.audit_node (node) VALUES ($1) ON CONFLICT DO NOTHING";
    run(sql, &[node.into()]);
}

/// The servers that somebody hands over records of.
pub fn shipped_nodes() -> BTreeSet<String> {
    let sql = "SELECT n.node FROM agent_policy.audit_node n JOIN agent_policy.audit_shipper s USING (role)";
    Spi::connect(|c| {
        c.select(sql, None, &[])?
            .map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
            .collect::<Result<_, spi::Error>>()
    })
    .unwrap_or_else(|e| error!("audit: {e}"))
}
