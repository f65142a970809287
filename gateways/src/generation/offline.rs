//! The provider that needs no account: draws a ghost or a friend of our own, the same one for the same request.

use async_trait::async_trait;
use domain::chat_request::{Colour, Wish};
use uuid::Uuid;

use super::{Made, Order, Provider, ProviderError};

mod canvas;
mod chance;
mod friend;
mod ghost;

use canvas::Canvas;
use chance::Chance;

/// Draws pictures in this process.
pub struct Offline;

#[async_trait]
impl Provider for Offline {
    fn name(&self) -> &'static str {
        "offline"
    }

    fn cost_micros_max(&self) -> i64 {
        0
    }

    async fn make(&self, order: &Order) -> Result<Made, ProviderError> {
        let order = order.clone();
        let drawn = tokio::task::spawn_blocking(move || draw(&order)).await;
        let broken = |reason: String| ProviderError::Broken { cost_micros: Some(0), reason };
        drawn.map_err(|error| broken(format!("drawing ended early: {error}")))?
    }
}

fn draw(order: &Order) -> Result<Made, ProviderError> {
    let mut chance = Chance::new(order.request);
    let broken =
        |reason: &str| ProviderError::Broken { cost_micros: Some(0), reason: reason.to_owned() };
    let mut canvas = Canvas::new().ok_or_else(|| broken("there is no memory for a picture"))?;
    let (background, name) = match &order.wish {
        Wish::Ghost { subject } => {
            ghost::draw(&mut canvas, &mut chance, subject);
            (ghost::BACKGROUND.to_owned(), None)
        }
        Wish::Friend { colour, .. } => {
            let colour = colour.unwrap_or_else(|| *chance.one_of(&Colour::ALL));
            friend::draw(&mut canvas, &mut chance, colour);
            (friend::hex(friend::rgb(colour.complement())), Some(friend::name(&mut chance)))
        }
        Wish::Static { id, .. } => {
            let reason = format!("{id} is ready-made, and nothing is to be drawn for it");
            return Err(ProviderError::Refused { code: "not_drawn".to_owned(), reason });
        }
    };
    let bytes = canvas.png().ok_or_else(|| broken("the picture cannot be written"))?;
    Ok(Made { bytes, media_type: "image/png".to_owned(), background, name, cost_micros: 0 })
}

/// The colour of a friend, where the viewer leaves it to chance, and the name that is invented for it: the same for the
/// same request, whoever draws it.
pub fn invented(request: Uuid, colour: Option<Colour>) -> (Colour, String) {
    let mut chance = Chance::new(request);
    let by_chance = *chance.one_of(&Colour::ALL);
    (colour.unwrap_or(by_chance), friend::name(&mut chance))
}

/// A colour as `#rrggbb`.
pub fn hex_of(colour: Colour) -> String {
    friend::hex(friend::rgb(colour))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::answer;

    fn drawn(wish: Wish, request: u128) -> Made {
        let request = Uuid::from_u128(request);
        let viewer = "5001".to_owned();
        draw(&Order { wish, viewer, request, idempotency_key: Uuid::nil() }).expect("drawn")
    }

    fn ghost() -> Wish {
        Wish::Ghost { subject: "a lighthouse".to_owned() }
    }

    fn friend(colour: Option<Colour>) -> Wish {
        Wish::Friend { colour, subject: "a heron".to_owned() }
    }

    #[test]
    fn the_same_request_is_the_same_picture_and_another_is_another() {
        assert_eq!(drawn(ghost(), 1), drawn(ghost(), 1));
        assert_ne!(drawn(ghost(), 1).bytes, drawn(ghost(), 2).bytes);
        assert_ne!(drawn(friend(None), 1).bytes, drawn(ghost(), 1).bytes);
    }

    #[test]
    fn every_picture_is_one_that_can_be_shown_on_anything() {
        for n in 0..24 {
            for wish in [ghost(), friend(None), friend(Some(Colour::ALL[n as usize % 13]))] {
                let made = answer::checked(drawn(wish, n)).expect("a picture");
                let picture = tiny_skia::Pixmap::decode_png(&made.bytes).expect("a PNG");
                let corner = picture.pixel(0, 0).expect("a pixel");
                assert_eq!(corner.alpha(), 0, "the background is transparent");
                let solid = picture.pixels().iter().filter(|pixel| pixel.alpha() > 200).count();
                assert!(solid * 10 > picture.pixels().len(), "there is something to see");
            }
        }
    }

    #[test]
    fn a_friend_has_the_colour_that_was_asked_for_and_a_name() {
        for colour in Colour::ALL {
            let made = drawn(friend(Some(colour)), 7);
            assert_eq!(made.background, friend::hex(friend::rgb(colour.complement())));
            assert!(made.name.is_some_and(|name| name.len() > 2));
            let picture = tiny_skia::Pixmap::decode_png(&made.bytes).expect("a PNG");
            let (red, green, blue) = friend::rgb(colour);
            let is_it = |pixel: &&tiny_skia::PremultipliedColorU8| {
                (pixel.red(), pixel.green(), pixel.blue()) == (red, green, blue)
            };
            let count = picture.pixels().iter().filter(is_it).count();
            assert!(count > 20_000, "{count} pixels are {}", colour.name());
        }
    }

    /// `PICTURES=folder cargo test …` leaves some to look at.
    #[test]
    fn some_are_drawn_to_be_looked_at() {
        let Ok(folder) = std::env::var("PICTURES") else { return };
        for n in 0..12 {
            for (style, wish) in [("ghost", ghost()), ("friend", friend(None))] {
                let path = std::path::Path::new(&folder).join(format!("{style}-{n}.png"));
                std::fs::write(path, drawn(wish, n).bytes).expect("written");
            }
        }
    }
}
