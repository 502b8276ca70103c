//! Which relations of `pg_catalog` and `information_schema` a confined role may read, reviewed for
//! PostgreSQL 15 to 18. A relation of those schemas that is not listed is denied.
//!
//! Allow is about the name, not about the rows: the caller still hides the rows of objects the role
//! may not use (`pg_class`, `pg_attribute`, `pg_proc`, `pg_stats`, …), other sessions in
//! `pg_stat_activity`, and the columns that hold what the object's rows may show but a role should
//! not see: `pg_roles.rolconfig`, `pg_proc.prosrc` of functions it may not call,
//! `pg_attribute.attmissingval`, `pg_class.reltuples` of filtered tables, `pg_settings` of secrets.

/// What a confined role may do with a system relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catalog {
    /// It may be named in a statement.
    Allow,
    /// It is read only underneath a system view that may be named.
    ViewOnly,
    /// It holds data, secrets, or what other sessions do; or nobody reviewed it.
    Deny,
}

/// The disposition of a relation of `pg_catalog` or `information_schema`.
#[must_use]
pub fn catalog(schema: &str, relation: &str) -> Catalog {
    let (allow, view_only) = match schema {
        "pg_catalog" => (CATALOG_ALLOW, CATALOG_VIEW_ONLY),
        "information_schema" => (INFORMATION_ALLOW, NONE),
        _ => return Catalog::Deny,
    };
    if allow.binary_search(&relation).is_ok() {
        Catalog::Allow
    } else if view_only.binary_search(&relation).is_ok() {
        Catalog::ViewOnly
    } else {
        Catalog::Deny
    }
}

static NONE: &[&str] = &[];

/// Structure of objects, and the views clients ask for (clients.md). `pg_publication*` and
/// `pg_statistic_ext` (definitions, no data) are here because psql's `\d` reads them for every table,
/// `pg_available_extensions` because `\dx` of psql 18 does, `pg_policy` and `pg_rewrite` because
/// clients.md lists them. Of `pg_auth_members`, `pg_default_acl`, `pg_event_trigger`, `pg_foreign_*`,
/// `pg_init_privs`, `pg_largeobject_metadata`, `pg_seclabels` and `pg_subscription`, which pg_dump and
/// psql's `\du` cannot do without, no row is shown but the role's own memberships. Sorted.
static CATALOG_ALLOW: &[&str] = &[
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_database",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_init_privs",
    "pg_language",
    "pg_largeobject_metadata",
    "pg_matviews",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_range",
    "pg_rewrite",
    "pg_roles",
    "pg_rules",
    "pg_seclabel",
    "pg_seclabels",
    "pg_sequence",
    "pg_settings",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_stat_activity",
    "pg_stat_user_functions",
    "pg_stat_user_indexes",
    "pg_stat_user_tables",
    "pg_statio_user_indexes",
    "pg_statio_user_sequences",
    "pg_statio_user_tables",
    "pg_statistic_ext",
    "pg_stats",
    "pg_subscription",
    "pg_tables",
    "pg_tablespace",
    "pg_transform",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
    "pg_views",
];

/// Underneath the views above: password hashes and settings of roles (`pg_roles`), memberships
/// (`information_schema.applicable_roles`), options of foreign servers
/// (`information_schema.usage_privileges`), counters of all tables (`pg_stat_user_tables`), values of
/// columns (`pg_stats`). Sorted.
static CATALOG_VIEW_ONLY: &[&str] = &[
    "pg_authid",
    "pg_db_role_setting",
    "pg_stat_all_indexes",
    "pg_stat_all_tables",
    "pg_statio_all_indexes",
    "pg_statio_all_sequences",
    "pg_statio_all_tables",
    "pg_statistic",
];

/// Catalogs that may be named, or are read underneath a view, and show no row: tools read them
/// whether or not they need them, and there is nothing in them that an agent can use. By OID, sorted.
static SHOW_NOTHING: &[u32] = &[
    826,  // pg_default_acl
    1417, // pg_foreign_server
    2328, // pg_foreign_data_wrapper
    2995, // pg_largeobject_metadata
    3118, // pg_foreign_table
    3394, // pg_init_privs
    3466, // pg_event_trigger
    3592, // pg_shseclabel
    3596, // pg_seclabel
    6100, // pg_subscription
];

/// Is this a catalog that a confined session sees empty?
#[must_use]
pub fn shows_nothing(relid: u32) -> bool {
    SHOW_NOTHING.binary_search(&relid).is_ok()
}

/// All but the foreign-data views, whose options hold addresses and passwords. These views show by
/// themselves only what the role owns or has a privilege on. Sorted.
static INFORMATION_ALLOW: &[&str] = &[
    "administrable_role_authorizations",
    "applicable_roles",
    "attributes",
    "character_sets",
    "check_constraint_routine_usage",
    "check_constraints",
    "collation_character_set_applicability",
    "collations",
    "column_column_usage",
    "column_domain_usage",
    "column_privileges",
    "column_udt_usage",
    "columns",
    "constraint_column_usage",
    "constraint_table_usage",
    "data_type_privileges",
    "domain_constraints",
    "domain_udt_usage",
    "domains",
    "element_types",
    "enabled_roles",
    "information_schema_catalog_name",
    "key_column_usage",
    "parameters",
    "referential_constraints",
    "role_column_grants",
    "role_routine_grants",
    "role_table_grants",
    "role_udt_grants",
    "role_usage_grants",
    "routine_column_usage",
    "routine_privileges",
    "routine_routine_usage",
    "routine_sequence_usage",
    "routine_table_usage",
    "routines",
    "schemata",
    "sequences",
    "sql_features",
    "sql_implementation_info",
    "sql_parts",
    "sql_sizing",
    "table_constraints",
    "table_privileges",
    "tables",
    "transforms",
    "triggered_update_columns",
    "triggers",
    "udt_privileges",
    "usage_privileges",
    "user_defined_types",
    "view_column_usage",
    "view_routine_usage",
    "view_table_usage",
    "views",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Reviewed and denied: data, secrets, other sessions, the server. Kept here so that the review
    /// is complete; what is in no list is denied all the same.
    static DENIED: &[(&str, &[&str])] = &[
        (
            "pg_catalog",
            &[
                "pg_aios",
                "pg_backend_memory_contexts",
                "pg_config",
                "pg_cursors",
                "pg_file_settings",
                "pg_group",
                "pg_hba_file_rules",
                "pg_ident_file_mappings",
                "pg_largeobject",
                "pg_locks",
                "pg_parameter_acl",
                "pg_policies",
                "pg_prepared_statements",
                "pg_prepared_xacts",
                "pg_publication_tables",
                "pg_replication_origin",
                "pg_replication_origin_status",
                "pg_replication_slots",
                "pg_sequences",
                "pg_shadow",
                "pg_shdepend",
                "pg_shmem_allocations",
                "pg_shmem_allocations_numa",
                "pg_stat_archiver",
                "pg_stat_bgwriter",
                "pg_stat_checkpointer",
                "pg_stat_database",
                "pg_stat_database_conflicts",
                "pg_stat_gssapi",
                "pg_stat_io",
                "pg_stat_progress_analyze",
                "pg_stat_progress_basebackup",
                "pg_stat_progress_cluster",
                "pg_stat_progress_copy",
                "pg_stat_progress_create_index",
                "pg_stat_progress_vacuum",
                "pg_stat_recovery_prefetch",
                "pg_stat_replication",
                "pg_stat_replication_slots",
                "pg_stat_slru",
                "pg_stat_ssl",
                "pg_stat_subscription",
                "pg_stat_subscription_stats",
                "pg_stat_sys_indexes",
                "pg_stat_sys_tables",
                "pg_stat_wal",
                "pg_stat_wal_receiver",
                "pg_stat_xact_all_tables",
                "pg_stat_xact_sys_tables",
                "pg_stat_xact_user_functions",
                "pg_stat_xact_user_tables",
                "pg_statio_sys_indexes",
                "pg_statio_sys_sequences",
                "pg_statio_sys_tables",
                "pg_statistic_ext_data",
                "pg_stats_ext",
                "pg_stats_ext_exprs",
                "pg_subscription_rel",
                "pg_timezone_abbrevs",
                "pg_timezone_names",
                "pg_user",
                "pg_user_mapping",
                "pg_user_mappings",
                "pg_wait_events",
            ],
        ),
        (
            "information_schema",
            &[
                "_pg_foreign_data_wrappers",
                "_pg_foreign_servers",
                "_pg_foreign_table_columns",
                "_pg_foreign_tables",
                "_pg_user_mappings",
                "column_options",
                "foreign_data_wrapper_options",
                "foreign_data_wrappers",
                "foreign_server_options",
                "foreign_servers",
                "foreign_table_options",
                "foreign_tables",
                "user_mapping_options",
                "user_mappings",
            ],
        ),
    ];

    #[test]
    fn lists_are_sorted_and_disjoint() {
        for list in [CATALOG_ALLOW, CATALOG_VIEW_ONLY, INFORMATION_ALLOW] {
            assert!(list.is_sorted_by(|a, b| a < b));
        }
        for relation in CATALOG_VIEW_ONLY {
            assert!(CATALOG_ALLOW.binary_search(relation).is_err(), "{relation}");
        }
    }

    #[test]
    fn denied() {
        for (schema, relations) in DENIED {
            for relation in *relations {
                assert_eq!(
                    catalog(schema, relation),
                    Catalog::Deny,
                    "{schema}.{relation}"
                );
            }
        }
        for (schema, relation) in [
            ("pg_catalog", "no_such_relation"),
            ("pg_catalog", "PG_CLASS"),
            ("pg_catalog", ""),
            ("public", "pg_class"),
            ("information_schema", "pg_class"),
            ("pg_catalog", "columns"),
            ("pg_toast", "pg_toast_2619"),
        ] {
            assert_eq!(
                catalog(schema, relation),
                Catalog::Deny,
                "{schema}.{relation}"
            );
        }
    }

    #[test]
    fn clients_need() {
        for relation in "pg_attribute pg_namespace pg_class pg_type pg_constraint pg_index \
            pg_attrdef pg_am pg_description pg_collation pg_enum pg_extension pg_inherits \
            pg_opclass pg_proc pg_roles pg_sequence pg_settings pg_tablespace pg_trigger \
            pg_database pg_depend pg_range pg_policy pg_rewrite pg_stat_activity \
            pg_stat_user_tables pg_stat_user_indexes pg_stat_user_functions \
            pg_statio_user_tables pg_statio_user_indexes pg_statio_user_sequences pg_stats"
            .split_whitespace()
        {
            assert_eq!(
                catalog("pg_catalog", relation),
                Catalog::Allow,
                "{relation}"
            );
        }
        for relation in "columns tables schemata table_constraints key_column_usage routines \
            referential_constraints"
            .split_whitespace()
        {
            assert_eq!(
                catalog("information_schema", relation),
                Catalog::Allow,
                "{relation}"
            );
        }
    }

    #[test]
    fn behind_views() {
        for relation in ["pg_authid", "pg_statistic", "pg_db_role_setting"] {
            assert_eq!(
                catalog("pg_catalog", relation),
                Catalog::ViewOnly,
                "{relation}"
            );
        }
    }
}
