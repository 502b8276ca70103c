//! Cancelling what the parser does. PostgreSQL looks for cancellations nowhere between reading a text and
//! the end of its analysis, and there some texts take the square of their length: nested comments and runs
//! of operator characters in the lexer, long lists of tables, of WITH, of ORDER BY after it. Neither
//! `statement_timeout` nor `pg_terminate_backend` ends such a statement. Confined sessions look when a
//! signal arrives, and then each [`TICK_US`] of processor time: if the processor is in the parser's own
//! code, the cancellation is carried out there, as an error of the parser's would be, which it may raise at
//! any of these places.
//!
//! What is interrupted is the parser's code alone, never what it calls, so nothing is left half done: no
//! allocation, no cache, no lock. The lists it was building go with their memory context.

pub use signals::{init, install};

/// Not known here where a signal finds the processor.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod signals {
    pub fn init() {}
    pub fn install() {}
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod signals {
    use core::ffi::{CStr, c_int, c_void};
    use std::ptr::null_mut;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

    use pgrx::pg_sys;

    use crate::pg::raw;

    /// Between two looks after one that came at a wrong moment, in microseconds of processor time.
    const TICK_US: i64 = 5_000;

    /// By whom a statement is cancelled, a clock runs out or a session is ended, and our own.
    const SIGNALS: [c_int; 4] = [libc::SIGINT, libc::SIGALRM, libc::SIGTERM, libc::SIGVTALRM];

    /// Stretches of code between two exported functions, of which the first belongs to it and the last
    /// does not, and what must lie in between if the server was linked file by file. None of it is
    /// shared with anything but parsing. parse_oper.c, which fills a cache of its own, is not among them.
    const PARSER: [[&CStr; 3]; 4] = [
        // scan.l
        [c"core_yylex", c"core_yylex", c"scanner_init"],
        // parse_clause.c, with the last function of parse_agg.c
        [
            c"build_aggregate_finalfn_expr",
            c"addTargetToSortList",
            c"parser_coercion_errposition",
        ],
        // parse_cte.c
        [
            c"analyzeCTETargetList",
            c"transformWithClause",
            c"name_matches_visible_ENR",
        ],
        // parse_relation.c
        [
            c"checkNameSpaceConflicts",
            c"checkNameSpaceConflicts",
            c"GetNSItemByRangeTablePosn",
        ],
    ];

    /// As long as none of these stretches is in any build.
    const TOO_LONG: usize = 64 << 10;

    /// Where they are in this server, 0 and 0 if that is not sure.
    static PLACES: [[AtomicUsize; 2]; 4] = [const { [const { AtomicUsize::new(0) }; 2] }; 4];

    static INSTALLED: AtomicBool = AtomicBool::new(false);
    static TICKING: AtomicBool = AtomicBool::new(false);
    /// What was there before, by the order of [`SIGNALS`].
    static PREVIOUS: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

    /// Finds the parser's code, for all backends to come.
    pub fn init() {
        for (names, place) in PARSER.iter().zip(&PLACES) {
            let [first, between, end] = names.map(address);
            if 0 < first && first <= between && between < end && end - first < TOO_LONG {
                place[0].store(first, Relaxed);
                place[1].store(end, Relaxed);
            }
        }
    }

    fn address(name: &CStr) -> usize {
        // SAFETY: looks for a name among those of the server and its libraries.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) as usize }
    }

    /// Once a session, when it is known to be confined.
    pub fn install() {
        if INSTALLED.swap(true, Relaxed) {
            return;
        }
        for (signal, previous) in SIGNALS.iter().zip(&PREVIOUS) {
            // SAFETY: the old action is read before the new one, which hands on to it, is set; of the
            // server's own a handler takes the number of the signal only.
            unsafe {
                let mut action = std::mem::zeroed::<libc::sigaction>();
                libc::sigaction(*signal, std::ptr::null(), &raw mut action);
                if action.sa_flags & libc::SA_SIGINFO != 0 {
                    continue;
                }
                previous.store(action.sa_sigaction, Relaxed);
                action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                action.sa_sigaction = on_signal as *const () as usize;
                libc::sigaction(*signal, &raw const action, null_mut());
            }
        }
    }

    unsafe extern "C" fn on_signal(
        signal: c_int,
        _info: *mut libc::siginfo_t,
        context: *mut c_void,
    ) {
        let at = SIGNALS.iter().position(|s| *s == signal);
        let previous = at.map_or(0, |at| PREVIOUS[at].load(Relaxed));
        if previous != libc::SIG_DFL && previous != libc::SIG_IGN {
            // SAFETY: the handler that the server had set for this signal.
            unsafe {
                let handler: unsafe extern "C" fn(c_int) = std::mem::transmute(previous);
                handler(signal);
            }
        }
        // SAFETY: the context is the kernel's. Nothing here has a destructor, should this not return.
        unsafe { look(context.cast()) }
    }

    unsafe fn look(context: *const libc::ucontext_t) {
        // SAFETY: variables of the server that its own handlers read and write. What ProcessInterrupts
        // raises goes past this frame, which owns nothing.
        unsafe {
            let pending = pg_sys::InterruptPending != 0
                && (pg_sys::QueryCancelPending != 0 || pg_sys::ProcDiePending != 0);
            if !pending {
                tick(0);
                return;
            }
            let held = pg_sys::InterruptHoldoffCount != 0
                || pg_sys::QueryCancelHoldoffCount != 0
                || pg_sys::CritSectionCount != 0;
            if held || !in_parser(place(context)) {
                tick(TICK_US);
                return;
            }
            tick(0);
            // An error goes to a place that may not restore the mask.
            let mut signals = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut signals);
            for signal in SIGNALS {
                libc::sigaddset(&raw mut signals, signal);
            }
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const signals, null_mut());
            raw::ProcessInterrupts();
        }
    }

    /// Starts or, with 0, stops the timer that looks again.
    fn tick(every: i64) {
        if TICKING.swap(every != 0, Relaxed) == (every != 0) {
            return;
        }
        let every = libc::timeval {
            tv_sec: 0,
            tv_usec: every as libc::suseconds_t,
        };
        let timer = libc::itimerval {
            it_interval: every,
            it_value: every,
        };
        // SAFETY: a system call with a timer of this frame; nobody else in a backend has this timer.
        unsafe { libc::setitimer(libc::ITIMER_VIRTUAL, &raw const timer, null_mut()) };
    }

    /// Where the signal found the processor.
    unsafe fn place(context: *const libc::ucontext_t) -> usize {
        // SAFETY: by the caller's promise.
        #[cfg(target_arch = "x86_64")]
        let at = unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] };
        #[cfg(target_arch = "aarch64")]
        let at = unsafe { (*context).uc_mcontext.pc };
        at as usize
    }

    fn in_parser(place: usize) -> bool {
        PLACES
            .iter()
            .any(|[first, end]| (first.load(Relaxed)..end.load(Relaxed)).contains(&place))
    }
}
