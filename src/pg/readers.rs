//! Who reads the audit log: one record for each statement of a session that is not confined.
//!
//! Every statement of every session comes by here, so what is known not to be part of the log is
//! remembered: a relation costs one comparison.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};

use pgrx::pg_sys::{self, Oid};
use pgrx::prelude::*;

use super::{bgworker, names, text};
use crate::statement;

/// Relations that are no part of the log, each in the place that its number ends in.
static OTHERS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
/// When the statement began that was recorded last.
static RECORDED: AtomicI64 = AtomicI64::new(0);

/// Relations that a statement is about to open, with the user's own right to them.
///
/// # Safety
/// `relations` are of entries of the list that `ExecutorCheckPerms_hook` was given.
#[inline]
pub unsafe fn look(relations: impl Iterator<Item = Oid>) {
    for relation in relations {
        let n = relation.to_u32();
        let known = OTHERS.get((n % 256) as usize);
        if known.is_none_or(|k| k.load(Relaxed) != n) && n >= super::FIRST_NORMAL_OID {
            // SAFETY: inside a statement; guarded by itself.
            unsafe { look_closer(relation) };
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn look_closer(relation: Oid) {
    let n = relation.to_u32();
    // SAFETY: catalog look-ups and a read of the transaction state inside a statement.
    let (name, began) = unsafe {
        (
            part_of_log(relation),
            super::raw::GetCurrentStatementStartTimestamp(),
        )
    };
    let Some(name) = name else {
        if let Some(known) = OTHERS.get((n % 256) as usize) {
            known.store(n, Relaxed);
        }
        return;
    };
    // SAFETY: a read of a backend variable.
    let parallel = unsafe { pg_sys::ParallelWorkerNumber >= 0 };
    if parallel
        || bgworker::is_ours()
        || super::internal::active()
        || RECORDED.swap(began, Relaxed) == began
    {
        return;
    }
    if let Err(e) = statement::reads_audit(vec![name]) {
        warning!("that this statement reads the audit log could not be recorded: {e}");
    }
}

/// The qualified name of a relation that is the log or a part of it, whoever made that part.
///
/// # Safety
/// Inside a statement.
unsafe fn part_of_log(relation: Oid) -> Option<String> {
    let schema = names::own_schema()?;
    // SAFETY: catalog look-ups.
    unsafe {
        let is_log = |relation: Oid| {
            pg_sys::get_rel_namespace(relation) == schema
                && text::from_ptr(pg_sys::get_rel_name(relation))
                    .is_some_and(|name| name.starts_with("audit_log"))
        };
        let partition = |relation: Oid| {
            pg_sys::get_rel_relispartition(relation)
                && names::ancestors(relation).into_iter().any(is_log)
        };
        (is_log(relation) || partition(relation)).then(|| names::relation(relation))
    }
}

/// A relation is another now: it may have become a part of the log.
pub fn forget(relation: Oid) {
    let n = relation.to_u32();
    if relation == Oid::INVALID {
        OTHERS.iter().for_each(|known| known.store(0, Relaxed));
    } else if let Some(known) = OTHERS.get((n % 256) as usize)
        && known.load(Relaxed) == n
    {
        known.store(0, Relaxed);
    }
}
