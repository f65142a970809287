//! What people do on a stage while it plays.

use axum::response::Response;
use domain::alerting::Kind;
use domain::stage::{Command, Sound};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::wishes::{Direction, OVER};
use crate::http::commands::CommandAnswer;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::Body;
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
    /// `follow`, `cheer`, `sub`, `resub`, `gift`, `raid`, `hype_train`, `ghost`, `friend`, `tape`, `static`
    /// or `notice`.
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
pub(crate) async fn pause(direction: Direction) -> Result<Response, ApiError> {
    direction.carry_out(|entry, actor| Command::Pause { entry, actor }).await
}

/// Goes on after a pause.
#[utoipa::path(
    post, path = "/stages/{name}/resume", tag = "stages",
    params(("name" = String, Path, description = "The stage, such as `main`"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn resume(direction: Direction) -> Result<Response, ApiError> {
    direction.carry_out(|entry, actor| Command::Resume { entry, actor }).await
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
    direction: Direction,
    Body(AnyAlert { alert }): Body<AnyAlert>,
) -> Result<Response, ApiError> {
    let alert = match alert {
        Some(alert) => alert,
        None => direction.skipped().await?,
    };
    let at = direction.at;
    direction.carry_out(|entry, actor| Command::Skip { entry, alert, actor, at }).await
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
    direction: Direction,
    Body(AnyAlert { alert }): Body<AnyAlert>,
) -> Result<Response, ApiError> {
    let until = match alert {
        Some(alert) => direction.require(alert, &["waiting"]).await?,
        None => direction.position().await?,
    };
    direction.carry_out(|entry, actor| Command::Clear { entry, alert, until, actor }).await
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
    direction: Direction,
    Body(OneAlert { alert }): Body<OneAlert>,
) -> Result<Response, ApiError> {
    direction.require(alert, &OVER).await?;
    let at = direction.at;
    direction.carry_out(|entry, actor| Command::Replay { entry, alert, actor, at }).await
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
    direction: Direction,
    Body(OneAlert { alert }): Body<OneAlert>,
) -> Result<Response, ApiError> {
    direction.require(alert, &["waiting"]).await?;
    direction.carry_out(|entry, actor| Command::Prioritise { entry, alert, actor }).await
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
    direction: Direction,
    Body(Muting { what }): Body<Muting>,
) -> Result<Response, ApiError> {
    direction.carry_out(|entry, actor| Command::Mute { entry, what, actor }).await
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
    direction: Direction,
    Body(Muting { what }): Body<Muting>,
) -> Result<Response, ApiError> {
    direction.carry_out(|entry, actor| Command::Unmute { entry, what, actor }).await
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
    direction: Direction,
    Body(Testing { r#type: kind, data }): Body<Testing>,
) -> Result<Response, ApiError> {
    let entry = direction.entry()?;
    let data = samples::data(&direction.app.pictures, kind, &data, entry).await?;
    direction.carry_out(|entry, actor| Command::Test { entry, kind, data, actor }).await
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
