//! What happened: the append, the position, the relay, and following them.
//!
//! Every event has a position: 1, 2, 3, without gaps, in commit order. It is the event's place in PostgreSQL, its
//! sequence in the JetStream stream EVENTS, the checkpoint of a projection and the id of a feed's frame.

mod aggregates;
mod batch;
pub mod broker;
mod cache;
mod checkpoint;
pub mod command;
mod commit;
pub mod copy;
pub mod crash;
pub mod dead_letters;
mod decide;
mod delivery;
mod fold;
pub mod follower;
mod following;
pub mod head;
pub mod history;
mod inbox;
pub mod ingest;
pub mod leader;
pub mod names;
pub mod outcome;
mod partitions;
pub mod pool;
pub mod positions;
pub mod process;
pub mod processor;
pub mod projection;
pub mod publication;
mod rebuild;
pub mod recorded;
pub mod relay;
pub mod replies;
mod retry;
pub mod streams;
mod tail;

pub use command::{Envelope, Origin, ViewerName};
pub use fold::try_fold;
pub use outcome::{Decision, Outcome};
pub use process::{Process, Unanswered};
pub use projection::{Failure, Projection};
pub use publication::{Publication, Said};
pub use recorded::{Content, Hash, Recorded};

/// The migrations under `migrations/`, applied by whoever owns the database.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");
