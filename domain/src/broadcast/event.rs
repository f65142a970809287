//! What happened in a channel, as it is stored.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::rules::Tier;
use crate::tape::Card;

/// What happened in a channel. The names and shapes are the stored format: they never change, they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Started {
        broadcast: i64,
        live_id: String,
        at: DateTime<Utc>,
    },
    Resumed {
        broadcast: i64,
        live_id: String,
        at: DateTime<Utc>,
    },
    Ended {
        broadcast: i64,
        at: DateTime<Utc>,
        screening: Option<Screening>,
    },
    /// An end that came before its start: kept, so that the late start is not taken for a live channel.
    OfflineNoted {
        live_id: Option<String>,
        at: DateTime<Utc>,
    },
    Retitled {
        title: String,
        category: String,
        language: String,
        /// Not known of those that were recorded before it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<DateTime<Utc>>,
    },
    ScreeningStarted {
        broadcast: i64,
        screening: Screening,
        /// What the catalogue said of the tape; nothing of a tape that is not in it, or was recorded before it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        card: Option<Card>,
    },
    ScreeningEnded {
        broadcast: i64,
        screening: Screening,
        at: DateTime<Utc>,
    },
    Followed {
        entry: Uuid,
        viewer: String,
        at: DateTime<Utc>,
    },
    Raided {
        entry: Uuid,
        viewer: String,
        viewers: i64,
        at: DateTime<Utc>,
    },
    /// An anonymous cheer: shown, credited to nobody.
    Cheered {
        entry: Uuid,
        bits: i64,
        message: String,
        at: DateTime<Utc>,
    },
    /// An anonymous gift: shown, credited to nobody.
    SubsGifted {
        entry: Uuid,
        tier: Tier,
        count: i64,
        at: DateTime<Utc>,
    },
    /// A subscription came to an end; no points are taken back.
    SubEnded {
        entry: Uuid,
        viewer: String,
        tier: Tier,
        gift: bool,
        at: DateTime<Utc>,
    },
    RewardRedeemed {
        entry: Uuid,
        redemption: String,
        viewer: String,
        reward: Reward,
        at: DateTime<Utc>,
    },
    RedemptionSettled {
        entry: Uuid,
        redemption: String,
        viewer: String,
        fulfilled: bool,
        at: DateTime<Utc>,
    },
    HypeTrainStarted {
        entry: Uuid,
        train: HypeTrain,
        at: DateTime<Utc>,
    },
    HypeTrainProgressed {
        entry: Uuid,
        train: HypeTrain,
        at: DateTime<Utc>,
    },
    HypeTrainEnded {
        entry: Uuid,
        train: HypeTrain,
        at: DateTime<Utc>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    Followed { viewer: String },
    Raided { viewer: String, viewers: i64 },
    Cheered { bits: i64, message: String },
    SubsGifted { tier: Tier, count: i64 },
    SubEnded { viewer: String, tier: Tier, gift: bool },
    RewardRedeemed { redemption: String, viewer: String, reward: Reward },
    RedemptionSettled { redemption: String, viewer: String, fulfilled: bool },
    HypeTrainStarted(HypeTrain),
    HypeTrainProgressed(HypeTrain),
    HypeTrainEnded(HypeTrain),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Screening {
    pub id: Uuid,
    pub tape: String,
    pub started_at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    pub id: String,
    pub title: String,
    pub cost: i64,
    pub input: String,
}

/// A hype train as Twitch counts it (version 2). `kind` is `regular`, `treasure` or `golden_kappa`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HypeTrain {
    pub id: String,
    pub level: i64,
    pub total: i64,
    pub goal: Option<i64>,
    pub kind: String,
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Started { .. } => "started",
            Event::Resumed { .. } => "resumed",
            Event::Ended { .. } => "ended",
            Event::OfflineNoted { .. } => "offline_noted",
            Event::Retitled { .. } => "retitled",
            Event::ScreeningStarted { .. } => "screening_started",
            Event::ScreeningEnded { .. } => "screening_ended",
            Event::Followed { .. } => "followed",
            Event::Raided { .. } => "raided",
            Event::Cheered { .. } => "cheered",
            Event::SubsGifted { .. } => "subs_gifted",
            Event::SubEnded { .. } => "sub_ended",
            Event::RewardRedeemed { .. } => "reward_redeemed",
            Event::RedemptionSettled { .. } => "redemption_settled",
            Event::HypeTrainStarted { .. } => "hype_train_started",
            Event::HypeTrainProgressed { .. } => "hype_train_progressed",
            Event::HypeTrainEnded { .. } => "hype_train_ended",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}
