//! The words of a policy: what a role may do, how strictly, and on whose behalf.

use std::fmt;
use std::str::FromStr;

/// A word that a policy table holds and this version does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord(pub String);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// The word as it is written in SQL.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(UnknownWord(other.to_owned())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What a protected role may do to data, weakest first.
    Capability {
        ReadOnly = "read_only",
        ReadWrite = "read_write",
        Ddl = "ddl",
    }
}

words! {
    /// Whether a policy stops a statement or only notes that it would have.
    Mode {
        Monitor = "monitor",
        Enforce = "enforce",
    }
}

words! {
    /// What a role may do with one relation, weakest first; `Deny` beats every other entry.
    Access {
        Deny = "deny",
        Read = "read",
        Write = "write",
    }
}

words! {
    /// What happens to the rows beyond `max_rows` or `max_bytes`.
    OnExcess {
        Truncate = "truncate",
        Error = "error",
    }
}

/// The limits of one statement; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Rows sent to the client.
    pub max_rows: Option<u64>,
    /// Bytes sent to the client in rows.
    pub max_bytes: Option<u64>,
    pub on_excess: OnExcess,
    /// Milliseconds from the first look at a message until the server is ready for the next.
    pub statement_timeout: Option<u64>,
    /// The planner's total cost.
    pub max_plan_cost: Option<f64>,
}

impl Limits {
    /// No limit at all, the neutral element of [`Limits::strictest`].
    pub const NONE: Self = Self {
        max_rows: None,
        max_bytes: None,
        on_excess: OnExcess::Truncate,
        statement_timeout: None,
        max_plan_cost: None,
    };

    /// Several policies on one session: each limit is the smallest, and an error beats a cut.
    #[must_use]
    pub fn strictest(self, other: Self) -> Self {
        fn least<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        Self {
            max_rows: least(self.max_rows, other.max_rows),
            max_bytes: least(self.max_bytes, other.max_bytes),
            on_excess: self.on_excess.max(other.on_excess),
            statement_timeout: least(self.statement_timeout, other.statement_timeout),
            max_plan_cost: least(self.max_plan_cost, other.max_plan_cost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        for c in [Capability::ReadOnly, Capability::ReadWrite, Capability::Ddl] {
            assert_eq!(c.word().parse(), Ok(c));
        }
        assert!("READ_ONLY".parse::<Capability>().is_err());
        assert!(Capability::ReadOnly < Capability::ReadWrite);
        assert!(Access::Deny < Access::Read && Access::Read < Access::Write);
    }

    #[test]
    fn strictest_takes_the_minimum_of_each() {
        let a = Limits {
            max_rows: Some(10),
            max_bytes: None,
            ..Limits::NONE
        };
        let b = Limits {
            max_rows: Some(20),
            max_bytes: Some(5),
            on_excess: OnExcess::Error,
            ..Limits::NONE
        };
        let both = a.strictest(b);
        assert_eq!(both.max_rows, Some(10));
        assert_eq!(both.max_bytes, Some(5));
        assert_eq!(both.on_excess, OnExcess::Error);
        assert_eq!(both, b.strictest(a));
        assert_eq!(both.strictest(Limits::NONE), both);
    }
}
