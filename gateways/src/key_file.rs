//! Files that hold a secret key of this installation: one short line that only its owner can read, made where it is
//! missing. They lie beside the database and never in it: a dump alone opens and signs nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngCore;
use thiserror::Error;

/// A key file is one short line.
const FILE_BYTES_MAX: u64 = 1_024;

/// The key that signs proofs.
pub const SIGNING: KeyFile =
    KeyFile { name: "signing key", setting: "signing_key_file", prefix: "tapedeck-signing-key-1:" };

/// The key that seals what may be stored and must not be read there.
pub const SEALING: KeyFile =
    KeyFile { name: "sealing key", setting: "sealing_key_file", prefix: "tapedeck-sealing-key-1:" };

/// What a file holds.
pub struct KeyFile {
    name: &'static str,
    /// What says in the configuration where it is.
    setting: &'static str,
    prefix: &'static str,
}

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyFileError {
    #[error("nothing says where the {name} is: set {setting}")]
    Nowhere { name: &'static str, setting: &'static str },
    #[error("the {name} {path}: {source}")]
    File { name: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the {name} {path} is damaged: restore it, or move it away to get a new one")]
    Damaged { name: &'static str, path: PathBuf },
    #[error("others can read the {name} {path}: chmod 600 {path}")]
    Open { name: &'static str, path: PathBuf },
}

impl KeyFile {
    /// That nothing says where it is.
    pub fn nowhere(&self) -> KeyFileError {
        KeyFileError::Nowhere { name: self.name, setting: self.setting }
    }

    /// That what `path` holds is no such key.
    fn damaged(&self, path: &Path) -> KeyFileError {
        KeyFileError::Damaged { name: self.name, path: path.to_owned() }
    }

    fn failed(&self, path: &Path, source: std::io::Error) -> KeyFileError {
        KeyFileError::File { name: self.name, path: path.to_owned(), source }
    }

    /// The key in `path`, which is made if it is not there. Two processes that make it at once get the same one.
    pub fn load_or_make(&self, path: &Path) -> Result<[u8; 32], KeyFileError> {
        if let Some(key) = self.load(path)? {
            return Ok(key);
        }
        self.make(path).map_err(|source| self.failed(path, source))?;
        // Whichever process was first, its key is the one in the file.
        self.load(path)?.ok_or_else(|| self.damaged(path))
    }

    /// The key in `path`, if there is one.
    pub fn load(&self, path: &Path) -> Result<Option<[u8; 32]>, KeyFileError> {
        let status = match fs::metadata(path) {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(path, error)),
        };
        // A secret that a cluster mounts is often readable by the group as well; by others it never is.
        if status.permissions().mode() & 0o007 != 0 {
            return Err(KeyFileError::Open { name: self.name, path: path.to_owned() });
        }
        if status.len() > FILE_BYTES_MAX {
            return Err(self.damaged(path));
        }
        let text = fs::read_to_string(path).map_err(|source| self.failed(path, source))?;
        let key = text.trim().strip_prefix(self.prefix);
        let key = key.and_then(|key| URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok());
        key.map(Some).ok_or_else(|| self.damaged(path))
    }

    /// Written beside and linked into place, so that it is whole or not there, and an existing one stays.
    fn make(&self, path: &Path) -> std::io::Result<()> {
        let mut key = [0_u8; 32];
        rand::rng().fill_bytes(&mut key);
        let beside = path.with_extension(format!("key.{}", uuid::Uuid::new_v4().simple()));
        let text = format!("{}{}\n", self.prefix, URL_SAFE_NO_PAD.encode(key));
        let write = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&beside, path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
                _ => sync_folder(path),
            }
        };
        let written = write();
        let _ = fs::remove_file(&beside);
        written
    }
}

/// Has the folder of `path` on disk, so that no power cut takes the name back.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
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
        let path = folder.join("a.key");
        assert!(SIGNING.load(&path).expect("readable").is_none());
        let made = SIGNING.load_or_make(&path).expect("made");
        assert_eq!(SIGNING.load_or_make(&path).expect("found"), made);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).expect("readable").count(), 1, "nothing is left beside");
        assert!(matches!(SEALING.load(&path), Err(KeyFileError::Damaged { .. })), "another kind");
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn all_that_make_it_at_once_get_the_same_key() {
        let folder = folder();
        let path = folder.join("a.key");
        let makers: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || SIGNING.load_or_make(&path).expect("made"))
            })
            .collect();
        let keys: Vec<_> = makers.into_iter().map(|maker| maker.join().expect("ended")).collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused() {
        let folder = folder();
        let path = folder.join("a.key");
        SEALING.load_or_make(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("opened");
        let open = SEALING.load(&path).expect_err("others can read it").to_string();
        assert!(open.starts_with("others can read the sealing key "), "{open}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("closed");
        for wrong in ["tapedeck-sealing-key-1:short\n", "", &"x".repeat(2_000)] {
            fs::write(&path, wrong).expect("written");
            assert!(matches!(SEALING.load_or_make(&path), Err(KeyFileError::Damaged { .. })));
        }
        fs::remove_dir_all(folder).expect("removed");
    }
}
