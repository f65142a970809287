//! The feed as server-sent events.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::reader::{Frames, frames};

/// `place` is held for as long as there is a reader.
pub(super) fn answer<R: Frames, P: Send + 'static>(reader: R, place: P) -> Response {
    let blocks = frames(reader, place).map(|frame| Ok::<_, Infallible>(frame.block()));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that buffer would hold alerts back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(blocks)).into_response()
}
