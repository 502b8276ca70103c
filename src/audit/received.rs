//! Spool files of other servers: what a standby hands over lies in a directory of its own, beside the
//! one of this server's sessions, until the worker has read it, under the name that it has on the
//! standby.
//!
//! They are no more than a copy. The standby keeps its own file until `audit_progress`, which it
//! replicates, says that the file has been read; so nothing here needs to be synced, and what a
//! crash leaves of it is either right up to some point or asked for again. What a standby has to
//! say about a session beyond its bytes is kept in two more files.

use super::{node, now, spool};
use crate::pg::bgworker;
use pgrx::prelude::*;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SUFFIX: &str = ".received";
/// Nothing follows the position that is in it.
const ENDED: &str = "ended";
/// The standby has no file of the session any more: its progress need not be remembered.
const FORGET: &str = "forget";
/// The table does not take a record of the session; why is in it. Nothing more is taken.
const REFUSED: &str = "refused";
/// The bytes of so many refused sessions are kept.
const REFUSED_KEPT: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a session's files go, or are read.
pub type Position = (u32, u64);

/// What a standby said about a session.
#[derive(Default, Clone, Copy)]
pub struct Word {
    pub ended: Option<Position>,
    pub forget: bool,
}

/// Where the copies of a database are.
pub fn dir(root: &Path, database: u32) -> PathBuf {
    root.join(format!("{database}{SUFFIX}"))
}

/// The database whose copies a directory of this name has.
pub fn database(dir: &str) -> Option<u32> {
    dir.strip_suffix(SUFFIX)?.parse().ok()
}

/// Is it a file that the worker has something to do with?
pub fn is_work(file: &str) -> bool {
    let word = file.rsplit_once('.').map(|(_, word)| word);
    matches!(word, Some(spool::SUFFIX | ENDED | FORGET))
}

fn path(dir: &Path, session: &str, word: &str) -> PathBuf {
    dir.join(format!("{session}.{word}"))
}

/// The session that a file of this name is a word on, and the word.
pub fn word(dir: &Path, file: &str) -> Option<(String, Word)> {
    let (session, word) = file.rsplit_once('.')?;
    let mut said = Word::default();
    match word {
        FORGET => said.forget = true,
        ENDED => {
            // What a crash left of it is no word; the standby says it again.
            let text = fs::read_to_string(dir.join(file)).ok()?;
            let (segment, at) = text.strip_suffix('\n')?.split_once(' ')?;
            said.ended = Some((segment.parse().ok()?, at.parse().ok()?));
        }
        _ => return None,
    }
    node::is_session(session).then(|| (session.to_owned(), said))
}

/// Notes that nothing follows a position.
pub fn note_end(dir: &Path, session: &str, (segment, at): Position) -> io::Result<()> {
    let new = path(dir, session, "ended.new");
    fs::write(&new, format!("{segment} {at}\n"))?;
    fs::rename(new, path(dir, session, ENDED))
}

/// Notes that the standby has no file of the session.
pub fn note_forget(dir: &Path, session: &str) -> io::Result<()> {
    fs::write(path(dir, session, FORGET), "")
}

/// Removes what was noted of a session.
pub fn remove_words(dir: &Path, session: &str) -> io::Result<()> {
    for word in [ENDED, FORGET] {
        remove(&path(dir, session, word))?;
    }
    Ok(())
}

/// It may be gone already.
pub fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The session that a file of this name says is refused.
pub fn refused_session(file: &str) -> Option<&str> {
    let (session, word) = file.rsplit_once('.')?;
    (word == REFUSED && node::is_session(session)).then_some(session)
}

/// Whether the table does not take what is in a session's files.
pub fn is_refused(dir: &Path, session: &str) -> bool {
    path(dir, session, REFUSED).exists()
}

/// Takes a session's files out of the worker's way, and nothing more of it until somebody removes
/// what says so. The standby has it all.
pub fn refuse(dir: &Path, session: &str, why: &str, refused: usize) -> io::Result<()> {
    fs::write(
        path(dir, session, REFUSED),
        format!("{} {why}\n", now() / 1_000_000),
    )?;
    for entry in fs::read_dir(dir)? {
        let file = entry?.path();
        let name = file.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if spool::parse_name(name).is_some_and(|(s, _)| s == session) {
            if refused < REFUSED_KEPT {
                fs::rename(&file, dir.join(format!("{name}.{REFUSED}")))?;
            } else {
                remove(&file)?;
            }
        }
    }
    Ok(())
}

/// One at a time writes here: what waits is counted before more is taken.
pub fn lock(dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("lock"))?;
    let began = Instant::now();
    while file.try_lock().is_err() {
        if began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        bgworker::nap(Duration::from_millis(10));
    }
    Ok(file)
}

/// Removes what other servers handed over: a standby is not the one that reads it. Those who
/// wrote it still have it, or have seen it in the log.
pub fn clear(root: &Path) {
    for dir in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = dir.file_name();
        if name.to_str().and_then(database).is_some() {
            discard(&dir.path(), "this server is a standby");
        }
    }
}

/// Removes the copies in a directory, and says so.
pub fn discard(dir: &Path, why: &str) {
    let (mut files, mut bytes) = (0, 0);
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = file.file_name();
        let len = file.metadata().map_or(0, |m| m.len());
        match fs::remove_file(file.path()) {
            Ok(()) if name.to_str().is_some_and(is_work) => {
                files += 1;
                bytes += len;
            }
            Ok(()) => {}
            Err(e) => warning!("could not remove \"{}\": {e}", file.path().display()),
        }
    }
    if files > 0 {
        log!(
            "removed {files} files, {bytes} bytes, of audit records that standbys handed over, from \"{}\": {why}; the standbys have what is not in the log",
            dir.display()
        );
    }
    if let Err(e) = fs::remove_dir(dir)
        && e.kind() != io::ErrorKind::NotFound
    {
        warning!("could not remove \"{}\": {e}", dir.display());
    }
}
