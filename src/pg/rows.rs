//! Rows of a query, field by field in place: for the check of the audit log, which reads all of it.

use pgrx::pg_sys;
use std::borrow::Cow;
use std::ffi::{CStr, c_long};
use std::marker::PhantomData;

/// Rows fetched at a time.
const STEP: c_long = 500;

/// A row of the result, until the next one is taken.
pub struct Fields<'c> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    /// Where its fields are detoasted.
    context: pg_sys::MemoryContext,
    cursor: PhantomData<&'c mut Cursor>,
}

impl Fields<'_> {
    /// Field `n`, from 1; None when it is NULL.
    fn datum(&self, n: i32) -> Option<pg_sys::Datum> {
        let mut null = false;
        // SAFETY: a tuple of the query at hand; SPI_getbinval checks the number.
        let datum = unsafe { pg_sys::SPI_getbinval(self.tuple, self.descriptor, n, &raw mut null) };
        (!null).then_some(datum)
    }

    /// A text or bytea, as stored.
    pub fn bytes(&self, n: i32) -> Option<&[u8]> {
        let datum = self.datum(n)?;
        // SAFETY: the query selects a varlena there; the tuple lives as long as self, and so does what is
        // detoasted, in the context of this row.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.context);
            let bytes = super::call::bytes(datum);
            pg_sys::MemoryContextSwitchTo(before);
            Some(bytes)
        }
    }

    /// A text in UTF-8.
    pub fn text(&self, n: i32) -> Option<Cow<'_, [u8]>> {
        self.bytes(n).map(utf8)
    }

    pub fn i64(&self, n: i32) -> Option<i64> {
        self.datum(n).map(|d| d.value() as i64)
    }

    pub fn i32(&self, n: i32) -> Option<i32> {
        self.datum(n).map(|d| d.value() as i32)
    }

    pub fn bool(&self, n: i32) -> Option<bool> {
        self.datum(n).map(|d| d.value() & 0xff != 0)
    }

    pub fn f64(&self, n: i32) -> Option<f64> {
        self.datum(n).map(|d| f64::from_bits(d.value() as u64))
    }

    pub fn uuid(&self, n: i32) -> Option<[u8; 16]> {
        // SAFETY: the query selects a uuid there, which is 16 bytes in the tuple.
        self.datum(n)
            .map(|d| unsafe { d.cast_mut_ptr::<[u8; 16]>().read_unaligned() })
    }
}

/// Text as the database stores it, in UTF-8. In an SQL_ASCII database it stays what it is.
pub fn utf8(stored: &[u8]) -> Cow<'_, [u8]> {
    // SAFETY: conversion inside a transaction; what it allocates is a C string that is copied.
    unsafe {
        let (encoding, utf8) = (
            pg_sys::GetDatabaseEncoding(),
            pg_sys::pg_enc::PG_UTF8 as i32,
        );
        if encoding == utf8
            || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32
            || stored.is_ascii()
            || stored.len() > i32::MAX as usize
        {
            return Cow::Borrowed(stored);
        }
        let converted = pg_sys::pg_server_to_any(stored.as_ptr().cast(), stored.len() as i32, utf8);
        if converted.cast_const().cast::<u8>() == stored.as_ptr() {
            return Cow::Borrowed(stored);
        }
        let copy = CStr::from_ptr(converted).to_bytes().to_vec();
        pg_sys::pfree(converted.cast());
        Cow::Owned(copy)
    }
}

/// A query whose rows are taken one by one; in a transaction, under the caller's user.
pub struct Cursor {
    portal: pg_sys::Portal,
    batch: *mut pg_sys::SPITupleTable,
    at: u64,
    /// What is detoasted of the row at hand: a log is longer than memory.
    context: pg_sys::MemoryContext,
}

/// A parameter of a query.
#[derive(Clone, Copy)]
pub enum Value {
    /// Microseconds since 2000; the ends of the range are infinities.
    Time(i64),
    /// Days since 2000, in the same way.
    Day(i32),
}

/// One state of the database, for as many queries as look at it.
pub struct Snapshot(());

/// Runs `work`, in which cursors can be opened.
pub fn connected<R>(work: impl FnOnce() -> R) -> R {
    pgrx::Spi::connect_mut(|_| work())
}

/// Runs `work`, whose queries all see what is committed now, whatever the transaction has seen before,
/// and what the transaction itself has done.
pub fn in_snapshot<R>(work: impl FnOnce(&Snapshot) -> R) -> R {
    // SAFETY: in a transaction; what is pushed is popped, or goes with the transaction after an ERROR.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
        // A table that was open before may have got a partition whose rows are seen.
        pg_sys::AcceptInvalidationMessages();
        let result = work(&Snapshot(()));
        pg_sys::PopActiveSnapshot();
        result
    }
}

impl Snapshot {
    /// `parameters`: for $1, $2 …
    pub fn open(&self, query: &CStr, parameters: &[Value]) -> Cursor {
        Cursor::with(query, parameters, true)
    }
}

impl Cursor {
    /// With a new snapshot, where the transaction's isolation allows it.
    pub fn open(query: &CStr) -> Self {
        Self::with(query, &[], false)
    }

    /// `as_it_is`: under the active snapshot.
    fn with(query: &CStr, parameters: &[Value], as_it_is: bool) -> Self {
        let (mut types, mut values): (Vec<_>, Vec<_>) = parameters
            .iter()
            .map(|p| match *p {
                Value::Time(t) => (pg_sys::TIMESTAMPTZOID, pg_sys::Datum::from(t)),
                Value::Day(d) => (pg_sys::DATEOID, pg_sys::Datum::from(d)),
            })
            .unzip();
        // SAFETY: between SPI_connect and SPI_finish, as `connected` sees to, which frees the context; the
        // arrays are as long as it is said.
        unsafe {
            Self {
                portal: pg_sys::SPI_cursor_open_with_args(
                    std::ptr::null(),
                    query.as_ptr(),
                    parameters.len() as i32,
                    types.as_mut_ptr(),
                    values.as_mut_ptr(),
                    std::ptr::null(),
                    as_it_is,
                    0,
                ),
                batch: std::ptr::null_mut(),
                at: 0,
                context: pg_sys::AllocSetContextCreateExtended(
                    pg_sys::CurrentMemoryContext,
                    c"agent_policy row".as_ptr(),
                    pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                    pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
                ),
            }
        }
    }

    /// The next row.
    pub fn next(&mut self) -> Option<Fields<'_>> {
        // SAFETY: the portal is open as long as self is used; SPI leaves the batch in SPI_tuptable, whose
        // rows are `SPI_processed`. The row before is gone: it had self.
        unsafe {
            pg_sys::MemoryContextReset(self.context);
            if self.batch.is_null() || self.at >= (*self.batch).numvals as u64 {
                pgrx::check_for_interrupts!();
                if !self.batch.is_null() {
                    pg_sys::SPI_freetuptable(self.batch);
                    self.batch = std::ptr::null_mut();
                }
                pg_sys::SPI_cursor_fetch(self.portal, true, STEP);
                self.batch = pg_sys::SPI_tuptable;
                self.at = 0;
                if self.batch.is_null() || (*self.batch).numvals == 0 {
                    return None;
                }
            }
            let tuple = *(*self.batch).vals.add(self.at as usize);
            self.at += 1;
            Some(Fields {
                tuple,
                descriptor: (*self.batch).tupdesc,
                context: self.context,
                cursor: PhantomData,
            })
        }
    }

    pub fn close(self) {
        // SAFETY: open since `open`.
        unsafe { pg_sys::SPI_cursor_close(self.portal) };
    }
}

/// Fills `buffer` from the server's source of random numbers; false when that failed.
pub fn random(buffer: &mut [u8]) -> bool {
    // SAFETY: writes as many bytes as there are.
    unsafe { pg_sys::pg_strong_random(buffer.as_mut_ptr().cast(), buffer.len()) }
}
