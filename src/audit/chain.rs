//! The chain of blocks: where it ends, and what is appended to it.
//!
//! Whoever appends holds the row of `audit_state`: the worker, which does so in the transaction that
//! inserts the rows, and the functions that drop days and erase persons. A row is therefore covered
//! by a signed block as soon as anybody can see it.
//!
//! What the chain ended in is known in three places: the newest block in the table, the worker's
//! memory, and a file beside the key, written after each commit. Where the table has lost or changed
//! blocks that the others know of, the chain goes on behind *those*, so that the loss stays visible.

use super::api::raise;
use super::tables;
use super::{now, session, settings, spool};
use crate::pg::rows::{self, Cursor};
use crate::pg::{bgworker, facts, shmem};
use evidence::block::{self, Block, Kind};
use evidence::head::{self, Head};
use evidence::key::{Keys, PrivateKey};
use pgrx::prelude::*;
use pgrx::{PgXactCallbackEvent, register_xact_callback};
use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The file that holds the newest head is written in one piece of this length.
const HEAD_FILE: usize = 512;

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    number: i64,
    last_seq: i64,
    hash: evidence::Hash,
}

impl From<&Head> for End {
    fn from(h: &Head) -> Self {
        Self {
            number: h.number,
            last_seq: h.last_seq,
            hash: h.hash,
        }
    }
}

pub struct Chain {
    keys: Keys,
    key_file: KeyFile,
    head_file: PathBuf,
    id: [u8; 16],
    /// As of the last commit.
    known: Option<Head>,
    /// In the transaction at hand.
    end: Option<End>,
    newest: Option<Head>,
}

impl Chain {
    /// With the key, which is made when there is none.
    pub fn open() -> Self {
        let me = bgworker::this_backend();
        let (keys, key_file) = signing();
        Self {
            keys,
            key_file,
            head_file: head_file(&me),
            id: [0; 16],
            known: None,
            end: None,
            newest: None,
        }
    }

    /// Takes the end of the chain for this transaction, and reserves `rows` numbers; the last number
    /// before them. Its row lock keeps everybody else from appending.
    pub fn begin(&mut self, rows: i64) -> i64 {
        self.newest = None;
        self.look_at_key();
        let (last, id) = tables::lock_state();
        if self.id != id {
            self.id = id;
            let head = read_head(&self.head_file);
            if let Some(other) = head.as_ref().filter(|h| h.chain != id) {
                set_aside(&self.head_file, other);
            }
            self.known = head.filter(|h| h.chain == id && h.signed_by(&self.keys) == Some(true));
        }
        let table = tables::newest_block().map(|b| Head::of(&b, &id));
        let end = self.continued(table.as_ref());
        let last = end.map_or(last, |e| e.last_seq.max(last));
        self.end = Some(end.unwrap_or_else(|| End {
            number: 0,
            last_seq: last,
            hash: block::genesis(&id),
        }));
        tables::set_last_seq(last + rows);
        last
    }

    fn look_at_key(&mut self) {
        if key_file() != self.key_file {
            (self.keys, self.key_file) = signing();
        }
    }

    /// Is the log one that a restore has brought, or is about to, and the key that belongs to it is not
    /// there yet? A block of another key would break its chain.
    pub fn awaits_key(&mut self) -> bool {
        if self.known.is_some() || witness().is_some() {
            return false;
        }
        self.look_at_key();
        let state = rows::connected(|| tables::state(Cursor::open));
        match (state, tables::newest_block()) {
            (Some((id, _)), Some(newest)) => {
                Head::of(&newest, &id).signed_by(&self.keys) != Some(true)
            }
            _ => true,
        }
    }

    /// In a transaction of its own: what others have appended is known, too, from here on.
    pub fn look_behind_others(&mut self) {
        let state = rows::connected(|| tables::state(Cursor::open));
        let (Some((id, _)), Some(newest)) = (state, tables::newest_block()) else {
            return;
        };
        let head = Head::of(&newest, &id);
        let known = self.known.clone().or_else(|| read_head(&self.head_file));
        let goes_on = known.is_none_or(|k| k.chain == id && k.number < head.number);
        if goes_on && head.signed_by(&self.keys) == Some(true) {
            self.id = id;
            self.newest = Some(head);
        }
    }

    /// Behind which block the chain goes on; None where it begins.
    fn continued(&self, table: Option<&Head>) -> Option<End> {
        let genuine = |h: &&Head| h.signed_by(&self.keys) == Some(true);
        match (table.filter(genuine), &self.known) {
            (Some(t), None) => Some(t.into()),
            // Others append, too.
            (Some(t), Some(known)) if t.number > known.number || t == known => Some(t.into()),
            (_, Some(known)) => {
                warning!(
                    "the audit log's blocks were changed: block {} is not the newest one",
                    known.number
                );
                let number = table.map_or(0, |t| t.number).max(known.number);
                Some(End {
                    number,
                    ..known.into()
                })
            }
            (None, None) => {
                let t = table?;
                warning!(
                    "the newest block of the audit log, {}, is not signed by a key in the key file",
                    t.number
                );
                // One number is left out: no check passes over this.
                Some(End {
                    number: t.number + 1,
                    ..t.into()
                })
            }
        }
    }

    /// Signs a block and puts it into the table; its number.
    pub fn append(&mut self, mut block: Block) -> i64 {
        let (Some(end), Some(key)) = (self.end, &self.keys.private) else {
            error!("the audit's chain was not begun");
        };
        block.number = end.number + 1;
        block.sealed_at = now();
        if block.kind != Kind::Rows {
            block.first_seq = end.last_seq + 1;
            block.last_seq = end.last_seq;
            block.oldest = block.sealed_at;
            block.newest = block.sealed_at;
        }
        block.hash = block.chained(&end.hash);
        head::sign(&mut block, &self.id, key);
        if self.newest.is_none() && self.known.as_ref().is_none_or(|k| k.key_id != block.key_id) {
            tables::save_key(&key.public());
        }
        tables::save_block(&block);
        let head = Head::of(&block, &self.id);
        self.end = Some((&head).into());
        self.newest = Some(head);
        block.number
    }

    /// After the commit.
    pub fn committed(&mut self) {
        let Some(head) = self.newest.take() else {
            return;
        };
        let line = format!("{:width$}\n", head.to_string(), width = HEAD_FILE - 1);
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.head_file)
            .and_then(|f| f.write_all_at(line.as_bytes(), 0));
        if let Err(e) = written {
            warning!("could not write \"{}\": {e}", self.head_file.display());
        }
        self.known = Some(head);
    }
}

/// A block without its place in the chain.
pub fn block(kind: Kind, day: i32, root: evidence::Hash, note: Option<String>) -> Block {
    Block {
        number: 0,
        kind,
        first_seq: 0,
        last_seq: 0,
        day,
        oldest: 0,
        newest: 0,
        sealed_at: 0,
        root,
        note,
        hash: [0; 32],
        key_id: [0; 8],
        signature: [0; 64],
    }
}

thread_local! {
    /// The worker will be told of what this transaction appends.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// After the commit the worker notes the new end: nobody takes it away unnoticed.
fn tell_worker() {
    if TOLD.replace(true) {
        return;
    }
    // The file must not know more than a crash leaves.
    facts::commit_durably();
    register_xact_callback(PgXactCallbackEvent::Commit, || {
        TOLD.set(false);
        let database = bgworker::this_backend().database;
        if let Some(slot) = shmem::shared().and_then(|s| s.slot(database)) {
            session::want(slot);
        }
    });
    for event in [PgXactCallbackEvent::Abort, PgXactCallbackEvent::Prepare] {
        register_xact_callback(event, || TOLD.set(false));
    }
}

/// Appends a block that has a note instead of rows, in the transaction at hand; its number.
pub fn append_note(kind: Kind, day: i32, note: String) -> i64 {
    let mut chain = Chain::open();
    chain.begin(0);
    tell_worker();
    chain.append(block(kind, day, block::note_root(&note), Some(note)))
}

/// JSON in ASCII.
pub fn ascii(value: &serde_json::Value) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// How long days are kept, as the newest block says that is about that: JSON, `null` for ever. None where
/// there is no such block, or not one of this chain and key.
pub fn retention() -> Option<serde_json::Value> {
    let keys = keys(false)?;
    let (id, blocks) = rows::connected(|| {
        let (id, _) = tables::state(Cursor::open)?;
        Some((id, tables::retention_blocks()))
    })?;
    let (newest, before) = (blocks.first()?, blocks.get(1));
    let previous = match before {
        Some(b) if b.number + 1 == newest.number => b.hash,
        None if newest.number == 1 => block::genesis(&id),
        _ => return None,
    };
    let note = newest.note.as_deref()?;
    let genuine = newest.kind == Kind::Retention
        && block::note_root(note) == newest.root
        && newest.chained(&previous) == newest.hash
        && Head::of(newest, &id).signed_by(&keys) == Some(true);
    let note: serde_json::Value = serde_json::from_str(note).ok()?;
    note.get("keep").filter(|_| genuine).cloned()
}

/// The number of the block that comes next. Nobody else appends until this transaction ends.
pub fn next_number() -> i64 {
    let mut chain = Chain::open();
    chain.begin(0);
    chain.end.map_or(1, |e| e.number + 1)
}

fn head_file(me: &bgworker::Backend) -> PathBuf {
    Path::new(&me.data_dir)
        .join("agent_policy")
        .join(format!("audit_head.{}", me.database))
}

fn read_head(path: &Path) -> Option<Head> {
    fs::read_to_string(path).ok()?.parse().ok()
}

/// The head of another log stays beside that of this one: nobody begins anew unnoticed.
fn set_aside(file: &Path, head: &Head) {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", evidence::hex::encode(&head.chain)));
    if let Err(e) = fs::rename(file, &name) {
        warning!("could not rename \"{}\": {e}", file.display());
    }
}

/// The files with heads of this database.
fn head_files() -> Vec<PathBuf> {
    let file = head_file(&bgworker::this_backend());
    let (Some(dir), Some(own)) = (file.parent(), file.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| {
            e.file_name().to_str().is_some_and(|name| {
                name.strip_prefix(own)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        })
        .map(|e| e.path())
        .collect()
}

/// Heads of all logs that were written in this database.
pub fn heads() -> Vec<Head> {
    let files = head_files();
    files.iter().filter_map(|file| read_head(file)).collect()
}

/// The extension is created: there is no log of before that it could be about.
#[pg_extern(sql = false)]
fn audit_begins() {
    for file in head_files() {
        if let Err(e) = fs::remove_file(&file) {
            warning!("could not remove \"{}\": {e}", file.display());
        }
    }
}

/// The newest head that was committed, by the file beside the key.
pub fn witness() -> Option<Head> {
    read_head(&head_file(&bgworker::this_backend()))
}

/// Where the key is, when it was written, and who may read it.
type KeyFile = (PathBuf, Option<(SystemTime, u32)>);

fn key_file() -> KeyFile {
    let path = settings::key_file(Path::new(&bgworker::this_backend().data_dir));
    let file = fs::metadata(&path).ok();
    let state = file.and_then(|m| Some((m.modified().ok()?, m.mode())));
    (path, state)
}

/// Whether others than the server can read, or change, a key of the DBA's: as PostgreSQL asks it of the key of
/// its certificate. What is wrong, and how it should be.
fn exposed(file: &fs::Metadata) -> Option<(&'static str, &'static str)> {
    const OWNER: &str = "The file must belong to the user that the server runs as, or to root.";
    const MODE: &str = "The file must have permissions u=rw (0600) or less if it belongs to the user that the \
                        server runs as, or u=rw,g=r (0640) or less if it belongs to root.";
    // The data directory is the server's own, or it would not have started.
    let own = fs::metadata(bgworker::this_backend().data_dir).map(|m| m.uid());
    let too_much = match file.uid() {
        uid if own.is_ok_and(|own| own == uid) => 0o077,
        0 => 0o037,
        _ => return Some(("belongs to another user", OWNER)),
    };
    (file.mode() & too_much != 0).then_some(("has group or world access", MODE))
}

fn signing() -> (Keys, KeyFile) {
    let keys = keys(true).unwrap_or_default();
    if keys.private.is_none() {
        error!("the audit's key file has no private key");
    }
    (keys, key_file())
}

/// What is in the key file; with `make`, a new key where there is none.
pub fn keys(make: bool) -> Option<Keys> {
    let (path, _) = key_file();
    if !settings::key_file_is_ours()
        && let Ok(file) = fs::metadata(&path)
        && let Some((what, hint)) = exposed(&file)
    {
        raise(
            PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
            &format!("the audit's key file \"{}\" {what}", path.display()),
            hint,
        );
    }
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !make => return None,
        Err(e) if e.kind() == io::ErrorKind::NotFound && settings::key_file_is_ours() => {
            match make_key(&path) {
                Ok(text) => text,
                Err(e) => error!("could not make the audit's key \"{}\": {e}", path.display()),
            }
        }
        Err(e) => error!("could not read the audit's key \"{}\": {e}", path.display()),
    };
    match Keys::from_pem(&text) {
        Ok(keys) => Some(keys),
        Err(e) => error!("the audit's key file \"{}\": {e}", path.display()),
    }
}

/// A new key, or what another worker made at the same time.
fn make_key(path: &Path) -> io::Result<String> {
    let mut seed = [0; 32];
    if !rows::random(&mut seed) {
        return Err(io::Error::other("no random numbers"));
    }
    let text = PrivateKey::from_seed(&seed).to_pem();
    let dir = path.parent().unwrap_or(Path::new("."));
    spool::create_dirs(dir)?;
    let temporary = path.with_extension(format!("{}.new", std::process::id()));
    let _ = fs::remove_file(&temporary);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.sync_all()?;
    // A link, unlike a rename, does not take the place of what is there.
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => File::open(dir)?.sync_all()?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    fs::read_to_string(path)
}
