//! Whom Twitch lists as moderators of the channel. A list that is not renewed holds for a day (`listed_moderators`).

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Keeps the whole list as Twitch had it at `now`.
pub(crate) async fn keep(
    pool: &PgPool,
    moderators: &[String],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let mut tx = pool.begin().await?;
    sqlx::query("DELETE FROM moderators WHERE NOT viewer = ANY($1)")
        .bind(moderators)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO moderators SELECT DISTINCT unnest($1::text[]), $2::timestamptz
         ON CONFLICT (viewer) DO UPDATE SET listed_at = excluded.listed_at",
    )
    .bind(moderators)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Whether the list makes this viewer a moderator.
pub(super) async fn lists(pool: &PgPool, viewer: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM listed_moderators WHERE viewer = $1)")
        .bind(viewer)
        .fetch_one(pool)
        .await
}

/// What is kept of Twitch's list, for whoever runs this.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Kept {
    pub moderators: i64,
    /// How many of them are moderators because of it: all, or none once it is too old.
    pub listed: i64,
    /// `None` where nobody is on it.
    pub listed_at: Option<DateTime<Utc>>,
}

impl Kept {
    pub async fn read(pool: &PgPool) -> sqlx::Result<Self> {
        sqlx::query_as(
            "SELECT count(*) AS moderators, (SELECT count(*) FROM listed_moderators) AS listed,
                    max(listed_at) AS listed_at
             FROM moderators",
        )
        .fetch_one(pool)
        .await
    }

    /// Whether moderators have lost their role because nobody renews the list.
    pub fn is_too_old(&self) -> bool {
        self.listed < self.moderators
    }
}
