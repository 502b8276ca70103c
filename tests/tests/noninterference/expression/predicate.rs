//! Conditions: comparisons, quantifiers, patterns, tests, and what combines them.

use super::Gen;

impl Gen<'_> {
    pub fn predicate(&mut self) -> String {
        self.budget -= 1;
        let of = self.some_type();
        if self.budget <= 0 {
            return match self.any_column() {
                Some(column) if self.random.percent(70) => {
                    let operator = self.random.word(&["=", "<", ">", "<>", "~", "LIKE"]);
                    let value = self.value("text");
                    format!("{column}::text {operator} {value}")
                }
                _ => format!("{} = {}", self.leaf(of), self.value(of)),
            };
        }
        match self.random.below(22) {
            0 => format!("EXISTS ({})", self.nested(&[None], false)),
            1 => format!(
                "{} IN ({})",
                self.expression(of),
                self.nested(&[Some(of)], false)
            ),
            2 => format!(
                "{} NOT IN ({})",
                self.expression(of),
                self.nested(&[Some(of)], false)
            ),
            3 => {
                let quantifier = self.random.word(&["= ANY", "<> ALL", "> SOME", "<= ALL"]);
                format!(
                    "{} {quantifier} ({})",
                    self.expression(of),
                    self.nested(&[Some(of)], false)
                )
            }
            4 => format!(
                "{} BETWEEN {} AND {}",
                self.expression(of),
                self.value(of),
                self.expression(of)
            ),
            5 => format!(
                "{} IN ({}, {}, {})",
                self.expression(of),
                self.value(of),
                self.value(of),
                self.value(of)
            ),
            6 => {
                let how = self.random.word(&[
                    "LIKE",
                    "ILIKE",
                    "NOT LIKE",
                    "SIMILAR TO",
                    "~",
                    "~*",
                    "!~",
                    "^@",
                ]);
                format!("{} {how} {}", self.expression("text"), self.value("text"))
            }
            7 => {
                let test = self.random.word(&["IS NULL", "IS NOT NULL"]);
                format!("{} {test}", self.expression(of))
            }
            8 => {
                let test = self.random.word(&["IS TRUE", "IS NOT FALSE", "IS UNKNOWN"]);
                format!("({}) {test}", self.expression("bool"))
            }
            9 => format!("NOT ({})", self.predicate()),
            10 | 11 => format!("({} AND {})", self.predicate(), self.predicate()),
            12 | 13 => format!("({} OR {})", self.predicate(), self.predicate()),
            14 => format!(
                "({}, {}) < ({}, {})",
                self.expression("text"),
                self.expression(of),
                self.expression("text"),
                self.value(of)
            ),
            15 => match self.some_source() {
                Some(source) => {
                    let what = self.random.word(&[
                        "IS NULL",
                        "IS NOT NULL",
                        "= ROW(1)",
                        "IS DISTINCT FROM NULL",
                    ]);
                    format!("{} {what}", source.alias)
                }
                None => self.expression("bool"),
            },
            16 => {
                let (function, ty) =
                    *self
                        .random
                        .pick(&[("loud", "text"), ("picky", "text"), ("number", "int4")]);
                format!("lab.{function}({})", self.expression(ty))
            }
            17 => {
                let operator = self.random.word(&[
                    "OPERATOR(pg_catalog.=)",
                    "OPERATOR(pg_catalog.<)",
                    "OPERATOR(pg_catalog.~~)",
                ]);
                format!(
                    "{} {operator} {}",
                    self.expression("text"),
                    self.value("text")
                )
            }
            18 => format!(
                "{} = ANY ({})",
                self.expression("text"),
                self.expression("_text")
            ),
            19 => {
                let word = self.random.word(&[
                    "IS JSON",
                    "IS JSON OBJECT",
                    "IS NOT JSON ARRAY",
                    "IS NORMALIZED",
                    "IS DOCUMENT",
                ]);
                let ty = if word == "IS DOCUMENT" { "xml" } else { "text" };
                format!("{} {word}", self.expression(ty))
            }
            20 => format!(
                "({}, {}) OVERLAPS ({}, {})",
                self.expression("date"),
                self.expression("date"),
                self.value("date"),
                self.value("date")
            ),
            _ => self.operation("bool"),
        }
    }
}
