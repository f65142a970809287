//! How alerts and the events of a stage change the tables of `stages`.

use chrono::{DateTime, SubsecRound, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use domain::stage::Event;
use journal::Recorded;

use super::muted_column;
use crate::alerts;

pub(super) const TABLES: [&str; 6] = [
    "CREATE TABLE stages (
         stage        text        PRIMARY KEY,
         position     bigint      NOT NULL,
         opened_at    timestamptz NOT NULL,
         revision     bigint      NOT NULL,
         paused       boolean     NOT NULL DEFAULT false,
         sound_muted  boolean     NOT NULL DEFAULT false,
         speech_muted boolean     NOT NULL DEFAULT false,
         playing      uuid,
         starts_at    timestamptz,
         ends_at      timestamptz,
         shown        boolean     NOT NULL DEFAULT false
     )",
    "CREATE TABLE showings (
         stage     text        NOT NULL,
         alert     uuid        NOT NULL,
         position  bigint      NOT NULL,
         kind      text        NOT NULL,
         viewer    text,
         data      json        NOT NULL,
         at        timestamptz NOT NULL,
         state     text        NOT NULL DEFAULT 'waiting',
         place     bigint      NOT NULL,
         priority  bigint      NOT NULL DEFAULT 0,
         queued_at timestamptz NOT NULL,
         attempts  bigint      NOT NULL DEFAULT 0,
         tries     bigint      NOT NULL DEFAULT 0,
         starts_at timestamptz,
         ends_at   timestamptz,
         shown_at  timestamptz,
         reason    text,
         actor     text,
         PRIMARY KEY (stage, alert)
     )",
    "CREATE INDEX showings_in_line ON showings (stage, priority DESC, place) WHERE state = 'waiting'",
    "CREATE INDEX showings_by_age ON showings (stage, kind, queued_at) WHERE state = 'waiting'",
    "CREATE INDEX showings_by_state ON showings (stage, state, position)",
    "CREATE UNIQUE INDEX showings_by_position ON showings (stage, position)",
];

/// Why an alert is not shown that waited on a stage when it was closed.
const CLOSED: &str = "its stage was closed";

/// The stages for which alerts are.
pub(super) async fn open_stages(connection: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("SELECT stage FROM stages ORDER BY stage").fetch_all(connection).await
}

/// Makes `rows` wait on every stage of `open`, and leaves none.
pub(super) async fn queue(
    connection: &mut PgConnection,
    open: &[String],
    rows: &mut Vec<alerts::Row>,
) -> sqlx::Result<()> {
    if rows.is_empty() || open.is_empty() {
        rows.clear();
        return Ok(());
    }
    let rows = std::mem::take(rows);
    sqlx::query(
        "INSERT INTO showings (stage, alert, position, kind, viewer, data, at, place, queued_at)
         SELECT open.stage, id, position, kind, viewer, data::json, at, position, at
         FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[]) AS new (position, id, kind, viewer, data, at),
              UNNEST($7::text[]) AS open (stage)",
    )
    .bind(rows.iter().map(|row| row.position).collect::<Vec<i64>>())
    .bind(rows.iter().map(|row| row.id).collect::<Vec<Uuid>>())
    .bind(rows.iter().map(|row| row.kind).collect::<Vec<&str>>())
    .bind(rows.iter().map(|row| row.viewer.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(rows.iter().map(|row| row.data.as_str()).collect::<Vec<&str>>())
    .bind(rows.iter().map(|row| row.at).collect::<Vec<DateTime<Utc>>>())
    .bind(open)
    .execute(connection)
    .await?;
    Ok(())
}

/// An event of a stage.
pub(super) async fn apply(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: &Event,
) -> sqlx::Result<()> {
    let stage = recorded.aggregate_id.as_str();
    if let Event::Opened { at, .. } = event {
        sqlx::query(
            "INSERT INTO stages (stage, position, opened_at, revision) VALUES ($1, $2, $3, $4)",
        )
        .bind(stage)
        .bind(recorded.position)
        .bind(at.trunc_subsecs(6)) // PostgreSQL keeps microseconds
        .bind(recorded.sequence)
        .execute(connection)
        .await?;
        return Ok(());
    }
    sqlx::query("UPDATE stages SET revision = $2 WHERE stage = $1")
        .bind(stage)
        .bind(recorded.sequence)
        .execute(&mut *connection)
        .await?;
    match event {
        Event::Started { alert, attempt, starts_at, ends_at, .. } => {
            let times = (starts_at.trunc_subsecs(6), ends_at.trunc_subsecs(6));
            start(connection, stage, *alert, i64::from(*attempt), times).await
        }
        Event::Shown { alert, at, .. } => {
            let at = at.trunc_subsecs(6);
            sqlx::query("UPDATE stages SET shown = true WHERE stage = $1")
                .bind(stage)
                .execute(&mut *connection)
                .await?;
            sqlx::query(
                "UPDATE showings SET state = 'shown', shown_at = $3, reason = NULL
                 WHERE stage = $1 AND alert = $2",
            )
            .bind(stage)
            .bind(alert)
            .bind(at)
            .execute(connection)
            .await
            .map(drop)
        }
        Event::Requeued { alert, reason, .. } => {
            leave(connection, stage, *alert, "waiting", Some(reason), None).await
        }
        Event::Unknown { alert, reason, .. } => {
            leave(connection, stage, *alert, "unknown", Some(reason), None).await
        }
        Event::Skipped { alert, actor, .. } => {
            leave(connection, stage, *alert, "skipped", None, Some(actor)).await
        }
        Event::Closed { expires, .. } => {
            let expires: Vec<&str> = expires.iter().map(|kind| kind.name()).collect();
            close(connection, stage, &expires).await
        }
        Event::Paused { .. } => set(connection, stage, "paused", true).await,
        Event::Resumed { .. } => set(connection, stage, "paused", false).await,
        Event::Muted { what, .. } => set(connection, stage, muted_column(*what), true).await,
        Event::Unmuted { what, .. } => set(connection, stage, muted_column(*what), false).await,
        other => direct(connection, recorded, other).await,
    }
}

/// What changes the line and not what plays.
async fn direct(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: &Event,
) -> sqlx::Result<()> {
    let stage = recorded.aggregate_id.as_str();
    match event {
        Event::Expired { alerts, .. } => {
            sqlx::query(
                "UPDATE showings SET state = 'expired'
                 WHERE stage = $1 AND alert = ANY($2) AND state = 'waiting'",
            )
            .bind(stage)
            .bind(alerts)
            .execute(connection)
            .await?;
        }
        Event::Cleared { alert, until, actor, .. } => {
            sqlx::query(
                "UPDATE showings SET state = 'cleared', actor = $4
                 WHERE stage = $1 AND state = 'waiting' AND position <= $3
                   AND ($2::uuid IS NULL OR alert = $2)",
            )
            .bind(stage)
            .bind(alert)
            .bind(until)
            .bind(actor)
            .execute(connection)
            .await?;
        }
        Event::Replayed { alert, actor, .. } => {
            sqlx::query(
                "UPDATE showings SET state = 'waiting', place = $3, priority = 0, queued_at = $4,
                        tries = 0, reason = NULL, actor = $5
                 WHERE stage = $1 AND alert = $2 AND state NOT IN ('waiting', 'playing')",
            )
            .bind(stage)
            .bind(alert)
            .bind(recorded.position)
            .bind(recorded.recorded_at)
            .bind(actor)
            .execute(connection)
            .await?;
        }
        Event::Prioritised { alert, actor, .. } => {
            sqlx::query(
                "UPDATE showings SET priority = $3, actor = $4
                 WHERE stage = $1 AND alert = $2 AND state = 'waiting'",
            )
            .bind(stage)
            .bind(alert)
            .bind(recorded.position)
            .bind(actor)
            .execute(connection)
            .await?;
        }
        _ => {}
    }
    Ok(())
}

/// The stage is over, and everything that was to come on it.
async fn close(connection: &mut PgConnection, stage: &str, expires: &[&str]) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE showings SET reason = $3, state = CASE
             WHEN state = 'waiting' AND kind = ANY($2) THEN 'expired' ELSE 'unknown' END
         WHERE stage = $1 AND state IN ('waiting', 'playing')",
    )
    .bind(stage)
    .bind(expires)
    .bind(CLOSED)
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM stages WHERE stage = $1").bind(stage).execute(connection).await?;
    Ok(())
}

async fn start(
    connection: &mut PgConnection,
    stage: &str,
    alert: Uuid,
    attempt: i64,
    (starts_at, ends_at): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE stages SET playing = $2, starts_at = $3, ends_at = $4, shown = false
         WHERE stage = $1",
    )
    .bind(stage)
    .bind(alert)
    .bind(starts_at)
    .bind(ends_at)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE showings SET state = 'playing', attempts = $3, tries = tries + 1, starts_at = $4,
                ends_at = $5
         WHERE stage = $1 AND alert = $2",
    )
    .bind(stage)
    .bind(alert)
    .bind(attempt)
    .bind(starts_at)
    .bind(ends_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// What plays leaves the stage.
async fn leave(
    connection: &mut PgConnection,
    stage: &str,
    alert: Uuid,
    state: &str,
    reason: Option<&str>,
    actor: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE stages SET playing = NULL, starts_at = NULL, ends_at = NULL, shown = false
         WHERE stage = $1",
    )
    .bind(stage)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE showings SET state = $3, reason = $4, actor = coalesce($5, actor)
         WHERE stage = $1 AND alert = $2",
    )
    .bind(stage)
    .bind(alert)
    .bind(state)
    .bind(reason)
    .bind(actor)
    .execute(connection)
    .await?;
    Ok(())
}

async fn set(
    connection: &mut PgConnection,
    stage: &str,
    column: &str,
    value: bool,
) -> sqlx::Result<()> {
    sqlx::query(&format!("UPDATE stages SET {column} = $2 WHERE stage = $1"))
        .bind(stage)
        .bind(value)
        .execute(connection)
        .await?;
    Ok(())
}
