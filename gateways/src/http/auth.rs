//! Who asks: the key of a request, its scopes, and how often it may ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State as FromState};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;

use super::State;
use super::error::ApiError;
use super::keys::{Key, Scope};
use super::limits::{Allowance, Caller};

/// How many keys that are none one address may send in a minute before its unknown keys are looked
/// up one after the other, and refused alike when they are none. Keys that were good before are not
/// held up by it.
const GUESSES_PER_MINUTE: u32 = 600;

/// How many pictures one address may load in a minute. Browsers send no key for an `<img>`, and behind
/// a reverse proxy all of them are one address: a picture that was paid for must not wait for
/// strangers who ask other things, and a page full of pictures is nothing unusual.
const PICTURES_PER_MINUTE: u32 = 6_000;

/// The one who asks; taken by every handler that wants to know.
#[derive(Clone, Debug)]
pub struct Asker(Result<Option<Arc<Key>>, BadKey>);

/// A key was given, and it is not one of ours, or not any more.
#[derive(Clone, Copy, Debug)]
struct BadKey;

impl Asker {
    /// The key, if it was given and has this scope.
    pub fn require(&self, scope: Scope) -> Result<&Key, ApiError> {
        match &self.0 {
            Ok(Some(key)) if key.allows(scope) => Ok(key),
            Ok(Some(_)) => Err(ApiError::forbidden(scope.name())),
            Ok(None) => Err(ApiError::unauthorized(
                "send `Authorization: Bearer <key>`; `tapedeck key issue` makes a key",
            )),
            Err(BadKey) => Err(ApiError::unauthorized("this key is unknown or was revoked")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(parts.extensions.get::<Asker>().cloned().unwrap_or(Asker(Ok(None))))
    }
}

/// Finds out who asks, counts the request, and lets it pass or not.
pub async fn authenticate(
    FromState(app): FromState<State>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let asker = match key_text(request.headers()) {
        None => Asker(Ok(None)),
        Some(text) => {
            let guesser = Caller::Guesser(address_of(&request));
            let held_up = match app.keys.knows(&text) {
                true => None,
                false => app.limits.refusal(guesser, GUESSES_PER_MINUTE, Instant::now()),
            };
            if let Some(refusal) = held_up {
                match app.keys.verify_in_line(&text).await? {
                    Some(key) => Asker(Ok(Some(key))),
                    None => return Ok(refused(refusal)),
                }
            } else {
                let key = app.keys.verify(&text).await?;
                if key.is_none() {
                    app.limits.count(guesser, GUESSES_PER_MINUTE, Instant::now());
                }
                Asker(key.map(Some).ok_or(BadKey))
            }
        }
    };
    let allowance = count(&app, &asker, &request);
    if let Some(allowance) = allowance
        && allowance.refused_for.is_some()
    {
        return Ok(refused(allowance));
    }
    request.extensions_mut().insert(asker);
    Ok(with_headers(next.run(request).await, allowance))
}

fn refused(allowance: Allowance) -> Response {
    metrics::counter!("tapedeck_http_refused_total", "reason" => "rate").increment(1);
    let words = "too many requests: wait as long as Retry-After says";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", words);
    with_headers(error.into_response(), Some(allowance))
}

fn count(app: &State, asker: &Asker, request: &Request) -> Option<Allowance> {
    let limits = &app.config.requests_per_minute;
    let (caller, per_minute) = match &asker.0 {
        Ok(Some(key)) if key.writes() => (Caller::Key(key.id), limits.service),
        Ok(Some(key)) => (Caller::Key(key.id), limits.user),
        // Without a limit for anybody there is none for pictures either.
        Ok(None) if is_picture(request) && limits.anonymous > 0 => {
            (Caller::Watcher(address_of(request)), PICTURES_PER_MINUTE.max(limits.anonymous))
        }
        Ok(None) | Err(BadKey) => (Caller::Address(address_of(request)), limits.anonymous),
    };
    app.limits.count(caller, per_minute, Instant::now())
}

/// The path is the one below `/api/v1`.
fn is_picture(request: &Request) -> bool {
    request.uri().path().starts_with("/pictures/")
}

fn address_of(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(peer)| peer.ip())
}

fn with_headers(mut response: Response, allowance: Option<Allowance>) -> Response {
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut(), Utc::now().timestamp());
    }
    response
}

/// The key as it was sent: as a bearer, or, by browsers on a WebSocket, as the subprotocol
/// `bearer.<key>`.
fn key_text(headers: &HeaderMap) -> Option<String> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    let subprotocol = || {
        let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
        offered
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|name| name.trim().strip_prefix("bearer."))
    };
    bearer.or_else(subprotocol).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn a_key_comes_as_a_bearer_or_as_a_subprotocol() {
        let bearer = headers(header::AUTHORIZATION, "bearer tdk_a_b");
        assert_eq!(key_text(&bearer).as_deref(), Some("tdk_a_b"));
        let offered = headers(header::SEC_WEBSOCKET_PROTOCOL, "tapedeck.v1, bearer.tdk_a_b");
        assert_eq!(key_text(&offered).as_deref(), Some("tdk_a_b"));
        assert_eq!(key_text(&headers(header::AUTHORIZATION, "Basic eDp5")), None);
        assert_eq!(key_text(&HeaderMap::new()), None);
    }
}
