//! What browsers send by themselves: cookies, and where a request of theirs comes from.
//!
//! A cookie goes along whoever makes the browser ask, so a request that is believed for its cookie, and that changes
//! something or opens a WebSocket, must come from our own pages: `Origin` says so, and scripts cannot change it. The
//! cookies are `HttpOnly` and `SameSite` besides.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use chrono::TimeDelta;
use reqwest::Url;

use super::API;
use super::auth::bearer;
use super::error::ApiError;
use crate::config::Config;
use crate::login::{Readiness, readiness};

/// The session of a browser.
pub const SESSION: &str = "tapedeck_session";
/// The login that a browser began.
pub const LOGIN: &str = "tapedeck_login";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let sent = headers.get_all(header::COOKIE).into_iter();
    sent.filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Whether a request is believed for its cookie.
pub(super) fn is_by_cookie(headers: &HeaderMap) -> bool {
    bearer(headers).is_none() && cookie(headers, SESSION).is_some()
}

/// A cookie that scripts cannot read. One with an empty value goes away.
pub fn set_cookie(
    (name, value): (&str, &str),
    same_site: &str,
    lasts: TimeDelta,
    config: &Config,
) -> HeaderValue {
    let seconds = if value.is_empty() { 0 } else { lasts.num_seconds() };
    let secure = match readiness(config) {
        Readiness::Ready(url) if url.scheme() == "https" => "; Secure",
        _ => "",
    };
    let text = format!(
        "{name}={value}; Path={API}; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}"
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// Has a browser forget its session.
pub(super) fn session_gone(config: &Config) -> HeaderValue {
    set_cookie((SESSION, ""), "Strict", TimeDelta::zero(), config)
}

/// Refuses what another site makes a browser do.
pub(super) fn require_same_site(request: &Request, config: &Config) -> Result<(), ApiError> {
    let headers = request.headers();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && !headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    if is_same_site(headers, config) {
        return Ok(());
    }
    let words = "a request with a cookie that changes something comes from this site's own pages alone; \
                 programs send the session as a bearer";
    Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", words))
}

fn is_same_site(headers: &HeaderMap, config: &Config) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else {
        // Browsers send one of the two with what changes something; who sends neither is no browser of today.
        return text(SEC_FETCH_SITE) == Some("same-origin");
    };
    let Some(origin) = Url::parse(origin).ok().map(|url| url.origin()).filter(|o| o.is_tuple())
    else {
        return false;
    };
    let login = match readiness(config) {
        Readiness::Ready(url) => Some(url),
        Readiness::Missing(_) => None,
    };
    let public = config.public_url.as_deref().and_then(|url| Url::parse(url).ok());
    let host = text(header::HOST).and_then(|host| Url::parse(&format!("http://{host}")).ok());
    login.into_iter().chain(public).chain(host).any(|ours| ours.origin() == origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().expect("a header"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn our_own_pages_are_told_from_others() {
        let config =
            Config { public_url: Some("https://td.example".to_owned()), ..Config::default() };
        let host = ("host", "127.0.0.1:8090");
        for good in [
            of(&[("origin", "https://td.example"), host]),
            of(&[("origin", "http://127.0.0.1:8090"), host]),
            of(&[("sec-fetch-site", "same-origin"), host]),
        ] {
            assert!(is_same_site(&good, &config), "{good:?}");
        }
        for bad in [
            of(&[host]),
            of(&[("origin", "null"), host]),
            of(&[("origin", ""), host]),
            of(&[("origin", "https://td.example.evil"), host]),
            of(&[("origin", "http://td.example"), host]),
            of(&[("origin", "https://127.0.0.1:8090"), host]),
            of(&[("origin", "http://127.0.0.1:8091"), host]),
            of(&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin"), host]),
            of(&[("sec-fetch-site", "same-site"), host]),
        ] {
            assert!(!is_same_site(&bad, &config), "{bad:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others_and_hidden_from_scripts() {
        let sent = of(&[("cookie", "xtapedeck_login=no; tapedeck_login=yes; other=1")]);
        assert_eq!(cookie(&sent, LOGIN), Some("yes"));
        assert_eq!(cookie(&sent, SESSION), None);
        let config = Config::default();
        let set = set_cookie((SESSION, "secret"), "Strict", TimeDelta::hours(1), &config);
        let expected =
            "tapedeck_session=secret; Path=/api/v1; Max-Age=3600; HttpOnly; SameSite=Strict";
        assert_eq!(set, expected);
        let gone = set_cookie((SESSION, ""), "Strict", TimeDelta::hours(1), &config);
        assert!(gone.to_str().expect("text").contains("Max-Age=0"));
    }
}
