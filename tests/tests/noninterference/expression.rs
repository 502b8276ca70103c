//! Expressions of a wanted type, over what is in reach.

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

    fn window(&mut self, ty: Ty) -> String {
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

    /// What has a syntax of its own.
    fn special(&mut self, ty: Ty) -> String {
        let v = self.model.version;
        let of = self.some_type();
        let lax = self.random.word(&[
            "",
            " ERROR ON ERROR",
            " NULL ON EMPTY",
            " DEFAULT '1' ON ERROR",
        ]);
        let path = literal(self.random.word(&[
            "$",
            "$.pin",
            "$.card",
            "$.k",
            "strict $.nope",
            "$.list[0]",
            "$[*] ? (@ > 1)",
            "$.*",
        ]));
        match ty {
            "text" => match self.random.below(22) {
                0 => format!(
                    "substring({} from {} for {})",
                    self.expression("text"),
                    self.value("int4"),
                    self.expression("int4")
                ),
                1 => format!(
                    "substring({} from {})",
                    self.expression("text"),
                    self.value("text")
                ),
                2 => format!(
                    "overlay({} placing {} from 2 for 1)",
                    self.expression("text"),
                    self.expression("text")
                ),
                3 => format!(
                    "trim(both {} from {})",
                    self.value("text"),
                    self.expression("text")
                ),
                4 => format!(
                    "format({}, {}, {})",
                    self.random
                        .word(&["'%s-%s'", "'%I.%L'", "'%2$s %1$s'", "'%s %q'"]),
                    self.expression("text"),
                    self.expression(of)
                ),
                5 => format!(
                    "concat_ws('/', {}, {}, {})",
                    self.expression("text"),
                    self.expression(of),
                    self.expression("int4")
                ),
                6 => format!(
                    "({})[{}]",
                    self.expression("_text"),
                    self.expression("int4")
                ),
                7 => format!("({} ->> {})", self.expression("jsonb"), self.value("text")),
                8 => format!(
                    "({} COLLATE {})",
                    self.expression("text"),
                    self.random
                        .word(&["\"C\"", "\"POSIX\"", "\"ucs_basic\"", "\"default\""])
                ),
                9 => format!(
                    "to_char({}, {})",
                    self.expression(of),
                    self.random
                        .word(&["'YYYY-MM-DD'", "'999.99'", "'HH24 J Q'", "'RN'", "'EEEE'"])
                ),
                10 => format!(
                    "regexp_replace({}, {}, '<\\&>', 'g')",
                    self.expression("text"),
                    self.value("text")
                ),
                11 => format!(
                    "split_part({}, {}, {})",
                    self.expression("text"),
                    self.value("text"),
                    self.value("int4")
                ),
                12 => match self.some_source() {
                    Some(source) => match self.random.below(6) {
                        0 => format!("{}::text", source.alias),
                        1 => format!("row_to_json({})::text", source.alias),
                        2 => format!("md5({}::text)", source.alias),
                        3 => format!("lab.person_text({})", source.alias),
                        4 if source.relation => {
                            format!("{}.tableoid::regclass::text", source.alias)
                        }
                        5 if source.relation => format!(
                            "{}.{}::text",
                            source.alias,
                            self.random.word(&["ctid", "cmin", "tableoid"])
                        ),
                        _ => format!("hash_record_extended({}, 1)::text", source.alias),
                    },
                    None => self.leaf(ty),
                },
                13 => format!(
                    "lab.{}({})",
                    self.random.word(&["mail_of", "mail_as_owner"]),
                    self.expression("int4")
                ),
                14 => {
                    let told = std::mem::replace(&mut self.told, true);
                    let query = self.nested(&[Some("text")], true);
                    self.told = told;
                    format!("lab.told({})", literal(&query))
                }
                15 => format!("{}::text", self.expression(of)),
                16 => format!("xmlserialize(CONTENT {} AS text)", self.expression("xml")),
                17 => format!("normalize({}, NFKD)", self.expression("text")),
                18 if v >= 17 => format!(
                    "JSON_VALUE({}, {path} RETURNING text{lax})",
                    self.expression("jsonb")
                ),
                19 if v >= 17 => format!(
                    "JSON_QUERY({}, {path} RETURNING text WITH WRAPPER)",
                    self.expression("jsonb")
                ),
                20 if v >= 17 => {
                    format!("JSON_SERIALIZE({} RETURNING text)", self.expression("json"))
                }
                _ => format!("({} || {})", self.expression("text"), self.expression(of)),
            },
            "int4" => match self.random.below(9) {
                0 => format!("length({})", self.expression("text")),
                1 => format!(
                    "position({} in {})",
                    self.value("text"),
                    self.expression("text")
                ),
                2 => format!(
                    "({} / {})",
                    self.expression("int4"),
                    self.expression("int4")
                ),
                3 => format!(
                    "({} % ({} - {}))",
                    self.expression("int4"),
                    self.expression("int4"),
                    self.value("int4")
                ),
                4 => format!(
                    "({} * {})",
                    self.expression("int4"),
                    self.expression("int4")
                ),
                5 => format!("pg_column_size({})", self.expression(of)),
                6 => format!(
                    "extract({} from {})::int",
                    self.random
                        .word(&["year", "doy", "epoch", "dow", "century"]),
                    self.expression("date")
                ),
                7 => format!("array_length({}, 1)", self.expression("_text")),
                _ => format!(
                    "grouping({})",
                    self.any_column().unwrap_or_else(|| "1".into())
                ),
            },
            "numeric" => match self.random.below(4) {
                0 => format!(
                    "({} / {})",
                    self.expression("numeric"),
                    self.expression("numeric")
                ),
                1 => format!("({} ^ {})", self.expression("numeric"), self.value("int4")),
                2 => format!(
                    "round({}, {})",
                    self.expression("numeric"),
                    self.value("int4")
                ),
                _ => format!("extract(epoch from {})", self.expression("timestamptz")),
            },
            "bool" => self.predicate(),
            "jsonb" => match self.random.below(10) {
                0 => format!(
                    "jsonb_build_object({}, {})",
                    self.expression("text"),
                    self.expression(of)
                ),
                1 => format!(
                    "jsonb_set({}, '{{k}}', {})",
                    self.expression("jsonb"),
                    self.expression("jsonb")
                ),
                2 => format!("({} -> {})", self.expression("jsonb"), self.value("text")),
                3 => format!("({})[{}]", self.expression("jsonb"), self.value("text")),
                4 => format!(
                    "to_jsonb({})",
                    self.some_source().map_or("1".into(), |s| s.alias)
                ),
                5 => format!(
                    "jsonb_path_query_array({}, {path})",
                    self.expression("jsonb")
                ),
                6 if v >= 16 => format!(
                    "JSON_OBJECT({} : {} ABSENT ON NULL WITH UNIQUE KEYS RETURNING jsonb)",
                    self.expression("text"),
                    self.expression(of)
                ),
                7 if v >= 16 => format!(
                    "JSON_ARRAY({}, {} NULL ON NULL RETURNING jsonb)",
                    self.expression(of),
                    self.expression("text")
                ),
                8 if v >= 17 => format!(
                    "JSON_QUERY({}, {path}{})",
                    self.expression("jsonb"),
                    self.random.word(&["", " WITH WRAPPER", " KEEP QUOTES"])
                ),
                9 if v >= 17 => format!("JSON({})::jsonb", self.expression("text")),
                _ => format!("({} - {})", self.expression("jsonb"), self.value("text")),
            },
            "_text" => match self.random.below(4) {
                0 => format!(
                    "ARRAY[{}, {}]",
                    self.expression("text"),
                    self.expression("text")
                ),
                1 => format!(
                    "string_to_array({}, {})",
                    self.expression("text"),
                    self.value("text")
                ),
                2 => format!("({})[1:{}]", self.expression("_text"), self.value("int4")),
                _ => format!(
                    "regexp_split_to_array({}, {})",
                    self.expression("text"),
                    self.value("text")
                ),
            },
            "xml" => match self.random.below(6) {
                0 => format!(
                    "xmlelement(name x, xmlattributes({} AS a), {})",
                    self.expression("text"),
                    self.expression(of)
                ),
                1 => format!(
                    "xmlforest({} AS p, {} AS q)",
                    self.expression("text"),
                    self.expression(of)
                ),
                2 => format!(
                    "xmlconcat({}, {})",
                    self.expression("xml"),
                    self.value("xml")
                ),
                3 => format!(
                    "xmlparse({} {})",
                    self.random.word(&["CONTENT", "DOCUMENT"]),
                    self.expression("text")
                ),
                4 => format!("xmlpi(name php, {})", self.expression("text")),
                _ => {
                    let told = std::mem::replace(&mut self.told, true);
                    let query = self.nested(&[None], false);
                    self.told = told;
                    format!("query_to_xml({}, true, false, '')", literal(&query))
                }
            },
            "timestamptz" => format!(
                "({} AT TIME ZONE {})::timestamptz",
                self.expression("timestamptz"),
                self.random.word(&["'UTC'", "'Asia/Tokyo'", "'nowhere'"])
            ),
            "date" => format!(
                "make_date({}, {}, {})",
                self.expression("int4"),
                self.value("int4"),
                self.expression("int4")
            ),
            "tsvector" => format!(
                "to_tsvector({}, {})",
                self.random.word(&["'simple'", "'english'"]),
                self.expression("text")
            ),
            "tsquery" => format!(
                "{}({})",
                self.random.word(&[
                    "to_tsquery",
                    "plainto_tsquery",
                    "websearch_to_tsquery",
                    "phraseto_tsquery"
                ]),
                self.expression("text")
            ),
            "int4range" => format!(
                "int4range({}, {}, '[)')",
                self.expression("int4"),
                self.expression("int4")
            ),
            "uuid" => format!("md5({})::uuid", self.expression("text")),
            "bytea" => format!(
                "{}({}, 'UTF8')",
                self.random.word(&["convert_to"]),
                self.expression("text")
            ),
            "regclass" | "oid" => format!("({})::regclass", self.expression("text")),
            _ => self.cast(ty),
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
