//! Takes a statement through parser, rewriter and planner without running it.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, CmdType, NodeTag, Oid, Query};

use super::{catching, compat, marks, names, nodes, stamp, text, utility};
use crate::catalog::Policy;
use crate::utility::{Pass, Utility};
use crate::{enforce, plan};

/// What planning a statement has told.
#[derive(Debug, Default)]
pub struct Planned {
    pub masked_columns: Vec<String>,
    pub row_filters: Vec<String>,
    pub cost: Option<f64>,
    pub rows: Option<f64>,
    /// It is a SELECT that changes and locks nothing.
    pub only_reads: bool,
}

/// The statements of a text, or why it does not parse.
///
/// # Errors
/// The server's message.
pub fn parse(statement: &str) -> Result<Vec<*mut pg_sys::RawStmt>, String> {
    let sql = text::to_c(statement);
    in_subtransaction(|| {
        // SAFETY: the text outlives the call; the trees are palloc'd in the caller's context.
        unsafe { nodes::pointers(pg_sys::pg_parse_query(sql.as_ptr())).collect() }
    })
}

/// Is the statement a SELECT by its form?
pub fn is_select(raw: *const pg_sys::RawStmt) -> bool {
    // SAFETY: a raw statement of `parse`.
    unsafe {
        let statement = (*raw).stmt;
        nodes::is_a(statement, NodeTag::T_SelectStmt)
            && (*statement.cast::<pg_sys::SelectStmt>())
                .intoClause
                .is_null()
    }
}

/// Takes one statement as far as it goes without running.
///
/// # Errors
/// The server's own message (an unknown table, say), or the last denial's.
pub fn plan(
    policy: &Policy,
    role: Oid,
    raw: *mut pg_sys::RawStmt,
    source: &str,
) -> Result<Planned, String> {
    let sql = text::to_c(source);
    in_subtransaction(|| {
        // SAFETY: a raw statement of `parse`; the text outlives its use.
        unsafe { take_through(policy, role, raw, &sql) }
    })
}

unsafe fn take_through(
    policy: &Policy,
    role: Oid,
    raw: *mut pg_sys::RawStmt,
    source: &core::ffi::CStr,
) -> Planned {
    // SAFETY: see `plan`.
    unsafe {
        if let Some(what) = utility::classify_raw((*raw).stmt) {
            if enforce(policy, crate::utility::judge(policy, &what)) == Some(Pass::Ignore) {
                return Planned::default();
            }
            if let Utility::Definition(_) = what {
                return Planned::default();
            }
            let Some(inner) = utility::carried_raw((*raw).stmt) else {
                return Planned::default();
            };
            let wrapped = nodes::make::<pg_sys::RawStmt>(NodeTag::T_RawStmt);
            (*wrapped).stmt = inner;
            return take_through(policy, role, wrapped, source);
        }
        let mut types: *mut Oid = std::ptr::null_mut();
        let mut count = 0;
        let query = pg_sys::parse_analyze_varparams(
            raw,
            source.as_ptr(),
            &raw mut types,
            &raw mut count,
            std::ptr::null_mut(),
        );
        check_privileges(query, role);
        let mut planned = Planned {
            only_reads: (*query).commandType == CmdType::CMD_SELECT
                && !(*query).hasModifyingCTE
                && (*query).rowMarks.is_null(),
            ..Planned::default()
        };
        // Planning runs what can be folded: nothing of a statement that was refused, and nothing
        // with the rights of whoever asks.
        if crate::trial::refused() {
            return planned;
        }
        let _role = super::users::act_as(role);
        for query in nodes::pointers::<Query>(pg_sys::QueryRewrite(query)) {
            if (*query).commandType == CmdType::CMD_UTILITY {
                continue;
            }
            let made = pg_sys::pg_plan_query(
                query,
                source.as_ptr(),
                pg_sys::CURSOR_OPT_PARALLEL_OK as i32,
                std::ptr::null_mut(),
            );
            for permissions in compat::plan_permissions(made) {
                let used = super::touched::Use::from_permissions(permissions);
                enforce(policy, plan::judge_use(policy, &used));
            }
            describe(policy, made, &mut planned);
        }
        planned
    }
}

unsafe fn describe(policy: &Policy, plan: *mut pg_sys::PlannedStmt, into: &mut Planned) {
    // SAFETY: a plan that was just made.
    unsafe {
        into.cost = Some(into.cost.unwrap_or(0.0) + (*(*plan).planTree).total_cost);
        into.rows = Some((*(*plan).planTree).plan_rows);
        if let Some(stamp) = stamp::read(plan) {
            for (relid, attno) in stamp.masked_columns {
                if let Some(column) = names::attribute_name(relid, attno) {
                    into.masked_columns.push(format!(
                        "{}.{}",
                        names::relation(relid),
                        names::quote(&column)
                    ));
                }
            }
        }
        for rte in nodes::pointers::<pg_sys::RangeTblEntry>((*plan).rtable) {
            if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION && marks::marked(rte) {
                for filter in &policy.relation((*rte).relid).filters {
                    let filter =
                        format!("{}: {}", names::relation((*rte).relid), filter.expression);
                    if !into.row_filters.contains(&filter) {
                        into.row_filters.push(filter);
                    }
                }
            }
        }
    }
    into.masked_columns.sort();
    into.masked_columns.dedup();
}

/// The server's own privileges, which stand below any policy.
unsafe fn check_privileges(query: *mut Query, role: Oid) {
    // SAFETY: an analyzed query.
    let touched = unsafe { super::touched::collect(query) };
    for used in touched
        .relations
        .iter()
        .filter(|used| used.named && used.select)
    {
        // SAFETY: catalog look-ups.
        let may = unsafe {
            let every = pg_sys::AclMaskHow::ACLMASK_ANY;
            pg_sys::pg_class_aclcheck(used.relid, role, pg_sys::ACL_SELECT.into())
                == pg_sys::AclResult::ACLCHECK_OK
                || pg_sys::pg_attribute_aclcheck_all(
                    used.relid,
                    role,
                    pg_sys::ACL_SELECT.into(),
                    every,
                ) == pg_sys::AclResult::ACLCHECK_OK
        };
        if !may {
            let denial = plan::lacks_privilege(used.relid, &super::users::name(role));
            crate::trial::note(denial);
        }
    }
}

/// Runs `work` in a subtransaction that is rolled back in any case.
fn in_subtransaction<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // SAFETY: as PL/pgSQL does for a block with EXCEPTION: context and owner are put back, and
    // the subtransaction ends whether the work raised or not.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = catching(work);
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
    }
}

/// Runs one SELECT as `role` in a subtransaction that writes nothing and is rolled back; its first
/// rows as the text of JSON objects. An ERROR goes on as it is.
pub fn run(role: Oid, statement: &str, rows: i64) -> Vec<String> {
    // SAFETY: as in `in_subtransaction`; SPI is left before the subtransaction ends, or with it.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::XactReadOnly = true;
        let work = AssertUnwindSafe(|| {
            let _role = super::users::act_as(role);
            Ok(select(statement, rows))
        });
        let found = pgrx::PgTryBuilder::new(work)
            .catch_others(|error| Err(Box::new(error)))
            .execute();
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        found.unwrap_or_else(|error: Box<CaughtError>| error.rethrow())
    }
}

unsafe fn select(statement: &str, rows: i64) -> Vec<String> {
    let sql = text::to_c(statement);
    // SAFETY: SPI is connected and left; its rows are read in between.
    unsafe {
        if pg_sys::SPI_connect() != pg_sys::SPI_OK_CONNECT as i32 {
            pgrx::error!("SPI cannot be connected to");
        }
        let done = pg_sys::SPI_execute(sql.as_ptr(), true, rows);
        let mut found = Vec::new();
        if done == pg_sys::SPI_OK_SELECT as i32 && !pg_sys::SPI_tuptable.is_null() {
            let table = pg_sys::SPI_tuptable;
            let mut function = to_jsonb();
            for i in 0..pg_sys::SPI_processed as usize {
                let row = pg_sys::SPI_returntuple(*(*table).vals.add(i), (*table).tupdesc);
                let json = pg_sys::FunctionCall1Coll(
                    &raw mut function,
                    Oid::INVALID,
                    pg_sys::Datum::from(row),
                );
                let json = pg_sys::OidOutputFunctionCall(JSONB_OUT, json);
                found.push(text::from_ptr(json).unwrap_or_default());
            }
        }
        pg_sys::SPI_finish();
        found
    }
}

const TO_JSONB: Oid = Oid::from_u32(3787);
const JSONB_OUT: Oid = Oid::from_u32(3804);

/// `pg_catalog.to_jsonb`, told that it gets a record.
unsafe fn to_jsonb() -> pg_sys::FmgrInfo {
    // SAFETY: a built-in function; the call's expression is what it asks for its argument's type.
    unsafe {
        let mut function = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(TO_JSONB, &raw mut function);
        let record = pg_sys::makeNullConst(pg_sys::RECORDOID, -1, Oid::INVALID);
        let call = pg_sys::makeFuncExpr(
            TO_JSONB,
            pg_sys::JSONBOID,
            pg_sys::lappend(std::ptr::null_mut(), record.cast()),
            Oid::INVALID,
            Oid::INVALID,
            pg_sys::CoercionForm::COERCE_EXPLICIT_CALL,
        );
        function.fn_expr = call.cast();
        function
    }
}
