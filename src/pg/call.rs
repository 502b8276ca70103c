//! The calling convention of C functions, as far as the functions of this directory need it.
//!
//! The mask functions run once per row: they read their arguments in place and allocate nothing
//! but their result.

use pgrx::pg_sys;
use std::ffi::c_char;

/// Defines the C function `$name` and the record that PostgreSQL looks up beside it. What is `at_once` there, an
/// expression of type `Option<Datum>`, runs first and without the guard, which costs as much as masking a short value:
/// it neither panics nor calls what raises an ERROR, and leaves everything else to the body with None.
macro_rules! sql_function {
    ($(#[$doc:meta])* fn $name:ident / $info:ident($fcinfo:ident) $body:block) => {
        $crate::pg::call::sql_function! {
            $(#[$doc])* fn $name / $info($fcinfo) at_once { None } $body
        }
    };
    ($(#[$doc:meta])* fn $name:ident / $info:ident($fcinfo:ident) at_once $short:block $body:block) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> *const pgrx::pg_sys::Pg_finfo_record {
            static V1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &raw const V1
        }

        $(#[$doc])*
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(
            $fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: PostgreSQL calls this with a valid FunctionCallInfo whose arguments are as
            // many and of such types as CREATE FUNCTION declares; STRICT ones have no NULLs. The
            // guard turns a panic into an ERROR before it could unwind into C.
            unsafe {
                let short: Option<pgrx::pg_sys::Datum> = $short;
                match short {
                    Some(result) => result,
                    None => pgrx::pg_sys::submodules::panic::pgrx_extern_c_guard(move || $body),
                }
            }
        }
    };
}
pub(crate) use sql_function;

/// # Safety
/// `fcinfo` is valid and has more than `n` arguments.
#[inline(always)]
pub unsafe fn arg(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> pg_sys::Datum {
    // SAFETY: args is a flexible array with nargs entries.
    unsafe { (*(*fcinfo).args.as_ptr().add(n)).value }
}

/// # Safety
/// As [`arg`].
#[inline(always)]
pub unsafe fn arg_is_null(fcinfo: pg_sys::FunctionCallInfo, n: usize) -> bool {
    // SAFETY: args is a flexible array with nargs entries.
    unsafe { (*(*fcinfo).args.as_ptr().add(n)).isnull }
}

/// # Safety
/// `fcinfo` is valid.
#[inline(always)]
pub unsafe fn return_null(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the caller's.
    unsafe { (*fcinfo).isnull = true };
    pg_sys::Datum::from(0)
}

/// The bytes of a text, detoasted where needed.
///
/// # Safety
/// `datum` points to a varlena that lives as long as the call, as arguments do.
#[inline(always)]
pub unsafe fn bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    let mut p = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: a varlena has at least its header; a packed one needs no call.
    unsafe {
        let plain = pgrx::varatt_is_4b_u(p) || (pgrx::varatt_is_1b(p) && !pgrx::varatt_is_1b_e(p));
        if !plain {
            p = pg_sys::pg_detoast_datum_packed(p);
        }
        std::slice::from_raw_parts(
            pgrx::vardata_any(p).cast::<u8>(),
            pgrx::varsize_any_exhdr(p),
        )
    }
}

/// The bytes of a text that is stored in line and as it is, else None. It calls nothing.
///
/// # Safety
/// As [`bytes`].
#[inline(always)]
pub unsafe fn plain_bytes<'a>(datum: pg_sys::Datum) -> Option<&'a [u8]> {
    let p = datum.cast_mut_ptr::<pg_sys::varlena>();
    // SAFETY: a varlena has at least its header, which tells how it is stored.
    unsafe {
        let plain = pgrx::varatt_is_4b_u(p) || (pgrx::varatt_is_1b(p) && !pgrx::varatt_is_1b_e(p));
        plain.then(|| {
            std::slice::from_raw_parts(
                pgrx::vardata_any(p).cast::<u8>(),
                pgrx::varsize_any_exhdr(p),
            )
        })
    }
}

/// How values of a type are stored: length, by value, alignment.
pub fn storage(kind: pg_sys::Oid) -> (i32, bool, c_char) {
    let (mut length, mut by_value, mut align) = (0_i16, false, 0 as c_char);
    // SAFETY: a syscache look-up that fills the three.
    unsafe {
        pg_sys::get_typlenbyvalalign(
            kind,
            &raw mut length,
            &raw mut by_value,
            (&raw mut align).cast(),
        );
    }
    (length.into(), by_value, align)
}

/// The elements of an array, whatever its dimensions; None for a NULL.
///
/// # Safety
/// `datum` is an array.
pub unsafe fn elements(datum: pg_sys::Datum) -> impl Iterator<Item = Option<pg_sys::Datum>> {
    // SAFETY: by the caller's promise; both lists have `count` entries and are the caller's to keep.
    unsafe {
        let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
        let (length, by_value, align) = storage((*array).elemtype);
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        pg_sys::deconstruct_array(
            array,
            (*array).elemtype,
            length,
            by_value,
            align as _,
            &raw mut values,
            &raw mut nulls,
            &raw mut count,
        );
        (0..usize::try_from(count).unwrap_or(0))
            .map(move |i| (!*nulls.add(i)).then(|| *values.add(i)))
    }
}

const HEADER: usize = pg_sys::VARHDRSZ;

/// The one allocation that a mask function makes. With MCXT_ALLOC_NO_OOM and a size that is in
/// bounds it cannot raise, which is what lets these functions be total; it also lets them go
/// without the guard that pgrx puts around its binding, half of the cost of a short value.
mod no_oom {
    unsafe extern "C" {
        pub fn MemoryContextAllocExtended(
            memory: pgrx::pg_sys::MemoryContext,
            size: usize,
            flags: core::ffi::c_int,
        ) -> *mut core::ffi::c_void;
    }
}

/// A new varlena with room for `len` bytes, uninitialised, and the room; None if `len` is more
/// than [`LONGEST`] or memory is short.
///
/// # Safety
/// The caller writes all of the room.
#[inline(always)]
pub unsafe fn new_varlena(len: usize) -> Option<(pg_sys::Datum, *mut u8)> {
    // SAFETY: the server has set it before it calls a function.
    unsafe { new_varlena_in(pg_sys::CurrentMemoryContext, len) }
}

/// The same in another memory context.
///
/// # Safety
/// As [`new_varlena`]; the context is one.
#[inline(always)]
pub unsafe fn new_varlena_in(
    memory: pg_sys::MemoryContext,
    len: usize,
) -> Option<(pg_sys::Datum, *mut u8)> {
    if len > LONGEST {
        return None;
    }
    // SAFETY: as the module says; the pointer is null or to as many bytes as asked for.
    unsafe {
        let flags = pg_sys::MCXT_ALLOC_NO_OOM as i32;
        let p = no_oom::MemoryContextAllocExtended(memory, len + HEADER, flags)
            .cast::<pg_sys::varlena>();
        if p.is_null() {
            return None;
        }
        pgrx::set_varsize_4b(p, (len + HEADER) as i32);
        Some((pg_sys::Datum::from(p), p.cast::<u8>().add(HEADER)))
    }
}

/// Makes a new varlena shorter than the room it was made with.
///
/// # Safety
/// `value` is one of [`new_varlena`] with room for `len` bytes or more.
#[inline(always)]
pub unsafe fn set_length(value: pg_sys::Datum, len: usize) {
    // SAFETY: by the caller's promise.
    unsafe { pgrx::set_varsize_4b(value.cast_mut_ptr(), (len + HEADER) as i32) }
}

/// The longest text that can be made, as MaxAllocSize says.
const LONGEST: usize = 0x3fff_ffff - HEADER;

/// A text argument as a C string in the server's encoding.
///
/// # Safety
/// As [`bytes`].
pub unsafe fn c_string(datum: pg_sys::Datum) -> *mut c_char {
    // SAFETY: the caller's; text_to_cstring detoasts and copies.
    unsafe { pg_sys::text_to_cstring(datum.cast_mut_ptr()) }
}

/// A C string in the server's encoding as a Rust string.
///
/// # Safety
/// `s` is a C string.
pub unsafe fn to_rust(s: *const c_char) -> String {
    // SAFETY: the caller's.
    unsafe { super::text::from_ptr(s) }.unwrap_or_default()
}

/// A Rust string as a C string in the server's encoding; it ends at a NUL.
pub fn to_server(s: &str) -> *mut c_char {
    let text = super::text::to_c(s);
    // SAFETY: a C string, copied.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}
