//! Built-in functions that make a value of any size from a few bytes, with a bound: what reads such
//! a value next cannot be interrupted while it does.

use std::ffi::CStr;

use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid};
use policy::format::{Width, specifiers};
use policy::rule::Rule;

use super::call::{self, arg, arg_is_null, sql_function};
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

/// Has the function a bounded one?
pub fn is_bounded(function: Oid) -> bool {
    ours(function.to_u32()).is_some()
}

fn ours(function: u32) -> Option<&'static str> {
    Some(match function {
        REPEAT => "repeat(pg_catalog.text,pg_catalog.int4)",
        LPAD | LPAD_BLANK => "lpad(pg_catalog.text,pg_catalog.int4,pg_catalog.text)",
        RPAD | RPAD_BLANK => "rpad(pg_catalog.text,pg_catalog.int4,pg_catalog.text)",
        ARRAY_FILL => "array_fill(pg_catalog.anyelement,pg_catalog._int4)",
        ARRAY_FILL_FROM => "array_fill(pg_catalog.anyelement,pg_catalog._int4,pg_catalog._int4)",
        FORMAT => "format(pg_catalog.text,pg_catalog.any)",
        _ => return None,
    })
}

/// Puts the bounded function in the place of the built-in one.
///
/// # Safety
/// The calls are in a tree that may be changed.
pub unsafe fn substitute(calls: &[*mut pg_sys::FuncExpr]) {
    // SAFETY: by the caller's promise.
    unsafe {
        for call in calls.iter().copied() {
            let function = (*call).funcid.to_u32();
            let Some(ours) = ours(function) else {
                continue;
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

/// An argument of `format`, with its type.
type Argument = Option<(Datum, Oid)>;

/// The arguments behind the format text, one by one also when they came as an array.
unsafe fn format_arguments(fcinfo: FunctionCallInfo) -> Vec<Argument> {
    // SAFETY: a variadic function that is not strict; with VARIADIC the second argument is an array.
    unsafe {
        if pg_sys::get_fn_expr_variadic((*fcinfo).flinfo) {
            if arg_is_null(fcinfo, 1) {
                return Vec::new();
            }
            let array: Oid = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, 1);
            let kind = pg_sys::get_base_element_type(array);
            return call::elements(arg(fcinfo, 1))
                .map(|value| value.map(|value| (value, kind)))
                .collect();
        }
        (1..usize::try_from((*fcinfo).nargs).unwrap_or(0))
            .map(|n| {
                let kind = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, n as i32);
                (!arg_is_null(fcinfo, n)).then(|| (arg(fcinfo, n), kind))
            })
            .collect()
    }
}

/// A width as `text_format` takes it from an argument; what is no number is for it to refuse.
unsafe fn width_of((value, kind): (Datum, Oid)) -> u64 {
    // SAFETY: the value is of its type; the output function gives a C string.
    let width: i32 = unsafe {
        match kind {
            pg_sys::INT4OID => value.value() as i32,
            pg_sys::INT2OID => i32::from(value.value() as i16),
            _ => {
                let (mut output, mut is_varlena) = (Oid::INVALID, false);
                pg_sys::getTypeOutputInfo(kind, &raw mut output, &raw mut is_varlena);
                let text = pg_sys::OidOutputFunctionCall(output, value);
                let text = CStr::from_ptr(text).to_string_lossy();
                text.trim_ascii().parse().unwrap_or(0)
            }
        }
    };
    width.unsigned_abs().into()
}

/// Before anything is made: widths, and texts as often as they are asked for. What the values of
/// other types come to is seen in the result.
unsafe fn judge_format(fcinfo: FunctionCallInfo) {
    // SAFETY: the first argument is a text, if it is not NULL.
    unsafe {
        if arg_is_null(fcinfo, 0) {
            return;
        }
        let arguments = format_arguments(fcinfo);
        let argument = |n: usize| arguments.get(n.checked_sub(1)?).copied().flatten();
        let least = specifiers(call::bytes(arg(fcinfo, 0))).fold(0_u64, |sum, specifier| {
            let width = match specifier.width {
                Width::Characters(n) => n,
                Width::Argument(n) => argument(n).map_or(0, |a| width_of(a)),
            };
            let value = match argument(specifier.value) {
                Some((value, pg_sys::TEXTOID | pg_sys::VARCHAROID)) => size(value),
                _ => 0,
            };
            sum.saturating_add(width.max(value))
        });
        judge("format", least);
    }
}

sql_function! {
    /// `format(text, VARIADIC "any")`.
    fn agent_format / pg_finfo_agent_format(fcinfo) {
        judge_format(fcinfo);
        let result = pg_sys::text_format(fcinfo);
        judge_formatted(fcinfo, result);
        result
    }
}
