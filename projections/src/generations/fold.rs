//! How the events of a request change the tables of `generations`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use domain::chat_request::Wish;
use domain::generation::{Event, Picture};
use journal::{Failure, Recorded};

pub(super) const TABLES: [&str; 6] = [
    "CREATE TABLE generations (
         request            uuid        PRIMARY KEY,
         viewer             text        NOT NULL,
         style              text        NOT NULL,
         wish               json        NOT NULL,
         price              bigint      NOT NULL,
         prices             bigint      NOT NULL,
         stage              text        NOT NULL,
         settlement         text,
         attempts           bigint      NOT NULL DEFAULT 0,
         retry_at           timestamptz,
         picture            json,
         cost_micros        bigint      NOT NULL DEFAULT 0,
         code               text,
         reason             text,
         retry_of           uuid,
         submitted_position bigint      NOT NULL UNIQUE,
         submitted_at       timestamptz NOT NULL,
         ended_at           timestamptz,
         position           bigint      NOT NULL
     )",
    "CREATE INDEX generations_to_do ON generations (submitted_position) WHERE stage = 'funded'",
    "CREATE INDEX generations_by_stage ON generations (stage, submitted_position)",
    "CREATE INDEX generations_by_viewer ON generations (viewer, submitted_position)",
    "CREATE INDEX generations_retried ON generations (retry_of) WHERE retry_of IS NOT NULL",
    "CREATE TABLE generation_attempts (
         request  uuid        NOT NULL,
         attempt  bigint      NOT NULL,
         reason   text        NOT NULL,
         retry_at timestamptz NOT NULL,
         at       timestamptz NOT NULL,
         position bigint      NOT NULL,
         PRIMARY KEY (request, attempt)
     )",
];

pub(super) async fn apply(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: Event,
) -> Result<(), Failure> {
    let request = recorded.aggregate_id.parse().map_err(|_| Failure::Poison {
        position: recorded.position,
        reason: format!("the id of a request is a UUID, and {:?} is not", recorded.aggregate_id),
    })?;
    let place = Place { request, position: recorded.position, at: recorded.recorded_at };
    match event {
        Event::Submitted { viewer, wish, price, prices, at, retry_of, .. } => {
            let paid = Paid { price, prices, retry_of };
            submit(connection, place, &viewer, &wish, at, paid).await?;
        }
        Event::Funded { .. } => turn(connection, place, "funded").await?,
        // The points came after the cancellation and go back: nothing to see but the position.
        Event::FundedInVain { .. } => turn(connection, place, "cancelled").await?,
        Event::Declined { available, .. } => {
            let reason = format!("there were {available} points available");
            end(connection, place, "declined", None, &reason).await?;
        }
        // Nothing is left to do, and nobody ever had it in hand: it is shown as an alert.
        Event::TurnedDown { .. } => {}
        Event::AttemptFailed { attempt, reason, retry_at, .. } => {
            fail_attempt(connection, place, attempt, &reason, retry_at).await?;
        }
        Event::Completed { picture, .. } => {
            made(connection, place, "completed", picture.as_ref(), Some(place.at)).await?;
        }
        Event::Presented { picture, .. } => {
            made(connection, place, "presented", Some(&picture), None).await?;
        }
        Event::Approved { .. } => approve(connection, place).await?,
        Event::Rejected { reason, .. } => {
            end(connection, place, "rejected", None, &reason).await?;
        }
        Event::Refused { code, reason, .. } => {
            end(connection, place, "refused", Some(&code), &reason).await?;
        }
        Event::Failed { reason, .. } => {
            end(connection, place, "failed", None, &reason).await?;
        }
        Event::Cancelled { reason, .. } => {
            end(connection, place, "cancelled", None, &reason).await?;
        }
        Event::Settled { settlement, .. } => settle(connection, place, settlement.name()).await?,
    }
    Ok(())
}

/// Which request, and where and when something happened to it.
#[derive(Clone, Copy)]
struct Place {
    request: Uuid,
    position: i64,
    at: DateTime<Utc>,
}

struct Paid {
    price: i64,
    prices: u32,
    retry_of: Option<Uuid>,
}

async fn submit(
    connection: &mut PgConnection,
    place: Place,
    viewer: &str,
    wish: &Wish,
    at: DateTime<Utc>,
    paid: Paid,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO generations (request, viewer, style, wish, price, prices, stage, retry_of,
                                  submitted_position, submitted_at, position)
         VALUES ($1, $2, $3, $4, $5, $6, 'submitted', $7, $8, $9, $8)",
    )
    .bind(place.request)
    .bind(viewer)
    .bind(wish.style())
    .bind(Json(wish))
    .bind(paid.price)
    .bind(i64::from(paid.prices))
    .bind(paid.retry_of)
    .bind(place.position)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn turn(connection: &mut PgConnection, place: Place, stage: &str) -> sqlx::Result<()> {
    sqlx::query("UPDATE generations SET stage = $2, position = $3 WHERE request = $1")
        .bind(place.request)
        .bind(stage)
        .bind(place.position)
        .execute(connection)
        .await?;
    Ok(())
}

async fn fail_attempt(
    connection: &mut PgConnection,
    place: Place,
    attempt: u32,
    reason: &str,
    retry_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "WITH failed AS (
             INSERT INTO generation_attempts (request, attempt, reason, retry_at, at, position)
             VALUES ($1, $2, $3, $4, $5, $6))
         UPDATE generations SET attempts = $2, retry_at = $4, position = $6 WHERE request = $1",
    )
    .bind(place.request)
    .bind(i64::from(attempt))
    .bind(reason)
    .bind(retry_at)
    .bind(place.at)
    .bind(place.position)
    .execute(connection)
    .await?;
    Ok(())
}

async fn made(
    connection: &mut PgConnection,
    place: Place,
    stage: &str,
    picture: Option<&Picture>,
    ended_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE generations
         SET stage = $6, retry_at = NULL, picture = $2, cost_micros = $3, ended_at = $4,
             position = $5
         WHERE request = $1",
    )
    .bind(place.request)
    .bind(picture.map(Json))
    .bind(picture.map_or(0, |picture| picture.cost_micros))
    .bind(ended_at)
    .bind(place.position)
    .bind(stage)
    .execute(connection)
    .await?;
    Ok(())
}

async fn approve(connection: &mut PgConnection, place: Place) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE generations SET stage = 'completed', ended_at = $2, position = $3 WHERE request = $1",
    )
    .bind(place.request)
    .bind(place.at)
    .bind(place.position)
    .execute(connection)
    .await?;
    Ok(())
}

async fn end(
    connection: &mut PgConnection,
    place: Place,
    stage: &str,
    code: Option<&str>,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE generations
         SET stage = $2, retry_at = NULL, code = $3, reason = $4, ended_at = $5, position = $6
         WHERE request = $1",
    )
    .bind(place.request)
    .bind(stage)
    .bind(code)
    .bind(reason)
    .bind(place.at)
    .bind(place.position)
    .execute(connection)
    .await?;
    Ok(())
}

/// The end of its points. A request that was still waiting for its picture has lost them to the hold's time limit.
async fn settle(connection: &mut PgConnection, place: Place, settlement: &str) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE generations
         SET settlement = $2, position = $4, retry_at = NULL,
             reason = CASE stage WHEN 'funded' THEN 'its points went back before it was made'
                      WHEN 'presented' THEN 'its points went back before it was approved'
                      ELSE reason END,
             ended_at = coalesce(ended_at, $3),
             stage = CASE WHEN stage IN ('funded', 'presented') THEN 'expired' ELSE stage END
         WHERE request = $1",
    )
    .bind(place.request)
    .bind(settlement)
    .bind(place.at)
    .bind(place.position)
    .execute(connection)
    .await?;
    Ok(())
}
