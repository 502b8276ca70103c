//! A receiver in front of the client's that counts rows and stops at the limit: the query, or if it
//! changes data, what is sent of it.

use std::cell::RefCell;

use pgrx::pg_sys::{self, CommandDest, DestReceiver, QueryDesc, TupleTableSlot};

use crate::api::identity::{self as forwarded, Identity};
use crate::limits;

/// Rows sent of a query so far, over all slices of its portal.
struct Count {
    query: *mut QueryDesc,
    rows: u64,
    bytes: u64,
    /// Whom the first of them was for.
    user: Option<Identity>,
}

thread_local! {
    static COUNTS: RefCell<Vec<Count>> = const { RefCell::new(Vec::new()) };
}

#[repr(C)]
struct Counting {
    base: DestReceiver,
    inner: *mut DestReceiver,
    sent: u64,
    max: u64,
    /// The query changes data: it runs to its end, whatever is sent of it.
    changes: bool,
}

unsafe extern "C-unwind" fn receive(slot: *mut TupleTableSlot, own: *mut DestReceiver) -> bool {
    // SAFETY: `own` is the `Counting` that `with_limit` put in the query's place; the frame owns
    // nothing that an ERROR of the inner receiver could leave behind.
    unsafe {
        let counting = own.cast::<Counting>();
        if (*counting).changes && limits::is_cut() {
            return true;
        }
        if (*counting).sent >= (*counting).max {
            at_limit();
            return (*counting).changes;
        }
        let inner = (*counting).inner;
        let go_on = match (*inner).receiveSlot {
            Some(receive) => receive(slot, inner),
            None => false,
        };
        if limits::is_cut() {
            return (*counting).changes;
        }
        (*counting).sent += 1;
        go_on
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn at_limit() {
    limits::cut_rows();
}

unsafe extern "C-unwind" fn startup(
    own: *mut DestReceiver,
    operation: i32,
    desc: pg_sys::TupleDesc,
) {
    // SAFETY: see `receive`.
    unsafe {
        let inner = (*own.cast::<Counting>()).inner;
        if let Some(startup) = (*inner).rStartup {
            startup(inner, operation, desc);
        }
    }
}

unsafe extern "C-unwind" fn shutdown(own: *mut DestReceiver) {
    // SAFETY: see `receive`.
    unsafe {
        let inner = (*own.cast::<Counting>()).inner;
        if let Some(shutdown) = (*inner).rShutdown {
            shutdown(inner);
        }
    }
}

unsafe extern "C-unwind" fn destroy(_own: *mut DestReceiver) {}

/// Is what this receiver gets on its way to the client?
fn goes_to_client(dest: CommandDest::Type) -> bool {
    matches!(
        dest,
        CommandDest::DestRemote
            | CommandDest::DestRemoteExecute
            | CommandDest::DestRemoteSimple
            | CommandDest::DestCopyOut
            | CommandDest::DestTuplestore
    )
}

/// Restores the query's own receiver, however the run ends.
struct Restore {
    query: *mut QueryDesc,
    inner: *mut DestReceiver,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // SAFETY: the query is the caller's and outlives the run.
        unsafe { (*self.query).dest = self.inner };
    }
}

/// Runs `run` with a receiver that lets at most `max` rows of the query through, counting those
/// of earlier slices.
///
/// # Safety
/// `query` is a started query at the outermost level.
pub unsafe fn with_limit<T>(query: *mut QueryDesc, max: u64, run: impl FnOnce() -> T) -> T {
    // SAFETY: by the caller's promise.
    unsafe {
        let inner = (*query).dest;
        if inner.is_null() || !goes_to_client((*inner).mydest) {
            return run();
        }
        let (before, earlier) = COUNTS.with_borrow(|counts| {
            counts
                .iter()
                .find(|c| c.query == query)
                .map_or((0, 0), |c| (c.rows, c.bytes))
        });
        let user = forwarded::current();
        let already = limits::sent().bytes;
        limits::carry(earlier.saturating_sub(already));
        let mut counting = Counting {
            base: *inner,
            inner,
            sent: before,
            max,
            changes: (*query).operation != pg_sys::CmdType::CMD_SELECT,
        };
        counting.base.receiveSlot = Some(receive);
        counting.base.rStartup = Some(startup);
        counting.base.rShutdown = Some(shutdown);
        counting.base.rDestroy = Some(destroy);
        let result = {
            let _restore = Restore { query, inner };
            (*query).dest = (&raw mut counting).cast();
            run()
        };
        let bytes = earlier + limits::sent().bytes.saturating_sub(already);
        COUNTS.with_borrow_mut(
            |counts| match counts.iter_mut().find(|c| c.query == query) {
                Some(count) => {
                    count.rows = counting.sent;
                    count.bytes = bytes;
                }
                None => counts.push(Count {
                    query,
                    rows: counting.sent,
                    bytes,
                    user,
                }),
            },
        );
        result
    }
}

/// Did earlier rows of the query go to another user than the one it would be run for now?
pub fn is_of_another_user(query: *const QueryDesc) -> bool {
    COUNTS.with_borrow(|counts| {
        counts
            .iter()
            .find(|c| c.query.cast_const() == query)
            .is_some_and(|c| c.user != forwarded::current())
    })
}

/// A query starts or ends: what was counted for its address is void.
pub fn forget(query: *mut QueryDesc) {
    COUNTS.with_borrow_mut(|counts| counts.retain(|c| c.query != query));
}

/// The transaction is over, and all portals with it.
pub fn forget_all() {
    COUNTS.with(|counts| {
        if let Ok(mut counts) = counts.try_borrow_mut() {
            counts.clear();
        }
    });
}
