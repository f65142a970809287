//! The process `redemption`: from what a viewer asked for to the points it took.
//!
//! Pure functions from a recorded event to the commands that follow from it. Their ids are derived from the event's, so
//! that seeing an event again changes nothing; wherever the process stops, it goes on from the event it had come to.
//!
//! ```text
//! account    credited by a cheer whose message asks ─▶ generation submit, or turn down
//! chat       asked for something that takes points  ─▶ generation submit
//! generation submitted                              ─▶ account hold, under the id of the request
//! account    held, declined                         ─▶ generation fund, decline
//! generation completed, approved                    ─▶ account capture
//! generation rejected, refused, failed, cancelled   ─▶ account release
//! account    captured, released                     ─▶ generation settle
//! ```

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::account::{self, Facts};
use crate::broadcast::OnAir;
use crate::chat::{self, Request};
use crate::chat_request::{ChatRequest, Prices, Wish, in_cheer};
use crate::generation::{self, Settlement};
use crate::identity::derived_id;

/// How a hold of this process is named; nobody else may capture or release one.
pub const PURPOSE: &str = "request: ";

/// How long points may be held for a request. By then it has ended, or is ended.
pub const HELD_MAX: Duration = Duration::hours(1);

/// The id of the request that the command `entry` submits.
pub fn request_id(entry: Uuid) -> Uuid {
    derived_id(entry, 0)
}

/// A command that follows, and the aggregate it is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Account { viewer: String, command: account::Command },
    Generation { request: Uuid, command: generation::Command },
}

impl Next {
    /// The same; a request that is submitted carries what was on just then.
    #[must_use]
    pub fn stamped(mut self, on_air: Option<OnAir>) -> Self {
        if let Next::Generation { command: generation::Command::Submit { state, .. }, .. } =
            &mut self
        {
            *state = on_air;
        }
        self
    }
}

/// What follows from an event of the account of `viewer` with the id `cause`, recorded `at`.
pub fn after_account(
    viewer: &str,
    event: &account::Event,
    cause: Uuid,
    at: DateTime<Utc>,
    prices: &Prices,
) -> Option<Next> {
    use account::Event;
    use generation::Command;
    let entry = derived_id(cause, 0);
    let (request, command) = match event {
        Event::Credited { facts: Facts::Cheer { bits, message }, .. } => {
            let (asked, viewer, prices) =
                (in_cheer(message, *bits, prices)?, viewer.to_owned(), prices.version);
            let command = match asked {
                Ok(ChatRequest { wish, price }) => Command::Submit {
                    entry,
                    viewer,
                    wish,
                    price,
                    prices,
                    at,
                    retry_of: None,
                    state: None,
                },
                // The bits are credited. That nothing else comes of them is recorded, so that the viewer is told.
                Err(unclear) => Command::TurnDown { entry, viewer, unclear, prices, at },
            };
            (request_id(entry), command)
        }
        Event::Held { entry: hold, purpose, .. } if is_ours(purpose) => {
            (*hold, Command::Fund { entry })
        }
        Event::Declined { entry: hold, purpose, available, .. } if is_ours(purpose) => {
            (*hold, Command::Decline { entry, available: *available })
        }
        Event::Captured { hold, points, .. } => {
            (*hold, settle(entry, *points, Settlement::Captured))
        }
        Event::Released { hold, points, .. } => {
            (*hold, settle(entry, *points, Settlement::Released))
        }
        _ => return None,
    };
    Some(Next::Generation { request, command })
}

/// What follows from an event of the chat with the id `cause`, recorded `at`.
pub fn after_chat(event: &chat::Event, cause: Uuid, at: DateTime<Utc>) -> Option<Next> {
    let chat::Event::Asked { viewer, request: Request::Wish { wish, price, prices }, .. } = event
    else {
        return None;
    };
    let (entry, viewer, wish) = (derived_id(cause, 0), viewer.clone(), wish.clone());
    let (price, prices) = (*price, *prices);
    let command = generation::Command::Submit {
        entry,
        viewer,
        wish,
        price,
        prices,
        at,
        retry_of: None,
        state: None,
    };
    Some(Next::Generation { request: request_id(entry), command })
}

/// What follows from an event of the request `request`, with the id `cause`.
pub fn after_generation(request: Uuid, event: &generation::Event, cause: Uuid) -> Option<Next> {
    use account::Command;
    use generation::Event;
    let entry = derived_id(cause, 0);
    let release =
        |reason: &str| Command::Release { entry, hold: request, reason: reason.to_owned() };
    let (viewer, command) = match event {
        Event::Submitted { viewer, wish, price, at, .. } => {
            let (purpose, expires_at) = (purpose(wish), *at + HELD_MAX);
            (viewer, Command::Hold { entry: request, points: *price, purpose, expires_at })
        }
        Event::Completed { viewer, .. } | Event::Approved { viewer, .. } => {
            (viewer, Command::Capture { entry, hold: request })
        }
        Event::Refused { viewer, reason, .. }
        | Event::Rejected { viewer, reason, .. }
        | Event::Failed { viewer, reason, .. }
        | Event::Cancelled { viewer, reason, held: true, .. } => (viewer, release(reason)),
        Event::FundedInVain { viewer, .. } => (viewer, release("the request was cancelled")),
        Event::Cancelled { held: false, .. }
        | Event::Funded { .. }
        | Event::Declined { .. }
        | Event::TurnedDown { .. }
        | Event::AttemptFailed { .. }
        | Event::Presented { .. }
        | Event::Settled { .. } => return None,
    };
    Some(Next::Account { viewer: viewer.clone(), command })
}

/// Whether a hold with this purpose belongs to a request.
pub fn is_ours(purpose: &str) -> bool {
    purpose.starts_with(PURPOSE)
}

fn purpose(wish: &Wish) -> String {
    format!("{PURPOSE}{}", wish.style())
}

fn settle(entry: Uuid, points: i64, settlement: Settlement) -> generation::Command {
    generation::Command::Settle { entry, points, settlement }
}

#[cfg(test)]
mod tests;
