//! The feed: every alert, in order, to whoever shows it. Goes out.
//!
//! One [`Hub`] per process reads each new alert once and makes its bytes once; all readers share
//! them. A reader has a bounded place behind the hub: one that falls further behind is told `bye`
//! and cut, and goes on from its position when it returns. Nobody waits for a slow reader.
//!
//! The feed only goes forward. An alert that is folded late, because its key was parked and then
//! tried again, stands below the position that readers have; they get it only by asking from before
//! it. `tapedeck dead retry` says so.

mod envelope;
mod hub;
pub mod own;
mod poll;
mod reader;
mod sse;
mod websocket;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;
use domain::alerting::Kind;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use crate::http::auth::Asker;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::Query;
use crate::http::keys::Scope;
use crate::http::{Api, State as AppState};

pub use self::envelope::{Frame, Mode};
pub use self::hub::{Hub, run};
use self::reader::{Reader, Until};
pub use self::websocket::PROTOCOL;

/// After this much silence a reader gets a `ping`.
pub const PING_EVERY: Duration = Duration::from_secs(10);

/// What a reader asks for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wish {
    /// Go on after this position. `Last-Event-ID` says the same and is stronger.
    after: Option<i64>,
    /// The epoch that `after` was given in.
    epoch: Option<Uuid>,
    /// Only these types, divided by commas: `follow`, `cheer`, `sub`, `resub`, `gift`, `raid`,
    /// `hype_train`, `ghost`, `friend`, `tape`, `static`, `notice`.
    types: Option<String>,
    /// `1`: answer with JSON lines of what there is, and end.
    poll: Option<u8>,
}

/// A wish that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
struct Request {
    after: Option<i64>,
    epoch: Option<Uuid>,
    /// Empty: all.
    kinds: Vec<Kind>,
}

impl Request {
    fn shows(&self, kind: Option<Kind>) -> bool {
        let Some(kind) = kind else { return true };
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    fn read(wish: &Wish, parts: &Parts) -> Result<Self, ApiError> {
        let last_event_id = match parts.headers.get("last-event-id") {
            None => None,
            Some(value) => Some(
                value.to_str().ok().and_then(|text| text.trim().parse::<i64>().ok()).ok_or_else(
                    || ApiError::bad_request("Last-Event-ID is a position, a number"),
                )?,
            ),
        };
        let after = last_event_id.or(wish.after);
        if after.is_some_and(|after| after < 0) {
            return Err(ApiError::bad_request("a position is zero or more"));
        }
        let kinds = match wish.types.as_deref() {
            None | Some("") => Vec::new(),
            Some(names) => kinds_of(names)?,
        };
        Ok(Request { after, epoch: wish.epoch, kinds })
    }
}

/// `cheer,raid` as kinds of alerts.
pub fn kinds_of(names: &str) -> Result<Vec<Kind>, ApiError> {
    let mut kinds = BTreeSet::new();
    for name in names.split(',') {
        let known = Kind::ALL.iter().position(|kind| kind.name() == name.trim());
        let all = || Kind::ALL.map(Kind::name).join(", ");
        kinds.insert(known.ok_or_else(|| {
            ApiError::bad_request(format!("there is no alert type {name:?}; there are {}", all()))
        })?);
    }
    Ok(kinds.into_iter().map(|n| Kind::ALL[n]).collect())
}

/// Alerts as they happen, oldest first, over server-sent events.
///
/// The first frame is `hello`, a `ping` follows every ten seconds of silence, and `bye` precedes a
/// cut. Go on after a disconnection with `Last-Event-ID` or `after`. With `poll=1` the answer is
/// JSON lines of what there is, and ends.
#[utoipa::path(
    get, path = "/feed", tag = "feed", params(Wish),
    responses(
        (status = 200, description = "Envelopes `{epoch, position, id, type, at, mode, data}`",
         content((String = "text/event-stream"), (String = "application/jsonl"))),
        (status = "4XX", body = ErrorBody),
    ),
)]
pub(crate) async fn feed(
    State(app): State<AppState>,
    asker: Asker,
    Query(wish): Query<Wish>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let actor = Arc::clone(asker.require(Scope::FeedRead)?);
    let request = Request::read(&wish, &parts)?;
    let place = Place::take(&app)?;
    match wish.poll {
        Some(1) => Ok(poll::answer(Reader::new(app, actor, request, Until::Present), place)),
        None | Some(0) => Ok(sse::answer(Reader::new(app, actor, request, Until::Cut), place)),
        Some(_) => Err(ApiError::bad_request("poll is 1 or left out")),
    }
}

/// The feed over a WebSocket: one envelope per text frame.
///
/// Browsers, which cannot send headers here, offer the subprotocols `tapedeck.v1` and
/// `bearer.<key>`.
#[utoipa::path(
    get, path = "/feed/ws", tag = "feed", params(Wish),
    responses(
        (status = 101, description = "Envelopes `{epoch, position, id, type, at, mode, data}`"),
        (status = "4XX", body = ErrorBody),
    ),
)]
pub(crate) async fn feed_ws(
    State(app): State<AppState>,
    asker: Asker,
    Query(wish): Query<Wish>,
    mut parts: Parts,
) -> Result<Response, ApiError> {
    let actor = Arc::clone(asker.require(Scope::FeedRead)?);
    let request = Request::read(&wish, &parts)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    let place = Place::take(&app)?;
    Ok(websocket::answer(upgrade, Reader::new(app, actor, request, Until::Cut), place))
}

/// One of the limited places for readers, until dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(app: &Api) -> Result<Self, ApiError> {
        let permit = app.hub.places().try_acquire_owned().map_err(|_| {
            ApiError::unavailable("the feed has all the readers it can have; come back later")
        })?;
        metrics::gauge!("tapedeck_feed_readers").increment(1.0);
        Ok(Place { _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        metrics::gauge!("tapedeck_feed_readers").decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(last_event_id: Option<&str>) -> Parts {
        let mut request = axum::http::Request::new(());
        if let Some(id) = last_event_id {
            request.headers_mut().insert("last-event-id", id.parse().expect("a header"));
        }
        request.into_parts().0
    }

    fn wish(after: Option<i64>, types: Option<&str>) -> Wish {
        Wish { after, epoch: None, types: types.map(str::to_owned), poll: None }
    }

    #[test]
    fn last_event_id_is_stronger_than_after() {
        let read = |wish: &Wish, header| Request::read(wish, &parts(header)).expect("understood");
        assert_eq!(read(&wish(Some(5), None), Some("7")).after, Some(7));
        assert_eq!(read(&wish(Some(5), None), None).after, Some(5));
        assert_eq!(read(&wish(None, None), None).after, None);
        assert!(Request::read(&wish(None, None), &parts(Some("seven"))).is_err());
        assert!(Request::read(&wish(Some(-1), None), &parts(None)).is_err());
    }

    #[test]
    fn types_are_filtered_and_control_frames_always_pass() {
        let request = Request::read(&wish(None, Some("raid,cheer")), &parts(None)).expect("known");
        assert!(request.shows(Some(Kind::Raid)) && request.shows(Some(Kind::Cheer)));
        assert!(!request.shows(Some(Kind::Follow)));
        assert!(request.shows(None));
        assert!(Request::read(&wish(None, Some("raids")), &parts(None)).is_err());
    }
}
