//! Numbers with forms and checksums of their own: cards, accounts, taxpayers, telephones.

use super::context::{Context, Topic};
use super::cursor::{Text, is_word};
use super::{Category, Finding};

/// The digits of a number that may be parted by single separators, and where it ends.
pub struct Digits {
    digits: [u8; 24],
    count: usize,
    /// Lengths of the groups.
    groups: [u8; 12],
    group_count: usize,
    /// The separator, if there is one and it is the same everywhere.
    pub separator: Option<u8>,
    mixed: bool,
    pub end: usize,
}

impl Digits {
    /// Reads digits and single separators among `between`, from a digit on.
    pub fn read(text: &Text<'_>, start: usize, between: &[u8]) -> Option<Self> {
        let mut read = Self {
            digits: [0; 24],
            count: 0,
            groups: [0; 12],
            group_count: 0,
            separator: None,
            mixed: false,
            end: start,
        };
        let mut at = start;
        loop {
            let stop = text.run(at, 25, |b| b.is_ascii_digit());
            for byte in text.slice(at, stop) {
                *read.digits.get_mut(read.count)? = byte - b'0';
                read.count += 1;
            }
            *read.groups.get_mut(read.group_count)? = u8::try_from(stop - at).ok()?;
            read.group_count += 1;
            read.end = stop;
            let separator = text.at(stop);
            if !between.contains(&separator) || !text.at(stop + 1).is_ascii_digit() {
                break;
            }
            match read.separator {
                None => read.separator = Some(separator),
                Some(known) => read.mixed |= known != separator,
            }
            at = stop + 1;
        }
        Some(read)
    }

    pub fn digits(&self) -> &[u8] {
        self.digits.get(..self.count).unwrap_or_default()
    }

    fn groups(&self) -> &[u8] {
        self.groups.get(..self.group_count).unwrap_or_default()
    }

    fn number(&self, from: usize, to: usize) -> u32 {
        self.digits
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .fold(0, |n, digit| n * 10 + u32::from(*digit))
    }

    fn all_equal(&self) -> bool {
        let digits = self.digits();
        digits.iter().all(|digit| Some(digit) == digits.first())
    }
}

/// Does a number stand alone between `start` and `end`, and not inside a longer one or a word?
pub fn alone(text: &Text<'_>, start: usize, end: usize) -> bool {
    let before = text.before(start);
    let after = text.at(end);
    let further = text.at(start.wrapping_sub(2));
    let glued_before = matches!(before, b'-' | b'.' | b'/' | b'_' | b'+' | b',')
        && (is_word(further) || before == b'_' || before == b'+');
    let glued_after = match after {
        b'-' | b'/' | b'_' | b':' => is_word(text.at(end + 1)),
        b'.' | b',' => text.at(end + 1).is_ascii_digit(),
        _ => false,
    };
    !is_word(before) && !glued_before && !is_word(after) && !glued_after
}

/// 13 to 19 digits of a known issuer that pass Luhn's check.
pub fn card(text: &Text<'_>, start: usize, context: &Context) -> Option<Finding> {
    let number = Digits::read(text, start, b" -")?;
    let grouped = match number.groups() {
        [13..=19] | [4, 4, 4, 4] | [4, 6, 5] | [4, 6, 4] | [4, 4, 4, 4, 3] => !number.mixed,
        _ => false,
    };
    if !grouped || !alone(text, start, number.end) || number.all_equal() || !luhn(number.digits()) {
        return None;
    }
    let sure = match (number.number(0, 6), number.digits().len()) {
        (400_000..=499_999, 16 | 19)
        | (510_000..=559_999 | 222_100..=272_099, 16)
        | (340_000..=349_999 | 370_000..=379_999, 15)
        | (
            601_100..=601_199 | 644_000..=659_999 | 352_800..=358_999 | 620_000..=629_999,
            16..=19,
        )
        | (300_000..=305_999 | 360_000..=369_999 | 380_000..=399_999, 14) => true,
        // Diners Club's longer ones, and Maestro.
        (300_000..=305_999 | 360_000..=369_999 | 380_000..=399_999, 15..=19)
        | (500_000..=509_999 | 560_000..=589_999 | 600_000..=699_999, 13..=19) => false,
        // Many a number of 13 digits begins with 4 and passes.
        (400_000..=499_999, 13) => false,
        _ => return None,
    };
    // A bare run of digits of an order may pass by chance.
    let bare = number.separator.is_none();
    let said = context.near(Topic::Card, text, start, number.end);
    let other = context.before(Topic::Thing, start);
    (said || (sure && !(bare && other))).then_some(Finding {
        start,
        end: number.end,
        category: Category::Card,
    })
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| {
            let digit = u32::from(*digit);
            match i % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A social security number, or an individual taxpayer's.
pub fn ssn(text: &Text<'_>, start: usize, context: &Context) -> Option<Finding> {
    let number = Digits::read(text, start, b" -")?;
    if number.mixed || !alone(text, start, number.end) || number.all_equal() {
        return None;
    }
    let formed = match number.groups() {
        [3, 2, 4] => true,
        [9] => context.near(Topic::TaxNumber, text, start, number.end),
        _ => return None,
    };
    let (area, group, serial) = (
        number.number(0, 3),
        number.number(3, 5),
        number.number(5, 9),
    );
    // The Social Security Administration's rules, and the IRS's for numbers from 900 on.
    let issued = match area {
        0 | 666 => false,
        900.. => matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99),
        _ => group != 0 && serial != 0,
    };
    // Printed in a wallet in 1938 and used by thousands since.
    let specimen = (area, group, serial) == (78, 5, 1120);
    let spaced_without_context = number.separator == Some(b' ')
        && !context.near(Topic::TaxNumber, text, start, number.end)
        && context.before(Topic::Thing, start);
    (formed && issued && !specimen && !spaced_without_context).then_some(Finding {
        start,
        end: number.end,
        category: Category::Ssn,
    })
}

/// Country codes and lengths of IBANs (SWIFT's registry).
const IBANS: &[(&[u8; 2], u8)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// An IBAN, bare or in groups of four.
pub fn iban(text: &Text<'_>, start: usize) -> Option<Finding> {
    if !text.at(start).is_ascii_alphabetic()
        || !text.at(start + 1).is_ascii_alphabetic()
        || !text.at(start + 2).is_ascii_digit()
        || !text.at(start + 3).is_ascii_digit()
        || !text.is_boundary(start)
    {
        return None;
    }
    let country = [
        text.at(start).to_ascii_uppercase(),
        text.at(start + 1).to_ascii_uppercase(),
    ];
    let length = IBANS
        .iter()
        .find(|(code, _)| **code == country)
        .map(|(_, length)| usize::from(*length))?;
    let mut letters = [0_u8; 40];
    let mut count = 0;
    let mut at = start;
    while count < length {
        let byte = text.at(at);
        if byte.is_ascii_alphanumeric() {
            *letters.get_mut(count)? = byte.to_ascii_uppercase();
            count += 1;
        } else if !(matches!(byte, b' ' | b'-') && count.is_multiple_of(4)) {
            return None;
        }
        at += 1;
    }
    if !text.ends_at(at) {
        return None;
    }
    // Check digits are 98 less a remainder.
    let check = u32::from(letters.get(2)? - b'0') * 10 + u32::from(letters.get(3)? - b'0');
    let (head, rest) = letters.get(..count)?.split_at_checked(4)?;
    let remainder = rest.iter().chain(head).fold(0_u32, |remainder, byte| {
        let longer = match byte {
            b'0'..=b'9' => remainder * 10 + u32::from(byte - b'0'),
            _ => remainder * 100 + u32::from(byte - b'A') + 10,
        };
        longer % 97
    });
    (remainder == 1 && (2..=98).contains(&check)).then_some(Finding {
        start,
        end: at,
        category: Category::Iban,
    })
}

/// A routing number's checksum: 3, 7 and 1 times its digits.
pub fn routing(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .zip([3_u32, 7, 1].iter().cycle())
        .map(|(digit, weight)| u32::from(*digit) * weight)
        .sum();
    let begin = digits
        .iter()
        .take(2)
        .fold(0_u32, |n, digit| n * 10 + u32::from(*digit));
    sum.is_multiple_of(10) && matches!(begin, 0..=12 | 21..=32 | 61..=72 | 80) && sum > 0
}

/// `+`, a country and 7 to 14 more digits.
pub fn international(text: &Text<'_>, start: usize) -> Option<Finding> {
    if is_word(text.before(start)) || !matches!(text.at(start + 1), b'1'..=b'9') {
        return None;
    }
    let (count, end, _) = dialled(text, start + 1);
    // +1.5 is a number, +2024-01-02 would be none in any country.
    ((8..=15).contains(&count) && text.ends_at(end) && text.at(start + 2) != b'.').then_some(
        Finding {
            start,
            end,
            category: Category::Phone,
        },
    )
}

/// Digits as people write them in telephone numbers: how many, where they end, and whether
/// anything parts them.
fn dialled(text: &Text<'_>, start: usize) -> (usize, usize, bool) {
    let (mut count, mut end, mut parted) = (0, start, false);
    let mut at = start;
    let mut gap = 0;
    while at < start + 32 {
        match text.at(at) {
            b'0'..=b'9' => {
                count += 1;
                end = at + 1;
                parted |= gap > 0 && count > 1;
                gap = 0;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if gap < 2 => gap += 1,
            _ => break,
        }
        at += 1;
    }
    (count, end, parted)
}

/// A number as it is dialled within a country, near a word that says so; never bare digits.
pub fn phone(text: &Text<'_>, start: usize, context: &Context) -> Option<Finding> {
    let before = text.before(start);
    if is_word(before) || matches!(before, b'_' | b'#' | b'$') {
        return None;
    }
    let glued = matches!(before, b'-' | b'.' | b'/') && is_word(text.at(start.wrapping_sub(2)));
    // 1-800-555-0199: the country's digit alone before the first separator.
    let country = text.at(start) == b'1'
        && matches!(text.at(start + 1), b'-' | b' ' | b'.')
        && matches!(text.at(start + 2), b'2'..=b'9');
    if glued || !(text.at(start + 1).is_ascii_digit() || country) {
        return None;
    }
    let (count, end, parted) = dialled(text, start);
    let open = text.at(start) == b'(';
    // Parentheses around all of a number are not a part of it.
    if open && !(start + 2..start + 8).any(|at| text.at(at) == b')' && at < end) {
        return None;
    }
    let formed = (7..=12).contains(&count) && (parted || open || text.at(start) == b'0');
    if !formed
        || !text.ends_at(end)
        || matches!(text.at(end), b':' | b'-') && text.at(end + 1).is_ascii_digit()
    {
        return None;
    }
    // The North American form with its area code in parentheses is nothing else.
    let certain = open
        && count == 10
        && text.at(start + 4) == b')'
        && matches!(text.at(start + 1), b'2'..=b'9');
    (certain || (!is_date(text.slice(start, end)) && context.near(Topic::Phone, text, start, end)))
        .then_some(Finding {
            start,
            end,
            category: Category::Phone,
        })
}

/// 2024-03-05, 05.03.2024 and the like.
fn is_date(piece: &[u8]) -> bool {
    let mut groups = piece
        .split(|b| matches!(b, b'-' | b'.' | b'/' | b' '))
        .map(<[u8]>::len);
    matches!(
        (groups.next(), groups.next(), groups.next()),
        (Some(4), Some(1..=2), Some(1..=2)) | (Some(1..=2), Some(1..=2), Some(4))
    )
}
