//! The row of how chat is read over IRC: written by the process that reads, read by whoever asks how it is.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::twitch::standing::{Standing, Stands};

/// How it is.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Feed {
    /// `connecting`, `joined`, `refused`, `stopped`.
    pub state: String,
    pub why: Option<String>,
    pub since: DateTime<Utc>,
    /// All that was said before this is stored.
    pub heard_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str = "SELECT state, why, since, heard_at FROM irc_feeds";

/// How the chat of `broadcaster` is read, if anybody ever read it.
pub async fn find(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Option<Feed>> {
    let query = format!("{COLUMNS} WHERE broadcaster = $1");
    sqlx::query_as(&query).bind(broadcaster).fetch_optional(pool).await
}

/// The row, as whoever reads writes it. Whoever was cut off and follows nobody writes nothing any more.
#[derive(Clone)]
pub struct Row {
    pub pool: PgPool,
    pub broadcaster: String,
    pub reader: Uuid,
}

impl Row {
    /// Begins to read; gives what whoever read before left.
    pub async fn begin(&self, at: DateTime<Utc>) -> sqlx::Result<Feed> {
        sqlx::query_as(
            "INSERT INTO irc_feeds (broadcaster, state, since, reader)
             VALUES ($1, 'connecting', $2, $3)
             ON CONFLICT (broadcaster) DO UPDATE
             SET state = 'connecting', why = NULL, since = $2, reader = $3
             RETURNING state, why, since, heard_at",
        )
        .bind(&self.broadcaster)
        .bind(at)
        .bind(self.reader)
        .fetch_one(&self.pool)
        .await
    }

    /// Up to when all that was said is stored.
    pub async fn heard(&self, at: Option<DateTime<Utc>>) -> sqlx::Result<()> {
        let query = "UPDATE irc_feeds SET heard_at = $2 WHERE broadcaster = $1 AND reader = $3";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(at).bind(self.reader);
        query.execute(&self.pool).await.map(drop)
    }
}

impl Stands for Row {
    const WAY: &'static str = "IRC";

    async fn stands(&self, standing: &Standing) -> sqlx::Result<()> {
        let query = "UPDATE irc_feeds SET state = $2, why = $3, since = $4
             WHERE broadcaster = $1 AND reader = $5";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(standing.state);
        let query = query.bind(&standing.why).bind(standing.since).bind(self.reader);
        query.execute(&self.pool).await.map(drop)
    }
}
