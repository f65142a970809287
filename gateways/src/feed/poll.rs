//! The feed as JSON lines of what there is, for scripts and for those whose network cuts long
//! answers.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::Place;
use super::reader::Reader;

pub(super) fn answer(reader: Reader, place: Place) -> Response {
    let lines = reader.frames(place).map(|frame| Ok::<_, Infallible>(frame.line()));
    let headers =
        [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(lines)).into_response()
}
