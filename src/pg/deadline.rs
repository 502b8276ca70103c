//! The policy's own clock: it starts with the first look at a message and stops when the server
//! is ready for the next. First the statement is cancelled; one that catches that is cancelled
//! again and then ends with its session.

use core::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};

use pgrx::pg_sys;

use super::raw;

static TIMER: AtomicI32 = AtomicI32::new(-1);
static ARMED: AtomicBool = AtomicBool::new(false);
static FIRED: AtomicU32 = AtomicU32::new(0);
/// What the session had set, and what was put in its place.
static OWN_LIMIT: AtomicI32 = AtomicI32::new(0);
static CAP: AtomicI32 = AtomicI32::new(0);
static TICKS: AtomicU32 = AtomicU32::new(0);
static LIMIT_MS: AtomicU32 = AtomicU32::new(0);

/// Milliseconds between the cancellations of a statement that goes on regardless.
const REPEAT_MS: c_int = 400;
/// After so many of them the session ends.
const PATIENCE: u32 = 2;
/// However busy it is with what cannot be interrupted: so many repeats.
const LAST_TICK: u32 = 75;

unsafe extern "C-unwind" fn on_timer() {
    // SAFETY: a signal handler: it sets flags that the server's own handlers set the same way,
    // and wakes the process.
    unsafe {
        // A cancellation that has not been looked at yet was not ignored; but there is an end to
        // that, too.
        let unseen = FIRED.load(Relaxed) > 0 && pg_sys::QueryCancelPending != 0;
        let ticks = TICKS.fetch_add(1, Relaxed) + 1;
        let fired = if unseen {
            FIRED.load(Relaxed)
        } else {
            FIRED.fetch_add(1, Relaxed) + 1
        };
        if fired > PATIENCE || ticks > LAST_TICK {
            pg_sys::ProcDiePending = 1;
        } else {
            pg_sys::QueryCancelPending = 1;
        }
        pg_sys::InterruptPending = 1;
        raw::SetLatch(raw::MyLatch);
    }
}

/// Starts the clock for this message, unless it runs already.
pub fn arm(limit_ms: Option<u64>) {
    let Some(limit) = limit_ms else { return };
    if ARMED.load(Relaxed) {
        return;
    }
    let limit = c_int::try_from(limit).unwrap_or(c_int::MAX).max(1);
    // SAFETY: timers are registered once a backend and enabled outside signal handlers.
    unsafe {
        if TIMER.load(Relaxed) < 0 {
            TIMER.store(
                raw::RegisterTimeout(raw::USER_TIMEOUT, Some(on_timer)),
                Relaxed,
            );
        }
        FIRED.store(0, Relaxed);
        TICKS.store(0, Relaxed);
        LIMIT_MS.store(limit as u32, Relaxed);
        let first = raw::GetCurrentTimestamp() + i64::from(limit) * 1000;
        raw::enable_timeout_every(TIMER.load(Relaxed), first, REPEAT_MS);
    }
    ARMED.store(true, Relaxed);
}

/// The server's own statement_timeout stands behind ours where no hook has been reached yet: while
/// parse analysis waits for a lock, say. A session may lower it, not raise it.
pub fn cap_native(limit_ms: Option<u64>) {
    const BEHIND_MS: c_int = 500;
    let Some(limit) = limit_ms else { return };
    let cap = c_int::try_from(limit)
        .unwrap_or(c_int::MAX)
        .saturating_add(BEHIND_MS);
    // SAFETY: the setting's own variable, read when the next message begins.
    unsafe {
        let own = raw::StatementTimeout;
        if own == 0 || own > cap {
            OWN_LIMIT.store(own, Relaxed);
            CAP.store(cap, Relaxed);
            raw::StatementTimeout = cap;
        }
    }
}

/// The session is no longer confined: its own limit counts again.
pub fn uncap_native() {
    let cap = CAP.swap(0, Relaxed);
    // SAFETY: see above.
    unsafe {
        if cap != 0 && raw::StatementTimeout == cap {
            raw::StatementTimeout = OWN_LIMIT.load(Relaxed);
        }
    }
}

/// Stops the clock: the server is ready for the next message.
pub fn disarm() {
    if ARMED.swap(false, Relaxed) {
        // SAFETY: the timer was registered when it was armed.
        unsafe { raw::disable_timeout(TIMER.load(Relaxed), false) };
        FIRED.store(0, Relaxed);
    }
}

/// Has the time of this message run out? Then its limit in milliseconds.
pub fn hit() -> Option<u32> {
    (FIRED.load(Relaxed) > 0).then(|| LIMIT_MS.load(Relaxed))
}
