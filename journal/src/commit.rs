//! One transaction for one batch: the cursors first, as the fence; then what was noted; last the head, the events and
//! the outcomes.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;
use uuid::Uuid;

use domain::identity::derived_id;

use crate::command::ViewerName;
use crate::crash;
use crate::decide::Ruling;
use crate::head::{self, Head};
use crate::inbox::Incoming;
use crate::outcome::{Decision, Outcome};
use crate::partitions::{Move, advance};
use crate::recorded::Recorded;

mod record;

/// A decided batch, ready to be recorded.
pub(crate) struct Batch<'a> {
    pub(crate) owner: Uuid,
    pub(crate) moves: &'a [Move],
    pub(crate) incoming: &'a [Incoming],
    pub(crate) rulings: &'a [Ruling],
    pub(crate) snapshots: &'a [Snapshot],
}

pub(crate) struct Snapshot {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) last_sequence: i64,
    pub(crate) schema_version: i32,
    pub(crate) payload: String,
}

/// What a commit recorded.
pub(crate) struct Committed {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) events: Vec<Recorded>,
}

#[derive(Debug, Error)]
pub(crate) enum CommitError {
    /// Another process owns a partition now. Nothing was recorded.
    #[error("a partition is owned by another process now")]
    LeaseLost,
    /// A command of the batch has an outcome already. Nothing was recorded.
    #[error("a command was decided before")]
    Known,
    /// Nothing was recorded.
    #[error(transparent)]
    Failed(sqlx::Error),
    /// The connection broke at COMMIT: it may have been recorded. The cursor tells.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(sqlx::Error),
}

impl CommitError {
    /// Whether the same rows would be refused again: the data is wrong, not the database.
    pub(crate) fn is_about_the_data(&self) -> bool {
        let CommitError::Failed(sqlx::Error::Database(error)) = self else { return false };
        error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
    }
}

impl From<sqlx::Error> for CommitError {
    fn from(error: sqlx::Error) -> Self {
        CommitError::Failed(error)
    }
}

pub(crate) async fn commit(pool: &PgPool, batch: &Batch<'_>) -> Result<Committed, CommitError> {
    crash::point("commit.decided");
    let mut tx = pool.begin().await?;
    crash::point("commit.begun");
    if advance(&mut tx, batch.owner, batch.moves).await? != batch.moves.len() as u64 {
        return Err(CommitError::LeaseLost);
    }
    crash::point("commit.fenced");
    note_names(&mut tx, batch).await?;
    crash::point("commit.named");
    note_snapshots(&mut tx, batch.snapshots).await?;
    crash::point("commit.snapped");
    note_dead(&mut tx, batch).await?;
    crash::point("commit.noted");
    let (head, now) = head::lock(&mut tx).await?;
    crash::point("commit.locked");
    let committed = number(batch, &head, now)?;
    record::record(&mut tx, batch, &committed, now).await?;
    crash::point("commit.recorded");
    tx.commit().await.map_err(CommitError::Unknown)?;
    crash::point("commit.committed");
    Ok(committed)
}

/// Gives every event its position, its time and its link of the chain.
fn number(batch: &Batch<'_>, head: &Head, now: DateTime<Utc>) -> Result<Committed, CommitError> {
    let now = DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now);
    let mut position = head.position;
    let mut hash = head.hash;
    let mut committed =
        Committed { outcomes: Vec::with_capacity(batch.rulings.len()), events: Vec::new() };
    for ruling in batch.rulings {
        let first = position + 1;
        for (n, event) in ruling.events.iter().enumerate() {
            position += 1;
            let mut recorded = Recorded {
                position,
                aggregate_type: ruling.key.0.clone(),
                aggregate_id: ruling.key.1.clone(),
                sequence: ruling.first_sequence + n as i64,
                event_type: event.event_type.clone(),
                event_version: event.event_version.clone(),
                event_id: derived_id(ruling.id, n as u32),
                command_id: ruling.id,
                recorded_at: now,
                payload: raw(&event.payload)?,
                metadata: raw(&ruling.metadata)?,
                hash,
            };
            hash = recorded.content().link(&hash);
            recorded.hash = hash;
            committed.events.push(recorded);
        }
        committed.outcomes.push(Outcome {
            command_id: ruling.id,
            decision: ruling.decision,
            reason: ruling.reason.clone(),
            first_position: (!ruling.events.is_empty()).then_some(first),
            events: ruling.events.len() as i32,
            event_types: ruling.events.iter().map(|event| event.event_type.clone()).collect(),
            aggregate_type: ruling.key.0.clone(),
            aggregate_id: ruling.key.1.clone(),
            decided_at: now,
        });
    }
    Ok(committed)
}

fn raw(json: &str) -> Result<Box<RawValue>, CommitError> {
    RawValue::from_string(json.to_owned())
        .map_err(|error| CommitError::Failed(sqlx::Error::Encode(Box::new(error))))
}

/// The newest name of each viewer who was not erased, in the order of their ids, so that two processes cannot wait for
/// each other. Not those of a command that is dead: they may be what the database refused.
async fn note_names(connection: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    let mut names: Vec<(&ViewerName, DateTime<Utc>)> = Vec::new();
    for ruling in batch.rulings.iter().filter(|ruling| ruling.decision != Decision::Dead) {
        if let Ok(envelope) = &batch.incoming[ruling.index].envelope {
            names.extend(envelope.names.iter().map(|name| (name, envelope.origin.received_at)));
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    names.sort_by(|a, b| (&a.0.id, b.1).cmp(&(&b.0.id, a.1)));
    names.dedup_by(|a, b| a.0.id == b.0.id);
    crash::point("commit.naming");
    sqlx::query(
        "INSERT INTO viewer_names AS known (viewer_id, login, name, seen_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
         ON CONFLICT (viewer_id) DO UPDATE SET
             login = COALESCE(excluded.login, known.login), name = COALESCE(excluded.name, known.name),
             seen_at = excluded.seen_at
         WHERE known.seen_at < excluded.seen_at AND known.erased_at IS NULL
           AND (known.login, known.name) IS DISTINCT FROM
               (COALESCE(excluded.login, known.login), COALESCE(excluded.name, known.name))",
    )
    .bind(names.iter().map(|(name, _)| name.id.as_str()).collect::<Vec<_>>())
    .bind(names.iter().map(|(name, _)| name.login.as_deref()).collect::<Vec<_>>())
    .bind(names.iter().map(|(name, _)| name.name.as_deref()).collect::<Vec<_>>())
    .bind(names.iter().map(|(_, at)| *at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    crash::point("commit.names");
    Ok(())
}

async fn note_snapshots(connection: &mut PgConnection, snapshots: &[Snapshot]) -> sqlx::Result<()> {
    if snapshots.is_empty() {
        return Ok(());
    }
    crash::point("commit.snapping");
    sqlx::query(
        "INSERT INTO snapshots AS known (aggregate_type, aggregate_id, last_sequence, schema_version, payload)
         SELECT type, id, sequence, version, payload::json
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], $5::text[])
              AS s(type, id, sequence, version, payload)
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE SET
             last_sequence = excluded.last_sequence, schema_version = excluded.schema_version,
             payload = excluded.payload
         WHERE known.last_sequence < excluded.last_sequence OR known.schema_version <> excluded.schema_version",
    )
    .bind(snapshots.iter().map(|s| s.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|s| s.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|s| s.last_sequence).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|s| s.schema_version).collect::<Vec<_>>())
    .bind(snapshots.iter().map(|s| s.payload.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    crash::point("commit.snapshots");
    Ok(())
}

/// Keeps what could not be decided, once for each command, and closes the letters of what could be on a retry.
async fn note_dead(connection: &mut PgConnection, batch: &Batch<'_>) -> sqlx::Result<()> {
    for ruling in batch.rulings {
        let incoming = &batch.incoming[ruling.index];
        if ruling.decision == Decision::Dead {
            crash::point("commit.keeping");
            sqlx::query(
                "INSERT INTO dead_letters (source, name, key, command_id, position, reason, payload)
                 SELECT 'command', $1, $2, $3, $4, $5, $6
                 WHERE NOT EXISTS (SELECT FROM dead_letters WHERE source = 'command' AND name = $1 AND key = $2
                                   AND command_id = $3 AND resolved_at IS NULL)",
            )
            .bind(&ruling.key.0)
            .bind(&ruling.key.1)
            .bind(ruling.id)
            .bind(incoming.sequence)
            .bind(ruling.reason.as_deref().unwrap_or_default().replace('\0', ""))
            .bind(incoming.payload.as_ref())
            .execute(&mut *connection)
            .await?;
            crash::point("commit.kept");
        }
    }
    let retried: Vec<(i64, Uuid)> = batch.incoming.iter().filter_map(retry).collect();
    if retried.is_empty() {
        return Ok(());
    }
    let (letters, ids): (Vec<i64>, Vec<Uuid>) = retried.into_iter().unzip();
    let decided: HashMap<Uuid, &str> = batch
        .rulings
        .iter()
        .filter(|ruling| ruling.decision != Decision::Dead)
        .map(|ruling| (ruling.id, ruling.decision.name()))
        .collect();
    let decisions: Vec<Option<&str>> = ids.iter().map(|id| decided.get(id).copied()).collect();
    close_letters(connection, &letters, &ids, &decisions).await
}

/// The letter that a command is another try of, and its id.
fn retry(incoming: &Incoming) -> Option<(i64, Uuid)> {
    let letter = incoming.envelope.as_ref().ok()?.retry_of?;
    Some((letter, incoming.id))
}

/// Closes the letters that were tried again, and those of the very commands, where the command is decided: now, as
/// `decisions` says, or before.
async fn close_letters(
    connection: &mut PgConnection,
    letters: &[i64],
    ids: &[Uuid],
    decisions: &[Option<&str>],
) -> sqlx::Result<()> {
    crash::point("commit.closing");
    sqlx::query(
        "UPDATE dead_letters l SET resolved_at = clock_timestamp(), resolution = r.decision || ' on retry'
         FROM (SELECT t.letter, t.id, COALESCE(t.decision, o.outcome) AS decision
               FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS t(letter, id, decision)
               LEFT JOIN command_outcomes o ON o.command_id = t.id AND o.outcome <> 'dead') AS r
         WHERE r.decision IS NOT NULL AND l.source = 'command' AND l.resolved_at IS NULL
           AND (l.id = r.letter OR l.command_id = r.id)",
    )
    .bind(letters)
    .bind(ids)
    .bind(decisions)
    .execute(connection)
    .await?;
    crash::point("commit.closed");
    Ok(())
}
