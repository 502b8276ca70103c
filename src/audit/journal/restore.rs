//! Spool files and the journal, on the disk: what is put back, and what is synced.

use super::super::spool;
use super::path;
use crate::pg::group::REGION;
use policy::journal::{What, entries};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Syncs every spool file, and the names of all.
pub fn sync_spools(root: &Path) -> io::Result<()> {
    for (_, dir) in databases(root)? {
        sync_all(&dir)?;
    }
    Ok(())
}

/// Syncs the files in a directory, and their names.
pub fn sync_all(dir: &Path) -> io::Result<()> {
    let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let names = match fs::read_dir(dir) {
        Err(e) if gone(&e) => return Ok(()),
        names => names?,
    };
    for entry in names {
        // The worker removes what it has read meanwhile.
        match File::open(entry?.path()).and_then(|file| file.sync_data()) {
            Err(e) if !gone(&e) => return Err(e),
            _ => {}
        }
    }
    spool::sync_names(dir)
}

fn databases(root: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(database) = name.to_str().and_then(|name| name.parse().ok()) {
            found.push((database, entry.path()));
        }
    }
    Ok(found)
}

/// What a file has where.
type Pieces<'a> = Vec<(u64, &'a [u8])>;

/// Writes into the spool files what the journal says they have, whatever they seem to have (a sync of
/// theirs may have failed, and what the system kept of it is not known), and syncs them. After a start
/// also those that are not there. The number of entries that were missing.
pub fn restore(root: &Path, create: bool) -> io::Result<usize> {
    let journal = match fs::read(path(root)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        journal => journal?,
    };
    let entries = entries(&journal, REGION);
    let removed: BTreeSet<(u32, &str, u32)> = entries
        .iter()
        .filter(|e| e.what == What::Removed)
        .map(|e| (e.database, e.session, e.segment))
        .collect();
    // Directories are durable before anything is appended; one that is gone is of a dropped database.
    let there: BTreeMap<u32, PathBuf> = databases(root)?.into_iter().collect();
    let mut files: BTreeMap<(u32, &str, u32), Pieces> = BTreeMap::new();
    for e in &entries {
        let of = (e.database, e.session, e.segment);
        if let What::Appended(at, bytes) = e.what
            && !removed.contains(&of)
        {
            files.entry(of).or_default().push((at, bytes));
        }
    }
    let mut missing = 0;
    for ((database, session, segment), pieces) in files {
        let Some(dir) = there.get(&database) else {
            continue;
        };
        let name = dir.join(spool::segment_name(session, segment));
        let Some(file) = writable(&name, create)? else {
            continue;
        };
        for (at, bytes) in pieces {
            let has = spool::read_at(&file, at, bytes.len());
            missing += usize::from(has.is_ok_and(|has| has != bytes));
            file.write_all_at(bytes, at)?;
        }
        file.sync_data()?;
    }
    for dir in there.values() {
        File::open(dir)?.sync_all()?;
    }
    Ok(missing)
}

fn writable(path: &Path, create: bool) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match file {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}
