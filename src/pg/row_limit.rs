//! The planner is told how many rows will be sent, so that it can choose a plan for few.

use core::ffi::{c_int, c_void};
use std::cell::Cell;

use pgrx::pg_sys::{
    self, LimitPath, List, NodeTag, Oid, Path, PlannerInfo, ProjectionPath, Query, RelOptInfo,
    RelOptKind, UpperRelationKind,
};

use super::{nodes, raw};

/// Where the constant of [`limit`] stands in the text: nowhere, and nothing else stands there.
const NOWHERE: c_int = -0x6170;

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
        let count = pg_sys::makeConst(
            pg_sys::INT8OID,
            -1,
            Oid::INVALID,
            size_of::<i64>() as i32,
            pg_sys::Datum::from(rows),
            false,
            true,
        );
        (*count).location = NOWHERE;
        (*query).limitCount = count.cast();
        (*query).limitOption = pg_sys::LimitOption::LIMIT_OPTION_COUNT;
        true
    }
}

type Search =
    Option<unsafe extern "C-unwind" fn(*mut PlannerInfo, c_int, *mut List) -> *mut RelOptInfo>;

/// What else looks on.
#[derive(Clone, Copy)]
struct Others {
    search: Search,
    upper: pg_sys::create_upper_paths_hook_type,
}

/// While a query with a limit of ours is planned: the limit, and whether a node for it is to be there anyway.
#[derive(Clone, Copy)]
struct Limited {
    rows: f64,
    shown: bool,
}

thread_local! {
    /// Other queries that are planned meanwhile have none.
    static PLANNING: Cell<Option<(Option<Limited>, Others)>> = const { Cell::new(None) };
}

/// Plans a query that [`limit`] has or has not changed.
///
/// With a limit the planner keeps every path that gives its first row early, beside those that give all rows early, and
/// joins each with each. Where all rows of a join stay below the limit there is no such choice to be made. And where a
/// plan is expected to stay far below it, and nothing in the plan does better for knowing it, the limit has told the
/// planner what it had to: unless it is `shown`, there is no node for it, and the receiver stops a plan that finds more.
///
/// # Safety
/// `plan` calls the planner and returns its errors.
pub unsafe fn planning<T>(limited: Option<u64>, shown: bool, plan: impl FnOnce() -> T) -> T {
    let before = PLANNING.get();
    let limited = limited.map(|rows| Limited {
        rows: rows as f64,
        shown,
    });
    // SAFETY: hooks of this backend, which are put back before anything else happens.
    unsafe {
        let hooks = Others {
            search: pg_sys::join_search_hook,
            upper: pg_sys::create_upper_paths_hook,
        };
        match before {
            Some((_, others)) => PLANNING.set(Some((limited, others))),
            None if limited.is_some() => {
                PLANNING.set(Some((limited, hooks)));
                pg_sys::join_search_hook = Some(search);
                pg_sys::create_upper_paths_hook = Some(upper);
            }
            None => return plan(),
        }
        let planned = plan();
        pg_sys::join_search_hook = hooks.search;
        pg_sys::create_upper_paths_hook = hooks.upper;
        PLANNING.set(before);
        planned
    }
}

fn state() -> (Option<Limited>, Others) {
    const NONE: Others = Others {
        search: None,
        upper: None,
    };
    PLANNING.get().unwrap_or((None, NONE))
}

/// Is it the outermost query of those that are planned together?
unsafe fn is_outermost(root: *const PlannerInfo) -> bool {
    // SAFETY: the planner's own.
    unsafe { (*root).query_level == 1 && (*root).parent_root.is_null() }
}

/// `join_search_hook`: the ERRORs of what it calls pass through, it owns nothing.
unsafe extern "C-unwind" fn search(
    root: *mut PlannerInfo,
    levels: c_int,
    initial: *mut List,
) -> *mut RelOptInfo {
    let (limited, others) = state();
    // SAFETY: the planner's own arguments.
    unsafe {
        if limited.is_some_and(|limited| is_outermost(root) && at_most(root) <= limited.rows) {
            (*root).tuple_fraction = 0.0;
        }
        match others.search {
            Some(previous) => previous(root, levels, initial),
            None if pg_sys::enable_geqo && levels >= pg_sys::geqo_threshold => {
                raw::geqo(root, levels, initial)
            }
            None => raw::standard_join_search(root, levels, initial),
        }
    }
}

/// `create_upper_paths_hook`, as above.
unsafe extern "C-unwind" fn upper(
    root: *mut PlannerInfo,
    stage: UpperRelationKind::Type,
    input: *mut RelOptInfo,
    output: *mut RelOptInfo,
    extra: *mut c_void,
) {
    let (limited, others) = state();
    // SAFETY: the planner's own arguments; a LimitPath has the columns of what is below it.
    unsafe {
        if stage == UpperRelationKind::UPPERREL_FINAL
            && let Some(limited) = limited
            && !limited.shown
            && is_outermost(root)
        {
            let paths = (*output).pathlist;
            for i in 0..nodes::length(paths) {
                let place = (*paths).elements.add(i);
                let path = (*place).ptr_value.cast::<LimitPath>();
                if is_ours(path) && is_far_below((*path).subpath, limited.rows) {
                    (*place).ptr_value = (*path).subpath.cast();
                }
            }
        }
        if let Some(previous) = others.upper {
            previous(root, stage, input, output, extra);
        }
    }
}

/// Is it what the planner made of [`limit`]?
unsafe fn is_ours(path: *const LimitPath) -> bool {
    // SAFETY: one of the planner's paths.
    unsafe {
        nodes::is_a(path.cast(), NodeTag::T_LimitPath)
            && (*path).limitOffset.is_null()
            && nodes::is_a((*path).limitCount, NodeTag::T_Const)
            && (*(*path).limitCount.cast::<pg_sys::Const>()).location == NOWHERE
    }
}

/// Will so few rows come that a limit is far away, from nodes that do not care for one? (Sorts, and what hands a limit
/// on to them, do: `ExecSetTupleBound` in execProcnode.c.)
unsafe fn is_far_below(path: *const Path, rows: f64) -> bool {
    const FAR_BELOW: f64 = 100.0;
    // SAFETY: one of the planner's paths.
    unsafe {
        if (*path).rows * FAR_BELOW > rows {
            return false;
        }
        let mut path = path;
        while nodes::is_a(path.cast(), NodeTag::T_ProjectionPath) {
            path = (*path.cast::<ProjectionPath>()).subpath;
        }
        matches!(
            (*path).pathtype,
            NodeTag::T_SeqScan
                | NodeTag::T_IndexScan
                | NodeTag::T_IndexOnlyScan
                | NodeTag::T_BitmapHeapScan
                | NodeTag::T_NestLoop
                | NodeTag::T_MergeJoin
                | NodeTag::T_HashJoin
                | NodeTag::T_Agg
        )
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
