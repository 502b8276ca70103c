//! Which server this is: a number that spool files and records carry.
//!
//! A standby has the same tables as its primary, so how far a session's files have been read is
//! known there, too; that the sessions of one server are not taken for those of another is what
//! the number is for. It lies beside the spool files, which neither base backups nor `pg_rewind`
//! take along: a copy of a server is another server.

use super::spool;
use crate::pg::shmem;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;

/// Digits of a node's name.
const DIGITS: usize = 16;

/// The number of the server with this data directory, made when there is none; and a number that is
/// drawn anew each time: two servers with one number are a copy and its original.
///
/// # Errors
/// When its file cannot be read or made durable.
pub fn read_or_make(data_dir: &str) -> io::Result<(u64, u64)> {
    Ok((number(data_dir)?, random()? >> 1))
}

fn random() -> io::Result<u64> {
    let mut number = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut number)?;
    Ok(u64::from_be_bytes(number))
}

fn number(data_dir: &str) -> io::Result<u64> {
    let dir = spool::root(data_dir);
    let file = dir.join("node");
    match fs::read_to_string(&file) {
        Ok(text) => {
            return parse(text.trim_end()).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("\"{}\" has no number in it", file.display()),
                )
            });
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    spool::create_dirs(&dir)?;
    let number = random()?.max(1);
    write_durably(&file, &name(number))?;
    Ok(number)
}

fn write_durably(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut f = File::create(&new)?;
    f.write_all(text.as_bytes())?;
    f.sync_all()?;
    fs::rename(&new, file)?;
    match file.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

pub fn name(number: u64) -> String {
    format!("{number:0DIGITS$x}")
}

/// The number of a node's name; it has one spelling.
pub fn parse(text: &str) -> Option<u64> {
    let number = u64::from_str_radix(text, 16).ok()?;
    (number != 0 && name(number) == text).then_some(number)
}

/// The name of this server; `None` when it has no number.
pub fn own() -> Option<String> {
    let number = shmem::shared()?.node.load(SeqCst);
    (number != 0).then(|| name(number))
}

/// What this server drew when it started.
pub fn start() -> i64 {
    let start = shmem::shared().map_or(0, |s| s.start.load(SeqCst));
    i64::try_from(start).unwrap_or(0)
}

/// The name of a session, in its files and in `audit_progress`.
pub fn session(node: &str, started_at: i64, pid: i32) -> String {
    format!("{node}-{started_at:020}-{pid}")
}

/// The node of a session.
pub fn of(session: &str) -> &str {
    session.split('-').next().unwrap_or(session)
}

/// When a session of this name began, in PostgreSQL's epoch.
pub fn began(session: &str) -> Option<i64> {
    session.split('-').nth(1)?.parse().ok()
}

/// Is it the name of a session, spelled as [`session`] does?
pub fn is_session(name: &str) -> bool {
    let mut parts = name.split('-');
    let (Some(node), Some(start), Some(pid), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let (Ok(start), Ok(pid)) = (start.parse(), pid.parse()) else {
        return false;
    };
    parse(node).is_some() && start >= 0 && pid > 0 && session(node, start, pid) == name
}

/// What stands for a session in the log: as in the server's log (`%c`), and the server.
pub fn session_id(id: &str, node: &str) -> String {
    format!("{id}@{node}")
}
