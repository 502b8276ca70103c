//! Numbers of identity documents and dates of birth. All of them need a word that says what they
//! are; most have a checksum besides.

use super::context::{Context, Topic};
use super::cursor::{Text, is_word};
use super::number::{Digits, alone, routing};
use super::{Category, Finding};

/// Documents that are digits only.
pub fn numbered(text: &Text<'_>, start: usize, context: &Context) -> Option<Finding> {
    let number = Digits::read(text, start, b" -")?;
    if !alone(text, start, number.end) {
        return None;
    }
    let digits = number.digits();
    let said = |topic| context.near(topic, text, start, number.end);
    let category = match digits.len() {
        9 if said(Topic::Routing) && routing(digits) => Category::RoutingNumber,
        10 if said(Topic::Nhs) && nhs(digits) => Category::Nhs,
        11 if said(Topic::Pesel) && pesel(digits) => Category::Pesel,
        12 if said(Topic::Aadhaar) && digits.first() > Some(&1) && verhoeff(digits) => {
            Category::Aadhaar
        }
        7..=9 if number.separator.is_none() && said(Topic::Passport) => Category::Passport,
        _ => return None,
    };
    Some(Finding {
        start,
        end: number.end,
        category,
    })
}

/// Modulus 11 over nine digits weighted 10 to 2.
fn nhs(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else {
        return false;
    };
    let sum: u32 = rest
        .iter()
        .zip((2..=10).rev())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    (11 - sum % 11) % 11 == u32::from(*check)
}

fn pesel(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .zip([1_u32, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1])
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    let two = |at: usize| {
        digits
            .get(at..at + 2)
            .unwrap_or_default()
            .iter()
            .fold(0, |n, digit| n * 10 + u32::from(*digit))
    };
    // The month carries the century in steps of 20.
    sum.is_multiple_of(10) && matches!(two(2) % 20, 1..=12) && matches!(two(4), 1..=31)
}

/// Verhoeff's check, in the dihedral group of order ten.
fn verhoeff(digits: &[u8]) -> bool {
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a - 5 + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    const TURN: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    digits
        .iter()
        .rev()
        .enumerate()
        .fold(0, |check, (i, digit)| {
            let turned = (0..i % 8).fold(*digit, |d, _| {
                TURN.get(usize::from(d)).copied().unwrap_or(d)
            });
            product(check, turned)
        })
        == 0
}

/// Documents that have letters in them.
pub fn lettered(text: &Text<'_>, start: usize, context: &Context) -> Option<Finding> {
    if !text.is_boundary(start) || matches!(text.before(start), b'-' | b'.' | b'/') {
        return None;
    }
    let end = text.end_of_word(start);
    let whole = text.ends_at(end) && text.at(end) != b'-';
    let word = text.slice(start, end);
    let said = |topic| context.near(topic, text, start, end);
    let found = |category, end| {
        Some(Finding {
            start,
            end,
            category,
        })
    };
    if whole && word.len() == 10 && is_pan(word) && said(Topic::Pan) {
        return found(Category::Pan, end);
    }
    if let Some(end) = nino(text, start)
        && (end > start + 9 || context.near(Topic::Nino, text, start, end))
    {
        return found(Category::Nino, end);
    }
    let digits = word.iter().filter(|b| b.is_ascii_digit()).count();
    let letters = word.len() - digits;
    if whole
        && (8..=9).contains(&word.len())
        && (1..=3).contains(&letters)
        && digits >= 6
        && word
            .iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && said(Topic::Passport)
    {
        return found(Category::Passport, end);
    }
    None
}

fn is_pan(word: &[u8]) -> bool {
    word.iter().enumerate().all(|(i, b)| match i {
        3 => b"ABCFGHLJPT".contains(b),
        5..=8 => b.is_ascii_digit(),
        _ => b.is_ascii_uppercase(),
    })
}

/// Two letters, six digits, a letter from A to D; in pairs with blanks, or without any.
fn nino(text: &Text<'_>, start: usize) -> Option<usize> {
    let (a, b) = (text.at(start), text.at(start + 1));
    // HM Revenue & Customs: letters and pairs that are not given out.
    let given = a.is_ascii_uppercase()
        && b.is_ascii_uppercase()
        && !b"DFIQUV".contains(&a)
        && !b"DFIOQUV".contains(&b)
        && !matches!(
            &[a, b],
            b"BG" | b"GB" | b"NK" | b"KN" | b"TN" | b"NT" | b"ZZ"
        );
    if !given {
        return None;
    }
    let mut at = start + 2;
    let spaced = text.at(at) == b' ';
    for _pair in 0..3 {
        at += usize::from(spaced);
        if spaced && text.before(at) != b' '
            || !text.at(at).is_ascii_digit()
            || !text.at(at + 1).is_ascii_digit()
        {
            return None;
        }
        at += 2;
    }
    at += usize::from(spaced && text.at(at) == b' ');
    (matches!(text.at(at), b'A'..=b'D') && text.ends_at(at + 1)).then_some(at + 1)
}

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// A date, near a word that says that it is somebody's birth.
pub fn birth_date(text: &Text<'_>, start: usize, context: &Context) -> Option<Finding> {
    if !text.is_boundary(start) {
        return None;
    }
    let end = if text.at(start).is_ascii_digit() {
        compact_date(text, start)
            .or_else(|| numeric_date(text, start))
            .or_else(|| day_month_year(text, start))
    } else {
        month_day_year(text, start)
    }?;
    // The date of a moment goes on with its time.
    let moment = text.at(end) == b'T' && text.at(end + 1).is_ascii_digit();
    ((moment || text.ends_at(end)) && context.near(Topic::Birth, text, start, end)).then_some(
        Finding {
            start,
            end,
            category: Category::BirthDate,
        },
    )
}

/// 19800517
fn compact_date(text: &Text<'_>, start: usize) -> Option<usize> {
    let end = text.run(start, 9, |b| b.is_ascii_digit());
    let number = text
        .slice(start, end)
        .iter()
        .fold(0_u32, |n, b| n * 10 + u32::from(b - b'0'));
    (end - start == 8
        && is_year(number / 10_000)
        && (1..=12).contains(&(number / 100 % 100))
        && (1..=31).contains(&(number % 100)))
    .then_some(end)
}

fn numeric_date(text: &Text<'_>, start: usize) -> Option<usize> {
    let number = Digits::read(text, start, b"-/.")?;
    let digits = text.slice(start, number.end);
    let mut groups = digits.split(|b| Some(*b) == number.separator);
    let mut next = || {
        let group = groups.next().filter(|group| group.len() <= 4)?;
        let value = group.iter().try_fold(0_u32, |n, b| {
            b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0'))
        })?;
        Some((group.len(), value))
    };
    let (first, second, third) = (next()?, next()?, next()?);
    if groups.next().is_some() {
        return None;
    }
    let day_and_month =
        |a: u32, b: u32| (1..=31).contains(&a) && (1..=31).contains(&b) && (a <= 12 || b <= 12);
    let dated = match (first, second, third) {
        ((4, year), (1..=2, month), (1..=2, day)) => is_year(year) && day_and_month(day, month),
        ((1..=2, a), (1..=2, b), (4, year)) => is_year(year) && day_and_month(a, b),
        ((1..=2, a), (1..=2, b), (2, _)) => day_and_month(a, b),
        _ => false,
    };
    dated.then_some(number.end)
}

fn is_year(year: u32) -> bool {
    (1880..=2100).contains(&year)
}

fn month(text: &Text<'_>, start: usize) -> Option<usize> {
    let end = text.end_of_word(start);
    let word = text.slice(start, end).to_ascii_lowercase();
    (word.len() <= 9 && MONTHS.iter().any(|m| word.starts_with(m))).then_some(end)
}

fn year(text: &Text<'_>, start: usize) -> Option<usize> {
    let end = text.run(start, 5, |b| b.is_ascii_digit());
    let value = text
        .slice(start, end)
        .iter()
        .fold(0_u32, |n, b| n * 10 + u32::from(b - b'0'));
    (end - start == 4 && is_year(value)).then_some(end)
}

fn skip(text: &Text<'_>, start: usize) -> usize {
    text.run(start, 3, |b| matches!(b, b' ' | b',' | b'.' | b'-'))
}

/// One or two digits and an ordinal's ending.
fn day(text: &Text<'_>, start: usize) -> Option<usize> {
    let end = text.run(start, 3, |b| b.is_ascii_digit());
    if end == start || end - start > 2 {
        return None;
    }
    let ending = [b"st", b"nd", b"rd", b"th"]
        .iter()
        .any(|ending| text.goes_on(end, *ending));
    Some(if ending { end + 2 } else { end })
}

/// 12 March 1980
fn day_month_year(text: &Text<'_>, start: usize) -> Option<usize> {
    let end = day(text, start)?;
    let mut name = skip(text, end);
    if text.goes_on(name, b"of ") {
        name += 3;
    }
    let end = month(text, name).filter(|_| !is_word(text.at(end)))?;
    year(text, skip(text, end))
}

/// March 12, 1980
fn month_day_year(text: &Text<'_>, start: usize) -> Option<usize> {
    let end = month(text, start)?;
    let end = day(text, skip(text, end))?;
    year(text, skip(text, end))
}
