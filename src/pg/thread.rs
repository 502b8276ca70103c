//! A thread that PostgreSQL's signals never reach.

use std::io;

/// Starts `f` on a thread with every signal blocked: a handler of PostgreSQL that ran on it would
/// set flags and latches of the backend from outside. `f` must not touch PostgreSQL.
pub fn spawn_without_signals(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<()> {
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
        spawned.map(drop)
    }
}
