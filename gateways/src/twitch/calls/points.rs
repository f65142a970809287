//! Where the points of an account are counted: in PostgreSQL, for all processes together, or in this process alone where
//! there is none, or it does not answer.
//!
//! A point is one row update. Twitch allows 800 calls in a minute, so that is some thirteen updates in a second at most,
//! and nothing has to be handed out, given back or divided between processes.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::timeout;

use super::bucket::{Bucket, Point, Said, Take, WAIT_MAX};

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub struct Points {
    here: Mutex<Bucket>,
    shared: Option<Shared>,
}

/// The row of an account.
struct Shared {
    pool: PgPool,
    account: String,
}

impl Points {
    pub fn alone() -> Self {
        Points { here: Mutex::default(), shared: None }
    }

    pub fn shared(pool: PgPool, account: String) -> Self {
        Points { here: Mutex::default(), shared: Some(Shared { pool, account }) }
    }

    pub async fn take(&self) -> Take {
        let take = match &self.shared {
            None => None,
            Some(shared) => heard(shared.take(Utc::now())).await,
        };
        let take = take.unwrap_or_else(|| self.here().take(Utc::now()));
        if let Take::Go(Point { left: Some(left), .. }) = take {
            metrics::gauge!("tapedeck_helix_points_left").set(left as f64);
        }
        take
    }

    /// What the answer to a call says that was made with `point`; with `used_up`, that it was one too many.
    pub async fn learn(&self, point: &Point, said: Option<Said>, used_up: bool) {
        let now = Utc::now();
        self.here().learn(said, point.asks, used_up, now);
        if used_up {
            metrics::gauge!("tapedeck_helix_points_left").set(0.0);
        }
        let Some(shared) = &self.shared else { return };
        if point.asks || used_up {
            let learned = shared.change(|bucket| bucket.learn(said, point.asks, used_up, now));
            heard(learned).await;
        } else if let Some(Said { left, reset_at: Some(reset_at), .. }) = said
            && reset_at > now
            && (point.reset_at < Some(reset_at) || point.left.is_some_and(|known| left < known))
        {
            heard(shared.lower(left, reset_at, now)).await;
        }
    }

    fn here(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What PostgreSQL says, if it does.
async fn heard<T>(asked: impl Future<Output = sqlx::Result<T>>) -> Option<T> {
    match timeout(ANSWER_LIMIT, asked).await {
        Ok(Ok(said)) => Some(said),
        // It was understood and not done: that is no outage, and waiting does not mend it.
        Ok(Err(error @ sqlx::Error::Database(_))) => {
            tracing::error!(%error, "the points of Helix are counted here alone");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "the points of Helix are counted here alone");
            None
        }
        Err(_) => None,
    }
}

impl Shared {
    async fn take(&self, now: DateTime<Utc>) -> sqlx::Result<Take> {
        // The ordinary way: there are some.
        let taken: Option<(i64, DateTime<Utc>)> = sqlx::query_as(
            "UPDATE helix_points SET free = free - 1
             WHERE account = $1 AND reset_at > $2 AND free > coalesce(most, 0) / 100
                   AND (rest_until IS NULL OR rest_until <= $2)
             RETURNING free, reset_at",
        )
        .bind(&self.account)
        .bind(now)
        .fetch_optional(&self.pool)
        .await?;
        if let Some((free, reset_at)) = taken {
            let point = Point { asks: false, left: Some(free), reset_at: Some(reset_at) };
            return Ok(Take::Go(point));
        }
        self.change(|bucket| bucket.take(now)).await
    }

    /// What is left can only be less than was known, until the bucket is filled again.
    async fn lower(
        &self,
        left: i64,
        reset_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE helix_points SET free = least(free, $2), reset_at = greatest(reset_at, $3)
             WHERE account = $1 AND reset_at > $4 AND (free > $2 OR reset_at < $3)",
        )
        .bind(&self.account)
        .bind(left)
        .bind(reset_at.min(now + WAIT_MAX))
        .bind(now)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    async fn change<T>(&self, change: impl FnOnce(&mut Bucket) -> T) -> sqlx::Result<T> {
        let mut tx = self.pool.begin().await?;
        let read = "SELECT free, most, reset_at, asked_at, rest_until FROM helix_points
             WHERE account = $1 FOR UPDATE";
        let read = || sqlx::query_as::<_, Bucket>(read).bind(&self.account);
        let mut bucket = match read().fetch_optional(&mut *tx).await? {
            Some(bucket) => bucket,
            None => {
                let query = "INSERT INTO helix_points (account) VALUES ($1) ON CONFLICT DO NOTHING";
                sqlx::query(query).bind(&self.account).execute(&mut *tx).await?;
                read().fetch_one(&mut *tx).await?
            }
        };
        let before = bucket;
        let changed = change(&mut bucket);
        if bucket != before {
            sqlx::query(
                "UPDATE helix_points SET free = $2, most = $3, reset_at = $4, asked_at = $5, rest_until = $6
                 WHERE account = $1",
            )
            .bind(&self.account)
            .bind(bucket.free)
            .bind(bucket.most)
            .bind(bucket.reset_at)
            .bind(bucket.asked_at)
            .bind(bucket.rest_until)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(changed)
    }
}
