//! Joins and conditions of plain columns: what a plan is chosen by.

use crate::expression::{Column, Gen, Source};
use crate::model::{Relation, Ty};
use crate::random::Random;

impl Gen<'_> {
    /// A query whose plan depends on what the planner knows.
    pub fn joined(&mut self, random: &mut Random) -> String {
        let tables = [
            "lab.tickets",
            "lab.facts",
            "lab.people",
            "lab.cases",
            "lab.events",
            "lab.kept",
            "lab.people_list",
            "lab.ticket_view",
            "lab.barrier",
            "lab.letters",
            "lab.tagged",
            "lab.sheet",
            "lab.far",
        ];
        let count = 1 + random.below(3);
        let mut from = Vec::new();
        let mut scope = Vec::new();
        // Some are not there in every version.
        let relations: Vec<&Relation> = self
            .model
            .relations
            .iter()
            .filter(|r| tables.contains(&r.name.as_str()))
            .collect();
        for i in 0..count {
            let relation = *random.pick(&relations);
            let name = &relation.name;
            from.push(format!("{name} j{i}"));
            scope.push(relation.source(format!("j{i}")));
        }
        let mut conditions = Vec::new();
        let column = |scope: &[Source], i: usize, ty: Ty, random: &mut Random| {
            let of: Vec<&Column> = scope[i]
                .columns
                .iter()
                .filter(|c| c.ty == Some(ty))
                .collect();
            (!of.is_empty())
                .then(|| format!("{}.{}", scope[i].alias, of[random.below(of.len())].name))
        };
        for i in 1..scope.len() {
            if let (Some(a), Some(b)) = (
                column(&scope, i - 1, "int4", random),
                column(&scope, i, "int4", random),
            ) {
                conditions.push(format!("{a} = {b}"));
            }
        }
        for _ in 0..1 + random.below(2) {
            let ty = random.word(&["int4", "int4", "int4", "text", "date"]);
            let i = random.below(scope.len());
            if let Some(c) = column(&scope, i, ty, random) {
                let operator = random.word(&["=", "<", ">", "<=", ">=", "<>"]);
                let value = self.value(ty);
                conditions.push(format!("{c} {operator} {value}"));
            }
        }
        let tail = match random.below(5) {
            0 => " LIMIT 3".to_owned(),
            1 => column(&scope, 0, "int4", random)
                .map_or_else(String::new, |c| format!(" ORDER BY {c}")),
            2 => column(&scope, 0, "int4", random)
                .map_or_else(String::new, |c| format!(" GROUP BY {c}")),
            _ => String::new(),
        };
        let what = if tail.starts_with(" GROUP") {
            "count(*)"
        } else {
            random.word(&["*", "1", "j0.id", "count(*)"])
        };
        let what = if what == "count(*)" && tail.starts_with(" ORDER") {
            "1"
        } else {
            what
        };
        let condition = if conditions.is_empty() {
            "true".into()
        } else {
            conditions.join(random.word(&[" AND ", " AND ", " OR "]))
        };
        format!(
            "SELECT {what} FROM {} WHERE {condition}{tail}",
            from.join(", ")
        )
    }
}
