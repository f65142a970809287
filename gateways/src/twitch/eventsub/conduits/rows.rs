//! The rows of a conduit: which it is, who is there to hold its shards, and who holds which. The conductor decides who is to
//! hold a shard and notes what Twitch was told; a holder notes its session, and what it lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::assign::Step;
use crate::twitch::eventsub::gaps::NOBODY;
use crate::twitch::standing::limited;

/// How often a holder says that it is there, and after how many seconds of silence it is gone.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
pub const SILENCE: Duration = Duration::from_secs(4);
/// Rows of holders that are long gone are deleted after this.
const KEPT_S: f64 = 3_600.0;

/// A conduit that is ours from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Adopted<'a> {
    pub conduit: &'a str,
    pub shards: i32,
    /// Since when Twitch may tell shards of it that nobody held; nothing where it has just been made.
    pub since: Option<DateTime<Utc>>,
    /// When Twitch was last known to tell everybody what it was to tell them over the one before.
    pub told_at: Option<DateTime<Utc>>,
}

/// A shard and whoever holds it.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, ToSchema)]
#[schema(as = EventsubShard)]
pub struct Shard {
    pub shard: i32,
    /// The process that is to hold it.
    pub holder: Option<Uuid>,
    #[serde(skip)]
    pub session: Option<String>,
    #[serde(skip)]
    pub assigned: Option<String>,
    /// All that was told over it before this is stored.
    pub heard_at: Option<DateTime<Utc>>,
    /// Since when what was told over it may not have reached us.
    pub lost_at: Option<DateTime<Utc>>,
    pub why: Option<String>,
}

/// Somebody who can hold shards.
#[derive(Clone, Copy, Debug, PartialEq, sqlx::FromRow)]
pub struct Present {
    pub holder: Uuid,
    /// They were heard of a moment ago.
    pub here: bool,
    pub leaving: bool,
}

/// The rows of one channel.
#[derive(Clone)]
pub struct Rows {
    pub pool: PgPool,
    pub broadcaster: String,
}

impl Rows {
    /// The conduit that is ours.
    pub async fn conduit(&self) -> sqlx::Result<Option<String>> {
        let query = "SELECT conduit FROM eventsub_conduits WHERE broadcaster = $1";
        limited(sqlx::query_scalar(query).bind(&self.broadcaster).fetch_optional(&self.pool)).await
    }

    /// Notes which conduit is ours and that it has so many shards. Over one that it was not before, nothing is told yet;
    /// what a shard lost that there is no more is said of the first.
    pub async fn adopt(&self, adopted: Adopted<'_>) -> sqlx::Result<()> {
        let Adopted { conduit, shards, since, told_at } = adopted;
        let adopting = async {
            let mut tx = self.pool.begin().await?;
            let is_other: Option<bool> = sqlx::query_scalar(
                "SELECT conduit <> $2 FROM eventsub_conduits WHERE broadcaster = $1",
            )
            .bind(&self.broadcaster)
            .bind(conduit)
            .fetch_optional(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO eventsub_conduits (broadcaster, conduit) VALUES ($1, $2)
                 ON CONFLICT (broadcaster) DO UPDATE SET conduit = $2, noted_at = clock_timestamp()",
            )
            .bind(&self.broadcaster)
            .bind(conduit)
            .execute(&mut *tx)
            .await?;
            if is_other != Some(false) {
                sqlx::query(
                    "UPDATE eventsub_shards SET assigned = NULL, why = COALESCE(why, 'the conduit was gone'),
                            lost_at = CASE WHEN assigned IS NULL THEN lost_at ELSE LEAST(lost_at, heard_at, $2) END
                     WHERE broadcaster = $1",
                )
                .bind(&self.broadcaster)
                .bind(told_at)
                .execute(&mut *tx)
                .await?;
            }
            sqlx::query(
                "WITH gone AS (DELETE FROM eventsub_shards WHERE broadcaster = $1 AND shard >= $2
                               RETURNING lost_at, heard_at),
                      lost AS (SELECT min(LEAST(lost_at, heard_at)) AS since FROM gone)
                 UPDATE eventsub_shards SET lost_at = LEAST(lost_at, lost.since),
                        why = COALESCE(why, 'there are fewer shards')
                 FROM lost WHERE broadcaster = $1 AND shard = 0 AND lost.since IS NOT NULL",
            )
            .bind(&self.broadcaster)
            .bind(shards)
            .execute(&mut *tx)
            .await?;
            sqlx::query(
                "INSERT INTO eventsub_shards (broadcaster, shard, lost_at, why)
                 SELECT $1, generate_series(0, $2 - 1), $3::timestamptz,
                        CASE WHEN $3::timestamptz IS NOT NULL THEN 'a new shard' END
                 ON CONFLICT DO NOTHING",
            )
            .bind(&self.broadcaster)
            .bind(shards)
            .bind(since)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        };
        limited(adopting).await
    }

    /// All shards in order.
    pub async fn shards(&self) -> sqlx::Result<Vec<Shard>> {
        let query = "SELECT shard, holder, session, assigned, heard_at, lost_at, why
             FROM eventsub_shards WHERE broadcaster = $1 ORDER BY shard LIMIT 1000";
        limited(sqlx::query_as(query).bind(&self.broadcaster).fetch_all(&self.pool)).await
    }

    /// How often somebody asked for a look.
    pub async fn asked(&self) -> sqlx::Result<i64> {
        let query = "SELECT asked FROM eventsub_feeds WHERE broadcaster = $1";
        let asked = sqlx::query_scalar(query).bind(&self.broadcaster).fetch_optional(&self.pool);
        Ok(limited(asked).await?.unwrap_or(0))
    }

    /// Everybody who ever said to be there, and whether they still do.
    pub async fn holders(&self) -> sqlx::Result<Vec<Present>> {
        let query = "SELECT holder, leaving,
                    seen_at > clock_timestamp() - make_interval(secs => $2) AS here
             FROM eventsub_holders WHERE broadcaster = $1 ORDER BY holder LIMIT 1000";
        let query = sqlx::query_as(query).bind(&self.broadcaster).bind(SILENCE.as_secs_f64());
        limited(query.fetch_all(&self.pool)).await
    }

    /// Has a shard go to somebody. What was told to whoever is gone, and was not stored, is lost.
    pub async fn hand(&self, step: &Step) -> sqlx::Result<()> {
        let query = sqlx::query(
            "UPDATE eventsub_shards SET holder = $3, session = NULL,
                    lost_at = CASE WHEN $5 AND assigned IS NOT NULL THEN LEAST(lost_at, heard_at) ELSE lost_at END,
                    why = CASE WHEN $5 THEN COALESCE(why, $6) ELSE why END,
                    assigned = CASE WHEN $5 THEN NULL ELSE assigned END
             WHERE broadcaster = $1 AND shard = $2 AND holder IS NOT DISTINCT FROM $4",
        );
        let query = query.bind(&self.broadcaster).bind(step.number).bind(step.to).bind(step.from);
        limited(query.bind(step.is_lost).bind(NOBODY).execute(&self.pool)).await.map(drop)
    }

    /// Twitch tells this session what it tells over the shard, from now on. What was `seen` to be lost was said and is
    /// forgotten; what was lost meanwhile is not. How much of what it tells is stored, only its holder says.
    pub async fn given(
        &self,
        shard: i32,
        session: &str,
        at: DateTime<Utc>,
        seen: Option<DateTime<Utc>>,
    ) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards
             SET assigned = $3, heard_at = COALESCE(heard_at, $4),
                 lost_at = CASE WHEN lost_at IS NOT DISTINCT FROM $5 THEN NULL ELSE lost_at END,
                 why = CASE WHEN lost_at IS NOT DISTINCT FROM $5 THEN NULL ELSE why END
             WHERE broadcaster = $1 AND shard = $2 AND session = $3";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(session).bind(at);
        limited(query.bind(seen).execute(&self.pool)).await.map(drop)
    }

    /// What was `seen` to be lost of a shard that Twitch tells all the while was said.
    pub async fn said(&self, shard: i32, seen: DateTime<Utc>) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards SET lost_at = NULL, why = NULL
             WHERE broadcaster = $1 AND shard = $2 AND lost_at = $3 AND assigned = session";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(seen);
        limited(query.execute(&self.pool)).await.map(drop)
    }

    /// Twitch does not tell any of these sessions, each of which carried on the one before: `since` they are known to have
    /// been told nothing more that was stored.
    pub async fn taken(
        &self,
        shard: i32,
        sessions: &[String],
        since: DateTime<Utc>,
        why: &str,
    ) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards
             SET assigned = NULL, lost_at = LEAST(lost_at, $4), why = $5
             WHERE broadcaster = $1 AND shard = $2 AND (assigned = ANY($3) OR session = ANY($3))";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(sessions);
        limited(query.bind(since).bind(why).execute(&self.pool)).await.map(drop)
    }

    /// Twitch does not tell this session what it was to tell it, and perhaps has not since `told_at`.
    pub async fn untold(
        &self,
        shard: i32,
        session: &str,
        told_at: Option<DateTime<Utc>>,
        why: &str,
    ) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards
             SET assigned = NULL, lost_at = LEAST(lost_at, heard_at, $4), why = $5
             WHERE broadcaster = $1 AND shard = $2 AND assigned = $3";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(session);
        limited(query.bind(told_at).bind(why).execute(&self.pool)).await.map(drop)
    }

    /// What was told over the shard from `since` on was not all stored, whoever it is told to now.
    pub async fn unstored(&self, shard: i32, since: DateTime<Utc>) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards
             SET lost_at = LEAST(lost_at, $3), why = COALESCE(why, 'what was told last was not stored')
             WHERE broadcaster = $1 AND shard = $2";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(since);
        limited(query.execute(&self.pool)).await.map(drop)
    }

    /// Says that this holder is there.
    pub async fn beat(&self, holder: Uuid, leaving: bool) -> sqlx::Result<()> {
        let query =
            "INSERT INTO eventsub_holders (holder, broadcaster, leaving) VALUES ($1, $2, $3)
             ON CONFLICT (holder) DO UPDATE SET seen_at = clock_timestamp(), leaving = $3";
        let query = sqlx::query(query).bind(holder).bind(&self.broadcaster).bind(leaving);
        limited(query.execute(&self.pool)).await.map(drop)
    }

    /// This holder holds nothing any more, and is gone.
    pub async fn leave(&self, holder: Uuid) -> sqlx::Result<()> {
        let query = sqlx::query("DELETE FROM eventsub_holders WHERE holder = $1").bind(holder);
        limited(query.execute(&self.pool)).await.map(drop)
    }

    /// Forgets who is long gone.
    pub async fn forget(&self) -> sqlx::Result<()> {
        let query = "DELETE FROM eventsub_holders
             WHERE seen_at < clock_timestamp() - make_interval(secs => $1)";
        limited(sqlx::query(query).bind(KEPT_S).execute(&self.pool)).await.map(drop)
    }

    /// The session that this holder has for the shard that it is to hold, where it noted this one before: a session of
    /// another is left alone.
    pub async fn has(
        &self,
        shard: i32,
        holder: Uuid,
        noted: Option<&str>,
        session: Option<&str>,
    ) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards SET session = $4
             WHERE broadcaster = $1 AND shard = $2 AND holder = $3 AND session IS DISTINCT FROM $4
               AND (session IS NULL OR session = $5)";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(holder);
        limited(query.bind(session).bind(noted).execute(&self.pool)).await.map(drop)
    }

    /// All that was told over the shard in this session before `at` is stored.
    pub async fn heard(&self, shard: i32, session: &str, at: DateTime<Utc>) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_shards SET heard_at = GREATEST(heard_at, $4)
             WHERE broadcaster = $1 AND shard = $2 AND assigned = $3";
        let query = sqlx::query(query).bind(&self.broadcaster).bind(shard).bind(session).bind(at);
        limited(query.execute(&self.pool)).await.map(drop)
    }
}
