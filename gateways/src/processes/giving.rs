//! The process `giving`: points that one viewer gives to another. What follows from what is decided in
//! `domain::giving`.

use cqrs_es::Aggregate;
use domain::account::{self, Account};
use domain::chat::{self, Chat};
use domain::giving;
use journal::{Content, Envelope, Process, Recorded, Unanswered};

/// The process's name, to wait for its position under.
pub const NAME: &str = "giving";

/// No rule makes points of a gift.
const NO_RULES: u32 = 0;

/// The process `giving`.
pub struct Giving;

impl Process for Giving {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        match (event.aggregate_type, event.event_type) {
            (Account::TYPE, "credited") => event.payload.contains("gift"),
            (Account::TYPE, kind) => matches!(kind, "held" | "declined"),
            (Chat::TYPE, "asked") => event.payload.contains("give"),
            _ => false,
        }
    }

    fn react(&self, event: &Recorded) -> Result<Vec<Envelope>, Unanswered> {
        let next = if event.aggregate_type == Chat::TYPE {
            let read: chat::Event = event.event()?;
            giving::after_chat(&read, event.event_id, event.recorded_at)
        } else {
            let read: account::Event = event.event()?;
            giving::after(&event.aggregate_id, &read, event.event_id, NO_RULES)
        };
        let envelope = |next: giving::Next| {
            Envelope::following::<Account>(NAME, event, &next.viewer, &next.command)
        };
        Ok(next.map(envelope).transpose()?.into_iter().collect())
    }
}
