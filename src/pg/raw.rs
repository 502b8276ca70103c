//! Functions and variables of the server that pgrx does not bind, or binds behind a guard that
//! a session without a policy should not pay for.
//!
//! Calling one of these directly lets an ERROR longjmp over the caller: allowed only where no
//! frame between here and the next guard owns anything (see `super::guarded`).

use core::ffi::{c_char, c_int, c_void};
use pgrx::pg_sys::{self, Oid};

pub type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

/// `PQcommMethods` of libpq/libpq.h, the same in 15 to 18.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PQcommMethods {
    pub comm_reset: Option<unsafe extern "C-unwind" fn()>,
    pub flush: Option<unsafe extern "C-unwind" fn() -> c_int>,
    pub flush_if_writable: Option<unsafe extern "C-unwind" fn() -> c_int>,
    pub is_send_pending: Option<unsafe extern "C-unwind" fn() -> bool>,
    pub putmessage: Option<unsafe extern "C-unwind" fn(c_char, *const c_char, usize) -> c_int>,
    pub putmessage_noblock: Option<unsafe extern "C-unwind" fn(c_char, *const c_char, usize)>,
}

/// `USER_TIMEOUT` of utils/timeout.h: the first of the ids that RegisterTimeout gives out.
pub const USER_TIMEOUT: c_int = if cfg!(any(feature = "pg17", feature = "pg18")) {
    13
} else {
    12
};

/// `RangeVarGetRelidCallback` of catalog/namespace.h.
pub type RangeVarCallback =
    Option<unsafe extern "C-unwind" fn(*const pg_sys::RangeVar, Oid, Oid, *mut c_void)>;

/// `ClientAuthentication_hook_type` of libpq/auth.h; the port is not looked into.
pub type ClientAuthenticationHook = Option<unsafe extern "C-unwind" fn(*mut c_void, c_int)>;

unsafe extern "C-unwind" {
    pub static mut ClientAuthentication_hook: ClientAuthenticationHook;
    pub fn GetUserIdAndSecContext(user: *mut Oid, context: *mut c_int);
    pub fn GetSessionUserId() -> Oid;
    pub fn GetOuterUserId() -> Oid;
    pub fn IsTransactionState() -> bool;
    // These read a variable of the backend and raise nothing.
    pub fn InNoForceRLSOperation() -> bool;
    pub fn IsTransactionBlock() -> bool;
    pub fn GetCurrentStatementStartTimestamp() -> i64;
    pub fn GetTopFullTransactionIdIfAny() -> pg_sys::FullTransactionId;
    pub fn AcceptInvalidationMessages();
    pub fn exprType(expression: *const pg_sys::Node) -> Oid;
    pub fn get_atttypetypmodcoll(
        relid: Oid,
        attno: pg_sys::AttrNumber,
        typid: *mut Oid,
        typmod: *mut i32,
        collation: *mut Oid,
    );
    pub fn get_typavgwidth(typid: Oid, typmod: i32) -> i32;
    pub fn palloc0(size: usize) -> *mut c_void;
    pub fn lappend(list: *mut pg_sys::List, datum: *mut c_void) -> *mut pg_sys::List;
    pub fn lappend_oid(list: *mut pg_sys::List, datum: Oid) -> *mut pg_sys::List;
    pub fn copyObjectImpl(node: *const c_void) -> *mut c_void;
    pub fn ChangeVarNodes(node: *mut pg_sys::Node, from: c_int, to: c_int, up: c_int);
    pub fn IncrementVarSublevelsUp(node: *mut pg_sys::Node, by: c_int, from: c_int);
    pub fn check_functions_in_node(
        node: *mut pg_sys::Node,
        checker: Option<unsafe extern "C-unwind" fn(Oid, *mut c_void) -> bool>,
        context: *mut c_void,
    ) -> bool;

    pub fn ProcessInterrupts();
    pub fn GetCurrentTimestamp() -> i64;
    pub fn SetLatch(latch: *mut c_void);
    pub static mut MyLatch: *mut c_void;
    pub static mut PqCommMethods: *const PQcommMethods;

    pub fn RegisterTimeout(id: c_int, handler: Option<unsafe extern "C-unwind" fn()>) -> c_int;
    pub fn enable_timeout_every(id: c_int, first: i64, delay_ms: c_int);
    pub fn get_timeout_finish_time(id: c_int) -> i64;
    pub fn disable_timeout(id: c_int, keep_indicator: bool);

    pub fn standard_planner(
        parse: *mut pg_sys::Query,
        query_string: *const c_char,
        cursor_options: c_int,
        params: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
    pub fn geqo(
        root: *mut pg_sys::PlannerInfo,
        levels: c_int,
        initial: *mut pg_sys::List,
    ) -> *mut pg_sys::RelOptInfo;
    pub fn standard_join_search(
        root: *mut pg_sys::PlannerInfo,
        levels: c_int,
        initial: *mut pg_sys::List,
    ) -> *mut pg_sys::RelOptInfo;
    pub fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, eflags: c_int);
    pub fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
    pub fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
    pub fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query_string: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        dest: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
    pub static mut SnapshotSelfData: pg_sys::SnapshotData;
    pub fn GetDatabaseEncoding() -> c_int;

    pub fn pg_parse_query(text: *const c_char) -> *mut pg_sys::List;
    pub fn parse_analyze_varparams(
        raw: *mut pg_sys::RawStmt,
        text: *const c_char,
        types: *mut *mut Oid,
        count: *mut c_int,
        environment: *mut pg_sys::QueryEnvironment,
    ) -> *mut pg_sys::Query;
    pub fn QueryRewrite(query: *mut pg_sys::Query) -> *mut pg_sys::List;
    pub fn typenameTypeId(pstate: *mut pg_sys::ParseState, name: *const pg_sys::TypeName) -> Oid;
    pub fn transformCreateStmt(
        create: *mut pg_sys::CreateStmt,
        text: *const c_char,
    ) -> *mut pg_sys::List;
    pub fn transformIndexStmt(
        relid: Oid,
        index: *mut pg_sys::IndexStmt,
        text: *const c_char,
    ) -> *mut pg_sys::IndexStmt;
    pub fn RangeVarGetRelidExtended(
        name: *const pg_sys::RangeVar,
        lockmode: pg_sys::LOCKMODE,
        flags: u32,
        callback: RangeVarCallback,
        argument: *mut c_void,
    ) -> Oid;
    pub fn RangeVarGetAndCheckCreationNamespace(
        name: *mut pg_sys::RangeVar,
        lockmode: pg_sys::LOCKMODE,
        existing: *mut Oid,
    ) -> Oid;
    pub fn RangeVarCallbackOwnsRelation(
        name: *const pg_sys::RangeVar,
        relid: Oid,
        before: Oid,
        argument: *mut c_void,
    );
    pub fn RangeVarGetCreationNamespace(name: *const pg_sys::RangeVar) -> Oid;
    pub fn LockRelationOid(relid: Oid, lockmode: pg_sys::LOCKMODE);
    pub fn LookupExplicitNamespace(name: *const c_char, missing_ok: bool) -> Oid;
    pub fn GetConfigOptionByName(
        name: *const c_char,
        shown: *mut *const c_char,
        missing_ok: bool,
    ) -> *mut c_char;
    pub fn set_config_option(
        name: *const c_char,
        value: *const c_char,
        context: pg_sys::GucContext::Type,
        source: pg_sys::GucSource::Type,
        action: pg_sys::GucAction::Type,
        change: bool,
        elevel: c_int,
        is_reload: bool,
    ) -> c_int;
    pub fn ProcessCopyOptions(
        pstate: *mut pg_sys::ParseState,
        into: *mut c_void,
        is_from: bool,
        options: *mut pg_sys::List,
    );
    pub fn GetActiveSnapshot() -> pg_sys::Snapshot;
    pub fn CreateQueryDesc(
        planned: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        snapshot: pg_sys::Snapshot,
        crosscheck: pg_sys::Snapshot,
        dest: *mut pg_sys::DestReceiver,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        instruments: c_int,
    ) -> *mut pg_sys::QueryDesc;
    pub fn FreeQueryDesc(query: *mut pg_sys::QueryDesc);
    pub fn ExecutorStart(query: *mut pg_sys::QueryDesc, eflags: c_int);
    pub fn ExecutorEnd(query: *mut pg_sys::QueryDesc);
    pub static mut None_Receiver: *mut pg_sys::DestReceiver;

    #[cfg(any(feature = "pg15", feature = "pg16"))]
    pub static mut pgBufferUsage: pg_sys::BufferUsage;
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    pub fn BufferUsageAccumDiff(
        into: *mut pg_sys::BufferUsage,
        add: *const pg_sys::BufferUsage,
        sub: *const pg_sys::BufferUsage,
    );
    pub fn pg_plan_query(
        query: *mut pg_sys::Query,
        query_string: *const c_char,
        cursor_options: c_int,
        params: pg_sys::ParamListInfo,
    ) -> *mut pg_sys::PlannedStmt;
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    pub fn ExplainOnePlan(
        plan: *mut pg_sys::PlannedStmt,
        into: *mut pg_sys::IntoClause,
        state: *mut pg_sys::ExplainState,
        query_string: *const c_char,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        took: *const pg_sys::instr_time,
        usage: *const pg_sys::BufferUsage,
    );

    #[cfg(any(feature = "pg17", feature = "pg18"))]
    pub fn standard_ExplainOneQuery(
        query: *mut pg_sys::Query,
        cursor_options: c_int,
        into: *mut pg_sys::IntoClause,
        state: *mut pg_sys::ExplainState,
        query_string: *const c_char,
        params: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
    );
    #[cfg(not(feature = "pg18"))]
    pub fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        once: bool,
    );
    #[cfg(feature = "pg18")]
    pub fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
    );

    #[cfg_attr(not(feature = "pg15"), link_name = "expression_tree_walker_impl")]
    pub fn expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: Option<Walker>,
        context: *mut c_void,
    ) -> bool;
    #[cfg_attr(not(feature = "pg15"), link_name = "raw_expression_tree_walker_impl")]
    pub fn raw_expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: Option<Walker>,
        context: *mut c_void,
    ) -> bool;
    pub static mut StatementTimeout: c_int;
    pub static mut IdleInTransactionSessionTimeout: c_int;
    pub static mut LockTimeout: c_int;
    pub static mut am_walsender: bool;
    #[cfg_attr(not(feature = "pg15"), link_name = "query_tree_walker_impl")]
    pub fn query_tree_walker(
        query: *mut pg_sys::Query,
        walker: Option<Walker>,
        context: *mut c_void,
        flags: c_int,
    ) -> bool;
}

/// Functions that pgrx does not bind, behind its guard: an ERROR becomes a panic that unwinds.
pub mod guarded {
    use super::*;
    use pg_sys::ffi::pg_guard_ffi_boundary as guard;

    unsafe extern "C-unwind" {
        #[link_name = "find_all_inheritors"]
        fn find_all_inheritors_(
            parent: Oid,
            lockmode: pg_sys::LOCKMODE,
            numparents: *mut *mut pg_sys::List,
        ) -> *mut pg_sys::List;
        #[link_name = "has_subclass"]
        fn has_subclass_(relation: Oid) -> bool;
        fn get_relation_constraint_attnos(
            relid: Oid,
            name: *const c_char,
            missing_ok: bool,
            found: *mut Oid,
        ) -> *mut pg_sys::Bitmapset;
        #[link_name = "setRuleCheckAsUser"]
        fn set_rule_check_as_user_(node: *mut pg_sys::Node, user: Oid);
    }

    /// # Safety
    /// Inside a transaction.
    pub unsafe fn find_all_inheritors(
        parent: Oid,
        lockmode: pg_sys::LOCKMODE,
    ) -> *mut pg_sys::List {
        // SAFETY: by the caller's promise.
        unsafe { guard(|| find_all_inheritors_(parent, lockmode, std::ptr::null_mut())) }
    }

    /// # Safety
    /// Inside a transaction.
    pub unsafe fn has_subclass(relation: Oid) -> bool {
        // SAFETY: by the caller's promise.
        unsafe { guard(|| has_subclass_(relation)) }
    }

    /// The columns of a constraint, a set as in [`nodes::attributes`](super::super::nodes::attributes).
    ///
    /// # Safety
    /// Inside a transaction; `name` is null, or the name of a constraint.
    pub unsafe fn constraint_columns(relid: Oid, name: *const c_char) -> *mut pg_sys::Bitmapset {
        if name.is_null() {
            return std::ptr::null_mut();
        }
        let mut found = Oid::INVALID;
        // SAFETY: by the caller's promise.
        unsafe { guard(|| get_relation_constraint_attnos(relid, name, true, &raw mut found)) }
    }

    /// # Safety
    /// `node` is a tree that may be changed.
    pub unsafe fn set_rule_check_as_user(node: *mut pg_sys::Node, user: Oid) {
        // SAFETY: by the caller's promise.
        unsafe { guard(|| set_rule_check_as_user_(node, user)) }
    }
}
