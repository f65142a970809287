//! Takes the even background of a picture away, so that what stands on it can be shown on anything.
//!
//! The colour of the background is what most of the border has. From the border it is flooded inwards, as far as the
//! colour stays near enough. Where the flood ends, the outermost pixels are mixed of figure and background: they become
//! as transparent as they are background, and lose its colour, so that no fringe is left.

use thiserror::Error;
use tiny_skia::{Pixmap, PremultipliedColorU8};

use crate::pictures::{self, PictureError};

/// The most pixels of a picture that is unpacked here.
const PIXELS_MAX: u64 = 2_048 * 2_048;
/// So far a colour may be from the background's and still be background: squared distance of red, green and blue.
const SAME: i32 = 36 * 36;
/// From here on a colour at the edge has nothing of the background.
const OTHER: i32 = 150 * 150;
/// How deep the soft edge is, in pixels.
const EDGE: u32 = 2;
/// So much of the border has to be background, and so much of the picture may become nothing, in hundredths.
const BORDER_MIN: usize = 60;
const LEFT_MIN: usize = 3;

/// A picture after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// A PNG.
    pub bytes: Vec<u8>,
    /// The colour that was taken away, as `#rrggbb`. `None` where there is no even background, and the picture is as it was.
    pub background: Option<String>,
}

/// Why a picture cannot be looked at.
#[derive(Debug, Error)]
pub enum CutoutError {
    #[error("it is no PNG, but {0}")]
    NotPng(&'static str),
    #[error(transparent)]
    NoPicture(#[from] PictureError),
    #[error("it has {pixels} pixels, and {PIXELS_MAX} is the most")]
    TooManyPixels { pixels: u64 },
    #[error("it is damaged")]
    Damaged,
}

type Rgb = [i32; 3];

/// Takes the background of a PNG away.
pub fn cut_out(png: &[u8]) -> Result<Cut, CutoutError> {
    match pictures::media_type_of(png)? {
        "image/png" => {}
        other => return Err(CutoutError::NotPng(other)),
    }
    // What the head says is what would be unpacked, so it is asked first.
    let pixels = pixels_of(png).ok_or(CutoutError::Damaged)?;
    if pixels > PIXELS_MAX {
        return Err(CutoutError::TooManyPixels { pixels });
    }
    let mut picture = Pixmap::decode_png(png).map_err(|_| CutoutError::Damaged)?;
    let unchanged = || Ok(Cut { bytes: png.to_vec(), background: None });
    let Some(colour) = background_of(&picture) else { return unchanged() };
    let depths = flood(&picture, colour);
    let left = depths.iter().filter(|depth| **depth != 0).count();
    if left * 100 < depths.len() * LEFT_MIN {
        return unchanged();
    }
    for (pixel, depth) in picture.pixels_mut().iter_mut().zip(depths) {
        *pixel = match depth {
            0 => PremultipliedColorU8::TRANSPARENT,
            INSIDE => *pixel,
            _ => softened(*pixel, colour),
        };
    }
    let bytes = picture.encode_png().map_err(|_| CutoutError::Damaged)?;
    let [red, green, blue] = colour;
    Ok(Cut { bytes, background: Some(format!("#{red:02x}{green:02x}{blue:02x}")) })
}

/// How many pixels the head of a PNG promises.
fn pixels_of(png: &[u8]) -> Option<u64> {
    let side = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
    Some(u64::from(side(16)?) * u64::from(side(20)?))
}

/// The colour that most of the border has; `None` where it has none, or is transparent already.
fn background_of(picture: &Pixmap) -> Option<Rgb> {
    let border: Vec<PremultipliedColorU8> =
        border(picture).map(|index| picture.pixels()[index]).collect();
    if border.iter().any(|pixel| pixel.alpha() < u8::MAX) {
        return None;
    }
    let middle = |channel: usize| {
        let mut values: Vec<i32> = border.iter().map(|pixel| rgb(*pixel)[channel]).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied()
    };
    let colour = [middle(0)?, middle(1)?, middle(2)?];
    let same = border.iter().filter(|pixel| distance(rgb(**pixel), colour) <= SAME).count();
    (same * 100 >= border.len() * BORDER_MIN).then_some(colour)
}

/// The places of the border, each once.
fn border(picture: &Pixmap) -> impl Iterator<Item = usize> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    (0..width * height).filter(move |index| {
        let (x, y) = (index % width, index / width);
        x == 0 || y == 0 || x + 1 == width || y + 1 == height
    })
}

const INSIDE: u32 = u32::MAX;

/// For each pixel 0 where it is background, 1 to [`EDGE`] where it is that far from it, and [`INSIDE`] elsewhere.
fn flood(picture: &Pixmap, colour: Rgb) -> Vec<u32> {
    let (width, pixels) = (picture.width() as usize, picture.pixels());
    let mut depths = vec![INSIDE; pixels.len()];
    let is_same = |index: usize| distance(rgb(pixels[index]), colour) <= SAME;
    let mut wave: Vec<usize> = border(picture).filter(|index| is_same(*index)).collect();
    wave.iter().for_each(|index| depths[*index] = 0);
    let mut edge = Vec::new();
    // Each pixel is entered once, so this ends.
    while let Some(index) = wave.pop() {
        for next in beside(index, width, pixels.len()) {
            if depths[next] != INSIDE {
                continue;
            }
            if is_same(next) {
                depths[next] = 0;
                wave.push(next);
            } else {
                edge.push(next);
            }
        }
    }
    for depth in 1..=EDGE {
        let mut inner = Vec::new();
        for index in edge {
            if depths[index] != INSIDE || distance(rgb(pixels[index]), colour) >= OTHER {
                continue;
            }
            depths[index] = depth;
            inner.extend(beside(index, width, pixels.len()).filter(|n| depths[*n] == INSIDE));
        }
        edge = inner;
    }
    depths
}

/// The places left, right, above and below.
fn beside(index: usize, width: usize, count: usize) -> impl Iterator<Item = usize> {
    let x = index % width;
    let left = (x > 0).then(|| index - 1);
    let right = (x + 1 < width).then(|| index + 1);
    let above = index.checked_sub(width);
    let below = Some(index + width).filter(|below| *below < count);
    [left, right, above, below].into_iter().flatten()
}

/// A pixel at the edge, without its share of the background.
fn softened(pixel: PremultipliedColorU8, background: Rgb) -> PremultipliedColorU8 {
    let far = f64::from(distance(rgb(pixel), background)).sqrt();
    let (same, other) = (f64::from(SAME).sqrt(), f64::from(OTHER).sqrt());
    let alpha = ((far - same) / (other - same)).clamp(0.0, 1.0);
    // What is seen is figure × alpha + background × (1 - alpha); the first is what is kept.
    let solid = (alpha * 255.0).round();
    let channel = |seen: i32, behind: i32| {
        let own = f64::from(seen) - f64::from(behind) * (1.0 - alpha);
        own.round().clamp(0.0, solid) as u8
    };
    let seen = rgb(pixel);
    let [red, green, blue] = [0, 1, 2].map(|n: usize| channel(seen[n], background[n]));
    PremultipliedColorU8::from_rgba(red, green, blue, solid as u8)
        .unwrap_or(PremultipliedColorU8::TRANSPARENT)
}

fn rgb(pixel: PremultipliedColorU8) -> Rgb {
    [pixel.red(), pixel.green(), pixel.blue()].map(i32::from)
}

fn distance(one: Rgb, other: Rgb) -> i32 {
    one.into_iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests;
