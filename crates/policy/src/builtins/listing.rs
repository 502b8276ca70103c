//! What the system catalogs show a confined session: for each, the condition on its rows and what
//! stands in for some of its columns. Written in SQL over functions of the extension that answer
//! from the policy in memory; the rewriting applies it like a policy's own filters and masks.

/// The filter and the masks of one catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which rows are there.
    pub filter: &'static str,
    /// Column, and the expression in its place. A column that this version of PostgreSQL does not
    /// have is left out.
    pub masks: &'static [(&'static str, &'static str)],
}

impl Listing {
    /// No row at all.
    pub const NOTHING: Self = Self {
        filter: NOTHING,
        masks: &[],
    };
}

/// What is shown of a relation of `pg_catalog`; `None` if all of it is.
#[must_use]
pub fn listing(relation: &str) -> Option<Listing> {
    let at = LISTINGS
        .binary_search_by(|(name, ..)| (*name).cmp(relation))
        .ok()?;
    LISTINGS
        .get(at)
        .map(|&(_, filter, masks)| Listing { filter, masks })
}

/// Objects of other makers than PostgreSQL itself are shown by nobody: publications, policies, …
const BUILT_IN: &str = "oid < 16384";
const NOTHING: &str = "false";

type Row = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// Sorted by name.
#[rustfmt::skip]
static LISTINGS: &[Row] = &[
    ("pg_aggregate", "agent_policy.listed(1255, aggfnoid)", &[
        ("aggtransfn", "coalesce(agent_policy.shown(aggtransfn, 1255), 0)"),
        ("aggfinalfn", "coalesce(agent_policy.shown(aggfinalfn, 1255), 0)"),
        ("aggcombinefn", "coalesce(agent_policy.shown(aggcombinefn, 1255), 0)"),
        ("aggserialfn", "coalesce(agent_policy.shown(aggserialfn, 1255), 0)"),
        ("aggdeserialfn", "coalesce(agent_policy.shown(aggdeserialfn, 1255), 0)"),
        ("aggmtransfn", "coalesce(agent_policy.shown(aggmtransfn, 1255), 0)"),
        ("aggminvtransfn", "coalesce(agent_policy.shown(aggminvtransfn, 1255), 0)"),
        ("aggmfinalfn", "coalesce(agent_policy.shown(aggmfinalfn, 1255), 0)"),
        ("agginitval", "CASE WHEN aggfnoid < 16384 THEN agginitval END"),
        ("aggminitval", "CASE WHEN aggfnoid < 16384 THEN aggminitval END"),
    ]),
    ("pg_am", "agent_policy.listed(2601, oid)", &[]),
    ("pg_amop", "oid < 16384 OR agent_policy.listed(2753, amopfamily)", &[]),
    ("pg_amproc", "oid < 16384 OR agent_policy.listed(2753, amprocfamily)", &[
        ("amproc", "coalesce(agent_policy.shown(amproc, 1255), 0)"),
    ]),
    // adbin holds constants, and may name what is hidden.
    ("pg_attrdef", "agent_policy.default_listed(adrelid, adnum, adbin)", &[]),
    ("pg_attribute", "agent_policy.column_listed(attrelid, attnum)", &[
        // Constants: information_schema hands whole rows of this catalog to functions that are only
        // inlined where a row costs nothing.
        ("attacl", "NULL"),
        ("attfdwoptions", "NULL"),
        // A value of rows from before the column was there.
        ("attmissingval", "NULL"),
        // How many different values a column has, if somebody said so; of some servers, a position in the WAL.
        ("attoptions", "NULL"),
    ]),
    ("pg_auth_members", "agent_policy.listed(1260, roleid) AND agent_policy.listed(1260, member)", &[]),
    ("pg_authid", "agent_policy.listed(1260, oid)", &[("rolpassword", "NULL")]),
    ("pg_cast", "oid < 16384 OR (agent_policy.listed(1247, castsource) AND agent_policy.listed(1247, casttarget) \
        AND (castfunc = 0 OR agent_policy.listed(1255, castfunc)))", &[]),
    ("pg_class", "agent_policy.listed(1259, oid)", &[
        ("relacl", "agent_policy.shown_acl(relacl)"),
        ("relallfrozen", "CASE WHEN agent_policy.sizes_shown(oid) THEN relallfrozen ELSE 0 END"),
        ("relallvisible", "CASE WHEN agent_policy.sizes_shown(oid) THEN relallvisible ELSE 0 END"),
        ("relpages", "CASE WHEN agent_policy.sizes_shown(oid) THEN relpages ELSE 0 END"),
        ("relpartbound", "CASE WHEN agent_policy.bound_shown(oid) THEN relpartbound END"),
        ("reltuples", "CASE WHEN agent_policy.counts_shown(oid) THEN reltuples ELSE -1 END"),
    ]),
    ("pg_collation", "agent_policy.listed(3456, oid)", &[]),
    ("pg_constraint", "agent_policy.listed(2606, oid)", &[]),
    ("pg_conversion", "agent_policy.listed(2607, oid)", &[]),
    ("pg_database", "agent_policy.listed(1262, oid)", &[("datacl", "agent_policy.shown_acl(datacl)")]),
    ("pg_db_role_setting", NOTHING, &[]),
    ("pg_depend", "agent_policy.listed(classid, objid, objsubid) \
        AND agent_policy.listed(refclassid, refobjid, refobjsubid)", &[]),
    ("pg_description", "agent_policy.listed(classoid, objoid, objsubid)", &[]),
    ("pg_enum", "agent_policy.labels_listed(enumtypid)", &[]),
    ("pg_extension", "agent_policy.listed(3079, oid)", &[("extconfig", "NULL"), ("extcondition", "NULL")]),
    ("pg_foreign_data_wrapper", BUILT_IN, &[]),
    ("pg_foreign_server", BUILT_IN, &[]),
    ("pg_index", "agent_policy.listed(1259, indexrelid)", &[]),
    ("pg_inherits", "agent_policy.listed(1259, inhrelid) AND agent_policy.listed(1259, inhparent)", &[]),
    ("pg_language", "agent_policy.listed(2612, oid)", &[("lanacl", "agent_policy.shown_acl(lanacl)")]),
    ("pg_namespace", "agent_policy.listed(2615, oid)", &[("nspacl", "agent_policy.shown_acl(nspacl)")]),
    ("pg_opclass", "agent_policy.listed(2616, oid)", &[]),
    ("pg_operator", "agent_policy.listed(2617, oid)", &[
        ("oprcode", "coalesce(agent_policy.shown(oprcode, 1255), 0)"),
        ("oprjoin", "coalesce(agent_policy.shown(oprjoin, 1255), 0)"),
        ("oprrest", "coalesce(agent_policy.shown(oprrest, 1255), 0)"),
    ]),
    ("pg_opfamily", "agent_policy.listed(2753, oid)", &[]),
    ("pg_partitioned_table", "agent_policy.listed(1259, partrelid) AND agent_policy.partition_key_shown(partrelid)", &[]),
    ("pg_policy", NOTHING, &[]),
    ("pg_proc", "agent_policy.listed(1255, oid)", &[
        ("proacl", "agent_policy.shown_acl(proacl)"),
        ("proargdefaults", "CASE WHEN agent_policy.expression_shown(proargdefaults, 0) THEN proargdefaults END"),
        ("probin", "CASE WHEN oid < 16384 THEN probin END"),
        ("proconfig", "CASE WHEN oid < 16384 THEN proconfig END"),
        ("prosqlbody", "CASE WHEN oid < 16384 THEN prosqlbody END"),
        ("prosrc", "CASE WHEN oid < 16384 THEN prosrc ELSE '' END"),
        ("prosupport", "coalesce(agent_policy.shown(prosupport, 1255), 0)"),
    ]),
    ("pg_publication", NOTHING, &[]),
    ("pg_publication_namespace", NOTHING, &[]),
    ("pg_publication_rel", NOTHING, &[]),
    ("pg_range", "agent_policy.listed(1247, rngtypid)", &[
        ("rngcanonical", "coalesce(agent_policy.shown(rngcanonical, 1255), 0)"),
        ("rngsubdiff", "coalesce(agent_policy.shown(rngsubdiff, 1255), 0)"),
    ]),
    // A view's definition, where all that it names may be seen.
    ("pg_rewrite", "rulename = '_RETURN' AND agent_policy.view_shown(ev_class)", &[]),
    ("pg_sequence", "agent_policy.listed(1259, seqrelid)", &[]),
    // Of roles nobody but their administrator needs a comment, members included.
    ("pg_shdescription", "agent_policy.listed(classoid, objoid) AND (objoid < 16384 OR classoid <> 1260)", &[]),
    ("pg_statistic", "agent_policy.column_readable(starelid, staattnum)", &[]),
    ("pg_statistic_ext", "agent_policy.listed(3381, oid)", &[]),
    ("pg_tablespace", BUILT_IN, &[("spcacl", "agent_policy.shown_acl(spcacl)"), ("spcoptions", "NULL")]),
    ("pg_transform", "oid < 16384 OR agent_policy.listed(1247, trftype)", &[
        ("trffromsql", "coalesce(agent_policy.shown(trffromsql, 1255), 0)"),
        ("trftosql", "coalesce(agent_policy.shown(trftosql, 1255), 0)"),
    ]),
    // Its arguments and conditions hold whatever its maker wrote; nobody can use a trigger.
    ("pg_trigger", NOTHING, &[]),
    ("pg_ts_config", "agent_policy.listed(3602, oid)", &[]),
    ("pg_ts_config_map", "agent_policy.listed(3602, mapcfg)", &[]),
    ("pg_ts_dict", "agent_policy.listed(3600, oid)", &[]),
    ("pg_ts_parser", "agent_policy.listed(3601, oid)", &[]),
    ("pg_ts_template", "agent_policy.listed(3764, oid)", &[]),
    ("pg_type", "agent_policy.listed(1247, oid)", &[
        // As cheap as pg_attribute's, and for the same reason.
        ("typacl", "NULL"),
        ("typdefault", "CASE WHEN oid < 16384 THEN typdefault END"),
        ("typdefaultbin", "CASE WHEN oid < 16384 THEN typdefaultbin END"),
    ]),
];

/// Is a setting shown by `pg_settings`? Those that hold addresses, paths, commands or what this
/// extension and others are configured with are not; the name is in lower case.
#[must_use]
pub fn setting_shown(name: &str) -> bool {
    // Settings of extensions and applications: class.name.
    if name.contains('.') {
        return false;
    }
    const ENDS: &[&str] = &[
        "_file",
        "_command",
        "_directory",
        "_directories",
        "_conninfo",
        "_libraries",
        "_dir",
        "_path",
        "_slot_name",
        "_keyfile",
        "_dh_params_file",
        "_ciphers",
        "_suites",
    ];
    const HIDDEN: &[&str] = &[
        "primary_conninfo",
        "synchronous_standby_names",
        "listen_addresses",
        "archive_library",
        "log_filename",
        "log_line_prefix",
        "syslog_ident",
        "bonjour_name",
        "cluster_name",
        "recovery_target",
        "recovery_target_name",
        "recovery_target_time",
        "recovery_target_xid",
        "recovery_target_lsn",
        "event_source",
        "oauth_validator_libraries",
        "restrict_nonsystem_relation_kind",
    ];
    // The session's own, which drivers set and read.
    if name == "search_path" {
        return true;
    }
    !HIDDEN.contains(&name) && !ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtins::{Catalog, catalog};

    #[test]
    fn sorted() {
        assert!(LISTINGS.is_sorted_by(|a, b| a.0 < b.0));
    }

    /// Every catalog that may be read, itself or below a view, is filtered or is a view over such.
    #[test]
    fn every_readable_catalog_is_listed() {
        const VIEWS: &[&str] = &[
            "pg_indexes",
            "pg_matviews",
            "pg_roles",
            "pg_rules",
            "pg_settings",
            "pg_stat_activity",
            "pg_stat_all_indexes",
            "pg_stat_all_tables",
            "pg_stat_user_functions",
            "pg_stat_user_indexes",
            "pg_stat_user_tables",
            "pg_statio_all_indexes",
            "pg_statio_all_sequences",
            "pg_statio_all_tables",
            "pg_statio_user_indexes",
            "pg_statio_user_sequences",
            "pg_statio_user_tables",
            "pg_stats",
            "pg_tables",
            "pg_views",
            "pg_available_extensions",
            "pg_available_extension_versions",
            "pg_seclabels",
            "pg_user_mappings",
        ];
        // Those that `shows_nothing` empties, by OID.
        const EMPTY: &[&str] = &[
            "pg_default_acl",
            "pg_event_trigger",
            "pg_foreign_table",
            "pg_init_privs",
            "pg_largeobject_metadata",
            "pg_seclabel",
            "pg_shseclabel",
            "pg_subscription",
            "pg_user_mapping",
        ];
        for relation in super::super::relations::readable_catalogs() {
            assert_ne!(catalog("pg_catalog", relation), Catalog::Deny);
            assert!(
                listing(relation).is_some()
                    || VIEWS.contains(&relation)
                    || EMPTY.contains(&relation),
                "{relation}"
            );
        }
    }

    #[test]
    fn settings() {
        for hidden in [
            "data_directory",
            "hba_file",
            "ssl_key_file",
            "shared_preload_libraries",
            "primary_conninfo",
            "agent_policy.user_email",
            "archive_command",
            "app.token",
        ] {
            assert!(!setting_shown(hidden), "{hidden}");
        }
        for shown in [
            "server_version",
            "search_path",
            "work_mem",
            "TimeZone",
            "max_index_keys",
        ] {
            assert!(setting_shown(shown), "{shown}");
        }
    }
}
