//! The only unsafe code: hooks, tree walkers and builders, version differences.

#![allow(ffi_unwind_calls)]
// Integer types of the same field differ between the server's versions.
#![allow(clippy::unnecessary_cast, clippy::useless_conversion)]

pub mod access;
pub mod bgworker;
pub mod boundary;
pub mod bounded;
mod call;
mod changed;
mod commitment;
pub mod compat;
pub mod copy_in;
pub mod deadline;
pub mod definition;
pub mod depth;
pub mod execution;
pub mod explain;
pub mod facts;
pub mod failing_row;
pub mod first_look;
pub mod formats;
pub mod functions;
mod futex;
pub mod group;
mod group_size;
mod guard;
pub mod hooks;
mod in_place;
pub mod internal;
mod join_columns;
mod json_constructor;
pub mod label;
mod label_column;
pub mod later;
pub mod layers;
pub mod libpq;
mod listing_fns;
pub mod login;
pub mod mapping;
pub mod marks;
pub mod mask_column;
mod mask_expr;
mod mask_fns;
mod mask_values;
#[cfg(not(test))]
mod memory;
/// The tests' own binary has no server to end a session in.
#[cfg(test)]
mod memory {
    pub fn is_ending() -> bool {
        false
    }
    pub unsafe fn end_session() {}
}
pub mod name_answers;
pub mod names;
pub mod nodes;
pub mod objects;
pub mod parsing;
mod parts;
mod placeholder;
pub mod planning;
pub mod planted;
mod raw;
mod readers;
pub mod receiver;
pub mod report;
pub mod returning;
pub mod rewrite;
mod row_limit;
pub mod rows;
pub mod scan;
mod secret;
pub mod server_text;
pub mod session;
pub mod shmem;
mod skew;
pub mod source;
mod spare;
pub mod stamp;
pub mod statistics;
mod stored;
pub mod template;
pub mod text;
pub mod thread;
pub mod touched;
pub mod trial;
pub mod users;
pub mod utility;
pub mod wire;
pub mod writeback;

pub use compat::MAJOR;

/// OIDs from here on are given out by initdb and may change with a minor release.
pub const FIRST_GENBKI_OID: u32 = 10_000;
/// OIDs from here on belong to objects that somebody made in this cluster.
pub const FIRST_NORMAL_OID: u32 = 16_384;

use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::{PgSqlErrorCode, PgTryBuilder};
use std::panic::{AssertUnwindSafe, UnwindSafe};

/// Runs `work`; an ERROR inside it is caught and its message returned. For use only where the
/// caller ends the statement with an error of its own, since no savepoint is set.
pub fn catching<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    caught(AssertUnwindSafe(|| Ok(work())), |_| false)
}

/// The same, but that a cancellation goes on as what it is.
pub fn catching_but_cancellations<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    caught(AssertUnwindSafe(|| Ok(work())), |code| {
        code == PgSqlErrorCode::ERRCODE_QUERY_CANCELED
    })
}

fn caught<T, F: FnOnce() -> Result<T, String> + UnwindSafe>(
    work: F,
    goes_on: fn(PgSqlErrorCode) -> bool,
) -> Result<T, String> {
    PgTryBuilder::new(work)
        .catch_others(move |error| {
            let report = report_of(&error);
            if goes_on(report.sql_error_code()) {
                error.rethrow();
            }
            Err(report.message().to_owned())
        })
        .execute()
}

/// What an error says, whoever raised it.
pub fn report_of(error: &CaughtError) -> &ErrorReportWithLevel {
    let (CaughtError::PostgresError(report)
    | CaughtError::ErrorReport(report)
    | CaughtError::RustPanic {
        ereport: report, ..
    }) = error;
    report
}

/// Installs everything that has to be in place before the first session starts.
pub fn init() {
    no_backtraces();
    deadline::define();
    layers::define();
    planted::define();
    session::init();
    hooks::init();
    statistics::init();
    parsing::init();
    // A name of ours that is not a setting is an error, for everybody: left as a placeholder it would
    // be taken over by a setting of a later version.
    // SAFETY: called once, after all settings have been defined; the name is a literal.
    unsafe { pgrx::pg_sys::MarkGUCPrefixReserved(c"agent_policy".as_ptr()) };
}

/// pgrx adds a backtrace to the DETAIL of errors that pass it when RUST_BACKTRACE is set for the
/// server: ours is JSON, and no agent needs to see addresses. The standard library looks at the
/// environment once; it is made to do so while the variables are away.
fn no_backtraces() {
    const NAMES: [&str; 2] = ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"];
    let values = NAMES.map(std::env::var_os);
    // SAFETY: _PG_init in the postmaster, which has one thread.
    unsafe {
        for name in NAMES {
            std::env::remove_var(name);
        }
        let _ = std::backtrace::Backtrace::capture();
        for (name, value) in NAMES.iter().zip(values) {
            if let Some(value) = value {
                std::env::set_var(name, value);
            }
        }
    }
}

/// The subtransaction at hand.
pub fn subtransaction() -> pgrx::pg_sys::SubTransactionId {
    // SAFETY: a read of the transaction state.
    unsafe { pgrx::pg_sys::GetCurrentSubTransactionId() }
}
