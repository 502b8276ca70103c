//! What the audit says about the session.

use std::ffi::{CStr, CString};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use pgrx::pg_sys;

use super::{raw, session::Users, text, users};

/// What does not change while the session lasts.
#[derive(Debug, Clone)]
pub struct Session {
    pub database: String,
    pub client: Option<IpAddr>,
    pub pid: i32,
    /// As `%c` of log_line_prefix: start time and pid in hexadecimal.
    pub id: String,
    pub session_user: String,
}

pub fn session() -> Session {
    // SAFETY: reads of backend variables and a catalog look-up inside a transaction.
    unsafe {
        let pid = pg_sys::MyProcPid;
        let client = if pg_sys::MyProcPort.is_null() {
            None
        } else {
            pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[])
                .and_then(|addr| {
                    pgrx::direct_function_call::<String>(pg_sys::network_host, &[Some(addr)])
                })
                .and_then(|host| host.parse().ok())
        };
        Session {
            database: database_name(),
            client,
            pid,
            id: {
                let started = pg_sys::MyStartTime;
                format!("{started:x}.{pid:x}")
            },
            session_user: users::name(Users::now().session),
        }
    }
}

/// The name of the database at hand; inside a transaction.
pub fn database_name() -> String {
    // SAFETY: a catalog look-up inside a transaction; a palloc'd name or null.
    unsafe { text::from_ptr(pg_sys::get_database_name(pg_sys::MyDatabaseId)) }.unwrap_or_default()
}

/// When this server started, in PostgreSQL's epoch.
pub fn server_started_at() -> i64 {
    // SAFETY: set by the postmaster before there are other processes.
    unsafe { pg_sys::PgStartTime }
}

/// Has every session read again what it keeps of a relation, once this transaction is over.
pub fn relation_changes(relid: pg_sys::Oid) {
    // SAFETY: in a transaction; the relation is there.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relid) };
}

/// The transaction's commit reaches the disk before anybody hears of it, whatever `synchronous_commit` says.
pub fn commit_durably() {
    // SAFETY: sets a flag of the transaction at hand.
    unsafe { pg_sys::ForceSyncCommit() }
}

/// Is this the transaction at hand, or a part of it?
pub fn is_current_transaction(xid: u32) -> bool {
    // SAFETY: compares with what this backend knows of its transaction.
    unsafe { pg_sys::TransactionIdIsCurrentTransactionId(pg_sys::TransactionId::from(xid)) }
}

/// The system identifier, and the database at hand: the same on a standby as on its primary.
pub fn database_identity() -> (u64, u32) {
    // SAFETY: reads the control file's copy in shared memory, and a backend variable.
    unsafe { (pg_sys::GetSystemIdentifier(), pg_sys::MyDatabaseId.to_u32()) }
}

/// How replication reaches the primary, if that is set.
pub fn primary_conninfo() -> Option<CString> {
    // SAFETY: a look-up among the settings; a C string that stays until they change, or null.
    let set = unsafe {
        let set = pg_sys::GetConfigOption(c"primary_conninfo".as_ptr(), true, false);
        (!set.is_null()).then(|| CStr::from_ptr(set).to_owned())
    };
    set.filter(|s| !s.is_empty())
}

/// The role the session acts as: what SET ROLE made it, a function's owner left aside.
pub fn role() -> pg_sys::Oid {
    Users::now().outer
}

/// `application_name`, in the server's encoding.
pub fn application_name<T>(read: impl FnOnce(&[u8]) -> T) -> T {
    // SAFETY: null or a NUL-terminated setting, which stays while it is read.
    unsafe {
        match pg_sys::application_name {
            name if name.is_null() => read(b""),
            name => read(CStr::from_ptr(name).to_bytes()),
        }
    }
}

/// The transaction's 64-bit id, 0 while it has none.
pub fn transaction_id() -> u64 {
    // SAFETY: a read of the transaction state.
    unsafe {
        if raw::IsTransactionState() {
            ending_transaction_id()
        } else {
            0
        }
    }
}

/// The same for a transaction that is just ending.
pub fn ending_transaction_id() -> u64 {
    // SAFETY: a read of the transaction state.
    unsafe { raw::GetTopFullTransactionIdIfAny().value }
}

/// Is it a setting that natively only superusers and members of `pg_read_all_settings` read?
pub fn is_setting_for_superusers(name: &str) -> bool {
    let name = text::to_c(name);
    // SAFETY: a look-up among the settings; one that is not there has no flags.
    let flags = unsafe { pg_sys::GetConfigOptionFlags(name.as_ptr(), true) };
    flags as u32 & pg_sys::GUC_SUPERUSER_ONLY != 0
}

/// Would SHOW ALL show those, too? For who only asks what a role may, it is that role.
pub fn reads_all_settings() -> bool {
    let role = crate::identity::assumed().unwrap_or_else(role);
    users::inherits(role, pg_sys::Oid::from(pg_sys::ROLE_PG_READ_ALL_SETTINGS))
}

/// Microseconds since the Unix epoch.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}

/// Was it found that the client is gone?
pub fn client_lost() -> bool {
    // SAFETY: a read of a variable that a write to the client sets.
    unsafe { pg_sys::ClientConnectionLost != 0 }
}

/// May catalogs be read now?
pub fn in_transaction() -> bool {
    // SAFETY: a read of the transaction state.
    unsafe { raw::IsTransactionState() }
}
