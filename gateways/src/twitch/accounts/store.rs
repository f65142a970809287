//! The rows of accounts. What they granted is sealed before it comes here.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor, PgPool};

use super::Role;
use crate::twitch::oauth::hourly::next_check;

/// How long before its end a grant is replaced, and how soon it is looked at again where that was in vain.
pub const EARLY: TimeDelta = TimeDelta::minutes(10);
pub const AGAIN_AFTER: TimeDelta = TimeDelta::seconds(60);
const WHY_CHARS_MAX: usize = 200;
/// How long whoever wants the row waits for whoever replaces its grant.
const LOCK_LIMIT: &str = "30s";

/// How an account is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not connected.
    None,
    Good,
    /// Twitch cannot be asked whether it is still good: it is taken for good.
    Unreachable,
    /// The person took back what they had granted.
    TakenBack,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::None => "none",
            State::Good => "good",
            State::Unreachable => "unreachable",
            State::TakenBack => "taken_back",
        }
    }
}

impl TryFrom<String> for State {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let all = [State::None, State::Good, State::Unreachable, State::TakenBack];
        all.into_iter().find(|state| state.name() == name).ok_or("there is no such state")
    }
}

/// A row.
#[derive(Clone, Serialize, sqlx::FromRow)]
pub struct Account {
    #[sqlx(try_from = "String")]
    pub role: Role,
    #[sqlx(try_from = "String")]
    pub state: State,
    pub since: DateTime<Utc>,
    pub why: Option<String>,
    pub client_id: String,
    pub user_id: String,
    pub login: String,
    pub scopes: Vec<String>,
    #[serde(skip)]
    pub granted: Option<Vec<u8>>,
    /// How many grants there were, this one included.
    #[serde(skip)]
    pub edition: i64,
    pub granted_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub checked_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub check_at: Option<DateTime<Utc>>,
}

impl Account {
    pub fn is_connected(&self) -> bool {
        self.granted.is_some()
    }

    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.is_connected() && self.check_at.is_none_or(|at| at <= now)
    }

    /// Whether what it granted is over in so long.
    pub fn is_over_in(&self, time: TimeDelta, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|at| at <= now + time)
    }
}

/// A grant that takes the place of the one before.
pub(super) struct New<'a> {
    pub client_id: &'a str,
    pub user_id: &'a str,
    pub login: &'a str,
    pub scopes: &'a [String],
    pub granted: &'a [u8],
    pub expires_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str =
    "SELECT role, state, since, why, client_id, user_id, login, scopes, granted, edition,
            granted_at, expires_at, checked_at, check_at FROM twitch_accounts";

/// All of them, in the order of [`Role::ALL`].
pub async fn all(pool: &PgPool) -> sqlx::Result<Vec<Account>> {
    let mut all: Vec<Account> = sqlx::query_as(COLUMNS).fetch_all(pool).await?;
    all.sort_by_key(|account| account.role);
    Ok(all)
}

pub async fn find(pool: &PgPool, role: Role) -> sqlx::Result<Account> {
    let query = format!("{COLUMNS} WHERE role = $1");
    sqlx::query_as(&query).bind(role.name()).fetch_one(pool).await
}

/// The row, which nobody else replaces until the transaction ends.
pub(super) async fn lock(tx: &mut PgConnection, role: Role) -> sqlx::Result<Account> {
    let limit = "SELECT set_config('lock_timeout', $1, true)";
    sqlx::query(limit).bind(LOCK_LIMIT).execute(&mut *tx).await?;
    let query = format!("{COLUMNS} WHERE role = $1 FOR UPDATE");
    sqlx::query_as(&query).bind(role.name()).fetch_one(tx).await
}

/// Keeps a new grant, over the edition that was read and no other. Whether it is kept.
pub(super) async fn keep(
    executor: impl PgExecutor<'_>,
    role: Role,
    over: i64,
    new: &New<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let kept = sqlx::query(
        "UPDATE twitch_accounts
         SET since = CASE WHEN state = 'good' AND user_id = $4 THEN since ELSE $8 END, state = 'good', why = NULL,
             client_id = $3, user_id = $4, login = $5, scopes = $6, granted = $7, edition = edition + 1,
             granted_at = $8, checked_at = $8, expires_at = $9, check_at = $10
         WHERE role = $1 AND edition = $2",
    )
    .bind(role.name())
    .bind(over)
    .bind(new.client_id)
    .bind(new.user_id)
    .bind(new.login)
    .bind(new.scopes)
    .bind(new.granted)
    .bind(now)
    .bind(new.expires_at)
    .bind(look_at(new.expires_at, now))
    .execute(executor)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// Makes an account this process's to look at, for a while. Whether it is.
pub(super) async fn lease(
    pool: &PgPool,
    account: &Account,
    until: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let query = "UPDATE twitch_accounts SET check_at = $3
         WHERE role = $1 AND check_at IS NOT DISTINCT FROM $2 AND granted IS NOT NULL";
    let query = sqlx::query(query).bind(account.role.name()).bind(account.check_at).bind(until);
    Ok(query.execute(pool).await?.rows_affected() == 1)
}

/// Twitch has said that this edition is good, and until when.
pub(super) async fn is_good(
    pool: &PgPool,
    role: Role,
    edition: i64,
    scopes: &[String],
    expires_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE twitch_accounts
         SET since = CASE WHEN state = 'good' THEN since ELSE $5 END, state = 'good', why = NULL, scopes = $3,
             expires_at = $4, checked_at = $5, check_at = $6
         WHERE role = $1 AND edition = $2 AND granted IS NOT NULL",
    )
    .bind(role.name())
    .bind(edition)
    .bind(scopes)
    .bind(expires_at)
    .bind(now)
    .bind(look_at(expires_at, now))
    .execute(pool)
    .await
    .map(drop)
}

/// Twitch could not be asked: nothing follows from it but asking again.
pub(super) async fn is_unreachable(
    executor: impl PgExecutor<'_>,
    role: Role,
    edition: i64,
    why: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let why: String = why.chars().take(WHY_CHARS_MAX).collect();
    sqlx::query(
        "UPDATE twitch_accounts
         SET since = CASE WHEN state = 'unreachable' THEN since ELSE $4 END, state = 'unreachable', why = $3,
             check_at = $5
         WHERE role = $1 AND edition = $2 AND granted IS NOT NULL",
    )
    .bind(role.name())
    .bind(edition)
    .bind(why)
    .bind(now)
    .bind(now + AGAIN_AFTER)
    .execute(executor)
    .await
    .map(drop)
}

/// The person took it back: what is left of it is of no use.
pub(super) async fn is_taken_back(
    executor: impl PgExecutor<'_>,
    role: Role,
    edition: i64,
    why: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let taken = sqlx::query(
        "UPDATE twitch_accounts SET state = 'taken_back', why = $3, since = $4, granted = NULL
         WHERE role = $1 AND edition = $2 AND granted IS NOT NULL",
    )
    .bind(role.name())
    .bind(edition)
    .bind(why)
    .bind(now)
    .execute(executor)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Nothing of it is left, and nothing that is on its way comes back.
pub(super) async fn forget(
    executor: impl PgExecutor<'_>,
    role: Role,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE twitch_accounts
         SET state = 'none', why = NULL, since = $2, client_id = '', user_id = '', login = '', scopes = '{}',
             granted = NULL, edition = edition + 1, granted_at = NULL, expires_at = NULL, checked_at = NULL,
             check_at = NULL
         WHERE role = $1",
    )
    .bind(role.name())
    .bind(now)
    .execute(executor)
    .await
    .map(drop)
}

/// When a grant is looked at that was good at `now`: within the hour, and before it ends.
fn look_at(expires_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
    let hourly = next_check(now);
    let before_its_end = expires_at.map_or(hourly, |at| at - EARLY);
    hourly.min(before_its_end).max(now + AGAIN_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_looked_at_within_the_hour_and_before_it_ends() {
        let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let hours = |hours| Some(now + TimeDelta::hours(hours));
        for expires_at in [None, hours(4)] {
            let wait = look_at(expires_at, now) - now;
            assert!(wait >= TimeDelta::minutes(50) && wait < TimeDelta::minutes(60), "{wait}");
        }
        let soon = Some(now + TimeDelta::minutes(30));
        assert_eq!(look_at(soon, now) - now, TimeDelta::minutes(20));
        for over in [Some(now), hours(-1)] {
            assert_eq!(look_at(over, now) - now, AGAIN_AFTER, "not again and again");
        }
    }

    #[test]
    fn roles_and_states_are_stored_under_the_names_that_the_migration_knows() {
        let migration = include_str!("../../../../migrations/0011_accounts.sql");
        for role in Role::ALL {
            assert_eq!(Role::try_from(role.name().to_owned()), Ok(role));
            assert!(migration.contains(&format!("'{role}'")), "{role}");
        }
        for state in [State::None, State::Good, State::Unreachable, State::TakenBack] {
            assert_eq!(State::try_from(state.name().to_owned()), Ok(state));
            assert!(migration.contains(&format!("'{}'", state.name())));
        }
    }
}
