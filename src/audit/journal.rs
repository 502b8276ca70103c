//! The journal: one file in which the records of all sessions become durable, by one sync for whoever
//! waits at that time.
//!
//! What a session appends to its spool file it also appends here, and it is the journal that is synced;
//! the spool file stays what the worker reads. Only after a crash of the operating system is the journal
//! read: what of the spool files had not reached the disk is put back from it, before any of them is
//! read. A region of it is used again once the spool files have been synced after it was written
//! ([`Tender`]). Before a spool file is removed, the journal is told, or it would come back.
//!
//! Where the journal does not serve (it has to be made first, its disk failed, an entry is too long,
//! nobody makes room), a session syncs its spool file by itself: [`super::spool`].

mod restore;
mod tender;

use super::AuditError;
use crate::pg::group::{Group, Phase, Place, Reached, SIZE, Turn};
use crate::pg::{shmem, writeback};
use policy::journal::{Entry, What};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

pub use restore::sync_all;
pub use tender::Tender;

/// With fewer regions free than this, spool files are synced to free others.
const LOW: u64 = 8;
/// How long the worker waits to tell of files it is about to remove.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

fn path(root: &Path) -> PathBuf {
    root.join("journal.spool")
}

/// A sync of a spool file failed: what the system kept of it is not known.
pub fn doubt() {
    if let Some(group) = group() {
        group.doubtful.store(true, SeqCst);
    }
}

fn group() -> Option<&'static Group> {
    shmem::shared().map(|shared| &shared.journal)
}

/// The journal, when what comes next may be appended to it.
pub fn serving() -> Option<&'static Group> {
    let group = group()?;
    if group.serves() {
        if group.regions_left() < LOW
            && let Some(shared) = shmem::shared()
        {
            shared.wake_launcher();
        }
        return Some(group);
    }
    if group.phase() == Phase::Closed
        && let Some(shared) = shmem::shared()
    {
        shared.wake_launcher();
    }
    None
}

/// Appends an entry; `None` when it does not fit.
pub fn append(group: &Group, entry: &Entry) -> Option<Place> {
    group.append(entry.size(), |position, out| entry.put(position, out))
}

/// The file as one process writes it.
#[derive(Default)]
pub struct Writer(Option<(u32, File)>);

impl Writer {
    /// Makes durable what anybody wants to be, once; false when another process is at it, or nobody
    /// wants anything. Somebody has to do the same for those who came meanwhile.
    pub fn lead_once(&mut self, group: &Group, root: &Path) -> bool {
        match group.take_turn() {
            Some(turn) => self.sync(&turn, group, root),
            None => false,
        }
    }

    /// The same as long as somebody does, unless it is to `stop`.
    pub fn lead(&mut self, group: &Group, root: &Path, stop: &AtomicBool) {
        while let Some(turn) = group.take_turn() {
            while !stop.load(SeqCst) && self.sync(&turn, group, root) {}
            drop(turn);
            if stop.load(SeqCst) {
                return group.pass_on();
            }
            if !group.needs_turn() {
                return;
            }
        }
    }

    /// Hands what was appended to the system, which begins to write it: a sync that another thread
    /// is about to begin will find it under way. What fails here fails there.
    pub fn begin(&mut self, group: &Group, root: &Path) {
        let Some(turn) = group.take_turn() else {
            return;
        };
        let (from, to) = turn.unput();
        if from >= to {
            return;
        }
        turn.begins();
        if let Ok(file) = self.file(group.file(), root)
            && put(&turn, file, from, to).is_ok()
        {
            writeback::begin(file, from % SIZE, to - from);
        }
        turn.rests();
    }

    fn sync(&mut self, turn: &Turn, group: &Group, root: &Path) -> bool {
        let Some(to) = turn.next() else {
            return false;
        };
        let from = turn.unput().0.min(to);
        let file = match self.file(group.file(), root) {
            Err(e) if is_shortage(&e) => {
                turn.rests();
                return false;
            }
            file => file,
        };
        match file.and_then(|file| write(turn, file, from, to)) {
            Ok(()) => turn.done(to),
            Err(e) => {
                turn.failed(e.raw_os_error().unwrap_or(0));
                self.0 = None;
            }
        }
        true
    }

    fn file(&mut self, number: u32, root: &Path) -> io::Result<&File> {
        if self.0.as_ref().is_none_or(|(of, _)| *of != number) {
            let file = OpenOptions::new().write(true).open(path(root))?;
            self.0 = Some((number, file));
        }
        self.0
            .as_ref()
            .map(|(_, file)| file)
            .ok_or(io::ErrorKind::NotFound.into())
    }
}

/// Is it this process that lacks something? Others can do it.
fn is_shortage(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

fn write(turn: &Turn, file: &File, from: u64, to: u64) -> io::Result<()> {
    put(turn, file, from, to)?;
    file.sync_data()
}

fn put(turn: &Turn, file: &File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let (at, bytes) = turn.piece(from, to);
        file.write_all_at(bytes, at)?;
        from += bytes.len() as u64;
    }
    turn.put(to);
    Ok(())
}

/// Tells the journal, durably, that these spool files are about to be removed.
///
/// # Errors
/// When it cannot be told now: they have to stay.
pub fn removed(database: u32, files: &[(&str, u32)], root: &Path) -> Result<(), AuditError> {
    let Some(group) = group() else { return Ok(()) };
    if files.is_empty() || group.phase() == Phase::Closed {
        return Ok(());
    }
    let mut writer = Writer::default();
    let began = Instant::now();
    let mut last = None;
    for (session, segment) in files {
        let entry = Entry {
            database,
            session,
            segment: *segment,
            what: What::Removed,
        };
        let place = loop {
            if let Some(place) = append(group, &entry) {
                break place;
            }
            if group.phase() != Phase::Open || began.elapsed() > PATIENCE {
                return Err(AuditError::Timeout);
            }
            // There may be room after a sync, or when regions were freed.
            group.want_all();
            if writer.lead_once(group, root) {
                group.pass_on();
            }
            if let Some(shared) = shmem::shared() {
                shared.wake_launcher();
            }
            std::thread::sleep(LOOK);
        };
        last = Some(place);
    }
    let Some(last) = last else { return Ok(()) };
    group.want(last);
    loop {
        match group.reached(last) {
            Reached::Yes => return Ok(()),
            Reached::Never(errno) => return Err(AuditError::Sync(errno)),
            Reached::NotYet if began.elapsed() > PATIENCE => return Err(AuditError::Timeout),
            Reached::NotYet => {}
        }
        group.unseat();
        if writer.lead_once(group, root) {
            group.pass_on();
        } else {
            group.wait(last, LOOK, false);
        }
    }
}
