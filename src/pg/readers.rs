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
        let own = Some(pg_sys::get_rel_namespace(relation)) == names::own_schema();
        let name = text::from_ptr(pg_sys::get_rel_name(relation));
        let log = |name: &String| own && name.starts_with("audit_log");
        (
            name.filter(log),
            pg_sys::GetCurrentStatementStartTimestamp(),
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
    if let Err(e) = statement::reads_audit(vec![format!("agent_policy.{name}")]) {
        warning!("that this statement reads the audit log could not be recorded: {e}");
    }
}
