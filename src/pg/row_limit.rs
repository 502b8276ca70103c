//! The planner is told how many rows will be sent, so that it can choose a plan for few.

use pgrx::pg_sys::{self, NodeTag, Oid, Query};

use super::nodes;

/// Lets the planner know that no more than `rows` rows will be sent, where the query says nothing
/// itself; whether it said nothing. The receiver counts all the same.
///
/// # Safety
/// `query` is a query that goes to the planner next.
pub unsafe fn limit(query: *mut Query, rows: u64) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        if (*query).commandType != pg_sys::CmdType::CMD_SELECT
            || !(*query).limitCount.is_null()
            || !(*query).rowMarks.is_null()
            || (*query).hasModifyingCTE
        {
            return false;
        }
        let Ok(rows) = i64::try_from(rows.saturating_add(1)) else {
            return false;
        };
        (*query).limitCount = pg_sys::makeConst(
            pg_sys::INT8OID,
            -1,
            Oid::INVALID,
            size_of::<i64>() as i32,
            pg_sys::Datum::from(rows),
            false,
            true,
        )
        .cast();
        (*query).limitOption = pg_sys::LimitOption::LIMIT_OPTION_COUNT;
        true
    }
}

/// Takes the node of [`limit`] off a plain scan that is expected to stay far below it: it has
/// told the planner what it had to, and the receiver stops a scan that finds more.
///
/// # Safety
/// `planned` is what the planner made of a query that [`limit`] has changed.
pub unsafe fn drop_limit(planned: *mut pg_sys::PlannedStmt, rows: u64) {
    const FAR_BELOW: f64 = 100.0;
    // SAFETY: by the caller's promise; a Limit has one child, with the same columns.
    unsafe {
        let top = (*planned).planTree;
        if !nodes::is_a(top.cast(), NodeTag::T_Limit) || !(*top).initPlan.is_null() {
            return;
        }
        let scan = (*top).lefttree;
        if !scan.is_null()
            && matches!(
                (*scan).type_,
                NodeTag::T_SeqScan
                    | NodeTag::T_IndexScan
                    | NodeTag::T_IndexOnlyScan
                    | NodeTag::T_BitmapHeapScan
            )
            && (*scan).plan_rows * FAR_BELOW <= rows as f64
        {
            (*planned).planTree = scan;
        }
    }
}
