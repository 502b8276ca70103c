//! Bytes that many backends make durable together: a window of shared memory before a file that is
//! written in rounds, and who of them writes and syncs for all.
//!
//! Whoever appends holds a lock for a copy; whoever syncs has the *turn*, takes what there is by then,
//! and goes on as long as somebody wants more. Nobody waits for the disk under the lock. A process that
//! dies with the turn loses it; one that dies under the lock has appended nothing.

use super::futex::{self, Lock};
use pgrx::pg_sys;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// No entry goes over the end of a region; one region fits into memory.
pub const REGION: usize = 1 << 20;
/// Bytes of the file.
pub const SIZE: u64 = 64 * REGION as u64;
/// A longer entry is not taken.
const MOST: usize = 32 << 10;
/// A sync that takes longer is not what somebody should queue up for.
const SLOW: i64 = 1_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Phase {
    /// The server has started; the file may have entries of before.
    New = 0,
    /// There is no file.
    Closed = 1,
    /// Between two files.
    Changing = 2,
    Open = 3,
    /// A write or a sync failed.
    Broken = 4,
}

/// All zero when the server starts.
pub struct Group {
    lock: Lock,
    phase: AtomicU32,
    /// Counts the files.
    file: AtomicU32,
    /// Of what broke it.
    errno: AtomicI32,
    /// Somebody would use it if it were open.
    asked_for: AtomicBool,
    /// Whether what a spool file was synced with can be relied on.
    pub doubtful: AtomicBool,
    // Positions: bytes ever appended, …
    written: AtomicU64,
    /// … that somebody waits for, …
    wanted: AtomicU64,
    /// … that the present sync takes, …
    syncing: AtomicU64,
    /// … that are in the file, for the system to write …
    put: AtomicU64,
    /// … that are durable here …
    synced: AtomicU64,
    /// … and where they came from, so that they may be overwritten.
    retired: AtomicU64,
    /// Who has the turn; 0 for nobody.
    turn: AtomicI32,
    /// Since when it syncs; 0 when it does not.
    syncing_since: AtomicI64,
    /// Counts the syncs; who waits for this one waits at one word, who waits for the next at the other.
    round: AtomicU32,
    words: [AtomicU32; 2],
    window: UnsafeCell<[u8; REGION]>,
}

// SAFETY: the window is written under the lock, behind `written`, and read by who has the turn, before it.
unsafe impl Sync for Group {}

/// What has been appended up to here, to this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    file: u32,
    position: u64,
}

/// Is it durable?
#[derive(PartialEq, Eq, Debug)]
pub enum Reached {
    Yes,
    NotYet,
    /// Nobody knows; errno.
    Never(i32),
}

fn me() -> i32 {
    // SAFETY: set once in a process before any code of an extension runs in it.
    unsafe { pg_sys::MyProcPid }
}

impl Group {
    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            1 => Phase::Closed,
            2 => Phase::Changing,
            3 => Phase::Open,
            4 => Phase::Broken,
            _ => Phase::New,
        }
    }

    /// Which file it is.
    pub fn file(&self) -> u32 {
        self.file.load(SeqCst)
    }

    /// May what comes next be appended, rather than synced by whoever wrote it?
    pub fn serves(&self) -> bool {
        let since = self.syncing_since.load(SeqCst);
        let serves =
            self.phase() == Phase::Open && (since == 0 || crate::audit::now() - since < SLOW);
        if !serves && !self.asked_for.load(SeqCst) {
            self.asked_for.store(true, SeqCst);
        }
        serves
    }

    pub fn is_asked_for(&self) -> bool {
        self.asked_for.load(SeqCst)
    }

    /// Appends so many bytes, which `fill` writes, told where they will stand; `None` when there is
    /// no room, or no file.
    pub fn append(&self, size: usize, fill: impl FnOnce(u64, &mut [u8])) -> Option<Place> {
        if size > MOST {
            return None;
        }
        self.lock.hold(|| {
            let written = self.written.load(SeqCst);
            let left = REGION - written as usize % REGION;
            let skipped = if size > left { left } else { 0 };
            let at = written + skipped as u64;
            let end = at + size as u64;
            let fits = end - self.synced.load(SeqCst) <= REGION as u64;
            let begins = (at as usize).is_multiple_of(REGION);
            // One more than is overwritten: see `policy::journal::entries`.
            let free = !begins || at + 2 * REGION as u64 <= self.retired.load(SeqCst) + SIZE;
            if self.phase() != Phase::Open || !fits || !free {
                return None;
            }
            // SAFETY: under the lock, behind `written`: nobody else reads or writes there.
            unsafe {
                self.bytes(written, skipped.min(4)).fill(0);
                fill(at, self.bytes(at, size));
            }
            self.written.store(end, SeqCst);
            Some(Place {
                file: self.file(),
                position: end,
            })
        })
    }

    /// # Safety
    /// Nobody else has a reference to any of it.
    #[allow(clippy::mut_from_ref)]
    unsafe fn bytes(&self, position: u64, len: usize) -> &mut [u8] {
        let from = position as usize % REGION;
        let len = len.min(REGION - from);
        // SAFETY: inside the window; by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.window.get().cast::<u8>().add(from), len) }
    }

    /// How many regions will have been filled before one has to be given up; an estimate.
    pub fn regions_left(&self) -> u64 {
        let used = self.written().saturating_sub(self.retired.load(SeqCst));
        (SIZE - used.min(SIZE)) / REGION as u64
    }

    pub fn written(&self) -> u64 {
        self.written.load(SeqCst)
    }

    /// Up to where it is durable.
    pub fn synced(&self) -> u64 {
        self.synced.load(SeqCst)
    }

    /// Everything before is durable where it came from.
    pub fn retire(&self, up_to: u64) {
        self.retired.fetch_max(up_to, SeqCst);
    }

    /// Asks that it be made durable.
    pub fn want(&self, place: Place) {
        self.wanted.fetch_max(place.position, SeqCst);
    }

    pub fn reached(&self, place: Place) -> Reached {
        if self.synced.load(SeqCst) >= place.position {
            return Reached::Yes;
        }
        // A new file is begun when everything is durable where it came from, and `synced` says so.
        if self.phase() == Phase::Broken || self.file() != place.file {
            if self.synced.load(SeqCst) >= place.position {
                return Reached::Yes;
            }
            return Reached::Never(self.errno.load(SeqCst));
        }
        Reached::NotYet
    }

    /// Waits for it, not longer than `most`; also returns at a signal, or when somebody has to take
    /// the turn, unless who waits has `asked` a thread to.
    pub fn wait(&self, place: Place, most: Duration, asked: bool) {
        let round = self.round.load(SeqCst);
        let taken = place.position <= self.syncing.load(SeqCst);
        let word = &self.words[(round as usize + usize::from(!taken)) % 2];
        let was = word.load(SeqCst);
        let same = self.round.load(SeqCst) == round;
        let unled = !asked && self.needs_turn();
        if same && self.reached(place) == Reached::NotYet && !unled {
            futex::wait(word, was, most);
        }
    }

    fn wake(&self, word: &AtomicU32) {
        word.fetch_add(1, SeqCst);
        futex::wake_all(word);
    }

    fn wake_all(&self) {
        self.words.iter().for_each(|word| self.wake(word));
    }

    /// Does somebody want what nobody is making durable?
    pub fn needs_turn(&self) -> bool {
        self.turn.load(SeqCst) == 0
            && self.phase() == Phase::Open
            && self.wanted.load(SeqCst) > self.synced.load(SeqCst)
    }

    /// Has somebody take the turn who waits for what nobody is making durable. If it does not come to
    /// that, others look in a while.
    pub fn pass_on(&self) {
        if self.needs_turn() {
            let next = self.round.load(SeqCst) as usize + 1;
            let word = &self.words[next % 2];
            word.fetch_add(1, SeqCst);
            futex::wake_one(word);
        }
    }

    /// Asks for all that has been appended.
    pub fn want_all(&self) {
        self.wanted.fetch_max(self.written(), SeqCst);
    }

    /// Takes the turn from a process that is gone.
    pub fn unseat(&self) {
        let who = self.turn.load(SeqCst);
        if who != 0
            && !futex::alive(who)
            && self
                .turn
                .compare_exchange(who, me(), SeqCst, SeqCst)
                .is_ok()
        {
            self.syncing_since.store(0, SeqCst);
            self.turn.store(0, SeqCst);
        }
    }

    /// The turn, unless somebody has it.
    pub fn take_turn(&self) -> Option<Turn<'_>> {
        let taken = self.turn.compare_exchange(0, me(), SeqCst, SeqCst);
        taken.is_ok().then_some(Turn(self))
    }

    /// The file is of an earlier life of the server no more: there is none.
    pub fn close(&self) {
        self.phase.store(Phase::Closed as u32, SeqCst);
    }

    fn broken(&self, errno: i32) {
        self.errno.store(errno, SeqCst);
        self.phase.store(Phase::Broken as u32, SeqCst);
        self.wake_all();
    }
}

/// Whoever has it writes and syncs for all.
pub struct Turn<'a>(&'a Group);

impl Turn<'_> {
    /// What is not in the file yet, from and to.
    pub fn unput(&self) -> (u64, u64) {
        let group = self.0;
        let from = group.put.load(SeqCst).max(group.synced.load(SeqCst));
        (from, group.written.load(SeqCst))
    }

    /// The disk is at work, and who waits for it may see for how long.
    pub fn begins(&self) {
        self.0.syncing_since.store(crate::audit::now(), SeqCst);
    }

    /// Up to here it is in the file.
    pub fn put(&self, to: u64) {
        self.0.put.fetch_max(to, SeqCst);
    }

    /// Up to where everything is to be made durable now; `None` when nobody wants anything.
    pub fn next(&self) -> Option<u64> {
        let group = self.0;
        if group.phase() != Phase::Open || group.wanted.load(SeqCst) <= group.synced.load(SeqCst) {
            return None;
        }
        // What is being written already is not written again for the sake of what nobody waits for.
        let put = group.put.load(SeqCst);
        let to = if group.wanted.load(SeqCst) <= put {
            put
        } else {
            group.written.load(SeqCst)
        };
        self.begins();
        group.syncing.store(to, SeqCst);
        group.round.fetch_add(1, SeqCst);
        Some(to)
    }

    /// A piece of what is to be written, and where in the file it goes.
    pub fn piece(&self, from: u64, to: u64) -> (u64, &[u8]) {
        let len = usize::try_from(to.saturating_sub(from)).unwrap_or(REGION);
        // SAFETY: before `written`, and not to be overwritten before `synced` has passed it, which
        // only this turn does.
        (from % SIZE, unsafe { self.0.bytes(from, len) })
    }

    pub fn done(&self, to: u64) {
        let group = self.0;
        self.rests();
        group.synced.store(to, SeqCst);
        let round = group.round.load(SeqCst) as usize;
        group.wake(&group.words[round % 2]);
    }

    /// It could not be written or synced.
    pub fn failed(&self, errno: i32) {
        self.rests();
        self.0.broken(errno);
    }

    /// It is not, for the moment.
    pub fn rests(&self) {
        self.0.syncing_since.store(0, SeqCst);
    }

    /// From here on nothing is appended; what is not durable yet, from and to, if the file is sound.
    pub fn change(&self) -> Option<(u64, u64)> {
        let group = self.0;
        group.lock.hold(|| {
            let sound = group.phase() == Phase::Open;
            group.phase.store(Phase::Changing as u32, SeqCst);
            let to = group.written();
            group.syncing.store(to, SeqCst);
            group.round.fetch_add(1, SeqCst);
            sound.then(|| (group.synced(), to))
        })
    }

    /// There is a new file, and everything appended so far is durable where it came from.
    pub fn open(&self) {
        self.begin(Phase::Open);
    }

    /// The same, without a file.
    pub fn close(&self) {
        self.begin(Phase::Closed);
    }

    fn begin(&self, phase: Phase) {
        let group = self.0;
        group.lock.hold(|| {
            let begin = group.written.load(SeqCst).next_multiple_of(SIZE);
            for position in [
                &group.retired,
                &group.written,
                &group.wanted,
                &group.syncing,
                &group.put,
                &group.synced,
            ] {
                position.store(begin, SeqCst);
            }
            group.file.fetch_add(1, SeqCst);
            group.phase.store(phase as u32, SeqCst);
        });
        group.wake_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.turn.compare_exchange(me(), 0, SeqCst, SeqCst);
    }
}
