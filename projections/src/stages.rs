//! What plays on each stage and what waits for it: one row per stage, and one per stage and alert.
//!
//! An alert waits on every stage that was open when it was recorded. What happened before a stage was opened is not for
//! it, so that the first start after an upgrade does not play a year of alerts. A stage that is closed has no row; the
//! alerts that it had keep theirs.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use domain::stage::{self, Sound};
use journal::{Content, Failure, Projection, Recorded};

use crate::alerts::{self, Alert};
use crate::reading::{AsOf, Page, QueryError, Reading};

mod fold;
mod line;

pub use line::{Line, Playing, Waiting, line, open};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "stages";

/// The states an alert can be in on a stage. One that is `shown` may still be on the screen.
pub const STATES: [&str; 7] =
    ["waiting", "playing", "shown", "skipped", "expired", "unknown", "cleared"];

/// Up to here those that wait are counted.
pub const COUNTED_MAX: i64 = 10_000;

/// How many of those that wait a [`View`] has.
const NEXT_MAX: i64 = 20;

/// The projection `stages`: stages, and what was, is and will be shown on them.
pub struct Stages;

/// An alert on a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Showing {
    pub alert: Alert,
    /// One of [`STATES`].
    pub state: String,
    /// How often it was started.
    pub attempts: i64,
    /// Since when it waits, or did.
    pub queued_at: DateTime<Utc>,
    /// When it was started last, from when to when.
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub shown_at: Option<DateTime<Utc>>,
    /// Why it waits again or is unknown, and who skipped, cleared, replayed or prioritised it.
    pub reason: Option<String>,
    pub actor: Option<String>,
    /// What somebody wanted to come next has a higher one than the others.
    pub priority: i64,
}

/// A stage as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// The position of history that this is true for.
    pub position: i64,
    /// The line of history, which changes when a dump is restored.
    pub epoch: Uuid,
    pub stage: String,
    pub paused: bool,
    pub sound_muted: bool,
    pub speech_muted: bool,
    /// What was started last, while nothing says that it is over: look at its times.
    pub playing: Option<Showing>,
    /// What waits, in the order of play: the first of them.
    pub next: Vec<Showing>,
    /// How many wait, counted up to [`COUNTED_MAX`].
    pub waiting: i64,
}

/// Some alerts of a stage, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct List {
    pub position: i64,
    pub showings: Vec<Showing>,
    /// The alert's position that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

const COLUMNS: &str = "SELECT s.position, s.alert AS id, s.kind, s.viewer, v.name, s.data, s.at,
            v.erased_at IS NOT NULL AS erased, s.state, s.attempts, s.queued_at, s.starts_at,
            s.ends_at, s.shown_at, s.reason, s.actor, s.priority
     FROM showings s LEFT JOIN viewer_names v ON v.viewer_id = s.viewer";

/// The stage of this name; `None` where it is not open.
pub async fn view(pool: &PgPool, stage: &str) -> Result<(i64, Option<View>), QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let position = reading.position;
    let row: Option<Row> = sqlx::query_as(
        "SELECT s.paused, s.sound_muted, s.speech_muted, s.playing, h.epoch,
                (SELECT count(*) FROM (SELECT FROM showings w
                 WHERE w.stage = s.stage AND w.state = 'waiting' LIMIT $2) AS counted) AS waiting
         FROM stages s, public.head h WHERE s.stage = $1",
    )
    .bind(stage)
    .bind(COUNTED_MAX)
    .fetch_optional(reading.connection())
    .await?;
    let Some(row) = row else { return Ok((position, None)) };
    let playing: Option<Stored> = match row.playing {
        None => None,
        Some(alert) => {
            sqlx::query_as(&format!("{COLUMNS} WHERE s.stage = $1 AND s.alert = $2"))
                .bind(stage)
                .bind(alert)
                .fetch_optional(reading.connection())
                .await?
        }
    };
    let next: Vec<Stored> = sqlx::query_as(&format!(
        "{COLUMNS} WHERE s.stage = $1 AND s.state = 'waiting'
         ORDER BY s.priority DESC, s.place LIMIT $2"
    ))
    .bind(stage)
    .bind(NEXT_MAX)
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    let view = View {
        position,
        epoch: row.epoch,
        stage: stage.to_owned(),
        paused: row.paused,
        sound_muted: row.sound_muted,
        speech_muted: row.speech_muted,
        playing: playing.map(Showing::from),
        next: next.into_iter().map(Showing::from).collect(),
        waiting: row.waiting,
    };
    Ok((position, Some(view)))
}

/// The alerts of a stage, in this state or in any, newest first. The page's cursor is the position of an alert.
pub async fn list(
    pool: &PgPool,
    stage: &str,
    state: Option<&str>,
    page: Page,
) -> Result<List, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let rows: Vec<Stored> = sqlx::query_as(&format!(
        "{COLUMNS} WHERE s.stage = $1 AND s.position < $2 AND ($3::text IS NULL OR s.state = $3)
         ORDER BY s.position DESC LIMIT $4"
    ))
    .bind(stage)
    .bind(page.before())
    .bind(state)
    .bind(limit)
    .fetch_all(reading.connection())
    .await?;
    let position = reading.position;
    reading.close().await?;
    let showings: Vec<Showing> = rows.into_iter().map(Showing::from).collect();
    let full = showings.len() as i64 == limit;
    let before = showings.last().map(|last| last.alert.position).filter(|_| full);
    Ok(List { position, showings, before })
}

/// One alert of a stage.
pub async fn one(
    pool: &PgPool,
    stage: &str,
    alert: Uuid,
) -> Result<(i64, Option<Showing>), QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let row: Option<Stored> =
        sqlx::query_as(&format!("{COLUMNS} WHERE s.stage = $1 AND s.alert = $2"))
            .bind(stage)
            .bind(alert)
            .fetch_optional(reading.connection())
            .await?;
    let position = reading.position;
    reading.close().await?;
    Ok((position, row.map(Showing::from)))
}

#[derive(sqlx::FromRow)]
struct Row {
    paused: bool,
    sound_muted: bool,
    speech_muted: bool,
    playing: Option<Uuid>,
    epoch: Uuid,
    waiting: i64,
}

#[derive(sqlx::FromRow)]
struct Stored {
    #[sqlx(flatten)]
    alert: alerts::Stored,
    state: String,
    attempts: i64,
    queued_at: DateTime<Utc>,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    shown_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    actor: Option<String>,
    priority: i64,
}

impl From<Stored> for Showing {
    fn from(row: Stored) -> Self {
        Showing {
            alert: row.alert.into(),
            state: row.state,
            attempts: row.attempts,
            queued_at: row.queued_at,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            shown_at: row.shown_at,
            reason: row.reason,
            actor: row.actor,
            priority: row.priority,
        }
    }
}

impl Showing {
    /// What an overlay has to know of it.
    pub fn told(&self) -> Value {
        let Alert { position, id, kind, at, .. } = &self.alert;
        let data = self.alert.feed_data();
        serde_json::json!({
            "id": id, "position": position, "type": kind, "at": at, "data": data,
        })
    }
}

/// The column that says whether something is silent.
fn muted_column(sound: Sound) -> &'static str {
    match sound {
        Sound::Sound => "sound_muted",
        Sound::Speech => "speech_muted",
    }
}

#[async_trait]
impl Projection for Stages {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        3
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["account", "broadcast", "generation", "stage"]
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        event.aggregate_type == "stage" || alerts::may_show(event)
    }

    fn begins_with(&self) -> Option<&'static str> {
        Some("stage")
    }

    fn tables(&self) -> &'static [&'static str] {
        &["stages", "showings"]
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
        let mut open = fold::open_stages(connection).await?;
        let mut rows = Vec::new();
        for recorded in batch {
            let unreadable = |error| Failure::unreadable(recorded, error);
            if recorded.aggregate_type == "stage" {
                fold::queue(connection, &open, &mut rows).await?;
                let event: stage::Event = recorded.event().map_err(unreadable)?;
                fold::apply(connection, recorded, &event).await?;
                if matches!(event, stage::Event::Opened { .. } | stage::Event::Closed { .. }) {
                    open = fold::open_stages(connection).await?;
                }
            }
            if open.is_empty() {
                continue;
            }
            rows.extend(alerts::row(&recorded.content()).map_err(unreadable)?);
            if recorded.aggregate_type == "stage" {
                // A test is for its own stage.
                fold::queue(connection, std::slice::from_ref(&recorded.aggregate_id), &mut rows)
                    .await?;
            }
        }
        fold::queue(connection, &open, &mut rows).await?;
        Ok(())
    }
}
