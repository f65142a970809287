//! When a tape was on screen: the screenings of `broadcasts`, by tape.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::broadcasts::NAME;
use crate::reading::{AsOf, Page, QueryError, Reading, cut};

/// Some screenings of one tape, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Screenings {
    pub position: i64,
    pub screenings: Vec<Screening>,
    /// How many there are in all.
    pub count: i64,
    /// The started position that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

/// One time that a tape was on screen.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Screening {
    pub id: Uuid,
    pub broadcaster: String,
    /// The number of the broadcast it was in.
    pub broadcast: i64,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// The screenings of `tape`, newest first. The page's cursor is the position at which a screening started.
pub async fn of_tape(pool: &PgPool, tape: &str, page: Page) -> Result<Screenings, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let mut screenings: Vec<Screening> = sqlx::query_as(
        "SELECT id, broadcaster, number AS broadcast, started_position, started_at, ended_position,
                ended_at
         FROM screenings WHERE tape = $1 AND started_position < $2
         ORDER BY started_position DESC LIMIT $3",
    )
    .bind(tape)
    .bind(page.before())
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let count = sqlx::query_scalar("SELECT count(*) FROM screenings WHERE tape = $1")
        .bind(tape)
        .fetch_one(reading.connection())
        .await?;
    let position = reading.position;
    reading.close().await?;
    let before = cut(&mut screenings, limit, |last| last.started_position);
    Ok(Screenings { position, screenings, count, before })
}
