//! Before anybody knows whether the session is confined: an error of its first text waits until that is known.

use core::ffi::{c_char, c_int};
use std::cell::{Cell, RefCell};

use pgrx::pg_sys;

use super::{
    ErrorFields, FAILING, edited, end_session, error_fields, guesses, instead_of, pass, unrecorded,
    whatever_happens,
};
use crate::pg::{self, boundary, first_look, name_answers, session};
use crate::{identity, statement};

thread_local! {
    /// An error of a session that no hook has seen yet: the first text did not even parse. It
    /// waits until the session's policy is known.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
    static READY: Cell<bool> = const { Cell::new(false) };
}

struct Held {
    message: Vec<u8>,
    text: String,
    unseen: statement::Unseen,
}

/// A message of a session that is not known to be confined.
pub(super) unsafe fn unconfined(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: a message as the server has built it.
    unsafe {
        if session::is_known() && !held() {
            return pass(kind, body, length);
        }
        match kind as u8 {
            b'E' if READY.get() && hold(body, length) => 0,
            b'Z' => {
                if !READY.replace(true) {
                    first_look::take();
                } else if held() {
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
    let (message, ErrorFields { state, goes_on, .. }) = unsafe {
        let message = std::slice::from_raw_parts(body.cast::<u8>(), length).to_vec();
        (message, error_fields(body, length))
    };
    // A FATAL error is the last message, and a second one would overtake the first. What is raised
    // because this failed tells nothing.
    if !goes_on || held() || FAILING.replace(false) {
        return false;
    }
    let held = whatever_happens(goes_on, || Held {
        message,
        text: name_answers::with_statement_text(str::to_owned),
        unseen: statement::unseen(state),
    });
    HELD.set(Some(held));
    true
}

/// The session is idle: its policy can be looked up, the error written down if it has one, and
/// sent.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn release() {
    let Some(held) = HELD.take() else {
        return;
    };
    // SAFETY: outside any transaction; the message is passed on as it would have been.
    unsafe {
        let message = if pg_sys::IsTransactionOrTransactionBlock() {
            held.message
        } else {
            let memory = pg_sys::CurrentMemoryContext;
            let message = released(&held);
            pg_sys::CurrentMemoryContext = memory;
            message
        };
        let (body, length) = (message.as_ptr().cast(), message.len());
        if session::last_known() && guesses(body, length) {
            let short = edited(body, length);
            pass(b'E' as c_char, short.as_ptr().cast(), short.len());
        } else {
            pass(b'E' as c_char, body, length);
        }
    }
}

/// What is sent for the error that was held. An ERROR from here would be held, and released, for
/// ever.
fn released(held: &Held) -> Vec<u8> {
    // SAFETY: outside any transaction, one is begun for the look-up. An ERROR of that jumps here at once, past
    // frames that own nothing.
    let begun = unsafe {
        boundary::call(|| {
            pg_sys::StartTransactionCommand();
            session::confined();
        })
    };
    let message = match begun {
        // SAFETY: the transaction that was begun.
        Ok(()) => pg::catching(|| unsafe {
            let message = judged(held);
            pg_sys::CommitTransactionCommand();
            message
        }),
        Err(thrown) => {
            thrown.replace();
            Err(String::new())
        }
    };
    let message = message.or_else(|_unknown| {
        // SAFETY: ends the transaction that was begun.
        pg::catching(|| unsafe {
            pg_sys::AbortCurrentTransaction();
            if statement::record_unseen(&held.unseen, None) {
                held.message.clone()
            } else {
                unrecorded(&held.message)
            }
        })
    });
    message
        .or_else(|_unrecorded| pg::catching(|| unrecorded(&held.message)))
        .unwrap_or_else(|_| end_session())
}

/// The error as the session's policy, which is looked up, would have it; it is written down if there
/// is one.
fn judged(held: &Held) -> Vec<u8> {
    let message = &held.message;
    if !session::confined() {
        return message.clone();
    }
    let denial = identity::last_policy().and_then(|policy| {
        policy.prepare_hints();
        // SAFETY: an ErrorResponse.
        let ErrorFields { state, .. } =
            unsafe { error_fields(message.as_ptr().cast(), message.len()) };
        instead_of(&policy, message, state, &held.text)
    });
    if !statement::record_unseen(&held.unseen, denial.as_ref()) {
        return unrecorded(message);
    }
    match &denial {
        Some(denial) => name_answers::message(message, denial),
        None => message.clone(),
    }
}
