//! Gaps: from when until when which kinds of notifications did not reach us, and what was found out of them later.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use domain::intake::{Event, Found};
use journal::{Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "gaps";

/// The projection `gaps`.
pub struct Gaps;

/// An interval in which nothing of these kinds may have reached us.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Gap {
    /// Of the event that says when it began.
    pub position: i64,
    /// Of the event that says when it ended.
    pub ended_position: Option<i64>,
    pub broadcaster: String,
    pub kinds: Vec<String>,
    pub since: DateTime<Utc>,
    /// `None` while it lasts.
    pub until: Option<DateTime<Utc>>,
    pub reason: String,
    /// When it was looked what had happened in it.
    pub reconciled_at: Option<DateTime<Utc>>,
    /// What was found out of the kinds of which something could be.
    #[sqlx(json)]
    pub found: BTreeMap<String, Found>,
}

/// A kind of a gap into which nobody has looked yet.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Unseen {
    pub kind: String,
    pub since: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
    /// Of the event that says when it ended.
    pub ended_position: Option<i64>,
}

/// The gaps of some kinds that last, or into which nobody has looked, newest first, at most `limit`: each kind of each.
pub async fn unseen(
    pool: &PgPool,
    broadcaster: &str,
    kinds: &[&str],
    limit: i64,
) -> Result<Vec<Unseen>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let found = sqlx::query_as(
        "SELECT kind, since, until, ended_position FROM gaps
         WHERE broadcaster = $1 AND kind = ANY($2) AND found IS NULL
         ORDER BY since DESC, kind LIMIT $3",
    )
    .bind(broadcaster)
    .bind(kinds)
    .bind(limit)
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    Ok(found)
}

/// The position at which the last gap of some kinds ended into which nobody has looked; 0 where there is none.
pub async fn last_over(
    pool: &PgPool,
    broadcaster: &str,
    kinds: &[&str],
) -> Result<i64, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let query = "SELECT coalesce(max(ended_position), 0) FROM gaps
                 WHERE broadcaster = $1 AND kind = ANY($2) AND found IS NULL";
    let query = sqlx::query_scalar(query).bind(broadcaster).bind(kinds);
    let last = query.fetch_one(reading.connection()).await?;
    reading.close().await?;
    Ok(last)
}

/// Some gaps, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct List {
    pub position: i64,
    pub gaps: Vec<Gap>,
    /// How many last.
    pub open: i64,
    /// The position that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

/// The gaps, newest first; only those that last, if `open`. Kinds that were lost and came back together are one gap, and
/// a page never ends within what was lost together.
pub async fn list(pool: &PgPool, open: bool, page: Page) -> Result<List, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let positions: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT position FROM gaps WHERE position < $1 AND (until IS NULL OR NOT $2)
         ORDER BY position DESC LIMIT $3",
    )
    .bind(page.before())
    .bind(open)
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let kept = usize::try_from(limit).unwrap_or_default().min(positions.len());
    let gaps = sqlx::query_as(
        "SELECT position, ended_position, broadcaster, array_agg(kind ORDER BY kind) AS kinds, since,
                until, reason, max(reconciled_at) AS reconciled_at,
                coalesce(json_object_agg(kind, found ORDER BY kind) FILTER (WHERE found IS NOT NULL), '{}')
                    AS found
         FROM gaps WHERE position = ANY($1) AND (until IS NULL OR NOT $2)
         GROUP BY position, ended_position, broadcaster, since, until, reason
         ORDER BY position DESC, ended_position DESC NULLS FIRST",
    )
    .bind(&positions[..kept])
    .bind(open)
    .fetch_all(reading.connection())
    .await?;
    let open = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT DISTINCT position FROM gaps WHERE until IS NULL) AS open",
    )
    .fetch_one(reading.connection())
    .await?;
    let position = reading.position;
    reading.close().await?;
    let before = (positions.len() > kept).then(|| positions.get(kept.wrapping_sub(1)).copied());
    Ok(List { position, gaps, open, before: before.flatten() })
}

#[async_trait]
impl Projection for Gaps {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        2
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["intake"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["gaps"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for statement in [
            "CREATE TABLE gaps (
                 position       bigint      NOT NULL,
                 kind           text        NOT NULL,
                 broadcaster    text        NOT NULL,
                 since          timestamptz NOT NULL,
                 until          timestamptz,
                 ended_position bigint,
                 reason         text        NOT NULL,
                 reconciled_at  timestamptz,
                 found          json,
                 PRIMARY KEY (position, kind)
             )",
            "CREATE UNIQUE INDEX gaps_open ON gaps (broadcaster, kind) WHERE until IS NULL",
        ] {
            sqlx::query(statement).execute(&mut *connection).await?;
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
            fold(connection, recorded, event).await?;
        }
        Ok(())
    }
}

async fn fold(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: Event,
) -> sqlx::Result<()> {
    let broadcaster = &recorded.aggregate_id;
    let query = match &event {
        Event::Lost { kinds, since, reason, .. } => sqlx::query(
            "INSERT INTO gaps (position, kind, broadcaster, since, reason)
             SELECT $1, kind, $2, $3, $4 FROM unnest($5::text[]) AS kind",
        )
        .bind(recorded.position)
        .bind(broadcaster)
        .bind(since)
        .bind(reason)
        .bind(kinds),
        Event::Restored { kinds, until, .. } => sqlx::query(
            "UPDATE gaps SET until = $3, ended_position = $1
             WHERE broadcaster = $2 AND until IS NULL AND kind = ANY($4)",
        )
        .bind(recorded.position)
        .bind(broadcaster)
        .bind(until)
        .bind(kinds),
        Event::Reconciled { kinds, until, at, .. } => {
            return reconciled(connection, broadcaster, kinds, *until, *at).await;
        }
    };
    query.execute(connection).await.map(drop)
}

/// Each kind of a gap carries what was found out of it.
async fn reconciled(
    connection: &mut PgConnection,
    broadcaster: &str,
    kinds: &BTreeMap<String, Found>,
    until: DateTime<Utc>,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    for (kind, found) in kinds {
        sqlx::query(
            "UPDATE gaps SET reconciled_at = $4, found = $5
             WHERE broadcaster = $1 AND kind = $2 AND until = $3 AND found IS NULL",
        )
        .bind(broadcaster)
        .bind(kind)
        .bind(until)
        .bind(at)
        .bind(Json(found))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
