//! Keys that their prefix tells, tokens, and values that are called secret.

use super::cursor::{Text, is_word};
use super::{Category, Finding};

/// What the rest of a key is made of.
#[derive(Clone, Copy)]
enum Alphabet {
    /// Letters and digits.
    Word,
    /// And `_` and `-`.
    Url,
    /// And `.`, too.
    Dotted,
    Hex,
    /// A–Z and 2–7.
    Base32,
    /// Letters, digits and `/`.
    Path,
}

impl Alphabet {
    const fn has(self, byte: u8) -> bool {
        match self {
            Self::Word => byte.is_ascii_alphanumeric(),
            Self::Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Path => byte.is_ascii_alphanumeric() || byte == b'/',
            Self::Base32 => matches!(byte, b'A'..=b'Z' | b'2'..=b'7'),
        }
    }
}

/// Prefix, alphabet, fewest and most further characters, as the services publish them.
const KEYS: &[(&[u8], Alphabet, usize, usize)] = &[
    (b"AKIA", Alphabet::Base32, 16, 16),
    (b"ASIA", Alphabet::Base32, 16, 16),
    (b"ABIA", Alphabet::Base32, 16, 16),
    (b"ACCA", Alphabet::Base32, 16, 16),
    (b"ghp_", Alphabet::Word, 36, 255),
    (b"gho_", Alphabet::Word, 36, 255),
    (b"ghu_", Alphabet::Word, 36, 255),
    (b"ghs_", Alphabet::Word, 36, 255),
    (b"ghr_", Alphabet::Word, 36, 255),
    (b"github_pat_", Alphabet::Url, 50, 255),
    (b"glpat-", Alphabet::Dotted, 20, 300),
    (b"gldt-", Alphabet::Url, 20, 64),
    (b"glrt-", Alphabet::Dotted, 20, 64),
    (b"AIza", Alphabet::Url, 35, 35),
    (b"ya29.", Alphabet::Url, 20, 512),
    (b"xoxb-", Alphabet::Url, 20, 255),
    (b"xoxa-", Alphabet::Url, 20, 255),
    (b"xoxp-", Alphabet::Url, 20, 255),
    (b"xoxr-", Alphabet::Url, 20, 255),
    (b"xoxs-", Alphabet::Url, 20, 255),
    (b"xapp-", Alphabet::Url, 20, 255),
    (b"sk_live_", Alphabet::Word, 16, 255),
    (b"sk_test_", Alphabet::Word, 16, 255),
    (b"rk_live_", Alphabet::Word, 16, 255),
    (b"rk_test_", Alphabet::Word, 16, 255),
    (b"GOCSPX-", Alphabet::Url, 20, 64),
    (b"hooks.slack.com/services/", Alphabet::Path, 30, 90),
    (b"whsec_", Alphabet::Word, 24, 255),
    (b"sk-ant-", Alphabet::Url, 24, 255),
    (b"sk-proj-", Alphabet::Url, 20, 255),
    (b"sk-svcacct-", Alphabet::Url, 20, 255),
    (b"sk-", Alphabet::Word, 32, 128),
    (b"npm_", Alphabet::Word, 36, 36),
    (b"hf_", Alphabet::Word, 30, 64),
    (b"SG.", Alphabet::Dotted, 60, 72),
    (b"dapi", Alphabet::Hex, 32, 32),
];

/// A key or token that begins here.
pub fn key(text: &Text<'_>, start: usize) -> Option<Finding> {
    if !text.is_boundary(start) {
        return None;
    }
    if text.goes_on(start, b"eyJ") {
        return jwt(text, start);
    }
    if !matches!(
        text.at(start),
        b'A' | b'a' | b'g' | b'y' | b'x' | b's' | b'r' | b'w' | b'n' | b'h' | b'S' | b'd' | b'G'
    ) {
        return None;
    }
    KEYS.iter().find_map(|(prefix, alphabet, fewest, most)| {
        if !text.goes_on(start, prefix) {
            return None;
        }
        let from = start + prefix.len();
        let mut end = text.run(from, most + 1, |b| alphabet.has(b));
        // A full stop ends the sentence.
        while text.before(end) == b'.' {
            end -= 1;
        }
        let length = end - from;
        let digits = text.slice(from, end).iter().any(u8::is_ascii_digit);
        let formed = (*fewest..=*most).contains(&length) && (digits || length >= 30);
        (formed && !is_word(text.at(end))).then_some(Finding {
            start,
            end,
            category: Category::ApiKey,
        })
    })
}

/// Three parts in base64url; the first two are JSON objects.
fn jwt(text: &Text<'_>, start: usize) -> Option<Finding> {
    const LONGEST: usize = 8 << 10;
    let part = |from: usize| text.run(from, LONGEST, |b| Alphabet::Url.has(b));
    let header = part(start);
    if header < start + 10 || text.at(header) != b'.' || !text.goes_on(header + 1, b"ey") {
        return None;
    }
    let payload = part(header + 1);
    if payload < header + 11 || text.at(payload) != b'.' {
        return None;
    }
    let end = part(payload + 1);
    (end > payload + 10).then_some(Finding {
        start,
        end,
        category: Category::Jwt,
    })
}

/// `-----BEGIN … PRIVATE KEY-----` and all up to its end.
pub fn pem(text: &Text<'_>, start: usize) -> Option<Finding> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const LONGEST: usize = 16 << 10;
    if !text.goes_on(start, BEGIN) {
        return None;
    }
    let from = start + BEGIN.len();
    let title = text.run(from, 40, |b| b.is_ascii_uppercase() || b == b' ');
    let name = text.slice(from, title);
    if !(name.ends_with(b"PRIVATE KEY") || name.ends_with(b"PRIVATE KEY BLOCK"))
        || !text.goes_on(title, b"-----")
    {
        return None;
    }
    // What is cut off before its end is secret to where it goes.
    let mut end = text.run(title + 5, LONGEST, |b| b != b'-');
    if text.goes_on(end, b"-----END ") {
        end = text.run(end + 9, 40, |b| b != b'-');
        end = text.run(end, 5, |b| b == b'-');
    }
    Some(Finding {
        start,
        end,
        category: Category::PrivateKey,
    })
}

/// `://user:password@`, from the colon between the two.
pub fn in_url(text: &Text<'_>, colon: usize) -> Option<Finding> {
    let start = colon + 1;
    if !is_word(text.before(colon)) {
        return None;
    }
    let end = text.run(start, 64, |b| {
        b > b' ' && b < 0x7F && !matches!(b, b'@' | b'/' | b'"' | b'\'' | b'<' | b'>')
    });
    if end == start || text.at(end) != b'@' || !is_word(text.at(end + 1)) {
        return None;
    }
    let mut user = colon;
    while user > 0
        && colon - user < 64
        && (is_word(text.before(user)) || matches!(text.before(user), b'_' | b'-' | b'.' | b'%'))
    {
        user -= 1;
    }
    text.slice(user.saturating_sub(3), user)
        .eq(b"://")
        .then_some(Finding {
            start,
            end,
            category: Category::Password,
        })
}

/// The value behind a name such as `password`, where the name ends at the end of the word at
/// `word`: `password=…`, `"api_key": "…"`, `Bearer …`, `password is …`.
pub fn value(text: &Text<'_>, word: usize) -> Option<Finding> {
    let mut at = text.run(word, 64, |b| is_word(b) || matches!(b, b'_' | b'-'));
    let bearer = text.slice(word, at).eq_ignore_ascii_case(b"bearer");
    at = text.run(at, 3, |b| matches!(b, b'"' | b'\'' | b']' | b' '));
    let (mut assigned, mut said) = (false, false);
    if text.goes_on(at, b"is ") {
        at += 3;
        assigned = true;
        said = true;
    } else {
        let sign = text.run(at, 3, |b| matches!(b, b':' | b'=' | b'>'));
        assigned |= sign > at;
        at = sign;
    }
    if !assigned && !bearer {
        return None;
    }
    let mut start = text.run(at, 4, |b| matches!(b, b' ' | b'"' | b'\'' | b'`'));
    for scheme in [b"Basic ".as_slice(), b"Bearer "] {
        if text.goes_on(start, scheme) {
            start += scheme.len();
        }
    }
    if let Some(known) = key(text, start) {
        return Some(known);
    }
    let end = text.run(start, 256, |b| {
        b > b' '
            && !matches!(
                b,
                b'"' | b'\'' | b'`' | b',' | b';' | b'<' | b'>' | b'}' | b'|'
            )
            // Between the fields of a form, and in no sentence.
            && (said || b != b'&')
    });
    let mut end = end;
    while end > start && matches!(text.before(end), b'.' | b')' | b']') {
        end -= 1;
    }
    is_secret(text.slice(start, end)).then_some(Finding {
        start,
        end,
        category: Category::Password,
    })
}

/// Is the value no word, name or place holder, but something that nobody could guess?
fn is_secret(value: &[u8]) -> bool {
    if !(6..=256).contains(&value.len()) || value.iter().any(|b| matches!(b, b'(' | b'{' | b'[')) {
        return false;
    }
    let kinds = [
        value.iter().any(u8::is_ascii_lowercase),
        value.iter().any(u8::is_ascii_uppercase),
        value.iter().any(u8::is_ascii_digit),
        value.iter().any(|b| b"!@#$%^&*+?=~".contains(b)),
    ];
    let mixed = kinds.iter().filter(|kind| **kind).count();
    // Names in programs are mixed too (camelCase): without a digit or sign they are names.
    mixed >= 2
        && (kinds.get(2..).is_some_and(|k| k.contains(&true)))
        && bits_per_character(value) >= if value.len() < 16 { 2.5 } else { 3.0 }
}

/// Shannon's entropy of the distribution of bytes.
fn bits_per_character(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let length = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / length;
            -share * share.log2()
        })
        .sum()
}
