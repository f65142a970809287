//! What a provider may answer: whatever it says, only a picture that can be kept and shown comes out of here.

use super::{Made, ProviderError};
use crate::pictures;

const NAME_CHARS_MAX: usize = 60;
/// No picture costs a thousand dollars; who says so is wrong.
const COST_MICROS_MAX: i64 = 1_000_000_000;

/// The answer, if it is one.
pub fn checked(made: Made) -> Result<Made, ProviderError> {
    // It was made, so it was paid for.
    let cost = Some(made.cost_micros).filter(|cost| (0..=COST_MICROS_MAX).contains(cost));
    let broken = |reason: String| Err(ProviderError::Broken { cost_micros: cost, reason });
    let bytes = made.bytes.len();
    if bytes > pictures::BYTES_MAX {
        return broken(format!("the provider's picture has {bytes} bytes, which is too many"));
    }
    let media_type = match pictures::media_type_of(&made.bytes) {
        Ok(media_type) => media_type,
        Err(error) => return broken(format!("the provider's answer cannot be shown: {error}")),
    };
    if made.media_type != media_type {
        return broken(format!(
            "the provider called a picture of type {media_type} something else"
        ));
    }
    if !is_colour(&made.background) {
        return broken("the provider named a background that is no colour".to_owned());
    }
    if cost.is_none() {
        return broken("the provider named a cost that cannot be".to_owned());
    }
    let name = made.name.as_deref().map(tidy).filter(|name| !name.is_empty());
    Ok(Made { name, ..made })
}

fn is_colour(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// One line of words, and not many.
pub(super) fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_control() || c.is_whitespace()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ").chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXEL: &[u8] = include_bytes!("../../tests/data/pixel.png");

    fn made() -> Made {
        Made {
            bytes: PIXEL.to_vec(),
            media_type: "image/png".to_owned(),
            background: "#10a0fF".to_owned(),
            name: Some(" Wal\u{7}do\n the  heron ".to_owned()),
            cost_micros: 40_000,
        }
    }

    #[test]
    fn a_picture_passes_with_a_tidy_name() {
        let passed = checked(made()).expect("a picture");
        assert_eq!(passed.name.as_deref(), Some("Wal do the heron"));
        assert_eq!(checked(Made { name: Some("\n".to_owned()), ..made() }).expect("ok").name, None);
    }

    #[test]
    fn what_is_no_picture_or_says_nonsense_is_broken() {
        for wrong in [
            Made { bytes: b"<html>502".to_vec(), ..made() },
            Made { bytes: vec![0x89; pictures::BYTES_MAX + 1], ..made() },
            Made { bytes: Vec::new(), ..made() },
            Made { media_type: "image/svg+xml".to_owned(), ..made() },
            Made { background: "red;}body{".to_owned(), ..made() },
            Made { cost_micros: -1, ..made() },
            Made { cost_micros: i64::MAX, ..made() },
        ] {
            assert!(matches!(checked(wrong), Err(ProviderError::Broken { .. })));
        }
    }
}
