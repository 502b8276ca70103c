//! The hooks: installed once, thin, and nearly free for sessions that no policy confines.
//!
//! Each outer function asks whether the session is confined and else hands on at once, without a
//! guard: it owns nothing, so an ERROR may pass over it. What a confined session adds runs in
//! functions of its own, guarded by pgrx.

use core::ffi::{c_char, c_int, c_void};

use pgrx::pg_sys;
use policy::model::Capability;

use super::boundary::{self, Thrown};
use super::layers::{self, Layer};
use super::{
    access, compat, deadline, depth, execution, failing_row, internal, label, later, login,
    planning, raw, receiver, session, spare, stored, utility, wire,
};
use crate::catalog::Policy;
use crate::{doors, identity, statement, trial};

macro_rules! previous {
    ($($name:ident: $type:ty),+ $(,)?) => { $(pub static mut $name: $type = None;)+ };
}

previous! {
    PREV_ANALYZE: pg_sys::post_parse_analyze_hook_type,
    PREV_PLANNER: pg_sys::planner_hook_type,
    PREV_START: pg_sys::ExecutorStart_hook_type,
    PREV_RUN: pg_sys::ExecutorRun_hook_type,
    PREV_FINISH: pg_sys::ExecutorFinish_hook_type,
    PREV_END: pg_sys::ExecutorEnd_hook_type,
    PREV_PERMS: pg_sys::ExecutorCheckPerms_hook_type,
    PREV_UTILITY: pg_sys::ProcessUtility_hook_type,
    PREV_ACCESS: pg_sys::object_access_hook_type,
    PREV_NEEDS_FMGR: pg_sys::needs_fmgr_hook_type,
    PREV_FMGR: pg_sys::fmgr_hook_type,
    PREV_AUTHENTICATION: raw::ClientAuthenticationHook,
}

/// Puts every hook in place, remembering what was there.
pub fn init() {
    // SAFETY: called once, from _PG_init in the postmaster, where nothing runs beside it.
    unsafe {
        PREV_ANALYZE = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(planning::on_analyze);
        PREV_PLANNER = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(planning::on_plan);
        PREV_START = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(execution::on_start);
        PREV_RUN = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(compat::on_run);
        PREV_FINISH = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(execution::on_finish);
        PREV_END = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(execution::on_end);
        PREV_PERMS = pg_sys::ExecutorCheckPerms_hook;
        pg_sys::ExecutorCheckPerms_hook = Some(compat::on_check_perms);
        PREV_UTILITY = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(on_utility);
        PREV_ACCESS = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(access::on_access);
        PREV_NEEDS_FMGR = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(access::on_needs_fmgr);
        PREV_FMGR = pg_sys::fmgr_hook;
        pg_sys::fmgr_hook = Some(access::on_fmgr);
        PREV_AUTHENTICATION = raw::ClientAuthentication_hook;
        raw::ClientAuthentication_hook = Some(on_authentication);
        pg_sys::RegisterXactCallback(Some(on_transaction), std::ptr::null_mut());
    }
}

/// Does no rule apply to what is going on? The extension's own work, a trusted function, and the
/// queries by which foreign keys are checked.
pub fn exempt() -> bool {
    always_exempt() || checks_foreign_key()
}

/// [`exempt`], for functions too.
pub fn always_exempt() -> bool {
    internal::active() || depth::trusted()
}

/// Is it a query by which a foreign key is checked or carried on? What triggers, check constraints
/// and the like call inside such a query is not.
pub fn checks_foreign_key() -> bool {
    // SAFETY: a read of the security context.
    unsafe { raw::InNoForceRLSOperation() && !depth::called_by_foreign_key() }
}

pub fn is_worker() -> bool {
    // SAFETY: a read of a backend variable.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// The first look at a message, or any later one: the clock runs, the wire is watched, nothing
/// is written by a role that only reads.
pub fn begin() -> Option<std::rc::Rc<Policy>> {
    if depth::nowhere() && !is_worker() {
        // A change of policy counts from the next statement on, also inside a transaction that
        // takes no new locks.
        // SAFETY: inside a transaction; what raises is caught by the guard.
        unsafe { pg_sys::AcceptInvalidationMessages() };
    }
    let policy = identity::policy()?;
    spare::keep_or_end();
    if let Some(why) = &policy.closed {
        why.denial().raise()
    }
    policy.prepare_hints();
    if trial::is_nobodys() {
        return Some(policy);
    }
    if is_worker() || policy.monitors() {
        if !is_worker() {
            wire::install();
        }
        return Some(policy);
    }
    if let Some(process) = login::process()
        && identity::acts_itself()
    {
        doors::process(process).raise_fatal()
    }
    wire::install();
    deadline::arm(policy.limits.statement_timeout);
    if policy.capability == Capability::ReadOnly && layers::on(Layer::ReadOnly) {
        session::force_read_only();
    }
    session::pin_settings();
    Some(policy)
}

/// Calls into the server; a cancellation that our clock caused is told as such.
///
/// # Safety
/// As [`boundary::call`].
pub unsafe fn timed<T>(work: impl FnOnce() -> T) -> Result<T, Thrown> {
    // SAFETY: by the caller's promise.
    match unsafe { boundary::call(work) } {
        Err(thrown) if thrown.is_cancel() => match deadline::hit() {
            Some(reason) => {
                thrown.replace();
                reason.denial().raise()
            }
            None => Err(thrown),
        },
        Err(thrown) => {
            // SAFETY: the error has just been caught.
            unsafe { failing_row::conceal() };
            Err(thrown)
        }
        result => result,
    }
}

// --- utility commands -------------------------------------------------------------------------

#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn on_utility(
    statement: *mut pg_sys::PlannedStmt,
    query_string: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        let call = utility::Call {
            statement,
            query_string,
            read_only_tree,
            context,
            params,
            environment,
            dest,
            completion,
        };
        label::offer((*statement).utilityStmt);
        if session::confined() {
            utility::confined(&call);
        } else {
            utility::next(&call);
        }
    }
}

// --- login ------------------------------------------------------------------------------------

unsafe extern "C-unwind" fn on_authentication(port: *mut c_void, status: c_int) {
    const STATUS_OK: c_int = 0;
    // SAFETY: the server's own arguments, handed on; what is looked up may raise, and this frame
    // owns nothing.
    unsafe {
        if let Some(previous) = PREV_AUTHENTICATION {
            previous(port, status);
        }
        if status == STATUS_OK {
            login::check(port.cast());
        }
    }
    // Before the first statement is parsed nobody knows whether the session is confined; should
    // it not even parse, that has to be seen.
    wire::install();
}

// --- transactions -----------------------------------------------------------------------------

unsafe extern "C-unwind" fn on_transaction(event: pg_sys::XactEvent::Type, _argument: *mut c_void) {
    use pg_sys::XactEvent as Event;
    if event == Event::XACT_EVENT_PRE_COMMIT && (session::last_known() || later::any()) {
        // SAFETY: the transaction may still fail; this frame owns nothing.
        unsafe { wire::before_commit() };
    }
    if matches!(
        event,
        Event::XACT_EVENT_COMMIT | Event::XACT_EVENT_ABORT | Event::XACT_EVENT_PREPARE
    ) {
        if session::last_known() {
            spare::keep();
        }
        session::transaction_ended(event == Event::XACT_EVENT_ABORT);
        depth::reset_trust();
        failing_row::forget();
        if session::last_known() {
            receiver::forget_all();
            stored::forget();
            statement::transaction_ended();
        }
    }
}
