//! What viewers asked for with their points: one row per request, from the words to the picture.
//!
//! It is the to-do list of the workers that make the pictures, and what people see of them. Who works on which request
//! just now is not history and not here: see the table `generation_leases`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use domain::generation::Picture;
use journal::{Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading, Viewer, cut};

mod fold;

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "generations";

/// The stages a request can be in here. Other than in the aggregate, the end of its points does not hide how it ended:
/// that is `settlement`. One whose hold ran out before anything was made has `expired`.
/// What is made and waits for somebody to approve or reject it is `presented`.
pub const STAGES: [&str; 10] = [
    "submitted",
    "funded",
    "declined",
    "presented",
    "completed",
    "rejected",
    "refused",
    "failed",
    "cancelled",
    "expired",
];

/// The projection `generations`: requests, and the attempts at them that failed.
pub struct Generations;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generation {
    pub id: Uuid,
    pub viewer: Viewer,
    /// `ghost`, `friend`, or the id of a static alert.
    pub style: String,
    /// What was asked for, as it is stored: `{"ghost": {"subject": "a toaster"}}`.
    pub wish: Value,
    pub price: i64,
    pub prices_version: i64,
    /// One of [`STAGES`].
    pub stage: String,
    /// What became of the points: `captured`, `released`; `None` while they are held, or where none were.
    pub settlement: Option<String>,
    /// Attempts that failed.
    pub attempts: i64,
    /// Not before this is the next attempt made.
    pub retry_at: Option<DateTime<Utc>>,
    pub picture: Option<Picture>,
    /// What the provider took, in millionths of a dollar.
    pub cost_micros: i64,
    /// Why it was refused, for programs.
    pub code: Option<String>,
    /// Why it ended without a picture, for people.
    pub reason: Option<String>,
    /// The request that this one tries again.
    pub retry_of: Option<Uuid>,
    pub submitted_position: i64,
    pub submitted_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The last event of it.
    pub position: i64,
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Attempt {
    /// 1, 2, 3, …
    pub attempt: i64,
    pub reason: String,
    pub retry_at: DateTime<Utc>,
    pub at: DateTime<Utc>,
    pub position: i64,
}

/// How many requests are in a stage.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Count {
    pub stage: String,
    pub count: i64,
}

/// What a list is limited to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub stage: Option<String>,
    pub style: Option<String>,
    pub viewer: Option<String>,
}

/// Some requests, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct List {
    pub position: i64,
    pub generations: Vec<Generation>,
    /// All requests, by stage: every stage is there, in the order of [`STAGES`].
    pub counts: Vec<Count>,
    /// The submitted position that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

/// One request with what was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct One {
    pub position: i64,
    pub generation: Generation,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// The request that tries this one again, if there is one.
    pub retried_as: Option<Uuid>,
}

const COLUMNS: &str =
    "SELECT g.request, g.viewer, v.name, g.style, g.wish, g.price, g.prices, g.stage,
            g.settlement, g.attempts, g.retry_at, g.picture, g.cost_micros, g.code, g.reason,
            g.retry_of, g.submitted_position, g.submitted_at, g.ended_at, g.position
     FROM generations g LEFT JOIN viewer_names v ON v.viewer_id = g.viewer";

/// The requests that `filter` lets through, newest first. The page's cursor is the position at which a request was
/// submitted, so a page stays the same however the requests on it change.
pub async fn list(pool: &PgPool, filter: &Filter, page: Page) -> Result<List, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let mut rows: Vec<Stored> = sqlx::query_as(&format!(
        "{COLUMNS}
         WHERE g.submitted_position < $1 AND ($2::text IS NULL OR g.stage = $2)
           AND ($3::text IS NULL OR g.style = $3) AND ($4::text IS NULL OR g.viewer = $4)
         ORDER BY g.submitted_position DESC LIMIT $5"
    ))
    .bind(page.before())
    .bind(&filter.stage)
    .bind(&filter.style)
    .bind(&filter.viewer)
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let counts = sqlx::query_as(
        "SELECT s.stage, count(g.stage) AS count
         FROM unnest($1::text[]) WITH ORDINALITY AS s (stage, place)
         LEFT JOIN generations g ON g.stage = s.stage
         GROUP BY s.stage, s.place ORDER BY s.place",
    )
    .bind(STAGES.as_slice())
    .fetch_all(reading.connection())
    .await?;
    let position = reading.position;
    reading.close().await?;
    let before = cut(&mut rows, limit, |last| last.submitted_position);
    let generations = rows.into_iter().map(Generation::from).collect();
    Ok(List { position, generations, counts, before })
}

/// One request; `None` where there is none of this id, with the position at which that was so.
pub async fn one(pool: &PgPool, request: Uuid) -> Result<(i64, Option<One>), QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let position = reading.position;
    let row: Option<Stored> = sqlx::query_as(&format!("{COLUMNS} WHERE g.request = $1"))
        .bind(request)
        .fetch_optional(reading.connection())
        .await?;
    let Some(row) = row else { return Ok((position, None)) };
    let attempts = sqlx::query_as(
        "SELECT attempt, reason, retry_at, at, position FROM generation_attempts
         WHERE request = $1 ORDER BY attempt",
    )
    .bind(request)
    .fetch_all(reading.connection())
    .await?;
    let retried_as =
        sqlx::query_scalar("SELECT request FROM generations WHERE retry_of = $1 LIMIT 1")
            .bind(request)
            .fetch_optional(reading.connection())
            .await?;
    reading.close().await?;
    let generation = Generation::from(row);
    Ok((position, Some(One { position, generation, attempts, retried_as })))
}

#[derive(sqlx::FromRow)]
struct Stored {
    request: Uuid,
    viewer: String,
    name: Option<String>,
    style: String,
    wish: Value,
    price: i64,
    prices: i64,
    stage: String,
    settlement: Option<String>,
    attempts: i64,
    retry_at: Option<DateTime<Utc>>,
    picture: Option<sqlx::types::Json<Picture>>,
    cost_micros: i64,
    code: Option<String>,
    reason: Option<String>,
    retry_of: Option<Uuid>,
    submitted_position: i64,
    submitted_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    position: i64,
}

impl From<Stored> for Generation {
    fn from(row: Stored) -> Self {
        Generation {
            id: row.request,
            viewer: Viewer { id: row.viewer, name: row.name },
            style: row.style,
            wish: row.wish,
            price: row.price,
            prices_version: row.prices,
            stage: row.stage,
            settlement: row.settlement,
            attempts: row.attempts,
            retry_at: row.retry_at,
            picture: row.picture.map(|picture| picture.0),
            cost_micros: row.cost_micros,
            code: row.code,
            reason: row.reason,
            retry_of: row.retry_of,
            submitted_position: row.submitted_position,
            submitted_at: row.submitted_at,
            ended_at: row.ended_at,
            position: row.position,
        }
    }
}

#[async_trait]
impl Projection for Generations {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["generation"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["generations", "generation_attempts"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for table in fold::TABLES {
            sqlx::query(table).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        for recorded in batch {
            let event = recorded.event().map_err(|error| Failure::unreadable(recorded, error))?;
            fold::apply(connection, recorded, event).await?;
        }
        Ok(())
    }
}
