//! EXPLAIN for confined sessions: it works, and shows nothing that the policy hides.
//!
//! Where a masked or filtered relation is involved, what is shown is the plan of the statement as
//! it was written, over the relation as if it simply held masked values: no mask, filter or
//! estimate can appear in a plan that was made without them. Such a plan never runs.
//!
//! The conditions of the server's own row-level security are left out in the same way.

use core::ffi::{c_char, c_int};
use std::cell::Cell;

use pgrx::pg_sys::{self, List, NodeTag, Oid, Query, RangeTblEntry};
use policy::rule::Rule;

use super::{boundary, compat, names, nodes, report, session, touched};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::{enforce, identity};

thread_local! {
    static INSTALLED: Cell<bool> = const { Cell::new(false) };
    static PLAIN: Cell<bool> = const { Cell::new(false) };
    static EXPLAINING: Cell<bool> = const { Cell::new(false) };
    static SHOWING: Cell<bool> = const { Cell::new(false) };
}

static mut PREV_EXPLAIN: pg_sys::ExplainOneQuery_hook_type = None;

/// Is the statement being planned only to be shown, without masks and filters?
pub fn plain() -> bool {
    PLAIN.get()
}

/// Is an EXPLAIN under way?
pub fn explaining() -> bool {
    EXPLAINING.get()
}

/// Is the plan that is being started one without masks, which is shown and never runs?
pub fn showing() -> bool {
    SHOWING.get()
}

/// Starts a plan, which may be such a one.
pub fn show<T>(such: bool, start: impl FnOnce() -> T) -> T {
    let _back = Back(&SHOWING, SHOWING.replace(such));
    start()
}

struct Back(&'static std::thread::LocalKey<Cell<bool>>, bool);
impl Drop for Back {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Runs an EXPLAIN statement.
pub fn run<T>(work: impl FnOnce() -> T) -> T {
    let _back = Back(&EXPLAINING, EXPLAINING.replace(true));
    work()
}

/// Puts the hook in place, in this session only: others keep the server's own EXPLAIN.
pub fn install() {
    // SAFETY: variables of this backend.
    unsafe {
        if !INSTALLED.replace(true) {
            PREV_EXPLAIN = pg_sys::ExplainOneQuery_hook;
            pg_sys::ExplainOneQuery_hook = Some(on_explain);
        }
    }
}

/// Takes it away again: the session is no longer confined.
pub fn remove() {
    // SAFETY: variables of this backend; if another library came in between it stays.
    unsafe {
        let ours = pg_sys::ExplainOneQuery_hook
            .is_some_and(|hook| hook as usize == on_explain as *const () as usize);
        if ours && INSTALLED.replace(false) {
            pg_sys::ExplainOneQuery_hook = PREV_EXPLAIN;
        }
    }
}

#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn on_explain(
    query: *mut Query,
    cursor_options: c_int,
    into: *mut pg_sys::IntoClause,
    state: *mut pg_sys::ExplainState,
    query_string: *const c_char,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        let next = || {
            next(
                query,
                cursor_options,
                into,
                state,
                query_string,
                params,
                environment,
            );
        };
        if !session::confined() {
            next();
        } else if pg_sys::panic::pgrx_extern_c_guard(|| confined_explain(query, state, next)) {
            boundary::rethrow();
        }
    }
}

/// True when an error is under way.
unsafe fn confined_explain(
    query: *mut Query,
    state: *mut pg_sys::ExplainState,
    next: impl FnOnce(),
) -> bool {
    // SAFETY: a rewritten query, and EXPLAIN's own state.
    unsafe {
        let less = shows_less(query);
        if less {
            show_less(state);
        }
        plan_to_show(query, less, || boundary::call(next)).is_err()
    }
}

/// Is something in the query that its plan would tell of? Row-level security is taken out of it.
///
/// # Safety
/// `query` is a rewritten query that may be changed.
pub unsafe fn shows_less(query: *mut Query) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        // Also where something else is hidden anyway.
        let secured = forget_row_security(query);
        let less = secured || hides_something(query);
        if less {
            judge_computed(query);
        }
        less
    }
}

/// Plans what is shown only: where that is `less`, as if nothing stood in the place of what the statement names.
///
/// # Safety
/// `query` is a rewritten query.
pub unsafe fn plan_to_show<T>(query: *mut Query, less: bool, plan: impl FnOnce() -> T) -> T {
    struct Settings(bool, c_int);
    impl Drop for Settings {
        fn drop(&mut self) {
            // SAFETY: variables of this backend.
            unsafe {
                pg_sys::enable_partition_pruning = self.0;
                pg_sys::constraint_exclusion = self.1;
            }
        }
    }
    if !less {
        return plan();
    }
    // SAFETY: by the caller's promise; variables of this backend.
    unsafe {
        let by_key = !key_is_hidden(query);
        let _plain = Back(&PLAIN, PLAIN.replace(true));
        // Which partitions or children are left out would tell what a hidden value is compared with.
        let _settings = Settings(
            pg_sys::enable_partition_pruning,
            pg_sys::constraint_exclusion,
        );
        pg_sys::enable_partition_pruning &= by_key;
        pg_sys::constraint_exclusion = 0;
        plan()
    }
}

/// What would have been called without us.
#[allow(clippy::too_many_arguments)]
unsafe fn next(
    query: *mut Query,
    cursor_options: c_int,
    into: *mut pg_sys::IntoClause,
    state: *mut pg_sys::ExplainState,
    query_string: *const c_char,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        match PREV_EXPLAIN {
            Some(previous) => {
                previous(
                    query,
                    cursor_options,
                    into,
                    state,
                    query_string,
                    params,
                    environment,
                );
            }
            None => compat::explain_one_query(
                query,
                cursor_options,
                into,
                state,
                query_string,
                params,
                environment,
            ),
        }
    }
}

unsafe fn hides_something(query: *mut Query) -> bool {
    let Some(policy) = identity::policy() else {
        return false;
    };
    // SAFETY: a rewritten query.
    let calls = unsafe { touched::calls(query) };
    // What a function reads nobody sees here.
    calls.functions.into_iter().any(super::access::has_body)
        || calls
            .relations
            .into_iter()
            .any(|relid| policy.relation(relid).is_protected())
}

/// Takes out what row-level security has put into the statement: `pg_policy` shows no policies, and so
/// does no plan. True if there was something.
unsafe fn forget_row_security(query: *mut Query) -> bool {
    if identity::policy().is_none_or(|policy| policy.monitors()) {
        return false;
    }
    let mut entries: Vec<*mut RangeTblEntry> = Vec::new();
    let mut queries: Vec<*mut Query> = Vec::new();
    // SAFETY: a rewritten query, which is the planner's to scribble on; the walk only notes pointers.
    unsafe {
        nodes::walk(query.cast(), |node, _| {
            match (*node).type_ {
                NodeTag::T_Query => {
                    let query = node.cast::<Query>();
                    if checks_rows((*query).withCheckOptions) {
                        queries.push(query);
                    }
                }
                NodeTag::T_RangeTblEntry => {
                    let rte = node.cast::<RangeTblEntry>();
                    if !(*rte).securityQuals.is_null() {
                        entries.push(rte);
                    }
                }
                _ => {}
            }
            false
        });
        // One without effect stays: with none at all, operators that leak would be shown statistics.
        for rte in &entries {
            let all = pg_sys::makeBoolConst(true, false);
            (**rte).securityQuals = pg_sys::lappend(std::ptr::null_mut::<List>(), all.cast());
        }
        for query in &queries {
            (**query).withCheckOptions = std::ptr::null_mut();
        }
    }
    !entries.is_empty() || !queries.is_empty()
}

/// Are there checks of row-level security among these?
unsafe fn checks_rows(options: *const List) -> bool {
    // SAFETY: the list of a rewritten query.
    unsafe {
        nodes::pointers::<pg_sys::WithCheckOption>(options)
            .any(|check| (*check).kind != pg_sys::WCOKind::WCO_VIEW_CHECK)
    }
}

/// The planner puts its expression in the place of a virtual generated column. Where that reads a masked
/// column, `pg_attrdef` does not show it.
unsafe fn judge_computed(query: *mut Query) {
    let Some(policy) = identity::policy() else {
        return;
    };
    // SAFETY: a rewritten query.
    let found = unsafe { hidden_computation(&policy, query) };
    if let Some((relid, attno)) = found {
        let name = names::relation(relid);
        let column = names::attribute_name(relid, attno).unwrap_or_default();
        let denial = Denial::new(
            Rule::StatementNotAllowed,
            "EXPLAIN",
            format!(
                "EXPLAIN is not allowed here: the plan would show what column {column} of {name} is computed from"
            ),
        )
        .hint("Run the statement itself, or EXPLAIN it without this column.");
        enforce::<()>(&policy, Err(denial));
    }
}

/// A virtual column that the statement reads and that is hidden, as what it is computed from is.
unsafe fn hidden_computation(policy: &Policy, query: *mut Query) -> Option<(Oid, i16)> {
    const VIRTUAL: u8 = b'v';
    // SAFETY: a rewritten query; then look-ups of columns that the relations have.
    unsafe {
        touched::collect(query)
            .relations
            .into_iter()
            .filter(|used| used.relid.to_u32() >= super::FIRST_NORMAL_OID)
            .find_map(|used| {
                let hidden = policy.relation(used.relid);
                let whole = used.selected.contains(&0);
                hidden
                    .masks
                    .keys()
                    .chain(&hidden.denied)
                    .copied()
                    .filter(|attno| whole || used.selected.contains(attno))
                    .find(|attno| pg_sys::get_attgenerated(used.relid, *attno) as u8 == VIRTUAL)
                    .map(|attno| (used.relid, attno))
            })
    }
}

/// Is a partitioned table among its relations by whose key somebody may not ask: a masked column, or any where rows are
/// filtered?
unsafe fn key_is_hidden(query: *mut Query) -> bool {
    let Some(policy) = identity::policy() else {
        return true;
    };
    // SAFETY: a rewritten query.
    let calls = unsafe { touched::calls(query) };
    calls.relations.into_iter().any(|relid| {
        policy.parts_tell(relid)
            || std::iter::once(relid)
                .chain(names::descendants(relid))
                .any(|part| {
                    names::relation_kind(part).is_partitioned()
                        && !policy.relation(part).filters.is_empty()
                })
    })
}

/// Leaves out what could tell of hidden values or rows, and what would run the statement.
unsafe fn show_less(state: *mut pg_sys::ExplainState) {
    // SAFETY: the state is EXPLAIN's to be read from here on.
    unsafe {
        if (*state).analyze {
            report::notice(
                "EXPLAIN shows the plan without running it: a relation with masks, row filters or row-level security is involved",
            );
        }
        (*state).analyze = false;
        (*state).costs = false;
        (*state).buffers = false;
        (*state).wal = false;
        (*state).timing = false;
        (*state).summary = false;
        (*state).settings = false;
        compat::explain_less(state);
    }
}
