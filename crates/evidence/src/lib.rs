//! Tamper evidence of the audit log, without PostgreSQL: what the server computes when it writes
//! and checks the log, and the stand-alone verifier when it checks an export.
//!
//! Rows get consecutive numbers (`seq`). Rows that are committed together form a *block*: the root
//! of a Merkle tree (RFC 6962) over them. Each block's hash covers the hash of the block before it,
//! and each block is signed with Ed25519. The number of the newest block, its hash and its
//! signature are a *head*: whoever keeps one elsewhere can later tell that nothing up to it has
//! changed, whatever happened to the server and its key.
//!
//! # Format, version 1
//!
//! All integers are big-endian, times are microseconds since 1970 (UTC), `‖` joins.
//!
//! | | |
//! |---|---|
//! | leaf | SHA-256(`00` ‖ record) |
//! | inner node | SHA-256(`01` ‖ left ‖ right) |
//! | commitment | SHA-256(`02` ‖ version ‖ group ‖ salt ‖ fields) |
//! | block hash | SHA-256(`03` ‖ version ‖ previous hash ‖ root ‖ number ‖ kind ‖ first seq ‖ last seq ‖ day ‖ oldest ‖ newest ‖ sealed at) |
//! | hash before block 1 | SHA-256(`04` ‖ version ‖ chain id) |
//! | head's signature | Ed25519("agent_policy audit head" ‖ version ‖ chain id ‖ number ‖ last seq ‖ sealed at ‖ block hash) |
//!
//! The record and its two groups of personal fields are described in [`record`].
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod block;
pub mod calendar;
pub mod export;
pub mod head;
pub mod hex;
pub mod key;
pub mod merkle;
pub mod record;
pub mod retention;
pub mod verify;

/// Version of every format here.
pub const VERSION: u8 = 1;

/// SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of the parts, one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    use sha2::Digest;
    let mut h = sha2::Sha256::new();
    for part in parts {
        h.update(part);
    }
    h.finalize().into()
}
