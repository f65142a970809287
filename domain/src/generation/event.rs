//! What happened to a request, as it is stored.

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EXPIRED, TIMER};
use crate::broadcast::OnAir;
use crate::chat_request::{Unclear, Wish};

/// What happened to a request. The names and shapes are the stored format: they never change, they are added to.
/// Events that move points say whose, so that the process needs nothing but the event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Submitted {
        entry: Uuid,
        viewer: String,
        wish: Wish,
        price: i64,
        prices: u32,
        at: DateTime<Utc>,
        /// The request that ended without a picture and is tried again by this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_of: Option<Uuid>,
        /// What was on when it was asked for; nothing, or not known of those that were recorded before it was kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<OnAir>,
    },
    Funded {
        entry: Uuid,
    },
    /// The points were held after the request had been cancelled: they go back.
    FundedInVain {
        entry: Uuid,
        viewer: String,
    },
    Declined {
        entry: Uuid,
        available: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
    },
    /// What was meant as a request, such as the message of a cheer, cannot be granted as it was said.
    TurnedDown {
        entry: Uuid,
        viewer: String,
        unclear: Unclear,
        prices: u32,
        at: DateTime<Utc>,
    },
    AttemptFailed {
        entry: Uuid,
        attempt: u32,
        reason: String,
        retry_at: DateTime<Utc>,
    },
    /// What is ready-made has no picture of its own.
    Completed {
        entry: Uuid,
        viewer: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        picture: Option<Picture>,
    },
    /// It is made, and waits for somebody to approve or reject it.
    Presented {
        entry: Uuid,
        picture: Picture,
    },
    Approved {
        entry: Uuid,
        viewer: String,
        actor: String,
    },
    Rejected {
        entry: Uuid,
        viewer: String,
        actor: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
    },
    Refused {
        entry: Uuid,
        viewer: String,
        code: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
    },
    Failed {
        entry: Uuid,
        viewer: String,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
    },
    /// `held` says whether there are points to give back.
    Cancelled {
        entry: Uuid,
        viewer: String,
        actor: String,
        reason: String,
        held: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asked: Option<Asked>,
    },
    /// The end of its points. What was captured is shown: whom it is for, what was asked for and what was made. What
    /// was released has a wish only where nothing had ended the request before: then its time was over.
    Settled {
        entry: Uuid,
        points: i64,
        settlement: Settlement,
        viewer: String,
        wish: Option<Wish>,
        picture: Option<Picture>,
    },
}

impl Event {
    /// Whether it ends a request whose time was over: nobody has called it off.
    pub fn is_expiry(&self) -> bool {
        matches!(self, Event::Cancelled { actor, reason, .. } if actor == TIMER && reason == EXPIRED)
    }

    pub(super) fn entry(&self) -> Uuid {
        match self {
            Event::Submitted { entry, .. }
            | Event::Funded { entry }
            | Event::FundedInVain { entry, .. }
            | Event::Declined { entry, .. }
            | Event::TurnedDown { entry, .. }
            | Event::AttemptFailed { entry, .. }
            | Event::Completed { entry, .. }
            | Event::Presented { entry, .. }
            | Event::Approved { entry, .. }
            | Event::Rejected { entry, .. }
            | Event::Refused { entry, .. }
            | Event::Failed { entry, .. }
            | Event::Cancelled { entry, .. }
            | Event::Settled { entry, .. } => *entry,
        }
    }
}

/// What had been asked for by whom and for how much, in an event that ends it: whoever tells the viewer needs nothing
/// but the event. Events from before viewers were told have none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub viewer: String,
    pub style: String,
    pub price: i64,
}

/// What was made: the name of its content in the object store, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// SHA-256 of the content, as 64 hexadecimal digits.
    pub content: String,
    pub media_type: String,
    /// `#rrggbb`, of what it is to be shown on.
    pub background: String,
    /// The name that was invented for a friend.
    pub name: Option<String>,
    /// What the provider took for it, in millionths of a dollar.
    pub cost_micros: i64,
}

/// What became of the points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    Captured,
    Released,
}

impl Settlement {
    pub fn name(self) -> &'static str {
        match self {
            Settlement::Captured => "captured",
            Settlement::Released => "released",
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Submitted { .. } => "submitted",
            Event::Funded { .. } => "funded",
            Event::FundedInVain { .. } => "funded_in_vain",
            Event::Declined { .. } => "declined",
            Event::TurnedDown { .. } => "turned_down",
            Event::AttemptFailed { .. } => "attempt_failed",
            Event::Completed { .. } => "completed",
            Event::Presented { .. } => "presented",
            Event::Approved { .. } => "approved",
            Event::Rejected { .. } => "rejected",
            Event::Refused { .. } => "refused",
            Event::Failed { .. } => "failed",
            Event::Cancelled { .. } => "cancelled",
            Event::Settled { .. } => "settled",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}
