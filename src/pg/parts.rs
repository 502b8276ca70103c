//! What runs inside a statement as a query and has no record of its own; the statement's record tells of it.
//!
//! PostgreSQL's own functions that are written in SQL: views of `information_schema` call such for each row.
//! And expressions of PL/pgSQL (`n := n + 1`): a loop evaluates them once a round. PL/pgSQL evaluates such
//! itself as long as nothing that a plan depends on can change, and plans of confined sessions depend on the
//! role.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::ffi::CStr;

use pgrx::pg_sys::{self, NodeTag, QueryDesc};

use super::{FIRST_NORMAL_OID, call, nodes, scan, stamp};

/// `pg_language`'s row for SQL, the same in every version.
const SQL_LANGUAGE: u32 = 14;

thread_local! {
    /// Their texts, as far as they have any: one with a parsed body (RETURN, BEGIN ATOMIC) has none.
    static TEXTS: OnceCell<HashSet<Box<[u8]>>> = const { OnceCell::new() };
}

/// Has what is about to run inside a statement no record of its own?
///
/// # Safety
/// `query` is about to start; `stamp` is its plan's.
pub unsafe fn is_part(query: *const QueryDesc, stamp: &stamp::Stamp) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { is_body(query, stamp) || is_expression(query, stamp) }
}

/// Is it an expression, which changes nothing and reads nothing but what it is given?
///
/// # Safety
/// As above.
unsafe fn is_expression(query: *const QueryDesc, stamp: &stamp::Stamp) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let text = (*query).sourceText;
        let planned = (*query).plannedstmt;
        let plan = (*planned).planTree;
        !text.is_null()
            && (*planned).commandType == pg_sys::CmdType::CMD_SELECT
            && !(*query).dest.is_null()
            && (*(*query).dest).mydest == pg_sys::CommandDest::DestSPI
            && stamp.functions.is_empty()
            && (*planned).subplans.is_null()
            && nodes::is_a(plan.cast(), NodeTag::T_Result)
            && (*plan).lefttree.is_null()
            && (*plan.cast::<pg_sys::Result>()).resconstantqual.is_null()
            && nodes::pointers::<pg_sys::RangeTblEntry>((*planned).rtable)
                .all(|rte| (*rte).rtekind == pg_sys::RTEKind::RTE_RESULT)
            && !pg_sys::contain_volatile_functions((*plan).targetlist.cast())
            && begins_like_an_expression(CStr::from_ptr(text).to_bytes())
    }
}

/// What begins with a word of a query, a parenthesis or a comment may be one, and so may one of several.
fn begins_like_an_expression(text: &[u8]) -> bool {
    if text.contains(&b';') {
        return false;
    }
    let blank = |b: &u8| b.is_ascii_whitespace() || *b == 0x0b;
    let text = text
        .split_at(text.iter().take_while(|b| blank(b)).count())
        .1;
    let word = text
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'_');
    let word = text.split_at(word.unwrap_or(text.len())).0;
    let of_a_query: [&[u8]; 4] = [b"SELECT", b"WITH", b"VALUES", b"TABLE"];
    !matches!(text.first(), None | Some(b'(' | b'-' | b'/'))
        && !of_a_query.iter().any(|w| w.eq_ignore_ascii_case(word))
}

/// Is the query the body of such a function, and does it touch nothing of anybody's: no relation but
/// system catalogs, no function but built-in ones? A body of the same text that somebody else wrote
/// touches as little.
///
/// # Safety
/// `query` is about to start; `stamp` is its plan's.
unsafe fn is_body(query: *const QueryDesc, stamp: &stamp::Stamp) -> bool {
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
