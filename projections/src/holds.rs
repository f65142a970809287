//! The holds that are open: whose points are set aside, for what, and until when.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use domain::account::Event;
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use journal::{Content, Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading, Viewer, cut};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "holds";

/// The projection `holds`: one row per open hold.
pub struct Holds;

/// Points that are set aside.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Hold {
    pub id: Uuid,
    pub points: i64,
    pub purpose: String,
    pub expires_at: DateTime<Utc>,
    /// Of the event that set them aside.
    pub position: i64,
}

/// The open holds of a viewer, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Open {
    /// The position of history that this is true for.
    pub position: i64,
    pub viewer: Viewer,
    pub holds: Vec<Hold>,
    /// The cursor of the next page, where there is one.
    pub before: Option<i64>,
}

/// A hold whose time is over, with what is needed to end it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Due {
    pub id: Uuid,
    pub viewer: String,
    pub expires_at: DateTime<Utc>,
    /// Whether it pays for a request, which ends first.
    pub of_request: bool,
    /// The event that set the points aside, and what it belongs to.
    pub cause: Uuid,
    pub correlation: Option<Uuid>,
}

/// What an event does to the open holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Opened(Uuid, Opened),
    Closed(Uuid),
}

/// A row as it is stored, but for its id.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Opened {
    pub viewer: String,
    pub points: i64,
    pub purpose: String,
    pub expires_at: DateTime<Utc>,
    pub position: i64,
}

/// What an event does to the open holds, or `None` for what does nothing to them.
pub fn change(content: &Content<'_>) -> Result<Option<Change>, serde_json::Error> {
    if !concerns(content) {
        return Ok(None);
    }
    Ok(match serde_json::from_str(content.payload)? {
        Event::Held { entry, points, purpose, expires_at } => {
            let (viewer, position) = (content.aggregate_id.to_owned(), content.position);
            let expires_at = expires_at.trunc_subsecs(6); // PostgreSQL keeps microseconds
            Some(Change::Opened(entry, Opened { viewer, points, purpose, expires_at, position }))
        }
        Event::Captured { hold, .. } | Event::Released { hold, .. } => Some(Change::Closed(hold)),
        _ => None,
    })
}

fn concerns(event: &Content<'_>) -> bool {
    event.aggregate_type == "account"
        && matches!(event.event_type, "held" | "captured" | "released")
}

/// The open holds of `viewer`. The page's cursor is a position.
pub async fn of(pool: &PgPool, viewer: &str, page: Page) -> Result<Open, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let mut holds: Vec<Hold> = sqlx::query_as(
        "SELECT id, points, purpose, expires_at, position FROM holds
         WHERE viewer = $1 AND position < $2 ORDER BY position DESC LIMIT $3",
    )
    .bind(viewer)
    .bind(page.before())
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let viewer = reading.viewer(viewer).await?;
    let position = reading.position;
    reading.close().await?;
    let before = cut(&mut holds, limit, |hold| hold.position);
    Ok(Open { position, viewer, holds, before })
}

/// Holds that are due at `now`, the first due first: at most `limit` of those that come after `after`. A hold whose id
/// is that of a request pays for it: the request is in history before the hold.
pub async fn due(
    pool: &PgPool,
    now: DateTime<Utc>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Due>, QueryError> {
    let (after_time, after_id) = after.unwrap_or((DateTime::UNIX_EPOCH, Uuid::nil()));
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let due = sqlx::query_as(
        "SELECT h.id, h.viewer, h.expires_at, e.event_id AS cause,
                (e.metadata->>'correlation')::uuid AS correlation,
                EXISTS (SELECT FROM public.events g WHERE g.aggregate_type = 'generation'
                        AND g.aggregate_id = h.id::text AND g.sequence = 1) AS of_request
         FROM holds h JOIN public.events e ON e.position = h.position
         WHERE h.expires_at <= $1 AND ($4 OR (h.expires_at, h.id) > ($2, $3))
         ORDER BY h.expires_at, h.id LIMIT $5",
    )
    .bind(now)
    .bind(after_time)
    .bind(after_id)
    .bind(after.is_none())
    .bind(limit)
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    Ok(due)
}

/// When the next hold after `now` is due; `None` where none is open.
pub async fn next_due(
    pool: &PgPool,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let next = sqlx::query_scalar("SELECT min(expires_at) FROM holds WHERE expires_at > $1")
        .bind(now)
        .fetch_one(reading.connection())
        .await?;
    reading.close().await?;
    Ok(next)
}

#[async_trait]
impl Projection for Holds {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["account"]
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        concerns(event)
    }

    fn tables(&self) -> &'static [&'static str] {
        &["holds"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for statement in [
            "CREATE TABLE holds (
                 id         uuid        PRIMARY KEY,
                 viewer     text        NOT NULL,
                 points     bigint      NOT NULL,
                 purpose    text        NOT NULL,
                 expires_at timestamptz NOT NULL,
                 position   bigint      NOT NULL
             )",
            "CREATE INDEX ON holds (expires_at, id)",
            "CREATE INDEX ON holds (viewer, position)",
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
        let Changes { opened, closed } = fold(batch)?;
        if !opened.is_empty() {
            let column = |of: fn(&Opened) -> i64| opened.values().map(of).collect::<Vec<_>>();
            sqlx::query(
                "INSERT INTO holds (id, viewer, points, purpose, expires_at, position)
                 SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[],
                                      $6::bigint[])",
            )
            .bind(opened.keys().copied().collect::<Vec<Uuid>>())
            .bind(opened.values().map(|hold| hold.viewer.as_str()).collect::<Vec<&str>>())
            .bind(column(|hold| hold.points))
            .bind(opened.values().map(|hold| hold.purpose.as_str()).collect::<Vec<&str>>())
            .bind(opened.values().map(|hold| hold.expires_at).collect::<Vec<DateTime<Utc>>>())
            .bind(column(|hold| hold.position))
            .execute(&mut *connection)
            .await?;
        }
        if !closed.is_empty() {
            sqlx::query("DELETE FROM holds WHERE id = ANY($1)")
                .bind(closed.into_iter().collect::<Vec<Uuid>>())
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// What a batch changes: the holds that are open after it, and those of before that are not.
#[derive(Default)]
struct Changes {
    opened: BTreeMap<Uuid, Opened>,
    closed: BTreeSet<Uuid>,
}

fn fold(batch: &[&Recorded]) -> Result<Changes, Failure> {
    let mut changes = Changes::default();
    for event in batch {
        match change(&event.content()).map_err(|error| Failure::unreadable(event, error))? {
            Some(Change::Opened(id, hold)) => {
                changes.opened.insert(id, hold);
            }
            Some(Change::Closed(id)) if changes.opened.remove(&id).is_none() => {
                changes.closed.insert(id);
            }
            Some(Change::Closed(_)) | None => {}
        }
    }
    Ok(changes)
}
