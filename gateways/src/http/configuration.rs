//! The configuration that this process works with, and whether its file is refused. Shows nothing of what it says.

use axum::Json;
use axum::extract::State as FromState;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::keys::Scope;
use crate::config::Reading;

/// The configuration that this process works with.
///
/// The file is read again when it changes. One that is refused changes nothing: `refused` says since when and why.
#[utoipa::path(
    get, path = "/configuration", tag = "configuration",
    responses((status = 200, body = Reading), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn now(
    FromState(app): FromState<State>,
    asker: Asker,
) -> Result<Json<Reading>, ApiError> {
    asker.require(Scope::CommandsRead)?;
    let reading = app.reading.borrow().clone();
    Ok(Json(reading))
}
