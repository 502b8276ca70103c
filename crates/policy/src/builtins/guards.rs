//! Built-in functions that take the OID or the name of an object and tell about it: what each of
//! their arguments names. The rewriting has every such argument checked before the function sees it.

/// What an argument names, and how it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// An OID. What the policy does not show is exchanged for NULL.
    Object(Shown),
    /// A name in a text or `name`. What the policy does not show is refused.
    Name(Named),
    /// The same, but NULL takes the place of what is not shown (`to_regclass` and its like).
    NameOrNull(Named),
    /// A `pg_node_tree`, with the relation that it belongs to in the next argument.
    Expression,
}

/// Which objects pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Objects of this catalog (its OID) that are listed.
    Class(u32),
    /// Relations whose counters tell nothing about hidden rows.
    Counts,
    /// Relations whose sizes tell nothing about hidden rows or values either.
    Sizes,
    /// The own database, unless the role may make rows wider than it sees.
    DatabaseSize,
    /// Partitions whose bounds may be seen.
    Bound,
    /// Partitioned tables whose key may be seen.
    PartitionKey,
    /// Views whose definition may be seen.
    View,
    /// Functions whose argument defaults may be seen.
    Defaults,
    /// Partitions all of whose ancestors are listed.
    Ancestors,
    /// Only what PostgreSQL itself brings.
    BuiltIn,
}

/// What kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Relation,
    View,
    Type,
    Schema,
    Function,
    Role,
    Database,
    /// A database whose size may be told, see [`Shown::DatabaseSize`].
    DatabaseSize,
    /// A setting of the server: those that natively only superusers read are not shown.
    Setting,
    /// Foreign-data wrappers, servers, tablespaces: none is shown.
    Other,
}

impl Shown {
    /// A number for the SQL functions that the rewriting puts in; [`Shown::from_code`] reads it.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Class(oid) => oid as i32,
            Self::Counts => -1,
            Self::Bound => -2,
            Self::PartitionKey => -3,
            Self::View => -4,
            Self::Defaults => -5,
            Self::Ancestors => -6,
            Self::BuiltIn => -7,
            Self::Sizes => -8,
            Self::DatabaseSize => -9,
        }
    }

    /// What no version has written is the strictest.
    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        match code {
            -1 => Self::Counts,
            -2 => Self::Bound,
            -3 => Self::PartitionKey,
            -4 => Self::View,
            -5 => Self::Defaults,
            -6 => Self::Ancestors,
            -8 => Self::Sizes,
            -9 => Self::DatabaseSize,
            oid if oid > 0 => Self::Class(oid as u32),
            _ => Self::BuiltIn,
        }
    }
}

impl Named {
    /// A number for the SQL functions that the rewriting puts in; [`Named::from_code`] reads it.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    #[must_use]
    pub const fn from_code(code: i32) -> Self {
        match code {
            0 => Self::Relation,
            1 => Self::View,
            2 => Self::Type,
            3 => Self::Schema,
            4 => Self::Function,
            5 => Self::Role,
            6 => Self::Database,
            7 => Self::DatabaseSize,
            8 => Self::Setting,
            _ => Self::Other,
        }
    }
}

/// OIDs of system catalogs (`pg_class` and so on), fixed by the catalogs' headers.
pub mod class {
    pub const TYPE: u32 = 1247;
    pub const PROCEDURE: u32 = 1255;
    pub const RELATION: u32 = 1259;
    pub const AUTHID: u32 = 1260;
    pub const DATABASE: u32 = 1262;
    pub const FOREIGN_SERVER: u32 = 1417;
    pub const CONSTRAINT: u32 = 2606;
    pub const CONVERSION: u32 = 2607;
    pub const CAST: u32 = 2605;
    pub const NAMESPACE: u32 = 2615;
    pub const OPCLASS: u32 = 2616;
    pub const REWRITE: u32 = 2618;
    pub const OPERATOR: u32 = 2617;
    pub const OPFAMILY: u32 = 2753;
    pub const EXTENSION: u32 = 3079;
    pub const STATISTIC_EXT: u32 = 3381;
    pub const COLLATION: u32 = 3456;
    pub const TS_DICT: u32 = 3600;
    pub const TS_PARSER: u32 = 3601;
    pub const TS_CONFIG: u32 = 3602;
    pub const TS_TEMPLATE: u32 = 3764;
}

/// The guard of each argument of a built-in function; none for what needs no guard.
#[must_use]
pub fn guards(function: u32) -> Option<impl Iterator<Item = Option<Guard>>> {
    let at = GUARDS
        .binary_search_by_key(&function, |(oid, _)| *oid)
        .ok()?;
    GUARDS
        .get(at)
        .map(|(_, letters)| letters.chars().map(guard))
}

/// Does some argument of the function name an object?
#[must_use]
pub fn is_guarded(function: u32) -> bool {
    GUARDS
        .binary_search_by_key(&function, |(oid, _)| *oid)
        .is_ok()
}

const fn guard(letter: char) -> Option<Guard> {
    use Guard::{Expression, Name, NameOrNull, Object};
    Some(match letter {
        'R' => Object(Shown::Class(class::RELATION)),
        'F' => Object(Shown::Class(class::PROCEDURE)),
        'Y' => Object(Shown::Class(class::TYPE)),
        'S' => Object(Shown::Class(class::STATISTIC_EXT)),
        'K' => Object(Shown::Class(class::CONSTRAINT)),
        'N' => Object(Shown::Class(class::NAMESPACE)),
        'D' => Object(Shown::Class(class::DATABASE)),
        'A' => Object(Shown::Class(class::AUTHID)),
        'o' => Object(Shown::Class(class::OPERATOR)),
        'c' => Object(Shown::Class(class::OPCLASS)),
        'f' => Object(Shown::Class(class::OPFAMILY)),
        'l' => Object(Shown::Class(class::COLLATION)),
        'v' => Object(Shown::Class(class::CONVERSION)),
        'g' => Object(Shown::Class(class::TS_CONFIG)),
        'd' => Object(Shown::Class(class::TS_DICT)),
        'p' => Object(Shown::Class(class::TS_PARSER)),
        't' => Object(Shown::Class(class::TS_TEMPLATE)),
        'Z' => Object(Shown::Counts),
        'W' => Object(Shown::Sizes),
        'M' => Object(Shown::DatabaseSize),
        'B' => Object(Shown::Bound),
        'P' => Object(Shown::PartitionKey),
        'V' => Object(Shown::View),
        'E' => Object(Shown::Defaults),
        'T' => Object(Shown::Ancestors),
        'X' => Object(Shown::BuiltIn),
        'r' => Name(Named::Relation),
        'w' => Name(Named::View),
        'y' => Name(Named::Type),
        'n' => Name(Named::Schema),
        'm' => Name(Named::Function),
        'a' => Name(Named::Role),
        'b' => Name(Named::Database),
        's' => Name(Named::Setting),
        'u' => Name(Named::DatabaseSize),
        'x' => Name(Named::Other),
        'q' => NameOrNull(Named::Relation),
        'z' => NameOrNull(Named::Type),
        '!' => Expression,
        _ => return None,
    })
}

/// The types whose text is the name of an object, with the catalog that the object is in.
#[must_use]
pub fn names_type(typid: u32) -> Option<u32> {
    Some(match typid {
        24 | 2202 => class::PROCEDURE,
        2203 | 2204 => class::OPERATOR,
        2205 => class::RELATION,
        2206 => class::TYPE,
        4096 => class::AUTHID,
        4089 => class::NAMESPACE,
        3734 => class::TS_CONFIG,
        3769 => class::TS_DICT,
        4191 => class::COLLATION,
        8326 => class::DATABASE,
        _ => return None,
    })
}

/// `regclass[]` and its like: the type of the elements.
#[must_use]
pub fn names_array(typid: u32) -> Option<u32> {
    Some(match typid {
        1008 => 24,
        2207 => 2202,
        2208 => 2203,
        2209 => 2204,
        2210 => 2205,
        2211 => 2206,
        4097 => 4096,
        4090 => 4089,
        3735 => 3734,
        3770 => 3769,
        4192 => 4191,
        8327 => 8326,
        _ => return None,
    })
}

/// Sorted by OID; one letter an argument, `.` for one that names nothing. The signatures are those
/// of `data/functions.tsv`.
#[rustfmt::skip]
static GUARDS: &[(u32, &str)] = &[
    (637, "R."), // pg_index_has_property(regclass,text)
    (638, "R.."), // pg_index_column_has_property(regclass,integer,text)
    (1079, "r"), // regclass(text)
    (1081, "Y."), // format_type(oid,integer)
    (1387, "K"), // pg_get_constraintdef(oid)
    (1573, "X"), // pg_get_ruledef(oid)
    (1640, "w"), // pg_get_viewdef(text)
    (1641, "V"), // pg_get_viewdef(oid)
    (1642, "A"), // pg_get_userbyid(oid)
    (1643, "R"), // pg_get_indexdef(oid)
    (1662, "X"), // pg_get_triggerdef(oid)
    (1665, "r."), // pg_get_serial_sequence(text,text)
    (1716, "!."), // pg_get_expr(pg_node_tree,oid)
    (1922, "ar."), // has_table_privilege(name,text,text)
    (1923, "aR."), // has_table_privilege(name,oid,text)
    (1924, "Ar."), // has_table_privilege(oid,text,text)
    (1925, "AR."), // has_table_privilege(oid,oid,text)
    (1926, "r."), // has_table_privilege(text,text)
    (1927, "R."), // has_table_privilege(oid,text)
    (1928, "Z"), // pg_stat_get_numscans(oid)
    (1929, "Z"), // pg_stat_get_tuples_returned(oid)
    (1930, "Z"), // pg_stat_get_tuples_fetched(oid)
    (1931, "Z"), // pg_stat_get_tuples_inserted(oid)
    (1932, "Z"), // pg_stat_get_tuples_updated(oid)
    (1933, "Z"), // pg_stat_get_tuples_deleted(oid)
    (1934, "W"), // pg_stat_get_blocks_fetched(oid)
    (1935, "W"), // pg_stat_get_blocks_hit(oid)
    (1972, "W"), // pg_stat_get_tuples_hot_updated(oid)
    (2077, "s"), // current_setting(text)
    (2079, "R"), // pg_table_is_visible(oid)
    (2080, "Y"), // pg_type_is_visible(oid)
    (2081, "F"), // pg_function_is_visible(oid)
    (2082, "o"), // pg_operator_is_visible(oid)
    (2083, "c"), // pg_opclass_is_visible(oid)
    (2093, "v"), // pg_conversion_is_visible(oid)
    (2162, "E"), // pg_get_function_arguments(oid)
    (2165, "F"), // pg_get_function_result(oid)
    (2168, "u"), // pg_database_size(name)
    (2181, "ar."), // has_sequence_privilege(name,text,text)
    (2182, "aR."), // has_sequence_privilege(name,oid,text)
    (2183, "Ar."), // has_sequence_privilege(oid,text,text)
    (2184, "AR."), // has_sequence_privilege(oid,oid,text)
    (2185, "r."), // has_sequence_privilege(text,text)
    (2186, "R."), // has_sequence_privilege(oid,text)
    (2232, "F"), // pg_get_function_identity_arguments(oid)
    (2250, "ab."), // has_database_privilege(name,text,text)
    (2251, "aD."), // has_database_privilege(name,oid,text)
    (2252, "Ab."), // has_database_privilege(oid,text,text)
    (2253, "AD."), // has_database_privilege(oid,oid,text)
    (2254, "b."), // has_database_privilege(text,text)
    (2255, "D."), // has_database_privilege(oid,text)
    (2256, "am."), // has_function_privilege(name,text,text)
    (2257, "aF."), // has_function_privilege(name,oid,text)
    (2258, "Am."), // has_function_privilege(oid,text,text)
    (2259, "AF."), // has_function_privilege(oid,oid,text)
    (2260, "m."), // has_function_privilege(text,text)
    (2261, "F."), // has_function_privilege(oid,text)
    (2262, "a.."), // has_language_privilege(name,text,text)
    (2263, "a.."), // has_language_privilege(name,oid,text)
    (2264, "A.."), // has_language_privilege(oid,text,text)
    (2265, "A.."), // has_language_privilege(oid,oid,text)
    (2268, "an."), // has_schema_privilege(name,text,text)
    (2269, "aN."), // has_schema_privilege(name,oid,text)
    (2270, "An."), // has_schema_privilege(oid,text,text)
    (2271, "AN."), // has_schema_privilege(oid,oid,text)
    (2272, "n."), // has_schema_privilege(text,text)
    (2273, "N."), // has_schema_privilege(oid,text)
    (2286, "W"), // pg_total_relation_size(regclass)
    (2324, "M"), // pg_database_size(oid)
    (2325, "W"), // pg_relation_size(regclass)
    (2332, "W."), // pg_relation_size(regclass,text)
    (2390, "ax."), // has_tablespace_privilege(name,text,text)
    (2391, "aX."), // has_tablespace_privilege(name,oid,text)
    (2392, "Ax."), // has_tablespace_privilege(oid,text,text)
    (2393, "AX."), // has_tablespace_privilege(oid,oid,text)
    (2394, "x."), // has_tablespace_privilege(text,text)
    (2395, "X."), // has_tablespace_privilege(oid,text)
    (2504, "X."), // pg_get_ruledef(oid,boolean)
    (2505, "w."), // pg_get_viewdef(text,boolean)
    (2506, "V."), // pg_get_viewdef(oid,boolean)
    (2507, "R.."), // pg_get_indexdef(oid,integer,boolean)
    (2508, "K."), // pg_get_constraintdef(oid,boolean)
    (2509, "!.."), // pg_get_expr(pg_node_tree,oid,boolean)
    (2705, "aa."), // pg_has_role(name,name,text)
    (2706, "aA."), // pg_has_role(name,oid,text)
    (2707, "Aa."), // pg_has_role(oid,name,text)
    (2708, "AA."), // pg_has_role(oid,oid,text)
    (2709, "a."), // pg_has_role(name,text)
    (2710, "A."), // pg_has_role(oid,text)
    (2730, "X."), // pg_get_triggerdef(oid,boolean)
    (2781, "Z"), // pg_stat_get_last_vacuum_time(oid)
    (2782, "Z"), // pg_stat_get_last_autovacuum_time(oid)
    (2783, "Z"), // pg_stat_get_last_analyze_time(oid)
    (2784, "Z"), // pg_stat_get_last_autoanalyze_time(oid)
    (2878, "Z"), // pg_stat_get_live_tuples(oid)
    (2879, "W"), // pg_stat_get_dead_tuples(oid)
    (2978, "F"), // pg_stat_get_function_calls(oid)
    (2979, "F"), // pg_stat_get_function_total_time(oid)
    (2980, "F"), // pg_stat_get_function_self_time(oid)
    (2997, "W"), // pg_table_size(regclass)
    (2998, "W"), // pg_indexes_size(regclass)
    (3000, "ax."), // has_foreign_data_wrapper_privilege(name,text,text)
    (3001, "aX."), // has_foreign_data_wrapper_privilege(name,oid,text)
    (3002, "Ax."), // has_foreign_data_wrapper_privilege(oid,text,text)
    (3003, "AX."), // has_foreign_data_wrapper_privilege(oid,oid,text)
    (3004, "x."), // has_foreign_data_wrapper_privilege(text,text)
    (3005, "X."), // has_foreign_data_wrapper_privilege(oid,text)
    (3006, "ax."), // has_server_privilege(name,text,text)
    (3007, "aX."), // has_server_privilege(name,oid,text)
    (3008, "Ax."), // has_server_privilege(oid,text,text)
    (3009, "AX."), // has_server_privilege(oid,oid,text)
    (3010, "x."), // has_server_privilege(text,text)
    (3011, "X."), // has_server_privilege(oid,text)
    (3012, "ar.."), // has_column_privilege(name,text,text,text)
    (3013, "ar.."), // has_column_privilege(name,text,smallint,text)
    (3014, "aR.."), // has_column_privilege(name,oid,text,text)
    (3015, "aR.."), // has_column_privilege(name,oid,smallint,text)
    (3016, "Ar.."), // has_column_privilege(oid,text,text,text)
    (3017, "Ar.."), // has_column_privilege(oid,text,smallint,text)
    (3018, "AR.."), // has_column_privilege(oid,oid,text,text)
    (3019, "AR.."), // has_column_privilege(oid,oid,smallint,text)
    (3020, "r.."), // has_column_privilege(text,text,text)
    (3021, "r.."), // has_column_privilege(text,smallint,text)
    (3022, "R.."), // has_column_privilege(oid,text,text)
    (3023, "R.."), // has_column_privilege(oid,smallint,text)
    (3024, "ar."), // has_any_column_privilege(name,text,text)
    (3025, "aR."), // has_any_column_privilege(name,oid,text)
    (3026, "Ar."), // has_any_column_privilege(oid,text,text)
    (3027, "AR."), // has_any_column_privilege(oid,oid,text)
    (3028, "r."), // has_any_column_privilege(text,text)
    (3029, "R."), // has_any_column_privilege(oid,text)
    (3054, "Z"), // pg_stat_get_vacuum_count(oid)
    (3055, "Z"), // pg_stat_get_autovacuum_count(oid)
    (3056, "Z"), // pg_stat_get_analyze_count(oid)
    (3057, "Z"), // pg_stat_get_autoanalyze_count(oid)
    (3138, "ay."), // has_type_privilege(name,text,text)
    (3139, "aY."), // has_type_privilege(name,oid,text)
    (3140, "Ay."), // has_type_privilege(oid,text,text)
    (3141, "AY."), // has_type_privilege(oid,oid,text)
    (3142, "y."), // has_type_privilege(text,text)
    (3143, "Y."), // has_type_privilege(oid,text)
    (3159, "V."), // pg_get_viewdef(oid,integer)
    (3177, "Z"), // pg_stat_get_mod_since_analyze(oid)
    (3294, "s."), // current_setting(text,boolean)
    (3298, "R"), // row_security_active(oid)
    (3299, "r"), // row_security_active(text)
    (3352, "P"), // pg_get_partkeydef(oid)
    (3403, "S"), // pg_statistics_obj_is_visible(oid)
    (3408, "B"), // pg_get_partition_constraintdef(oid)
    (3415, "S"), // pg_get_statisticsobjdef(oid)
    (3425, "T"), // pg_partition_ancestors(regclass)
    (3493, "z"), // to_regtype(text)
    (3495, "q"), // to_regclass(text)
    (3756, "p"), // pg_ts_parser_is_visible(oid)
    (3757, "d"), // pg_ts_dict_is_visible(oid)
    (3758, "g"), // pg_ts_config_is_visible(oid)
    (3768, "t"), // pg_ts_template_is_visible(oid)
    (3808, "E."), // pg_get_function_arg_default(oid,integer)
    (3815, "l"), // pg_collation_is_visible(oid)
    (3829, "f"), // pg_opfamily_is_visible(oid)
    (3842, "R."), // pg_relation_is_updatable(regclass,boolean)
    (3843, "R.."), // pg_column_is_updatable(regclass,smallint,boolean)
    (3943, ".A"), // acldefault("char",oid)
    (5053, "Z"), // pg_stat_get_ins_since_vacuum(oid)
    (6121, "R"), // pg_relation_is_publishable(regclass)
    (6173, "S"), // pg_get_statisticsobjdef_expressions(oid)
    (6174, "S"), // pg_get_statisticsobjdef_columns(oid)
    (6197, "X"), // pg_get_function_sqlbody(oid)
    (6205, "a.."), // has_parameter_privilege(name,text,text)
    (6206, "A.."), // has_parameter_privilege(oid,text,text)
    (6217, "W"), // pg_stat_get_tuples_newpage_updated(oid)
    (6310, "Z"), // pg_stat_get_lastscan(oid)
    (6315, "Y"), // pg_basetype(regtype)
    (6317, "z"), // to_regtypemod(text)
    (6358, "Z"), // pg_stat_get_total_vacuum_time(oid)
    (6359, "Z"), // pg_stat_get_total_autovacuum_time(oid)
    (6360, "Z"), // pg_stat_get_total_analyze_time(oid)
    (6361, "Z"), // pg_stat_get_total_autoanalyze_time(oid)
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const LIST: &str = include_str!("../../../../data/functions.tsv");

    #[test]
    fn sorted_and_known() {
        assert!(GUARDS.is_sorted_by(|a, b| a.0 < b.0));
        for (oid, letters) in GUARDS {
            for letter in letters.chars() {
                assert!(letter == '.' || guard(letter).is_some(), "{oid} {letter}");
            }
        }
    }

    #[test]
    fn codes_come_back() {
        for shown in [
            Shown::Counts,
            Shown::Bound,
            Shown::PartitionKey,
            Shown::View,
            Shown::Defaults,
            Shown::Ancestors,
            Shown::BuiltIn,
            Shown::Class(1259),
        ] {
            assert_eq!(Shown::from_code(shown.code()), shown);
        }
        for named in [
            Named::Relation,
            Named::View,
            Named::Type,
            Named::Schema,
            Named::Function,
            Named::Role,
            Named::Database,
            Named::Other,
        ] {
            assert_eq!(Named::from_code(named.code()), named);
        }
    }

    /// Every function that may be named and takes an OID, a reg type or a node tree is either
    /// guarded or known to tell nothing by it.
    #[test]
    fn every_oid_argument_was_looked_at() {
        /// Pure functions of numbers, and those whose object is checked where it is read:
        /// comments come from pg_description, which has a filter.
        const HARMLESS: &[&str] = &[
            "btoidcmp",
            "hashoid",
            "hashoidextended",
            "int8",
            "max",
            "min",
            "nameconcatoid",
            "oideq",
            "oidge",
            "oidgt",
            "oidle",
            "oidlt",
            "oidne",
            "oidlarger",
            "oidsmaller",
            "col_description",
            "obj_description",
            "shobj_description",
            "pg_is_other_temp_schema",
            "pg_indexam_has_property",
            "has_language_privilege",
            "has_parameter_privilege",
            "_pg_char_max_length",
            "_pg_char_octet_length",
            "_pg_datetime_precision",
            "_pg_interval_type",
            "_pg_numeric_precision",
            "_pg_numeric_precision_radix",
            "_pg_numeric_scale",
        ];
        let guarded: HashMap<u32, &str> = GUARDS.iter().copied().collect();
        for line in LIST.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let (oid, signature, disposition) = (fields[0], fields[1], fields[3]);
            if disposition != "allow" {
                continue;
            }
            let (name, arguments) = signature.split_once('(').expect("a signature");
            let name = name.rsplit('.').next().expect("a name");
            let by_oid = arguments.trim_end_matches(')').split(',').any(|a| {
                matches!(
                    a,
                    "oid" | "regclass" | "regtype" | "regprocedure" | "regrole" | "pg_node_tree"
                )
            });
            if by_oid && !HARMLESS.contains(&name) {
                let oid: u32 = oid.parse().expect("fixed by pg_proc.dat");
                assert!(guarded.contains_key(&oid), "{signature} has no guard");
            }
        }
    }
}
