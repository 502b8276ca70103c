//! The backend's side: its spool, and whom to wake.

use super::settings::{DURABILITY, Durability, max_spool};
use super::spool::{self, Spool, Write};
use super::{AuditError, node, now};
use crate::pg::bgworker;
use crate::pg::shmem::{self, Slot};
use std::cell::RefCell;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

struct Session {
    slot: &'static Slot,
    spool: Spool,
    /// Up to this position of the spool a wait for the table has succeeded.
    in_table: u64,
    /// When such a wait was given up.
    gave_up: Option<GaveUp>,
}

thread_local! {
    // No call under this borrow can longjmp: the spool is plain Rust, waking sets a latch.
    static SESSION: RefCell<Option<Session>> = const { RefCell::new(None) };
}

/// The worker sleeps between looks; it is woken early when this many bytes (a power of 2) came.
const WAKE_EVERY: u32 = 21;
/// Buffered ends are written when they grow beyond this.
const MAX_BUFFERED: usize = 64 << 10;
const TABLE_PATIENCE: Duration = Duration::from_secs(30);
/// The error that follows a wait in vain does not wait once more.
const AFTER_GIVING_UP: Duration = Duration::from_secs(1);
/// The error of a cancellation during the wait has a record of its own, which may well come in time.
const AFTER_INTERRUPT: Duration = Duration::from_millis(500);

/// A wait for the table that was in vain.
#[derive(Clone, Copy)]
struct GaveUp {
    at: Instant,
    /// It was the wait that was cancelled: nothing is known to be wrong.
    interrupted: bool,
}

fn with<R>(f: impl FnOnce(&mut Session) -> Result<R, AuditError>) -> Result<R, AuditError> {
    SESSION.with(|cell| {
        let mut cell = cell.try_borrow_mut().map_err(|_| AuditError::Busy)?;
        if cell.is_none() {
            *cell = Some(Session::new()?);
        }
        cell.as_mut().map_or(Err(AuditError::NotLoaded), f)
    })
}

impl Session {
    fn new() -> Result<Self, AuditError> {
        let shared = shmem::shared().ok_or(AuditError::NotLoaded)?;
        let me = bgworker::this_backend();
        let slot = shared
            .slot(me.database)
            .ok_or(AuditError::TooManyDatabases)?;
        let root = spool::root(&me.data_dir);
        bgworker::at_exit(exit);
        let own = node::own().ok_or(AuditError::NoNode)?;
        let session = node::session(&own, me.started_at, me.pid);
        Ok(Self {
            slot,
            spool: Spool::new(root, me.database, session),
            in_table: 0,
            gave_up: None,
        })
    }

    fn write(&mut self, durable: bool) -> Result<(), AuditError> {
        let how = match DURABILITY.get() {
            Durability::Async => Write::Async,
            _ if durable => Write::Awaited,
            _ => Write::Along,
        };
        let result = self.directory().and_then(|()| self.spool.write(how));
        match &result {
            Err(e) => self.note(Some(e)),
            Ok(_) if how == Write::Async => self.note(None),
            Ok(_) => {}
        }
        let n = *result.as_ref().unwrap_or(&0);
        let before = self.slot.wrote(n);
        if self.slot.worker.pid().is_none() {
            wake_launcher();
        } else if (before ^ (before + n)) >> WAKE_EVERY != 0 {
            self.slot.worker.wake();
        }
        result.map(drop)
    }

    /// Sees to it that the database's directory outlives the power: the journal may bring back files
    /// in it, and not the directory of a database that was dropped.
    fn directory(&self) -> Result<(), AuditError> {
        if !self.slot.has_directory.load(SeqCst) {
            self.spool.make_directory()?;
            self.slot.has_directory.store(true, SeqCst);
        }
        Ok(())
    }

    /// Whether the spool can be written, for all to see.
    fn note(&self, error: Option<&AuditError>) {
        match error {
            Some(e) => {
                self.slot.unwritable(&e.to_string());
                wake_launcher();
            }
            None => self.slot.writable(),
        }
    }
}

fn wake_launcher() {
    if let Some(shared) = shmem::shared() {
        shared.wake_launcher();
    }
}

pub fn append(
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), AuditError>,
    now: bool,
) -> Result<(), AuditError> {
    if crate::identity::no_log_here() {
        return Ok(());
    }
    with(|s| {
        let before = s.spool.buffered();
        s.spool.buffer(put)?;
        // Of a backend that ends nothing is kept for later.
        if !now && !s.spool.is_ending() && s.spool.buffered() <= MAX_BUFFERED {
            return Ok(());
        }
        let written = s.write(now);
        if written.is_err() && now {
            // Whoever asked records it in another way, or refuses what it is about.
            s.spool.give_up(before);
        }
        written
    })
}

pub fn flush() -> Result<(), AuditError> {
    SESSION.with(|cell| {
        match cell
            .try_borrow_mut()
            .map_err(|_| AuditError::Busy)?
            .as_mut()
        {
            Some(s) if s.spool.buffered() > 0 => s.write(false),
            _ => Ok(()),
        }
    })
}

/// How often what had been written was given up.
pub fn mended() -> u64 {
    SESSION.with(|cell| {
        let known = cell.try_borrow();
        known.map_or(u64::MAX, |s| s.as_ref().map_or(0, |s| s.spool.mended()))
    })
}

pub fn available() -> Result<(), AuditError> {
    with(|s| {
        let backlog = s.slot.backlog();
        if backlog > max_spool() {
            wake_launcher();
            return Err(AuditError::Full(backlog));
        }
        let mended = s.spool.mend();
        if let Err(e) = &mended {
            s.note(Some(e));
        }
        mended
    })
}

/// Where the sessions leave the worker too little of the processors they wait for it, the longer the more:
/// or ever more records would wait, until agents are refused. Not for a worker that cannot go on.
pub fn give_way() {
    const BYTES: u64 = 1 << 20;
    const FROM: i64 = 1_000_000;
    const AT_WORK: i64 = 1_000_000;
    const MOST: i64 = 5_000;
    let slot = SESSION.with(|cell| cell.try_borrow().ok()?.as_ref().map(|s| s.slot));
    let Some(slot) = slot.filter(|slot| slot.backlog() >= BYTES) else {
        return;
    };
    let late = slot.waited() - FROM;
    let at_work = now() - slot.ingested_at.load(SeqCst) < AT_WORK && slot.worker.pid().is_some();
    if late > 0 && at_work {
        let pause = (late / 300).min(MOST);
        std::thread::sleep(Duration::from_micros(pause.unsigned_abs()));
    }
}

pub fn is_pending() -> bool {
    DURABILITY.get() == Durability::Spool
        && SESSION.with(|cell| {
            let session = cell.try_borrow();
            session.is_ok_and(|s| s.as_ref().is_some_and(|s| s.spool.is_pending()))
        })
}

pub fn wait_durable() -> Result<(), AuditError> {
    let durability = DURABILITY.get();
    if durability == Durability::Async {
        return Ok(());
    }
    SESSION.with(|cell| {
        let mut cell = cell.try_borrow_mut().map_err(|_| AuditError::Busy)?;
        let Some(s) = cell.as_mut() else {
            return Ok(());
        };
        let waited = s.spool.wait(bgworker::interrupted);
        s.note(waited.as_ref().err());
        waited?;
        // A standby cannot commit: there the spool has to do.
        let position = s.spool.position();
        if durability == Durability::Table && position > s.in_table && !bgworker::in_recovery() {
            let lately = s
                .gave_up
                .filter(|gave_up| gave_up.at.elapsed() < AFTER_GIVING_UP);
            let patience = match lately {
                None => TABLE_PATIENCE,
                // The record of the cancellation itself, as a rule.
                Some(gave_up) if gave_up.interrupted => AFTER_INTERRUPT,
                Some(_) => return Err(AuditError::Timeout),
            };
            s.gave_up = None;
            if !wait_for_table(s.slot, patience) {
                s.gave_up = Some(GaveUp {
                    at: Instant::now(),
                    interrupted: lately.is_none() && bgworker::interrupted(),
                });
                return Err(AuditError::Timeout);
            }
            s.in_table = position;
        }
        Ok(())
    })
}

/// Waits until what was appended is in the spool for good, not longer than `patience`.
pub fn wait_spool(patience: Duration) -> Result<(), AuditError> {
    let began = Instant::now();
    with(|s| {
        s.spool
            .wait(|| began.elapsed() > patience || bgworker::interrupted())
    })
}

/// False when it was given up, for want of patience or for an interrupt.
fn wait_for_table(slot: &Slot, patience: Duration) -> bool {
    let ticket = want(slot);
    let began = Instant::now();
    while slot.done.load(SeqCst) < ticket {
        if began.elapsed() > patience || bgworker::interrupted() {
            return false;
        }
        if !slot.worker.wake() {
            wake_launcher();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Asks that everything appended so far be put into the tables: done when the slot's `done`
/// reaches the result.
pub fn want(slot: &Slot) -> u64 {
    let ticket = slot.wanted.fetch_add(1, SeqCst) + 1;
    if !slot.worker.wake() {
        wake_launcher();
    }
    ticket
}

/// The backend ends, though its last transaction may still be rolled back after this.
fn exit() {
    let _ = flush();
    SESSION.with(|cell| {
        if let Ok(mut cell) = cell.try_borrow_mut()
            && let Some(s) = cell.as_mut()
        {
            s.spool.end();
            s.slot.ended.fetch_add(1, SeqCst);
            if s.slot.worker.pid().is_none() {
                wake_launcher();
            }
        }
    });
}
