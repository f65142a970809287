//! Logins that were begun: what `state` is checked against, once, and by the browser that began.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::http::keys::{hash_of, random_secret};

/// How long a person may take at Twitch.
pub const LASTS: TimeDelta = TimeDelta::minutes(10);
/// How many may be open at one time, so that nobody fills the database by beginning. One more, and the oldest goes: who begins
/// now is let in, whoever began so many.
const OPEN_MAX: i64 = 20_000;

/// A login that was begun. Both texts are known to this browser, and only hashes of them to us.
pub struct Attempt {
    /// Goes through Twitch and back.
    pub state: String,
    /// Stays in the browser, as a cookie.
    pub browser: String,
}

/// What a login that was begun goes on with.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Begun {
    /// A path here.
    pub return_to: String,
    /// The session that the browser had, which the new one takes the place of.
    pub session: Option<Uuid>,
}

/// Begins a login that goes on so.
pub async fn begin(pool: &PgPool, goes_on: &Begun, now: DateTime<Utc>) -> sqlx::Result<Attempt> {
    let attempt = Attempt { state: random_secret(), browser: random_secret() };
    forget_old(pool, now).await?;
    sqlx::query(
        "DELETE FROM login_attempts WHERE state_hash IN (
             SELECT state_hash FROM login_attempts ORDER BY expires_at DESC OFFSET $1)",
    )
    .bind(OPEN_MAX - 1)
    .execute(pool)
    .await?;
    sqlx::query(
        "INSERT INTO login_attempts (state_hash, browser_hash, return_to, expires_at, session)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(hash_of(&attempt.state).as_slice())
    .bind(hash_of(&attempt.browser).as_slice())
    .bind(&goes_on.return_to)
    .bind(now + LASTS)
    .bind(goes_on.session)
    .execute(pool)
    .await?;
    Ok(attempt)
}

/// Ends the login that this browser began with this `state`, and says how it goes on. The second time there is none.
pub async fn finish(
    pool: &PgPool,
    state: &str,
    browser: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Begun>> {
    sqlx::query_as(
        "DELETE FROM login_attempts WHERE state_hash = $1 AND browser_hash = $2 AND expires_at > $3
         RETURNING return_to, session",
    )
    .bind(hash_of(state).as_slice())
    .bind(hash_of(browser).as_slice())
    .bind(now)
    .fetch_optional(pool)
    .await
}

/// Takes away what nobody can finish any more.
pub async fn forget_old(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM login_attempts WHERE expires_at <= $1")
        .bind(now)
        .execute(pool)
        .await
        .map(drop)
}
