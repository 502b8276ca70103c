//! Takes a statement through parser, rewriter and planner, and opens its plan, without running it.

use core::ffi::{CStr, c_int};
use std::panic::AssertUnwindSafe;

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, RawStmt};

use super::touched::{self, Use};
use super::{
    compat, explain, guard, marks, name_answers, names, nodes, raw, source, stamp, text, users,
    utility, wire,
};
use crate::catalog::Policy;
use crate::utility::{Pass, Utility};
use crate::{enforce, limits, plan};

mod asked;
mod commands;
mod defined;
mod privileges;

use asked::{Refusal, asked, relation, says};
use privileges::Asked;

/// What planning a statement has told.
#[derive(Debug, Default)]
pub struct Planned {
    pub masked_columns: Vec<String>,
    pub row_filters: Vec<String>,
    pub cost: Option<f64>,
    pub rows: Option<f64>,
    /// It is a SELECT that changes and locks nothing, and no part of a command.
    pub only_reads: bool,
}

/// The statements of a text, or why it does not parse.
///
/// # Errors
/// The server's message.
pub fn parse(statement: &str) -> Result<Vec<*mut RawStmt>, String> {
    let sql = text::to_c(statement);
    let sql = sql.as_ptr();
    // SAFETY: the text outlives the call; the trees are palloc'd in the caller's context.
    let parsed = tried(|| unsafe {
        let list = asked(|| raw::pg_parse_query(sql))?;
        Ok(nodes::pointers(list).collect())
    });
    parsed.map_err(|refusal| refusal.message)
}

/// Is the statement a SELECT by its form?
pub fn is_select(raw: *const RawStmt) -> bool {
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
    raw: *mut RawStmt,
    source: &str,
) -> Result<Planned, String> {
    let sql = text::to_c(source);
    // SAFETY: a raw statement of `parse`; the text outlives its use.
    let _source = unsafe { source::enter(sql.as_ptr(), (*raw).stmt_location, (*raw).stmt_len) };
    let taken = tried(|| {
        let trial = Trial {
            policy,
            role,
            source: &sql,
        };
        // SAFETY: as above.
        unsafe { trial.statement(raw) }
    });
    taken.map_err(|refusal| {
        // What would leave the server as a refusal is one here.
        if !crate::trial::refused()
            && let Some(denial) = instead_of(policy, &refusal)
        {
            crate::trial::note(denial);
        }
        refusal.message
    })
}

/// The denial that an error of the server would be exchanged for on the wire.
fn instead_of(policy: &Policy, refusal: &Refusal) -> Option<crate::Denial> {
    if refusal.state == *b"54001" && !policy.monitors() {
        return Some(wire::too_complex());
    }
    name_answers::with_statement_text(|text| name_answers::refusal_of(policy, refusal, text))
}

const PARALLEL_OK: c_int = pg_sys::CURSOR_OPT_PARALLEL_OK as c_int;

/// What becomes of a plan.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Running,
    /// EXPLAIN, which runs it or does not.
    Showing {
        analyze: bool,
    },
}

/// What a statement is tried with.
struct Trial<'a> {
    policy: &'a Policy,
    role: Oid,
    source: &'a CStr,
}

impl Trial<'_> {
    /// An error is what the server itself would say.
    unsafe fn statement(&self, raw: *mut RawStmt) -> Result<Planned, Refusal> {
        // Parse analysis runs the input functions of types, and the checks of their domains: nothing with the
        // rights of whoever asks, nor to last.
        let _role = users::act_as(self.role);
        // SAFETY: see `plan`; the subtransaction puts it back.
        unsafe {
            pg_sys::XactReadOnly = true;
            let query = self.analyze(raw, &[])?;
            if (*query).commandType == CmdType::CMD_UTILITY {
                return self.command(raw, (*query).utilityStmt);
            }
            let only_reads = (*query).commandType == CmdType::CMD_SELECT
                && !(*query).hasModifyingCTE
                && (*query).rowMarks.is_null();
            Ok(Planned {
                only_reads,
                ..self.query(query, PARALLEL_OK, For::Running)?
            })
        }
    }

    /// Parse analysis, with parameters of these types; its hook judges what the text names.
    unsafe fn analyze(&self, raw: *mut RawStmt, parameters: &[Oid]) -> Result<*mut Query, Refusal> {
        // SAFETY: a raw statement; the server makes the array longer where there are more parameters.
        unsafe {
            let mut count = parameters.len() as c_int;
            let mut types: *mut Oid = std::ptr::null_mut();
            if !parameters.is_empty() {
                types = pg_sys::palloc(size_of_val(parameters)).cast();
                std::ptr::copy_nonoverlapping(parameters.as_ptr(), types, parameters.len());
            }
            asked(|| {
                raw::parse_analyze_varparams(
                    raw,
                    self.source.as_ptr(),
                    &raw mut types,
                    &raw mut count,
                    std::ptr::null_mut(),
                )
            })
        }
    }

    /// Rewrites and plans a query that was analyzed, and opens the plan.
    unsafe fn query(
        &self,
        query: *mut Query,
        options: c_int,
        what_for: For,
    ) -> Result<Planned, Refusal> {
        let mut planned = Planned::default();
        if what_for != (For::Showing { analyze: false }) && !self.policy.monitors() {
            // SAFETY: an analyzed query.
            for denial in unsafe { guard::judge_constants(self.policy, query) } {
                crate::trial::note(denial);
            }
        }
        // Planning runs what can be folded: nothing of a statement that was refused.
        if crate::trial::refused() {
            return Ok(planned);
        }
        // SAFETY: an analyzed query; the list and what is in it stay as they are.
        unsafe {
            let rewritten = asked(|| raw::QueryRewrite(query))?;
            for query in nodes::pointers::<Query>(rewritten) {
                if (*query).commandType == CmdType::CMD_UTILITY {
                    continue;
                }
                let source = self.source.as_ptr();
                let less = what_for != For::Running && explain::shows_less(query);
                let made = explain::plan_to_show(query, less, || {
                    asked(|| raw::pg_plan_query(query, source, options, std::ptr::null_mut()))
                })?;
                let runs = match what_for {
                    For::Running => true,
                    For::Showing { analyze } => analyze && !less,
                };
                if runs {
                    let cost = (*(*made).planTree).total_cost;
                    enforce(self.policy, limits::judge_cost(&self.policy.limits, cost));
                }
                self.open(made)?;
                describe(self.policy, made, &mut planned);
            }
        }
        Ok(planned)
    }

    /// What a plan needs before it runs: privileges on relations and functions. Its hooks judge what it opens.
    unsafe fn open(&self, made: *mut pg_sys::PlannedStmt) -> Result<(), Refusal> {
        const TO_SHOW: c_int = pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int;
        // SAFETY: a plan that was just made; the snapshot is that of the statement that asks.
        unsafe {
            let mut lacks = false;
            for permissions in compat::plan_permissions(made) {
                lacks |= !Asked::of(permissions, self.role).is_granted();
                // As the hook would, which is not asked where the server itself refuses.
                let used = Use::from_permissions(permissions);
                enforce(self.policy, plan::judge_use(self.policy, &used));
            }
            if lacks {
                return Ok(());
            }
            let source = self.source.as_ptr();
            let none = std::ptr::null_mut();
            asked(|| {
                let query = raw::CreateQueryDesc(
                    made,
                    source,
                    raw::GetActiveSnapshot(),
                    std::ptr::null_mut(),
                    raw::None_Receiver,
                    std::ptr::null_mut(),
                    none,
                    0,
                );
                raw::ExecutorStart(query, TO_SHOW);
                raw::ExecutorEnd(query);
                raw::FreeQueryDesc(query);
            })
        }
    }

    /// A command, judged in the order of [`utility::confined`].
    unsafe fn command(&self, raw: *mut RawStmt, node: *mut Node) -> Result<Planned, Refusal> {
        // SAFETY: an analyzed command; each cast follows the node's tag.
        unsafe {
            let what = utility::classify(node);
            let ends = match enforce(self.policy, crate::utility::judge(self.policy, &what)) {
                Some(pass) => pass == Pass::Ignore,
                // What else could be said of it would be about what it may not do anyway.
                None => matches!(
                    what,
                    Utility::Definition(_) | Utility::CopyFrom { .. } | Utility::Other(_)
                ),
            };
            if ends {
                return Ok(Planned::default());
            }
            utility::judge_parts(self.policy, node, &what);
            let _carried = utility::carries(&what);
            match (*node).type_ {
                NodeTag::T_CopyStmt => self.copy(raw, node.cast::<pg_sys::CopyStmt>()),
                NodeTag::T_PrepareStmt => {
                    self.prepare(raw, node.cast::<pg_sys::PrepareStmt>())?;
                    Ok(Planned::default())
                }
                NodeTag::T_ExplainStmt => self.explain(node),
                NodeTag::T_ExecuteStmt => {
                    self.arguments(node.cast())?;
                    Ok(Planned::default())
                }
                NodeTag::T_VariableSetStmt => {
                    commands::setting(node.cast(), &what)?;
                    Ok(Planned::default())
                }
                NodeTag::T_VariableShowStmt => {
                    commands::shown(node.cast())?;
                    Ok(Planned::default())
                }
                NodeTag::T_ConstraintsSetStmt => {
                    commands::constraints(node.cast())?;
                    Ok(Planned::default())
                }
                NodeTag::T_LockStmt => {
                    self.lock(node.cast())?;
                    Ok(Planned::default())
                }
                NodeTag::T_DeclareCursorStmt => {
                    let options = (*node.cast::<pg_sys::DeclareCursorStmt>()).options;
                    self.carried(node, options, For::Running)
                }
                NodeTag::T_CreateTableAsStmt => {
                    self.make_table(node.cast::<pg_sys::CreateTableAsStmt>())
                }
                _ => {
                    if matches!(what, Utility::Definition(_)) && !crate::trial::refused() {
                        self.define(raw, node)?;
                    }
                    Ok(Planned::default())
                }
            }
        }
    }

    /// The query inside a command, which was analyzed with it.
    unsafe fn carried(
        &self,
        node: *mut Node,
        options: c_int,
        what_for: For,
    ) -> Result<Planned, Refusal> {
        // SAFETY: an analyzed command.
        unsafe {
            match utility::carried_query(node) {
                Some(query) => self.query(query, options, what_for),
                // EXECUTE: what it runs is in the session that has prepared it.
                None => {
                    if let Some(execute) = utility::carried_execute(node) {
                        self.arguments(execute)?;
                    }
                    Ok(Planned::default())
                }
            }
        }
    }

    unsafe fn explain(&self, node: *mut Node) -> Result<Planned, Refusal> {
        // SAFETY: an analyzed EXPLAIN; the casts follow the tags.
        unsafe {
            let explained = node.cast::<pg_sys::ExplainStmt>();
            let inner = (*explained).query;
            let analyze = runs(explained);
            let making = nodes::is_a(inner, NodeTag::T_Query)
                && nodes::is_a(
                    (*inner.cast::<Query>()).utilityStmt,
                    NodeTag::T_CreateTableAsStmt,
                );
            let what_for = For::Showing { analyze };
            if !making {
                return explain::run(|| self.carried(node, PARALLEL_OK, what_for));
            }
            let table = (*inner.cast::<Query>())
                .utilityStmt
                .cast::<pg_sys::CreateTableAsStmt>();
            if !self.is_to_be_made(table)? {
                return Ok(Planned::default());
            }
            let planned = explain::run(|| self.carried(node, PARALLEL_OK, what_for))?;
            if analyze {
                // Then it is no EXPLAIN any more, see `execution::confined_run`.
                let what = Utility::Definition("SELECT INTO or CREATE TABLE AS");
                enforce(self.policy, crate::utility::judge(self.policy, &what));
                if !crate::trial::refused() {
                    self.made(table)?;
                }
            }
            Ok(planned)
        }
    }

    /// PREPARE only analyzes its statement. The plan is made, and judged, with each EXECUTE.
    unsafe fn prepare(
        &self,
        raw: *mut RawStmt,
        prepare: *const pg_sys::PrepareStmt,
    ) -> Result<(), Refusal> {
        // SAFETY: a PREPARE; its list is of names of types.
        unsafe {
            let types = nodes::pointers::<pg_sys::TypeName>((*prepare).argtypes)
                .map(|name| asked(|| raw::typenameTypeId(std::ptr::null_mut(), name)))
                .collect::<Result<Vec<Oid>, Refusal>>()?;
            self.analyze(inside(raw, (*prepare).query), &types)?;
        }
        Ok(())
    }

    unsafe fn copy(
        &self,
        statement: *mut RawStmt,
        copy: *const pg_sys::CopyStmt,
    ) -> Result<Planned, Refusal> {
        // SAFETY: a COPY.
        unsafe {
            let planned = if (*copy).is_from {
                self.copy_from(statement, copy)?
            } else {
                self.copy_to(statement, copy)?
            };
            if !crate::trial::refused() {
                let (is_from, options) = ((*copy).is_from, (*copy).options);
                let none = std::ptr::null_mut();
                asked(|| raw::ProcessCopyOptions(std::ptr::null_mut(), none, is_from, options))?;
            }
            Ok(planned)
        }
    }

    unsafe fn copy_to(
        &self,
        raw: *mut RawStmt,
        copy: *const pg_sys::CopyStmt,
    ) -> Result<Planned, Refusal> {
        // SAFETY: a COPY … TO.
        unsafe {
            let read = if (*copy).query.is_null() {
                // That it is not there is said in the server's own words.
                table(copy)?;
                utility::copy_as_query(self.policy, copy)
            } else {
                Some((*copy).query)
            };
            let Some(read) = read else {
                let used = self.copied_table(copy)?;
                let kind = match names::relation_kind(used.relid).0 {
                    b'v' => "view",
                    b'S' => "sequence",
                    b'p' => "partitioned table",
                    _ => "non-table relation",
                };
                let name = names::relation_parts(used.relid).unwrap_or_default().1;
                return Err(says(format!("cannot copy from {kind} \"{name}\"")));
            };
            let query = self.analyze(inside(raw, read), &[])?;
            if (*query).commandType == CmdType::CMD_UTILITY {
                return Err(says("COPY (SELECT INTO) is not supported"));
            }
            self.query(query, PARALLEL_OK, For::Running)
        }
    }

    unsafe fn copy_from(
        &self,
        raw: *mut RawStmt,
        copy: *const pg_sys::CopyStmt,
    ) -> Result<Planned, Refusal> {
        // SAFETY: a COPY … FROM.
        unsafe {
            let mut used = self.copied_table(copy)?;
            if crate::trial::refused() {
                return Ok(Planned::default());
            }
            let mut asks = Asked::new(used.relid, self.role, pg_sys::ACL_INSERT);
            if !(*copy).whereClause.is_null() {
                // Its condition is in no query either: what it reads and calls is found out in one of our own.
                let select = nodes::make::<pg_sys::SelectStmt>(NodeTag::T_SelectStmt);
                let from: *mut pg_sys::RangeVar = nodes::copy((*copy).relation);
                (*select).fromClause = pg_sys::lappend(std::ptr::null_mut(), from.cast());
                (*select).whereClause = nodes::copy((*copy).whereClause);
                let query = self.analyze(inside(raw, select.cast()), &[])?;
                let read = touched::collect(query).relations.into_iter();
                used.select = true;
                used.selected = read
                    .filter(|read| read.relid == used.relid)
                    .flat_map(|read| read.selected)
                    .collect();
                used.read.clone_from(&used.selected);
                enforce(self.policy, plan::judge_use(self.policy, &used));
                asks.required |= pg_sys::AclMode::from(pg_sys::ACL_SELECT);
                asks.selected.clone_from(&used.selected);
            }
            asks.inserted = used.inserted;
            asks.is_granted();
            Ok(Planned::default())
        }
    }

    /// The table of a COPY without a query, judged as when the server checks its permissions: see
    /// `execution::confined_check_perms`.
    unsafe fn copied_table(&self, copy: *const pg_sys::CopyStmt) -> Result<Use, Refusal> {
        // SAFETY: a COPY of a relation; an entry of a range table needs no more to be asked about.
        unsafe {
            let relid = table(copy)?;
            let mut columns = nodes::Columns::new();
            for column in utility::columns_of_copy(copy, relid) {
                columns.push(names::attribute(relid, &column).ok_or_else(|| {
                    let table = names::relation_parts(relid).unwrap_or_default().1;
                    says(format!(
                        "column \"{column}\" of relation \"{table}\" does not exist"
                    ))
                })?);
            }
            let mut used = Use::reading(relid);
            if (*copy).is_from {
                used.select = false;
                used.insert = true;
                used.inserted = columns;
            } else {
                used.selected = columns;
            }
            enforce(self.policy, plan::judge_use(self.policy, &used));
            if (*copy).is_from {
                enforce(self.policy, plan::judge_unchecked(self.policy, relid));
            } else {
                let rte = nodes::make::<pg_sys::RangeTblEntry>(NodeTag::T_RangeTblEntry);
                (*rte).relid = relid;
                enforce(self.policy, marks::verify_entry(self.policy, rte));
            }
            Ok(used)
        }
    }
}

/// What a COPY without a query names.
unsafe fn table(copy: *const pg_sys::CopyStmt) -> Result<Oid, Refusal> {
    // SAFETY: a COPY of a relation.
    unsafe { relation((*copy).relation, pg_sys::AccessShareLock, false, None) }
}

/// Does EXPLAIN run the statement?
unsafe fn runs(explain: *const pg_sys::ExplainStmt) -> bool {
    // SAFETY: an EXPLAIN; its list is of options.
    unsafe {
        nodes::pointers::<pg_sys::DefElem>((*explain).options)
            .filter(|option| utility::string((**option).defname) == "analyze")
            .last()
            .is_some_and(|option| pg_sys::defGetBoolean(option))
    }
}

/// A statement inside another one, which has the same place in the text.
unsafe fn inside(outer: *const RawStmt, statement: *mut Node) -> *mut RawStmt {
    // SAFETY: a raw statement, and a raw tree.
    unsafe {
        let inner = nodes::make::<RawStmt>(NodeTag::T_RawStmt);
        (*inner).stmt = statement;
        (*inner).stmt_location = (*outer).stmt_location;
        (*inner).stmt_len = (*outer).stmt_len;
        inner
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

/// Runs `work` in a subtransaction that is rolled back in any case; what an ERROR says, unless that is a
/// cancellation, which goes on.
fn tried<T>(work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    in_subtransaction(work).unwrap_or_else(|error| {
        let report = super::report_of(&error);
        if report.sql_error_code() == PgSqlErrorCode::ERRCODE_QUERY_CANCELED {
            // Nothing is said of the statement by that.
            error.rethrow();
        }
        Err(says(asked::meant(report.message())))
    })
}

/// Runs one SELECT as `role` in a subtransaction that writes nothing and is rolled back; its first
/// rows as the text of JSON objects. An ERROR goes on as it is.
pub fn run(role: Oid, statement: &str, rows: i64) -> Vec<String> {
    let found = in_subtransaction(|| {
        // SAFETY: the subtransaction puts it back; SPI is left before that ends, or with it.
        unsafe {
            pg_sys::XactReadOnly = true;
            let _role = users::act_as(role);
            select(statement, rows)
        }
    });
    found.unwrap_or_else(|error| error.rethrow())
}

/// Runs `work` in a subtransaction that is rolled back in any case.
fn in_subtransaction<T>(work: impl FnOnce() -> T) -> Result<T, Box<CaughtError>> {
    // SAFETY: as PL/pgSQL does for a block with EXCEPTION: context and owner are put back, and
    // the subtransaction ends whether the work raised or not.
    unsafe {
        let context = pg_sys::CurrentMemoryContext;
        let owner = pg_sys::CurrentResourceOwner;
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let result = pgrx::PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
            .catch_others(|error| Err(Box::new(error)))
            .execute();
        pg_sys::RollbackAndReleaseCurrentSubTransaction();
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        result
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
