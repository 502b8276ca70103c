//! Waiting for another process by a word of shared memory.
//!
//! Where the system has no futex, whoever waits looks again and again.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

/// Waits until somebody wakes those who wait at the word, not longer than `most`; returns at once
/// when it is not what it `was`, and at a signal.
#[cfg(target_os = "linux")]
pub fn wait(word: &AtomicU32, was: u32, most: Duration) {
    let timeout = libc::timespec {
        tv_sec: most.as_secs() as _,
        tv_nsec: most.subsec_nanos().into(),
    };
    // SAFETY: the kernel reads the word, which outlives the call, and the timeout of this frame.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            was,
            &raw const timeout,
        );
    }
}

#[cfg(not(target_os = "linux"))]
pub fn wait(word: &AtomicU32, was: u32, most: Duration) {
    if word.load(SeqCst) == was {
        std::thread::sleep(most.min(Duration::from_micros(200)));
    }
}

pub fn wake_all(word: &AtomicU32) {
    wake(word, i32::MAX);
}

pub fn wake_one(word: &AtomicU32) {
    wake(word, 1);
}

#[cfg(target_os = "linux")]
fn wake(word: &AtomicU32, most: i32) {
    // SAFETY: the kernel looks for who waits at this address.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, most) };
}

#[cfg(not(target_os = "linux"))]
fn wake(_word: &AtomicU32, _most: i32) {}

/// Is there such a process? One of another user counts.
pub fn alive(pid: i32) -> bool {
    // SAFETY: signal 0 asks, nothing is sent.
    let there = unsafe { libc::kill(pid, 0) == 0 };
    there || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// A lock between processes, held for some microseconds. The lock of a process that is gone is taken
/// over. Zero is free.
pub struct Lock(AtomicU32);

/// Somebody waits; the other bits are the holder's pid.
const WAITED_FOR: u32 = 1 << 31;
const LOOK: Duration = Duration::from_millis(20);

impl Lock {
    /// Runs `f` while nobody else does. It must not wait for anything.
    pub fn hold<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Held<'a>(&'a Lock);
        impl Drop for Held<'_> {
            fn drop(&mut self) {
                if self.0.0.swap(0, SeqCst) & WAITED_FOR != 0 {
                    wake_all(&self.0.0);
                }
            }
        }
        let me = std::process::id();
        if self.0.compare_exchange(0, me, SeqCst, SeqCst).is_err() {
            self.wait(me);
        }
        let _held = Held(self);
        f()
    }

    #[cold]
    fn wait(&self, me: u32) {
        for _ in 0..100 {
            if self.0.compare_exchange(0, me, SeqCst, SeqCst).is_ok() {
                return;
            }
            std::hint::spin_loop();
        }
        loop {
            let found = self.0.load(SeqCst);
            let gone = || !alive((found & !WAITED_FOR) as i32);
            if found == 0 || found & WAITED_FOR != 0 && gone() {
                // Others may wait, too.
                let mine = me | WAITED_FOR;
                if self.0.compare_exchange(found, mine, SeqCst, SeqCst).is_ok() {
                    return;
                }
                continue;
            }
            let waited = found | WAITED_FOR;
            if found == waited
                || self
                    .0
                    .compare_exchange(found, waited, SeqCst, SeqCst)
                    .is_ok()
            {
                wait(&self.0, waited, LOOK);
            }
        }
    }
}
