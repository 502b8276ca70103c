//! Errors of constraints quote the row that failed, hidden columns and all: they lose that part as
//! soon as the transaction changes a relation that has any.
//!
//! Twice: where the error passes a hook, since a handler in a function could read it there, and at
//! the wire, where errors end up that are raised while a transaction commits.

use core::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::pg_sys;

use super::{name_answers, report};
use crate::catalog::Policy;
use crate::pg::planted::{self, Leak};
use crate::pg::touched::Use;
use crate::pg::{boundary, depth};

static CHANGES_HIDDEN: AtomicBool = AtomicBool::new(false);
/// A mask or row filter of the DBA's own runs: what it raises may quote a value.
static COMPUTES_HIDDEN: AtomicBool = AtomicBool::new(false);
/// A relation is changed whose partitions tell of a hidden column.
static PARTS_TELL: AtomicBool = AtomicBool::new(false);

unsafe extern "C-unwind" {
    fn geterrcode() -> core::ffi::c_int;
    fn errdetail_internal(format: *const core::ffi::c_char, ...) -> core::ffi::c_int;
    fn errmsg_internal(format: *const core::ffi::c_char, ...) -> core::ffi::c_int;
    fn errhint(format: *const core::ffi::c_char, ...) -> core::ffi::c_int;
    fn CopyErrorData() -> *mut pg_sys::ErrorData;
    fn FlushErrorState();
    fn ReThrowError(error: *mut pg_sys::ErrorData) -> !;
}

/// Edits the error that is under way.
///
/// # Safety
/// As [`conceal`].
unsafe fn edit(what: impl FnOnce(&mut pg_sys::ErrorData)) {
    // SAFETY: the error is put back as it was but for that; the jump ends in the boundary, with no
    // frame in between that owns anything.
    unsafe {
        let error = CopyErrorData();
        what(&mut *error);
        FlushErrorState();
        let _back = boundary::call(|| -> () { ReThrowError(error) });
    }
}

/// The relation is about to be opened for this.
pub fn note(policy: &Policy, used: &Use) {
    if !used.writes() || !policy.relation(used.relid).hides() {
        return;
    }
    CHANGES_HIDDEN.store(true, Relaxed);
    if policy.parts_tell(used.relid) {
        PARTS_TELL.store(true, Relaxed);
    }
    // Stored generated columns, keys of indexes, checks and triggers compute with values of a row that are
    // hidden.
    if used.update || used.delete {
        note_computed();
    }
}

/// The transaction plans or runs an expression over hidden values that may raise.
pub fn note_computed() {
    COMPUTES_HIDDEN.store(true, Relaxed);
}

/// The transaction is over.
pub fn forget() {
    CHANGES_HIDDEN.store(false, Relaxed);
    COMPUTES_HIDDEN.store(false, Relaxed);
    PARTS_TELL.store(false, Relaxed);
}

/// Class 22 is data exceptions; P0 is what functions raise, 38, 39 and XX what others do.
fn quotes_value(state: [u8; 5]) -> bool {
    let class = state.first_chunk::<2>().unwrap_or(b"00");
    COMPUTES_HIDDEN.load(Relaxed)
        && (matches!(class, b"22" | b"P0" | b"38" | b"39" | b"XX")
            // A name that is made of a value: what is not there is told by its name.
            || depth::nested()
                && state != *b"42501"
                && matches!(class, b"42" | b"3D" | b"3F" | b"2B" | b"0A" | b"28"))
}

/// Class 23 is integrity constraints, 44000 the check option of a view.
fn quotes_row(state: [u8; 5]) -> bool {
    CHANGES_HIDDEN.load(Relaxed)
        && !planted::open(Leak::Error)
        && (state.starts_with(b"23") || state == *b"44000")
}

/// Takes the row out of the error that is under way, if it is of that kind.
///
/// # Safety
/// An error is on top of the server's error stack.
pub unsafe fn conceal() {
    // SAFETY: by the caller's promise; the format takes no argument.
    unsafe {
        let state = report::state(geterrcode());
        if quotes_row(state) {
            errdetail_internal(c"The row is not shown: the relation has hidden values.".as_ptr());
        }
        if quotes_value(state) {
            errmsg_internal(c"a value could not be computed".as_ptr());
            errdetail_internal(
                c"The value is not shown: a mask or row filter computes with hidden ones.".as_ptr(),
            );
            errhint(
                c"If the statement itself converts or computes nothing that could fail, tell the database administrator.".as_ptr(),
            );
            // The parser of JSON quotes there what it read.
            edit(|error| error.context = std::ptr::null_mut());
        }
        if tells_width(state) {
            errmsg_internal(TOO_WIDE.as_ptr().add(1));
            errdetail_internal(c"How wide is not shown: the relation has hidden values.".as_ptr());
        }
        if names_part(state) {
            errmsg_internal(NO_SUCH_ROW.as_ptr().add(1));
            edit(|error| {
                error.context = std::ptr::null_mut();
                error.schema_name = std::ptr::null_mut();
                error.table_name = std::ptr::null_mut();
                error.constraint_name = std::ptr::null_mut();
            });
        }
        if waited_for_lock(state) {
            // Where the row lies, and in which partition.
            edit(|error| {
                error.context = std::ptr::null_mut();
                if text_of(error.message).contains(&b'"') {
                    error.message = pg_sys::pstrdup(NO_LOCK.as_ptr().add(1));
                }
            });
        }
    }
}

/// As fields of an ErrorResponse; the texts are behind the first byte.
const NO_SUCH_ROW: &CStr =
    c"Ma row does not satisfy a constraint of its table, or has no place in it";
const TOO_WIDE: &CStr = c"Ma row or the key of an index is too wide";
const NO_LOCK: &CStr = c"Mcould not obtain a lock";

unsafe fn text_of<'a>(text: *const core::ffi::c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: a text of the server's.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// Does an error of this kind name the partition that a row is in, which is hidden?
fn names_part(state: [u8; 5]) -> bool {
    PARTS_TELL.load(Relaxed) && (state.starts_with(b"23") || state == *b"44000")
}

/// Does an error of this kind say how wide a row is, hidden values included?
fn tells_width(state: [u8; 5]) -> bool {
    CHANGES_HIDDEN.load(Relaxed) && state == *b"54000"
}

fn waited_for_lock(state: [u8; 5]) -> bool {
    matches!(&state, b"55P03" | b"40P01" | b"40001")
}

/// The fields of an ErrorResponse without a word on where a row is.
pub fn without_place(fields: &[u8], state: [u8; 5]) -> Option<Vec<u8>> {
    let part = names_part(state);
    let lock = waited_for_lock(state);
    let context = name_answers::field(fields, b'W');
    if !part && !lock && !has_place(context) {
        return None;
    }
    Some(edited(fields, |field| match field[0] {
        b'W' => None,
        b'D' | b's' | b't' | b'n' if part => None,
        b'M' if part => Some(NO_SUCH_ROW.to_bytes()),
        b'M' if lock && field.contains(&b'"') => Some(NO_LOCK.to_bytes()),
        _ => Some(field),
    }))
}

/// Is there a block and a line in it, as in `(0,27)`?
fn has_place(text: &[u8]) -> bool {
    text.split(|b| *b == b'(').skip(1).any(|behind| {
        let inside = behind.split(|b| *b == b')').next().unwrap_or_default();
        let mut numbers = inside.split(|b| *b == b',');
        let digits =
            |n: Option<&[u8]>| n.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
        inside.len() < behind.len()
            && digits(numbers.next())
            && digits(numbers.next())
            && numbers.next().is_none()
    })
}

/// The fields of an ErrorResponse without what it says of a hidden row, if it is of that kind.
pub fn without_row(fields: &[u8], state: [u8; 5]) -> Option<Vec<u8>> {
    let wide = tells_width(state);
    if !quotes_row(state) && !wide {
        return None;
    }
    Some(edited(fields, |field| match field[0] {
        b'D' => None,
        b'M' if wide => Some(TOO_WIDE.to_bytes()),
        _ => Some(field),
    }))
}

/// The fields that `edit` leaves, as it leaves them.
fn edited<'a>(fields: &'a [u8], edit: impl Fn(&'a [u8]) -> Option<&'a [u8]>) -> Vec<u8> {
    let mut kept = Vec::with_capacity(fields.len());
    let fields = fields.split(|b| *b == 0).filter(|field| !field.is_empty());
    for field in fields.filter_map(edit) {
        kept.extend_from_slice(field);
        kept.push(0);
    }
    kept.push(0);
    kept
}

/// The fields of an error of a foreign key without the other table: nothing says whether that one is shown.
pub fn without_other_table(fields: &[u8], state: [u8; 5]) -> Option<Vec<u8>> {
    if state != *b"23503" {
        return None;
    }
    // The row that is written lacks another one; else another one refers to it.
    let lacks = name_answers::field(fields, b'M').starts_with(b"insert or update on table");
    Some(edited(fields, |field| match field[0] {
        b'D' => None,
        // Schema, table and constraint are the other table's.
        b's' | b't' | b'n' if !lacks => None,
        b'M' if !lacks => {
            Some(b"Mother rows still refer to a row that was to be changed or removed")
        }
        _ => Some(field),
    }))
}
