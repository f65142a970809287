//! What could not be decided, folded or answered by a process, kept with all that is needed to try again.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use thiserror::Error;
use uuid::Uuid;

use crate::command::Envelope;
use crate::ingest::{PublishError, Publisher};

#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct DeadLetter {
    pub id: i64,
    /// `command`, `projection` or `process`.
    pub source: String,
    /// The aggregate type, the projection or the process.
    pub name: String,
    pub key: String,
    pub command_id: Option<Uuid>,
    /// The sequence in COMMANDS, or the position of the event.
    pub position: i64,
    pub reason: String,
    #[serde(skip)]
    pub payload: Vec<u8>,
    pub at: DateTime<Utc>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub resolution: Option<String>,
}

impl DeadLetter {
    /// The command as it was sent, if it reads as one.
    pub fn envelope(&self) -> Option<Envelope> {
        if self.source == "command" { serde_json::from_slice(&self.payload).ok() } else { None }
    }
}

#[derive(Debug, Error)]
pub enum RetryError {
    #[error("there is no dead letter {0}")]
    NotFound(i64),
    #[error("dead letter {0} was resolved before")]
    Resolved(i64),
    #[error("what was kept is not a command that could be sent again; see `tapedeck dead show`")]
    NotACommand,
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The newest first, `limit` of those before the id `before`.
pub async fn list(
    pool: &PgPool,
    open_only: bool,
    limit: i64,
    before: Option<i64>,
) -> sqlx::Result<Vec<DeadLetter>> {
    sqlx::query_as(
        "SELECT * FROM dead_letters WHERE (NOT $1 OR resolved_at IS NULL) AND id < COALESCE($2, 9223372036854775807)
         ORDER BY id DESC LIMIT $3",
    )
    .bind(open_only)
    .bind(before)
    .bind(limit)
    .fetch_all(pool)
    .await
}

pub async fn find(pool: &PgPool, id: i64) -> sqlx::Result<Option<DeadLetter>> {
    sqlx::query_as("SELECT * FROM dead_letters WHERE id = $1").bind(id).fetch_optional(pool).await
}

/// Tries again. A command is sent again as it was, or as `instead` where a newer version reads it differently; an
/// event is folded where the projection is, with those of its key that wait behind it, or answered where the process runs.
pub async fn retry(
    pool: &PgPool,
    publisher: &Publisher,
    id: i64,
    instead: Option<Vec<Envelope>>,
) -> Result<DeadLetter, RetryError> {
    let letter = find(pool, id).await?.ok_or(RetryError::NotFound(id))?;
    if letter.resolved_at.is_some() {
        return Err(RetryError::Resolved(id));
    }
    if letter.source == "projection" {
        sqlx::query(
            "UPDATE dead_letters SET resolution = 'retry'
             WHERE source = 'projection' AND name = $1 AND key = $2 AND resolved_at IS NULL",
        )
        .bind(&letter.name)
        .bind(&letter.key)
        .execute(pool)
        .await?;
        return Ok(letter);
    }
    if letter.source == "process" {
        sqlx::query(
            "UPDATE dead_letters SET resolution = 'retry' WHERE id = $1 AND resolved_at IS NULL",
        )
        .bind(id)
        .execute(pool)
        .await?;
        return Ok(letter);
    }
    let envelopes = instead.or_else(|| letter.envelope().map(|envelope| vec![envelope]));
    for mut envelope in envelopes.ok_or(RetryError::NotACommand)? {
        envelope.retry_of = Some(id);
        envelope.reply_to = None;
        publisher.send(&envelope).await?;
    }
    Ok(letter)
}

/// Keeps, once, that the commands from `from` to before `until` are not in COMMANDS any more.
pub(crate) async fn note_missing(
    pool: &PgPool,
    from: i64,
    until: i64,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO dead_letters (source, name, key, position, reason, payload)
         SELECT 'command', 'missing', $1, $2, $3, ''
         WHERE NOT EXISTS (SELECT FROM dead_letters WHERE source = 'command' AND name = 'missing' AND key = $1)",
    )
    .bind(format!("before {until}"))
    .bind(from)
    .bind(reason)
    .execute(pool)
    .await?;
    Ok(())
}
