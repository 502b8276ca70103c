//! The SQL functions of the audit; declared in `sql/parts/40_audit.sql`.

use super::settings::{DURABILITY, max_spool, ship_conninfo};
use super::{flush, session};
use crate::audit::settings::Durability;
use crate::pg::bgworker;
use crate::pg::server_text::Text;
use crate::pg::shmem::{self, Slot, State};
use evidence::block::Kind;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub fn my_slot() -> &'static Slot {
    let slot = shmem::shared().and_then(|s| s.slot(bgworker::this_backend().database));
    slot.unwrap_or_else(|| {
        raise(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the audit of this database is not running",
            "agent_policy has to be in shared_preload_libraries.",
        )
    })
}

pub fn raise(code: PgSqlErrorCode, message: &str, hint: &str) -> ! {
    ErrorReport::new(code, message.to_owned(), "audit")
        .set_hint(hint.to_owned())
        .report(PgLogLevel::ERROR);
    unreachable!("reported as an error")
}

/// Waits until everything durable at the call is in the table; its highest `seq`.
#[pg_extern(sql = false)]
fn audit_flush(timeout: f64) -> i64 {
    let slot = my_slot();
    if bgworker::in_recovery() {
        raise(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "the audit log is written on the primary",
            "Call it on the primary.",
        );
    }
    if let Err(e) = flush() {
        raise(
            PgSqlErrorCode::ERRCODE_IO_ERROR,
            &e.to_string(),
            "See agent_policy.health.",
        );
    }
    let patience = Duration::try_from_secs_f64(timeout.clamp(0.0, 1e9)).unwrap_or_default();
    let ticket = session::want(slot);
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    while slot.done.load(SeqCst) < ticket {
        let left = patience.saturating_sub(began.elapsed());
        if left.is_zero() {
            let why = slot
                .error()
                .map_or_else(String::new, |e| format!("The last error was: {e}. "));
            raise(
                PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
                "audit records did not reach the table in time",
                &format!(
                    "{why}See agent_policy.health; a lock on agent_policy.audit_log, or \
                     max_worker_processes, may hold the worker up."
                ),
            );
        }
        bgworker::nap(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
        if slot.worker.pid().is_none() {
            shmem::shared().into_iter().for_each(|s| s.wake_launcher());
        }
    }
    slot.last_seq.load(SeqCst)
}

/// Appends a block that has a note instead of rows; its number.
#[pg_extern(sql = false)]
fn audit_note(kind: i32, day: i32, note: Text) -> i64 {
    let Some(kind) = Kind::from_number(kind.into()) else {
        error!("no such kind of block");
    };
    // Whatever the encoding of the database, it comes back as it was.
    let note: serde_json::Value = serde_json::from_str(&note).unwrap_or_default();
    super::chain::append_note(kind, day, super::chain::ascii(&note))
}

/// How long days are kept, as the chain says; NULL where it does not say so, or not with this key.
#[pg_extern(sql = false)]
fn audit_retention() -> Option<String> {
    super::chain::retention().map(|keep| keep.to_string())
}

/// The number of the block that [`audit_note`] appends next.
#[pg_extern(sql = false)]
fn audit_next_block() -> i64 {
    super::chain::next_number()
}

/// Whether this is the transaction at hand or one inside it, by its 32-bit number.
#[pg_extern(sql = false)]
fn audit_in_transaction(xid: i64) -> bool {
    u32::try_from(xid).is_ok_and(crate::pg::facts::is_current_transaction)
}

/// Whether the log is what was written; since and until NULL: from the beginning, to the end.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn audit_verify_log(
    since: Option<TimestampWithTimeZone>,
    until: Option<TimestampWithTimeZone>,
    heads: Option<Vec<Option<String>>>,
) -> TableIterator<
    'static,
    (
        name!(intact, bool),
        name!(first_bad_seq, Option<i64>),
        name!(checked, i64),
        name!(head, Option<String>),
    ),
> {
    let heads: Option<Vec<String>> = heads.unwrap_or_default().into_iter().collect();
    let Some(heads) = heads else {
        raise(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "a head is NULL",
            "Give heads that were kept elsewhere, or none: '{}'.",
        );
    };
    TableIterator::once(super::verify::verify(
        since.map_or(i64::MIN, i64::from),
        until.map_or(i64::MAX, i64::from),
        &heads,
    ))
}

/// One row; times in seconds, since 1970 where they are not spans.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn audit_health() -> TableIterator<
    'static,
    (
        name!(spool_bytes, i64),
        name!(lag, f64),
        name!(writer, String),
        name!(last_error, Option<Text>),
        name!(last_ingested_at, Option<f64>),
        name!(last_seq, i64),
        name!(failures, i64),
        name!(durability, String),
        name!(state, String),
        name!(max_spool_bytes, i64),
        name!(write_failures, i64),
        name!(last_error_at, Option<f64>),
        name!(node, Option<String>),
    ),
> {
    let slot = my_slot();
    let bytes = slot.backlog();
    let writer = match (slot.worker.pid(), slot.state()) {
        (Some(pid), _) => format!("running, pid {pid}"),
        (None, State::NoExtension) => "stopped, the extension is not installed".to_owned(),
        (None, State::Failed) => "failed, will be started again".to_owned(),
        (None, _) if bytes > 0 && bgworker::in_recovery() && ship_conninfo().is_none() => {
            "waits for promotion".to_owned()
        }
        (None, State::Starting) => "starting".to_owned(),
        (None, _) => "idle".to_owned(),
    };
    let ingested = slot.ingested_at.load(SeqCst);
    let error_at = slot.error_at.load(SeqCst);
    let state = if slot.is_unwritable() || bytes > max_spool() {
        "agents are refused"
    } else if super::trouble(slot).is_some() {
        "behind"
    } else {
        "ok"
    };
    TableIterator::once((
        i64::try_from(bytes).unwrap_or(i64::MAX),
        slot.waited() as f64 / 1e6,
        writer,
        slot.error().map(Text),
        (ingested > 0).then_some(ingested as f64 / 1e6),
        slot.last_seq.load(SeqCst),
        slot.failures.load(SeqCst).into(),
        match DURABILITY.get() {
            Durability::Spool => "spool",
            Durability::Table => "table",
            Durability::Async => "async",
        }
        .to_owned(),
        state.to_owned(),
        i64::try_from(max_spool()).unwrap_or(i64::MAX),
        i64::try_from(slot.write_failures.load(SeqCst)).unwrap_or(i64::MAX),
        (error_at > 0 && slot.error().is_some()).then_some(error_at as f64 / 1e6),
        super::node::own(),
    ))
}
