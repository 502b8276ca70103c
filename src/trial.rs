//! Trying a policy on: for `agent_policy.check` what would be refused is collected, for
//! `agent_policy.preview` a statement runs as if an agent had sent it.

use std::cell::{Cell, RefCell};

use crate::denial::Denial;

thread_local! {
    static FOUND: RefCell<Option<Vec<Denial>>> = const { RefCell::new(None) };
}

/// Is a policy being tried on?
pub fn running() -> bool {
    FOUND.with_borrow(Option::is_some)
}

/// Has anything been refused yet?
pub fn refused() -> bool {
    FOUND.with_borrow(|found| found.as_ref().is_some_and(|found| !found.is_empty()))
}

/// Notes what would have been refused.
pub fn note(denial: Denial) {
    FOUND.with_borrow_mut(|found| {
        if let Some(found) = found {
            found.push(denial);
        }
    });
}

/// Collects what `work` would be refused.
pub fn collect<T>(work: impl FnOnce() -> T) -> (T, Vec<Denial>) {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            FOUND.set(None);
        }
    }
    FOUND.set(Some(Vec::new()));
    let done = Done;
    let result = work();
    let found = FOUND.take().unwrap_or_default();
    drop(done);
    (result, found)
}

thread_local! {
    static PREVIEW: Cell<bool> = const { Cell::new(false) };
}

/// Is a statement run for `agent_policy.preview`? It is enforced like any other of that role's, but
/// nobody's: nothing is written down, no clock runs, nothing leaves on the wire.
pub fn previewing() -> bool {
    PREVIEW.get()
}

/// Is what goes on no statement of anybody's, but tried on or a preview?
pub fn is_nobodys() -> bool {
    running() || previewing()
}

/// Runs `work` as a preview; afterwards, ERROR or not, it is none any more.
pub fn preview<T>(work: impl FnOnce() -> T) -> T {
    struct Done;
    impl Drop for Done {
        fn drop(&mut self) {
            PREVIEW.set(false);
        }
    }
    PREVIEW.set(true);
    let _done = Done;
    work()
}
