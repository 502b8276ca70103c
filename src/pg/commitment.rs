//! What stands in a row's hash for its personal fields, for the SQL that erases or exports them.

use evidence::record::{Group, Row};
use pgrx::pg_sys;

use super::call::{arg, arg_is_null, bytes, new_varlena, return_null, sql_function};
use super::rows::utf8;

/// # Safety
/// Argument `n` is a text or bytea.
unsafe fn field<'a>(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's.
    unsafe { (!arg_is_null(fcinfo, n)).then(|| bytes(arg(fcinfo, n))) }
}

sql_function! {
    /// Arguments as in `audit_commitment` of sql/parts/52_audit_evidence.sql.
    fn audit_commitment / pg_finfo_audit_commitment(fcinfo) {
        // Arguments are as CREATE FUNCTION declares them; the result is written whole.
        let group = match arg(fcinfo, 0).value() as i32 {
            1 => Group::Who,
            2 => Group::Text,
            _ => return return_null(fcinfo),
        };
        let text = |n| field(fcinfo, n).map(utf8);
        let texts: [_; 12] = std::array::from_fn(|n| if n == 7 || n == 0 { None } else { text(n) });
        let opt = |n: usize| texts.get(n).and_then(|t| t.as_deref());
        let Some(salt) = field(fcinfo, 12).and_then(|s| s.try_into().ok()) else {
            return return_null(fcinfo);
        };
        let row = Row {
            user_email: opt(1),
            client_addr: opt(2).and_then(|a| std::str::from_utf8(a).ok()?.parse().ok()),
            role_name: opt(3).unwrap_or_default(),
            session_user_name: opt(4).unwrap_or_default(),
            application_name: opt(5).unwrap_or_default(),
            statement: opt(6),
            statement_sha256: field(fcinfo, 7).unwrap_or_default(),
            object: opt(8),
            agent: opt(9),
            conversation: opt(10),
            trace_id: opt(11),
            ..Row::default()
        };
        let commitment = row.commitment(group, salt);
        match new_varlena(commitment.len()) {
            Some((datum, room)) => {
                room.copy_from_nonoverlapping(commitment.as_ptr(), commitment.len());
                datum
            }
            None => return_null(fcinfo),
        }
    }
}
