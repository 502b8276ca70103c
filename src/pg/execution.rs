//! Running confined statements: the plan's stamp, who asks, what is written down, how much leaves.

use core::ffi::c_int;
use std::sync::atomic::Ordering::Relaxed;

use pgrx::pg_guard;
use pgrx::pg_sys::{self, Oid, QueryDesc};
use policy::model::Capability;
use policy::rule::Rule;

use super::boundary::{self, Thrown};
use super::hooks::{PREV_END, PREV_FINISH, PREV_START, begin, exempt, is_worker, timed};
use super::layers::{self, Layer};
use super::{
    compat, deadline, depth, failing_row, formats, marks, names, nodes, objects, parts, raw,
    receiver, session, source, stamp, touched,
};
use crate::catalog::Policy;
use crate::denial::Denial;
use crate::statement::{self, Named, Particulars};
use crate::{enforce, identity, limits, plan, trial};

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_start(query: *mut QueryDesc, eflags: c_int) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if session::confined() {
            if confined_start(query, eflags) {
                boundary::rethrow();
            }
        } else {
            next_start(query, eflags);
        }
    }
}

unsafe fn next_start(query: *mut QueryDesc, eflags: c_int) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        match PREV_START {
            Some(previous) => previous(query, eflags),
            None => raw::standard_ExecutorStart(query, eflags),
        }
    }
}

/// True when an error is under way.
#[pg_guard]
unsafe extern "C-unwind" fn confined_start(query: *mut QueryDesc, eflags: c_int) -> bool {
    // SAFETY: the server's own arguments.
    unsafe { start_query(query, eflags) }.is_err()
}

unsafe fn start_query(query: *mut QueryDesc, eflags: c_int) -> Result<(), Thrown> {
    // SAFETY: a query that is about to start.
    unsafe {
        let nested = depth::nested();
        let _level = depth::enter(&depth::START);
        let next = || next_start(query, eflags);
        if is_worker() || exempt() {
            if depth::trusted() {
                record_trusted(query);
            }
            return boundary::call(next);
        }
        let Some(policy) = begin() else {
            return boundary::call(next);
        };
        let planned = (*query).plannedstmt;
        let _source = source_of(query);
        receiver::forget(query);
        let stamp = check_stamp(&policy, planned, eflags);
        if stamp.flags & stamp::MAY_RAISE != 0 {
            failing_row::note_computed();
        }
        enforce(&policy, formats::judge(stamp.flags >> stamp::NEEDS));
        if layers::on(Layer::Start)
            && super::explain::explaining()
            && !nested
            && stamp.flags & stamp::EXPLAIN_ONLY == 0
        {
            judge_explained(&policy, planned, &stamp);
        }
        for (class, object) in objects::named_by_parameters((*query).params) {
            enforce(&policy, plan::judge_named(&policy, class, object));
        }
        if layers::on(Layer::Start)
            && let Err(denial) = check_writes(&policy, planned)
        {
            enforce::<()>(&policy, Err(denial));
        }
        let shown = stamp.flags & stamp::EXPLAIN_ONLY != 0;
        if trial::running() {
            // What planning runs is no statement of anybody's; nor is a plan that check() opens.
            return super::explain::show(shown, || timed(next));
        }
        if layers::on(Layer::Start) && stamp.flags & stamp::IDENTITY_ONLY == 0 {
            enforce(&policy, identity::judge(&policy));
        }
        if layers::on(Layer::Start)
            && !nested
            && eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int == 0
        {
            enforce(
                &policy,
                limits::judge_cost(&policy.limits, (*(*planned).planTree).total_cost),
            );
        }
        if trial::previewing() {
            return timed(next);
        }
        open_statement(&policy, query, stamp, nested);
        super::explain::show(shown, || timed(next))
    }
}

/// A portal whose plan was made for a policy that has changed since must not go on.
unsafe fn still_valid(policy: &Policy, query: *const QueryDesc) -> Result<(), Denial> {
    if policy.monitors() {
        return Ok(());
    }
    // What it has computed was computed for whom it began to run for.
    if receiver::is_of_another_user(query) {
        return Err(outdated("the end user has changed"));
    }
    // SAFETY: a started query.
    let found = unsafe { stamp::read((*query).plannedstmt) };
    if !layers::on(Layer::Stamp) || found.is_some_and(|found| found.policy == policy.stamp) {
        return Ok(());
    }
    Err(outdated("the policy has changed"))
}

/// What a cursor or portal was opened under is no more.
pub fn outdated(what: &str) -> Denial {
    Denial::new(
        Rule::PolicyUnavailable,
        "cursor",
        format!("{what} since this cursor or portal was opened"),
    )
    .hint("Close it and open it again.")
}

/// A plan without the policy's stamp was made before the session was confined, or for a policy
/// that has changed since.
unsafe fn check_stamp(
    policy: &Policy,
    planned: *const pg_sys::PlannedStmt,
    eflags: c_int,
) -> stamp::Stamp {
    // SAFETY: a plan that is about to start.
    let found = unsafe { stamp::read(planned) };
    let explain = eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0;
    match found {
        Some(found)
            if found.policy == policy.stamp
                && (explain || found.flags & stamp::EXPLAIN_ONLY == 0) =>
        {
            found
        }
        found if !layers::on(Layer::Stamp) => found.unwrap_or_default(),
        _ => {
            // SAFETY: marks cached plans for a new planning at their next use.
            unsafe { pg_sys::ResetPlanCache() };
            Denial::new(
                Rule::PolicyUnavailable,
                "plan",
                "the statement was planned before this policy came into force",
            )
            .hint("Run the statement again: it will be planned anew.")
            .raise()
        }
    }
}

/// EXPLAIN EXECUTE shows the plan that will run, masks and filters included.
unsafe fn judge_explained(
    policy: &Policy,
    planned: *const pg_sys::PlannedStmt,
    stamp: &stamp::Stamp,
) {
    // SAFETY: a plan that is about to start.
    let behind_mask = unsafe {
        nodes::pointers::<pg_sys::RangeTblEntry>((*planned).rtable)
            .find(|rte| (**rte).rtekind == pg_sys::RTEKind::RTE_RELATION && marks::marked(*rte))
            .map(|rte| names::relation((*rte).relid))
    };
    let why = if let Some(relation) = behind_mask {
        format!("where {relation} is read: it has masks or row filters")
    } else if stamp.flags & stamp::SECURED != 0 {
        "where row-level security leaves rows out".to_owned()
    } else if stamp.functions.iter().any(|f| super::access::has_body(*f)) {
        "where a function is called that runs statements".to_owned()
    } else {
        // One that was planned before for EXECUTE alone.
        // SAFETY: as above.
        enforce(policy, unsafe { marks::judge_shown(policy, planned) });
        return;
    };
    let denial = Denial::new(
        Rule::StatementNotAllowed,
        "EXPLAIN EXECUTE",
        format!("EXPLAIN EXECUTE is not allowed {why}"),
    )
    .hint("EXPLAIN the statement itself, with its parameters written out.");
    enforce::<()>(policy, Err(denial));
}

unsafe fn check_writes(policy: &Policy, planned: *const pg_sys::PlannedStmt) -> Result<(), Denial> {
    // SAFETY: a plan that is about to start.
    unsafe {
        let command = touched::Command::from_cmd((*planned).commandType);
        if command.writes() || (*planned).hasModifyingCTE || !(*planned).resultRelations.is_null() {
            let what = if command.writes() {
                command
            } else {
                touched::Command::Other
            };
            match what {
                touched::Command::Other if policy.capability == Capability::ReadOnly => {
                    return Err(plan::read_only("a data-modifying WITH"));
                }
                touched::Command::Other => {}
                what => plan::judge_writing(policy, what)?,
            }
        }
        if !(*planned).rowMarks.is_null()
            && nodes::pointers::<pg_sys::PlanRowMark>((*planned).rowMarks)
                .any(|mark| (*mark).strength != pg_sys::LockClauseStrength::LCS_NONE)
        {
            plan::judge_row_marks(policy)?;
        }
    }
    Ok(())
}

/// What a plan says of its statement.
unsafe fn particulars(planned: *const pg_sys::PlannedStmt, stamp: stamp::Stamp) -> Particulars {
    // SAFETY: a plan that is about to run.
    unsafe {
        let mut relations = Vec::new();
        for rte in nodes::pointers::<pg_sys::RangeTblEntry>((*planned).rtable) {
            if (*rte).relid != Oid::INVALID && !relations.contains(&(*rte).relid) {
                relations.push((*rte).relid);
            }
        }
        Particulars {
            command_tag: Some(
                touched::Command::from_cmd((*planned).commandType)
                    .word()
                    .into(),
            ),
            query_id: (*planned).queryId as i64,
            objects: Named {
                relations,
                masked_columns: stamp.masked_columns,
                functions: stamp.functions,
            },
        }
    }
}

unsafe fn source_of(query: *const QueryDesc) -> impl Drop + use<> {
    // SAFETY: a query that is about to start or to run.
    unsafe {
        let planned = (*query).plannedstmt;
        source::enter(
            (*query).sourceText,
            (*planned).stmt_location,
            (*planned).stmt_len,
        )
    }
}

/// A trusted function may do what the policy does not allow, and is recorded all the same.
unsafe fn record_trusted(query: *mut QueryDesc) {
    if is_worker()
        || super::internal::active()
        || super::hooks::checks_foreign_key()
        || crate::trial::is_nobodys()
    {
        return;
    }
    // SAFETY: a query that is about to start.
    unsafe {
        let _source = source_of(query);
        let of = particulars((*query).plannedstmt, stamp::Stamp::default());
        if let Err(denial) = statement::begin_nested(query as usize, &of, depth::nesting().max(1)) {
            denial.raise();
        }
    }
}

/// Opens the record of a query that is about to start, or tells it to the utility command that
/// carries it.
unsafe fn open_statement(
    policy: &Policy,
    query: *mut QueryDesc,
    stamp: stamp::Stamp,
    nested: bool,
) {
    enforce(policy, statement::check_audit());
    if !nested {
        crate::audit::give_way();
    }
    // SAFETY: a query that is about to start.
    if nested && unsafe { parts::is_part(query, &stamp) } {
        statement::has_failed(query as usize);
        return;
    }
    // SAFETY: as above.
    let particulars = unsafe { particulars((*query).plannedstmt, stamp) };
    let written = if nested {
        statement::begin_nested(query as usize, &particulars, depth::nesting().max(1))
    } else if depth::UTILITY.load(Relaxed) > 0 && statement::is_open() {
        statement::learn(&particulars);
        statement::write_start()
    } else {
        statement::begin(query as usize, &particulars, policy.effective_limits());
        statement::write_start()
    };
    if let Err(denial) = written {
        denial.raise();
    }
}

/// A portal goes on: FETCH learns what it reads, and after another statement came in between its
/// rows get a record of their own.
unsafe fn resume_statement(policy: &Policy, query: *mut QueryDesc) {
    // SAFETY: a started query.
    let particulars = unsafe {
        let planned = (*query).plannedstmt;
        particulars(planned, stamp::read(planned).unwrap_or_default())
    };
    if depth::UTILITY.load(Relaxed) > 0 && statement::is_open() {
        statement::learn(&particulars);
    } else {
        enforce(policy, identity::judge(policy));
        statement::begin(query as usize, &particulars, policy.effective_limits());
    }
    if let Err(denial) = statement::write_start() {
        denial.raise();
    }
}

/// What `ExecutorRun_hook` of every version comes to.
///
/// # Safety
/// `query` is a started query; `next` runs it.
pub unsafe fn confined_run(query: *mut QueryDesc, next: impl FnOnce()) -> Result<(), Thrown> {
    // SAFETY: by the caller's promise.
    unsafe {
        if is_worker() || exempt() {
            let _level = depth::enter(&depth::RUN);
            return boundary::call(next);
        }
        let Some(policy) = begin() else {
            return boundary::call(next);
        };
        let planned = (*query).plannedstmt;
        let _source = source_of(query);
        refuse_into(&policy, query);
        let needs = formats::of_plan(planned);
        // A cursor that goes on: they may have changed in between.
        enforce(&policy, formats::judge(needs));
        let _settings = formats::run(needs);
        if trial::is_nobodys() {
            let _level = depth::enter(&depth::RUN);
            return timed(next);
        }
        let outermost = !depth::nested();
        if outermost && let Err(denial) = still_valid(&policy, query) {
            denial.raise();
        }
        if outermost && !policy.monitors() {
            enforce(
                &policy,
                deadline::judge_transaction(policy.limits.statement_timeout),
            );
        }
        let carried = depth::UTILITY.load(Relaxed) > 0;
        if outermost && (carried || !statement::is_open_for(query as usize)) {
            resume_statement(&policy, query);
        }
        if outermost {
            statement::runs();
        }
        let max = policy.limits.max_rows.filter(|_| !policy.monitors());
        let run = || {
            let _level = depth::enter(&depth::RUN);
            timed(next)
        };
        if outermost && !policy.monitors() && layers::on(Layer::Rows) {
            receiver::with_limit(query, max.unwrap_or(u64::MAX), run)
        } else {
            run()
        }
    }
}

/// SELECT INTO and CREATE TABLE AS reach the executor as plain queries with a receiver of their
/// own.
unsafe fn refuse_into(policy: &Policy, query: *const QueryDesc) {
    // SAFETY: a started query.
    unsafe {
        let dest = (*query).dest;
        if layers::on(Layer::Start)
            && policy.capability < Capability::Ddl
            && !dest.is_null()
            && matches!(
                (*dest).mydest,
                pg_sys::CommandDest::DestIntoRel | pg_sys::CommandDest::DestTransientRel
            )
        {
            enforce::<()>(
                policy,
                Err(plan::read_only("SELECT INTO or CREATE TABLE AS")),
            );
        }
    }
}

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_finish(query: *mut QueryDesc) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if session::confined() {
            if confined_finish(query) {
                boundary::rethrow();
            }
        } else {
            next_finish(query);
        }
    }
}

unsafe fn next_finish(query: *mut QueryDesc) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        match PREV_FINISH {
            Some(previous) => previous(query),
            None => raw::standard_ExecutorFinish(query),
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn confined_finish(query: *mut QueryDesc) -> bool {
    let _level = depth::enter(&depth::RUN);
    // SAFETY: the server's own arguments, handed on.
    unsafe { timed(|| next_finish(query)) }.is_err()
}

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_end(query: *mut QueryDesc) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if session::confined() {
            if confined_end(query) {
                boundary::rethrow();
            }
        } else {
            next_end(query);
        }
    }
}

unsafe fn next_end(query: *mut QueryDesc) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        match PREV_END {
            Some(previous) => previous(query),
            None => raw::standard_ExecutorEnd(query),
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn confined_end(query: *mut QueryDesc) -> bool {
    // SAFETY: a query that has run.
    unsafe {
        // A function's last query ends with the plan that called it, if that took no more of its rows.
        let inner = depth::nested();
        let _level = depth::enter(&depth::START);
        if !is_worker() && !trial::is_nobodys() && !(*query).estate.is_null() {
            let rows = compat::rows_processed((*query).estate);
            statement::query_ended(query as usize, rows, inner);
        }
        receiver::forget(query);
        timed(|| next_end(query)).is_err()
    }
}

/// What `ExecutorCheckPerms_hook` of every version comes to: every relation that is about to be
/// opened, whoever named it.
///
/// # Safety
/// The lists are the hook's.
#[pg_guard]
pub unsafe extern "C-unwind" fn confined_check_perms(
    range_table: *mut pg_sys::List,
    permissions: *mut pg_sys::List,
) {
    // The leader has checked what its workers run.
    if is_worker() || super::internal::active() {
        return;
    }
    let Some(policy) = identity::policy() else {
        return;
    };
    let exempt = exempt();
    // SAFETY: by the caller's promise.
    for permissions in unsafe { compat::checked(range_table, permissions) } {
        let used = touched::Use::from_permissions(permissions);
        if !trial::running() {
            failing_row::note(&policy, &used);
        }
        if exempt || !layers::on(Layer::Permissions) {
            continue;
        }
        let nested_in_builtin = used.named && depth::RUN.load(Relaxed) > 0;
        if nested_in_builtin && crate::catalog::readable_by_builtins(used.relid) {
            continue;
        }
        enforce(&policy, plan::judge_use(&policy, &used));
    }
    if exempt || super::explain::showing() {
        return;
    }
    // COPY of a table, which has no plan, and any plan that was not verified.
    // SAFETY: by the caller's promise.
    unsafe {
        for rte in nodes::pointers::<pg_sys::RangeTblEntry>(range_table) {
            if compat::reads(rte, permissions) {
                enforce(&policy, marks::verify_entry(&policy, rte));
            }
            // COPY FROM writes without a plan, and so without the check of the rows.
            if (*rte).rtekind == pg_sys::RTEKind::RTE_RELATION
                && !marks::marked(rte)
                && (*rte).rellockmode == pg_sys::RowExclusiveLock as c_int
            {
                enforce(&policy, plan::judge_unchecked(&policy, (*rte).relid));
            }
        }
    }
}
