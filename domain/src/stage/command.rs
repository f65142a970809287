//! What can be wanted on a stage.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::alerting::Kind;
use crate::identity::Identified;

/// What can be made silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sound {
    /// What belongs to an alert's picture.
    Sound,
    /// What viewers wrote, read aloud.
    Speech,
}

/// What to do on a stage. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    Open {
        entry: Uuid,
        at: DateTime<Utc>,
    },
    /// Nobody names the stage any more. What waits there and is of a type in `expires` expires, and what else waits is
    /// unknown.
    Close {
        entry: Uuid,
        expires: Vec<Kind>,
        at: DateTime<Utc>,
    },
    /// Play `alert` from `starts_at`, if nothing has happened on the stage since `revision`.
    Start {
        entry: Uuid,
        revision: i64,
        alert: Uuid,
        attempt: u32,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
    },
    Show {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        overlay: Uuid,
        at: DateTime<Utc>,
    },
    Requeue {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        reason: String,
    },
    GiveUp {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        reason: String,
    },
    Expire {
        entry: Uuid,
        revision: i64,
        alerts: Vec<Uuid>,
    },
    Skip {
        entry: Uuid,
        alert: Uuid,
        actor: String,
        at: DateTime<Utc>,
    },
    /// One alert, or all that wait at the position `until`.
    Clear {
        entry: Uuid,
        alert: Option<Uuid>,
        until: i64,
        actor: String,
    },
    Replay {
        entry: Uuid,
        alert: Uuid,
        actor: String,
        at: DateTime<Utc>,
    },
    Prioritise {
        entry: Uuid,
        alert: Uuid,
        actor: String,
    },
    Pause {
        entry: Uuid,
        actor: String,
    },
    Resume {
        entry: Uuid,
        actor: String,
    },
    Mute {
        entry: Uuid,
        what: Sound,
        actor: String,
    },
    Unmute {
        entry: Uuid,
        what: Sound,
        actor: String,
    },
    Test {
        entry: Uuid,
        kind: Kind,
        data: Map<String, Value>,
        actor: String,
    },
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Open { entry, .. }
            | Command::Close { entry, .. }
            | Command::Start { entry, .. }
            | Command::Show { entry, .. }
            | Command::Requeue { entry, .. }
            | Command::GiveUp { entry, .. }
            | Command::Expire { entry, .. }
            | Command::Skip { entry, .. }
            | Command::Clear { entry, .. }
            | Command::Replay { entry, .. }
            | Command::Prioritise { entry, .. }
            | Command::Pause { entry, .. }
            | Command::Resume { entry, .. }
            | Command::Mute { entry, .. }
            | Command::Unmute { entry, .. }
            | Command::Test { entry, .. } => *entry,
        }
    }
}
