//! What holds for every request: an id, a span, a time limit, and headers that keep browsers
//! careful.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use uuid::Uuid;

use super::ANSWER_LIMIT;
use super::error::ApiError;
use crate::observe;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_LENGTH_MAX: usize = 64;
/// The methods that are counted by their names. Anybody can make up others, and all of those are one.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const OTHER: &str = "_OTHER";

/// Gives the request its id, a span under it, and counts it when it is answered.
pub async fn identify(request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let method = request.method().as_str();
    let method = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER);
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "none".to_owned());
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        request_id = %id,
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    observe::continue_trace(&span, request.headers());
    let began = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.to_string())];
    metrics::histogram!("tapedeck_http_request_seconds", &labels).record(began.elapsed());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The caller's id for this request if it is harmless, else one of ours.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=REQUEST_ID_LENGTH_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given.filter(plain).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// Ends a request that takes too long.
pub async fn limit_time(request: Request, next: Next) -> Result<Response, ApiError> {
    tokio::time::timeout(ANSWER_LIMIT, next.run(request)).await.map_err(|_| {
        tracing::error!("a request took too long");
        let words = "this took too long; a command may still be decided";
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", words)
    })
}

/// Headers that nobody should have to think of. What a handler has set stays.
pub async fn answer_safely(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

pub async fn method_not_allowed(method: Method) -> ApiError {
    let words = format!("{method} is not possible here; see /api/v1/openapi.json");
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(given: Option<&str>) -> String {
        let mut request = Request::new(axum::body::Body::empty());
        if let Some(given) = given {
            request.headers_mut().insert(REQUEST_ID, given.parse().expect("a header"));
        }
        request_id(&request)
    }

    #[test]
    fn a_harmless_request_id_is_kept_and_another_is_replaced() {
        assert_eq!(id_of(Some("abc-1.2_3")), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            assert!(Uuid::parse_str(&id_of(Some(bad))).is_ok(), "{bad:?} was kept");
        }
        assert!(Uuid::parse_str(&id_of(None)).is_ok());
    }
}
