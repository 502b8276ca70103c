//! What differs between PostgreSQL 15, 16, 17 and 18, and nothing else.

use pgrx::pg_sys::{self, Oid, Query, RangeTblEntry};

use super::{boundary, execution, hooks, nodes, raw, readers, session};

/// The server's major version.
pub const MAJOR: u16 = if cfg!(feature = "pg15") {
    15
} else if cfg!(feature = "pg16") {
    16
} else if cfg!(feature = "pg17") {
    17
} else {
    18
};

/// The permissions that a query asks for on one of its relations.
#[derive(Clone, Copy)]
pub struct Permissions {
    pub relid: Oid,
    pub required: pg_sys::AclMode,
    pub check_as: Oid,
    pub selected: *mut pg_sys::Bitmapset,
    pub inserted: *mut pg_sys::Bitmapset,
    pub updated: *mut pg_sys::Bitmapset,
    /// When the query was planned, the policy was put into it.
    pub planned: bool,
}

#[cfg(feature = "pg15")]
mod version {
    use super::*;

    /// May `member` become `role` by SET ROLE?
    ///
    /// # Safety
    /// Inside a transaction.
    pub unsafe fn may_set_role(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
        // SAFETY: catalog look-ups.
        unsafe { pg_sys::is_member_of_role(member, role) }
    }

    /// Raises unless the current user may do what the query's range table asks for.
    ///
    /// # Safety
    /// `query` is an analysed query.
    pub unsafe fn check_permissions(query: *const Query) {
        // SAFETY: by the caller's promise.
        unsafe { pg_sys::ExecCheckRTPerms((*query).rtable, true) };
    }

    /// # Safety
    /// `rte` is an entry of the query's range table.
    pub unsafe fn permissions(
        _rtable_owner: *const Query,
        rte: *const RangeTblEntry,
    ) -> Option<Permissions> {
        // SAFETY: by the caller's promise.
        unsafe {
            if (*rte).rtekind != pg_sys::RTEKind::RTE_RELATION {
                return None;
            }
            Some(from_rte(rte))
        }
    }

    unsafe fn from_rte(rte: *const RangeTblEntry) -> Permissions {
        // SAFETY: the callers pass a range table entry.
        unsafe {
            Permissions {
                relid: (*rte).relid,
                required: (*rte).requiredPerms,
                check_as: (*rte).checkAsUser,
                selected: (*rte).selectedCols,
                inserted: (*rte).insertedCols,
                updated: (*rte).updatedCols,
                planned: super::super::marks::marked(rte),
            }
        }
    }

    /// What `ExecutorCheckPerms_hook` was given.
    ///
    /// # Safety
    /// `rtable` is the hook's range table.
    pub unsafe fn checked(
        rtable: *const pg_sys::List,
        _infos: *const pg_sys::List,
    ) -> Vec<Permissions> {
        // SAFETY: by the caller's promise.
        unsafe {
            nodes::pointers::<RangeTblEntry>(rtable)
                .filter(|rte| {
                    (**rte).rtekind == pg_sys::RTEKind::RTE_RELATION
                        && (**rte).requiredPerms != 0
                        && !super::super::marks::belongs_to_filter(*rte)
                })
                .map(|rte| from_rte(rte))
                .collect()
        }
    }

    /// Is the entry to be read, and not as part of another one?
    ///
    /// # Safety
    /// `rte` is an entry of the range table that `ExecutorCheckPerms_hook` was given.
    pub unsafe fn reads(rte: *const RangeTblEntry, _infos: *const pg_sys::List) -> bool {
        // SAFETY: by the caller's promise.
        unsafe { (*rte).requiredPerms & pg_sys::AclMode::from(pg_sys::ACL_SELECT) != 0 }
    }

    /// Moves the permission bits of an entry that becomes a sub-query inside it.
    ///
    /// # Safety
    /// `inner` is a shallow copy of `outer`, an entry of `parent`; `sub` is the new sub-query.
    pub unsafe fn move_permissions(
        _parent: *mut Query,
        outer: *mut RangeTblEntry,
        _inner: *mut RangeTblEntry,
        _sub: *mut Query,
    ) {
        // SAFETY: by the caller's promise. The inner entry keeps the bits it was copied with.
        unsafe {
            (*outer).requiredPerms = 0;
            (*outer).checkAsUser = Oid::INVALID;
            (*outer).selectedCols = std::ptr::null_mut();
            (*outer).insertedCols = std::ptr::null_mut();
            (*outer).updatedCols = std::ptr::null_mut();
            (*outer).extraUpdatedCols = std::ptr::null_mut();
        }
    }

    /// A query whose range table is about to be replaced asks for no permissions of its own.
    ///
    /// # Safety
    /// `sub` is a query that may be changed.
    pub unsafe fn clear_permissions(_sub: *mut Query) {}

    /// # Safety
    /// `desc` is a tuple descriptor with more than `i` attributes.
    pub unsafe fn attribute(
        desc: pg_sys::TupleDesc,
        i: usize,
    ) -> *mut pg_sys::FormData_pg_attribute {
        // SAFETY: by the caller's promise.
        unsafe { (*desc).attrs.as_mut_ptr().add(i) }
    }

    /// # Safety
    /// `query` is a query.
    pub unsafe fn merge_target(_query: *const Query) -> i32 {
        0
    }
}

#[cfg(not(feature = "pg15"))]
mod version {
    use super::*;
    use pg_sys::RTEPermissionInfo;

    /// May `member` become `role` by SET ROLE?
    ///
    /// # Safety
    /// Inside a transaction.
    pub unsafe fn may_set_role(member: pg_sys::Oid, role: pg_sys::Oid) -> bool {
        // SAFETY: catalog look-ups.
        unsafe { pg_sys::member_can_set_role(member, role) }
    }

    /// Raises unless the current user may do what the query's range table asks for.
    ///
    /// # Safety
    /// `query` is an analysed query.
    pub unsafe fn check_permissions(query: *const Query) {
        // SAFETY: by the caller's promise.
        unsafe { pg_sys::ExecCheckPermissions((*query).rtable, (*query).rteperminfos, true) };
    }

    unsafe fn from_info(info: *const RTEPermissionInfo) -> Permissions {
        // SAFETY: the callers pass an entry of a permission list.
        unsafe {
            Permissions {
                relid: (*info).relid,
                required: (*info).requiredPerms,
                check_as: (*info).checkAsUser,
                selected: (*info).selectedCols,
                inserted: (*info).insertedCols,
                updated: (*info).updatedCols,
                planned: false,
            }
        }
    }

    /// # Safety
    /// `rte` is an entry of the query's range table.
    pub unsafe fn permissions(
        query: *const Query,
        rte: *const RangeTblEntry,
    ) -> Option<Permissions> {
        // SAFETY: by the caller's promise; an index other than 0 is a position of the query's list.
        unsafe {
            let index = (*rte).perminfoindex as usize;
            if index == 0 {
                return None;
            }
            nodes::pointers::<RTEPermissionInfo>((*query).rteperminfos)
                .nth(index - 1)
                .map(|info| from_info(info))
        }
    }

    /// What `ExecutorCheckPerms_hook` was given.
    ///
    /// # Safety
    /// `infos` is the hook's permission list.
    pub unsafe fn checked(
        rtable: *const pg_sys::List,
        infos: *const pg_sys::List,
    ) -> Vec<Permissions> {
        // SAFETY: by the caller's promise.
        unsafe {
            let (mut of_filters, mut planned) = (Vec::new(), Vec::new());
            for rte in nodes::pointers::<RangeTblEntry>(rtable) {
                let Some(info) = ((*rte).perminfoindex as usize).checked_sub(1) else {
                    continue;
                };
                if super::super::marks::belongs_to_filter(rte) {
                    of_filters.push(info);
                } else if super::super::marks::marked(rte) {
                    planned.push(info);
                }
            }
            nodes::pointers::<RTEPermissionInfo>(infos)
                .enumerate()
                .filter(|(i, info)| (**info).requiredPerms != 0 && !of_filters.contains(i))
                .map(|(i, info)| Permissions {
                    planned: planned.contains(&i),
                    ..from_info(info)
                })
                .collect()
        }
    }

    /// Is the entry to be read, and not as part of another one?
    ///
    /// # Safety
    /// `rte` is an entry of the range table that `ExecutorCheckPerms_hook` was given, `infos` its
    /// permission list.
    pub unsafe fn reads(rte: *const RangeTblEntry, infos: *const pg_sys::List) -> bool {
        // SAFETY: by the caller's promise; an index other than 0 is a position of the list.
        unsafe {
            let index = (*rte).perminfoindex as usize;
            index != 0
                && nodes::pointers::<RTEPermissionInfo>(infos)
                    .nth(index - 1)
                    .is_some_and(|info| {
                        (*info).requiredPerms & pg_sys::AclMode::from(pg_sys::ACL_SELECT) != 0
                    })
        }
    }

    /// Moves the permission bits of an entry that becomes a sub-query inside it.
    ///
    /// # Safety
    /// `inner` is a shallow copy of `outer`, an entry of `parent`; `sub` is the new sub-query.
    pub unsafe fn move_permissions(
        parent: *mut Query,
        outer: *mut RangeTblEntry,
        inner: *mut RangeTblEntry,
        sub: *mut Query,
    ) {
        // SAFETY: by the caller's promise. The parent's entry stays where it is, asking for
        // nothing, so that no other entry's index moves.
        unsafe {
            let index = (*outer).perminfoindex as usize;
            if index != 0
                && let Some(info) =
                    nodes::pointers::<RTEPermissionInfo>((*parent).rteperminfos).nth(index - 1)
            {
                let moved = nodes::copy(info);
                (*sub).rteperminfos = pg_sys::lappend((*sub).rteperminfos, moved.cast());
                (*inner).perminfoindex = 1;
                (*info).requiredPerms = 0;
                (*info).selectedCols = std::ptr::null_mut();
            }
            (*outer).perminfoindex = 0;
        }
    }

    /// A query whose range table is about to be replaced asks for no permissions of its own.
    ///
    /// # Safety
    /// `sub` is a query that may be changed.
    pub unsafe fn clear_permissions(sub: *mut Query) {
        // SAFETY: by the caller's promise.
        unsafe { (*sub).rteperminfos = std::ptr::null_mut() };
    }

    /// # Safety
    /// `desc` is a tuple descriptor with more than `i` attributes.
    #[cfg(not(feature = "pg18"))]
    pub unsafe fn attribute(
        desc: pg_sys::TupleDesc,
        i: usize,
    ) -> *mut pg_sys::FormData_pg_attribute {
        // SAFETY: by the caller's promise.
        unsafe { (*desc).attrs.as_mut_ptr().add(i) }
    }

    /// # Safety
    /// `desc` is a tuple descriptor with more than `i` attributes.
    #[cfg(feature = "pg18")]
    pub unsafe fn attribute(
        desc: pg_sys::TupleDesc,
        i: usize,
    ) -> *mut pg_sys::FormData_pg_attribute {
        // SAFETY: by the caller's promise.
        unsafe { pg_sys::TupleDescAttr(desc, i as i32) }
    }

    /// # Safety
    /// `query` is a query.
    pub unsafe fn merge_target(query: *const Query) -> i32 {
        #[cfg(feature = "pg16")]
        {
            let _ = query;
            0
        }
        #[cfg(not(feature = "pg16"))]
        // SAFETY: by the caller's promise.
        unsafe {
            (*query).mergeTargetRelation
        }
    }
}

pub use version::*;

// --- hooks whose signatures differ ------------------------------------------------------------

#[cfg(not(feature = "pg18"))]
pub unsafe extern "C-unwind" fn on_run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    once: bool,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        let next = move || match hooks::PREV_RUN {
            Some(previous) => previous(query, direction, count, once),
            None => raw::standard_ExecutorRun(query, direction, count, once),
        };
        if session::confined_by_now() {
            if run_confined(query, next) {
                boundary::rethrow();
            }
        } else {
            next();
        }
    }
}

#[cfg(feature = "pg18")]
pub unsafe extern "C-unwind" fn on_run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        let next = move || match hooks::PREV_RUN {
            Some(previous) => previous(query, direction, count),
            None => raw::standard_ExecutorRun(query, direction, count),
        };
        if session::confined_by_now() {
            if run_confined(query, next) {
                boundary::rethrow();
            }
        } else {
            next();
        }
    }
}

/// True when an error is under way.
unsafe fn run_confined(query: *mut pg_sys::QueryDesc, next: impl FnOnce()) -> bool {
    // SAFETY: a callback from C: what unwinds inside becomes an ERROR again at this boundary.
    unsafe { pg_sys::panic::pgrx_extern_c_guard(|| execution::confined_run(query, next).is_err()) }
}

#[cfg(feature = "pg15")]
pub unsafe extern "C-unwind" fn on_check_perms(
    range_table: *mut pg_sys::List,
    abort: bool,
) -> bool {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if let Some(previous) = hooks::PREV_PERMS
            && !previous(range_table, abort)
        {
            return false;
        }
        if session::confined() {
            execution::confined_check_perms(range_table, std::ptr::null_mut());
        } else {
            let named = nodes::pointers::<RangeTblEntry>(range_table)
                .filter(|rte| {
                    (**rte).rtekind == pg_sys::RTEKind::RTE_RELATION && (**rte).requiredPerms != 0
                })
                .map(|rte| (*rte).relid);
            readers::look(named);
        }
    }
    true
}

#[cfg(not(feature = "pg15"))]
pub unsafe extern "C-unwind" fn on_check_perms(
    range_table: *mut pg_sys::List,
    permissions: *mut pg_sys::List,
    abort: bool,
) -> bool {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if let Some(previous) = hooks::PREV_PERMS
            && !previous(range_table, permissions, abort)
        {
            return false;
        }
        if session::confined() {
            execution::confined_check_perms(range_table, permissions);
        } else {
            let named = nodes::pointers::<pg_sys::RTEPermissionInfo>(permissions)
                .filter(|info| (**info).requiredPerms != 0)
                .map(|info| (*info).relid);
            readers::look(named);
        }
    }
    true
}

/// Rows that a query has produced.
///
/// # Safety
/// `estate` is the state of a query that has run.
pub unsafe fn rows_processed(estate: *const pg_sys::EState) -> u64 {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            (*estate).es_processed
        }
        #[cfg(not(feature = "pg15"))]
        {
            (*estate).es_total_processed.max((*estate).es_processed)
        }
    }
}

/// What the server does for EXPLAIN when no hook is there: plans the query and shows the plan.
///
/// # Safety
/// The arguments are those of `ExplainOneQuery_hook`.
#[allow(clippy::too_many_arguments)]
pub unsafe fn explain_one_query(
    query: *mut Query,
    cursor_options: i32,
    into: *mut pg_sys::IntoClause,
    state: *mut pg_sys::ExplainState,
    query_string: *const core::ffi::c_char,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
) {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(any(feature = "pg17", feature = "pg18"))]
        super::raw::standard_ExplainOneQuery(
            query,
            cursor_options,
            into,
            state,
            query_string,
            params,
            environment,
        );
        // As the server does it itself (ExplainOneQuery of 15 and 16).
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        {
            let buffers_before = raw::pgBufferUsage;
            let begun = std::time::Instant::now();
            let plan = raw::pg_plan_query(query, query_string, cursor_options, params);
            let took = begun.elapsed();
            #[cfg(feature = "pg15")]
            let took = pg_sys::instr_time {
                tv_sec: took.as_secs() as i64,
                tv_nsec: i64::from(took.subsec_nanos()),
            };
            #[cfg(feature = "pg16")]
            let took = pg_sys::instr_time {
                ticks: took.as_nanos() as i64,
            };
            let mut buffers = pg_sys::BufferUsage::default();
            let usage = if (*state).buffers {
                raw::BufferUsageAccumDiff(
                    &raw mut buffers,
                    &raw const raw::pgBufferUsage,
                    &raw const buffers_before,
                );
                &raw const buffers
            } else {
                std::ptr::null()
            };
            raw::ExplainOnePlan(
                plan,
                into,
                state,
                query_string,
                params,
                environment,
                &raw const took,
                usage,
            );
        }
    }
}

/// Switches off what only newer versions can show.
///
/// # Safety
/// `state` is the state of an EXPLAIN under way.
pub unsafe fn explain_less(state: *mut pg_sys::ExplainState) {
    #[cfg(any(feature = "pg17", feature = "pg18"))]
    // SAFETY: by the caller's promise.
    unsafe {
        (*state).memory = false;
        (*state).serialize = pg_sys::ExplainSerializeOption::EXPLAIN_SERIALIZE_NONE;
    }
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    let _ = state;
}

/// Every permission that a plan will ask for.
///
/// # Safety
/// `plan` is a plan.
pub unsafe fn plan_permissions(plan: *const pg_sys::PlannedStmt) -> Vec<Permissions> {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(feature = "pg15")]
        let infos = std::ptr::null();
        #[cfg(not(feature = "pg15"))]
        let infos = (*plan).permInfos;
        checked((*plan).rtable, infos)
    }
}

/// Does `role` own the schema, as `DROP` of what is in it asks?
///
/// # Safety
/// Inside a transaction.
pub unsafe fn owns_schema(schema: Oid, role: Oid) -> bool {
    // SAFETY: by the caller's promise.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_namespace_ownercheck(schema, role)
        }
        #[cfg(not(feature = "pg15"))]
        {
            const PG_NAMESPACE: Oid = Oid::from_u32(2615);
            pg_sys::object_ownercheck(PG_NAMESPACE, schema, role)
        }
    }
}

// --- login ------------------------------------------------------------------------------------

/// What `struct Port` of libpq/libpq-be.h has before `application_name`, and nothing after it.
#[repr(C)]
pub struct Port {
    sock: core::ffi::c_int,
    noblock: bool,
    proto: u32,
    local: SocketAddress,
    remote: SocketAddress,
    remote_host: *mut core::ffi::c_char,
    remote_hostname: *mut core::ffi::c_char,
    remote_hostname_resolv: core::ffi::c_int,
    remote_hostname_errcode: core::ffi::c_int,
    remote_port: *mut core::ffi::c_char,
    #[cfg(feature = "pg18")]
    local_host: [core::ffi::c_char; 64],
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    can_accept: core::ffi::c_int,
    pub database_name: *mut core::ffi::c_char,
    pub user_name: *mut core::ffi::c_char,
    pub cmdline_options: *mut core::ffi::c_char,
    /// Names and values in turn, as C strings.
    pub guc_options: *mut pg_sys::List,
}

#[repr(C)]
struct SocketAddress {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
}

/// The roles whose privileges `member` has directly, by inheritance. Unlike has_privs_of_role()
/// this leaves nothing in the server's cache, which at login knows no database's owner yet.
pub fn inherited(member: Oid) -> Vec<Oid> {
    use pg_sys::SysCacheIdentifier::{AUTHMEMMEMROLE, AUTHOID};
    // SAFETY: catalog look-ups inside a transaction; what they hold is released.
    unsafe {
        let flag = |cache: pg_sys::SysCacheIdentifier::Type, tuple, attribute: i16| {
            let mut null = false;
            let value = pg_sys::SysCacheGetAttr(cache as i32, tuple, attribute, &raw mut null);
            (!null).then_some(value)
        };
        // Before 16 it is the member that inherits, since then the membership.
        const ROLINHERIT: i16 = 4;
        const ROLEID: i16 = if MAJOR == 15 { 1 } else { 2 };
        const INHERIT_OPTION: i16 = 6;
        if MAJOR == 15 {
            let tuple = pg_sys::SearchSysCache1(AUTHOID as i32, pg_sys::Datum::from(member));
            if tuple.is_null() {
                return Vec::new();
            }
            let inherits = flag(AUTHOID, tuple, ROLINHERIT);
            pg_sys::ReleaseSysCache(tuple);
            if inherits.is_none_or(|value| value.value() == 0) {
                return Vec::new();
            }
        }
        let none = pg_sys::Datum::from(0);
        let list = pg_sys::SearchSysCacheList(
            AUTHMEMMEMROLE as i32,
            1,
            pg_sys::Datum::from(member),
            none,
            none,
        );
        let mut roles = Vec::new();
        for i in 0..(*list).n_members as usize {
            let tuple = &raw mut (**(*list).members.as_ptr().add(i)).tuple;
            let inherits = MAJOR == 15
                || flag(AUTHMEMMEMROLE, tuple, INHERIT_OPTION)
                    .is_some_and(|value| value.value() != 0);
            if let Some(role) = flag(AUTHMEMMEMROLE, tuple, ROLEID)
                && inherits
            {
                roles.push(Oid::from_u32(role.value() as u32));
            }
        }
        pg_sys::ReleaseCatCacheList(list);
        roles
    }
}

/// The type that an SQL/JSON query function (17 and later) makes its result of.
///
/// # Safety
/// `node` is a node.
#[cfg(any(feature = "pg15", feature = "pg16"))]
pub unsafe fn json_type(_node: *const pg_sys::Node) -> Option<Oid> {
    None
}

/// The type that an SQL/JSON query function (17 and later) makes its result of.
///
/// # Safety
/// `node` is a node.
#[cfg(not(any(feature = "pg15", feature = "pg16")))]
pub unsafe fn json_type(node: *const pg_sys::Node) -> Option<Oid> {
    // SAFETY: by the caller's promise; the cast follows the tag.
    unsafe {
        if !nodes::is_a(node, pg_sys::NodeTag::T_JsonExpr) {
            return None;
        }
        let returning = (*node.cast::<pg_sys::JsonExpr>()).returning;
        (!returning.is_null()).then(|| (*returning).typid)
    }
}

/// The expressions by which a query groups, where an entry of its range table stands for them.
///
/// # Safety
/// `rte` is a range table entry.
#[cfg(feature = "pg18")]
pub unsafe fn group_expressions(rte: *const RangeTblEntry) -> *mut pg_sys::List {
    // SAFETY: by the caller's promise.
    unsafe { (*rte).groupexprs }
}

#[cfg(not(feature = "pg18"))]
pub unsafe fn group_expressions(_rte: *const RangeTblEntry) -> *mut pg_sys::List {
    std::ptr::null_mut()
}

/// May an outer join make the column NULL? 15 does not say.
///
/// # Safety
/// `var` is a Var.
#[cfg(feature = "pg15")]
pub unsafe fn may_be_nulled(_var: *const pg_sys::Var) -> bool {
    false
}

/// May an outer join make the column NULL?
///
/// # Safety
/// `var` is a Var.
#[cfg(not(feature = "pg15"))]
pub unsafe fn may_be_nulled(var: *const pg_sys::Var) -> bool {
    // SAFETY: by the caller's promise.
    unsafe { !(*var).varnullingrels.is_null() }
}

/// What is shown in the place of a column in RETURNING, of the row that the column is of.
///
/// # Safety
/// `var` is a Var of the relation that a statement changes, in its RETURNING, and `shown` an expression over the same
/// relation at the same level, without sub-queries.
#[cfg(not(feature = "pg18"))]
pub unsafe fn returned_as(_var: *const pg_sys::Var, shown: *mut pg_sys::Node) -> *mut pg_sys::Node {
    shown
}

/// What is shown in the place of a column in RETURNING, of the row that the column is of. `old.` and `new.` are NULL,
/// whatever the expression, where there is no such row (`ReturningExpr` in primnodes.h).
///
/// # Safety
/// `var` is a Var of the relation that a statement changes, in its RETURNING, and `shown` an expression over the same
/// relation at the same level, without sub-queries.
#[cfg(feature = "pg18")]
pub unsafe fn returned_as(var: *const pg_sys::Var, shown: *mut pg_sys::Node) -> *mut pg_sys::Node {
    use pg_sys::VarReturningType::{VAR_RETURNING_DEFAULT, VAR_RETURNING_OLD};
    // SAFETY: by the caller's promise; the walk changes Vars in place.
    unsafe {
        let row = (*var).varreturningtype;
        if row == VAR_RETURNING_DEFAULT {
            return shown;
        }
        nodes::walk(shown, |node, _| {
            if nodes::is_a(node, pg_sys::NodeTag::T_Var) {
                (*node.cast::<pg_sys::Var>()).varreturningtype = row;
            }
            false
        });
        let returning = nodes::make::<pg_sys::ReturningExpr>(pg_sys::NodeTag::T_ReturningExpr);
        (*returning).retlevelsup = (*var).varlevelsup as i32;
        (*returning).retold = row == VAR_RETURNING_OLD;
        (*returning).retexpr = shown.cast();
        returning.cast()
    }
}

/// Plans a query of so many relations. Version 18 looks for self-joins among all of them, which takes more than the
/// square of their number and never looks for a cancellation.
pub fn without_long_searches<T>(relations: usize, plan: impl FnOnce() -> T) -> T {
    #[cfg(feature = "pg18")]
    {
        const MANY: usize = 64;
        // SAFETY: a setting of this backend, which is put back before anything else happens: `plan` returns errors.
        unsafe {
            let before = pg_sys::enable_self_join_elimination;
            pg_sys::enable_self_join_elimination &= relations <= MANY;
            let planned = plan();
            pg_sys::enable_self_join_elimination = before;
            planned
        }
    }
    #[cfg(not(feature = "pg18"))]
    {
        let _ = relations;
        plan()
    }
}
