//! PostgreSQL's own functions that are written in SQL. Views of `information_schema` call such for each
//! row; what they do is told by the record of the statement that calls them.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ffi::CStr;

use pgrx::pg_sys::{self, QueryDesc};

use super::{FIRST_NORMAL_OID, call, nodes, scan, stamp};

/// `pg_language`'s row for SQL, the same in every version.
const SQL_LANGUAGE: u32 = 14;

thread_local! {
    /// Their texts, as far as they have any: one with a parsed body (RETURN, BEGIN ATOMIC) has none.
    static TEXTS: OnceCell<HashSet<Box<[u8]>>> = const { OnceCell::new() };
}

/// Is the query the body of such a function, and does it touch nothing of anybody's: no relation but
/// system catalogs, no function but built-in ones? A body of the same text that somebody else wrote
/// touches as little.
///
/// # Safety
/// `query` is about to start; `stamp` is its plan's.
pub unsafe fn is_body(query: *const QueryDesc, stamp: &stamp::Stamp) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let text = (*query).sourceText;
        let planned = (*query).plannedstmt;
        !text.is_null()
            && (*planned).commandType == pg_sys::CmdType::CMD_SELECT
            && !(*planned).hasModifyingCTE
            && stamp.functions.is_empty()
            && nodes::pointers::<pg_sys::RangeTblEntry>((*planned).rtable)
                .all(|rte| (*rte).relid.to_u32() < FIRST_NORMAL_OID)
            && (*text == 0 || is_text(CStr::from_ptr(text).to_bytes()))
    }
}

fn is_text(text: &[u8]) -> bool {
    TEXTS.with(|texts| texts.get_or_init(read).contains(text))
}

fn read() -> HashSet<Box<[u8]>> {
    let texts = scan::rows(pg_sys::ProcedureRelationId, |values, nulls| {
        let value = |number: u32| {
            let at = number as usize - 1;
            (!*nulls.get(at)?).then_some(*values.get(at)?)
        };
        let oid = |number: u32| value(number).map(|datum| datum.value() as u32);
        let built_in = oid(pg_sys::Anum_pg_proc_oid)? < FIRST_NORMAL_OID
            && oid(pg_sys::Anum_pg_proc_prolang)? == SQL_LANGUAGE;
        let text = value(pg_sys::Anum_pg_proc_prosrc).filter(|_| built_in)?;
        // SAFETY: a text, which lives as long as the row is looked at.
        Some(Box::from(unsafe { call::bytes(text) }))
    });
    texts.into_iter().collect()
}
