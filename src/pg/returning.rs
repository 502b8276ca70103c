//! What a statement reads of the relation that it changes.
//!
//! Such a relation cannot stand behind a sub-query, so each column of it that the statement reads is the raw one: a
//! masked one may not decide on rows, nor go into a value that is written. RETURNING alone is for whoever asks, and there
//! each Var becomes the column's mask.

use pgrx::pg_sys::{
    self, List, Node, NodeTag, Query, RTEKind, RangeTblEntry, RelabelType, RowExpr, WCOKind,
};

use super::template::Template;
use super::{compat, nodes, raw};

/// A Var is overwritten by one of these.
const _: () = assert!(size_of::<RelabelType>() <= size_of::<pg_sys::Var>());

/// Is the entry the relation that the query changes, or the row that an INSERT with ON CONFLICT has put to it?
///
/// # Safety
/// `owner` is a query.
pub unsafe fn is_target(owner: *const Query, rti: i32) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        let conflict = (*owner).onConflict;
        (*owner).resultRelation == rti
            || compat::merge_target(owner) == rti
            || !conflict.is_null() && (*conflict).exclRelIndex == rti
    }
}

/// Columns (0: the whole row) that the query reads of such an entry, but for what it only returns.
///
/// # Safety
/// `owner` is a query, `rti` one of its entries that is a relation; the query is the caller's own for as long as this
/// takes.
pub unsafe fn read_elsewhere(owner: *mut Query, rti: i32) -> nodes::Columns {
    /// Puts back what the walk is not to see.
    struct Back {
        owner: *mut Query,
        rte: *mut RangeTblEntry,
        returning: *mut List,
        checks: *mut List,
        secured: *mut List,
        excluded: *mut List,
    }
    impl Drop for Back {
        fn drop(&mut self) {
            // SAFETY: the query outlives the walk.
            unsafe {
                (*self.owner).returningList = self.returning;
                (*self.owner).withCheckOptions = self.checks;
                (*self.rte).securityQuals = self.secured;
                let conflict = (*self.owner).onConflict;
                if !conflict.is_null() {
                    (*conflict).exclRelTlist = self.excluded;
                }
            }
        }
    }
    let mut read = nodes::Columns::new();
    // SAFETY: by the caller's promise; the walk only notes numbers.
    unsafe {
        let conflict = (*owner).onConflict;
        let rte = nodes::rte((*owner).rtable, rti as u32);
        let mut back = Back {
            owner,
            rte,
            returning: (*owner).returningList,
            checks: (*owner).withCheckOptions,
            secured: (*rte).securityQuals,
            excluded: std::ptr::null_mut(),
        };
        if !conflict.is_null() {
            if (*conflict).constraint != pg_sys::Oid::INVALID {
                // As the parser does: the columns of a constraint that is named are nowhere else.
                let name = pg_sys::get_constraint_name((*conflict).constraint);
                let columns = raw::guarded::constraint_columns((*rte).relid, name);
                read.extend(nodes::attributes(columns));
            }
            // All columns there are, asked for or not.
            back.excluded = std::mem::replace(&mut (*conflict).exclRelTlist, std::ptr::null_mut());
        }
        (*owner).returningList = std::ptr::null_mut();
        // Row-level security is the server's own, and sees raw values wherever it is asked.
        let mut checks = std::ptr::null_mut();
        for check in nodes::pointers::<pg_sys::WithCheckOption>(back.checks) {
            if (*check).kind == WCOKind::WCO_VIEW_CHECK {
                checks = pg_sys::lappend(checks, check.cast());
            }
        }
        (*owner).withCheckOptions = checks;
        // A view with security_barrier puts its condition there, too.
        let through_view = nodes::pointers::<RangeTblEntry>((*owner).rtable).any(|other| {
            (*other).rtekind == RTEKind::RTE_RELATION && (*other).relkind as u8 == b'v'
        });
        if !through_view {
            (*rte).securityQuals = std::ptr::null_mut();
        }
        let elsewhere = vars(owner.cast(), 1, rti).into_iter();
        read.extend(elsewhere.map(|var| (*var).varattno));
    }
    read.sort_unstable();
    read.dedup();
    read
}

/// The Vars of an entry in a tree, whose nodes outside of sub-queries are at this level of the walk.
unsafe fn vars(tree: *mut Node, level: u32, rti: i32) -> Vec<*mut pg_sys::Var> {
    let mut found = Vec::new();
    if tree.is_null() {
        return found;
    }
    // SAFETY: the callers pass a query or a list of one; the walk only notes pointers.
    unsafe {
        nodes::walk(tree, |node, at| {
            if nodes::is_a(node, NodeTag::T_Var) {
                let var = node.cast::<pg_sys::Var>();
                if (*var).varno as i32 == rti && level + (*var).varlevelsup == at {
                    found.push(var);
                }
            }
            false
        });
    }
    found
}

/// Exchanges masked columns of the entry in RETURNING for their masks, whole rows included.
///
/// # Safety
/// `owner` is a query that goes to the planner next and is the caller's own, `rti` the relation of the template, which it
/// changes.
pub unsafe fn mask(owner: *mut Query, rti: i32, template: &Template) {
    // SAFETY: by the caller's promise. A Var that stands in several places is met as one that is none any more.
    unsafe {
        for var in vars((*owner).returningList.cast(), 0, rti) {
            if !nodes::is_a(var.cast(), NodeTag::T_Var) {
                continue;
            }
            let shown: *mut Node = match (*var).varattno {
                0 => whole_row(template, (*var).vartype).cast(),
                attno if attno > 0 => match template.shown(attno) {
                    Some(shown) => nodes::copy(shown.mask),
                    None => continue,
                },
                _ => continue,
            };
            if rti != 1 {
                pg_sys::ChangeVarNodes(shown, 1, rti, 0);
            }
            if (*var).varlevelsup > 0 {
                pg_sys::IncrementVarSublevelsUp(shown, (*var).varlevelsup as i32, 0);
            }
            let relabel = RelabelType {
                xpr: pg_sys::Expr {
                    type_: NodeTag::T_RelabelType,
                },
                arg: compat::returned_as(var, shown).cast(),
                resulttype: (*var).vartype,
                resulttypmod: (*var).vartypmod,
                resultcollid: (*var).varcollid,
                relabelformat: pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
                location: (*var).location,
            };
            std::ptr::write(var.cast(), relabel);
        }
    }
}

/// A row of masks, over range table index 1.
unsafe fn whole_row(template: &Template, typid: pg_sys::Oid) -> *mut RowExpr {
    // SAFETY: nodes of the template, which are copied.
    unsafe {
        let row = nodes::make::<RowExpr>(NodeTag::T_RowExpr);
        (*row).args = template.all_shown();
        (*row).row_typeid = typid;
        (*row).row_format = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
        (*row).location = -1;
        row
    }
}
