//! Gifts: points from one viewer to another, on both sides or on neither.

use std::time::Duration;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use domain::account::{Account, Event};
use domain::giving;
use domain::identity::derived_id;
use journal::{Decision, outcome};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::commands::{IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody, POSITION};
use super::extract::{Body, Path};
use super::keys::Scope;
use super::query::check_id;

/// How long an answer waits for the gift to arrive, and how often it looks.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Points to give to another viewer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGift {
    /// Who gets them, by Twitch user id.
    #[schema(example = "5002")]
    to: String,
    #[schema(example = 100, minimum = 1)]
    points: i64,
}

/// What became of a gift.
#[derive(Serialize, ToSchema)]
pub struct GiftAnswer {
    /// Names the gift: it is the hold on the giver's account.
    pub gift: Uuid,
    pub status: Arrival,
    /// Give this to a query as `min_position` to see it.
    pub position: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// The receiver has the points.
    Arrived,
    /// They are set aside on the giver's account and will arrive, or be given back.
    OnItsWay,
    /// The receiver's account had no room; the giver has them back.
    GivenBack,
}

/// Gives points of this viewer to another: both sides or neither.
///
/// They are set aside first, then credited, then spent. Too few available points: 409 `declined`, and nothing happens.
/// Nobody but this process captures or releases such a hold (403 `hold_of_gift`), and it does not expire. 202 while it is
/// on its way: the same request again tells what became of it.
#[utoipa::path(
    post, path = "/accounts/{viewer}/gifts", tag = "accounts", request_body = NewGift,
    params(("viewer" = String, Path, description = "The giver's Twitch user id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = GiftAnswer), (status = 202, body = GiftAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn give(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(NewGift { to, points }): Body<NewGift>,
) -> Result<Response, ApiError> {
    let key = asker.require_for(Scope::AccountsWrite, &viewer)?;
    check_id(&viewer)?;
    check_id(&to)?;
    if to == viewer {
        return Err(ApiError::unprocessable("same_viewer", "nobody gives points to themselves"));
    }
    if points < 1 {
        return Err(ApiError::unprocessable("bad_points", "points is 1 or more"));
    }
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let gift = wish.id();
    let command = giving::begin(gift, &to, points, wish.received_at);
    let purpose = giving::purpose(&to);
    let answered = wish
        .carry_out::<Account>(&app, &viewer, &command, |event| match event {
            Event::Held { points: held, purpose: was, .. }
            | Event::Declined { points: held, purpose: was, .. } => {
                *held == points && *was == purpose
            }
            _ => false,
        })
        .await?;
    if answered.status() == StatusCode::ACCEPTED {
        return Ok(answered);
    }
    let body = arrived(&app.pool, gift, ARRIVAL_LIMIT).await?;
    let status = match body.status {
        Arrival::OnItsWay => StatusCode::ACCEPTED,
        Arrival::Arrived | Arrival::GivenBack => StatusCode::CREATED,
    };
    Ok((status, [(POSITION, body.position)], Json(body)).into_response())
}

/// Waits up to `limit` for what becomes of a gift whose points are set aside.
pub async fn arrived(pool: &PgPool, gift: Uuid, limit: Duration) -> sqlx::Result<GiftAnswer> {
    let arrival = giving::arrival(derived_id(gift, 0));
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(found) = outcome::find(pool, arrival).await? {
            let declined = found.event_types.iter().any(|name| name == "declined");
            let status = match found.decision {
                Decision::Accepted if declined => Arrival::GivenBack,
                Decision::Accepted => Arrival::Arrived,
                // A dead letter: the points stay set aside until somebody tries it again.
                Decision::Rejected | Decision::Dead => Arrival::OnItsWay,
            };
            let position = found.last_position().unwrap_or_default();
            return Ok(GiftAnswer { gift, status, position });
        }
        if begun.elapsed() >= limit {
            let position = journal::head::read(pool).await?.position;
            return Ok(GiftAnswer { gift, status: Arrival::OnItsWay, position });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
