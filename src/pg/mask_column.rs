//! The column that is to be masked, and the SQL that a mask makes of it.

use super::call::{arg, arg_is_null, c_string, return_null, sql_function, to_rust, to_server};
use super::mask_expr::{Written, analyse, note_written, open, refuse, stable_output};
use super::users;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, Datum, Oid};
use policy::mask::{self, Compiled, Kind, Refusal, RefusalKind, numeric};
use std::ffi::c_char;
use std::ptr::null_mut;

/// A column that is to be masked, as the catalogs have it.
pub struct Attribute {
    pub type_id: Oid,
    pub typmod: i32,
    pub collation: Oid,
    pub name: String,
}

/// # Safety
/// `rel` is open, `name` a C string.
pub unsafe fn attribute(rel: pg_sys::Relation, name: *const c_char) -> Attribute {
    // SAFETY: the tuple descriptor of an open relation; attnum is checked against it.
    unsafe {
        let shown = to_rust(name);
        let attnum = pg_sys::get_attnum((*rel).rd_id, name);
        if attnum <= 0 {
            refuse(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                format!(
                    "relation \"{}\" has no column \"{shown}\"",
                    to_rust((*(*rel).rd_rel).relname.data.as_ptr())
                ),
                "Columns are listed in pg_attribute.".into(),
            );
        }
        let mut attribute = Attribute {
            type_id: pg_sys::InvalidOid,
            typmod: -1,
            collation: pg_sys::InvalidOid,
            name: shown,
        };
        pg_sys::get_atttypetypmodcoll(
            (*rel).rd_id,
            attnum,
            &raw mut attribute.type_id,
            &raw mut attribute.typmod,
            &raw mut attribute.collation,
        );
        attribute
    }
}

sql_function! {
    /// _mask_expression(relation oid, column_name text, mask text, options text, constant text) → text
    ///
    /// `constant` is the option "value" of the mask constant as text; NULL for the others.
    fn mask_expression / pg_finfo_mask_expression(fcinfo) {
        if (0..4).any(|i| arg_is_null(fcinfo, i)) {
            return return_null(fcinfo);
        }
        let rel = open(arg(fcinfo, 0));
        let name = c_string(arg(fcinfo, 1));
        let column = attribute(rel, name);
        let mask = to_rust(c_string(arg(fcinfo, 2)));
        let options = to_rust(c_string(arg(fcinfo, 3)));
        let constant = if arg_is_null(fcinfo, 4) { null_mut() } else { c_string(arg(fcinfo, 4)) };
        let text = {
            let _caller = users::restricted();
            expression(rel, &column, name, &mask, &options, constant)
        };
        let text = match text {
            Ok(text) => text,
            Err(why) => raise(why),
        };
        pg_sys::table_close(rel, pg_sys::NoLock as i32);
        note_written(Written {
            relid: arg(fcinfo, 0).value() as u32,
            name: Some(column.name),
            mask: Some(mask),
            text: (!text.is_null()).then(|| to_rust(text)),
        });
        if text.is_null() {
            return return_null(fcinfo);
        }
        Datum::from(pg_sys::cstring_to_text(text))
    }
}

/// Raises what a refusal says.
pub fn raise(
    Refusal {
        kind,
        message,
        hint,
    }: Refusal,
) -> ! {
    let code = match kind {
        RefusalKind::Option => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        RefusalKind::Type => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
    };
    refuse(code, message, hint)
}

/// The canonical SQL of a mask over a column; null for the mask `none`.
///
/// # Safety
/// `rel` is open, `name` is the column's, `constant` is null or a C string.
unsafe fn expression(
    rel: pg_sys::Relation,
    column: &Attribute,
    name: *const c_char,
    mask: &str,
    options: &str,
    constant: *mut c_char,
) -> Result<*mut c_char, Refusal> {
    // SAFETY: the caller's.
    unsafe {
        let source = match compile(column, name, mask, options)? {
            Compiled::Raw => null_mut(),
            Compiled::Sql(sql) => to_server(&sql),
            Compiled::Null => literal(column, null_mut()),
            Compiled::Constant => literal(column, constant),
            Compiled::Redacted(value) => {
                let value = literal(column, to_server(cut_literal(value, column)));
                // With the column itself as its NULL, all branches are of exactly its type, and no
                // domain is asked whether it takes NULL.
                let (quoted, value) = (to_rust(pg_sys::quote_identifier(name)), to_rust(value));
                to_server(&format!(
                    "CASE WHEN {quoted} IS NULL THEN {quoted} ELSE {value} END"
                ))
            }
        };
        Ok(if source.is_null() {
            source
        } else {
            analyse(rel, source, Some(column))
        })
    }
}

/// The SQL of a mask that a label carries, for one column; `None` for the mask `none`. Raises when
/// the mask does not fit the column.
pub fn labelled(relid: Oid, column: &str, mask: &str, options: &str) -> Option<String> {
    // SAFETY: the relation is locked until the transaction ends; the names are C strings.
    unsafe {
        let rel = open(Datum::from(relid));
        let name = to_server(column);
        let attribute = attribute(rel, name);
        let value = serde_json::from_str::<serde_json::Value>(options)
            .unwrap_or_default()
            .get("value")
            .map_or(null_mut(), |value| match value {
                serde_json::Value::Null => null_mut(),
                serde_json::Value::String(text) => to_server(text),
                other => to_server(&other.to_string()),
            });
        let text = match expression(rel, &attribute, name, mask, options, value) {
            Ok(text) => text,
            Err(why) => raise(why),
        };
        pg_sys::table_close(rel, pg_sys::NoLock as i32);
        (!text.is_null()).then(|| to_rust(text))
    }
}

/// What hides a column that nobody has classified: a neutral value of its type, or NULL.
pub fn unclassified(relid: Oid, column: &str) -> String {
    // SAFETY: as in `labelled`.
    unsafe {
        let rel = open(Datum::from(relid));
        let name = to_server(column);
        let attribute = attribute(rel, name);
        let neutral = compile(&attribute, name, "redact", "{}").is_ok()
            && pg_sys::get_typtype(attribute.type_id) as u8 != pg_sys::TYPTYPE_DOMAIN;
        let mask = if neutral { "redact" } else { "null" };
        // NULL without a cast: a domain is not asked whether it takes it.
        let sql = match neutral {
            true => expression(rel, &attribute, name, mask, "{}", null_mut())
                .map(|text| to_rust(text))
                .unwrap_or_else(|_| "NULL".to_owned()),
            false => "NULL".to_owned(),
        };
        pg_sys::table_close(rel, pg_sys::NoLock as i32);
        sql
    }
}

/// Options that are none.
pub fn no_object() -> Refusal {
    Refusal {
        kind: RefusalKind::Option,
        message: "options must be a JSON object".into(),
        hint: "Write {\"name\": value}; {} for none.".into(),
    }
}

/// # Safety
/// `name` is a C string.
unsafe fn compile(
    column: &Attribute,
    name: *const c_char,
    mask: &str,
    options: &str,
) -> Result<Compiled, Refusal> {
    // SAFETY: syscache lookups by a column's type.
    unsafe {
        let mut typmod = column.typmod;
        let base = pg_sys::getBaseTypeAndTypmod(column.type_id, &raw mut typmod);
        let options: serde_json::Value = serde_json::from_str(options).unwrap_or_default();
        let Some(options) = options.as_object() else {
            return Err(no_object());
        };
        let mut constrained =
            base != column.type_id && pg_sys::DomainHasConstraints(column.type_id);
        // The mask of an array is that of its elements, which have the array's typmod.
        let of_elements = pg_sys::get_element_type(base);
        let mut numeric_base = base;
        let mut element = None;
        if of_elements != pg_sys::InvalidOid && kind(base) == Kind::Array {
            numeric_base = pg_sys::getBaseTypeAndTypmod(of_elements, &raw mut typmod);
            constrained |= numeric_base != of_elements && pg_sys::DomainHasConstraints(of_elements);
            element = Some(kind(numeric_base));
        }
        mask::compile(
            &mask::Column {
                quoted: &to_rust(pg_sys::quote_identifier(name)),
                kind: kind(base),
                element,
                sql_type: &to_rust(sql_type(column)),
                numeric: (numeric_base == pg_sys::NUMERICOID)
                    .then(|| numeric::of_type(typmod))
                    .flatten(),
                constrained,
            },
            mask,
            options,
        )
    }
}

/// # Safety
/// In a transaction.
unsafe fn sql_type(column: &Attribute) -> *mut c_char {
    let flags = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
    // SAFETY: syscache lookup.
    unsafe { pg_sys::format_type_extended(column.type_id, column.typmod, flags as u16) }
}

/// A text too long for its column is cut, not refused.
fn cut_literal<'a>(value: &'a str, column: &Attribute) -> &'a str {
    let mut typmod = column.typmod;
    // SAFETY: syscache lookup.
    let base = unsafe { pg_sys::getBaseTypeAndTypmod(column.type_id, &raw mut typmod) };
    match base {
        pg_sys::VARCHAROID | pg_sys::BPCHAROID if typmod >= 4 => {
            value.get(..typmod as usize - 4).unwrap_or(value)
        }
        _ => value,
    }
}

/// `value` in the text form of the column's type as an SQL literal; NULL for a null pointer. The
/// type's input function and a domain's constraints are asked now, with the caller's privileges.
///
/// # Safety
/// `value` is null or a C string.
unsafe fn literal(column: &Attribute, value: *mut c_char) -> *mut c_char {
    // SAFETY: the functions looked up belong to the type of the value that they get.
    unsafe {
        let target = to_rust(sql_type(column));
        let (mut input, mut ioparam) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
        pg_sys::getTypeInputInfo(column.type_id, &raw mut input, &raw mut ioparam);
        let mut typmod = column.typmod;
        let base = pg_sys::getBaseTypeAndTypmod(column.type_id, &raw mut typmod);
        // bit(n) takes exactly n digits; the explicit cast to it pads.
        if base == pg_sys::BITOID && !value.is_null() && typmod > 0 {
            let digits = to_rust(value);
            if digits == "0" {
                return to_server(&format!("'{}'::{target}", "0".repeat(typmod as usize)));
            }
        }
        let datum = pg_sys::OidInputFunctionCall(input, value, ioparam, column.typmod);
        if value.is_null() {
            return to_server(&format!("NULL::{target}"));
        }
        let (mut output, mut varlena) = (pg_sys::InvalidOid, false);
        pg_sys::getTypeOutputInfo(column.type_id, &raw mut output, &raw mut varlena);
        let text = stable_output(|| pg_sys::OidOutputFunctionCall(output, datum));
        if base == pg_sys::MONEYOID {
            // Its text form depends on lc_monetary, that of numeric on nothing.
            let number: String = to_rust(text)
                .chars()
                .filter(|c| !matches!(c, '$' | ','))
                .collect();
            return to_server(&format!("'{number}'::pg_catalog.numeric::{target}"));
        }
        let quoted = to_rust(pg_sys::quote_literal_cstr(text));
        to_server(&format!("{quoted}::{target}"))
    }
}

/// # Safety
/// In a transaction; `base` is no domain.
unsafe fn kind(base: Oid) -> Kind {
    match base {
        pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID | pg_sys::NAMEOID => Kind::Text,
        pg_sys::CHAROID => Kind::Char,
        pg_sys::INT2OID => Kind::Int2,
        pg_sys::INT4OID => Kind::Int4,
        pg_sys::INT8OID => Kind::Int8,
        pg_sys::NUMERICOID => Kind::Numeric,
        pg_sys::FLOAT4OID => Kind::Float4,
        pg_sys::FLOAT8OID => Kind::Float8,
        pg_sys::MONEYOID => Kind::Money,
        pg_sys::OIDOID => Kind::Oid,
        pg_sys::BOOLOID => Kind::Bool,
        pg_sys::DATEOID => Kind::Date,
        pg_sys::TIMESTAMPOID => Kind::Timestamp,
        pg_sys::TIMESTAMPTZOID => Kind::TimestampTz,
        pg_sys::TIMEOID => Kind::Time,
        pg_sys::TIMETZOID => Kind::TimeTz,
        pg_sys::INTERVALOID => Kind::Interval,
        pg_sys::UUIDOID => Kind::Uuid,
        pg_sys::INETOID => Kind::Inet,
        pg_sys::CIDROID => Kind::Cidr,
        pg_sys::MACADDROID => Kind::MacAddr,
        pg_sys::MACADDR8OID => Kind::MacAddr8,
        pg_sys::JSONOID => Kind::Json,
        pg_sys::JSONBOID => Kind::Jsonb,
        pg_sys::XMLOID => Kind::Xml,
        pg_sys::BYTEAOID => Kind::Bytea,
        pg_sys::BITOID => Kind::Bit,
        pg_sys::VARBITOID => Kind::VarBit,
        pg_sys::TSVECTOROID => Kind::TsVector,
        pg_sys::POINTOID => Kind::Point,
        // SAFETY: syscache lookups.
        _ => unsafe {
            let (mut category, mut preferred): (c_char, bool) = (0, false);
            match pg_sys::get_typtype(base) as u8 {
                pg_sys::TYPTYPE_ENUM => Kind::Enum,
                pg_sys::TYPTYPE_COMPOSITE => Kind::Composite,
                pg_sys::TYPTYPE_RANGE => Kind::Range,
                pg_sys::TYPTYPE_MULTIRANGE => Kind::MultiRange,
                _ if pg_sys::get_element_type(base) != pg_sys::InvalidOid => Kind::Array,
                _ => {
                    pg_sys::get_type_category_preferred(
                        base,
                        &raw mut category,
                        &raw mut preferred,
                    );
                    if category as u8 == pg_sys::TYPCATEGORY_STRING {
                        Kind::Text
                    } else {
                        Kind::Other
                    }
                }
            }
        },
    }
}
