//! Holds: setting points aside for something not yet delivered, and then spending them or giving
//! them back.

use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use domain::account::{Account, Command, Event};
use domain::giving;
use domain::redemption;
use projections::holds;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::commands::{CommandAnswer, IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{PageNow, ViewerAnswer, answer, check_id};

const PURPOSE_LENGTH_MAX: usize = 200;
const EXPIRES_IN_DEFAULT_S: i64 = 15 * 60;
const EXPIRES_IN_MAX_S: i64 = 7 * 24 * 3600;

/// Points to set aside.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// More than zero.
    #[schema(example = 500, minimum = 1)]
    points: i64,
    /// What they are for. It may not begin with `request: ` or `gift: `, which are the purposes of requests and of gifts:
    /// 422 `reserved_purpose`.
    #[schema(example = "an image of a haunted VCR")]
    purpose: String,
    /// After this many seconds the hold is given back by itself; 900 if left out.
    #[schema(minimum = 1, maximum = 604800)]
    expires_in_s: Option<i64>,
}

/// Why a hold is given back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Giveback {
    #[schema(example = "the image could not be made")]
    reason: String,
}

/// The holds of a viewer that are open, newest first.
#[derive(Serialize, ToSchema)]
pub struct HoldsAnswer {
    pub position: i64,
    pub viewer: ViewerAnswer,
    pub holds: Vec<HoldAnswer>,
    /// Give this to get the next page; `null` on the last.
    pub before: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub struct HoldAnswer {
    pub id: Uuid,
    #[schema(example = 500)]
    pub points: i64,
    #[schema(example = "an image of a haunted VCR")]
    pub purpose: String,
    /// When it is given back by itself.
    pub expires_at: DateTime<Utc>,
    /// Of the event that set the points aside.
    pub position: i64,
}

/// The holds of a viewer that are open, newest first.
#[utoipa::path(
    get, path = "/accounts/{viewer}/holds", tag = "holds",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"), PageNow),
    responses((status = 200, body = HoldsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn list(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    Query(wanted): Query<PageNow>,
) -> Result<Response, ApiError> {
    asker.require_for(Scope::AccountsRead, &viewer)?;
    check_id(&viewer)?;
    let page = wanted.read(&app, &[holds::NAME]).await?;
    let open = holds::of(&app.pool, &viewer, page).await?;
    let body = HoldsAnswer {
        position: open.position,
        viewer: open.viewer.into(),
        holds: open.holds.into_iter().map(HoldAnswer::from).collect(),
        before: open.before,
    };
    Ok(answer(body.position, body))
}

/// Sets points aside.
///
/// The command's id is the hold's id. Too few available points: 409 `declined`.
#[utoipa::path(
    post, path = "/accounts/{viewer}/holds", tag = "holds", request_body = NewHold,
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn hold(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(new): Body<NewHold>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::HoldsWrite)?;
    check_id(&viewer)?;
    check_text("purpose", &new.purpose)?;
    if redemption::is_ours(&new.purpose) {
        let words = format!("a purpose that begins with {:?} is a request's", redemption::PURPOSE);
        return Err(ApiError::unprocessable("reserved_purpose", words));
    }
    if giving::is_ours(&new.purpose) {
        let words = format!("a purpose that begins with {:?} is a gift's", giving::PURPOSE);
        return Err(ApiError::unprocessable("reserved_purpose", words));
    }
    let expires_in_s = new.expires_in_s.unwrap_or(EXPIRES_IN_DEFAULT_S);
    if !(1..=EXPIRES_IN_MAX_S).contains(&expires_in_s) {
        return Err(ApiError::unprocessable("bad_expiry", "expires_in_s is 1 to 604800"));
    }
    let received_at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at };
    let NewHold { points, purpose, .. } = new;
    let command = Command::Hold {
        entry: wish.id(),
        points,
        purpose: purpose.clone(),
        expires_at: received_at + TimeDelta::seconds(expires_in_s),
    };
    wish.carry_out::<Account>(&app, &viewer, &command, |event| match event {
        Event::Held { points: held, purpose: was, .. }
        | Event::Declined { points: held, purpose: was, .. } => *held == points && *was == purpose,
        _ => false,
    })
    .await
}

/// Spends a hold.
///
/// That of a request ends with the request alone (403 `hold_of_request`), that of a gift with the gift (403
/// `hold_of_gift`). One that is not recorded, be it only not yet, is 409 `not_held`.
#[utoipa::path(
    post, path = "/accounts/{viewer}/holds/{hold}/capture", tag = "holds",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"),
           ("hold" = Uuid, Path, description = "The hold's id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn capture(
    FromState(app): FromState<State>,
    asker: Asker,
    Path((viewer, hold)): Path<(String, Uuid)>,
    idempotency_key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::HoldsWrite)?;
    check_id(&viewer)?;
    require_free(&app.pool, &viewer, hold).await?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Capture { entry: wish.id(), hold };
    let same = |event: &Event| matches!(event, Event::Captured { hold: captured, .. } if *captured == hold);
    wish.carry_out::<Account>(&app, &viewer, &command, same).await
}

/// Gives a hold back.
///
/// That of a request ends with the request alone (403 `hold_of_request`), that of a gift with the gift (403
/// `hold_of_gift`). One that is not recorded, be it only not yet, is 409 `not_held`.
#[utoipa::path(
    post, path = "/accounts/{viewer}/holds/{hold}/release", tag = "holds", request_body = Giveback,
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"),
           ("hold" = Uuid, Path, description = "The hold's id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn release(
    FromState(app): FromState<State>,
    asker: Asker,
    Path((viewer, hold)): Path<(String, Uuid)>,
    idempotency_key: IdempotencyKey,
    Body(Giveback { reason }): Body<Giveback>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::HoldsWrite)?;
    check_id(&viewer)?;
    check_text("reason", &reason)?;
    require_free(&app.pool, &viewer, hold).await?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Release { entry: wish.id(), hold, reason: reason.clone() };
    let same = |event: &Event| {
        matches!(event, Event::Released { hold: released, reason: was, .. }
            if *released == hold && *was == reason)
    };
    wish.carry_out::<Account>(&app, &viewer, &command, same).await
}

impl From<holds::Hold> for HoldAnswer {
    fn from(hold: holds::Hold) -> Self {
        let holds::Hold { id, points, purpose, expires_at, position } = hold;
        HoldAnswer { id, points, purpose, expires_at, position }
    }
}

/// Lets only a hold pass that is recorded as one, and as nobody's but the caller's. What is not recorded yet may be
/// anything: the hold of a gift or of a request waits to be decided before the command that would end it.
async fn require_free(pool: &PgPool, viewer: &str, hold: Uuid) -> Result<(), ApiError> {
    let payload: Option<String> = sqlx::query_scalar(
        "SELECT e.payload::text FROM command_outcomes o JOIN events e ON e.position = o.first_position
         WHERE o.command_id = $1 AND o.aggregate_type = 'account' AND o.aggregate_id = $2",
    )
    .bind(hold)
    .bind(viewer)
    .fetch_optional(pool)
    .await?;
    let event = payload.and_then(|payload| serde_json::from_str(&payload).ok());
    let Some(Event::Held { purpose, .. }) = event else {
        let words = format!("no hold {hold} of this account is recorded");
        return Err(ApiError::conflict("not_held", words));
    };
    let forbidden = |code, words| Err(ApiError::new(StatusCode::FORBIDDEN, code, words));
    if redemption::is_ours(&purpose) {
        let words = "this hold pays for a request, and ends with it: cancel the request instead";
        return forbidden("hold_of_request", words);
    }
    if giving::is_ours(&purpose) {
        let words = "these points are a gift on its way: they arrive or come back by themselves";
        return forbidden("hold_of_gift", words);
    }
    Ok(())
}

fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    let length = text.chars().count();
    if (1..=PURPOSE_LENGTH_MAX).contains(&length) && !text.contains('\0') {
        return Ok(());
    }
    Err(ApiError::unprocessable(
        "bad_text",
        format!("{name} is 1 to {PURPOSE_LENGTH_MAX} characters"),
    ))
}
