//! Days and times (UTC) as PostgreSQL writes them in JSON, and as people read them.

const DAY: i64 = 86_400_000_000;

/// Digits alone: neither a sign nor a space.
fn number(digits: &str) -> Option<i32> {
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().ok())?
}

fn two(digits: &str, most: i32) -> Option<i32> {
    number(digits).filter(|n| digits.len() == 2 && *n <= most)
}

/// Days since 1970 of a day that there is; years of any kind.
fn days_of(year: i32, month: i32, day: i32) -> i32 {
    // Years begin in March, so that the leap day is their last.
    let year = if month > 2 { year } else { year - 1 };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year
        - 719_468
}

/// Year, month and day of days since 1970.
#[must_use]
pub fn civil(days: i32) -> (i32, i32, i32) {
    let days = i64::from(days) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let in_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    let small = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    (small(year), small(month), small(day))
}

/// The same day so many months before, or the last of that month; None where there is no calendar any more.
#[must_use]
pub fn months_before(days: i32, months: i64) -> Option<i32> {
    let (year, month, day) = civil(days);
    let months = (i64::from(year) * 12 + i64::from(month) - 1).checked_sub(months)?;
    let year = i32::try_from(months.div_euclid(12)).ok()?;
    if !(-5_000..=300_000).contains(&year) {
        return None;
    }
    let month = i32::try_from(months.rem_euclid(12)).ok()? + 1;
    let (next_year, next_month) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    let first = days_of(year, month, 1);
    let length = days_of(next_year, next_month, 1) - first;
    Some(first + day.min(length) - 1)
}

/// Days since 1970 of `YYYY-MM-DD`, with as many digits of the year as it has, at least four.
#[must_use]
pub fn parse_date(text: &str) -> Option<i32> {
    let (text, before) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut parts = text.splitn(3, '-');
    let year = parts
        .next()
        .filter(|y| (4..=7).contains(&y.len()))
        .and_then(number)?;
    let (month, day) = (two(parts.next()?, 12)?, two(parts.next()?, 31)?);
    let year = if before { 1 - year } else { year };
    let days = days_of(year, month.max(1), day);
    // Where there is no such day, it is another one that comes back.
    (civil(days) == (year, month, day)).then_some(days)
}

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM:SS[.ffffff]+00:00`.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    let (text, before) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let (date, time) = text.strip_suffix("+00:00")?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.splitn(3, ':');
    let (hours, minutes) = (two(parts.next()?, 23)?, two(parts.next()?, 59)?);
    let seconds = two(parts.next()?, 59)?;
    let fraction = Some(fraction).filter(|f| f.len() <= 6);
    let fraction = number(&format!("{:0<6}", fraction?))?;
    let days = i64::from(parse_date(&format!("{date}{before}"))?);
    let seconds = days * 86_400 + i64::from((hours * 60 + minutes) * 60 + seconds);
    Some(seconds * 1_000_000 + i64::from(fraction))
}

/// A day since 1970, for people.
#[must_use]
pub fn date(days: i32) -> String {
    let (year, month, day) = civil(days);
    match (days, year) {
        (i32::MIN, _) => "-infinity".to_owned(),
        (i32::MAX, _) => "infinity".to_owned(),
        (_, 1..) => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{:04}-{month:02}-{day:02} BC", 1 - year),
    }
}

/// Microseconds since 1970, for people: to the second.
#[must_use]
pub fn time(at: i64) -> String {
    let day =
        date(i32::try_from(at.div_euclid(DAY)).unwrap_or(if at < 0 { i32::MIN } else { i32::MAX }));
    let seconds = at.rem_euclid(DAY) / 1_000_000;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{day} {hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2026-11-21", 20_778),
            ("1969-12-31", -1),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            ("4714-11-24 BC", -2_440_588),
            ("294276-12-31", 106_762_939),
        ] {
            assert_eq!(parse_date(text), Some(days), "{text}");
            assert_eq!(date(days), text);
        }
        for text in [
            "2000-13-01",
            "2000-00-01",
            "2001-02-29",
            "2000-02-30",
            "2000-1-01",
            "+2000-01-01",
            "200-01-01",
            "2000-01-0 1",
            "",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn times() {
        for (text, at) in [
            ("1970-01-02T00:00:01.5+00:00", 86_401_500_000),
            ("2000-01-01T00:00:00+00:00", 946_684_800_000_000),
            ("1969-12-31T23:59:59.999999+00:00", -1),
            ("0001-12-31T00:00:00+00:00 BC", -719_163 * DAY),
        ] {
            assert_eq!(parse_time(text), Some(at), "{text}");
        }
        assert_eq!(time(86_401_500_000), "1970-01-02 00:00:01");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
        // One time is written in one way: nobody reads another day than is hashed.
        for text in [
            "2000-01-01T00:00:00+02:00",
            "2000-01-01T24:00:00+00:00",
            "2000-01-01T00:60:00+00:00",
            "2000-01-01T00:00:60+00:00",
            "2000-01-01T0:00:00+00:00",
            "2000-01-01T00:00:00.-1+00:00",
            "2000-01-01T00:00:00.1234567+00:00",
            "2000-01-01 00:00:00+00:00",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
