//! The row of what Twitch tells us of a channel: written by the process that listens, read by whoever asks how it is.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::round::Report;
use super::settings::Transport;
use crate::twitch::standing::{Standing, Stands};

/// How it is.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Feed {
    /// Who listens, or listened last.
    pub listener: Uuid,
    pub transport: String,
    /// `connecting`, `connected`, `subscribed` (webhooks), `stopped`.
    pub state: String,
    pub why: Option<String>,
    pub since: DateTime<Utc>,
    /// All that was told before this is stored; of webhooks, all were taken in.
    pub heard_at: Option<DateTime<Utc>>,
    /// The types that reach us.
    pub kinds: Vec<String>,
    #[serde(skip)]
    pub asked: i64,
    #[serde(skip)]
    pub answered: i64,
    #[sqlx(json(nullable))]
    pub report: Option<Report>,
}

const COLUMNS: &str = "SELECT listener, transport, state, why, since, heard_at, kinds, asked, answered, report FROM eventsub_feeds";

/// How the feed of `broadcaster` is, if anybody ever listened.
pub async fn find(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Option<Feed>> {
    let query = format!("{COLUMNS} WHERE broadcaster = $1");
    sqlx::query_as(&query).bind(broadcaster).fetch_optional(pool).await
}

/// Asks for all subscriptions to be looked at; once `answered` is the number that is given, they were. `None` where
/// nobody ever listened.
pub async fn ask(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Option<i64>> {
    let query =
        "UPDATE eventsub_feeds SET asked = asked + 1 WHERE broadcaster = $1 RETURNING asked";
    sqlx::query_scalar(query).bind(broadcaster).fetch_optional(pool).await
}

/// Why nobody listens yet.
pub async fn waits(pool: &PgPool, broadcaster: &str, why: &str) -> sqlx::Result<()> {
    let query = "UPDATE eventsub_feeds SET state = 'connecting', why = $2, since = now()
         WHERE broadcaster = $1";
    sqlx::query(query).bind(broadcaster).bind(why).execute(pool).await.map(drop)
}

/// The row of one feed, as whoever listens writes it.
#[derive(Clone)]
pub struct Row {
    pub pool: PgPool,
    pub broadcaster: String,
    pub listener: Uuid,
}

impl Row {
    /// Begins to listen; gives what whoever listened before left. Where no conduit is to tell us, its shards are nobody's
    /// from then on: whoever holds one, because they run as they were configured before, leaves it.
    pub async fn begin(&self, transport: Transport, at: DateTime<Utc>) -> sqlx::Result<Feed> {
        let mut tx = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO eventsub_feeds (broadcaster, transport, state, since, listener)
             VALUES ($1, $2, 'connecting', $3, $4)
             ON CONFLICT (broadcaster) DO UPDATE
             SET transport = $2, state = 'connecting', why = NULL, since = $3, listener = $4",
        )
        .bind(&self.broadcaster)
        .bind(transport.name())
        .bind(at)
        .bind(self.listener)
        .execute(&mut *tx)
        .await?;
        if transport != Transport::Conduit {
            sqlx::query("DELETE FROM eventsub_shards WHERE broadcaster = $1")
                .bind(&self.broadcaster)
                .execute(&mut *tx)
                .await?;
        }
        let query = format!("{COLUMNS} WHERE broadcaster = $1");
        let feed = sqlx::query_as(&query).bind(&self.broadcaster).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(feed)
    }

    /// Whether nobody else has begun to listen since we did.
    pub async fn is_ours(&self) -> sqlx::Result<bool> {
        let query = "SELECT listener = $2 FROM eventsub_feeds WHERE broadcaster = $1";
        let query = sqlx::query_scalar(query).bind(&self.broadcaster).bind(self.listener);
        query.fetch_optional(&self.pool).await.map(|ours| ours.unwrap_or(true))
    }

    /// What reaches us, and up to when all of it is stored.
    pub async fn heard(&self, at: Option<DateTime<Utc>>, kinds: &[String]) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_feeds SET heard_at = GREATEST(heard_at, $2), kinds = $3
             WHERE broadcaster = $1 AND listener = $4";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(at).bind(kinds);
        query.bind(self.listener).execute(&self.pool).await.map(drop)
    }

    /// Up to which question somebody asks.
    pub async fn asked(&self) -> sqlx::Result<(i64, i64)> {
        let query = "SELECT asked, answered FROM eventsub_feeds WHERE broadcaster = $1";
        sqlx::query_as(query).bind(&self.broadcaster).fetch_one(&self.pool).await
    }

    /// What a look came to, which answers all who had asked up to `asked`.
    pub async fn looked(&self, report: &Report, asked: i64) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE eventsub_feeds SET report = $2, answered = GREATEST(answered, $3)
             WHERE broadcaster = $1 AND listener = $4",
        )
        .bind(&self.broadcaster)
        .bind(Json(report))
        .bind(asked)
        .bind(self.listener)
        .execute(&self.pool)
        .await
        .map(drop)
    }
}

impl Stands for Row {
    const WAY: &'static str = "EventSub";

    async fn stands(&self, standing: &Standing) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_feeds SET state = $2, why = $3, since = $4
             WHERE broadcaster = $1 AND listener = $5";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(standing.state);
        let query = query.bind(&standing.why).bind(standing.since).bind(self.listener);
        query.execute(&self.pool).await.map(drop)
    }
}
