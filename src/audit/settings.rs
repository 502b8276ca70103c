//! Settings of the audit. None of them can be set in a session.

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
}
