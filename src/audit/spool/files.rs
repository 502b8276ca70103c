//! Reading spool files, and where they are.

use policy::record::{self, Frame};
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

/// The whole records that begin at a position of a file: about so many bytes of them, one at least;
/// none when there is not a whole one.
pub fn frames_at(file: &File, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut want = bytes.max(record::FRAME_HEADER);
    let mut buf = loop {
        let buf = read_at(file, at, want)?;
        match record::first_frame(&buf) {
            Frame::Partial(n) if n > want && buf.len() == want => want = n,
            _ => break buf,
        }
    };
    let mut rest = buf.as_slice();
    while let Frame::Whole(_, n) = record::first_frame(rest) {
        rest = rest.get(n..).unwrap_or_default();
    }
    let used = buf.len() - rest.len();
    buf.truncate(used);
    Ok(buf)
}

pub fn read_at(f: &File, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; most];
    let mut len = 0;
    while let Some(room) = buf.get_mut(len..).filter(|r| !r.is_empty()) {
        match f.read_at(room, at + len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buf.truncate(len);
    Ok(buf)
}

/// Makes the names in a directory durable; one that is gone has none.
pub fn sync_names(dir: &Path) -> io::Result<()> {
    match File::open(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        dir => dir?.sync_all(),
    }
}

pub fn create_dirs(dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else {
        return Ok(());
    };
    if !parent.exists() {
        create_dirs(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}
