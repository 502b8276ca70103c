//! What of PostgreSQL itself a confined role may use: reviewed lists of built-in functions, system
//! relations and settings, for PostgreSQL 15 to 18. What nobody reviewed is denied.
//!
//! The functions come from `data/functions.tsv`, which gives a reason for each;
//! `scripts/gen-builtins.py` makes `functions.rs` of it and compares it with a live server.

mod functions;
mod relations;
mod settings;

pub use relations::{Catalog, catalog, shows_nothing};
pub use settings::{Check, Setting, pinned, setting};

/// What a confined role may do with a built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// A statement of the role may name it, as a function, operator, cast or aggregate.
    Allow,
    /// It may not be named, but the server runs it for what may be named: functions underneath
    /// system views, parts of aggregates, input and output of types, support of indexes and
    /// planner, triggers. Wherever an expression is run that no parse check saw (arguments of
    /// EXECUTE, the fast-path message), this is as good as [`Disposition::Deny`].
    Internal,
    /// Neither.
    Deny,
}

/// The disposition of a built-in function by its OID, which `pg_proc.dat` fixes. OIDs that initdb
/// assigns (from 10000 on) are denied here: see [`function_by_name`].
#[must_use]
pub fn function(major: u16, oid: u32) -> Disposition {
    let version = match major {
        15 => 1,
        16 => 2,
        17 => 4,
        18 => 8,
        _ => return Disposition::Deny,
    };
    let start = functions::FUNCTIONS.partition_point(|row| row >> OID_SHIFT < oid);
    functions::FUNCTIONS
        .iter()
        .skip(start)
        .take_while(|&&row| row >> OID_SHIFT == oid)
        .find(|&&row| row & version != 0)
        .map_or(Disposition::Deny, |row| {
            if row & INTERNAL == 0 {
                Disposition::Allow
            } else {
                Disposition::Internal
            }
        })
}

/// The disposition of a function whose OID initdb assigned: from 10000 (`FirstGenbkiObjectId`) up
/// to, not including, 16384 (`FirstNormalObjectId`). Ask it for no other: a name alone does not
/// tell overloads apart, and anyone with CREATE on a schema makes functions of any name from 16384
/// on.
#[must_use]
pub fn function_by_name(schema: &str, name: &str) -> Disposition {
    functions::NAMED
        .binary_search_by(|(s, n, _)| (*s, *n).cmp(&(schema, name)))
        .ok()
        .and_then(|at| functions::NAMED.get(at))
        .map_or(Disposition::Deny, |(_, _, disposition)| *disposition)
}

const OID_SHIFT: u32 = 8;
const INTERNAL: u32 = 1 << 4;

/// A row of the table: OID, versions, disposition.
const fn row(oid: u32, versions: u32, disposition: Disposition) -> u32 {
    let internal = match disposition {
        Disposition::Internal => INTERNAL,
        Disposition::Allow | Disposition::Deny => 0,
    };
    oid << OID_SHIFT | internal | versions
}

#[cfg(test)]
mod tests {
    use super::Disposition::{Allow, Deny, Internal};
    use super::*;
    use std::collections::BTreeMap;

    const LIST: &str = include_str!("../../../../data/functions.tsv");
    const MAJORS: [u16; 4] = [15, 16, 17, 18];

    struct Line<'a> {
        oid: Option<u32>,
        schema: &'a str,
        name: &'a str,
        arguments: &'a str,
        majors: Vec<u16>,
        disposition: Disposition,
    }

    fn lines() -> Vec<Line<'static>> {
        LIST.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut fields = line.split('\t');
                let oid = fields.next()?;
                let (schema, rest) = fields.next()?.split_once('.')?;
                let (name, arguments) = rest.split_once('(')?;
                let majors = fields
                    .next()?
                    .split(',')
                    .filter_map(|v| v.parse().ok())
                    .collect();
                let disposition = match fields.next()? {
                    "allow" => Allow,
                    "internal" => Internal,
                    _ => Deny,
                };
                fields.next().filter(|reason| !reason.is_empty())?;
                Some(Line {
                    oid: oid.parse().ok(),
                    schema,
                    name,
                    arguments: arguments.strip_suffix(')')?,
                    majors,
                    disposition,
                })
            })
            .collect()
    }

    fn decide(line: &Line<'_>, major: u16) -> Disposition {
        line.oid.map_or_else(
            || function_by_name(line.schema, line.name),
            |oid| function(major, oid),
        )
    }

    /// `prefix*`, `*suffix`, `a*b` or a plain name
    fn matches(pattern: &str, name: &str) -> bool {
        pattern
            .split_once('*')
            .map_or(pattern == name, |(start, end)| {
                name.len() >= start.len() + end.len()
                    && name.starts_with(start)
                    && name.ends_with(end)
            })
    }

    /// Every function that a pattern names, on every version, is decided so; and there is one.
    fn assert_all(patterns: &str, except: &[&str], wanted: &[Disposition]) {
        let lines = lines();
        for pattern in patterns.split_whitespace() {
            let mut found = 0;
            for line in &lines {
                if !matches(pattern, line.name) || except.iter().any(|e| matches(e, line.name)) {
                    continue;
                }
                found += 1;
                for major in &line.majors {
                    let got = decide(line, *major);
                    assert!(
                        wanted.contains(&got),
                        "{}({}) on {major}: {got:?}",
                        line.name,
                        line.arguments
                    );
                }
            }
            assert!(found > 0, "{pattern} names nothing");
        }
    }

    #[test]
    fn table_is_sorted_without_duplicates() {
        assert!(functions::FUNCTIONS.is_sorted_by(|a, b| a < b));
        assert!(functions::NAMED.is_sorted_by(|a, b| (a.0, a.1) < (b.0, b.1)));
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        for row in &functions::FUNCTIONS {
            let versions = seen.entry(row >> OID_SHIFT).or_default();
            assert_eq!(*versions & row & 15, 0, "{}", row >> OID_SHIFT);
            assert_ne!(row & 15, 0);
            *versions |= row & 15;
        }
    }

    #[test]
    fn table_is_the_list() {
        let lines = lines();
        let data = LIST.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines.len(), data, "a line of the list cannot be read");
        for major in MAJORS {
            let mut all: BTreeMap<u32, Disposition> = BTreeMap::new();
            let here = || lines.iter().filter(|line| line.majors.contains(&major));
            for line in here() {
                assert_eq!(
                    decide(line, major),
                    line.disposition,
                    "{} {major}",
                    line.name
                );
                if let Some(oid) = line.oid {
                    assert!(all.insert(oid, line.disposition).is_none(), "{oid} {major}");
                }
            }
            assert!(here().count() > 3200, "{major}");
            for oid in (0..20_000).chain([1 << 24, (1 << 24) + 31, u32::MAX - 1, u32::MAX]) {
                let listed = all.get(&oid).copied().unwrap_or(Deny);
                assert_eq!(function(major, oid), listed, "{oid} {major}");
            }
        }
    }

    #[test]
    fn unknown_is_denied() {
        for major in [0, 9, 14, 19, 150, u16::MAX] {
            assert_eq!(function(major, 1242), Deny); // boolin
            assert_eq!(function(major, 871), Deny); // upper(text)
        }
        assert_eq!(function(18, 871), Allow);
        for (schema, name) in [
            ("pg_catalog", "_pg_expandarray"),
            ("public", "_pg_expandarray"),
            ("information_schema", "_PG_EXPANDARRAY"),
            ("information_schema", ""),
            ("pg_catalog", "upper"),
            ("pg_catalog", "plpgsql_validator"),
            ("", ""),
        ] {
            assert_eq!(function_by_name(schema, name), Deny, "{schema}.{name}");
        }
        assert_eq!(
            function_by_name("information_schema", "_pg_expandarray"),
            Allow
        );
    }

    #[test]
    fn enforcement_appendix_a() {
        assert_all(
            "nextval setval currval* lastval* setseed lo_* loread lowrite pg_advisory_* \
             pg_try_advisory_* pg_notify pg_notification_queue_usage pg_logical_emit_message \
             pg_export_snapshot pg_terminate_backend pg_cancel_backend pg_sleep* set_config \
             brin_summarize* brin_desummarize* gin_clean_pending_list \
             pg_import_system_collations pg_create_* pg_copy_* pg_drop_replication_slot \
             pg_replication_slot_advance pg_logical_slot_* pg_sync_replication_slots \
             pg_stat_clear_snapshot pg_stat_force_next_flush pg_extension_config_dump pg_nextoid \
             pg_stop_making_pinned_objects binary_upgrade_* pg_restore_*_stats pg_clear_*_stats \
             pg_read_file_old pg_rotate_logfile_old plpgsql_validator amvalidate",
            &["pg_advisory_unlock_all"],
            &[Deny],
        );
        assert_all(
            "query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml \
             cursor_to_xmlschema ts_stat",
            &[],
            &[Deny],
        );
        // Where clients.md needs one, it is an exception.
        assert_all(
            "pg_tablespace_size pg_partition_* pg_sequence_last_value \
             pg_control_* pg_current_wal_* pg_last_* pg_lock_status pg_prepared_xact \
             pg_blocking_pids pg_get_multixact_members pg_xact_* txid_status \
             pg_stat_get_xact_* pg_stat_get_io pg_stat_get_backend_* pg_get_loaded_modules \
             pg_available_wal_summaries pg_wal_summary_contents pg_get_wal_* \
             pg_collation_actual_version currtid2 current_query pg_get_wait_events",
            &["pg_partition_ancestors"],
            &[Deny],
        );
    }

    #[test]
    fn enforcement_appendix_b_and_k() {
        assert_all(
            "table_to_xml* schema_to_xml* database_to_xml* txid_current* pg_current_xact_id* \
             pg_current_snapshot pg_stat_get_backend_* pg_stat_get_wal_senders \
             pg_stat_get_progress_info pg_timezone_names pg_timezone_abbrevs* \
             pg_get_functiondef pg_describe_object pg_identify_object* pg_input_is_valid \
             pg_input_error_info ts_debug ts_parse pg_relation_filepath pg_relation_filenode \
             pg_prepared_statement pg_cursor pg_get_publication_tables pg_mcv_list_items \
             fmgr_*_validator inet_server_addr pg_postmaster_start_time pg_conf_load_time \
             pg_get_acl pg_read_* pg_ls_* pg_stat_file pg_config pg_hba_file_rules \
             pg_show_all_file_settings pg_log_* pg_stat_reset* pg_reload_conf pg_promote \
             pg_switch_wal pg_get_backend_memory_contexts pg_get_shmem_* pg_get_aios \
             pg_get_replication_slots pg_replication_origin_* pg_wal_replay_* pg_backup_* \
             has_largeobject_privilege",
            &[],
            &[Deny],
        );
        // Not to be named; the server reaches them for views and casts.
        assert_all(
            "record_in domain_in array_in range_in enum_in record_recv regclassin textin boolout \
             pg_stat_get_activity pg_show_all_settings aclexplode eqsel scalarltsel \
             int4_avg_accum numeric_avg RI_FKey_check_ins suppress_redundant_updates_trigger \
             bthandler utf8_to_iso8859_1",
            &[],
            &[Internal],
        );
    }

    #[test]
    fn overloads_differ() {
        for line in lines() {
            for major in &line.majors {
                match (line.name, line.arguments) {
                    ("ts_rewrite", "tsquery,text") | ("age", "xid") => {
                        assert_eq!(decide(&line, *major), Deny);
                    }
                    ("ts_rewrite" | "age", _) | ("regclass", "text") => {
                        assert_eq!(decide(&line, *major), Allow);
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn clients_need() {
        assert_all(
            "format_type pg_get_expr pg_get_indexdef pg_get_constraintdef pg_get_viewdef \
             pg_get_triggerdef pg_get_serial_sequence pg_get_function_* obj_description \
             col_description shobj_description pg_*_is_visible has_*_privilege pg_has_role \
             pg_relation_size pg_table_size pg_total_relation_size pg_indexes_size \
             pg_database_size pg_size_pretty current_schema current_schemas current_setting \
             version pg_is_in_recovery pg_advisory_unlock_all to_regtype percentile_cont \
             percentile_disc mode pg_get_userbyid pg_get_keywords pg_encoding_to_char \
             pg_partition_ancestors pg_relation_is_publishable pg_get_partkeydef pg_get_ruledef \
             pg_get_partition_constraintdef pg_get_statisticsobjdef_columns _pg_expandarray \
             current_database pg_backend_pid pg_typeof inet_client_addr pg_client_encoding",
            &["has_largeobject_privilege"],
            &[Allow],
        );
    }

    #[test]
    fn analytics_need() {
        assert_all(
            "count sum avg min max string_agg array_agg json_agg jsonb_agg jsonb_object_agg \
             stddev variance corr row_number rank lag lead ntile first_value any_value \
             generate_series unnest string_to_array regexp_replace regexp_matches upper lower \
             substring format concat_ws to_char to_date to_timestamp date_trunc date_part extract \
             date_bin justify_interval make_date now clock_timestamp timeofday random \
             random_normal gen_random_uuid uuidv4 uuidv7 array_shuffle array_sample md5 sha256 \
             encode decode jsonb_build_object jsonb_path_query jsonb_array_elements \
             json_to_recordset jsonb_to_recordset jsonb_populate_record row_to_json to_jsonb \
             jsonb_set xpath xmlagg width_bucket round sqrt power pow dpow abs to_tsvector \
             to_tsquery ts_rank ts_headline plainto_tsquery int4pl texteq textlike numeric_add \
             timestamptz_pl_interval jsonb_contains arraycontains hashtext btint4cmp host masklen \
             daterange range_agg bernoulli system setweight quote_ident num_nonnulls repeat \
             array_position bool_or",
            &[],
            &[Allow],
        );
    }
}
