//! The spool files of a standby: what is in them, and which the table lets go.

use super::super::journal;
use super::super::received::Position;
use super::{Shipper, node, spool};
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;

impl Shipper<'_> {
    /// Looks at the files and removes those that the table has; whether there were any.
    pub(super) fn list(&mut self, seen: &BTreeMap<String, (Position, bool)>) -> io::Result<bool> {
        let mut files: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(entries) => {
                for entry in entries {
                    let name = entry?.file_name();
                    let Some((session, segment)) = name.to_str().and_then(spool::parse_name) else {
                        continue;
                    };
                    if node::of(session) == self.own {
                        files.entry(session.to_owned()).or_default().insert(segment);
                    }
                }
            }
        }
        let mut over: Vec<(String, u32)> = Vec::new();
        for (session, segments) in &files {
            let segments = match seen.get(session) {
                Some((reached, finished)) => self.over(session, segments, *reached, *finished)?,
                None if self.is_empty(session) => segments.clone(),
                None => continue,
            };
            over.extend(segments.into_iter().map(|n| (session.clone(), n)));
        }
        let removed = !over.is_empty() && self.may_remove(&over);
        if removed {
            for (session, segment) in &over {
                fs::remove_file(self.dir.join(spool::segment_name(session, *segment)))?;
                if let Some(segments) = files.get_mut(session) {
                    segments.remove(segment);
                }
            }
        }
        files.retain(|_, segments| !segments.is_empty());
        // Only what is durably gone is forgotten; the sync of whoever removed it may have failed.
        let known = |s: &String| files.contains_key(s) || self.forgotten.contains_key(s);
        let news = removed || seen.keys().any(|s| !known(s));
        if news {
            spool::sync_names(&self.dir)?;
        }
        self.forgotten
            .retain(|s, _| seen.contains_key(s) && !files.contains_key(s));
        self.strange = None;
        for (session, (_, finished)) in seen.iter().filter(|(s, _)| !files.contains_key(*s)) {
            // What began here while this server runs has its files until it is finished.
            if !finished && node::began(session).is_some_and(|t| t > self.started_at) {
                self.strange = Some(session.clone());
            } else {
                self.forgotten.entry(session.clone()).or_default();
            }
        }
        self.sessions.retain(|s, _| files.contains_key(s));
        for (name, segments) in files {
            self.scan(&name, &segments, seen.get(&name).map(|(p, _)| *p))?;
        }
        Ok(removed)
    }

    /// Tells the journal; false when it cannot be told now.
    fn may_remove(&self, files: &[(String, u32)]) -> bool {
        let files: Vec<(&str, u32)> = files.iter().map(|(s, n)| (s.as_str(), *n)).collect();
        let root = self.dir.parent().unwrap_or(&self.dir);
        journal::removed(self.slot.database(), &files, root).is_ok()
    }

    /// The segments that the table has to their end; never one that a backend still writes to.
    fn over(
        &self,
        session: &str,
        segments: &BTreeSet<u32>,
        (reached, at): Position,
        finished: bool,
    ) -> io::Result<BTreeSet<u32>> {
        let newest = segments.last().copied();
        let mut over = BTreeSet::new();
        for &segment in segments {
            let file = || File::open(self.dir.join(spool::segment_name(session, segment)));
            if segment >= reached {
                let from = if segment == reached { at } else { 0 };
                if !finished || !spool::frames_at(&file()?, from, 1)?.is_empty() {
                    continue;
                }
            }
            if newest != Some(segment) || file()?.try_lock_shared().is_ok() {
                over.insert(segment);
            }
        }
        Ok(over)
    }

    /// Its process is gone, and there is no record in its files.
    fn is_empty(&self, session: &str) -> bool {
        let known = self.sessions.get(session);
        known.is_some_and(|s| s.gone && s.ends.values().all(|end| *end == 0))
    }

    fn scan(
        &mut self,
        name: &str,
        segments: &BTreeSet<u32>,
        seen: Option<Position>,
    ) -> io::Result<()> {
        let s = self.sessions.entry(name.to_owned()).or_default();
        if s.seen != seen {
            s.seen = seen;
            s.advanced = None;
        }
        s.given = s.given.max(seen);
        s.ends.retain(|n, _| segments.contains(n));
        if s.gone {
            return Ok(());
        }
        // Asked before its files are read to the end.
        let path = |n| self.dir.join(spool::segment_name(name, n));
        let last = segments.last().copied().unwrap_or(0);
        let gone = File::open(path(last))?.try_lock_shared().is_ok() && !path(last + 1).exists();
        for &segment in segments.range(s.ends.keys().next_back().copied().unwrap_or(0)..) {
            let end = s.ends.entry(segment).or_insert(match seen {
                Some((reached, at)) if reached == segment => at,
                _ => 0,
            });
            let file = File::open(path(segment))?;
            loop {
                let frames = spool::frames_at(&file, *end, 1 << 20)?;
                if frames.is_empty() {
                    break;
                }
                *end += frames.len() as u64;
                pg_sys::check_for_interrupts!();
            }
        }
        s.gone = gone;
        Ok(())
    }
}
