//! The key that signs proofs: one per installation, in a file that only its owner can read.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::RngCore;
use thiserror::Error;

const SECRET_PREFIX: &str = "tapedeck-signing-key-1:";
const PUBLIC_PREFIX: &str = "ed25519:";
/// A key file is one short line.
const FILE_BYTES_MAX: u64 = 1_024;

/// Why there is no key to sign with.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("nothing says where the signing key is: set signing_key_file")]
    Nowhere,
    #[error("the signing key {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the signing key {path} is damaged: restore it, or move it away to get a new one")]
    Damaged { path: PathBuf },
    #[error("others can read the signing key {path}: chmod 600 {path}")]
    Open { path: PathBuf },
}

/// The secret key. Printing it shows the public one.
pub struct SignerKey(SigningKey);

impl SignerKey {
    /// The key in `path`, which is made if it is not there. Two processes that make it at once get the same one.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let mut secret = [0_u8; 32];
        rand::rng().fill_bytes(&mut secret);
        let key = SignerKey(SigningKey::from_bytes(&secret));
        key.keep(path).map_err(|source| KeyError::File { path: path.to_owned(), source })?;
        // Whichever process was first, its key is the one in the file.
        Self::load(path)?.ok_or_else(|| KeyError::Damaged { path: path.to_owned() })
    }

    /// The key in `path`, if there is one.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let damaged = || KeyError::Damaged { path: path.to_owned() };
        let status = match fs::metadata(path) {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // A secret that a cluster mounts is often readable by the group as well; by others it never is.
        if status.permissions().mode() & 0o007 != 0 {
            return Err(KeyError::Open { path: path.to_owned() });
        }
        if status.len() > FILE_BYTES_MAX {
            return Err(damaged());
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let secret = text.trim().strip_prefix(SECRET_PREFIX).ok_or_else(damaged)?;
        let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| damaged())?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| damaged())?;
        Ok(Some(SignerKey(SigningKey::from_bytes(&secret))))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.0.sign(bytes).to_bytes()
    }

    /// Written beside and linked into place, so that it is whole or not there, and an existing one stays.
    fn keep(&self, path: &Path) -> std::io::Result<()> {
        let beside = path.with_extension(format!("key.{}", uuid::Uuid::new_v4().simple()));
        let text = format!("{SECRET_PREFIX}{}\n", URL_SAFE_NO_PAD.encode(self.0.to_bytes()));
        let write = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&beside, path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        };
        let written = write();
        let _ = fs::remove_file(&beside);
        written
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

    fn folder() -> PathBuf {
        crate::embedded::temporary_folder().expect("a folder")
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_found_again() {
        let folder = folder();
        let path = folder.join("signing.key");
        assert!(SignerKey::load(&path).expect("readable").is_none());
        let made = SignerKey::load_or_make(&path).expect("made");
        let again = SignerKey::load_or_make(&path).expect("found");
        assert_eq!(made.public(), again.public());
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1, "nothing is left beside");
        let shown = format!("{made:?}");
        let secret = fs::read_to_string(&path).expect("readable");
        assert!(!secret.contains(shown.trim_start_matches("SignerKey(ed25519:")), "{shown}");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn two_that_make_it_at_once_get_the_same_key() {
        let folder = folder();
        let path = folder.join("signing.key");
        let makers: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || SignerKey::load_or_make(&path).expect("made").public())
            })
            .collect();
        let keys: Vec<_> = makers.into_iter().map(|maker| maker.join().expect("ended")).collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        let folder = folder();
        let path = folder.join("signing.key");
        SignerKey::load_or_make(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
        assert!(matches!(SignerKey::load(&path), Err(KeyError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("closed");
        fs::write(&path, "tapedeck-signing-key-1:short\n").expect("written");
        assert!(matches!(SignerKey::load_or_make(&path), Err(KeyError::Damaged { .. })));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        let key = SignerKey(SigningKey::from_bytes(&[7; 32])).public();
        assert_eq!(key.to_string().parse::<PublicKey>().expect("a key"), key);
        for wrong in ["", "ed25519:", "ed25519:AAAA", "rsa:x", &key.to_string()[..50]] {
            assert!(wrong.parse::<PublicKey>().is_err(), "{wrong}");
        }
    }
}
