//! Statement texts without their literals, for the audit.
//!
//! A port of the rules of PostgreSQL's own lexer (`scan.l`): strings in all their forms, numbers
//! and dollar quotes become `$n`, comments go, white space becomes one space. Identifiers stay.
//! Where the text does not lex, or where it depends on a setting how it lexes, nothing is kept.

/// A longer result is cut.
pub const MAX_TEXT: usize = 64 << 10;

/// Whether a text could be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// All of it.
    Whole,
    /// Its beginning: the rest is beyond [`MAX_TEXT`].
    Cut,
    /// It does not lex.
    NotLexed,
}

/// What may be kept of a text, in its encoding; nothing where it does not lex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    pub text: Option<Vec<u8>>,
    pub kind: Kind,
}

/// Replaces the literals of a text by `$n`, numbered after the highest parameter it names. The text may
/// come in parts: no token spans two of them.
///
/// Takes time linear in its length, and room for the result only. Its encoding has ASCII bytes for
/// nothing but ASCII, as all those of servers.
#[must_use]
pub fn redact(parts: &[&[u8]]) -> Redacted {
    let done = |text, kind| Redacted { text, kind };
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut n = parts
        .iter()
        .map(|p| highest_parameter(p))
        .max()
        .unwrap_or(0);
    let mut looks = LOOKS.max(LOOKS_AT / length.max(1));
    let mut out = Vec::with_capacity(length.min(MAX_TEXT) + 8);
    for part in parts {
        let mut rest = *part;
        let mut space = !out.is_empty();
        while !rest.is_empty() {
            let Some((token, len)) = next_token(rest) else {
                return done(None, Kind::NotLexed);
            };
            if token == Token::Word && may_quote(rest, len, &mut looks) {
                return done(None, Kind::NotLexed);
            }
            let (text, tail) = rest.split_at_checked(len).unwrap_or((rest, b""));
            rest = tail;
            if token == Token::Space {
                space = !out.is_empty();
                continue;
            }
            if std::mem::take(&mut space) {
                out.push(b' ');
            }
            if token == Token::Literal {
                n = n.saturating_add(1);
                out.push(b'$');
                out.extend_from_slice(itoa(n, &mut [0; 10]));
            } else {
                // One name may be as long as the text.
                let room = (MAX_TEXT + 1).saturating_sub(out.len());
                out.extend_from_slice(text.get(..room).unwrap_or(text));
            }
            if out.len() > MAX_TEXT {
                out.truncate(MAX_TEXT);
                // Not inside a character.
                let end = out.iter().rposition(u8::is_ascii).map_or(0, |i| i + 1);
                out.truncate(end);
                return done(Some(out), Kind::Cut);
            }
        }
    }
    done(Some(out), Kind::Whole)
}

/// Searches for the end of what may be a dollar quote: as many at least …
const LOOKS: usize = 16;
/// … and as many as pass over so many bytes.
const LOOKS_AT: usize = 16 << 20;

/// Whether the word of `len` bytes at the beginning of `s` runs into what may have been meant as a dollar
/// quote (`AS$$…$$`): PostgreSQL takes the `$` for a part of the name, and what was quoted for names. Not
/// where it is the same name that comes again.
fn may_quote(s: &[u8], len: usize, looks: &mut usize) -> bool {
    let word = s.get(..len).unwrap_or(s);
    let Some(mut open) = memchr(b'$', word) else {
        return false;
    };
    while let Some(n) = memchr(b'$', word.get(open + 1..).unwrap_or_default()) {
        let close = open + 1 + n;
        let delimiter = word.get(open..=close).unwrap_or_default();
        let mut from = close + 1;
        if !at(s, open + 1).is_ascii_digit() {
            let Some(left) = looks.checked_sub(1) else {
                return true;
            };
            *looks = left;
            while let Some(n) = s.get(from..).and_then(|rest| find(delimiter, rest)) {
                let name = (from + n).checked_sub(open).filter(|name| {
                    let before = name.checked_sub(1).map_or(b' ', |i| at(s, i));
                    *name >= len && !ident_part(before)
                });
                if name.is_none_or(|name| s.get(name..from + n) != s.get(..open)) {
                    return true;
                }
                from += n + 1;
            }
        }
        open = close;
    }
    false
}

/// The first statement of several, or the text as it is where it does not lex.
#[must_use]
pub fn first_statement(sql: &str) -> &str {
    let mut rest = sql.as_bytes();
    let mut from = None;
    while let Some((token, len)) = (!rest.is_empty()).then(|| next_token(rest)).flatten() {
        let at = sql.len() - rest.len();
        let (text, tail) = rest.split_at_checked(len).unwrap_or((rest, b""));
        match (token, text, from) {
            (Token::Space, ..) | (_, b";", None) => {}
            (_, b";", Some(from)) => return sql.get(from..at).unwrap_or(sql),
            _ => from = from.or(Some(at)),
        }
        rest = tail;
    }
    sql.get(from.unwrap_or(0)..).unwrap_or(sql)
}

/// What `PREPARE name (types) AS` introduces; a text that is none as it is.
#[must_use]
pub fn prepared_body(sql: &[u8]) -> &[u8] {
    let mut rest = sql;
    let mut first = true;
    while let Some((token, len)) = (!rest.is_empty()).then(|| next_token(rest)).flatten() {
        let (text, tail) = rest.split_at_checked(len).unwrap_or((rest, b""));
        rest = tail;
        if token == Token::Word {
            if std::mem::take(&mut first) {
                if !text.eq_ignore_ascii_case(b"prepare") {
                    return sql;
                }
            } else if text.eq_ignore_ascii_case(b"as") {
                return rest.trim_ascii_start();
            }
        } else if token != Token::Space && first {
            return sql;
        }
    }
    sql
}

/// The command of a text that need not parse, in the words of PostgreSQL's command tags.
#[must_use]
pub fn command_kind(sql: &[u8]) -> Option<&'static str> {
    let mut words = Words(sql);
    let first = words.next()?;
    let is = |w: &[u8], k: &str| w.eq_ignore_ascii_case(k.as_bytes());
    match FIRST.iter().find(|(k, _)| is(first, k)) {
        Some((_, tag)) if !tag.is_empty() => Some(tag),
        Some((verb, _)) => {
            let tags = OBJECTS.iter().filter(|t| t.starts_with(verb));
            let object = words.find(|w| !NOISE.iter().any(|n| is(w, n)))?;
            // MATERIALIZED VIEW, FOREIGN TABLE …: the first word says enough to tell them apart.
            let mut tags = tags.filter(|t| t.split(' ').nth(1).is_some_and(|o| is(object, o)));
            tags.next().copied()
        }
        None => None,
    }
}

/// First keyword → tag; an empty tag asks for the kind of object too.
const FIRST: &[(&str, &str)] = &[
    ("SELECT", "SELECT"),
    ("WITH", "SELECT"),
    ("VALUES", "SELECT"),
    ("TABLE", "SELECT"),
    ("INSERT", "INSERT"),
    ("UPDATE", "UPDATE"),
    ("DELETE", "DELETE"),
    ("MERGE", "MERGE"),
    ("COPY", "COPY"),
    ("EXPLAIN", "EXPLAIN"),
    ("BEGIN", "BEGIN"),
    ("START", "BEGIN"),
    ("COMMIT", "COMMIT"),
    ("END", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("ABORT", "ROLLBACK"),
    ("SAVEPOINT", "SAVEPOINT"),
    ("RELEASE", "RELEASE"),
    ("SET", "SET"),
    ("RESET", "RESET"),
    ("SHOW", "SHOW"),
    ("DISCARD", "DISCARD"),
    ("PREPARE", "PREPARE"),
    ("EXECUTE", "EXECUTE"),
    ("DEALLOCATE", "DEALLOCATE"),
    ("DECLARE", "DECLARE CURSOR"),
    ("FETCH", "FETCH"),
    ("MOVE", "MOVE"),
    ("CLOSE", "CLOSE CURSOR"),
    ("DO", "DO"),
    ("CALL", "CALL"),
    ("LOCK", "LOCK TABLE"),
    ("TRUNCATE", "TRUNCATE TABLE"),
    ("GRANT", "GRANT"),
    ("REVOKE", "REVOKE"),
    ("ANALYZE", "ANALYZE"),
    ("ANALYSE", "ANALYZE"),
    ("VACUUM", "VACUUM"),
    ("CLUSTER", "CLUSTER"),
    ("REINDEX", "REINDEX"),
    ("REFRESH", "REFRESH MATERIALIZED VIEW"),
    ("LISTEN", "LISTEN"),
    ("NOTIFY", "NOTIFY"),
    ("UNLISTEN", "UNLISTEN"),
    ("LOAD", "LOAD"),
    ("COMMENT", "COMMENT"),
    ("SECURITY", "SECURITY LABEL"),
    ("CHECKPOINT", "CHECKPOINT"),
    ("IMPORT", "IMPORT FOREIGN SCHEMA"),
    ("REASSIGN", "REASSIGN OWNED"),
    ("CREATE", ""),
    ("ALTER", ""),
    ("DROP", ""),
];

/// Words between the verb and the kind of object.
const NOISE: &[&str] = &[
    "OR",
    "REPLACE",
    "GLOBAL",
    "LOCAL",
    "TEMP",
    "TEMPORARY",
    "UNLOGGED",
    "UNIQUE",
    "RECURSIVE",
    "CONSTRAINT",
    "TRUSTED",
    "PROCEDURAL",
];

macro_rules! objects {
    ($($object:literal)*) => {
        &[$(concat!("CREATE ", $object), concat!("ALTER ", $object), concat!("DROP ", $object)),*]
    };
}

const OBJECTS: &[&str] = objects![
    "TABLE" "VIEW" "MATERIALIZED VIEW" "INDEX" "SEQUENCE" "SCHEMA" "FUNCTION" "PROCEDURE"
    "ROUTINE" "AGGREGATE" "TYPE" "DOMAIN" "TRIGGER" "EVENT TRIGGER" "RULE" "ROLE" "USER" "GROUP"
    "DATABASE" "TABLESPACE" "EXTENSION" "POLICY" "PUBLICATION" "SUBSCRIPTION" "SERVER"
    "FOREIGN TABLE" "COLLATION" "CONVERSION" "OPERATOR" "CAST" "LANGUAGE" "STATISTICS"
    "TEXT SEARCH CONFIGURATION" "ACCESS METHOD" "TRANSFORM" "SYSTEM" "OWNED" "DEFAULT PRIVILEGES"
    "LARGE OBJECT"
];

/// The words at the beginning of a text; opening parentheses and semicolons are passed over.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let Some((token, len)) = next_token(self.0) {
            let (text, tail) = self.0.split_at_checked(len)?;
            self.0 = tail;
            match (token, text) {
                (Token::Word, word) => return Some(word),
                (Token::Space, _) | (_, b"(" | b";") => {}
                _ => return None,
            }
        }
        None
    }
}

fn highest_parameter(sql: &[u8]) -> u32 {
    // A `$1` inside a literal or a comment only makes the numbers begin higher.
    let mut highest = 0;
    let mut rest = sql;
    while let Some(at) = memchr(b'$', rest) {
        rest = rest.get(at + 1..).unwrap_or_default();
        let mut value = 0_u32;
        for b in rest.iter().take_while(|b| b.is_ascii_digit()).take(6) {
            value = value * 10 + u32::from(b - b'0');
        }
        // More than 65 535 parameters cannot be bound.
        if value <= 65_535 {
            highest = highest.max(value);
        }
    }
    highest
}

fn itoa(mut n: u32, buf: &mut [u8; 10]) -> &[u8] {
    let mut at = buf.len();
    for (i, b) in buf.iter_mut().enumerate().rev() {
        *b = b'0' + (n % 10) as u8;
        n /= 10;
        at = i;
        if n == 0 {
            break;
        }
    }
    buf.get(at..).unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// White space and comments.
    Space,
    Word,
    Literal,
    /// Operators, punctuation, parameters, quoted identifiers.
    Other,
}

fn memchr(needle: u8, hay: &[u8]) -> Option<usize> {
    hay.iter().position(|b| *b == needle)
}

/// Where a delimiter of a dollar quote is. Linear: there is a `$` at its ends only.
fn find(delimiter: &[u8], hay: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += memchr(b'$', hay.get(from..)?)?;
        if hay.get(from..)?.starts_with(delimiter) {
            return Some(from);
        }
        from += 1;
    }
}

fn at(s: &[u8], i: usize) -> u8 {
    s.get(i).copied().unwrap_or(0)
}

fn ident_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b >= 0x80
}

fn ident_part(b: u8) -> bool {
    ident_start(b) || b.is_ascii_digit() || b == b'$'
}

fn run(s: &[u8], from: usize, f: impl Fn(u8) -> bool) -> usize {
    s.get(from..)
        .unwrap_or_default()
        .iter()
        .position(|b| !f(*b))
        .map_or(s.len(), |n| from + n)
}

/// The token at the beginning of `s`, which is not empty, and its length.
fn next_token(s: &[u8]) -> Option<(Token, usize)> {
    let space = |b| matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    Some(match (*s.first()?, at(s, 1), at(s, 2)) {
        (b, _, _) if space(b) => (Token::Space, run(s, 1, space)),
        (b'-', b'-', _) => (Token::Space, run(s, 2, |b| b != b'\n' && b != b'\r')),
        (b'/', b'*', _) => (Token::Space, comment(s)?),
        (b'\'', _, _) => (Token::Literal, string(s, 0)?),
        (b'b' | b'B' | b'x' | b'X' | b'n' | b'N', b'\'', _) => (Token::Literal, string(s, 1)?),
        (b'e' | b'E', b'\'', _) => (Token::Literal, escape_string(s)?),
        (b'u' | b'U', b'&', b'\'') => (Token::Literal, string(s, 2)?),
        (b'u' | b'U', b'&', b'"') => (Token::Other, quoted(s, 2)?),
        (b'"', _, _) => (Token::Other, quoted(s, 0)?),
        (b'$', d, _) if d.is_ascii_digit() => {
            let digits = run(s, 1, |b| b.is_ascii_digit());
            // `$1abc` is an error; what hangs on may be meant as a literal.
            if ident_part(at(s, digits)) {
                return None;
            }
            // There is no such parameter: an amount, more likely.
            let parameter = digits <= "$65535".len();
            (
                if parameter {
                    Token::Other
                } else {
                    Token::Literal
                },
                digits,
            )
        }
        (b'$', _, _) => (Token::Literal, dollar(s)?),
        (b'0'..=b'9', _, _) => (Token::Literal, number(s)?),
        (b'.', b'.', _) => (Token::Other, 2),
        (b'.', d, _) if d.is_ascii_digit() => (Token::Literal, number(s)?),
        (b, _, _) if ident_start(b) => (Token::Word, run(s, 1, ident_part)),
        (b, _, _) if b.is_ascii_punctuation() => (Token::Other, 1),
        _ => return None,
    })
}

/// A comment, nested ones inside it.
fn comment(s: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut i = 0;
    while i + 1 < s.len() {
        match (at(s, i), at(s, i + 1)) {
            (b'/', b'*') => {
                depth += 1;
                i += 2;
            }
            (b'*', b'/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => i += 1,
        }
    }
    None
}

/// A string whose quote is at `open`. A backslash before a quote ends it or not depending on
/// standard_conforming_strings, and on an E'' string that it continues: then there is no knowing.
fn string(s: &[u8], open: usize) -> Option<usize> {
    let mut i = open + 1;
    loop {
        i += memchr(b'\'', s.get(i..)?)?;
        if i > open + 1 && at(s, i - 1) == b'\\' {
            return None;
        }
        if at(s, i + 1) != b'\'' {
            return Some(i + 1);
        }
        i += 2;
    }
}

fn escape_string(s: &[u8]) -> Option<usize> {
    let mut i = 2;
    while i < s.len() {
        match (at(s, i), at(s, i + 1)) {
            (b'\\', _) | (b'\'', b'\'') => i += 2,
            (b'\'', _) => return Some(i + 1),
            _ => i += 1,
        }
    }
    None
}

fn quoted(s: &[u8], open: usize) -> Option<usize> {
    let mut i = open + 1;
    loop {
        i += memchr(b'"', s.get(i..)?)?;
        if at(s, i + 1) != b'"' {
            return Some(i + 1);
        }
        i += 2;
    }
}

fn dollar(s: &[u8]) -> Option<usize> {
    let tag = if ident_start(at(s, 1)) {
        run(s, 1, |b| ident_part(b) && b != b'$')
    } else {
        1
    };
    if at(s, tag) != b'$' {
        return None;
    }
    let delimiter = s.get(..=tag)?;
    let body = s.get(tag + 1..)?;
    find(delimiter, body).map(|n| tag + 1 + n + delimiter.len())
}

/// A number and whatever letters hang on to it: an error, from PostgreSQL 15 on.
///
/// A `$` behind digits begins a token of its own (`1$$x$$` is a number and a string). Behind letters
/// (`1a$$x$$`) it belongs to what hangs on, and may be meant as a quote: then there is no knowing.
fn number(s: &[u8]) -> Option<usize> {
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
    let mut i = run(s, 0, part);
    // `1..10` is two integers.
    if at(s, i) == b'.' && at(s, i + 1) != b'.' {
        i = run(s, i + 1, part);
    }
    if matches!(at(s, i), b'+' | b'-')
        && matches!(at(s, i.wrapping_sub(1)), b'e' | b'E')
        && at(s, i + 1).is_ascii_digit()
        && !(at(s, 0) == b'0' && matches!(at(s, 1), b'x' | b'X'))
    {
        i = run(s, i + 1, part);
    }
    let plain = |b: &u8| b.is_ascii_digit() || *b == b'.';
    (at(s, i) != b'$' || s.get(..i)?.iter().all(plain)).then_some(i)
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
