//! The key that signs proofs: one per installation, in a file that only its owner can read.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::key_file::{KeyFileError, SIGNING};

const PUBLIC_PREFIX: &str = "ed25519:";

/// The secret key. Printing it shows the public one.
pub struct SignerKey(SigningKey);

impl SignerKey {
    /// The key in `path`, which is made if it is not there.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyFileError> {
        SIGNING.load_or_make(path).map(SignerKey::of)
    }

    /// The key in `path`, if there is one.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyFileError> {
        Ok(SIGNING.load(path)?.map(SignerKey::of))
    }

    fn of(secret: [u8; 32]) -> Self {
        SignerKey(SigningKey::from_bytes(&secret))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SignerKey({})", self.public())
    }
}

/// The key that proofs are checked with, written `ed25519:` and 43 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Whether this key signed `bytes`. Strict: of one signature there is one form.
    pub(super) fn signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(bytes, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PUBLIC_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("a public key is {PUBLIC_PREFIX} and 43 characters");
        let encoded = text.trim().strip_prefix(PUBLIC_PREFIX).ok_or_else(wanted)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| wanted())?;
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| wanted())?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| wanted())?;
        Ok(PublicKey(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_key_does_not_show_its_secret() {
        let shown = format!("{:?}", SignerKey::of([7; 32]));
        assert!(shown.starts_with("SignerKey(ed25519:"), "{shown}");
        assert!(!shown.contains(&URL_SAFE_NO_PAD.encode([7; 32])), "{shown}");
    }

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        let key = SignerKey::of([7; 32]).public();
        assert_eq!(key.to_string().parse::<PublicKey>().expect("a key"), key);
        for wrong in ["", "ed25519:", "ed25519:AAAA", "rsa:x", &key.to_string()[..50]] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }
}
