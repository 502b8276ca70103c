//! The text of the statement at hand, for the audit.

use core::ffi::{CStr, c_char};
use std::cell::Cell;

use pgrx::pg_sys;

use super::raw;

#[derive(Clone, Copy)]
struct Text {
    start: *const c_char,
    location: i32,
    length: i32,
}

/// Which message a text came with: a later one may have its text at the same place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Message {
    text: *const c_char,
    begun: i64,
}

#[derive(Clone, Copy)]
enum At {
    /// The statement that a hook was last given.
    Statement(Text),
    /// The end of the last statement that was completed.
    After(usize),
}

thread_local! {
    /// That of the statement which is being planned for the client.
    static OUTERMOST: Cell<Option<Text>> = const { Cell::new(None) };
    static CURRENT: Cell<Option<Text>> = const { Cell::new(None) };
    /// How far the server has come with the statements of a message.
    static PROGRESS: Cell<Option<(Message, At)>> = const { Cell::new(None) };
}

fn message() -> Message {
    // SAFETY: reads of backend variables.
    unsafe {
        Message {
            text: pg_sys::debug_query_string,
            begun: raw::GetCurrentStatementStartTimestamp(),
        }
    }
}

/// A statement of the message is done: an error before the next hook is that of the next one.
pub fn statement_done() {
    if let Some((of, At::Statement(text))) = PROGRESS.get() {
        let end = match usize::try_from(text.length) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(length) => usize::try_from(text.location).unwrap_or(0) + length,
        };
        PROGRESS.set(Some((of, At::After(end))));
    }
}

/// While it lives, [`current`] is this text.
pub struct Source(Option<Text>);

/// # Safety
/// `start` is null or a NUL-terminated text that outlives the guard.
pub unsafe fn enter(start: *const c_char, location: i32, length: i32) -> Source {
    let before = CURRENT.get();
    if !start.is_null() {
        let text = Text {
            start,
            location,
            length,
        };
        CURRENT.set(Some(text));
        let message = message();
        if start == message.text {
            PROGRESS.set(Some((message, At::Statement(text))));
        }
    }
    Source(before)
}

impl Drop for Source {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// While it lives, the text at hand is known as that of the outermost statement.
pub struct Outermost(Option<Text>);

pub fn is_outermost() -> Outermost {
    Outermost(OUTERMOST.replace(CURRENT.get()))
}

impl Drop for Outermost {
    fn drop(&mut self) {
        OUTERMOST.set(self.0);
    }
}

/// With the outermost statement's text as the one at hand.
pub fn in_outermost<T>(f: impl FnOnce() -> T) -> T {
    let _back = Source(CURRENT.get());
    if let Some(text) = OUTERMOST.get() {
        CURRENT.set(Some(text));
    }
    f()
}

/// The bytes of the statement at hand: what the innermost hook was given, else as much of the
/// message as is known to be it.
pub fn current<T>(read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: the hooks' guards make sure that the text is alive; the message's text lives until
    // the next message.
    unsafe {
        if let Some(text) = CURRENT.get() {
            return read(text.bytes());
        }
        let message = message();
        if message.text.is_null() {
            return read(b"");
        }
        let all = CStr::from_ptr(message.text).to_bytes();
        match PROGRESS.get() {
            Some((of, At::Statement(text))) if of == message => read(text.bytes()),
            // Its statements have parsed, or none of them would have run.
            Some((of, At::After(end))) if of == message => {
                let rest = all.get(end..).unwrap_or(all);
                read(std::str::from_utf8(rest).map_or(rest, |rest| {
                    policy::redact::first_statement(rest).as_bytes()
                }))
            }
            _ => read(all),
        }
    }
}

/// The part of a text that is one statement.
///
/// # Safety
/// `start` is a NUL-terminated text that outlives the result.
pub unsafe fn part<'a>(start: *const c_char, location: i32, length: i32) -> &'a [u8] {
    let text = Text {
        start,
        location,
        length,
    };
    // SAFETY: by the caller's promise.
    unsafe { text.bytes() }
}

impl Text {
    /// # Safety
    /// The text is alive.
    unsafe fn bytes<'a>(self) -> &'a [u8] {
        // SAFETY: by the caller's promise.
        let all = unsafe { CStr::from_ptr(self.start) }.to_bytes();
        let from = usize::try_from(self.location).unwrap_or(0).min(all.len());
        let rest = &all[from..];
        match usize::try_from(self.length) {
            Ok(0) | Err(_) => rest,
            Ok(length) => &rest[..length.min(rest.len())],
        }
    }
}
