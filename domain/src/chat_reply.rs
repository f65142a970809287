//! The answer to what was asked in chat, on its way there. The aggregate id is the reply's, [`reply_id`].
//!
//! What is to be said, and when, is in the projection `replies`, made from what was asked and how it ended. Here is what
//! came of saying it: an attempt that failed, and the one end.

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, derived_id, entry_id};

/// The id of the one reply to what was asked in the event `cause`.
pub fn reply_id(cause: Uuid) -> Uuid {
    derived_id(cause, REPLY)
}

const REPLY: u32 = 7;

/// The id of the command that reports this attempt, whatever came of it.
pub fn report_id(reply: Uuid, attempt: u32) -> Uuid {
    entry_id("reply", &format!("{reply}:{attempt}"))
}

/// What came of an attempt to say it. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Deliver { entry: Uuid, attempt: u32, receipt: Receipt },
    FailAttempt { entry: Uuid, attempt: u32, reason: String, retry_at: DateTime<Utc> },
    GiveUp { entry: Uuid, attempt: u32, reason: String },
}

/// What became of a reply. The names and shapes are the stored format: they never change, they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Delivered { entry: Uuid, attempt: u32, receipt: Receipt },
    AttemptFailed { entry: Uuid, attempt: u32, reason: String, retry_at: DateTime<Utc> },
    GaveUp { entry: Uuid, attempt: u32, reason: String },
}

/// Where a reply was taken, and under what id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub way: Way,
    pub id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The chat that is shown on screen, and nowhere else.
    Overlay,
    Twitch,
    /// Twitch has the same words of ours already, from an attempt whose answer nobody saw.
    TwitchBefore,
}

/// Why a report was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("the reply has ended already")]
    Ended,
    #[error("attempt {attempt} is not the next one, {next}")]
    NotTheNextAttempt { attempt: u32, next: u32 },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Attempts that were reported.
    pub attempts: u32,
    pub ended: bool,
    last: Option<Uuid>,
}

impl Reply {
    fn decide(&self, command: Command) -> Result<Option<Event>, Rejection> {
        if self.last == Some(command.entry()) {
            return Ok(None);
        }
        if self.ended {
            return Err(Rejection::Ended);
        }
        let next = self.attempts.saturating_add(1);
        let attempt = command.attempt();
        if attempt != next {
            return Err(Rejection::NotTheNextAttempt { attempt, next });
        }
        Ok(Some(match command {
            Command::Deliver { entry, attempt, receipt } => {
                Event::Delivered { entry, attempt, receipt }
            }
            Command::FailAttempt { entry, attempt, reason, retry_at } => {
                Event::AttemptFailed { entry, attempt, reason, retry_at }
            }
            Command::GiveUp { entry, attempt, reason } => Event::GaveUp { entry, attempt, reason },
        }))
    }
}

impl Aggregate for Reply {
    const TYPE: &'static str = "reply";
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
        let (entry, attempt, ended) = match event {
            Event::Delivered { entry, attempt, .. } | Event::GaveUp { entry, attempt, .. } => {
                (entry, attempt, true)
            }
            Event::AttemptFailed { entry, attempt, .. } => (entry, attempt, false),
        };
        (self.last, self.attempts, self.ended) = (Some(entry), attempt, ended);
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Delivered { .. } => "delivered",
            Event::AttemptFailed { .. } => "attempt_failed",
            Event::GaveUp { .. } => "gave_up",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Command {
    fn attempt(&self) -> u32 {
        match self {
            Command::Deliver { attempt, .. }
            | Command::FailAttempt { attempt, .. }
            | Command::GiveUp { attempt, .. } => *attempt,
        }
    }
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Deliver { entry, .. }
            | Command::FailAttempt { entry, .. }
            | Command::GiveUp { entry, .. } => *entry,
        }
    }
}

#[cfg(test)]
mod tests;
