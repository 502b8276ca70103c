//! A refusal: one line for people, JSON for programs, a hint that says what would pass.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use pgrx::PgSqlErrorCode;
use policy::record::{MAX_OBJECT, at_most};
use policy::rule::Rule;
use serde_json::{Map, Value};

use crate::{pg, statement, trial};

/// Why a statement may not run. Nothing happens until it is raised or, in monitor mode, noted.
#[derive(Debug, Clone)]
#[must_use = "a denial that is not raised denies nothing"]
pub struct Denial(Box<Reason>);

/// What a [`Denial`] says.
#[derive(Debug, Clone)]
pub struct Reason {
    pub rule: Rule,
    /// What the rule was broken with: a relation, column, function, setting or statement.
    pub object: String,
    pub message: String,
    pub hint: String,
    extra: Map<String, Value>,
}

impl Deref for Denial {
    type Target = Reason;
    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl DerefMut for Denial {
    fn deref_mut(&mut self) -> &mut Reason {
        &mut self.0
    }
}

/// Longer messages and hints are cut: a name that was asked for may be as long as a statement.
const MAX_MESSAGE: usize = 2 << 10;
const MAX_HINT: usize = 4 << 10;

impl Denial {
    pub fn new<'a>(
        rule: Rule,
        object: impl Into<Cow<'a, str>>,
        message: impl Into<Cow<'a, str>>,
    ) -> Self {
        Self(Box::new(Reason {
            rule,
            object: at_most(object, MAX_OBJECT),
            message: at_most(message, MAX_MESSAGE),
            hint: String::new(),
            extra: Map::new(),
        }))
    }

    /// What would be allowed instead, fit to hand back to a model.
    pub fn hint<'a>(mut self, hint: impl Into<Cow<'a, str>>) -> Self {
        self.hint = at_most(hint, MAX_HINT);
        self
    }

    /// One more member of the DETAIL object.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(key.to_owned(), value.into());
        self
    }

    /// The DETAIL: a JSON object with `rule`, `object` and what the rule adds.
    pub fn detail(&self) -> String {
        let mut object = Map::new();
        object.insert("rule".into(), self.rule.word().into());
        object.insert("object".into(), self.object.as_str().into());
        object.extend(self.extra.clone());
        Value::Object(object).to_string()
    }

    /// The SQLSTATE as pgrx names it.
    pub fn code(&self) -> PgSqlErrorCode {
        match self.rule.sqlstate() {
            "25006" => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            "54000" => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            "57014" => PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
            "28000" => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            "58030" => PgSqlErrorCode::ERRCODE_IO_ERROR,
            _ => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        }
    }

    /// Writes the denial down, waits until that is durable, and ends the statement.
    pub fn raise(self) -> ! {
        if trial::running() {
            trial::note(self.clone());
        } else if !trial::previewing() {
            statement::denied(&self);
        }
        pg::report::error(self.code(), &self.message, &self.detail(), &self.hint)
    }

    /// Writes the denial down and ends the session.
    pub fn raise_fatal(self) -> ! {
        statement::denied(&self);
        self.refuse_login()
    }

    /// Ends a session that has not begun. No policy is at hand and no database open: it is the
    /// server's log that has it.
    pub fn refuse_login(self) -> ! {
        pg::report::fatal(self.code(), &self.message, &self.detail(), &self.hint)
    }

    /// The same as a warning for the client (`result truncated …`).
    pub fn warn(&self) {
        pg::report::warning(&self.message, &self.detail(), &self.hint);
    }
}
