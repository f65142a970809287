//! How every query reads: rows and their position in one snapshot, now or as of a moment of history.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use thiserror::Error;

use journal::history;

/// The moment of history that a query asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AsOf {
    /// As far as the projection has come.
    #[default]
    Now,
    /// After the event at this position.
    Position(i64),
    /// After the last event recorded at or before this time.
    Time(DateTime<Utc>),
}

/// A part of a long list, newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Page {
    /// Only what is older than this: the cursor that the page before this one gave.
    pub before: Option<i64>,
    /// How many at most; 1 to [`Page::LIMIT_MAX`], else the nearest of these.
    pub limit: Option<i64>,
}

impl Page {
    pub const LIMIT_DEFAULT: i64 = 50;
    pub const LIMIT_MAX: i64 = 500;

    pub fn of(limit: i64) -> Self {
        Page { before: None, limit: Some(limit) }
    }

    pub(crate) fn before(self) -> i64 {
        self.before.unwrap_or(i64::MAX)
    }

    pub(crate) fn limit(self) -> i64 {
        self.limit.unwrap_or(Self::LIMIT_DEFAULT).clamp(1, Self::LIMIT_MAX)
    }
}

/// Takes off the row that was read beyond `limit`; gives the cursor of the page after this one, where there is one.
pub(crate) fn cut<T, C>(rows: &mut Vec<T>, limit: i64, cursor: impl FnOnce(&T) -> C) -> Option<C> {
    let more = rows.len() as i64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or_default());
    rows.last().filter(|_| more).map(cursor)
}

/// A viewer as shown: the id is history, the name is whatever is known now. `None` once erased, or never seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Viewer {
    pub id: String,
    pub name: Option<String>,
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The position asked about is not folded yet: wait for it, then ask again.
    #[error("position {wanted} is not folded yet; this is known up to {current}")]
    Ahead { wanted: i64, current: i64 },
    /// No generation of the projection is live: nothing has followed the journal yet.
    #[error("projection {0} was not built yet")]
    NotBuilt(String),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One snapshot of one or more projections, with the position that all of them have reached.
///
/// The tables are found through the checkpoint's schema rather than through the views: a rebuild that replaces the
/// views between two statements would otherwise show rows of one generation under the position of the other.
pub(crate) struct Reading {
    transaction: Transaction<'static, Postgres>,
    /// The position that was asked about, or how far all the projections have come.
    pub(crate) position: i64,
}

impl Reading {
    pub(crate) async fn open(
        pool: &PgPool,
        names: &[&str],
        as_of: AsOf,
    ) -> Result<Self, QueryError> {
        let wanted = match as_of {
            AsOf::Now => None,
            AsOf::Position(position) => Some(position.max(0)),
            AsOf::Time(time) => Some(history::position_at(pool, time).await?),
        };
        let mut transaction =
            pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let (count, current): (i64, Option<i64>) = sqlx::query_as(
            "SELECT count, position FROM (
                 SELECT count(*), min(position) AS position,
                        string_agg(quote_ident(schema), ', ' ORDER BY name) AS schemas
                 FROM checkpoints WHERE name = ANY($1) AND status = 'live') AS live,
             LATERAL set_config('statement_timeout', '10s', true) AS limited,
             LATERAL set_config('search_path',
                 concat_ws(', ', schemas, current_setting('search_path')), true) AS found",
        )
        .bind(names)
        .fetch_one(&mut *transaction)
        .await?;
        let current = current
            .filter(|_| count == names.len() as i64)
            .ok_or_else(|| QueryError::NotBuilt(names.join(", ")))?;
        match wanted {
            Some(wanted) if wanted > current => Err(QueryError::Ahead { wanted, current }),
            _ => Ok(Reading { transaction, position: wanted.unwrap_or(current) }),
        }
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Who this is, as far as it is known.
    pub(crate) async fn viewer(&mut self, id: &str) -> sqlx::Result<Viewer> {
        let name = sqlx::query_scalar("SELECT name FROM viewer_names WHERE viewer_id = $1")
            .bind(id)
            .fetch_optional(self.connection())
            .await?;
        Ok(Viewer { id: id.to_owned(), name: name.flatten() })
    }

    pub(crate) async fn close(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }
}
