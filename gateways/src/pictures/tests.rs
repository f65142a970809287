//! What is stored is what is read, or nothing.

use uuid::Uuid;

use super::*;

/// The smallest PNG there is, with one transparent pixel.
const PIXEL: &[u8] = include_bytes!("../../tests/data/pixel.png");

fn pictures() -> (Folder, Pictures) {
    let folder = Folder(std::env::temp_dir().join(format!("tapedeck-{}", Uuid::new_v4().simple())));
    let pictures = Pictures::in_folder(folder.0.join("pictures"));
    (folder, pictures)
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn a_picture_is_found_under_the_name_of_its_content() {
    let (_folder, pictures) = pictures();
    let name = pictures.put(PIXEL).await.expect("stored");
    assert_eq!(name, name_of(PIXEL));
    assert_eq!(pictures.put(PIXEL).await.expect("stored again"), name);
    let stored = pictures.get(&name).await.expect("readable").expect("there");
    assert_eq!((stored.bytes.as_ref(), stored.media_type), (PIXEL, "image/png"));
}

#[tokio::test]
async fn a_damaged_picture_is_not_shown_and_storing_it_again_mends_it() {
    let (folder, pictures) = pictures();
    let name = pictures.put(PIXEL).await.expect("stored");
    let path = folder.0.join("pictures").join(&name[..2]).join(&name);
    let mut bytes = PIXEL.to_vec();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).expect("damaged");
    let error = pictures.get(&name).await.expect_err("it is not what was stored");
    assert!(matches!(error, PictureError::Damaged { .. }), "{error}");
    pictures.put(PIXEL).await.expect("stored again");
    assert!(pictures.get(&name).await.expect("readable").is_some());
}

#[tokio::test]
async fn only_a_name_of_a_picture_is_looked_for() {
    let (_folder, pictures) = pictures();
    for name in ["", "..", "../../etc/passwd", &"A".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
        assert_eq!(pictures.get(name).await.expect("an answer"), None, "{name}");
    }
    assert_eq!(pictures.get(&"a".repeat(64)).await.expect("an answer"), None);
}

#[tokio::test]
async fn what_is_no_picture_is_not_stored() {
    let (folder, pictures) = pictures();
    let huge = vec![0_u8; BYTES_MAX + 1];
    let mut wide = PIXEL.to_vec();
    wide[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
    let cut = &PIXEL[..PIXEL.len() - 3];
    for bytes in [b"<svg onload=alert(1)>".as_slice(), b"", &huge, &wide, cut] {
        assert!(pictures.put(bytes).await.is_err(), "{} bytes", bytes.len());
    }
    assert!(!folder.0.exists(), "nothing was written");
}

#[test]
fn a_jpeg_and_a_webp_are_known_by_their_bytes() {
    assert_eq!(media_type_of(b"\xff\xd8\xff\xe0 \xff\xd9").expect("JPEG"), "image/jpeg");
    assert!(media_type_of(b"\xff\xd8\xff\xe0 ").is_err());
    assert_eq!(media_type_of(b"RIFF\x04\0\0\0WEBP").expect("WebP"), "image/webp");
    assert!(media_type_of(b"RIFF\xff\0\0\0WEBP").is_err());
}
