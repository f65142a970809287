//! Points for many at once, and taking them back: what the API, `tapedeck grant` and `tapedeck import` have in common.
//! Comes in.
//!
//! Every credit is a command of its own, whose id follows from the grant and the viewer. So giving a grant twice gives
//! it once, and one that died in the middle is finished by giving it again.

pub mod balances_file;
pub mod lines;
mod preview;
mod sender;
mod undo;

use chrono::{DateTime, Utc};
use domain::account::{Command, Facts};
use domain::entry_id;
use journal::Origin;
use journal::ingest::PublishError;
use journal::positions::Positions;
use projections::QueryError;
use serde::Serialize;
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use lines::rows;
pub use lines::{BadLine, Line, Wrong};
pub use preview::preview;
pub use sender::{PART, Sender};
pub use undo::Undo;

/// The longest note.
pub const NOTE_LENGTH_MAX: usize = 500;

/// What many viewers are given, or were given elsewhere.
#[derive(Clone, Debug)]
pub struct Grant {
    pub id: Uuid,
    pub kind: Kind,
    /// Who does this.
    pub actor: String,
    /// The version of the earn rules of the moment, as every credit keeps it.
    pub rules: u32,
    pub received_at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Grant {
        note: String,
    },
    /// Balances of another bot: its name, and the SHA-256 of the file.
    Import {
        source: String,
        file: String,
        /// Whoever was imported with another amount before is given the new amount as well.
        again: bool,
    },
}

/// What became, or would become, of one line.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LineDone {
    pub viewer: String,
    pub points: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(flatten)]
    pub became: Became,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum Became {
    /// In a preview: what the viewer has, and what they would have. `unseen`: nothing is known of such a viewer.
    Would {
        available: i64,
        after: i64,
        unseen: bool,
    },
    Done {
        position: i64,
    },
    /// It was done before, by the same command; nothing is done twice.
    Before {
        position: i64,
    },
    Refused {
        reason: String,
    },
    /// It is stored and will be decided.
    Pending,
}

/// What became of all lines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Counts {
    /// Done, or in a preview: would be done.
    pub done: u64,
    /// The points of these.
    pub points: i128,
    pub before: u64,
    pub refused: u64,
    pub pending: u64,
    /// In a preview: viewers of whom nothing is known.
    pub unseen: u64,
    /// The last position that is known of.
    pub position: i64,
}

/// Why it could not go on. What was done until then stays done, and doing it again does no harm.
#[derive(Debug, Error)]
pub enum GrantError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(
        "the projection grants is at position {0} and does not come on: is `tapedeck serve` running?"
    )]
    Behind(i64),
    #[error("there is no grant {0}; see tapedeck grant list")]
    Unknown(Uuid),
}

impl From<journal::command::BadAddress> for GrantError {
    fn from(error: journal::command::BadAddress) -> Self {
        GrantError::Publish(error.into())
    }
}

impl Grant {
    /// The id of what is credited to `viewer`. An import is of a viewer and a bot, whatever file it was in; it can be
    /// repeated on purpose, so the times it was done before are part of its name.
    fn entry(&self, viewer: &str, times: i64) -> Uuid {
        match &self.kind {
            Kind::Grant { .. } => entry_id("grant", &format!("{}:{viewer}", self.id)),
            Kind::Import { source, .. } => {
                entry_id("import", &format!("{source}:{viewer}:{times}"))
            }
        }
    }

    fn command(&self, line: &Line, times: i64) -> Command {
        let (grant, points, rules) = (self.id, line.points, self.rules);
        let facts = match &self.kind {
            Kind::Grant { note } => {
                Facts::Grant { grant, note: note.clone(), actor: self.actor.clone() }
            }
            Kind::Import { source, file, .. } => Facts::Import {
                grant,
                source: source.clone(),
                file: file.clone(),
                line: i64::try_from(line.number).unwrap_or(i64::MAX),
            },
        };
        Command::Credit { entry: self.entry(&line.viewer, times), points, rules, facts }
    }

    fn origin(&self, viewer: &str) -> Origin {
        let source = match self.kind {
            Kind::Grant { .. } => "grant",
            Kind::Import { .. } => "import",
        };
        Origin {
            source: source.to_owned(),
            source_id: format!("{}:{viewer}", self.id),
            actor: Some(self.actor.clone()),
            received_at: self.received_at,
            raw: None,
        }
    }
}

impl Counts {
    pub fn add(&mut self, done: &LineDone) {
        match done.became {
            Became::Would { unseen, .. } => {
                self.done += 1;
                self.points += i128::from(done.points);
                self.unseen += u64::from(unseen);
            }
            Became::Done { position } => {
                self.done += 1;
                self.points += i128::from(done.points);
                self.position = self.position.max(position);
            }
            Became::Before { position } => {
                self.before += 1;
                self.position = self.position.max(position);
            }
            Became::Refused { .. } => self.refused += 1,
            Became::Pending => self.pending += 1,
        }
    }
}

/// Whether a note can stand in a statement.
pub fn check_note(note: &str) -> Result<(), String> {
    let length = note.trim().chars().count();
    if (1..=NOTE_LENGTH_MAX).contains(&length) && !note.contains('\0') {
        return Ok(());
    }
    Err(format!("note is 1 to {NOTE_LENGTH_MAX} characters"))
}

/// Waits until the projection `grants` knows everything that is recorded now.
pub async fn wait_for_all(pool: &sqlx::PgPool, positions: &Positions) -> Result<(), GrantError> {
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
    let head = journal::head::read(pool).await?.position;
    let waited = positions.wait(projections::grants::NAME, head, LIMIT).await;
    waited.map(drop).map_err(GrantError::Behind)
}
