//! Personal data and secrets in running text: what the mask `scrub` replaces.
//!
//! One pass over the bytes looks for places where something may begin (an `@`, the first digit of a
//! number, the first letter of a word); a check for each category decides there. Forms that
//! occur by chance as well (nine digits, a date) need a checksum, a context word nearby
//! (`ssn`, `born`), or both. No check looks further than a fixed distance, so the time is linear
//! in the length of any input. The text may be in any encoding in which ASCII bytes mean ASCII,
//! which all server encodings of PostgreSQL are.
#![deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod address;
mod context;
mod cursor;
mod document;
mod json;
mod number;
mod secret;

use context::Context;
use cursor::Text;
use std::borrow::Cow;

pub use json::scrub_json;
pub(crate) use json::scrubbed as scrub_value;

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// An email address.
    Email,
    /// A US social security or taxpayer number.
    Ssn,
    /// A payment card's number.
    Card,
    /// An international bank account number.
    Iban,
    /// A US bank's routing number.
    RoutingNumber,
    /// A telephone number.
    Phone,
    /// An IPv4 or IPv6 address.
    IpAddress,
    /// A network interface's address.
    MacAddress,
    /// A key of a service, known by its prefix.
    ApiKey,
    /// A JSON Web Token.
    Jwt,
    /// A private key in PEM form.
    PrivateKey,
    /// A value that is called password, secret, token and the like.
    Password,
    /// A UK national insurance number.
    Nino,
    /// A UK National Health Service number.
    Nhs,
    /// An Indian Aadhaar number.
    Aadhaar,
    /// An Indian permanent account number.
    Pan,
    /// A Polish PESEL number.
    Pesel,
    /// A passport's number.
    Passport,
    /// A date of birth.
    BirthDate,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 19] = [
        Self::Email,
        Self::Ssn,
        Self::Card,
        Self::Iban,
        Self::RoutingNumber,
        Self::Phone,
        Self::IpAddress,
        Self::MacAddress,
        Self::ApiKey,
        Self::Jwt,
        Self::PrivateKey,
        Self::Password,
        Self::Nino,
        Self::Nhs,
        Self::Aadhaar,
        Self::Pan,
        Self::Pesel,
        Self::Passport,
        Self::BirthDate,
    ];

    /// The category's name, as it stands in the place of what was found, in brackets.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Ssn => "SSN",
            Self::Card => "CARD",
            Self::Iban => "IBAN",
            Self::RoutingNumber => "ROUTING_NUMBER",
            Self::Phone => "PHONE",
            Self::IpAddress => "IP_ADDRESS",
            Self::MacAddress => "MAC_ADDRESS",
            Self::ApiKey => "API_KEY",
            Self::Jwt => "JWT",
            Self::PrivateKey => "PRIVATE_KEY",
            Self::Password => "PASSWORD",
            Self::Nino => "NINO",
            Self::Nhs => "NHS_NUMBER",
            Self::Aadhaar => "AADHAAR",
            Self::Pan => "PAN",
            Self::Pesel => "PESEL",
            Self::Passport => "PASSPORT",
            Self::BirthDate => "DATE_OF_BIRTH",
        }
    }
}

/// A piece of a text, from byte `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub start: usize,
    pub end: usize,
    pub category: Category,
}

/// Everything of a category that the text holds, in order, without overlaps.
///
/// ```
/// use policy::sensitive::{find, Category};
/// let found = find(b"write to anna@example.org today");
/// assert_eq!((found[0].start, found[0].end, found[0].category), (9, 25, Category::Email));
/// ```
#[must_use]
pub fn find(text: &[u8]) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    scan(text, |finding| found.push(finding));
    found
}

/// The text with each finding replaced by its category in brackets; borrowed if there is none.
///
/// ```
/// assert_eq!(&*policy::sensitive::scrub(b"call +44 20 7946 0958"), b"call [PHONE]");
/// ```
#[must_use]
pub fn scrub(text: &[u8]) -> Cow<'_, [u8]> {
    let mut clean: Vec<u8> = Vec::new();
    let mut done = 0;
    let mut any = false;
    scan(text, |finding| {
        any = true;
        clean.extend_from_slice(text.get(done..finding.start).unwrap_or_default());
        clean.push(b'[');
        clean.extend_from_slice(finding.category.word().as_bytes());
        clean.push(b']');
        done = finding.end;
    });
    if !any {
        return Cow::Borrowed(text);
    }
    clean.extend_from_slice(text.get(done..).unwrap_or_default());
    Cow::Owned(clean)
}

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Nothing,
    Letter,
    Digit,
    /// `@`, `+`, `-`, `:` and `(`.
    Sign,
}

const BEGIN: [Begin; 256] = {
    let mut table = [Begin::Nothing; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        // Every index is below 256.
        #[allow(clippy::indexing_slicing)]
        {
            table[i] = if byte.is_ascii_digit() {
                Begin::Digit
            } else if byte.is_ascii_alphabetic() || byte >= 0x80 {
                Begin::Letter
            } else if matches!(byte, b'@' | b'+' | b'-' | b':' | b'(') {
                Begin::Sign
            } else {
                Begin::Nothing
            };
        }
        i += 1;
    }
    table
};

fn begin(byte: u8) -> Begin {
    BEGIN
        .get(usize::from(byte))
        .copied()
        .unwrap_or(Begin::Nothing)
}

fn scan(bytes: &[u8], mut found: impl FnMut(Finding)) {
    let text = Text::new(bytes);
    let mut context = Context::default();
    // Where the last finding ended: what begins before may not be found again.
    let mut free = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = text.at(at);
        let kind = begin(byte);
        if kind == Begin::Nothing {
            at += 1;
            continue;
        }
        let finding = match kind {
            Begin::Sign => at_sign(&text, at, free, &context),
            Begin::Digit => at_number(&text, at, &context),
            _ => at_word(&text, at, &mut context),
        };
        match finding {
            Some(finding) if finding.start >= free && finding.end > finding.start => {
                at = finding.end.max(at + 1);
                free = finding.end;
                found(finding);
            }
            _ if kind == Begin::Sign => at += 1,
            // The rest of the word or number begins nothing.
            _ => at = text.end_of_word(at),
        }
    }
}

fn at_sign(text: &Text<'_>, at: usize, free: usize, context: &Context) -> Option<Finding> {
    match text.at(at) {
        b'@' => address::email(text, at, free),
        b'+' => number::international(text, at),
        b'(' => number::phone(text, at, context),
        b'-' => secret::pem(text, at),
        b':' => address::from_colon(text, at).or_else(|| secret::in_url(text, at)),
        _ => None,
    }
}

fn at_number(text: &Text<'_>, at: usize, context: &Context) -> Option<Finding> {
    if text.starts_email(at) {
        return None;
    }
    address::ip_or_mac(text, at)
        .or_else(|| number::card(text, at, context))
        .or_else(|| number::ssn(text, at, context))
        .or_else(|| document::numbered(text, at, context))
        .or_else(|| document::birth_date(text, at, context))
        .or_else(|| number::phone(text, at, context))
}

fn at_word(text: &Text<'_>, at: usize, context: &mut Context) -> Option<Finding> {
    let finding = secret::key(text, at)
        .or_else(|| number::iban(text, at))
        .or_else(|| address::ip_or_mac(text, at))
        .or_else(|| document::lettered(text, at, context))
        .or_else(|| document::birth_date(text, at, context));
    if finding.is_some() {
        return finding;
    }
    let named = context.read(text, at);
    if named {
        return secret::value(text, at);
    }
    None
}
