//! What we know: tables folded from the journal, each can be dropped and rebuilt.
//!
//! One file per projection: its name, its pure fold, its tables, and the queries that read them. A query answers with
//! the position it speaks for, read in the same snapshot as its rows.

use std::sync::Arc;

use journal::Projection;

pub mod alerts;
pub mod balances;
pub mod broadcasts;
pub mod gaps;
pub mod generations;
pub mod grants;
pub mod holds;
pub mod leaderboard;
pub mod reading;
pub mod replies;
pub mod screenings;
pub mod stages;
pub mod statements;
pub mod tapes;

pub use reading::{AsOf, Page, QueryError, Viewer};

/// The one list of projections. A new one is a file in this folder and a line here.
pub fn all() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(balances::Balances),
        Arc::new(statements::Statements),
        Arc::new(broadcasts::Broadcasts),
        Arc::new(alerts::Alerts),
        Arc::new(generations::Generations),
        Arc::new(holds::Holds),
        Arc::new(grants::Grants),
        Arc::new(stages::Stages),
        Arc::new(tapes::Tapes),
        Arc::new(replies::Replies),
        Arc::new(gaps::Gaps),
    ]
}
