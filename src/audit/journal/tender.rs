//! The launcher's part: a file for the journal, room in it, and what a crash of the system took.

use super::super::{received, spool};
use super::restore::{restore, sync_spools};
use super::{LOW, path};
use crate::pg::group::{Group, Phase, REGION, SIZE, Turn};
use crate::pg::thread;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was written is not kept here longer than about this.
const RENEW: Duration = Duration::from_secs(3600);
/// After a failure; twice as long after each further one, up to 32 times.
const AGAIN: Duration = Duration::from_secs(1);

fn new_path(root: &Path) -> PathBuf {
    root.join("journal.new")
}

/// A file of zeros, so that a sync of what is written over them need not wait for the file system.
fn make(root: &Path) -> io::Result<()> {
    spool::create_dirs(root)?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(new_path(root))?;
    let zeros = vec![0; REGION];
    for at in (0..SIZE).step_by(REGION) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()
}

/// Removes the file, for good; also if it seems to be gone already.
fn remove(root: &Path) -> io::Result<()> {
    received::remove(&path(root))?;
    spool::sync_names(root)
}

fn turn<'a>(group: &'a Group, stop: &AtomicBool) -> io::Result<Turn<'a>> {
    loop {
        if let Some(turn) = group.take_turn() {
            return Ok(turn);
        }
        if stop.load(SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        group.unseat();
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Another file instead of the one there is, if any.
fn change(group: &Group, root: &Path, stop: &AtomicBool) -> io::Result<()> {
    if let Err(e) = make(root) {
        let _ = fs::remove_file(new_path(root));
        return Err(e);
    }
    if group.phase() == Phase::Open {
        // Most of it before anybody has to wait.
        retire_all(group, root)?;
    }
    let turn = turn(group, stop)?;
    let changed = finish(&turn, root)
        .and_then(|()| retire_all(group, root))
        .and_then(|()| {
            fs::rename(new_path(root), path(root))?;
            File::open(path(root))?.sync_all()?;
            File::open(root)?.sync_all()
        });
    match &changed {
        Ok(()) => turn.open(),
        Err(e) => turn.failed(e.raw_os_error().unwrap_or(0)),
    }
    changed
}

/// Stops the file, with what was appended to it.
fn finish(turn: &Turn, root: &Path) -> io::Result<()> {
    if let Some((from, to)) = turn.change() {
        let file = OpenOptions::new().write(true).open(path(root))?;
        super::write(turn, &file, from, to)?;
        turn.done(to);
    }
    Ok(())
}

/// After a failure: no file. Only then may spool files be removed, which a full disk may wait for.
fn give_up(group: &Group, root: &Path, stop: &AtomicBool) -> io::Result<()> {
    let turn = turn(group, stop)?;
    retire_all(group, root)?;
    remove(root)?;
    turn.close();
    Ok(())
}

/// Makes durable where it belongs what the journal has.
fn retire_all(group: &Group, root: &Path) -> io::Result<()> {
    let synced = if group.doubtful.swap(false, SeqCst) {
        restore(root, false).and_then(|_| sync_spools(root))
    } else {
        sync_spools(root)
    };
    if synced.is_err() {
        group.doubtful.store(true, SeqCst);
    }
    synced
}

fn retire(group: &Group, root: &Path) -> io::Result<()> {
    // What is in the window alone cannot be written again.
    let up_to = group.synced();
    retire_all(group, root)?;
    group.retire(up_to);
    Ok(())
}

/// Makes the file, frees regions, begins anew after a failure.
pub struct Tender {
    root: PathBuf,
    job: Option<Arc<Job>>,
    renewed: Instant,
    /// Since the last success.
    failures: u32,
    not_before: Instant,
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
            failures: 0,
            not_before: Instant::now(),
        }
    }

    /// Puts back what a crash of the system took, and whether that is done: only then may anybody
    /// read spool files.
    pub fn restore(&self, group: &Group) -> io::Result<()> {
        if group.phase() != Phase::New {
            return Ok(());
        }
        let missing = restore(&self.root, true)?;
        if missing > 0 {
            pgrx::log!("audit records put back into spool files after a crash: {missing}");
        }
        remove(&self.root)?;
        group.close();
        Ok(())
    }

    /// Sees to what is due, in a thread: a disk may hang.
    pub fn tend(&mut self, group: &'static Group) {
        group.unseat();
        if let Some(job) = &self.job {
            let mut result = job.result.lock().unwrap_or_else(PoisonError::into_inner);
            match result.take() {
                None => return,
                Some(Ok(())) => self.failures = 0,
                Some(Err(e)) => {
                    pgrx::warning!("the journal of audit records: {e}; sessions sync their own");
                    self.not_before = Instant::now() + AGAIN * (1 << self.failures.min(5));
                    self.failures += 1;
                }
            }
            drop(result);
            self.job = None;
        }
        if Instant::now() < self.not_before {
            return;
        }
        // A new one begins with a whole round.
        let renew = self.renewed.elapsed() > RENEW && !group.written().is_multiple_of(SIZE);
        let work: fn(&Group, &Path, &AtomicBool) -> io::Result<()> = match group.phase() {
            Phase::Closed if group.is_asked_for() => change,
            Phase::Broken | Phase::Changing => give_up,
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
            let work = AssertUnwindSafe(|| work(group, &root, &theirs.stop));
            let result = catch_unwind(work)
                .unwrap_or_else(|_| Err(io::Error::other("its thread ended in the midst of it")));
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
