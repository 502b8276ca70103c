//! What statements can be made of: relations, functions, operators, and values to look for.

use std::collections::HashMap;

use cluster_tests::Wire;

use crate::expression::{Column, Source};

/// Types that expressions are made of, by their names in pg_type.
pub type Ty = &'static str;

pub const TYPES: &[Ty] = &[
    "int4",
    "int8",
    "int2",
    "numeric",
    "float8",
    "float4",
    "text",
    "varchar",
    "bpchar",
    "name",
    "bool",
    "date",
    "timestamp",
    "timestamptz",
    "time",
    "interval",
    "json",
    "jsonb",
    "jsonpath",
    "uuid",
    "inet",
    "cidr",
    "_text",
    "_int4",
    "int4range",
    "int4multirange",
    "numrange",
    "daterange",
    "tsvector",
    "tsquery",
    "xml",
    "bytea",
    "oid",
    "regclass",
    "bit",
    "varbit",
    "point",
    "box",
    "macaddr",
    "money",
    "char",
];

pub fn known(name: &str) -> Option<Ty> {
    TYPES.iter().copied().find(|t| *t == name)
}

pub struct Relation {
    /// Qualified and quoted.
    pub name: String,
    /// Quoted name and type; `None` for types that are only passed on.
    pub columns: Vec<(String, Option<Ty>)>,
}

impl Relation {
    /// As it stands in FROM.
    pub fn source(&self, alias: impl Into<String>) -> Source {
        let column = |(name, ty): &(String, Option<Ty>)| Column {
            name: name.clone(),
            ty: *ty,
        };
        Source {
            alias: alias.into(),
            columns: self.columns.iter().map(column).collect(),
            relation: true,
        }
    }
}

pub struct Signature {
    /// `{0}`, `{1}` … stand for the arguments.
    pub form: String,
    pub arguments: Vec<Ty>,
}

#[derive(Default)]
pub struct Model {
    pub version: u32,
    /// The world's own, most of them readable in part.
    pub relations: Vec<Relation>,
    pub hidden: Vec<Relation>,
    pub catalogs: Vec<Relation>,
    /// Views whose rows lie in another order where there is more of what they do not show, and counters, which go on
    /// with time.
    pub statistics: Vec<Relation>,
    pub functions: HashMap<Ty, Vec<Signature>>,
    pub operators: HashMap<Ty, Vec<Signature>>,
    pub aggregates: HashMap<Ty, Vec<Signature>>,
    pub sets: Vec<Signature>,
    /// Functions that are told an OID or a name, or answer about the server.
    pub asking: Vec<Signature>,
    /// Values that occur, raw ones of either world among them.
    pub values: HashMap<Ty, Vec<String>>,
    /// Names and OIDs of objects, shown and hidden, of either world.
    pub names: Vec<String>,
    pub oids: Vec<String>,
}

/// Functions whose answer is a time, a process or the like, those that only take time, and the size of the database,
/// which is told and counts what is hidden.
const VARYING: &str = "'now','transaction_timestamp','statement_timestamp','clock_timestamp','timeofday','pg_backend_pid',\
    'pg_postmaster_start_time','pg_conf_load_time','inet_client_port','inet_server_port','pg_sleep','pg_sleep_for','pg_sleep_until',\
    'random','random_normal','array_shuffle','array_sample','setseed','gen_random_uuid','uuidv4','uuidv7','pg_current_xact_id','txid_current','pg_terminate_backend',\
    'pg_database_size','pg_cancel_backend','pg_safe_snapshot_blocking_pids','pg_log_backend_memory_contexts'";

impl Model {
    /// From the first world; `twin` adds the names and values of the other.
    pub fn read(version: u32, here: &mut Wire, twin: &mut Wire) -> Self {
        let mut model = Self {
            version,
            relations: relations(here, "nspname = 'lab' AND relname <> 'hidden'"),
            hidden: relations(here, "nspname = 'dark' OR relname = 'hidden'"),
            catalogs: relations(
                here,
                "nspname IN ('pg_catalog', 'information_schema') AND relkind IN ('r', 'v') AND relname !~ '^pg_stat'",
            ),
            statistics: relations(here, "nspname = 'pg_catalog' AND relname ~ '^pg_stat'"),
            ..Self::default()
        };
        model.hidden.extend(relations(twin, "nspname = 'dark'"));
        model.signatures(here);
        for wire in [here, twin] {
            model.names.extend(wire.query(
                "SELECT DISTINCT x FROM (SELECT c.oid::regclass::text FROM pg_class c WHERE relnamespace IN ('lab'::regnamespace, 'dark'::regnamespace)
                 UNION SELECT nspname::text FROM pg_namespace UNION SELECT oid::regtype::text FROM pg_type WHERE typnamespace IN ('lab'::regnamespace, 'dark'::regnamespace)
                 UNION SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace IN ('lab'::regnamespace, 'dark'::regnamespace)
                 UNION SELECT rolname::text FROM pg_roles UNION SELECT attname::text FROM pg_attribute WHERE attrelid IN ('lab.people'::regclass, 'lab.staff'::regclass)) x (x) ORDER BY 1",
            ).column());
            model.oids.extend(wire.query(
                "SELECT DISTINCT x::bigint FROM (SELECT oid FROM pg_class WHERE relnamespace IN ('lab'::regnamespace, 'dark'::regnamespace) OR oid < 1300
                 UNION SELECT oid FROM pg_namespace UNION SELECT oid FROM pg_type WHERE typnamespace IN ('lab'::regnamespace, 'dark'::regnamespace)
                 UNION SELECT oid FROM pg_proc WHERE pronamespace IN ('lab'::regnamespace, 'dark'::regnamespace) UNION SELECT oid FROM pg_constraint
                 UNION SELECT oid FROM pg_attrdef UNION SELECT oid FROM pg_rewrite WHERE oid >= 16384 UNION SELECT oid FROM pg_statistic_ext
                 UNION SELECT oid FROM pg_roles UNION SELECT oid FROM pg_database UNION SELECT oid FROM pg_operator WHERE oid >= 16384) x (x) ORDER BY 1",
            ).column());
            for (ty, query) in VALUES {
                let values = wire.query(query).column();
                model.values.entry(ty).or_default().extend(values);
            }
        }
        for (ty, values) in PLAIN_VALUES {
            let all = model.values.entry(ty).or_default();
            all.sort();
            all.dedup();
            // Ordinary ones weigh as much as raw ones.
            let times = (all.len() / values.len()).max(1);
            for _ in 0..times {
                all.extend(values.iter().map(|v| (*v).to_owned()));
            }
        }
        model.names.sort();
        model.names.dedup();
        model.oids.sort();
        model.oids.dedup();
        model
    }

    fn signatures(&mut self, wire: &mut Wire) {
        let rows = wire
            .query(&format!(
                "SELECT p.proname, p.prokind, p.proretset, r.typname, array_to_string(ARRAY(SELECT t.typname FROM unnest(p.proargtypes) WITH ORDINALITY a (o, n)
                        JOIN pg_type t ON t.oid = a.o ORDER BY n), ' ')
                 FROM pg_proc p JOIN pg_type r ON r.oid = p.prorettype
                 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.provariadic = 0 AND p.pronargs <= 4 AND p.proname NOT IN ({VARYING})
                   AND p.proname !~ '^(pg_stat_get|pg_ls|lo_|pg_read|pg_logical|pg_replication|pg_wal|pg_advisory|pg_try_advisory|binary_upgrade|pg_create|pg_drop|pg_stat_reset)'
                 ORDER BY p.oid"
            ))
            .texts();
        for row in rows {
            let [name, kind, set, result, arguments] = &row[..] else {
                continue;
            };
            let Some(arguments) = types(arguments) else {
                continue;
            };
            let asks = name.starts_with("pg_")
                || name.starts_with("has_")
                || name.ends_with("_description")
                || name.starts_with("to_reg")
                || [
                    "format_type",
                    "row_security_active",
                    "currtid2",
                    "current_setting",
                    "set_config",
                    "query_to_xml",
                    "table_to_xml",
                    "schema_to_xml",
                    "database_to_xml",
                ]
                .iter()
                .any(|n| name.starts_with(n));
            let holes: Vec<String> = (0..arguments.len()).map(|i| format!("{{{i}}}")).collect();
            let form = format!("pg_catalog.{name}({})", holes.join(", "));
            let signature = Signature { form, arguments };
            if asks {
                if set == "f" && kind == "f" {
                    self.asking.push(signature);
                }
            } else if set == "t" {
                self.sets.push(signature);
            } else if let Some(result) = polymorphic(result) {
                let of = match kind.as_str() {
                    "f" => &mut self.functions,
                    "a" => &mut self.aggregates,
                    _ => continue,
                };
                of.entry(result).or_default().push(signature);
            }
        }
        let rows = wire
            .query(
                "SELECT o.oprname, r.typname, coalesce(a.typname, ''), b.typname FROM pg_operator o JOIN pg_type r ON r.oid = oprresult LEFT JOIN pg_type a ON a.oid = oprleft
                 JOIN pg_type b ON b.oid = oprright WHERE oprnamespace = 'pg_catalog'::regnamespace ORDER BY o.oid",
            )
            .texts();
        for row in rows {
            let [name, result, left, right] = &row[..] else {
                continue;
            };
            let (Some(arguments), Some(result)) =
                (types(&format!("{left} {right}")), polymorphic(result))
            else {
                continue;
            };
            let form = if arguments.len() == 1 {
                format!("({name} {{0}})")
            } else {
                format!("({{0}} {name} {{1}})")
            };
            self.operators
                .entry(result)
                .or_default()
                .push(Signature { form, arguments });
        }
    }
}

/// Polymorphic ones stand for one of their types.
fn polymorphic(name: &str) -> Option<Ty> {
    Some(match name {
        "anyelement" | "anycompatible" | "anynonarray" | "any" => "text",
        "anyarray" | "anycompatiblearray" => "_text",
        "anyrange" | "anycompatiblerange" => "int4range",
        "anymultirange" => "int4multirange",
        other => return known(other),
    })
}

fn types(names: &str) -> Option<Vec<Ty>> {
    names.split_whitespace().map(polymorphic).collect()
}

fn relations(wire: &mut Wire, which: &str) -> Vec<Relation> {
    let rows = wire
        .query(&format!(
            "SELECT c.oid::regclass::text, quote_ident(a.attname), CASE WHEN t.typtype = 'd' THEN b.typname ELSE t.typname END FROM pg_class c
             JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON attrelid = c.oid JOIN pg_type t ON t.oid = atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype
             WHERE ({which}) AND relkind IN ('r', 'v', 'm', 'p', 'S', 'f') AND attnum > 0 AND NOT attisdropped ORDER BY c.oid, attnum"
        ))
        .texts();
    let mut all: Vec<Relation> = Vec::new();
    for row in rows {
        let column = (row[1].clone(), known(&row[2]));
        match all.last_mut() {
            Some(last) if last.name == row[0] => last.columns.push(column),
            _ => all.push(Relation {
                name: row[0].clone(),
                columns: vec![column],
            }),
        }
    }
    all
}

/// Values of both worlds, hidden ones for the most part.
const VALUES: &[(Ty, &str)] = &[
    ("text", "SELECT x FROM (SELECT email FROM lab.people WHERE id < 12 UNION ALL SELECT ssn FROM lab.people WHERE id < 8 UNION ALL SELECT note FROM lab.people WHERE id < 12
              UNION ALL SELECT bio FROM lab.people WHERE id < 12 UNION ALL SELECT mark FROM lab.facts WHERE id < 12 UNION ALL SELECT title FROM lab.tickets WHERE id < 20
              UNION ALL SELECT owner FROM lab.tickets WHERE id > 100000 AND id < 104020 UNION ALL SELECT verdict FROM lab.cases WHERE id < 8
              UNION ALL SELECT payload FROM lab.events WHERE id < 8 UNION ALL SELECT code FROM lab.tagged WHERE id < 8
              UNION ALL SELECT a FROM lab.sheet WHERE id < 8 UNION ALL SELECT memo FROM dark.far WHERE id < 8 UNION ALL SELECT secret FROM lab.people WHERE id < 5 UNION ALL SELECT memo FROM lab.letters WHERE id < 5) x (x) WHERE x IS NOT NULL"),
    ("int4", "SELECT x FROM (SELECT rating FROM lab.people WHERE id < 30 UNION ALL SELECT val FROM lab.facts WHERE id < 30 UNION ALL SELECT qty FROM lab.tickets WHERE id < 40
              UNION ALL SELECT pay FROM lab.tagged WHERE id < 20 UNION ALL SELECT b FROM lab.sheet WHERE id < 20 UNION ALL SELECT pay FROM dark.far WHERE id < 20
              UNION ALL SELECT id FROM lab.tickets WHERE id > 100000 LIMIT 120) x (x)"),
    ("int8", "SELECT big FROM lab.people WHERE id < 12"),
    ("int2", "SELECT small FROM lab.people WHERE id < 12"),
    ("numeric", "SELECT salary FROM lab.people WHERE id < 20 AND salary IS NOT NULL"),
    ("float8", "SELECT weight FROM lab.people WHERE id < 12"),
    ("date", "SELECT x FROM (SELECT born FROM lab.people WHERE id < 12 UNION ALL SELECT hired FROM lab.people WHERE id < 12) x (x)"),
    ("timestamptz", "SELECT visited FROM lab.people WHERE id < 12"),
    ("interval", "SELECT pause FROM lab.people WHERE id < 12"),
    ("jsonb", "SELECT profile FROM lab.people WHERE id < 12"),
    ("uuid", "SELECT uid FROM lab.people WHERE id < 12"),
    ("inet", "SELECT ip FROM lab.people WHERE id < 12"),
    ("_text", "SELECT tags FROM lab.people WHERE id < 12"),
    ("int4range", "SELECT span FROM lab.people WHERE id < 12"),
    ("bytea", "SELECT raw FROM lab.people WHERE id < 12"),
];

const PLAIN_VALUES: &[(Ty, &[&str])] = &[
    (
        "text",
        &[
            "",
            "***",
            "a",
            "0",
            "1",
            "12",
            "x",
            "5",
            "red",
            "in",
            "alice@example.com",
            "a***@example.com",
            "%1%",
            "^[0-9]",
            "(",
            "2024-05-05",
            "{}",
            "Person 001",
            "é",
            "(none)",
            "lab.people",
            "\\",
        ],
    ),
    (
        "int4",
        &[
            "0",
            "1",
            "-1",
            "2",
            "3",
            "7",
            "10",
            "100",
            "999",
            "300",
            "4999",
            "2147483647",
            "-2147483648",
            "500",
        ],
    ),
    (
        "int8",
        &["0", "1", "-5", "9223372036854775807", "5000000000"],
    ),
    ("int2", &["0", "1", "3", "-32768", "32767"]),
    (
        "numeric",
        &[
            "0",
            "1",
            "0.5",
            "-1.25",
            "1e20",
            "NaN",
            "50000.00",
            "99999999.99",
        ],
    ),
    (
        "float8",
        &["0", "1", "-1.5", "1e300", "NaN", "Infinity", "0.5"],
    ),
    ("float4", &["0", "1.5", "-2"]),
    ("varchar", &["", "x", "***", "+44"]),
    ("bpchar", &["", "x", "abc "]),
    ("name", &["x", "people", "lab"]),
    ("bool", &["true", "false"]),
    (
        "date",
        &[
            "2024-01-01",
            "1970-01-01",
            "2024-05-05",
            "infinity",
            "0001-01-01",
        ],
    ),
    (
        "timestamp",
        &[
            "2024-01-01 00:00",
            "1970-01-01 00:00",
            "infinity",
            "2024-03-05 12:34:56.789",
        ],
    ),
    (
        "timestamptz",
        &[
            "2024-01-01 00:00+00",
            "1970-01-01 00:00+00",
            "-infinity",
            "2024-03-05 12:34:56.789+02",
        ],
    ),
    ("time", &["00:00", "12:34:56", "24:00"]),
    (
        "interval",
        &["0", "1 day", "-3 hours", "1 year 2 mons", "1000000 days"],
    ),
    ("json", &["{}", "[1,2]", "{\"a\": 1}", "null", "\"x\""]),
    (
        "jsonb",
        &["{}", "[1,2]", "{\"k\": 1}", "null", "\"x\"", "{\"pin\": 1}"],
    ),
    (
        "jsonpath",
        &[
            "$",
            "$.k",
            "$.list[*]",
            "strict $.pin",
            "$.* ? (@ > 1)",
            "$.card",
            "$.double()",
        ],
    ),
    ("uuid", &["00000000-0000-0000-0000-000000000000"]),
    ("inet", &["0.0.0.0", "10.1.1.0/24", "10.0.0.0/8", "::1"]),
    ("cidr", &["10.0.0.0/8", "10.1.1.0/24"]),
    ("_text", &["{}", "{a,b}", "{l1,m1}", "{NULL}"]),
    ("_int4", &["{}", "{1,2,3}", "{NULL,7}", "[0:1]={4,5}"]),
    ("int4range", &["empty", "[1,10)", "(,5]", "[500,500]"]),
    ("int4multirange", &["{}", "{[1,3),[7,9)}"]),
    ("numrange", &["empty", "[1.5,2.5]"]),
    ("daterange", &["empty", "[2024-01-01,2024-06-01)"]),
    ("tsvector", &["", "a b", "'x':1 'y':2"]),
    ("tsquery", &["a", "a & b", "!x", "a <-> b"]),
    ("xml", &["<a/>", "<p>x</p>", "x"]),
    ("bytea", &["", "\\x00ff", "abc"]),
    ("oid", &["0", "1259", "16384", "2615"]),
    (
        "regclass",
        &[
            "lab.people",
            "lab.tickets",
            "pg_class",
            "lab.hidden",
            "dark.plans",
            "lab.nothing",
        ],
    ),
    ("bit", &["1", "0"]),
    ("varbit", &["101", ""]),
    ("point", &["(0,0)", "(1,2)"]),
    ("box", &["(1,1),(0,0)"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("money", &["0", "12.50"]),
    ("char", &["x", "r"]),
];
