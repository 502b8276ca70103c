//! What is left of a record that is too long.

use std::borrow::Cow;
use std::rc::Rc;

use super::{End, Start};

/// Longer objects of a denial are cut.
pub const MAX_OBJECT: usize = 1 << 10;

/// A text that takes no more than `most` bytes: a longer one is cut and ends in `…`.
#[must_use]
pub fn at_most<'a>(text: impl Into<Cow<'a, str>>, most: usize) -> String {
    const MARK: char = '…';
    let text = text.into();
    if text.len() <= most {
        return text.into_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub(MARK.len_utf8()));
    let mut cut = String::with_capacity(end + MARK.len_utf8());
    cut.push_str(text.get(..end).unwrap_or_default());
    cut.push(MARK);
    cut
}

fn short(text: Option<&String>) -> Option<String> {
    text.map(|text| at_most(text.as_str(), MAX_OBJECT))
}

impl Start {
    /// What is written of a record that is [`super::TooLong`]: who, when and the verdict.
    #[must_use]
    pub fn short(&self) -> Self {
        Self {
            event_id: self.event_id,
            backend_seq: self.backend_seq,
            origin: self.origin.clone(),
            transaction_id: self.transaction_id,
            started_at: self.started_at,
            nesting_level: self.nesting_level,
            command_tag: self.command_tag.clone(),
            query_id: self.query_id,
            statement: None,
            statement_sha256: self.statement_sha256,
            objects: Rc::default(),
            verdict: self.verdict,
            rule: self.rule.clone(),
            object: short(self.object.as_ref()),
            agent: short(self.agent.as_ref()),
            conversation: short(self.conversation.as_ref()),
            trace_id: short(self.trace_id.as_ref()),
            policy_version: self.policy_version,
        }
    }
}

impl End {
    /// The same: its lists are those of the start.
    #[must_use]
    pub fn short(&self) -> Self {
        Self {
            event_id: self.event_id,
            duration: self.duration,
            rows_returned: self.rows_returned,
            rows_processed: self.rows_processed,
            bytes_returned: self.bytes_returned,
            truncated: self.truncated,
            outcome: self.outcome,
            sqlstate: self.sqlstate,
            transaction_id: self.transaction_id,
            command_tag: self.command_tag.clone(),
            relations: None,
            masked_columns: None,
            functions: None,
            verdict: self.verdict,
            rule: self.rule.clone(),
            object: short(self.object.as_ref()),
        }
    }
}
