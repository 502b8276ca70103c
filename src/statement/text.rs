//! The text of a statement as the audit keeps it.

use std::rc::Rc;

use policy::redact::{self, Kind, MAX_TEXT};
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
    source::current(|text| redacted(&[text]))
}

/// The text at hand, an EXECUTE, with what it runs: as in a PREPARE of it.
pub(super) fn executed(prepared: &[u8]) -> Rc<Text> {
    let body = redact::prepared_body(prepared);
    source::current(|execute| redacted(&[execute, b"\nAS ", body]))
}

/// Of a text in parts, which may be large: none of them is copied.
fn redacted(parts: &[&[u8]]) -> Rc<Text> {
    if let Some(known) = STATE.with_borrow(|s| s.texts.get(|key| is(key, parts))) {
        return known;
    }
    let mut sha256 = Sha256::new();
    parts.iter().for_each(|part| sha256.update(part));
    let lexed = redact::redact(parts);
    let text = Rc::new(Text {
        redacted: lexed.text.map(|text| kept(&text, lexed.kind)),
        sha256: sha256.finalize().into(),
        kind: parts.first().and_then(|text| redact::command_kind(text)),
    });
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if length <= LONGEST_KEPT {
        STATE.with_borrow_mut(|s| s.texts.put(parts.concat(), Rc::clone(&text)));
    }
    text
}

fn is(text: &[u8], parts: &[&[u8]]) -> bool {
    let rest = parts
        .iter()
        .try_fold(text, |rest, part| rest.strip_prefix(*part));
    rest.is_some_and(<[u8]>::is_empty)
}

/// In our encoding; `…` says that there is more.
fn kept(text: &[u8], kind: Kind) -> Rc<str> {
    let mut text = crate::pg::text::shown(text);
    let longer = text.len() > MAX_TEXT;
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    if longer || kind == Kind::Cut {
        text.push('…');
    }
    text.into()
}
