//! `text` between SQL and Rust. pgrx takes the bytes of every database for UTF-8: arguments in another
//! encoding raise an internal error, and what is returned would be no text there.

use std::ops::Deref;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::nullable::Nullable;
use pgrx::pg_sys::{self, Oid};
use pgrx::{FromDatum, IntoDatum, impl_sql_translatable};

use super::text;

/// A `text` of the server, whatever its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl_sql_translatable!(Text, "text");

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromDatum for Text {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        typid: Oid,
    ) -> Option<Self> {
        // SAFETY: a value of type text; a `bytea` has the same form.
        let bytes = unsafe { <&[u8]>::from_polymorphic_datum(datum, is_null, typid) }?;
        Some(Self(text::from_server(bytes)))
    }
}

impl IntoDatum for Text {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        text::to_c(&self.0).to_bytes().into_datum()
    }

    fn type_oid() -> Oid {
        pg_sys::TEXTOID
    }

    fn is_compatible_with(other: Oid) -> bool {
        matches!(other, pg_sys::TEXTOID | pg_sys::VARCHAROID)
    }
}

// SAFETY: as pgrx has it for its own owned types.
unsafe impl<'fcx> ArgAbi<'fcx> for Text {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        let index = arg.index();
        // SAFETY: by the caller's promise.
        unsafe {
            arg.unbox_arg_using_from_datum()
                .unwrap_or_else(|| panic!("argument {index} is NULL"))
        }
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: by the caller's promise.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: the datum is a text.
unsafe impl BoxRet for Text {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: by the caller's promise.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}
