//! A broadcaster's broadcasts: what is on now, what was on, and what was screened.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use journal::{Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading, cut};

mod fold;

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "broadcasts";

/// The projection `broadcasts`: broadcasts, the intervals they were on in, their screenings, and the title of each
/// broadcaster's page.
pub struct Broadcasts;

/// What is on now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Current {
    /// How far the projection has come.
    pub position: i64,
    pub broadcaster: String,
    pub live: bool,
    pub title: String,
    pub category: String,
    pub language: String,
    /// The last broadcast, live or ended; `None` before the first.
    pub broadcast: Option<Broadcast>,
    /// What is on screen.
    pub screening: Option<Screening>,
}

/// Some broadcasts, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    pub position: i64,
    pub broadcasts: Vec<Broadcast>,
    /// The number that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

/// One broadcast, with all that the projection knows of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broadcast {
    pub broadcaster: String,
    /// 1, 2, 3 for each broadcaster.
    pub number: i64,
    /// What Twitch called it last.
    pub live_id: String,
    pub live: bool,
    pub title: String,
    pub category: String,
    pub language: String,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
    /// When it was really on: more than one where it was resumed, oldest first.
    pub intervals: Vec<Interval>,
    /// Oldest first.
    pub screenings: Vec<Screening>,
}

/// A time without interruption in a broadcast.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Interval {
    #[serde(skip)]
    number: i64,
    pub live_id: String,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// A tape on screen.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Screening {
    #[serde(skip)]
    number: i64,
    pub id: Uuid,
    pub tape: String,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// What is on now at `broadcaster`. One that was never heard of is not live.
pub async fn current(pool: &PgPool, broadcaster: &str) -> Result<Current, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let page: Option<(String, String, String)> =
        sqlx::query_as("SELECT title, category, language FROM broadcasters WHERE broadcaster = $1")
            .bind(broadcaster)
            .fetch_optional(reading.connection())
            .await?;
    let broadcast = read(&mut reading, broadcaster, i64::MAX, 1).await?.pop();
    let position = reading.position;
    reading.close().await?;
    let (title, category, language) = page.unwrap_or_default();
    let live = broadcast.as_ref().is_some_and(|broadcast| broadcast.live);
    let screening = broadcast
        .as_ref()
        .and_then(|broadcast| broadcast.screenings.last())
        .filter(|screening| screening.ended_position.is_none())
        .cloned();
    let broadcaster = broadcaster.to_owned();
    Ok(Current { position, broadcaster, live, title, category, language, broadcast, screening })
}

/// The broadcasts of `broadcaster`, newest first. The page's cursor is a broadcast's number.
pub async fn history(pool: &PgPool, broadcaster: &str, page: Page) -> Result<History, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let last = page.before().saturating_sub(1);
    let mut broadcasts = read(&mut reading, broadcaster, last, limit + 1).await?;
    let position = reading.position;
    reading.close().await?;
    let before = cut(&mut broadcasts, limit, |broadcast| broadcast.number);
    Ok(History { position, broadcasts, before })
}

/// One broadcast by its number, with the position it was read at; `None` where there is none.
pub async fn one(
    pool: &PgPool,
    broadcaster: &str,
    number: i64,
) -> Result<(i64, Option<Broadcast>), QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let broadcast = read(&mut reading, broadcaster, number, 1).await?.pop();
    let position = reading.position;
    reading.close().await?;
    Ok((position, broadcast.filter(|broadcast| broadcast.number == number)))
}

#[derive(sqlx::FromRow)]
struct Stored {
    number: i64,
    live_id: String,
    title: String,
    category: String,
    language: String,
    started_position: i64,
    started_at: DateTime<Utc>,
    ended_position: Option<i64>,
    ended_at: Option<DateTime<Utc>>,
}

/// The broadcasts up to number `last`, newest first, at most `limit`.
async fn read(
    reading: &mut Reading,
    broadcaster: &str,
    last: i64,
    limit: i64,
) -> sqlx::Result<Vec<Broadcast>> {
    let stored: Vec<Stored> = sqlx::query_as(
        "SELECT number, live_id, title, category, language, started_position, started_at,
                ended_position, ended_at
         FROM broadcasts WHERE broadcaster = $1 AND number <= $2 ORDER BY number DESC LIMIT $3",
    )
    .bind(broadcaster)
    .bind(last)
    .bind(limit)
    .fetch_all(reading.connection())
    .await?;
    let numbers: Vec<i64> = stored.iter().map(|broadcast| broadcast.number).collect();
    let intervals: Vec<Interval> = sqlx::query_as(
        "SELECT number, live_id, started_position, started_at, ended_position, ended_at
         FROM broadcast_intervals WHERE broadcaster = $1 AND number = ANY($2)
         ORDER BY started_position",
    )
    .bind(broadcaster)
    .bind(&numbers)
    .fetch_all(reading.connection())
    .await?;
    let screenings: Vec<Screening> = sqlx::query_as(
        "SELECT number, id, tape, started_position, started_at, ended_position, ended_at
         FROM screenings WHERE broadcaster = $1 AND number = ANY($2) ORDER BY started_position",
    )
    .bind(broadcaster)
    .bind(&numbers)
    .fetch_all(reading.connection())
    .await?;
    let mut intervals = by_number(intervals, |interval| interval.number);
    let mut screenings = by_number(screenings, |screening| screening.number);
    let broadcast = |row: Stored| Broadcast {
        broadcaster: broadcaster.to_owned(),
        number: row.number,
        live_id: row.live_id,
        live: row.ended_position.is_none(),
        title: row.title,
        category: row.category,
        language: row.language,
        started_position: row.started_position,
        started_at: row.started_at,
        ended_position: row.ended_position,
        ended_at: row.ended_at,
        intervals: intervals.remove(&row.number).unwrap_or_default(),
        screenings: screenings.remove(&row.number).unwrap_or_default(),
    };
    Ok(stored.into_iter().map(broadcast).collect())
}

fn by_number<T>(rows: Vec<T>, number: fn(&T) -> i64) -> HashMap<i64, Vec<T>> {
    let mut grouped: HashMap<i64, Vec<T>> = HashMap::new();
    for row in rows {
        grouped.entry(number(&row)).or_default().push(row);
    }
    grouped
}

#[async_trait]
impl Projection for Broadcasts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["broadcast"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["broadcasts", "broadcast_intervals", "screenings", "broadcasters"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for statement in fold::TABLES {
            sqlx::query(statement).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        for event in batch {
            if fold::moves(&event.event_type) {
                let read = event.event().map_err(|error| Failure::unreadable(event, error))?;
                fold::apply(connection, event, read).await?;
            }
        }
        Ok(())
    }
}
