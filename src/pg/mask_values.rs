//! Masks of values that hold others: arrays and documents.

use std::cell::RefCell;
use std::ffi::c_char;
use std::rc::Rc;

use super::call::{
    arg, bytes, new_varlena, new_varlena_in, plain_bytes, return_null, sql_function, storage,
};
use super::{names, secret, text};
use pgrx::pg_sys::{self, Datum, FmgrInfo, Oid};
use policy::mask::json::{self, Masker, Rule};
use policy::mask::numeric::{self, Buckets, Stored};

/// What a call of `mask_each` keeps between rows.
struct Each {
    element: Oid,
    length: i32,
    by_value: bool,
    align: c_char,
    function: FmgrInfo,
}

/// Are the elements, and the arguments behind the mask, of the types that the function declares? Any
/// role may call `mask_each`, with any array.
///
/// # Safety
/// `fcinfo` is that of `mask_each`.
unsafe fn takes(function: Oid, element: Oid, fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: a syscache look-up; the call's own expression tells the types of its arguments.
    unsafe {
        let (mut declared, mut count) = (std::ptr::null_mut(), 0);
        pg_sys::get_func_signature(function, &raw mut declared, &raw mut count);
        let mut declared = (0..usize::try_from(count).unwrap_or(0)).map(|i| *declared.add(i));
        // Stored as text is.
        let of_text = |kind: Oid| matches!(kind, pg_sys::VARCHAROID | pg_sys::BPCHAROID);
        let is = |declared: Oid, given: Oid| {
            let given = pg_sys::getBaseType(given);
            declared == given || declared == pg_sys::TEXTOID && of_text(given)
        };
        if !declared.next().is_some_and(|first| is(first, element)) {
            return false;
        }
        let given = usize::try_from((*fcinfo).nargs).unwrap_or(0);
        (2..given).all(|i| {
            let given = pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, i as i32);
            declared.next().is_some_and(|declared| is(declared, given))
        }) && declared.next().is_none()
    }
}

/// # Safety
/// `fcinfo` is that of `mask_each`.
unsafe fn each(fcinfo: pg_sys::FunctionCallInfo, array: *const pg_sys::ArrayType) -> *mut Each {
    // SAFETY: what is kept lives in the memory of the call's own FmgrInfo.
    unsafe {
        let flinfo = (*fcinfo).flinfo;
        let known = (*flinfo).fn_extra.cast::<Each>();
        if !known.is_null() && (*known).element == (*array).elemtype {
            return known;
        }
        let function = Oid::from_u32(arg(fcinfo, 1).value() as u32);
        let is_mask = names::in_own_schema(function)
            && names::function_name(function).is_some_and(|(_, name)| name.starts_with("mask_"));
        if !is_mask || !takes(function, (*array).elemtype, fcinfo) {
            return std::ptr::null_mut();
        }
        let kept =
            pg_sys::MemoryContextAllocZero((*flinfo).fn_mcxt, size_of::<Each>()).cast::<Each>();
        (*kept).element = (*array).elemtype;
        let (length, by_value, align) = storage((*array).elemtype);
        (*kept).length = length;
        (*kept).by_value = by_value;
        (*kept).align = align;
        pg_sys::fmgr_info_cxt(function, &raw mut (*kept).function, (*flinfo).fn_mcxt);
        (*flinfo).fn_extra = kept.cast();
        kept
    }
}

sql_function! {
    /// mask_each(value anyarray, mask regprocedure, VARIADIC options "any")
    fn mask_each / pg_finfo_mask_each(fcinfo) {
        let array = pg_sys::pg_detoast_datum(arg(fcinfo, 0).cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let each = each(fcinfo, array);
        let options = usize::try_from((*fcinfo).nargs).unwrap_or(2).saturating_sub(2);
        if each.is_null() || usize::try_from((*each).function.fn_nargs) != Ok(options + 1) {
            return return_null(fcinfo);
        }
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            (*each).element,
            (*each).length,
            (*each).by_value,
            (*each).align as _,
            &raw mut values,
            &raw mut nulls,
            &raw mut count,
        );
        let size = std::mem::offset_of!(pg_sys::FunctionCallInfoBaseData, args)
            + (options + 1) * size_of::<pg_sys::NullableDatum>();
        let inner = pg_sys::palloc0(size).cast::<pg_sys::FunctionCallInfoBaseData>();
        (*inner).flinfo = &raw mut (*each).function;
        (*inner).nargs = (options + 1) as i16;
        let arguments = (*inner).args.as_mut_ptr();
        for i in 0..options {
            (*arguments.add(i + 1)).value = arg(fcinfo, i + 2);
        }
        let Some(run) = (*each).function.fn_addr else {
            return return_null(fcinfo);
        };
        for i in 0..usize::try_from(count).unwrap_or(0) {
            if *nulls.add(i) {
                continue;
            }
            (*arguments).value = *values.add(i);
            (*inner).isnull = false;
            *values.add(i) = run(inner);
            *nulls.add(i) = (*inner).isnull;
        }
        let dimensions = array.add(1).cast::<i32>();
        let bounds = dimensions.add(usize::try_from((*array).ndim).unwrap_or(0));
        Datum::from(pg_sys::construct_md_array(
            values,
            nulls,
            (*array).ndim,
            dimensions,
            bounds,
            (*each).element,
            (*each).length,
            (*each).by_value,
            (*each).align as _,
        ))
    }
}

/// Rules and the text that they were read from.
type Read = (Vec<u8>, Rc<[Rule]>);

thread_local! {
    /// Those of the last documents.
    static RULES: RefCell<Vec<Read>> = const { RefCell::new(Vec::new()) };
}

fn rules_of(paths: &[u8]) -> Option<Rc<[Rule]>> {
    const KEPT: usize = 16;
    let known = RULES.with_borrow(|rules| {
        rules
            .iter()
            .find(|(text, _)| text == paths)
            .map(|(_, rules)| Rc::clone(rules))
    });
    if known.is_some() {
        return known;
    }
    let mut rules = json::rules(&serde_json::from_str(&text::from_server(paths)).ok()?).ok()?;
    for rule in &mut rules {
        rule.recode(|part| {
            *part = text::to_c(&String::from_utf8_lossy(part)).into_bytes();
        });
    }
    let rules: Rc<[Rule]> = rules.into();
    RULES.with_borrow_mut(|known| {
        known.truncate(KEPT - 1);
        known.insert(0, (paths.to_vec(), Rc::clone(&rules)));
    });
    Some(rules)
}

sql_function! {
    /// mask_json(value jsonb, paths text)
    fn mask_json / pg_finfo_mask_json(fcinfo) {
        // Whole, and at a place where its words are aligned.
        let value = pg_sys::pg_detoast_datum(arg(fcinfo, 0).cast_mut_ptr());
        let document = bytes(Datum::from(value));
        let Some(rules) = rules_of(bytes(arg(fcinfo, 1))) else {
            return return_null(fcinfo);
        };
        let utf8 = pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32;
        let masked = secret::with_key(fcinfo, |key| Masker::new(&rules, key, utf8).document(document));
        let Some(masked) = masked else {
            return return_null(fcinfo);
        };
        let Some((result, out)) = new_varlena(masked.len()) else {
            return return_null(fcinfo);
        };
        std::ptr::copy_nonoverlapping(masked.as_ptr(), out, masked.len());
        result
    }
}

/// As pointers, which pgrx's bindings are not, and without their guard.
mod numerics {
    use pgrx::pg_sys::{Datum, FunctionCallInfo};

    unsafe extern "C-unwind" {
        pub fn numeric_round(fcinfo: FunctionCallInfo) -> Datum;
        pub fn numeric_floor(fcinfo: FunctionCallInfo) -> Datum;
        pub fn numeric_lt(fcinfo: FunctionCallInfo) -> Datum;
    }
}

/// What a call of `mask_bucket` makes, where its arguments but the value are constants of the plan: the results of
/// before, too, which are never changed and live as long as the call, as a constant does.
struct Kept {
    buckets: Buckets,
    /// By the last digits of their number.
    made: [(i64, *mut pg_sys::varlena); Self::RESULTS],
}

impl Kept {
    const RESULTS: usize = 128;

    /// The bucket of a value.
    ///
    /// # Safety
    /// In a function that returns it, with what is kept for its own call.
    #[inline(always)]
    unsafe fn of(&mut self, value: &[u8], memory: pg_sys::MemoryContext) -> Option<Datum> {
        let number = self.buckets.number(value)?;
        let slot = &mut self.made[number as usize % Self::RESULTS];
        if slot.0 == number && !slot.1.is_null() {
            return Some(Datum::from(slot.1));
        }
        let bucket = self.buckets.bucket(number)?;
        // SAFETY: by the caller's promise.
        unsafe {
            if !slot.1.is_null() {
                return numeric_result(&bucket);
            }
            let bytes = bucket.bytes();
            let (result, out) = new_varlena_in(memory, bytes.len())?;
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, bytes.len());
            *slot = (number, result.cast_mut_ptr());
            Some(result)
        }
    }
}

/// The buckets that a call of `mask_bucket` makes; from its second row on they are kept, see [`Kept`].
///
/// # Safety
/// `fcinfo` is that of `mask_bucket`.
unsafe fn buckets(fcinfo: pg_sys::FunctionCallInfo) -> Option<Buckets> {
    // SAFETY: what is kept lives in the memory of the call's own FmgrInfo.
    unsafe {
        let buckets = Buckets::new(bytes(arg(fcinfo, 1)), bytes(arg(fcinfo, 2)))?;
        let flinfo = (*fcinfo).flinfo;
        if !flinfo.is_null()
            && (*flinfo).fn_extra.is_null()
            && pg_sys::get_fn_expr_arg_stable(flinfo, 1)
            && pg_sys::get_fn_expr_arg_stable(flinfo, 2)
        {
            let kept =
                pg_sys::MemoryContextAlloc((*flinfo).fn_mcxt, size_of::<Kept>()).cast::<Kept>();
            kept.write(Kept {
                buckets,
                made: [(0, std::ptr::null_mut()); Kept::RESULTS],
            });
            (*flinfo).fn_extra = kept.cast();
        }
        Some(buckets)
    }
}

/// A bucket as a value.
///
/// # Safety
/// In a function that returns it.
#[inline(always)]
unsafe fn numeric_result(bucket: &Stored) -> Option<Datum> {
    // SAFETY: the new value has as much room as is written.
    unsafe {
        let bytes = bucket.bytes();
        let (result, out) = new_varlena(bytes.len())?;
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), out, bytes.len());
        Some(result)
    }
}

sql_function! {
    /// mask_bucket(value numeric, size numeric, lowest numeric): with as many digits behind the point as
    /// `lowest` has, when that is finite.
    fn mask_bucket_numeric / pg_finfo_mask_bucket_numeric(fcinfo)
    // From the second row on: whole sizes and values of up to 16 digits need no arithmetic of numerics.
    at_once {
        let flinfo = (*fcinfo).flinfo;
        if flinfo.is_null() || (*flinfo).fn_extra.is_null() {
            None
        } else {
            let kept = &mut *(*flinfo).fn_extra.cast::<Kept>();
            plain_bytes(arg(fcinfo, 0)).and_then(|value| kept.of(value, (*flinfo).fn_mcxt))
        }
    }
    {
        let (value, least) = (bytes(arg(fcinfo, 0)), bytes(arg(fcinfo, 2)));
        if let Some(result) = buckets(fcinfo)
            .and_then(|buckets| buckets.of(value))
            .and_then(|bucket| numeric_result(&bucket))
        {
            return result;
        }
        let scale = numeric::scale(least);
        let numeric = |n: usize| {
            Datum::from(pg_sys::pg_detoast_datum(arg(fcinfo, n).cast_mut_ptr()))
        };
        let (value, size, least) = (numeric(0), numeric(1), numeric(2));
        let mut overflow = false;
        let quotient = pg_sys::numeric_div_opt_error(value.cast_mut_ptr(), size.cast_mut_ptr(), &raw mut overflow);
        if overflow {
            return return_null(fcinfo);
        }
        let floor = pg_sys::DirectFunctionCall1Coll(
            Some(numerics::numeric_floor), Oid::INVALID, Datum::from(quotient));
        let product = pg_sys::numeric_mul_opt_error(floor.cast_mut_ptr(), size.cast_mut_ptr(), &raw mut overflow);
        if overflow {
            return return_null(fcinfo);
        }
        let below = pg_sys::DirectFunctionCall2Coll(
            Some(numerics::numeric_lt), Oid::INVALID, Datum::from(product), least);
        let bucket = if below.value() != 0 { least } else { Datum::from(product) };
        // With a whole size only the zeros behind the point may be missing.
        let whole = numeric::whole(bytes(arg(fcinfo, 1))).is_some_and(|size| size.exact);
        match scale.filter(|_| whole) {
            Some(scale) => pg_sys::DirectFunctionCall2Coll(
                Some(numerics::numeric_round), Oid::INVALID, bucket, Datum::from(i32::from(scale))),
            None => bucket,
        }
    }
}
