//! The policy's own clock: it starts with the first look at a message and stops when the client
//! has the server's word that it is ready for the next. First the statement is cancelled; one that
//! catches that, or that waits for its client, is cancelled again and then ends with its session.
//!
//! The same clock looks at the memory of the backend.

use core::ffi::c_int;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed,
};

use pgrx::pg_sys;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use policy::rule::Rule;

use super::{parsing, raw};
use crate::denial::Denial;

static TIMER: AtomicI32 = AtomicI32::new(-1);
static ARMED: AtomicBool = AtomicBool::new(false);
/// When the statement's time is up, in the server's microseconds.
static DEADLINE: AtomicI64 = AtomicI64::new(i64::MAX);
/// When a statement that was cancelled is looked at again.
static NEXT: AtomicI64 = AtomicI64::new(0);
static FIRED: AtomicU32 = AtomicU32::new(0);
static LOOKS: AtomicU32 = AtomicU32::new(0);
/// The session was told to end.
static ENDED: AtomicBool = AtomicBool::new(false);
static LIMIT_MS: AtomicU32 = AtomicU32::new(0);
/// Bytes, 0 for no limit.
static MEMORY: AtomicU64 = AtomicU64::new(0);
static OVER_MEMORY: AtomicBool = AtomicBool::new(false);
/// The backend writes to its client: a cancellation is not looked at there.
static WRITES: AtomicU32 = AtomicU32::new(0);

/// Milliseconds between two looks of the clock.
const TICK_MS: c_int = 100;
/// Microseconds between the cancellations of a statement that goes on regardless.
const REPEAT: i64 = 300_000;
/// After so many of them the session ends.
const PATIENCE: u32 = 2;
/// However busy it is with what cannot be interrupted: so many repeats.
const LAST_LOOK: u32 = 100;

static MAX_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(1024);

pub fn define() {
    GucRegistry::define_int_guc(
        c"agent_policy.max_memory",
        c"Memory of its own that a confined session's backend may have while a statement runs.",
        c"Beyond it the statement is cancelled. 0 for no limit.",
        &MAX_MEMORY,
        0,
        i32::MAX / 2,
        GucContext::Sighup,
        GucFlags::UNIT_MB | GucFlags::SUPERUSER_ONLY,
    );
}

/// Why a statement was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Time { limit_ms: u32 },
    Memory { limit: u64 },
}

impl Reason {
    pub fn denial(self) -> Denial {
        match self {
            Self::Time { limit_ms } => Denial::new(
                Rule::StatementTimeout,
                "statement_timeout",
                format!("the statement took longer than {limit_ms} ms"),
            )
            .with("limit_ms", limit_ms)
            .hint("Read less: fewer rows with a WHERE clause, aggregates over a smaller range, no cross join."),
            Self::Memory { limit } => Denial::new(
                Rule::MaxMemory,
                "max_memory",
                format!("the statement needed more than {} MB of memory", limit >> 20),
            )
            .with("limit", limit)
            .hint("Build smaller values: aggregate fewer rows, shorten what is repeated or concatenated."),
        }
    }
}

/// Memory that this process shares with nobody, in bytes: for a signal handler, so nothing is
/// allocated and errno stays as it was.
#[cfg(target_os = "linux")]
fn own_memory() -> u64 {
    const PAGE: u64 = 4096;
    // SAFETY: system calls on a buffer of this frame, all of them safe in a signal handler.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let mut text = [0_u8; 128];
        let file = libc::open(
            c"/proc/self/statm".as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        );
        let mut length = -1;
        if file >= 0 {
            length = libc::read(file, text.as_mut_ptr().cast(), text.len());
            libc::close(file);
        }
        *errno = before;
        let Ok(length) = usize::try_from(length) else {
            return 0;
        };
        // size resident shared …, in pages
        let mut fields = text[..length]
            .split(|b| *b == b' ')
            .map(|field| field.iter().fold(0_u64, |n, b| n * 10 + u64::from(b & 15)));
        match (fields.nth(1), fields.next()) {
            (Some(resident), Some(shared)) => resident.saturating_sub(shared) * PAGE,
            _ => 0,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn own_memory() -> u64 {
    0
}

unsafe extern "C-unwind" fn on_timer() {
    // SAFETY: a signal handler: it sets flags that the server's own handlers set the same way,
    // and wakes the process.
    unsafe {
        let now = raw::GetCurrentTimestamp();
        if FIRED.load(Relaxed) == 0 {
            // Timers are a little early at times.
            if now + 1000 < DEADLINE.load(Relaxed) {
                let limit = MEMORY.load(Relaxed);
                if limit == 0 || own_memory() <= limit {
                    return;
                }
                OVER_MEMORY.store(true, Relaxed);
            }
        } else if now < NEXT.load(Relaxed) {
            return;
        }
        NEXT.store(now + REPEAT, Relaxed);
        // A cancellation that has not been looked at yet was not ignored, unless the client is
        // what is waited for (reads hold cancellations off); but there is an end to that, too.
        let waits = WRITES.load(Relaxed) > 0 || pg_sys::QueryCancelHoldoffCount > 0;
        let unseen = FIRED.load(Relaxed) > 0 && pg_sys::QueryCancelPending != 0 && !waits;
        let looks = LOOKS.fetch_add(1, Relaxed) + 1;
        let fired = if unseen {
            FIRED.load(Relaxed)
        } else {
            FIRED.fetch_add(1, Relaxed) + 1
        };
        if fired > PATIENCE || looks > LAST_LOOK {
            ENDED.store(true, Relaxed);
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
    if ARMED.load(Relaxed) {
        return;
    }
    parsing::install();
    let memory = (MAX_MEMORY.get().max(0) as u64) << 20;
    if limit_ms.is_none() && memory == 0 {
        return;
    }
    let limit = limit_ms.map(|limit| c_int::try_from(limit).unwrap_or(c_int::MAX).max(1));
    let tick = limit.map_or(TICK_MS, |limit| limit.min(TICK_MS));
    // SAFETY: timers are registered once a backend and enabled outside signal handlers.
    unsafe {
        if TIMER.load(Relaxed) < 0 {
            TIMER.store(
                raw::RegisterTimeout(raw::USER_TIMEOUT, Some(on_timer)),
                Relaxed,
            );
        }
        let now = raw::GetCurrentTimestamp();
        forget();
        LIMIT_MS.store(limit.unwrap_or(0) as u32, Relaxed);
        MEMORY.store(memory, Relaxed);
        DEADLINE.store(
            limit.map_or(i64::MAX, |limit| now + i64::from(limit) * 1000),
            Relaxed,
        );
        raw::enable_timeout_every(TIMER.load(Relaxed), now + i64::from(tick) * 1000, tick);
    }
    ARMED.store(true, Relaxed);
}

fn forget() {
    FIRED.store(0, Relaxed);
    LOOKS.store(0, Relaxed);
    ENDED.store(false, Relaxed);
    OVER_MEMORY.store(false, Relaxed);
}

/// Stops the clock: the client knows that the server is ready for its next message.
pub fn disarm() {
    if ARMED.swap(false, Relaxed) {
        // SAFETY: the timer was registered when it was armed.
        unsafe { raw::disable_timeout(TIMER.load(Relaxed), false) };
        forget();
    }
}

/// Was the message cancelled by this clock, and why?
pub fn hit() -> Option<Reason> {
    (FIRED.load(Relaxed) > 0).then(|| {
        if OVER_MEMORY.load(Relaxed) {
            Reason::Memory {
                limit: MEMORY.load(Relaxed),
            }
        } else {
            Reason::Time {
                limit_ms: LIMIT_MS.load(Relaxed),
            }
        }
    })
}

/// Did this clock end the session?
pub fn ended() -> bool {
    ENDED.load(Relaxed)
}

/// Writes to the client. An ERROR cannot come out of `write`.
pub fn while_writing<T>(write: impl FnOnce() -> T) -> T {
    WRITES.fetch_add(1, Relaxed);
    let result = write();
    WRITES.fetch_sub(1, Relaxed);
    result
}

// --- the server's own clocks ----------------------------------------------------------------------

/// A time-out of the server that a confined session may lower and not raise.
struct Capped {
    variable: fn() -> *mut c_int,
    own: AtomicI32,
    cap: AtomicI32,
}

impl Capped {
    const fn new(variable: fn() -> *mut c_int) -> Self {
        Self {
            variable,
            own: AtomicI32::new(0),
            cap: AtomicI32::new(0),
        }
    }

    fn put(&self, cap: u64) {
        let cap = c_int::try_from(cap).unwrap_or(c_int::MAX);
        // SAFETY: the setting's own variable.
        unsafe {
            let variable = (self.variable)();
            let own = *variable;
            if own == 0 || own > cap {
                self.own.store(own, Relaxed);
                self.cap.store(cap, Relaxed);
                *variable = cap;
            }
        }
    }

    fn take_back(&self) {
        let cap = self.cap.swap(0, Relaxed);
        // SAFETY: the setting's own variable.
        unsafe {
            let variable = (self.variable)();
            if cap != 0 && *variable == cap {
                *variable = self.own.load(Relaxed);
            }
        }
    }
}

static STATEMENT: Capped = Capped::new(|| &raw mut raw::StatementTimeout);
static IDLE: Capped = Capped::new(|| &raw mut raw::IdleInTransactionSessionTimeout);

/// Stands behind ours where no hook has been reached yet: while a text is parsed, or while parse
/// analysis waits for a lock.
const BEHIND_MS: u64 = 500;
/// How many times its limit for a statement a transaction may be idle, and last.
const IDLE_TIMES: u64 = 30;
const TRANSACTION_TIMES: u64 = 60;
/// People read answers, and models think: a transaction may be idle that long in any case.
const LEAST_IDLE_MS: u64 = 300_000;

/// Was the message cancelled where no hook has been reached, by the server's clock in our place?
pub fn hit_native() -> Option<Reason> {
    const STATEMENT_TIMEOUT: c_int = 3;
    let cap = STATEMENT.cap.load(Relaxed);
    // SAFETY: reads of variables of this backend.
    let up = unsafe {
        let end = raw::get_timeout_finish_time(STATEMENT_TIMEOUT);
        raw::StatementTimeout == cap && end != 0 && end <= raw::GetCurrentTimestamp()
    };
    (cap != 0 && up).then(|| Reason::Time {
        limit_ms: (cap as u32).saturating_sub(BEHIND_MS as u32),
    })
}

/// Puts the server's own time-outs in force.
pub fn cap_native(limit_ms: Option<u64>) {
    let Some(limit) = limit_ms else { return };
    STATEMENT.put(limit.saturating_add(BEHIND_MS));
    IDLE.put(limit.saturating_mul(IDLE_TIMES).max(LEAST_IDLE_MS));
}

/// The session is no longer confined: its own limits count again.
pub fn uncap_native() {
    STATEMENT.take_back();
    IDLE.take_back();
}

/// Has the transaction block at hand lasted too long for one more query?
///
/// # Errors
/// When it has.
pub fn judge_transaction(limit_ms: Option<u64>) -> Result<(), Denial> {
    let Some(limit) = limit_ms else { return Ok(()) };
    let most = limit.saturating_mul(TRANSACTION_TIMES);
    // SAFETY: reads of the transaction's state.
    let age = unsafe {
        if !raw::IsTransactionBlock() {
            return Ok(());
        }
        raw::GetCurrentTimestamp() - pg_sys::GetCurrentTransactionStartTimestamp()
    };
    if age / 1000 <= i64::try_from(most).unwrap_or(i64::MAX) {
        return Ok(());
    }
    Err(Denial::new(
        Rule::StatementTimeout,
        "transaction",
        format!("the transaction has lasted longer than {} s", most / 1000),
    )
    .with("limit_ms", most)
    .hint("COMMIT or ROLLBACK, and go on in a new transaction."))
}
