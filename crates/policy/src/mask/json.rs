//! The mask `json`: what stands at given paths of a document is masked, the rest stays.
//!
//! Paths are read leniently, as SQL/JSON's lax mode does: a key also means that key of every
//! element where there is an array, so that a list in the place of one object hides as much.

mod apply;
mod layout;
mod number;

use super::hash::{KeyedHash, hex};
use super::value;
use serde_json::{Map, Value};

pub use apply::Masker;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.name`
    Key(Vec<u8>),
    /// `.*`
    AnyKey,
    /// `[3]`
    Index(usize),
    /// `[*]`
    AnyElement,
    /// `.**`: any number of levels, none included
    Deep,
}

/// What becomes of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    Redact,
    Null,
    Constant(Constant),
    Partial {
        first: usize,
        last: usize,
        pad: Vec<u8>,
    },
    Email,
    Hash {
        length: usize,
    },
    Scrub,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    Text(Vec<u8>),
    Number(i64),
    Bool(bool),
    Null,
}

/// One path and its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub path: Vec<Step>,
    pub mask: Mask,
}

impl Rule {
    /// Has every text of the rule in another encoding.
    pub fn recode(&mut self, mut recode: impl FnMut(&mut Vec<u8>)) {
        for step in &mut self.path {
            if let Step::Key(name) = step {
                recode(name);
            }
        }
        match &mut self.mask {
            Mask::Constant(Constant::Text(text)) => recode(text),
            Mask::Partial { pad, .. } => recode(pad),
            _ => {}
        }
    }
}

/// Masks that a path may name.
pub const MASKS: &str = "redact, null, constant, partial, email, hash, scrub";

/// The option `paths`: `{"$.ssn": "redact", "$.cards[*].number": {"mask": "partial", "keep_last": 4}}`.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn rules(paths: &Value) -> Result<Vec<Rule>, (String, String)> {
    let Some(paths) = paths.as_object().filter(|paths| !paths.is_empty()) else {
        return Err((
            "option \"paths\" of mask \"json\" is not an object with a path in it".into(),
            "Write {\"paths\": {\"$.ssn\": \"redact\"}}.".into(),
        ));
    };
    paths
        .iter()
        .map(|(path, mask)| {
            Ok(Rule {
                path: parse(path).ok_or_else(|| {
                    (
                        format!("\"{path}\" is not a path that mask \"json\" knows"),
                        "A path is $ and then any of .name, .\"any name\", .*, [3], [*] and .**; \
                         a key of an array means that key of each element."
                            .to_owned(),
                    )
                })?,
                mask: mask_of(path, mask)?,
            })
        })
        .collect()
}

fn mask_of(path: &str, given: &Value) -> Result<Mask, (String, String)> {
    let none = Map::new();
    let (name, options) = match given {
        Value::String(name) => (name.as_str(), &none),
        Value::Object(options) => (
            options.get("mask").and_then(Value::as_str).unwrap_or(""),
            options,
        ),
        _ => ("", &none),
    };
    let refuse = |what: String| {
        Err((
            format!("path \"{path}\" of mask \"json\": {what}"),
            format!(
                "Name one of {MASKS}, alone or with its options: {{\"mask\": \"partial\", \"keep_last\": 4}}."
            ),
        ))
    };
    let known: &[&str] = match name {
        "constant" => &["mask", "value"],
        "partial" => &["mask", "keep_first", "keep_last", "pad"],
        "hash" => &["mask", "length"],
        _ => &["mask"],
    };
    if let Some(odd) = options.keys().find(|key| !known.contains(&key.as_str())) {
        return refuse(format!("mask \"{name}\" has no option \"{odd}\""));
    }
    let number = |option: &str, default: usize, least: usize, most: usize| match options.get(option)
    {
        None => Ok(default),
        Some(value) => value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (least..=most).contains(n))
            .ok_or_else(|| format!("option \"{option}\" is not a number from {least} to {most}")),
    };
    let mask = match name {
        "redact" => Mask::Redact,
        "null" => Mask::Null,
        "email" => Mask::Email,
        "scrub" => Mask::Scrub,
        "constant" => match options.get("value") {
            Some(Value::String(text)) => Mask::Constant(Constant::Text(text.clone().into_bytes())),
            Some(Value::Bool(b)) => Mask::Constant(Constant::Bool(*b)),
            Some(Value::Null) => Mask::Constant(Constant::Null),
            Some(Value::Number(n)) if n.as_i64().is_some() => {
                Mask::Constant(Constant::Number(n.as_i64().unwrap_or_default()))
            }
            _ => {
                return refuse(
                    "mask \"constant\" needs a \"value\": a string, a whole number, true, false or null".into(),
                );
            }
        },
        "partial" => {
            let pad = match options.get("pad") {
                None => "*",
                Some(Value::String(pad))
                    if pad.chars().count() == 1 && !pad.chars().any(char::is_control) =>
                {
                    pad
                }
                Some(_) => return refuse("option \"pad\" is not one character".into()),
            };
            match (
                number("keep_first", 0, 0, 10_000),
                number("keep_last", 4, 0, 10_000),
            ) {
                (Ok(first), Ok(last)) => Mask::Partial {
                    first,
                    last,
                    pad: pad.as_bytes().to_vec(),
                },
                (Err(what), _) | (_, Err(what)) => return refuse(what),
            }
        }
        "hash" => match number("length", 16, 1, 64) {
            Ok(length) => Mask::Hash { length },
            Err(what) => return refuse(what),
        },
        other => return refuse(format!("there is no mask \"{other}\" for it")),
    };
    Ok(mask)
}

/// The steps of a path; `None` for what is none.
#[must_use]
pub fn parse(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.trim().strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            steps.push(match inside.trim() {
                "*" => Step::AnyElement,
                number => Step::Index(number.parse().ok()?),
            });
            rest = after;
            continue;
        }
        let after = rest.strip_prefix('.')?;
        if let Some(after) = after.strip_prefix("**") {
            steps.push(Step::Deep);
            rest = after;
        } else if let Some(after) = after.strip_prefix('*') {
            steps.push(Step::AnyKey);
            rest = after;
        } else if after.starts_with('"') {
            let mut strings = serde_json::Deserializer::from_str(after).into_iter::<String>();
            let name = strings.next()?.ok()?;
            rest = after.get(strings.byte_offset()..)?;
            steps.push(Step::Key(name.into_bytes()));
        } else {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, after) = after.split_at_checked(end)?;
            if name.is_empty()
                || name.contains(|c: char| c.is_whitespace() || "\"'*?@()]".contains(c))
            {
                return None;
            }
            steps.push(Step::Key(name.as_bytes().to_vec()));
            rest = after;
        }
    }
    Some(steps)
}

impl Mask {
    /// What the mask makes of a text; `context` is the key that it belongs to.
    fn text(&self, text: &[u8], context: &[u8], key: Option<&KeyedHash>) -> Replaced {
        match self {
            Self::Null => Replaced::Null,
            Self::Redact => Replaced::Text(b"***".to_vec()),
            Self::Constant(constant) => constant.replaced(),
            Self::Partial { first, last, pad } => {
                let cut = value::partial_utf8(text, *first, *last);
                let mut out = Vec::with_capacity(text.len());
                out.extend_from_slice(text.get(..cut.head).unwrap_or_default());
                for _ in 0..cut.hidden {
                    out.extend_from_slice(pad);
                }
                let tail = text.len().saturating_sub(cut.tail);
                out.extend_from_slice(text.get(tail..).unwrap_or_default());
                Replaced::Text(out)
            }
            Self::Email => Replaced::Text(match value::email_first_char(text) {
                Some(first) => {
                    let mut out = text.get(..first).unwrap_or_default().to_vec();
                    out.extend_from_slice(b"***@example.com");
                    out
                }
                None => b"***".to_vec(),
            }),
            Self::Hash { length } => match key {
                Some(key) => Replaced::Text(
                    hex(&key.digest(text), *length)
                        .get(..*length)
                        .unwrap_or_default()
                        .to_vec(),
                ),
                None => Replaced::Null,
            },
            Self::Scrub => match (std::str::from_utf8(text), std::str::from_utf8(context)) {
                (Ok(text), Ok(context)) => {
                    let clean = crate::sensitive::scrub_value(context, text);
                    if clean == text {
                        Replaced::Same
                    } else {
                        Replaced::Text(clean.into_bytes())
                    }
                }
                _ => Replaced::Null,
            },
        }
    }
}

impl Constant {
    fn replaced(&self) -> Replaced {
        match self {
            Self::Text(text) => Replaced::Text(text.clone()),
            Self::Number(n) => Replaced::Number(number::of_integer(*n)),
            Self::Bool(b) => Replaced::Bool(*b),
            Self::Null => Replaced::Null,
        }
    }
}

/// What comes in the place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Replaced {
    Same,
    Null,
    Bool(bool),
    Text(Vec<u8>),
    /// a `numeric` as jsonb has it
    Number(Vec<u8>),
    EmptyObject,
    EmptyArray,
}

#[cfg(test)]
mod tests;
