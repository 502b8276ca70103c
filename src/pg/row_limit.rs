//! The planner is told how many rows will be sent, so that it can choose a plan for few.

use core::ffi::c_int;
use std::cell::Cell;

use pgrx::pg_sys::{self, List, NodeTag, Oid, PlannerInfo, Query, RelOptInfo, RelOptKind};

use super::{nodes, raw};

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

type Search =
    Option<unsafe extern "C-unwind" fn(*mut PlannerInfo, c_int, *mut List) -> *mut RelOptInfo>;

thread_local! {
    /// While a query with a limit of ours is planned: the limit, and who else searches for joins. Other queries that are
    /// planned meanwhile have none.
    static JOINING: Cell<Option<(f64, Search)>> = const { Cell::new(None) };
}

/// Plans a query that [`limit`] has or has not changed. With a limit the planner keeps every path that gives its first
/// row early, beside those that give all rows early, and joins each with each. Where all rows of a join stay below the
/// limit there is no such choice to be made.
///
/// # Safety
/// `plan` calls the planner and returns its errors.
pub unsafe fn joining<T>(limited: Option<u64>, plan: impl FnOnce() -> T) -> T {
    let before = JOINING.get();
    let rows = limited.map_or(0.0, |rows| rows as f64);
    // SAFETY: a hook of this backend, which is put back before anything else happens.
    unsafe {
        let hook = pg_sys::join_search_hook;
        match before {
            Some((_, others)) => JOINING.set(Some((rows, others))),
            None if rows > 0.0 => {
                JOINING.set(Some((rows, hook)));
                pg_sys::join_search_hook = Some(search);
            }
            None => return plan(),
        }
        let planned = plan();
        pg_sys::join_search_hook = hook;
        JOINING.set(before);
        planned
    }
}

/// `join_search_hook`: the ERRORs of what it calls pass through, it owns nothing.
unsafe extern "C-unwind" fn search(
    root: *mut PlannerInfo,
    levels: c_int,
    initial: *mut List,
) -> *mut RelOptInfo {
    let (rows, previous) = JOINING.get().unwrap_or((0.0, None));
    // SAFETY: the planner's own arguments.
    unsafe {
        if (*root).query_level == 1 && (*root).parent_root.is_null() && at_most(root) <= rows {
            (*root).tuple_fraction = 0.0;
        }
        match previous {
            Some(previous) => previous(root, levels, initial),
            None if pg_sys::enable_geqo && levels >= pg_sys::geqo_threshold => {
                raw::geqo(root, levels, initial)
            }
            None => raw::standard_join_search(root, levels, initial),
        }
    }
}

/// As many rows the joins can have, by the estimates for what is joined.
unsafe fn at_most(root: *const PlannerInfo) -> f64 {
    // SAFETY: the planner has put an entry, or nothing, at each index; it knows the rows of all of them by now.
    unsafe {
        (1..(*root).simple_rel_array_size as usize)
            .map(|i| *(*root).simple_rel_array.add(i))
            .filter(|rel| !rel.is_null() && (**rel).reloptkind == RelOptKind::RELOPT_BASEREL)
            .map(|rel| (*rel).rows.max(1.0))
            .product()
    }
}
