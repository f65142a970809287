//! Events made by hand, with the links they would have, for the tests of the checks.

use domain::account::{Event, Facts};
use domain::identity::derived_id;
use journal::recorded::GENESIS;
use journal::{Content, Hash};
use uuid::Uuid;

/// An event that owns its texts, so that a test can change any of them.
#[derive(Clone, Debug)]
pub struct Made {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_id: Uuid,
    pub command_id: Uuid,
    pub recorded_at: i64,
    pub payload: String,
    pub hash: Hash,
}

impl Made {
    /// The event of `account`, linked to `previous`. The command's id is the entry.
    pub fn account(
        account: &str,
        position: i64,
        sequence: i64,
        event: &Event,
        previous: &Hash,
    ) -> Self {
        let command_id = entry_of(event);
        let mut made = Made {
            position,
            aggregate_type: "account".to_owned(),
            aggregate_id: account.to_owned(),
            sequence,
            event_type: cqrs_es::DomainEvent::event_type(event),
            event_id: derived_id(command_id, 0),
            command_id,
            recorded_at: 1_700_000_000_000_000 + position * 1_000,
            payload: serde_json::to_string(event).expect("JSON"),
            hash: GENESIS,
        };
        made.hash = made.content().link(previous);
        made
    }

    pub fn credited(
        account: &str,
        position: i64,
        sequence: i64,
        points: i64,
        previous: &Hash,
    ) -> Self {
        let facts = Facts::Cheer { bits: points, message: format!("cheer {points}") };
        let event = Event::Credited { entry: entry(position), points, rules: 1, facts };
        Self::account(account, position, sequence, &event, previous)
    }

    pub fn content(&self) -> Content<'_> {
        Content {
            position: self.position,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: "1.0",
            event_id: self.event_id,
            command_id: self.command_id,
            recorded_at: self.recorded_at,
            payload: &self.payload,
            metadata: "{}",
        }
    }
}

/// `count` credits of 1, 2, 3 … points to account 5001.
pub fn history(count: i64) -> Vec<Made> {
    let mut previous = GENESIS;
    (1..=count)
        .map(|position| {
            let made = Made::credited("5001", position, position, position, &previous);
            previous = made.hash;
            made
        })
        .collect()
}

/// `events` of one account in order, linked.
pub fn account_history(account: &str, events: &[Event]) -> Vec<Made> {
    let mut previous = GENESIS;
    (1..)
        .zip(events)
        .map(|(position, event)| {
            let made = Made::account(account, position, position, event, &previous);
            previous = made.hash;
            made
        })
        .collect()
}

/// The entry made at a position.
pub fn entry(position: i64) -> Uuid {
    domain::entry_id("test", &position.to_string())
}

fn entry_of(event: &Event) -> Uuid {
    match event {
        Event::Credited { entry, .. }
        | Event::Held { entry, .. }
        | Event::Declined { entry, .. }
        | Event::Captured { entry, .. }
        | Event::Released { entry, .. }
        | Event::Reversed { entry, .. } => *entry,
    }
}
