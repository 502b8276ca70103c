//! Errors of texts that no hook has seen: the session's first does not even parse.

use std::borrow::Cow;
use std::rc::Rc;

use super::text::{Text, text};
use super::{new_start, sqlstate, write_failed};
use crate::audit::{self, Outcome, Verdict};
use crate::denial::Denial;
use crate::pg::facts;

/// An error of a text that no hook has seen.
pub struct Unseen {
    text: Rc<Text>,
    sqlstate: [u8; 5],
    at: i64,
}

/// Notes the text at hand and its error, without touching a catalog.
pub fn unseen(sqlstate: [u8; 5]) -> Unseen {
    Unseen {
        text: text(),
        sqlstate,
        at: facts::now(),
    }
}

/// Writes such an error down, durably; false when that was not possible.
#[must_use]
pub fn record_unseen(unseen: &Unseen, denial: Option<&Denial>) -> bool {
    let mut start = new_start(0);
    let mut state = unseen.sqlstate;
    if let Some(denial) = denial {
        start.verdict = Verdict::Denied;
        start.rule = Some(denial.rule.word().to_owned());
        start.object = Some(denial.object.clone());
        state = sqlstate(denial);
    }
    start.started_at = unseen.at;
    start.command_tag = unseen.text.kind.map(Cow::Borrowed);
    start.statement.clone_from(&unseen.text.redacted);
    start.statement_sha256 = unseen.text.sha256;
    let written = write_failed(&start, Outcome::Error, state);
    let durable = audit::wait_durable().is_ok();
    let _ = audit::flush();
    written && durable
}
