//! The stamp of a plan: that it was made under this policy, and what it reads of masked columns.
//!
//! It travels in `PlannedStmt.invalItems`, which survives copying into the plan cache, portals,
//! functions and cursors; negative cache ids are no cache's, so nobody else looks at them.

use pgrx::pg_sys::{self, NodeTag, Oid, PlanInvalItem, PlannedStmt};

use super::{nodes, raw};

const STAMP: i32 = -7100;
const FLAGS: i32 = -7101;
const RELATION: i32 = -7102;
const ATTRIBUTE: i32 = -7103;
const FUNCTION: i32 = -7104;

/// The statement does nothing but say who is asking; it needs no identity yet.
pub const IDENTITY_ONLY: u32 = 1;
/// Planned for EXPLAIN, without masks: must never run.
pub const EXPLAIN_ONLY: u32 = 2;
/// What a mask or filter of the DBA's raises may quote a value.
pub const MAY_RAISE: u32 = 4;
/// Row-level security of the server's own has a part in it.
pub const SECURED: u32 = 8;
/// From this bit on stands which settings masks and filters of the plan need: see [`super::formats`].
pub const NEEDS: u32 = 8;

/// What a stamp carries.
#[derive(Debug, Default)]
pub struct Stamp {
    pub policy: u32,
    pub flags: u32,
    pub masked_columns: Vec<(Oid, i16)>,
    pub functions: Vec<Oid>,
}

/// # Safety
/// `plan` was just returned by the planner.
pub unsafe fn write(plan: *mut PlannedStmt, stamp: &Stamp) {
    let table = super::session::policy_table();
    // SAFETY: by the caller's promise; items live in the plan's memory context. The guard turns an ERROR into a panic;
    // between it and the calls no frame owns anything.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            let add = |id: i32, value: u32| {
                let item = raw::palloc0(size_of::<PlanInvalItem>()).cast::<PlanInvalItem>();
                (*item).type_ = NodeTag::T_PlanInvalItem;
                (*item).cacheId = id;
                (*item).hashValue = value;
                (*plan).invalItems = raw::lappend((*plan).invalItems, item.cast());
            };
            add(STAMP, stamp.policy);
            add(FLAGS, stamp.flags);
            for (relid, attno) in &stamp.masked_columns {
                add(RELATION, relid.to_u32());
                add(ATTRIBUTE, u32::from(attno.unsigned_abs()));
            }
            for function in &stamp.functions {
                add(FUNCTION, function.to_u32());
            }
            (*plan).dependsOnRole = true;
            if let Some(table) = table {
                (*plan).relationOids = raw::lappend_oid((*plan).relationOids, table);
            }
        });
    }
}

/// The stamp of a plan, if it has one.
///
/// # Safety
/// `plan` is a plan.
pub unsafe fn read(plan: *const PlannedStmt) -> Option<Stamp> {
    let mut stamp = Stamp::default();
    let mut found = false;
    let mut relid = Oid::INVALID;
    // SAFETY: by the caller's promise.
    unsafe {
        for item in nodes::pointers::<PlanInvalItem>((*plan).invalItems) {
            let value = (*item).hashValue;
            match (*item).cacheId {
                STAMP => {
                    found = true;
                    stamp.policy = value;
                }
                FLAGS => stamp.flags = value,
                RELATION => relid = Oid::from_u32(value),
                ATTRIBUTE => stamp.masked_columns.push((relid, value as i16)),
                FUNCTION => stamp.functions.push(Oid::from_u32(value)),
                _ => {}
            }
        }
    }
    found.then_some(stamp)
}
