//! Every entry of every account, so that a viewer's points can be explained one by one.
//!
//! The table holds what sums are made of and nothing else; the cause of an entry is read from the journal itself, by
//! position, when somebody asks. So the projection is small, and is only ever added to.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use journal::copy;
use journal::{Content, Failure, Projection, Recorded};

use crate::balances::{self, Balance, Sums};
use crate::reading::{AsOf, Page, QueryError, Reading, Viewer, cut};

mod cause;
mod following;
mod parts;

pub use cause::{Cause, Origin};
pub use following::{After, after, changed};
pub use parts::{Part, Parts, parts};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "statements";

/// The projection `statements`: one row per event of an account.
pub struct Statements;

/// A row as it is stored, borrowed from its event.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    pub position: i64,
    pub account: &'a str,
    /// The event's type: `credited`, `held`, `declined`, `captured`, `released`, `reversed`.
    pub kind: &'a str,
    pub available_delta: i64,
    pub held_delta: i64,
    pub at: DateTime<Utc>,
}

/// The entry that an event makes, or `None` for an event of another aggregate.
pub fn entry<'a>(content: &Content<'a>) -> Result<Option<Entry<'a>>, serde_json::Error> {
    let moved = balances::movement(content)?;
    Ok(moved.map(|moved| Entry {
        position: content.position,
        account: content.aggregate_id,
        kind: content.event_type,
        available_delta: moved.available,
        held_delta: moved.held,
        at: DateTime::from_timestamp_micros(content.recorded_at).unwrap_or_default(),
    }))
}

/// A part of a viewer's statement, newest line first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statement {
    /// The position of history that this statement is true for.
    pub position: i64,
    pub viewer: Viewer,
    /// The sums after the newest line of this page.
    pub closing: Sums,
    /// The sums before the oldest line of this page.
    pub opening: Sums,
    pub lines: Vec<Line>,
    /// Where the next, older page begins; `None` when this is the last.
    pub before: Option<i64>,
}

/// One entry with its cause and the balance after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub position: i64,
    pub at: DateTime<Utc>,
    /// `credited`, `held`, `declined`, `captured`, `released` or `reversed`.
    pub kind: String,
    /// The ledger entry's id, which is the id of the command that made it.
    pub entry: Uuid,
    /// What the entry is about: the points given, set aside, refused, spent, given back or (signed) reversed.
    pub points: i64,
    pub available_delta: i64,
    pub held_delta: i64,
    pub available: i64,
    pub held: i64,
    pub total: i64,
    #[serde(flatten)]
    pub cause: Cause,
    #[serde(flatten)]
    pub origin: Origin,
}

/// The statement of `viewer`, one page of it. Unknown viewers have an empty one.
pub async fn of(
    pool: &PgPool,
    viewer: &str,
    as_of: AsOf,
    page: Page,
) -> Result<Statement, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], as_of).await?;
    let limit = page.limit();
    let until = reading.position.min(page.before().saturating_sub(1));
    let mut stored: Vec<Stored> = sqlx::query_as(
        "SELECT s.position, s.kind, s.available_delta, s.held_delta, s.at, e.command_id,
                e.payload::text AS payload, e.metadata::text AS metadata
         FROM statements s LEFT JOIN events e USING (position)
         WHERE s.account = $1 AND s.position <= $2 ORDER BY s.position DESC LIMIT $3",
    )
    .bind(viewer)
    .bind(until)
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let before = cut(&mut stored, limit, |line| line.position);
    let oldest = stored.last().map(|line| line.position);
    let opening =
        sums_up_to(&mut reading, viewer, oldest.map_or(until, |oldest| oldest - 1)).await?;
    let viewer = reading.viewer(viewer).await?;
    let position = reading.position;
    reading.close().await?;

    let mut closing = opening;
    let mut lines = Vec::with_capacity(stored.len());
    for line in stored.into_iter().rev() {
        closing = closing.plus(line.moved()).ok_or_else(out_of_range)?;
        lines.push(line.explained(closing));
    }
    lines.reverse();
    Ok(Statement { position, viewer, closing, opening, lines, before })
}

/// The ledger entry `entry` of `viewer`, as a line of the statement; `None` where there is no such entry. Whoever wants
/// to reverse it reads here how many points it moved.
pub async fn find(pool: &PgPool, viewer: &str, entry: Uuid) -> Result<Option<Line>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let stored: Option<Stored> = sqlx::query_as(
        "SELECT s.position, s.kind, s.available_delta, s.held_delta, s.at, e.command_id,
                e.payload::text AS payload, e.metadata::text AS metadata
         FROM command_outcomes o
         JOIN statements s ON s.position = o.first_position AND s.account = $2
         JOIN events e ON e.position = s.position
         WHERE o.command_id = $1",
    )
    .bind(entry)
    .bind(viewer)
    .fetch_optional(reading.connection())
    .await?;
    let line = match stored {
        Some(stored) => {
            let after = sums_up_to(&mut reading, viewer, stored.position).await?;
            Some(stored.explained(after))
        }
        None => None,
    };
    reading.close().await?;
    Ok(line)
}

/// A viewer's balance at a moment of history, as the sums of the entries up to it.
pub(crate) async fn balance(
    pool: &PgPool,
    viewer: &str,
    as_of: AsOf,
) -> Result<Balance, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], as_of).await?;
    let position = reading.position;
    let sums = sums_up_to(&mut reading, viewer, position).await?;
    let last: Option<(i64, DateTime<Utc>)> = sqlx::query_as(
        "SELECT position, at FROM statements WHERE account = $1 AND position <= $2
         ORDER BY position DESC LIMIT 1",
    )
    .bind(viewer)
    .bind(position)
    .fetch_optional(reading.connection())
    .await?;
    let viewer = reading.viewer(viewer).await?;
    reading.close().await?;
    Ok(Balance {
        position,
        viewer,
        sums,
        total: sums.total(),
        last_position: last.map(|(position, _)| position),
        updated_at: last.map(|(_, at)| at),
    })
}

async fn sums_up_to(reading: &mut Reading, viewer: &str, position: i64) -> sqlx::Result<Sums> {
    sqlx::query_as(
        "SELECT coalesce(sum(available_delta) FILTER (WHERE kind = 'credited'), 0)::bigint AS credits,
                coalesce(sum(available_delta), 0)::bigint AS available,
                coalesce(sum(held_delta), 0)::bigint AS held,
                coalesce(-sum(held_delta) FILTER (WHERE kind = 'captured'), 0)::bigint AS captured,
                coalesce(sum(available_delta) FILTER (WHERE kind = 'reversed'), 0)::bigint AS reversed
         FROM statements WHERE account = $1 AND position <= $2",
    )
    .bind(viewer)
    .bind(position)
    .fetch_one(reading.connection())
    .await
}

fn out_of_range() -> sqlx::Error {
    sqlx::Error::Protocol("the sum does not fit the ledger's range".to_owned())
}

/// A stored entry beside its event. Where the journal lacks the event, which is for the audit to say, the cause is
/// empty and the sums are still right.
#[derive(sqlx::FromRow)]
struct Stored {
    position: i64,
    kind: String,
    available_delta: i64,
    held_delta: i64,
    at: DateTime<Utc>,
    command_id: Option<Uuid>,
    payload: Option<String>,
    metadata: Option<String>,
}

impl Stored {
    fn moved(&self) -> Sums {
        let (available, held) = (self.available_delta, self.held_delta);
        let only = |kind: &str, delta: i64| if self.kind == kind { delta } else { 0 };
        Sums {
            credits: only("credited", available),
            available,
            held,
            captured: only("captured", -held),
            reversed: only("reversed", available),
        }
    }

    fn explained(self, after: Sums) -> Line {
        fn read<T: serde::de::DeserializeOwned>(json: Option<String>) -> Option<T> {
            serde_json::from_str(&json?).ok()
        }
        let (points, cause) = read(self.payload).map(cause::explain).unwrap_or_default();
        Line {
            position: self.position,
            at: self.at,
            kind: self.kind,
            entry: self.command_id.unwrap_or_default(),
            points,
            available_delta: self.available_delta,
            held_delta: self.held_delta,
            available: after.available,
            held: after.held,
            total: after.total(),
            cause,
            origin: read(self.metadata).unwrap_or_default(),
        }
    }
}

#[async_trait]
impl Projection for Statements {
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
        &["statements"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query(
            "CREATE TABLE statements (
                 position        bigint      PRIMARY KEY,
                 account         text        NOT NULL,
                 kind            text        NOT NULL,
                 available_delta bigint      NOT NULL,
                 held_delta      bigint      NOT NULL,
                 at              timestamptz NOT NULL
             )",
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query("CREATE INDEX statements_by_account ON statements (account, position)")
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        let mut entries = Vec::with_capacity(batch.len());
        for event in batch {
            let made = entry(&event.content());
            entries.extend(made.map_err(|error| Failure::unreadable(event, error))?);
        }
        match entries.len() {
            0 => Ok(()),
            few if few < copy::WORTHWHILE_ROWS => Ok(insert(connection, &entries).await?),
            _ => Ok(copy_in(connection, &entries).await?),
        }
    }
}

async fn insert(connection: &mut PgConnection, entries: &[Entry<'_>]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO statements (position, account, kind, available_delta, held_delta, at)
         SELECT * FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[],
                              $6::timestamptz[])",
    )
    .bind(entries.iter().map(|entry| entry.position).collect::<Vec<i64>>())
    .bind(entries.iter().map(|entry| entry.account).collect::<Vec<&str>>())
    .bind(entries.iter().map(|entry| entry.kind).collect::<Vec<&str>>())
    .bind(entries.iter().map(|entry| entry.available_delta).collect::<Vec<i64>>())
    .bind(entries.iter().map(|entry| entry.held_delta).collect::<Vec<i64>>())
    .bind(entries.iter().map(|entry| entry.at).collect::<Vec<DateTime<Utc>>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn copy_in(connection: &mut PgConnection, entries: &[Entry<'_>]) -> sqlx::Result<()> {
    let mut rows = copy::Rows::with_capacity(entries.len() * 80);
    for entry in entries {
        rows.row(6);
        rows.bigint(entry.position);
        rows.text(entry.account);
        rows.text(entry.kind);
        rows.bigint(entry.available_delta);
        rows.bigint(entry.held_delta);
        rows.timestamptz(entry.at);
    }
    rows.send(
        connection,
        "COPY statements (position, account, kind, available_delta, held_delta, at)
         FROM STDIN BINARY",
    )
    .await
}
