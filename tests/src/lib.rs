//! Real clusters, many sessions, the wire: everything that one backend cannot show.
//!
//! [`cluster`] starts servers, [`wire`] talks to them and keeps every byte they send, [`raw`] says
//! what no driver would, [`bench`] gives each test a database and roles of its own, [`attack`] reads
//! and judges attack files, and [`run`] turns cases into libtest lines, one for each PostgreSQL
//! version.

#![forbid(unsafe_code)]
// An answer of the server is meant to be looked at, not to be small.
#![allow(clippy::result_large_err)]

pub mod attack;
pub mod bench;
pub mod cluster;
pub mod defog;
pub mod faults;
pub mod once;
pub mod raw;
pub mod recorded;
pub mod run;
pub mod sql;
pub mod wire;

pub use bench::Bench;
pub use cluster::Cluster;
pub use run::Case;
pub use wire::{Answer, SqlError, Wire};
