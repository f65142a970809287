//! What a viewer asks for in words: the grammar of paid requests, in chat and in the message of a cheer.
//!
//! ```text
//! chat    =  "!" request  |  "!" amount SPACE request
//! cheer   =  { cheermote } [ "!" ] request { cheermote }      (cheermotes as Twitch counts them, see `without_cheermotes`)
//! request =  "ghost" [ "of" ] subject                         ("of" must be there in a cheer)
//!         |  "friend" [ "who is" | "that is" | "of" ] [ article ] [ colour ] subject
//!                                                             (one of the three must be there in a cheer)
//!         |  the name of a static alert
//! ```
//!
//! A request begins the text and its words are whole, so that ordinary talk ("hello friends", "ghosts are cool") asks
//! for nothing. Whoever writes the exclamation mark means a request: what is wrong with it is said, not passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod colour;

pub use colour::Colour;

/// The longest subject, in characters.
pub const SUBJECT_CHARS_MAX: usize = 120;

/// The longest message of a static alert, in characters: as much as Twitch lets anybody say at once.
const MESSAGE_CHARS_MAX: usize = 500;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    Ghost {
        subject: String,
    },
    /// `colour` is `None` where the viewer leaves it to chance. The subject has its article.
    Friend {
        colour: Option<Colour>,
        subject: String,
    },
    /// A ready-made alert, by its id, with the whole message.
    Static {
        id: String,
        message: String,
    },
}

impl Wish {
    /// The name of its price.
    pub fn style(&self) -> &str {
        match self {
            Wish::Ghost { .. } => "ghost",
            Wish::Friend { .. } => "friend",
            Wish::Static { id, .. } => id,
        }
    }
}

/// A wish and the points it is to be had for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatRequest {
    pub wish: Wish,
    pub price: i64,
}

/// Why a request cannot be granted. Its words are for the viewer.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unclear {
    #[error("say what: !{style} of a lighthouse")]
    NoSubject { style: String },
    #[error("{chars} characters are too many: {SUBJECT_CHARS_MAX} at most")]
    TooLong { chars: usize },
    #[error("{style} costs {price} points, and {amount} were named")]
    WrongAmount { style: String, price: i64, amount: i64 },
    #[error("{style} is not offered here")]
    NotOffered { style: String },
}

impl Unclear {
    /// What was meant, where that much is clear.
    pub fn style(&self) -> Option<&str> {
        match self {
            Unclear::NoSubject { style }
            | Unclear::WrongAmount { style, .. }
            | Unclear::NotOffered { style } => Some(style),
            Unclear::TooLong { .. } => None,
        }
    }

    pub fn price(&self) -> Option<i64> {
        match self {
            Unclear::WrongAmount { price, .. } => Some(*price),
            Unclear::NoSubject { .. } | Unclear::TooLong { .. } | Unclear::NotOffered { .. } => {
                None
            }
        }
    }
}

/// What can be asked for and for how many points. What has no price is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prices {
    /// Goes into every request; raise it with any change.
    pub version: u32,
    /// By style: what is made when it is asked for.
    pub points: BTreeMap<String, i64>,
    /// By id: alerts that are ready-made.
    #[serde(rename = "static")]
    pub fixed: BTreeMap<String, i64>,
}

impl Default for Prices {
    fn default() -> Self {
        let list = |of: [(&str, i64); 2]| of.map(|(name, points)| (name.to_owned(), points)).into();
        Prices {
            version: 1,
            points: list([("ghost", 200), ("friend", 200)]),
            fixed: list([("test-card", 200), ("tracking-error", 300)]),
        }
    }
}

impl Prices {
    /// The price of `wish`, if it is offered.
    pub fn price(&self, wish: &Wish) -> Option<i64> {
        let list = match wish {
            Wish::Ghost { .. } | Wish::Friend { .. } => &self.points,
            Wish::Static { .. } => &self.fixed,
        };
        list.get(wish.style()).copied()
    }

    fn of(&self, wish: Wish) -> Result<ChatRequest, Unclear> {
        match self.price(&wish) {
            Some(price) => Ok(ChatRequest { price, wish }),
            None => Err(Unclear::NotOffered { style: wish.style().to_owned() }),
        }
    }
}

/// What a line of chat asks for; `None` where it is no request. A line that carries bits is never one: its cheer is.
pub fn in_chat(line: &str, prices: &Prices) -> Option<Result<ChatRequest, Unclear>> {
    let words = Words::new(line.trim().strip_prefix('!')?);
    let (amount, words) = match words.first().parse::<i64>() {
        Ok(amount) => (Some(amount), words.rest()),
        Err(_) => (None, words),
    };
    let wish = wish(&words, Marked::Yes, prices)?;
    Some(wish.and_then(|wish| prices.of(wish)).and_then(|asked| match amount {
        Some(amount) if amount != asked.price => Err(wrong_amount(&asked, amount)),
        _ => Ok(asked),
    }))
}

/// What the message of a cheer of `bits` asks for; `None` where it is an ordinary cheer. The bits are credited first,
/// so a cheer may pay for a request with points to spare, but it has to be worth the price.
pub fn in_cheer(message: &str, bits: i64, prices: &Prices) -> Option<Result<ChatRequest, Unclear>> {
    let text = without_cheermotes(message, bits);
    let (text, marked) = match text.strip_prefix('!') {
        Some(rest) => (rest, Marked::Yes),
        None => (text.as_str(), Marked::No),
    };
    let wish = wish(&Words::new(text), marked, prices)?;
    Some(wish.and_then(|wish| prices.of(wish)).and_then(|asked| {
        if bits < asked.price { Err(wrong_amount(&asked, bits)) } else { Ok(asked) }
    }))
}

/// Whether the text begins with an exclamation mark, which says that it is meant as a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Yes,
    No,
}

/// Text in whole words, without control characters.
struct Words {
    words: Vec<String>,
}

impl Words {
    fn new(text: &str) -> Self {
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Words { words: clean.split_whitespace().map(str::to_owned).collect() }
    }

    fn get(&self, n: usize) -> &str {
        self.words.get(n).map_or("", String::as_str)
    }

    fn first(&self) -> &str {
        self.get(0)
    }

    fn rest(&self) -> Self {
        Words { words: self.words.iter().skip(1).cloned().collect() }
    }

    fn after(&self, count: usize) -> Self {
        Words { words: self.words.iter().skip(count).cloned().collect() }
    }

    fn is(&self, n: usize, word: &str) -> bool {
        self.get(n).eq_ignore_ascii_case(word)
    }

    fn text(&self) -> String {
        self.words.join(" ")
    }
}

fn wish(words: &Words, marked: Marked, prices: &Prices) -> Option<Result<Wish, Unclear>> {
    match words.first().to_ascii_lowercase().as_str() {
        "ghost" => ghost(words, marked),
        "friend" => friend(words, marked),
        _ => static_alert(words, marked, prices).map(Ok),
    }
}

fn ghost(words: &Words, marked: Marked) -> Option<Result<Wish, Unclear>> {
    let of = words.is(1, "of");
    if !of && marked == Marked::No {
        return None;
    }
    let subject = words.after(if of { 2 } else { 1 }).text();
    Some(checked("ghost", subject).map(|subject| Wish::Ghost { subject }))
}

fn friend(words: &Words, marked: Marked) -> Option<Result<Wish, Unclear>> {
    let mut at = 1;
    if (words.is(at, "who") || words.is(at, "that")) && words.is(at + 1, "is") {
        at += 2;
    } else if words.is(at, "of") {
        at += 1;
    }
    let article = ["a", "an", "the"].into_iter().find(|article| words.is(at, article));
    at += usize::from(article.is_some());
    let colour = Colour::at_start(words.get(at), words.get(at + 1));
    if at == 1 && colour.is_none() && marked == Marked::No {
        return None;
    }
    let (colour, taken) = colour.map_or((None, 0), |(colour, taken)| (Some(colour), taken));
    let subject = match checked("friend", words.after(at + taken).text()) {
        Ok(subject) => subject,
        Err(unclear) => return Some(Err(unclear)),
    };
    let article = match article {
        Some("the") => "the",
        _ if begins_with_vowel(&subject) => "an",
        _ => "a",
    };
    Some(Ok(Wish::Friend { colour, subject: format!("{article} {subject}") }))
}

/// A static alert is named alone or at the beginning: by its id, with a space or nothing for each hyphen. In a cheer
/// it has to be the whole text, because its name consists of ordinary words.
fn static_alert(words: &Words, marked: Marked, prices: &Prices) -> Option<Wish> {
    for id in prices.fixed.keys() {
        let parts: Vec<&str> = id.split('-').collect();
        let joined = words.first().eq_ignore_ascii_case(&parts.concat())
            || words.first().eq_ignore_ascii_case(id);
        let spaced = parts.iter().enumerate().all(|(n, part)| words.is(n, part));
        let length = match (joined, spaced) {
            (true, _) => 1,
            (false, true) => parts.len(),
            (false, false) => continue,
        };
        if marked == Marked::No && words.words.len() > length {
            continue;
        }
        let message = words.text().chars().take(MESSAGE_CHARS_MAX).collect();
        return Some(Wish::Static { id: id.clone(), message });
    }
    None
}

fn checked(style: &str, subject: String) -> Result<String, Unclear> {
    let chars = subject.chars().count();
    match chars {
        0 => Err(Unclear::NoSubject { style: style.to_owned() }),
        1..=SUBJECT_CHARS_MAX => Ok(subject),
        _ => Err(Unclear::TooLong { chars }),
    }
}

fn wrong_amount(asked: &ChatRequest, amount: i64) -> Unclear {
    Unclear::WrongAmount { style: asked.wish.style().to_owned(), price: asked.price, amount }
}

fn begins_with_vowel(subject: &str) -> bool {
    subject.starts_with(|c: char| "aeiou".contains(c.to_ascii_lowercase()))
}

/// The message without the cheermotes at its ends: a word of letters and a number of bits, such as `Cheer200`, as long
/// as they are not more than the bits that were cheered. A word such as `R2D2` or `area51` in the middle stays.
fn without_cheermotes(message: &str, bits: i64) -> String {
    let words = Words::new(message).words;
    let mut left = bits;
    let mut is_cheermote = |word: &String| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        match digits.parse::<i64>() {
            Ok(worth) if digits.len() < word.len() && (1..=left).contains(&worth) => {
                left -= worth;
                true
            }
            _ => false,
        }
    };
    let start = words.iter().take_while(|word| is_cheermote(word)).count();
    let end = words[start..].iter().rev().take_while(|word| is_cheermote(word)).count();
    words[start..words.len() - end].join(" ")
}

#[cfg(test)]
mod tests;
