//! The process `alerting`: what of all that happened is shown on screen.
//!
//! A pure function from a recorded event to an alert. Repeating it is harmless, and replaying it shows nothing: the
//! code that shows an alert reads the projection made from this.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::account::{self, Facts};
use crate::broadcast::{self, HypeTrain};
use crate::chat_request::{Colour, Wish};
use crate::generation::{self, Picture, Settlement};
use crate::rules::Tier;
use crate::stage;
use crate::tape::Card;

/// What the overlay shows, without the viewer's name, which lives in a table that can be erased.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub kind: Kind,
    /// The viewer's Twitch user id; `None` for the anonymous and for the whole channel.
    pub viewer: Option<String>,
    pub data: Data,
}

/// What there is to show besides the viewer, as the feed has it: JSON with these fields.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Data {
    Nothing {},
    Cheer {
        bits: i64,
        message: String,
    },
    Sub {
        tier: Tier,
    },
    Resub {
        message: String,
        months: i64,
        streak: Option<i64>,
        tier: Tier,
    },
    Gift {
        count: i64,
        tier: Tier,
    },
    Raid {
        viewers: i64,
    },
    HypeTrain {
        goal: Option<i64>,
        kind: String,
        level: i64,
        total: i64,
    },
    Picture {
        background: String,
        colour: Option<Colour>,
        media_type: String,
        name: Option<String>,
        picture: String,
        subject: String,
    },
    /// Whatever whoever tests wants to see, with `"test": true`.
    Test(Map<String, Value>),
    Tape {
        colour: Option<String>,
        id: String,
        runtime_s: Option<i64>,
        tags: Vec<String>,
        /// The name of a picture.
        thumbnail: Option<String>,
        title: String,
        year: Option<i32>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Follow,
    Cheer,
    Sub,
    Resub,
    Gift,
    Raid,
    HypeTrain,
    /// A picture that a viewer's points paid for, by its style.
    Ghost,
    Friend,
    /// A tape begins to play.
    Tape,
}

impl Kind {
    pub const ALL: [Kind; 10] = [
        Kind::Follow,
        Kind::Cheer,
        Kind::Sub,
        Kind::Resub,
        Kind::Gift,
        Kind::Raid,
        Kind::HypeTrain,
        Kind::Ghost,
        Kind::Friend,
        Kind::Tape,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Follow => "follow",
            Kind::Cheer => "cheer",
            Kind::Sub => "sub",
            Kind::Resub => "resub",
            Kind::Gift => "gift",
            Kind::Raid => "raid",
            Kind::HypeTrain => "hype_train",
            Kind::Ghost => "ghost",
            Kind::Friend => "friend",
            Kind::Tape => "tape",
        }
    }
}

/// The alert for something that happened to the account of `viewer`. A gift that was received shows nothing: the
/// giver's alert does.
pub fn for_account(viewer: &str, event: &account::Event) -> Option<Alert> {
    let account::Event::Credited { facts, .. } = event else { return None };
    let (kind, data) = match facts {
        Facts::Cheer { bits, message } => {
            (Kind::Cheer, Data::Cheer { bits: *bits, message: message.clone() })
        }
        Facts::Subscription { tier, gift: false } => (Kind::Sub, Data::Sub { tier: *tier }),
        Facts::Resubscription { tier, months, streak, message } => {
            let (tier, months, streak, message) = (*tier, *months, *streak, message.clone());
            (Kind::Resub, Data::Resub { message, months, streak, tier })
        }
        Facts::GiftSubs { tier, count, .. } => {
            (Kind::Gift, Data::Gift { count: *count, tier: *tier })
        }
        Facts::Subscription { gift: true, .. }
        | Facts::Reward { .. }
        | Facts::Manual { .. }
        | Facts::Grant { .. }
        | Facts::Import { .. }
        | Facts::Gift { .. } => return None,
    };
    Some(Alert { kind, viewer: Some(viewer.to_owned()), data })
}

/// The alert for something that happened in the channel.
pub fn for_broadcast(event: &broadcast::Event) -> Option<Alert> {
    use broadcast::Event;
    let (kind, viewer, data) = match event {
        Event::Followed { viewer, .. } => (Kind::Follow, Some(viewer), Data::Nothing {}),
        Event::Raided { viewer, viewers, .. } => {
            (Kind::Raid, Some(viewer), Data::Raid { viewers: *viewers })
        }
        Event::Cheered { bits, message, .. } => {
            (Kind::Cheer, None, Data::Cheer { bits: *bits, message: message.clone() })
        }
        Event::SubsGifted { tier, count, .. } => {
            (Kind::Gift, None, Data::Gift { count: *count, tier: *tier })
        }
        Event::HypeTrainStarted { train, .. } => {
            let HypeTrain { level, total, goal, kind, .. } = train.clone();
            (Kind::HypeTrain, None, Data::HypeTrain { goal, kind, level, total })
        }
        Event::ScreeningStarted { screening, card, .. } => {
            (Kind::Tape, None, tape(&screening.tape, card.clone()))
        }
        _ => return None,
    };
    Some(Alert { kind, viewer: viewer.cloned(), data })
}

/// What the lower third says of a tape. One that is not in the catalogue has its id for a title.
fn tape(id: &str, card: Option<Card>) -> Data {
    let card = card.unwrap_or_else(|| Card { title: id.to_owned(), ..Card::default() });
    let Card { title, year, runtime_s, tags, colour, thumbnail, .. } = card;
    Data::Tape { colour, id: id.to_owned(), runtime_s, tags, thumbnail, title, year }
}

/// The alert for something that happened to a request: the picture, once its points are captured. Whatever ended
/// otherwise shows nothing.
pub fn for_generation(event: &generation::Event) -> Option<Alert> {
    let generation::Event::Settled { settlement, viewer, wish, picture, .. } = event else {
        return None;
    };
    let (Settlement::Captured, Some(wish), Some(picture)) = (settlement, wish, picture) else {
        return None;
    };
    let (kind, subject, colour) = match wish {
        Wish::Ghost { subject } => (Kind::Ghost, subject, None),
        Wish::Friend { colour, subject } => (Kind::Friend, subject, *colour),
        Wish::Static { .. } => return None,
    };
    let Picture { content, media_type, background, name, .. } = picture.clone();
    let (picture, subject) = (content, subject.clone());
    let data = Data::Picture { background, colour, media_type, name, picture, subject };
    Some(Alert { kind, viewer: Some(viewer.clone()), data })
}

/// The alert for something that happened on a stage: a test of one.
pub fn for_stage(event: &stage::Event) -> Option<Alert> {
    let stage::Event::Tested { kind, data, .. } = event else { return None };
    let mut data = data.clone();
    data.insert("test".to_owned(), Value::Bool(true));
    Some(Alert { kind: *kind, viewer: None, data: Data::Test(data) })
}

#[cfg(test)]
mod tests;
