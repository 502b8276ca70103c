//! The spool files of one backend and the thread that makes them durable.
//!
//! Plain writes and fdatasync: no LWLock, no palloc, no transaction, no WAL, so that records can
//! be written in aborted and read-only transactions and on a standby. Where this file is not what is
//! synced, a write is a copy into the mapped segment, without a system call: nobody waits for the
//! disk, or the [journal](super::journal) is synced instead. The thread syncs while the backend plans
//! and executes. A backend holds an
//! exclusive flock on the segment it writes to as long as it lives, which tells the worker that
//! more may come; the lock of a process that is gone is gone, whatever became of its pid.

mod files;
mod sync;

use super::AuditError;
use super::journal;
use crate::pg::group::{Group, Place, Reached};
use crate::pg::mapping::Mapping;
use policy::journal::{Entry, What};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub use files::{create_dirs, frames_at, read_at, sync_names};
use sync::{Patience, Sync};

/// A segment is not begun anew before it has this many bytes.
const SEGMENT: u64 = 4 << 20;
/// A segment grows by zeros, in steps between these, and records overwrite them: a sync then
/// need not wait for the file system's journal, which a new length would have to go through.
const GROWTH: (u64, u64) = (64 << 10, 512 << 10);
static ZEROS: [u8; GROWTH.1 as usize] = [0; GROWTH.1 as usize];
/// A buffer of this size is kept for the next records.
const MAX_KEPT: usize = 64 << 10;
/// Longer than this nobody waits for a disk.
const PATIENCE: Duration = Duration::from_secs(60);
/// Once the backend is to look at an interrupt, it waits so much longer.
const GRACE: Duration = Duration::from_secs(1);
/// How often it looks whether there is one.
const LOOK: Duration = Duration::from_millis(20);
/// Before another process is asked again.
const NAP: Duration = Duration::from_micros(100);

pub const SUFFIX: &str = "spool";

/// The directory of all spools. Base backups leave out what begins with `pgsql_tmp`: records of
/// another server, restored beside its tables, would be ingested a second time.
pub fn root(data_dir: &str) -> PathBuf {
    Path::new(data_dir)
        .join("agent_policy")
        .join("pgsql_tmp_spool")
}

/// `<node>-<start time>-<pid>-<segment>.spool`
pub fn segment_name(session: &str, segment: u32) -> String {
    format!("{session}-{segment:08}.{SUFFIX}")
}

/// The session and the number of a segment.
pub fn parse_name(name: &str) -> Option<(&str, u32)> {
    let (session, segment) = name
        .strip_suffix(SUFFIX)?
        .strip_suffix('.')?
        .rsplit_once('-')?;
    Some((session, segment.parse().ok()?))
}

pub struct Spool {
    root: PathBuf,
    database: u32,
    session: String,
    next_segment: u32,
    segment: Option<Segment>,
    /// Frames that go along with the next write.
    buffered: Vec<u8>,
    sync: Arc<Sync>,
    /// Begins what the thread ends.
    writer: journal::Writer,
    /// Bytes written in all segments, the position that [`Sync`] counts in.
    written: u64,
    /// Where the journal has to be durable.
    wanted: Option<(&'static Group, Place)>,
    /// The last that was appended there.
    appended: Option<(&'static Group, Place)>,
    /// How often what had been written was given up.
    mended: u64,
    /// The segment did not even grow for its first record: nobody has read anything of it.
    unwritten: bool,
}

/// How what is buffered is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Somebody will wait for it.
    Awaited,
    /// Nobody waits for it; it is as durable as the next that is awaited.
    Along,
    /// Nobody ever waits.
    Async,
}

struct Segment {
    file: Arc<File>,
    number: u32,
    /// The journal that has something of it.
    journal: Option<u32>,
    /// Its name is durable, or about to be.
    named: bool,
    /// Bytes of records.
    len: u64,
    /// Bytes with the zeros behind them.
    size: u64,
    mapping: Map,
}

enum Map {
    Untried,
    Impossible,
    There(Mapping),
}

impl Segment {
    fn write(&mut self, frames: &[u8], mapped: bool) -> io::Result<()> {
        let end = self.len + frames.len() as u64;
        while self.size < end {
            // By writing, so that a full disk is an error here and no SIGBUS later.
            let zeros = &ZEROS[..self.size.clamp(GROWTH.0, GROWTH.1) as usize];
            self.file.write_all_at(zeros, self.size)?;
            self.size += zeros.len() as u64;
        }
        let at = self.len;
        let mapping = if mapped { self.mapping() } else { None };
        match mapping.filter(|m| end <= m.size() as u64) {
            Some(mapping) => mapping.publish(at as usize, frames)?,
            None => self.file.write_all_at(frames, at)?,
        }
        self.len = end;
        Ok(())
    }

    fn mapping(&mut self) -> Option<&mut Mapping> {
        if matches!(self.mapping, Map::Untried) {
            // A record that begins within the segment may end behind it; it is written.
            self.mapping =
                Mapping::new(&self.file, SEGMENT as usize).map_or(Map::Impossible, Map::There);
        }
        match &mut self.mapping {
            Map::There(mapping) => Some(mapping),
            _ => None,
        }
    }
}

impl Spool {
    pub fn new(root: PathBuf, database: u32, session: String) -> Self {
        Self {
            sync: Arc::new(Sync::new(root.clone())),
            root,
            database,
            session,
            writer: journal::Writer::default(),
            next_segment: 0,
            segment: None,
            buffered: Vec::new(),
            written: 0,
            wanted: None,
            appended: None,
            mended: 0,
            unwritten: false,
        }
    }

    fn dir(&self) -> PathBuf {
        self.root.join(self.database.to_string())
    }

    /// Makes the directory, durably, also where somebody else has just made it.
    pub fn make_directory(&self) -> Result<(), AuditError> {
        create_dirs(&self.dir())
            .and_then(|()| File::open(&self.root)?.sync_all())
            .map_err(AuditError::sync)
    }

    /// The backend ends: its thread will be gone in the midst of whatever it does.
    pub fn end(&mut self) {
        self.sync.step_down();
    }

    pub fn is_ending(&self) -> bool {
        self.sync.is_ending()
    }

    /// Keeps frames for the next write.
    pub fn buffer(
        &mut self,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), AuditError>,
    ) -> Result<(), AuditError> {
        put(&mut self.buffered)
    }

    pub fn buffered(&self) -> usize {
        self.buffered.len()
    }

    /// Writes what is buffered; the number of bytes.
    pub fn write(&mut self, how: Write) -> Result<u64, AuditError> {
        if self.buffered.is_empty() {
            return Ok(0);
        }
        self.mend()?;
        let shared = how != Write::Async && !self.is_ending();
        let journal = if shared { journal::serving() } else { None };
        // With a new journal a new file: what was not durable when the old one ended may leave a hole.
        let file = journal.map(Group::file);
        let goes_on = |s: &Segment| {
            s.len < SEGMENT && (file.is_none() || s.journal.is_none_or(|j| Some(j) == file))
        };
        if !self.segment.as_ref().is_some_and(goes_on) {
            if how == Write::Async {
                // Nobody will wait for the old one.
                self.sync.lock().dirty.clear();
            }
            // The old segment is closed, and its lock gone, after the new one is there.
            self.segment = Some(self.create().map_err(AuditError::write)?);
        }
        let Some(segment) = &mut self.segment else {
            return Err(AuditError::Write(0));
        };
        segment.journal = file.or(segment.journal);
        // A copy is dear when pages are synced all the time: each is then made writable anew.
        let (at, len) = (segment.len, self.buffered.len() as u64);
        let result = segment.write(&self.buffered, how == Write::Async || journal.is_some());
        let entry = Entry {
            database: self.database,
            session: &self.session,
            segment: segment.number,
            what: What::Appended(at, &self.buffered),
        };
        let place = match (journal, &result) {
            (Some(group), Ok(())) => journal::append(group, &entry).map(|place| (group, place)),
            _ => None,
        };
        self.buffered.clear();
        if self.buffered.capacity() > MAX_KEPT {
            self.buffered.shrink_to(MAX_KEPT);
        }
        if let Err(e) = result {
            // It may end in half a frame: nothing is appended to it any more.
            self.unwritten = segment.len == 0 && segment.size < len;
            self.sync.lock().failed = Some(e.raw_os_error().unwrap_or(0));
            return Err(AuditError::write(e));
        }
        self.written += len;
        self.appended = place.or(self.appended);
        if let Err(e) = self.cover(place.is_some(), how == Write::Awaited) {
            // It is written, and who waits for it learns that it is not durable.
            self.sync.lock().failed = Some(e.raw_os_error().unwrap_or(0));
        }
        Ok(len)
    }

    /// Sees to it that what was written becomes durable, in the journal or here.
    fn cover(&mut self, in_journal: bool, awaited: bool) -> io::Result<()> {
        if awaited {
            // What was appended before may be needed to make sense of what is synced here.
            self.wanted = self.appended;
            if let Some((group, place)) = self.wanted {
                // Who syncs for others now takes it along.
                group.want(place);
                if group.needs_turn() {
                    self.writer.begin(group, &self.root);
                }
            }
        }
        let mut s = self.sync.lock();
        s.written = self.written;
        let covered = in_journal && s.dirty.is_empty();
        if !covered && let Some(segment) = &mut self.segment {
            s.dirty(segment, || self.root.join(self.database.to_string()))?;
            if awaited {
                s.wanted = self.written;
                self.sync.elsewhere.store(true, SeqCst);
            }
        }
        if awaited && let Some((group, _)) = self.wanted {
            // Where nobody does, the thread.
            s.lead = group.needs_turn().then_some(group);
        }
        if awaited && (!covered || s.lead.is_some()) {
            self.sync.start(s)?;
        }
        Ok(())
    }

    /// Gives up what was buffered behind the first so many bytes, if it still is.
    pub fn give_up(&mut self, behind: usize) {
        self.buffered.truncate(behind);
    }

    /// Has the thread sync the journal.
    fn lead(&self, group: &'static Group) -> io::Result<()> {
        let mut s = self.sync.lock();
        s.lead = Some(group);
        self.sync.start(s)
    }

    /// After a failure: a new segment instead of the one that failed, or the same without what was left in it.
    /// A disk that fails for long does not get a file for each statement that is refused.
    pub fn mend(&mut self) -> Result<(), AuditError> {
        if self.sync.lock().failed.is_none() {
            return Ok(());
        }
        if self.sync.is_stuck() {
            // The disk has not come back from the sync that was given up.
            return Err(AuditError::Timeout);
        }
        let unwritten = std::mem::take(&mut self.unwritten);
        let emptied = self
            .segment
            .take_if(|s| unwritten && s.file.set_len(0).is_ok());
        let new = match emptied {
            // No sync was asked for it, nor has the journal anything of it.
            Some(segment) => Segment {
                journal: None,
                size: 0,
                ..segment
            },
            None => self.create().map_err(AuditError::write)?,
        };
        let mut s = self.sync.lock();
        s.failed = None;
        s.synced = self.written;
        s.wanted = self.written;
        drop(s);
        self.wanted = None;
        self.appended = None;
        self.segment = Some(new);
        self.mended += 1;
        Ok(())
    }

    /// How often what had been written was given up: a record of before may be lost.
    pub fn mended(&self) -> u64 {
        self.mended
    }

    /// Bytes written up to now.
    pub fn position(&self) -> u64 {
        self.written
    }

    /// Is a sync under way that was asked for, and nothing wrong so far?
    pub fn is_pending(&self) -> bool {
        let s = self.sync.lock();
        let journal = || {
            self.wanted
                .is_some_and(|(group, place)| group.reached(place) == Reached::NotYet)
        };
        s.failed.is_none() && (s.synced < s.wanted || journal())
    }

    /// Waits until everything whose sync was asked for is durable.
    pub fn wait(&mut self, interrupted: impl Fn() -> bool) -> Result<(), AuditError> {
        let mut patience = Patience::new(interrupted);
        self.sync.wait(&mut patience)?;
        if let Some((group, place)) = self.wanted {
            self.wait_for(group, place, &mut patience)?;
            self.wanted = None;
        }
        Ok(())
    }

    /// Waits for the journal.
    fn wait_for(
        &mut self,
        group: &'static Group,
        place: Place,
        patience: &mut Patience<impl Fn() -> bool>,
    ) -> Result<(), AuditError> {
        let mut looked = Instant::now();
        loop {
            let failed = match group.reached(place) {
                Reached::Yes => return Ok(()),
                Reached::Never(errno) => Some((errno, AuditError::Sync(errno))),
                Reached::NotYet if patience.is_over() => {
                    Some((libc::ETIMEDOUT, AuditError::Timeout))
                }
                Reached::NotYet => None,
            };
            if let Some((errno, error)) = failed {
                self.sync.lock().failed = Some(errno);
                return Err(error);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                group.unseat();
            }
            let mut asked = self.sync.is_asked();
            if !asked && group.needs_turn() {
                // Whoever synced for all has ended.
                asked = self.lead(group).is_ok();
                if !asked {
                    // Without a thread another process has to do it.
                    group.pass_on();
                    std::thread::sleep(NAP);
                }
            }
            group.wait(place, LOOK, asked);
        }
    }

    fn create(&mut self) -> io::Result<Segment> {
        let dir = self.dir();
        if !dir.exists() {
            create_dirs(&dir)?;
        }
        let number = self.next_segment;
        let name = segment_name(&self.session, number);
        let temporary = dir.join(format!("{name}.new"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        // Locked before it has a name by which the worker finds it.
        file.lock()?;
        fs::rename(&temporary, dir.join(&name))?;
        self.next_segment += 1;
        Ok(Segment {
            file: Arc::new(file),
            number,
            journal: None,
            named: false,
            len: 0,
            size: 0,
            mapping: Map::Untried,
        })
    }
}
