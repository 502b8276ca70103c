//! The text of a statement as the audit keeps it.

use std::rc::Rc;

use policy::redact;
use sha2::{Digest, Sha256};

use super::STATE;
use crate::pg::source;

pub(super) struct Text {
    pub(super) redacted: Option<Rc<str>>,
    pub(super) sha256: [u8; 32],
    pub(super) kind: Option<&'static str>,
}

/// Longer texts are worked out each time.
const LONGEST_KEPT: usize = 16 << 10;

/// The text at hand, redacted.
pub(super) fn text() -> Rc<Text> {
    source::current(redacted)
}

/// The text at hand, an EXECUTE, with what it runs: as in a PREPARE of it.
pub(super) fn executed(prepared: &[u8]) -> Rc<Text> {
    let prepared = crate::pg::text::shown(prepared);
    let body = redact::prepared_body(&prepared);
    // A comment at the end of the first must not take the second along.
    source::current(|execute| redacted(&[execute, b"\nAS ", body.as_bytes()].concat()))
}

fn redacted(bytes: &[u8]) -> Rc<Text> {
    if let Some(known) = STATE.with_borrow(|s| s.texts.get(|key| key == bytes)) {
        return known;
    }
    // Nobody reads more of a statement; its hash is over all of it.
    let lossy = crate::pg::text::shown(beginning(bytes));
    let text = Rc::new(Text {
        redacted: redact::redact(&lossy).text.map(Rc::from),
        sha256: Sha256::digest(bytes).into(),
        kind: redact::command_kind(&lossy),
    });
    if bytes.len() <= LONGEST_KEPT {
        STATE.with_borrow_mut(|s| s.texts.put(bytes.to_vec(), Rc::clone(&text)));
    }
    text
}

/// As much of a statement as is kept, cut where no character is.
fn beginning(bytes: &[u8]) -> &[u8] {
    const KEPT: usize = 64 * 1024;
    if bytes.len() <= KEPT {
        return bytes;
    }
    let end = (0..KEPT).rev().find(|i| bytes[*i].is_ascii()).unwrap_or(0);
    &bytes[..end]
}
