//! Pictures in a local folder.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use tokio::fs;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::PictureError;

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
