//! Masks put in the place of columns.
//!
//! What the planner makes of a sub-query that stands in for a relation, when it pulls it up: each Var of a masked
//! column becomes the column's mask. For a join of several such relations it copies the whole query for each of them;
//! here it is one step. Only where the outcome is the same without a doubt: in a SELECT without outer joins and
//! grouping sets, above which a mask of a row that is not there would have to be NULL, and without whole rows and
//! system columns of the relation. Everything else takes the sub-query.

use std::collections::BTreeMap;

use pgrx::pg_sys::{
    self, CmdType, JoinType, NodeTag, PlaceHolderVar, Query, RTEKind, RangeTblEntry, RelabelType,
};

use super::placeholder::Numbers;
use super::template::{Shown, Template};
use super::{compat, nodes, raw};

/// A Var of a column, and the query that its range table entry is of.
pub struct Use {
    pub owner: *mut Query,
    pub var: *mut pg_sys::Var,
}

/// A Var is overwritten by one of these.
const _: () = assert!(
    size_of::<RelabelType>() <= size_of::<pg_sys::Var>()
        && size_of::<PlaceHolderVar>() <= size_of::<pg_sys::Var>()
);

/// May columns of this entry of the query be exchanged for expressions?
///
/// # Safety
/// `rte` is an entry of the range table of `owner`, a query that is about to be planned.
pub unsafe fn possible(owner: *const Query, rte: *const RangeTblEntry) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        (*owner).commandType == CmdType::CMD_SELECT
            && (*owner).groupingSets.is_null()
            && (*rte).tablesample.is_null()
            // They are about raw values, and the relation's Vars in them are among those that were seen.
            && (*rte).securityQuals.is_null()
            && nodes::pointers::<RangeTblEntry>((*owner).rtable).all(|other| {
                (*other).rtekind != RTEKind::RTE_JOIN || (*other).jointype == JoinType::JOIN_INNER
            })
    }
}

/// Exchanges them: all of a masked column of entry `rti` become its mask, whatever level they are at; with numbers,
/// masks that need the column's value are computed where the relation is scanned.
///
/// # Safety
/// `columns` are all Vars of columns in the query that `owner` is a part of, which is the caller's own and has no other
/// way to them; entry `rti` of `owner` is the relation of the template, and [`possible`].
pub unsafe fn mask(
    owner: *const Query,
    rti: i32,
    template: &Template,
    columns: &[Use],
    mut numbers: Option<&mut Numbers>,
) {
    let mut given = BTreeMap::new();
    let mut places: Vec<(*mut pg_sys::Var, Shown, u32)> = Vec::with_capacity(8);
    // SAFETY: by the caller's promise. A Var that stands in several places is met as one that is none any more. The
    // guard turns an ERROR into a panic; between it and the calls no frame owns anything.
    unsafe {
        for one in columns {
            let var = one.var;
            if !std::ptr::eq(one.owner, owner)
                || !nodes::is_a(var.cast(), NodeTag::T_Var)
                || (*var).varno as i32 != rti
            {
                continue;
            }
            assert!(
                !compat::may_be_nulled(var),
                "a column of a query without outer joins is nulled by one"
            );
            let attno = (*var).varattno;
            let Some(mut shown) = template.shown(attno) else {
                continue;
            };
            let number = match numbers.as_deref_mut() {
                Some(numbers) if !shown.at_scan.is_null() => {
                    *given.entry(attno).or_insert_with(|| numbers.next())
                }
                _ => {
                    shown.at_scan = std::ptr::null();
                    0
                }
            };
            places.push((var, shown, number));
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            for (var, shown, number) in &places {
                overwrite(*var, shown, *number, rti);
            }
        });
    }
}

/// # Safety
/// As for [`mask`]; below its guard.
unsafe fn overwrite(var: *mut pg_sys::Var, shown: &Shown, number: u32, rti: i32) {
    // SAFETY: by the caller's promise; the template lives while it is copied, the copy is the query's own.
    unsafe {
        if !nodes::is_a(var.cast(), NodeTag::T_Var) {
            return;
        }
        let up = (*var).varlevelsup as i32;
        let own = |node: *const pg_sys::Node| {
            let copied = raw::copyObjectImpl(node.cast()).cast::<pg_sys::Node>();
            if rti != 1 {
                raw::ChangeVarNodes(copied, 1, rti, 0);
            }
            if up > 0 {
                raw::IncrementVarSublevelsUp(copied, up, 0);
            }
            copied
        };
        if !shown.at_scan.is_null() {
            let placeholder = own(shown.at_scan.cast()).cast::<PlaceHolderVar>();
            (*placeholder).phid = number;
            std::ptr::copy_nonoverlapping(placeholder, var.cast(), 1);
            return;
        }
        let relabel = RelabelType {
            xpr: pg_sys::Expr {
                type_: NodeTag::T_RelabelType,
            },
            arg: own(shown.mask).cast(),
            resulttype: (*var).vartype,
            resulttypmod: (*var).vartypmod,
            resultcollid: (*var).varcollid,
            relabelformat: pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
            location: (*var).location,
        };
        std::ptr::write(var.cast(), relabel);
    }
}
