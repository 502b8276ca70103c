//! A commit of the worker: the rows of its batch, their blocks, and how far the files are read.

use super::super::canonical::SALTS;
use super::super::chain;
use super::super::row::{COLUMNS, day, started_at};
use super::{Ingest, holding, now, tables};
use crate::pg::copy_in::copy_binary;
use crate::pg::rows;
use evidence::block::{Block, Kind};
use evidence::merkle::Tree;
use pgrx::prelude::*;
use policy::record::Start;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::SeqCst;

impl Ingest<'_> {
    /// Inserts the rows and remembers how far the files are read, in one transaction.
    pub(super) fn commit(&mut self) {
        let dirty = self.sessions.values().any(|s| s.dirty);
        if self.batch.is_empty() && self.reads.is_empty() && !dirty && self.gone.is_empty() {
            return;
        }
        self.make_partitions();
        let count = self.batch.len() as i64;
        // As they began, whichever session they are of. A block has rows of one day, so that it is kept or
        // dropped as a whole.
        self.batch.sort_by_key(|(start, _)| started_at(start));
        let mut salts = vec![0; self.batch.len() * SALTS];
        if !rows::random(&mut salts) {
            error!("no random numbers for the audit log");
        }
        let last = holding(|| {
            // Reads of the log alone begin no chain: it would be in the way of the one that a restore copies.
            if count == 0 && !self.reads.is_empty() && self.chain.awaits_key() {
                self.reads.clear();
            }
            if count == 0 && self.reads.is_empty() {
                self.save_progress();
                return None;
            }
            let before = self.chain.begin(count);
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
        self.inserted |= count > 0;
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

    /// Makes the partitions of today, of tomorrow and of the batch, in a transaction of their own: to
    /// whoever sees a row, word of its partition has gone out before. (A transaction is seen before the
    /// sessions that have the table open are told what it changed: `CommitTransaction` in xact.c.)
    pub(super) fn make_partitions(&mut self) {
        let today = now() / 86_400_000_000;
        let days: BTreeSet<i64> = [today, today + 1]
            .into_iter()
            .chain(self.batch.iter().map(|(start, _)| day(start)))
            .filter(|d| !self.partitions.contains(d))
            .collect();
        if !days.is_empty() {
            holding(|| tables::ensure_partitions(&days));
            holding(tables::announce_partitions);
            self.partitions.extend(days);
        }
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
