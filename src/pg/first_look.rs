//! Whether a session is confined is looked up before its first message: the clock, and with it
//! whatever else protects a confined session, must not wait for the first hook, which is reached
//! only after the first statement was parsed and had its relations locked.

use core::ffi::c_int;

use pgrx::pg_sys;

use super::{boundary, deadline, raw, session};
use crate::{identity, statement};

/// Nobody's login waits longer for a lock on the policy, in milliseconds.
const PATIENCE: c_int = 100;

/// The session is about to say for the first time that it is ready. What fails here is left to the
/// first hook.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn take() {
    // SAFETY: outside any transaction, one is begun and ended for the look-up; an ERROR in it is
    // caught and its transaction aborted.
    unsafe {
        if raw::am_walsender
            || pg_sys::MyDatabaseId == pg_sys::InvalidOid
            || pg_sys::IsTransactionOrTransactionBlock()
        {
            return;
        }
        let memory = pg_sys::CurrentMemoryContext;
        let patience = raw::LockTimeout;
        raw::LockTimeout = PATIENCE;
        let looked = boundary::call(|| {
            pg_sys::StartTransactionCommand();
            if session::confined()
                && let Some(policy) = identity::last_policy()
            {
                // An error of the first statement may come before any hook, and outside any
                // transaction.
                policy.prepare_hints();
                statement::introduce();
            }
            pg_sys::CommitTransactionCommand();
        });
        raw::LockTimeout = patience;
        if let Err(thrown) = looked {
            pg_sys::CurrentMemoryContext = pg_sys::ErrorContext;
            thrown.replace();
            pg_sys::AbortCurrentTransaction();
        }
        pg_sys::CurrentMemoryContext = memory;
        if session::last_known() {
            deadline::cap_native(identity::known_timeout());
        }
    }
}
