//! The rows of how far Twitch was asked, and of what was found.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use domain::alerting::ASKED;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::ask::State;
use super::late::{FOLLOW, OFFLINE, ONLINE, REDEEMED, SETTLED, SUBSCRIBED, UPDATED};
use super::live::Doubt;

/// What Twitch is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Live,
    Titles,
    Followers,
    Redemptions,
    Subscribers,
}

impl Source {
    pub const ALL: [Source; 5] =
        [Source::Live, Source::Titles, Source::Followers, Source::Redemptions, Source::Subscribers];

    pub fn name(self) -> &'static str {
        match self {
            Source::Live => "live",
            Source::Titles => "titles",
            Source::Followers => "followers",
            Source::Redemptions => "redemptions",
            Source::Subscribers => "subscribers",
        }
    }

    /// The types of notifications that it makes up for.
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Source::Live => &[ONLINE, OFFLINE],
            Source::Titles => &[UPDATED],
            Source::Followers => &[FOLLOW],
            Source::Redemptions => &[REDEEMED, SETTLED],
            Source::Subscribers => &[SUBSCRIBED],
        }
    }
}

/// How far it was asked for something.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Covered {
    /// All that happened from here …
    pub began_at: DateTime<Utc>,
    /// … to here was told, or was looked for.
    pub covered_to: DateTime<Utc>,
    pub succeeded_at: Option<DateTime<Utc>>,
    pub failed: Option<String>,
    /// The name of an [`ask::State`](super::ask::State).
    pub state: String,
    pub doubt: Option<Json<Doubt>>,
}

/// What became of it when something was last asked for.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Asked {
    pub source: String,
    pub began_at: DateTime<Utc>,
    pub succeeded_at: Option<DateTime<Utc>>,
    pub failed: Option<String>,
    pub state: String,
}

/// What was learned last of what the channel calls what it does.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Titled {
    pub recorded_at: DateTime<Utc>,
    /// Twitch told it, and was not asked.
    pub is_told: bool,
    /// When it was said.
    pub at: DateTime<Utc>,
}

/// What is written down of a find.
#[derive(Clone, Debug)]
pub struct Noted {
    pub command_id: Uuid,
    pub kind: &'static str,
    /// It happened between these two, which may be one.
    pub between: (DateTime<Utc>, DateTime<Utc>),
}

pub async fn covered(
    pool: &PgPool,
    broadcaster: &str,
    source: Source,
) -> sqlx::Result<Option<Covered>> {
    let query =
        "SELECT began_at, covered_to, succeeded_at, failed, state, doubt FROM missed_sources
                 WHERE broadcaster = $1 AND source = $2";
    sqlx::query_as(query).bind(broadcaster).bind(source.name()).fetch_optional(pool).await
}

/// Twitch answered, and all up to `covered.covered_to` was looked for.
pub async fn succeeded(
    pool: &PgPool,
    broadcaster: &str,
    source: Source,
    covered: &Covered,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO missed_sources (broadcaster, source, began_at, covered_to, succeeded_at, failed, doubt)
         VALUES ($1, $2, $3, $4, $4, $5, $6)
         ON CONFLICT (broadcaster, source) DO UPDATE
         SET began_at = $3, covered_to = $4, succeeded_at = $4, failed = $5, doubt = $6,
             state = 'answered'",
    )
    .bind(broadcaster)
    .bind(source.name())
    .bind(covered.began_at)
    .bind(covered.covered_to)
    .bind(&covered.failed)
    .bind(&covered.doubt)
    .execute(pool)
    .await
    .map(drop)
}

/// Twitch does not answer, or somebody has to grant something first.
pub async fn failed(
    pool: &PgPool,
    broadcaster: &str,
    source: Source,
    began_at: DateTime<Utc>,
    (state, words): (State, &str),
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO missed_sources (broadcaster, source, began_at, covered_to, failed, state)
         VALUES ($1, $2, $3, $3, $4, $5)
         ON CONFLICT (broadcaster, source) DO UPDATE SET failed = $4, state = $5",
    )
    .bind(broadcaster)
    .bind(source.name())
    .bind(began_at)
    .bind(words)
    .bind(state.name())
    .execute(pool)
    .await
    .map(drop)
}

/// How it was with everything when it was last asked for.
pub async fn asked(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Vec<Asked>> {
    let query = "SELECT source, began_at, succeeded_at, failed, state FROM missed_sources
                 WHERE broadcaster = $1";
    sqlx::query_as(query).bind(broadcaster).fetch_all(pool).await
}

/// What Twitch is not asked for, and why.
pub async fn refused(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Vec<(String, String)>> {
    let query = "SELECT source, failed FROM missed_sources
                 WHERE broadcaster = $1 AND failed IS NOT NULL ORDER BY source";
    sqlx::query_as(query).bind(broadcaster).fetch_all(pool).await
}

/// Which of these commands were decided.
pub async fn known(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<HashSet<Uuid>> {
    let query = "SELECT command_id FROM command_outcomes WHERE command_id = ANY($1)";
    Ok(sqlx::query_scalar(query).bind(ids).fetch_all(pool).await?.into_iter().collect())
}

/// Who followed at or after a moment, and when, as it was told.
pub async fn followed(
    pool: &PgPool,
    broadcaster: &str,
    from: DateTime<Utc>,
) -> sqlx::Result<Vec<(String, DateTime<Utc>)>> {
    let query = "SELECT payload -> 'followed' ->> 'viewer',
                        (payload -> 'followed' ->> 'at')::timestamptz
                 FROM events
                 WHERE aggregate_type = 'broadcast' AND aggregate_id = $1
                   AND event_type = 'followed' AND recorded_at >= $2
                   AND payload -> 'followed' ->> 'viewer' IS NOT NULL";
    let since = from - TimeDelta::minutes(1);
    sqlx::query_as(query).bind(broadcaster).bind(since).fetch_all(pool).await
}

/// What history learned last of what the channel calls what it does.
pub async fn titled(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Option<Titled>> {
    let query = "SELECT recorded_at, metadata ->> 'source' IS DISTINCT FROM $2 AS is_told,
                        COALESCE((payload -> 'retitled' ->> 'at')::timestamptz, recorded_at) AS at
                 FROM events
                 WHERE aggregate_type = 'broadcast' AND aggregate_id = $1
                   AND event_type = 'retitled' ORDER BY sequence DESC LIMIT 1";
    sqlx::query_as(query).bind(broadcaster).bind(ASKED).fetch_optional(pool).await
}

/// Notes what was found, once.
pub async fn note(pool: &PgPool, broadcaster: &str, finds: &[Noted]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO missed_finds (command_id, broadcaster, kind, at, until)
         SELECT command_id, $1, kind, at, until
         FROM UNNEST($2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
              AS found (command_id, kind, at, until)
         ON CONFLICT DO NOTHING",
    )
    .bind(broadcaster)
    .bind(finds.iter().map(|find| find.command_id).collect::<Vec<_>>())
    .bind(finds.iter().map(|find| find.kind).collect::<Vec<_>>())
    .bind(finds.iter().map(|find| find.between.0).collect::<Vec<_>>())
    .bind(finds.iter().map(|find| find.between.1).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map(drop)
}

/// How much of each of these kinds is in history, from `since` to `until`, because it was asked for. What was told after
/// all, and just as it was found, is not among it: who came first is in history. What was found before this gap was known,
/// and may have been in it, was: it is counted in no other.
pub async fn found(
    pool: &PgPool,
    broadcaster: &str,
    kinds: &[&str],
    (since, until): (DateTime<Utc>, DateTime<Utc>),
) -> sqlx::Result<BTreeMap<String, i64>> {
    let place = "UPDATE missed_finds SET at = GREATEST(at, $3), until = GREATEST(at, $3)
                 WHERE broadcaster = $1 AND kind = ANY($2)
                   AND at < until AND at < $4 AND until > $3";
    let place = sqlx::query(place).bind(broadcaster).bind(kinds).bind(since).bind(until);
    place.execute(pool).await?;
    let query = "SELECT f.kind, count(*) FROM missed_finds f
                 JOIN command_outcomes o ON o.command_id = f.command_id
                 JOIN events e ON e.position = o.first_position
                 WHERE f.broadcaster = $1 AND f.kind = ANY($2) AND f.at >= $3 AND f.at < $4
                   AND e.metadata ->> 'source' = $5
                 GROUP BY f.kind";
    let query = sqlx::query_as(query).bind(broadcaster).bind(kinds).bind(since).bind(until);
    let counted: Vec<(String, i64)> = query.bind(ASKED).fetch_all(pool).await?;
    Ok(counted.into_iter().collect())
}

/// What was found long ago is in history, and was counted.
pub async fn forget(pool: &PgPool) -> sqlx::Result<()> {
    let query = "DELETE FROM missed_finds WHERE found_at < clock_timestamp() - interval '30 days'";
    sqlx::query(query).execute(pool).await.map(drop)
}
