//! The rows of `generation_makings`: what the provider was asked, what it cost, and what came of it.

use chrono::{DateTime, Utc};
use domain::generation::Picture;
use sqlx::types::Json;

use super::lease::Lease;
use super::worker::{Worker, backoff, later};
use crate::pictures::PictureError;

/// How many pictures of a request are read.
const DRAWN_READ_MAX: i64 = 4;

/// How a making ended.
pub(super) struct Ended {
    pub(super) result: &'static str,
    /// `None` where it is not known: then what was set aside stays.
    pub(super) cost_micros: Option<i64>,
    pub(super) resume_at: Option<DateTime<Utc>>,
}

impl Worker {
    pub(super) async fn end_making(
        &self,
        lease: &Lease,
        ended: Ended,
        picture: Option<&Picture>,
    ) -> sqlx::Result<()> {
        metrics::counter!("tapedeck_generation_makings_total", "result" => ended.result)
            .increment(1);
        sqlx::query(
            "UPDATE generation_makings
             SET ended_at = $2, result = $3, cost_micros = coalesce($4, cost_micros),
                 resume_at = $5, picture = $6
             WHERE id = $1",
        )
        .bind(lease.making)
        .bind((self.clock)())
        .bind(ended.result)
        .bind(ended.cost_micros)
        .bind(ended.resume_at)
        .bind(picture.map(Json))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The provider was not asked after all, so that nothing is spent.
    pub(super) async fn forget_making(&self, lease: &Lease) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM generation_makings WHERE id = $1")
            .bind(lease.making)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The journal cannot decide the result: the request is left alone until somebody retries the dead letter.
    pub(super) async fn park_making(&self, lease: &Lease) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE generation_makings
             SET cost_micros = CASE WHEN ended_at IS NULL THEN 0 ELSE cost_micros END,
                 ended_at = coalesce(ended_at, $2), result = 'dead'
             WHERE id = $1",
        )
        .bind(lease.making)
        .bind((self.clock)())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was drawn of this request before and is not reported, the latest first. It may be of an earlier attempt: of one
    /// that counts as failed all the same, because its failure was reported first.
    pub(super) async fn drawn(&self, lease: &Lease) -> sqlx::Result<Vec<Picture>> {
        let pictures: Vec<Json<Picture>> = sqlx::query_scalar(
            "SELECT picture FROM generation_makings
             WHERE request = $1 AND picture IS NOT NULL
             ORDER BY ended_at DESC, id LIMIT $2",
        )
        .bind(lease.request)
        .bind(DRAWN_READ_MAX)
        .fetch_all(&self.pool)
        .await?;
        Ok(pictures.into_iter().map(|picture| picture.0).collect())
    }

    /// The store does not take what was drawn. It is asked again later; until then everybody rests, because what others
    /// draw would not be taken either.
    pub(super) async fn rest(&self, lease: &Lease, error: &PictureError) -> sqlx::Result<()> {
        let before: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM generation_makings
             WHERE request = $1 AND attempt = $2 AND result = 'retry'",
        )
        .bind(lease.request)
        .bind(i64::from(lease.attempt))
        .fetch_one(&self.pool)
        .await?;
        let now = (self.clock)();
        let times = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
        let resume_at = later(now, backoff(times, lease.making));
        let (request, attempt) = (lease.request, lease.attempt);
        tracing::error!(%request, attempt, %error, %resume_at, "a picture is drawn and not stored");
        metrics::counter!("tapedeck_generation_makings_total", "result" => "unstored").increment(1);
        // Where nothing was drawn in this making, nothing was spent.
        sqlx::query(
            "UPDATE generation_makings
             SET ended_at = $2, result = 'retry', resume_at = $3,
                 cost_micros = CASE WHEN picture IS NULL THEN 0 ELSE cost_micros END
             WHERE id = $1",
        )
        .bind(lease.making)
        .bind(now)
        .bind(resume_at)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What was drawn is stored: nobody has to rest because of it any more.
    pub(super) async fn stored(&self, lease: &Lease) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE generation_makings SET ended_at = $3, result = 'made', resume_at = NULL
             WHERE request = $1 AND attempt = $2 AND result = 'retry'",
        )
        .bind(lease.request)
        .bind(i64::from(lease.attempt))
        .bind((self.clock)())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// How many workers had this attempt in hand before and are gone without a word.
    pub(super) async fn deaths(&self, lease: &Lease) -> sqlx::Result<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FROM generation_makings
             WHERE request = $1 AND attempt = $2 AND ended_at IS NULL AND id <> $3",
        )
        .bind(lease.request)
        .bind(i64::from(lease.attempt))
        .bind(lease.making)
        .fetch_one(&self.pool)
        .await
    }
}
