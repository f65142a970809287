//! The process `alerting`: what of all that happened is shown on screen.
//!
//! A pure function from a recorded event to an alert. Repeating it is harmless, and replaying it shows nothing: the
//! code that shows an alert reads the projection made from this.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::account::{self, Facts};
use crate::broadcast::{self, HypeTrain};
use crate::chat_request::{Colour, Wish};
use crate::generation::{self, Asked, Picture, Settlement};
use crate::rules::Tier;
use crate::stage;
use crate::tape::Card;

/// The source, in the origin of a command, of what Twitch did not tell and was found by asking it later.
pub const ASKED: &str = "helix";

/// Whether what happened at `at` and is known only since `known_at` is still worth showing: what is older than it may
/// become by waiting on a stage is not.
pub fn is_in_time(kind: Kind, at: DateTime<Utc>, known_at: DateTime<Utc>) -> bool {
    let minutes = stage::expire_minutes(kind);
    minutes.is_none_or(|minutes| known_at - at <= TimeDelta::minutes(i64::from(minutes)))
}

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
    Notice {
        /// How many points there were, where they were too few.
        #[serde(skip_serializing_if = "Option::is_none")]
        available: Option<i64>,
        price: Option<i64>,
        reason: Reason,
        style: Option<String>,
        words: String,
    },
    Static {
        id: String,
        message: String,
    },
}

/// Why a request came to nothing, for programs. What went wrong inside is nobody's business on screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Unclear,
    TooFewPoints,
    /// It was made, and somebody did not want it shown.
    Rejected,
    Refused,
    Failed,
    Cancelled,
    Expired,
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
    /// A ready-made alert that was paid for, by its id.
    Static,
    /// A request that came to nothing: its viewer is told why.
    Notice,
}

impl Kind {
    pub const ALL: [Kind; 12] = [
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
        Kind::Static,
        Kind::Notice,
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
            Kind::Static => "static",
            Kind::Notice => "notice",
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

/// The alert for something that happened to a request: what was made, once its points are captured, or why it came to
/// nothing. Each request has one of these: where it ends before its points do, that is told, and not their release.
pub fn for_generation(event: &generation::Event) -> Option<Alert> {
    use generation::Event;
    match event {
        Event::Settled { settlement: Settlement::Captured, viewer, wish, picture, .. } => {
            let (kind, data) = delivered(wish.as_ref()?, picture.as_ref())?;
            Some(Alert { kind, viewer: Some(viewer.clone()), data })
        }
        Event::Settled { settlement: Settlement::Released, viewer, wish, points, .. } => {
            let (style, price) = (wish.as_ref()?.style().to_owned(), *points);
            Some(notice(Reason::Expired, &Asked { viewer: viewer.clone(), style, price }, None))
        }
        Event::Declined { available, asked, .. } => {
            Some(notice(Reason::TooFewPoints, asked.as_ref()?, Some(*available)))
        }
        Event::Rejected { asked, .. } => Some(notice(Reason::Rejected, asked.as_ref()?, None)),
        Event::Refused { asked, .. } => Some(notice(Reason::Refused, asked.as_ref()?, None)),
        Event::Failed { asked, .. } => Some(notice(Reason::Failed, asked.as_ref()?, None)),
        Event::Cancelled { asked, .. } => {
            let reason = if event.is_expiry() { Reason::Expired } else { Reason::Cancelled };
            Some(notice(reason, asked.as_ref()?, None))
        }
        Event::TurnedDown { viewer, unclear, .. } => {
            let (style, price) = (unclear.style().map(str::to_owned), unclear.price());
            let (reason, words) = (Reason::Unclear, unclear.to_string());
            let data = Data::Notice { available: None, price, reason, style, words };
            Some(Alert { kind: Kind::Notice, viewer: Some(viewer.clone()), data })
        }
        Event::Submitted { .. }
        | Event::Funded { .. }
        | Event::FundedInVain { .. }
        | Event::AttemptFailed { .. }
        | Event::Presented { .. }
        | Event::Approved { .. }
        | Event::Completed { .. } => None,
    }
}

/// What was paid for. A picture that is not there, of an event that says there is one, shows nothing.
fn delivered(wish: &Wish, picture: Option<&Picture>) -> Option<(Kind, Data)> {
    let (kind, subject, colour) = match wish {
        Wish::Ghost { subject } => (Kind::Ghost, subject, None),
        Wish::Friend { colour, subject } => (Kind::Friend, subject, *colour),
        Wish::Static { id, message } => {
            return Some((Kind::Static, Data::Static { id: id.clone(), message: message.clone() }));
        }
    };
    let Picture { content, media_type, background, name, .. } = picture?.clone();
    let (picture, subject) = (content, subject.clone());
    Some((kind, Data::Picture { background, colour, media_type, name, picture, subject }))
}

fn notice(reason: Reason, asked: &Asked, available: Option<i64>) -> Alert {
    let Asked { viewer, style, price } = asked;
    let words = match reason {
        Reason::TooFewPoints => {
            let available = available.unwrap_or_default();
            format!("{style} takes {price} points, and there are {available}")
        }
        Reason::Rejected => {
            format!("this {style} cannot be shown here: the {price} points are back")
        }
        Reason::Refused => {
            format!("this {style} cannot be made here: the {price} points are back")
        }
        Reason::Failed => format!("the {style} did not work out: the {price} points are back"),
        Reason::Cancelled => format!("the {style} was called off: no points are taken"),
        Reason::Expired => format!("the {style} took too long: the {price} points are back"),
        Reason::Unclear => format!("what {style} was meant?"),
    };
    let (price, style) = (Some(*price), Some(style.clone()));
    let data = Data::Notice { available, price, reason, style, words };
    Alert { kind: Kind::Notice, viewer: Some(viewer.clone()), data }
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
