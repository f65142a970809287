//! The leaderboard: who has the most points.

use axum::extract::State as FromState;
use axum::response::Response;
use projections::leaderboard::By;
use projections::{balances, leaderboard};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::Query;
use super::keys::Scope;
use super::query::{ViewerAnswer, answer, wait};

const PLACES: i64 = 10;

/// Which places.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// What the places are by: `total` (available and held), `available`, or `credits` (all that was ever given);
    /// `total`, if left out.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "total")]
    pub by: By,
    /// How many, 1 to 100; 10 if left out.
    pub limit: Option<i64>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    pub min_position: Option<i64>,
}

/// The first places. Equal points share one, and the next is as many further down.
#[derive(Serialize, ToSchema)]
pub struct LeaderboardAnswer {
    /// The position of history that this is true for.
    pub position: i64,
    #[schema(value_type = String, example = "total")]
    pub by: By,
    pub places: Vec<PlaceAnswer>,
}

#[derive(Serialize, ToSchema)]
pub struct PlaceAnswer {
    /// 1, 2, 2, 4, …
    pub place: i64,
    pub viewer: ViewerAnswer,
    pub points: i64,
}

/// Who has the most points.
#[utoipa::path(
    get, path = "/leaderboard", tag = "accounts", params(Places),
    responses((status = 200, body = LeaderboardAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn leaders(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<Places>,
) -> Result<Response, ApiError> {
    asker.require(Scope::AccountsRead)?;
    let limit = wanted.limit.unwrap_or(PLACES);
    if !(1..=leaderboard::PLACES_MAX).contains(&limit) {
        let reason = format!("limit is 1 to {}", leaderboard::PLACES_MAX);
        return Err(ApiError::bad_request(reason));
    }
    wait(&app, &[balances::NAME], wanted.min_position).await?;
    let leaders = leaderboard::of(&app.pool, wanted.by, limit).await?;
    let places = leaders.places.into_iter().map(|place| PlaceAnswer {
        place: place.place,
        viewer: place.viewer.into(),
        points: place.points,
    });
    let body =
        LeaderboardAnswer { position: leaders.position, by: wanted.by, places: places.collect() };
    Ok(answer(body.position, body))
}
