//! The thread of a session that syncs its spool files, and the journal while many wait for it.

use super::super::journal::{self, Writer};
use super::{AuditError, GRACE, LOOK, PATIENCE, Segment};
use crate::pg::group::Group;
use crate::pg::thread;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub enum Dirty {
    File(Arc<File>),
    Directory(File),
}

#[derive(Default)]
pub struct State {
    /// Positions, in bytes since the session began.
    pub written: u64,
    pub wanted: u64,
    pub synced: u64,
    /// What nobody else makes durable.
    pub dirty: Vec<Dirty>,
    /// The thread is to sync the journal.
    pub lead: Option<&'static Group>,
    /// errno of a failed write or sync. What the kernel did with the dirty pages is unknown, so
    /// the descriptor is given up: a second sync would succeed without having written them.
    pub failed: Option<i32>,
    started: bool,
    /// The thread is in a sync.
    busy: bool,
    /// It is at the journal.
    leads: bool,
    /// The backend waits for progress.
    awaited: bool,
}

impl State {
    /// Takes up a segment, and the directory its name is in.
    pub fn dirty(
        &mut self,
        segment: &mut Segment,
        dir: impl FnOnce() -> PathBuf,
    ) -> io::Result<()> {
        let file = &segment.file;
        let known = |d: &Dirty| matches!(d, Dirty::File(f) if Arc::ptr_eq(f, file));
        if !self.dirty.iter().any(known) {
            self.dirty.push(Dirty::File(file.clone()));
        }
        if !segment.named {
            self.dirty.push(Dirty::Directory(File::open(dir())?));
            segment.named = true;
        }
        Ok(())
    }
}

/// What the backend and its sync thread share. The thread only syncs files, and writes the journal.
pub struct Sync {
    root: PathBuf,
    state: Mutex<State>,
    work: Condvar,
    progress: Condvar,
    /// The thread is needed for the session's own files, or the backend ends.
    pub elsewhere: AtomicBool,
    ending: AtomicBool,
}

impl Sync {
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            state: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            elsewhere: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(SeqCst)
    }

    /// Is the thread in a sync that does not end?
    pub fn is_stuck(&self) -> bool {
        let s = self.lock();
        s.busy || s.leads && journal::serving().is_none()
    }

    /// Is the thread about to sync the journal, or at it?
    pub fn is_asked(&self) -> bool {
        let s = self.lock();
        s.lead.is_some() || s.leads
    }

    /// Has the thread do what the state says.
    pub fn start(self: &Arc<Self>, mut s: MutexGuard<'_, State>) -> io::Result<()> {
        if !s.started {
            let this = self.clone();
            thread::spawn_without_signals("audit sync", move || this.run())?;
            s.started = true;
        }
        drop(s);
        self.work.notify_one();
        Ok(())
    }

    fn run(&self) {
        thread::give_way();
        let mut journal = Writer::default();
        let mut s = self.lock();
        loop {
            let own = s.wanted > s.synced && s.failed.is_none();
            if own {
                let (dirty, target) = (std::mem::take(&mut s.dirty), s.written);
                s.busy = true;
                self.elsewhere.store(self.is_ending(), SeqCst);
                drop(s);
                let result = dirty.iter().try_for_each(|d| match d {
                    Dirty::File(f) => f.sync_data(),
                    Dirty::Directory(d) => d.sync_all(),
                });
                drop(dirty);
                s = self.lock();
                s.busy = false;
                match result {
                    Ok(()) => s.synced = s.synced.max(target),
                    Err(e) => {
                        journal::doubt();
                        s.failed = Some(e.raw_os_error().unwrap_or(0));
                    }
                }
                self.tell(&s);
            } else if let Some(group) = s.lead.take() {
                s.leads = true;
                drop(s);
                journal.lead(group, &self.root, &self.elsewhere);
                s = self.lock();
                s.leads = false;
                self.tell(&s);
            } else {
                s = self.work.wait(s).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Wakes the backend, if it waits: with the lock held it would soon wait for that.
    fn tell(&self, s: &State) {
        if s.awaited {
            self.progress.notify_all();
        }
    }

    /// Until the thread has done something, or for a while.
    fn wait_a_while<'a>(&self, mut s: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        s.awaited = true;
        let mut s = self
            .progress
            .wait_timeout(s, LOOK)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        s.awaited = false;
        s
    }

    /// Waits for the session's own sync.
    pub fn wait(&self, patience: &mut Patience<impl Fn() -> bool>) -> Result<(), AuditError> {
        let mut s = self.lock();
        while s.synced < s.wanted && s.failed.is_none() {
            if patience.is_over() {
                // Nothing of what waits counts as durable any more, and nobody waits for it again.
                s.failed = Some(libc::ETIMEDOUT);
                return Err(AuditError::Timeout);
            }
            s = self.wait_a_while(s);
        }
        match s.failed {
            Some(libc::ETIMEDOUT) => Err(AuditError::Timeout),
            Some(errno) => Err(AuditError::Sync(errno)),
            None => Ok(()),
        }
    }

    /// The thread leaves the journal to others, and this returns when it has; or soon.
    pub fn step_down(&self) {
        self.ending.store(true, SeqCst);
        self.elsewhere.store(true, SeqCst);
        let began = Instant::now();
        let mut s = self.lock();
        while s.leads && began.elapsed() < GRACE {
            s = self.wait_a_while(s);
        }
    }
}

/// How long somebody waits: long, and not much longer once there is an interrupt to look at.
pub struct Patience<F> {
    began: Instant,
    interrupted: F,
    interrupted_at: Option<Instant>,
}

impl<F: Fn() -> bool> Patience<F> {
    pub fn new(interrupted: F) -> Self {
        Self {
            began: Instant::now(),
            interrupted,
            interrupted_at: None,
        }
    }

    pub fn is_over(&mut self) -> bool {
        if self.interrupted_at.is_none() && (self.interrupted)() {
            self.interrupted_at = Some(Instant::now());
        }
        self.began.elapsed() > PATIENCE || self.interrupted_at.is_some_and(|t| t.elapsed() > GRACE)
    }
}
