//! `agent_policy.check`: what would happen to a statement, without running it.

use pgrx::prelude::*;
use policy::model::Mode;

use crate::pg;
use crate::pg::server_text::Text;
use crate::{identity, trial};

type Finding = (
    Text,
    Option<Text>,
    Option<Text>,
    Option<Text>,
    Option<Text>,
    Option<Vec<Text>>,
    Option<Vec<Text>>,
    Option<f64>,
    Option<f64>,
);

/// One row a finding, or one row `allowed` for a statement without any.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn check(
    role: Option<pg_sys::Oid>,
    statement: Option<Text>,
    user_email: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(verdict, Text),
        name!(rule, Option<Text>),
        name!(object, Option<Text>),
        name!(message, Option<Text>),
        name!(hint, Option<Text>),
        name!(masked_columns, Option<Vec<Text>>),
        name!(row_filters, Option<Vec<Text>>),
        name!(plan_cost, Option<f64>),
        name!(plan_rows, Option<f64>),
    ),
> {
    let (Some(role), Some(statement)) = (role, statement) else {
        pg::report::error(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "check: parameters \"role\" and \"statement\" must not be NULL",
            "",
            "Give a protected role and the text of a statement.",
        );
    };
    require_protected(role, "check");
    require_member(role, "check");
    let _who = super::identity::pretend(user_email.as_deref());
    let rows = identity::assume(role, || findings(role, &statement));
    TableIterator::new(rows)
}

/// Raises 22023 unless the role is protected.
pub fn require_protected(role: pg_sys::Oid, function: &str) {
    if !identity::is_protected(role) {
        pg::report::error(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            &format!(
                "{function}: role {} is not protected",
                pg::users::name(role)
            ),
            "",
            "Call agent_policy.protect_role first; protected roles are listed in agent_policy.protected_roles.",
        );
    }
}

/// Raises 42501 unless the caller may act as the role, as a superuser may.
pub fn require_member(role: pg_sys::Oid, function: &str) {
    if !pg::users::may_become(role) {
        pg::report::error(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            &format!(
                "{function}: you may not act as role {}",
                pg::users::name(role)
            ),
            "",
            "What the role sees is for superusers and for members of the role.",
        );
    }
}

fn findings(role: pg_sys::Oid, statement: &str) -> Vec<Finding> {
    let Some(policy) = identity::policy() else {
        return vec![finding("allowed", None, None, None, None)];
    };
    // The hooks may find a newer one, and look up what hints name for that.
    policy.prepare_hints();
    let refused = if policy.mode == Mode::Monitor {
        "would_deny"
    } else {
        "denied"
    };
    let statements = match pg::trial::parse(statement) {
        Ok(statements) => statements,
        Err(message) => return vec![unusable(message)],
    };
    let mut rows = Vec::new();
    for raw in statements {
        let (planned, denials) = trial::collect(|| pg::trial::plan(&policy, role, raw, statement));
        let refusals = denials.len();
        for denial in denials {
            let row = finding(
                refused,
                Some(denial.rule.word().to_owned()),
                Some(denial.object.clone()),
                Some(denial.message.clone()),
                Some(denial.hint.clone()),
            );
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        match planned {
            Err(message) if refusals == 0 => rows.push(unusable(message)),
            Ok(planned) if refusals == 0 => {
                let mut row = finding("allowed", None, None, None, None);
                row.5 = texts(planned.masked_columns);
                row.6 = texts(planned.row_filters);
                row.7 = planned.cost;
                row.8 = planned.rows;
                rows.push(row);
            }
            _ => {}
        }
    }
    if rows.is_empty() {
        rows.push(finding(
            "allowed",
            None,
            None,
            Some("nothing to run".into()),
            None,
        ));
    }
    rows
}

fn finding(
    verdict: &str,
    rule: Option<String>,
    object: Option<String>,
    message: Option<String>,
    hint: Option<String>,
) -> Finding {
    (
        verdict.into(),
        rule.map(Text),
        object.map(Text),
        message.map(Text),
        hint.map(Text),
        None,
        None,
        None,
        None,
    )
}

/// NULL for none.
fn texts(all: Vec<String>) -> Option<Vec<Text>> {
    (!all.is_empty()).then(|| all.into_iter().map(Text).collect())
}

/// The server itself refuses the text: it does not parse, or names what does not exist.
fn unusable(message: String) -> Finding {
    finding(
        "denied",
        Some("statement_invalid".into()),
        None,
        Some(message),
        Some("Correct the statement: PostgreSQL itself refuses it, whatever the policy.".into()),
    )
}
