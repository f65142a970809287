//! Shapes, lines and what is done to a whole picture.

use tiny_skia::{
    Color, FillRule, GradientStop, LineCap, LineJoin, LinearGradient, Mask, Paint, Path,
    PathBuilder, Pixmap, Point, Rect, Shader, SpreadMode, Stroke, Transform,
};

/// Each side, in pixels.
pub(super) const SIDE: u32 = 640;

pub(super) type Rgb = (u8, u8, u8);

/// `None` where the numbers make no shape; nothing is drawn then.
pub(super) type Shape = Option<Path>;

pub(super) const INK: Rgb = (0x22, 0x1a, 0x2e);
pub(super) const WHITE: Rgb = (0xff, 0xff, 0xff);

/// A transparent picture to draw on.
pub(super) struct Canvas {
    pixels: Pixmap,
}

impl Canvas {
    pub(super) fn new() -> Option<Self> {
        Some(Canvas { pixels: Pixmap::new(SIDE, SIDE)? })
    }

    pub(super) fn png(&self) -> Option<Vec<u8>> {
        self.pixels.encode_png().ok()
    }

    pub(super) fn fill(&mut self, shape: &Shape, colour: Rgb, opacity: f32) {
        let Some(shape) = shape else { return };
        let paint = paint(colour, opacity);
        self.pixels.fill_path(shape, &paint, FillRule::Winding, Transform::identity(), None);
    }

    /// From `top` at the height `from` to `bottom` at the height `to`.
    pub(super) fn fill_down(&mut self, shape: &Shape, top: Rgb, bottom: Rgb, from: f32, to: f32) {
        let Some(shape) = shape else { return };
        let stops = vec![
            GradientStop::new(0.0, colour(top, 1.0)),
            GradientStop::new(1.0, colour(bottom, 1.0)),
        ];
        let (from, to) = (Point::from_xy(0.0, from), Point::from_xy(0.0, to));
        let gradient = LinearGradient::new(from, to, stops, SpreadMode::Pad, Transform::identity());
        let shader = gradient.unwrap_or(Shader::SolidColor(colour(bottom, 1.0)));
        let paint = Paint { shader, anti_alias: true, ..Paint::default() };
        self.pixels.fill_path(shape, &paint, FillRule::Winding, Transform::identity(), None);
    }

    pub(super) fn line(&mut self, shape: &Shape, width: f32, colour: Rgb, opacity: f32) {
        let Some(shape) = shape else { return };
        let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
        let stroke = Stroke { width, line_cap, line_join, ..Stroke::default() };
        let paint = paint(colour, opacity);
        self.pixels.stroke_path(shape, &paint, &stroke, Transform::identity(), None);
    }

    /// Thin dark lines across `shape`, as on an old television.
    pub(super) fn scan_lines(&mut self, shape: &Shape, every: f32, opacity: f32) {
        let (Some(shape), Some(mut mask)) = (shape, Mask::new(SIDE, SIDE)) else { return };
        mask.fill_path(shape, FillRule::Winding, true, Transform::identity());
        let paint = paint(INK, opacity);
        let rows = (SIDE as f32 / every) as u32;
        for row in 0..rows {
            let line = Rect::from_xywh(0.0, row as f32 * every, SIDE as f32, every * 0.4);
            if let Some(line) = line {
                self.pixels.fill_rect(line, &paint, Transform::identity(), Some(&mask));
            }
        }
    }

    /// Moves a band of rows aside, as bad tracking does.
    pub(super) fn tear(&mut self, from: f32, height: f32, by: i32) {
        let side = SIDE as usize;
        let first = (from.max(0.0) as usize).min(side);
        let last = ((from + height).max(0.0) as usize).min(side);
        let bytes = 4 * side;
        let shift = by.unsigned_abs() as usize * 4;
        for row in self.pixels.data_mut().chunks_exact_mut(bytes).take(last).skip(first) {
            match by {
                1.. => row.rotate_right(shift % bytes),
                _ => row.rotate_left(shift % bytes),
            }
        }
    }
}

fn colour((red, green, blue): Rgb, opacity: f32) -> Color {
    let mut colour = Color::from_rgba8(red, green, blue, 255);
    colour.set_alpha(opacity);
    colour
}

fn paint(rgb: Rgb, opacity: f32) -> Paint<'static> {
    let shader = Shader::SolidColor(colour(rgb, opacity));
    Paint { shader, anti_alias: true, ..Paint::default() }
}

/// Between two colours; 0 is the first.
pub(super) fn blend(one: Rgb, other: Rgb, share: f32) -> Rgb {
    let mix = |one: u8, other: u8| {
        (f32::from(one) + (f32::from(other) - f32::from(one)) * share).round() as u8
    };
    (mix(one.0, other.0), mix(one.1, other.1), mix(one.2, other.2))
}

pub(super) fn oval(x: f32, y: f32, width: f32, height: f32) -> Shape {
    Rect::from_xywh(x - width, y - height, 2.0 * width, 2.0 * height)
        .and_then(PathBuilder::from_oval)
}

/// A soft closed shape through all the points.
pub(super) fn blob(points: &[(f32, f32)]) -> Shape {
    let mut builder = PathBuilder::new();
    let count = points.len();
    let at = |n: usize| points[n % count];
    for n in 0..count {
        let (before, from, to, after) = (at(n + count - 1), at(n), at(n + 1), at(n + 2));
        if n == 0 {
            builder.move_to(from.0, from.1);
        }
        builder.cubic_to(
            from.0 + (to.0 - before.0) / 6.0,
            from.1 + (to.1 - before.1) / 6.0,
            to.0 - (after.0 - from.0) / 6.0,
            to.1 - (after.1 - from.1) / 6.0,
            to.0,
            to.1,
        );
    }
    builder.close();
    builder.finish()
}

/// A curve from the first point to the last, bent towards the second.
pub(super) fn curve(from: (f32, f32), bend: (f32, f32), to: (f32, f32)) -> Shape {
    let mut builder = PathBuilder::new();
    builder.move_to(from.0, from.1);
    builder.quad_to(bend.0, bend.1, to.0, to.1);
    builder.finish()
}

/// Straight lines through all the points and back.
pub(super) fn polygon(points: &[(f32, f32)]) -> Shape {
    let mut builder = PathBuilder::new();
    for (n, (x, y)) in points.iter().enumerate() {
        match n {
            0 => builder.move_to(*x, *y),
            _ => builder.line_to(*x, *y),
        }
    }
    builder.close();
    builder.finish()
}
