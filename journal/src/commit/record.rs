//! The rows of a batch: outcomes, events, and the new head.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Batch, CommitError, Committed};
use crate::copy::Rows;
use crate::crash;
use crate::outcome::Outcome;
use crate::recorded::Recorded;

/// From this many commands on their rows are copied in. Three more round trips, while nobody else can commit, are then
/// little beside what it saves, also where PostgreSQL is a network away.
const COPIED_FROM: usize = 128;

/// What keeps a command from being decided twice.
const OUTCOMES_KEY: &str = "command_outcomes_pkey";
/// What the columns of a row come to beside its texts, about.
const OUTCOME_BYTES: usize = 160;
const EVENT_BYTES: usize = 256;

/// Writes outcomes, events and the new head: few in one statement, many as they are written fastest. A copy cannot let
/// the outcome of another try take the place of a dead one, and says of a command that was decided before only that it is
/// refused, which PostgreSQL logs.
pub(super) async fn record(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    committed: &Committed,
    now: DateTime<Utc>,
) -> Result<(), CommitError> {
    let retried = batch.rulings.iter().any(|ruling| ruling.retry_of.is_some());
    if retried || committed.outcomes.len() < COPIED_FROM {
        return insert(connection, batch, committed, now, retried).await;
    }
    crash::point("commit.copying");
    copy_outcomes(connection, batch, &committed.outcomes).await.map_err(known_or_failed)?;
    crash::point("commit.outcomes");
    let Some(last) = committed.events.last() else { return Ok(()) };
    copy_events(connection, &committed.events).await?;
    crash::point("commit.events");
    sqlx::query("UPDATE head SET position = $1, hash = $2, recorded_at = $3")
        .bind(last.position)
        .bind(last.hash.as_slice())
        .bind(now)
        .execute(connection)
        .await?;
    crash::point("commit.moved");
    Ok(())
}

fn known_or_failed(error: sqlx::Error) -> CommitError {
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    if constraint == Some(OUTCOMES_KEY) { CommitError::Known } else { error.into() }
}

async fn copy_outcomes(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    outcomes: &[Outcome],
) -> sqlx::Result<()> {
    let mut rows = Rows::with_capacity(outcomes.len() * OUTCOME_BYTES);
    for (outcome, ruling) in outcomes.iter().zip(batch.rulings) {
        let incoming = &batch.incoming[ruling.index];
        rows.row(10);
        rows.uuid(outcome.command_id);
        rows.text(outcome.decision.name());
        rows.optional(outcome.reason.as_deref(), Rows::text);
        rows.optional(outcome.first_position, Rows::bigint);
        rows.integer(outcome.events);
        rows.text(&outcome.aggregate_type);
        rows.text(&outcome.aggregate_id);
        rows.smallint(incoming.partition as i16);
        rows.bigint(incoming.sequence);
        rows.timestamptz(outcome.decided_at);
    }
    rows.send(
        connection,
        "COPY command_outcomes (command_id, outcome, reason, first_position, events, aggregate_type, aggregate_id,
                                partition, stream_sequence, decided_at) FROM STDIN BINARY",
    )
    .await
}

async fn copy_events(connection: &mut PgConnection, events: &[Recorded]) -> sqlx::Result<()> {
    let texts = |event: &Recorded| event.payload.get().len() + event.metadata.get().len();
    let bytes = events.iter().map(|event| texts(event) + EVENT_BYTES).sum();
    let mut rows = Rows::with_capacity(bytes);
    for event in events {
        rows.row(12);
        rows.bigint(event.position);
        rows.text(&event.aggregate_type);
        rows.text(&event.aggregate_id);
        rows.bigint(event.sequence);
        rows.text(&event.event_type);
        rows.text(&event.event_version);
        rows.uuid(event.event_id);
        rows.uuid(event.command_id);
        rows.text(event.payload.get());
        rows.text(event.metadata.get());
        rows.bytes(&event.hash);
        rows.timestamptz(event.recorded_at);
    }
    rows.send(
        connection,
        "COPY events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, event_id,
                      command_id, payload, metadata, hash, recorded_at) FROM STDIN BINARY",
    )
    .await
}

async fn insert(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    committed: &Committed,
    now: DateTime<Utc>,
    retried: bool,
) -> Result<(), CommitError> {
    let Committed { outcomes, events } = committed;
    let incoming = |n: usize| &batch.incoming[batch.rulings[n].index];
    let last = events.last();
    let result = sqlx::query(
        "WITH outcomes AS (
             INSERT INTO command_outcomes (command_id, outcome, reason, first_position, events, aggregate_type,
                                           aggregate_id, partition, stream_sequence, decided_at)
             SELECT *, $10 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[],
                                       $7::text[], $8::smallint[], $9::bigint[])
             ON CONFLICT (command_id) DO UPDATE SET
                 outcome = excluded.outcome, reason = excluded.reason, first_position = excluded.first_position,
                 events = excluded.events, aggregate_type = excluded.aggregate_type,
                 aggregate_id = excluded.aggregate_id, partition = excluded.partition,
                 stream_sequence = excluded.stream_sequence, decided_at = excluded.decided_at
             WHERE command_outcomes.outcome = 'dead' AND $24
             RETURNING 1
         ), counted AS (
             SELECT count(*) FROM outcomes
         ), moved AS (
             UPDATE head SET position = $11, hash = $12, recorded_at = $10 WHERE $11 IS NOT NULL
         ), recorded AS (
             INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version,
                                 event_id, command_id, payload, metadata, hash, recorded_at)
             SELECT e.position, e.type, e.id, e.sequence, e.event_type, e.event_version, e.event_id,
                    e.command_id, e.payload::json, e.metadata::json, e.hash, $10
             FROM unnest($13::bigint[], $14::text[], $15::text[], $16::bigint[], $17::text[], $18::text[],
                         $19::uuid[], $20::uuid[], $21::text[], $22::text[], $23::bytea[])
                  AS e(position, type, id, sequence, event_type, event_version, event_id, command_id, payload,
                       metadata, hash)
         )
         SELECT count FROM counted",
    )
    .bind(outcomes.iter().map(|o| o.command_id).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|o| o.decision.name()).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|o| o.reason.as_deref()).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|o| o.first_position).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|o| o.events).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|o| o.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|o| o.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind((0..outcomes.len()).map(|n| incoming(n).partition as i16).collect::<Vec<_>>())
    .bind((0..outcomes.len()).map(|n| incoming(n).sequence).collect::<Vec<_>>())
    .bind(now)
    .bind(last.map(|event| event.position))
    .bind(last.map(|event| event.hash.as_slice()))
    .bind(events.iter().map(|e| e.position).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_version.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.command_id).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.payload.get()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.metadata.get()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.hash.as_slice()).collect::<Vec<_>>())
    .bind(retried);
    let written: i64 = sqlx::Row::try_get(&result.fetch_one(connection).await?, 0)?;
    if written == outcomes.len() as i64 { Ok(()) } else { Err(CommitError::Known) }
}
