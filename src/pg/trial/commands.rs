//! Smaller commands that are tried: settings, constraints, locks, and what EXECUTE is given.

use core::ffi::c_void;

use pgrx::pg_sys::{self, Node, NodeTag, RangeVar, RawStmt};

use super::asked::{Refusal, asked, relation, says};
use super::privileges::Asked;
use super::{Trial, inside};
use crate::pg::{compat, names, nodes, raw, touched, utility};
use crate::plan;
use crate::utility::Utility;

/// SET and RESET of one setting: whether there is such a one, and it takes the value.
///
/// # Safety
/// `what` is what `set` was classified as.
pub unsafe fn setting(set: *const pg_sys::VariableSetStmt, what: &Utility) -> Result<(), Refusal> {
    let Utility::Set { name, .. } = what else {
        return Ok(());
    };
    // Custom ones may be set to anything; those of a transaction depend on what has run in it.
    if name.contains('.') || name.starts_with("transaction_") {
        return Ok(());
    }
    // SAFETY: a SET; nothing is changed.
    unsafe {
        let set = set.cast_mut();
        let value = if (*set).kind == pg_sys::VariableSetKind::VAR_SET_VALUE {
            pg_sys::ExtractSetVariableArgs(set)
        } else {
            std::ptr::null_mut()
        };
        asked(|| {
            raw::set_config_option(
                (*set).name,
                value,
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SET,
                false,
                0,
                false,
            )
        })?;
    }
    Ok(())
}

/// SHOW of one setting, which has to be there.
///
/// # Safety
/// `show` is a SHOW.
pub unsafe fn shown(show: *const pg_sys::VariableShowStmt) -> Result<(), Refusal> {
    // SAFETY: by the caller's promise.
    unsafe {
        if !utility::string((*show).name).eq_ignore_ascii_case("all") {
            let name = (*show).name;
            asked(|| raw::GetConfigOptionByName(name, std::ptr::null_mut(), false))?;
        }
    }
    Ok(())
}

/// SET CONSTRAINTS looks into the schemas that it names.
///
/// # Safety
/// `set` is a SET CONSTRAINTS.
pub unsafe fn constraints(set: *const pg_sys::ConstraintsSetStmt) -> Result<(), Refusal> {
    // SAFETY: by the caller's promise.
    unsafe {
        for name in nodes::pointers::<RangeVar>((*set).constraints) {
            let schema = (*name).schemaname;
            if !schema.is_null() {
                asked(|| raw::LookupExplicitNamespace(schema, false))?;
            }
        }
    }
    Ok(())
}

impl Trial<'_> {
    /// LOCK TABLE … IN ACCESS SHARE MODE, which has been judged.
    pub(super) unsafe fn lock(&self, lock: *const pg_sys::LockStmt) -> Result<(), Refusal> {
        // SAFETY: a LOCK.
        unsafe {
            for name in nodes::pointers::<RangeVar>((*lock).relations) {
                let relid = relation(name, pg_sys::NoLock, false, None)?;
                let any = pg_sys::ACL_INSERT
                    | pg_sys::ACL_UPDATE
                    | pg_sys::ACL_DELETE
                    | pg_sys::ACL_TRUNCATE;
                // Since 16 any of these will do, too.
                let other = compat::MAJOR >= 16
                    && pg_sys::pg_class_aclmask(
                        relid,
                        self.role,
                        any.into(),
                        pg_sys::AclMaskHow::ACLMASK_ANY,
                    ) != 0;
                if !other {
                    Asked::new(relid, self.role, pg_sys::ACL_SELECT).is_granted();
                }
            }
        }
        Ok(())
    }

    /// What EXECUTE gives to the statement: expressions of which no plan is made.
    pub(super) unsafe fn arguments(
        &self,
        execute: *const pg_sys::ExecuteStmt,
    ) -> Result<(), Refusal> {
        // SAFETY: an EXECUTE; analysis works on a copy of its raw expressions.
        unsafe {
            if (*execute).params.is_null() || crate::trial::refused() {
                return Ok(());
            }
            let parameters: *mut pg_sys::List = nodes::copy((*execute).params);
            let mut found = false;
            asked(|| has_sub_query(parameters.cast(), (&raw mut found).cast()))?;
            if found {
                return Err(says("cannot use subquery in EXECUTE parameter"));
            }
            let select = nodes::make::<pg_sys::SelectStmt>(NodeTag::T_SelectStmt);
            for parameter in nodes::pointers::<Node>(parameters) {
                let target = nodes::make::<pg_sys::ResTarget>(NodeTag::T_ResTarget);
                (*target).val = parameter;
                (*target).location = -1;
                (*select).targetList = pg_sys::lappend((*select).targetList, target.cast());
            }
            let statement = nodes::make::<RawStmt>(NodeTag::T_RawStmt);
            let query = self.analyze(inside(statement, select.cast()), &[])?;
            for function in touched::collect(query).functions {
                // Their arguments are checked in statements that are planned.
                if policy::builtins::guards::is_guarded(function.to_u32())
                    && !self.policy.monitors()
                {
                    let name = names::signature(function);
                    crate::trial::note(plan::function_name_denied(&name));
                }
            }
        }
        Ok(())
    }
}

unsafe extern "C-unwind" fn has_sub_query(node: *mut Node, found: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: `found` is the flag that `arguments` passes.
    unsafe {
        if (*node).type_ == NodeTag::T_SubLink {
            *found.cast::<bool>() = true;
            return true;
        }
        raw::raw_expression_tree_walker(node, Some(has_sub_query), found)
    }
}
