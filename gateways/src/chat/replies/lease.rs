//! Who answers what now, and how many answers there are in 30 seconds, for all workers together.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::chat::{Ending, Request};
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use crate::generation::lease::first_in;

/// Shorter than the time in which Twitch drops the same words of one sender.
pub const LEASE: Duration = Duration::from_secs(25);

/// `replies` as a number that no other advisory lock has.
const LINE: i64 = 0x7461_7065_7265_7031;
/// The window of the rate limit, and of Twitch's.
const WINDOW_S: i64 = 30;

/// A reply that is ours until `until`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub reply: Uuid,
    pub owner: Uuid,
    pub until: DateTime<Utc>,
    /// The row of `reply_sendings` that is set aside for it.
    pub sending: Uuid,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// The broadcaster's id.
    pub chat: String,
    pub viewer: String,
    pub request: Request,
    pub ending: Option<Ending>,
    pub due_position: i64,
    pub due_at: DateTime<Utc>,
}

/// What a try for a lease gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    Lease(Box<Lease>),
    /// Nothing is due.
    Idle,
    /// So much was said that Twitch would drop more.
    Waits {
        until: DateTime<Utc>,
    },
}

#[derive(sqlx::FromRow)]
struct Due {
    reply: Uuid,
    chat: String,
    viewer: String,
    request: Json<Request>,
    ending: Option<Json<Ending>>,
    attempts: i64,
    due_position: i64,
    due_at: DateTime<Utc>,
}

/// Leases the reply that is due for longest at `now`.
pub async fn take(
    pool: &PgPool,
    owner: Uuid,
    now: DateTime<Utc>,
    per_30_s: u32,
) -> sqlx::Result<Taken> {
    let mut transaction = first_in(pool, LINE).await?;
    let due: Option<Due> = sqlx::query_as(
        "SELECT reply, chat, viewer, request, ending, attempts, due_position, due_at
         FROM projections.replies r
         WHERE stage = 'due' AND (retry_at IS NULL OR retry_at <= $1)
           AND NOT EXISTS (SELECT FROM reply_leases l
                           WHERE l.reply = r.reply AND l.lease_until > $1)
         ORDER BY due_position LIMIT 1",
    )
    .bind(now)
    .fetch_optional(&mut *transaction)
    .await?;
    let Some(due) = due else { return Ok(Taken::Idle) };
    // The time at which there is one less in the window than there may be.
    let full_until: Option<DateTime<Utc>> = sqlx::query_scalar(
        "SELECT sent_at + make_interval(secs => $2::bigint) FROM reply_sendings
         WHERE sent_at > $1 - make_interval(secs => $2::bigint)
         ORDER BY sent_at DESC OFFSET $3 LIMIT 1",
    )
    .bind(now)
    .bind(WINDOW_S)
    .bind(i64::from(per_30_s.max(1)) - 1)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(until) = full_until {
        return Ok(Taken::Waits { until });
    }
    let (until, sending) =
        (now + TimeDelta::from_std(LEASE).unwrap_or(TimeDelta::zero()), Uuid::new_v4());
    sqlx::query(
        "WITH sending AS (
             INSERT INTO reply_sendings (id, reply, sent_at) VALUES ($5, $1, $4)
         )
         INSERT INTO reply_leases (reply, owner, lease_until) VALUES ($1, $2, $3)
         ON CONFLICT (reply) DO UPDATE SET owner = $2, lease_until = $3",
    )
    .bind(due.reply)
    .bind(owner)
    .bind(until)
    .bind(now)
    .bind(sending)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Taken::Lease(Box::new(Lease {
        reply: due.reply,
        owner,
        until,
        sending,
        attempt: u32::try_from(due.attempts).unwrap_or(u32::MAX).saturating_add(1),
        chat: due.chat,
        viewer: due.viewer,
        request: due.request.0,
        ending: due.ending.map(|ending| ending.0),
        due_position: due.due_position,
        due_at: due.due_at,
    })))
}

/// Gives a lease back, once its end can be seen in the to-do list.
pub async fn give_back(pool: &PgPool, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM reply_leases WHERE reply = $1 AND owner = $2 AND lease_until = $3")
        .bind(lease.reply)
        .bind(lease.owner)
        .bind(lease.until)
        .execute(pool)
        .await?;
    Ok(())
}

/// Nothing was said after all: there is room for another in the window.
pub async fn unsaid(pool: &PgPool, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM reply_sendings WHERE id = $1")
        .bind(lease.sending)
        .execute(pool)
        .await?;
    Ok(())
}

/// Leaves a reply alone until `until`.
pub async fn park(pool: &PgPool, lease: &Lease, until: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("UPDATE reply_leases SET lease_until = $3 WHERE reply = $1 AND owner = $2")
        .bind(lease.reply)
        .bind(lease.owner)
        .bind(until)
        .execute(pool)
        .await?;
    Ok(())
}

/// Forgets what was said so long ago that nothing follows from it.
pub async fn forget_old(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM reply_sendings WHERE sent_at < $1 - make_interval(secs => 3600)")
        .bind(now)
        .execute(pool)
        .await?;
    sqlx::query("DELETE FROM reply_leases WHERE lease_until < $1 - make_interval(secs => 3600)")
        .bind(now)
        .execute(pool)
        .await?;
    Ok(())
}
