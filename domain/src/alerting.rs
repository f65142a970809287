//! The process `alerting`: what of all that happened is shown on screen.
//!
//! A pure function from a recorded event to an alert. Repeating it is harmless, and replaying it shows nothing: the
//! code that shows an alert reads the projection made from this.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::account::{self, Facts};
use crate::broadcast;

/// What the overlay shows, without the viewer's name, which lives in a table that can be erased.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub kind: Kind,
    /// The viewer's Twitch user id; `None` for the anonymous and for the whole channel.
    pub viewer: Option<String>,
    pub data: Value,
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
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Follow,
        Kind::Cheer,
        Kind::Sub,
        Kind::Resub,
        Kind::Gift,
        Kind::Raid,
        Kind::HypeTrain,
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
        }
    }
}

/// The alert for something that happened to the account of `viewer`. A gift that was received shows nothing: the
/// giver's alert does.
pub fn for_account(viewer: &str, event: &account::Event) -> Option<Alert> {
    let account::Event::Credited { facts, .. } = event else { return None };
    let (kind, data) = match facts {
        Facts::Cheer { bits, message } => (Kind::Cheer, json!({"bits": bits, "message": message})),
        Facts::Subscription { tier, gift: false } => (Kind::Sub, json!({"tier": tier})),
        Facts::Resubscription { tier, months, streak, message } => (
            Kind::Resub,
            json!({"tier": tier, "months": months, "streak": streak, "message": message}),
        ),
        Facts::GiftSubs { tier, count, .. } => (Kind::Gift, json!({"tier": tier, "count": count})),
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
        Event::Followed { viewer, .. } => (Kind::Follow, Some(viewer), json!({})),
        Event::Raided { viewer, viewers, .. } => {
            (Kind::Raid, Some(viewer), json!({"viewers": viewers}))
        }
        Event::Cheered { bits, message, .. } => {
            (Kind::Cheer, None, json!({"bits": bits, "message": message}))
        }
        Event::SubsGifted { tier, count, .. } => {
            (Kind::Gift, None, json!({"tier": tier, "count": count}))
        }
        Event::HypeTrainStarted { train, .. } => (
            Kind::HypeTrain,
            None,
            json!({
                "level": train.level, "total": train.total, "goal": train.goal, "kind": train.kind
            }),
        ),
        _ => return None,
    };
    Some(Alert { kind, viewer: viewer.cloned(), data })
}

#[cfg(test)]
mod tests;
