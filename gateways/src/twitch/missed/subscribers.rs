//! Who is subscribed, against who was: Twitch tells no more than that.
//!
//! It says neither since when somebody is subscribed nor under which name it would have told so. A late notification could
//! not be told from what was credited in its stead, and would count twice: so nobody is credited for being on the list.
//! It is only counted who is new there and was not told of.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

/// Who is on the list and was not when it was last read, and of whom no sub was told since `since`.
pub async fn untold(
    pool: &PgPool,
    broadcaster: &str,
    now: &BTreeSet<String>,
    since: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT count(*) FROM UNNEST($2::text[]) AS subscribed (viewer)
         WHERE NOT EXISTS (SELECT FROM missed_subscribers AS before
                           WHERE before.broadcaster = $1 AND before.viewer = subscribed.viewer)
           AND NOT EXISTS (SELECT FROM events AS told
                           WHERE told.aggregate_type = 'account'
                             AND told.aggregate_id = subscribed.viewer
                             AND told.event_type = 'credited' AND told.recorded_at >= $3
                             AND (told.payload -> 'credited' -> 'facts' -> 'subscription' IS NOT NULL
                               OR told.payload -> 'credited' -> 'facts' -> 'resubscription' IS NOT NULL))",
    )
    .bind(broadcaster)
    .bind(now.iter().collect::<Vec<_>>())
    .bind(since)
    .fetch_one(pool)
    .await
}

/// Keeps who is on the list now.
pub async fn keep(pool: &PgPool, broadcaster: &str, now: &BTreeSet<String>) -> sqlx::Result<()> {
    let all: Vec<&String> = now.iter().collect();
    let mut tx = pool.begin().await?;
    sqlx::query("DELETE FROM missed_subscribers WHERE broadcaster = $1 AND NOT viewer = ANY($2)")
        .bind(broadcaster)
        .bind(&all)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "INSERT INTO missed_subscribers (broadcaster, viewer)
         SELECT $1, viewer FROM UNNEST($2::text[]) AS subscribed (viewer) ON CONFLICT DO NOTHING",
    )
    .bind(broadcaster)
    .bind(&all)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
