//! Expressions of a wanted type, over what is in reach.

mod aggregate;
mod predicate;
mod special;

use cluster_tests::sql::literal;

use crate::model::{Model, Signature, TYPES, Ty};
use crate::random::Random;

/// A column in reach.
#[derive(Clone)]
pub struct Column {
    pub name: String,
    pub ty: Option<Ty>,
}

/// Something in FROM.
#[derive(Clone)]
pub struct Source {
    pub alias: String,
    pub columns: Vec<Column>,
    /// A relation: it has system columns and a row type.
    pub relation: bool,
}

/// One statement's generator.
pub struct Gen<'a> {
    pub random: Random,
    pub model: &'a Model,
    /// Ever less is nested below.
    pub budget: i32,
    pub scopes: Vec<Vec<Source>>,
    pub ctes: Vec<Vec<Source>>,
    pub aliases: usize,
    /// Values said apart from the text: their number and type stand in it.
    pub parameters: Option<Vec<Option<String>>>,
    /// Aggregates may stand here.
    pub aggregating: bool,
    pub windows: bool,
    /// It is text that a function is told to run: names of what is hidden are declassified there.
    pub told: bool,
}

const COMMON: &[Ty] = &[
    "text",
    "text",
    "text",
    "text",
    "int4",
    "int4",
    "int4",
    "numeric",
    "date",
    "bool",
    "jsonb",
    "timestamptz",
    "_text",
    "int8",
    "float8",
];

impl<'a> Gen<'a> {
    pub fn new(seed: u64, model: &'a Model) -> Self {
        let mut random = Random::new(seed);
        let budget = 4 + random.below(26) as i32;
        Self {
            random,
            model,
            budget,
            scopes: Vec::new(),
            ctes: Vec::new(),
            aliases: 0,
            parameters: None,
            aggregating: false,
            windows: false,
            told: false,
        }
    }

    pub fn some_type(&mut self) -> Ty {
        if self.random.percent(85) {
            self.random.word(COMMON)
        } else {
            self.random.word(TYPES)
        }
    }

    /// A value as it is written.
    pub fn value(&mut self, ty: Ty) -> String {
        if self.random.percent(4) {
            return format!("NULL::{}", spelled(ty));
        }
        let text = match self.model.values.get(ty) {
            Some(values) if self.random.percent(96) => self.random.pick(values).clone(),
            // One of another type's: errors quote what they cannot read.
            _ => {
                let other = self.random.word(COMMON);
                self.random.pick(&self.model.values[other]).clone()
            }
        };
        if let Some(parameters) = &mut self.parameters
            && self.random.percent(40)
        {
            parameters.push(Some(text));
            return format!("${}::{}", parameters.len(), spelled(ty));
        }
        if matches!(ty, "int4" | "numeric")
            && self.random.percent(70)
            && !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
        {
            return text;
        }
        if ty == "text" && self.random.percent(60) {
            return literal(&text);
        }
        format!("{}::{}", literal(&text), spelled(ty))
    }

    /// A column of the type, if one is in reach.
    fn column_of(&mut self, ty: Ty) -> Option<String> {
        // The innermost query's first.
        let depth = self.scopes.len();
        let from = if depth > 1 && self.random.percent(15) {
            self.random.below(depth)
        } else {
            depth.checked_sub(1)?
        };
        let mut found = Vec::new();
        for source in &self.scopes[from] {
            for column in &source.columns {
                if column.ty == Some(ty) {
                    found.push((&source.alias, &column.name));
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        let (alias, name) = found[self.random.below(found.len())];
        Some(format!("{alias}.{name}"))
    }

    pub fn any_column(&mut self) -> Option<String> {
        let source = self.some_source()?;
        let column = &source.columns[self.random.below(source.columns.len())];
        Some(format!("{}.{}", source.alias, column.name))
    }

    pub fn some_source(&mut self) -> Option<Source> {
        let scope = self.scopes.last()?;
        if scope.is_empty() {
            return None;
        }
        let source = scope[self.random.below(scope.len())].clone();
        (!source.columns.is_empty()).then_some(source)
    }

    pub fn expression(&mut self, ty: Ty) -> String {
        self.budget -= 1;
        if self.budget <= 0 {
            return self.leaf(ty);
        }
        match self.random.below(100) {
            0..=29 => self.leaf(ty),
            30..=44 => self.call(ty),
            45..=57 => self.operation(ty),
            58..=66 => self.cast(ty),
            67..=71 => self.case(ty),
            72..=75 => self.choice(ty),
            76..=79 => self.sub_query(ty),
            80..=84 if self.aggregating => self.aggregate(ty),
            80..=84 if self.windows => self.window(ty),
            _ => self.special(ty),
        }
    }

    fn leaf(&mut self, ty: Ty) -> String {
        if self.random.percent(75)
            && let Some(column) = self.column_of(ty)
        {
            return column;
        }
        if self.random.percent(35)
            && let Some(column) = self.any_column()
        {
            return format!("({column})::text::{}", spelled(ty));
        }
        self.value(ty)
    }

    fn fill(&mut self, signature: &'a Signature) -> String {
        let mut text = signature.form.clone();
        for (i, argument) in signature.arguments.iter().enumerate() {
            let argument = self.expression(argument);
            // Not by replacing: an argument may hold braces.
            let hole = format!("{{{i}}}");
            if let Some(at) = text.rfind(&hole) {
                text.replace_range(at..at + hole.len(), &argument);
            }
        }
        text
    }

    /// Arguments are put in from the last hole on, so that nothing before moves.
    pub fn signature(&mut self, signature: &'a Signature) -> String {
        if signature.arguments.len() <= 1 {
            return self.fill(signature);
        }
        let arguments: Vec<String> = signature
            .arguments
            .iter()
            .map(|ty| self.expression(ty))
            .collect();
        let mut text = signature.form.clone();
        for (i, argument) in arguments.iter().enumerate().rev() {
            let hole = format!("{{{i}}}");
            if let Some(at) = signature.form.rfind(&hole) {
                text.replace_range(at..at + hole.len(), argument);
            }
        }
        text
    }

    fn call(&mut self, ty: Ty) -> String {
        let model = self.model;
        match model.functions.get(ty) {
            Some(all) => {
                let signature = self.random.pick(all);
                self.signature(signature)
            }
            None => self.leaf(ty),
        }
    }

    fn operation(&mut self, ty: Ty) -> String {
        let model = self.model;
        if ty == "bool" && self.random.percent(50) {
            let of = self.some_type();
            let operator = self.random.word(&[
                "=",
                "=",
                "<>",
                "<",
                ">",
                "<=",
                ">=",
                "IS DISTINCT FROM",
                "IS NOT DISTINCT FROM",
            ]);
            return format!(
                "({} {operator} {})",
                self.expression(of),
                self.expression(of)
            );
        }
        match model.operators.get(ty) {
            Some(all) => {
                let signature = self.random.pick(all);
                self.signature(signature)
            }
            None => self.leaf(ty),
        }
    }

    fn cast(&mut self, ty: Ty) -> String {
        let from = self.some_type();
        let inner = self.expression(from);
        match self.random.below(4) {
            0 => format!("CAST({inner} AS {})", spelled(ty)),
            1 => format!("({inner})::text::{}", spelled(ty)),
            2 if ty == "numeric" => format!(
                "({inner})::numeric({},{})",
                1 + self.random.below(6),
                self.random.below(3)
            ),
            3 if ty == "varchar" => format!("({inner})::varchar({})", 1 + self.random.below(6)),
            _ if self.random.percent(50) => format!("({inner})::text::{}", spelled(ty)),
            _ => format!("({inner})::{}", spelled(ty)),
        }
    }

    fn case(&mut self, ty: Ty) -> String {
        if self.random.percent(50) {
            let condition = self.expression("bool");
            format!(
                "CASE WHEN {condition} THEN {} ELSE {} END",
                self.expression(ty),
                self.expression(ty)
            )
        } else {
            let of = self.some_type();
            format!(
                "CASE {} WHEN {} THEN {} WHEN {} THEN {} END",
                self.expression(of),
                self.expression(of),
                self.expression(ty),
                self.expression(of),
                self.expression(ty)
            )
        }
    }

    fn choice(&mut self, ty: Ty) -> String {
        let (a, b) = (self.expression(ty), self.expression(ty));
        match self.random.below(4) {
            0 => format!("COALESCE({a}, {b})"),
            1 => format!("NULLIF({a}, {b})"),
            2 => format!("GREATEST({a}, {b})"),
            _ => format!("LEAST({a}, {b})"),
        }
    }

    fn sub_query(&mut self, ty: Ty) -> String {
        if ty == "bool" {
            return self.predicate();
        }
        let query = self.nested(&[Some(ty)], true);
        match ty {
            "_text" => format!("ARRAY({})", self.nested(&[Some("text")], false)),
            "_int4" => format!("ARRAY({})", self.nested(&[Some("int4")], false)),
            _ => format!("({query})"),
        }
    }
}

/// As SQL wants it.
pub fn spelled(ty: Ty) -> &'static str {
    match ty {
        "_text" => "text[]",
        "_int4" => "int[]",
        "char" => "\"char\"",
        "bpchar" => "char(6)",
        "bit" => "bit(4)",
        other => other,
    }
}
