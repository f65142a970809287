//! EventSub over HTTP: what Twitch is asked to tell us, and the order to have all of it looked at now. What
//! `tapedeck eventsub` says and does, for the dashboard and for programs.

use std::time::Duration;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody, POSITION};
use super::keys::Scope;
use super::query::answer;
use crate::twitch::eventsub::overview::{self, Overview, Round, Unsaid};

/// How long a request waits for whoever listens to have looked: within what one may take.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What came of the order to look at everything.
#[derive(Serialize, ToSchema)]
#[schema(as = EventsubSyncAnswer)]
pub struct SyncAnswer {
    /// Whether it was done. If not, whoever listens still does it: ask for `/eventsub` a little later.
    pub done: bool,
    /// What it came to.
    pub round: Option<Round>,
    pub now: Overview,
}

/// What Twitch is asked to tell us, and whether it does.
#[utoipa::path(
    get, path = "/eventsub", tag = "eventsub",
    responses((status = 200, body = Overview), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn now(
    FromState(app): FromState<State>,
    asker: Asker,
) -> Result<Response, ApiError> {
    asker.require(Scope::EventsubRead)?;
    let overview = overview::now(&app.pool, &app.config).await?;
    Ok(answer(overview.position, overview))
}

/// Has whoever listens look at everything now, and make it what is wanted.
///
/// It waits up to 10 seconds for that. 202 says that it is still to be done. Orders that wait are carried out together,
/// so that asking again is harmless.
#[utoipa::path(
    post, path = "/eventsub/sync", tag = "eventsub",
    responses((status = 200, body = SyncAnswer), (status = 202, body = SyncAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn sync(
    FromState(app): FromState<State>,
    asker: Asker,
) -> Result<Response, ApiError> {
    asker.require(Scope::EventsubWrite)?;
    let asked = overview::ask(&app.pool, &app.config).await?;
    let report = overview::answered(&app.pool, &app.config, asked, LOOK_LIMIT).await?;
    let now = overview::now(&app.pool, &app.config).await?;
    let status = if report.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED };
    let position = [(POSITION, now.position)];
    let body = SyncAnswer { done: report.is_some(), round: report.as_ref().map(Round::of), now };
    Ok((status, position, Json(body)).into_response())
}

impl From<Unsaid> for ApiError {
    fn from(error: Unsaid) -> Self {
        match error {
            Unsaid::Off => Self::conflict("eventsub_off", error.to_string()),
            Unsaid::NobodyListened => Self::conflict("nobody_listens", error.to_string()),
            Unsaid::Query(error) => error.into(),
            Unsaid::Database(error) => error.into(),
        }
    }
}
