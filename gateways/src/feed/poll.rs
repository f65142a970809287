//! The feed as JSON lines of what there is, for scripts and for those whose network cuts long
//! answers.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::reader::{Frames, frames};

/// `place` is held for as long as there is a reader.
pub(super) fn answer<R: Frames, P: Send + 'static>(reader: R, place: P) -> Response {
    let lines = frames(reader, place).map(|frame| Ok::<_, Infallible>(frame.line()));
    let headers =
        [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}
