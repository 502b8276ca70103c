//! How deep the session is in parser, planner, executor and utility commands.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub static ANALYZE: AtomicU32 = AtomicU32::new(0);
pub static PLAN: AtomicU32 = AtomicU32::new(0);
/// Starting or ending a query.
pub static START: AtomicU32 = AtomicU32::new(0);
/// Running one.
pub static RUN: AtomicU32 = AtomicU32::new(0);
pub static UTILITY: AtomicU32 = AtomicU32::new(0);
/// Inside a function that was allowed as trusted.
pub static TRUSTED: AtomicU32 = AtomicU32::new(0);

/// One level deeper until it is dropped, ERROR or not.
pub struct Level(&'static AtomicU32);

pub fn enter(counter: &'static AtomicU32) -> Level {
    counter.fetch_add(1, Relaxed);
    Level(counter)
}

impl Drop for Level {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The level of a statement that starts now: 0 is what the client sent.
pub fn nesting() -> u32 {
    RUN.load(Relaxed)
}

/// Does another query run, or is planned, started or ended, around what is about to? A planner folds calls
/// of functions, and partitions are pruned when a query starts.
pub fn nested() -> bool {
    [&PLAN, &START, &RUN].iter().any(|c| c.load(Relaxed) > 0)
}

/// Is what is being planned at the outermost level, with its rows bound for the
/// client? A utility command around it (EXECUTE, FETCH, COPY, EXPLAIN, DECLARE) does not count.
pub fn outermost() -> bool {
    RUN.load(Relaxed) == 0
        && START.load(Relaxed) == 0
        && PLAN.load(Relaxed) <= 1
        && UTILITY.load(Relaxed) <= 1
}

/// Nothing of the server's ordinary ways is under way: a fast-path function call, then.
pub fn nowhere() -> bool {
    [&ANALYZE, &PLAN, &START, &RUN, &UTILITY]
        .iter()
        .all(|counter| counter.load(Relaxed) == 0)
        && !super::internal::active()
}

fn checked_levels() -> u32 {
    PLAN.load(Relaxed) + START.load(Relaxed) + RUN.load(Relaxed)
}

/// How many levels lay above the innermost utility command when it began.
static ABOVE_UTILITY: AtomicU32 = AtomicU32::new(0);

/// Inside a utility command until it is dropped.
pub struct InUtility {
    _level: Level,
    above: u32,
}

pub fn enter_utility() -> InUtility {
    let above = ABOVE_UTILITY.swap(checked_levels(), Relaxed);
    InUtility {
        _level: enter(&UTILITY),
        above,
    }
}

impl Drop for InUtility {
    fn drop(&mut self) {
        ABOVE_UTILITY.store(self.above, Relaxed);
    }
}

/// Does what is being evaluated come from a tree that the parse check has seen? Not so in the
/// arguments of EXECUTE, at whatever depth that is.
pub fn tree_was_checked() -> bool {
    checked_levels() > ABOVE_UTILITY.load(Relaxed)
}

/// Is a trusted function running?
pub fn trusted() -> bool {
    TRUSTED.load(Relaxed) > 0
}

/// A new message: whatever a FATAL or a lost callback left behind is void.
pub fn reset_trust() {
    TRUSTED.store(0, Relaxed);
    CALLS.with_borrow_mut(Vec::clear);
}

thread_local! {
    /// For each function with a body that is running: was it called by a foreign key's query?
    static CALLS: RefCell<Vec<bool>> = const { RefCell::new(Vec::new()) };
}

pub fn function_starts(by_foreign_key: bool) {
    CALLS.with_borrow_mut(|calls| calls.push(by_foreign_key));
}

pub fn function_ends() {
    CALLS.with_borrow_mut(Vec::pop);
}

/// The level of what is refused now: a function that the planner folds runs in no query.
pub fn level() -> u32 {
    nesting().max(CALLS.with_borrow(|calls| u32::from(!calls.is_empty())))
}

/// Is a function running that a foreign key's query called, at whatever depth?
pub fn called_by_foreign_key() -> bool {
    CALLS.with_borrow(|calls| calls.contains(&true))
}

/// Is a statement inside the outermost one being analyzed, planned or started?
pub fn in_nested() -> bool {
    let deep = [&ANALYZE, &PLAN, &START]
        .iter()
        .any(|c| c.load(Relaxed) > 0);
    match RUN.load(Relaxed) {
        // In a function that is called while the outermost one is planned or started.
        0 => level() > 0,
        1 => deep,
        _ => true,
    }
}
