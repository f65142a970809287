//! The pictures that a list of tapes names: files beside it, looked at before anything is kept.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::pictures::{PictureError, Pictures, media_type_of, name_of};

/// The largest thumbnail. The overlay loads it while a tape begins.
pub const BYTES_MAX: usize = 2 * 1024 * 1024;

/// A picture that can be kept.
#[derive(Clone, PartialEq)]
pub struct Thumbnail {
    /// Under which it will be.
    pub name: String,
    bytes: Vec<u8>,
}

/// Reads the picture `file`, which is named from `folder` on, and looks whether it is one.
pub fn look_at(folder: &Path, file: &str) -> Result<Thumbnail, String> {
    if file.contains("://") {
        return Err(format!("the thumbnail {file:?} is an address: give a file, or leave it out"));
    }
    let path = folder.join(file);
    let unreadable = |error: std::io::Error| format!("the thumbnail {file:?}: {error}");
    let is_file = std::fs::metadata(&path).map_err(unreadable)?.is_file();
    if !is_file {
        return Err(format!("the thumbnail {file:?} is no file"));
    }
    let mut bytes = Vec::new();
    let opened = File::open(&path).map_err(unreadable)?;
    opened.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > BYTES_MAX {
        return Err(format!("the thumbnail {file:?} is larger than {BYTES_MAX} bytes"));
    }
    media_type_of(&bytes).map_err(|error| format!("the thumbnail {file:?}: {error}"))?;
    Ok(Thumbnail { name: name_of(&bytes), bytes })
}

impl Thumbnail {
    /// Keeps it among the pictures.
    pub async fn keep(&self, pictures: &Pictures) -> Result<(), PictureError> {
        pictures.put(&self.bytes).await.map(drop)
    }
}

impl std::fmt::Debug for Thumbnail {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Thumbnail").field("name", &self.name).finish_non_exhaustive()
    }
}
