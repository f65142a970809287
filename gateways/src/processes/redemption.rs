//! The process `redemption`: from what a viewer asked for to the points it took. What follows from what is decided in
//! `domain::redemption`, and what was on at the event is stamped on the request.

use std::sync::{Mutex, PoisonError};

use cqrs_es::Aggregate;
use domain::account::{self, Account};
use domain::broadcast::{self, Broadcast, MOVES};
use domain::chat::{self, Chat};
use domain::chat_request::Prices;
use domain::generation::{self, Generation};
use domain::redemption::{Next, after_account, after_chat, after_generation};
use futures::future::BoxFuture;
use journal::{Content, Envelope, Process, Recorded, Unanswered};
use serde::de::Error as _;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use super::on_air::Timeline;

/// The process's name, to wait for its position under.
pub const NAME: &str = "redemption";

/// The process `redemption`, at the prices of the moment.
pub struct Redemption {
    prices: watch::Receiver<Prices>,
    /// From the history before the position that it began at, and from every event since: what was on at an event is
    /// known exactly, and the same whenever it is asked.
    on_air: Mutex<Timeline>,
}

impl Redemption {
    pub fn new(prices: watch::Receiver<Prices>) -> Self {
        Redemption { prices, on_air: Mutex::default() }
    }
}

impl Process for Redemption {
    fn name(&self) -> &'static str {
        NAME
    }

    fn begin<'a>(&'a self, pool: &'a PgPool, position: i64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async move {
            let timeline = Timeline::until(pool, position).await?;
            *self.on_air.lock().unwrap_or_else(PoisonError::into_inner) = timeline;
            Ok(())
        })
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        match (event.aggregate_type, event.event_type) {
            (Broadcast::TYPE, kind) => MOVES.contains(&kind),
            (Account::TYPE, "credited") => event.payload.contains("cheer"),
            (Account::TYPE, kind) => kind != "reversed",
            (Chat::TYPE, "asked") => event.payload.contains("wish"),
            (aggregate, _) => aggregate == Generation::TYPE,
        }
    }

    fn react(&self, event: &Recorded) -> Result<Vec<Envelope>, Unanswered> {
        let id = &event.aggregate_id;
        let mut on_air = self.on_air.lock().unwrap_or_else(PoisonError::into_inner);
        let (cause, at) = (event.event_id, event.recorded_at);
        let next = match event.aggregate_type.as_str() {
            Broadcast::TYPE => {
                let read: broadcast::Event = event.event()?;
                on_air.add(event.position, id, &read);
                None
            }
            Account::TYPE => {
                let read: account::Event = event.event()?;
                after_account(id, &read, cause, at, &self.prices.borrow())
            }
            Chat::TYPE => {
                let read: chat::Event = event.event()?;
                after_chat(&read, cause, at)
            }
            _ => {
                let read: generation::Event = event.event()?;
                let request = id.parse::<Uuid>().map_err(serde_json::Error::custom)?;
                after_generation(request, &read, cause)
            }
        };
        next.map(|next| addressed(event, &next.stamped(on_air.at(event.position))))
            .transpose()
            .map(|envelope| envelope.into_iter().collect())
    }
}

fn addressed(event: &Recorded, next: &Next) -> Result<Envelope, Unanswered> {
    Ok(match next {
        Next::Account { viewer, command } => {
            Envelope::following::<Account>(NAME, event, viewer, command)?
        }
        Next::Generation { request, command } => {
            Envelope::following::<Generation>(NAME, event, &request.to_string(), command)?
        }
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use domain::account::Facts;
    use domain::identity::derived_id;
    use serde_json::value::RawValue;

    use super::*;

    fn recorded(aggregate: (&str, &str), kind: &str, payload: &serde_json::Value) -> Recorded {
        let metadata =
            r#"{"correlation":"00000000-0000-0000-0000-00000000000c","source":"eventsub"}"#;
        Recorded {
            position: 7,
            aggregate_type: aggregate.0.to_owned(),
            aggregate_id: aggregate.1.to_owned(),
            sequence: 1,
            event_type: kind.to_owned(),
            event_version: "1.0".to_owned(),
            event_id: Uuid::from_u128(0xe),
            command_id: Uuid::from_u128(0xd),
            recorded_at: DateTime::from_timestamp(1_750_000_000, 0).expect("a time"),
            payload: RawValue::from_string(payload.to_string()).expect("JSON"),
            metadata: RawValue::from_string(metadata.to_owned()).expect("JSON"),
            hash: [0; 32],
        }
    }

    fn cheer(message: &str) -> Recorded {
        let facts = Facts::Cheer { bits: 200, message: message.to_owned() };
        let entry = Uuid::from_u128(0xd);
        let event = account::Event::Credited { entry, points: 200, rules: 1, facts };
        recorded((Account::TYPE, "5001"), "credited", &serde_json::to_value(event).expect("JSON"))
    }

    #[test]
    fn a_command_carries_on_what_its_event_belongs_to_under_an_id_derived_from_it() {
        let process = Redemption::new(watch::Sender::new(Prices::default()).subscribe());
        let event = cheer("Cheer200 ghost of a toaster");
        let [first, again] = [process.react(&event), process.react(&event)]
            .map(|reacted| reacted.expect("answered").pop().expect("a command"));
        assert_eq!(first.id, derived_id(event.event_id, 0));
        assert_eq!(first.correlation, Uuid::from_u128(0xc));
        assert_eq!(first.causation, Some(event.event_id));
        assert_eq!((first.origin.source.as_str(), &first.origin.actor), (NAME, &None));
        let json = |envelope: &Envelope| serde_json::to_string(envelope).expect("JSON");
        assert_eq!(json(&first), json(&again), "seen twice");
    }

    #[test]
    fn the_prices_of_the_moment_are_asked_and_what_has_none_is_turned_down() {
        let prices = watch::Sender::new(Prices::default());
        let process = Redemption::new(prices.subscribe());
        let event = cheer("Cheer200 ghost of a toaster");
        assert_eq!(process.react(&event).expect("answered").len(), 1);
        prices.send_modify(|prices| prices.points.extend([("ghost".to_owned(), 201)]));
        let turned_down = |why: &str| {
            let next = process.react(&event).expect("answered").pop().expect("a command");
            let command = next.command.get();
            assert!(command.contains("turn_down") && command.contains(why), "{command}");
        };
        turned_down("wrong_amount");
        prices.send_modify(|prices| prices.points.clear());
        turned_down("not_offered");
    }

    fn moved(position: i64, event: &broadcast::Event) -> Recorded {
        let json = serde_json::to_value(event).expect("JSON");
        let kind = json.as_object().and_then(|keys| keys.keys().next()).expect("a key").clone();
        Recorded { position, ..recorded((Broadcast::TYPE, "1000"), &kind, &json) }
    }

    #[test]
    fn a_request_carries_what_was_on_at_its_event_however_late_it_is_answered() {
        let process = Redemption::new(watch::Sender::new(Prices::default()).subscribe());
        let at = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let tape = || "88".to_owned();
        let screening = broadcast::Screening { id: Uuid::nil(), tape: tape(), started_at: at };
        let started = broadcast::Event::Started { broadcast: 3, live_id: "l".to_owned(), at };
        let playing = broadcast::Event::ScreeningStarted { broadcast: 3, screening, card: None };
        let ended = broadcast::Event::Ended { broadcast: 3, at, screening: None };
        for event in [moved(4, &started), moved(6, &playing), moved(9, &ended)] {
            assert!(process.wants(&event.content()));
            assert!(process.react(&event).expect("answered").is_empty(), "nothing follows");
        }
        let stamped = |position| {
            let event = Recorded { position, ..cheer("Cheer200 ghost of a toaster") };
            let envelope = process.react(&event).expect("answered").pop().expect("a command");
            match serde_json::from_str(envelope.command.get()).expect("a command") {
                generation::Command::Submit { state, .. } => state,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(stamped(3), None);
        assert_eq!(stamped(5).map(|on_air| (on_air.broadcast, on_air.tape)), Some((3, None)));
        assert_eq!(stamped(8).map(|on_air| on_air.tape), Some(Some(tape())));
        assert_eq!(stamped(10), None);
    }

    #[test]
    fn an_event_that_does_not_read_is_not_answered() {
        let process = Redemption::new(watch::Sender::new(Prices::default()).subscribe());
        let odd = recorded((Account::TYPE, "5001"), "credited", &serde_json::json!({"odd": 1}));
        assert!(matches!(process.react(&odd), Err(Unanswered::Unreadable(_))));
        let funded = serde_json::json!({"funded": {"entry": Uuid::nil()}});
        let nameless = recorded((Generation::TYPE, "no-uuid"), "funded", &funded);
        assert!(matches!(process.react(&nameless), Err(Unanswered::Unreadable(_))));
    }
}
