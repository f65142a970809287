//! Publications: what is said of events to programs of others, in a stream of its own and in their words.
//!
//! A publication follows the journal from its own stored position, as a process does, and says each thing once. What
//! follows from a batch of events is appended as one atomic batch that names the sequence it must follow, with the
//! event's position beside every message; then position and sequence are stored together. Whoever finds more in the
//! stream than was stored died in between, and reads in its last message how far it had come. A window of message ids
//! would forget that after minutes; the expected sequence never does, and two publishers at once are harmless.

use std::sync::Arc;

use anyhow::Context;
use async_nats::HeaderMap;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::batch::{Append, BATCH_MAX, append};
use crate::broker::{Broker, Role};
use crate::following::{Follower, keep_following};
use crate::history;
use crate::leader::{self, Lock};
use crate::recorded::{Content, Recorded};
use crate::retry::DATABASE_LIMIT;

/// The headers that name the event of a message.
pub const POSITION: &str = "Tapedeck-Position";
pub const EVENT_ID: &str = "Tapedeck-Event-Id";

/// The most bytes in one batch.
const BATCH_BYTES_MAX: usize = 2_000_000;

/// What is said of events, and where.
pub trait Publication: Send + Sync + 'static {
    /// The name of its position.
    fn name(&self) -> &'static str;

    /// The stream it says it in, which nobody else writes to.
    fn stream(&self) -> &'static str;

    /// How long what is said is kept. What has become older than this before it could be said, because nobody ran it,
    /// is left unsaid: nobody wants to hear of last month what it was to hear at once.
    fn kept(&self) -> TimeDelta;

    /// Whether something may be said of `event`; others are not passed to [`say`](Publication::say). A glance, not a
    /// reading: every event passes here.
    fn wants(&self, event: &Content<'_>) -> bool;

    /// What is said of `events`, in their order. An error is for what passes: it is asked again. What can never be said
    /// is left out, and logged.
    fn say<'a>(&'a self, events: &'a [&'a Recorded]) -> BoxFuture<'a, anyhow::Result<Vec<Said>>>;
}

/// A message, and the event it is said of.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub position: i64,
    pub event_id: Uuid,
    pub subject: &'static str,
    pub payload: Bytes,
}

/// Gives a publication that never ran a position, the head of this moment: it says what is recorded from now on. Called
/// before anything is taken in, so that no event falls between.
pub async fn register(pool: &PgPool, name: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO publications (name, position, sequence)
         SELECT $1, position, 0 FROM head ON CONFLICT (name) DO NOTHING",
    )
    .bind(name)
    .execute(pool)
    .await?;
    Ok(())
}

/// Publishes until told to stop. Any number of processes may run this: one publishes, others wait.
pub fn run(
    pool: PgPool,
    broker: Broker,
    publication: Arc<dyn Publication>,
    stop: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        register(&pool, publication.name()).await?;
        let speaker = Speaker { pool: pool.clone(), broker: broker.clone(), publication };
        keep_following(pool, broker, speaker, stop).await;
        Ok(())
    })
}

struct Speaker {
    pool: PgPool,
    broker: Broker,
    publication: Arc<dyn Publication>,
}

/// A publication that is ours: the connection that holds its lock, and how far it is.
struct Speaking {
    connection: PgConnection,
    client: async_nats::Client,
    position: i64,
    /// The last of the stream.
    sequence: i64,
}

#[async_trait]
impl Follower for Speaker {
    type Held = Speaking;

    fn name(&self) -> String {
        format!("publication {}", self.publication.name())
    }

    fn waiting(&self) -> watch::Receiver<usize> {
        self.broker.positions().waiting(self.publication.name())
    }

    async fn open(&self) -> anyhow::Result<Speaking> {
        let name = self.publication.name();
        let mut connection = leader::wait(&self.pool, Lock::Publication(name)).await?;
        // A dump from before its first run has no row of it.
        register(&self.pool, name).await?;
        let client = self.broker.client(Role::Compatibility).await?;
        let (position, sequence) = self.found(&mut connection).await?;
        Ok(Speaking { connection, client, position, sequence })
    }

    fn wants(&self, event: &Recorded) -> bool {
        self.publication.wants(&event.content())
    }

    fn position(&self, speaking: &Speaking) -> i64 {
        speaking.position
    }

    async fn take(
        &self,
        speaking: &mut Speaking,
        events: &[&Recorded],
        until: i64,
    ) -> anyhow::Result<()> {
        let wanted: Vec<&Recorded> =
            events.iter().copied().filter(|event| self.wants(event)).collect();
        let said = match wanted.is_empty() {
            true => Vec::new(),
            false => self.publication.say(&wanted).await?,
        };
        for part in parts(&said) {
            let messages = part.iter().map(message).collect();
            let after = Some(speaking.sequence);
            let last = append(&speaking.client, messages, after, None).await?;
            speaking.sequence = i64::try_from(last)?;
        }
        let stored = self.store(speaking, until);
        tokio::time::timeout(DATABASE_LIMIT, stored).await??;
        speaking.position = until;
        Ok(())
    }

    /// Sees whether history was cut back, as by a restored dump.
    async fn look(&self, speaking: &mut Speaking) -> anyhow::Result<()> {
        let stored = stored(&mut speaking.connection, self.publication.name());
        let (stored, ..) = tokio::time::timeout(DATABASE_LIMIT, stored).await??;
        let position = speaking.position;
        anyhow::ensure!(stored == position, "its position is {stored} and was {position}");
        Ok(())
    }
}

impl Speaker {
    /// Where it goes on, in the journal and in the stream.
    async fn found(&self, connection: &mut PgConnection) -> anyhow::Result<(i64, i64)> {
        let (name, stream) = (self.publication.name(), self.publication.stream());
        let jetstream = self.broker.jetstream(Role::Compatibility).await?;
        let found = jetstream.get_stream(stream).await.with_context(|| {
            format!("{stream} cannot be read; `tapedeck streams apply` makes it")
        })?;
        let info = found.cached_info();
        let (created, last) = (info.created.to_string(), info.state.last_sequence);
        let (mut position, sequence, of) = stored(connection, name).await?;
        let last_stored = i64::try_from(last)?;
        if of.as_ref() == Some(&created) && last_stored > sequence {
            // It died before it stored what it had said.
            match found.get_raw_message(last).await {
                Ok(message) => match self.event_of(&message).await? {
                    Some(said) => position = position.max(said),
                    None => tracing::warn!(name, last, "the stream has what history has not"),
                },
                // It is older than what the stream keeps: it may be said again.
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let stale = history::position_at(&self.pool, Utc::now() - self.publication.kept()).await?;
        if stale > position {
            tracing::warn!(name, from = position, to = stale, "too old to be said any more");
            position = stale;
        }
        sqlx::query(
            "UPDATE publications SET position = $2, sequence = $3, stream_created_at = $4
             WHERE name = $1",
        )
        .bind(name)
        .bind(position)
        .bind(last_stored)
        .bind(created)
        .execute(connection)
        .await?;
        Ok((position, last_stored))
    }

    /// The position of the event that a message was said of, where history has this event there.
    async fn event_of(&self, message: &StreamMessage) -> anyhow::Result<Option<i64>> {
        let header = |name| message.headers.get(name).map(|value| value.as_str().to_owned());
        let position: Option<i64> = header(POSITION).and_then(|text| text.parse().ok());
        let id: Option<Uuid> = header(EVENT_ID).and_then(|text| text.parse().ok());
        let (Some(position), Some(id)) = (position, id) else { return Ok(None) };
        let known: Option<Uuid> =
            sqlx::query_scalar("SELECT event_id FROM events WHERE position = $1")
                .bind(position)
                .fetch_optional(&self.pool)
                .await?;
        Ok((known == Some(id)).then_some(position))
    }

    /// Moves position and sequence, only from where the position was.
    async fn store(&self, speaking: &mut Speaking, until: i64) -> anyhow::Result<()> {
        let name = self.publication.name();
        let moved = sqlx::query(
            "UPDATE publications SET position = $3, sequence = $4, updated_at = clock_timestamp()
             WHERE name = $1 AND position = $2",
        )
        .bind(name)
        .bind(speaking.position)
        .bind(until)
        .bind(speaking.sequence)
        .execute(&mut speaking.connection)
        .await?;
        anyhow::ensure!(moved.rows_affected() == 1, "its position was moved by somebody else");
        metrics::gauge!("tapedeck_publication_position", "publication" => name).set(until as f64);
        Ok(())
    }
}

async fn stored(
    connection: &mut PgConnection,
    name: &str,
) -> sqlx::Result<(i64, i64, Option<String>)> {
    sqlx::query_as("SELECT position, sequence, stream_created_at FROM publications WHERE name = $1")
        .bind(name)
        .fetch_one(connection)
        .await
}

fn message(said: &Said) -> Append {
    let mut headers = HeaderMap::new();
    headers.insert(POSITION, said.position.to_string());
    headers.insert(EVENT_ID, said.event_id.to_string());
    Append { subject: said.subject.to_owned(), payload: said.payload.clone(), headers }
}

/// What goes together: as much as one batch takes, and never a part of what is said of one event.
fn parts(said: &[Said]) -> Vec<&[Said]> {
    let mut parts = Vec::new();
    let mut rest = said;
    while !rest.is_empty() {
        let (mut count, mut bytes) = (0, 0);
        for of_event in rest.chunk_by(|one, next| one.position == next.position) {
            let size: usize = of_event.iter().map(|said| said.payload.len()).sum();
            let full = count + of_event.len() > BATCH_MAX || bytes + size > BATCH_BYTES_MAX;
            if count > 0 && full {
                break;
            }
            count += of_event.len();
            bytes += size;
        }
        let (part, after) = rest.split_at(count);
        parts.push(part);
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(position: i64, bytes: usize) -> Said {
        let payload = Bytes::from(vec![b'x'; bytes]);
        Said { position, event_id: Uuid::nil(), subject: "broadcast-events", payload }
    }

    #[test]
    fn what_is_said_of_one_event_is_said_together() {
        let many: Vec<Said> = (0..1_500).map(|n| said(n / 3, 10)).collect();
        let lengths: Vec<usize> = parts(&many).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [999, 501]);
        let large = [said(1, 1_500_000), said(1, 10), said(2, 1_500_000), said(3, 10)];
        let lengths: Vec<usize> = parts(&large).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 2]);
        assert!(parts(&[]).is_empty());
    }
}
