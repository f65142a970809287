//! A channel's broadcasts, one after another, and the moments in them that move no points.
//!
//! The aggregate id is the broadcaster's Twitch user id. Broadcasts are numbered 1, 2, 3 within it. Notifications
//! come late, twice and out of order; what the aggregate has noted decides what they still mean.

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, Recent};
use crate::rules::Tier;

/// What to note about a channel. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Twitch says the channel is live as stream `live_id`. A return within `resume_within_s`
    /// of the last end, or under the same `live_id`, resumes that broadcast.
    Start {
        entry: Uuid,
        live_id: String,
        at: DateTime<Utc>,
        resume_within_s: i64,
    },
    End {
        entry: Uuid,
        live_id: Option<String>,
        at: DateTime<Utc>,
    },
    Retitle {
        entry: Uuid,
        title: String,
        category: String,
        language: String,
    },
    StartScreening {
        entry: Uuid,
        tape: String,
        at: DateTime<Utc>,
    },
    EndScreening {
        entry: Uuid,
        at: DateTime<Utc>,
    },
    /// Something worth showing that gives nobody points.
    Note {
        entry: Uuid,
        at: DateTime<Utc>,
        moment: Moment,
    },
}

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
    },
    ScreeningStarted {
        broadcast: i64,
        screening: Screening,
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

/// Why a command was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("the channel is not live, so nothing can be screened")]
    NotLive,
    #[error("tape {tape} is on screen already")]
    SameTape { tape: String },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Broadcast {
    /// How many broadcasts there have been; the number of the last one.
    pub number: i64,
    pub live: bool,
    pub live_id: Option<String>,
    /// When it was last on the air from, and when an end was last noted: what is older than these is late.
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub screening: Option<Screening>,
    pub title: String,
    pub category: String,
    pub language: String,
    train: Option<String>,
    recent: Recent<()>,
}

impl Broadcast {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Start { live_id, at, resume_within_s, .. } => {
                Ok(self.decide_start(live_id, at, resume_within_s))
            }
            Command::End { live_id, at, .. } => Ok(self.decide_end(live_id, at)),
            Command::Retitle { title, category, language, .. } => {
                let same =
                    self.title == title && self.category == category && self.language == language;
                Ok(if same { vec![] } else { vec![Event::Retitled { title, category, language }] })
            }
            Command::StartScreening { entry, tape, at } => self.decide_screening(entry, tape, at),
            Command::EndScreening { at, .. } => {
                if !self.live {
                    return Err(Rejection::NotLive);
                }
                Ok(self.end_screening(at).into_iter().collect())
            }
            Command::Note { entry, at, moment } => Ok(self.decide_moment(entry, at, moment)),
        }
    }

    fn decide_start(&self, live_id: String, at: DateTime<Utc>, resume_within_s: i64) -> Vec<Event> {
        let known = self.live_id.as_ref() == Some(&live_id);
        let older = self.started_at.is_some_and(|started_at| at < started_at);
        let ended_after = self.ended_at.filter(|ended_at| at < *ended_at);
        if older || (known && (self.live || ended_after.is_some())) {
            return vec![];
        }
        let number = self.number + 1;
        let started = Event::Started { broadcast: number, live_id: live_id.clone(), at };
        // An end that was noted before its start arrived: both happened, in that order.
        let ended = ended_after.map(|at| Event::Ended { broadcast: number, at, screening: None });
        if self.live {
            // A start under a new id means that the end of the old one was missed.
            let screening = self.screening.clone();
            let missed = Event::Ended { broadcast: self.number, at, screening };
            return [missed, started].into_iter().chain(ended).collect();
        }
        let soon = self.ended_at.is_some_and(|ended_at| {
            (at - ended_at).num_milliseconds() <= resume_within_s.saturating_mul(1_000)
        });
        if ended.is_none() && self.number > 0 && (known || soon) {
            return vec![Event::Resumed { broadcast: self.number, live_id, at }];
        }
        [started].into_iter().chain(ended).collect()
    }

    fn decide_end(&self, live_id: Option<String>, at: DateTime<Utc>) -> Vec<Event> {
        let other = live_id.is_some() && live_id != self.live_id;
        let older = self.started_at.is_some_and(|started_at| at < started_at);
        if self.live && !other {
            if older {
                return vec![];
            }
            let screening = self.screening.clone();
            return vec![Event::Ended { broadcast: self.number, at, screening }];
        }
        let newer = self.ended_at.is_none_or(|ended_at| at > ended_at);
        if !older && newer { vec![Event::OfflineNoted { live_id, at }] } else { vec![] }
    }

    fn decide_screening(
        &self,
        entry: Uuid,
        tape: String,
        at: DateTime<Utc>,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.live {
            return Err(Rejection::NotLive);
        }
        if self.screening.as_ref().is_some_and(|screening| screening.tape == tape) {
            return Err(Rejection::SameTape { tape });
        }
        let screening = Screening { id: entry, tape, started_at: at };
        let started = Event::ScreeningStarted { broadcast: self.number, screening };
        Ok(self.end_screening(at).into_iter().chain([started]).collect())
    }

    fn end_screening(&self, at: DateTime<Utc>) -> Option<Event> {
        let screening = self.screening.clone()?;
        Some(Event::ScreeningEnded { broadcast: self.number, screening, at })
    }

    fn decide_moment(&self, entry: Uuid, at: DateTime<Utc>, moment: Moment) -> Vec<Event> {
        vec![match moment {
            Moment::Followed { viewer } => Event::Followed { entry, viewer, at },
            Moment::Raided { viewer, viewers } => Event::Raided { entry, viewer, viewers, at },
            Moment::Cheered { bits, message } => Event::Cheered { entry, bits, message, at },
            Moment::SubsGifted { tier, count } => Event::SubsGifted { entry, tier, count, at },
            Moment::SubEnded { viewer, tier, gift } => {
                Event::SubEnded { entry, viewer, tier, gift, at }
            }
            Moment::RewardRedeemed { redemption, viewer, reward } => {
                Event::RewardRedeemed { entry, redemption, viewer, reward, at }
            }
            Moment::RedemptionSettled { redemption, viewer, fulfilled } => {
                Event::RedemptionSettled { entry, redemption, viewer, fulfilled, at }
            }
            Moment::HypeTrainStarted(train) if self.train.as_ref() == Some(&train.id) => {
                return vec![];
            }
            Moment::HypeTrainStarted(train) => Event::HypeTrainStarted { entry, train, at },
            Moment::HypeTrainProgressed(train) => Event::HypeTrainProgressed { entry, train, at },
            Moment::HypeTrainEnded(train) => Event::HypeTrainEnded { entry, train, at },
        }]
    }
}

impl Aggregate for Broadcast {
    const TYPE: &'static str = "broadcast";
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
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Started { broadcast, live_id, at }
            | Event::Resumed { broadcast, live_id, at } => {
                self.number = broadcast;
                self.live = true;
                self.started_at = Some(at);
                self.live_id = Some(live_id);
            }
            Event::Ended { at, .. } => {
                self.live = false;
                self.ended_at = self.ended_at.max(Some(at));
                self.screening = None;
            }
            Event::OfflineNoted { at, .. } => self.ended_at = self.ended_at.max(Some(at)),
            Event::Retitled { title, category, language } => {
                (self.title, self.category, self.language) = (title, category, language);
            }
            Event::ScreeningStarted { screening, .. } => {
                self.recent.push(screening.id, ());
                self.screening = Some(screening);
            }
            Event::ScreeningEnded { .. } => self.screening = None,
            Event::HypeTrainStarted { entry, train, .. } => {
                self.train = Some(train.id);
                self.recent.push(entry, ());
            }
            Event::Followed { entry, .. }
            | Event::Raided { entry, .. }
            | Event::Cheered { entry, .. }
            | Event::SubsGifted { entry, .. }
            | Event::SubEnded { entry, .. }
            | Event::RewardRedeemed { entry, .. }
            | Event::RedemptionSettled { entry, .. }
            | Event::HypeTrainProgressed { entry, .. }
            | Event::HypeTrainEnded { entry, .. } => self.recent.push(entry, ()),
        }
    }
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

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Start { entry, .. }
            | Command::End { entry, .. }
            | Command::Retitle { entry, .. }
            | Command::StartScreening { entry, .. }
            | Command::EndScreening { entry, .. }
            | Command::Note { entry, .. } => *entry,
        }
    }
}

#[cfg(test)]
mod tests;
