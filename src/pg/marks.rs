//! The mark of a range table entry that stands behind its relation's masks and filters, and the checks
//! that no protected relation is without.

use pgrx::pg_sys::{self, RTEKind, RangeTblEntry};
use policy::builtins::guards::class;
use policy::rule::Rule;

use super::{names, nodes};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::plan;

/// The mark that a range table entry stands behind its relation's masks and filters. It sits in
/// a field that entries of relations do not use and that survives planning and copying.
const MARK: &core::ffi::CStr = c"agent_policy";

/// The mark of a relation that a filter's own sub-query reads, as its definer, unfiltered.
const FILTER_MARK: &core::ffi::CStr = c"agent_policy filter";

/// # Safety
/// `rte` is a range table entry that may be changed.
pub unsafe fn mark_filter(rte: *mut RangeTblEntry) {
    // SAFETY: by the caller's promise.
    unsafe { (*rte).ctename = pg_sys::pstrdup(FILTER_MARK.as_ptr()) };
}

/// Does the entry belong to a filter's own sub-query?
///
/// # Safety
/// `rte` is a range table entry.
pub unsafe fn belongs_to_filter(rte: *const RangeTblEntry) -> bool {
    // SAFETY: by the caller's promise; the field is null or a string.
    unsafe {
        let name = (*rte).ctename;
        !name.is_null() && core::ffi::CStr::from_ptr(name) == FILTER_MARK
    }
}

/// # Safety
/// `rte` is a range table entry that may be changed.
pub unsafe fn mark(rte: *mut RangeTblEntry) {
    // SAFETY: by the caller's promise.
    unsafe { (*rte).ctename = pg_sys::pstrdup(MARK.as_ptr()) };
}

/// # Safety
/// `rte` is a range table entry of a relation.
pub unsafe fn marked(rte: *const RangeTblEntry) -> bool {
    // SAFETY: by the caller's promise; the field is null or a string.
    unsafe {
        let name = (*rte).ctename;
        !name.is_null()
            && matches!(core::ffi::CStr::from_ptr(name), n if n == MARK || n == FILTER_MARK)
    }
}

/// After planning: every protected relation that will be scanned must stand behind its mask. One
/// that does not came in by a way that the rewriting does not know (an inlined function, say).
///
/// # Safety
/// `planned` is what the planner returned.
pub unsafe fn verify(policy: &Policy, planned: *const pg_sys::PlannedStmt) -> Result<(), Denial> {
    // SAFETY: by the caller's promise.
    unsafe {
        nodes::pointers::<RangeTblEntry>((*planned).rtable)
            .try_for_each(|rte| verify_entry(policy, rte))
    }
}

/// The same for one entry of a range table that is about to be read.
///
/// # Safety
/// `rte` is a range table entry.
pub unsafe fn verify_entry(policy: &Policy, rte: *const RangeTblEntry) -> Result<(), Denial> {
    // SAFETY: by the caller's promise.
    let relid = unsafe {
        if (*rte).rtekind != RTEKind::RTE_RELATION || marked(rte) {
            return Ok(());
        }
        (*rte).relid
    };
    let kind = policy.kind(relid);
    if !kind.is_readable() || kind == names::Kind(b'v') || !policy.relation(relid).is_protected() {
        return Ok(());
    }
    Err(plan::relation_denied(policy, relid)
        .with("reason", "reached past its masks and row filters"))
}

/// A plan that is about to be shown names only relations that are.
///
/// # Safety
/// `planned` is what the planner returned.
pub unsafe fn judge_shown(
    policy: &Policy,
    planned: *const pg_sys::PlannedStmt,
) -> Result<(), Denial> {
    // SAFETY: by the caller's promise.
    unsafe {
        for rte in nodes::pointers::<RangeTblEntry>((*planned).rtable) {
            if (*rte).rtekind == RTEKind::RTE_RELATION
                && !belongs_to_filter(rte)
                && !policy.listed(class::RELATION, (*rte).relid)
            {
                return Err(Denial::new(
                    Rule::StatementNotAllowed,
                    "EXPLAIN",
                    "EXPLAIN is not allowed here: the plan would name relations that this role may not use",
                )
                .hint("Run the statement itself, or EXPLAIN one over tables that information_schema.tables lists."));
            }
        }
    }
    Ok(())
}
