//! A stage: what is shown in OBS, one alert after the other. The aggregate id is the stage's name.
//!
//! ```text
//! waiting ─▶ playing ─▶ shown
//!    ▲          ├─▶ skipped
//!    ├──────────┤ requeued: nobody showed it
//!    │          └─▶ unknown: nobody can say whether it was shown
//!    ├─ replayed ◀─ any that is over
//!    └─▶ expired, cleared
//! ```
//!
//! A stage is open from the moment at which the configuration names it until it does not any more. One that is opened
//! again begins with nothing.
//!
//! The aggregate knows what plays and nothing of what waits, so that it stays small however long the line is. Who
//! decides by what waits (the director of the gateway) names the revision of the stage that it has seen, and is refused
//! when something has happened since.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, Recent};

mod command;
mod event;
mod times;

pub use command::{Command, Sound};
pub use event::Event;
pub use times::{expire_minutes, seconds};

/// The most alerts that one command expires.
pub const EXPIRED_MAX: usize = 100;
/// The longest data of a test, as JSON.
pub const TEST_BYTES_MAX: usize = 4_096;

/// Why a command was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("there is no such stage")]
    NotOpen,
    #[error("the stage is paused")]
    Paused,
    #[error("the stage is at revision {revision}, and {seen} was seen")]
    Moved { revision: i64, seen: i64 },
    #[error("another alert plays on the stage")]
    Playing,
    #[error("this alert does not play on the stage")]
    NotPlaying,
    #[error("this alert was shown on the stage already")]
    ShownBefore,
    #[error("an alert ends after its start")]
    NoTime,
    #[error("1 to {EXPIRED_MAX} alerts expire at once")]
    BadCount,
    #[error("the data of a test is at most {TEST_BYTES_MAX} bytes")]
    TooLong,
}

/// What plays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Playing {
    pub alert: Uuid,
    pub attempt: u32,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// An overlay had it on the screen.
    pub shown: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub open: bool,
    pub paused: bool,
    pub sound_muted: bool,
    pub speech_muted: bool,
    /// What plays, or was the last to play to its end.
    pub playing: Option<Playing>,
    /// How many events there were: the sequence of the last.
    pub revision: i64,
    recent: Recent<()>,
}

impl Stage {
    fn decide(&self, command: Command) -> Result<Option<Event>, Rejection> {
        if self.recent.contains(command.entry()) {
            return Ok(None);
        }
        if let Command::Open { entry, at } = command {
            return Ok((!self.open).then_some(Event::Opened { entry, at }));
        }
        if !self.open {
            return Err(Rejection::NotOpen);
        }
        match command {
            Command::Close { entry, expires, at } => Ok(Some(Event::Closed { entry, expires, at })),
            Command::Start { .. } => self.decide_start(command).map(Some),
            Command::Show { entry, alert, attempt, overlay, at } => {
                if self.require_playing(alert, attempt)?.shown {
                    return Ok(None);
                }
                Ok(Some(Event::Shown { entry, alert, attempt, overlay, at }))
            }
            Command::Requeue { entry, alert, attempt, reason } => {
                self.require_unshown(alert, attempt)?;
                Ok(Some(Event::Requeued { entry, alert, attempt, reason }))
            }
            Command::GiveUp { entry, alert, attempt, reason } => {
                self.require_unshown(alert, attempt)?;
                Ok(Some(Event::Unknown { entry, alert, attempt, reason }))
            }
            Command::Expire { entry, revision, alerts } => {
                self.require_revision(revision)?;
                if !(1..=EXPIRED_MAX).contains(&alerts.len()) {
                    return Err(Rejection::BadCount);
                }
                Ok(Some(Event::Expired { entry, alerts }))
            }
            Command::Skip { entry, alert, actor, at } => {
                let playing = self.on_stage(at).filter(|playing| playing.alert == alert);
                let attempt = playing.ok_or(Rejection::NotPlaying)?.attempt;
                Ok(Some(Event::Skipped { entry, alert, attempt, actor }))
            }
            other => self.decide_direction(other),
        }
    }

    /// What people want, other than to skip.
    fn decide_direction(&self, command: Command) -> Result<Option<Event>, Rejection> {
        Ok(match command {
            Command::Clear { entry, alert, until, actor } => {
                if alert.is_some_and(|alert| self.unshown().is_some_and(|p| p.alert == alert)) {
                    return Err(Rejection::Playing);
                }
                Some(Event::Cleared { entry, alert, until, actor })
            }
            Command::Replay { entry, alert, actor, at } => {
                if self.on_stage(at).is_some_and(|playing| playing.alert == alert) {
                    return Err(Rejection::Playing);
                }
                Some(Event::Replayed { entry, alert, actor })
            }
            Command::Prioritise { entry, alert, actor } => {
                Some(Event::Prioritised { entry, alert, actor })
            }
            Command::Pause { entry, actor } => {
                (!self.paused).then_some(Event::Paused { entry, actor })
            }
            Command::Resume { entry, actor } => {
                self.paused.then_some(Event::Resumed { entry, actor })
            }
            Command::Mute { entry, what, actor } => {
                (!self.is_muted(what)).then_some(Event::Muted { entry, what, actor })
            }
            Command::Unmute { entry, what, actor } => {
                self.is_muted(what).then_some(Event::Unmuted { entry, what, actor })
            }
            Command::Test { entry, kind, data, actor } => {
                let length = serde_json::to_string(&data).map_or(usize::MAX, |json| json.len());
                if length > TEST_BYTES_MAX {
                    return Err(Rejection::TooLong);
                }
                Some(Event::Tested { entry, kind, data, actor })
            }
            _ => None,
        })
    }

    fn decide_start(&self, command: Command) -> Result<Event, Rejection> {
        let Command::Start { entry, revision, alert, attempt, starts_at, ends_at } = command else {
            return Err(Rejection::NotOpen);
        };
        self.require_revision(revision)?;
        if self.paused {
            return Err(Rejection::Paused);
        }
        if self.unshown().is_some() || self.on_stage(starts_at).is_some() {
            return Err(Rejection::Playing);
        }
        if ends_at <= starts_at {
            return Err(Rejection::NoTime);
        }
        Ok(Event::Started { entry, alert, attempt, starts_at, ends_at })
    }

    /// What is to be seen at `at`.
    fn on_stage(&self, at: DateTime<Utc>) -> Option<&Playing> {
        self.playing.as_ref().filter(|playing| !playing.shown || at < playing.ends_at)
    }

    /// What was started and is on no screen yet, as far as is known.
    fn unshown(&self) -> Option<&Playing> {
        self.playing.as_ref().filter(|playing| !playing.shown)
    }

    fn require_revision(&self, seen: i64) -> Result<(), Rejection> {
        let revision = self.revision;
        if revision == seen { Ok(()) } else { Err(Rejection::Moved { revision, seen }) }
    }

    fn require_playing(&self, alert: Uuid, attempt: u32) -> Result<&Playing, Rejection> {
        let playing = self.playing.as_ref();
        playing
            .filter(|playing| playing.alert == alert && playing.attempt == attempt)
            .ok_or(Rejection::NotPlaying)
    }

    fn require_unshown(&self, alert: Uuid, attempt: u32) -> Result<(), Rejection> {
        if self.require_playing(alert, attempt)?.shown {
            return Err(Rejection::ShownBefore);
        }
        Ok(())
    }

    fn is_muted(&self, what: Sound) -> bool {
        match what {
            Sound::Sound => self.sound_muted,
            Sound::Speech => self.speech_muted,
        }
    }

    fn set_muted(&mut self, what: Sound, muted: bool) {
        match what {
            Sound::Sound => self.sound_muted = muted,
            Sound::Speech => self.speech_muted = muted,
        }
    }
}

impl Aggregate for Stage {
    const TYPE: &'static str = "stage";
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
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.recent.push(event.entry(), ());
        self.revision += 1;
        match event {
            Event::Opened { .. } => self.open = true,
            Event::Closed { .. } => {
                let (revision, recent) = (self.revision, std::mem::take(&mut self.recent));
                *self = Stage { revision, recent, ..Stage::default() };
            }
            Event::Started { alert, attempt, starts_at, ends_at, .. } => {
                let shown = false;
                self.playing = Some(Playing { alert, attempt, starts_at, ends_at, shown });
            }
            Event::Shown { .. } => {
                if let Some(playing) = &mut self.playing {
                    playing.shown = true;
                }
            }
            Event::Requeued { .. } | Event::Unknown { .. } | Event::Skipped { .. } => {
                self.playing = None;
            }
            Event::Paused { .. } => self.paused = true,
            Event::Resumed { .. } => self.paused = false,
            Event::Muted { what, .. } => self.set_muted(what, true),
            Event::Unmuted { what, .. } => self.set_muted(what, false),
            Event::Expired { .. }
            | Event::Cleared { .. }
            | Event::Replayed { .. }
            | Event::Prioritised { .. }
            | Event::Tested { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
