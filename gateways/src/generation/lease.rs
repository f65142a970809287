//! Who may make which picture now: leases, and the limits that all workers keep to together.
//!
//! Everything that limits is computed from rows in PostgreSQL and the time that is given, so it holds for any number of
//! processes, survives restarts, and can be shown to whoever asks. Takers stand in line at one advisory lock for the
//! few milliseconds it takes: rows of a projection are not locked, because that would hold up the fold.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::chat_request::Wish;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::standing::{Standing, state_on};

/// How much longer than an attempt a lease is: to keep the picture and to report it.
pub const BEYOND_TIME_LIMIT: Duration = Duration::from_secs(75);

/// `generations` as a number that no other advisory lock has.
const LINE: i64 = 0x7461_7065_6765_6e31;

/// What all workers together keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub concurrency: i64,
    pub per_minute: i64,
    /// From one midnight (UTC) to the next.
    pub daily_budget_micros: i64,
    pub lease: Duration,
    /// So many failures one after the other open the breaker.
    pub breaker_failures: i64,
    /// How long an open breaker lets nobody through. Then it lets one, who closes it or opens it again.
    pub breaker_rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            concurrency: 2,
            per_minute: 30,
            daily_budget_micros: 5_000_000,
            lease: Duration::from_secs(195),
            breaker_failures: 5,
            breaker_rest: Duration::from_secs(60),
        }
    }
}

/// A request that is ours until `until`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub request: Uuid,
    pub owner: Uuid,
    pub wish: Wish,
    pub viewer: String,
    /// 1, 2, 3, …
    pub attempt: u32,
    /// The row of `generation_makings` in which its cost is set aside.
    pub making: Uuid,
    pub until: DateTime<Utc>,
}

/// What a try for leases gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// One or more, in the order of submission.
    Leases(Vec<Lease>),
    /// Nothing is due.
    Idle,
    /// Something may be due, and it has to wait.
    Waits(Standing),
}

/// Leases the first requests, in the order of submission, that are due at `now`, and sets `cost_micros` aside for each: at
/// most `most` of them, and no more than there is room for.
pub async fn take(
    pool: &PgPool,
    owner: Uuid,
    now: DateTime<Utc>,
    limits: &Limits,
    cost_micros: i64,
    most: i64,
) -> sqlx::Result<Taken> {
    // Asked without standing in line, as a worker does whenever something moves, and nothing else has to be counted.
    if in_hand(pool, now).await? >= limits.concurrency {
        return Ok(Taken::Waits(Standing::Full));
    }
    let mut transaction = first_in_line(pool).await?;
    let mut due: Vec<Due> = sqlx::query_as(
        "SELECT g.request, g.viewer, g.wish, g.attempts
         FROM projections.generations g
         WHERE g.stage = 'funded' AND g.wish -> 'static' IS NULL AND (g.retry_at IS NULL OR g.retry_at <= $1)
           AND NOT EXISTS (SELECT FROM generation_leases l
                           WHERE l.request = g.request AND l.lease_until > $1)
           AND NOT EXISTS (SELECT FROM generation_makings m
                           WHERE m.request = g.request AND m.attempt = g.attempts + 1
                             AND m.result = 'dead')
         ORDER BY g.submitted_position LIMIT $2",
    )
    .bind(now)
    .bind(most)
    .fetch_all(&mut *transaction)
    .await?;
    if due.is_empty() {
        return Ok(Taken::Idle);
    }
    let (state, room) = state_on(&mut transaction, now, limits, cost_micros).await?;
    if state.standing != Standing::Open {
        return Ok(Taken::Waits(state.standing));
    }
    due.truncate(usize::try_from(room).unwrap_or_default());
    let leases: Vec<Lease> = due.into_iter().map(|due| due.lease(owner, now, limits)).collect();
    note(&mut transaction, &leases, now, cost_micros).await?;
    transaction.commit().await?;
    Ok(Taken::Leases(leases))
}

/// Writes down who has what, and what is set aside for it.
async fn note(
    transaction: &mut Transaction<'static, Postgres>,
    leases: &[Lease],
    now: DateTime<Utc>,
    cost_micros: i64,
) -> sqlx::Result<()> {
    let Some(Lease { owner, until, .. }) = leases.first() else { return Ok(()) };
    sqlx::query(
        "WITH leased AS (
             INSERT INTO generation_leases (request, owner, lease_until, started_at)
             SELECT request, $2, $3, $4 FROM unnest($1::uuid[]) AS request
             ON CONFLICT (request) DO UPDATE SET owner = $2, lease_until = $3, started_at = $4
         )
         INSERT INTO generation_makings (id, request, attempt, started_at, cost_micros)
         SELECT id, request, attempt, $4, $7
         FROM unnest($5::uuid[], $1::uuid[], $6::bigint[]) AS new (id, request, attempt)",
    )
    .bind(leases.iter().map(|lease| lease.request).collect::<Vec<Uuid>>())
    .bind(owner)
    .bind(until)
    .bind(now)
    .bind(leases.iter().map(|lease| lease.making).collect::<Vec<Uuid>>())
    .bind(leases.iter().map(|lease| i64::from(lease.attempt)).collect::<Vec<i64>>())
    .bind(cost_micros)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// How many pictures are being made.
async fn in_hand(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM generation_leases WHERE lease_until > $1")
        .bind(now)
        .fetch_one(pool)
        .await
}

/// Waits until nobody else takes, for a short time, and keeps all others waiting until the transaction is over.
///
/// Whoever freezes in it, or is on a host that has vanished, is thrown out by PostgreSQL after seconds: otherwise all
/// making everywhere would stand still until the kernel gives its connection up, which takes hours.
pub async fn first_in_line(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    first_in(pool, LINE).await
}

/// The same for the line with this number.
pub async fn first_in(pool: &PgPool, line: i64) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '5s', true),
                set_config('idle_in_transaction_session_timeout', '5s', true)",
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(line).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Gives a lease back, once its end can be seen in the to-do list.
pub async fn give_back(pool: &PgPool, lease: &Lease) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM generation_leases WHERE request = $1 AND owner = $2 AND lease_until = $3",
    )
    .bind(lease.request)
    .bind(lease.owner)
    .bind(lease.until)
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives back all that `owner` has in hand and will not finish, so that another goes on at once; says how many.
///
/// What was being made ends without a result: that is neither a death nor a failure, and what was set aside stays spent,
/// because the provider was asked. A picture that is kept is reported by whoever is next. A failure that is being
/// reported keeps its lease until that is over: the provider is not to be asked again before it is decided.
pub async fn give_all_back(pool: &PgPool, owner: Uuid, now: DateTime<Utc>) -> sqlx::Result<u64> {
    let given = sqlx::query(
        "WITH mine AS (
             SELECT l.request, m.id AS making, m.ended_at IS NULL AS is_open, m.result
             FROM generation_leases l LEFT JOIN generation_makings m
                  ON m.request = l.request AND m.started_at = l.started_at
             WHERE l.owner = $1
         ), ended AS (
             UPDATE generation_makings SET ended_at = $2
             WHERE id IN (SELECT making FROM mine WHERE is_open)
         )
         DELETE FROM generation_leases
         WHERE owner = $1
           AND request IN (SELECT request FROM mine WHERE is_open OR result = 'made')",
    )
    .bind(owner)
    .bind(now)
    .execute(pool)
    .await?;
    Ok(given.rows_affected())
}

/// A request that is due.
#[derive(sqlx::FromRow)]
struct Due {
    request: Uuid,
    viewer: String,
    wish: Json<Wish>,
    attempts: i64,
}

impl Due {
    fn lease(self, owner: Uuid, now: DateTime<Utc>, limits: &Limits) -> Lease {
        Lease {
            request: self.request,
            owner,
            wish: self.wish.0,
            viewer: self.viewer,
            attempt: u32::try_from(self.attempts).unwrap_or(u32::MAX).saturating_add(1),
            making: Uuid::new_v4(),
            until: now + TimeDelta::from_std(limits.lease).unwrap_or(TimeDelta::MAX),
        }
    }
}
