//! Raising errors and warnings of our own.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::text;

/// The five characters of an SQLSTATE, as `MAKE_SQLSTATE` of utils/elog.h packs them.
pub fn state(code: i32) -> [u8; 5] {
    std::array::from_fn(|n| b'0' + ((code >> (6 * n)) & 0x3f) as u8)
}

fn report(code: PgSqlErrorCode, message: &str, detail: &str, hint: &str) -> ErrorReport {
    let told = |part| text::for_raising(part).into_owned();
    let mut report = ErrorReport::new(code, told(message), "agent_policy");
    if !detail.is_empty() {
        report = report.set_detail(told(detail));
    }
    if !hint.is_empty() {
        report = report.set_hint(told(hint));
    }
    report
}

/// Ends the statement with an error.
pub fn error(code: PgSqlErrorCode, message: &str, detail: &str, hint: &str) -> ! {
    report(code, message, detail, hint).report(PgLogLevel::ERROR);
    unreachable!("an ERROR does not return")
}

/// Ends the session.
pub fn fatal(code: PgSqlErrorCode, message: &str, detail: &str, hint: &str) -> ! {
    report(code, message, detail, hint).report(PgLogLevel::FATAL);
    unreachable!("a FATAL error does not return")
}

/// Tells the client without ending anything.
pub fn warning(message: &str, detail: &str, hint: &str) {
    report(PgSqlErrorCode::ERRCODE_WARNING, message, detail, hint).report(PgLogLevel::WARNING);
}

/// The same, less urgent.
pub fn notice(message: &str) {
    report(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        message,
        "",
        "",
    )
    .report(PgLogLevel::NOTICE);
}
