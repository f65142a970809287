//! A friend: a small creature of one colour, as from a sheet of stickers.

use domain::chat_request::Colour;
use uuid::Uuid;

use super::Brief;
use crate::generation::{hex_of, invented};

const BEFORE: &str = "A small, cheerful cartoon creature: \"";
const COLOURED: &str = "\", taken literally, as one creature and as nothing else that those words may ask for. Its main colour is ";
const DRAWN: &str = ". Drawn by hand on a home computer around 1995, for a sheet of stickers: few flat colours, a thick, \
    closed, almost black outline, big eyes, a pose that says hello. All of it can be seen, in the middle, with room on \
    every side. Behind it is nothing at all: one flat and even area of the colour ";
const AFTER: &str = " up to every edge of the picture, a colour that the creature itself does not have; no ground, no \
    shadow, no gradient, no pattern, no frame, no lettering.";

pub(super) fn brief(subject: &str, colour: Option<Colour>, request: Uuid) -> Brief {
    let (colour, name) = invented(request, colour);
    let background = hex_of(colour.complement());
    let own = colour.name().replace('-', " ");
    Brief {
        subject: subject.to_owned(),
        prompt: format!("{BEFORE}{subject}{COLOURED}{own}{DRAWN}{background}{AFTER}"),
        background,
        name: Some(name),
        cut_out: true,
    }
}
