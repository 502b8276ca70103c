//! COPY … FROM a buffer, in binary, and text in the encoding of the database.

use pgrx::{PgList, pg_guard, pg_sys};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};

thread_local! {
    /// What the running COPY reads, and how much of it it has read.
    static SOURCE: Cell<(*const u8, usize, usize)> = const { Cell::new((std::ptr::null(), 0, 0)) };
}

#[pg_guard]
unsafe extern "C-unwind" fn read(out: *mut c_void, _least: c_int, most: c_int) -> c_int {
    let (data, len, at) = SOURCE.get();
    let n = (len - at).min(usize::try_from(most).unwrap_or(0));
    // SAFETY: `data` points to `len` bytes as long as `copy_binary` runs, and `out` has room for
    // `most`; after the end nothing is copied.
    unsafe { std::ptr::copy_nonoverlapping(data.add(at), out.cast::<u8>(), n) };
    SOURCE.set((data, len, at + n));
    n as c_int
}

/// Copies `data`, in COPY's binary format, into a table of `agent_policy`; the number of rows.
/// Inside a transaction with a snapshot. Triggers, partitions and indexes are served.
pub fn copy_binary(table: &CStr, columns: &[&CStr], data: &[u8]) -> u64 {
    SOURCE.set((data.as_ptr(), data.len(), 0));
    // SAFETY: what COPY FROM of a table does, and what logical replication does for a first copy;
    // all of it is allocated in the context of the transaction. `data` outlives the calls.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"agent_policy".as_ptr(), false);
        let oid = pg_sys::get_relname_relid(table.as_ptr(), schema);
        let relation = pg_sys::table_open(oid, pg_sys::RowExclusiveLock as i32);
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        pg_sys::addRangeTableEntryForRelation(
            state,
            relation,
            pg_sys::RowExclusiveLock as i32,
            std::ptr::null_mut(),
            false,
            false,
        );
        let mut names = PgList::<pg_sys::Node>::new();
        for c in columns {
            names.push(pg_sys::makeString(pg_sys::pstrdup(c.as_ptr())).cast());
        }
        let format = pg_sys::makeString(pg_sys::pstrdup(c"binary".as_ptr())).cast();
        let mut options = PgList::<pg_sys::DefElem>::new();
        options.push(pg_sys::makeDefElem(
            pg_sys::pstrdup(c"format".as_ptr()),
            format,
            -1,
        ));
        let copy = pg_sys::BeginCopyFrom(
            state,
            relation,
            std::ptr::null_mut(),
            std::ptr::null(),
            false,
            Some(read),
            names.into_pg(),
            options.into_pg(),
        );
        let rows = pg_sys::CopyFrom(copy);
        pg_sys::EndCopyFrom(copy);
        pg_sys::free_parsestate(state);
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        SOURCE.set((std::ptr::null(), 0, 0));
        rows
    }
}

/// How UTF-8 becomes text of this database.
#[derive(Clone, Copy)]
pub enum Conversion {
    /// UTF-8 itself, or SQL_ASCII, which takes any bytes.
    None,
    Function(pg_sys::Oid, i32),
    /// No conversion is known: what is not ASCII is escaped.
    Escape,
}

/// Inside a transaction.
pub fn conversion() -> Conversion {
    // SAFETY: catalog look-ups inside a transaction.
    unsafe {
        let encoding = pg_sys::GetDatabaseEncoding();
        let utf8 = pg_sys::pg_enc::PG_UTF8 as i32;
        if encoding == utf8 || encoding == pg_sys::pg_enc::PG_SQL_ASCII as i32 {
            return Conversion::None;
        }
        match pg_sys::FindDefaultConversionProc(utf8, encoding) {
            pg_sys::InvalidOid => Conversion::Escape,
            function => Conversion::Function(function, encoding),
        }
    }
}

impl Conversion {
    /// Appends `text`; characters that the database cannot hold become `\xHH` of their UTF-8.
    pub fn put(self, text: &str, out: &mut Vec<u8>) {
        if matches!(self, Self::None) || text.is_ascii() {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        for c in text.chars() {
            let mut utf8 = [0; 4];
            let utf8 = c.encode_utf8(&mut utf8);
            if c.is_ascii() || !self.put_char(utf8, out) {
                if c.is_ascii() {
                    out.push(c as u8);
                } else {
                    out.extend(
                        utf8.bytes()
                            .flat_map(|b| format!("\\x{b:02X}").into_bytes()),
                    );
                }
            }
        }
    }

    fn put_char(self, utf8: &str, out: &mut Vec<u8>) -> bool {
        let Self::Function(function, encoding) = self else {
            return false;
        };
        let mut from = [0_u8; 5];
        let mut to = [0_u8; 32];
        let len = utf8.len().min(4);
        from[..len].copy_from_slice(&utf8.as_bytes()[..len]);
        // SAFETY: both buffers are longer than a character in any encoding, and the last
        // argument asks to stop at what does not convert instead of raising an error.
        let converted = unsafe {
            pg_sys::pg_do_encoding_conversion_buf(
                function,
                pg_sys::pg_enc::PG_UTF8 as i32,
                encoding,
                from.as_mut_ptr(),
                len as i32,
                to.as_mut_ptr().cast(),
                to.len() as i32,
                true,
            )
        };
        if converted != len as i32 {
            return false;
        }
        out.extend(to.iter().take_while(|b| **b != 0));
        true
    }
}
