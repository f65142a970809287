//! Logins that were begun: what `state` is checked against, once, and by the browser that began.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use crate::http::keys::{hash_of, random_secret};

/// How long a person may take at Twitch.
pub const LASTS: TimeDelta = TimeDelta::minutes(10);
/// How many may be open at one time, so that nobody fills the database by beginning.
const OPEN_MAX: i64 = 20_000;

/// A login that was begun. Both texts are known to this browser, and only hashes of them to us.
pub struct Attempt {
    /// Goes through Twitch and back.
    pub state: String,
    /// Stays in the browser, as a cookie.
    pub browser: String,
}

/// Begins a login that ends at the path `return_to`; `None` when too many are open.
pub async fn begin(
    pool: &PgPool,
    return_to: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Attempt>> {
    let attempt = Attempt { state: random_secret(), browser: random_secret() };
    forget_old(pool, now).await?;
    let begun = sqlx::query(
        "INSERT INTO login_attempts (state_hash, browser_hash, return_to, expires_at)
         SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM login_attempts) < $5",
    )
    .bind(hash_of(&attempt.state).as_slice())
    .bind(hash_of(&attempt.browser).as_slice())
    .bind(return_to)
    .bind(now + LASTS)
    .bind(OPEN_MAX)
    .execute(pool)
    .await?;
    Ok((begun.rows_affected() == 1).then_some(attempt))
}

/// Ends the login that this browser began with this `state`, and says where it goes on. The second time there is none.
pub async fn finish(
    pool: &PgPool,
    state: &str,
    browser: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "DELETE FROM login_attempts WHERE state_hash = $1 AND browser_hash = $2 AND expires_at > $3
         RETURNING return_to",
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
