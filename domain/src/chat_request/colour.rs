//! The colours a friend can have.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    Red,
    RedOrange,
    Orange,
    YellowOrange,
    Yellow,
    Chartreuse,
    Green,
    Cyan,
    SkyBlue,
    Blue,
    Indigo,
    Purple,
    Magenta,
}

impl Colour {
    /// Around the wheel.
    pub const ALL: [Colour; 13] = [
        Colour::Red,
        Colour::RedOrange,
        Colour::Orange,
        Colour::YellowOrange,
        Colour::Yellow,
        Colour::Chartreuse,
        Colour::Green,
        Colour::Cyan,
        Colour::SkyBlue,
        Colour::Blue,
        Colour::Indigo,
        Colour::Purple,
        Colour::Magenta,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Colour::Red => "red",
            Colour::RedOrange => "red-orange",
            Colour::Orange => "orange",
            Colour::YellowOrange => "yellow-orange",
            Colour::Yellow => "yellow",
            Colour::Chartreuse => "chartreuse",
            Colour::Green => "green",
            Colour::Cyan => "cyan",
            Colour::SkyBlue => "sky-blue",
            Colour::Blue => "blue",
            Colour::Indigo => "indigo",
            Colour::Purple => "purple",
            Colour::Magenta => "magenta",
        }
    }

    /// The colour to put behind it.
    pub fn complement(self) -> Self {
        match self {
            Colour::Red => Colour::Green,
            Colour::RedOrange => Colour::Cyan,
            Colour::Orange => Colour::SkyBlue,
            Colour::YellowOrange => Colour::Blue,
            Colour::Yellow => Colour::Indigo,
            Colour::Chartreuse => Colour::Magenta,
            Colour::Green => Colour::Red,
            Colour::Cyan => Colour::RedOrange,
            Colour::SkyBlue => Colour::Orange,
            Colour::Blue | Colour::Indigo => Colour::YellowOrange,
            Colour::Purple => Colour::Yellow,
            Colour::Magenta => Colour::Chartreuse,
        }
    }

    /// The colour that one or two whole words name, and how many of them: `blue`, `sky blue`, `orange/yellow`.
    pub(super) fn at_start(first: &str, second: &str) -> Option<(Self, usize)> {
        let of = |a: &str, b: &str| {
            let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
            let names = [format!("{a}-{b}"), format!("{b}-{a}")];
            Colour::ALL.into_iter().find(|colour| names.iter().any(|name| name == colour.name()))
        };
        if let Some(both) = of(first, second) {
            return Some((both, 2));
        }
        let one = match first.split_once(['-', '/']) {
            Some((a, b)) => of(a, b),
            None => Colour::ALL.into_iter().find(|c| c.name().eq_ignore_ascii_case(first)),
        };
        one.map(|colour| (colour, 1))
    }
}
