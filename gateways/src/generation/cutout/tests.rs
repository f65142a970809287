use tiny_skia::{Color, FillRule, Paint, PathBuilder, Transform};

use super::*;

const SIDE: u32 = 200;

fn paint(red: u8, green: u8, blue: u8) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

/// A red disc with a green eye on an uneven green background, as a painter leaves it.
fn disc() -> Pixmap {
    let mut picture = Pixmap::new(SIDE, SIDE).expect("memory");
    picture.fill(Color::from_rgba8(60, 180, 90, 255));
    for (n, pixel) in picture.pixels_mut().iter_mut().enumerate() {
        let noise = (n * 7919 % 13) as u8;
        *pixel = PremultipliedColorU8::from_rgba(54 + noise, 174 + noise, 84 + noise, 255)
            .expect("a colour");
    }
    circle(&mut picture, 100.0, 60.0, paint(230, 30, 40));
    circle(&mut picture, 100.0, 12.0, paint(60, 180, 90));
    picture
}

fn circle(picture: &mut Pixmap, x: f32, radius: f32, paint: Paint<'_>) {
    let path = PathBuilder::from_circle(x, 100.0, radius).expect("a circle");
    picture.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
}

fn cut(picture: &Pixmap) -> (Pixmap, Option<String>) {
    let cut = cut_out(&picture.encode_png().expect("a PNG")).expect("cut out");
    (Pixmap::decode_png(&cut.bytes).expect("a PNG"), cut.background)
}

fn at(picture: &Pixmap, x: u32, y: u32) -> PremultipliedColorU8 {
    picture.pixel(x, y).expect("inside")
}

#[test]
fn the_background_becomes_transparent_and_the_figure_stays() {
    let (cut, background) = cut(&disc());
    let background = background.expect("it was taken away");
    assert!(background.starts_with("#3") && background.len() == 7, "{background}");
    for (x, y) in [(0, 0), (199, 199), (100, 2), (35, 100), (50, 50)] {
        assert_eq!(at(&cut, x, y).alpha(), 0, "{x}, {y}");
    }
    for (x, y) in [(60, 100), (100, 60), (140, 100)] {
        assert_eq!(at(&cut, x, y), PremultipliedColorU8::from_rgba(230, 30, 40, 255).expect("red"));
    }
    // The eye has the background's colour and is no background.
    assert_eq!(at(&cut, 100, 100).alpha(), 255);
}

#[test]
fn the_edge_is_soft_and_has_no_fringe() {
    let (cut, _) = cut(&disc());
    let edge: Vec<_> = cut.pixels().iter().filter(|p| (1..255).contains(&p.alpha())).collect();
    assert!(edge.len() > 100, "{} pixels are between", edge.len());
    for pixel in edge {
        let green = f64::from(pixel.green()) / f64::from(pixel.alpha());
        let red = f64::from(pixel.red()) / f64::from(pixel.alpha());
        assert!(green < 0.55 && red > green, "a fringe: {pixel:?}");
    }
}

#[test]
fn a_picture_without_an_even_background_stays_as_it_is() {
    let mut scene = Pixmap::new(SIDE, SIDE).expect("memory");
    for (n, pixel) in scene.pixels_mut().iter_mut().enumerate() {
        let (x, y) = (n as u32 % SIDE, n as u32 / SIDE);
        *pixel = PremultipliedColorU8::from_rgba(x as u8, y as u8, (x ^ y) as u8, 255).expect("ok");
    }
    let mut clear = disc();
    clear.pixels_mut()[0] = PremultipliedColorU8::TRANSPARENT;
    let mut nothing = Pixmap::new(SIDE, SIDE).expect("memory");
    nothing.fill(Color::from_rgba8(60, 180, 90, 255));
    for picture in [scene, clear, nothing] {
        let png = picture.encode_png().expect("a PNG");
        assert_eq!(cut_out(&png).expect("as it was"), Cut { bytes: png, background: None });
    }
}

#[test]
fn the_smallest_pictures_are_no_trouble() {
    for (width, height) in [(1, 1), (1, 5), (5, 1), (2, 2), (3, 3)] {
        let mut picture = Pixmap::new(width, height).expect("memory");
        picture.fill(Color::BLACK);
        cut_out(&picture.encode_png().expect("a PNG")).expect("an answer");
    }
}

#[test]
fn what_promises_too_many_pixels_is_not_unpacked() {
    let mut bomb = disc().encode_png().expect("a PNG");
    bomb[16..20].copy_from_slice(&4_096_u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&4_096_u32.to_be_bytes());
    assert!(matches!(cut_out(&bomb), Err(CutoutError::TooManyPixels { pixels: 16_777_216 })));
}

#[test]
fn what_is_no_whole_png_is_an_error() {
    let png = disc().encode_png().expect("a PNG");
    let mut torn = png.clone();
    let middle = torn.len() / 2;
    torn[middle..middle + 20].fill(0xaa);
    assert!(matches!(cut_out(&torn), Err(CutoutError::Damaged)));
    assert!(matches!(cut_out(b"\xff\xd8\xff\xd9"), Err(CutoutError::NotPng("image/jpeg"))));
    assert!(matches!(cut_out(b"<svg/>"), Err(CutoutError::NoPicture(_))));
    assert!(cut_out(&png[..png.len() - 1]).is_err());
}
