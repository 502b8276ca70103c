//! Results that the server keeps whole and sends in slices (FETCH, EXPLAIN, SHOW, RETURNING, in the extended
//! protocol): the slices behind the first pass no hook but the wire.

use std::cell::{Cell, RefCell};

use pgrx::pg_sys;

use super::{execution, hooks, source};
use crate::api::identity::{self as forwarded, Identity};
use crate::statement::{self, Particulars};
use crate::{enforce, identity, limits};

/// A portal that was left in the middle of such a result.
struct Kept {
    portal: pg_sys::Portal,
    /// Another one may come to be at the same place.
    created: i64,
    /// What the result was made under, and for whom.
    policy: u32,
    user: Option<Identity>,
    /// Sent so far.
    bytes: u64,
}

thread_local! {
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
    /// The portal whose rows are being sent.
    static SENDING: Cell<pg_sys::Portal> = const { Cell::new(std::ptr::null_mut()) };
}

/// A row is about to leave.
#[inline]
pub fn sending() {
    // SAFETY: a variable of this backend.
    SENDING.set(unsafe { pg_sys::ActivePortal });
}

/// The portal whose rows have just been sent is left before its end.
pub fn suspended() {
    let portal = SENDING.replace(std::ptr::null_mut());
    // SAFETY: the server has just sent its rows, and says that there are more.
    unsafe {
        if portal.is_null() || (*portal).holdStore.is_null() {
            return;
        }
        let Some(policy) = identity::last_policy() else {
            return;
        };
        let kept = Kept {
            portal,
            created: (*portal).creation_time,
            policy: policy.stamp,
            user: forwarded::current(),
            bytes: limits::sent_by_portal(),
        };
        KEPT.with_borrow_mut(|all| {
            all.retain(|other| other.portal != portal);
            all.push(kept);
        });
    }
}

/// Rows come without a statement that runs: those of a kept result have a record of their own, if nothing has
/// changed that they depend on. False where they are not of such a one.
pub fn resume() -> bool {
    // SAFETY: the portal that is being run.
    let portal = unsafe { pg_sys::ActivePortal };
    let known = KEPT.with_borrow(|all| {
        all.iter()
            .find(|kept| {
                // SAFETY: the same.
                kept.portal == portal
                    && !portal.is_null()
                    && unsafe { (*portal).creation_time } == kept.created
            })
            .map(|kept| (kept.policy, kept.user.clone(), kept.bytes))
    });
    let Some((made_under, user, bytes)) = known else {
        return false;
    };
    // SAFETY: inside a transaction; the portal's text and plans live as long as it does.
    unsafe {
        // No lock was taken for these rows.
        pg_sys::AcceptInvalidationMessages();
        let Some(policy) = hooks::begin() else {
            return false;
        };
        let plan = super::nodes::pointers::<pg_sys::PlannedStmt>((*portal).stmts).next();
        let (location, length) =
            plan.map_or((0, 0), |plan| ((*plan).stmt_location, (*plan).stmt_len));
        let _source = source::enter((*portal).sourceText, location, length);
        statement::begin(0, &Particulars::default(), policy.effective_limits());
        limits::carry(bytes);
        if policy.stamp != made_under {
            enforce::<()>(&policy, Err(execution::outdated("the policy has changed")));
        }
        if forwarded::current() != user {
            enforce::<()>(
                &policy,
                Err(execution::outdated("the end user has changed")),
            );
        }
        enforce(&policy, identity::judge(&policy));
    }
    true
}

/// The transaction ends, and its portals with it.
pub fn forget() {
    SENDING.set(std::ptr::null_mut());
    KEPT.with(|all| {
        if let Ok(mut all) = all.try_borrow_mut() {
            all.clear();
        }
    });
}
