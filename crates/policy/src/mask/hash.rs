//! The keyed hash of the mask `hash`: HMAC-SHA-256 (RFC 2104, FIPS 180-4).
//!
//! Columns of millions of short values pass here, so the two states that the key makes are kept, and a value is
//! padded in place: the library's own HMAC takes half as long again for copying and buffering.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

const BLOCK: usize = 64;

/// The state that SHA-256 begins with (FIPS 180-4, 5.3.3).
const BEGIN: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// HMAC-SHA-256 with its key already mixed in: a digest costs two compressions for short values.
#[derive(Clone)]
pub struct KeyedHash {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl KeyedHash {
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let long: [u8; 32];
        let key = if key.len() > BLOCK {
            long = Sha256::digest(key).into();
            &long
        } else {
            key
        };
        let keyed = |pad: u8| {
            let mut block = [pad; BLOCK];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = BEGIN;
            compress256(&mut state, &[block]);
            state
        };
        Self {
            inner: keyed(0x36),
            outer: keyed(0x5c),
        }
    }

    #[must_use]
    pub fn digest(&self, value: &[u8]) -> [u8; 32] {
        finish(self.outer, &finish(self.inner, value))
    }
}

/// SHA-256 of `rest` behind one block, after which the state is this.
fn finish(mut state: [u32; 8], rest: &[u8]) -> [u8; 32] {
    let (whole, tail) = rest.as_chunks::<BLOCK>();
    if !whole.is_empty() {
        compress256(&mut state, whole);
    }
    // What is left, a bit, zeros and the length in bits.
    let mut last = [0_u8; BLOCK];
    if let Some((message, behind)) = last.split_at_mut_checked(tail.len()) {
        message.copy_from_slice(tail);
        if let Some(first) = behind.first_mut() {
            *first = 0x80;
        }
    }
    if tail.len() + 9 > BLOCK {
        compress256(&mut state, &[last]);
        last = [0; BLOCK];
    }
    let bits = (BLOCK as u64 + rest.len() as u64) * 8;
    if let Some(place) = last.last_chunk_mut::<8>() {
        *place = bits.to_be_bytes();
    }
    compress256(&mut state, &[last]);
    let mut digest = [0; 32];
    for (place, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *place = word.to_be_bytes();
    }
    digest
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}

/// The digest in lower-case hex: at least so many digits, zeros (the byte) behind them.
#[must_use]
pub fn hex(digest: &[u8; 32], digits: usize) -> [u8; 64] {
    const ONES: u64 = u64::MAX / 255;
    let mut out = [0; 64];
    for (place, four) in out
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(digest.as_chunks::<4>().0)
        .take(digits.div_ceil(8))
    {
        // One nibble to each byte, then '0' + nibble, and the distance to 'a' from 10 on.
        let mut x = u64::from(u32::from_be_bytes(*four));
        x = (x | x << 16) & 0x0000_FFFF_0000_FFFF;
        x = (x | x << 8) & 0x00FF_00FF_00FF_00FF;
        x = (x | x << 4) & (ONES * 0x0F);
        let letters = (x + ONES * 6) >> 4 & ONES;
        *place = (x + ONES * u64::from(b'0') + letters * u64::from(b'a' - 10 - b'0')).to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};

    #[test]
    fn rfc4231_case_2() {
        let digest = KeyedHash::new(b"Jefe").digest(b"what do ya want for nothing?");
        assert_eq!(
            std::str::from_utf8(&hex(&digest, 64)),
            Ok("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
        let every = std::array::from_fn(|i| (i * 8 + i) as u8);
        let plain: String = every.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex(&every, 64), plain.as_bytes());
        for digits in 0..=64 {
            let some = hex(&every, digits);
            assert_eq!(some.get(..digits), plain.as_bytes().get(..digits));
        }
    }

    #[test]
    fn the_same_as_the_library() {
        let bytes: Vec<u8> = (0..1000_u32).map(|i| (i * 37 % 251) as u8).collect();
        for key in [0, 1, 31, 32, 63, 64, 65, 128, 200] {
            let key = bytes.get(300..300 + key).unwrap_or_default();
            let ours = KeyedHash::new(key);
            for length in (0..300).chain([639, 640, 641, 1000]) {
                let value = bytes.get(..length).unwrap_or_default();
                let expected = Hmac::<Sha256>::new_from_slice(key).map(|mut library| {
                    library.update(value);
                    library.finalize().into_bytes().into()
                });
                assert_eq!(Ok(ours.digest(value)), expected, "{} {length}", key.len());
            }
        }
    }
}
