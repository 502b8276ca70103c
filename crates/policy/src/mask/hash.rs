//! The keyed hash of the mask `hash`.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA-256 with its key already mixed in: a digest costs two compressions for short values.
#[derive(Clone)]
pub struct KeyedHash(Hmac<Sha256>);

impl KeyedHash {
    /// `None` only if the implementation refuses the key, which HMAC does for no length.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        Hmac::new_from_slice(key).ok().map(Self)
    }

    #[must_use]
    pub fn digest(&self, value: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(value);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for KeyedHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyedHash(..)")
    }
}

/// The digest in lower-case hex.
#[must_use]
pub fn hex(digest: &[u8; 32]) -> [u8; 64] {
    const ONES: u64 = u64::MAX / 255;
    let mut out = [0; 64];
    for (place, four) in out
        .as_chunks_mut::<8>()
        .0
        .iter_mut()
        .zip(digest.as_chunks::<4>().0)
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

    #[test]
    fn rfc4231_case_2() {
        let digest = KeyedHash::new(b"Jefe")
            .map(|k| k.digest(b"what do ya want for nothing?"))
            .unwrap_or_default();
        assert_eq!(
            std::str::from_utf8(&hex(&digest)),
            Ok("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
        let every = std::array::from_fn(|i| (i * 8 + i) as u8);
        let plain: String = every.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex(&every), plain.as_bytes());
    }
}
