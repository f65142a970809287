//! Pictures that were made, by the name of their content.

use axum::extract::State as FromState;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::State;
use super::error::{ApiError, ErrorBody};
use super::extract::Path;

/// What stands under the name of its content never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// A picture.
///
/// Its name is the SHA-256 of its content and cannot be guessed, so no key is wanted: an `<img>` can
/// load it; such requests are counted by themselves, and generously. The content is compared with its
/// name before it is sent.
#[utoipa::path(
    get, path = "/pictures/{content}", tag = "generations", security(()),
    params(("content" = String, Path, description = "SHA-256 of the picture, 64 hexadecimal digits")),
    responses(
        (status = 200, description = "The picture",
         content((Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"))),
        (status = 304, description = "The picture that `If-None-Match` names"),
        (status = "4XX", body = ErrorBody),
    ),
)]
pub(crate) async fn one(
    FromState(app): FromState<State>,
    Path(content): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let stored = app.pictures.get(&content).await.map_err(|error| {
        tracing::error!(%error, "a picture cannot be shown");
        let words = "this picture cannot be shown; the log says why";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", words)
    })?;
    let Some(stored) = stored else {
        return Err(ApiError::not_found("there is no picture of this name"));
    };
    let tag = format!("\"{content}\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag);
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, stored.media_type)], stored.bytes).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}
