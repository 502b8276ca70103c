//! Functions and objects: what is about to be called, and what a command has made, changed or
//! dropped, wherever that happens.

use core::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::Relaxed;

use pgrx::pg_sys::{self, Oid};
use pgrx::{PgSqlErrorCode, pg_guard};
use policy::rule::Rule;

use super::hooks::{
    PREV_ACCESS, PREV_FMGR, PREV_NEEDS_FMGR, always_exempt, begin, checks_foreign_key, is_worker,
};
use super::layers::{self, Layer};
use super::{definition, depth, label, name_answers, names, raw, session};
use crate::denial::Denial;
use crate::{enforce, identity, plan, trial};

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_access(
    access: pg_sys::ObjectAccessType::Type,
    class: Oid,
    object: Oid,
    sub_id: c_int,
    argument: *mut c_void,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if let Some(previous) = PREV_ACCESS {
            previous(access, class, object, sub_id, argument);
        }
        if label::is_drop(access, class) {
            label::on_drop(object);
        }
        if access == pg_sys::ObjectAccessType::OAT_NAMESPACE_SEARCH {
            name_answers::on_search(object, argument);
        } else if session::confined() {
            confined_access(access, class, object);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn confined_access(
    access: pg_sys::ObjectAccessType::Type,
    class: Oid,
    object: Oid,
) {
    use pg_sys::ObjectAccessType as Kind;
    if access == Kind::OAT_FUNCTION_EXECUTE && trial::previewing() && is_of_locks(object) {
        let name = names::signature(object);
        super::report::error(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            &format!("preview: {name} would take or release advisory locks of your own session"),
            "",
            "Leave the call out of the statement that is previewed.",
        );
    }
    // The queries of foreign keys are the server's own; the expressions of the tables that they
    // change are not.
    if always_exempt() || (checks_foreign_key() && access != Kind::OAT_FUNCTION_EXECUTE) {
        return;
    }
    let Some(policy) = identity::policy() else {
        return;
    };
    match access {
        Kind::OAT_FUNCTION_EXECUTE if !layers::on(Layer::Functions) => {}
        Kind::OAT_FUNCTION_EXECUTE if checks_foreign_key() => {
            // Operators of keys are in C where their types are not built in.
            // SAFETY: inside a transaction.
            let operator = object.to_u32() >= super::FIRST_NORMAL_OID
                && !unsafe { confined_needs_fmgr(object) };
            if !operator {
                enforce(&policy, plan::judge_function(&policy, object, true));
            }
        }
        Kind::OAT_FUNCTION_EXECUTE => {
            if depth::nowhere() && !is_worker() {
                let Some(policy) = begin() else { return };
                // SAFETY: a read of a backend variable. Parse analysis and Bind call the input functions of types, and
                // the checks of their domains; they have a text.
                if unsafe { pg_sys::debug_query_string.is_null() } {
                    enforce::<()>(&policy, Err(fast_path(object)));
                    return;
                }
            }
            let direct = !depth::tree_was_checked() && !is_worker();
            if direct && policy::builtins::guards::is_guarded(object.to_u32()) {
                // Its arguments are checked in statements that were planned.
                enforce::<()>(
                    &policy,
                    Err(plan::function_name_denied(&names::signature(object))),
                );
            }
            enforce(&policy, plan::judge_function(&policy, object, direct));
        }
        Kind::OAT_POST_CREATE | Kind::OAT_DROP | Kind::OAT_POST_ALTER | Kind::OAT_TRUNCATE
            if layers::on(Layer::Objects) =>
        {
            enforce(&policy, definition::judge_object(&policy, class, object));
        }
        _ => {}
    }
}

/// Advisory locks are the session's, whoever takes them, and outlive a transaction that is rolled back.
fn is_of_locks(function: Oid) -> bool {
    function.to_u32() < super::FIRST_NORMAL_OID
        && names::function_name(function).is_some_and(|(_, name)| {
            name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_")
        })
}

fn fast_path(function: Oid) -> Denial {
    let name = names::signature(function);
    Denial::new(
        Rule::StatementNotAllowed,
        name.as_str(),
        format!("calling {name} by the fast-path message is not allowed"),
    )
    .hint("Call the function in a SELECT.")
}

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_needs_fmgr(function: Oid) -> bool {
    // SAFETY: the server's own argument, handed on.
    unsafe {
        if let Some(previous) = PREV_NEEDS_FMGR
            && previous(function)
        {
            return true;
        }
        function.to_u32() >= super::FIRST_NORMAL_OID
            && layers::on(Layer::Inlining)
            && raw::IsTransactionState()
            && session::confined()
            && confined_needs_fmgr(function)
    }
}

/// Is it a function of this database in a language with bodies, which may run statements, or an aggregate made of
/// such?
pub fn has_body(function: Oid) -> bool {
    // SAFETY: inside a transaction; what raises is caught by the guard.
    function.to_u32() >= super::FIRST_NORMAL_OID
        && unsafe { confined_needs_fmgr(function) || aggregates_by(function) }
}

/// The beginning of a row of `pg_aggregate`, fixed by catalog/pg_aggregate.h.
#[repr(C)]
struct Aggregate {
    aggfnoid: Oid,
    aggkind: core::ffi::c_char,
    aggnumdirectargs: i16,
    /// For the transition, the final value, combining, (de)serializing, and the moving aggregate.
    functions: [Oid; 8],
}

/// Is it an aggregate that calls a function with a body?
#[pg_guard]
unsafe extern "C-unwind" fn aggregates_by(function: Oid) -> bool {
    // SAFETY: the tuple is released after its fields were read.
    let parts = unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AGGFNOID as c_int,
            pg_sys::Datum::from(function),
        );
        if tuple.is_null() {
            return false;
        }
        let parts = (*pg_sys::heap_tuple_get_struct::<Aggregate>(tuple)).functions;
        pg_sys::ReleaseSysCache(tuple);
        parts
    };
    parts.into_iter().any(has_body)
}

/// Functions in a language with bodies are called through the hook (and are not inlined). Those
/// in C are not: among them are the encoding conversions, which run outside transactions.
#[pg_guard]
unsafe extern "C-unwind" fn confined_needs_fmgr(function: Oid) -> bool {
    const INTERNAL_LANGUAGE: u32 = 12;
    const C_LANGUAGE: u32 = 13;
    // SAFETY: the tuple is released after its one field was read.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::PROCOID as c_int,
            pg_sys::Datum::from(function),
        );
        if tuple.is_null() {
            return false;
        }
        let language = (*pg_sys::heap_tuple_get_struct::<pg_sys::FormData_pg_proc>(tuple)).prolang;
        pg_sys::ReleaseSysCache(tuple);
        !matches!(language.to_u32(), INTERNAL_LANGUAGE | C_LANGUAGE)
    }
}

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_fmgr(
    event: pg_sys::FmgrHookEventType::Type,
    info: *mut pg_sys::FmgrInfo,
    private: *mut pg_sys::Datum,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if let Some(previous) = PREV_FMGR {
            previous(event, info, private);
        }
        if session::confined() {
            confined_fmgr(event, (*info).fn_oid);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn confined_fmgr(event: pg_sys::FmgrHookEventType::Type, function: Oid) {
    use pg_sys::FmgrHookEventType as Event;
    let Some(policy) = identity::policy() else {
        return;
    };
    if event == Event::FHET_START {
        if layers::on(Layer::Calls) && !always_exempt() {
            enforce(&policy, plan::judge_function(&policy, function, false));
        }
        // SAFETY: a read of the security context.
        depth::function_starts(unsafe { raw::InNoForceRLSOperation() });
    } else {
        depth::function_ends();
    }
    if policy.function_trusted(function) {
        match event {
            Event::FHET_START => {
                depth::TRUSTED.fetch_add(1, Relaxed);
            }
            _ => {
                let _ = depth::TRUSTED.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
            }
        }
    }
}
