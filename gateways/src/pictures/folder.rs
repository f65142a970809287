//! Pictures in a local folder.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::fs;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{PictureError, is_name, name_of};

#[derive(Clone, Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), PictureError> {
        self.write(name, bytes).await.map_err(|source| self.failed(source))
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Bytes>, PictureError> {
        match fs::read(self.path(name)).await {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// What is here under this name, if it is what the name says.
    pub(super) async fn whole(&self, name: &str) -> Option<Bytes> {
        if !is_name(name) {
            return None;
        }
        match self.get(name).await {
            Ok(bytes) => bytes.filter(|bytes| name_of(bytes) == name),
            Err(error) => {
                tracing::warn!(%error, name, "a picture that waits here cannot be read");
                None
            }
        }
    }

    pub(super) async fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path(name)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, name, "a picture that is stored stays here as well");
        }
    }

    /// Deletes all that is older than `age`, whole or not, and says how much it was.
    pub(super) async fn forget(&self, age: Duration) -> io::Result<u64> {
        let Some(oldest) = SystemTime::now().checked_sub(age) else { return Ok(0) };
        let mut folders = match fs::read_dir(&self.0).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            folders => folders?,
        };
        let mut forgotten = 0;
        while let Some(folder) = folders.next_entry().await? {
            if !folder.file_type().await?.is_dir() {
                continue;
            }
            let mut files = fs::read_dir(folder.path()).await?;
            while let Some(file) = files.next_entry().await? {
                let about = file.metadata().await?;
                if about.is_file() && about.modified()? < oldest {
                    fs::remove_file(file.path()).await?;
                    forgotten += 1;
                }
            }
        }
        Ok(forgotten)
    }

    /// Written beside and moved into place, so that under a name there is the whole picture or nothing. It is written
    /// also where there is one: that mends a damaged one.
    async fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.path(name);
        let folder = place.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder).await?;
        let new = folder.join(format!("{name}.{}.new", Uuid::new_v4().simple()));
        let written = async {
            let mut file = fs::File::create(&new).await?;
            file.write_all(bytes).await?;
            file.sync_all().await?;
            fs::rename(&new, &place).await?;
            // The name is on disk once its folder is.
            fs::File::open(folder).await?.sync_all().await
        };
        let written = written.await;
        if written.is_err() {
            let _ = fs::remove_file(&new).await;
        }
        written
    }

    /// A folder for each first two digits, so that none becomes too full to look into.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(&name[..2]).join(name)
    }

    fn failed(&self, source: io::Error) -> PictureError {
        PictureError::Folder { folder: self.0.clone(), source }
    }
}
