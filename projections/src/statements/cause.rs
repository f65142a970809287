//! Why an entry of a statement was made, and where it came from.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use domain::account::{Event, Facts};

/// Why an entry was made, as it was recorded. What does not apply is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cause {
    /// What the viewer did: `{"cheer": {"bits": 150, …}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// The version of the earn rules that made points of the facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    /// What points were held for, or refused for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The hold that was captured or released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Uuid>,
    /// Why a hold was released.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The entry that was reversed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverses: Option<Uuid>,
    /// What was written beside a manual credit or a reversal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Where an entry came from, as its metadata says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// The gateway or process.
    pub source: Option<String>,
    /// What the source calls it.
    pub source_id: Option<String>,
    /// Who wanted it, where somebody did.
    pub actor: Option<String>,
}

/// The points an event is about, and why.
pub(super) fn explain(event: Event) -> (i64, Cause) {
    let none = Cause::default();
    match event {
        Event::Credited { points, rules, facts, .. } => {
            let note = match &facts {
                Facts::Manual { note, .. } | Facts::Grant { note, .. } => Some(note.clone()),
                _ => None,
            };
            (points, Cause { facts: Some(facts), rules: Some(rules), note, ..none })
        }
        Event::Held { points, purpose, expires_at, .. } => {
            (points, Cause { purpose: Some(purpose), expires_at: Some(expires_at), ..none })
        }
        Event::Declined { points, purpose, .. } => {
            (points, Cause { purpose: Some(purpose), ..none })
        }
        Event::Captured { hold, points, .. } => (points, Cause { hold: Some(hold), ..none }),
        Event::Released { hold, points, reason, .. } => {
            (points, Cause { hold: Some(hold), reason: Some(reason), ..none })
        }
        Event::Reversed { reverses, points, note, .. } => {
            (points, Cause { reverses: Some(reverses), note: Some(note), ..none })
        }
    }
}
