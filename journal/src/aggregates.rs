//! The aggregates that commands are for, behind one face: decide, apply, snapshot.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use domain::Identified;
use domain::account::Account;
use domain::broadcast::Broadcast;
use domain::chat::Chat;
use domain::chat_reply::Reply;
use domain::generation::Generation;
use domain::intake::Intake;
use domain::stage::Stage;
use domain::tape::Tape;
use futures::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::coop::unconstrained;
use uuid::Uuid;

/// What a decision gave.
pub(crate) enum Decided {
    Accepted(Vec<NewEvent>),
    Rejected(String),
    /// It cannot be decided, now or on a repetition: a dead letter. The state is as it was.
    Undecidable(String),
    /// The same, but the state is not to be used any more.
    Broken(String),
}

/// An event that is not recorded yet.
pub(crate) struct NewEvent {
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: String,
}

/// An aggregate's state in memory.
pub(crate) trait State: Send + Sync {
    /// Decides the command `id` and applies what follows from it.
    fn decide(&mut self, id: Uuid, command: &str) -> Decided;
    fn apply(&mut self, event: StoredEvent) -> Result<(), String>;
    fn snapshot(&self) -> Result<String, serde_json::Error>;
    /// The sequence of the last event that made this state.
    fn sequence(&self) -> i64;
}

/// An event as it is read to build a state.
pub(crate) struct StoredEvent {
    pub(crate) sequence: i64,
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: String,
}

/// A type of aggregate.
pub(crate) struct Kind {
    pub(crate) empty: fn() -> Box<dyn State>,
    pub(crate) restore: Restore,
    /// Raised when the shape of the state changes: older snapshots are then left unread.
    pub(crate) snapshot_version: i32,
}

/// Makes a state from a snapshot and its sequence.
type Restore = fn(&str, i64) -> Result<Box<dyn State>, String>;

/// The aggregates there are: one line each.
pub(crate) fn kinds() -> HashMap<&'static str, Kind> {
    HashMap::from([
        (Account::TYPE, kind::<Account>(1)),
        (Broadcast::TYPE, kind::<Broadcast>(1)),
        (Chat::TYPE, kind::<Chat>(1)),
        (Generation::TYPE, kind::<Generation>(2)),
        (Intake::TYPE, kind::<Intake>(1)),
        (Reply::TYPE, kind::<Reply>(1)),
        (Stage::TYPE, kind::<Stage>(1)),
        (Tape::TYPE, kind::<Tape>(1)),
    ])
}

/// The upcasters for events of older versions, by aggregate type. None are needed yet.
fn upcasters(_aggregate_type: &str) -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}

fn kind<A>(snapshot_version: i32) -> Kind
where
    A: Aggregate<Services = ()> + 'static,
    A::Command: DeserializeOwned + Identified,
{
    Kind {
        empty: || Box::new(Typed { state: A::default(), sequence: 0 }),
        restore: |snapshot, sequence| {
            let state: A = guarded(|| serde_json::from_str(snapshot))?;
            Ok(Box::new(Typed { state, sequence }))
        },
        snapshot_version,
    }
}

struct Typed<A> {
    state: A,
    sequence: i64,
}

impl<A> State for Typed<A>
where
    A: Aggregate<Services = ()>,
    A::Command: DeserializeOwned + Identified,
{
    fn decide(&mut self, id: Uuid, command: &str) -> Decided {
        let command: A::Command = match serde_json::from_str(command) {
            Ok(command) => command,
            Err(error) => {
                return Decided::Undecidable(format!("not a command of {}: {error}", A::TYPE));
            }
        };
        if command.entry() != id {
            let entry = command.entry();
            return Decided::Undecidable(format!("the envelope says {id}, the command {entry}"));
        }
        let sink = EventSink::default();
        // The sink's lock would otherwise make a long batch wait for its turn, as tokio's own locks do.
        let handled = catch_unwind(AssertUnwindSafe(|| {
            unconstrained(self.state.handle(command, &(), &sink)).now_or_never()
        }));
        let events = unconstrained(sink.collect()).now_or_never().unwrap_or_default();
        match handled {
            Ok(Some(Ok(()))) => self.accept(&events),
            // A rejection after a written event would leave a state that never was.
            Ok(Some(Err(error))) if events.is_empty() => Decided::Rejected(error.to_string()),
            Ok(Some(Err(error))) => Decided::Broken(format!("rejected half-way: {error}")),
            Ok(None) => Decided::Broken("the aggregate waited for something".to_owned()),
            Err(panic) => Decided::Broken(format!("panicked: {}", panic_text(&*panic))),
        }
    }

    fn apply(&mut self, event: StoredEvent) -> Result<(), String> {
        let event = upcast(A::TYPE, event)?;
        guarded(|| serde_json::from_str(&event.payload).map(|typed| self.state.apply(typed)))?;
        self.sequence = event.sequence;
        Ok(())
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&self.state)
    }

    fn sequence(&self) -> i64 {
        self.sequence
    }
}

impl<A: Aggregate> Typed<A> {
    fn accept(&mut self, events: &[A::Event]) -> Decided {
        let new: Result<Vec<NewEvent>, _> = events.iter().map(new_event).collect();
        match new {
            Ok(new) => {
                self.sequence += i64::try_from(new.len()).unwrap_or(0);
                Decided::Accepted(new)
            }
            Err(error) => Decided::Broken(format!("its event cannot be written: {error}")),
        }
    }
}

fn new_event<E: DomainEvent + Serialize>(event: &E) -> Result<NewEvent, serde_json::Error> {
    Ok(NewEvent {
        event_type: event.event_type(),
        event_version: event.event_version(),
        payload: serde_json::to_string(event)?,
    })
}

/// Brings an event of an older version to today's shape.
fn upcast(aggregate_type: &str, event: StoredEvent) -> Result<StoredEvent, String> {
    let upcasters = upcasters(aggregate_type);
    if !upcasters.iter().any(|u| u.can_upcast(&event.event_type, &event.event_version)) {
        return Ok(event);
    }
    let mut serialized = SerializedEvent::new(
        String::new(),
        usize::try_from(event.sequence).unwrap_or_default(),
        aggregate_type.to_owned(),
        event.event_type,
        event.event_version,
        serde_json::from_str(&event.payload).map_err(|error| error.to_string())?,
        serde_json::Value::Null,
    );
    for upcaster in &upcasters {
        if upcaster.can_upcast(&serialized.event_type, &serialized.event_version) {
            serialized = upcaster.upcast(serialized);
        }
    }
    Ok(StoredEvent {
        sequence: event.sequence,
        event_type: serialized.event_type,
        event_version: serialized.event_version,
        payload: serialized.payload.to_string(),
    })
}

/// What is stored may be read and make no sense all the same, as an amount that overflows. Then nobody uses the state.
fn guarded<T>(read: impl FnOnce() -> Result<T, serde_json::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("panicked: {}", panic_text(&*panic))),
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}
