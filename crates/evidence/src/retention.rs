//! How long days are kept: what the note of a block of kind 4 says, and whether a day was over then.

use crate::calendar;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// An interval, as PostgreSQL has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    months: i64,
    days: i64,
    micros: i64,
}

/// What a note says: `{"keep": {"months": 1, "days": 0, "us": 0}, …}`; `"keep": null`, that days are kept for
/// ever, is `Some(None)`.
#[must_use]
pub fn of_note(note: &str) -> Option<Option<Keep>> {
    let note: serde_json::Value = serde_json::from_str(note).ok()?;
    let keep = note.get("keep")?;
    if keep.is_null() {
        return Some(None);
    }
    let part = |name| keep.get(name)?.as_i64();
    Some(Some(Keep {
        months: part("months")?,
        days: part("days")?,
        micros: part("us")?,
    }))
}

impl Keep {
    /// Whether a day's time was over at a time: `day + 1 <= at - keep`, as PostgreSQL computes it in UTC. A
    /// clock may have been set back between the look at it and the signature.
    #[must_use]
    pub fn is_over(&self, day: i32, at: i64) -> bool {
        let at = at.saturating_add(HOUR);
        let today = i32::try_from(at.div_euclid(DAY)).unwrap_or(i32::MAX);
        let Some(from) = calendar::months_before(today, self.months) else {
            return false;
        };
        let from = i64::from(from)
            .saturating_sub(self.days)
            .saturating_mul(DAY);
        let from = from
            .saturating_add(at.rem_euclid(DAY))
            .saturating_sub(self.micros);
        (i64::from(day) + 1).saturating_mul(DAY) <= from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes() {
        let note = r#"{"by": "postgres", "keep": {"us": 3, "days": 2, "months": 1}}"#;
        let (months, days, micros) = (1, 2, 3);
        let keep = Keep {
            months,
            days,
            micros,
        };
        assert_eq!(of_note(note), Some(Some(keep)));
        assert_eq!(of_note(r#"{"keep": null}"#), Some(None));
        for note in ["", "{}", r#"{"keep": "1 day"}"#, r#"{"keep": {"days": 1}}"#] {
            assert_eq!(of_note(note), None, "{note}");
        }
    }

    #[test]
    fn days_that_are_over() {
        let at = |text: &str| calendar::parse_time(text).expect("a time");
        let day = |text: &str| calendar::parse_date(text).expect("a day");
        let keep = |months, days, micros| Keep {
            months,
            days,
            micros,
        };
        for (keep, last, now) in [
            (keep(0, 30, 0), "2026-10-21", "2026-11-21T00:00:00+00:00"),
            (keep(0, 30, 0), "2026-10-21", "2026-11-21T22:59:59+00:00"),
            (keep(0, 0, DAY), "2026-11-19", "2026-11-21T12:00:00+00:00"),
            (keep(0, 0, 0), "2026-11-20", "2026-11-21T12:00:00+00:00"),
            (keep(1, 0, 0), "2026-02-27", "2026-03-31T12:00:00+00:00"),
            (keep(12, 1, 0), "2025-11-19", "2026-11-21T00:00:00+00:00"),
            // The clock was set back.
            (keep(0, 1, 0), "2026-11-19", "2026-11-20T23:30:00+00:00"),
        ] {
            assert!(keep.is_over(day(last), at(now)), "{keep:?} {last} {now}");
            assert!(
                !keep.is_over(day(last) + 1, at(now)),
                "{keep:?} {last} {now}"
            );
        }
        for keep in [
            keep(i64::MAX, 0, 0),
            keep(0, i64::MAX, 0),
            keep(0, 0, i64::MAX),
        ] {
            assert!(
                !keep.is_over(0, at("2026-11-21T12:00:00+00:00")),
                "{keep:?}"
            );
        }
    }
}
