//! What can be done with a call beside what was asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tiny_skia::{Color, FillRule, Paint, PathBuilder, Pixmap, Transform};

use super::{failure, json_answer};
use crate::sandbox::status;

#[derive(Clone, Debug)]
pub enum Deed {
    /// What it does untold.
    Draw,
    /// Nothing is wrong with these words.
    Unflagged,
    /// These words are about violence. Only moderation does this.
    Flagged,
    /// A picture that does not say what it took. Only drawing does this, and the next.
    WithoutUsage,
    /// These bytes in a picture's place.
    Give(Vec<u8>),
    /// Its own filter does not let the prompt pass.
    Blocked,
    /// The same in the words of before.
    Policy,
    /// Too often, with these headers.
    Busy(Vec<(&'static str, &'static str)>),
    /// Nobody has paid.
    Unpaid,
    /// A failure with this status.
    Fail(u16),
    /// Says nothing for ever.
    Hang,
    /// JSON of something else.
    Nonsense,
    /// A page instead of JSON.
    Page(u16),
    /// JSON that ends in its middle.
    Torn,
    /// Never ends.
    Endless,
    /// The connection goes away within the answer.
    Cut,
}

impl Deed {
    pub(super) async fn answer(self, taken: &Arc<AtomicUsize>) -> Response {
        match self {
            Deed::Blocked => blocked(),
            Deed::Policy => {
                let code = json!("content_policy_violation");
                failure(400, "invalid_request_error", &code, &Value::Null)
            }
            Deed::Busy(headers) => {
                let code = json!("rate_limit_exceeded");
                let mut answer = failure(429, "requests", &code, &Value::Null);
                for (name, value) in headers {
                    let name = HeaderName::from_static(name);
                    answer.headers_mut().insert(name, HeaderValue::from_static(value));
                }
                answer
            }
            Deed::Unpaid => {
                let code = json!("insufficient_quota");
                failure(429, "insufficient_quota", &code, &Value::Null)
            }
            Deed::Fail(status) => failure(status, "server_error", &Value::Null, &Value::Null),
            Deed::Hang => std::future::pending().await,
            Deed::Nonsense => json_answer(200, &json!({"object": "list", "data": "none"})),
            Deed::Page(status) => page(status),
            Deed::Torn => whole(r#"{"created": 1, "data": [{"b64_json": "iVBORw0KG"#),
            Deed::Endless => endless(Arc::clone(taken)),
            Deed::Cut => cut(),
            // Another path does this.
            Deed::Draw | Deed::Unflagged | Deed::Flagged | Deed::WithoutUsage | Deed::Give(_) => {
                failure(500, "server_error", &Value::Null, &json!("deed"))
            }
        }
    }
}

fn blocked() -> Response {
    json_answer(
        400,
        &json!({"error": {
            "message": "Your request was rejected by the safety system.",
            "type": "image_generation_user_error",
            "param": null,
            "code": "moderation_blocked",
            "moderation_details": {"moderation_stage": "input", "categories": ["violence"]},
        }}),
    )
}

fn whole(body: &'static str) -> Response {
    ([("content-type", "application/json")], body).into_response()
}

fn page(code: u16) -> Response {
    let html = "<html><h1>Bad gateway</h1></html>";
    (status(code), [("content-type", "text/html")], html).into_response()
}

/// A picture that goes on as long as somebody reads.
fn endless(taken: Arc<AtomicUsize>) -> Response {
    let piece = Bytes::from(vec![b'A'; 64 * 1024]);
    let begin = stream::iter([Bytes::from_static(br#"{"data": [{"b64_json": ""#)]);
    let body = begin.chain(stream::repeat(piece)).map(move |piece| {
        taken.fetch_add(piece.len(), Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece)
    });
    ([("content-type", "application/json")], Body::from_stream(body)).into_response()
}

fn cut() -> Response {
    let begin = Ok(Bytes::from_static(br#"{"created": 1, "data"#));
    let body = stream::iter([begin, Err(std::io::Error::other("gone"))]);
    let headers = [("content-type", "application/json"), ("content-length", "9000")];
    (headers, Body::from_stream(body)).into_response()
}

/// A disc on the even background that the prompt names, or on black. Nothing, where there is no memory for it.
pub(super) fn drawing(asked: &Value) -> Vec<u8> {
    const SIDE: u32 = 256;
    let prompt = asked["prompt"].as_str().unwrap_or_default();
    let behind = prompt.split_once('#').and_then(|(_, rest)| rest.get(..6));
    let behind = behind.and_then(|hex| u32::from_str_radix(hex, 16).ok()).unwrap_or_default();
    let [_, red, green, blue] = behind.to_be_bytes();
    let Some(mut picture) = Pixmap::new(SIDE, SIDE) else { return Vec::new() };
    picture.fill(Color::from_rgba8(red, green, blue, 255));
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(255 - red, 255 - green, 255 - blue, 255);
    if let Some(disc) = PathBuilder::from_circle(128.0, 128.0, 80.0) {
        picture.fill_path(&disc, &paint, FillRule::Winding, Transform::identity(), None);
    }
    picture.encode_png().unwrap_or_default()
}
