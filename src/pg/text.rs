//! Text between the server's encoding and ours: never fails, never loses which bytes it was.
//!
//! In an SQL_ASCII database text is bytes. Those that are no UTF-8 are kept as characters of a range
//! at the end of the last private plane, one for each byte from 0x80 on; a character of that range
//! itself is taken apart the same way, so that every name has one form here and one there.

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

/// The characters that stand for bytes: this one for 0x80.
const FIRST_BYTE: u32 = 0x10_ff80;

fn only_bytes() -> bool {
    // SAFETY: a read of a backend variable.
    unsafe { raw::GetDatabaseEncoding() == SQL_ASCII }
}

fn for_byte(c: char) -> Option<u8> {
    let n = u32::from(c).checked_sub(FIRST_BYTE)?;
    u8::try_from(n + 0x80).ok()
}

/// Bytes as text, in the form that [`bytes_of`] takes back.
fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if for_byte(c).is_some() {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    text.extend(char::from_u32(FIRST_BYTE + u32::from(byte) - 0x80));
                }
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.extend(char::from_u32(FIRST_BYTE + u32::from(*byte) - 0x80));
        }
    }
    text
}

fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match for_byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The same text for people: bytes that are no text appear as `\xNN`.
pub fn readable(text: String) -> String {
    if !text.contains(|c| for_byte(c).is_some()) || !only_bytes() {
        return text;
    }
    escaped_text(&bytes_of(&text))
}

/// Bytes of the server for people. What cannot be converted (bytes of an SQL_ASCII database that
/// are no UTF-8; anything outside a transaction) appears as `\xNN`.
pub fn shown(bytes: &[u8]) -> String {
    if only_bytes() {
        return escaped_text(bytes);
    }
    from_server(bytes)
}

fn escaped_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => escaped(bytes),
    }
}

/// Bytes of the server as a string; [`to_c`] makes the same bytes of it. Only outside a transaction
/// of a database that is neither UTF-8 nor SQL_ASCII they appear as `\xNN`.
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
    if !bytes.is_ascii() && only_bytes() {
        return text_of(bytes);
    }
    escaped_text(bytes)
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
    if !text.is_ascii() && only_bytes() {
        let bytes = bytes_of(text).into_iter().take_while(|b| *b != 0);
        return CString::new(bytes.collect::<Vec<u8>>()).unwrap_or_default();
    }
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
