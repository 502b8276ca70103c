//! Masked values. Total: every input gives a result, and none of them allocates.

/// How a text is cut for the mask `partial`: `head` and `tail` bytes stay, `hidden` characters
/// between them become pads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    pub head: usize,
    pub hidden: usize,
    pub tail: usize,
}

const fn too_short(keep_first: usize, keep_last: usize) -> Partial {
    // A fixed width: the length of a short value would say too much about it.
    Partial {
        head: 0,
        hidden: keep_first.saturating_add(keep_last),
        tail: 0,
    }
}

/// One byte, one character: single-byte encodings and SQL_ASCII.
#[must_use]
#[inline]
pub const fn partial_bytes(len: usize, keep_first: usize, keep_last: usize) -> Partial {
    let keep = keep_first.saturating_add(keep_last);
    if len <= keep {
        return too_short(keep_first, keep_last);
    }
    Partial {
        head: keep_first,
        hidden: len - keep,
        tail: keep_last,
    }
}

/// UTF-8. A byte that does not continue a character begins one, well-formed or not.
#[must_use]
pub fn partial_utf8(value: &[u8], keep_first: usize, keep_last: usize) -> Partial {
    if value.is_ascii() {
        return partial_bytes(value.len(), keep_first, keep_last);
    }
    let begins = |byte: u8| byte & 0xC0 != 0x80;
    let chars = value.iter().filter(|b| begins(**b)).count();
    let keep = keep_first.saturating_add(keep_last);
    if chars <= keep {
        return too_short(keep_first, keep_last);
    }
    let nth = |n: usize| {
        value
            .iter()
            .enumerate()
            .filter(|(_, b)| begins(**b))
            .nth(n)
            .map_or(value.len(), |(i, _)| i)
    };
    let tail_begin = if keep_last == 0 {
        value.len()
    } else {
        nth(chars - keep_last)
    };
    Partial {
        head: if keep_first == 0 { 0 } else { nth(keep_first) },
        hidden: chars - keep,
        tail: value.len() - tail_begin,
    }
}

/// Any other encoding: `char_len` says how long the character at the begin of its input is.
#[must_use]
pub fn partial_multibyte(
    value: &[u8],
    keep_first: usize,
    keep_last: usize,
    mut char_len: impl FnMut(&[u8]) -> usize,
) -> Partial {
    let mut walk = |limit: usize| {
        let (mut at, mut chars) = (0usize, 0usize);
        while chars < limit {
            match value.get(at..) {
                Some(rest) if !rest.is_empty() => {
                    at = at.saturating_add(char_len(rest).max(1)).min(value.len());
                    chars += 1;
                }
                _ => break,
            }
        }
        (at, chars)
    };
    let (_, chars) = walk(usize::MAX);
    let keep = keep_first.saturating_add(keep_last);
    if chars <= keep {
        return too_short(keep_first, keep_last);
    }
    Partial {
        head: walk(keep_first).0,
        hidden: chars - keep,
        tail: value.len() - walk(chars - keep_last).0,
    }
}

/// How many bytes the first character of an e-mail address has; `None` for what is not one: one @
/// with something on both sides, no blanks, no control characters.
#[must_use]
pub fn email_first_char(value: &[u8]) -> Option<usize> {
    // Eight bytes at a time: addresses are short, and this is most of what the mask costs.
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES * 0x80;
    let (mut bad, mut count, mut first_at) = (0, 0, usize::MAX);
    let mut look = |v: u64, offset: usize| {
        // The classic tests for "some byte is below n" and "some byte is zero" (Bit Twiddling Hacks).
        bad |= v.wrapping_sub(ONES * 0x21) & !v & HIGH;
        let delete = v ^ (ONES * 0x7F);
        bad |= delete.wrapping_sub(ONES) & !delete & HIGH;
        // Exact for each byte: the high bit of every @.
        let at = v ^ (ONES * 0x40);
        let at = !(((at & !HIGH) + !HIGH) | at | !HIGH);
        if at != 0 {
            count += at.count_ones();
            first_at = first_at.min(offset + at.trailing_zeros() as usize / 8);
        }
    };
    let (eights, rest) = value.as_chunks::<8>();
    for (i, eight) in eights.iter().enumerate() {
        look(u64::from_le_bytes(*eight), i * 8);
    }
    let last = rest
        .iter()
        .rev()
        .fold(ONES * u64::from(b'a'), |v, byte| v << 8 | u64::from(*byte));
    look(last, eights.len() * 8);
    if bad != 0 || count != 1 {
        return None;
    }
    let local = value.get(..first_at)?;
    let (first, rest) = local.split_first()?;
    if local.len() + 1 == value.len() {
        return None;
    }
    Some(if *first < 0x80 {
        1
    } else {
        1 + rest.iter().take_while(|b| **b & 0xC0 == 0x80).count()
    })
}

/// The greatest multiple of `size` at or below `value`, or the least value of the type.
/// `None` for a size below 1.
#[must_use]
pub const fn bucket(value: i64, size: i64, least: i64) -> Option<i64> {
    if size < 1 {
        return None;
    }
    match value.checked_sub(value.rem_euclid(size)) {
        Some(floor) if floor >= least => Some(floor),
        _ => Some(least),
    }
}

/// `None` unless `size` is above 0.
#[must_use]
pub fn bucket_float(value: f64, size: f64) -> Option<f64> {
    if size.is_nan() || size <= 0.0 {
        return None;
    }
    if !value.is_finite() {
        return Some(value);
    }
    let floor = (value / size).floor() * size;
    // Only for extreme quotients; a bucket that hides nothing must not come of them.
    Some(if floor.is_finite() { floor } else { 0.0 })
}

/// Units of the mask `truncate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Decade,
    Year,
    Quarter,
    Month,
    Week,
    Day,
    Hour,
    Minute,
}

impl Unit {
    /// Those that hide something of a date.
    pub const OF_DATE: &'static [&'static str] = &["decade", "year", "quarter", "month", "week"];
    pub const OF_TIMESTAMP: &'static [&'static str] = &[
        "decade", "year", "quarter", "month", "week", "day", "hour", "minute",
    ];

    #[must_use]
    pub const fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"decade" => Self::Decade,
            b"year" => Self::Year,
            b"quarter" => Self::Quarter,
            b"month" => Self::Month,
            b"week" => Self::Week,
            b"day" => Self::Day,
            b"hour" => Self::Hour,
            b"minute" => Self::Minute,
            _ => return None,
        })
    }
}

/// Days before 2000-01-01 of the first day PostgreSQL knows, 4714-11-24 BC.
pub const FIRST_DAY: i64 = -2_451_545;
const USECS_PER_DAY: i64 = 86_400_000_000;
/// The day 2000-01-01 counted from 0000-03-01 in the proleptic Gregorian calendar.
const EPOCH_FROM_MARCH_0: i64 = 730_425;

/// Begin of the unit that the day is in; both in days from 2000-01-01. Not below [`FIRST_DAY`].
#[must_use]
pub fn truncate_day(day: i64, unit: Unit) -> i64 {
    let begin = match unit {
        Unit::Day | Unit::Hour | Unit::Minute => day,
        // 2000-01-03 was a Monday.
        Unit::Week => day - (day - 2).rem_euclid(7),
        Unit::Month | Unit::Quarter | Unit::Year | Unit::Decade => {
            let (year, month) = civil(day);
            let (year, month) = match unit {
                Unit::Month => (year, month),
                Unit::Quarter => (year, (month - 1) / 3 * 3 + 1),
                Unit::Decade => (year - year.rem_euclid(10), 1),
                _ => (year, 1),
            };
            first_of_month(year, month)
        }
    };
    begin.max(FIRST_DAY)
}

/// Begin of the unit that the moment is in; both in microseconds from 2000-01-01 00:00.
#[must_use]
pub fn truncate_moment(moment: i64, unit: Unit) -> i64 {
    let floor_to = |step: i64| moment.saturating_sub(moment.rem_euclid(step));
    match unit {
        Unit::Minute => floor_to(60_000_000),
        Unit::Hour => floor_to(3_600_000_000),
        Unit::Day => floor_to(USECS_PER_DAY),
        _ => truncate_day(moment.div_euclid(USECS_PER_DAY), unit).saturating_mul(USECS_PER_DAY),
    }
}

/// Astronomical year (1 BC is 0) and month of a day. Years begin in March here, so that the leap
/// day is the last of its year (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn civil(day: i64) -> (i64, i64) {
    let day = day + EPOCH_FROM_MARCH_0;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    (era * 400 + year_of_era + (month <= 2) as i64, month)
}

const fn first_of_month(year: i64, month: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year
        - EPOCH_FROM_MARCH_0
}

/// Clears the bits of an address beyond `bits`.
pub fn clear_host_bits(address: &mut [u8], bits: usize) {
    for (i, byte) in address.iter_mut().enumerate() {
        let keep = bits.saturating_sub(i * 8).min(8);
        *byte &= !(0xFFu16 >> keep) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(value: &str, first: usize, last: usize) -> String {
        let p = partial_utf8(value.as_bytes(), first, last);
        let other = partial_multibyte(value.as_bytes(), first, last, |rest| {
            std::str::from_utf8(rest)
                .ok()
                .and_then(|s| s.chars().next())
                .map_or(1, char::len_utf8)
        });
        assert_eq!(p, other, "{value}");
        let head = value.get(..p.head).unwrap_or("?");
        let tail = value.get(value.len() - p.tail..).unwrap_or("?");
        format!("{head}{}{tail}", "*".repeat(p.hidden))
    }

    #[test]
    fn partial_counts_characters() {
        assert_eq!(cut("123-45-6789", 0, 4), "*******6789");
        assert_eq!(cut("José Müller", 2, 2), "Jo*******er");
        assert_eq!(cut("ÄÖÜß", 1, 1), "Ä**ß");
        assert_eq!(cut("ÄÖÜß", 1, 0), "Ä***");
        assert_eq!(cut("abcd", 0, 4), "****");
        assert_eq!(cut("a", 0, 4), "****");
        assert_eq!(cut("", 0, 4), "****");
        assert_eq!(cut("", 0, 0), "");
        assert_eq!(cut("abc", 0, 0), "***");
        assert_eq!(partial_utf8(b"\x80\x80\x80", 1, 1), too_short(1, 1));
        assert_eq!(partial_bytes(3, usize::MAX, usize::MAX).head, 0);
    }

    #[test]
    fn email() {
        assert_eq!(email_first_char(b"alice@example.com"), Some(1));
        assert_eq!(email_first_char("ünal@example.com".as_bytes()), Some(2));
        for at in 1..40 {
            let long = format!("{}@{}", "x".repeat(at), "y".repeat(40 - at));
            assert_eq!(email_first_char(long.as_bytes()), Some(1), "{long}");
            for odd in ["@", " ", "\t", "\x7f", "\0"] {
                for place in 0..long.len() {
                    let mut bad = long.clone();
                    bad.insert_str(place, odd);
                    assert_eq!(email_first_char(bad.as_bytes()), None, "{bad:?}");
                }
            }
        }
        assert_eq!(email_first_char("a\u{80}\u{ff}~!@ÿ".as_bytes()), Some(1));
        for bad in ["", "@", "a@", "@b", "a b@c", "a@b c", "a@b@c", "nobody"] {
            assert_eq!(email_first_char(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn bucket_floors() {
        assert_eq!(bucket(19, 10, i64::MIN), Some(10));
        assert_eq!(bucket(-1, 10, i64::MIN), Some(-10));
        assert_eq!(bucket(-10, 10, i64::MIN), Some(-10));
        assert_eq!(bucket(i64::MIN, 10, i64::MIN), Some(i64::MIN));
        assert_eq!(
            bucket(i64::from(i32::MIN), 10, i64::from(i32::MIN)),
            Some(i64::from(i32::MIN))
        );
        assert_eq!(bucket(5, 0, i64::MIN), None);
        assert_eq!(bucket_float(-0.5, 1.0), Some(-1.0));
        assert_eq!(bucket_float(1e308, 1e-300), Some(0.0));
        assert_eq!(bucket_float(1.0, f64::NAN), None);
    }

    #[test]
    fn dates() {
        // 2000-01-01, the day before, and a leap day
        assert_eq!(civil(0), (2000, 1));
        assert_eq!(civil(-1), (1999, 12));
        assert_eq!(civil(59), (2000, 2));
        assert_eq!(civil(60), (2000, 3));
        assert_eq!(civil(FIRST_DAY), (-4713, 11));
        assert_eq!(truncate_day(59, Unit::Month), 31);
        assert_eq!(truncate_day(365, Unit::Year), 0);
        assert_eq!(truncate_day(366, Unit::Year), 366);
        assert_eq!(truncate_day(1, Unit::Week), -5);
        assert_eq!(truncate_day(2, Unit::Week), 2);
        assert_eq!(truncate_day(FIRST_DAY, Unit::Year), FIRST_DAY);
        for day in (FIRST_DAY..3_000_000).step_by(17) {
            let (year, month) = civil(day);
            let begin = first_of_month(year, month);
            assert!(begin <= day && day - begin < 31, "{day}");
            assert_eq!(civil(begin), (year, month));
        }
        assert_eq!(truncate_moment(-1, Unit::Day), -USECS_PER_DAY);
        assert_eq!(truncate_moment(i64::MIN, Unit::Hour), i64::MIN);
    }

    #[test]
    fn host_bits() {
        let mut v4 = [192, 168, 17, 233];
        clear_host_bits(&mut v4, 20);
        assert_eq!(v4, [192, 168, 16, 0]);
        clear_host_bits(&mut v4, 0);
        assert_eq!(v4, [0; 4]);
    }
}
