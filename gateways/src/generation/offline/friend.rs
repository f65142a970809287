//! A friend: a small creature of one colour, as from a box of stickers.

use domain::chat_request::Colour;

use super::canvas::{Canvas, INK, Rgb, Shape, WHITE, blend, blob, curve, oval, polygon};
use super::chance::Chance;

const OUTLINE: f32 = 15.0;
const STICKER: f32 = 46.0;
const CREAM: Rgb = (0xff, 0xf6, 0xe3);
const PINK: Rgb = (0xff, 0x7f, 0xa8);

pub(super) fn rgb(colour: Colour) -> Rgb {
    match colour {
        Colour::Red => (0xe8, 0x3b, 0x3b),
        Colour::RedOrange => (0xf2, 0x5c, 0x2e),
        Colour::Orange => (0xfb, 0x8b, 0x24),
        Colour::YellowOrange => (0xfd, 0xb0, 0x2c),
        Colour::Yellow => (0xfb, 0xdb, 0x3c),
        Colour::Chartreuse => (0xb5, 0xd9, 0x33),
        Colour::Green => (0x3d, 0xb5, 0x5a),
        Colour::Cyan => (0x2f, 0xc7, 0xc9),
        Colour::SkyBlue => (0x5a, 0xb8, 0xf5),
        Colour::Blue => (0x3a, 0x6f, 0xe0),
        Colour::Indigo => (0x4b, 0x45, 0xb8),
        Colour::Purple => (0x8e, 0x4c, 0xc9),
        Colour::Magenta => (0xe0, 0x46, 0xa8),
    }
}

pub(super) fn hex((red, green, blue): Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// An invented name.
pub(super) fn name(chance: &mut Chance) -> String {
    const TITLES: [&str; 8] = ["", "", "", "", "Captain ", "Auntie ", "Professor ", "Little "];
    const BEGINNINGS: [&str; 16] = [
        "Wal", "Bin", "Mop", "Zu", "Pip", "Tor", "Glim", "Ol", "Fern", "Kip", "Lu", "Marm", "Dor",
        "Quin", "Bram", "Tel",
    ];
    const ENDINGS: [&str; 14] = [
        "do", "gus", "kin", "bly", "mo", "ra", "zel", "bert", "wick", "nia", "lo", "ford", "ette",
        "by",
    ];
    let title = *chance.one_of(&TITLES);
    let (beginning, ending) = (*chance.one_of(&BEGINNINGS), *chance.one_of(&ENDINGS));
    format!("{title}{beginning}{ending}")
}

/// A part that is seen from outside, and so has an outline and stands on the sticker.
enum Part {
    Solid(Shape, Rgb),
    Limb(Shape, f32, Rgb),
}

pub(super) fn draw(canvas: &mut Canvas, chance: &mut Chance, colour: Colour) {
    let main = rgb(colour);
    let (dark, light) = (blend(main, INK, 0.28), blend(main, WHITE, 0.45));
    let (wide, high) = (chance.between(140.0, 172.0), chance.between(150.0, 178.0));
    let (x, y) = (320.0, 345.0);
    let body = body(chance, x, y, wide, high);
    let mut parts = Vec::new();
    top(&mut parts, chance, (x, y - high), main, light);
    limbs(&mut parts, chance, (x, y), (wide, high), main, dark);
    parts.push(Part::Solid(body, main));
    for part in &parts {
        part.outline(canvas, STICKER, WHITE);
    }
    for part in &parts {
        part.outline(canvas, OUTLINE, INK);
        part.fill(canvas);
    }
    pattern(canvas, chance, (x, y), (wide, high), dark, light);
    canvas.fill(&oval(x, y + high * 0.5, wide * 0.56, high * 0.36), blend(light, CREAM, 0.6), 1.0);
    canvas.fill(&oval(x - wide * 0.5, y - high * 0.55, wide * 0.17, high * 0.1), WHITE, 0.65);
    face(canvas, chance, x, y - high * 0.16);
}

impl Part {
    fn outline(&self, canvas: &mut Canvas, width: f32, colour: Rgb) {
        match self {
            Part::Solid(shape, _) => canvas.line(shape, width, colour, 1.0),
            Part::Limb(line, own, _) => canvas.line(line, own + width, colour, 1.0),
        }
    }

    fn fill(&self, canvas: &mut Canvas) {
        match self {
            Part::Solid(shape, colour) => canvas.fill(shape, *colour, 1.0),
            Part::Limb(line, width, colour) => canvas.line(line, *width, *colour, 1.0),
        }
    }
}

fn body(chance: &mut Chance, x: f32, y: f32, wide: f32, high: f32) -> Shape {
    let (head, hips) = match chance.below(4) {
        0 => (0.98, 0.98),
        1 => (0.74, 1.14),
        2 => (1.08, 0.86),
        _ => (0.88, 1.02),
    };
    blob(&[
        (x, y - high),
        (x + wide * head * 0.72, y - high * 0.72),
        (x + wide * head, y - high * 0.12),
        (x + wide * hips, y + high * 0.5),
        (x + wide * hips * 0.62, y + high * 0.96),
        (x, y + high * 1.02),
        (x - wide * hips * 0.62, y + high * 0.96),
        (x - wide * hips, y + high * 0.5),
        (x - wide * head, y - high * 0.12),
        (x - wide * head * 0.72, y - high * 0.72),
    ])
}

/// What it has on its head.
fn top(parts: &mut Vec<Part>, chance: &mut Chance, (x, y): (f32, f32), main: Rgb, light: Rgb) {
    let kind = chance.below(6);
    let long = chance.between(72.0, 96.0);
    for side in [-1.0, 1.0] {
        let base = x + side * 70.0;
        match kind {
            0 => {
                parts.push(Part::Solid(oval(base + side * 22.0, y + 18.0, 44.0, 44.0), main));
                parts.push(Part::Solid(oval(base + side * 22.0, y + 20.0, 20.0, 20.0), light));
            }
            1 => {
                let ear = [
                    (base - 28.0, y + 40.0),
                    (base - 24.0 + side * 14.0, y - long * 0.5),
                    (base + side * 22.0, y - long),
                    (base + 24.0 + side * 18.0, y - long * 0.4),
                    (base + 28.0, y + 46.0),
                ];
                parts.push(Part::Solid(blob(&ear), main));
            }
            2 => {
                let tip = (base + side * 34.0, y - long * 0.8);
                let stalk =
                    curve((base - side * 24.0, y + 30.0), (base - side * 10.0, y - 40.0), tip);
                parts.push(Part::Limb(stalk, 12.0, main));
                parts.push(Part::Solid(oval(tip.0, tip.1, 21.0, 21.0), light));
            }
            3 => {
                let horn = [
                    (base - 26.0, y + 36.0),
                    (base + side * 34.0, y - long * 0.55),
                    (base + 26.0, y + 40.0),
                ];
                parts.push(Part::Solid(polygon(&horn), CREAM));
            }
            _ => {}
        }
    }
    match kind {
        4 => {
            let stalk = curve((x, y + 20.0), (x - 6.0, y - 30.0), (x + 4.0, y - 56.0));
            parts.push(Part::Limb(stalk, 12.0, (0x3d, 0x9a, 0x50)));
            for side in [-1.0, 1.0] {
                let leaf = [
                    (x + 4.0, y - 54.0),
                    (x + side * 36.0, y - 92.0),
                    (x + side * 76.0, y - 84.0),
                    (x + side * 44.0, y - 54.0),
                ];
                parts.push(Part::Solid(blob(&leaf), (0x6c, 0xc9, 0x5f)));
            }
        }
        5 => {
            for (lean, tall) in [(-46.0, 44.0), (46.0, 44.0), (0.0, 74.0)] {
                let tuft = [(x - 30.0, y + 26.0), (x + lean, y - tall), (x + 30.0, y + 26.0)];
                parts.push(Part::Solid(polygon(&tuft), main));
            }
        }
        _ => {}
    }
}

fn limbs(
    parts: &mut Vec<Part>,
    chance: &mut Chance,
    (x, y): (f32, f32),
    (wide, high): (f32, f32),
    main: Rgb,
    dark: Rgb,
) {
    for side in [-1.0, 1.0] {
        parts.push(Part::Solid(oval(x + side * wide * 0.48, y + high + 10.0, 52.0, 30.0), dark));
    }
    let waving = if chance.below(2) == 0 { -1.0 } else { 1.0 };
    for side in [-1.0, 1.0] {
        let shoulder = (x + side * wide * 0.8, y + 16.0);
        let (elbow, hand) = match side == waving {
            true => ((x + side * (wide + 66.0), y + 34.0), (x + side * (wide + 74.0), y - 66.0)),
            false => ((x + side * (wide + 44.0), y + 24.0), (x + side * (wide + 36.0), y + 96.0)),
        };
        parts.push(Part::Limb(curve(shoulder, elbow, hand), 44.0, main));
    }
}

fn pattern(
    canvas: &mut Canvas,
    chance: &mut Chance,
    (x, y): (f32, f32),
    (wide, high): (f32, f32),
    dark: Rgb,
    light: Rgb,
) {
    match chance.below(3) {
        0 => {
            for (dx, dy, size) in [
                (0.62, -0.46, 17.0),
                (0.42, -0.66, 11.0),
                (-0.66, 0.3, 15.0),
                (0.7, 0.16, 13.0),
                (-0.58, -0.3, 10.0),
            ] {
                canvas.fill(&oval(x + wide * dx, y + high * dy, size, size), dark, 0.5);
            }
        }
        1 => {
            for n in 0..3 {
                let (half, at) = (26.0 + 9.0 * n as f32, y - high * 0.84 + 24.0 * n as f32);
                let stripe = curve((x - half, at), (x, at + 14.0), (x + half, at));
                canvas.line(&stripe, 11.0, dark, 0.7);
            }
        }
        _ => {
            for side in [-1.0, 1.0] {
                let freckle = x + side * wide * 0.62;
                for (dx, dy) in [(0.0, 0.0), (16.0, 10.0), (-14.0, 12.0)] {
                    canvas.fill(&oval(freckle + dx, y + high * 0.26 + dy, 5.0, 5.0), light, 1.0);
                }
            }
        }
    }
}

fn face(canvas: &mut Canvas, chance: &mut Chance, x: f32, y: f32) {
    let size = chance.between(34.0, 42.0);
    let look = (chance.between(-6.0, 6.0), chance.between(-4.0, 4.0));
    let eyes: &[(f32, f32, f32)] = match chance.below(6) {
        0 => &[(0.0, -6.0, 1.5)],
        1 => &[(-74.0, 4.0, 0.8), (0.0, -22.0, 0.95), (74.0, 4.0, 0.8)],
        _ => &[(-54.0, 0.0, 1.0), (54.0, 0.0, 1.0)],
    };
    for (dx, dy, scale) in eyes {
        let (eye_x, eye_y, radius) = (x + dx, y + dy, size * scale);
        canvas.fill(&oval(eye_x, eye_y, radius + 6.0, radius + 8.0), INK, 1.0);
        canvas.fill(&oval(eye_x, eye_y, radius, radius + 2.0), WHITE, 1.0);
        let pupil = (eye_x + look.0, eye_y + look.1 + 2.0);
        canvas.fill(&oval(pupil.0, pupil.1, radius * 0.6, radius * 0.66), INK, 1.0);
        canvas.fill(&oval(pupil.0 + 7.0, pupil.1 - 9.0, radius * 0.22, radius * 0.22), WHITE, 1.0);
    }
    for side in [-1.0, 1.0] {
        canvas.fill(&oval(x + side * 100.0, y + 54.0, 22.0, 13.0), PINK, 0.6);
    }
    let mouth = y + 60.0;
    match chance.below(3) {
        0 => canvas.line(
            &curve((x - 34.0, mouth), (x, mouth + 38.0), (x + 34.0, mouth)),
            10.0,
            INK,
            1.0,
        ),
        1 => {
            let open = [
                (x - 40.0, mouth - 4.0),
                (x, mouth + 4.0),
                (x + 40.0, mouth - 4.0),
                (x, mouth + 52.0),
            ];
            let open = blob(&open);
            canvas.line(&open, 8.0, INK, 1.0);
            canvas.fill(&open, (0x7a, 0x1f, 0x3d), 1.0);
            canvas.fill(&oval(x, mouth + 32.0, 18.0, 11.0), PINK, 1.0);
        }
        _ => {
            canvas.line(
                &curve((x - 34.0, mouth), (x, mouth + 34.0), (x + 34.0, mouth)),
                10.0,
                INK,
                1.0,
            );
            let tooth = [
                (x + 4.0, mouth + 17.0),
                (x + 24.0, mouth + 13.0),
                (x + 20.0, mouth + 34.0),
                (x + 8.0, mouth + 36.0),
            ];
            canvas.line(&polygon(&tooth), 7.0, INK, 1.0);
            canvas.fill(&polygon(&tooth), WHITE, 1.0);
        }
    }
}
