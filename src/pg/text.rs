//! Text between the server's encoding and ours: never fails, never loses which bytes it was.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::raw;

const SQL_ASCII: i32 = 0;
const UTF8: i32 = 6;

/// Does the database hold text that has to be converted (neither UTF-8 nor just bytes)?
fn converts() -> bool {
    // SAFETY: reads of backend variables. Conversions look up catalogs, so there must be a
    // transaction.
    unsafe {
        let encoding = raw::GetDatabaseEncoding();
        encoding != UTF8 && encoding != SQL_ASCII && raw::IsTransactionState()
    }
}

/// Bytes of the server as a string. What cannot be converted (bytes of an SQL_ASCII database that
/// are no UTF-8; anything outside a transaction) appears as `\xNN`.
pub fn from_server(bytes: &[u8]) -> String {
    if !bytes.is_ascii() && converts() {
        let Ok(length) = i32::try_from(bytes.len()) else {
            return escaped(bytes);
        };
        // SAFETY: the text is in the database's encoding; the result is palloc'd or the text
        // itself, and NUL-terminated only if it is another.
        unsafe {
            let from = bytes.as_ptr().cast::<core::ffi::c_char>();
            let to = pg_sys::pg_server_to_any(from, length, UTF8);
            if !to.is_null() && !std::ptr::eq(to, from) {
                return CStr::from_ptr(to).to_string_lossy().into_owned();
            }
        }
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => escaped(bytes),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for &b in bytes {
        if b.is_ascii() {
            text.push(char::from(b));
        } else {
            text.push_str(&format!("\\x{b:02x}"));
        }
    }
    text
}

/// A C string of the server.
///
/// # Safety
/// `ptr` is null or points to a NUL-terminated string that lives for the call.
pub unsafe fn from_ptr(ptr: *const core::ffi::c_char) -> Option<String> {
    if ptr.is_null() {
        return None;
    }
    // SAFETY: not null, and NUL-terminated by the caller's promise.
    Some(from_server(unsafe { CStr::from_ptr(ptr) }.to_bytes()))
}

/// A string for a C function, in the server's encoding; what stands behind a NUL is cut off.
pub fn to_c(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().take_while(|b| *b != 0).collect();
    if !text.is_ascii()
        && converts()
        && let Ok(length) = i32::try_from(bytes.len())
    {
        // SAFETY: UTF-8 goes in; the result is palloc'd or the text itself.
        unsafe {
            let from = bytes.as_ptr().cast::<core::ffi::c_char>();
            let to = pg_sys::pg_any_to_server(from, length, UTF8);
            if !to.is_null() && !std::ptr::eq(to, from) {
                return CStr::from_ptr(to).to_owned();
            }
        }
    }
    CString::new(bytes).unwrap_or_default()
}
