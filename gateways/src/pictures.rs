//! The pictures that were made, by the name of their content. Goes out: to a local folder.
//!
//! A picture's name is the SHA-256 of its bytes, so it can be stored twice without harm, is never changed, and what is
//! read back can be proved to be what was stored. Any other store that can put and get bytes under a name can take this
//! one's place.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio::fs;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

/// The largest picture that is kept.
pub const BYTES_MAX: usize = 20 * 1024 * 1024;

/// Where pictures are kept.
#[derive(Clone, Debug)]
pub struct Pictures {
    folder: PathBuf,
}

/// A picture as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub bytes: Bytes,
    pub media_type: &'static str,
}

/// Why a picture cannot be stored or read.
#[derive(Debug, Error)]
pub enum PictureError {
    #[error("this is no picture that a browser can show: {0}")]
    NoPicture(&'static str),
    #[error("a picture of {bytes} bytes is larger than {BYTES_MAX}")]
    TooLarge { bytes: usize },
    /// The file is not what its name says.
    #[error("the picture {name} is damaged: its content is {found}")]
    Damaged { name: String, found: String },
    #[error("the folder {folder}: {source}")]
    Folder { folder: PathBuf, source: io::Error },
}

impl Pictures {
    /// Pictures in `folder`, which is made with the first one.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Pictures { folder: folder.into() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores a picture and gives its name. Once this has answered, the picture outlives a power cut.
    pub async fn put(&self, bytes: &[u8]) -> Result<String, PictureError> {
        if bytes.len() > BYTES_MAX {
            return Err(PictureError::TooLarge { bytes: bytes.len() });
        }
        media_type_of(bytes)?;
        let name = name_of(bytes);
        self.write(&name, bytes).await.map_err(|source| self.failed(source))?;
        Ok(name)
    }

    /// The picture of this name, proved to be the one that was stored; `None` where there is none.
    pub async fn get(&self, name: &str) -> Result<Option<Stored>, PictureError> {
        if !is_name(name) {
            return Ok(None);
        }
        let bytes = match fs::read(self.path(name)).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed(source)),
        };
        let found = name_of(&bytes);
        if found != name {
            return Err(PictureError::Damaged { name: name.to_owned(), found });
        }
        let media_type = media_type_of(&bytes)?;
        Ok(Some(Stored { bytes: Bytes::from(bytes), media_type }))
    }

    /// Written beside and moved into place, so that under a name there is the whole picture or nothing. It is written
    /// also where there is one: that mends a damaged one.
    async fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.path(name);
        let folder = place.parent().unwrap_or(&self.folder);
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
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(&name[..2]).join(name)
    }

    fn failed(&self, source: io::Error) -> PictureError {
        PictureError::Folder { folder: self.folder.clone(), source }
    }
}

/// SHA-256, as 64 small hexadecimal digits.
pub fn name_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether a picture could have this name. Nothing else becomes part of a path.
pub fn is_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a picture is, by its own first and last bytes, whatever anybody says.
pub fn media_type_of(bytes: &[u8]) -> Result<&'static str, PictureError> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    const PNG_END: &[u8] = b"IEND\xae\x42\x60\x82";
    if bytes.starts_with(PNG) {
        let side = |at: usize| bytes.get(at..at + 4).and_then(|side| side.try_into().ok());
        let sides = (side(16).map(u32::from_be_bytes), side(20).map(u32::from_be_bytes));
        let (Some(1..=SIDE_MAX), Some(1..=SIDE_MAX)) = sides else {
            return Err(PictureError::NoPicture("its sides are not 1 to 4096 pixels"));
        };
        return match bytes.ends_with(PNG_END) {
            true => Ok("image/png"),
            false => Err(PictureError::NoPicture("a PNG without its end")),
        };
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return match bytes.ends_with(b"\xff\xd9") {
            true => Ok("image/jpeg"),
            false => Err(PictureError::NoPicture("a JPEG without its end")),
        };
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        let said = bytes.get(4..8).and_then(|length| length.try_into().ok());
        let said = said.map(u32::from_le_bytes).and_then(|length| usize::try_from(length).ok());
        return match said {
            Some(length) if length.saturating_add(8) == bytes.len() => Ok("image/webp"),
            _ => Err(PictureError::NoPicture("a WebP that is not as long as it says")),
        };
    }
    Err(PictureError::NoPicture("neither PNG nor JPEG nor WebP"))
}

const SIDE_MAX: u32 = 4_096;

#[cfg(test)]
mod tests;
