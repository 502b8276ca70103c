//! Built-in functions that make a value of any size from a few bytes, with a bound: what reads such
//! a value next cannot be interrupted while it does.

use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid};
use policy::rule::Rule;

use super::call::{arg, arg_is_null, sql_function};
use super::names;
use crate::denial::Denial;
use crate::{enforce, identity};

/// Larger ones are not made, whatever the policy allows to be sent.
const LARGEST: u64 = 1 << 20;

const LPAD: u32 = 873;
const RPAD: u32 = 874;
const LPAD_BLANK: u32 = 879;
const RPAD_BLANK: u32 = 880;
const ARRAY_FILL: u32 = 1193;
const ARRAY_FILL_FROM: u32 = 1286;
const REPEAT: u32 = 1622;
const FORMAT: u32 = 3539;

/// Puts the bounded function in the place of the built-in one.
///
/// # Safety
/// The calls are in a tree that may be changed.
pub unsafe fn substitute(calls: &[*mut pg_sys::FuncExpr]) {
    // SAFETY: by the caller's promise.
    unsafe {
        for call in calls.iter().copied() {
            let function = (*call).funcid.to_u32();
            let ours = match function {
                REPEAT => "repeat(pg_catalog.text,pg_catalog.int4)",
                LPAD | LPAD_BLANK => "lpad(pg_catalog.text,pg_catalog.int4,pg_catalog.text)",
                RPAD | RPAD_BLANK => "rpad(pg_catalog.text,pg_catalog.int4,pg_catalog.text)",
                ARRAY_FILL => "array_fill(pg_catalog.anyelement,pg_catalog._int4)",
                ARRAY_FILL_FROM => {
                    "array_fill(pg_catalog.anyelement,pg_catalog._int4,pg_catalog._int4)"
                }
                FORMAT => "format(pg_catalog.text,pg_catalog.any)",
                _ => continue,
            };
            let Some(ours) = names::function(&format!("agent_policy.bounded_{ours}")) else {
                continue;
            };
            (*call).funcid = ours;
            if matches!(function, LPAD_BLANK | RPAD_BLANK) {
                let blank = pg_sys::makeConst(
                    pg_sys::TEXTOID,
                    -1,
                    (*call).inputcollid,
                    -1,
                    Datum::from(pg_sys::cstring_to_text(c" ".as_ptr())),
                    false,
                    false,
                );
                (*call).args = pg_sys::lappend((*call).args, blank.cast());
            }
        }
    }
}

/// Is a value of so many bytes too large?
fn judge(what: &str, size: u64) {
    let Some(policy) = identity::policy() else {
        return;
    };
    let most = policy
        .effective_limits()
        .max_bytes
        .unwrap_or(LARGEST)
        .min(LARGEST);
    if size > most && !policy.monitors() {
        enforce::<()>(
            &policy,
            Err(Denial::new(
                Rule::MaxBytes,
                what,
                format!("{what} would make a value of more than {most} bytes"),
            )
            .with("limit", most)
            .hint("Make a shorter value.")),
        );
    }
}

/// Bytes of a text or array.
unsafe fn size(value: Datum) -> u64 {
    // SAFETY: a varlena, by the argument's type.
    unsafe { pg_sys::toast_raw_datum_size(value) as u64 }.saturating_sub(4)
}

/// # Safety
/// The argument is a text, not NULL.
unsafe fn text_size(fcinfo: FunctionCallInfo, n: usize) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe { size(arg(fcinfo, n)) }
}

/// # Safety
/// The argument is an int4, not NULL.
unsafe fn count(fcinfo: FunctionCallInfo, n: usize) -> u64 {
    // SAFETY: by the caller's promise.
    let value = unsafe { arg(fcinfo, n) }.value() as i32;
    u64::try_from(value).unwrap_or(0)
}

unsafe fn judge_padded(what: &str, fcinfo: FunctionCallInfo) {
    // SAFETY: text, int4, text; the function is strict.
    unsafe {
        if text_size(fcinfo, 2) > 0 {
            judge(what, count(fcinfo, 1));
        }
    }
}

unsafe fn judge_filled(fcinfo: FunctionCallInfo) {
    // SAFETY: anyelement, int4[]; not strict.
    unsafe {
        let Some(dimensions) = pgrx::fcinfo::pg_getarg::<Vec<Option<i32>>>(fcinfo, 1) else {
            return;
        };
        let kind: Oid = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, 0);
        let element = if arg_is_null(fcinfo, 0) || kind == Oid::INVALID {
            1
        } else {
            match pg_sys::get_typlen(kind) {
                -1 => size(arg(fcinfo, 0)) + 4,
                length => u64::try_from(length).unwrap_or(8),
            }
        };
        let elements = dimensions.iter().flatten().fold(1_u64, |n, size| {
            n.saturating_mul(u64::try_from(*size).unwrap_or(0))
        });
        judge("array_fill", elements.saturating_mul(element.max(1)));
    }
}

unsafe fn judge_formatted(fcinfo: FunctionCallInfo, result: Datum) {
    // SAFETY: a text, if it is not NULL.
    unsafe {
        if !(*fcinfo).isnull {
            judge("format", size(result));
        }
    }
}

sql_function! {
    /// `repeat(text, integer)`.
    fn agent_repeat / pg_finfo_agent_repeat(fcinfo) {
        judge("repeat", text_size(fcinfo, 0).saturating_mul(count(fcinfo, 1)));
        pg_sys::repeat(fcinfo)
    }
}

sql_function! {
    /// `lpad(text, integer, text)`.
    fn agent_lpad / pg_finfo_agent_lpad(fcinfo) {
        judge_padded("lpad", fcinfo);
        pg_sys::lpad(fcinfo)
    }
}

sql_function! {
    /// `rpad(text, integer, text)`.
    fn agent_rpad / pg_finfo_agent_rpad(fcinfo) {
        judge_padded("rpad", fcinfo);
        pg_sys::rpad(fcinfo)
    }
}

sql_function! {
    /// `array_fill(anyelement, integer[])`.
    fn agent_array_fill / pg_finfo_agent_array_fill(fcinfo) {
        judge_filled(fcinfo);
        pg_sys::array_fill(fcinfo)
    }
}

sql_function! {
    /// `array_fill(anyelement, integer[], integer[])`.
    fn agent_array_fill_from / pg_finfo_agent_array_fill_from(fcinfo) {
        judge_filled(fcinfo);
        pg_sys::array_fill_with_lower_bounds(fcinfo)
    }
}

sql_function! {
    /// `format(text, VARIADIC "any")`.
    fn agent_format / pg_finfo_agent_format(fcinfo) {
        let result = pg_sys::text_format(fcinfo);
        judge_formatted(fcinfo, result);
        result
    }
}
