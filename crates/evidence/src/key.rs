//! Ed25519 keys in PEM (PKCS #8 and SubjectPublicKeyInfo), as `openssl pkey` reads and writes them.
//!
//! The key file has one private key, which signs. Public keys beside it are trusted when blocks of
//! an earlier time are checked.

use crate::hex;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use std::fmt;

/// DER of PKCS #8 up to the key's 32 bytes (RFC 8410).
const PRIVATE: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];
/// DER of SubjectPublicKeyInfo up to the key's 32 bytes.
const PUBLIC: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        VerifyingKey::from_bytes(bytes).ok().map(Self)
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// By which blocks name their key.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        self.0.as_bytes().first_chunk().copied().unwrap_or_default()
    }

    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }

    #[must_use]
    pub fn to_pem(self) -> String {
        pem("PUBLIC KEY", &[&PUBLIC[..], self.0.as_bytes()].concat())
    }
}

/// A private key; not shown by `Debug`, and overwritten when it is dropped.
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey of {}", hex::encode(&self.public().id()))
    }
}

impl PrivateKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("PRIVATE KEY", &[&PRIVATE[..], self.0.as_bytes()].concat())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        hex::base64(der)
    )
}

/// What a key file holds.
#[derive(Debug, Default)]
pub struct Keys {
    pub private: Option<PrivateKey>,
    /// That of the private key first.
    pub public: Vec<PublicKey>,
}

impl Keys {
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn from_pem(text: &str) -> Result<Self, &'static str> {
        let mut keys = Self::default();
        let mut rest = text;
        while let Some((_, block)) = rest.split_once("-----BEGIN ") {
            let (label, block) = block.split_once("-----").ok_or("it is not PEM")?;
            let (body, after) = block.split_once("-----END ").ok_or("it is not PEM")?;
            let der = hex::decode_base64(body).ok_or("it is not base64")?;
            let tail =
                |prefix: &[u8]| -> Option<[u8; 32]> { der.strip_prefix(prefix)?.try_into().ok() };
            match label {
                "PRIVATE KEY" => {
                    let seed = tail(&PRIVATE).ok_or("the private key is not Ed25519 in PKCS #8")?;
                    let key = PrivateKey::from_seed(&seed);
                    if keys.private.is_some() {
                        return Err("it has more than one private key");
                    }
                    keys.public.insert(0, key.public());
                    keys.private = Some(key);
                }
                "PUBLIC KEY" => keys.public.push(
                    tail(&PUBLIC)
                        .and_then(|b| PublicKey::from_bytes(&b))
                        .ok_or("a public key is not Ed25519")?,
                ),
                _ => return Err("it has something that is neither PRIVATE KEY nor PUBLIC KEY"),
            }
            rest = after;
        }
        if keys.public.is_empty() {
            return Err("it has no key");
        }
        Ok(keys)
    }

    /// The key with this id.
    #[must_use]
    pub fn find(&self, id: &[u8; 8]) -> Option<&PublicKey> {
        self.public.iter().find(|k| k.id() == *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn known_signature() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let key = PrivateKey::from_seed(&hex::decode_array(seed).unwrap());
        assert_eq!(
            hex::encode(&key.public().to_bytes()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        let signature = key.sign(&[0x72]);
        assert_eq!(
            hex::encode(&signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(key.public().verifies(&[0x72], &signature));
        assert!(!key.public().verifies(&[0x73], &signature));
    }

    /// RFC 8410, 10: the key pair of its examples.
    #[test]
    fn known_pem() {
        let private = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\n\
            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
            -----END PUBLIC KEY-----\n";
        let keys = Keys::from_pem(private).unwrap();
        assert_eq!(keys.public[0].to_pem(), public);
        assert_eq!(keys.private.unwrap().to_pem(), private);
        let both = Keys::from_pem(&format!("{public}{private}")).unwrap();
        assert_eq!(both.public.len(), 2);
        assert!(Keys::from_pem("").is_err());
        assert!(Keys::from_pem(&private.replace("MC4C", "MC5C")).is_err());
        assert!(Keys::from_pem(&format!("{private}{private}")).is_err());
    }
}
