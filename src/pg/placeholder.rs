//! Masks that are computed where their relation is scanned.
//!
//! A mask that simply stands in the place of a column is computed where the column is asked for, above the joins; below
//! it, hash tables and sorts would hold raw values, and how wide those are decides when such a table gets another chunk
//! of memory, more buckets or another batch, and so the order in which rows of equal keys come out. So each such mask is
//! a `PlaceHolderVar` of its relation alone, the planner's own means for an expression that has to be computed at a
//! place: nothing above the scan sees the value below.
//!
//! The planner numbers those it makes itself from 1 on (`make_placeholder_expr` in placeholder.c), tells one from
//! another by the number alone, keeps an array as long as the greatest, and looks for none where it has made none.
//! Ours have numbers above what it can come to before it first asks about a relation, which is before it collects them
//! (`build_base_rel_tlists` in initsplan.c); there it is told to go on behind ours.

use std::cell::Cell;

use pgrx::pg_guard;
use pgrx::pg_sys::{
    self, CommonTableExpr, List, Node, NodeTag, PlaceHolderVar, PlannerGlobal, PlannerInfo,
};
use policy::rule::Rule;

use super::nodes;
use crate::denial::Denial;

/// The numbers of the placeholders of one statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    first: u32,
    last: u32,
}

impl Numbers {
    /// For a statement of so many Vars and columns of sub-queries, VALUES and functions: no more placeholders will the planner make of them.
    pub fn beyond(size: usize) -> Self {
        /// For what is not in the statement: columns of functions that become sub-queries, of 1 664 at most
        /// (`MaxTupleAttributeNumber`) in theory, of a few in practice.
        const SPARE: usize = 40;
        let first = u32::try_from(size + SPARE).unwrap_or(u32::MAX);
        Self { first, last: first }
    }

    /// One that nothing else has.
    pub fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    pub fn any(self) -> bool {
        self.last > self.first
    }
}

/// The expression, to be computed where entry 1 of its query is scanned; without a number.
///
/// # Safety
/// The expression is over that entry.
pub unsafe fn at_scan(expr: *mut Node) -> *mut PlaceHolderVar {
    // SAFETY: by the caller's promise; the set is made in the memory context that the tree is in.
    unsafe {
        let placeholder = nodes::make::<PlaceHolderVar>(NodeTag::T_PlaceHolderVar);
        (*placeholder).phexpr = expr.cast();
        (*placeholder).phrels = pg_sys::bms_make_singleton(1);
        placeholder
    }
}

/// The planner copies what `WITH … AS NOT MATERIALIZED` says into each place that refers to it, and numbers with it:
/// where there are several places, and placeholders of ours inside, the planner decides as if nothing was said.
///
/// # Safety
/// The entries are such of a query that goes to the planner next and is the caller's own.
pub unsafe fn keep_single(said_again: &[*mut CommonTableExpr]) {
    for cte in said_again {
        let mut has_any = false;
        // SAFETY: by the caller's promise.
        unsafe {
            nodes::walk((**cte).ctequery, |node, _| {
                has_any |= nodes::is_a(node, NodeTag::T_PlaceHolderVar);
                has_any
            });
            if has_any {
                (**cte).ctematerialized = pg_sys::CTEMaterialize::CTEMaterializeDefault;
            }
        }
    }
}

/// Entries of WITH that the planner may copy into several places.
///
/// # Safety
/// `list` is the list of a query's WITH.
pub unsafe fn said_again(list: *const List) -> impl Iterator<Item = *mut CommonTableExpr> {
    // SAFETY: by the caller's promise.
    unsafe { nodes::pointers::<CommonTableExpr>(list) }.filter(|cte| {
        // SAFETY: as above.
        unsafe {
            (**cte).cterefcount > 1
                && (**cte).ctematerialized == pg_sys::CTEMaterialize::CTEMaterializeNever
        }
    })
}

/// The placeholders of the statement that is being planned, and the planner's state that knows of them.
type Known = Option<(Numbers, *mut PlannerGlobal)>;

thread_local! {
    static PLANNING: Cell<Known> = const { Cell::new(None) };
}

/// Planning of a statement, inside that of another or not.
#[must_use]
pub struct Planning(Known);

/// Begins it; there are none as yet.
pub fn planning() -> Planning {
    Planning(PLANNING.replace(None))
}

impl Planning {
    /// What goes to the planner next has placeholders with these numbers.
    pub fn has(&self, numbers: Numbers) {
        PLANNING.set(numbers.any().then_some((numbers, std::ptr::null_mut())));
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        PLANNING.set(self.0);
    }
}

/// The planner asks about a relation of a query.
///
/// # Safety
/// Called by a hook with the planner's own argument; an ERROR may pass over the caller.
pub unsafe fn go_on_behind(root: *mut PlannerInfo) {
    let Some((numbers, knowing)) = PLANNING.get() else {
        return;
    };
    // SAFETY: by the caller's promise.
    unsafe {
        let state = (*root).glob;
        if std::ptr::eq(state, knowing) {
            return;
        }
        if (*state).lastPHId > numbers.first {
            refuse();
        }
        (*state).lastPHId = numbers.last;
        PLANNING.set(Some((numbers, state)));
    }
}

#[pg_guard]
extern "C-unwind" fn refuse() {
    Denial::new(
        Rule::StatementTooComplex,
        "",
        "the statement joins too many columns of sub-queries with masked relations",
    )
    .hint("Ask for fewer columns of each sub-query and function in FROM.")
    .raise()
}
