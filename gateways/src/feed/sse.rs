//! The feed as server-sent events.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::Place;
use super::reader::Reader;

pub(super) fn answer(reader: Reader, place: Place) -> Response {
    let blocks = reader.frames(place).map(|frame| Ok::<_, Infallible>(frame.block()));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies that buffer would hold alerts back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(blocks)).into_response()
}
