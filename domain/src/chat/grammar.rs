//! What a line of chat asks for.
//!
//! ```text
//! line =  "!" ( "balance" | "points" | "uptime" | "tape" | "top" )
//!      |  "!" "give" [ "@" ] name amount
//!      |  "!" the name of a fixed text
//!      |  "!" request, "!" amount request          (see `crate::chat_request`)
//! ```
//!
//! A line that does not begin with an exclamation mark asks for nothing, and neither does one whose first word is
//! nothing of this: other bots have words of their own.

use crate::chat_request::{Prices, in_chat};

use super::request::{NoGift, Request};
use super::settings::{Role, Settings, Terms};

/// A gift may not be larger than what anybody could ever have earned.
const GIVEN_MAX: i64 = 1_000_000_000_000;
/// The longest name that is looked for, in characters. Twitch allows 25.
const NAME_CHARS_MAX: usize = 64;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    Request(Request),
    /// Points for somebody whose id has to be found out.
    Give {
        name: String,
        points: i64,
    },
}

impl Wanted {
    /// What it is called where it is configured.
    pub fn name(&self) -> &str {
        match self {
            Wanted::Request(request) => request.name(),
            Wanted::Give { .. } => "give",
        }
    }

    /// What holds for it.
    pub fn terms(&self, settings: &Settings) -> Terms {
        let takes_points = match self {
            Wanted::Request(request) => matches!(
                request,
                Request::Wish { .. }
                    | Request::Unclear { .. }
                    | Request::Give { .. }
                    | Request::NoGift { .. }
            ),
            Wanted::Give { .. } => true,
        };
        settings.terms(self.name(), takes_points)
    }
}

/// What `line` asks for; `None` where it asks for nothing. A line that carries `bits` never does: the same words come
/// as a cheer, which would be granted twice.
pub fn wanted(line: &str, bits: i64, prices: &Prices, settings: &Settings) -> Option<Wanted> {
    if bits > 0 {
        return None;
    }
    let words = line.trim().strip_prefix('!')?;
    let first = words.split_whitespace().next().filter(|_| !words.starts_with(' '))?;
    let request = match first.to_lowercase().as_str() {
        "balance" | "points" => Request::Balance {},
        "uptime" => Request::Uptime {},
        "tape" => Request::Tape {},
        "top" => Request::Top {},
        "give" => return Some(give(words)).filter(is_on(settings)),
        word if settings.help.contains_key(word) => Request::Help { topic: word.to_owned() },
        _ => match in_chat(line, prices)? {
            Ok(asked) => {
                Request::Wish { wish: asked.wish, price: asked.price, prices: prices.version }
            }
            Err(unclear) => Request::Unclear { unclear, prices: prices.version },
        },
    };
    Some(Wanted::Request(request)).filter(is_on(settings))
}

/// What is switched off is not there.
fn is_on(settings: &Settings) -> impl Fn(&Wanted) -> bool {
    move |wanted| wanted.terms(settings).who != Role::Nobody
}

fn give(words: &str) -> Wanted {
    let mut words = words.split_whitespace().skip(1);
    let (name, points) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let name = name.strip_prefix('@').unwrap_or(name);
    let points = points.parse().ok().filter(|points| (1..=GIVEN_MAX).contains(points));
    match points {
        Some(points) if (1..=NAME_CHARS_MAX).contains(&name.chars().count()) => {
            Wanted::Give { name: name.to_owned(), points }
        }
        _ => Wanted::Request(Request::NoGift { why: NoGift::Unclear }),
    }
}

#[cfg(test)]
mod tests;
