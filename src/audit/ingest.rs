//! The worker of a database: from spool files into `agent_policy.audit_log`.
//!
//! How far each session's files are read, and the starts whose ends have not come, are kept in
//! `audit_progress` in the transaction that inserts the rows: a worker killed at any point goes
//! on where the last committed one stopped, and no record is inserted twice. A file is unlinked
//! after the commit that made it superfluous, and its progress forgotten after the unlink is
//! durable. An error ends the worker; the launcher starts another, which reads the table again.
//!
//! What a standby hands over ([`super::receive`]) is read in the same way. When its sessions are
//! over only it knows, and their progress is kept until it has removed its files: after a promotion
//! the one who was a standby goes on reading there itself.

use super::canonical::SALTS;
use super::chain::{self, Chain};
use super::received::{self, Word};
use super::row::{COLUMNS, Rows, day, started_at};
use super::{node, now, spool, tables};
use crate::pg::bgworker::{self, transaction};
use crate::pg::copy_in::{conversion, copy_binary};
use crate::pg::rows;
use crate::pg::shmem::{Slot, State};
use evidence::block::{Block, Kind};
use evidence::merkle::Tree;
use pgrx::prelude::*;
use policy::record::{self, End, Frame, Record, Start};
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
const BLOCK_BYTES: u64 = 256 << 10;
const CHUNK: usize = 1 << 20;
const BATCH_ROWS: usize = 5_000;
const BATCH_BYTES: u64 = 8 << 20;
/// How often it is looked whether partitions are due; those in use are tried again that often.
const RETENTION_EVERY: Duration = Duration::from_secs(60);

/// How far the files of a session are read.
#[derive(Default)]
pub struct Session {
    pub segment: u32,
    pub read_to: u64,
    /// Starts whose ends have not come.
    pub pending: BTreeMap<[u8; 16], Box<Start>>,
    /// Its process is gone and everything it wrote is in the table.
    pub finished: bool,
    /// Differs from what the table says.
    pub dirty: bool,
}

struct Ingest<'a> {
    slot: &'a Slot,
    dir: PathBuf,
    /// This server, and those whose records somebody hands over.
    own: String,
    shipped: BTreeSet<String>,
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
    partitions: BTreeSet<i64>,
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
    let Some((sessions, conversion)) = transaction(|| {
        bgworker::hold_extension();
        bgworker::extension_installed().then(|| (tables::load_progress(), conversion()))
    }) else {
        slot.failed_at.store(now(), SeqCst);
        slot.set_state(State::NoExtension);
        slot.to_notify.store(0, SeqCst);
        let dir = spool::root(&bgworker::this_backend().data_dir).join(database.to_string());
        if fs::read_dir(&dir).map_or(0, Iterator::count) == 0 {
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
        words: BTreeMap::new(),
        dir: spool::root(&bgworker::this_backend().data_dir).join(database.to_string()),
        sessions,
        gone: Vec::new(),
        batch: Vec::new(),
        reads: Vec::new(),
        rows: Rows::new(conversion),
        chain: Chain::open(),
        taken: 0,
        moved: false,
        partitions: BTreeSet::new(),
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
            ingest.make_ahead();
            holding(tables::drop_expired);
            ingest.shipped = holding(tables::shipped_nodes);
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
    /// Makes the partitions of today and tomorrow.
    fn make_ahead(&mut self) {
        let today = now() / 86_400_000_000;
        let days = BTreeSet::from([today, today + 1]);
        holding(|| tables::ensure_partitions(&days));
        self.partitions.extend(days);
    }

    /// Reads every file to its end as it is now; whether there was anything new.
    fn look(&mut self) -> bool {
        let slot = self.slot;
        let ticket = slot.wanted.load(SeqCst);
        let ended = slot.ended.load(SeqCst);
        let written = slot.written.load(SeqCst);
        let news = ticket != slot.done.load(SeqCst) || ended != slot.seen_ended.load(SeqCst);

        let mut files: BTreeMap<String, BTreeMap<u32, u64>> = self
            .sessions
            .keys()
            .map(|s| (s.clone(), BTreeMap::new()))
            .collect();
        let mut unread = 0;
        self.words.clear();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Some((session, segment)) = spool::parse_name(name) else {
                self.hear(name);
                continue;
            };
            let len = entry.metadata().map_or(0, |m| m.len());
            let read = self
                .sessions
                .get(session)
                .map_or(0, |s| match segment.cmp(&s.segment) {
                    std::cmp::Ordering::Less => len,
                    std::cmp::Ordering::Equal => s.read_to,
                    std::cmp::Ordering::Greater => 0,
                });
            unread += len.saturating_sub(read);
            files
                .entry(session.to_owned())
                .or_default()
                .insert(segment, len);
        }
        for session in self.words.keys() {
            files.entry(session.clone()).or_default();
        }
        slot.backlog.store(unread, SeqCst);
        slot.seen_written.store(written, SeqCst);

        self.moved = false;
        for (session, segments) in &files {
            self.read_session(session, segments);
        }
        self.commit();
        let unlinked = self.unlink(&files);
        slot.backlog.store(0, SeqCst);
        slot.seen_ended.store(ended, SeqCst);
        slot.done.store(ticket, SeqCst);
        slot.caught_up_at.store(now(), SeqCst);
        news || self.moved || unlinked
    }

    fn read_session(&mut self, name: &str, segments: &BTreeMap<u32, u64>) {
        if self.sessions.get(name).is_some_and(|s| s.finished) {
            return;
        }
        let foreign = node::of(name) != self.own;
        // Whether it is gone is asked before its files are read to the end.
        let gone = !foreign && self.is_gone(name, segments);
        for (&segment, &len) in segments {
            let followed = segments.range(segment + 1..).next().is_some();
            // What is not whole of another server's file is handed over again.
            let complete = !foreign && (gone || followed);
            let len = if foreign && followed {
                let path = self.dir.join(spool::segment_name(name, segment));
                fs::metadata(path).map_or(len, |m| m.len())
            } else {
                len
            };
            loop {
                let mut s = self.sessions.remove(name).unwrap_or_default();
                if segment > s.segment {
                    (s.segment, s.read_to, s.dirty) = (segment, 0, true);
                }
                let more = segment == s.segment && self.read_chunk(name, &mut s, len, complete);
                self.sessions.insert(name.to_owned(), s);
                if self.batch.len() + self.reads.len() >= BATCH_ROWS || self.taken >= BATCH_BYTES {
                    self.commit();
                    pgrx::pg_sys::check_for_interrupts!();
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
            self.hear_out(name, segments.is_empty());
        } else if gone {
            self.finish(name);
        }
    }

    /// Nothing more comes of a session: what has not ended never will.
    fn finish(&mut self, name: &str) {
        if let Some(s) = self.sessions.get_mut(name) {
            self.batch.extend(
                std::mem::take(&mut s.pending)
                    .into_values()
                    .map(|start| (start, None)),
            );
            s.finished = true;
            s.dirty = true;
        }
    }

    fn hear(&mut self, file: &str) {
        if let Some((session, said)) = received::word(&self.dir, file)
            && node::of(&session) != self.own
        {
            let word = self.words.entry(session).or_default();
            word.ended = word.ended.or(said.ended);
            word.forget |= said.forget;
        }
    }

    /// Is the session of another server over, or does nobody hand over what is missing of it?
    fn hear_out(&mut self, name: &str, no_files: bool) {
        let word = self.words.get(name).copied().unwrap_or_default();
        if word.forget || word.ended.is_some() {
            self.sessions.entry(name.to_owned()).or_default();
        }
        let Some(s) = self.sessions.get_mut(name) else {
            return;
        };
        if word.forget || word.ended.is_some_and(|end| (s.segment, s.read_to) >= end) {
            self.finish(name);
        } else if no_files && !s.pending.is_empty() && !self.shipped.contains(node::of(name)) {
            // Should it come back, it goes on behind these.
            self.batch.extend(
                std::mem::take(&mut s.pending)
                    .into_values()
                    .map(|start| (start, None)),
            );
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
    fn read_chunk(&mut self, name: &str, s: &mut Session, len: u64, complete: bool) -> bool {
        let file = spool::segment_name(name, s.segment);
        let path = self.dir.join(&file);
        let mut want = CHUNK;
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
        while let Frame::Whole(payload, n) = record::first_frame(rest) {
            self.take(&file, s, payload);
            rest = rest.get(n..).unwrap_or_default();
        }
        let used = buf.len() - rest.len();
        if used > 0 {
            s.read_to += used as u64;
            s.dirty = true;
            self.taken += used as u64;
            self.moved = true;
            return true;
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

    fn take(&mut self, file: &str, s: &mut Session, payload: &[u8]) {
        match record::decode(payload) {
            Some(Record::Start(start)) => {
                // A session has one statement at a time: the end of an earlier one is lost, since
                // it could not be written.
                if start.nesting_level == 0 {
                    let lost = std::mem::take(&mut s.pending);
                    self.batch
                        .extend(lost.into_values().map(|start| (start, None)));
                }
                s.pending.insert(start.event_id, start);
            }
            Some(Record::End(mut end)) => match s.pending.remove(&end.event_id) {
                Some(mut start) => {
                    start.amend(&mut end);
                    self.batch.push((start, Some(end)));
                }
                None => warning!("audit spool file \"{file}\" has an end without its start"),
            },
            Some(Record::Whole(mut start, mut end)) => {
                start.amend(&mut end);
                self.batch.push((start, Some(end)));
            }
            Some(Record::Read(start)) => self.reads.push(*start),
            None => warning!("audit spool file \"{file}\" has a record of an unknown format"),
        }
    }

    /// Inserts the rows and remembers how far the files are read, in one transaction.
    fn commit(&mut self) {
        let today = now() / 86_400_000_000;
        let days = [today, today + 1]
            .into_iter()
            .chain(self.batch.iter().map(|(start, _)| day(start)))
            .filter(|d| !self.partitions.contains(d))
            .collect::<BTreeSet<i64>>();
        let dirty = self.sessions.values().any(|s| s.dirty);
        if self.batch.is_empty() && self.reads.is_empty() && !dirty && self.gone.is_empty() {
            return;
        }
        let count = self.batch.len() as i64;
        // A block has rows of one day, so that it is kept or dropped as a whole.
        self.batch.sort_by_key(|(start, _)| day(start));
        let mut salts = vec![0; self.batch.len() * SALTS];
        if !rows::random(&mut salts) {
            error!("no random numbers for the audit log");
        }
        let last = holding(|| {
            if count == 0 && self.reads.is_empty() {
                tables::ensure_partitions(&days);
                self.save_progress();
                return None;
            }
            let before = self.chain.begin(count);
            tables::ensure_partitions(&days);
            if count > 0 {
                let blocks = self.fill(before, &salts);
                let copied = copy_binary(c"audit_log", COLUMNS, self.rows.finish());
                if copied != count as u64 {
                    error!("inserted {copied} audit records of {count}");
                }
                for block in blocks {
                    self.chain.append(block);
                }
            }
            for block in read_blocks(&self.reads) {
                self.chain.append(block);
            }
            self.save_progress();
            Some(before + count)
        });
        self.chain.committed();
        self.partitions.extend(days);
        self.batch.clear();
        self.reads.clear();
        self.rows.clear();
        self.gone.clear();
        self.sessions.values_mut().for_each(|s| s.dirty = false);
        let slot = self.slot;
        slot.backlog
            .fetch_sub(self.taken.min(slot.backlog.load(SeqCst)), SeqCst);
        self.taken = 0;
        if let Some(last) = last {
            slot.last_seq.store(last, SeqCst);
            slot.ingested_at.store(now(), SeqCst);
        }
        slot.failures.store(0, SeqCst);
    }

    fn save_progress(&self) {
        tables::save_progress(self.sessions.iter().filter(|(_, s)| s.dirty));
        tables::forget_progress(&self.gone);
    }

    /// Makes rows of the batch, and a block of each day's rows.
    fn fill(&mut self, before: i64, salts: &[u8]) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut seq = before;
        let mut salts = salts.as_chunks::<SALTS>().0.iter();
        for rows in self.batch.chunk_by(|(a, _), (b, _)| day(a) == day(b)) {
            let mut tree = Tree::default();
            let (first_seq, mut oldest, mut newest) = (seq + 1, i64::MAX, i64::MIN);
            for ((start, end), salts) in rows.iter().zip(&mut salts) {
                seq += 1;
                tree.push(self.rows.push(seq, start, end.as_deref(), salts));
                oldest = oldest.min(started_at(start));
                newest = newest.max(started_at(start));
            }
            let of_day = rows.first().map_or(0, |(start, _)| day(start));
            let of_day = i32::try_from(of_day).unwrap_or(i32::MAX);
            blocks.push(Block {
                first_seq,
                last_seq: seq,
                oldest,
                newest,
                ..chain::block(Kind::Rows, of_day, tree.root(), None)
            });
        }
        blocks
    }

    /// Unlinks what is in the table; whether there was any.
    fn unlink(&mut self, files: &BTreeMap<String, BTreeMap<u32, u64>>) -> bool {
        let mut unlinked = false;
        for (name, segments) in files {
            let Some(s) = self.sessions.get(name) else {
                continue;
            };
            for segment in segments.keys().filter(|n| s.finished || **n < s.segment) {
                let path = self.dir.join(spool::segment_name(name, *segment));
                match fs::remove_file(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        error!(
                            "could not remove audit spool file \"{}\": {e}",
                            path.display()
                        );
                    }
                    _ => unlinked = true,
                }
            }
            if self.words.contains_key(name) && s.finished {
                if let Err(e) = received::remove_words(&self.dir, name) {
                    error!("could not remove audit spool files of \"{name}\": {e}");
                }
                unlinked = true;
            }
        }
        if unlinked && let Err(e) = File::open(&self.dir).and_then(|d| d.sync_all()) {
            error!("could not sync directory \"{}\": {e}", self.dir.display());
        }
        let (own, words) = (&self.own, &self.words);
        let finished = self
            .sessions
            .extract_if(.., |name, s| {
                let over = node::of(name) == own || words.get(name).is_some_and(|w| w.forget);
                s.finished && over
            })
            .map(|(name, _)| name);
        self.gone.extend(finished);
        unlinked || !self.gone.is_empty()
    }
}

/// A block for each day on which the log was read; its note is a list of the readers.
fn read_blocks(reads: &[Start]) -> Vec<Block> {
    let mut days: BTreeMap<i64, Vec<serde_json::Value>> = BTreeMap::new();
    for s in reads {
        days.entry(day(s)).or_default().push(serde_json::json!({
            "read_at": started_at(s),
            "role_name": s.origin.role_name,
            "session_user_name": s.origin.session_user_name,
            "application_name": s.origin.application_name,
            "client_addr": s.origin.client_addr.map(|a| a.to_string()),
            "backend_pid": s.origin.backend_pid,
            "session_id": s.origin.session_id,
            "relations": s.objects.relations,
            "statement": s.statement.as_deref(),
        }));
    }
    let block = |(day, list)| {
        let note = chain::ascii(&serde_json::Value::Array(list));
        let root = evidence::block::note_root(&note);
        let day = i32::try_from(day).unwrap_or(i32::MAX);
        chain::block(Kind::Reads, day, root, Some(note))
    };
    days.into_iter().map(block).collect()
}
