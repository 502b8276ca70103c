//! The doors of the server: what is asked of a connection before it is let in, and of a process
//! before it runs a statement.

use core::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, Oid};
use policy::startup::{self, Verdict};

use super::{compat::Port, label, users};
use crate::doors;

/// Refuses what a protected role may not connect as, to or with.
///
/// Everybody else is asked no more than whether any role is labelled at all and, where one is,
/// whether they inherit it.
///
/// # Safety
/// `port` is the connection that was just authenticated.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn check(port: *mut Port) {
    // SAFETY: by the caller's promise; strings of a port are null or C strings.
    unsafe {
        if !super::raw::IsTransactionState() || (*port).user_name.is_null() {
            return;
        }
        let labelled = label::read();
        if labelled.is_empty() {
            return;
        }
        let user = pg_sys::get_role_oid((*port).user_name, true);
        if user == Oid::INVALID {
            return;
        }
        let mut labelled = label::inherited_of(user, labelled);
        labelled.retain(label::Labelled::enforced);
        if labelled.is_empty() {
            return;
        }
        super::parsing::install();
        let name = string((*port).user_name);
        let door = doors::Door {
            user: &name,
            database: &string((*port).database_name),
            replication: pg_sys::am_walsender,
        };
        match doors::judge(&door, &labelled, label::databases) {
            Err(denial) => denial.refuse_login(),
            Ok(enforced) if enforced => settings(port, &name),
            Ok(_) => {}
        }
    }
}

unsafe fn string(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a C string by the caller's promise.
    label::plain(unsafe { CStr::from_ptr(text) })
}

/// Judges the settings of the start-up packet. Those that are accepted without effect are taken out
/// of it.
unsafe fn settings(port: *mut Port, user: &str) {
    let judge = |name: &str, value: &str| match startup::judge(name, value) {
        Verdict::Take => true,
        Verdict::Drop => false,
        Verdict::Refuse => doors::setting(user, name).refuse_login(),
    };
    // SAFETY: by the caller's promise. What takes the place of the old lives as long as the
    // backend does.
    unsafe {
        let top = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        if !(*port).cmdline_options.is_null() {
            let given = CStr::from_ptr((*port).cmdline_options).to_bytes();
            match startup::assignments(given) {
                Err(word) => doors::setting(user, &word).refuse_login(),
                Ok(mut all) => {
                    all.retain(|a| judge(&a.name, &a.value));
                    let kept = std::ffi::CString::new(startup::options(&all)).unwrap_or_default();
                    (*port).cmdline_options = pg_sys::pstrdup(kept.as_ptr());
                }
            }
        }
        let given: Vec<*const c_char> = super::nodes::pointers::<c_char>((*port).guc_options)
            .map(|p| p.cast_const())
            .collect();
        let mut kept = std::ptr::null_mut();
        for pair in given.chunks(2) {
            if let [name, value] = *pair
                && judge(&string(name), &string(value))
            {
                kept = pg_sys::lappend(kept, name.cast_mut().cast());
                kept = pg_sys::lappend(kept, value.cast_mut().cast());
            }
        }
        (*port).guc_options = kept;
        pg_sys::MemoryContextSwitchTo(top);
    }
}

/// What runs the statement, if it is not a client's session (or part of one).
pub fn process() -> Option<&'static str> {
    use pg_sys::BackendType as Kind;
    // SAFETY: reads of backend variables.
    unsafe {
        if pg_sys::am_walsender {
            return Some("a replication connection");
        }
        (pg_sys::MyBackendType == Kind::B_BG_WORKER && pg_sys::ParallelWorkerNumber < 0)
            .then_some("a background worker")
    }
}

/// The library is loaded into a running session: nothing is enforced in it. One of a role that is
/// protected, or was hardened to be, ends here.
pub fn tripwire() {
    const PG_DB_ROLE_SETTING: Oid = Oid::from_u32(2964);
    // SAFETY: reads of backend variables, then catalog look-ups inside a transaction.
    unsafe {
        if !pg_sys::IsUnderPostmaster
            || pg_sys::IsBinaryUpgrade
            || pg_sys::MyDatabaseId == Oid::INVALID
            || pg_sys::ParallelWorkerNumber >= 0
            || !super::raw::IsTransactionState()
        {
            return;
        }
        let user = super::raw::GetSessionUserId();
        if users::is_superuser(user) {
            return;
        }
        let mut labelled = label::inherited_of(user, label::read());
        labelled.retain(label::Labelled::enforced);
        // What ALTER ROLE has set to load us, here or everywhere.
        let tripwire = || {
            super::scan::rows(PG_DB_ROLE_SETTING, |values, nulls| {
                let [_, role, config] = *values else {
                    return None;
                };
                (Oid::from(role.value() as u32) == user)
                    .then(|| <Vec<Option<String>> as pgrx::FromDatum>::from_datum(config, nulls[2]))
                    .flatten()
            })
            .into_iter()
            .flatten()
            .flatten()
            .any(|setting| {
                setting.starts_with("session_preload_libraries=")
                    && setting.contains("agent_policy")
            })
        };
        let protected_here = || {
            crate::catalog::read_roles().is_none_or(|roles| {
                roles
                    .iter()
                    .any(|row| row.role == user || users::inherits(user, row.role))
            })
        };
        if !labelled.is_empty() || protected_here() || tripwire() {
            doors::not_preloaded(&users::name(user)).refuse_login();
        }
    }
}
