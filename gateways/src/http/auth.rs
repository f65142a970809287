//! Who asks: a key, a session or the credential of a service, what it may do, and how often it may ask.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, Request, State as FromState};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use chrono::Utc;

use super::State;
use super::actor::Actor;
use super::address;
use super::browser;
use super::error::ApiError;
use super::keys::{self, Scope};
use super::limits::{Allowance, Caller};
use crate::login::sessions;
use crate::signing::Refusal;

/// How many credentials that are none one address may send in a minute before those that are not known are looked
/// up one after the other, and refused alike when they are none. Those that were good before are not held up by it.
const GUESSES_PER_MINUTE: u32 = 600;

/// How many pictures one address may load in a minute. Browsers send no key for an `<img>`, and behind
/// a reverse proxy all of them are one address: a picture that was paid for must not wait for
/// strangers who ask other things, and a page full of pictures is nothing unusual.
const PICTURES_PER_MINUTE: u32 = 6_000;

/// The one who asks; taken by every handler that wants to know.
#[derive(Clone, Debug)]
pub struct Asker(Result<Option<Arc<Actor>>, Bad>);

/// Something was given, and it is not good, or not any more.
#[derive(Clone, Copy, Debug)]
enum Bad {
    Key,
    Session,
    Service(Refusal),
}

impl Asker {
    /// Whoever asks, if they may do this with everybody's things.
    pub fn require(&self, scope: Scope) -> Result<&Arc<Actor>, ApiError> {
        let actor = self.known()?;
        match actor.allows(scope) {
            true => Ok(actor),
            false => Err(ApiError::forbidden(&actor.described(), scope.name())),
        }
    }

    /// Whoever asks, if they may do this with what belongs to `viewer`; the viewer may.
    pub fn require_for(&self, scope: Scope, viewer: &str) -> Result<&Arc<Actor>, ApiError> {
        let actor = self.known()?;
        match actor.allows_for(scope, viewer) {
            true => Ok(actor),
            false => Err(ApiError::forbidden(&actor.described(), scope.name())),
        }
    }

    /// Like [`require`](Self::require), for what cannot be undone: a person must have logged in a moment ago.
    pub fn require_fresh(&self, scope: Scope) -> Result<&Arc<Actor>, ApiError> {
        let actor = self.require(scope)?;
        match actor.is_fresh(Utc::now()) {
            true => Ok(actor),
            false => {
                let words = "this cannot be undone: log in again, and do it within 15 minutes";
                Err(ApiError::new(StatusCode::FORBIDDEN, "login_again", words))
            }
        }
    }

    /// Whoever asks, whatever they may do.
    pub fn known(&self) -> Result<&Arc<Actor>, ApiError> {
        match &self.0 {
            Ok(Some(actor)) => Ok(actor),
            Ok(None) => Err(ApiError::unauthorized(
                "log in at /api/v1/login, or send `Authorization: Bearer <key>`; `tapedeck key issue` makes a key",
            )),
            Err(bad) => Err(bad.answer()),
        }
    }
}

impl Bad {
    fn answer(self) -> ApiError {
        match self {
            Bad::Key => ApiError::unauthorized("this key is unknown or was revoked"),
            Bad::Session => {
                let words = "this session is over: log in again at /api/v1/login";
                ApiError::unauthorized(words).code_instead("session_over")
            }
            Bad::Service(refusal) => {
                ApiError::unauthorized(refusal.to_string()).code_instead(refusal.code())
            }
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
    // Whoever loads a picture may: a cookie that a browser sends along is not even looked at.
    let text = match is_picture(&request) {
        true => bearer(request.headers()).map(str::to_owned),
        false => given(request.headers()),
    };
    let asker = match text {
        None => Asker(Ok(None)),
        Some(text) => {
            let guesser = Caller::Guesser(address_of(&app, &request));
            let held_up = match app.knows(&text) {
                true => None,
                false => app.limits.refusal(guesser, GUESSES_PER_MINUTE, Instant::now()),
            };
            let found = match held_up {
                None => app.identify(&text).await?,
                // A good one that shares the address with who guesses comes through so, and is known from then on.
                Some(refusal) => match app.line.wait().await {
                    None => return Ok(refused(refusal)),
                    Some(_turn) => match app.identify(&text).await? {
                        Ok(actor) => Ok(actor),
                        Err(_) => return Ok(refused(refusal)),
                    },
                },
            };
            if found.is_err() {
                app.limits.count(guesser, GUESSES_PER_MINUTE, Instant::now());
            }
            Asker(found.map(|actor| Some(Arc::new(actor))))
        }
    };
    let allowance = count(&app, &asker, &request);
    let is_stale = matches!(asker.0, Err(Bad::Session)) && browser::is_by_cookie(request.headers());
    if let Some(allowance) = allowance
        && allowance.refused_for.is_some()
    {
        return Ok(forgetting(is_stale, refused(allowance), &app));
    }
    if browser::is_by_cookie(request.headers()) && asker.0.as_ref().is_ok_and(Option::is_some) {
        browser::require_same_site(&request, &app.config)?;
    }
    request.extensions_mut().insert(asker);
    Ok(forgetting(is_stale, with_headers(next.run(request).await, allowance), &app))
}

/// Has a browser whose session is over send it no more, unless it was told something else just now.
fn forgetting(is_stale: bool, mut response: Response, app: &State) -> Response {
    if is_stale && !response.headers().contains_key(header::SET_COOKIE) {
        let gone = browser::session_gone(&app.config);
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    response
}

impl super::Api {
    /// Whether this was found good before, though perhaps not lately.
    fn knows(&self, text: &str) -> bool {
        self.keys.knows(text) || self.sessions.knows(text)
    }

    async fn identify(&self, text: &str) -> sqlx::Result<Result<Actor, Bad>> {
        if text.starts_with(sessions::PREFIX) {
            let session = self.sessions.verify(text, Utc::now()).await?;
            let actor = session.map(|session| Actor::of_session(session, &self.config));
            return Ok(actor.ok_or(Bad::Session));
        }
        if !text.starts_with(keys::PREFIX) && text.contains('.') {
            return Ok(match self.signing.verify(text, &self.config, Utc::now()).await? {
                Err(refusal) => Err(Bad::Service(refusal)),
                // Who took the key away, or its secret, takes away what was issued for it.
                Ok(service) if !self.keys.is_good(service.key, &service.mark).await? => {
                    Err(Bad::Service(Refusal::Revoked))
                }
                Ok(service) => Ok(Actor::of_service(Arc::new(service))),
            });
        }
        let key = self.keys.verify(text).await?;
        Ok(key.map(|(key, mark)| Actor::of_key(key, mark)).ok_or(Bad::Key))
    }
}

fn refused(allowance: Allowance) -> Response {
    metrics::counter!("tapedeck_http_refused_total", "reason" => "rate").increment(1);
    let words = "too many requests: wait as long as Retry-After says";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", words);
    with_headers(error.into_response(), Some(allowance))
}

/// Refuses what this address does too often.
pub(super) fn require_allowance(
    app: &State,
    caller: impl FnOnce(IpAddr) -> Caller,
    parts: &Parts,
    per_minute: u32,
) -> Result<(), ApiError> {
    let trusted = &app.config.trusted_proxies;
    let caller = caller(address::of(&parts.extensions, &parts.headers, trusted));
    let allowance = app.limits.count(caller, per_minute, Instant::now());
    match allowance.and_then(|allowance| allowance.refused_for) {
        None => Ok(()),
        Some(wait) => {
            let words = "too many logins from here: wait as long as Retry-After says";
            let seconds = i64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(60);
            Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_logins", words)
                .header(header::RETRY_AFTER, seconds.into()))
        }
    }
}

fn count(app: &State, asker: &Asker, request: &Request) -> Option<Allowance> {
    let limits = &app.config.requests_per_minute;
    let (caller, per_minute) = match &asker.0 {
        Ok(Some(actor)) if actor.writes() && !actor.is_person() => {
            (Caller::Key(actor.id), limits.service)
        }
        Ok(Some(actor)) => (Caller::Key(actor.id), limits.user),
        // Without a limit for anybody there is none for pictures either.
        Ok(None) if is_picture(request) && limits.anonymous > 0 => {
            (Caller::Watcher(address_of(app, request)), PICTURES_PER_MINUTE.max(limits.anonymous))
        }
        Ok(None) | Err(_) => (Caller::Address(address_of(app, request)), limits.anonymous),
    };
    app.limits.count(caller, per_minute, Instant::now())
}

/// The path is the one below `/api/v1`.
fn is_picture(request: &Request) -> bool {
    request.uri().path().starts_with("/pictures/")
}

fn address_of(app: &State, request: &Request) -> IpAddr {
    address::of(request.extensions(), request.headers(), &app.config.trusted_proxies)
}

fn with_headers(mut response: Response, allowance: Option<Allowance>) -> Response {
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut(), Utc::now().timestamp());
    }
    response
}

/// What a request proves itself with: as a bearer, by browsers on a WebSocket as the subprotocol
/// `bearer.<key>`, or by those who logged in as a cookie.
pub(super) fn given(headers: &HeaderMap) -> Option<String> {
    bearer(headers).or_else(|| browser::cookie(headers, browser::SESSION)).map(str::to_owned)
}

pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
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
    bearer.or_else(subprotocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn a_key_comes_as_a_bearer_or_as_a_subprotocol() {
        let sent = headers(header::AUTHORIZATION, "bearer tdk_a_b");
        assert_eq!(given(&sent).as_deref(), Some("tdk_a_b"));
        let offered = headers(header::SEC_WEBSOCKET_PROTOCOL, "tapedeck.v1, bearer.tdk_a_b");
        assert_eq!(given(&offered).as_deref(), Some("tdk_a_b"));
        assert_eq!(given(&headers(header::AUTHORIZATION, "Basic eDp5")), None);
        assert_eq!(given(&HeaderMap::new()), None);
    }

    #[test]
    fn a_session_comes_as_a_cookie_and_a_bearer_is_stronger() {
        let mut sent = headers(header::COOKIE, "a=b; tapedeck_session=tds_a_b");
        assert_eq!(given(&sent).as_deref(), Some("tds_a_b"));
        assert!(browser::is_by_cookie(&sent));
        sent.insert(header::AUTHORIZATION, "Bearer tdk_a_b".parse().expect("a header"));
        assert_eq!(given(&sent).as_deref(), Some("tdk_a_b"));
        assert!(!browser::is_by_cookie(&sent));
    }
}
