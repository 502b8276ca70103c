//! Background workers of the audit: how they are registered, connect, wait and end.

use super::shmem::{self, Slot, State};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime};
use pgrx::prelude::*;
use pgrx::{PgSqlErrorCode, PgTryBuilder, pg_sys};
use std::ffi::CStr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Whether the library is being loaded by shared_preload_libraries.
pub fn preloading() -> bool {
    // SAFETY: a flag of the postmaster, set while it loads libraries.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}

/// What names a backend.
pub struct Backend {
    pub pid: i32,
    pub database: u32,
    /// Microseconds, PostgreSQL's epoch.
    pub started_at: i64,
    pub data_dir: String,
}

pub fn this_backend() -> Backend {
    // SAFETY: set before a backend runs its first statement; DataDir is a C string that stays.
    unsafe {
        Backend {
            pid: pg_sys::MyProcPid,
            database: pg_sys::MyDatabaseId.to_u32(),
            started_at: pg_sys::MyStartTimestamp,
            data_dir: CStr::from_ptr(pg_sys::DataDir)
                .to_string_lossy()
                .into_owned(),
        }
    }
}

/// Is this backend to cancel its statement, or to end, as soon as it looks?
pub fn interrupted() -> bool {
    // SAFETY: reads of flags that signal handlers set.
    unsafe { pg_sys::QueryCancelPending != 0 || pg_sys::ProcDiePending != 0 }
}

pub fn in_recovery() -> bool {
    // SAFETY: reads a flag in shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

static AT_EXIT: std::sync::Mutex<Vec<fn()>> = std::sync::Mutex::new(Vec::new());

/// Calls `f` when this process ends, before it lets go of shared memory.
pub fn at_exit(f: fn()) {
    let Ok(mut list) = AT_EXIT.lock() else { return };
    list.push(f);
    if list.len() == 1 {
        drop(list);
        // SAFETY: registers a callback that lives as long as the library, which is never unloaded.
        unsafe { pg_sys::before_shmem_exit(Some(run_at_exit), pg_sys::Datum::from(0)) };
    }
}

#[pg_guard]
extern "C-unwind" fn run_at_exit(_code: std::ffi::c_int, _arg: pg_sys::Datum) {
    let list = AT_EXIT.lock().map(|l| l.clone()).unwrap_or_default();
    for f in list {
        // What ends the process may have come from anywhere: the others are to run all the same.
        let _ended = std::panic::catch_unwind(f);
    }
}

/// Waits until the latch is set or the time is over; raises what an interrupt asks for.
pub fn nap(time: Duration) {
    // SAFETY: a process that runs this has its latch; PostgreSQL's own loops do the same.
    unsafe {
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        let millis = time.as_millis().min(60_000) as _;
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            millis,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pg_sys::check_for_interrupts!();
}

/// Reads the configuration again if a SIGHUP said so; whether it did.
pub fn reload_config() -> bool {
    // SAFETY: the flag is set by SignalHandlerForConfigReload; a worker may read the file at any
    // point where it is not inside a transaction.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
            return true;
        }
    }
    false
}

/// Registers the launcher, from `_PG_init` in the postmaster.
pub fn register_launcher() {
    builder("agent_policy audit launcher", "agent_policy_audit_launcher")
        .set_restart_time(Some(Duration::from_secs(5)))
        .load();
}

fn builder(name: &str, function: &str) -> BackgroundWorkerBuilder {
    // The access to databases resets the start time: that comes after.
    BackgroundWorkerBuilder::new(name)
        .set_library("agent_policy")
        .set_function(function)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
}

/// Starts the worker of a database; false when no worker can be registered.
pub fn start_worker(database: u32) -> bool {
    // SAFETY: set since this process started.
    let me = unsafe { pg_sys::MyProcPid };
    builder(
        &format!("agent_policy audit writer {database}"),
        "agent_policy_audit_worker",
    )
    .set_type("agent_policy audit writer")
    .set_argument(Some(pg_sys::Datum::from(database)))
    .set_notify_pid(me)
    .load_dynamic()
    .is_ok()
}

/// The signals as a backend handles them: SIGTERM ends the process at the next check for
/// interrupts, SIGUSR1 (barriers and the like) is PostgreSQL's own already.
fn handle_signals() {
    // SAFETY: a background worker installs its handlers before it unblocks signals.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        use pg_sys::pqsignal;
        #[cfg(feature = "pg18")]
        use pg_sys::pqsignal_be as pqsignal;
        pqsignal(libc::SIGTERM, Some(on_term));
        pqsignal(libc::SIGHUP, Some(on_hup));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

unsafe extern "C-unwind" fn on_term(signal: std::ffi::c_int) {
    // SAFETY: PostgreSQL's handler, which only sets flags and the latch; called through the bare
    // declaration, as pgrx's wrapper is not made for signal handlers.
    unsafe { bare::die(signal) }
}

unsafe extern "C-unwind" fn on_hup(signal: std::ffi::c_int) {
    // SAFETY: as above.
    unsafe { bare::SignalHandlerForConfigReload(signal) }
}

mod bare {
    unsafe extern "C" {
        pub fn die(signal: std::ffi::c_int);
        pub fn SignalHandlerForConfigReload(signal: std::ffi::c_int);
    }
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn agent_policy_audit_launcher(_arg: pg_sys::Datum) {
    handle_signals();
    let Some(shared) = shmem::shared() else {
        return;
    };
    at_exit(|| shmem::shared().into_iter().for_each(|s| s.launcher.leave()));
    if !shared.launcher.take() {
        return;
    }
    // Connected to no database, as the autovacuum launcher: it sees the shared catalogs and
    // stands in nobody's way.
    BackgroundWorker::connect_worker_to_spi(None, None);
    crate::audit::launch(shared);
}

/// The database of this worker, for what runs when it exits.
static WORKER_OF: AtomicU32 = AtomicU32::new(0);
/// Is this process a worker of ours?
pub fn is_ours() -> bool {
    WORKER_OF.load(SeqCst) != 0
}

static SUCCEEDED: AtomicBool = AtomicBool::new(false);

fn my_slot() -> Option<&'static Slot> {
    shmem::shared()?.slot(WORKER_OF.load(SeqCst))
}

#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn agent_policy_audit_worker(arg: pg_sys::Datum) {
    let database = arg.value() as u32;
    handle_signals();
    WORKER_OF.store(database, SeqCst);
    let Some(slot) = my_slot() else { return };
    if !slot.worker.take() {
        return;
    }
    at_exit(|| {
        if let Some(slot) = my_slot() {
            if slot.state() == State::Running {
                let ended_well = SUCCEEDED.load(SeqCst);
                slot.set_state(if ended_well {
                    State::Idle
                } else {
                    State::Failed
                });
            }
            slot.worker.leave();
        }
    });
    slot.set_state(State::Running);
    // SAFETY: the first thing a worker does with PostgreSQL, once; InvalidOid stands for the
    // bootstrap superuser. Databases that allow no connections are audited, too.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(
            pg_sys::Oid::from(database),
            pg_sys::InvalidOid,
            pg_sys::BGWORKER_BYPASS_ALLOWCONN,
        );
    }
    for (name, value) in [
        (c"application_name", c"agent_policy audit writer"),
        (c"search_path", c"pg_catalog"),
        // A session that locks the table delays the worker; it must not hang it.
        (c"lock_timeout", c"2000"),
        (c"statement_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_isolation", c"read committed"),
        (c"synchronous_commit", c"on"),
        (c"row_security", c"off"),
        (c"jit", c"off"),
    ] {
        // SAFETY: C strings that live on; the worker is outside any transaction.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
    let run = AssertUnwindSafe(|| {
        if in_recovery() {
            crate::audit::ship(database, slot);
        } else {
            crate::audit::ingest(database, slot);
        }
    });
    PgTryBuilder::new(run)
        .catch_others(|error| {
            note_failure(&error);
            error.rethrow()
        })
        .catch_rust_panic(|error| {
            note_failure(&error);
            error.rethrow()
        })
        .execute();
    SUCCEEDED.store(true, SeqCst);
}

fn note_failure(error: &pg_sys::panic::CaughtError) {
    let report = super::report_of(error);
    if report.sql_error_code() == PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN {
        return;
    }
    if let Some(slot) = my_slot() {
        slot.failed(report.message());
    }
}

/// Runs `f` in a transaction of its own; an error rolls it back and goes on.
pub fn transaction<R>(f: impl FnOnce() -> R) -> R {
    let mut f = Some(f);
    let mut result = None;
    BackgroundWorker::transaction(AssertUnwindSafe(|| {
        if let Some(f) = f.take() {
            result = Some(f());
        }
    }));
    match result {
        Some(r) => r,
        None => unreachable!("a transaction either runs its body or raises"),
    }
}

/// Why some work was given up.
pub struct GaveUp {
    pub code: PgSqlErrorCode,
    pub message: String,
}

impl GaveUp {
    /// It is about what was to be stored, and would be the same another time: not about locks, the
    /// disk or whoever ended it.
    pub fn is_about_data(&self) -> bool {
        let [a, b, ..] = super::report::state(self.code as i32);
        matches!(&[a, b], b"22" | b"23" | b"54" | b"XX")
    }
}

/// Runs `work`, which has transactions of its own; an error rolls back the one at hand.
pub fn attempt<R>(work: impl FnOnce() -> R) -> Result<R, GaveUp> {
    fn typed<R, F>(work: F) -> Result<R, GaveUp>
    where
        F: FnOnce() -> Result<R, GaveUp> + std::panic::UnwindSafe,
    {
        PgTryBuilder::new(work)
            .catch_others(|error| {
                let report = super::report_of(&error);
                // SAFETY: what PostgreSQL's own loops do after an error; does nothing outside a
                // transaction.
                unsafe { pg_sys::AbortCurrentTransaction() };
                Err(GaveUp {
                    code: report.sql_error_code(),
                    message: report.message().to_owned(),
                })
            })
            .execute()
    }
    typed(AssertUnwindSafe(|| Ok(work())))
}

/// Whether there is a database; inside a transaction.
pub fn database_exists(database: u32) -> bool {
    // SAFETY: a look-up in a shared catalog inside a transaction.
    unsafe {
        pg_sys::SearchSysCacheExists(
            pg_sys::SysCacheIdentifier::DATABASEOID as i32,
            pg_sys::Datum::from(database),
            pg_sys::Datum::from(0),
            pg_sys::Datum::from(0),
            pg_sys::Datum::from(0),
        )
    }
}

/// Whether this database has the extension; inside a transaction.
pub fn extension_installed() -> bool {
    // SAFETY: a look-up by a C string inside a transaction.
    unsafe { pg_sys::get_extension_oid(c"agent_policy".as_ptr(), true) != pg_sys::InvalidOid }
}

/// Holds the extension until the transaction ends. DROP EXTENSION takes this lock first and the
/// tables' after it; whoever takes them in another order would meet it half-way.
pub fn hold_extension() {
    // SAFETY: look-ups and a lock inside a transaction.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"agent_policy".as_ptr(), true);
        if extension != pg_sys::InvalidOid {
            pg_sys::LockDatabaseObject(
                pg_sys::ExtensionRelationId,
                extension,
                0,
                pg_sys::AccessShareLock as i32,
            );
        }
    }
}
