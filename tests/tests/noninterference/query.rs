//! Queries: everything that may stand where a SELECT may.

use crate::expression::{Column, Gen, Source, spelled};
use crate::model::{Relation, Ty};

/// What a query gives.
pub struct Query {
    pub text: String,
    pub columns: Vec<Column>,
}

impl Gen<'_> {
    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    pub fn relation(&mut self) -> &Relation {
        let model = self.model;
        match self.random.below(100) {
            0..=93 => self.random.pick(&model.relations),
            94..=95 if !self.told => self.random.pick(&model.hidden),
            _ => self.random.pick(&model.catalogs),
        }
    }

    /// A query for an expression. `one`: it gives one row.
    pub fn nested(&mut self, types: &[Option<Ty>], one: bool) -> String {
        let (aggregating, windows) = (self.aggregating, self.windows);
        self.budget -= 2;
        let mut query = self.core(Some(types)).text;
        if one && !query.contains(" LIMIT ") {
            query.push_str(if self.random.percent(90) {
                " LIMIT 1"
            } else {
                ""
            });
        }
        (self.aggregating, self.windows) = (aggregating, windows);
        query
    }

    /// A whole statement that gives rows.
    pub fn query(&mut self) -> Query {
        let with = self.random.percent(18);
        self.ctes.push(Vec::new());
        let head = if with { self.with() } else { String::new() };
        let mut query = match self.random.below(100) {
            0..=79 => self.core(None),
            80..=91 => self.set_operation(),
            92..=95 => self.values(),
            _ => {
                let name = self.relation().name.clone();
                Query {
                    text: format!("TABLE {name}"),
                    columns: Vec::new(),
                }
            }
        };
        self.ctes.pop();
        query.text.insert_str(0, &head);
        query
    }

    fn with(&mut self) -> String {
        if self.random.percent(20) {
            let of = self.random.word(&["text", "int4"]);
            let (first, step) = if of == "int4" {
                (
                    format!("SELECT 1, {}", self.nested(&[Some("int4")], true)),
                    String::new(),
                )
            } else {
                (String::new(), String::new())
            };
            let _ = step;
            let start = if first.is_empty() {
                format!("SELECT 1, ({})", self.nested(&[Some("text")], true))
            } else {
                first.replacen("SELECT 1, ", "SELECT 1, (", 1) + ")"
            };
            let extra = self.random.word(&[
                "",
                " SEARCH DEPTH FIRST BY n SET o",
                " CYCLE n SET seen USING path",
            ]);
            let more = if of == "int4" { "x + 1" } else { "x || 'a'" };
            let join = self.random.word(&[
                "",
                " JOIN lab.people p ON p.id = r.n",
                " JOIN lab.tickets p ON p.qty = r.n",
            ]);
            let all = self.random.word(&["ALL", "ALL", ""]);
            self.cte(
                "r",
                vec![
                    Column {
                        name: "n".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "x".into(),
                        ty: crate::model::known(of),
                    },
                ],
            );
            return format!(
                "WITH RECURSIVE r(n, x) AS ({start} UNION {all} SELECT r.n + 1, r.{more} FROM r{join} WHERE r.n < 6){extra} "
            );
        }
        let mut parts = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let inner = if self.random.percent(20) {
                self.set_operation()
            } else {
                self.core(None)
            };
            let name = format!("c{}", self.aliases);
            self.aliases += 1;
            let kind = self
                .random
                .word(&["", "", "MATERIALIZED ", "NOT MATERIALIZED "]);
            parts.push(format!("{name} AS {kind}({})", inner.text));
            self.cte(&name, inner.columns);
        }
        format!("WITH {} ", parts.join(", "))
    }

    fn cte(&mut self, name: &str, columns: Vec<Column>) {
        if let Some(scope) = self.ctes.last_mut()
            && !columns.is_empty()
        {
            scope.push(Source {
                alias: name.to_owned(),
                columns,
                relation: false,
            });
        }
    }

    fn values(&mut self) -> Query {
        let types = [self.some_type(), self.some_type()];
        let rows: Vec<String> = (0..1 + self.random.below(3))
            .map(|_| {
                format!(
                    "({}, {})",
                    self.expression(types[0]),
                    self.expression(types[1])
                )
            })
            .collect();
        let columns = types
            .iter()
            .enumerate()
            .map(|(i, ty)| Column {
                name: format!("column{}", i + 1),
                ty: Some(ty),
            })
            .collect();
        Query {
            text: format!("VALUES {}", rows.join(", ")),
            columns,
        }
    }

    fn set_operation(&mut self) -> Query {
        let types: Vec<Option<Ty>> = (0..1 + self.random.below(3))
            .map(|_| Some(self.some_type()))
            .collect();
        let left = self.core(Some(&types));
        let right = self.core(Some(&types));
        let operator = self.random.word(&[
            "UNION",
            "UNION ALL",
            "INTERSECT",
            "EXCEPT",
            "EXCEPT ALL",
            "INTERSECT ALL",
        ]);
        let order = if self.random.percent(50) {
            " ORDER BY 1"
        } else {
            ""
        };
        Query {
            text: format!("({}) {operator} ({}){order}", left.text, right.text),
            columns: left.columns,
        }
    }

    fn item_of_from(&mut self, lateral: bool) -> (String, Source) {
        let alias = self.alias();
        let ctes: Vec<Source> = self.ctes.iter().flatten().cloned().collect();
        if !ctes.is_empty() && self.random.percent(40) {
            let cte = self.random.pick(&ctes).clone();
            return (
                format!("{} {alias}", cte.alias),
                Source {
                    alias,
                    columns: cte.columns,
                    relation: false,
                },
            );
        }
        match self.random.below(100) {
            0..=69 => self.table(alias),
            70..=83 if self.budget > 3 => {
                let keep = if lateral { None } else { self.scopes.pop() };
                let query = if self.random.percent(15) {
                    self.set_operation()
                } else {
                    self.core(None)
                };
                if let Some(scope) = keep {
                    self.scopes.push(scope);
                }
                let word = if lateral { "LATERAL " } else { "" };
                (
                    format!("{word}({}) {alias}", query.text),
                    Source {
                        alias,
                        columns: query.columns,
                        relation: false,
                    },
                )
            }
            84..=95 if self.budget > 2 => self.function_in_from(alias, lateral),
            _ => self.table(alias),
        }
    }

    fn table(&mut self, alias: String) -> (String, Source) {
        let relation = self.relation();
        let name = relation.name.clone();
        let source = relation.source(alias.as_str());
        let only = self.random.word(&["", "", "", "", "", "ONLY "]);
        let sample = if self.random.percent(4) {
            let how = self.random.word(&[
                " TABLESAMPLE BERNOULLI (50) REPEATABLE (7)",
                " TABLESAMPLE SYSTEM (30) REPEATABLE (1)",
                " TABLESAMPLE BERNOULLI (10)",
                " TABLESAMPLE BERNOULLI ((SELECT 100))",
                " TABLESAMPLE BERNOULLI ((SELECT 0 * count(s.note) + 100 FROM lab.people s))",
            ]);
            how.replace(
                " (10)",
                &format!(" ({}) REPEATABLE (3)", self.random.below(101)),
            )
        } else {
            String::new()
        };
        (format!("{only}{name} {alias}{sample}"), source)
    }

    fn function_in_from(&mut self, alias: String, lateral: bool) -> (String, Source) {
        let word = if lateral { "LATERAL " } else { "" };
        let keep = if lateral { None } else { self.scopes.pop() };
        self.scopes
            .push(keep.clone().filter(|_| lateral).unwrap_or_default());
        let v = self.model.version;
        let one = |ty: Ty| {
            vec![Column {
                name: "x".into(),
                ty: Some(ty),
            }]
        };
        let (call, columns, named) = match self.random.below(12) {
            0 => (
                format!("generate_series({}, {})", self.value("int4"), 5),
                one("int4"),
                "(x)",
            ),
            1 => (
                format!("unnest({})", self.expression("_text")),
                one("text"),
                "(x)",
            ),
            2 => (
                format!("unnest({}) WITH ORDINALITY", self.expression("_text")),
                vec![
                    Column {
                        name: "x".into(),
                        ty: Some("text"),
                    },
                    Column {
                        name: "n".into(),
                        ty: Some("int8"),
                    },
                ],
                "(x, n)",
            ),
            3 => (
                format!("jsonb_each_text({})", self.expression("jsonb")),
                vec![
                    Column {
                        name: "k".into(),
                        ty: Some("text"),
                    },
                    Column {
                        name: "v".into(),
                        ty: Some("text"),
                    },
                ],
                "(k, v)",
            ),
            4 => (
                format!(
                    "regexp_matches({}, {}, 'g')",
                    self.expression("text"),
                    self.value("text")
                ),
                one("_text"),
                "(x)",
            ),
            5 => (
                format!("jsonb_to_record({})", self.expression("jsonb")),
                vec![
                    Column {
                        name: "k".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "pin".into(),
                        ty: Some("text"),
                    },
                ],
                "(k int, pin text)",
            ),
            6 => (
                format!(
                    "ROWS FROM (generate_series(1, 3), unnest({}))",
                    self.expression("_text")
                ),
                vec![
                    Column {
                        name: "a".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "b".into(),
                        ty: Some("text"),
                    },
                ],
                "(a, b)",
            ),
            7 => (
                "lab.everybody()".into(),
                self.model
                    .relations
                    .iter()
                    .find(|r| r.name == "lab.people")
                    .map_or_else(Vec::new, |r| {
                        r.columns
                            .iter()
                            .map(|(name, ty)| Column {
                                name: name.clone(),
                                ty: *ty,
                            })
                            .collect()
                    }),
                "",
            ),
            8 => (
                format!("lab.marks({})", self.value("int4")),
                vec![
                    Column {
                        name: "id".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "mark".into(),
                        ty: Some("text"),
                    },
                    Column {
                        name: "val".into(),
                        ty: Some("int4"),
                    },
                ],
                "",
            ),
            9 => (
                format!(
                    "XMLTABLE('/p' PASSING {} COLUMNS n FOR ORDINALITY, x text PATH '.' DEFAULT 'none')",
                    self.expression("xml")
                ),
                vec![
                    Column {
                        name: "n".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "x".into(),
                        ty: Some("text"),
                    },
                ],
                "",
            ),
            10 if v >= 17 => (
                format!(
                    "JSON_TABLE({}, '$' COLUMNS (n FOR ORDINALITY, pin int PATH '$.pin' NULL ON ERROR, k text PATH '$.k', has boolean EXISTS PATH '$.card'))",
                    self.expression("jsonb")
                ),
                vec![
                    Column {
                        name: "n".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "pin".into(),
                        ty: Some("int4"),
                    },
                    Column {
                        name: "k".into(),
                        ty: Some("text"),
                    },
                ],
                "",
            ),
            _ => {
                let model = self.model;
                let signature = self.random.pick(&model.sets);
                (self.signature(signature), one("text"), "")
            }
        };
        self.scopes.pop();
        if let Some(scope) = keep {
            self.scopes.push(scope);
        }
        (
            format!("{word}{call} AS {alias}{named}"),
            Source {
                alias,
                columns,
                relation: false,
            },
        )
    }

    fn join_condition(&mut self, kind: &str) -> String {
        match self.random.below(10) {
            0..=5 => {
                let ty = self.random.word(&["int4", "int4", "text", "date"]);
                format!(" ON {} = {}", self.expression(ty), self.expression(ty))
            }
            6 if kind != "FULL JOIN" => format!(" ON {}", self.predicate()),
            _ => " USING (id)".into(),
        }
    }

    fn from(&mut self) -> String {
        let (mut text, first) = self.item_of_from(false);
        self.scopes.last_mut().expect("a scope").push(first);
        while self.budget > 4 && self.random.percent(32) {
            self.budget -= 2;
            let lateral = self.random.percent(25);
            let kind = self.random.word(&[
                "JOIN",
                "JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
                "CROSS JOIN",
                ",",
                "NATURAL JOIN",
                "NATURAL LEFT JOIN",
            ]);
            let (item, source) = self.item_of_from(lateral);
            self.scopes.last_mut().expect("a scope").push(source);
            let condition = if kind.contains("CROSS") || kind == "," || kind.contains("NATURAL") {
                String::new()
            } else {
                self.join_condition(kind)
            };
            text.push_str(&format!(" {kind} {item}{condition}"));
        }
        text
    }

    /// One SELECT. `types`: what it has to give, `None` for anything.
    pub fn core(&mut self, types: Option<&[Option<Ty>]>) -> Query {
        let (aggregating, windows) = (self.aggregating, self.windows);
        (self.aggregating, self.windows) = (false, false);
        self.scopes.push(Vec::new());
        let from = if self.random.percent(96) {
            self.from()
        } else {
            String::new()
        };
        let condition = if self.random.percent(65) {
            format!(" WHERE {}", self.predicate())
        } else {
            String::new()
        };
        let grouped = self.random.percent(28);
        let group = if grouped { self.group() } else { None };
        self.aggregating = grouped;
        self.windows = !grouped && self.random.percent(30);
        let mut items = Vec::new();
        let mut columns = Vec::new();
        match types {
            Some(types) => {
                for (i, ty) in types.iter().enumerate() {
                    let ty = ty.unwrap_or_else(|| self.some_type());
                    let text = if grouped {
                        self.grouped(ty, group.as_deref())
                    } else {
                        self.expression(ty)
                    };
                    items.push(format!("({text})::{} AS x{i}", spelled(ty)));
                    columns.push(Column {
                        name: format!("x{i}"),
                        ty: Some(ty),
                    });
                }
            }
            None => {
                for _ in 0..1 + self.random.below(4) {
                    if !grouped
                        && self.random.percent(18)
                        && let Some(source) = self.some_source()
                    {
                        let (text, ty) = match self.random.below(6) {
                            0..=1 => (format!("{}.*", source.alias), None),
                            2 => (source.alias.clone(), None),
                            3 => (format!("({}).*", source.alias), None),
                            4 => (format!("row_to_json({})", source.alias), Some("json")),
                            _ => (format!("ROW({}.*)", source.alias), None),
                        };
                        if text.ends_with('*') {
                            items.push(text);
                        } else {
                            let name = format!("x{}", items.len());
                            items.push(format!("{text} AS {name}"));
                            columns.push(Column { name, ty });
                        }
                        continue;
                    }
                    let ty = self.some_type();
                    let text = if grouped {
                        self.grouped(ty, group.as_deref())
                    } else {
                        self.expression(ty)
                    };
                    let name = format!("x{}", items.len());
                    items.push(format!("{text} AS {name}"));
                    columns.push(Column { name, ty: Some(ty) });
                }
            }
        }
        let having = if grouped && self.random.percent(30) {
            format!(" HAVING {}", self.grouped("bool", group.as_deref()))
        } else {
            String::new()
        };
        self.aggregating = grouped;
        let order = if self.random.percent(40) {
            let ty = self.some_type();
            let by = if self.random.percent(50) || grouped {
                "1".to_owned()
            } else {
                self.expression(ty)
            };
            let direction =
                self.random
                    .word(&["", " DESC", " NULLS FIRST", " USING <", " DESC NULLS LAST"]);
            format!(" ORDER BY {by}{direction}")
        } else {
            String::new()
        };
        let distinct = match self.random.below(20) {
            0..=1 => "DISTINCT ".to_owned(),
            2 if !grouped => {
                let ty = self.some_type();
                format!("DISTINCT ON ({}) ", self.expression(ty))
            }
            _ => String::new(),
        };
        let limit = match self.random.below(14) {
            0..=3 => format!(" LIMIT {}", 1 + self.random.below(20)),
            4 => format!(" LIMIT 5 OFFSET {}", self.random.below(10)),
            5 if !order.is_empty() => {
                format!(" FETCH FIRST {} ROWS WITH TIES", 1 + self.random.below(5))
            }
            6 if self.random.percent(10) => " FOR UPDATE".into(),
            _ => String::new(),
        };
        self.scopes.pop();
        (self.aggregating, self.windows) = (aggregating, windows);
        let from = if from.is_empty() {
            from
        } else {
            format!(" FROM {from}")
        };
        let group = group.map_or_else(String::new, |g| format!(" GROUP BY {g}"));
        Query {
            text: format!(
                "SELECT {distinct}{}{from}{condition}{group}{having}{order}{limit}",
                items.join(", ")
            ),
            columns,
        }
    }

    /// What stands behind GROUP BY; `None` to make one group of all.
    fn group(&mut self) -> Option<String> {
        if self.random.percent(35) {
            return None;
        }
        let mut keys = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let ty = self.some_type();
            keys.push(match self.any_column() {
                Some(column) if self.random.percent(75) => column,
                _ => format!("({})", self.expression(ty)),
            });
        }
        let all = keys.join(", ");
        Some(match self.random.below(8) {
            0 => format!("ROLLUP ({all})"),
            1 => format!("CUBE ({all})"),
            2 => format!("GROUPING SETS (({all}), ({}), ())", keys[0]),
            3 => format!("DISTINCT {all}, ROLLUP ({})", keys[0]),
            _ => all,
        })
    }

    /// A grouped query's column: a key or an aggregate.
    fn grouped(&mut self, ty: Ty, group: Option<&str>) -> String {
        if let Some(group) = group
            && self.random.percent(35)
            && !group.contains('(')
        {
            let key = group.split(", ").next().unwrap_or("1");
            return format!("({key})::text::{}", spelled(ty));
        }
        self.aggregate(ty)
    }
}
