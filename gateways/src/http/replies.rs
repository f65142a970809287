//! Replies: what was asked in chat, and whether it was answered.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::{DateTime, Utc};
use projections::replies::{self, STAGES};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::Query;
use super::keys::Scope;
use super::query::{PageNow, ViewerAnswer, answer};

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only those in this stage: `waiting`, `due`, `delivered`, `gave_up`.
    stage: Option<String>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    min_position: Option<i64>,
    /// Only what is older than this: the `before` of the page that came before.
    before: Option<i64>,
    /// How many, 1 to 500; 50 if left out.
    limit: Option<i64>,
}

/// A page of replies, newest first.
#[derive(Serialize, ToSchema)]
pub struct RepliesAnswer {
    pub position: i64,
    pub replies: Vec<ReplyAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// One reply.
#[derive(Serialize, ToSchema)]
pub struct ReplyAnswer {
    pub id: Uuid,
    /// What Twitch calls the line that asked.
    pub line: String,
    pub viewer: ViewerAnswer,
    /// What was asked, as it is stored.
    #[schema(value_type = Object)]
    pub request: Value,
    /// How it ended, where something had to happen first.
    #[schema(value_type = Option<Object>)]
    pub ending: Value,
    #[schema(example = "delivered")]
    pub stage: String,
    /// Attempts that failed.
    pub attempts: i64,
    pub retry_at: Option<DateTime<Utc>>,
    /// Where it was taken, `overlay` or `twitch`, and under what id.
    #[schema(value_type = Option<Object>)]
    pub receipt: Value,
    /// Why it was given up, or is tried again.
    pub reason: Option<String>,
    pub asked_position: i64,
    pub asked_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub position: i64,
}

/// The replies to what was asked in chat, newest first.
#[utoipa::path(
    get, path = "/replies", tag = "chat", params(Wanted),
    responses((status = 200, body = RepliesAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn list(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    asker.require(Scope::CommandsRead)?;
    let Wanted { stage, min_position, before, limit } = wanted;
    if let Some(stage) = &stage
        && !STAGES.contains(&stage.as_str())
    {
        let all = STAGES.join(", ");
        return Err(ApiError::bad_request(format!("there is no stage {stage:?}; there are {all}")));
    }
    let page = PageNow { min_position, before, limit }.read(&app, &[replies::NAME]).await?;
    let list = replies::list(&app.pool, stage.as_deref(), page).await?;
    let body = RepliesAnswer {
        position: list.position,
        replies: list.replies.into_iter().map(ReplyAnswer::from).collect(),
        before: list.before,
    };
    Ok(answer(body.position, body))
}

impl From<replies::Reply> for ReplyAnswer {
    fn from(reply: replies::Reply) -> Self {
        let json = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
        ReplyAnswer {
            id: reply.id,
            line: reply.line,
            viewer: reply.viewer.into(),
            request: json(serde_json::to_value(reply.request)),
            ending: json(serde_json::to_value(reply.ending)),
            stage: reply.stage,
            attempts: reply.attempts,
            retry_at: reply.retry_at,
            receipt: json(serde_json::to_value(reply.receipt)),
            reason: reply.reason,
            asked_position: reply.asked_position,
            asked_at: reply.asked_at,
            ended_at: reply.ended_at,
            position: reply.position,
        }
    }
}
