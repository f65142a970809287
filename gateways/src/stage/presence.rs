//! Who is there: the table `overlays`, one row per connection.
//!
//! Each process says now and then that it lives. A process that died says nothing more, and its overlays are counted as
//! gone soon after; rows of connections that are over are kept for a while and then deleted.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

/// How often a process says that it lives, in seconds, and after how many of silence its overlays are gone.
pub const BEAT_S: u64 = 2;
const SILENCE_S: f64 = 7.0;
/// How long the row of a connection that is over is kept.
const KEPT_S: f64 = 1_800.0;
/// The most rows of a stage that are read.
const ROWS_MAX: i64 = 2_000;

/// Where in OBS an overlay stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Everything in one source.
    #[default]
    All,
    /// Texts, sounds and most alerts.
    Normal,
    /// What is blended over the picture; it never stands alone.
    Screen,
}

impl Layer {
    pub fn name(self) -> &'static str {
        match self {
            Layer::All => "all",
            Layer::Normal => "normal",
            Layer::Screen => "screen",
        }
    }
}

/// A connection of an overlay.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    pub connection: Uuid,
    pub stage: String,
    pub overlay: Uuid,
    pub layer: Layer,
    /// The types it shows; empty: all.
    pub kinds: Vec<String>,
    /// The process that holds its socket.
    pub process: Uuid,
    /// The key it came with.
    pub key: Uuid,
}

/// A connection as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Present {
    #[serde(skip)]
    pub connection: Uuid,
    pub overlay: Uuid,
    pub layer: String,
    /// The types it shows; empty: all.
    pub kinds: Vec<String>,
    pub since: DateTime<Utc>,
    /// How long it is there already, by the clock of the database.
    #[serde(skip)]
    pub age_ms: i64,
    /// It is connected now, as far as anybody knows.
    #[serde(skip)]
    pub here: bool,
    #[serde(skip)]
    pub sent_alert: Option<Uuid>,
    #[serde(skip)]
    pub sent_attempt: Option<i64>,
    /// What it said last that it has on the screen, and when.
    pub painted_alert: Option<Uuid>,
    pub painted_at: Option<DateTime<Utc>>,
}

impl Present {
    /// Whether it can show an alert of this type by itself, and say so.
    pub fn shows(&self, kind: &str) -> bool {
        self.layer != Layer::Screen.name()
            && (self.kinds.is_empty() || self.kinds.iter().any(|shown| shown == kind))
    }
}

/// All connections of a stage that are remembered, the newest first.
pub async fn of(pool: &PgPool, stage: &str) -> sqlx::Result<Vec<Present>> {
    sqlx::query_as(
        "SELECT connection, overlay, layer, kinds, since, sent_alert, sent_attempt, painted_alert,
                painted_at,
                (extract(epoch FROM clock_timestamp() - since) * 1000)::bigint AS age_ms,
                gone_at IS NULL AND seen_at > clock_timestamp() - make_interval(secs => $2) AS here
         FROM overlays WHERE stage = $1 ORDER BY since DESC, connection LIMIT $3",
    )
    .bind(stage)
    .bind(SILENCE_S)
    .bind(ROWS_MAX)
    .fetch_all(pool)
    .await
}

pub async fn arrive(pool: &PgPool, arrival: &Arrival) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO overlays (connection, stage, overlay, layer, kinds, process, key)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(arrival.connection)
    .bind(&arrival.stage)
    .bind(arrival.overlay)
    .bind(arrival.layer.name())
    .bind(&arrival.kinds)
    .bind(arrival.process)
    .bind(arrival.key)
    .execute(pool)
    .await
    .map(drop)
}

pub async fn leave(pool: &PgPool, connection: Uuid) -> sqlx::Result<()> {
    sqlx::query("UPDATE overlays SET gone_at = clock_timestamp() WHERE connection = $1")
        .bind(connection)
        .execute(pool)
        .await
        .map(drop)
}

/// Notes that the start of this attempt goes to this connection; whoever sends it notes it first. Answers whether the
/// connection is one that is known still.
pub async fn sent(
    pool: &PgPool,
    connection: Uuid,
    alert: Uuid,
    attempt: i64,
) -> sqlx::Result<bool> {
    let noted = sqlx::query(
        "UPDATE overlays SET sent_alert = $2, sent_attempt = $3, seen_at = clock_timestamp()
         WHERE connection = $1 AND gone_at IS NULL",
    )
    .bind(connection)
    .bind(alert)
    .bind(attempt)
    .execute(pool)
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes that this connection was sent that start too late to show it.
pub async fn unsent(
    pool: &PgPool,
    connection: Uuid,
    alert: Uuid,
    attempt: i64,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE overlays SET sent_alert = NULL, sent_attempt = NULL
         WHERE connection = $1 AND sent_alert = $2 AND sent_attempt = $3",
    )
    .bind(connection)
    .bind(alert)
    .bind(attempt)
    .execute(pool)
    .await
    .map(drop)
}

pub async fn painted(pool: &PgPool, connection: Uuid, alert: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE overlays SET painted_alert = $2, painted_at = clock_timestamp()
         WHERE connection = $1",
    )
    .bind(connection)
    .bind(alert)
    .execute(pool)
    .await
    .map(drop)
}

/// Says that `process` lives, and forgets what is long over.
pub async fn beat(pool: &PgPool, process: Uuid) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE overlays SET seen_at = clock_timestamp() WHERE process = $1 AND gone_at IS NULL",
    )
    .bind(process)
    .execute(pool)
    .await?;
    sqlx::query(
        "DELETE FROM overlays WHERE seen_at < clock_timestamp() - make_interval(secs => $1)",
    )
    .bind(KEPT_S)
    .execute(pool)
    .await
    .map(drop)
}
