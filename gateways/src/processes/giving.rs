//! The process `giving`: points that one viewer gives to another. What follows from what is decided in
//! `domain::giving`.

use cqrs_es::Aggregate;
use domain::account::{self, Account};
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
        event.aggregate_type == Account::TYPE
            && match event.event_type {
                "credited" => event.payload.contains("gift"),
                kind => matches!(kind, "held" | "declined"),
            }
    }

    fn react(&self, event: &Recorded) -> Result<Vec<Envelope>, Unanswered> {
        let read: account::Event = event.event()?;
        let next = giving::after(&event.aggregate_id, &read, event.event_id, NO_RULES);
        let envelope = |next: giving::Next| {
            Envelope::following::<Account>(NAME, event, &next.viewer, &next.command)
        };
        Ok(next.map(envelope).transpose()?.into_iter().collect())
    }
}
