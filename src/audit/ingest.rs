//! The worker of a database: from spool files into `agent_policy.audit_log`.
//!
//! How far each session's files are read, and the starts whose ends have not come, are kept in
//! `audit_progress` in the transaction that inserts the rows: a worker killed at any point goes
//! on where the last committed one stopped, and no record is inserted twice. A file is unlinked
//! after the commit that made it superfluous, and its progress forgotten after the unlink is
//! durable. An error ends the worker; the launcher starts another, which reads the table again.
//!
//! What a standby hands over ([`super::receive`]) is read in the same way, after this server's own
//! records are committed and whoever waits for them knows. When its sessions are over only it knows,
//! and their progress is kept until it has removed its files: after a promotion the one who was a
//! standby goes on reading there itself.

mod commit;
mod standbys;

use super::chain::Chain;
use super::progress::Session;
use super::received::{self, Word};
use super::row::Rows;
use super::{journal, node, now, spool, tables};
use crate::pg::bgworker::{self, transaction};
use crate::pg::copy_in::conversion;
use crate::pg::shmem::{Slot, State};
use pgrx::prelude::*;
use policy::record::{self, Decoder, End, Frame, Record, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// An idle worker goes away well before the 5 s that DROP DATABASE waits for it.
const IDLE: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Records that nobody waits for are committed, and become a block, this often ...
const BLOCK_EVERY: Duration = Duration::from_secs(1);
/// ... unless there are more bytes of them.
const BLOCK_BYTES: u64 = 2 << 20;
/// So much is read at first, and more as long as there are records to its end: behind them a segment
/// has zeros.
const CHUNK: (usize, usize) = (32 << 10, 1 << 20);
const BATCH_ROWS: usize = 20_000;
const BATCH_BYTES: u64 = 8 << 20;
/// How often it is looked whether partitions are due; those in use are tried again that often.
const RETENTION_EVERY: Duration = Duration::from_secs(60);
/// Sessions, and how long each of their segments is.
type Files = BTreeMap<String, BTreeMap<u32, u64>>;

/// Takes up a spool file; false when it is none.
fn add_file(files: &mut Files, entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let Some((session, segment)) = name.to_str().and_then(spool::parse_name) else {
        return false;
    };
    let len = entry.metadata().map_or(0, |m| m.len());
    let segments = files.entry(session.to_owned()).or_default();
    segments.insert(segment, len);
    true
}

struct Ingest<'a> {
    slot: &'a Slot,
    root: PathBuf,
    dir: PathBuf,
    /// Where the copies of other servers' files are.
    received: PathBuf,
    /// This server, and those whose records somebody hands over.
    own: String,
    shipped: BTreeSet<String>,
    /// `shipped` is as of this look.
    shipped_now: bool,
    /// What standbys said about their sessions.
    words: BTreeMap<String, Word>,
    sessions: BTreeMap<String, Session>,
    /// Finished, and their files durably unlinked: to be forgotten.
    gone: Vec<String>,
    /// Records for the next commit. They become rows inside its transaction, since the
    /// conversion of text to the database's encoding calls a function that is looked up.
    batch: Vec<(Box<Start>, Option<Box<End>>)>,
    /// Who read the log, for the next commit.
    reads: Vec<Start>,
    rows: Rows,
    chain: Chain,
    /// Bytes read since the last commit.
    taken: u64,
    /// Something was read in this look.
    moved: bool,
    /// Where the next look at what standbys handed over begins.
    next_received: String,
    partitions: BTreeSet<i64>,
    /// Rows of statements were inserted.
    inserted: bool,
}

/// A transaction over the extension's tables.
fn holding<R>(work: impl FnOnce() -> R) -> R {
    transaction(|| {
        bgworker::hold_extension();
        work()
    })
}

/// Runs until there has been nothing to do for a while.
pub fn ingest(database: u32, slot: &Slot) {
    let root = spool::root(&bgworker::this_backend().data_dir);
    let Some((sessions, conversion)) = transaction(|| {
        bgworker::hold_extension();
        bgworker::extension_installed().then(|| (tables::load_progress(), conversion()))
    }) else {
        slot.failed_at.store(now(), SeqCst);
        slot.set_state(State::NoExtension);
        slot.to_notify.store(0, SeqCst);
        let dir = root.join(database.to_string());
        let files = |dir| fs::read_dir(dir).map_or(0, Iterator::count);
        if files(dir) + files(received::dir(&root, database)) == 0 {
            // There is nothing to come back for.
            slot.seen_ended.store(slot.ended.load(SeqCst), SeqCst);
        }
        return;
    };
    let Some(own) = node::own() else {
        error!("it is not known which server this is");
    };
    holding(|| tables::note_primary(&own));
    let mut ingest = Ingest {
        slot,
        own,
        shipped: holding(tables::shipped_nodes),
        shipped_now: true,
        words: BTreeMap::new(),
        dir: root.join(database.to_string()),
        received: received::dir(&root, database),
        root,
        sessions,
        gone: Vec::new(),
        batch: Vec::new(),
        reads: Vec::new(),
        rows: Rows::new(conversion),
        chain: Chain::open(),
        taken: 0,
        moved: false,
        next_received: String::new(),
        partitions: BTreeSet::new(),
        inserted: false,
    };
    slot.last_seq.store(holding(tables::last_seq), SeqCst);
    let mut busy_at = Instant::now();
    let mut retention_at: Option<Instant> = None;
    let mut looked_at: Option<Instant> = None;
    loop {
        bgworker::reload_config();
        notify(slot);
        let nobody_waits = slot.wanted.load(SeqCst) == slot.done.load(SeqCst);
        if nobody_waits
            && slot.backlog() < BLOCK_BYTES
            && looked_at.is_some_and(|t| t.elapsed() < BLOCK_EVERY)
        {
            bgworker::nap(BETWEEN_LOOKS);
            continue;
        }
        looked_at = Some(Instant::now());
        if ingest.look() {
            busy_at = Instant::now();
        } else if busy_at.elapsed() > IDLE {
            return;
        }
        if retention_at.is_none_or(|t| t.elapsed() > RETENTION_EVERY) {
            ingest.partitions.clear();
            ingest.make_partitions();
            // A restore, to which nobody adds, would miss what is dropped while it goes on.
            if ingest.inserted || slot.housekeeping.swap(false, SeqCst) {
                holding(tables::drop_expired);
            }
            retention_at = Some(Instant::now());
        }
        bgworker::nap(BETWEEN_LOOKS);
    }
}

/// Passes on what the launcher has to say. Forgotten if it fails: the records come first.
fn notify(slot: &Slot) {
    let (state, message) = match slot.to_notify.swap(0, SeqCst) {
        super::NOTIFY_TROUBLE => match super::trouble(slot) {
            Some(what) => ("trouble", what),
            None => return,
        },
        super::NOTIFY_WELL => ("well", "the audit works again".to_owned()),
        _ => return,
    };
    holding(|| tables::notify(state, &message, slot.backlog()));
}

impl Ingest<'_> {
    /// Reads every file to its end as it is now; whether there was anything new.
    fn look(&mut self) -> bool {
        let slot = self.slot;
        let ticket = slot.wanted.load(SeqCst);
        let ended = slot.ended.load(SeqCst);
        let (written, began) = (slot.written(), now());
        let news = ticket != slot.done.load(SeqCst) || ended != slot.seen_ended.load(SeqCst);

        let mut of_standbys = self.list_received();
        let own = self.list_own(&mut of_standbys);
        let unread: u64 = own
            .iter()
            .chain(&of_standbys)
            .map(|(session, segments)| self.unread(session, segments))
            .sum();
        slot.backlog.store(unread, SeqCst);
        slot.seen_written.store(written, SeqCst);

        self.moved = false;
        for (session, segments) in &own {
            self.read_session(session, segments, false);
        }
        self.commit();
        if ticket != slot.done.load(SeqCst) {
            holding(|| self.chain.look_behind_others());
            self.chain.committed();
        }
        let mut unlinked = self.unlink(&own, false);
        // Nobody waits for what others hand over, and the time that it waits is told where it comes from.
        slot.done.store(ticket, SeqCst);
        slot.caught_up(began, written);

        self.shipped_now = false;
        let all = self.read_received(&of_standbys);
        unlinked |= self.unlink(&of_standbys, true);
        if all {
            slot.backlog.store(0, SeqCst);
            slot.seen_ended.store(ended, SeqCst);
        }
        news || self.moved || unlinked
    }

    /// Every session of this server, also one that has no file any more. What is in its directory
    /// it wrote, though it may have had another number then.
    fn list_own(&self, of_standbys: &mut Files) -> Files {
        let mut files: Files = self
            .sessions
            .keys()
            .filter(|s| node::of(s) == self.own)
            .map(|s| (s.clone(), BTreeMap::new()))
            .collect();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            add_file(&mut files, &entry);
        }
        of_standbys.retain(|session, _| !files.contains_key(session));
        files
    }

    fn unread(&self, session: &str, segments: &BTreeMap<u32, u64>) -> u64 {
        let read_to = self.sessions.get(session);
        let (segment, read) = read_to.map_or((0, 0), |s| (s.segment, s.read_to));
        segments
            .range(segment..)
            .map(|(n, len)| len.saturating_sub(if *n == segment { read } else { 0 }))
            .sum()
    }

    fn read_session(&mut self, name: &str, segments: &BTreeMap<u32, u64>, foreign: bool) {
        match self.sessions.get_mut(name) {
            // A standby says when one is over, and may be mistaken.
            Some(s) if s.finished => {
                let behind = |(n, len): (&u32, &u64)| (*n, *len) > (s.segment, s.read_to);
                if !foreign || !segments.iter().any(behind) {
                    return;
                }
                (s.finished, s.dirty) = (false, true);
            }
            _ => {}
        }
        // Whether it is gone is asked before its files are read to the end.
        let gone = !foreign && self.is_gone(name, segments);
        for (&segment, &len) in segments {
            let followed = segments.range(segment + 1..).next().is_some();
            // What is not whole of another server's file is handed over again.
            let complete = !foreign && (gone || followed);
            let len = if foreign && followed {
                let path = self.received.join(spool::segment_name(name, segment));
                fs::metadata(path).map_or(len, |m| m.len())
            } else {
                len
            };
            let mut chunk = CHUNK.0;
            loop {
                let mut s = self.sessions.remove(name).unwrap_or_default();
                if segment > s.segment {
                    (s.segment, s.read_to, s.dirty) = (segment, 0, true);
                }
                let more = segment == s.segment
                    && self.read_chunk(name, &mut s, chunk, len, complete, foreign);
                chunk = (chunk * 4).min(CHUNK.1);
                self.sessions.insert(name.to_owned(), s);
                if self.batch.len() + self.reads.len() >= BATCH_ROWS || self.taken >= BATCH_BYTES {
                    self.commit();
                    pgrx::pg_sys::check_for_interrupts!();
                    if foreign && self.somebody_waits() {
                        return;
                    }
                }
                if !more {
                    break;
                }
            }
            let read = |s: &Session| s.segment > segment || s.read_to >= len;
            if foreign && !self.sessions.get(name).is_some_and(read) {
                break;
            }
        }
        if foreign {
            self.hear_out(name);
        } else if gone {
            self.finish(name);
        }
    }

    /// Nothing more comes of a session: what has not ended never will.
    fn finish(&mut self, name: &str) {
        if let Some(s) = self.sessions.get_mut(name) {
            self.batch.extend(s.give_up());
            s.finished = true;
            s.dirty = true;
        }
    }

    /// No process holds the lock of its newest segment, and none had a newer one by then.
    fn is_gone(&self, name: &str, segments: &BTreeMap<u32, u64>) -> bool {
        let Some(&last) = segments.keys().next_back() else {
            return true;
        };
        let path = |n| self.dir.join(spool::segment_name(name, n));
        match File::open(path(last)) {
            Ok(f) => f.try_lock_shared().is_ok() && !path(last + 1).exists(),
            Err(_) => false,
        }
    }

    /// Takes the records of a piece of a segment; whether there is more. `complete`: nothing will
    /// be appended to it, so what is not a whole frame at its end is a torn tail.
    fn read_chunk(
        &mut self,
        name: &str,
        s: &mut Session,
        mut want: usize,
        len: u64,
        complete: bool,
        foreign: bool,
    ) -> bool {
        let file = spool::segment_name(name, s.segment);
        let path = self.dir_of(foreign).join(&file);
        if s.read_to >= len && !complete {
            return false;
        }
        let buf = loop {
            let buf = match File::open(&path).and_then(|f| spool::read_at(&f, s.read_to, want)) {
                Ok(buf) => buf,
                Err(e) => error!("could not read audit spool file \"{file}\": {e}"),
            };
            match record::first_frame(&buf) {
                Frame::Partial(n) if n > want && buf.len() == want => want = n,
                _ => break buf,
            }
        };
        let mut rest = buf.as_slice();
        let (mut endless, mut unknown) = (0_u32, 0_u32);
        let mut decoder = Decoder::default();
        while let Frame::Whole(payload, n) = record::first_frame(rest) {
            match decoder.decode(payload) {
                Some(record) => endless += u32::from(!self.take(s, record, foreign)),
                None => unknown += 1,
            }
            rest = rest.get(n..).unwrap_or_default();
        }
        if endless > 0 {
            warning!("audit spool file \"{file}\" has an end without its start (times: {endless})");
        }
        if unknown > 0 {
            warning!(
                "audit spool file \"{file}\" has a record of an unknown format (times: {unknown})"
            );
        }
        let used = buf.len() - rest.len();
        if used > 0 {
            s.read_to += used as u64;
            s.dirty = true;
            self.taken += used as u64;
            self.moved = true;
            // A record that goes on behind it is to be had; zeros are not.
            return complete || matches!(record::first_frame(rest), Frame::Partial(_));
        }
        if complete && !rest.is_empty() {
            let end = fs::metadata(&path).map_or(len, |m| m.len());
            // A segment ends in zeros that no record came to overwrite.
            if rest.iter().any(|b| *b != 0) {
                warning!(
                    "cut {} bytes after the last whole record of audit spool file \"{file}\"",
                    end.saturating_sub(s.read_to)
                );
            }
            s.read_to = end;
            s.dirty = true;
        }
        false
    }

    fn dir_of(&self, foreign: bool) -> &std::path::Path {
        if foreign { &self.received } else { &self.dir }
    }

    /// False when it is an end without a start.
    fn take(&mut self, s: &mut Session, record: Record, foreign: bool) -> bool {
        match record {
            Record::Start(start) => {
                // A session has one statement at a time: the end of an earlier one is lost, since
                // it could not be written.
                if start.nesting_level == 0 {
                    self.batch.extend(s.give_up());
                }
                if foreign && !s.has_room_for(&start) {
                    self.batch.push((start, None));
                } else {
                    s.begin(start);
                }
            }
            Record::End(mut end) => {
                let Some(mut start) = s.end(&end.event_id) else {
                    return false;
                };
                start.amend(&mut end);
                self.batch.push((start, Some(end)));
            }
            Record::Whole(mut start, mut end) => {
                start.amend(&mut end);
                self.batch.push((start, Some(end)));
            }
            Record::Read(start) => self.reads.push(*start),
        }
        true
    }

    /// The segments of a session that are in the table.
    fn superfluous(&self, name: &str, segments: &BTreeMap<u32, u64>) -> Vec<u32> {
        let s = self.sessions.get(name);
        let done = |n: &u32| s.is_some_and(|s| s.finished || *n < s.segment);
        segments.keys().copied().filter(done).collect()
    }

    /// Tells the journal what is about to be unlinked of this server's own; false when it cannot be
    /// told now.
    fn may_unlink(&self, files: &Files) -> bool {
        let superfluous: Vec<(&str, u32)> = files
            .iter()
            .flat_map(|(name, segments)| {
                let segments = self.superfluous(name, segments).into_iter();
                segments.map(|segment| (name.as_str(), segment))
            })
            .collect();
        journal::removed(self.slot.database(), &superfluous, &self.root).is_ok()
    }

    /// Unlinks what is in the table; whether there was any.
    fn unlink(&mut self, files: &Files, foreign: bool) -> bool {
        let mut unlinked = false;
        let dir = self.dir_of(foreign).to_owned();
        if !foreign && !self.may_unlink(files) {
            return false;
        }
        for (name, segments) in files {
            // Whoever hands it over again goes on where the table is.
            let left = foreign && !segments.is_empty() && !self.is_shipped(node::of(name));
            let superfluous = if left {
                segments.keys().copied().collect()
            } else {
                self.superfluous(name, segments)
            };
            let s = self.sessions.get(name);
            for segment in superfluous {
                let path = dir.join(spool::segment_name(name, segment));
                if let Err(e) = received::remove(&path) {
                    error!(
                        "could not remove audit spool file \"{}\": {e}",
                        path.display()
                    );
                }
                unlinked = true;
            }
            if self.words.contains_key(name) && s.is_none_or(|s| s.finished) {
                if let Err(e) = received::remove_words(&dir, name) {
                    error!("could not remove audit spool files of \"{name}\": {e}");
                }
                unlinked = true;
            }
        }
        let words = &self.words;
        let over = |name: &String, s: &Session| {
            let over = !foreign || words.get(name).is_some_and(|w| w.forget);
            s.finished && over && files.contains_key(name)
        };
        // Also where an earlier worker unlinked the files: its sync may have failed.
        let forgets = self.sessions.iter().any(|(name, s)| over(name, s));
        if (unlinked || forgets)
            && let Err(e) = File::open(&dir).and_then(|d| d.sync_all())
            && (unlinked || e.kind() != io::ErrorKind::NotFound)
        {
            error!("could not sync directory \"{}\": {e}", dir.display());
        }
        let finished = self.sessions.extract_if(.., |name, s| over(name, s));
        self.gone.extend(finished.map(|(name, _)| name));
        unlinked || !self.gone.is_empty()
    }
}
