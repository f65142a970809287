//! From a notification to commands: a pure function, so that the same notification always means the same thing.
//!
//! Every command is named after something that Twitch names: a natural key where there is one (a follow, a
//! redemption, a hype train), so that the same deed under a second message id is still one deed; else the message id.

mod broadcasting;
mod kept;
mod points;

use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

use domain::account::{self, Account, Facts};
use domain::broadcast::{self, Broadcast, Moment};
use domain::rules::{Rules, Tier};
use journal::command::{BadAddress, check_id};
use journal::{Envelope, Origin, ViewerName};

pub use kept::{Keep, keep, retranslate};

use super::notification::{About, Body, Notification};

/// The source in the origin of every command from here, and in the derivation of its id.
pub const SOURCE: &str = "eventsub";

/// The types that are translated. Twitch has many more; all others are kept as they came.
pub const KINDS: [&str; 15] = [
    "channel.channel_points_custom_reward_redemption.add",
    "channel.channel_points_custom_reward_redemption.update",
    "channel.cheer",
    "channel.follow",
    "channel.hype_train.begin",
    "channel.hype_train.end",
    "channel.hype_train.progress",
    "channel.raid",
    "channel.subscribe",
    "channel.subscription.end",
    "channel.subscription.gift",
    "channel.subscription.message",
    "channel.update",
    "stream.offline",
    "stream.online",
];

/// Why a notification means nothing to us. Sending it again would not help, so it is kept and answered with 2xx.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Untranslatable {
    #[error("no translation for {kind} version {version}")]
    Unknown { kind: String, version: String },
    #[error("not the JSON that was expected: {0}")]
    Malformed(String),
    #[error("not the line of IRC that was expected: {0}")]
    NoLine(String),
    #[error("the notification says nothing about what happened")]
    NoContent,
    #[error("{field} is {value}, which is not between {min} and {max}")]
    OutOfRange { field: &'static str, value: i64, min: i64, max: i64 },
    #[error("{field} is {value:?}, which we do not know")]
    UnknownValue { field: &'static str, value: String },
    #[error("it needs a viewer and names nobody")]
    NoViewer,
    #[error("{field}: {reason}")]
    BadId { field: &'static str, reason: String },
    #[error("it is about the channel {about:?}, and this is {ours}")]
    AnotherChannel { about: String, ours: String },
    #[error("the points for it do not fit the ledger's range")]
    TooManyPoints,
}

/// What `notification` wants done. With `broadcaster_id`, notifications about other channels are refused.
pub fn translate(
    notification: &Notification<'_>,
    rules: &Rules,
    broadcaster_id: Option<&str>,
    received_at: DateTime<Utc>,
) -> Result<Vec<Envelope>, Untranslatable> {
    let body: Body<'_> = serde_json::from_str(notification.raw).map_err(malformed)?;
    let said = body.event.ok_or(Untranslatable::NoContent)?.get();
    if let Some(ours) = broadcaster_id {
        check_channel(said, ours)?;
    }
    let translator = Translator { notification, rules, received_at, said };
    let (kind, version) = (body.subscription.kind, body.subscription.version);
    match (kind.as_str(), version.as_str()) {
        ("channel.cheer", "1") => translator.cheer(),
        ("channel.subscribe", "1") => translator.sub(),
        ("channel.subscription.message", "1") => translator.resub(),
        ("channel.subscription.gift", "1") => translator.gift(),
        ("channel.subscription.end", "1") => translator.sub_end(),
        ("channel.channel_points_custom_reward_redemption.add", "1") => translator.redeemed(),
        ("channel.channel_points_custom_reward_redemption.update", "1") => translator.settled(),
        ("channel.follow", "2") => translator.follow(),
        ("channel.raid", "1") => translator.raid(),
        ("stream.online", "1") => translator.online(),
        ("stream.offline", "1") => translator.offline(),
        ("channel.update", "1" | "2") => translator.update(),
        ("channel.hype_train.begin", "1" | "2") => translator.hype_train_begin(),
        ("channel.hype_train.progress", "1" | "2") => translator.hype_train_progress(),
        ("channel.hype_train.end", "1" | "2") => translator.hype_train_end(),
        _ => Err(Untranslatable::Unknown { kind, version }),
    }
}

/// A raid tells of two channels; the one that is raided is meant.
pub(super) fn check_channel(said: &str, ours: &str) -> Result<(), Untranslatable> {
    let about: About = serde_json::from_str(said).map_err(malformed)?;
    match about.to_broadcaster_user_id.or(about.broadcaster_user_id) {
        Some(about) if about != ours => {
            Err(Untranslatable::AnotherChannel { about, ours: ours.to_owned() })
        }
        _ => Ok(()),
    }
}

pub(super) fn malformed(error: serde_json::Error) -> Untranslatable {
    Untranslatable::Malformed(error.to_string())
}

/// One notification on its way to commands.
struct Translator<'a> {
    notification: &'a Notification<'a>,
    rules: &'a Rules,
    received_at: DateTime<Utc>,
    /// The JSON that says what happened, without the EventSub subscription around it.
    said: &'a str,
}

impl<'a> Translator<'a> {
    fn read<T: Deserialize<'a>>(&self) -> Result<T, Untranslatable> {
        serde_json::from_str(self.said).map_err(malformed)
    }

    fn message_id(&self) -> &str {
        self.notification.message_id
    }

    fn credit(&self, key: &str, viewer: ViewerName, facts: Facts) -> Translated {
        let points = self.rules.points(&facts).ok_or(Untranslatable::TooManyPoints)?;
        let (entry, rules) = (entry(key), self.rules.version);
        let command = account::Command::Credit { entry, points, rules, facts };
        let envelope = Envelope::new::<Account>(&viewer.id, &command, self.origin())
            .map_err(|error| bad_id("the viewer's id", error))?;
        Ok(Envelope { names: vec![viewer], ..envelope })
    }

    fn note(&self, key: &str, broadcaster: &str, at: DateTime<Utc>, moment: Moment) -> Translated {
        self.broadcast(broadcaster, &broadcast::Command::Note { entry: entry(key), at, moment })
    }

    fn broadcast(&self, broadcaster: &str, command: &broadcast::Command) -> Translated {
        Envelope::new::<Broadcast>(broadcaster, command, self.origin())
            .map_err(|error| bad_id("the broadcaster's id", error))
    }

    fn origin(&self) -> Origin {
        Origin {
            source: SOURCE.to_owned(),
            source_id: self.message_id().to_owned(),
            actor: None,
            received_at: self.received_at,
            raw: Some(self.notification.raw.to_owned()),
        }
    }
}

type Translated = Result<Envelope, Untranslatable>;

fn entry(key: &str) -> Uuid {
    domain::entry_id(SOURCE, key)
}

fn bad_id(field: &'static str, error: BadAddress) -> Untranslatable {
    Untranslatable::BadId { field, reason: error.to_string() }
}

pub(super) fn plain_id(field: &'static str, id: String) -> Result<String, Untranslatable> {
    check_id(&id).map_err(|error| bad_id(field, error))?;
    Ok(id)
}

/// The viewer somebody must be, with an id that can be stored.
pub(super) fn somebody(viewer: Option<ViewerName>) -> Result<ViewerName, Untranslatable> {
    let viewer = viewer.ok_or(Untranslatable::NoViewer)?;
    check_id(&viewer.id).map_err(|error| bad_id("the viewer's id", error))?;
    Ok(viewer)
}

fn within(
    field: &'static str,
    value: i64,
    range: RangeInclusive<i64>,
) -> Result<i64, Untranslatable> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(Untranslatable::OutOfRange { field, value, min: *range.start(), max: *range.end() })
}

fn tier(value: &str) -> Result<Tier, Untranslatable> {
    match value {
        "1000" => Ok(Tier::One),
        "2000" => Ok(Tier::Two),
        "3000" => Ok(Tier::Three),
        _ => Err(Untranslatable::UnknownValue {
            field: "tier",
            value: value.chars().take(40).collect(),
        }),
    }
}

#[cfg(test)]
mod tests;
