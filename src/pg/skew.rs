//! A hash join in several batches treats the most common values of its outer side apart. The executor
//! takes them from pg_statistic by itself, past the planner's hooks, and they decide in which order
//! rows come: for relations with row filters it is told of no such values.

use pgrx::pg_sys::{self, NodeTag, Oid, Plan};
use smallvec::{SmallVec, smallvec};

use super::nodes;
use crate::catalog::Policy;

/// # Safety
/// `planned` is what the planner returned, and may be changed.
pub unsafe fn forget(policy: &Policy, planned: *mut pg_sys::PlannedStmt) {
    // SAFETY: by the caller's promise; the trees below consist of plans.
    unsafe {
        let mut left: SmallVec<[*mut Plan; 32]> = smallvec![(*planned).planTree];
        left.extend(nodes::pointers::<Plan>((*planned).subplans));
        while let Some(plan) = left.pop() {
            if plan.is_null() {
                continue;
            }
            left.extend([(*plan).lefttree, (*plan).righttree]);
            match (*plan).type_ {
                NodeTag::T_Hash => {
                    let hash = plan.cast::<pg_sys::Hash>();
                    let table = (*hash).skewTable;
                    if table != Oid::INVALID && policy.relation(table).hides_rows() {
                        (*hash).skewTable = Oid::INVALID;
                    }
                }
                NodeTag::T_Append => {
                    let append = plan.cast::<pg_sys::Append>();
                    left.extend(nodes::pointers::<Plan>((*append).appendplans));
                }
                NodeTag::T_MergeAppend => {
                    let append = plan.cast::<pg_sys::MergeAppend>();
                    left.extend(nodes::pointers::<Plan>((*append).mergeplans));
                }
                NodeTag::T_SubqueryScan => {
                    left.push((*plan.cast::<pg_sys::SubqueryScan>()).subplan);
                }
                NodeTag::T_CustomScan => {
                    let scan = plan.cast::<pg_sys::CustomScan>();
                    left.extend(nodes::pointers::<Plan>((*scan).custom_plans));
                }
                _ => {}
            }
        }
    }
}
