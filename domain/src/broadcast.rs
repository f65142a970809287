//! A channel's broadcasts, one after another, and the moments in them that move no points.
//!
//! The aggregate id is the broadcaster's Twitch user id. Broadcasts are numbered 1, 2, 3 within it. Notifications
//! come late, twice and out of order; what the aggregate has noted decides what they still mean.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, Recent};
use crate::tape::Card;

mod event;
mod on_air;

pub use event::{Event, HypeTrain, Moment, Reward, Screening};
pub use on_air::{MOVES, OnAir};

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
        /// When it was said, by which one that arrives late is known.
        #[serde(default)]
        at: Option<DateTime<Utc>>,
    },
    StartScreening {
        entry: Uuid,
        tape: String,
        at: DateTime<Utc>,
        /// What the catalogue says of the tape.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        card: Option<Card>,
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
    /// When the title that stands was said; unknown of those recorded without a time.
    #[serde(default)]
    retitled_at: Option<DateTime<Utc>>,
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
            Command::Retitle { title, category, language, at, .. } => {
                let same =
                    self.title == title && self.category == category && self.language == language;
                let late = at.is_some() && at < self.retitled_at;
                let retitled = Event::Retitled { title, category, language, at };
                Ok(if same || late { vec![] } else { vec![retitled] })
            }
            Command::StartScreening { entry, tape, at, card } => {
                self.decide_screening(entry, tape, at, card)
            }
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
        card: Option<Card>,
    ) -> Result<Vec<Event>, Rejection> {
        if !self.live {
            return Err(Rejection::NotLive);
        }
        if self.screening.as_ref().is_some_and(|screening| screening.tape == tape) {
            return Err(Rejection::SameTape { tape });
        }
        let screening = Screening { id: entry, tape, started_at: at };
        let started = Event::ScreeningStarted { broadcast: self.number, screening, card };
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
            Event::Retitled { title, category, language, at } => {
                (self.title, self.category, self.language) = (title, category, language);
                self.retitled_at = self.retitled_at.max(at);
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
