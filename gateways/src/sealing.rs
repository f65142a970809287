//! Sealing what may be stored and must not be read there: Twitch's grants, and the keys that sign.
//!
//! ChaCha20-Poly1305 with a random nonce for each box, and a label that says what is in it and whose it is, so that a box
//! that was moved to another row does not open. The key is in a file, never in the database: a dump alone opens nothing.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use thiserror::Error;

const FILE_PREFIX: &str = "tapedeck-sealing-key-1:";
/// A key file is one short line.
const FILE_BYTES_MAX: u64 = 1_024;
/// The first byte of a box: how it was sealed.
const VERSION: u8 = 1;

/// Why there is no key to seal with.
#[derive(Debug, Error)]
pub enum SealingError {
    #[error("nothing says where the sealing key is: set sealing_key_file")]
    Nowhere,
    #[error("the sealing key {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the sealing key {path} is damaged: restore it, or move it away to get a new one")]
    Damaged { path: PathBuf },
    #[error("others can read the sealing key {path}: chmod 600 {path}")]
    Open { path: PathBuf },
}

/// A box that this key did not seal, or that was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it was sealed with another key, or changed since")]
pub struct Unopened;

/// The key that seals and opens.
pub struct Sealer(LessSafeKey);

impl Sealer {
    /// The key in `path`, which is made if it is not there. Two processes that make it at once get the same one.
    pub fn load_or_make(path: &Path) -> Result<Self, SealingError> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        keep(path).map_err(|source| SealingError::File { path: path.to_owned(), source })?;
        Self::load(path)?.ok_or_else(|| SealingError::Damaged { path: path.to_owned() })
    }

    /// The key in `path`, if there is one.
    pub fn load(path: &Path) -> Result<Option<Self>, SealingError> {
        let failed = |source| SealingError::File { path: path.to_owned(), source };
        let damaged = || SealingError::Damaged { path: path.to_owned() };
        let status = match fs::metadata(path) {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // A secret that a cluster mounts is often readable by the group as well; by others it never is.
        if status.permissions().mode() & 0o007 != 0 {
            return Err(SealingError::Open { path: path.to_owned() });
        }
        if status.len() > FILE_BYTES_MAX {
            return Err(damaged());
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let key = text.trim().strip_prefix(FILE_PREFIX).ok_or_else(damaged)?;
        let key = URL_SAFE_NO_PAD.decode(key).map_err(|_| damaged())?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| damaged())?;
        Ok(Some(Sealer(LessSafeKey::new(key))))
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

/// Makes a key: written beside and linked into place, so that it is whole or not there, and an existing one stays.
fn keep(path: &Path) -> std::io::Result<()> {
    let mut key = [0_u8; 32];
    rand::rng().fill_bytes(&mut key);
    let beside = path.with_extension(format!("key.{}", uuid::Uuid::new_v4().simple()));
    let text = format!("{FILE_PREFIX}{}\n", URL_SAFE_NO_PAD.encode(key));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        crate::embedded::temporary_folder().expect("a folder")
    }

    #[test]
    fn what_was_sealed_opens_with_its_key_and_label_alone() {
        let folder = folder();
        let key = Sealer::load_or_make(&folder.join("a.key")).expect("made");
        let other = Sealer::load_or_make(&folder.join("b.key")).expect("made");
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
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_sealing_key_is_made_once_for_its_owner_alone() {
        let folder = folder();
        let path = folder.join("sealing.key");
        assert!(Sealer::load(&path).expect("readable").is_none());
        let sealed = Sealer::load_or_make(&path).expect("made").seal("x", b"y").expect("sealed");
        let again = Sealer::load_or_make(&path).expect("found");
        assert_eq!(again.open("x", &sealed).as_deref(), Ok(b"y".as_slice()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1, "nothing is left beside");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
        assert!(matches!(Sealer::load(&path), Err(SealingError::Open { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("closed");
        fs::write(&path, "tapedeck-sealing-key-1:short\n").expect("written");
        assert!(matches!(Sealer::load_or_make(&path), Err(SealingError::Damaged { .. })));
        fs::remove_dir_all(folder).expect("removed");
    }
}
