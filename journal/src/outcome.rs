//! What became of a command: decided once, stored with its events, and given again to whoever asks again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

/// The stored answer to a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub command_id: Uuid,
    pub decision: Decision,
    /// Why it was rejected or could not be decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The position of its first event; `None` where nothing had to happen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first_position: Option<i64>,
    /// How many events it made.
    pub events: i32,
    /// The types of those events, in order. Filled in replies and by [`find`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub event_types: Vec<String>,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub decided_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Accepted,
    Rejected,
    /// It could not be decided (malformed, unknown, a panic): see the dead letters.
    Dead,
}

impl Decision {
    pub fn name(self) -> &'static str {
        match self {
            Decision::Accepted => "accepted",
            Decision::Rejected => "rejected",
            Decision::Dead => "dead",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "accepted" => Decision::Accepted,
            "rejected" => Decision::Rejected,
            _ => Decision::Dead,
        }
    }
}

impl Outcome {
    /// The last position this command wrote: what a query waits for to see its effect.
    pub fn last_position(&self) -> Option<i64> {
        self.first_position.map(|first| first + i64::from(self.events) - 1)
    }
}

/// The outcome of a command, if it was decided.
pub async fn find(pool: &PgPool, command_id: Uuid) -> sqlx::Result<Option<Outcome>> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT o.command_id, o.outcome, o.reason, o.first_position, o.events, o.aggregate_type,
                o.aggregate_id, o.decided_at,
                ARRAY(SELECT e.event_type FROM events e
                      WHERE e.position >= o.first_position AND e.position < o.first_position + o.events
                      ORDER BY e.position) AS event_types
         FROM command_outcomes o WHERE o.command_id = $1",
    )
    .bind(command_id)
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Outcome::from))
}

#[derive(sqlx::FromRow)]
struct Row {
    command_id: Uuid,
    outcome: String,
    reason: Option<String>,
    first_position: Option<i64>,
    events: i32,
    aggregate_type: String,
    aggregate_id: String,
    decided_at: DateTime<Utc>,
    event_types: Vec<String>,
}

impl From<Row> for Outcome {
    fn from(row: Row) -> Self {
        Outcome {
            command_id: row.command_id,
            decision: Decision::from_name(&row.outcome),
            reason: row.reason,
            first_position: row.first_position,
            events: row.events,
            event_types: row.event_types,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            decided_at: row.decided_at,
        }
    }
}
