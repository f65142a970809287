//! Entries as they come, for somebody who follows their own account.

use sqlx::PgPool;

use super::{Line, NAME, Stored, out_of_range, sums_up_to};
use crate::reading::{AsOf, QueryError, Reading};

/// What came after a position, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    /// The position of history that this is true for.
    pub position: i64,
    pub lines: Vec<Line>,
}

/// The entries of `viewer` after `position`, at most `limit` of them.
pub async fn after(
    pool: &PgPool,
    viewer: &str,
    position: i64,
    limit: i64,
) -> Result<After, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let stored: Vec<Stored> = sqlx::query_as(
        "SELECT s.position, s.kind, s.available_delta, s.held_delta, s.at, e.command_id,
                e.payload::text AS payload, e.metadata::text AS metadata
         FROM statements s LEFT JOIN events e USING (position)
         WHERE s.account = $1 AND s.position > $2 ORDER BY s.position LIMIT $3",
    )
    .bind(viewer)
    .bind(position)
    .bind(limit)
    .fetch_all(reading.connection())
    .await?;
    let mut sums = match stored.is_empty() {
        true => Default::default(),
        false => sums_up_to(&mut reading, viewer, position).await?,
    };
    let known = reading.position;
    reading.close().await?;
    let mut lines = Vec::with_capacity(stored.len());
    for line in stored {
        sums = sums.plus(line.moved()).ok_or_else(out_of_range)?;
        lines.push(line.explained(sums));
    }
    Ok(After { position: known, lines })
}

/// Which of `viewers` have entries after `after`, up to `until`.
pub async fn changed(
    pool: &PgPool,
    after: i64,
    until: i64,
    viewers: &[String],
) -> Result<Vec<String>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let changed = sqlx::query_scalar(
        "SELECT DISTINCT account FROM statements
         WHERE position > $1 AND position <= $2 AND account = ANY($3)",
    )
    .bind(after)
    .bind(until)
    .bind(viewers)
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    Ok(changed)
}
