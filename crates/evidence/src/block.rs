//! Blocks and how they are chained.

use crate::{Hash, VERSION, merkle, sha256};

/// What a block is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Rows of one day.
    Rows = 0,
    /// Records of who read the log.
    Reads = 1,
    /// A day was dropped because its time was over; its rows are no longer there.
    Dropped = 2,
    /// A person was erased.
    Erased = 3,
    /// How long days are kept from here on.
    Retention = 4,
}

impl Kind {
    #[must_use]
    pub fn from_number(n: i64) -> Option<Self> {
        [
            Self::Rows,
            Self::Reads,
            Self::Dropped,
            Self::Erased,
            Self::Retention,
        ]
        .into_iter()
        .find(|k| *k as i64 == n)
    }
}

/// The header of a block. It stays when the rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// From 1.
    pub number: i64,
    pub kind: Kind,
    /// Of the rows; where there are none, `last_seq` is that of the block before.
    pub first_seq: i64,
    pub last_seq: i64,
    /// On which the rows started, or which was dropped; days since 1970, UTC.
    pub day: i32,
    /// Start of the oldest and of the newest row.
    pub oldest: i64,
    pub newest: i64,
    pub sealed_at: i64,
    /// Of the rows; of the note as the only leaf where there are none.
    pub root: Hash,
    pub note: Option<String>,
    pub hash: Hash,
    /// The first bytes of the public key.
    pub key_id: [u8; 8],
    pub signature: [u8; 64],
}

/// The root of a block that has a note in the place of rows.
#[must_use]
pub fn note_root(note: &str) -> Hash {
    let mut tree = merkle::Tree::default();
    tree.push(merkle::leaf(note.as_bytes()));
    tree.root()
}

/// What stands before the first block.
#[must_use]
pub fn genesis(chain: &[u8; 16]) -> Hash {
    sha256(&[&[4, VERSION], chain])
}

impl Block {
    /// What `hash` has to be after a block with the hash `previous`.
    #[must_use]
    pub fn chained(&self, previous: &Hash) -> Hash {
        sha256(&[
            &[3, VERSION],
            previous,
            &self.root,
            &self.number.to_be_bytes(),
            &[self.kind as u8],
            &self.first_seq.to_be_bytes(),
            &self.last_seq.to_be_bytes(),
            &self.day.to_be_bytes(),
            &self.oldest.to_be_bytes(),
            &self.newest.to_be_bytes(),
            &self.sealed_at.to_be_bytes(),
        ])
    }

    /// Rows that it speaks for.
    #[must_use]
    pub fn rows(&self) -> i64 {
        match self.kind {
            Kind::Rows => (self.last_seq - self.first_seq).saturating_add(1),
            _ => 0,
        }
    }
}
