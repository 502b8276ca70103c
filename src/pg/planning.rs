//! Parse analysis and planning of confined statements: what the text names is judged, masks and
//! filters go in, the plan is checked and stamped.

use core::ffi::{c_char, c_int};
use std::sync::atomic::Ordering::Relaxed;

use pgrx::pg_guard;
use pgrx::pg_sys::{self, CmdType, Query};

use super::boundary::{self, Thrown};
use super::hooks::{PREV_ANALYZE, PREV_PLANNER, begin, exempt, is_worker, timed};
use super::layers::{self, Layer};
use super::{
    access, compat, depth, failing_row, formats, json_constructor, marks, placeholder, raw,
    rewrite, row_limit, session, skew, source, stamp, touched, utility,
};
use crate::catalog::Policy;
use crate::{enforce, identity, plan};

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_analyze(
    pstate: *mut pg_sys::ParseState,
    query: *mut Query,
    jstate: *mut pg_sys::JumbleState,
) {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if let Some(previous) = PREV_ANALYZE {
            previous(pstate, query, jstate);
        }
        if session::confined() {
            confined_analyze(pstate, query);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn confined_analyze(pstate: *mut pg_sys::ParseState, query: *mut Query) {
    // SAFETY: an analyzed query and its parse state.
    unsafe {
        if !raw::IsTransactionState() || exempt() {
            return;
        }
        let Some(policy) = begin() else { return };
        let _level = depth::enter(&depth::ANALYZE);
        let _source = source::enter(
            (*pstate).p_sourcetext,
            (*query).stmt_location,
            (*query).stmt_len,
        );
        if (*query).commandType == CmdType::CMD_UTILITY {
            if let Some(inner) = utility::carried_query((*query).utilityStmt) {
                judge_query(&policy, inner);
            }
        } else {
            judge_query(&policy, query);
        }
    }
}

unsafe fn judge_query(policy: &Policy, query: *mut Query) {
    if !layers::on(Layer::Analysis) {
        return;
    }
    // SAFETY: an analyzed query.
    let touched = unsafe { touched::collect(query) };
    enforce(policy, plan::judge(policy, &touched));
}

/// # Safety
/// Called by the server as the hook that it is.
pub unsafe extern "C-unwind" fn on_plan(
    parse: *mut Query,
    query_string: *const c_char,
    cursor_options: c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        if session::confined() {
            let planned = confined_plan(parse, query_string, cursor_options, params);
            if planned.is_null() {
                boundary::rethrow();
            }
            planned
        } else {
            next_plan(parse, query_string, cursor_options, params)
        }
    }
}

unsafe fn next_plan(
    parse: *mut Query,
    query_string: *const c_char,
    cursor_options: c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server's own arguments, handed on.
    unsafe {
        match PREV_PLANNER {
            Some(previous) => previous(parse, query_string, cursor_options, params),
            None => raw::standard_planner(parse, query_string, cursor_options, params),
        }
    }
}

/// Null when an error is under way.
#[pg_guard]
unsafe extern "C-unwind" fn confined_plan(
    parse: *mut Query,
    query_string: *const c_char,
    cursor_options: c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server's own arguments.
    unsafe { plan_query(parse, query_string, cursor_options, params) }
        .unwrap_or(std::ptr::null_mut())
}

unsafe fn plan_query(
    parse: *mut Query,
    query_string: *const c_char,
    cursor_options: c_int,
    params: pg_sys::ParamListInfo,
) -> Result<*mut pg_sys::PlannedStmt, Thrown> {
    // SAFETY: a rewritten query that is the planner's to scribble on.
    unsafe {
        let placeholders = placeholder::planning();
        let alone = cursor_options & !(pg_sys::CURSOR_OPT_PARALLEL_OK as c_int);
        // A worker knows who it works for, not who this session once was.
        let mut options = if identity::only_sticky() {
            alone
        } else {
            cursor_options
        };
        if exempt() {
            return boundary::call(|| next_plan(parse, query_string, options, params));
        }
        let Some(policy) = begin() else {
            return boundary::call(|| next_plan(parse, query_string, options, params));
        };
        let nested = depth::nested();
        let _level = depth::enter(&depth::PLAN);
        let _source = source::enter(query_string, (*parse).stmt_location, (*parse).stmt_len);
        let _outermost = (!nested).then(source::is_outermost);
        // A function that is folded while an EXPLAIN is planned runs, masks and all.
        let explaining = super::explain::plain() && depth::PLAN.load(Relaxed) == 1;
        let mut calls = touched::calls(parse);
        if calls.compares {
            enforce(&policy, json_constructor::judge_hidden(&calls));
        }
        // Workers write no records: what has statements inside runs where they are recorded.
        if calls.functions.iter().any(|f| access::has_body(*f)) {
            options = alone;
        }
        let next = || next_plan(parse, query_string, options, params);
        if !policy.monitors() {
            enforce(&policy, std::mem::take(&mut calls.guarded).check());
        }
        let mut facts = rewrite::Facts::default();
        if !explaining && layers::on(Layer::Rewrite) {
            match rewrite::apply(&policy, parse, &calls) {
                Ok(done) => {
                    facts = done;
                    placeholders.has(facts.placeholders);
                    enforce(&policy, formats::judge(facts.needs));
                    if facts.may_raise {
                        failing_row::note_computed();
                    }
                    if calls.compares && facts.protected {
                        // Those of masks and filters.
                        json_constructor::take_apart(parse);
                    }
                }
                Err(denial) => denial.raise(),
            }
        }
        if explaining && !policy.monitors() {
            enforce(&policy, rewrite::judge_targets(&policy, parse));
        }
        let limited = policy.limits.max_rows.filter(|rows| {
            !policy.monitors()
                && !is_worker()
                && depth::outermost()
                && utility::sends_rows()
                && row_limit::limit(parse, *rows)
        });
        let planned = compat::without_long_searches(calls.relations.len(), || {
            row_limit::planning(limited, super::explain::explaining(), || timed(next))
        })?;
        if !policy.monitors() && layers::on(Layer::Statistics) {
            skew::forget(&policy, planned);
        }
        if super::explain::explaining() && depth::PLAN.load(Relaxed) == 1 && !policy.monitors() {
            enforce(&policy, marks::judge_shown(&policy, planned));
        }
        if !explaining
            && layers::on(Layer::Verify)
            && let Err(denial) = marks::verify(&policy, planned)
        {
            denial.raise();
        }
        let identity_only = calls.relations.is_empty()
            && !calls.functions.is_empty()
            && calls
                .functions
                .iter()
                .all(|f| crate::api::says_who_asks(*f));
        stamp::write(
            planned,
            &stamp::Stamp {
                policy: policy.stamp,
                flags: if explaining { stamp::EXPLAIN_ONLY } else { 0 }
                    | if identity_only {
                        stamp::IDENTITY_ONLY
                    } else {
                        0
                    }
                    | if facts.may_raise { stamp::MAY_RAISE } else { 0 }
                    | if calls.secured { stamp::SECURED } else { 0 }
                    | facts.needs << stamp::NEEDS,
                masked_columns: facts.masked_columns,
                functions: calls
                    .functions
                    .iter()
                    .copied()
                    .filter(|f| f.to_u32() >= super::FIRST_NORMAL_OID)
                    .collect(),
            },
        );
        Ok(planned)
    }
}
