//! The trigger on the policy's tables, and who changes them.

use super::call::sql_function;
use pgrx::pg_sys::{self, Datum};

sql_function! {
    /// policy_changed(): tells every session that the policy is another now, through the relation
    /// cache entry of policy_role; called for a row, also that the relation named in its column
    /// "relation" has to be planned anew.
    fn policy_changed / pg_finfo_policy_changed(fcinfo) {
        let context = (*fcinfo).context.cast::<pg_sys::TriggerData>();
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            pgrx::ereport!(
                pgrx::PgLogLevel::ERROR,
                pgrx::PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "policy_changed is a trigger function",
                "It belongs to the policy tables of agent_policy."
            );
        }
        let table = (*context).tg_relation;
        let own = (*table).rd_id;
        if (*context).tg_event & pg_sys::TRIGGER_EVENT_ROW == 0 {
            pg_sys::CacheInvalidateRelcacheByRelid(own);
            let role_table = pg_sys::get_relname_relid(c"policy_role".as_ptr(), (*(*table).rd_rel).relnamespace);
            if role_table != pg_sys::InvalidOid && role_table != own {
                pg_sys::CacheInvalidateRelcacheByRelid(role_table);
            }
        } else {
            let column = pg_sys::get_attnum(own, c"relation".as_ptr());
            let desc = (*table).rd_att;
            for tuple in [(*context).tg_trigtuple, (*context).tg_newtuple] {
                if tuple.is_null() || column <= 0 {
                    continue;
                }
                let natts = (*desc).natts as usize;
                let mut values = vec![Datum::from(0); natts];
                let mut nulls = vec![true; natts];
                pg_sys::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
                let at = column as usize - 1;
                let relation = pg_sys::Oid::from(values[at].value() as u32);
                let known = !nulls[at] && pg_sys::SearchSysCacheExists(
                    pg_sys::SysCacheIdentifier::RELOID as i32,
                    Datum::from(relation), Datum::from(0), Datum::from(0), Datum::from(0),
                );
                if known {
                    pg_sys::CacheInvalidateRelcacheByRelid(relation);
                }
            }
        }
        // An AFTER trigger's result is ignored; it must not be flagged NULL.
        Datum::from(0)
    }
}

sql_function! {
    /// _outer_user(): the session's user or that of SET ROLE, never that of SECURITY DEFINER.
    fn outer_user / pg_finfo_outer_user(fcinfo) {
        let _ = fcinfo;
        Datum::from(pg_sys::GetOuterUserId())
    }
}
