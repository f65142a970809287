//! Commands: sending one and waiting for its outcome, and asking for an outcome later.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, State as FromState};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::account::Account;
use domain::{Identified, entry_id};
use journal::{Decision, Envelope, Origin, Outcome, head, outcome};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::actor::Actor;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody, POSITION};
use super::extract::{Path, Query};
use super::keys::Scope;
use super::{API, Api, State, query};
use crate::observe;

/// How long a request waits for its command to be decided.
const DECISION_LIMIT: Duration = Duration::from_secs(2);
/// How long a command may take to reach the broker's disk.
const SEND_LIMIT: Duration = Duration::from_secs(5);
const KEY_LENGTH_MAX: usize = 255;

/// What became of a command.
#[derive(Serialize, ToSchema)]
pub struct CommandAnswer {
    pub command_id: Uuid,
    #[schema(example = "accepted")]
    pub status: Status,
    /// Give this to a query as `min_position` to see what the command did.
    pub position: i64,
    /// What it did, in order: `credited`, `held`, …
    pub events: Vec<String>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Accepted,
    /// A rule refused it.
    Rejected,
    /// It asked for more points than there were; recorded as an event.
    Declined,
    /// It could not be decided and is a dead letter.
    Dead,
    /// It is stored and will be decided: ask again at `Location`.
    Pending,
}

/// The `Idempotency-Key` of a request. The same key from the same caller is the same command, for
/// ever.
pub struct IdempotencyKey(String);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok());
        let key = key.map(|key| key.trim().trim_matches('"')).unwrap_or_default();
        if (1..=KEY_LENGTH_MAX).contains(&key.len()) {
            return Ok(IdempotencyKey(key.to_owned()));
        }
        let words =
            "send `Idempotency-Key: <1 to 255 characters>`, and the same one when you try again";
        Err(ApiError::new(StatusCode::BAD_REQUEST, "idempotency_key", words))
    }
}

/// What a caller wants done, before it is a command.
pub struct Wish<'a> {
    pub key: &'a Actor,
    pub idempotency_key: &'a IdempotencyKey,
    pub received_at: DateTime<Utc>,
}

impl Wish<'_> {
    /// The id of the command and of the entry it makes.
    pub fn id(&self) -> Uuid {
        entry_id(&format!("api:{}", self.key.id), &self.idempotency_key.0)
    }

    /// Sends the command to `aggregate_id` and answers with its outcome. `same` says whether an
    /// event that an earlier command of this id made is one that this command would have made.
    pub async fn carry_out<A>(
        &self,
        api: &Api,
        aggregate_id: &str,
        command: &A::Command,
        same: impl Fn(&A::Event) -> bool,
    ) -> Result<Response, ApiError>
    where
        A: cqrs_es::Aggregate,
        A::Command: Serialize + Identified,
        A::Event: DeserializeOwned,
    {
        let origin = Origin {
            source: "api".to_owned(),
            source_id: self.idempotency_key.0.clone(),
            actor: Some(self.key.name.clone()),
            received_at: self.received_at,
            raw: None,
        };
        let mut envelope = Envelope::new::<A>(aggregate_id, command, origin)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        envelope.traceparent = observe::traceparent();
        let id = envelope.id;
        let asked = api.replies.ask(&api.publisher, envelope, DECISION_LIMIT);
        let asked = tokio::time::timeout(SEND_LIMIT + DECISION_LIMIT, asked).await;
        let outcome = asked.map_err(|_| ApiError::unavailable("the broker does not answer"))??;
        match outcome {
            None => Ok(pending(id, head::read(&api.pool).await?.position)),
            Some(outcome) => {
                require_same::<A>(api, aggregate_id, &outcome, same).await?;
                decided(with_event_types(api, outcome).await?)
            }
        }
    }
}

/// What became of a command.
///
/// A command that was answered with 202 can be asked for here. One that is not known was never
/// sent, or is not decided yet. Whoever may not ask for all of them asks for those about their own account; others are
/// not known to them.
#[utoipa::path(
    get, path = "/commands/{id}", tag = "commands",
    params(("id" = Uuid, Path, description = "The command's id"), query::AtLeast),
    responses((status = 200, body = CommandAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn one(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(id): Path<Uuid>,
    Query(at_least): Query<query::AtLeast>,
) -> Result<Response, ApiError> {
    let actor = asker.known()?;
    if actor.viewer().is_none() {
        asker.require(Scope::CommandsRead)?;
    }
    query::wait_for_head(&app, at_least.min_position).await?;
    let found = outcome::find(&app.pool, id).await?;
    let Some(outcome) = found.filter(|outcome| may_know(actor, outcome)) else {
        let position = head::read(&app.pool).await?.position;
        let words = "no command of this id is decided yet";
        return Err(ApiError::not_found(words).at(position));
    };
    let position = match outcome.last_position() {
        Some(position) => position,
        None => head::read(&app.pool).await?.position,
    };
    Ok(query::answer(position, CommandAnswer::new(outcome, position)))
}

/// Whether this may be told to whoever asks: all of it to some, and to a viewer what became of their own account.
fn may_know(actor: &Actor, outcome: &Outcome) -> bool {
    let account = outcome.aggregate_id.as_str();
    let is_own = outcome.aggregate_type == Account::TYPE && actor.viewer() == Some(account);
    let may = |scope| actor.allows_for(scope, account);
    let may_own = is_own && (may(Scope::AccountsRead) || may(Scope::AccountsWrite));
    actor.allows(Scope::CommandsRead) || may_own
}

impl CommandAnswer {
    fn new(outcome: Outcome, position: i64) -> Self {
        let declined = outcome.event_types.iter().any(|name| name == "declined");
        let status = match outcome.decision {
            Decision::Accepted if declined => Status::Declined,
            Decision::Accepted => Status::Accepted,
            Decision::Rejected => Status::Rejected,
            Decision::Dead => Status::Dead,
        };
        CommandAnswer {
            command_id: outcome.command_id,
            status,
            position,
            events: outcome.event_types,
            reason: outcome.reason,
            decided_at: Some(outcome.decided_at),
        }
    }
}

fn pending(id: Uuid, position: i64) -> Response {
    let body = CommandAnswer {
        command_id: id,
        status: Status::Pending,
        position,
        events: Vec::new(),
        reason: None,
        decided_at: None,
    };
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    response.headers_mut().insert(POSITION, position.into());
    if let Ok(location) = HeaderValue::from_str(&format!("{API}/commands/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn decided(outcome: Outcome) -> Result<Response, ApiError> {
    let position = outcome.last_position().unwrap_or_default();
    let id = outcome.command_id;
    let answer = CommandAnswer::new(outcome, position);
    let reason = answer.reason.clone().unwrap_or_default();
    let details = json!({"command_id": id, "position": position});
    match answer.status {
        Status::Accepted | Status::Pending => {
            let status =
                if answer.events.is_empty() { StatusCode::OK } else { StatusCode::CREATED };
            Ok((status, [(POSITION, position)], Json(answer)).into_response())
        }
        Status::Declined => {
            let words = "there are not enough points available";
            Err(ApiError::conflict("declined", words).details(details).at(position))
        }
        Status::Rejected => {
            let (status, code) = rejection(&reason);
            Err(ApiError::new(status, code, reason).details(details))
        }
        Status::Dead => {
            let words = format!("this could not be decided and is kept as a dead letter: {reason}");
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "dead", words).details(details))
        }
    }
}

/// The answer to a command that was decided before says how many events it made, and not which.
async fn with_event_types(api: &Api, outcome: Outcome) -> Result<Outcome, ApiError> {
    if usize::try_from(outcome.events).is_ok_and(|count| count == outcome.event_types.len()) {
        return Ok(outcome);
    }
    Ok(outcome::find(&api.pool, outcome.command_id).await?.unwrap_or(outcome))
}

/// Refuses a key that was used before for something else.
async fn require_same<A>(
    api: &Api,
    aggregate_id: &str,
    outcome: &Outcome,
    same: impl Fn(&A::Event) -> bool,
) -> Result<(), ApiError>
where
    A: cqrs_es::Aggregate,
    A::Event: DeserializeOwned,
{
    let used = || {
        let words = "this Idempotency-Key was used before, for something else";
        Err(ApiError::conflict("idempotency_key", words)
            .details(json!({"command_id": outcome.command_id})))
    };
    if outcome.aggregate_type != A::TYPE || outcome.aggregate_id != aggregate_id {
        return used();
    }
    let Some(last) = outcome.last_position() else { return Ok(()) };
    let payload: Option<String> =
        sqlx::query_scalar("SELECT payload::text FROM events WHERE position = $1")
            .bind(last)
            .fetch_optional(&api.pool)
            .await?;
    match payload.and_then(|payload| serde_json::from_str::<A::Event>(&payload).ok()) {
        Some(event) if !same(&event) => used(),
        _ => Ok(()),
    }
}

/// The status and the code of a rejection, by the words that the domain gives it.
fn rejection(reason: &str) -> (StatusCode, &'static str) {
    const KNOWN: [(&str, StatusCode, &str); 16] = [
        ("points must be", StatusCode::UNPROCESSABLE_ENTITY, "bad_points"),
        ("the sum would not fit", StatusCode::UNPROCESSABLE_ENTITY, "out_of_range"),
        ("there is no open hold", StatusCode::CONFLICT, "not_held"),
        ("is a gift on its way", StatusCode::FORBIDDEN, "hold_of_gift"),
        ("was reversed before", StatusCode::CONFLICT, "already_reversed"),
        ("so its reversal moves", StatusCode::UNPROCESSABLE_ENTITY, "not_the_same_points"),
        ("the channel is not live", StatusCode::CONFLICT, "not_live"),
        ("there is no such request", StatusCode::NOT_FOUND, "not_found"),
        ("the request exists already", StatusCode::CONFLICT, "submitted_before"),
        ("the request has ended already", StatusCode::CONFLICT, "ended"),
        ("the request waits for no review", StatusCode::CONFLICT, "not_presented"),
        ("is on screen already", StatusCode::CONFLICT, "same_tape"),
        ("there is no such stage", StatusCode::NOT_FOUND, "not_found"),
        ("another alert plays", StatusCode::CONFLICT, "playing"),
        ("does not play on the stage", StatusCode::CONFLICT, "not_playing"),
        ("the data of a test", StatusCode::UNPROCESSABLE_ENTITY, "bad_data"),
    ];
    let known = KNOWN.into_iter().find(|(words, ..)| reason.contains(words));
    known.map_or((StatusCode::CONFLICT, "rejected"), |(_, status, code)| (status, code))
}

#[cfg(test)]
mod tests;
