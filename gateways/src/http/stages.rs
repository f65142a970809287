//! The stage: what plays in OBS and what waits, the overlays that are there, and what people want done about it.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State as FromState};
use axum::http::request::Parts;
use axum::response::Response;
use chrono::Utc;
use domain::alerting::Kind;
use domain::stage::{Command, Sound};
use projections::stages;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::commands::{CommandAnswer, IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{AtLeast, PageNow, answer, wait};
use crate::feed::kinds_of;
use crate::stage::presence::{self, Arrival, Layer};
use crate::stage::samples::{self, SampleError};
use crate::stage::socket::{self, Overlay, Place};

mod answers;
mod wishes;

pub use answers::{OverlayAnswer, PlayingAnswer, ShowingAnswer, ShowingsAnswer, StageAnswer};
use wishes::carry_out;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only those in this state: `waiting`, `playing`, `shown`, `skipped`, `expired`, `unknown`, `cleared`.
    state: Option<String>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    min_position: Option<i64>,
    /// Only what is older than this: the `before` of the page that came before.
    before: Option<i64>,
    /// How many, 1 to 500; 50 if left out.
    limit: Option<i64>,
}

/// What an overlay is.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// `all` (the default), `normal`, or `screen`, which is blended over the picture and never stands alone.
    #[param(value_type = Option<String>)]
    #[serde(default)]
    layer: Layer,
    /// Only these types, divided by commas; all, if left out.
    types: Option<String>,
    /// The page's own id, the same after a reload, so that it is known again.
    overlay: Option<Uuid>,
}

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

/// What plays on a stage, what waits, and the overlays that are there.
#[utoipa::path(
    get, path = "/stages/{name}", tag = "stages",
    params(("name" = String, Path, description = "The stage, such as `main`"), AtLeast),
    responses((status = 200, body = StageAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn one(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    Query(at_least): Query<AtLeast>,
) -> Result<Response, ApiError> {
    asker.require(Scope::AlertsRead)?;
    check_name(&app, &name)?;
    wait(&app, &[stages::NAME], at_least.min_position).await?;
    let view = view(&app, &name).await?;
    let overlays = presence::of(&app.pool, &name).await?;
    Ok(answer(view.position, StageAnswer::new(view, overlays, Utc::now())))
}

/// The alerts of a stage with what became of them, newest first.
#[utoipa::path(
    get, path = "/stages/{name}/alerts", tag = "stages",
    params(("name" = String, Path, description = "The stage, such as `main`"), Wanted),
    responses((status = 200, body = ShowingsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn alerts(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    asker.require(Scope::AlertsRead)?;
    check_name(&app, &name)?;
    let Wanted { state, min_position, before, limit } = wanted;
    if let Some(state) = state.as_deref()
        && !stages::STATES.contains(&state)
    {
        let states = stages::STATES.join(", ");
        let words = format!("there is no state {state:?}; there are {states}");
        return Err(ApiError::bad_request(words));
    }
    let page = PageNow { min_position, before, limit }.read(&app, &[stages::NAME]).await?;
    let list = stages::list(&app.pool, &name, state.as_deref(), page).await?;
    Ok(answer(list.position, ShowingsAnswer::from(list)))
}

/// The WebSocket of an overlay: one JSON object per text frame.
///
/// The overlay is told `hello`, then `state` whenever the stage changes, and `bye` before it is cut; it asks
/// `{"type":"clock","sent_ms":…}` for the time, and says `{"type":"painted","alert":…,"attempt":…}` when it has on the
/// screen what plays. Browsers, which cannot send headers here, offer the subprotocols `tapedeck.v1` and `bearer.<key>`.
/// A key with `feed:read` alone is told everything and does not count as an overlay.
#[utoipa::path(
    get, path = "/stages/{name}/ws", tag = "stages",
    params(("name" = String, Path, description = "The stage, such as `main`"), Connection),
    responses((status = 101, description = "Frames `{type, …}`"), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn overlay(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(name): Path<String>,
    Query(Connection { layer, types, overlay }): Query<Connection>,
    mut parts: Parts,
) -> Result<Response, ApiError> {
    let (key, may_acknowledge) = match asker.require(Scope::StageOverlay) {
        Ok(key) => (key.id, true),
        Err(lacks) => (asker.require(Scope::FeedRead).map_err(|_| lacks)?.id, false),
    };
    check_name(&app, &name)?;
    let kinds = match types.as_deref() {
        None | Some("") => Vec::new(),
        Some(names) => kinds_of(names)?.into_iter().map(|kind| kind.name().to_owned()).collect(),
    };
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    let place = Place::take(&app.stage).ok_or_else(|| {
        ApiError::unavailable("the stage has all the overlays it can have; come back later")
    })?;
    let (connection, process) = (Uuid::new_v4(), app.stage.process);
    let overlay = overlay.unwrap_or(connection);
    let arrival = Arrival { connection, stage: name, overlay, layer, kinds, process, key };
    Ok(socket::answer(upgrade, app, Overlay { arrival, may_acknowledge }, place))
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

async fn view(app: &State, name: &str) -> Result<stages::View, ApiError> {
    match stages::view(&app.pool, name).await? {
        (_, Some(view)) => Ok(view),
        (position, None) => {
            Err(ApiError::unavailable("the stage is not open yet; it is, soon after the start")
                .at(position))
        }
    }
}

fn check_name(app: &State, name: &str) -> Result<(), ApiError> {
    let names = &app.config.stage.names;
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    let names = names.join(", ");
    Err(ApiError::not_found(format!("there is no stage {name:?}; there are {names}")))
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
