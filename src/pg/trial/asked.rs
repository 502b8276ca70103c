//! What the server says against a statement that is tried: by calls from which its errors come back as they are, in
//! the database's encoding. pgrx would take them for UTF-8.

use core::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, Oid, RangeVar, ffi};

use crate::pg::name_answers::Raised;
use crate::pg::{boundary, raw, report, text};

/// An error of the server, or of a hook.
pub type Refusal = Raised;

/// # Errors
/// What the server says against it. A cancellation says nothing of the statement: it goes on.
///
/// # Safety
/// As [`boundary::call`]; what `call` calls is not guarded by pgrx.
pub unsafe fn asked<T>(call: impl FnOnce() -> T) -> Result<T, Refusal> {
    // SAFETY: by the caller's promise. What is raised again unwinds from here.
    unsafe {
        match boundary::call(call) {
            Ok(answer) => Ok(answer),
            Err(thrown) if thrown.is_cancel() => ffi::pg_guard_ffi_boundary(|| boundary::rethrow()),
            Err(thrown) => {
                let refusal = top();
                thrown.replace();
                Err(refusal)
            }
        }
    }
}

/// The error on top of the server's stack.
unsafe fn top() -> Refusal {
    // SAFETY: there is one; the copy is in the caller's context, and its strings end with a NUL or are null.
    unsafe {
        let data = pg_sys::CopyErrorData();
        let string = |ptr: *const c_char| {
            if ptr.is_null() {
                String::new()
            } else {
                let bytes = CStr::from_ptr(ptr).to_bytes();
                // One of our own is written so that pgrx can hand it on.
                text::raised(bytes).unwrap_or_else(|| text::from_server(bytes))
            }
        };
        let refusal = Refusal {
            state: report::state((*data).sqlerrcode),
            routine: string((*data).funcname),
            message: string((*data).message),
            position: usize::try_from((*data).cursorpos).unwrap_or(0),
        };
        pg_sys::FreeErrorData(data);
        refusal
    }
}

/// The relation of a name; with `missing_ok` no OID where there is none. `may` is asked before it is locked.
///
/// # Errors
/// As [`asked`].
///
/// # Safety
/// `name` is of a statement's tree, and `may` the server's.
pub unsafe fn relation(
    name: *const RangeVar,
    lock: u32,
    missing_ok: bool,
    may: raw::RangeVarCallback,
) -> Result<Oid, Refusal> {
    let flags = if missing_ok {
        pg_sys::RVROption::RVR_MISSING_OK
    } else {
        0
    };
    let none = std::ptr::null_mut();
    // SAFETY: by the caller's promise.
    unsafe { asked(|| raw::RangeVarGetRelidExtended(name, lock as i32, flags, may, none)) }
}

/// What the server would say, where it is not asked.
pub fn says(message: impl Into<String>) -> Refusal {
    Refusal {
        message: message.into(),
        ..Refusal::default()
    }
}

/// What a message that pgrx has handed on stands for.
pub fn meant(message: &str) -> String {
    text::raised(message.as_bytes()).unwrap_or_else(|| message.to_owned())
}
