//! Masks: what may stand in for a column ([`compile`]) and the values themselves ([`value`]).
#![deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

pub mod hash;
pub mod json;
pub mod numeric;
mod spec;
pub mod value;

pub use spec::{Column, Compiled, Kind, Refusal, RefusalKind, compile, validate};
