//! What the director of a stage decides by: what plays, what comes next, and what is too old.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::NAME;
use crate::reading::{AsOf, QueryError, Reading};

/// A stage as its director sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub position: i64,
    /// The sequence of the last event of the stage.
    pub revision: i64,
    pub paused: bool,
    pub playing: Option<Playing>,
    /// The first that waits of the kinds that were asked for.
    pub first: Option<Waiting>,
    /// Whether anything waits, of any kind.
    pub anything_waits: bool,
    /// What has waited for too long: at most as many as were asked for.
    pub expired: Vec<Uuid>,
}

/// What was started last.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Playing {
    pub alert: Uuid,
    pub kind: String,
    pub attempt: i64,
    /// Which attempt it is since it was last asked for.
    pub tries: i64,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub shown: bool,
}

/// An alert that waits.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Waiting {
    pub alert: Uuid,
    pub kind: String,
    pub attempts: i64,
}

/// The stages that are open, with the sequence of the last event of each.
pub async fn open(pool: &PgPool) -> Result<Vec<(String, i64)>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let open = sqlx::query_as("SELECT stage, revision FROM stages ORDER BY stage")
        .fetch_all(reading.connection())
        .await?;
    reading.close().await?;
    Ok(open)
}

/// The line of `stage`: `kinds` are those that can be shown now, and of each kind in `too_old` what waits since before
/// that time is too old. `None` where the stage is not open.
pub async fn line(
    pool: &PgPool,
    stage: &str,
    kinds: &[&str],
    too_old: &[(&str, DateTime<Utc>)],
    expired_max: i64,
) -> Result<(i64, Option<Line>), QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let position = reading.position;
    let row: Option<(i64, bool, bool)> = sqlx::query_as(
        "SELECT revision, paused, EXISTS (SELECT FROM showings w
                WHERE w.stage = s.stage AND w.state = 'waiting')
         FROM stages s WHERE stage = $1",
    )
    .bind(stage)
    .fetch_optional(reading.connection())
    .await?;
    let Some((revision, paused, anything_waits)) = row else { return Ok((position, None)) };
    let playing = sqlx::query_as(
        "SELECT w.alert, w.kind, w.attempts AS attempt, w.tries, s.starts_at, s.ends_at, s.shown
         FROM stages s JOIN showings w ON w.stage = s.stage AND w.alert = s.playing
         WHERE s.stage = $1",
    )
    .bind(stage)
    .fetch_optional(reading.connection())
    .await?;
    // Where nobody shows anything, the whole line would be read for nothing.
    let first = match kinds {
        [] => None,
        _ => {
            sqlx::query_as(
                "SELECT alert, kind, attempts FROM showings
             WHERE stage = $1 AND state = 'waiting' AND kind = ANY($2)
             ORDER BY priority DESC, place LIMIT 1",
            )
            .bind(stage)
            .bind(kinds)
            .fetch_optional(reading.connection())
            .await?
        }
    };
    let expired = sqlx::query_scalar(
        "SELECT aged.alert FROM UNNEST($2::text[], $3::timestamptz[]) AS old (kind, before),
         LATERAL (SELECT alert, place FROM showings
                  WHERE stage = $1 AND state = 'waiting' AND kind = old.kind AND queued_at < old.before
                  ORDER BY queued_at LIMIT $4) AS aged
         ORDER BY aged.place LIMIT $4",
    )
    .bind(stage)
    .bind(too_old.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
    .bind(too_old.iter().map(|(_, before)| *before).collect::<Vec<_>>())
    .bind(expired_max)
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    let line = Line { position, revision, paused, playing, first, anything_waits, expired };
    Ok((position, Some(line)))
}
