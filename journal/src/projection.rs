//! What a projection is: tables in a schema of their own, folded from the journal.

use async_trait::async_trait;
use sqlx::PgConnection;
use thiserror::Error;

use crate::recorded::{Content, Recorded};

/// A table folded from the journal. Implementations live in the `projections` crate, one file each.
///
/// Each generation of a projection has its own PostgreSQL schema, and `create` and `apply` run with that schema first
/// on the search path: they name their tables without a schema. Queries read `projections.<table>`, a view of the
/// live generation, so a rebuild can go on beside the tables that answer.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// The plural noun that names it: its module, its tables, its checkpoint.
    fn name(&self) -> &'static str;

    /// Raised when the tables or the fold change: a new version is built beside the old one and takes its place.
    fn version(&self) -> i32;

    /// The aggregate types it folds.
    fn aggregates(&self) -> &'static [&'static str];

    /// Whether `event` may change its tables; others are not passed to [`apply`](Projection::apply). A glance, not a
    /// reading: every event passes here.
    fn wants(&self, event: &Content<'_>) -> bool {
        self.aggregates().contains(&event.aggregate_type)
    }

    /// The aggregate type without whose events there is never anything in its tables, where there is one.
    fn begins_with(&self) -> Option<&'static str> {
        None
    }

    /// Its tables, each shown as the view `projections.<table>`.
    fn tables(&self) -> &'static [&'static str];

    /// Makes the tables, empty.
    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()>;

    /// Folds `batch`, in position order, into the tables. The caller moves the position in the same transaction, so
    /// every event arrives exactly once and nothing needs to be checked for repetition.
    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure>;
}

/// Why a batch was not folded.
#[derive(Debug, Error)]
pub enum Failure {
    /// The database did not answer or refused; the batch is tried again.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// This event cannot be folded. Its key is parked and the others go on.
    #[error("event {position} cannot be folded: {reason}")]
    Poison { position: i64, reason: String },
}

impl Failure {
    /// The failure of an event whose payload does not read as its aggregate's.
    pub fn unreadable(event: &Recorded, error: serde_json::Error) -> Self {
        Failure::Poison { position: event.position, reason: error.to_string() }
    }
}
