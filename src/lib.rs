//! agent_policy: confines the database role of an AI agent inside PostgreSQL.
//!
//! The modules stand in the order in which a statement meets them: who asks ([`identity`]), what
//! kind of statement it is ([`utility`]), what it touches ([`plan`]), what stands in for it
//! ([`pg::rewrite`]), how much of it ([`limits`]) and what is written down ([`statement`],
//! [`audit`]). [`catalog`] holds the policy that they ask, [`denial`] what they answer. Decisions
//! without PostgreSQL are in the crate `policy`; PostgreSQL itself is touched in [`pg`] only.
#![deny(unsafe_code)]
#![deny(ffi_unwind_calls)]

use pgrx::prelude::*;

mod api;
mod audit;
mod catalog;
mod denial;
mod doors;
mod identity;
mod limits;
#[allow(unsafe_code)]
mod pg;
mod plan;
mod statement;
mod trial;
mod utility;

use catalog::Policy;
use denial::Denial;

::pgrx::pg_module_magic!(name, version);

extension_sql_file!("../sql/parts/00_role.sql", name = "role", bootstrap);
extension_sql_file!(
    "../sql/parts/10_tables.sql",
    name = "tables",
    requires = ["role"]
);
extension_sql_file!(
    "../sql/parts/15_internal.sql",
    name = "internal",
    requires = ["tables"]
);
extension_sql_file!(
    "../sql/parts/20_roles.sql",
    name = "roles",
    requires = ["internal"]
);
extension_sql_file!(
    "../sql/parts/21_allow.sql",
    name = "allow",
    requires = ["roles"]
);
extension_sql_file!(
    "../sql/parts/22_masks.sql",
    name = "masks",
    requires = ["allow"]
);
extension_sql_file!(
    "../sql/parts/23_harden.sql",
    name = "harden",
    requires = ["masks"]
);
extension_sql_file!(
    "../sql/parts/24_labels.sql",
    name = "labels",
    requires = ["harden"]
);
extension_sql_file!(
    "../sql/parts/25_group_size.sql",
    name = "group_size",
    requires = ["labels"]
);
extension_sql_file!(
    "../sql/parts/30_mask_functions.sql",
    name = "mask_functions",
    requires = ["group_size"]
);
extension_sql_file!(
    "../sql/parts/31_identity.sql",
    name = "identity",
    requires = ["mask_functions"]
);
extension_sql_file!(
    "../sql/parts/40_views.sql",
    name = "views",
    requires = ["identity"]
);
extension_sql_file!(
    "../sql/parts/50_audit.sql",
    name = "audit",
    requires = ["views"]
);
extension_sql_file!(
    "../sql/parts/51_audit_export.sql",
    name = "audit_export",
    requires = ["audit"]
);
extension_sql_file!(
    "../sql/parts/52_audit_evidence.sql",
    name = "audit_evidence",
    requires = ["audit_export"]
);
extension_sql_file!(
    "../sql/parts/53_audit_standby.sql",
    name = "audit_standby",
    requires = ["audit_evidence"]
);
extension_sql_file!(
    "../sql/parts/60_agent.sql",
    name = "agent",
    requires = ["audit_standby"]
);
extension_sql_file!(
    "../sql/parts/61_catalogs.sql",
    name = "catalogs",
    requires = ["agent"]
);
extension_sql_file!(
    "../sql/parts/70_check.sql",
    name = "check",
    requires = ["catalogs"]
);
extension_sql_file!("../sql/parts/90_grants.sql", name = "grants", finalize);

/// Called by PostgreSQL when the library is loaded.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    if !pg::bgworker::preloading() {
        pg::login::tripwire();
        return;
    }
    api::init();
    audit::init();
    pg::init();
}

/// Raises a denial, or notes it where the policy only monitors or is only tried on.
fn enforce<T>(policy: &Policy, judged: Result<T, Denial>) -> Option<T> {
    match judged {
        Ok(value) => Some(value),
        Err(denial) if trial::running() => {
            trial::note(denial);
            None
        }
        Err(denial) if policy.monitors() => {
            if !trial::previewing() {
                statement::would_deny(&denial);
            }
            None
        }
        Err(denial) => denial.raise(),
    }
}

/// What `cargo pgrx test` asks for before it starts its cluster.
#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'agent_policy'"]
    }
}
