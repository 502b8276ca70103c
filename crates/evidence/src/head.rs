//! A head: what a block's signature covers, as one line of text to be kept elsewhere.
//!
//! `agent_policy-head:1:<chain id>:<block>:<last seq>:<sealed at>:<block hash>:<key id>:<signature>`

use crate::block::Block;
use crate::key::{Keys, PrivateKey};
use crate::{Hash, VERSION, hex};
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "agent_policy-head";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub chain: [u8; 16],
    pub number: i64,
    pub last_seq: i64,
    pub sealed_at: i64,
    pub hash: Hash,
    pub key_id: [u8; 8],
    pub signature: [u8; 64],
}

/// What is signed.
#[must_use]
pub fn message(chain: &[u8; 16], number: i64, last_seq: i64, at: i64, hash: &Hash) -> Vec<u8> {
    [
        b"agent_policy audit head".as_slice(),
        &[VERSION],
        chain,
        &number.to_be_bytes(),
        &last_seq.to_be_bytes(),
        &at.to_be_bytes(),
        hash,
    ]
    .concat()
}

/// Signs a block.
pub fn sign(block: &mut Block, chain: &[u8; 16], key: &PrivateKey) {
    block.key_id = key.public().id();
    block.signature = key.sign(&Head::of(block, chain).message());
}

impl Head {
    #[must_use]
    pub fn of(block: &Block, chain: &[u8; 16]) -> Self {
        Self {
            chain: *chain,
            number: block.number,
            last_seq: block.last_seq,
            sealed_at: block.sealed_at,
            hash: block.hash,
            key_id: block.key_id,
            signature: block.signature,
        }
    }

    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        message(
            &self.chain,
            self.number,
            self.last_seq,
            self.sealed_at,
            &self.hash,
        )
    }

    /// Whether one of the keys signed it; `None` when it names a key that is not among them.
    #[must_use]
    pub fn signed_by(&self, keys: &Keys) -> Option<bool> {
        let key = keys.find(&self.key_id)?;
        Some(key.verifies(&self.message(), &self.signature))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{PREFIX}:{VERSION}:{}:{}:{}:{}:{}:{}:{}",
            hex::encode(&self.chain),
            self.number,
            self.last_seq,
            self.sealed_at,
            hex::encode(&self.hash),
            hex::encode(&self.key_id),
            hex::encode(&self.signature)
        )
    }
}

impl FromStr for Head {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "not a head of an audit log";
        let parts: Vec<&str> = s.trim().split(':').collect();
        let [
            prefix,
            version,
            chain,
            number,
            last_seq,
            at,
            hash,
            key_id,
            signature,
        ] = parts.as_slice()
        else {
            return Err(SHAPE);
        };
        if *prefix != PREFIX {
            return Err(SHAPE);
        }
        if version.parse() != Ok(VERSION) {
            return Err("a head of another version");
        }
        Ok(Self {
            chain: hex::decode_array(chain).ok_or(SHAPE)?,
            number: number.parse().map_err(|_| SHAPE)?,
            last_seq: last_seq.parse().map_err(|_| SHAPE)?,
            sealed_at: at.parse().map_err(|_| SHAPE)?,
            hash: hex::decode_array(hash).ok_or(SHAPE)?,
            key_id: hex::decode_array(key_id).ok_or(SHAPE)?,
            signature: hex::decode_array(signature).ok_or(SHAPE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let key = PrivateKey::from_seed(&[9; 32]);
        let mut head = Head {
            chain: [3; 16],
            number: 7,
            last_seq: 99,
            sealed_at: 1_700_000_000_000_000,
            hash: [5; 32],
            key_id: key.public().id(),
            signature: [0; 64],
        };
        head.signature = key.sign(&head.message());
        let keys = Keys::from_pem(&key.to_pem()).unwrap();
        let back: Head = head.to_string().parse().unwrap();
        assert_eq!(back, head);
        assert_eq!(back.signed_by(&keys), Some(true));
        head.last_seq += 1;
        assert_eq!(head.signed_by(&keys), Some(false));
        head.key_id = [0; 8];
        assert_eq!(head.signed_by(&keys), None);
        assert!("agent_policy-head:2:".parse::<Head>().is_err());
        assert!(
            back.to_string()
                .replace(":1:", ":2:")
                .parse::<Head>()
                .is_err()
        );
    }
}
