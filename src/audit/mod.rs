//! What is written down: records, spool, ingest.
//!
//! A backend appends records to a spool file of its own ([`spool`]); a worker a database, started
//! by the launcher when there is something to read, moves them into `agent_policy.audit_log`
//! ([`ingest`]).

mod api;
mod canonical;
mod chain;
#[cfg(any(test, feature = "pg_test"))]
mod debug;
mod erase;
mod ingest;
mod journal;
mod launcher;
mod node;
mod primary;
mod progress;
mod receive;
mod received;
mod row;
mod session;
mod settings;
mod ship;
pub mod spool;
mod tables;
mod verify;

use crate::pg::{bgworker, shmem};
use policy::record;
pub use policy::record::{End, Objects, Origin, Outcome, SharedOrigin, Start, Verdict};
use std::{fmt, io};

pub use ingest::ingest;
pub use launcher::launch;
use launcher::{NOTIFY_TROUBLE, NOTIFY_WELL, trouble};
pub use node::read_or_make as node_of;
pub use ship::ship;

/// Why a record cannot be written, or is not known to be durable. `SQLSTATE` 58030.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditError {
    /// The library is not in shared_preload_libraries.
    NotLoaded,
    /// It is not known which server this is.
    NoNode,
    /// errno of a write.
    Write(i32),
    /// errno of a sync.
    Sync(i32),
    /// Bytes that wait to be ingested: more than agent_policy.audit_max_spool.
    Full(u64),
    /// More databases than the shared memory has slots for.
    TooManyDatabases,
    TooLong,
    Timeout,
    /// Called from inside itself.
    Busy,
}

impl AuditError {
    fn write(e: io::Error) -> Self {
        Self::Write(e.raw_os_error().unwrap_or(0))
    }

    fn sync(e: io::Error) -> Self {
        Self::Sync(e.raw_os_error().unwrap_or(0))
    }
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = io::Error::from_raw_os_error;
        match self {
            Self::NotLoaded => f.write_str("agent_policy is not in shared_preload_libraries"),
            Self::NoNode => f.write_str(
                "agent_policy/pgsql_tmp_spool/node in the data directory cannot be read",
            ),
            Self::Write(e) => write!(f, "could not write the audit spool: {}", os(*e)),
            Self::Sync(e) => write!(f, "could not make the audit spool durable: {}", os(*e)),
            Self::Full(n) => {
                write!(
                    f,
                    "{n} bytes of audit records wait to be ingested, more than agent_policy.audit_max_spool"
                )
            }
            Self::TooManyDatabases => f.write_str("too many databases with audit records"),
            Self::TooLong => f.write_str("the audit record is too long"),
            Self::Timeout => f.write_str("the audit record did not become durable in time"),
            Self::Busy => f.write_str("the audit is being written already"),
        }
    }
}

impl std::error::Error for AuditError {}

impl From<record::TooLong> for AuditError {
    fn from(_: record::TooLong) -> Self {
        Self::TooLong
    }
}

/// Settings, shared memory and launcher; from `_PG_init`. Does nothing unless the library is
/// being preloaded.
pub fn init() {
    if !bgworker::preloading() {
        return;
    }
    settings::define();
    shmem::request();
    bgworker::register_launcher();
}

/// Appends the start of a statement to this backend's spool and asks for its sync.
///
/// Here and below, of a record that is too long its statement and its lists are left out.
///
/// # Errors
/// When it could not be written: the statement must not run.
pub fn start(s: &Start) -> Result<(), AuditError> {
    let put = |out: &mut Vec<u8>| {
        record::encode_start(s, out).or_else(|_| record::encode_start(&s.short(), out))
    };
    session::append(|out| Ok(put(out)?), true)
}

/// How often this session had to give up what it had written, after a failure: where this has changed
/// since a record was written, that record may be lost.
pub fn mended() -> u64 {
    session::mended()
}

/// Keeps the end of a statement for the next write.
///
/// # Errors
/// When it could not be kept.
pub fn end(e: &End) -> Result<(), AuditError> {
    let put = |out: &mut Vec<u8>| {
        record::encode_end(e, out).or_else(|_| record::encode_end(&e.short(), out))
    };
    session::append(|out| Ok(put(out)?), false)
}

/// Appends a statement that is known whole: a denial, an error before it ran.
///
/// # Errors
/// When it could not be written.
pub fn whole(s: &Start, e: &End) -> Result<(), AuditError> {
    let put = |out: &mut Vec<u8>| {
        record::encode_whole(s, e, out)
            .or_else(|_| record::encode_whole(&s.short(), &e.short(), out))
    };
    session::append(|out| Ok(put(out)?), true)
}

/// Writes down who reads the log, and waits until that is durable; not for long, since a log that
/// cannot be written is one that its administrator has to look at.
///
/// # Errors
/// When it could not be written.
pub fn read(s: &Start) -> Result<(), AuditError> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
    let put = |out: &mut Vec<u8>| {
        record::encode_read(s, out).or_else(|_| record::encode_read(&s.short(), out))
    };
    session::append(|out| Ok(put(out)?), true)?;
    if settings::DURABILITY.get() == settings::Durability::Async {
        return Ok(());
    }
    session::wait_spool(PATIENCE)
}

/// Writes what is kept; before the server says that it is ready for the next query.
///
/// # Errors
/// When it could not be written.
pub fn flush() -> Result<(), AuditError> {
    session::flush()
}

/// Waits until every start and whole record so far is durable, as far as
/// `agent_policy.audit_durability` says. No palloc, no error, no lock of PostgreSQL.
///
/// # Errors
/// When a record may be lost: nothing of the statement may leave.
pub fn wait_durable() -> Result<(), AuditError> {
    session::wait_durable()
}

/// Is it only a matter of waiting until every start and whole record so far is durable?
pub fn is_pending() -> bool {
    session::is_pending()
}

/// Whether records can be written now.
///
/// # Errors
/// When not: agents are to be denied.
pub fn available() -> Result<(), AuditError> {
    session::available()
}

/// Lets the worker go on, where it is late: before a statement of the client.
pub fn give_way() {
    session::give_way();
}

/// What stands for a session in the log: its name in the server's log, and which server that is.
pub fn session_id(id: &str) -> String {
    node::session_id(id, &node::own().unwrap_or_default())
}

/// Microseconds since the Unix epoch.
pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_micros() as i64)
}
