//! The extension's own parsing and queries, which no rule applies to.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static DEPTH: AtomicU32 = AtomicU32::new(0);

/// Holds the session in the extension's own work until it is dropped, ERROR or not.
pub struct Internal(());

pub fn enter() -> Internal {
    DEPTH.fetch_add(1, Relaxed);
    Internal(())
}

impl Drop for Internal {
    fn drop(&mut self) {
        DEPTH.fetch_sub(1, Relaxed);
    }
}

/// Is the extension at work on its own behalf?
#[inline]
pub fn active() -> bool {
    DEPTH.load(Relaxed) != 0
}
