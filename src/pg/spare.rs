//! Memory to spare for the server's own errors, where there is no more of it: pgrx copies each error
//! in the memory context where it catches it, and a copy that fails is the next error, until the
//! server's stack of errors is full and it panics. What is kept here goes back to the system as soon
//! as "out of memory" is raised.

use core::ffi::{c_int, c_void};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use pgrx::pg_sys;

use super::memory;

/// Bytes to spare: a few blocks of the largest memory contexts, which ask for 1 MB when there is no
/// more. Address space, of which nothing is resident.
const BYTES: usize = 4 << 20;

static SPARE: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());

struct Watch(UnsafeCell<pg_sys::ErrorContextCallback>);

// SAFETY: the server's error state belongs to the main thread.
unsafe impl Sync for Watch {}

/// The last of the server's error contexts, below those of anybody's frames: it is never popped, and
/// refers to nothing.
static WATCH: Watch = Watch(UnsafeCell::new(pg_sys::ErrorContextCallback {
    previous: std::ptr::null_mut(),
    callback: Some(on_any_error),
    arg: std::ptr::null_mut(),
}));

/// Before anything of ours calls the server: sees to it that there is something to spare when the
/// server runs out of memory. False: there is nothing.
pub fn keep() -> bool {
    // SAFETY: on the main thread; the entries of the stack are alive, and the last one has none
    // before it.
    unsafe {
        let watch = WATCH.0.get();
        let mut place = &raw mut pg_sys::error_context_stack;
        while !(*place).is_null() && *place != watch {
            place = &raw mut (**place).previous;
        }
        *place = watch;
    }
    !SPARE.load(Relaxed).is_null() || map()
}

/// [`keep`] for a session that is confined, which ends if there is nothing.
pub fn keep_or_end() {
    if !keep() {
        // SAFETY: on the main thread of a backend; this does not come back.
        unsafe { memory::end_session() }
    }
}

#[cold]
fn map() -> bool {
    // SAFETY: a private mapping at an address of the system's choice.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    let mapped = at != libc::MAP_FAILED;
    if mapped {
        SPARE.store(at, Relaxed);
    }
    mapped
}

/// Gives back what there is to spare.
pub fn give_back() {
    let at = SPARE.swap(std::ptr::null_mut(), Relaxed);
    if !at.is_null() {
        // SAFETY: mapped by `map`, and nobody has a pointer into it.
        unsafe { libc::munmap(at, BYTES) };
    }
}

unsafe extern "C-unwind" {
    fn geterrcode() -> c_int;
}

/// Called for every error and message while it is put together; adds nothing to it.
unsafe extern "C-unwind" fn on_any_error(_argument: *mut c_void) {
    // SAFETY: an error is being put together.
    if unsafe { geterrcode() } == pgrx::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int {
        give_back();
    }
}
