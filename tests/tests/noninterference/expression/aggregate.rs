//! Aggregates and window functions.

use super::{Gen, spelled};
use crate::model::Ty;

impl Gen<'_> {
    /// The rest of an aggregate's call.
    fn aggregate_tail(&mut self) -> String {
        let mut tail = String::new();
        if self.random.percent(25) {
            tail.push_str(&format!(" FILTER (WHERE {})", self.predicate()));
        }
        tail
    }

    pub fn aggregate(&mut self, ty: Ty) -> String {
        let (aggregating, windows) = (
            std::mem::replace(&mut self.aggregating, false),
            std::mem::replace(&mut self.windows, false),
        );
        let model = self.model;
        let distinct = self.random.word(&["", "", "", "DISTINCT "]);
        let of = self.some_type();
        let mut text = match (ty, self.random.below(8)) {
            ("int8", 0..=1) => "count(*)".to_owned(),
            ("int8", 2..=4) => format!("count({distinct}{})", self.expression(of)),
            ("text", 0..=2) => {
                let x = self.expression("text");
                let order = if distinct.is_empty() {
                    self.expression(of)
                } else {
                    x.clone()
                };
                format!("string_agg({distinct}{x}, ',' ORDER BY {order})")
            }
            ("text", 3) => format!("lab.joined({})", self.expression("text")),
            ("text" | "numeric" | "date" | "int4" | "timestamptz", 4) => {
                let kind = self.random.word(&[
                    "percentile_disc(0.5)",
                    "mode()",
                    "percentile_disc(0)",
                    "percentile_disc(1.0)",
                ]);
                format!("{kind} WITHIN GROUP (ORDER BY {})", self.expression(ty))
            }
            ("int4" | "numeric" | "text" | "date" | "interval", 5..=6) => format!(
                "{}({})",
                self.random.word(&["min", "max"]),
                self.expression(ty)
            ),
            ("jsonb", 0..=4) => match self.random.below(4) {
                0 => format!(
                    "jsonb_agg({} ORDER BY {})",
                    self.expression(of),
                    self.expression("text")
                ),
                1 => format!(
                    "jsonb_object_agg({}, {})",
                    self.expression("text"),
                    self.expression(of)
                ),
                2 if model.version >= 16 => format!(
                    "JSON_OBJECTAGG({} : {} NULL ON NULL RETURNING jsonb)",
                    self.expression("text"),
                    self.expression(of)
                ),
                _ if model.version >= 16 => format!(
                    "JSON_ARRAYAGG({} ORDER BY {} ABSENT ON NULL RETURNING jsonb)",
                    self.expression(of),
                    self.expression("text")
                ),
                _ => format!("jsonb_agg({})", self.expression(of)),
            },
            ("_text", _) => format!("array_agg({distinct}{})", self.expression("text")),
            ("xml", _) => format!("xmlagg({})", self.expression("xml")),
            ("float8", 0..=1) => format!(
                "percentile_cont(0.3) WITHIN GROUP (ORDER BY {})",
                self.expression("float8")
            ),
            ("int8", 5) => format!(
                "rank({}) WITHIN GROUP (ORDER BY {})",
                self.value("text"),
                self.expression("text")
            ),
            ("bool", _) => format!(
                "{}({})",
                self.random.word(&["bool_and", "bool_or", "every"]),
                self.predicate()
            ),
            _ => match model.aggregates.get(ty) {
                Some(all) => {
                    let signature = self.random.pick(all);
                    self.signature(signature)
                }
                None => format!("max({})::{}", self.expression("text"), spelled(ty)),
            },
        };
        if text.ends_with(')') {
            text.push_str(&self.aggregate_tail());
        }
        (self.aggregating, self.windows) = (aggregating, windows);
        text
    }

    pub fn over(&mut self) -> String {
        let windows = std::mem::replace(&mut self.windows, false);
        let (a, b) = (self.some_type(), self.some_type());
        let partition = if self.random.percent(60) {
            format!("PARTITION BY {}", self.expression(a))
        } else {
            String::new()
        };
        let order = if self.random.percent(75) {
            let direction = self
                .random
                .word(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
            format!(" ORDER BY {}{direction}", self.expression(b))
        } else {
            String::new()
        };
        let frame = if order.is_empty() {
            ""
        } else {
            self.random.word(&[
                "",
                "",
                " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS UNBOUNDED PRECEDING EXCLUDE CURRENT ROW",
                " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES",
                " RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE GROUP",
            ])
        };
        self.windows = windows;
        format!("OVER ({partition}{order}{frame})")
    }

    pub(super) fn window(&mut self, ty: Ty) -> String {
        let windows = std::mem::replace(&mut self.windows, false);
        let call = match (ty, self.random.below(3)) {
            ("int8", 0..=1) => self
                .random
                .word(&["row_number()", "rank()", "dense_rank()", "count(*)"])
                .to_owned(),
            ("int4", 0) => "ntile(3)".into(),
            ("float8", 0..=1) => self
                .random
                .word(&["percent_rank()", "cume_dist()"])
                .to_owned(),
            (_, 0..=1) => {
                let function = self
                    .random
                    .word(&["lag", "lead", "first_value", "last_value"]);
                format!("{function}({})", self.expression(ty))
            }
            _ => match self.model.aggregates.get(ty) {
                Some(_) => {
                    let text = self.aggregate(ty);
                    if text.contains("WITHIN GROUP")
                        || text.contains("DISTINCT")
                        || text.contains("JSON_")
                    {
                        format!("max({})", self.expression(ty))
                    } else {
                        text
                    }
                }
                None => format!("nth_value({}, 2)", self.expression(ty)),
            },
        };
        let over = self.over();
        self.windows = windows;
        format!("({call} {over})")
    }
}
