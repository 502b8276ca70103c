//! Spool files of other servers: what a standby hands over lies beside the files of this server's
//! own sessions until the worker has read it, under the name that it has on the standby.
//!
//! They are no more than a copy. The standby keeps its own file until `audit_progress`, which it
//! replicates, says that the file has been read; so nothing here needs to be synced, and what a
//! crash leaves of it is either right up to some point or asked for again. What a standby has to
//! say about a session beyond its bytes is kept in two more files.

use super::{node, spool};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Nothing follows the position that is in it.
const ENDED: &str = "ended";
/// The standby has no file of the session any more: its progress need not be remembered.
const FORGET: &str = "forget";

/// How far a session's files go, or are read.
pub type Position = (u32, u64);

/// What a standby said about a session.
#[derive(Default, Clone, Copy)]
pub struct Word {
    pub ended: Option<Position>,
    pub forget: bool,
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
        match fs::remove_file(path(dir, session, word)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Removes what other servers handed over: a standby is not the one that reads it. Those who
/// wrote it still have it, or have seen it in the log.
pub fn clear(root: &Path, own: &str) {
    for dir in fs::read_dir(root).into_iter().flatten().flatten() {
        for file in fs::read_dir(dir.path()).into_iter().flatten().flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let session = spool::parse_name(name).map(|(session, _)| session);
            let session = session.or_else(|| name.split('.').next());
            if session.is_some_and(|s| node::is_session(s) && node::of(s) != own) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}
