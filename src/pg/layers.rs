//! The layers of the enforcement. With the cargo feature `ablation` any one of them can be switched
//! off, to show that the others hold without it (`make ablation`, docs/layers.md). Every other
//! build, and so every release, has neither the setting nor the question.

#[cfg(all(feature = "ablation", not(debug_assertions)))]
compile_error!("the feature `ablation` can switch the enforcement off: it is for debug builds");

/// One layer, by what stops an attack there.
#[cfg_attr(feature = "ablation", derive(pgrx::PostgresGucEnum))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Everything is in place.
    #[cfg(feature = "ablation")]
    None,
    /// Judging what the text names, after parse analysis.
    Analysis,
    /// Judging utility commands, and making queries of `COPY table`.
    Utility,
    /// Putting masks and filters into the query.
    Rewrite,
    /// Looking for relations without their masks in the plan.
    Verify,
    /// The stamp of a plan.
    Stamp,
    /// Writes, row locks, identity and cost when a query starts.
    Start,
    /// Judging relations when the executor checks privileges.
    Permissions,
    /// Judging functions that are about to be executed.
    Functions,
    /// Judging calls of functions with a body.
    Calls,
    /// Keeping functions with a body from being inlined.
    Inlining,
    /// Judging objects that are made, changed or dropped.
    Objects,
    /// Counting rows in front of the client's receiver.
    Rows,
    /// Holding data until it is recorded, and counting bytes.
    Wire,
    /// Hiding statistics from the planner.
    Statistics,
    /// Making transactions read-only.
    ReadOnly,
    /// Keeping settings where they must be.
    Settings,
}

#[cfg(not(feature = "ablation"))]
mod setting {
    /// Is the layer in place?
    #[inline(always)]
    pub const fn on(_layer: super::Layer) -> bool {
        true
    }

    pub fn define() {}
}

#[cfg(feature = "ablation")]
mod setting {
    use super::Layer;
    use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

    static OFF: GucSetting<Layer> = GucSetting::<Layer>::new(Layer::None);

    /// Is the layer in place?
    pub fn on(layer: Layer) -> bool {
        OFF.get() != layer
    }

    pub fn define() {
        GucRegistry::define_enum_guc(
            c"agent_policy.layer_switched_off",
            c"The layer of the enforcement that this test build does without.",
            c"",
            &OFF,
            GucContext::Postmaster,
            GucFlags::default(),
        );
    }
}

pub use setting::{define, on};
