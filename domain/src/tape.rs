//! The catalogue of tapes that can be screened. The aggregate id is the tape's id, as it stands on its label: `88`.
//!
//! What is known of a tape is its [`Card`]. Saying the same again changes nothing, so a catalogue can be imported as
//! often as somebody likes; a tape that is withdrawn stays in history and cannot be put on screen.

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, Recent};

/// The longest title, series and name of a contributor, in characters.
pub const WORDS_CHARS_MAX: usize = 200;
pub const TAGS_MAX: usize = 20;
pub const TAG_CHARS_MAX: usize = 40;
/// The first tapes with pictures, and well after the last.
pub const YEARS: std::ops::RangeInclusive<i32> = 1900..=2199;
/// A day.
pub const RUNTIME_S_MAX: i64 = 86_400;

/// What is known of a tape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<i32>,
    /// How long it plays, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Of its shell or label, as `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// Who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contributor: Option<String>,
    /// The name of its picture among the pictures: SHA-256 of the content, as 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
}

/// Where a card was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The file's name.
    pub source: String,
    /// SHA-256 of the file.
    pub file: String,
    /// From 1; of a list of JSON, the number of the object.
    pub line: i64,
    /// Who imported it.
    pub actor: String,
}

/// What to do about a tape. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(clippy::large_enum_variant, reason = "most commands of a tape are the large one")]
pub enum Command {
    /// This is what is known of it now.
    Catalogue { entry: Uuid, card: Card, from: Provenance, at: DateTime<Utc> },
    /// It is not there any more.
    Withdraw { entry: Uuid, actor: String, at: DateTime<Utc> },
}

/// What happened to a tape. The names and shapes are the stored format: they never change, they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// For the first time, or again after it was withdrawn.
    Catalogued {
        entry: Uuid,
        card: Card,
        from: Provenance,
        at: DateTime<Utc>,
    },
    Changed {
        entry: Uuid,
        card: Card,
        from: Provenance,
        at: DateTime<Utc>,
    },
    Withdrawn {
        entry: Uuid,
        actor: String,
        at: DateTime<Utc>,
    },
}

/// Why a command was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("there is no such tape in the catalogue")]
    Unknown,
    #[error("this card cannot be kept: {reason}")]
    BadCard { reason: String },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tape {
    /// `None` while it is not in the catalogue.
    pub card: Option<Card>,
    recent: Recent<()>,
}

impl Card {
    /// Why this card cannot be kept.
    pub fn refusal(&self) -> Option<String> {
        words("title", &self.title)
            .or_else(|| self.series.as_deref().and_then(|series| words("series", series)))
            .or_else(|| self.contributor.as_deref().and_then(|name| words("contributor", name)))
            .or_else(|| {
                let year = self.year.filter(|year| !YEARS.contains(year))?;
                Some(format!("the year is {} to {}, and {year} is not", YEARS.start(), YEARS.end()))
            })
            .or_else(|| {
                let long = |runtime_s: &i64| !(0..=RUNTIME_S_MAX).contains(runtime_s);
                let runtime_s = self.runtime_s.filter(long)?;
                Some(format!("it plays 0 to {RUNTIME_S_MAX} seconds, and {runtime_s} are not"))
            })
            .or_else(|| self.refusal_of_tags())
            .or_else(|| {
                let colour = self.colour.as_deref().filter(|colour| !is_colour(colour))?;
                Some(format!("a colour is #rrggbb, and {colour:?} is not"))
            })
            .or_else(|| {
                let name = self.thumbnail.as_deref().filter(|name| !is_content_name(name))?;
                Some(format!("a thumbnail is named by its content, and {name:?} is no such name"))
            })
    }

    fn refusal_of_tags(&self) -> Option<String> {
        if self.tags.len() > TAGS_MAX {
            return Some(format!("it has {} tags, and {TAGS_MAX} is the most", self.tags.len()));
        }
        let bad = |tag: &&String| tag.is_empty() || tag.chars().count() > TAG_CHARS_MAX;
        let tag = self.tags.iter().find(|tag| bad(tag) || has_control(tag))?;
        Some(format!("a tag is 1 to {TAG_CHARS_MAX} characters, and {tag:?} is not"))
    }
}

fn words(name: &str, text: &str) -> Option<String> {
    let chars = text.chars().count();
    let fits = (1..=WORDS_CHARS_MAX).contains(&chars) && !has_control(text);
    (!fits || text.trim().is_empty())
        .then(|| format!("{name} is 1 to {WORDS_CHARS_MAX} characters"))
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

fn is_colour(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    digits.len() == 6 && digits.bytes().all(is_hexadecimal)
}

fn is_content_name(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hexadecimal)
}

fn is_hexadecimal(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

impl Tape {
    fn decide(&self, command: Command) -> Result<Option<Event>, Rejection> {
        match command {
            Command::Catalogue { entry, card, from, at } => {
                if let Some(reason) = card.refusal() {
                    return Err(Rejection::BadCard { reason });
                }
                Ok(match &self.card {
                    Some(known) if *known == card => None,
                    Some(_) => Some(Event::Changed { entry, card, from, at }),
                    None => Some(Event::Catalogued { entry, card, from, at }),
                })
            }
            Command::Withdraw { entry, actor, at } => match self.card {
                Some(_) => Ok(Some(Event::Withdrawn { entry, actor, at })),
                None => Err(Rejection::Unknown),
            },
        }
    }
}

impl Aggregate for Tape {
    const TYPE: &'static str = "tape";
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        if self.recent.contains(command.entry()) {
            return Ok(());
        }
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        let (entry, card) = match event {
            Event::Catalogued { entry, card, .. } | Event::Changed { entry, card, .. } => {
                (entry, Some(card))
            }
            Event::Withdrawn { entry, .. } => (entry, None),
        };
        self.recent.push(entry, ());
        self.card = card;
    }
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Catalogue { entry, .. } | Command::Withdraw { entry, .. } => *entry,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Catalogued { .. } => "catalogued",
            Event::Changed { .. } => "changed",
            Event::Withdrawn { .. } => "withdrawn",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

#[cfg(test)]
mod tests;
