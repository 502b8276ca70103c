//! Cases made of generated queries: by every way in which a query can be sent, read, explained and written with.

use cluster_tests::sql::literal;

use crate::case::{Case, Step};
use crate::expression::{Gen, spelled};
use crate::model::Model;
use crate::random::Random;

const EXPLAIN: &[&str] = &[
    "EXPLAIN",
    "EXPLAIN (COSTS)",
    "EXPLAIN (COSTS OFF)",
    "EXPLAIN VERBOSE",
    "EXPLAIN (VERBOSE, COSTS)",
    "EXPLAIN (FORMAT JSON)",
    "EXPLAIN (FORMAT XML, VERBOSE)",
    "EXPLAIN (FORMAT YAML)",
    "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF)",
    "EXPLAIN (ANALYZE, COSTS, TIMING OFF, SUMMARY OFF, BUFFERS OFF, FORMAT JSON)",
    "EXPLAIN (SETTINGS, SUMMARY OFF)",
];

/// The case of this number.
pub fn generated(seed: u64, number: u64, model: &Model) -> Case {
    let mut random = Random::new(seed.wrapping_mul(0x0100_0000_01B3).wrapping_add(number));
    let mut generator = Gen::new(random.next(), model);
    let rw = random.percent(18);
    let fresh = !rw && random.percent(15);
    let steps = match random.below(100) {
        _ if rw => generator.writing(&mut random),
        0..=29 => vec![Step::Simple(generator.query().text)],
        30..=41 => vec![generator.with_parameters(&mut random)],
        42..=58 => generator.explained(&mut random),
        59..=64 => generator.named(&mut random),
        65..=70 => generator.cursor(&mut random),
        71..=75 => generator.copied(&mut random),
        76..=83 => generator.catalog(&mut random),
        84..=91 => generator.asked(&mut random),
        92..=95 => generator.wrong(&mut random),
        _ => generator.other(&mut random),
    };
    Case {
        role: match (rw, fresh) {
            (true, _) => "rw",
            (_, true) => "fresh",
            _ => "ro",
        },
        database: "lab",
        origin: format!("generated {number}"),
        steps,
    }
}

fn simple(text: impl Into<String>) -> Step {
    Step::Simple(text.into())
}

impl Gen<'_> {
    fn with_parameters(&mut self, random: &mut Random) -> Step {
        self.parameters = Some(Vec::new());
        let text = self.query().text;
        let values = self.parameters.take().unwrap_or_default();
        Step::Extended {
            text,
            values,
            binary: random.percent(25),
            rows: if random.percent(20) {
                1 + random.below(4) as i32
            } else {
                0
            },
        }
    }

    fn explained(&mut self, random: &mut Random) -> Vec<Step> {
        let mut how = random.word(EXPLAIN);
        if random.percent(6) {
            how = match self.model.version {
                16.. => "EXPLAIN (GENERIC_PLAN)",
                _ => "EXPLAIN (WAL OFF)",
            };
        } else if random.percent(6) && self.model.version >= 17 {
            how = random.word(&[
                "EXPLAIN (MEMORY, SUMMARY OFF)",
                "EXPLAIN (ANALYZE, SERIALIZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF)",
            ]);
        }
        match random.below(10) {
            0 => {
                self.parameters = Some(Vec::new());
                let text = self.query().text;
                let values = self.parameters.take().unwrap_or_default();
                let arguments: Vec<String> = values
                    .iter()
                    .map(|v| v.as_deref().map_or("NULL".into(), literal))
                    .collect();
                let call = if arguments.is_empty() {
                    "p".to_owned()
                } else {
                    format!("p({})", arguments.join(", "))
                };
                vec![
                    simple(format!("PREPARE p AS {text}")),
                    simple(format!("{how} EXECUTE {call}")),
                    simple(format!("EXECUTE {call}")),
                ]
            }
            1 => vec![simple(format!(
                "{how} DECLARE c CURSOR FOR {}",
                self.query().text
            ))],
            2 => {
                self.parameters = Some(Vec::new());
                let text = format!("{how} {}", self.query().text);
                let values = self.parameters.take().unwrap_or_default();
                vec![Step::Extended {
                    text,
                    values,
                    binary: false,
                    rows: 0,
                }]
            }
            // What a plan is chosen by: joins and conditions of plain columns.
            3..=6 => vec![simple(format!("{how} {}", self.joined(random)))],
            _ => vec![simple(format!("{how} {}", self.query().text))],
        }
    }

    fn named(&mut self, random: &mut Random) -> Vec<Step> {
        self.parameters = Some(Vec::new());
        let text = if random.percent(50) {
            self.query().text
        } else {
            self.joined(random)
        };
        let values = self.parameters.take().unwrap_or_default();
        let runs = (0..1 + random.below(8)).map(|_| values.clone()).collect();
        vec![Step::Named { text, runs }]
    }

    fn cursor(&mut self, random: &mut Random) -> Vec<Step> {
        let options = random.word(&["", "SCROLL ", "NO SCROLL ", "BINARY ", "INSENSITIVE "]);
        let hold = random.word(&["", "", "", " WITH HOLD"]);
        let query = if random.percent(50) {
            self.query().text
        } else {
            self.joined(random)
        };
        let mut steps = vec![
            simple("BEGIN"),
            simple(format!("DECLARE c {options}CURSOR{hold} FOR {query}")),
        ];
        for _ in 0..1 + random.below(4) {
            steps.push(simple(random.word(&[
                "FETCH 3 FROM c",
                "FETCH ALL FROM c",
                "FETCH BACKWARD 2 FROM c",
                "MOVE 5 IN c",
                "FETCH ABSOLUTE 2 FROM c",
                "FETCH LAST FROM c",
                "MOVE ALL IN c",
            ])));
        }
        steps.push(simple(random.word(&["COMMIT", "ROLLBACK", "CLOSE c"])));
        if !hold.is_empty() {
            steps.push(simple("FETCH 2 FROM c"));
        }
        steps
    }

    fn copied(&mut self, random: &mut Random) -> Vec<Step> {
        let options = random.word(&[
            "",
            " (FORMAT csv, HEADER)",
            " (FORMAT binary)",
            " (FORMAT csv, FORCE_QUOTE *, NULL '?')",
            " WITH (DELIMITER '|')",
        ]);
        let text = if random.percent(30) {
            let relation = self.relation();
            let name = relation.name.clone();
            let columns: Vec<String> = relation
                .columns
                .iter()
                .map(|(name, _)| name.clone())
                .collect();
            if random.percent(40) {
                let some: Vec<&str> = columns
                    .iter()
                    .filter(|_| random.percent(50))
                    .map(String::as_str)
                    .collect();
                if some.is_empty() {
                    format!("COPY {name} TO STDOUT{options}")
                } else {
                    format!("COPY {name} ({}) TO STDOUT{options}", some.join(", "))
                }
            } else {
                format!("COPY {name} TO STDOUT{options}")
            }
        } else {
            format!("COPY ({}) TO STDOUT{options}", self.query().text)
        };
        vec![simple(text)]
    }

    fn catalog(&mut self, random: &mut Random) -> Vec<Step> {
        let model = self.model;
        if random.percent(6) {
            let relation = random.pick(&model.statistics);
            let (name, (column, _)) = (&relation.name, random.pick(&relation.columns));
            let counters = !name.starts_with("pg_stats");
            return vec![simple(match random.below(3) {
                // What is counted has no value here, or has.
                _ if counters => format!("SELECT count(*), count({column}) FROM {name}"),
                0 => format!("SELECT x::text FROM {name} x ORDER BY 1"),
                1 => {
                    format!("SELECT count(*), min({column}::text), max({column}::text) FROM {name}")
                }
                _ => format!(
                    "SELECT tablename, {column} FROM {name} x WHERE {column}::text ~ '[5-9]' ORDER BY x::text"
                ),
            })];
        }
        let relation = random.pick(&model.catalogs);
        let name = &relation.name;
        let (column, ty) = random.pick(&relation.columns).clone();
        let (second, _) = random.pick(&relation.columns).clone();
        let text = match random.below(8) {
            0..=1 => format!("SELECT * FROM {name}"),
            2 => format!("SELECT {column}, count(*) FROM {name} GROUP BY 1 ORDER BY 1"),
            3 => format!(
                "SELECT count(*), max({column}::text), count(DISTINCT {second}) FROM {name}"
            ),
            4 => format!(
                "SELECT {column}, {second} FROM {name} WHERE {column}::text ~ {} ORDER BY 1 DESC",
                literal(random.pick::<String>(&model.names))
            ),
            5 => match ty {
                Some("oid" | "regclass") => format!(
                    "SELECT * FROM {name} WHERE {column} = {}",
                    random.pick(&model.oids)
                ),
                Some("name" | "text") => format!(
                    "SELECT * FROM {name} WHERE {column} = {}",
                    literal(random.pick::<String>(&model.names))
                ),
                _ => format!("SELECT md5(x::text) FROM {name} x ORDER BY 1 LIMIT 50"),
            },
            6 => format!(
                "{} SELECT * FROM {name} WHERE {column}::text > {}",
                random.word(EXPLAIN),
                literal(random.pick::<String>(&model.names))
            ),
            _ => {
                let other = random.pick(&model.catalogs);
                let (third, _) = random.pick(&other.columns).clone();
                format!(
                    "SELECT a.{column}, b.{third} FROM {name} a JOIN {} b ON a.{column}::text = b.{third}::text WHERE a.{second}::text <> '0' ORDER BY 1, 2 LIMIT 40",
                    other.name
                )
            }
        };
        vec![simple(text)]
    }

    /// Functions that answer about objects, for one object or for all that have a number.
    fn asked(&mut self, random: &mut Random) -> Vec<Step> {
        let model = self.model;
        if random.percent(12) {
            let name = random.pick(&model.names);
            let text = match random.below(8) {
                0 => format!("SELECT * FROM {name}"),
                1 => format!(
                    "SELECT {}::{}",
                    literal(name),
                    random.word(&[
                        "regclass",
                        "regtype",
                        "regprocedure",
                        "regnamespace",
                        "regrole",
                        "regproc"
                    ])
                ),
                2 => format!("SELECT NULL::{name}"),
                3 => format!("SELECT {name}()"),
                4 => format!("SET search_path = {name}, lab; SELECT current_schemas(true)"),
                5 => format!("SELECT * FROM lab.staff WHERE {name} IS NULL"),
                6 => format!(
                    "SELECT 'a' OPERATOR(dark.<#{}#>) 'b'",
                    random.word(&["#", "~", "%"])
                ),
                _ => format!("COMMENT ON TABLE {name} IS 'x'"),
            };
            return vec![simple(text)];
        }
        let signature = random.pick(&model.asking);
        let mut form = signature.form.clone();
        let mut over = "";
        let mut arguments = Vec::new();
        for ty in &signature.arguments {
            let every = random.percent(30);
            arguments.push(match *ty {
                "oid" if every && over.is_empty() => {
                    over = random.word(&[
                        " FROM generate_series(16384, 16700) o(o)",
                        " FROM pg_class o(o)",
                        " FROM pg_proc o(o) WHERE o > 16384",
                        " FROM pg_namespace o(o)",
                    ]);
                    "o::oid".to_owned()
                }
                "oid" | "regclass" => format!("{}::{ty}", random.pick(&model.oids)),
                "name" | "text" => {
                    let privileges = random.word(&[
                        "SELECT", "USAGE", "EXECUTE", "CREATE", "MEMBER", "email", "id",
                    ]);
                    let name = if random.percent(60) {
                        random.pick(&model.names).clone()
                    } else {
                        privileges.to_owned()
                    };
                    format!("{}::{ty}", literal(&name))
                }
                "int2" | "int4" => format!("{}::{ty}", random.below(5)),
                other => format!("({})::{}", self.value(other), spelled(other)),
            });
        }
        for (i, argument) in arguments.iter().enumerate().rev() {
            form = form.replace(&format!("{{{i}}}"), argument);
        }
        vec![simple(format!("SELECT {form}{over}"))]
    }

    /// Errors on purpose, whose texts quote what they stumble over.
    fn wrong(&mut self, random: &mut Random) -> Vec<Step> {
        let model = self.model;
        let relation = random.pick(&model.relations);
        let (column, _) = random.pick(&relation.columns).clone();
        let name = &relation.name;
        let ty = spelled(random.word(crate::model::TYPES));
        let value = self.value("text");
        let text = match random.below(12) {
            0 => format!("SELECT {column}::text::{ty} FROM {name}"),
            1 => format!("SELECT 1 / ({column}::text = {value})::int FROM {name}"),
            2 => format!("SELECT {column}::text::int2 * 30000::int2 FROM {name}"),
            3 => format!(
                "SELECT ({column}::text || '%')::{ty} FROM {name} WHERE {column}::text > {value}"
            ),
            4 => format!("SELECT * FROM {name} WHERE lab.picky({column}::text)"),
            5 => format!(
                "SELECT * FROM {name} WHERE lab.loud({column}::text) AND {column} IS NOT NULL LIMIT 3"
            ),
            6 => format!("SELECT (SELECT {column} FROM {name})"),
            7 => format!("SELECT array_fill(1, ARRAY[length({column}::text) - 100]) FROM {name}"),
            8 => format!("SELECT xmlparse(DOCUMENT {column}::text) FROM {name}"),
            9 => format!("SELECT regexp_matches('x', {column}::text) FROM {name}"),
            10 => format!(
                "SELECT to_date({column}::text, 'YYYY-MM-DD'), to_number({column}::text, '99') FROM {name}"
            ),
            _ => format!("SELECT generate_series(1, 5, 5 - length({column}::text)) FROM {name}"),
        };
        vec![if random.percent(50) {
            simple(text)
        } else {
            Step::Extended {
                text,
                values: Vec::new(),
                binary: random.percent(30),
                rows: 0,
            }
        }]
    }

    /// Commands.
    fn other(&mut self, random: &mut Random) -> Vec<Step> {
        let model = self.model;
        let name = &random.pick(&model.relations).name;
        let query = self.query().text;
        let text = match random.below(16) {
            0 => format!("CREATE TEMP TABLE mine AS {query}"),
            1 => format!("CREATE VIEW lab.mine AS {query}"),
            2 => format!("ANALYZE {name}"),
            3 => format!("LOCK TABLE {name} IN ACCESS SHARE MODE"),
            4 => format!("DO $$ BEGIN PERFORM * FROM {name}; END $$"),
            5 => "SHOW ALL".into(),
            6 => format!(
                "SET {} = {}",
                random.word(&[
                    "work_mem",
                    "enable_seqscan",
                    "search_path",
                    "statement_timeout",
                    "DateStyle",
                    "IntervalStyle",
                    "extra_float_digits",
                    "bytea_output",
                    "TimeZone"
                ]),
                random.word(&[
                    "'64kB'",
                    "off",
                    "lab",
                    "1000",
                    "'SQL, DMY'",
                    "postgres_verbose",
                    "-5",
                    "escape",
                    "'Asia/Tokyo'"
                ])
            ),
            // Not kept: a new file is stamped with the number of a transaction (relfrozenxid), and of those
            // the audit's worker takes as many as it has batches.
            7 => format!("BEGIN; TRUNCATE {name}; ROLLBACK"),
            8 => format!("ALTER TABLE {name} ADD COLUMN x int"),
            9 => {
                self.told = true;
                format!("SELECT lab.told({})", literal(&self.query().text))
            }
            10 => format!("BEGIN; SAVEPOINT s; {query}; ROLLBACK TO s; {query}; COMMIT"),
            11 => "SELECT agent_policy.describe()".into(),
            12 => format!(
                "SELECT * FROM agent_policy.{}",
                random.word(&[
                    "masks",
                    "audit_log",
                    "policy_role",
                    "row_filters",
                    "limits",
                    "protected_roles"
                ])
            ),
            13 => format!(
                "BEGIN; REFRESH MATERIALIZED VIEW {}; ROLLBACK",
                random.word(&["lab.kept", "lab.kept_open"])
            ),
            14 => format!("VACUUM (VERBOSE) {name}"),
            _ => format!("{query}; {}", self.query().text),
        };
        vec![simple(text)]
    }

    /// What a role that may write does; taken back, so that the next finds everything in its place.
    fn writing(&mut self, random: &mut Random) -> Vec<Step> {
        let target = random.word(&[
            "inbox", "letters", "letters", "journal", "people", "tickets", "facts",
        ]);
        let name = format!("lab.{target}");
        let Some(relation) = self.model.relations.iter().find(|r| r.name == name) else {
            return vec![simple("SELECT 1")];
        };
        self.scopes.push(vec![relation.source("w")]);
        let set = {
            let (column, ty) = random.pick(&relation.columns);
            let ty = ty.unwrap_or("text");
            let value = match random.below(4) {
                0 => self.expression(ty),
                1 if ty == "int4" => random
                    .word(&["-1", "5000", "NULL", "w.qty - 3", "qty", "1"])
                    .to_owned(),
                2 => "NULL".into(),
                _ => self.value(ty),
            };
            format!("{column} = {value}")
        };
        let condition = if random.percent(50) {
            format!("w.id < {}", 1 + random.below(30))
        } else {
            self.predicate()
        };
        let returning = if random.percent(55) {
            let old = if self.model.version >= 18 {
                random.word(&["", "", "old.*, ", "new, ", "old.memo, "])
            } else {
                ""
            };
            let what = match random.below(8) {
                0 => format!("{}, w.*", self.expression("text")),
                1 => {
                    let (column, _) = random.pick(&relation.columns);
                    format!(
                        "w.{column}, (SELECT (w.{column})::text || p.email FROM lab.people p WHERE p.id = w.id), to_jsonb(w)"
                    )
                }
                _ => random.word(&["*", "id", "w.id, w", "w.*", "1"]).into(),
            };
            format!(" RETURNING {old}{what}")
        } else {
            String::new()
        };
        let id = 900 + random.below(5);
        let insert_columns = match target {
            "inbox" => format!(
                "(id, subject, memo, qty, person) VALUES ({id}, 'new', {}, {}, {})",
                random.word(&["'m'", "'new'", "NULL", "'***'"]),
                random.word(&["1", "-1", "NULL"]),
                random.word(&["1", "5", "0", "301", "NULL"])
            ),
            "letters" => format!(
                "(id, subject, memo, qty, person) VALUES ({}, {}, {}, {}, {})",
                random.word(&["901", "7", "902"]),
                random.word(&["'s'", "NULL"]),
                random.word(&["'m'", "NULL"]),
                random.word(&["1", "1000", "NULL"]),
                random.word(&["1", "0", "301"])
            ),
            _ => format!("(id) VALUES ({id})"),
        };
        let statement = match random.below(16) {
            0..=3 => format!("UPDATE {name} w SET {set} WHERE {condition}{returning}"),
            4 => format!(
                "UPDATE {name} w SET {set} FROM lab.people p WHERE p.id = w.id AND {condition}{returning}"
            ),
            5..=6 => format!("DELETE FROM {name} w WHERE {condition}{returning}"),
            7..=8 => format!("INSERT INTO {name} AS w {insert_columns}{returning}"),
            9..=10 => format!(
                "INSERT INTO {name} AS w {insert_columns} ON CONFLICT {}{returning}",
                random.word(&[
                    "DO NOTHING",
                    "(id) DO NOTHING",
                    "(id) DO UPDATE SET memo = EXCLUDED.memo",
                    "(id) DO UPDATE SET subject = EXCLUDED.memo",
                    "(id) DO UPDATE SET subject = EXCLUDED.subject WHERE EXCLUDED IS NOT NULL",
                    "(id) DO UPDATE SET subject = w.memo",
                    "(id) DO UPDATE SET qty = -w.qty",
                    "(memo) DO NOTHING"
                ])
            ),
            11 => format!(
                "INSERT INTO {name} AS w (id, subject) SELECT id + 5000, {} FROM lab.people{returning}",
                random.word(&["email", "note", "rating::text", "team"])
            ),
            12..=13 => {
                let by = if self.model.version >= 17 {
                    random.word(&["", " WHEN NOT MATCHED BY SOURCE THEN DELETE"])
                } else {
                    ""
                };
                let result = if self.model.version >= 17 {
                    random.word(&["", " RETURNING merge_action(), *"])
                } else {
                    ""
                };
                format!(
                    "MERGE INTO {name} w USING lab.people p ON w.id = p.id {} WHEN MATCHED{} THEN {} WHEN NOT MATCHED THEN {}{by}{result}",
                    random.word(&["", "AND p.team = 'red'", "AND w.subject = p.note"]),
                    random.word(&["", " AND p.rating = 0", " AND w.id < 10"]),
                    random.word(&[
                        "DO NOTHING",
                        "UPDATE SET qty = -1",
                        "UPDATE SET subject = p.email",
                        "DELETE"
                    ]),
                    random.word(&[
                        "DO NOTHING",
                        "INSERT (id, subject) VALUES (p.id + 1000, p.email)"
                    ])
                )
            }
            14 => format!(
                "WITH d AS (DELETE FROM {name} w WHERE {condition} RETURNING *) SELECT * FROM d{}",
                random.word(&[
                    "",
                    " ORDER BY d",
                    " WHERE d.id < 20",
                    " JOIN lab.people p USING (id)"
                ])
            ),
            _ => format!(
                "SELECT * FROM {name} w WHERE {condition} FOR {}",
                random.word(&["UPDATE", "SHARE", "NO KEY UPDATE SKIP LOCKED"])
            ),
        };
        self.scopes.pop();
        let mut steps = vec![simple("BEGIN")];
        if random.percent(8) {
            steps.push(Step::Copy {
                text: format!(
                    "COPY {name} FROM STDIN{}",
                    random.word(&["", " (FORMAT csv)", " WITH (DELIMITER ',')"])
                ),
                data: random
                    .word(&[
                        "901\tx\ty\tz\t1\t1\n",
                        "901,alice@example.com,s,m,-1,1\n",
                        "901,s,m,5,1,x\n",
                        "1,s,m,5,1,x\n",
                        "bad\n",
                    ])
                    .to_owned(),
            });
        } else if random.percent(15) {
            steps.push(simple(format!("{} {statement}", random.word(EXPLAIN))));
        } else if random.percent(40) {
            steps.push(Step::Extended {
                text: statement,
                values: Vec::new(),
                binary: false,
                rows: 0,
            });
        } else {
            steps.push(simple(statement));
        }
        if random.percent(40) {
            steps.push(simple(format!("SELECT * FROM {name} ORDER BY id")));
        }
        steps.push(simple("SET CONSTRAINTS ALL IMMEDIATE"));
        steps.push(simple("ROLLBACK"));
        steps
    }
}
