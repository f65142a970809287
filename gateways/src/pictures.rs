//! The pictures that were made, by the name of their content. Goes out: to a local folder, or to a bucket that speaks as
//! S3 does.
//!
//! A picture's name is the SHA-256 of its bytes, so it can be stored twice without harm, is never changed, and what is
//! read back can be proved to be what was stored, whoever kept it.
//!
//! A bucket may be away, and a picture that was drawn is paid for: it is kept on this host first ([`Pictures::spool`]) and
//! then brought to the bucket ([`Pictures::store`]), as often as that takes.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use thiserror::Error;

pub mod bucket;
mod folder;

use self::bucket::Bucket;
use self::folder::Folder;

/// The largest picture that is kept.
pub const BYTES_MAX: usize = 20 * 1024 * 1024;

/// Where pictures are kept.
#[derive(Clone)]
pub struct Pictures(Place);

#[derive(Clone)]
enum Place {
    Folder(Folder),
    /// The bucket, and the folder on this host in which a picture waits for it.
    Bucket(Arc<Bucket>, Folder),
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
    /// The words have no address in them: it carries a signature.
    #[error("the bucket {bucket}: {reason}")]
    Bucket { bucket: String, reason: String },
    /// It is not there, or this key may not read it: the bucket does not say which.
    #[error("the bucket {bucket} does not say whether there is such a picture (403, AccessDenied)")]
    Withheld { bucket: String },
}

impl Pictures {
    /// Pictures in `folder`, which is made with the first one.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Pictures(Place::Folder(Folder(folder.into())))
    }

    /// Pictures in a bucket. Those that it has not taken yet wait in the folder `spool` of this host.
    pub fn in_bucket(bucket: Bucket, spool: impl Into<PathBuf>) -> Self {
        Pictures(Place::Bucket(Arc::new(bucket), Folder(spool.into())))
    }

    /// Where that is, for people.
    pub fn place(&self) -> String {
        match &self.0 {
            Place::Folder(folder) => folder.0.display().to_string(),
            Place::Bucket(bucket, _) => bucket.place(),
        }
    }

    /// Stores a picture and gives its name. Once this has answered, the picture outlives a power cut, as far as the store
    /// can promise it.
    pub async fn put(&self, bytes: &[u8]) -> Result<String, PictureError> {
        let (name, media_type) = checked(bytes)?;
        match &self.0 {
            Place::Folder(folder) => folder.put(&name, bytes).await?,
            Place::Bucket(bucket, _) => bucket.put(&name, bytes, media_type).await?,
        }
        Ok(name)
    }

    /// Keeps a picture on this host and gives its name. Once this has answered, it outlives a power cut here, and
    /// [`Pictures::store`] brings it to where pictures are kept.
    pub async fn spool(&self, bytes: &[u8]) -> Result<String, PictureError> {
        let (name, _) = checked(bytes)?;
        match &self.0 {
            Place::Folder(folder) | Place::Bucket(_, folder) => folder.put(&name, bytes).await?,
        }
        Ok(name)
    }

    /// Sees to it that a picture that was drawn is where pictures are kept. `false` where it is neither there nor on this
    /// host. Where a bucket does not say, that is an error: what may be there is not paid for again.
    pub async fn store(&self, name: &str) -> Result<bool, PictureError> {
        if let Place::Bucket(bucket, spool) = &self.0
            && let Some(bytes) = spool.whole(name).await
        {
            bucket.put(name, &bytes, media_type_of(&bytes)?).await?;
            spool.remove(name).await;
            return Ok(true);
        }
        match self.read(name).await {
            Ok(stored) => Ok(stored.is_some()),
            Err(PictureError::Damaged { .. } | PictureError::NoPicture(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes what waits on this host for the bucket since longer than `age`: nobody wants it any more. Says how much it
    /// was.
    pub async fn tidy(&self, age: Duration) -> io::Result<u64> {
        match &self.0 {
            Place::Folder(_) => Ok(0),
            Place::Bucket(_, spool) => spool.forget(age).await,
        }
    }

    /// The picture of this name, proved to be the one that was stored; `None` where there is none that may be read.
    pub async fn get(&self, name: &str) -> Result<Option<Stored>, PictureError> {
        match self.read(name).await {
            Err(PictureError::Withheld { .. }) => Ok(None),
            read => read,
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Stored>, PictureError> {
        if !is_name(name) {
            return Ok(None);
        }
        let bytes = match &self.0 {
            Place::Folder(folder) => folder.get(name).await?,
            Place::Bucket(bucket, _) => bucket.get(name).await?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let found = name_of(&bytes);
        if found != name {
            return Err(PictureError::Damaged { name: name.to_owned(), found });
        }
        let media_type = media_type_of(&bytes)?;
        Ok(Some(Stored { bytes, media_type }))
    }
}

/// The name of a picture that can be kept, and what it is.
fn checked(bytes: &[u8]) -> Result<(String, &'static str), PictureError> {
    if bytes.len() > BYTES_MAX {
        return Err(PictureError::TooLarge { bytes: bytes.len() });
    }
    let media_type = media_type_of(bytes)?;
    Ok((name_of(bytes), media_type))
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
