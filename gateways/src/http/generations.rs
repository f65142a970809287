//! Requests for pictures: what was asked for, what came of it, and asking, cancelling and trying again by hand.

use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::Utc;
use domain::generation::{Command, Event, Generation};
use domain::redemption::request_id;
use projections::generations::{self, Filter};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::actor::Actor;
use super::auth::Asker;
use super::commands::{CommandAnswer, IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{AtLeast, PageNow, answer, check_id, wait};
use crate::generation::by_hand::{self, Refusal};
use crate::generation::standing;

mod answers;

pub use answers::{GenerationAnswer, GenerationsAnswer, MakingAnswer, OneAnswer};

const REASON_CHARS_MAX: usize = 200;
const REQUEST_CHARS_MAX: usize = 500;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only those in this stage: `submitted`, `funded`, `declined`, `presented`, `completed`, `rejected`, `refused`,
    /// `failed`, `cancelled`, `expired`.
    stage: Option<String>,
    /// Only those of this style: `ghost`, `friend`, or the id of a static alert.
    style: Option<String>,
    /// Only those of this viewer.
    viewer: Option<String>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    min_position: Option<i64>,
    /// Only what is older than this: the `before` of the page that came before.
    before: Option<i64>,
    /// How many, 1 to 500; 50 if left out.
    limit: Option<i64>,
}

/// A request in a viewer's name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGeneration {
    /// Whose points pay for it.
    #[schema(example = "5001")]
    viewer: String,
    /// What is asked for, in the words of chat.
    #[schema(example = "ghost of a lighthouse")]
    request: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancellation {
    /// Why; the viewer may be told.
    #[schema(example = "not on this channel")]
    reason: String,
}

/// The requests, newest first, how many there are in each stage, and whether pictures are made now.
#[utoipa::path(
    get, path = "/generations", tag = "generations", params(Wanted),
    responses((status = 200, body = GenerationsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn list(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    asker.require(Scope::GenerationsRead)?;
    let Wanted { stage, style, viewer, min_position, before, limit } = wanted;
    if let Some(stage) = stage.as_deref()
        && !generations::STAGES.contains(&stage)
    {
        let stages = generations::STAGES.join(", ");
        let words = format!("there is no stage {stage:?}; there are {stages}");
        return Err(ApiError::bad_request(words));
    }
    let page = PageNow { min_position, before, limit }.read(&app, &[generations::NAME]).await?;
    let filter = Filter { stage, style, viewer };
    let list = generations::list(&app.pool, &filter, page).await?;
    let settings = &app.config.generation;
    let provider = settings.provider();
    let (now, limits) = (Utc::now(), settings.limits());
    let state = standing::state(&app.pool, now, &limits, provider.cost_micros_max()).await?;
    let making = MakingAnswer::new(provider.name(), state);
    Ok(answer(list.position, GenerationsAnswer::new(list, making)))
}

/// One request with its attempts and what it cost.
#[utoipa::path(
    get, path = "/generations/{request}", tag = "generations",
    params(("request" = Uuid, Path, description = "The request's id"), AtLeast),
    responses((status = 200, body = OneAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn one(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(request): Path<Uuid>,
    Query(at_least): Query<AtLeast>,
) -> Result<Response, ApiError> {
    asker.require(Scope::GenerationsRead)?;
    wait(&app, &[generations::NAME], at_least.min_position).await?;
    let one = find(&app, request).await?;
    Ok(answer(one.position, OneAnswer::from(one)))
}

/// Asks for a picture in a viewer's name.
///
/// The viewer's points pay for it, as if it had been asked for in chat: the answer is 201 when it
/// was submitted, and whether there are enough points is seen in the request soon after. The id of the request is
/// derived from the command's; `GET /generations?viewer=…&min_position=…` shows it.
#[utoipa::path(
    post, path = "/generations", tag = "generations", request_body = NewGeneration,
    params(("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn submit(
    FromState(app): FromState<State>,
    asker: Asker,
    idempotency_key: IdempotencyKey,
    Body(new): Body<NewGeneration>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::GenerationsWrite)?;
    check_id(&new.viewer)?;
    require_own_points(key, &new.viewer)?;
    check_text("request", &new.request, REQUEST_CHARS_MAX)?;
    let received_at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at };
    let entry = wish.id();
    let prices = &app.config.prices;
    let command = by_hand::submission(entry, &new.viewer, &new.request, prices, received_at)?;
    let command = stamped(&app, command).await?;
    carry_out(&app, &wish, request_id(entry), &command).await
}

/// Cancels a request that is not made yet. Its points go back.
#[utoipa::path(
    post, path = "/generations/{request}/cancel", tag = "generations", request_body = Cancellation,
    params(("request" = Uuid, Path, description = "The request's id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn cancel(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(request): Path<Uuid>,
    idempotency_key: IdempotencyKey,
    Body(Cancellation { reason }): Body<Cancellation>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::GenerationsWrite)?;
    check_text("reason", &reason, REASON_CHARS_MAX)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let actor = key.name.clone();
    let command = Command::Cancel { entry: wish.id(), actor, reason };
    carry_out(&app, &wish, request, &command).await
}

/// Has a picture shown that waits for review. Its points are spent first.
///
/// 409 `not_presented` where it waits for none, 409 `ended` where somebody was faster, or its time was over.
#[utoipa::path(
    post, path = "/generations/{request}/approve", tag = "generations",
    params(("request" = Uuid, Path, description = "The request's id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn approve(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(request): Path<Uuid>,
    idempotency_key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::GenerationsWrite)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Approve { entry: wish.id(), actor: key.name.clone() };
    carry_out(&app, &wish, request, &command).await
}

/// Keeps a picture off the screen that waits for review. Its points go back.
#[utoipa::path(
    post, path = "/generations/{request}/reject", tag = "generations", request_body = Cancellation,
    params(("request" = Uuid, Path, description = "The request's id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn reject(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(request): Path<Uuid>,
    idempotency_key: IdempotencyKey,
    Body(Cancellation { reason }): Body<Cancellation>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::GenerationsWrite)?;
    check_text("reason", &reason, REASON_CHARS_MAX)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Reject { entry: wish.id(), actor: key.name.clone(), reason };
    carry_out(&app, &wish, request, &command).await
}

/// Tries a request again that ended without a picture.
///
/// What has ended stays ended and its points are settled, so this is a new request at today's price
/// that names the old one in `retry_of`. Each request is tried again once; the new one can be tried again in its turn.
/// What the provider has refused is not tried again. A moderator tries their own again alone (403 `not_yours`): it is
/// paid for once more.
#[utoipa::path(
    post, path = "/generations/{request}/retry", tag = "generations",
    params(("request" = Uuid, Path, description = "The id of the request that ended"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn retry(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(request): Path<Uuid>,
    idempotency_key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::GenerationsWrite)?;
    let received_at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at };
    let old = find(&app, request).await?.generation;
    require_own_points(key, &old.viewer.id)?;
    let (new, command) = by_hand::retry(wish.id(), &old, &app.config.prices, received_at)?;
    let command = stamped(&app, command).await?;
    carry_out(&app, &wish, new, &command).await
}

/// Lets no person spend another viewer's points, but the broadcaster.
fn require_own_points(actor: &Actor, viewer: &str) -> Result<(), ApiError> {
    if !actor.is_person() || actor.allows_for(Scope::AccountsWrite, viewer) {
        return Ok(());
    }
    let words = "a moderator asks for pictures with their own points alone";
    Err(ApiError::new(StatusCode::FORBIDDEN, "not_yours", words))
}

/// The request with what is on now.
async fn stamped(app: &State, command: Command) -> Result<Command, ApiError> {
    let on_air = by_hand::on_air(&app.pool, &app.config.broadcaster_id).await?;
    Ok(by_hand::stamped(command, on_air))
}

/// Sends the command; the same key for something else is refused.
async fn carry_out(
    app: &State,
    wish: &Wish<'_>,
    request: Uuid,
    command: &Command,
) -> Result<Response, ApiError> {
    let same = |event: &Event| match (command, event) {
        (
            Command::Submit { viewer, wish, retry_of, .. },
            Event::Submitted { viewer: whose, wish: what, retry_of: again, .. },
        ) => viewer == whose && wish == what && retry_of == again,
        (Command::Cancel { reason, .. }, Event::Cancelled { reason: why, .. })
        | (Command::Reject { reason, .. }, Event::Rejected { reason: why, .. }) => reason == why,
        (Command::Approve { .. }, Event::Approved { .. }) => true,
        _ => false,
    };
    wish.carry_out::<Generation>(app, &request.to_string(), command, same).await
}

async fn find(app: &State, request: Uuid) -> Result<generations::One, ApiError> {
    match generations::one(&app.pool, request).await? {
        (_, Some(one)) => Ok(one),
        (position, None) => Err(ApiError::not_found("there is no request of this id").at(position)),
    }
}

fn check_text(name: &str, text: &str, chars_max: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    if (1..=chars_max).contains(&length) && !text.contains('\0') {
        return Ok(());
    }
    Err(ApiError::unprocessable("bad_text", format!("{name} is 1 to {chars_max} characters")))
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotTriedAgain { .. } => Self::conflict(refusal.code(), refusal.to_string()),
            _ => Self::unprocessable(refusal.code(), refusal.to_string()),
        }
    }
}
