//! A request that a viewer's points pay for, from the words to the picture. The aggregate id is the request's id,
//! which is also the id of the hold that pays for it.
//!
//! ```text
//! submitted ─▶ funded ─▶ completed, refused, failed or cancelled ─▶ settled (captured or released)
//!           └▶ declined └▶ presented ─▶ approved, which completes it, or rejected
//! turned down
//! ```
//!
//! What is ready-made is completed as soon as it is funded.
//!
//! Every request ends in one of these, and its points are captured or released once: by the process `redemption`,
//! which reads these events and those of the account.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::chat_request::Wish;
use crate::identity::{Identified, Recent, derived_id};

mod command;
mod event;

pub use command::Command;
pub use event::{Asked, Event, Picture, Settlement};

/// Why a command was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("there is no such request")]
    Unknown,
    #[error("the request exists already")]
    SubmittedBefore,
    #[error("the request is not funded")]
    NotFunded,
    #[error("the request has ended already")]
    Ended,
    #[error("the request waits for no review")]
    NotPresented,
    #[error("attempt {attempt} is not the next one, {next}")]
    NotTheNextAttempt { attempt: u32, next: u32 },
    #[error("a request costs more than zero points, and {price} is not")]
    BadPrice { price: i64 },
    #[error("a request that is {stage} cannot be {settlement}")]
    WrongSettlement { stage: String, settlement: String },
}

/// Where a request is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    #[default]
    Unknown,
    Submitted,
    Funded,
    Declined,
    /// Made, and waiting for somebody to approve or reject it.
    Presented,
    Completed,
    Rejected,
    Refused,
    Failed,
    Cancelled,
    Settled,
    TurnedDown,
}

/// The id of the request that tries `request` again. A request that has ended stays ended, and its points are settled:
/// trying again is a new request, paid for again, that names the old one. The id is derived, so a request is tried again
/// once, however often somebody presses the button; the new one can be tried again in its turn.
pub fn retry_id(request: Uuid) -> Uuid {
    derived_id(request, RETRY)
}

const RETRY: u32 = 1;

/// Who cancels a request whose time is over, and why.
pub const TIMER: &str = "timer";
pub const EXPIRED: &str = "expired";

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Unknown => "unknown",
            Stage::Submitted => "submitted",
            Stage::Funded => "funded",
            Stage::Declined => "declined",
            Stage::Presented => "presented",
            Stage::Completed => "completed",
            Stage::Rejected => "rejected",
            Stage::Refused => "refused",
            Stage::Failed => "failed",
            Stage::Cancelled => "cancelled",
            Stage::Settled => "settled",
            Stage::TurnedDown => "turned down",
        }
    }

    /// Nothing is made or decided any more.
    pub fn ended(self) -> bool {
        !matches!(self, Stage::Unknown | Stage::Submitted | Stage::Funded | Stage::Presented)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    pub stage: Stage,
    pub viewer: String,
    pub wish: Option<Wish>,
    pub price: i64,
    /// Attempts that failed.
    pub attempts: u32,
    pub picture: Option<Picture>,
    recent: Recent<()>,
}

impl Generation {
    fn decide(&self, command: Command) -> Result<Option<Event>, Rejection> {
        if self.recent.contains(command.entry()) {
            return Ok(None);
        }
        if let Command::Submit { .. } | Command::TurnDown { .. } = command {
            return self.decide_beginning(command);
        }
        if self.stage == Stage::Unknown {
            return Err(Rejection::Unknown);
        }
        match command {
            Command::Fund { entry } => self.decide_funding(entry),
            Command::Decline { entry, available } => match self.stage {
                Stage::Submitted => {
                    Ok(Some(Event::Declined { entry, available, asked: self.asked() }))
                }
                // Cancelled while the points were asked for: there are none to give back.
                Stage::Cancelled => Ok(None),
                _ => Err(Rejection::Ended),
            },
            Command::FailAttempt { entry, attempt, reason, retry_at } => {
                self.require_funded()?;
                let next = self.attempts.saturating_add(1);
                if attempt != next {
                    return Err(Rejection::NotTheNextAttempt { attempt, next });
                }
                Ok(Some(Event::AttemptFailed { entry, attempt, reason, retry_at }))
            }
            Command::Complete { entry, picture } => {
                self.require_funded()?;
                Ok(Some(self.completed(entry, Some(picture))))
            }
            Command::Present { entry, picture } => {
                self.require_funded()?;
                Ok(Some(Event::Presented { entry, picture }))
            }
            Command::Approve { entry, actor } => {
                self.require_presented()?;
                Ok(Some(Event::Approved { entry, viewer: self.viewer.clone(), actor }))
            }
            Command::Reject { entry, actor, reason } => {
                self.require_presented()?;
                let (viewer, asked) = (self.viewer.clone(), self.asked());
                Ok(Some(Event::Rejected { entry, viewer, actor, reason, asked }))
            }
            Command::Refuse { entry, code, reason } => {
                self.require_funded()?;
                let (viewer, asked) = (self.viewer.clone(), self.asked());
                Ok(Some(Event::Refused { entry, viewer, code, reason, asked }))
            }
            Command::Fail { entry, reason } => {
                self.require_funded()?;
                let (viewer, asked) = (self.viewer.clone(), self.asked());
                Ok(Some(Event::Failed { entry, viewer, reason, asked }))
            }
            Command::Cancel { entry, actor, reason } => {
                if self.stage.ended() {
                    return Err(Rejection::Ended);
                }
                let held = matches!(self.stage, Stage::Funded | Stage::Presented);
                let (viewer, asked) = (self.viewer.clone(), self.asked());
                Ok(Some(Event::Cancelled { entry, viewer, actor, reason, held, asked }))
            }
            Command::Settle { entry, points, settlement } => {
                self.decide_settlement(entry, points, settlement)
            }
            Command::Submit { .. } | Command::TurnDown { .. } => Err(Rejection::SubmittedBefore),
        }
    }

    fn decide_beginning(&self, command: Command) -> Result<Option<Event>, Rejection> {
        if self.stage != Stage::Unknown {
            return Err(Rejection::SubmittedBefore);
        }
        match command {
            Command::Submit { price, .. } if price <= 0 => Err(Rejection::BadPrice { price }),
            Command::Submit { entry, viewer, wish, price, prices, at, retry_of, state } => {
                Ok(Some(Event::Submitted {
                    entry,
                    viewer,
                    wish,
                    price,
                    prices,
                    at,
                    retry_of,
                    state,
                }))
            }
            Command::TurnDown { entry, viewer, unclear, prices, at } => {
                Ok(Some(Event::TurnedDown { entry, viewer, unclear, prices, at }))
            }
            _ => Ok(None),
        }
    }

    fn decide_funding(&self, entry: Uuid) -> Result<Option<Event>, Rejection> {
        match self.stage {
            Stage::Submitted => Ok(Some(Event::Funded { entry })),
            // Cancelled while the points were asked for: they go back.
            Stage::Cancelled => {
                Ok(Some(Event::FundedInVain { entry, viewer: self.viewer.clone() }))
            }
            _ => Err(Rejection::Ended),
        }
    }

    fn decide_settlement(
        &self,
        entry: Uuid,
        points: i64,
        settlement: Settlement,
    ) -> Result<Option<Event>, Rejection> {
        // A release counts wherever the request is: its points are gone, so it is over.
        let fits = match self.stage {
            Stage::Completed => true,
            Stage::Funded
            | Stage::Presented
            | Stage::Rejected
            | Stage::Refused
            | Stage::Failed
            | Stage::Cancelled => settlement == Settlement::Released,
            Stage::Settled | Stage::Declined | Stage::TurnedDown => return Err(Rejection::Ended),
            Stage::Unknown | Stage::Submitted => return Err(Rejection::NotFunded),
        };
        if !fits {
            let (stage, settlement) = (self.stage.name().to_owned(), settlement.name().to_owned());
            return Err(Rejection::WrongSettlement { stage, settlement });
        }
        let was_told = matches!(
            self.stage,
            Stage::Rejected | Stage::Refused | Stage::Failed | Stage::Cancelled
        );
        let wish = self.wish.clone().filter(|_| !was_told);
        let picture = self.picture.clone().filter(|_| settlement == Settlement::Captured);
        let viewer = self.viewer.clone();
        Ok(Some(Event::Settled { entry, points, settlement, viewer, wish, picture }))
    }

    fn completed(&self, entry: Uuid, picture: Option<Picture>) -> Event {
        Event::Completed { entry, viewer: self.viewer.clone(), picture }
    }

    /// What follows from `event` at once: for what is ready-made there is nothing to wait for once it is funded.
    fn at_once(&self, event: &Event) -> Option<Event> {
        match (event, &self.wish) {
            (Event::Funded { entry }, Some(Wish::Static { .. })) => {
                Some(self.completed(*entry, None))
            }
            _ => None,
        }
    }

    fn asked(&self) -> Option<Asked> {
        let (viewer, style) = (self.viewer.clone(), self.wish.as_ref()?.style().to_owned());
        Some(Asked { viewer, style, price: self.price })
    }

    fn require_funded(&self) -> Result<(), Rejection> {
        match self.stage {
            Stage::Funded => Ok(()),
            Stage::Unknown | Stage::Submitted => Err(Rejection::NotFunded),
            // What is presented is made.
            _ => Err(Rejection::Ended),
        }
    }

    fn require_presented(&self) -> Result<(), Rejection> {
        match self.stage {
            Stage::Presented => Ok(()),
            stage if stage.ended() => Err(Rejection::Ended),
            _ => Err(Rejection::NotPresented),
        }
    }
}

impl Aggregate for Generation {
    const TYPE: &'static str = "generation";
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
        let Some(event) = self.decide(command)? else { return Ok(()) };
        let next = self.at_once(&event);
        sink.write(event, self).await;
        if let Some(next) = next {
            sink.write(next, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.recent.push(event.entry(), ());
        match event {
            Event::Submitted { viewer, wish, price, .. } => {
                self.stage = Stage::Submitted;
                self.viewer = viewer;
                self.wish = Some(wish);
                self.price = price;
            }
            Event::TurnedDown { viewer, .. } => {
                self.stage = Stage::TurnedDown;
                self.viewer = viewer;
            }
            Event::Funded { .. } => self.stage = Stage::Funded,
            Event::FundedInVain { .. } => {}
            Event::Declined { .. } => self.stage = Stage::Declined,
            Event::AttemptFailed { attempt, .. } => self.attempts = attempt,
            Event::Completed { picture, .. } => {
                self.stage = Stage::Completed;
                self.picture = picture;
            }
            Event::Presented { picture, .. } => {
                self.stage = Stage::Presented;
                self.picture = Some(picture);
            }
            Event::Approved { .. } => self.stage = Stage::Completed,
            Event::Rejected { .. } => self.stage = Stage::Rejected,
            Event::Refused { .. } => self.stage = Stage::Refused,
            Event::Failed { .. } => self.stage = Stage::Failed,
            Event::Cancelled { .. } => self.stage = Stage::Cancelled,
            Event::Settled { .. } => self.stage = Stage::Settled,
        }
    }
}

#[cfg(test)]
mod tests;
