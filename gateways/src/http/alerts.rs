//! Alerts: what was shown, newest first. As they happen they come over the feed.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::{DateTime, Utc};
use projections::alerts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::Query;
use super::keys::Scope;
use super::query::{PageNow, answer};
use crate::feed::kinds_of;

/// A page of alerts, newest first.
#[derive(Serialize, ToSchema)]
pub struct AlertsAnswer {
    pub position: i64,
    pub alerts: Vec<AlertAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// An alert as the feed carries it.
#[derive(Serialize, ToSchema)]
pub struct AlertAnswer {
    pub position: i64,
    pub id: Uuid,
    #[schema(example = "cheer")]
    pub r#type: String,
    pub at: DateTime<Utc>,
    /// What happened, and who did it; see the feed.
    #[schema(value_type = Object)]
    pub data: Value,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only these types, divided by commas: `follow`, `cheer`, `sub`, `resub`, `gift`, `raid`,
    /// `hype_train`, `ghost`, `friend`, `tape`, `static`, `notice`.
    types: Option<String>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    min_position: Option<i64>,
    /// Only what is older than this: the `before` of the page that came before.
    before: Option<i64>,
    /// How many, 1 to 500; 50 if left out.
    limit: Option<i64>,
}

/// The alerts, newest first.
#[utoipa::path(
    get, path = "/alerts", tag = "alerts", params(Wanted),
    responses((status = 200, body = AlertsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn list(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    asker.require(Scope::AlertsRead)?;
    let Wanted { types, min_position, before, limit } = wanted;
    let kinds = match types.as_deref() {
        None | Some("") => Vec::new(),
        Some(names) => kinds_of(names)?,
    };
    let page = PageNow { min_position, before, limit }.read(&app, &[alerts::NAME]).await?;
    let shown = alerts::list(&app.pool, page, &kinds).await?;
    let body = AlertsAnswer {
        position: shown.position,
        alerts: shown.alerts.into_iter().map(AlertAnswer::from).collect(),
        before: shown.before,
    };
    Ok(answer(body.position, body))
}

impl From<alerts::Alert> for AlertAnswer {
    fn from(alert: alerts::Alert) -> Self {
        AlertAnswer {
            position: alert.position,
            id: alert.id,
            data: alert.feed_data(),
            r#type: alert.kind,
            at: alert.at,
        }
    }
}
