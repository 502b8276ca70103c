//! From a mask and its options to the SQL expression that stands in for a column.

use super::json;
use serde_json::{Map, Value};

mod each;
use each::{bucket, hash, partial, redact, truncate};

/// What a mask has to know of a column's type. Domains count as the type below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// text, varchar, char(n), name, and extension types that stand for text (citext)
    Text,
    Char,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Money,
    Oid,
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    Time,
    TimeTz,
    Interval,
    Uuid,
    Inet,
    Cidr,
    MacAddr,
    MacAddr8,
    Json,
    Jsonb,
    Xml,
    Bytea,
    Bit,
    VarBit,
    TsVector,
    Point,
    Array,
    Range,
    MultiRange,
    Enum,
    Composite,
    Other,
}

/// The column that is to be masked.
#[derive(Debug, Clone)]
pub struct Column<'a> {
    /// its name as SQL wants it, quoted where needed
    pub quoted: &'a str,
    pub kind: Kind,
    /// its type as SQL wants it, qualified, with typmod
    pub sql_type: &'a str,
    /// precision and scale of numeric(p, s)
    pub numeric: Option<(i32, i32)>,
    /// a domain with NOT NULL or CHECK, which a computed value might not meet; also of elements
    pub constrained: bool,
    /// of an array: the kind of its elements
    pub element: Option<Kind>,
}

impl Column<'_> {
    /// The kind of what a mask is applied to: of an array its elements.
    fn valued(&self) -> Kind {
        self.element.unwrap_or(self.kind)
    }

    /// A call of a mask's function: for the value, or for each element of an array.
    /// `signature`: its argument types after the value's; `rest`: these arguments.
    fn call(&self, function: &str, value: &str, types: &[&str], rest: &[String]) -> String {
        let arguments: String = rest.iter().map(|r| format!(", {r}")).collect();
        if self.element.is_none() {
            return format!(
                "agent_policy.{function}({}::pg_catalog.{value}{arguments})",
                self.quoted
            );
        }
        let types: String = types.iter().map(|t| format!(",pg_catalog.{t}")).collect();
        format!(
            "agent_policy.mask_each({}::pg_catalog.{value}[], \
             'agent_policy.{function}(pg_catalog.{value}{types})'::pg_catalog.regprocedure{arguments})",
            self.quoted
        )
    }
}

/// What comes of a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiled {
    /// the mask `none`
    Raw,
    /// an SQL expression, still to be cast to the column's type
    Sql(String),
    /// a literal in the type's text form; NULL stays NULL
    Redacted(&'static str),
    /// the literal is the option `value`
    Constant,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// 22023
    Option,
    /// 42804
    Type,
}

/// Why a mask cannot be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub hint: String,
}

fn bad_option(message: String, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind: RefusalKind::Option,
        message,
        hint: hint.into(),
    }
}

fn misfit(mask: &str, column: &Column<'_>, hint: impl Into<String>) -> Refusal {
    Refusal {
        kind: RefusalKind::Type,
        message: format!(
            "mask \"{mask}\" does not fit column {} of type {}",
            column.quoted, column.sql_type
        ),
        hint: hint.into(),
    }
}

/// The options of a mask, each read once; what is left over is unknown.
struct Options<'a> {
    mask: &'a str,
    given: &'a Map<String, Value>,
}

impl<'a> Options<'a> {
    fn new(mask: &'a str, given: &'a Map<String, Value>, known: &[&str]) -> Result<Self, Refusal> {
        if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
            let hint = if known.is_empty() {
                format!("Mask \"{mask}\" takes no options.")
            } else {
                format!("Mask \"{mask}\" takes: {}.", known.join(", "))
            };
            return Err(bad_option(
                format!("mask \"{mask}\" has no option \"{name}\""),
                hint,
            ));
        }
        Ok(Self { mask, given })
    }

    fn integer(&self, name: &str, default: i64, least: i64, most: i64) -> Result<i64, Refusal> {
        let Some(value) = self.given.get(name) else {
            return Ok(default);
        };
        value
            .as_i64()
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| {
                bad_option(
                    format!(
                        "option \"{name}\" of mask \"{}\" is not valid: {value}",
                        self.mask
                    ),
                    format!(
                        "It is a whole number from {least} to {most}; the default is {default}."
                    ),
                )
            })
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        match self.given.get(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(bad_option(
                format!(
                    "option \"{name}\" of mask \"{}\" is not a string: {other}",
                    self.mask
                ),
                format!("Write {{\"{name}\": \"...\"}}."),
            )),
        }
    }
}

/// An SQL string literal, whatever standard_conforming_strings says.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Is there a type of column that the mask with these options fits?
///
/// # Errors
/// As [`compile`].
pub fn validate(mask: &str, options: &Map<String, Value>) -> Result<(), Refusal> {
    let mut refusal = None;
    for kind in [
        Kind::Text,
        Kind::Int8,
        Kind::Numeric,
        Kind::TimestampTz,
        Kind::Inet,
        Kind::Jsonb,
    ] {
        let column = Column {
            quoted: "value",
            kind,
            sql_type: "pg_catalog.text",
            numeric: None,
            constrained: false,
            element: None,
        };
        match compile(&column, mask, options) {
            Ok(_) => return Ok(()),
            Err(why) if why.kind == RefusalKind::Option => refusal = Some(why),
            Err(_) => {}
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// The SQL that stands in for `column` under `mask`.
///
/// # Errors
/// A [`Refusal`] for an unknown mask or option, an option out of range, or a mask that the
/// column's type has no place for.
pub fn compile(
    column: &Column<'_>,
    mask: &str,
    options: &Map<String, Value>,
) -> Result<Compiled, Refusal> {
    if column.constrained && !matches!(mask, "none" | "null" | "redact" | "constant") {
        return Err(misfit(
            mask,
            column,
            "The type is a domain with constraints, which a computed value might not meet. Use null, or constant with a value that meets them.",
        ));
    }
    match mask {
        "none" => Options::new(mask, options, &[]).map(|_| Compiled::Raw),
        "null" => Options::new(mask, options, &[]).map(|_| Compiled::Null),
        "redact" => {
            Options::new(mask, options, &[])?;
            redact(column)
        }
        "constant" => {
            Options::new(mask, options, &["value"])?;
            match options.get("value") {
                None => Err(bad_option(
                    "mask \"constant\" needs the option \"value\"".into(),
                    "Write {\"value\": ...}; JSON null gives NULL.",
                )),
                Some(Value::Null) => Ok(Compiled::Null),
                Some(_) => Ok(Compiled::Constant),
            }
        }
        "partial" => partial(
            column,
            &Options::new(mask, options, &["keep_first", "keep_last", "pad"])?,
        ),
        "email" => {
            Options::new(mask, options, &[])?;
            match column.valued() {
                Kind::Text => Ok(Compiled::Sql(column.call("mask_email", "text", &[], &[]))),
                _ => Err(misfit(mask, column, "It is for text. Use redact or null.")),
            }
        }
        "hash" => hash(column, &Options::new(mask, options, &["length"])?),
        "truncate" => truncate(column, &Options::new(mask, options, &["unit"])?),
        "bucket" => bucket(column, &Options::new(mask, options, &["size"])?),
        "network" => {
            let o = Options::new(mask, options, &["ipv4", "ipv6"])?;
            let (v4, v6) = (
                o.integer("ipv4", 24, 0, 32)?,
                o.integer("ipv6", 48, 0, 128)?,
            );
            let value = match column.valued() {
                Kind::Inet => "inet",
                Kind::Cidr => "cidr",
                _ => {
                    return Err(misfit(
                        mask,
                        column,
                        "It is for inet and cidr. Use redact or null.",
                    ));
                }
            };
            let bits = [v4.to_string(), v6.to_string()];
            Ok(Compiled::Sql(column.call(
                "mask_network",
                value,
                &["int4", "int4"],
                &bits,
            )))
        }
        "scrub" => {
            Options::new(mask, options, &[])?;
            let (function, cast) = match column.valued() {
                Kind::Text => ("mask_scrub", String::new()),
                Kind::Json | Kind::Jsonb => ("mask_scrub_json", format!("::{}", column.sql_type)),
                _ => {
                    return Err(misfit(
                        mask,
                        column,
                        "It is for text, json and jsonb. Use redact or null.",
                    ));
                }
            };
            Ok(Compiled::Sql(
                column.call(function, "text", &[], &[]) + &cast,
            ))
        }
        "json" => {
            Options::new(mask, options, &["paths"])?;
            let paths = options.get("paths").unwrap_or(&Value::Null);
            json::rules(paths).map_err(|(message, hint)| bad_option(message, hint))?;
            match column.valued() {
                Kind::Jsonb => Ok(Compiled::Sql(column.call(
                    "mask_json",
                    "jsonb",
                    &["text"],
                    &[format!("{}::pg_catalog.text", literal(&paths.to_string()))],
                ))),
                Kind::Json => Err(misfit(
                    mask,
                    column,
                    "It is for jsonb. Change the column's type, or use scrub, redact or null.",
                )),
                _ => Err(misfit(mask, column, "It is for jsonb. Use redact or null.")),
            }
        }
        "expression" => {
            let o = Options::new(mask, options, &["sql"])?;
            match o.text("sql")? {
                Some(sql) => Ok(Compiled::Sql(sql.to_owned())),
                None => Err(bad_option(
                    "mask \"expression\" needs the option \"sql\"".into(),
                    "Write {\"sql\": \"left(name, 1)\"}.",
                )),
            }
        }
        _ => Err(bad_option(
            format!("there is no mask \"{mask}\""),
            "Masks are: redact, null, constant, partial, email, hash, truncate, bucket, network, scrub, json, expression, none.",
        )),
    }
}

#[cfg(test)]
use each::least_numeric;
#[cfg(test)]
mod tests;
