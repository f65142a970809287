//! What people do on a stage while it plays.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::Utc;
use domain::alerting::Kind;
use domain::stage::{Command, Sound};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::wishes::{self, carry_out};
use super::{State, check_name, view};
use crate::http::auth::Asker;
use crate::http::commands::{CommandAnswer, IdempotencyKey, Wish};
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::{Body, Path};
use crate::http::keys::Scope;
use crate::stage::samples::{self, SampleError};

/// An alert of the stage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneAlert {
    alert: Uuid,
}

/// An alert of the stage, or what is meant without one.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnyAlert {
    /// To skip: what plays, if left out. To clear: all that wait, if left out.
    #[serde(default)]
    alert: Option<Uuid>,
}

/// What is to be silent, or not any more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Muting {
    /// `sound` or `speech`.
    #[schema(value_type = String, example = "sound")]
    what: Sound,
}

/// An alert to look at.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Testing {
    /// `follow`, `cheer`, `sub`, `resub`, `gift`, `raid`, `hype_train`, `ghost` or `friend`.
    #[schema(value_type = String, example = "cheer")]
    r#type: Kind,
    /// What is to be different from the ordinary test of this type.
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Map<String, Value>,
}

/// Starts nothing more. What plays, plays to its end.
#[utoipa::path(
    post, path = "/stages/{name}/pause", tag = "stages",
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn pause(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Pause { entry: wish.id(), actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

/// Goes on after a pause.
#[utoipa::path(
    post, path = "/stages/{name}/resume", tag = "stages",
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn resume(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Resume { entry: wish.id(), actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

/// Takes what plays off the stage at once. With `alert` only if it is that one which plays.
#[utoipa::path(
    post, path = "/stages/{name}/skip", tag = "stages", request_body = AnyAlert,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn skip(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(AnyAlert { alert }): Body<AnyAlert>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    check_name(&app, &name)?;
    let received_at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at };
    let alert = match alert {
        Some(alert) => alert,
        None => wishes::skipped(&app, &wish, &name).await?,
    };
    let (entry, actor) = (wish.id(), key.name.clone());
    let command = Command::Skip { entry, alert, actor, at: received_at };
    carry_out(&app, &wish, &name, &command).await
}

/// Takes one alert, or all that wait now, out of the line. Those that come after this are not touched.
#[utoipa::path(
    post, path = "/stages/{name}/clear", tag = "stages", request_body = AnyAlert,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn clear(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(AnyAlert { alert }): Body<AnyAlert>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    check_name(&app, &name)?;
    let until = match alert {
        Some(alert) => wishes::require(&app, &name, alert, &["waiting"]).await?,
        None => view(&app, &name).await?.position,
    };
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Clear { entry: wish.id(), alert, until, actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

/// Shows an alert again that is over, after those that wait.
#[utoipa::path(
    post, path = "/stages/{name}/replay", tag = "stages", request_body = OneAlert,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn replay(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(OneAlert { alert }): Body<OneAlert>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    check_name(&app, &name)?;
    let at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: at };
    wishes::require_unless_done(&app, &wish, &name, alert, &wishes::OVER).await?;
    let command = Command::Replay { entry: wish.id(), alert, actor: key.name.clone(), at };
    carry_out(&app, &wish, &name, &command).await
}

/// Lets an alert that waits come next.
#[utoipa::path(
    post, path = "/stages/{name}/prioritise", tag = "stages", request_body = OneAlert,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn prioritise(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(OneAlert { alert }): Body<OneAlert>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    check_name(&app, &name)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    wishes::require_unless_done(&app, &wish, &name, alert, &["waiting"]).await?;
    let command = Command::Prioritise { entry: wish.id(), alert, actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

/// Makes the sounds of alerts, or what is read aloud, silent; at once, and until it is unmuted.
#[utoipa::path(
    post, path = "/stages/{name}/mute", tag = "stages", request_body = Muting,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn mute(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(Muting { what }): Body<Muting>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Mute { entry: wish.id(), what, actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

/// Ends a muting.
#[utoipa::path(
    post, path = "/stages/{name}/unmute", tag = "stages", request_body = Muting,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn unmute(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(Muting { what }): Body<Muting>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let command = Command::Unmute { entry: wish.id(), what, actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

/// Makes an alert to look at, which takes the way of every alert: it is recorded, waits, plays and is acknowledged, with
/// `"test": true` in its data. It moves no points.
#[utoipa::path(
    post, path = "/stages/{name}/test", tag = "stages", request_body = Testing,
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn test(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(Testing { r#type: kind, data }): Body<Testing>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::StageDirect)?;
    check_name(&app, &name)?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let entry = wish.id();
    let data = samples::data(&app.pictures, kind, &data, entry).await?;
    let command = Command::Test { entry, kind, data, actor: key.name.clone() };
    carry_out(&app, &wish, &name, &command).await
}

impl From<SampleError> for ApiError {
    fn from(error: SampleError) -> Self {
        let words = error.to_string();
        match error {
            SampleError::NoSuchField { .. } | SampleError::WrongType { .. } => {
                Self::unprocessable("bad_data", words)
            }
            SampleError::NotDrawn(_) | SampleError::NotKept(_) => {
                tracing::error!(error = words, "a test has no picture");
                Self::unavailable(words)
            }
        }
    }
}
