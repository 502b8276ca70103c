//! What standbys handed over: read behind this server's own records, and never in their way.

use super::super::api::raise;
use super::super::progress::Session;
use super::super::received;
use super::{Files, Ingest, add_file, holding, node, tables};
use crate::pg::bgworker;
use pgrx::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::Ordering::SeqCst;

impl Ingest<'_> {
    pub(super) fn list_received(&mut self) -> Files {
        let mut files: Files = self
            .sessions
            .keys()
            .filter(|s| node::of(s) != self.own)
            .map(|s| (s.clone(), BTreeMap::new()))
            .collect();
        self.words.clear();
        let mut refused = BTreeSet::new();
        for entry in fs::read_dir(&self.received).into_iter().flatten().flatten() {
            if add_file(&mut files, &entry) {
                continue;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            match received::refused_session(name) {
                Some(session) => {
                    refused.insert(session.to_owned());
                }
                None => self.hear(name),
            }
        }
        for session in self.words.keys() {
            files.entry(session.clone()).or_default();
        }
        // What is left of those is no work.
        for session in &refused {
            files.entry(session.clone()).and_modify(BTreeMap::clear);
        }
        let refused = u32::try_from(refused.len()).unwrap_or(u32::MAX);
        self.slot.refused.store(refused, SeqCst);
        files
    }

    /// Reads what standbys handed over; whether that was all. It stops early when somebody waits
    /// for a record of this server. A record that the table does not take costs its own session,
    /// and no other.
    pub(super) fn read_received(&mut self, files: &Files) -> bool {
        match bgworker::attempt(|| self.read_received_together(files)) {
            Ok(all) => return all,
            Err(e) if !e.is_about_data() => raise(e.code, &e.message, ""),
            Err(_) => self.start_over(),
        }
        // What fails without any record is not about records.
        let begun = bgworker::attempt(|| holding(|| self.chain.begin(0)));
        if let Err(e) = begun {
            raise(e.code, &e.message, "");
        }
        for (session, segments) in files {
            let read = bgworker::attempt(|| {
                self.read_session(session, segments, true);
                self.commit();
            });
            match read {
                Ok(()) => {}
                Err(e) if !e.is_about_data() => raise(e.code, &e.message, ""),
                Err(e) => {
                    self.start_over();
                    self.refuse(session, &e.message);
                }
            }
        }
        false
    }

    fn read_received_together(&mut self, files: &Files) -> bool {
        let from = std::mem::take(&mut self.next_received);
        let behind = files.range(from.clone()..);
        for (session, segments) in behind.chain(files.range(..from)) {
            self.read_session(session, segments, true);
            if self.somebody_waits() {
                self.commit();
                self.next_received.clone_from(session);
                self.next_received.push('\0');
                return false;
            }
        }
        self.commit();
        true
    }

    /// For a record of this server.
    pub(super) fn somebody_waits(&self) -> bool {
        self.slot.wanted.load(SeqCst) != self.slot.done.load(SeqCst)
    }

    /// As of the last commit.
    fn start_over(&mut self) {
        self.batch.clear();
        self.reads.clear();
        self.rows.clear();
        self.taken = 0;
        // One that somebody has dropped, perhaps.
        self.partitions.clear();
        self.sessions = holding(tables::load_progress);
        let gone = &self.gone;
        self.sessions.retain(|s, _| !gone.contains(s));
    }

    fn refuse(&mut self, session: &str, why: &str) {
        let slot = self.slot;
        let before = slot.refused.fetch_add(1, SeqCst);
        slot.set_error(why);
        if let Err(e) = received::refuse(&self.received, session, why, before as usize) {
            error!("could not set audit records of a standby aside: {e}");
        }
        warning!(
            "audit records of session \"{session}\" of a standby are refused, see \"{}\": {why}",
            self.received.display()
        );
    }

    fn hear(&mut self, file: &str) {
        if let Some((session, said)) = received::word(&self.received, file)
            && node::of(&session) != self.own
        {
            let word = self.words.entry(session).or_default();
            word.ended = word.ended.or(said.ended);
            word.forget |= said.forget;
        }
    }

    /// Is the session of another server over, or does nobody hand over what is missing of it?
    pub(super) fn hear_out(&mut self, name: &str) {
        let word = self.words.get(name).copied().unwrap_or_default();
        let open = self.sessions.get(name).is_some_and(Session::is_open);
        let lost = open && !self.is_shipped(node::of(name));
        // Nothing is begun for the sake of a word.
        let Some(s) = self.sessions.get_mut(name) else {
            return;
        };
        if word.forget || word.ended.is_some_and(|end| (s.segment, s.read_to) >= end) {
            self.finish(name);
        } else if lost {
            // Should it come back, it goes on behind these.
            self.batch.extend(s.give_up());
            s.dirty = true;
        }
    }

    /// Whether somebody may hand over the records of a server.
    pub(super) fn is_shipped(&mut self, node: &str) -> bool {
        if !self.shipped_now {
            self.shipped = holding(tables::shipped_nodes);
            self.shipped_now = true;
        }
        self.shipped.contains(node)
    }
}
