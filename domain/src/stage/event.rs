//! What happened on a stage, as it is stored.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::Sound;
use crate::alerting::Kind;

/// What happened on a stage. The names and shapes are the stored format: they never change, they are added to.
/// `actor` is who wanted it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The stage is there: what is recorded after this is for it, what was before is not.
    Opened {
        entry: Uuid,
        at: DateTime<Utc>,
    },
    /// The stage is there no more: what is recorded after this is not for it. Of what waited, the types in `expires` waited
    /// for too long; the others, and what was to be on a screen, are unknown.
    Closed {
        entry: Uuid,
        expires: Vec<Kind>,
        at: DateTime<Utc>,
    },
    /// From `starts_at` to `ends_at` every overlay shows the alert, for the `attempt`-th time.
    Started {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
    },
    /// `overlay` has it on the screen.
    Shown {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        overlay: Uuid,
        at: DateTime<Utc>,
    },
    /// Nobody showed it: it waits again, in its old place.
    Requeued {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        reason: String,
    },
    /// Nobody can say whether it was shown. It is not shown again by itself.
    Unknown {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        reason: String,
    },
    /// These waited for too long.
    Expired {
        entry: Uuid,
        alerts: Vec<Uuid>,
    },
    Skipped {
        entry: Uuid,
        alert: Uuid,
        attempt: u32,
        actor: String,
    },
    /// What waited at the moment of history `until` waits no more: this alert, or all of them.
    Cleared {
        entry: Uuid,
        alert: Option<Uuid>,
        until: i64,
        actor: String,
    },
    /// An alert that is over waits again, behind the others.
    Replayed {
        entry: Uuid,
        alert: Uuid,
        actor: String,
    },
    /// An alert that waits comes next.
    Prioritised {
        entry: Uuid,
        alert: Uuid,
        actor: String,
    },
    Paused {
        entry: Uuid,
        actor: String,
    },
    Resumed {
        entry: Uuid,
        actor: String,
    },
    Muted {
        entry: Uuid,
        what: Sound,
        actor: String,
    },
    Unmuted {
        entry: Uuid,
        what: Sound,
        actor: String,
    },
    /// Somebody wants to see what an alert of this kind looks like: this is an alert of its own.
    Tested {
        entry: Uuid,
        kind: Kind,
        data: Map<String, Value>,
        actor: String,
    },
}

impl Event {
    pub(super) fn entry(&self) -> Uuid {
        match self {
            Event::Opened { entry, .. }
            | Event::Closed { entry, .. }
            | Event::Started { entry, .. }
            | Event::Shown { entry, .. }
            | Event::Requeued { entry, .. }
            | Event::Unknown { entry, .. }
            | Event::Expired { entry, .. }
            | Event::Skipped { entry, .. }
            | Event::Cleared { entry, .. }
            | Event::Replayed { entry, .. }
            | Event::Prioritised { entry, .. }
            | Event::Paused { entry, .. }
            | Event::Resumed { entry, .. }
            | Event::Muted { entry, .. }
            | Event::Unmuted { entry, .. }
            | Event::Tested { entry, .. } => *entry,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Opened { .. } => "opened",
            Event::Closed { .. } => "closed",
            Event::Started { .. } => "started",
            Event::Shown { .. } => "shown",
            Event::Requeued { .. } => "requeued",
            Event::Unknown { .. } => "unknown",
            Event::Expired { .. } => "expired",
            Event::Skipped { .. } => "skipped",
            Event::Cleared { .. } => "cleared",
            Event::Replayed { .. } => "replayed",
            Event::Prioritised { .. } => "prioritised",
            Event::Paused { .. } => "paused",
            Event::Resumed { .. } => "resumed",
            Event::Muted { .. } => "muted",
            Event::Unmuted { .. } => "unmuted",
            Event::Tested { .. } => "tested",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}
