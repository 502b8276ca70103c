//! Security labels of protected roles, in the shared catalog `pg_shseclabel`: what the whole
//! cluster knows of a policy, readable before a session has a database.
//!
//! A trigger on `policy_role` writes them, so they follow the table whoever changes it, a restore
//! included. As rows of a shared catalog they are transactional, reach standbys, are dumped by
//! pg_dumpall and go with their role.

use core::ffi::{CStr, c_char};
use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};
use policy::label::{Databases, Entry};

use super::call::{self, sql_function};
use super::{compat, report, scan, users};
use crate::catalog;

pub const PROVIDER: &CStr = c"agent_policy";
const PG_AUTHID: Oid = Oid::from_u32(1260);
const PG_DATABASE: Oid = Oid::from_u32(1262);
const PG_EXTENSION: Oid = Oid::from_u32(3079);
const PG_SHSECLABEL: Oid = Oid::from_u32(3592);
const PG_SECLABEL: Oid = Oid::from_u32(3596);
const PG_CLASS: Oid = Oid::from_u32(1259);

/// A role with a label of ours.
pub struct Labelled {
    pub role: Oid,
    /// `None`: stored out of line.
    label: Option<String>,
    /// What the label says, once somebody asks: of all the roles of a cluster, few are a session's.
    databases: OnceCell<Option<Databases>>,
}

impl Labelled {
    /// `None` where the label cannot be read.
    pub fn databases(&self) -> Option<&Databases> {
        self.databases
            .get_or_init(|| self.label.as_deref().and_then(Databases::parse))
            .as_ref()
    }

    /// Is the role confined somewhere, and not just watched? In doubt it is.
    pub fn enforced(&self) -> bool {
        self.databases().is_none_or(Databases::enforced)
    }

    /// Where, for people.
    pub fn names(&self) -> String {
        self.databases()
            .map_or_else(|| "its own database".to_owned(), Databases::names)
    }
}

/// Every label of ours. Works at login, too: the catalog is one of the few that every backend
/// knows before it has looked into any other.
pub fn read() -> Vec<Labelled> {
    scan::rows(PG_SHSECLABEL, |values, _| {
        let [object, class, provider, label] = *values else {
            return None;
        };
        // SAFETY: the columns are oid, oid, text and text, none of them NULL.
        unsafe {
            if Oid::from(class.value() as u32) != PG_AUTHID
                || call::bytes(provider) != PROVIDER.to_bytes()
            {
                return None;
            }
            // One so long that it is stored out of line cannot be fetched at login.
            let inline = !pgrx::varatt_is_1b_e(label.cast_mut_ptr());
            Some(Labelled {
                role: Oid::from(object.value() as u32),
                label: inline.then(|| String::from_utf8_lossy(call::bytes(label)).into_owned()),
                databases: OnceCell::new(),
            })
        }
    })
}

/// Labels of columns in this database: relation, attribute number, label.
pub fn of_columns() -> Vec<(Oid, i16, String)> {
    scan::rows(PG_SECLABEL, |values, _| {
        let [object, class, part, provider, label] = *values else {
            return None;
        };
        // SAFETY: the columns are oid, oid, int4, text and text, none of them NULL.
        unsafe {
            if Oid::from(class.value() as u32) != PG_CLASS
                || call::bytes(provider) != PROVIDER.to_bytes()
            {
                return None;
            }
            Some((
                Oid::from(object.value() as u32),
                i16::try_from(part.value() as i32).ok().filter(|n| *n > 0)?,
                super::text::from_server(call::bytes(label)),
            ))
        }
    })
}

/// Which of `roles` the user is or inherits; of a superuser none.
pub fn inherited_of(user: Oid, mut roles: Vec<Labelled>) -> Vec<Labelled> {
    if roles.is_empty() || users::is_superuser(user) {
        return Vec::new();
    }
    let mut closure = vec![user];
    let mut next = 0;
    while let Some(&member) = closure.get(next) {
        next += 1;
        for role in compat::inherited(member) {
            if !closure.contains(&role) {
                closure.push(role);
            }
        }
    }
    roles.retain(|labelled| closure.contains(&labelled.role));
    roles
}

/// The databases of the cluster: number and name.
pub fn databases() -> Vec<(u32, String)> {
    scan::rows(PG_DATABASE, |values, _| {
        let [oid, name, ..] = *values else {
            return None;
        };
        // SAFETY: the first columns are oid and name.
        let name = unsafe { CStr::from_ptr(name.cast_mut_ptr::<pg_sys::NameData>().cast()) };
        Some((oid.value() as u32, plain(name)))
    })
}

/// A database's name as bytes, whatever encoding they are in: it is compared with other bytes.
pub fn plain(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Enters this database in the labels of `roles` (and whether its policy is enforced), and takes
/// it out of all others.
fn sync(roles: &[(Oid, bool)]) {
    let databases = databases();
    // SAFETY: set in every session that runs a statement.
    let here = unsafe { pg_sys::MyDatabaseId }.to_u32();
    let Some((_, name)) = databases.iter().find(|(oid, _)| *oid == here) else {
        return;
    };
    let edit = |role: Oid, label: &mut Databases| {
        match roles.iter().find(|(known, _)| *known == role) {
            Some((_, enforced)) => {
                let entry = Entry {
                    oid: here,
                    enforced: *enforced,
                };
                label.set(name, entry);
            }
            None => label.remove(name, here),
        }
        // What was dropped without a word to us.
        label.retain(|name, oid| databases.iter().any(|(o, n)| *o == oid || n == name));
    };
    let labelled = read();
    let mut concerned: Vec<Oid> = labelled
        .iter()
        .filter(|l| {
            l.databases()
                .is_some_and(|d| d.find(name, Some(here)).is_some())
        })
        .map(|l| l.role)
        .chain(roles.iter().map(|(role, _)| *role))
        .collect();
    // In one order, so that two databases that do this do not wait for each other.
    concerned.sort_unstable_by_key(|role| role.to_u32());
    concerned.dedup();
    for role in concerned {
        change(role, &labelled, &edit);
    }
}

fn change(role: Oid, labelled: &[Labelled], edit: &impl Fn(Oid, &mut Databases)) {
    let edited = |labelled: &[Labelled]| {
        let known = labelled.iter().find(|l| l.role == role);
        let before = known.and_then(|l| l.databases().cloned());
        let mut after = before.clone().unwrap_or_default();
        edit(role, &mut after);
        let same = match &before {
            Some(before) => *before == after,
            None => known.is_none() && after.is_empty(),
        };
        (!same).then_some(after)
    };
    if edited(labelled).is_none() {
        return;
    }
    // SAFETY: catalog changes inside a transaction, as SECURITY LABEL would make them; the lock is
    // held to its end, and what others have changed before is read again under it.
    unsafe {
        pg_sys::LockSharedObject(
            PG_AUTHID,
            role,
            0,
            pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE,
        );
        let Some(label) = edited(&read()) else {
            return;
        };
        if !invalidate(role) {
            return;
        }
        let object = pg_sys::ObjectAddress {
            classId: PG_AUTHID,
            objectId: role,
            objectSubId: 0,
        };
        let text = std::ffi::CString::new(label.to_string()).unwrap_or_default();
        pg_sys::SetSecurityLabel(
            &raw const object,
            PROVIDER.as_ptr(),
            if label.is_empty() {
                std::ptr::null()
            } else {
                text.as_ptr()
            },
        );
        pg_sys::CommandCounterIncrement();
    }
}

/// Has every session of the cluster look anew at who is confined, once the transaction has
/// committed; false when the role is gone.
fn invalidate(role: Oid) -> bool {
    // SAFETY: the tuple is the role's own, and released after the message was queued.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            Datum::from(role),
        );
        if tuple.is_null() {
            return false;
        }
        let relation = pg_sys::table_open(PG_AUTHID, pg_sys::RowExclusiveLock as i32);
        pg_sys::CacheInvalidateHeapTuple(relation, tuple, std::ptr::null_mut());
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        pg_sys::ReleaseSysCache(tuple);
    }
    true
}

sql_function! {
    /// _label_roles(): the trigger on policy_role.
    fn label_roles / pg_finfo_label_roles(fcinfo) {
        let context = (*fcinfo).context.cast::<pg_sys::TriggerData>();
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            report::error(
                PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "_label_roles is a trigger function",
                "",
                "It belongs to the table policy_role of agent_policy.",
            );
        }
        // The statement's own rows are to be seen.
        pg_sys::CommandCounterIncrement();
        let roles: Vec<_> = catalog::read_roles()
            .unwrap_or_default()
            .iter()
            .map(|row| (row.role, row.enforced()))
            .collect();
        sync(&roles);
        Datum::from(0)
    }
}

/// The extension is being dropped: nobody is protected in this database any more.
///
/// # Safety
/// Called from `object_access_hook`.
#[pgrx::pg_guard]
pub unsafe extern "C-unwind" fn on_drop(object: Oid) {
    // SAFETY: a catalog look-up inside a transaction; the name is palloc'd or null.
    let name = unsafe { pg_sys::get_extension_name(object) };
    // SAFETY: see above.
    if !name.is_null() && unsafe { CStr::from_ptr(name) } == c"agent_policy" {
        sync(&[]);
    }
}

/// Is this object access one for [`on_drop`]?
#[inline]
pub fn is_drop(access: pg_sys::ObjectAccessType::Type, class: Oid) -> bool {
    access == pg_sys::ObjectAccessType::OAT_DROP && class == PG_EXTENSION
}

// --- SECURITY LABEL FOR agent_policy ------------------------------------------------------------

/// Called for each utility command. The provider is made known to the session that names it, and
/// to no other: a server without providers, or with one, answers SECURITY LABEL as before.
///
/// # Safety
/// `node` is a utility statement.
#[inline]
pub unsafe fn offer(node: *const pg_sys::Node) {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // SAFETY: the cast follows the tag; the provider's name is null or a C string.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_SecLabelStmt {
            return;
        }
        let provider = (*node.cast::<pg_sys::SecLabelStmt>()).provider;
        if !provider.is_null()
            && CStr::from_ptr(provider) == PROVIDER
            && !REGISTERED.swap(true, Relaxed)
        {
            pg_sys::register_label_provider(PROVIDER.as_ptr(), Some(check));
        }
    }
}

/// Judges a label that somebody sets by hand.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn check(object: *const pg_sys::ObjectAddress, label: *const c_char) {
    // SAFETY: the server's own arguments; a null label removes one.
    unsafe {
        let label = (!label.is_null()).then(|| CStr::from_ptr(label));
        match ((*object).classId, (*object).objectSubId) {
            (PG_AUTHID, _) => check_role((*object).objectId, label),
            (PG_CLASS, column) if column > 0 => {
                super::label_column::check((*object).objectId, column as i16, label);
            }
            _ => report::error(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "agent_policy has security labels of columns and roles only",
                "",
                "SECURITY LABEL FOR agent_policy ON COLUMN t.c IS 'email', and agent_policy.mask_label('email', 'email').",
            ),
        }
    }
}

/// A superuser may, since a dump is replayed that way.
fn check_role(role: Oid, label: Option<&CStr>) {
    // SAFETY: a catalog look-up inside a transaction.
    if !unsafe { pg_sys::superuser() } {
        report::error(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "only superusers may set security labels of agent_policy",
            "",
            "agent_policy.protect_role() and agent_policy.release_role() keep them.",
        );
    }
    if label.is_some_and(|label| Databases::parse(&plain(label)).is_none()) {
        report::error(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "not a security label of agent_policy",
            "",
            "agent_policy.protect_role() writes them; pg_dumpall carries them along.",
        );
    }
    invalidate(role);
}
