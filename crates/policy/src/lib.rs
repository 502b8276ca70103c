//! The decisions of agent_policy, without PostgreSQL.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod builtins;
pub mod format;
pub mod journal;
pub mod label;
pub mod mask;
pub mod model;
pub mod names;
pub mod record;
pub mod redact;
pub mod rule;
pub mod sensitive;
pub mod startup;
