//! The worker's tables; everything here runs inside its transaction.

use super::ingest::Session;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use policy::record::{self, Frame, Record};
use std::collections::{BTreeMap, BTreeSet};

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

/// Reserves `n` numbers; the last of them. Its row lock keeps a second worker out.
pub fn advance_seq(n: i64) -> i64 {
    number(
        "INSERT INTO agent_policy.audit_state AS s (last_seq) VALUES ($1)
         ON CONFLICT (id) DO UPDATE SET last_seq = s.last_seq + $1 RETURNING last_seq",
        &[n.into()],
    )
}

pub fn load_progress() -> BTreeMap<String, Session> {
    let sql =
        "SELECT session, segment, read_to, pending, finished FROM agent_policy.audit_progress";
    Spi::connect(|c| {
        let mut sessions = BTreeMap::new();
        for row in c.select(sql, None, &[])? {
            let mut s = Session {
                segment: row
                    .get::<i32>(2)?
                    .and_then(|n| n.try_into().ok())
                    .unwrap_or(0),
                read_to: row
                    .get::<i64>(3)?
                    .and_then(|n| n.try_into().ok())
                    .unwrap_or(0),
                finished: row.get::<bool>(5)?.unwrap_or(false),
                ..Session::default()
            };
            let pending = row.get::<Vec<u8>>(4)?.unwrap_or_default();
            let mut rest = pending.as_slice();
            while let Frame::Whole(payload, n) = record::first_frame(rest) {
                if let Some(Record::Start(start)) = record::decode(payload) {
                    s.pending.insert(start.event_id, start);
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
        for start in s.pending.values() {
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
