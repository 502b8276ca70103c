//! What backends, launcher and workers of the audit share: a slot for each database.
//!
//! Atomics only. Backends touch it while they abort or exit, where no LWLock may be taken.

use super::group::Group;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst,
};

/// Databases that can be audited at a time.
const SLOTS: usize = 512;
const ERROR_LEN: usize = 240;

/// A process that can be woken.
pub struct Peer {
    pid: AtomicI32,
    latch: AtomicPtr<pg_sys::Latch>,
}

impl Peer {
    /// Makes this process the peer, unless another one is.
    pub fn take(&self) -> bool {
        // SAFETY: both are set once in a process before any code of an extension runs in it.
        let (pid, latch) = unsafe { (pg_sys::MyProcPid, pg_sys::MyLatch) };
        if self.pid.compare_exchange(0, pid, SeqCst, SeqCst).is_err() {
            return false;
        }
        self.latch.store(latch, SeqCst);
        true
    }

    pub fn leave(&self) {
        // SAFETY: as in `take`.
        let pid = unsafe { pg_sys::MyProcPid };
        if self.pid.load(SeqCst) == pid {
            self.latch.store(std::ptr::null_mut(), SeqCst);
            self.pid.store(0, SeqCst);
        }
    }

    pub fn pid(&self) -> Option<i32> {
        Some(self.pid.load(SeqCst)).filter(|p| *p != 0)
    }

    /// Sets its latch; false when there is nobody.
    pub fn wake(&self) -> bool {
        let latch = self.latch.load(SeqCst);
        if latch.is_null() {
            return false;
        }
        // SAFETY: it is the latch of a PGPROC, which stays in shared memory, at the same address
        // in every process, as long as the server runs. If its process has ended, another one
        // wakes for nothing. SetLatch neither allocates nor raises errors.
        unsafe { pg_sys::SetLatch(latch) };
        true
    }
}

/// The state of a worker, for people.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    Idle = 0,
    Starting = 1,
    Running = 2,
    NoExtension = 3,
    Failed = 4,
}

/// What is shared about one database. Times are microseconds since the Unix epoch, 0 for never.
pub struct Slot {
    database: AtomicU32,
    state: AtomicU32,
    pub worker: Peer,
    /// Bytes appended to spool files since the server started.
    written: AtomicU64,
    /// Sessions that ended.
    pub ended: AtomicU64,
    /// Bytes not ingested when the worker (or the launcher) last looked …
    pub backlog: AtomicU64,
    /// … and `written` and `ended` then.
    pub seen_written: AtomicU64,
    pub seen_ended: AtomicU64,
    /// Tickets: everything appended before `wanted` was raised to n is in the tables as soon as
    /// `done` is n or more.
    pub wanted: AtomicU64,
    pub done: AtomicU64,
    pub last_seq: AtomicI64,
    pub ingested_at: AtomicI64,
    /// Since when records wait; 0 when none does.
    waiting_since: AtomicI64,
    /// Failures since the last success.
    pub failures: AtomicU32,
    pub failed_at: AtomicI64,
    /// Backends that could not write or sync a record since the server started …
    pub write_failures: AtomicU64,
    /// Days whose time is over are to be dropped, whatever else there is to do.
    pub housekeeping: AtomicBool,
    /// The directory of its spool files is durable.
    pub has_directory: AtomicBool,
    /// … and whether that is how it stands.
    unwritable: AtomicBool,
    /// Sessions of standbys whose records the table does not take.
    pub refused: AtomicU32,
    /// What has been told of it: [`Word`].
    pub told: AtomicU32,
    /// A word that the worker is to pass on to listeners.
    pub to_notify: AtomicU32,
    pub told_at: AtomicI64,
    pub error_at: AtomicI64,
    error_version: AtomicU32,
    error: [AtomicU8; ERROR_LEN],
}

impl Slot {
    pub fn database(&self) -> u32 {
        self.database.load(SeqCst)
    }

    pub fn state(&self) -> State {
        match self.state.load(SeqCst) {
            1 => State::Starting,
            2 => State::Running,
            3 => State::NoExtension,
            4 => State::Failed,
            _ => State::Idle,
        }
    }

    pub fn set_state(&self, s: State) {
        self.state.store(s as u32, SeqCst);
    }

    /// Bytes that are not in the table yet, about.
    pub fn backlog(&self) -> u64 {
        let since = self
            .written
            .load(SeqCst)
            .saturating_sub(self.seen_written.load(SeqCst));
        self.backlog.load(SeqCst).saturating_add(since)
    }

    /// Bytes appended so far.
    pub fn written(&self) -> u64 {
        self.written.load(SeqCst)
    }

    /// So many bytes more wait; how many had been written before.
    pub fn wrote(&self, bytes: u64) -> u64 {
        let before = self.written.fetch_add(bytes, SeqCst);
        if bytes > 0 {
            self.begins_to_wait(0);
        }
        before
    }

    /// Files that were there when the server started.
    pub fn found(&self, bytes: u64) {
        self.backlog.fetch_add(bytes, SeqCst);
        if bytes > 0 {
            self.begins_to_wait(0);
        }
    }

    /// Something waits: since then (0: now), if nothing did.
    fn begins_to_wait(&self, since: i64) {
        if self.waiting_since.load(SeqCst) == 0 {
            let since = if since == 0 {
                crate::audit::now()
            } else {
                since
            };
            let _ = self
                .waiting_since
                .compare_exchange(0, since, SeqCst, SeqCst);
        }
    }

    /// The table has everything that was there at a time, when so many bytes had been written.
    pub fn caught_up(&self, at: i64, written: u64) {
        self.waiting_since.store(0, SeqCst);
        // Whoever writes adds to `written` and then looks at `waiting_since`.
        if self.written() != written {
            self.begins_to_wait(at);
        }
    }

    /// How long records have been waiting, in microseconds.
    pub fn waited(&self) -> i64 {
        match self.waiting_since.load(SeqCst) {
            0 => 0,
            _ if self.backlog() == 0 => 0,
            since => (crate::audit::now() - since).max(0),
        }
    }

    /// Whether a worker would find something to do.
    pub fn has_work(&self) -> bool {
        self.backlog() > 0
            || self.ended.load(SeqCst) != self.seen_ended.load(SeqCst)
            || self.wanted.load(SeqCst) > self.done.load(SeqCst)
            || self.to_notify.load(SeqCst) != 0
    }

    /// The worker failed once more; gives how often it had before. Who sees the number finds the message.
    pub fn failed(&self, message: &str) -> u32 {
        self.set_error(message);
        self.failed_at.store(crate::audit::now(), SeqCst);
        self.failures.fetch_add(1, SeqCst)
    }

    /// A record could not be written or synced.
    pub fn unwritable(&self, message: &str) {
        self.set_error(message);
        self.write_failures.fetch_add(1, SeqCst);
        self.unwritable.store(true, SeqCst);
    }

    /// A record could be written.
    pub fn writable(&self) {
        if self.is_unwritable() {
            self.unwritable.store(false, SeqCst);
        }
    }

    pub fn is_unwritable(&self) -> bool {
        self.unwritable.load(SeqCst)
    }

    pub fn set_error(&self, message: &str) {
        self.error_at.store(crate::audit::now(), SeqCst);
        let mut end = message.len().min(ERROR_LEN);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = message.as_bytes().get(..end).unwrap_or_default();
        self.error_version.fetch_add(1, SeqCst);
        for (to, byte) in self.error.iter().zip(bytes.iter().chain(&[0])) {
            to.store(*byte, SeqCst);
        }
        self.error_version.fetch_add(1, SeqCst);
    }

    /// The last error. Should it be written again and again meanwhile, bytes of two may be in it.
    pub fn error(&self) -> Option<String> {
        let mut bytes = Vec::new();
        for _ in 0..100 {
            let version = self.error_version.load(SeqCst);
            bytes = self
                .error
                .iter()
                .map(|b| b.load(SeqCst))
                .take_while(|b| *b != 0)
                .collect();
            if version.is_multiple_of(2) && version == self.error_version.load(SeqCst) {
                break;
            }
            std::thread::yield_now();
        }
        Some(String::from_utf8_lossy(&bytes).into_owned()).filter(|s| !s.is_empty())
    }
}

/// All zero when the server starts, which is a valid beginning for every field.
pub struct Shared {
    /// Which server this is; 0 when that cannot be known.
    pub node: AtomicU64,
    /// Drawn at each start: tells this server from a copy of it.
    pub start: AtomicU64,
    pub launcher: Peer,
    /// The journal of records.
    pub journal: Group,
    /// The launcher was woken and has not looked yet.
    woken: AtomicBool,
    claiming: AtomicBool,
    slots: [Slot; SLOTS],
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// `None` when the library was not preloaded.
pub fn shared() -> Option<&'static Shared> {
    // SAFETY: null or the segment that `startup` got, which is Shared in size and, through
    // ShmemInitStruct, aligned to a cache line; its fields are atomics, or
    // guard themselves.
    unsafe { SHARED.load(SeqCst).as_ref() }
}

impl Shared {
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|s| s.database() != 0)
    }

    /// The slot of a database, a free one if it has none; `None` when all are taken.
    pub fn slot(&self, database: u32) -> Option<&Slot> {
        if let Some(slot) = self.slots().find(|s| s.database() == database) {
            return Some(slot);
        }
        self.exclusively(|| {
            let found = self.slots.iter().find(|s| s.database() == database);
            found.or_else(|| {
                let free = self.slots.iter().find(|s| s.database() == 0)?;
                free.database.store(database, SeqCst);
                Some(free)
            })
        })
    }

    /// Gives up the slot of a database that is no more.
    pub fn free(&self, slot: &Slot) {
        self.exclusively(|| {
            for n in [
                &slot.written,
                &slot.ended,
                &slot.backlog,
                &slot.seen_written,
            ] {
                n.store(0, SeqCst);
            }
            for n in [&slot.seen_ended, &slot.wanted, &slot.done] {
                n.store(0, SeqCst);
            }
            for n in [
                &slot.last_seq,
                &slot.ingested_at,
                &slot.waiting_since,
                &slot.failed_at,
                &slot.told_at,
            ] {
                n.store(0, SeqCst);
            }
            for n in [&slot.failures, &slot.refused, &slot.told, &slot.to_notify] {
                n.store(0, SeqCst);
            }
            slot.write_failures.store(0, SeqCst);
            slot.unwritable.store(false, SeqCst);
            slot.housekeeping.store(false, SeqCst);
            slot.has_directory.store(false, SeqCst);
            slot.set_error("");
            slot.error_at.store(0, SeqCst);
            slot.set_state(State::Idle);
            slot.database.store(0, SeqCst);
        });
    }

    /// A spin lock: what is done under it takes some hundred loads and cannot be interrupted, and
    /// a process killed inside it takes the shared memory along.
    fn exclusively<R>(&self, f: impl FnOnce() -> R) -> R {
        while self
            .claiming
            .compare_exchange(false, true, SeqCst, SeqCst)
            .is_err()
        {
            std::thread::yield_now();
        }
        let r = f();
        self.claiming.store(false, SeqCst);
        r
    }

    /// Wakes the launcher, once until it looks.
    pub fn wake_launcher(&self) {
        if !self.woken.swap(true, SeqCst) {
            self.launcher.wake();
        }
    }

    pub fn launcher_looks(&self) {
        self.woken.store(false, SeqCst);
    }
}

static mut PREVIOUS_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut PREVIOUS_STARTUP: pg_sys::shmem_startup_hook_type = None;
const NAME: &CStr = c"agent_policy audit";

/// Asks for the memory; from `_PG_init` in the postmaster only.
pub fn request() {
    // SAFETY: the postmaster runs alone while it loads libraries, and hooks are set then.
    unsafe {
        PREVIOUS_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request_hook);
        PREVIOUS_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup_hook);
    }
}

// The previous hook is called through the guard that turns its errors into panics.
#[allow(ffi_unwind_calls)]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn request_hook() {
    // SAFETY: called by the postmaster, alone, in the phase in which memory may be requested.
    unsafe {
        if let Some(previous) = PREVIOUS_REQUEST {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Shared>());
    }
}

// The previous hook is called through the guard that turns its errors into panics.
#[allow(ffi_unwind_calls)]
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn startup_hook() {
    // SAFETY: called by the postmaster, alone (no EXEC_BACKEND here, so no other process calls
    // it and AddinShmemInitLock is not needed), also after a crash, with new memory each time.
    unsafe {
        if let Some(previous) = PREVIOUS_STARTUP {
            pg_sys::ffi::pg_guard_ffi_boundary(|| previous());
        }
        let mut found = false;
        let at = pg_sys::ShmemInitStruct(NAME.as_ptr(), size_of::<Shared>(), &raw mut found);
        if !found {
            std::ptr::write_bytes(at.cast::<u8>(), 0, size_of::<Shared>());
        }
        SHARED.store(at.cast(), SeqCst);
        if let Some(shared) = shared() {
            let data_dir = CStr::from_ptr(pg_sys::DataDir).to_string_lossy();
            match crate::audit::node_of(&data_dir) {
                Ok((node, start)) => {
                    shared.node.store(node, SeqCst);
                    shared.start.store(start, SeqCst);
                }
                Err(e) => {
                    pgrx::warning!("agents are refused: this server's audit has no number: {e}")
                }
            }
        }
    }
}
