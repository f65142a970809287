//! What queries have in common: the moment they ask about, the position they wait for, and the page
//! they want.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use projections::{AsOf, Page, QueryError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::{ApiError, POSITION};

/// How long a query waits for the position it was given.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// How often the end of the journal is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The position that a query waits for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AtLeast {
    /// Answer only when this position is known, such as the one that a command's answer carried.
    /// Waits up to 5 seconds, then answers 504 `behind`.
    pub min_position: Option<i64>,
}

/// A moment of history and the position to wait for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// A position (`124`) or a time (`2026-11-21T20:15:00Z`); now, if left out.
    pub as_of: Option<String>,
    /// Answer only when this position is known, such as the one that a command's answer carried.
    /// Waits up to 5 seconds, then answers 504 `behind`.
    pub min_position: Option<i64>,
}

/// A page of a list, newest first, at a moment of history.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageOfMoment {
    /// A position (`124`) or a time (`2026-11-21T20:15:00Z`); now, if left out.
    pub as_of: Option<String>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    pub min_position: Option<i64>,
    /// Only what is older than this: the `before` of the page that came before.
    pub before: Option<i64>,
    /// How many, 1 to 500; 50 if left out.
    pub limit: Option<i64>,
}

/// A page of a list, newest first.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageNow {
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    pub min_position: Option<i64>,
    /// Only what is older than this: the `before` of the page that came before.
    pub before: Option<i64>,
    /// How many, 1 to 500; 50 if left out.
    pub limit: Option<i64>,
}

/// A viewer as shown.
#[derive(Serialize, ToSchema)]
pub struct ViewerAnswer {
    /// The Twitch user id.
    #[schema(example = "5001")]
    pub id: String,
    /// `null` once erased, or never seen.
    #[schema(example = "ReelDeal")]
    pub name: Option<String>,
}

impl From<projections::Viewer> for ViewerAnswer {
    fn from(viewer: projections::Viewer) -> Self {
        ViewerAnswer { id: viewer.id, name: viewer.name }
    }
}

impl Moment {
    pub async fn read(&self, api: &Api, projections: &[&str]) -> Result<AsOf, ApiError> {
        wait(api, projections, self.min_position).await?;
        as_of(self.as_of.as_deref())
    }
}

impl PageOfMoment {
    pub async fn read(&self, api: &Api, projections: &[&str]) -> Result<(AsOf, Page), ApiError> {
        wait(api, projections, self.min_position).await?;
        Ok((as_of(self.as_of.as_deref())?, page(self.before, self.limit)?))
    }
}

impl PageNow {
    pub async fn read(&self, api: &Api, projections: &[&str]) -> Result<Page, ApiError> {
        wait(api, projections, self.min_position).await?;
        page(self.before, self.limit)
    }
}

/// Waits until all of `projections` know `position`.
pub async fn wait(api: &Api, projections: &[&str], position: Option<i64>) -> Result<(), ApiError> {
    let Some(position) = position else { return Ok(()) };
    let waited = tokio::time::Instant::now();
    for projection in projections {
        let left = WAIT_LIMIT.saturating_sub(waited.elapsed());
        api.positions
            .wait(projection, position, left)
            .await
            .map_err(|current| ApiError::behind(projection, position, current))?;
    }
    Ok(())
}

/// Waits until the journal has come to `position`.
pub async fn wait_for_head(api: &Api, position: Option<i64>) -> Result<(), ApiError> {
    let Some(position) = position else { return Ok(()) };
    let waited = tokio::time::Instant::now();
    loop {
        let head = journal::head::read(&api.pool).await?.position;
        if head >= position {
            return Ok(());
        }
        if waited.elapsed() >= WAIT_LIMIT {
            return Err(ApiError::behind("the journal", position, head));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `124` or `2026-11-21T20:15:00Z`.
pub fn as_of(text: Option<&str>) -> Result<AsOf, ApiError> {
    let Some(text) = text else { return Ok(AsOf::Now) };
    parse_moment(text).ok_or_else(|| {
        ApiError::bad_request(format!(
            "as_of is a position like 124 or a time like 2026-11-21T20:15:00Z, and {text:?} is neither"
        ))
    })
}

/// A moment of history as people and programs write it.
pub fn parse_moment(text: &str) -> Option<AsOf> {
    // A plus sign in a query string arrives as a space.
    let text = text.trim().replace(' ', "+");
    if let Ok(position) = text.parse::<i64>() {
        return (position >= 0).then_some(AsOf::Position(position));
    }
    DateTime::parse_from_rfc3339(&text).ok().map(|time| AsOf::Time(time.to_utc()))
}

fn page(before: Option<i64>, limit: Option<i64>) -> Result<Page, ApiError> {
    if limit.is_some_and(|limit| !(1..=Page::LIMIT_MAX).contains(&limit)) {
        return Err(ApiError::bad_request(format!("limit is 1 to {}", Page::LIMIT_MAX)));
    }
    Ok(Page { before, limit })
}

/// An answer with its position, in the body and in the header.
pub fn answer<T: Serialize>(position: i64, body: T) -> Response {
    ([(POSITION, position)], Json(body)).into_response()
}

/// The id of a viewer or a broadcaster, as it stands in a path.
pub fn check_id(id: &str) -> Result<(), ApiError> {
    journal::command::check_id(id).map_err(|error| ApiError::bad_request(error.to_string()))
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Ahead { wanted, current } => Self::behind("history", wanted, current),
            QueryError::NotBuilt(names) => {
                Self::unavailable(format!("not built yet: {names}; it is, soon after the start"))
            }
            QueryError::Database(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!(as_of(None).ok(), Some(AsOf::Now));
        assert_eq!(as_of(Some("124")).ok(), Some(AsOf::Position(124)));
        let time = DateTime::parse_from_rfc3339("2026-11-21T20:15:00Z").expect("a time").to_utc();
        assert_eq!(as_of(Some("2026-11-21T20:15:00Z")).ok(), Some(AsOf::Time(time)));
        assert_eq!(as_of(Some("2026-11-21T21:15:00 01:00")).ok(), Some(AsOf::Time(time)));
        for wrong in ["", "-1", "yesterday", "2026-11-21"] {
            assert!(as_of(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_has_a_limit() {
        assert!(page(None, Some(500)).is_ok());
        assert!(page(None, Some(501)).is_err() && page(None, Some(0)).is_err());
    }
}
