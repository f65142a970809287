//! What is to be done about a request.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Picture, Settlement};
use crate::broadcast::OnAir;
use crate::chat_request::{Unclear, Wish};
use crate::identity::Identified;

/// What to do about a request. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// `viewer` asks for `wish` at `price` points, version `prices` of the price list. `retry_of` names the request that
    /// ended without a picture and is tried again by this one; see [`retry_id`](super::retry_id).
    Submit {
        entry: Uuid,
        viewer: String,
        wish: Wish,
        price: i64,
        prices: u32,
        at: DateTime<Utc>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<Uuid>,
        /// What was on just then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<OnAir>,
    },
    /// `viewer` meant to ask for something, and it cannot be granted as it was said.
    TurnDown {
        entry: Uuid,
        viewer: String,
        unclear: Unclear,
        prices: u32,
        at: DateTime<Utc>,
    },
    /// The points are held.
    Fund {
        entry: Uuid,
    },
    /// There were too few points.
    Decline {
        entry: Uuid,
        available: i64,
    },
    /// Attempt number `attempt` failed, and the next is made at `retry_at`.
    FailAttempt {
        entry: Uuid,
        attempt: u32,
        reason: String,
        retry_at: DateTime<Utc>,
    },
    Complete {
        entry: Uuid,
        picture: Picture,
    },
    /// It is made, and shown only if somebody approves of it; until then the points stay held.
    Present {
        entry: Uuid,
        picture: Picture,
    },
    /// Somebody wants it shown.
    Approve {
        entry: Uuid,
        actor: String,
    },
    /// Somebody does not want it shown: the points go back.
    Reject {
        entry: Uuid,
        actor: String,
        reason: String,
    },
    /// The provider will not make it, however often it is asked.
    Refuse {
        entry: Uuid,
        code: String,
        reason: String,
    },
    /// No attempt is left.
    Fail {
        entry: Uuid,
        reason: String,
    },
    /// Somebody does not want it any more.
    Cancel {
        entry: Uuid,
        actor: String,
        reason: String,
    },
    /// The account has captured or released the hold.
    Settle {
        entry: Uuid,
        points: i64,
        settlement: Settlement,
    },
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Submit { entry, .. }
            | Command::TurnDown { entry, .. }
            | Command::Fund { entry, .. }
            | Command::Decline { entry, .. }
            | Command::FailAttempt { entry, .. }
            | Command::Complete { entry, .. }
            | Command::Present { entry, .. }
            | Command::Approve { entry, .. }
            | Command::Reject { entry, .. }
            | Command::Refuse { entry, .. }
            | Command::Fail { entry, .. }
            | Command::Cancel { entry, .. }
            | Command::Settle { entry, .. } => *entry,
        }
    }
}
