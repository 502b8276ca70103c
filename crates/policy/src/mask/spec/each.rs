//! One kind of mask at a time: what fits it, and its SQL.

use super::{Column, Compiled, Kind, Options, Refusal, bad_option, literal, misfit};
use crate::mask::value::Unit;
use serde_json::Value;

pub(super) fn redact(column: &Column<'_>) -> Result<Compiled, Refusal> {
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

pub(super) fn partial(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
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

pub(super) fn hash(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
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

pub(super) fn truncate(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
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

pub(super) fn bucket(column: &Column<'_>, o: &Options<'_>) -> Result<Compiled, Refusal> {
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
        Kind::Numeric => {
            // The multiple below the least value does not fit numeric(p, s): stay at that value.
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
pub(super) fn least_numeric(precision: i32, scale: i32) -> String {
    format!("-{}e{}", "9".repeat(precision.max(0) as usize), -scale)
}
