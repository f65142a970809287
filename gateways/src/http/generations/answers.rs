//! Requests as the API shows them.

use chrono::{DateTime, Utc};
use projections::generations::{Attempt, Generation, List, One};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::generation::standing::State;
use crate::http::API;
use crate::http::query::ViewerAnswer;

/// A page of requests, newest first.
#[derive(Serialize, ToSchema)]
pub struct GenerationsAnswer {
    pub position: i64,
    pub generations: Vec<GenerationAnswer>,
    /// How many requests there are in each stage, of all there are.
    #[schema(value_type = Object, example = json!({"funded": 3, "completed": 120}))]
    pub counts: Value,
    pub making: MakingAnswer,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// Whether pictures are made now.
#[derive(Serialize, ToSchema)]
pub struct MakingAnswer {
    pub provider: String,
    /// `open`, `full`, `rate_limited`, `budget_spent`, `asked_to_wait`, `breaker_open` or
    /// `breaker_trying`. In all but the first two, requests wait.
    #[schema(example = "open")]
    pub state: String,
    /// Until when they wait.
    pub until: Option<DateTime<Utc>>,
    /// Millionths of a dollar since midnight (UTC), with what is set aside for those being made.
    pub spent_micros: i64,
    pub budget_micros: i64,
    /// How many are being made.
    pub in_hand: i64,
}

/// One request.
#[derive(Serialize, ToSchema)]
pub struct GenerationAnswer {
    pub id: Uuid,
    pub viewer: ViewerAnswer,
    #[schema(example = "ghost")]
    pub style: String,
    /// What was asked for.
    #[schema(value_type = Object, example = json!({"ghost": {"subject": "a lighthouse"}}))]
    pub wish: Value,
    pub price: i64,
    pub prices_version: i64,
    #[schema(example = "completed")]
    pub stage: String,
    /// What became of the points: `captured` or `released`; `null` before.
    pub settlement: Option<String>,
    /// Attempts that failed.
    pub attempts: i64,
    /// Not before this is the next attempt made.
    pub retry_at: Option<DateTime<Utc>>,
    pub picture: Option<PictureAnswer>,
    /// What the provider took, in millionths of a dollar.
    pub cost_micros: i64,
    /// Why it was refused, for programs.
    pub code: Option<String>,
    /// Why it ended without a picture, for people.
    pub reason: Option<String>,
    /// The request that this one tries again.
    pub retry_of: Option<Uuid>,
    pub submitted_position: i64,
    pub submitted_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
pub struct PictureAnswer {
    /// SHA-256 of the content.
    pub content: String,
    /// Where it is to be had.
    pub path: String,
    pub media_type: String,
    /// What it is to be shown on.
    #[schema(example = "#10101e")]
    pub background: String,
    /// The name that was invented for a friend.
    pub name: Option<String>,
}

/// One request, what was tried, and the position it was read at.
#[derive(Serialize, ToSchema)]
pub struct OneAnswer {
    pub position: i64,
    pub generation: GenerationAnswer,
    /// The attempts that failed, oldest first.
    pub attempts: Vec<AttemptAnswer>,
    /// The request that tries this one again.
    pub retried_as: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub struct AttemptAnswer {
    pub attempt: i64,
    pub reason: String,
    pub at: DateTime<Utc>,
    pub retry_at: DateTime<Utc>,
}

impl GenerationsAnswer {
    pub(super) fn new(list: List, making: MakingAnswer) -> Self {
        let counts = list.counts.into_iter().map(|count| (count.stage, count.count.into()));
        GenerationsAnswer {
            position: list.position,
            generations: list.generations.into_iter().map(GenerationAnswer::from).collect(),
            counts: Value::Object(counts.collect()),
            making,
            before: list.before,
        }
    }
}

impl MakingAnswer {
    pub(super) fn new(provider: &str, state: State) -> Self {
        let State { standing, spent_micros, budget_micros, in_hand } = state;
        let provider = provider.to_owned();
        let (state, until) = (standing.name().to_owned(), standing.until());
        MakingAnswer { provider, state, until, spent_micros, budget_micros, in_hand }
    }
}

impl From<Generation> for GenerationAnswer {
    fn from(one: Generation) -> Self {
        let picture = one.picture.map(|picture| PictureAnswer {
            path: format!("{API}/pictures/{}", picture.content),
            content: picture.content,
            media_type: picture.media_type,
            background: picture.background,
            name: picture.name,
        });
        GenerationAnswer {
            id: one.id,
            viewer: one.viewer.into(),
            style: one.style,
            wish: one.wish,
            price: one.price,
            prices_version: one.prices_version,
            stage: one.stage,
            settlement: one.settlement,
            attempts: one.attempts,
            retry_at: one.retry_at,
            picture,
            cost_micros: one.cost_micros,
            code: one.code,
            reason: one.reason,
            retry_of: one.retry_of,
            submitted_position: one.submitted_position,
            submitted_at: one.submitted_at,
            ended_at: one.ended_at,
        }
    }
}

impl From<One> for OneAnswer {
    fn from(one: One) -> Self {
        OneAnswer {
            position: one.position,
            generation: one.generation.into(),
            attempts: one.attempts.into_iter().map(AttemptAnswer::from).collect(),
            retried_as: one.retried_as,
        }
    }
}

impl From<Attempt> for AttemptAnswer {
    fn from(Attempt { attempt, reason, at, retry_at, .. }: Attempt) -> Self {
        AttemptAnswer { attempt, reason, at, retry_at }
    }
}
