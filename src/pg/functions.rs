//! Functions that rewritten statements of confined sessions call.

use pgrx::pg_sys::{self, FunctionCallInfo};
use pgrx::prelude::*;
use policy::model::Access;

use super::{names, text};
use crate::utility::{Pass, judge_setting};
use crate::{enforce, identity};

#[unsafe(no_mangle)]
#[doc(hidden)]
pub extern "C" fn pg_finfo_agent_set_config() -> &'static pg_sys::Pg_finfo_record {
    const RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

/// `pg_catalog.set_config`, with the setting judged first.
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn agent_set_config(fcinfo: FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: called by the function manager with three arguments.
    unsafe {
        let name: Option<&str> = pgrx::fcinfo::pg_getarg(fcinfo, 0);
        let value: Option<&str> = pgrx::fcinfo::pg_getarg(fcinfo, 1);
        if let (Some(policy), Some(name)) = (identity::policy(), name)
            && enforce(&policy, judge_setting(name, value)) == Some(Pass::Ignore)
        {
            let name = text::to_c(name);
            let current = pg_sys::GetConfigOption(name.as_ptr(), true, false);
            return match text::from_ptr(current) {
                Some(current) => current.into_datum().unwrap_or(pg_sys::Datum::null()),
                None => {
                    (*fcinfo).isnull = true;
                    pg_sys::Datum::null()
                }
            };
        }
        pg_sys::set_config_by_name(fcinfo)
    }
}

/// May the session see the raw values of this column? What is not confined may.
#[pg_extern(sql = false)]
fn column_readable(relation: pg_sys::Oid, attribute: i16) -> bool {
    let Some(policy) = identity::policy() else {
        return true;
    };
    if policy.monitors() {
        return true;
    }
    // Statistics of an index over expressions are its table's.
    if names::relation_kind(relation).is_index() {
        return names::table_of_index(relation).is_some_and(|table| {
            policy.access(table) > Access::Deny && !policy.relation(table).hides()
        });
    }
    policy.column_readable(relation, attribute)
}

/// The sequence, if the session may see where it stands; else NULL.
#[pg_extern(sql = false)]
fn readable_sequence(sequence: pg_sys::Oid) -> Option<pg_sys::Oid> {
    match identity::policy() {
        Some(policy) if !policy.monitors() => (names::relation_kind(sequence).is_sequence()
            && policy.sequence_readable(sequence))
        .then_some(sequence),
        _ => Some(sequence),
    }
}
