//! Memory of our own code, where there is no more of it. Rust aborts when an allocation fails; in a
//! backend that takes every session of the server into recovery, where PostgreSQL itself would raise
//! 53200. Here a reserve takes over, which suffices for an error, its record and a clean end; what
//! cannot wait for the server's own error ends the session with FATAL, which runs the server's exit
//! code and unwinds no frame of Rust.

use core::ffi::{c_char, c_int};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use pgrx::pg_sys;

/// Bytes of the reserve. Until somebody needs it, none of it is resident.
const RESERVE: usize = 1 << 20;
/// Bytes that a session may take of it and go on; the rest is for its end.
const GOES_ON: usize = RESERVE / 2;

/// The server's allocator, and behind it the reserve.
pub struct Allocator {
    reserve: UnsafeCell<[u8; RESERVE]>,
    /// Bytes given out, from the front. They come back when nothing of them is in use.
    taken: AtomicUsize,
    in_use: AtomicUsize,
    ending: AtomicBool,
}

// SAFETY: bytes of the reserve are given out once, by an atomic counter.
unsafe impl Sync for Allocator {}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator {
    reserve: UnsafeCell::new([0; RESERVE]),
    taken: AtomicUsize::new(0),
    in_use: AtomicUsize::new(0),
    ending: AtomicBool::new(false),
};

unsafe extern "C-unwind" {
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(code: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// Does the session end for want of memory? What it was about to do may hold anything.
pub fn is_ending() -> bool {
    ALLOCATOR.ending.load(SeqCst)
}

impl Allocator {
    fn start(&self) -> usize {
        self.reserve.get() as usize
    }

    fn owns(&self, at: *mut u8) -> bool {
        (at as usize).wrapping_sub(self.start()) < RESERVE
    }

    /// The system has no more.
    #[cold]
    fn exhausted(&self, layout: Layout) -> *mut u8 {
        let at = self.take(layout);
        let much = at.is_null() || self.taken.load(SeqCst) > GOES_ON;
        if much && !self.ending.load(SeqCst) && in_session() {
            self.ending.store(true, SeqCst);
            // SAFETY: on the main thread of a backend; this does not come back.
            unsafe { end_session() };
        }
        at
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        let start = self.start();
        let mut offset = 0;
        // Before anything else, so that nobody takes the counter for unused in between.
        self.in_use.fetch_add(1, SeqCst);
        let taken = self.taken.fetch_update(SeqCst, SeqCst, |taken| {
            offset = (start + taken).checked_next_multiple_of(layout.align())? - start;
            offset
                .checked_add(layout.size())
                .filter(|end| *end <= RESERVE)
        });
        if taken.is_err() {
            self.in_use.fetch_sub(1, SeqCst);
            return std::ptr::null_mut();
        }
        // SAFETY: inside of the reserve.
        unsafe { self.reserve.get().cast::<u8>().add(offset) }
    }

    fn give_back(&self) {
        if self.in_use.fetch_sub(1, SeqCst) == 1 {
            // Unless a thread has just taken something: then with the last of that.
            let taken = self.taken.load(SeqCst);
            if self.in_use.load(SeqCst) == 0 {
                let _changed = self.taken.compare_exchange(taken, 0, SeqCst, SeqCst);
            }
        }
    }
}

// SAFETY: what `System` gives is handed on as it is; the reserve gives out disjoint, aligned bytes.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise.
        let at = unsafe { System.alloc(layout) };
        if at.is_null() {
            self.exhausted(layout)
        } else {
            at
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller's promise; the reserve may have been used before.
        unsafe {
            let at = System.alloc_zeroed(layout);
            if !at.is_null() {
                return at;
            }
            let at = self.exhausted(layout);
            if !at.is_null() {
                at.write_bytes(0, layout.size());
            }
            at
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if self.owns(at) {
            self.give_back();
        } else {
            // SAFETY: it came from there.
            unsafe { System.dealloc(at, layout) }
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller's promise; what stays where it was is freed once it was copied.
        unsafe {
            if !self.owns(at) {
                let moved = System.realloc(at, layout, size);
                if !moved.is_null() {
                    return moved;
                }
            }
            let Ok(wanted) = Layout::from_size_align(size, layout.align()) else {
                return std::ptr::null_mut();
            };
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(at, layout.size().min(size));
                self.dealloc(at, layout);
            }
            moved
        }
    }
}

/// Is this the main thread of a process that serves somebody? The postmaster does not end for want
/// of memory, and a thread cannot.
fn in_session() -> bool {
    // SAFETY: a plain read.
    unsafe { pg_sys::IsUnderPostmaster && on_main_thread() }
}

#[cfg(target_os = "linux")]
fn on_main_thread() -> bool {
    // SAFETY: the numbers of a process and of its main thread are the same.
    unsafe { libc::gettid() == libc::getpid() }
}

/// Elsewhere nobody tells: an empty reserve aborts, as it would without one.
#[cfg(not(target_os = "linux"))]
fn on_main_thread() -> bool {
    false
}

/// What the server does when it cannot go on: the session ends, the others notice nothing.
///
/// # Safety
/// On the main thread of a backend; this does not come back.
pub unsafe fn end_session() {
    // SAFETY: the server's own functions, which take their memory from a reserve of theirs.
    unsafe {
        if errstart(pg_sys::FATAL as c_int, std::ptr::null()) {
            errcode(pgrx::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int);
            errmsg(c"out of memory".as_ptr());
            errfinish(c"".as_ptr(), 0, c"agent_policy".as_ptr());
        }
    }
}
