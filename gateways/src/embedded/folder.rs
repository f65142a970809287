//! The data folder: one tapedeck at a time, and the ports it used last.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::ports::{self, Ports};

/// Temporary data folders begin with this, so that ones left behind can be found and removed.
const TEMPORARY_PREFIX: &str = "tapedeck-temporary-";
const SWEPT_MAX: usize = 64;
/// A folder that was used this recently may be between two runs of a test.
const SWEPT_AFTER: Duration = Duration::from_secs(3600);

/// A data folder that this process alone uses.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Open for as long as the folder is ours; the lock falls with the process.
    _lock: File,
}

impl Folder {
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot create the data folder {}", path.display()))?;
        let path = path
            .canonicalize()
            .with_context(|| format!("cannot open the data folder {}", path.display()))?;
        let mut lock = open_lock(&path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = lock.read_to_string(&mut owner);
                bail!(
                    "the data folder {} is in use by another tapedeck (process {}): stop that \
                     one, or choose another folder with --data",
                    path.display(),
                    owner.trim(),
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())?;
        Ok(Self { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A folder inside that is open to its owner only.
    pub fn private(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    /// The ports used last, or free ones.
    pub fn ports(&self) -> anyhow::Result<Ports> {
        let remembered = fs::read(self.join("ports.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Ports>(&bytes).ok());
        // Both are held at once, so that they differ.
        let nats = hold(remembered.map(|ports| ports.nats))?;
        let postgres = hold(remembered.map(|ports| ports.postgres))?;
        let ports = Ports { nats: port_of(&nats)?, postgres: port_of(&postgres)? };
        let written = self.join("ports.json.new");
        fs::write(&written, serde_json::to_vec(&ports)?)?;
        fs::rename(&written, self.join("ports.json"))?;
        Ok(ports)
    }
}

/// A new folder of our own for servers that leave nothing behind. Folders that killed processes
/// left are removed on the way.
pub fn temporary() -> anyhow::Result<PathBuf> {
    let parent = std::env::temp_dir();
    sweep(&parent);
    let path = parent.join(format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::new_v4().simple()));
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path)
}

/// Removes what nobody uses any more: no tapedeck for an hour, nor a server it started.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    let left_behind = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX))
        .map(|entry| entry.path());
    for folder in left_behind.take(SWEPT_MAX) {
        let locks = ["lock", "initdb.lock", "postgres.lock", "nats/server.lock"];
        if is_old(&folder) && locks.into_iter().all(|name| is_free(&folder.join(name))) {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

fn is_old(folder: &Path) -> bool {
    let lock = folder.join("lock");
    let used =
        fs::metadata(lock).or_else(|_| fs::metadata(folder)).and_then(|file| file.modified());
    used.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > SWEPT_AFTER))
}

fn is_free(lock: &Path) -> bool {
    match OpenOptions::new().write(true).open(lock) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn open_lock(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// Holds the wanted port if it is free, else any other.
fn hold(wanted: Option<u16>) -> anyhow::Result<TcpListener> {
    let held = wanted.and_then(|port| ports::hold(port).ok());
    held.map_or_else(ports::free, Ok).context("no free port on the loopback address")
}

fn port_of(listener: &TcpListener) -> anyhow::Result<u16> {
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_the_same_while_they_are_free() {
        let path = temporary().expect("a folder");
        let folder = Folder::open(&path).expect("ours");
        let first = folder.ports().expect("free ports");
        assert_eq!(folder.ports().expect("the same"), first);
        let _taken = ports::hold(first.nats).expect("free");
        let next = folder.ports().expect("another");
        assert_ne!(next.nats, first.nats);
        assert_eq!(next.postgres, first.postgres);
        fs::remove_dir_all(path).expect("removed");
    }
}
