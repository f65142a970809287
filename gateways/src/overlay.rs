//! The pages that people look at: the overlay for OBS, as built by `web/` and embedded here. Goes
//! out.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// A file of `web/dist`.
struct Page {
    /// Where it is served.
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What a page may load and talk to: only what comes from here. The tests of `web/` run the pages
/// under the same policy.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; media-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self' http://absolute file:";

/// Browsers ask each time whether a page has changed, so that an update is seen on the next reload.
const REVALIDATED: &str = "no-cache";

pub fn routes() -> Router {
    let mut router = Router::new();
    for page in PAGES {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(page.bytes)[..8]));
        router = router
            .route(page.path, get(async move |headers: HeaderMap| page.answer(&tag, &headers)));
    }
    if PAGES.is_empty() {
        router = router.route("/overlay", get(async || NotBuilt));
    }
    router.route("/", get(async || Redirect::temporary("/overlay")))
}

impl Page {
    fn answer(&self, tag: &str, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
        let mut response = match known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(header::CONTENT_TYPE, self.media_type)], self.bytes).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(REVALIDATED));
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        if let Ok(tag) = HeaderValue::from_str(tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// The answer of a binary that was compiled before the pages were.
struct NotBuilt;

impl IntoResponse for NotBuilt {
    fn into_response(self) -> Response {
        let words = "This tapedeck was compiled without its pages. `make build` builds both.\n";
        (StatusCode::SERVICE_UNAVAILABLE, words).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::POLICY;

    #[test]
    fn the_pages_are_tested_under_the_policy_they_are_served_with() {
        let tested = include_str!("../../web/test/page_server.ts");
        let tested = tested.split_once("CONTENT_SECURITY_POLICY = [").expect("the list").1;
        let tested = tested.split_once(']').expect("its end").0;
        let tested: Vec<&str> = tested.split('"').skip(1).step_by(2).collect();
        assert_eq!(tested.join("; "), POLICY);
    }
}
