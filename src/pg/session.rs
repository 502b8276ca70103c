//! Is this session confined? Asked by every hook of every session, so the answer is remembered
//! together with the user ids it was worked out for.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use pgrx::pg_sys::{self, Oid};

use super::layers::{self, Layer};
use super::{raw, spare, text};
use crate::identity;

static DIRTY: AtomicBool = AtomicBool::new(true);
static CONFINED: AtomicBool = AtomicBool::new(false);
static SESSION: AtomicU32 = AtomicU32::new(0);
static OUTER: AtomicU32 = AtomicU32::new(0);
static CURRENT: AtomicU32 = AtomicU32::new(0);
static MAINTENANCE: AtomicBool = AtomicBool::new(false);
static POLICY_TABLE: AtomicU32 = AtomicU32::new(0);
static NAMES: AtomicU32 = AtomicU32::new(0);

/// The user ids of the session as they are now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Users {
    pub session: Oid,
    pub outer: Oid,
    pub current: Oid,
    /// The server does maintenance in the current user's name (ANALYZE, REINDEX, REFRESH …).
    pub maintenance: bool,
}

impl Users {
    #[inline]
    pub fn now() -> Self {
        let (mut current, mut context) = (Oid::INVALID, 0);
        // SAFETY: reads of backend variables; none of them raises once a user is set, and hooks
        // run in no session without one.
        unsafe {
            raw::GetUserIdAndSecContext(&raw mut current, &raw mut context);
            Self {
                session: raw::GetSessionUserId(),
                outer: raw::GetOuterUserId(),
                current,
                maintenance: context & pg_sys::SECURITY_RESTRICTED_OPERATION as i32 != 0,
            }
        }
    }
}

/// Whether the statement at hand is under a policy.
#[inline]
pub fn confined() -> bool {
    let now = Users::now();
    if !DIRTY.load(Relaxed)
        && CURRENT.load(Relaxed) == now.current.to_u32()
        && MAINTENANCE.load(Relaxed) == now.maintenance
        && OUTER.load(Relaxed) == now.outer.to_u32()
        && SESSION.load(Relaxed) == now.session.to_u32()
    {
        return CONFINED.load(Relaxed);
    }
    // SAFETY: guarded by itself.
    unsafe { refresh() }
}

/// The same for a query that goes on without a look at any catalog: a policy may have come into
/// force since it was started.
pub fn confined_by_now() -> bool {
    if !last_known() {
        // SAFETY: inside a transaction, as any lock would do it; this frame owns nothing.
        unsafe { raw::AcceptInvalidationMessages() };
    }
    confined()
}

#[pgrx::pg_guard]
unsafe extern "C-unwind" fn refresh() -> bool {
    // SAFETY: plain reads; catalogs are touched inside a live transaction only.
    unsafe {
        if !raw::IsTransactionState() {
            return CONFINED.load(Relaxed);
        }
        if pg_sys::MyDatabaseId == Oid::INVALID
            || pg_sys::IsBinaryUpgrade
            || !pg_sys::IsUnderPostmaster
        {
            return false;
        }
    }
    if BUSY.swap(true, Relaxed) {
        // Reading the policy meets the hooks too; it is nobody's statement.
        return false;
    }
    let _idle = Idle;
    // The reading may be an unconfined session's as well: without something to spare it goes on.
    spare::keep();
    let now = Users::now();
    let was_dirty = DIRTY.swap(false, Relaxed);
    // Should the work below end in an ERROR, the next look starts over.
    let redo = Redo;
    let confined = identity::refresh(now, was_dirty);
    std::mem::forget(redo);
    if !confined {
        spare::give_back();
    }
    SESSION.store(now.session.to_u32(), Relaxed);
    OUTER.store(now.outer.to_u32(), Relaxed);
    CURRENT.store(now.current.to_u32(), Relaxed);
    MAINTENANCE.store(now.maintenance, Relaxed);
    if confined && was_dirty || CONFINED.load(Relaxed) != confined {
        search_path_changed();
    }
    if CONFINED.swap(confined, Relaxed) != confined {
        // Plans made under the other regime lack (or carry) the policy.
        // SAFETY: only marks cached plans for revalidation.
        unsafe { pg_sys::ResetPlanCache() };
        if confined {
            super::explain::install();
        } else {
            super::explain::remove();
            super::deadline::uncap_native();
            unforce_read_only();
        }
    }
    confined
}

/// The schemas of search_path that are shown may be others now: the path is put together anew.
fn search_path_changed() {
    // SAFETY: calls what waits for changes of schemas, the path's own cache among it.
    unsafe { pg_sys::CallSyscacheCallbacks(NAMESPACE as i32, 0) };
}

static BUSY: AtomicBool = AtomicBool::new(false);
struct Idle;
impl Drop for Idle {
    fn drop(&mut self) {
        BUSY.store(false, Relaxed);
    }
}

struct Redo;
impl Drop for Redo {
    fn drop(&mut self) {
        DIRTY.store(true, Relaxed);
    }
}

/// Remembers which relation's invalidation means that the policy has changed.
pub fn watch(policy_table: Option<Oid>) {
    POLICY_TABLE.store(policy_table.map_or(0, Oid::to_u32), Relaxed);
}

/// The relation that was given to [`watch`].
pub fn policy_table() -> Option<Oid> {
    Some(POLICY_TABLE.load(Relaxed))
        .filter(|oid| *oid != 0)
        .map(Oid::from_u32)
}

/// Another number as soon as a relation, schema, function, type or role may have another name.
pub fn names_generation() -> u32 {
    NAMES.load(Relaxed)
}

unsafe extern "C-unwind" fn relation_changed(_arg: pg_sys::Datum, relid: Oid) {
    NAMES.fetch_add(1, Relaxed);
    super::readers::forget(relid);
    let watched = POLICY_TABLE.load(Relaxed);
    if relid == Oid::INVALID || (watched != 0 && relid.to_u32() == watched) {
        DIRTY.store(true, Relaxed);
    }
    if CONFINED.load(Relaxed) {
        identity::RELATIONS_CHANGED.store(true, Relaxed);
    }
}

unsafe extern "C-unwind" fn catalog_changed(_arg: pg_sys::Datum, cache: i32, _hash: u32) {
    // A new schema matters while the extension is not known to be here; roles and memberships
    // always; functions to those who are confined by name.
    NAMES.fetch_add(1, Relaxed);
    let matters = match cache as u32 {
        TYPE => false,
        NAMESPACE => POLICY_TABLE.load(Relaxed) == 0,
        PROCEDURE => CONFINED.load(Relaxed),
        _ => true,
    };
    if matters {
        DIRTY.store(true, Relaxed);
    }
}

const NAMESPACE: u32 = pg_sys::SysCacheIdentifier::NAMESPACEOID as u32;
const TYPE: u32 = pg_sys::SysCacheIdentifier::TYPEOID as u32;
const PROCEDURE: u32 = pg_sys::SysCacheIdentifier::PROCOID as u32;

/// Registers for the invalidation messages that can change an answer.
pub fn init() {
    let nothing = pg_sys::Datum::from(0_usize);
    // SAFETY: called once, from _PG_init; the callbacks live as long as the library.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), nothing);
        for cache in [
            NAMESPACE,
            PROCEDURE,
            TYPE,
            pg_sys::SysCacheIdentifier::AUTHOID as u32,
            pg_sys::SysCacheIdentifier::AUTHMEMROLEMEM as u32,
        ] {
            pg_sys::CacheRegisterSyscacheCallback(cache as i32, Some(catalog_changed), nothing);
        }
    }
}

/// The answer is what it was before a policy was tried on; the next question is answered afresh.
pub fn put_back(confined: bool) {
    search_path_changed();
    if CONFINED.swap(confined, Relaxed) != confined {
        // SAFETY: marks cached plans for a new planning; variables of this backend.
        unsafe { pg_sys::ResetPlanCache() };
        if !confined {
            super::explain::remove();
        }
    }
    look_again();
}

/// Makes the next question be answered afresh, without reading the policy again.
pub fn look_again() {
    CURRENT.store(0, Relaxed);
}

/// Confined, as far as was known when it was last worked out.
pub fn last_known() -> bool {
    CONFINED.load(Relaxed)
}

/// Has it been worked out at all, and is that still valid?
pub fn is_known() -> bool {
    !DIRTY.load(Relaxed)
}

static FORCED_READ_ONLY: AtomicBool = AtomicBool::new(false);

/// Makes the transaction read-only, whatever it was declared as.
pub fn force_read_only() {
    // SAFETY: the server's own flag for the transaction at hand; it is set anew by each one.
    unsafe {
        if raw::IsTransactionState() && !pg_sys::XactReadOnly {
            pg_sys::XactReadOnly = true;
            FORCED_READ_ONLY.store(true, Relaxed);
        }
    }
}

fn unforce_read_only() {
    if FORCED_READ_ONLY.swap(false, Relaxed) {
        // SAFETY: see above; only what was forced is taken back.
        unsafe { pg_sys::XactReadOnly = false };
    }
}

/// The transaction is over; the next one begins with its own flags.
pub fn transaction_ended(aborted: bool) {
    // An abort puts settings back that were made in it.
    if aborted {
        unpin_settings();
    }
    FORCED_READ_ONLY.store(false, Relaxed);
}

static PINNED: AtomicBool = AtomicBool::new(false);

/// The settings may have changed: they are looked at again.
pub fn unpin_settings() {
    PINNED.store(false, Relaxed);
}

/// Puts settings in force that no start-up option, role setting or command may leave otherwise:
/// those by which the server would print trees, constants and all, and those that change what a
/// policy's text means.
pub fn pin_settings() {
    if !layers::on(Layer::Settings) || PINNED.swap(true, Relaxed) {
        return;
    }
    for (name, value) in policy::builtins::pinned() {
        let (name, value) = (text::to_c(name), text::to_c(value));
        // SAFETY: settings that exist in every version, set as the server's own code would.
        unsafe {
            let now = pg_sys::GetConfigOption(name.as_ptr(), true, false);
            if !now.is_null() && core::ffi::CStr::from_ptr(now) != value.as_c_str() {
                pg_sys::set_config_option(
                    name.as_ptr(),
                    value.as_ptr(),
                    pg_sys::GucContext::PGC_SUSET,
                    pg_sys::GucSource::PGC_S_SESSION,
                    pg_sys::GucAction::GUC_ACTION_SET,
                    true,
                    0,
                    false,
                );
            }
        }
    }
    // SAFETY: plain variables of the server. The level that reaches the client has several names.
    unsafe {
        if pg_sys::client_min_messages < pg_sys::NOTICE as i32 {
            pg_sys::client_min_messages = pg_sys::NOTICE as i32;
        }
    }
}
