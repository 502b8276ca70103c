//! Reading the policy tables: a plain scan with a catalog snapshot, no SPI and no privileges.

use std::ffi::{CStr, CString};
use std::hash::{Hash, Hasher};

use pgrx::FromDatum;
use pgrx::pg_sys::{self, Oid};

/// One value of a policy table.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Oid(Oid),
    Text(String),
}

/// The rows of one policy table, columns by name.
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<Field>>,
}

/// One row of a [`Table`].
#[derive(Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [String],
    fields: &'a [Field],
}

impl Table {
    /// Adds the contents to a hash.
    pub fn hash(&self, hasher: &mut impl Hasher) {
        for field in self.rows.iter().flatten() {
            std::mem::discriminant(field).hash(hasher);
            match field {
                Field::Null => {}
                Field::Bool(b) => b.hash(hasher),
                Field::Int(i) => i.hash(hasher),
                Field::Float(f) => f.to_bits().hash(hasher),
                Field::Oid(o) => o.to_u32().hash(hasher),
                Field::Text(t) => t.hash(hasher),
            }
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|fields| Row {
            columns: &self.columns,
            fields,
        })
    }
}

impl<'a> Row<'a> {
    fn field(&self, name: &str) -> &'a Field {
        self.columns
            .iter()
            .position(|c| c == name)
            .and_then(|i| self.fields.get(i))
            .unwrap_or(&Field::Null)
    }
    pub fn text(&self, name: &str) -> Option<&'a str> {
        match self.field(name) {
            Field::Text(t) => Some(t),
            _ => None,
        }
    }
    pub fn oid(&self, name: &str) -> Option<Oid> {
        match self.field(name) {
            Field::Oid(o) => Some(*o),
            _ => None,
        }
    }
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.field(name) {
            Field::Int(i) => Some(*i),
            _ => None,
        }
    }
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.field(name) {
            Field::Float(f) => Some(*f),
            _ => None,
        }
    }
    pub fn bool(&self, name: &str) -> Option<bool> {
        match self.field(name) {
            Field::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

/// The OID of a relation in the extension's schema, if the extension is installed here.
pub fn policy_relation(name: &str) -> Option<Oid> {
    let name = CString::new(name).ok()?;
    // SAFETY: both look-ups take NUL-terminated strings and are called inside a transaction.
    let oid = unsafe {
        let namespace = pg_sys::get_namespace_oid(c"agent_policy".as_ptr(), true);
        if namespace == Oid::INVALID {
            return None;
        }
        pg_sys::get_relname_relid(name.as_ptr(), namespace)
    };
    (oid != Oid::INVALID).then_some(oid)
}

/// Is the extension itself (and not just a schema of its name) installed in this database?
pub fn installed() -> bool {
    // SAFETY: a catalog look-up by name inside a transaction.
    unsafe { pg_sys::get_extension_oid(c"agent_policy".as_ptr(), true) != Oid::INVALID }
}

fn field(datum: pg_sys::Datum, isnull: bool, typid: Oid) -> Field {
    if isnull {
        return Field::Null;
    }
    // SAFETY: the datum comes from a tuple whose descriptor names `typid` for it.
    unsafe {
        match typid {
            pg_sys::BOOLOID => bool::from_datum(datum, false).map_or(Field::Null, Field::Bool),
            pg_sys::INT8OID => i64::from_datum(datum, false).map_or(Field::Null, Field::Int),
            pg_sys::FLOAT8OID => f64::from_datum(datum, false).map_or(Field::Null, Field::Float),
            pg_sys::REGCLASSOID | pg_sys::REGROLEOID | pg_sys::OIDOID => {
                Field::Oid(Oid::from_u32(datum.value() as u32))
            }
            pg_sys::NAMEOID => {
                let name = CStr::from_ptr(datum.cast_mut_ptr::<pg_sys::NameData>().cast());
                Field::Text(super::text::from_server(name.to_bytes()))
            }
            pg_sys::TEXTOID => {
                let detoasted = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
                let bytes = pgrx::varlena::varlena_to_byte_slice(detoasted);
                Field::Text(super::text::from_server(bytes))
            }
            _ => Field::Null,
        }
    }
}

/// Every row of a catalog by its values, as far as `read` takes something from them.
pub fn rows<T>(relid: Oid, mut read: impl FnMut(&[pg_sys::Datum], &[bool]) -> Option<T>) -> Vec<T> {
    // SAFETY: as in `table`; a plain scan, which needs no index and so no other catalog.
    unsafe {
        let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
        let desc = (*relation).rd_att;
        let natts = (*desc).natts as usize;
        let scan = pg_sys::systable_beginscan(
            relation,
            Oid::INVALID,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        let mut found = Vec::new();
        let mut values = vec![pg_sys::Datum::from(0_usize); natts];
        let mut nulls = vec![true; natts];
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            pg_sys::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            found.extend(read(&values, &nulls));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        found
    }
}

/// All rows of a policy table; `None` when the table is not there.
pub fn table(name: &str) -> Option<Table> {
    let relid = policy_relation(name)?;
    // SAFETY: a relation that exists is opened, scanned and closed, what a catalog snapshot shows is kept; the
    // tuples are read before the scan moves on. pgrx turns an ERROR into a panic that unwinds,
    // and the resource owner of the transaction closes what is open.
    unsafe {
        let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
        let rd_att = (*relation).rd_att;
        let natts = (*rd_att).natts as usize;
        let mut columns = Vec::with_capacity(natts);
        let mut types = Vec::with_capacity(natts);
        for i in 0..natts {
            let att = super::compat::attribute(rd_att, i);
            columns.push(super::text::from_ptr((*att).attname.data.as_ptr()).unwrap_or_default());
            types.push((*att).atttypid);
        }
        // Every version of a row is looked at, and judged by one snapshot here: a scan with a
        // snapshot of its own would leave predicate locks in a serializable transaction, of whoever
        // it is, and make it conflict with changes of the policy.
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetCatalogSnapshot(relid));
        let scan = pg_sys::systable_beginscan(
            relation,
            Oid::INVALID,
            false,
            &raw mut pg_sys::SnapshotAnyData,
            0,
            std::ptr::null_mut(),
        );
        let mut rows = Vec::new();
        let mut values = vec![pg_sys::Datum::from(0_usize); natts];
        let mut nulls = vec![true; natts];
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            if !pg_sys::table_tuple_satisfies_snapshot(relation, (*scan).slot, snapshot) {
                continue;
            }
            pg_sys::heap_deform_tuple(tuple, rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
            rows.push(
                values
                    .iter()
                    .zip(&nulls)
                    .zip(&types)
                    .map(|((datum, isnull), typid)| field(*datum, *isnull, *typid))
                    .collect(),
            );
        }
        pg_sys::systable_endscan(scan);
        pg_sys::UnregisterSnapshot(snapshot);
        pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        Some(Table { columns, rows })
    }
}
