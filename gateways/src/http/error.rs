//! How the API says no: one shape for every failure, with a code for programs and words for people.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use journal::ingest::PublishError;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// The header that carries an answer's position.
pub const POSITION: HeaderName = HeaderName::from_static("tapedeck-position");

/// A failure on its way to the caller.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Value,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every failure.
#[derive(Serialize, ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Serialize, ToSchema)]
pub struct ErrorDetail {
    /// For programs: it does not change.
    #[schema(example = "behind")]
    pub code: String,
    /// For people: it may be worded better one day.
    pub message: String,
    /// What belongs to this code, as an object.
    #[schema(value_type = Object)]
    pub details: Value,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, code, message: message.into(), details: json!({}), headers: Vec::new() }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    pub fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tapedeck\""))
    }

    /// `who` is known, and may not do this.
    pub fn forbidden(who: &str, scope: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("{who} lacks the scope {scope}"))
            .details(json!({"scope": scope}))
    }

    /// The same refusal under a code of its own.
    pub fn code_instead(self, code: &'static str) -> Self {
        ApiError { code, ..self }
    }

    /// A projection that is not yet where the caller wants it to be.
    pub fn behind(projection: &str, wanted: i64, position: i64) -> Self {
        let words = format!("{projection} is at position {position}, and {wanted} was asked for");
        Self::new(StatusCode::GATEWAY_TIMEOUT, "behind", words)
            .details(json!({"projection": projection, "position": position, "wanted": wanted}))
            .header(POSITION, position.into())
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub fn details(self, details: Value) -> Self {
        ApiError { details, ..self }
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The position at which this refusal was recorded.
    pub fn at(self, position: i64) -> Self {
        self.header(POSITION, position.into())
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let ApiError { status, code, message, details, headers } = self;
        let body = ErrorBody { error: ErrorDetail { code: code.to_owned(), message, details } };
        let headers = HeaderMap::from_iter(headers);
        (status, headers, Json(body)).into_response()
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "a query failed");
        match error {
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) | sqlx::Error::PoolClosed => {
                Self::unavailable("the database does not answer")
            }
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "this went wrong on our side; the log has it under this request id",
            ),
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::BadAddress(error) => Self::bad_request(error.to_string()),
            PublishError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string())
            }
            PublishError::Full => Self::unavailable("too much waits to be decided; ask again soon"),
            PublishError::Unavailable(words) => {
                tracing::error!(error = words, "a command could not be sent");
                Self::unavailable("the broker does not answer; send it again with the same key")
            }
        }
    }
}
