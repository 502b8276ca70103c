//! A thread that PostgreSQL's signals never reach.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use super::futex;

/// Memory that has to be there before a thread is started. The C library ends the process where it finds none for a
/// thread's own variables.
const ROOM: usize = 1 << 20;

fn has_room() -> bool {
    let Ok(layout) = Layout::from_size_align(ROOM, 8) else {
        return false;
    };
    // SAFETY: what is given is taken back as it was.
    unsafe {
        let room = System.alloc(layout);
        if room.is_null() {
            return false;
        }
        System.dealloc(room, layout);
    }
    true
}

/// The calling thread does not take the processor from others when it wakes up: where none is free, work comes together
/// meanwhile.
pub fn give_way() {
    // SAFETY: plain data; of the calling thread alone. Should it fail, nothing has changed.
    unsafe {
        let priority = std::mem::zeroed::<libc::sched_param>();
        libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const priority);
    }
}

/// Starts `f` on a thread with every signal blocked: a handler of PostgreSQL that ran on it would
/// set flags and latches of the backend from outside. `f` must not touch PostgreSQL. Returns when the thread has
/// begun, and has its own variables.
pub fn spawn_without_signals(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if !has_room() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let begun = Arc::new(AtomicU32::new(0));
    let theirs = begun.clone();
    let f = move || {
        theirs.store(1, SeqCst);
        futex::wake_all(&theirs);
        drop(theirs);
        f();
    };
    // SAFETY: the sets are plain data that sigfillset and pthread_sigmask fill in before they are
    // read; the mask of the calling thread is put back right after the thread, which inherits
    // it, was created.
    unsafe {
        let mut all = std::mem::zeroed::<libc::sigset_t>();
        let mut before = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let spawned = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(64 << 10)
            .spawn(f);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        spawned?;
    }
    while begun.load(SeqCst) == 0 {
        futex::wait(&begun, 0, Duration::from_millis(10));
    }
    Ok(())
}
