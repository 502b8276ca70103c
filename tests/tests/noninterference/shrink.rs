//! A long statement that is answered differently is made a short one that still is.
//!
//! What breaks the syntax is answered equally in both worlds, so any text may be tried: words and whole brackets are
//! left out, in ever smaller pieces, and brackets are exchanged for NULL or for what is in them.

use std::time::{Duration, Instant};

use crate::case::{Case, Step};

/// Words, quoted texts, brackets.
fn tokens(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let mut end = start + c.len_utf8();
        match c {
            '\'' | '"' => {
                for (at, next) in chars.by_ref() {
                    end = at + next.len_utf8();
                    if next == c {
                        break;
                    }
                }
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' => {
                while let Some((at, next)) = chars.peek().copied() {
                    if !(next.is_alphanumeric() || matches!(next, '_' | '$' | '.')) {
                        break;
                    }
                    end = at + next.len_utf8();
                    chars.next();
                }
            }
            c if "+-*/<>=~!@#%^&|?:".contains(c) => {
                while let Some((at, next)) = chars.peek().copied() {
                    if !"+-*/<>=~!@#%^&|?:".contains(next) {
                        break;
                    }
                    end = at + next.len_utf8();
                    chars.next();
                }
            }
            _ => {}
        }
        all.push(text[start..end].to_owned());
    }
    all
}

/// Where the bracket that opens here closes.
fn closing(tokens: &[String], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}

/// The shortest that was found in the time. `differs` runs a case in both worlds.
pub fn shrink(case: &Case, time: Duration, mut differs: impl FnMut(&Case) -> bool) -> Case {
    let end = Instant::now() + time;
    let mut best = case.clone();
    // Steps first.
    let mut at = 0;
    while at < best.steps.len() && best.steps.len() > 1 && Instant::now() < end {
        let mut less = best.clone();
        less.steps.remove(at);
        if differs(&less) {
            best = less;
        } else {
            at += 1;
        }
    }
    for at in 0..best.steps.len() {
        // A plain query is shorter to show.
        if !matches!(best.steps[at], Step::Simple(_)) {
            let mut plain = best.clone();
            plain.steps[at] = Step::Simple(best.steps[at].text().to_owned());
            if differs(&plain) {
                best = plain;
            }
        }
        let mut text = tokens(best.steps[at].text());
        let mut with = |tokens: &[String]| {
            let mut next = best.clone();
            next.steps[at] = next.steps[at].with_text(tokens.concat());
            differs(&next)
        };
        loop {
            let before = text.len();
            brackets(&mut text, end, &mut with);
            pieces(&mut text, end, &mut with);
            if text.len() == before || Instant::now() > end {
                break;
            }
        }
        best.steps[at] = best.steps[at].with_text(text.concat());
    }
    best
}

/// Brackets for NULL, for 1, for nothing, for a sub-query in them, and for what is in them.
fn brackets(text: &mut Vec<String>, end: Instant, differs: &mut impl FnMut(&[String]) -> bool) {
    let mut at = 0;
    while at < text.len() && Instant::now() < end {
        let Some(close) = (text[at] == "(").then(|| closing(text, at)).flatten() else {
            at += 1;
            continue;
        };
        let inner = text[at + 1..close].to_vec();
        let word = |w: &str| vec![w.to_owned()];
        let exchanged = [inner.clone(), word("NULL"), word("1"), word("'x'")]
            .into_iter()
            .enumerate()
            .find_map(|(i, new)| {
                let mut whole = text.clone();
                if i == 0
                    && inner
                        .first()
                        .is_some_and(|w| matches!(w.as_str(), "SELECT" | "WITH" | "VALUES"))
                {
                    // The sub-query alone.
                    return differs(&inner).then(|| inner.clone());
                }
                if new.len() >= close - at {
                    return None;
                }
                whole.splice(at..=close, new);
                differs(&whole).then_some(whole)
            });
        match exchanged {
            Some(shorter) if shorter.len() < text.len() => *text = shorter,
            _ => at += 1,
        }
    }
}

/// Runs of words, longest first.
fn pieces(text: &mut Vec<String>, end: Instant, differs: &mut impl FnMut(&[String]) -> bool) {
    let mut size = text.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at + size <= text.len() {
            if Instant::now() > end {
                return;
            }
            let mut less = text.clone();
            less.drain(at..at + size);
            if !less.is_empty() && differs(&less) {
                *text = less;
            } else {
                at += (size / 2).max(1);
            }
        }
        size /= 2;
    }
}
