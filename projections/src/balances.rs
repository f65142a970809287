//! The sums of every account: what a viewer can spend, what is set aside, and how it came to that.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};

use journal::{Content, Failure, Projection, Recorded};

use crate::reading::{AsOf, QueryError, Reading, Viewer};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "balances";

/// The projection `balances`: one row per account.
pub struct Balances;

/// The five sums of an account, or what one event changes about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    pub credits: i64,
    pub available: i64,
    pub held: i64,
    pub captured: i64,
    /// The signed sum of reversals: minus for credits taken back, plus for captures refunded.
    pub reversed: i64,
}

impl Sums {
    /// What the viewer owns: available and held.
    pub fn total(&self) -> i64 {
        self.available + self.held
    }

    /// Whether every credited point is somewhere: `credits = available + held + captured - reversed`.
    pub fn balanced(&self) -> bool {
        let wide = i128::from;
        self.available >= 0
            && wide(self.credits)
                == wide(self.available) + wide(self.held) + wide(self.captured)
                    - wide(self.reversed)
    }

    /// Both together, or `None` beyond the ledger's range.
    pub fn plus(self, other: Sums) -> Option<Sums> {
        Some(Sums {
            credits: self.credits.checked_add(other.credits)?,
            available: self.available.checked_add(other.available)?,
            held: self.held.checked_add(other.held)?,
            captured: self.captured.checked_add(other.captured)?,
            reversed: self.reversed.checked_add(other.reversed)?,
        })
    }
}

/// What an account's event changes, or `None` for an event of another aggregate.
///
/// Reads the points and skips the facts, because this is the inner loop of every rebuild.
pub fn movement(content: &Content<'_>) -> Result<Option<Sums>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Moved {
        Credited(Points),
        Held(Points),
        Declined(IgnoredAny),
        Captured(Points),
        Released(Points),
        Reversed(Points),
    }
    #[derive(Deserialize)]
    struct Points {
        points: i64,
    }
    if content.aggregate_type != "account" {
        return Ok(None);
    }
    let none = Sums::default();
    let minus = |points: i64| {
        points
            .checked_neg()
            .ok_or_else(|| serde_json::Error::custom("the points do not fit the ledger's range"))
    };
    Ok(Some(match serde_json::from_str(content.payload)? {
        Moved::Credited(Points { points }) => Sums { credits: points, available: points, ..none },
        Moved::Held(Points { points }) => Sums { available: minus(points)?, held: points, ..none },
        Moved::Declined(_) => none,
        Moved::Captured(Points { points }) => {
            Sums { held: minus(points)?, captured: points, ..none }
        }
        Moved::Released(Points { points }) => {
            Sums { available: points, held: minus(points)?, ..none }
        }
        Moved::Reversed(Points { points }) => Sums { available: points, reversed: points, ..none },
    }))
}

/// A viewer's balance at a position. Without any event it is zero, which is not an error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Balance {
    /// The position of history that this balance is true for.
    pub position: i64,
    pub viewer: Viewer,
    #[serde(flatten)]
    pub sums: Sums,
    /// Available and held.
    pub total: i64,
    /// The last event of this account, and when it was recorded.
    pub last_position: Option<i64>,
    pub updated_at: Option<DateTime<Utc>>,
}

/// The balance of `viewer`, now or at any moment of history.
pub async fn of(pool: &PgPool, viewer: &str, as_of: AsOf) -> Result<Balance, QueryError> {
    if as_of != AsOf::Now {
        return crate::statements::balance(pool, viewer, as_of).await;
    }
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let row: Option<Row> = sqlx::query_as(
        "SELECT credits, available, held, captured, reversed, position, updated_at
         FROM balances WHERE account = $1",
    )
    .bind(viewer)
    .fetch_optional(reading.connection())
    .await?;
    let viewer = reading.viewer(viewer).await?;
    let position = reading.position;
    reading.close().await?;
    let sums = row.as_ref().map(|row| row.sums).unwrap_or_default();
    Ok(Balance {
        position,
        viewer,
        sums,
        total: sums.total(),
        last_position: row.as_ref().map(|row| row.position),
        updated_at: row.map(|row| row.updated_at),
    })
}

/// The sums of those of `viewers` who have any, by viewer, and the position that they are true for.
pub async fn of_many(
    pool: &PgPool,
    viewers: &[&str],
) -> Result<(i64, Vec<(String, Sums)>), QueryError> {
    #[derive(sqlx::FromRow)]
    struct Of {
        account: String,
        #[sqlx(flatten)]
        sums: Sums,
    }
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let rows: Vec<Of> = sqlx::query_as(
        "SELECT account, credits, available, held, captured, reversed FROM balances
         WHERE account = ANY($1) ORDER BY account",
    )
    .bind(viewers)
    .fetch_all(reading.connection())
    .await?;
    let position = reading.position;
    reading.close().await?;
    Ok((position, rows.into_iter().map(|row| (row.account, row.sums)).collect()))
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    sums: Sums,
    position: i64,
    updated_at: DateTime<Utc>,
}

#[async_trait]
impl Projection for Balances {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["account"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["balances"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        // Half-empty pages keep the updates of a busy account in place, and no index has to follow them.
        sqlx::query(
            "CREATE TABLE balances (
                 account    text        PRIMARY KEY,
                 credits    bigint      NOT NULL,
                 available  bigint      NOT NULL,
                 held       bigint      NOT NULL,
                 captured   bigint      NOT NULL,
                 reversed   bigint      NOT NULL,
                 position   bigint      NOT NULL,
                 updated_at timestamptz NOT NULL
             ) WITH (fillfactor = 50)",
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        let changes = fold(batch)?;
        if changes.is_empty() {
            return Ok(());
        }
        let column = |of: fn(&Change<'_>) -> i64| changes.iter().map(of).collect::<Vec<i64>>();
        sqlx::query(
            "INSERT INTO balances AS b
             SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[],
                                  $5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[])
             ON CONFLICT (account) DO UPDATE SET
                 credits = b.credits + excluded.credits,
                 available = b.available + excluded.available,
                 held = b.held + excluded.held,
                 captured = b.captured + excluded.captured,
                 reversed = b.reversed + excluded.reversed,
                 position = excluded.position,
                 updated_at = excluded.updated_at",
        )
        .bind(changes.iter().map(|change| change.account).collect::<Vec<&str>>())
        .bind(column(|change| change.sums.credits))
        .bind(column(|change| change.sums.available))
        .bind(column(|change| change.sums.held))
        .bind(column(|change| change.sums.captured))
        .bind(column(|change| change.sums.reversed))
        .bind(column(|change| change.position))
        .bind(changes.iter().map(|change| change.at).collect::<Vec<DateTime<Utc>>>())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// What a batch changes about one account, and its last event in the batch.
struct Change<'a> {
    account: &'a str,
    sums: Sums,
    position: i64,
    at: DateTime<Utc>,
}

/// The changes of a batch, one per account, in the order of the primary key.
fn fold<'a>(batch: &[&'a Recorded]) -> Result<Vec<Change<'a>>, Failure> {
    let mut changes: HashMap<&str, Change<'_>> = HashMap::new();
    for event in batch {
        let moved =
            movement(&event.content()).map_err(|error| Failure::unreadable(event, error))?;
        let Some(moved) = moved else { continue };
        let (account, position, at) =
            (event.aggregate_id.as_str(), event.position, event.recorded_at);
        let change = changes.entry(account).or_insert(Change {
            account,
            sums: Sums::default(),
            position,
            at,
        });
        change.sums = change.sums.plus(moved).ok_or_else(|| Failure::Poison {
            position,
            reason: "the sum does not fit the ledger's range".to_owned(),
        })?;
        (change.position, change.at) = (position, at);
    }
    let mut changes: Vec<Change<'_>> = changes.into_values().collect();
    changes.sort_unstable_by_key(|change| change.account);
    Ok(changes)
}
