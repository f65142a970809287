//! The envelope of a command: what to do to which aggregate, and where the wish came from.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;
use uuid::Uuid;

use domain::Identified;

use crate::recorded::Recorded;

/// How many partitions COMMANDS has. Fixed for the life of the journal: order is kept within a partition.
pub const PARTITIONS: u16 = 64;

/// The longest aggregate id.
const ID_LENGTH_MAX: usize = 64;

/// A command on its way to its aggregate, as JSON in COMMANDS.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Derived from the source, never drawn: the same wish twice has the same id.
    pub id: Uuid,
    pub aggregate_type: String,
    pub aggregate_id: String,
    /// The domain's command as JSON, `{"credit": {…}}`.
    pub command: Box<RawValue>,
    pub origin: Origin,
    /// What this belongs to: the first cause of everything that follows from it.
    pub correlation: Uuid,
    /// The event or command that made this one, if it was not the outside.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub causation: Option<Uuid>,
    /// W3C trace context, so that a trace crosses the broker.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// The core NATS subject on which somebody waits for the outcome.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply_to: Option<String>,
    /// The dead letter that this is another try of: only then is a command with a `dead` outcome decided again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_of: Option<i64>,
    /// Display names seen with this command; they go to an erasable table, never into an event.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub names: Vec<ViewerName>,
}

/// Where a command came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The gateway: `eventsub`, `api`, `cli`, a process name.
    pub source: String,
    /// What the source calls it: the Twitch message id, the `Idempotency-Key`.
    pub source_id: String,
    /// Who wanted it, where somebody did: the name of an API key, a moderator's id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<String>,
    pub received_at: DateTime<Utc>,
    /// What arrived, byte for byte, where it was text. Kept in COMMANDS and dead letters only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<String>,
}

/// A viewer's names as the source wrote them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewerName {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub login: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
}

/// Why something cannot be addressed to an aggregate.
#[derive(Debug, Error, PartialEq)]
pub enum BadAddress {
    #[error("an id is 1 to 64 of the characters A-Z a-z 0-9 _ -, and {0:?} is not")]
    Id(String),
    #[error("the command is not a JSON object with the one key that names it: {0}")]
    Command(String),
}

impl Envelope {
    /// An envelope for `command` to the aggregate `A` named `aggregate_id`. The id and the correlation are the
    /// command's entry.
    pub fn new<A>(
        aggregate_id: &str,
        command: &A::Command,
        origin: Origin,
    ) -> Result<Self, BadAddress>
    where
        A: cqrs_es::Aggregate,
        A::Command: Serialize + Identified,
    {
        check_id(aggregate_id)?;
        let id = command.entry();
        let command = serde_json::value::to_raw_value(command)
            .map_err(|error| BadAddress::Command(error.to_string()))?;
        Ok(Envelope {
            id,
            aggregate_type: A::TYPE.to_owned(),
            aggregate_id: aggregate_id.to_owned(),
            command,
            origin,
            correlation: id,
            causation: None,
            traceparent: None,
            reply_to: None,
            retry_of: None,
            names: Vec::new(),
        })
    }

    /// An envelope for a command that follows from `event` in the process of this name. Everything in it comes from the
    /// event, so that seeing the event again makes the same envelope; the command's own id has to be derived from the
    /// event's ([`domain::identity::derived_id`]).
    pub fn following<A>(
        process: &str,
        event: &Recorded,
        aggregate_id: &str,
        command: &A::Command,
    ) -> Result<Self, BadAddress>
    where
        A: cqrs_es::Aggregate,
        A::Command: Serialize + Identified,
    {
        /// What the event's own command left beside it.
        #[derive(Default, Deserialize)]
        struct Carried {
            correlation: Option<Uuid>,
            traceparent: Option<String>,
        }
        let carried: Carried = serde_json::from_str(event.metadata.get()).unwrap_or_default();
        let origin = Origin {
            source: process.to_owned(),
            source_id: event.event_id.to_string(),
            actor: None,
            received_at: event.recorded_at,
            raw: None,
        };
        let envelope = Envelope::new::<A>(aggregate_id, command, origin)?;
        Ok(Envelope {
            correlation: carried.correlation.unwrap_or(event.command_id),
            causation: Some(event.event_id),
            traceparent: carried.traceparent,
            ..envelope
        })
    }

    /// `cmd.<partition>.<aggregate>.<id>.<command>`.
    pub fn subject(&self) -> Result<String, BadAddress> {
        check_id(&self.aggregate_type)?;
        check_id(&self.aggregate_id)?;
        let partition = partition_of(&self.aggregate_type, &self.aggregate_id);
        let name = command_name(self.command.get())?;
        Ok(format!("cmd.{partition}.{}.{}.{name}", self.aggregate_type, self.aggregate_id))
    }
}

/// The partition of an aggregate: FNV-1a over type, a zero byte and id, modulo 64. Part of the stored format.
pub fn partition_of(aggregate_type: &str, aggregate_id: &str) -> u16 {
    let bytes = aggregate_type.bytes().chain([0]).chain(aggregate_id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ((hash ^ (hash >> 32)) % u64::from(PARTITIONS)) as u16
}

/// Ids become parts of subjects, so they are kept to characters that mean nothing there.
pub fn check_id(id: &str) -> Result<(), BadAddress> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !id.is_empty() && id.len() <= ID_LENGTH_MAX && id.bytes().all(plain) {
        return Ok(());
    }
    Err(BadAddress::Id(id.chars().take(ID_LENGTH_MAX + 1).collect()))
}

/// The key of `{"credit": …}`.
fn command_name(command: &str) -> Result<&str, BadAddress> {
    let name = command
        .trim_start()
        .strip_prefix('{')
        .and_then(|rest| rest.trim_start().strip_prefix('"'))
        .and_then(|rest| rest.split('"').next())
        .filter(|name| check_id(name).is_ok());
    name.ok_or_else(|| BadAddress::Command(command.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_never_move() {
        assert_eq!(partition_of("account", "5001"), 63);
        assert_eq!(partition_of("broadcast", "1000"), 44);
    }

    #[test]
    fn an_id_that_would_change_the_subject_is_refused() {
        for bad in ["", "a.b", "a*", ">", "a b", "ü", &"x".repeat(65)] {
            assert!(check_id(bad).is_err(), "{bad:?} was accepted");
        }
        assert_eq!(check_id("User_5001-x"), Ok(()));
    }

    #[test]
    fn a_command_is_named_by_its_one_key() {
        assert_eq!(command_name(r#" { "credit": {}}"#), Ok("credit"));
        assert!(command_name(r#"{"a.b": {}}"#).is_err());
        assert!(command_name("[]").is_err());
    }
}
