//! The statement at hand, from the audit's point of view: opened when it starts, written down
//! before anything of it leaves, closed when the client has been told how it ended.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use pgrx::pg_sys::Oid;
use policy::rule::Rule;

use crate::audit::{self, End, Objects, Outcome, Start, Verdict};
use crate::denial::Denial;
use crate::pg::text::readable;
use crate::pg::{deadline, depth, facts, source};
use crate::{identity, limits};

mod objects;
mod origin;
mod recent;
mod text;
mod unseen;

pub use objects::Named;
use objects::{join, named, no_objects};
use origin::{KnownOrigin, origin};
use recent::Recent;
use text::{Text, text};
pub use unseen::{Unseen, record_unseen, unseen};

/// One statement between its first record and its last.
struct Open {
    start: Start,
    began: Instant,
    /// The first record has been written.
    written: bool,
    /// [`audit::mended`] then.
    mended: u64,
    /// Things learned after that, which the last record has to carry.
    amended: bool,
    rows_processed: u64,
    /// The transaction's number, where its end came before the statement's.
    transaction_id: u64,
    /// The query it belongs to; 0 for a utility command, [`PLANNED`] for what has not been started.
    query: usize,
    /// It has begun to run: not so a portal that was bound and waits.
    running: bool,
    /// COPY FROM: its rows come from the client.
    takes_rows: bool,
}

impl Open {
    /// Nothing of it has been written, and it runs.
    fn new(start: Start, query: usize) -> Self {
        Self {
            start,
            began: Instant::now(),
            written: false,
            mended: 0,
            amended: false,
            rows_processed: 0,
            transaction_id: 0,
            query,
            running: true,
            takes_rows: false,
        }
    }
}

/// The query of a statement whose planner has called a function that has something to record.
const PLANNED: usize = usize::MAX;

#[derive(Default)]
struct State {
    session: Option<Rc<facts::Session>>,
    role: Option<(Oid, Rc<str>)>,
    /// The outermost statement, then those nested in it.
    open: Vec<Open>,
    sequence: u64,
    /// A denial was written; the error that follows is its own.
    denied: Option<Denied>,
    texts: Recent<Vec<u8>, Text>,
    objects: Recent<Named, Objects>,
    /// What the names above were looked up under.
    names: u32,
    origin: Option<KnownOrigin>,
    /// [`audit::mended`] when the transaction's first record was written.
    mended: Option<u64>,
    /// What monitor mode found before the statement was opened.
    pending: Option<(Verdict, String, String)>,
}

impl State {
    /// With what monitor mode has found of it.
    fn open_outermost(&mut self, mut open: Open) {
        if let Some((verdict, rule, object)) = self.pending.take() {
            open.start.verdict = verdict;
            open.start.rule = Some(rule);
            open.start.object = Some(object);
        }
        self.open.push(open);
    }
}

struct Denied {
    sqlstate: [u8; 5],
    rule: Rule,
    object: String,
    /// Durably.
    recorded: bool,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::new(State::default());
}

/// What a plan says of a statement.
#[derive(Debug, Default)]
pub struct Particulars {
    pub command_tag: Option<Cow<'static, str>>,
    pub query_id: i64,
    pub objects: Named,
}

fn new_start(nesting_level: u32) -> Start {
    let text = text();
    let origin = origin();
    let sequence = STATE.with_borrow_mut(|s| {
        s.sequence += 1;
        s.sequence
    });
    Start {
        event_id: uuid::Uuid::now_v7().into_bytes(),
        backend_seq: sequence,
        origin,
        transaction_id: facts::transaction_id(),
        started_at: facts::now(),
        nesting_level,
        command_tag: text.kind.map(Cow::Borrowed),
        query_id: 0,
        statement: text.redacted.clone(),
        statement_sha256: text.sha256,
        objects: no_objects(),
        verdict: Verdict::Allowed,
        rule: None,
        object: None,
        agent: None,
        conversation: None,
        trace_id: None,
        policy_version: identity::known_version(),
    }
}

fn describe(start: &mut Start, of: &Particulars) {
    if let Some(tag) = &of.command_tag {
        start.command_tag = Some(tag.clone());
    }
    if of.query_id != 0 {
        start.query_id = of.query_id;
    }
    join(start, &named(&of.objects));
}

/// Writes down that the statement at hand reads the audit log, in a session that is not confined.
pub fn reads_audit(relations: Vec<String>) -> Result<(), audit::AuditError> {
    let mut start = new_start(0);
    Rc::make_mut(&mut start.objects).relations = relations;
    audit::read(&start)
}

/// Learns whose session this is while catalogs can be read: a text that no hook sees has an error
/// outside any transaction.
pub fn introduce() {
    let _known = origin();
}

/// Is a statement under way?
pub fn is_open() -> bool {
    STATE.with_borrow(|s| !s.open.is_empty())
}

/// Is the statement under way one that runs, not a portal that was bound and waits?
pub fn is_running() -> bool {
    STATE.with_borrow(|s| s.open.first().is_some_and(|open| open.running))
}

/// Can the audit take what is about to happen? Asked before anything runs.
pub fn check_audit() -> Result<(), Denial> {
    audit::available().map_err(|e| unavailable(&e))
}

fn unavailable(why: &audit::AuditError) -> Denial {
    Denial::new(
        Rule::AuditUnavailable,
        "agent_policy.audit_log",
        format!("the audit cannot be written: {why}"),
    )
    .hint(
        "Nothing is wrong with the statement. Try again later, or tell the database administrator.",
    )
}

/// The denial of data that has no durable record.
pub fn audit_unavailable() -> Denial {
    unavailable(&audit::AuditError::Timeout)
}

/// Is the outermost statement this query, or a utility command that carries it?
pub fn is_open_for(query: usize) -> bool {
    STATE.with_borrow(|s| {
        s.open
            .first()
            .is_some_and(|open| open.query == query || open.query == 0)
    })
}

/// Sees to it that the end of the session is noticed.
fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        crate::pg::bgworker::at_exit(session_ends);
    }
}

/// The outermost statement begins: a query, or a utility command (0). One that is still open has
/// ended without a word to the client.
pub fn begin(query: usize, of: &Particulars, limits: policy::model::Limits) {
    if is_planned() {
        limits::begin(limits);
        learn(of);
        STATE.with_borrow_mut(|s| {
            if let Some(open) = s.open.first_mut() {
                if of.command_tag.is_some() {
                    open.start.command_tag.clone_from(&of.command_tag);
                }
                open.query = query;
                open.running = query == 0;
            }
        });
        return;
    }
    if is_open() {
        completed();
    }
    watch();
    limits::begin(limits);
    let mut start = new_start(0);
    describe(&mut start, of);
    STATE.with_borrow_mut(|s| {
        s.denied = None;
        s.open_outermost(Open {
            running: query == 0,
            ..Open::new(start, query)
        });
    });
}

fn is_planned() -> bool {
    STATE.with_borrow(|s| s.open.first().is_some_and(|open| open.query == PLANNED))
}

/// Something inside the outermost statement has a record: so has that itself, also when it is still being
/// planned.
fn open_outermost() {
    if is_open() {
        return;
    }
    watch();
    let start = source::in_outermost(|| new_start(0));
    STATE.with_borrow_mut(|s| s.open_outermost(Open::new(start, PLANNED)));
}

/// The outermost statement begins to run, or goes on.
pub fn runs() {
    STATE.with_borrow_mut(|s| {
        if let Some(open) = s.open.first_mut() {
            open.running = true;
        }
    });
}

/// More is known of the outermost statement: the plan that a utility statement carries.
pub fn learn(of: &Particulars) {
    // Names are looked up before the statement is taken hold of: a look-up may raise.
    let found = named(&of.objects);
    STATE.with_borrow_mut(|s| {
        if let Some(open) = s.open.first_mut() {
            if of.query_id != 0 {
                open.start.query_id = of.query_id;
            }
            join(&mut open.start, &found);
            open.amended |= open.written;
        }
    });
}

/// COPY FROM begins: which relation is written to.
pub fn takes_rows(of: &Particulars) {
    learn(of);
    STATE.with_borrow_mut(|s| {
        if let Some(open) = s.open.first_mut() {
            open.takes_rows = true;
        }
    });
}

/// COPY says how many rows it has moved.
pub fn copied(rows: u64) {
    let taken = STATE.with_borrow_mut(|s| match s.open.first_mut() {
        Some(open) if open.takes_rows => {
            open.rows_processed = rows;
            true
        }
        _ => false,
    });
    if !taken {
        limits::rows_are(rows);
    }
}

/// EXECUTE: the text that runs is that of the prepared statement.
pub fn executes(prepared: &[u8]) {
    let text = text::executed(prepared);
    STATE.with_borrow_mut(|s| {
        if let Some(open) = s.open.first_mut() {
            open.start.statement.clone_from(&text.redacted);
        }
    });
}

/// Writes the first record of the outermost statement, unless that has been done.
pub fn write_start() -> Result<(), Denial> {
    STATE.with_borrow_mut(|s| {
        let Some(open) = s.open.first_mut().filter(|open| !open.written) else {
            return Ok(());
        };
        audit::start(&open.start).map_err(|e| unavailable(&e))?;
        open.written = true;
        open.mended = audit::mended();
        let mended = open.mended;
        s.mended.get_or_insert(mended);
        Ok(())
    })
}

/// Was the first record of the outermost statement given up, after a failure that a query inside it got
/// over?
fn is_lost() -> bool {
    STATE.with_borrow(|s| {
        let written = s.open.first().filter(|open| open.written);
        written.is_some_and(|open| open.mended != audit::mended())
    })
}

/// A query inside the statement begins.
pub fn begin_nested(query: usize, of: &Particulars, level: u32) -> Result<(), Denial> {
    open_outermost();
    // Whoever reads the records takes what is open for lost when another outermost statement begins.
    write_start()?;
    has_failed(query);
    let mut start = new_start(level);
    describe(&mut start, of);
    audit::start(&start).map_err(|e| unavailable(&e))?;
    STATE.with_borrow_mut(|s| {
        s.open.push(Open {
            written: true,
            mended: audit::mended(),
            ..Open::new(start, query)
        });
    });
    Ok(())
}

/// A query inside the statement that was at the same place has ended without a word: by an error that
/// something caught.
pub fn has_failed(query: usize) {
    let stale = STATE.with_borrow_mut(|s| {
        let inner = s.open.iter().skip(1).position(|open| open.query == query)?;
        Some(s.open.remove(inner + 1))
    });
    if let Some(open) = stale {
        let _ = audit::end(&End {
            outcome: Outcome::Error,
            ..end_of(&open)
        });
    }
}

/// A query has ended; `rows` were produced. `inner`: inside another one, whose rows these are not.
pub fn query_ended(query: usize, rows: u64, inner: bool) {
    let nested = STATE.with_borrow_mut(|s| {
        match s
            .open
            .iter()
            .rposition(|open| open.query == query && query != 0)
        {
            Some(i) if i > 0 => {
                let mut open = s.open.remove(i);
                open.rows_processed = rows;
                Some(open)
            }
            _ => {
                if let Some(open) = s.open.first_mut()
                    && (open.query == query || !inner)
                {
                    open.rows_processed += rows;
                }
                None
            }
        }
    });
    if let Some(open) = nested {
        let end = End {
            rows_processed: open.rows_processed,
            outcome: Outcome::Ok,
            ..end_of(&open)
        };
        let _ = audit::end(&end);
    }
}

fn end_of(open: &Open) -> End {
    let mut end = End {
        event_id: open.start.event_id,
        duration: u64::try_from(open.began.elapsed().as_micros()).unwrap_or(u64::MAX),
        rows_processed: open.rows_processed,
        ..End::default()
    };
    // A transaction gets its number with its first write.
    if open.start.transaction_id == 0 {
        end.transaction_id = open.transaction_id.max(facts::transaction_id());
    }
    if open.amended {
        let objects = (*open.start.objects).clone();
        end.relations = Some(objects.relations);
        end.masked_columns = Some(objects.masked_columns);
        end.functions = Some(objects.functions);
        end.verdict = Some(open.start.verdict);
        end.rule.clone_from(&open.start.rule);
        end.object.clone_from(&open.start.object);
    }
    end
}

/// The transaction ends before the client is told of its last statement.
pub fn transaction_ended() {
    let number = facts::ending_transaction_id();
    STATE.with(|state| {
        if let Ok(mut s) = state.try_borrow_mut() {
            s.mended = None;
            if let Some(open) = s.open.first_mut() {
                open.transaction_id = open.transaction_id.max(number);
            }
        }
    });
}

/// Ends what is open; false when something of it could not be written.
fn close(outcome: Outcome, sqlstate: Option<[u8; 5]>) -> bool {
    let sent = limits::sent();
    let mut all = true;
    while let Some((open, outer)) =
        STATE.with_borrow_mut(|s| s.open.pop().map(|open| (open, s.open.len())))
    {
        let mut end = end_of(&open);
        if outer == 0 {
            end.rows_returned = sent.rows;
            end.bytes_returned = sent.bytes;
            end.truncated = sent.truncated;
            end.outcome = outcome;
            end.sqlstate = sqlstate;
        } else {
            // Nested, and never reached its end: an error that something caught.
            end.outcome = Outcome::Error;
        }
        let written = if open.written {
            audit::end(&end)
        } else {
            audit::whole(&open.start, &end)
        };
        if let Err(e) = written {
            all = false;
            pgrx::debug1!("agent_policy: {e}");
        }
    }
    all
}

/// The client has been told that the statement is done.
pub fn completed() {
    let _ = close(Outcome::Ok, None);
    STATE.with_borrow_mut(|s| s.denied = None);
}

/// A portal that was bound and never ran has nothing to do with an error of another statement, which ends
/// its transaction and so the portal.
fn leave_bound() {
    let bound = STATE.with_borrow(|s| {
        let open = s.open.first().filter(|open| !open.running);
        open.map(|open| open.start.statement_sha256)
    });
    if bound.is_some_and(|sha256| sha256 != text().sha256) {
        let _ = close(Outcome::Ok, None);
    }
}

/// The backend ends with a statement under way and nobody left to tell: its client has gone, or it
/// was ended while that client did not read.
fn session_ends() {
    let cut_short = STATE.with(|state| {
        state.try_borrow_mut().is_ok_and(|mut s| {
            if s.open.first().is_some_and(|open| !open.running) {
                s.open.clear();
            }
            !s.open.is_empty()
        })
    });
    if cut_short
        && deadline::ended()
        && let Some(reason) = deadline::hit()
    {
        let _ = failed(*b"57014", Some(&reason.denial()));
    } else if cut_short {
        let why = if facts::client_lost() {
            *b"08006"
        } else {
            *b"57P01"
        };
        let _ = close(Outcome::Error, Some(why));
    }
}

/// An error is on its way to the client: it is written down, durably, before it leaves. Where our
/// clock cancelled the statement and nobody was around to say so, `told_by_clock` is what it says.
/// False when there is no such record.
#[must_use]
pub fn failed(sqlstate: [u8; 5], told_by_clock: Option<&Denial>) -> bool {
    leave_bound();
    let denied = STATE
        .with_borrow_mut(|s| s.denied.take())
        .filter(|d| d.sqlstate == sqlstate);
    let written = denied.is_some();
    let mut recorded = denied.as_ref().is_none_or(|d| d.recorded) && !is_lost();
    // A cancellation by our clock that no hook was around to tell as what it was.
    let cancelled = told_by_clock.is_some() || &sqlstate == b"57014";
    let denied = denied.or_else(|| {
        told_by_clock.map(|denial| Denied {
            sqlstate,
            rule: denial.rule,
            object: readable(denial.object.clone()),
            recorded: true,
        })
    });
    let outcome = if cancelled {
        Outcome::Cancelled
    } else {
        Outcome::Error
    };
    let mark = |start: &mut Start| {
        if let Some(denied) = &denied {
            start.verdict = Verdict::Denied;
            start.rule = Some(denied.rule.word().to_owned());
            start.object = Some(denied.object.clone());
        }
    };
    if is_open() {
        // A denial inside the statement that nothing caught is the statement's own.
        STATE.with_borrow_mut(|s| {
            if let Some(open) = s.open.first_mut() {
                mark(&mut open.start);
                open.amended |= open.written && denied.is_some();
            }
        });
        recorded &= close(outcome, Some(sqlstate));
    } else if !written && identity::was_confined() {
        let mut start = new_start(0);
        mark(&mut start);
        recorded &= write_failed(&start, outcome, sqlstate);
    }
    audit::wait_durable().is_ok() && recorded
}

/// The one record of what never got as far as to run; false when it could not be written.
fn write_failed(start: &Start, outcome: Outcome, sqlstate: [u8; 5]) -> bool {
    let end = End {
        event_id: start.event_id,
        outcome,
        sqlstate: Some(sqlstate),
        ..End::default()
    };
    audit::whole(start, &end).is_ok()
}

fn sqlstate(denial: &Denial) -> [u8; 5] {
    denial
        .rule
        .sqlstate()
        .as_bytes()
        .try_into()
        .unwrap_or(*b"42501")
}

/// Writes a denial down; its error follows.
pub fn denied(denial: &Denial) {
    let state = sqlstate(denial);
    let of_whole = matches!(
        denial.rule,
        Rule::StatementTimeout
            | Rule::MaxMemory
            | Rule::MaxRows
            | Rule::MaxBytes
            | Rule::AuditUnavailable
    );
    let mut recorded = true;
    if depth::level() > 0 {
        open_outermost();
    } else {
        leave_bound();
    }
    if is_open() && (of_whole || depth::level() == 0) {
        note(denial, Verdict::Denied);
        let outcome = if matches!(denial.rule, Rule::StatementTimeout | Rule::MaxMemory) {
            Outcome::Cancelled
        } else {
            Outcome::Error
        };
        recorded &= close(outcome, Some(state));
    } else if is_open() && !depth::in_nested() {
        // The outermost statement runs, and its own text is what was refused. Something may catch
        // the error: the record stays open.
        note(denial, Verdict::Denied);
    } else {
        let mut start = new_start(depth::level());
        start.verdict = Verdict::Denied;
        start.rule = Some(denial.rule.word().to_owned());
        start.object = Some(readable(denial.object.clone()));
        recorded &= write_failed(&start, Outcome::Error, state);
    }
    recorded &= audit::wait_durable().is_ok();
    STATE.with_borrow_mut(|s| {
        s.denied = Some(Denied {
            sqlstate: state,
            rule: denial.rule,
            object: readable(denial.object.clone()),
            recorded,
        });
    });
}

fn note(denial: &Denial, verdict: Verdict) {
    STATE.with_borrow_mut(|s| {
        if let Some(open) = s.open.first_mut() {
            open.start.verdict = verdict;
            open.start.rule = Some(denial.rule.word().to_owned());
            open.start.object = Some(readable(denial.object.clone()));
            open.amended |= open.written;
        } else {
            s.pending = Some((
                verdict,
                denial.rule.word().to_owned(),
                readable(denial.object.clone()),
            ));
        }
    });
}

/// Monitor mode: the statement goes on, and its record says what would have happened.
pub fn would_deny(denial: &Denial) {
    note(denial, Verdict::WouldDeny);
}

/// May a row go to the client? Only when the statement's record is durable.
pub fn data_may_leave() -> bool {
    write_start().is_ok() && is_recorded()
}

/// Will the statement's record be durable soon, as far as anybody can tell? Its rows may be kept until
/// then. Where something is written, that is to be rolled back if the record is not.
pub fn will_be_recorded() -> bool {
    write_start().is_ok() && audit::is_pending() && !is_lost() && !has_written()
}

/// Is the record of the statement at hand, and are those before it, durable?
pub fn is_recorded() -> bool {
    audit::wait_durable().is_ok() && !is_lost()
}

/// The same of all statements of the transaction: was none given up, and did the next one mend the spool?
pub fn transaction_is_recorded() -> bool {
    let first = STATE.with_borrow(|s| s.mended);
    is_recorded() && first.is_none_or(|first| first == audit::mended())
}

/// Has the transaction written anything?
pub fn has_written() -> bool {
    facts::transaction_id() != 0
}

/// The server is ready for the next message: what is still held is written.
pub fn message_ends() {
    // A portal that was bound and not run yet keeps its record open for the next message.
    if STATE.with_borrow(|s| s.open.first().is_some_and(|open| open.running)) {
        completed();
    }
    STATE.with_borrow_mut(|s| {
        s.denied = None;
        s.pending = None;
    });
    if let Err(e) = audit::flush() {
        pgrx::debug1!("agent_policy: {e}");
    }
}
