//! Settings of the audit. None of them can be set in a session.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

/// When a record counts as durable.
#[derive(PostgresGucEnum, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When its spool file is synced.
    #[name = c"spool"]
    Spool,
    /// When the worker has committed it.
    #[name = c"table"]
    Table,
    /// At once.
    #[name = c"async"]
    Async,
}

pub static DURABILITY: GucSetting<Durability> = GucSetting::<Durability>::new(Durability::Spool);
static MAX_SPOOL: GucSetting<i32> = GucSetting::<i32>::new(1024);

static SHIP_CONNINFO: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Where a standby ships its records to; `None`: nowhere.
pub fn ship_conninfo() -> Option<CString> {
    SHIP_CONNINFO.get().filter(|s| !s.is_empty())
}

static KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The key that signs the audit's blocks.
pub fn key_file(data_dir: &Path) -> PathBuf {
    let set = KEY_FILE
        .get()
        .map(|s| s.to_string_lossy().into_owned())
        .filter(|s| !s.is_empty());
    // A relative path is one in the data directory.
    data_dir.join(set.as_deref().unwrap_or("agent_policy/audit_key"))
}

/// Whether it is the one that is made where there is none.
pub fn key_file_is_ours() -> bool {
    KEY_FILE.get().is_none_or(|s| s.is_empty())
}

/// Bytes of a database that may wait to be ingested.
pub fn max_spool() -> u64 {
    (MAX_SPOOL.get().max(0) as u64) << 20
}

pub fn define() {
    GucRegistry::define_enum_guc(
        c"agent_policy.audit_durability",
        c"When the audit record of a statement counts as durable.",
        c"spool: its spool file is synced; table: the ingest worker has committed it; async: at once, so that a crash of the operating system can lose records.",
        &DURABILITY,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_int_guc(
        c"agent_policy.audit_max_spool",
        c"Audit records of a database that may wait to be ingested.",
        c"Beyond it agents are denied.",
        &MAX_SPOOL,
        1,
        i32::MAX / 2,
        GucContext::Sighup,
        GucFlags::UNIT_MB | GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"agent_policy.audit_ship_conninfo",
        c"How a standby reaches the primary to hand over its audit records.",
        c"A libpq connection string without a password and a database. Host, port and TLS options that it leaves out are those of primary_conninfo. Empty: records stay on the standby until it is promoted.",
        &SHIP_CONNINFO,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
    GucRegistry::define_string_guc(
        c"agent_policy.audit_key_file",
        c"File with the private key that signs the blocks of the audit log.",
        c"PEM, Ed25519; public keys in it are trusted for blocks of an earlier time. Empty: agent_policy/audit_key in the data directory, which is made when it is not there.",
        &KEY_FILE,
        GucContext::Sighup,
        GucFlags::SUPERUSER_ONLY,
    );
}
