//! The stage: what plays in OBS and what waits, the overlays that are there, and what people want done about it.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State as FromState};
use axum::http::request::Parts;
use axum::response::Response;
use chrono::Utc;
use projections::stages;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::{Path, Query};
use super::keys::Scope;
use super::query::{AtLeast, PageNow, answer, wait};
use crate::feed::kinds_of;
use crate::stage::presence::{self, Arrival, Layer};
use crate::stage::socket::{self, Overlay, Place};

mod answers;
pub(crate) mod controls;
mod wishes;

pub use answers::{OverlayAnswer, PlayingAnswer, ShowingAnswer, ShowingsAnswer, StageAnswer};

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
/// screen what plays, or `missed` instead of `painted` when it was told too late to show it. Browsers, which cannot send headers here, offer the subprotocols `tapedeck.v1` and `bearer.<key>`.
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
    let (actor, may_acknowledge) = match asker.require(Scope::StageOverlay) {
        Ok(actor) => (Arc::clone(actor), true),
        Err(lacks) => (Arc::clone(asker.require(Scope::FeedRead).map_err(|_| lacks)?), false),
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
    let arrival =
        Arrival { connection, stage: name, overlay, layer, kinds, process, key: actor.id };
    Ok(socket::answer(upgrade, app, Overlay { arrival, actor, may_acknowledge }, place))
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
