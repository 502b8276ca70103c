//! What leaves the server, seen where it leaves: every message to the client of a confined
//! session passes here. This is where rows and bytes are counted as the client gets them, where
//! data waits for its audit record, where errors are noted, and where a message's clock stops.

use core::ffi::{c_char, c_int};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::pg_sys;

use super::layers::{self, Layer};
use super::{deadline, failing_row, raw, session};
use crate::limits;
use crate::{identity, statement};

static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static INNER: Cell<*const raw::PQcommMethods> = const { Cell::new(std::ptr::null()) };
    static OURS: Cell<raw::PQcommMethods> = const {
        Cell::new(raw::PQcommMethods {
            comm_reset: None,
            flush: None,
            flush_if_writable: None,
            is_send_pending: None,
            putmessage: None,
            putmessage_noblock: None,
        })
    };
}

/// Puts the session's messages under watch; once in place it stays.
pub fn install() {
    if INSTALLED.load(Relaxed) {
        return;
    }
    // SAFETY: the methods table is this backend's own; ours lives as long as the process.
    unsafe {
        if pg_sys::ParallelWorkerNumber >= 0
            || pg_sys::whereToSendOutput != pg_sys::CommandDest::DestRemote
            || raw::PqCommMethods.is_null()
        {
            return;
        }
        let inner = raw::PqCommMethods;
        INNER.set(inner);
        let mut ours = *inner;
        ours.putmessage = Some(put_message);
        OURS.set(ours);
        raw::PqCommMethods = OURS.with(Cell::as_ptr);
    }
    INSTALLED.store(true, Relaxed);
}

unsafe fn pass(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: the methods that were there before us, with the arguments that were meant for them.
    unsafe {
        match (*INNER.get()).putmessage {
            Some(put) => put(kind, body, length),
            None => -1,
        }
    }
}

unsafe extern "C-unwind" fn put_message(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: a message as the server has built it; what may raise is guarded by itself, and this
    // frame owns nothing.
    unsafe {
        if !session::last_known() {
            return unconfined(kind, body, length);
        }
        match kind as u8 {
            // DataRow, CopyData, FunctionCallResponse
            b'D' | b'd' | b'V' if layers::on(Layer::Wire) => {
                // Data without a statement that is written down does not leave, whatever it is.
                if !statement::is_open() {
                    refuse_data();
                }
                if limits::over_bytes(length) && !ends_binary_copy(body, length) && !cut() {
                    return 0;
                }
                if !statement::data_may_leave() {
                    refuse_data();
                }
                limits::count(length);
            }
            b'E' => {
                on_error(body, length);
                if let Some(rest) = concealed(body, length) {
                    return pass(kind, rest.as_ptr().cast(), rest.len());
                }
            }
            b'N' => {
                let _ = !statement::is_open() || statement::data_may_leave();
            }
            // CommandComplete, PortalSuspended, EmptyQueryResponse
            b'C' | b's' | b'I' => on_complete(body, length),
            b'Z' => on_ready(),
            _ => {}
        }
        if matches!(kind as u8, b'E' | b'N') && (length > LONG_MESSAGE || guesses(body, length)) {
            return pass_edited(kind, body, length);
        }
        pass(kind, body, length)
    }
}

/// The trailer of COPY in binary format, without which the client could not read what it got.
unsafe fn ends_binary_copy(body: *const c_char, length: usize) -> bool {
    // SAFETY: a message body of that length.
    length == 2 && unsafe { std::slice::from_raw_parts(body.cast::<u8>(), 2) } == [0xff, 0xff]
}

/// Errors and notices repeat values; nobody needs more of them than this, in bytes.
const LONG_MESSAGE: usize = 8192;
const LONG_FIELD: usize = 1024;

/// In place of the columns that the server guesses were meant: it looks for them in whatever the
/// text names, before anybody can judge that.
const NO_SUCH_COLUMN: &[u8] =
    b"Hinformation_schema.columns lists the columns of relations that may be read.";

/// Is it about a column that does not exist?
unsafe fn guesses(body: *const c_char, length: usize) -> bool {
    // SAFETY: an ErrorResponse or NoticeResponse.
    unsafe { error_fields(body, length).0 == *b"42703" }
}

/// Sends an error or notice with its long fields cut and the guesses left out.
unsafe fn pass_edited(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: an ErrorResponse or NoticeResponse: fields of one type byte and a NUL-terminated
    // text each, then a NUL.
    unsafe {
        let fields = std::slice::from_raw_parts(body.cast::<u8>(), length);
        let guesses = guesses(body, length);
        let mut short = Vec::with_capacity(LONG_MESSAGE);
        for field in fields.split(|b| *b == 0).filter(|field| !field.is_empty()) {
            if guesses && field[0] == b'H' {
                short.extend_from_slice(NO_SUCH_COLUMN);
            } else if field.len() <= LONG_FIELD {
                short.extend_from_slice(field);
            } else {
                // Not in the middle of a UTF-8 character, nor of another encoding's.
                let cut = (LONG_FIELD - 8..LONG_FIELD)
                    .rev()
                    .find(|i| field[*i].is_ascii() && field[*i - 1].is_ascii())
                    .unwrap_or(1);
                short.extend_from_slice(&field[..cut]);
                short.extend_from_slice(b"...");
            }
            short.push(0);
        }
        short.push(0);
        pass(kind, short.as_ptr().cast(), short.len())
    }
}

/// The server is ready for the next message.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_ready() {
    deadline::disarm();
    deadline::cap_native(identity::known_timeout());
    statement::message_ends();
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn refuse_data() {
    statement::audit_unavailable().raise()
}

/// More bytes than allowed: ends the statement, or leaves this row out.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn cut() -> bool {
    limits::cut_bytes();
    false
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_complete(body: *const c_char, length: usize) {
    if !statement::is_open() {
        return;
    }
    let tag = if length == 0 {
        &[]
    } else {
        // SAFETY: a CommandComplete: the tag and a NUL; the other two are empty.
        unsafe { std::slice::from_raw_parts(body.cast::<u8>(), length) }
    };
    if let Some(rows) = tag.strip_prefix(b"COPY ")
        && let Some(rows) = std::str::from_utf8(rows.strip_suffix(b"\0").unwrap_or(rows))
            .ok()
            .and_then(|rows| rows.parse().ok())
    {
        limits::rows_are(rows);
    }
    limits::warn_if_cut();
    statement::completed();
}

/// The SQLSTATE of an ErrorResponse, and whether the session goes on after it.
unsafe fn error_fields(body: *const c_char, length: usize) -> ([u8; 5], bool) {
    // SAFETY: fields of one type byte and a NUL-terminated text each.
    let fields = unsafe { std::slice::from_raw_parts(body.cast::<u8>(), length) };
    let mut state = *b"XX000";
    let mut goes_on = false;
    for field in fields.split(|b| *b == 0) {
        match field {
            [b'C', code @ ..] => state = <[u8; 5]>::try_from(code).unwrap_or(state),
            [b'V', severity @ ..] => goes_on = severity == b"ERROR",
            _ => {}
        }
    }
    (state, goes_on)
}

/// The ErrorResponse without the row that it quotes, if it quotes a hidden one.
unsafe fn concealed(body: *const c_char, length: usize) -> Option<Vec<u8>> {
    // SAFETY: an ErrorResponse.
    unsafe {
        let (state, _) = error_fields(body, length);
        let fields = std::slice::from_raw_parts(body.cast::<u8>(), length);
        failing_row::without_detail(fields, state)
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_error(body: *const c_char, length: usize) {
    // SAFETY: an ErrorResponse.
    let (state, _) = unsafe { error_fields(body, length) };
    statement::failed(state);
}

// --- before anybody knows whether the session is confined ---------------------------------------

thread_local! {
    /// An error of a session that no hook has seen yet: the first text did not even parse. It
    /// waits until the session's policy is known.
    static HELD: RefCell<Option<(Vec<u8>, statement::Unseen)>> = const { RefCell::new(None) };
    static READY: Cell<bool> = const { Cell::new(false) };
}

unsafe fn unconfined(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: a message as the server has built it.
    unsafe {
        if session::is_known() && !held() {
            return pass(kind, body, length);
        }
        match kind as u8 {
            b'E' if READY.get() && hold(body, length) => 0,
            b'Z' => {
                if READY.replace(true) && held() {
                    release();
                }
                pass(kind, body, length)
            }
            _ => pass(kind, body, length),
        }
    }
}

fn held() -> bool {
    HELD.with_borrow(Option::is_some)
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn hold(body: *const c_char, length: usize) -> bool {
    // SAFETY: an ErrorResponse.
    unsafe {
        let (state, goes_on) = error_fields(body, length);
        // A FATAL error is the last message, and a second one would overtake the first.
        if !goes_on || held() {
            return false;
        }
        let message = std::slice::from_raw_parts(body.cast::<u8>(), length).to_vec();
        HELD.set(Some((message, statement::unseen(state))));
    }
    true
}

/// The session is idle: its policy can be looked up, the error written down if it has one, and
/// sent.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn release() {
    let Some((message, unseen)) = HELD.take() else {
        return;
    };
    // SAFETY: outside any transaction, one is begun and ended for the look-up.
    unsafe {
        if !pg_sys::IsTransactionOrTransactionBlock() {
            pg_sys::StartTransactionCommand();
            match super::catching(session::confined) {
                Ok(confined) => {
                    if confined {
                        statement::record_unseen(&unseen);
                    }
                    pg_sys::CommitTransactionCommand();
                }
                // An ERROR from here would be held, and released, for ever.
                Err(_unknown) => {
                    pg_sys::AbortCurrentTransaction();
                    statement::record_unseen(&unseen);
                }
            }
        }
        pass(b'E' as c_char, message.as_ptr().cast(), message.len());
    }
}
