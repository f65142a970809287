//! What the API says about accounts.

use chrono::{DateTime, Utc};
use domain::account::Facts;
use projections::balances::{Balance, Sums};
use projections::statements::{Line, Part};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::query::ViewerAnswer;

/// A viewer's balance. Somebody never seen has zero points, which is no error.
#[derive(Serialize, ToSchema)]
pub struct AccountAnswer {
    /// The position of history that this is true for.
    pub position: i64,
    pub viewer: ViewerAnswer,
    /// What can be spent.
    pub available: i64,
    /// What is set aside.
    pub held: i64,
    /// Available and held.
    pub total: i64,
    /// All that was ever given.
    pub credits: i64,
    /// All that was spent.
    pub captured: i64,
    /// The signed sum of reversals.
    pub reversed: i64,
    pub updated_at: Option<DateTime<Utc>>,
}

/// The five sums of an account.
#[derive(Serialize, ToSchema)]
pub struct SumsAnswer {
    pub available: i64,
    pub held: i64,
    pub total: i64,
    pub credits: i64,
    pub captured: i64,
    pub reversed: i64,
}

/// A page of a statement, newest entry first.
#[derive(Serialize, ToSchema)]
pub struct StatementAnswer {
    /// The position of history that this is true for.
    pub position: i64,
    pub viewer: ViewerAnswer,
    /// Before the oldest entry of this page.
    pub opening: SumsAnswer,
    /// After the newest entry of this page.
    pub closing: SumsAnswer,
    pub entries: Vec<EntryAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// One entry, with what caused it and what it left.
#[derive(Serialize, ToSchema)]
pub struct EntryAnswer {
    pub position: i64,
    pub at: DateTime<Utc>,
    /// `credited`, `held`, `declined`, `captured`, `released` or `reversed`.
    #[schema(example = "credited")]
    pub kind: String,
    /// Name this to reverse it.
    pub entry: Uuid,
    /// What the entry is about.
    pub points: i64,
    pub available_delta: i64,
    pub held_delta: i64,
    /// After this entry.
    pub available: i64,
    pub held: i64,
    pub total: i64,
    /// What the viewer did, such as `{"cheer": {"bits": 150, "message": "…"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub facts: Option<Facts>,
    /// The version of the earn rules that made points of the facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverses: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The gateway or process that it came from, what that calls it, and who wanted it.
    pub source: Option<String>,
    pub source_id: Option<String>,
    pub actor: Option<String>,
}

/// A statement by broadcast, newest first.
#[derive(Serialize, ToSchema)]
pub struct PartsAnswer {
    pub position: i64,
    pub viewer: ViewerAnswer,
    pub parts: Vec<PartAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// What a viewer came with and left with.
#[derive(Serialize, ToSchema)]
pub struct PartAnswer {
    /// `null` for what came between broadcasts.
    pub broadcast: Option<i64>,
    pub title: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub from_position: i64,
    pub until_position: i64,
    pub opening: SumsAnswer,
    pub closing: SumsAnswer,
    pub entries: i64,
}

impl From<Balance> for AccountAnswer {
    fn from(balance: Balance) -> Self {
        let Balance { position, viewer, sums, total, updated_at, .. } = balance;
        AccountAnswer {
            position,
            viewer: viewer.into(),
            available: sums.available,
            held: sums.held,
            total,
            credits: sums.credits,
            captured: sums.captured,
            reversed: sums.reversed,
            updated_at,
        }
    }
}

impl From<Sums> for SumsAnswer {
    fn from(sums: Sums) -> Self {
        SumsAnswer {
            available: sums.available,
            held: sums.held,
            total: sums.total(),
            credits: sums.credits,
            captured: sums.captured,
            reversed: sums.reversed,
        }
    }
}

impl From<Line> for EntryAnswer {
    fn from(line: Line) -> Self {
        let Line { cause, origin, .. } = line;
        EntryAnswer {
            position: line.position,
            at: line.at,
            kind: line.kind,
            entry: line.entry,
            points: line.points,
            available_delta: line.available_delta,
            held_delta: line.held_delta,
            available: line.available,
            held: line.held,
            total: line.total,
            facts: cause.facts,
            rules: cause.rules,
            purpose: cause.purpose,
            expires_at: cause.expires_at,
            hold: cause.hold,
            reason: cause.reason,
            reverses: cause.reverses,
            note: cause.note,
            source: origin.source,
            source_id: origin.source_id,
            actor: origin.actor,
        }
    }
}

impl From<Part> for PartAnswer {
    fn from(part: Part) -> Self {
        PartAnswer {
            broadcast: part.broadcast,
            title: part.title,
            started_at: part.started_at,
            ended_at: part.ended_at,
            from_position: part.from_position,
            until_position: part.until_position,
            opening: part.opening.into(),
            closing: part.closing.into(),
            entries: part.entries,
        }
    }
}
