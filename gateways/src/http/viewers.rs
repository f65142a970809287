//! Viewers: forgetting what they are called.

use std::time::Duration;

use axum::Json;
use axum::extract::State as FromState;
use chrono::{DateTime, Utc};
use journal::names::{self, EraseError};
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::Path;
use super::keys::Scope;

/// How long a request may go through dead letters.
const LETTERS_LIMIT: Duration = Duration::from_secs(5);

/// What was forgotten, and what could not be.
#[derive(Serialize, ToSchema)]
pub struct ErasedAnswer {
    #[schema(example = "5001")]
    pub viewer: String,
    pub erased_at: DateTime<Utc>,
    /// Dead letters from which the names were taken out.
    pub letters_scrubbed: Vec<i64>,
    /// Dead letters that have the viewer's id and cannot be read: look at them with `tapedeck dead show`.
    pub letters_left: Vec<i64>,
    /// How many dead letters with the viewer's id were not gone through in time. If not 0, send the request again, or
    /// use `tapedeck viewers erase`, which takes its time.
    pub letters_unseen: i64,
    /// Whether the cache of what Twitch says has nothing of the viewer any more. If not, NATS was not to be reached: what is
    /// left is taken out when it is next found, or within an hour of when NATS is back, and is gone after 7 days.
    pub cache_cleared: bool,
}

/// Forgets a viewer's names, and keeps them from coming back.
///
/// Points, statements and sums stay, under the user id alone. What the viewer wrote stays in history, which is never
/// rewritten, and is not shown in alerts any more: `message`, `subject`, `name` and `picture` are empty there. The list
/// of requests still has what was asked for, and a picture can be loaded by whoever knows its name.
#[utoipa::path(
    delete, path = "/viewers/{viewer}/names", tag = "accounts",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id")),
    responses((status = 200, body = ErasedAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn erase_names(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
) -> Result<Json<ErasedAnswer>, ApiError> {
    let key = asker.require_fresh(Scope::Admin)?;
    let marked = names::mark(&app.pool, &viewer).await.map_err(not_erased)?;
    tracing::info!(viewer = marked.viewer, actor = key.name, "a viewer's names were erased");
    // Before the dead letters, which take their time and may fail.
    let cleared = app.cache.forget(&marked.viewer).await;
    if let Err(error) = &cleared {
        tracing::warn!(%error, "what Twitch said of an erased viewer is not taken out yet");
    }
    let cache_cleared = cleared.is_ok();
    let erased = names::scrub(&app.pool, marked, LETTERS_LIMIT).await.map_err(not_erased)?;
    let names::Erased { viewer, erased_at, letters_scrubbed, letters_left, letters_unseen } =
        erased;
    Ok(Json(ErasedAnswer {
        viewer,
        erased_at,
        letters_scrubbed,
        letters_left,
        letters_unseen,
        cache_cleared,
    }))
}

fn not_erased(error: EraseError) -> ApiError {
    match error {
        EraseError::BadId(error) => ApiError::bad_request(error.to_string()),
        EraseError::Database(error) => error.into(),
    }
}
