//! `agent_policy.preview`: what an agent would see, for a DBA.

use pgrx::prelude::*;
use policy::model::Mode;

use crate::pg;
use crate::pg::server_text::Text;
use crate::{identity, trial};

/// The first rows of a SELECT as a protected role would see them, as the text of JSON objects.
#[pg_extern(sql = false)]
fn preview(
    role: Option<pg_sys::Oid>,
    user_email: Option<Text>,
    statement: Option<Text>,
    rows: Option<i32>,
) -> SetOfIterator<'static, Text> {
    let (Some(role), Some(statement), Some(rows)) = (role, statement, rows) else {
        pg::report::error(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "preview: parameters \"role\", \"statement\" and \"rows\" must not be NULL",
            "",
            "Give a protected role and the text of a SELECT.",
        );
    };
    if rows < 1 {
        pg::report::error(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "preview: \"rows\" must be at least 1",
            "",
            "The default is 20.",
        );
    }
    super::check::require_protected(role, "preview");
    super::check::require_member(role, "preview");
    let _who = super::identity::pretend(user_email.as_deref());
    let found = identity::assume(role, || run(role, &statement, rows));
    SetOfIterator::new(found.into_iter().map(Text))
}

fn run(role: pg_sys::Oid, statement: &str, rows: i32) -> Vec<String> {
    let Some(policy) = identity::policy() else {
        return Vec::new();
    };
    // As for check().
    policy.prepare_hints();
    let statements = match pg::trial::parse(statement) {
        Ok(statements) => statements,
        Err(message) => invalid(&message),
    };
    let [raw] = statements[..] else {
        pg::report::error(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "preview: the text is not one statement",
            "",
            "Give one SELECT.",
        );
    };
    // Parse analysis makes a command of SELECT … INTO, and leaves a plain SELECT behind.
    let selects = pg::trial::is_select(raw);
    let (planned, denials) = trial::collect(|| pg::trial::plan(&policy, role, raw, statement));
    // What the agent would be told.
    if policy.mode != Mode::Monitor
        && let Some(denial) = denials.into_iter().next()
    {
        trial::preview(|| denial.raise());
    }
    match planned {
        // The server's own error comes again, with all that it says, when the statement runs.
        Err(_) if selects => {}
        Err(message) => invalid(&message),
        Ok(planned) if !planned.only_reads => pg::report::error(
            PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "preview: the statement is not a SELECT that only reads",
            "",
            "agent_policy.check() says what would happen to it, without running it.",
        ),
        Ok(_) => {}
    }
    let most = policy.effective_limits().max_rows;
    let rows = most.map_or(i64::from(rows), |most| {
        i64::from(rows).min(i64::try_from(most).unwrap_or(i64::MAX))
    });
    if rows == 0 {
        return Vec::new();
    }
    trial::preview(|| pg::trial::run(role, statement, rows))
}

fn invalid(message: &str) -> ! {
    pg::report::error(
        PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
        &format!("preview: {message}"),
        "",
        "Correct the statement: PostgreSQL itself refuses it, whatever the policy.",
    )
}
