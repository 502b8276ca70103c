//! Starts the worker of a database when there is something for it to read.

use super::journal::{self, Tender};
use super::settings::{max_spool, ship_conninfo};
use super::{chain, now, received, spool};
use crate::pg::bgworker;
use crate::pg::shmem::{Shared, Slot, State};
use pgrx::prelude::*;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const SECOND: i64 = 1_000_000;
/// How often the directories are looked through for files that nobody spoke of.
const SCAN: Duration = Duration::from_secs(60);
/// How often the worker of a database where nothing happens makes partitions ahead and drops
/// those whose time is over.
const HOUSEKEEPING: Duration = Duration::from_secs(3600);
/// Trouble that lasts is told again.
const AGAIN: i64 = 60 * SECOND;
/// Records that wait longer than this are trouble.
const LATE: i64 = 30 * SECOND;

/// Runs as long as the server does.
pub fn launch(shared: &'static Shared) {
    let root = spool::root(&bgworker::this_backend().data_dir);
    let mut scanned: Option<Instant> = None;
    let mut kept_house = Instant::now();
    if bgworker::in_recovery() {
        received::clear(&root);
    }
    if !bgworker::in_recovery() {
        // Before anybody makes a standby: a base backup then brings the key along.
        if let Err(e) = crate::pg::catching(|| chain::keys(true)) {
            warning!("{e}");
        }
    }
    let mut journal = Tender::new(root.clone());
    // Before anybody reads a spool file, they have to be what was durable.
    while let Err(e) = journal.restore(&shared.journal) {
        warning!("audit records cannot be put back into spool files, and wait: {e}");
        bgworker::nap(Duration::from_secs(10));
    }
    loop {
        bgworker::reload_config();
        shared.launcher_looks();
        journal.tend(&shared.journal);
        if scanned.is_none_or(|t| t.elapsed() > SCAN) {
            scan(shared, &root, scanned.is_none());
            scanned = Some(Instant::now());
        }
        if kept_house.elapsed() > HOUSEKEEPING {
            for slot in shared.slots() {
                slot.housekeeping.store(true, SeqCst);
                slot.ended.fetch_add(1, SeqCst);
            }
            kept_house = Instant::now();
        }
        for slot in shared.slots() {
            watch(slot);
        }
        // A standby hands its records over, or keeps them until it is promoted.
        if !bgworker::in_recovery() || ship_conninfo().is_some() {
            for slot in shared
                .slots()
                .filter(|s| s.has_work() && s.worker.pid().is_none())
            {
                serve(shared, slot, &root);
            }
        }
        bgworker::nap(Duration::from_secs(1));
    }
}

/// What is wrong with the audit of a database.
pub fn trouble(slot: &Slot) -> Option<String> {
    let reason = || slot.error().map_or_else(String::new, |e| format!(": {e}"));
    let backlog = slot.backlog();
    if slot.is_unwritable() {
        Some(format!(
            "audit records cannot be written, agents are refused{}",
            reason()
        ))
    } else if backlog > max_spool() {
        Some(format!(
            "{backlog} bytes of audit records wait for agent_policy.audit_log, agents are refused{}",
            reason()
        ))
    } else if slot.failures.load(SeqCst) > 0 && bgworker::in_recovery() {
        Some(format!(
            "audit records cannot be handed over to the primary{}",
            reason()
        ))
    } else if slot.failures.load(SeqCst) > 0 {
        Some(format!(
            "agent_policy.audit_log cannot be written{}",
            reason()
        ))
    } else if slot.refused.load(SeqCst) > 0 {
        Some(format!(
            "audit records of standbys cannot be put into agent_policy.audit_log: sessions refused: {}{}",
            slot.refused.load(SeqCst),
            reason()
        ))
    } else if slot.waited() > LATE && (!bgworker::in_recovery() || ship_conninfo().is_some()) {
        Some(format!(
            "audit records have waited for agent_policy.audit_log for {} s",
            slot.waited() / SECOND
        ))
    } else {
        None
    }
}

/// Tells of trouble: in the server's log here, to listeners through the worker.
fn watch(slot: &Slot) {
    const WELL: u32 = 0;
    const TROUBLE: u32 = 1;
    let database = slot.database();
    match (trouble(slot), slot.told.load(SeqCst)) {
        (Some(what), told) if told == WELL || now() - slot.told_at.load(SeqCst) > AGAIN => {
            warning!("database {database}: {what}");
            slot.told.store(TROUBLE, SeqCst);
            slot.told_at.store(now(), SeqCst);
            slot.to_notify.store(NOTIFY_TROUBLE, SeqCst);
        }
        (None, TROUBLE) => {
            log!("database {database}: the audit works again");
            slot.told.store(WELL, SeqCst);
            slot.to_notify.store(NOTIFY_WELL, SeqCst);
        }
        _ => {}
    }
}

pub const NOTIFY_TROUBLE: u32 = 1;
pub const NOTIFY_WELL: u32 = 2;

fn serve(shared: &Shared, slot: &Slot, root: &Path) {
    let failed_for = now() - slot.failed_at.load(SeqCst);
    let patience = match slot.state() {
        State::Idle | State::Running => 0,
        // Registered, not there yet; or it could not connect, or was ended.
        State::Starting => 5,
        State::NoExtension => 10,
        State::Failed => 1 << slot.failures.load(SeqCst).min(5),
    };
    if failed_for < patience * SECOND {
        return;
    }
    let database = slot.database();
    if !bgworker::transaction(|| bgworker::database_exists(database)) {
        set_aside(&root.join(database.to_string()));
        received::discard(&received::dir(root, database), "the database was dropped");
        shared.free(slot);
        return;
    }
    slot.set_state(State::Starting);
    slot.failed_at.store(now(), SeqCst);
    if !bgworker::start_worker(database) {
        slot.set_error("no background worker is free: max_worker_processes is too low");
    }
}

/// Records of a database that was dropped: kept, out of the way, if any were not ingested.
fn set_aside(dir: &Path) {
    if fs::remove_dir(dir).is_ok() || !dir.exists() {
        return;
    }
    let aside = dir.with_extension("dropped");
    // The journal does not know it by that name.
    match journal::sync_all(dir).and_then(|()| fs::rename(dir, &aside)) {
        Ok(()) => warning!(
            "audit records of a dropped database are kept in {}",
            aside.display()
        ),
        Err(e) => warning!("could not rename {}: {e}", dir.display()),
    }
}

/// Finds what sessions left behind that did not end in order, and what an earlier server did.
fn scan(shared: &Shared, root: &Path, first: bool) {
    for dir in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = dir.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Some(database) = received::database(name) {
            scan_received(shared, database, &dir.path(), first);
        } else if let Ok(database) = name.parse() {
            scan_own(shared, database, &dir.path(), first);
        }
    }
}

fn scan_own(shared: &Shared, database: u32, dir: &Path, first: bool) {
    let (mut bytes, mut left) = (0, 0_u64);
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = file.path();
        if path.extension().is_some_and(|e| e == "new") {
            // A segment whose creator was killed before it had its name: nothing is in it.
            let dead = File::open(&path).is_ok_and(|f| f.try_lock_shared().is_ok());
            if first && dead {
                let _ = fs::remove_file(&path);
            }
            continue;
        }
        let Ok(f) = File::open(&path) else { continue };
        bytes += f.metadata().map_or(0, |m| m.len());
        left += u64::from(f.try_lock_shared().is_ok());
    }
    if left == 0 {
        if !bgworker::transaction(|| bgworker::database_exists(database)) {
            if bytes == 0 {
                let _ = fs::remove_dir(dir);
            }
        } else if first && let Some(slot) = shared.slot(database) {
            // Its partitions may be due, made or dropped.
            slot.ended.fetch_add(1, SeqCst);
        }
        return;
    }
    let Some(slot) = shared.slot(database) else {
        return;
    };
    if first {
        slot.found(bytes);
    }
    slot.ended.fetch_add(1, SeqCst);
}

/// The worker is to look at copies now and then: nobody tells it that a role was taken away.
fn scan_received(shared: &Shared, database: u32, dir: &Path, first: bool) {
    let (mut bytes, mut left, mut refused) = (0, 0, 0);
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = file.file_name();
        let Some(name) = name.to_str() else { continue };
        refused += u32::from(received::refused_session(name).is_some());
        if received::is_work(name) {
            bytes += file.metadata().map_or(0, |m| m.len());
            left += 1;
        }
    }
    if left + refused == 0 {
        if !bgworker::transaction(|| bgworker::database_exists(database)) {
            received::discard(dir, "the database was dropped");
        }
        return;
    }
    let Some(slot) = shared.slot(database) else {
        return;
    };
    slot.refused.store(refused, SeqCst);
    if first {
        slot.found(bytes);
    }
    if left > 0 {
        slot.ended.fetch_add(1, SeqCst);
    }
}
