//! A ghost as it comes from an old tape: pale, a little torn, and glad to see you.

use super::canvas::{Canvas, INK, Rgb, Shape, WHITE, blend, blob, curve, oval, polygon};
use super::chance::Chance;

/// What it glows best on.
pub(super) const BACKGROUND: &str = "#10101e";

const TINTS: [Rgb; 6] = [
    (0x9f, 0xd8, 0xff),
    (0xb8, 0xff, 0xd9),
    (0xe2, 0xc4, 0xff),
    (0xff, 0xd3, 0xe8),
    (0xfd, 0xf2, 0xb0),
    (0xa8, 0xf0, 0xee),
];
const CYAN: Rgb = (0x20, 0xe6, 0xff);
const MAGENTA: Rgb = (0xff, 0x3d, 0xc8);
const PINK: Rgb = (0xff, 0x8f, 0xb3);

/// Where the parts are.
struct Body {
    x: f32,
    top: f32,
    hem: f32,
    width: f32,
}

pub(super) fn draw(canvas: &mut Canvas, chance: &mut Chance, subject: &str) {
    let tint = *chance.one_of(&TINTS);
    let body = Body {
        x: 320.0 + chance.between(-12.0, 12.0),
        top: chance.between(120.0, 138.0),
        hem: chance.between(520.0, 540.0),
        width: chance.between(158.0, 188.0),
    };
    let lean = chance.between(-26.0, 26.0);
    let waves = 3 + chance.below(2);
    let shape = |by: f32| sheet(&body, lean, waves, by);
    let whole = shape(0.0);
    for (width, opacity) in [(96.0, 0.035), (72.0, 0.05), (50.0, 0.07), (30.0, 0.1), (14.0, 0.14)] {
        canvas.line(&whole, width, tint, opacity);
    }
    arms(canvas, chance, &body, tint);
    canvas.fill(&shape(-11.0), CYAN, 0.55);
    canvas.fill(&shape(11.0), MAGENTA, 0.45);
    canvas.fill_down(&whole, WHITE, blend(WHITE, tint, 0.85), body.top, body.hem);
    canvas.fill(&oval(body.x - 62.0 + lean * 0.4, body.top + 62.0, 44.0, 22.0), WHITE, 0.9);
    canvas.scan_lines(&whole, 9.0, 0.05);
    let (x, y) = (body.x + lean * 0.35, body.top + chance.between(150.0, 168.0));
    face(canvas, chance, x, y);
    tape(canvas, &body, tint, subject);
    wear(canvas, chance, &body, lean, tint);
    // Bad tracking, but not over the face.
    let low = (body.top + 345.0, body.hem);
    for (from, to) in [(body.top + 30.0, body.top + 80.0), low, low] {
        let (from, height) = (chance.between(from, to), chance.between(6.0, 16.0));
        let by = chance.between(8.0, 24.0) as i32;
        canvas.tear(from, height, if chance.below(2) == 0 { by } else { -by });
    }
}

/// A sheet over nobody, with a wavy hem, moved `by` to the side.
fn sheet(body: &Body, lean: f32, waves: usize, by: f32) -> Shape {
    let Body { x, top, hem, width } = *body;
    let (x, head) = (x + by, x + by + lean * 0.5);
    let mut points = vec![
        (x - width * 1.06, hem - 60.0),
        (x - width * 0.98, (top + hem) * 0.5),
        (head - width * 0.8, top + 100.0),
        (head - width * 0.42, top + 18.0),
        (head, top),
        (head + width * 0.42, top + 18.0),
        (head + width * 0.8, top + 100.0),
        (x + width * 0.98, (top + hem) * 0.5),
        (x + width * 1.06, hem - 60.0),
    ];
    let steps = waves * 2;
    for step in 0..=steps {
        let share = step as f32 / steps as f32;
        let down = if step % 2 == 0 { 34.0 } else { -26.0 };
        points.push((x + width * (1.04 - 2.08 * share), hem + down));
    }
    blob(&points)
}

fn arms(canvas: &mut Canvas, chance: &mut Chance, body: &Body, tint: Rgb) {
    let Body { x, top, width, .. } = *body;
    let shoulder = top + 215.0;
    let wave = chance.between(-100.0, -40.0);
    let (left, right) = match chance.below(2) {
        0 => (wave, 40.0),
        _ => (40.0, wave),
    };
    for (side, raise) in [(-1.0, left), (1.0, right)] {
        let from = (x + side * width * 0.75, shoulder + 20.0);
        let to = (x + side * (width + 66.0), shoulder + raise);
        let arm = curve(from, (x + side * (width + 34.0), shoulder + 34.0), to);
        canvas.line(&arm, 74.0, tint, 0.2);
        canvas.line(&arm, 56.0, blend(WHITE, tint, 0.35), 1.0);
    }
}

fn face(canvas: &mut Canvas, chance: &mut Chance, x: f32, y: f32) {
    let apart = chance.between(54.0, 66.0);
    let (wide, high) = (chance.between(22.0, 28.0), chance.between(34.0, 44.0));
    let look = chance.between(-6.0, 6.0);
    for side in [-1.0, 1.0] {
        let eye = x + side * apart;
        canvas.fill(&oval(eye, y, wide, high), INK, 1.0);
        canvas.fill(&oval(eye + 7.0 + look, y - high * 0.4, 8.5, 10.0), WHITE, 1.0);
        canvas.fill(&oval(eye - 6.0 + look, y + high * 0.4, 4.5, 5.0), WHITE, 0.85);
        canvas.fill(&oval(x + side * (apart + 46.0), y + 50.0, 26.0, 15.0), PINK, 0.55);
    }
    match chance.below(4) {
        0 => canvas.fill(&oval(x, y + 66.0, 17.0, 23.0), INK, 1.0),
        1 => canvas.line(
            &curve((x - 26.0, y + 58.0), (x, y + 88.0), (x + 26.0, y + 58.0)),
            9.0,
            INK,
            1.0,
        ),
        2 => {
            let mouth = [(x - 36.0, y + 52.0), (x, y + 60.0), (x + 36.0, y + 52.0), (x, y + 104.0)];
            canvas.fill(&blob(&mouth), INK, 1.0);
            canvas.fill(&oval(x, y + 86.0, 15.0, 9.0), PINK, 1.0);
        }
        _ => {
            for side in [-1.0, 1.0] {
                let to = (x + side * 30.0, y + 60.0);
                canvas.line(&curve((x, y + 62.0), (x + side * 15.0, y + 82.0), to), 8.0, INK, 1.0);
            }
        }
    }
}

/// The tape it came from, in its hands. Its label is as long as what it is the ghost of.
fn tape(canvas: &mut Canvas, body: &Body, tint: Rgb, subject: &str) {
    let (x, y) = (body.x, body.top + 306.0);
    let block = |left: f32, top: f32, right: f32, bottom: f32| {
        polygon(&[(left, top), (right, top), (right, bottom), (left, bottom)])
    };
    let shell = block(x - 78.0, y - 46.0, x + 78.0, y + 46.0);
    canvas.line(&shell, 16.0, INK, 1.0);
    canvas.fill(&shell, (0x3b, 0x35, 0x52), 1.0);
    canvas.fill(&block(x - 66.0, y - 38.0, x + 66.0, y - 6.0), (0xf7, 0xef, 0xde), 1.0);
    let written = 20.0 + 7.0 * subject.chars().count().clamp(1, 13) as f32;
    let label = curve((x - 54.0, y - 25.0), (x - 50.0, y - 25.0), (x - 54.0 + written, y - 25.0));
    canvas.line(&label, 5.0, INK, 0.75);
    canvas.fill(&block(x - 66.0, y - 15.0, x + 66.0, y - 6.0), tint, 1.0);
    for side in [-1.0, 1.0] {
        canvas.fill(&oval(x + side * 34.0, y + 19.0, 18.0, 18.0), (0xf7, 0xef, 0xde), 1.0);
        canvas.fill(&oval(x + side * 34.0, y + 19.0, 8.0, 8.0), INK, 1.0);
        let hand = oval(x + side * 88.0, y + 4.0, 27.0, 23.0);
        canvas.line(&hand, 7.0, blend(tint, INK, 0.35), 0.35);
        canvas.fill(&hand, blend(WHITE, tint, 0.3), 1.0);
    }
}

fn wear(canvas: &mut Canvas, chance: &mut Chance, body: &Body, lean: f32, tint: Rgb) {
    let (x, y) = (body.x + lean * 0.5, body.top);
    let bright = blend(tint, MAGENTA, 0.5);
    match chance.below(5) {
        0 => {
            let hat = polygon(&[(x - 58.0, y + 14.0), (x + 10.0, y - 92.0), (x + 62.0, y + 14.0)]);
            canvas.line(&hat, 14.0, INK, 1.0);
            canvas.fill_down(&hat, MAGENTA, CYAN, y - 92.0, y + 14.0);
            canvas.fill(&oval(x + 10.0, y - 92.0, 18.0, 18.0), (0xff, 0xe0, 0x6b), 1.0);
        }
        1 => {
            let band = curve((x - 150.0, y + 130.0), (x, y - 170.0), (x + 150.0, y + 130.0));
            canvas.line(&band, 26.0, INK, 1.0);
            canvas.line(&band, 12.0, bright, 1.0);
            for side in [-1.0, 1.0] {
                let cup = oval(x + side * 146.0, y + 150.0, 34.0, 50.0);
                canvas.line(&cup, 12.0, INK, 1.0);
                canvas.fill(&cup, bright, 1.0);
            }
        }
        2 => {
            let crown = [
                (x - 70.0, y + 22.0),
                (x - 78.0, y - 62.0),
                (x - 34.0, y - 22.0),
                (x, y - 80.0),
                (x + 34.0, y - 22.0),
                (x + 78.0, y - 62.0),
                (x + 70.0, y + 22.0),
            ];
            let crown = polygon(&crown);
            canvas.line(&crown, 14.0, INK, 1.0);
            canvas.fill_down(&crown, (0xff, 0xf0, 0x9c), (0xff, 0xb5, 0x2e), y - 80.0, y + 22.0);
        }
        3 => {
            for (dx, dy) in [(0.0, -20.0), (19.0, -6.0), (12.0, 17.0), (-12.0, 17.0), (-19.0, -6.0)]
            {
                canvas.fill(&oval(x + 78.0 + dx, y + 40.0 + dy, 16.0, 16.0), bright, 1.0);
            }
            canvas.fill(&oval(x + 78.0, y + 40.0, 12.0, 12.0), (0xff, 0xe0, 0x6b), 1.0);
        }
        _ => {}
    }
}
