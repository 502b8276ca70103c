//! What a format text of PostgreSQL's `format()` asks for, read as `text_format` in
//! `src/backend/utils/adt/varlena.c` reads it.

/// One specifier, such as `%s` or `%2$-10s`. Arguments are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specifier {
    pub width: Width,
    /// the argument that is shown
    pub value: usize,
}

/// The least number of characters that a specifier makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Characters(u64),
    /// as many as this argument says
    Argument(usize),
}

/// The specifiers of a format text, up to the first that PostgreSQL refuses.
///
/// ```
/// use policy::format::{Width, specifiers};
/// let all: Vec<_> = specifiers(b"%s of %3$20s").collect();
/// assert_eq!((all[0].width, all[0].value), (Width::Characters(0), 1));
/// assert_eq!((all[1].width, all[1].value), (Width::Characters(20), 3));
/// ```
pub fn specifiers(format: &[u8]) -> impl Iterator<Item = Specifier> {
    let (mut rest, mut last) = (format, 0);
    std::iter::from_fn(move || {
        loop {
            let at = rest.iter().position(|b| *b == b'%')?;
            rest = rest.get(at + 1..)?;
            if let Some(after) = rest.strip_prefix(b"%") {
                rest = after;
                continue;
            }
            let found = specifier(&mut rest, &mut last);
            if found.is_none() {
                rest = &[];
            }
            return found;
        }
    })
}

/// After the percent sign. `last` is the argument used last.
fn specifier(rest: &mut &[u8], last: &mut usize) -> Option<Specifier> {
    // Digits first are a position, if a dollar sign follows, else the width.
    let (mut position, mut width) = (None, number(rest)?.map(Width::Characters));
    if let (Some(Width::Characters(n)), Some(after)) = (width, rest.strip_prefix(b"$")) {
        *rest = after;
        (position, width) = (Some(place(n)?), None);
    }
    if width.is_none() {
        while let Some(after) = rest.strip_prefix(b"-") {
            *rest = after;
        }
        if let Some(after) = rest.strip_prefix(b"*") {
            *rest = after;
            *last = match number(rest)? {
                Some(n) => {
                    *rest = rest.strip_prefix(b"$")?;
                    place(n)?
                }
                None => *last + 1,
            };
            width = Some(Width::Argument(*last));
        } else {
            width = number(rest)?.map(Width::Characters);
        }
    }
    *rest = rest
        .strip_prefix(b"s")
        .or_else(|| rest.strip_prefix(b"I"))
        .or_else(|| rest.strip_prefix(b"L"))?;
    *last = position.unwrap_or(*last + 1);
    Some(Specifier {
        width: width.unwrap_or(Width::Characters(0)),
        value: *last,
    })
}

fn place(n: u64) -> Option<usize> {
    usize::try_from(n).ok().filter(|n| *n > 0)
}

/// Digits, if there are any; nothing at all if they are more than an int4 holds.
fn number(rest: &mut &[u8]) -> Option<Option<u64>> {
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    if number.is_empty() {
        return Some(None);
    }
    let value = number.iter().try_fold(0_u64, |n, b| {
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })?;
    (value <= i32::MAX as u64).then_some(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str) -> Vec<(Width, usize)> {
        specifiers(format.as_bytes())
            .map(|s| (s.width, s.value))
            .collect()
    }

    #[test]
    fn arguments_are_taken_as_postgresql_takes_them() {
        use Width::{Argument, Characters};
        assert_eq!(read("no %% here"), []);
        assert_eq!(
            read("%s %I%L"),
            [(Characters(0), 1), (Characters(0), 2), (Characters(0), 3)]
        );
        assert_eq!(
            read("%10s|%-10s|%2$--7I"),
            [(Characters(10), 1), (Characters(10), 2), (Characters(7), 2)]
        );
        assert_eq!(read("%*s %s"), [(Argument(1), 2), (Characters(0), 3)]);
        // A position is where those without one go on from.
        assert_eq!(
            read("%3$s %s %1$*2$s %s"),
            [
                (Characters(0), 3),
                (Characters(0), 4),
                (Argument(2), 1),
                (Characters(0), 2)
            ]
        );
        assert_eq!(read("%-*1$s %s"), [(Argument(1), 2), (Characters(0), 3)]);
    }

    #[test]
    fn what_postgresql_refuses_ends_it() {
        for format in [
            "%",
            "%z",
            "%0$s",
            "%*0$s",
            "%*2s",
            "%99999999999s",
            "%10",
            "%1$",
        ] {
            assert_eq!(read(&format!("%s{format}%s")).len(), 1, "{format}");
        }
    }
}
