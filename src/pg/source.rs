//! The text of the statement at hand, for the audit.

use core::ffi::c_char;
use std::cell::Cell;

use pgrx::pg_sys;

#[derive(Clone, Copy)]
struct Text {
    start: *const c_char,
    location: i32,
    length: i32,
}

thread_local! {
    static CURRENT: Cell<Option<Text>> = const { Cell::new(None) };
}

/// While it lives, [`current`] is this text.
pub struct Source(Option<Text>);

/// # Safety
/// `start` is null or a NUL-terminated text that outlives the guard.
pub unsafe fn enter(start: *const c_char, location: i32, length: i32) -> Source {
    let before = CURRENT.get();
    if !start.is_null() {
        CURRENT.set(Some(Text {
            start,
            location,
            length,
        }));
    }
    Source(before)
}

impl Drop for Source {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The bytes of the statement at hand: what the innermost hook was given, else the message.
pub fn current<T>(read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: the hooks' guards make sure that the text is alive; the message's text lives until
    // the next message.
    unsafe {
        match CURRENT.get() {
            Some(Text {
                start,
                location,
                length,
            }) => {
                let all = core::ffi::CStr::from_ptr(start).to_bytes();
                let from = usize::try_from(location).unwrap_or(0).min(all.len());
                let rest = &all[from..];
                let to = match usize::try_from(length) {
                    Ok(0) | Err(_) => rest.len(),
                    Ok(length) => length.min(rest.len()),
                };
                read(&rest[..to])
            }
            None if pg_sys::debug_query_string.is_null() => read(b""),
            None => read(core::ffi::CStr::from_ptr(pg_sys::debug_query_string).to_bytes()),
        }
    }
}
