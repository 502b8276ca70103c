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

use super::AuditError;
use super::spool;
use crate::pg::group::{Group, Phase, Place, REGION, Reached, SIZE, Turn};
use crate::pg::{shmem, thread};
use policy::journal::{Entry, What, entries};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// With fewer regions free than this, spool files are synced to free others.
const LOW: u64 = 8;
/// What was written is not kept here longer than about this.
const RENEW: Duration = Duration::from_secs(3600);
/// How long the worker waits to tell of files it is about to remove.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

fn path(root: &Path) -> PathBuf {
    root.join("journal.spool")
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

    fn sync(&mut self, turn: &Turn, group: &Group, root: &Path) -> bool {
        let Some((from, to)) = turn.next() else {
            return false;
        };
        let file = self.file(group.file(), root);
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

fn write(turn: &Turn, file: &File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let (at, bytes) = turn.piece(from, to);
        file.write_all_at(bytes, at)?;
        from += bytes.len() as u64;
    }
    file.sync_data()
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
            if let Some(last) = last {
                group.want(last);
                if writer.lead_once(group, root) {
                    group.pass_on();
                }
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
            group.wait(last, LOOK);
        }
    }
}

/// Syncs every spool file, and the names of all.
fn sync_spools(root: &Path) -> io::Result<()> {
    for (_, dir) in databases(root)? {
        sync_all(&dir)?;
    }
    Ok(())
}

/// Syncs the files in a directory, and their names.
pub fn sync_all(dir: &Path) -> io::Result<()> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let names = match fs::read_dir(dir) {
        Err(e) if gone(&e) => return Ok(()),
        names => names?,
    };
    for entry in names {
        // The worker removes what it has read meanwhile.
        match File::open(entry?.path()).and_then(|file| file.sync_data()) {
            Err(e) if !gone(&e) => return Err(e),
            _ => {}
        }
    }
    match File::open(dir).and_then(|dir| dir.sync_all()) {
        Err(e) if !gone(&e) => Err(e),
        _ => Ok(()),
    }
}

fn databases(root: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(database) = name.to_str().and_then(|name| name.parse().ok()) {
            found.push((database, entry.path()));
        }
    }
    Ok(found)
}

/// What is to become of spool files that have not what the journal says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Restore {
    /// After a start: they get it, also those that are not there.
    Missing,
    /// They get it again, whatever they seem to have: a sync of theirs failed, and what the system
    /// kept of it is not known.
    Again,
}

/// Writes into the spool files what the journal says they have, and syncs them; the number of entries
/// that were missing.
fn restore(root: &Path, how: Restore) -> io::Result<usize> {
    let journal = match fs::read(path(root)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        journal => journal?,
    };
    let entries = entries(&journal, REGION);
    let removed: BTreeSet<(u32, &str, u32)> = entries
        .iter()
        .filter(|e| e.what == What::Removed)
        .map(|e| (e.database, e.session, e.segment))
        .collect();
    // Directories are durable before anything is appended; one that is gone is of a dropped database.
    let there: BTreeMap<u32, PathBuf> = databases(root)?.into_iter().collect();
    let mut open: BTreeMap<(u32, &str, u32), Option<File>> = BTreeMap::new();
    let mut missing = 0;
    for e in &entries {
        let of = (e.database, e.session, e.segment);
        let (What::Appended(at, bytes), Some(dir)) = (e.what, there.get(&e.database)) else {
            continue;
        };
        if removed.contains(&of) {
            continue;
        }
        let file = match open.entry(of) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => {
                let name = dir.join(spool::segment_name(e.session, e.segment));
                new.insert(writable(&name, how == Restore::Missing)?)
            }
        };
        let Some(file) = file else { continue };
        let as_it_is = how == Restore::Missing && spool::read_at(file, at, bytes.len())? == bytes;
        if !as_it_is {
            file.write_all_at(bytes, at)?;
            missing += 1;
        }
    }
    for file in open.values().flatten() {
        file.sync_data()?;
    }
    for dir in there.values() {
        File::open(dir)?.sync_all()?;
    }
    Ok(missing)
}

fn writable(path: &Path, create: bool) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match file {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// A file of zeros, so that a sync of what is written over them need not wait for the file system.
fn make(root: &Path) -> io::Result<()> {
    spool::create_dirs(root)?;
    let new = root.join("journal.new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let zeros = vec![0; REGION];
    for at in (0..SIZE).step_by(REGION) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()
}

/// Another file instead of the one there is, if any.
fn change(group: &Group, root: &Path, stop: &AtomicBool) -> io::Result<()> {
    make(root)?;
    group.change();
    let turn = loop {
        if let Some(turn) = group.take_turn() {
            break turn;
        }
        if stop.load(SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        group.unseat();
        std::thread::sleep(Duration::from_millis(1));
    };
    let changed = retire_all(group, root).and_then(|()| {
        fs::rename(root.join("journal.new"), path(root))?;
        File::open(root)?.sync_all()
    });
    match &changed {
        Ok(()) => turn.open(),
        Err(e) => turn.failed(e.raw_os_error().unwrap_or(0)),
    }
    changed
}

/// Makes durable where it belongs what the journal has.
fn retire_all(group: &Group, root: &Path) -> io::Result<()> {
    let synced = if group.doubtful.load(SeqCst) {
        restore(root, Restore::Again).and_then(|_| sync_spools(root))
    } else {
        sync_spools(root)
    };
    group.doubtful.store(synced.is_err(), SeqCst);
    synced
}

fn retire(group: &Group, root: &Path) -> io::Result<()> {
    let up_to = group.written();
    retire_all(group, root)?;
    group.retire(up_to);
    Ok(())
}

/// The launcher's part: makes the file, frees regions, begins anew after a failure.
pub struct Tender {
    root: PathBuf,
    job: Option<Arc<Job>>,
    renewed: Instant,
    /// After a failure.
    not_before: Option<Instant>,
}

#[derive(Default)]
struct Job {
    result: Mutex<Option<io::Result<()>>>,
    /// The launcher ends.
    stop: AtomicBool,
}

impl Tender {
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            job: None,
            renewed: Instant::now(),
            not_before: None,
        }
    }

    /// Puts back what a crash of the system took, and whether that is done: only then may anybody
    /// read spool files.
    pub fn restore(&self, group: &Group) -> io::Result<()> {
        if group.phase() != Phase::New {
            return Ok(());
        }
        let missing = restore(&self.root, Restore::Missing)?;
        if missing > 0 {
            pgrx::log!("audit records put back into spool files after a crash: {missing}");
        }
        match fs::remove_file(path(&self.root)) {
            Ok(()) => File::open(&self.root)?.sync_all()?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        group.close();
        Ok(())
    }

    /// Sees to what is due, in a thread: a disk may hang.
    pub fn tend(&mut self, group: &'static Group) {
        if let Some(job) = &self.job {
            let mut result = job.result.lock().unwrap_or_else(PoisonError::into_inner);
            match result.take() {
                None => return,
                Some(Ok(())) => self.not_before = None,
                Some(Err(e)) => {
                    pgrx::warning!("the journal of audit records: {e}; sessions sync their own");
                    self.not_before = Some(Instant::now() + Duration::from_secs(1));
                }
            }
            drop(result);
            self.job = None;
        }
        if self.not_before.is_some_and(|t| Instant::now() < t) {
            return;
        }
        let renew = self.renewed.elapsed() > RENEW;
        let work: fn(&Group, &Path, &AtomicBool) -> io::Result<()> = match group.phase() {
            Phase::Closed if group.is_asked_for() => change,
            Phase::Broken | Phase::Changing => change,
            Phase::Open if renew => change,
            Phase::Open if group.regions_left() < LOW => |group, root, _| retire(group, root),
            _ => return,
        };
        if renew {
            self.renewed = Instant::now();
        }
        let job = Arc::new(Job::default());
        let (theirs, root) = (job.clone(), self.root.clone());
        let started = thread::spawn_without_signals("audit journal", move || {
            let result = work(group, &root, &theirs.stop);
            *theirs.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        });
        match started {
            Ok(()) => self.job = Some(job),
            Err(e) => pgrx::warning!("could not start a thread: {e}"),
        }
    }
}

impl Drop for Tender {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.stop.store(true, SeqCst);
        }
    }
}
