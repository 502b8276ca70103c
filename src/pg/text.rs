//! Text between the server's encoding and ours: never fails, never loses which bytes it was.
//!
//! In an SQL_ASCII database text is bytes. Those that are no UTF-8 are kept as characters of a range
//! at the end of the last private plane, one for each byte from 0x80 on; a character of that range
//! itself is taken apart the same way, so that every name has one form here and one there. The same
//! goes for bytes that the encoding of any other database has no Unicode equivalent for.
//!
//! The server's own pg_server_to_any and the like raise, and look into catalogs. Much of this is
//! called while the server sends an error, when neither may be: the conversion functions are called
//! directly, and told not to raise.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;

use super::raw;

const SQL_ASCII: i32 = 0;
const UTF8: i32 = 6;

fn database_encoding() -> i32 {
    // SAFETY: a read of a backend variable.
    unsafe { raw::GetDatabaseEncoding() }
}

fn client_encoding() -> i32 {
    // SAFETY: a read of a backend variable.
    unsafe { pg_sys::pg_get_client_encoding() }
}

/// Is text of this encoding neither UTF-8 nor just bytes?
fn converts(encoding: i32) -> bool {
    encoding != UTF8 && encoding != SQL_ASCII
}

/// The characters that stand for bytes: this one for 0x80.
const FIRST_BYTE: u32 = 0x10_ff80;

fn only_bytes() -> bool {
    database_encoding() == SQL_ASCII
}

fn for_byte(c: char) -> Option<u8> {
    let n = u32::from(c).checked_sub(FIRST_BYTE)?;
    u8::try_from(n + 0x80).ok()
}

fn has_bytes(text: &str) -> bool {
    text.contains(|c| for_byte(c).is_some())
}

fn push_byte(text: &mut String, byte: u8) {
    if byte.is_ascii() {
        text.push(char::from(byte));
    } else {
        text.extend(char::from_u32(FIRST_BYTE + u32::from(byte) - 0x80));
    }
}

/// As how many characters the server counts it, in the position of an error.
pub fn width(c: char) -> usize {
    if only_bytes() && for_byte(c).is_none() {
        c.len_utf8()
    } else {
        1
    }
}

/// Bytes as text, in the form that [`bytes_of`] takes back.
fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if for_byte(c).is_some() {
                let mut buffer = [0; 4];
                for byte in c.encode_utf8(&mut buffer).bytes() {
                    push_byte(&mut text, byte);
                }
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            push_byte(&mut text, *byte);
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
    let encoding = database_encoding();
    if encoding == UTF8 || !has_bytes(&text) {
        return text;
    }
    if encoding == SQL_ASCII {
        return escaped_text(&bytes_of(&text));
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match for_byte(c) {
            Some(byte) => shown.push_str(&format!("\\x{byte:02x}")),
            None => shown.push(c),
        }
    }
    shown
}

/// Bytes of the server for people. What cannot be converted appears as `\xNN`.
pub fn shown(bytes: &[u8]) -> String {
    if only_bytes() {
        return escaped_text(bytes);
    }
    readable(from_server(bytes))
}

fn escaped_text(bytes: &[u8]) -> String {
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

// --- the server's conversion functions ----------------------------------------------------------

/// The library of those between an encoding and UTF-8, and what they call it; in every version the
/// same.
fn names(encoding: i32) -> Option<(&'static str, &'static str)> {
    Some(match encoding {
        1 => ("euc_jp", "euc_jp"),
        2 => ("euc_cn", "euc_cn"),
        3 => ("euc_kr", "euc_kr"),
        4 => ("euc_tw", "euc_tw"),
        5 => ("euc2004", "euc_jis_2004"),
        // LATIN1
        8 => ("iso8859_1", "iso8859_1"),
        // LATIN2 to LATIN10, ISO_8859_5 to ISO_8859_8
        9..=17 | 25..=28 => ("iso8859", "iso8859"),
        // WIN866, WIN874 and WIN1250 to WIN1258
        18..=21 | 23 | 24 | 29..=33 => ("win", "win"),
        22 => ("cyrillic", "koi8r"),
        34 => ("cyrillic", "koi8u"),
        // From here on encodings of clients only.
        35 => ("sjis", "sjis"),
        36 => ("big5", "big5"),
        37 => ("gbk", "gbk"),
        38 => ("uhc", "uhc"),
        39 => ("gb18030", "gb18030"),
        40 => ("johab", "johab"),
        41 => ("sjis2004", "shift_jis_2004"),
        // MULE_INTERNAL has none.
        _ => return None,
    })
}

#[derive(Clone, Copy, Default)]
struct Functions {
    to_utf8: pg_sys::PGFunction,
    from_utf8: pg_sys::PGFunction,
}

fn functions(encoding: i32) -> Functions {
    thread_local! {
        static KNOWN: RefCell<Vec<(i32, Functions)>> = const { RefCell::new(Vec::new()) };
    }
    let known = KNOWN.with_borrow(|all| all.iter().find(|(of, _)| *of == encoding).copied());
    if let Some((_, functions)) = known {
        return functions;
    }
    let functions = names(encoding).map_or_else(Functions::default, |(library, name)| {
        let library = format!("$libdir/utf8_and_{library}");
        Functions {
            to_utf8: find(&library, &format!("{name}_to_utf8")),
            from_utf8: find(&library, &format!("utf8_to_{name}")),
        }
    });
    KNOWN.with_borrow_mut(|all| all.push((encoding, functions)));
    functions
}

/// No catalog is asked. The server has loaded the library itself, as the session's encodings were
/// set; it raises only where the file is gone.
fn find(library: &str, name: &str) -> pg_sys::PGFunction {
    let (Ok(library), Ok(name)) = (CString::new(library), CString::new(name)) else {
        return None;
    };
    // SAFETY: a conversion function of the server's own, called as any other; null is None.
    unsafe {
        let found = pg_sys::load_external_function(
            library.as_ptr(),
            name.as_ptr(),
            false,
            std::ptr::null_mut(),
        );
        std::mem::transmute::<*mut core::ffi::c_void, pg_sys::PGFunction>(found)
    }
}

/// One conversion, piece by piece.
struct Conversion {
    function: pg_sys::PGFunction,
    from: i32,
    to: i32,
    /// How many bytes are converted next: few after one that could not be.
    piece: usize,
    /// What the last piece came to.
    into: Vec<u8>,
}

const LONGEST_PIECE: usize = 8192;
/// More than any character has.
const SHORTEST_PIECE: usize = 16;

impl Conversion {
    fn new(function: pg_sys::PGFunction, from: i32, to: i32) -> Self {
        Self {
            function,
            from,
            to,
            piece: LONGEST_PIECE,
            into: Vec::new(),
        }
    }

    /// Converts as much of the bytes' beginning as can be: how much that was, at most one piece.
    fn next(&mut self, bytes: &[u8]) -> usize {
        let piece = &bytes[..bytes.len().min(self.piece)];
        let done = convert(self.function, (self.from, self.to), piece, &mut self.into);
        self.piece = match done {
            0 => SHORTEST_PIECE,
            _ => LONGEST_PIECE.min(self.piece * 2),
        };
        done
    }
}

/// How much of the piece's beginning converts; `into` is what it comes to.
fn convert(
    function: pg_sys::PGFunction,
    (from, to): (i32, i32),
    piece: &[u8],
    into: &mut Vec<u8>,
) -> usize {
    into.clear();
    if function.is_none() {
        return 0;
    }
    // MAX_CONVERSION_GROWTH, and the NUL.
    into.resize(piece.len() * 4 + 1, 0);
    // SAFETY: the arguments of a conversion function: it reads no more than the length says, and
    // there is room for the worst case. The last one is noError.
    let done = unsafe {
        pg_sys::DirectFunctionCall6Coll(
            function,
            pg_sys::InvalidOid,
            pg_sys::Datum::from(from),
            pg_sys::Datum::from(to),
            pg_sys::Datum::from(piece.as_ptr()),
            pg_sys::Datum::from(into.as_mut_ptr()),
            pg_sys::Datum::from(piece.len() as i32),
            pg_sys::Datum::from(true),
        )
    };
    let done = usize::try_from(done.value() as i32).unwrap_or(0);
    let end = into.iter().position(|b| *b == 0).unwrap_or(0);
    into.truncate(end);
    done.min(piece.len())
}

/// The length of the character at the beginning, which is not empty; less where it is cut off.
fn character(encoding: i32, bytes: &[u8]) -> usize {
    let mut start = [0_u8; 8];
    let seen = bytes.len().min(4);
    start[..seen].copy_from_slice(&bytes[..seen]);
    // SAFETY: looks at one or two bytes, of eight.
    let length = unsafe { pg_sys::pg_encoding_mblen(encoding, start.as_ptr().cast()) };
    let length = usize::try_from(length).unwrap_or(1).clamp(1, seen);
    1 + bytes[1..length]
        .iter()
        .take_while(|b| !b.is_ascii())
        .count()
}

/// Bytes of an encoding that is not UTF-8 as text; what has no Unicode equivalent byte by byte.
fn decode(encoding: i32, bytes: &[u8]) -> String {
    let mut conversion = Conversion::new(functions(encoding).to_utf8, encoding, UTF8);
    let mut text = String::with_capacity(bytes.len() + 16);
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut done = conversion.next(rest);
        if done > 0 {
            text.push_str(&String::from_utf8_lossy(&conversion.into));
        } else {
            done = character(encoding, rest);
            for byte in &rest[..done] {
                push_byte(&mut text, *byte);
            }
        }
        rest = &rest[done..];
    }
    text
}

/// Text in an encoding that is not UTF-8; `other` stands for characters that it lacks.
fn encode(encoding: i32, text: &str, other: impl Fn(char) -> u8) -> Vec<u8> {
    let mut conversion = Conversion::new(functions(encoding).from_utf8, UTF8, encoding);
    let mut bytes = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut done = conversion.next(rest.as_bytes());
        if done > 0 {
            bytes.extend_from_slice(&conversion.into);
        } else {
            done = c.len_utf8();
            bytes.push(
                u8::try_from(c)
                    .ok()
                    .filter(u8::is_ascii)
                    .unwrap_or_else(|| other(c)),
            );
        }
        // Whole characters are converted.
        rest = rest.get(done..).unwrap_or_default();
    }
    bytes
}

fn is_valid(encoding: i32, bytes: &[u8]) -> bool {
    let Ok(length) = i32::try_from(bytes.len()) else {
        return false;
    };
    // SAFETY: reads so many bytes and says how many of them are characters.
    unsafe { pg_sys::pg_encoding_verifymbstr(encoding, bytes.as_ptr().cast(), length) == length }
}

fn question_mark(_: char) -> u8 {
    b'?'
}

// --- from and to the server ---------------------------------------------------------------------

/// Bytes of the server as a string; [`to_c`] makes the same bytes of it. Only bytes of a UTF-8
/// database that are no UTF-8 appear as `\xNN`.
pub fn from_server(bytes: &[u8]) -> String {
    borrowed(bytes).into_owned()
}

/// The same, not copied where nothing is converted.
pub fn borrowed(bytes: &[u8]) -> Cow<'_, str> {
    let encoding = database_encoding();
    if (encoding == UTF8 || bytes.is_ascii())
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(match encoding {
        SQL_ASCII => text_of(bytes),
        UTF8 => escaped(bytes),
        _ => decode(encoding, bytes),
    })
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

/// A string for a C function, in the server's encoding; what stands behind a NUL is cut off. A
/// character that the encoding lacks becomes a question mark.
pub fn to_c(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    let encoding = database_encoding();
    let bytes = if text.is_ascii() || encoding == UTF8 {
        text.as_bytes().to_vec()
    } else if encoding == SQL_ASCII {
        bytes_of(text)
    } else {
        let bytes = encode(encoding, text, |c| for_byte(c).unwrap_or(b'?'));
        // Bytes that were made up (escapes in JSON can be any character) must not break others.
        if has_bytes(text) && !is_valid(encoding, &bytes) {
            encode(encoding, text, question_mark)
        } else {
            bytes
        }
    };
    CString::new(bytes).unwrap_or_default()
}

// --- from and to the client ---------------------------------------------------------------------

/// What was made for the client, as a string.
pub fn from_client(bytes: &[u8]) -> String {
    let (database, client) = (database_encoding(), client_encoding());
    if database == SQL_ASCII || client == SQL_ASCII || client == database || bytes.is_ascii() {
        from_server(bytes)
    } else if client == UTF8 {
        escaped_text(bytes)
    } else {
        decode(client, bytes)
    }
}

/// For the client, in its encoding and up to a NUL; characters that it lacks become question marks.
pub fn to_client(text: &str) -> Vec<u8> {
    let text = text.split('\0').next().unwrap_or_default();
    let (database, client) = (database_encoding(), client_encoding());
    if text.is_ascii() || client == UTF8 && database == UTF8 {
        return text.as_bytes().to_vec();
    }
    if client == database || client == SQL_ASCII {
        return to_c(text).into_bytes();
    }
    if database == SQL_ASCII {
        // As it is, like all else that such a database sends.
        let bytes = bytes_of(text);
        if is_valid(client, &bytes) {
            return bytes;
        }
    }
    if client == UTF8 {
        let shown = |c| if for_byte(c).is_some() { '?' } else { c };
        return text.chars().map(shown).collect::<String>().into_bytes();
    }
    encode(client, text, question_mark)
}

// --- errors that pgrx raises --------------------------------------------------------------------

thread_local! {
    /// What was raised last, and what it stands for.
    static RAISED: RefCell<VecDeque<(String, String)>> = const { RefCell::new(VecDeque::new()) };
}

/// An error's message, detail and hint: more than are raised before one is sent.
const MOST_RAISED: usize = 12;

/// Text of an error for pgrx, which takes UTF-8 for the server's encoding: where it is not, other
/// characters than ASCII are written as in JSON. [`raised`] gives the text back.
pub fn for_raising(text: &str) -> Cow<'_, str> {
    let encoding = database_encoding();
    if text.is_ascii() || !converts(encoding) && (encoding == UTF8 || !has_bytes(text)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_ascii() {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    RAISED.with_borrow_mut(|all| {
        all.truncate(MOST_RAISED - 1);
        all.push_front((safe.clone(), text.to_owned()));
    });
    Cow::Owned(safe)
}

/// The text that a field of an error stands for, if it came from [`for_raising`].
pub fn raised(field: &[u8]) -> Option<String> {
    RAISED.with_borrow(|all| {
        let found = all.iter().find(|(safe, _)| safe.as_bytes() == field);
        found.map(|(_, text)| text.clone())
    })
}
