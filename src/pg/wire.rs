//! What leaves the server, seen where it leaves: every message to the client of a confined
//! session passes here. This is where rows and bytes are counted as the client gets them, where
//! data waits for its audit record, where errors are noted, and where a message's clock stops.

mod first_error;

use core::convert::Infallible;
use core::ffi::{c_char, c_int};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::pg_sys;
use policy::rule::Rule;

use super::boundary::{self, Thrown};
use super::layers::{self, Layer};
use super::{
    deadline, failing_row, later, memory, name_answers, raw, session, source, spare, stored,
};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::limits;
use crate::{audit, identity, plan, statement};

static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The buffer was made large enough for the message, which now comes here once more.
    static ENLARGED: Cell<bool> = const { Cell::new(false) };
    /// What is in the buffer goes out as far as the client takes it.
    static SEND_LATER: Cell<bool> = const { Cell::new(false) };
    /// ReadyForQuery is in the buffer: the clock stops when the client has it.
    static SAID_READY: Cell<bool> = const { Cell::new(false) };
    /// The flush that follows comes from inside a signal handler.
    static FAREWELL: Cell<bool> = const { Cell::new(false) };
    /// A notice was dropped: the flush that follows it has nothing to do, and is no place for an error.
    static NOTICE_DROPPED: Cell<bool> = const { Cell::new(false) };
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
        ours.flush = Some(flush);
        OURS.set(ours);
        raw::PqCommMethods = OURS.with(Cell::as_ptr);
    }
    INSTALLED.store(true, Relaxed);
}

unsafe fn pass(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: the methods that were there before us, with the arguments that were meant for them.
    unsafe {
        match (*INNER.get()).putmessage {
            Some(put) => deadline::while_writing(|| put(kind, body, length)),
            None => -1,
        }
    }
}

/// An error is put into the buffer, however full that is: the server sends errors before it aborts
/// the transaction, and nothing could end it while it waited for the client.
///
/// # Errors
/// There is no memory for a larger buffer.
unsafe fn pass_error(body: *const c_char, length: usize) -> Result<c_int, Thrown> {
    // SAFETY: see `pass`.
    unsafe { enlarge_by(b'E', body, length) }
}

unsafe fn enlarge_by(kind: u8, body: *const c_char, length: usize) -> Result<c_int, Thrown> {
    // SAFETY: see `pass`.
    unsafe {
        let Some(put) = (*INNER.get()).putmessage_noblock else {
            return Ok(-1);
        };
        ENLARGED.set(true);
        let sent = boundary::call(|| put(kind as c_char, body, length));
        ENLARGED.set(false);
        sent?;
    }
    SEND_LATER.set(true);
    Ok(0)
}

unsafe extern "C-unwind" fn flush() -> c_int {
    // SAFETY: the methods that were there before us; none of them raises. What is refused instead of
    // rows that were kept leaves nothing behind.
    unsafe {
        if FAREWELL.replace(false) {
            return (*INNER.get()).flush.map_or(-1, |flush| flush());
        }
        if NOTICE_DROPPED.replace(false) {
            return 0;
        }
        if !settle() {
            SAID_READY.set(false);
            refuse_data();
        }
        let inner = &*INNER.get();
        let flush = if SEND_LATER.replace(false) {
            inner.flush_if_writable
        } else {
            inner.flush
        };
        let result = flush.map_or(-1, |flush| deadline::while_writing(|| flush()));
        if SAID_READY.replace(false) {
            deadline::disarm();
        }
        result
    }
}

unsafe extern "C-unwind" fn put_message(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: a message as the server has built it; what may raise is guarded by itself, and this
    // frame owns nothing.
    unsafe {
        if ENLARGED.get() {
            return pass(kind, body, length);
        }
        if kind as u8 == b'N' && is_farewell(body, length) {
            FAREWELL.set(true);
            return pass(kind, body, length);
        }
        NOTICE_DROPPED.set(false);
        if kind as u8 == b'Z' {
            // Whoever the session is by now, its clock stops.
            SAID_READY.set(true);
        }
        if memory::is_ending() {
            later::end();
            // Its own words only; what was under way is closed when the session has ended.
            return if kind as u8 == b'E' {
                pass_error(body, length).unwrap_or_else(|_no_memory| boundary::rethrow())
            } else {
                0
            };
        }
        if later::any() {
            if !matches!(kind as u8, b'D' | b'd' | b'V' | b'E' | b'N' | b'S') {
                if session::last_known() {
                    after_rows(kind as u8, body, length);
                }
                return follow(kind, body, length);
            }
            // Nobody's any more, but for what was kept.
            if kind as u8 == b'S' || !session::last_known() {
                match kind as u8 {
                    b'E' => {
                        if settle_before_error().is_err() {
                            boundary::rethrow()
                        }
                    }
                    _ if settle() => {}
                    b'N' => return drop_notice(),
                    _ => refuse_data(),
                }
            }
        }
        // Rows that were stored before there was a policy come without any other hook.
        let stored = kind as u8 == b'D' && !session::is_known();
        if !(session::last_known() || stored && now_confined()) {
            return first_error::unconfined(kind, body, length);
        }
        match kind as u8 {
            // DataRow, CopyData, FunctionCallResponse
            b'D' | b'd' | b'V' if layers::on(Layer::Wire) => {
                // Data without a statement that is written down, and runs, does not leave, whatever it is.
                stored::sending();
                if !statement::is_running() && !resume_stored() {
                    refuse_data();
                }
                if limits::over_bytes(length) && !ends_binary_copy(body, length) && !cut() {
                    return 0;
                }
                let kept = statement::will_be_recorded() && keep(kind, body, length);
                let may_leave = kept || settle() && statement::data_may_leave();
                if !may_leave {
                    refuse_data();
                }
                limits::count(length);
                if kept {
                    return 0;
                }
            }
            b'E' => {
                // The server has forgotten by now whom to call for the next one.
                spare::keep();
                return send_error(body, length).unwrap_or_else(|_no_memory| boundary::rethrow());
            }
            // A notice may hold a value: without a record it goes nowhere.
            b'N' if statement::is_open() && !statement::data_may_leave() || !settle() => {
                return drop_notice();
            }
            // A value that a setting was given. Its place is no place for an error.
            b'S' if !statement::data_may_leave() => return 0,
            // How many there were, or the end of a COPY without any.
            b'C' | b'c' if is_answer(kind as u8, body, length) => {
                let waits = statement::will_be_recorded();
                if !waits && !statement::data_may_leave() {
                    refuse_data();
                }
                after_rows(kind as u8, body, length);
                if waits && keep(kind, body, length) {
                    return 0;
                }
            }
            kind => after_rows(kind, body, length),
        }
        if kind as u8 == b'N' && (length > LONG_MESSAGE || guesses(body, length)) {
            let short = edited(body, length);
            return pass(kind, short.as_ptr().cast(), short.len());
        }
        pass(kind, body, length)
    }
}

fn drop_notice() -> c_int {
    NOTICE_DROPPED.set(true);
    0
}

/// Before a transaction that may have written something commits: it is recorded, or it is rolled back.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn before_commit() {
    if identity::last_policy().is_none_or(|policy| policy.monitors()) {
        return;
    }
    // SAFETY: inside a transaction that may still fail.
    unsafe {
        let written = statement::has_written();
        // One that has written may have become read-only since.
        if pg_sys::XactReadOnly && !written {
            return;
        }
        if !settle() || written && !statement::transaction_is_recorded() {
            refuse_data();
        }
    }
}

/// What a message that is no data, error or notice says of the statement.
unsafe fn after_rows(kind: u8, body: *const c_char, length: usize) {
    // SAFETY: a message as the server has built it.
    unsafe {
        match kind {
            // CommandComplete, PortalSuspended, EmptyQueryResponse
            b's' => {
                stored::suspended();
                on_complete(body, length);
            }
            b'C' | b'I' => on_complete(body, length),
            b'Z' => on_ready(),
            _ => {}
        }
    }
}

/// Is it a CommandComplete that says how many rows there were, or a CopyDone? That there are none is an answer, too.
unsafe fn is_answer(kind: u8, body: *const c_char, length: usize) -> bool {
    // SAFETY: the tag and a NUL.
    let last = || (length >= 2).then(|| unsafe { *body.add(length - 2) as u8 });
    (kind == b'c' || last().is_some_and(|last| last.is_ascii_digit()))
        && layers::on(Layer::Wire)
        && identity::last_policy().is_some_and(|policy| !policy.monitors())
}

/// Keeps a message until the record of the rows before it, or its own, is durable; false when it is
/// too long for that.
unsafe fn keep(kind: c_char, body: *const c_char, length: usize) -> bool {
    let bytes = if length == 0 {
        &[]
    } else {
        // SAFETY: a message as the server has built it.
        unsafe { std::slice::from_raw_parts(body.cast::<u8>(), length) }
    };
    later::keep(kind as u8, bytes, audit::mended)
}

/// A message behind rows that were kept.
unsafe fn follow(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // SAFETY: a message as the server has built it.
    unsafe {
        if later::any() {
            if audit::is_pending() && keep(kind, body, length) {
                return 0;
            }
            if !settle() {
                SAID_READY.set(false);
                refuse_data();
            }
        }
        pass(kind, body, length)
    }
}

/// Waits for the record of what was kept, if anything was, and hands that on; false when there is no
/// record, and nothing is handed on.
unsafe fn settle() -> bool {
    if !is_settled() {
        return false;
    }
    let Ok(()) = later::release::<Infallible>(|kind, body| {
        // SAFETY: a message as the server has built it. That the client is gone is noticed later.
        unsafe { pass(kind as c_char, body.as_ptr().cast(), body.len()) };
        Ok(())
    });
    true
}

fn is_settled() -> bool {
    let settled = !later::any()
        || !later::is_lost(audit::mended())
            && audit::wait_durable().is_ok()
            && !later::is_lost(audit::mended());
    if !settled {
        later::discard(limits::take_back);
    }
    settled
}

/// The same where nobody may wait for the client, before an error that tells of what was dropped.
///
/// # Errors
/// There is no memory for a larger buffer.
unsafe fn settle_before_error() -> Result<(), Thrown> {
    let passed = if is_settled() {
        // SAFETY: a message as the server has built it.
        later::release(|kind, body| unsafe {
            enlarge_by(kind, body.as_ptr().cast(), body.len()).map(drop)
        })
    } else {
        Ok(())
    };
    later::told();
    passed
}

/// The warning of a server that goes down after another backend has crashed. It comes from inside a
/// signal handler, whatever has just been under way here: nothing may be looked at for it.
unsafe fn is_farewell(body: *const c_char, length: usize) -> bool {
    // SAFETY: a NoticeResponse.
    let state = unsafe { error_fields(body, length) }.state;
    // SAFETY: a plain read. Not a warning that a function raises under such a name.
    matches!(&state, b"57P01" | b"57P02") && unsafe { pg_sys::InterruptHoldoffCount } > 0
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
    unsafe { error_fields(body, length).state == *b"42703" }
}

/// An error or notice with its long fields cut and the guesses left out.
unsafe fn edited(body: *const c_char, length: usize) -> Vec<u8> {
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
        short
    }
}

unsafe fn send_error(body: *const c_char, length: usize) -> Result<c_int, Thrown> {
    // SAFETY: an ErrorResponse, or what was made in its place. What is passed on raises nothing.
    unsafe {
        if ENDING.get() {
            later::end();
            return pass_error(body, length);
        }
        let told = on_error(body, length);
        // What was kept before it, if it is recorded.
        let settled = settle_before_error();
        let told = (!told.is_null()).then(|| Box::from_raw(told));
        let (body, length) = match &told {
            Some(told) => (told.as_ptr().cast(), told.len()),
            None => (body, length),
        };
        settled?;
        if length > LONG_MESSAGE || guesses(body, length) {
            let short = edited(body, length);
            pass_error(short.as_ptr().cast(), short.len())
        } else {
            pass_error(body, length)
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn now_confined() -> bool {
    identity::policy().is_some_and(|policy| !policy.monitors())
}

/// The server is ready for the next message.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_ready() {
    deadline::cap_native(identity::known_timeout());
    statement::message_ends();
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn refuse_data() {
    // It may have been given up for a cancellation: that is the reason, then.
    pg_sys::check_for_interrupts!();
    statement::audit_unavailable().raise()
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn resume_stored() -> bool {
    stored::resume()
}

/// More bytes than allowed: ends the statement, or leaves this row out.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn cut() -> bool {
    limits::cut_bytes();
    false
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_complete(body: *const c_char, length: usize) {
    // A transaction that has just begun waits for its next message under the clocks of the server.
    deadline::cap_native(identity::known_timeout());
    source::statement_done();
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
        statement::copied(rows);
    }
    limits::warn_if_cut();
    statement::completed();
}

/// What matters of an ErrorResponse.
struct ErrorFields {
    state: [u8; 5],
    /// The session goes on after it.
    goes_on: bool,
    has_detail: bool,
}

unsafe fn error_fields(body: *const c_char, length: usize) -> ErrorFields {
    // SAFETY: fields of one type byte and a NUL-terminated text each.
    let fields = unsafe { std::slice::from_raw_parts(body.cast::<u8>(), length) };
    let mut found = ErrorFields {
        state: *b"XX000",
        goes_on: false,
        has_detail: false,
    };
    for field in fields.split(|b| *b == 0) {
        match field {
            [b'C', code @ ..] => found.state = code.try_into().unwrap_or(found.state),
            [b'V', severity @ ..] => found.goes_on = severity == b"ERROR",
            [b'D', ..] => found.has_detail = true,
            _ => {}
        }
    }
    found
}

/// Writes the error down. What is sent in its place, or null: the words of our clock, if it is the
/// clock's doing; a denial, if it would tell whether something hidden exists; the error without the
/// row that it quotes, if that is hidden.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn on_error(body: *const c_char, length: usize) -> *mut Vec<u8> {
    // SAFETY: an ErrorResponse. A copy: an error in here would take the message along.
    let (fields, found) = unsafe {
        let fields = std::slice::from_raw_parts(body.cast::<u8>(), length).to_vec();
        (fields, error_fields(body, length))
    };
    let told = whatever_happens(found.goes_on, || tell(&fields, &found));
    told.map_or(std::ptr::null_mut(), |told| Box::into_raw(Box::new(told)))
}

thread_local! {
    /// What was to be done about an error has failed; its place is taken by one that says so.
    static FAILING: Cell<bool> = const { Cell::new(false) };
    /// So has what was to be done about that one: the next error is the session's last.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

/// What is done about an error while the server sends it. Should that fail, the error cannot be sent
/// any more: the server's error state has been cleared, which has freed the message. Another one is
/// raised, and if that cannot be dealt with either, the session ends: the server would come here
/// again and again.
fn whatever_happens<T>(goes_on: bool, work: impl FnOnce() -> T) -> T {
    // SAFETY: the server sends errors from ErrorContext, which a caught error would clear; that of
    // the message lives on.
    let done = unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = if pg_sys::MessageContext.is_null() {
            pg_sys::TopMemoryContext
        } else {
            pg_sys::MessageContext
        };
        let done = super::catching(work);
        pg_sys::CurrentMemoryContext = memory;
        done
    };
    match done {
        Ok(done) => {
            FAILING.set(false);
            done
        }
        Err(why) => give_up(goes_on, &why),
    }
}

fn give_up(goes_on: bool, why: &str) -> ! {
    let again = FAILING.replace(true);
    pgrx::log!(
        "agent_policy: an error could not be recorded: {}",
        why.escape_default()
    );
    if again || !goes_on {
        end_session();
    }
    let denial = statement::audit_unavailable();
    super::report::error(
        denial.code(),
        &denial.message,
        &denial.detail(),
        &denial.hint,
    )
}

/// The error that ends the session passes as it is.
fn end_session() -> ! {
    ENDING.set(true);
    let denial = statement::audit_unavailable();
    super::report::fatal(
        denial.code(),
        &denial.message,
        &denial.detail(),
        &denial.hint,
    )
}

fn tell(fields: &[u8], found: &ErrorFields) -> Option<Vec<u8>> {
    let ErrorFields {
        state,
        goes_on,
        has_detail,
    } = *found;
    let by_clock = match &state {
        // What a hook has told so has a DETAIL.
        b"57014" => !has_detail,
        b"57P01" => deadline::ended(),
        _ => false,
    };
    let clock = deadline::hit()
        .or_else(deadline::hit_native)
        .filter(|_| by_clock)
        .map(deadline::Reason::denial);
    let recorded;
    let told = if let Some(denial) = clock {
        let code = denial.rule.sqlstate();
        recorded = statement::failed(code.as_bytes().try_into().unwrap_or(state), Some(&denial));
        Some(name_answers::message(fields, &denial))
    } else if let Some(policy) = identity::last_policy()
        && let Some(denial) =
            name_answers::with_statement_text(|text| instead_of(&policy, fields, state, text))
    {
        statement::denied(&denial);
        let code = denial.rule.sqlstate();
        recorded = statement::failed(code.as_bytes().try_into().unwrap_or(state), None);
        Some(name_answers::message(fields, &denial))
    } else {
        recorded = statement::failed(state, None);
        let watched = !identity::last_policy().is_some_and(|policy| policy.monitors());
        let told = failing_row::without_other_table(fields, state)
            .or_else(|| failing_row::without_row(fields, state))
            .or_else(|| name_answers::without_places(fields));
        watched
            .then(|| failing_row::without_place(told.as_deref().unwrap_or(fields), state))
            .flatten()
            .or(told)
    };
    // What is not written down is not told either. How a session ends says nothing of data.
    if recorded || !goes_on {
        told
    } else {
        Some(unrecorded(fields))
    }
}

/// The denial that stands for an error of the server's own.
fn instead_of(policy: &Policy, fields: &[u8], state: [u8; 5], text: &str) -> Option<Denial> {
    // The limit of the stack, or that of the grammar, which is told as a syntax error.
    let too_deep = state == *b"54001"
        || state == *b"42601"
            && name_answers::field(fields, b'M').starts_with(b"memory exhausted at");
    if too_deep && !policy.monitors() {
        return Some(too_complex());
    }
    if state == *b"42501"
        && name_answers::field(fields, b'R') == b"ExecWithCheckOptions"
        && !policy.monitors()
    {
        return Some(outside_filter(fields));
    }
    if state == *b"42501"
        && name_answers::field(fields, b'R').starts_with(b"GetConfigOption")
        && !policy.monitors()
    {
        // The columns of SHOW are described before any hook is asked.
        let name = super::text::from_client(last_quoted(fields));
        return plan::judge_shown_setting(&name).err();
    }
    name_answers::instead_of(policy, fields, text)
}

/// What an error's message has in its last quotes.
fn last_quoted(fields: &[u8]) -> &[u8] {
    let message = name_answers::field(fields, b'M');
    message.rsplit(|b| *b == b'"').nth(1).unwrap_or_default()
}

/// A row that a filter would not show was to be written. The server says so as of its own row security, by the name
/// of the table in the last quotes.
fn outside_filter(fields: &[u8]) -> Denial {
    let table = super::text::from_client(last_quoted(fields));
    Denial::new(
        Rule::RowFilter,
        table.as_str(),
        format!(
            "a row of {table} that was to be written is outside of the rows that this role is shown"
        ),
    )
    .hint("Write rows that a SELECT of this role would show, for example those of the end user.")
}

pub fn too_complex() -> Denial {
    Denial::new(
        Rule::StatementTooComplex,
        "",
        "the statement is nested too deeply",
    )
    .hint(
        "Write it with fewer levels: a list (x = ANY (...), IN (...)) or a join with VALUES in the place of \
         long chains of operators, a CTE in the place of sub-queries within sub-queries.",
    )
}

/// In place of an error that could not be recorded.
fn unrecorded(fields: &[u8]) -> Vec<u8> {
    name_answers::message(fields, &statement::audit_unavailable())
}
