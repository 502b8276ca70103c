//! Leaks planted on purpose. With the cargo feature `planted` one of them can be opened, to show that
//! `make noninterference` finds such (`make noninterference-planted`, docs/noninterference.md). Every
//! other build, and so every release, has neither the setting nor the leaks.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("the feature `planted` opens leaks: it is for debug builds");

/// What is shown that should not be.
#[cfg_attr(feature = "planted", derive(pgrx::PostgresGucEnum))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leak {
    /// Nothing.
    #[cfg(feature = "planted")]
    None,
    /// A condition on a masked relation sees raw values, what is shown does not.
    Predicate,
    /// The error of a constraint quotes the row.
    Error,
    /// The plan that EXPLAIN shows depends on the statistics of rows that a filter hides.
    Estimate,
}

#[cfg(not(feature = "planted"))]
mod setting {
    /// Is the leak open?
    #[inline(always)]
    pub const fn open(_leak: super::Leak) -> bool {
        false
    }

    pub fn define() {}
}

#[cfg(feature = "planted")]
mod setting {
    use super::Leak;
    use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

    static OPEN: GucSetting<Leak> = GucSetting::<Leak>::new(Leak::None);

    /// Is the leak open?
    pub fn open(leak: Leak) -> bool {
        OPEN.get() == leak
    }

    pub fn define() {
        GucRegistry::define_enum_guc(
            c"agent_policy.planted_leak",
            c"The leak that this test build has.",
            c"",
            &OPEN,
            GucContext::Postmaster,
            GucFlags::default(),
        );
    }
}

pub use setting::{define, open};
