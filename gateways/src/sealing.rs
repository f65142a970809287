//! Sealing what may be stored and must not be read there: Twitch's grants, and the keys that sign.
//!
//! ChaCha20-Poly1305 with a random nonce for each box, and a label that says what is in it and whose it is, so that a box
//! that was moved to another row does not open. The key is in a file, never in the database: a dump alone opens nothing.

use std::fmt;
use std::path::Path;

use rand::RngCore;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use thiserror::Error;

use crate::key_file::{KeyFileError, SEALING};

/// The first byte of a box: how it was sealed.
const VERSION: u8 = 1;

/// A box that this key did not seal, or that was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it was sealed with another key, or changed since")]
pub struct Unopened;

/// The key that seals and opens.
pub struct Sealer(LessSafeKey);

impl Sealer {
    /// The key in `path`, which is made if it is not there.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyFileError> {
        SEALING.load_or_make(path).map(Sealer::of)
    }

    /// The key in `path`, if there is one.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyFileError> {
        Ok(SEALING.load(path)?.map(Sealer::of))
    }

    fn of(key: [u8; 32]) -> Self {
        // The cipher takes keys of this length, so this cannot fail.
        let Ok(key) = UnboundKey::new(&CHACHA20_POLY1305, &key) else {
            unreachable!("the cipher refused a key because of its length");
        };
        Sealer(LessSafeKey::new(key))
    }

    /// Seals `content` under `label`.
    pub fn seal(&self, label: &str, content: &[u8]) -> Result<Vec<u8>, Unopened> {
        let mut nonce = [0_u8; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let mut sealed = content.to_vec();
        let (aad, used) = (Aad::from(label), Nonce::assume_unique_for_key(nonce));
        self.0.seal_in_place_append_tag(used, aad, &mut sealed).map_err(|_| Unopened)?;
        Ok([&[VERSION], nonce.as_slice(), &sealed].concat())
    }

    /// What was sealed under `label`.
    pub fn open(&self, label: &str, sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
        let (version, rest) = sealed.split_first().ok_or(Unopened)?;
        let (nonce, content) = rest.split_at_checked(NONCE_LEN).ok_or(Unopened)?;
        if *version != VERSION {
            return Err(Unopened);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened)?;
        let mut content = content.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(label), &mut content);
        Ok(opened.map_err(|_| Unopened)?.to_vec())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_its_key_and_label_alone() {
        let (key, other) = (Sealer::of([7; 32]), Sealer::of([8; 32]));
        let sealed = key.seal("session 1", b"hush").expect("sealed");
        assert_eq!(key.open("session 1", &sealed).as_deref(), Ok(b"hush".as_slice()));
        assert_eq!(key.open("session 2", &sealed), Err(Unopened));
        assert_eq!(other.open("session 1", &sealed), Err(Unopened));
        assert!(!sealed.windows(4).any(|bytes| bytes == b"hush"));
        assert_ne!(key.seal("session 1", b"hush").expect("sealed"), sealed, "never twice the same");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("session 1", &changed), Err(Unopened), "byte {at}");
            assert_eq!(key.open("session 1", &sealed[..at]), Err(Unopened), "cut at {at}");
        }
    }
}
