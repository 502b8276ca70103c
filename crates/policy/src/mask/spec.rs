//! From a mask and its options to the SQL expression that stands in for a column.

use super::json;
use super::value::Unit;
use serde_json::{Map, Value};

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

fn redact(column: &Column<'_>) -> Result<Compiled, Refusal> {
    let value = match column.kind {
        Kind::Text => "***",
        Kind::Char => "*",
        Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Numeric
        | Kind::Float4
        | Kind::Float8
        | Kind::Money
        | Kind::Oid => "0",
        Kind::Bool => "false",
        Kind::Date => "1970-01-01",
        Kind::Timestamp => "1970-01-01 00:00:00",
        Kind::TimestampTz => "1970-01-01 00:00:00+00",
        Kind::Time => "00:00:00",
        Kind::TimeTz => "00:00:00+00",
        Kind::Interval => "00:00:00",
        Kind::Uuid => "00000000-0000-0000-0000-000000000000",
        Kind::Inet => "0.0.0.0",
        Kind::Cidr => "0.0.0.0/32",
        Kind::MacAddr => "00:00:00:00:00:00",
        Kind::MacAddr8 => "00:00:00:00:00:00:00:00",
        Kind::Json | Kind::Jsonb | Kind::Array | Kind::MultiRange => "{}",
        // a document, so that it parses whatever the setting xmloption says
        Kind::Xml => "<redacted/>",
        Kind::Bytea => "\\x",
        Kind::Bit => "0",
        Kind::VarBit | Kind::TsVector => "",
        Kind::Point => "(0,0)",
        Kind::Range => "empty",
        Kind::Enum => {
            return Err(misfit(
                "redact",
                column,
                "No label of an enum is neutral. Use null, or constant with one of its labels.",
            ));
        }
        Kind::Composite | Kind::Other => {
            return Err(misfit(
                "redact",
                column,
                "No neutral value of this type is known. Use null or constant.",
            ));
        }
    };
    Ok(Compiled::Redacted(value))
}

fn partial(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
    let first = o.integer("keep_first", 0, 0, 10_000)?;
    let last = o.integer("keep_last", 4, 0, 10_000)?;
    let pad = o.text("pad")?.unwrap_or("*");
    if pad.chars().count() != 1 || pad.chars().any(char::is_control) {
        return Err(bad_option(
            format!("option \"pad\" of mask \"partial\" is not valid: \"{pad}\""),
            "It is one character; the default is \"*\".",
        ));
    }
    match column.valued() {
        Kind::Text => Ok(Compiled::Sql(column.call(
            "mask_partial",
            "text",
            &["int4", "int4", "text"],
            &[
                first.to_string(),
                last.to_string(),
                format!("{}::pg_catalog.text", literal(pad)),
            ],
        ))),
        _ => Err(misfit(
            "partial",
            column,
            "It is for text. Use redact, or bucket for numbers and truncate for dates.",
        )),
    }
}

fn hash(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
    let length = o.integer("length", 16, 1, 64)?;
    match column.valued() {
        Kind::Text => Ok(Compiled::Sql(column.call(
            "mask_hash",
            "text",
            &["int4"],
            &[length.to_string()],
        ))),
        Kind::Uuid if o.given.is_empty() => {
            Ok(Compiled::Sql(column.call("mask_hash", "uuid", &[], &[])))
        }
        Kind::Int8 if o.given.is_empty() => {
            Ok(Compiled::Sql(column.call("mask_hash", "int8", &[], &[])))
        }
        Kind::Uuid | Kind::Int8 => Err(bad_option(
            format!(
                "option \"length\" of mask \"hash\" does not apply to type {}",
                column.sql_type
            ),
            "Leave it out: the hash has the column's type.",
        )),
        _ => Err(misfit(
            "hash",
            column,
            "It is for text, uuid and bigint. Use redact, null or bucket.",
        )),
    }
}

fn truncate(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
    let unit = o.text("unit")?.unwrap_or("year");
    let (valid, value) = match column.valued() {
        Kind::Date => (Unit::OF_DATE, "date"),
        Kind::Timestamp => (Unit::OF_TIMESTAMP, "timestamp"),
        Kind::TimestampTz => (Unit::OF_TIMESTAMP, "timestamptz"),
        _ => {
            return Err(misfit(
                "truncate",
                column,
                "It is for date, timestamp and timestamptz. Use redact or null.",
            ));
        }
    };
    if !valid.contains(&unit) {
        return Err(bad_option(
            format!(
                "option \"unit\" of mask \"truncate\" is not valid for type {}: \"{unit}\"",
                column.sql_type
            ),
            format!("It is one of: {}; the default is year.", valid.join(", ")),
        ));
    }
    Ok(Compiled::Sql(column.call(
        "mask_truncate",
        value,
        &["text"],
        &[format!("'{unit}'::pg_catalog.text")],
    )))
}

fn bucket(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
    let c = column.quoted;
    let whole = |most: i64| o.integer("size", 10, 1, most);
    let float = |value: &str| {
        let size = format!("'{}'::pg_catalog.float8", positive(o)?);
        Ok(column.call("mask_bucket", value, &["float8"], &[size]))
    };
    let sql = match column.valued() {
        Kind::Int2 => {
            let size = whole(i64::from(i16::MAX))?.to_string();
            column.call("mask_bucket", "int2", &["int4"], &[size])
        }
        Kind::Int4 => {
            let size = whole(i64::from(i32::MAX))?.to_string();
            column.call("mask_bucket", "int4", &["int4"], &[size])
        }
        Kind::Int8 => {
            let size = format!("{}::pg_catalog.int8", whole(i64::MAX)?);
            column.call("mask_bucket", "int8", &["int8"], &[size])
        }
        Kind::Float4 => float("float4")?,
        Kind::Float8 => float("float8")?,
        Kind::Numeric if column.element.is_some() => {
            let least = column.numeric.map_or_else(
                || "-Infinity".to_owned(),
                |(precision, scale)| least_numeric(precision, scale),
            );
            column.call(
                "mask_bucket",
                "numeric",
                &["numeric", "numeric"],
                &[
                    format!("'{}'::pg_catalog.numeric", positive(o)?),
                    format!("'{least}'::pg_catalog.numeric"),
                ],
            )
        }
        Kind::Numeric => {
            let size = positive(o)?;
            let of = |function: &str, division: &str| {
                format!(
                    "pg_catalog.{function}({c} {division} '{size}'::pg_catalog.numeric) OPERATOR(pg_catalog.*) '{size}'::pg_catalog.numeric"
                )
            };
            // div() cuts towards zero, and is much the faster of the two.
            let (positive, floor) = (of("div", ","), of("floor", "OPERATOR(pg_catalog./)"));
            let negative = match column.numeric {
                // The multiple below the least value does not fit numeric(p, s): stay at that value.
                Some((precision, scale)) => {
                    format!(
                        "GREATEST({floor}, '{}'::pg_catalog.numeric)",
                        least_numeric(precision, scale)
                    )
                }
                None => floor,
            };
            format!(
                "CASE WHEN {c} OPERATOR(pg_catalog.<) 0::pg_catalog.numeric THEN {negative} ELSE {positive} END"
            )
        }
        _ => {
            return Err(misfit(
                "bucket",
                column,
                "It is for numbers. Use truncate for dates, redact or null for others.",
            ));
        }
    };
    Ok(Compiled::Sql(sql))
}

/// The option `size` of a fractional type, as the text of a number.
fn positive(o: &Options<'_>) -> Result<String, Refusal> {
    match o.given.get("size") {
        None => Ok("10".into()),
        Some(Value::Number(n)) if n.as_f64().is_some_and(|f| f > 0.0 && f.is_finite()) => {
            Ok(n.to_string())
        }
        Some(other) => Err(bad_option(
            format!("option \"size\" of mask \"bucket\" is not valid: {other}"),
            "It is a number above 0; the default is 10.",
        )),
    }
}

/// The least value of numeric(precision, scale): precision nines, scale of them behind the point.
fn least_numeric(precision: i32, scale: i32) -> String {
    format!("-{}e{}", "9".repeat(precision.max(0) as usize), -scale)
}

#[cfg(test)]
mod tests;
