//! The key of the mask `hash`: read once per backend, straight from its table, so that neither
//! SPI nor privileges are needed, and forgotten when the table changes.

use pgrx::pg_sys;
use policy::mask::hash::KeyedHash;
use std::cell::RefCell;

struct Cached {
    /// policy_secret
    relation: pg_sys::Oid,
    /// None: there is no key
    key: Option<KeyedHash>,
}

thread_local! {
    static CACHED: RefCell<Option<Cached>> = const { RefCell::new(None) };
    static LISTENING: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The keyed hash of `value`; None if there is no key.
///
/// # Safety
/// `fcinfo` is that of a function of this extension, in a transaction.
pub unsafe fn digest(fcinfo: pg_sys::FunctionCallInfo, value: &[u8]) -> Option<[u8; 32]> {
    if let Some(known) =
        CACHED.with_borrow(|c| c.as_ref().map(|c| c.key.as_ref().map(|k| k.digest(value))))
    {
        return known;
    }
    // SAFETY: flinfo of a call is valid.
    let loaded = unsafe { load((*(*fcinfo).flinfo).fn_oid) };
    let digest = loaded.key.as_ref().map(|k| k.digest(value));
    CACHED.set(Some(loaded));
    digest
}

/// Runs `work` with the key; None if there is no key.
///
/// # Safety
/// As [`digest`]; `work` calls nothing of the server.
pub unsafe fn with_key<T>(
    fcinfo: pg_sys::FunctionCallInfo,
    work: impl FnOnce(Option<&KeyedHash>) -> T,
) -> T {
    if CACHED.with_borrow(Option::is_none) {
        // SAFETY: flinfo of a call is valid.
        let loaded = unsafe { load((*(*fcinfo).flinfo).fn_oid) };
        CACHED.set(Some(loaded));
    }
    CACHED.with_borrow(|c| work(c.as_ref().and_then(|c| c.key.as_ref())))
}

/// # Safety
/// In a transaction.
unsafe fn load(function: pg_sys::Oid) -> Cached {
    if !LISTENING.replace(true) {
        // SAFETY: the callback is a static function of the signature asked for.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0)) };
    }
    // SAFETY: plain lookups; a relation is opened, read and closed, its tuples are used while the
    // scan holds them.
    unsafe {
        let schema = pg_sys::get_func_namespace(function);
        let relation = pg_sys::get_relname_relid(c"policy_secret".as_ptr(), schema);
        if relation == pg_sys::InvalidOid {
            return Cached {
                relation,
                key: None,
            };
        }
        let table = pg_sys::table_open(relation, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::systable_beginscan(
            table,
            pg_sys::InvalidOid,
            false,
            std::ptr::null_mut(),
            0,
            std::ptr::null_mut(),
        );
        let natts = (*(*table).rd_att).natts.max(2) as usize;
        let mut values = vec![pg_sys::Datum::from(0); natts];
        let mut nulls = vec![true; natts];
        // The oldest counts: see the table's definition.
        let mut oldest: Option<(i64, KeyedHash)> = None;
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            pg_sys::heap_deform_tuple(
                tuple,
                (*table).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            if nulls[0] || nulls[1] {
                continue;
            }
            let created = values[0].value() as i64;
            if oldest.as_ref().is_none_or(|(t, _)| created < *t) {
                oldest = Some((created, KeyedHash::new(super::call::bytes(values[1]))));
            }
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, pg_sys::AccessShareLock as i32);
        Cached {
            relation,
            key: oldest.map(|(_, key)| key),
        }
    }
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn forget(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    CACHED.with_borrow_mut(|c| {
        if relation == pg_sys::InvalidOid || c.as_ref().is_some_and(|c| c.relation == relation) {
            *c = None;
        }
    });
}
