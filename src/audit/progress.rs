//! How far the worker has read a session, and what of it has not ended.

use policy::record::{End, Start};
use std::collections::BTreeMap;

/// Statements that one session of another server has begun and not ended, and their bytes.
const MOST_PENDING: usize = 1_000;
const MOST_PENDING_BYTES: usize = 64 << 20;

/// How far the files of a session are read.
#[derive(Default)]
pub struct Session {
    pub segment: u32,
    pub read_to: u64,
    /// Starts whose ends have not come, and about what they take.
    pending: BTreeMap<[u8; 16], Box<Start>>,
    pending_bytes: usize,
    /// Its process is gone and everything it wrote is in the table.
    pub finished: bool,
    /// Differs from what the table says.
    pub dirty: bool,
}

impl Session {
    pub fn new(segment: u32, read_to: u64, finished: bool) -> Self {
        Self {
            segment,
            read_to,
            finished,
            ..Self::default()
        }
    }

    pub fn is_open(&self) -> bool {
        !self.pending.is_empty()
    }

    pub fn pending(&self) -> impl Iterator<Item = &Start> {
        self.pending.values().map(|s| &**s)
    }

    pub fn begin(&mut self, start: Box<Start>) {
        self.pending_bytes += weight(&start);
        self.pending.insert(start.event_id, start);
    }

    pub fn end(&mut self, event: &[u8; 16]) -> Option<Box<Start>> {
        let start = self.pending.remove(event)?;
        self.pending_bytes = self.pending_bytes.saturating_sub(weight(&start));
        Some(start)
    }

    /// All of them, without an end.
    pub fn give_up(&mut self) -> impl Iterator<Item = (Box<Start>, Option<Box<End>>)> + use<> {
        self.pending_bytes = 0;
        let pending = std::mem::take(&mut self.pending);
        pending.into_values().map(|start| (start, None))
    }

    /// Another server's may not begin any number of statements without ending them.
    pub fn has_room_for(&self, start: &Start) -> bool {
        self.pending.len() < MOST_PENDING
            && self.pending_bytes + weight(start) <= MOST_PENDING_BYTES
    }
}

/// About what a start takes.
fn weight(s: &Start) -> usize {
    let o = &s.objects;
    let lists = [&o.relations, &o.masked_columns, &o.functions];
    let names = lists.into_iter().flatten().map(|n| n.len() + 24);
    512 + s.statement.as_ref().map_or(0, |t| t.len()) + names.sum::<usize>()
}
