//! Logging in with Twitch, and the session that comes of it.

use axum::Json;
use axum::extract::State as FromState;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::actor::{Actor, Credential};
use super::auth::{Asker, bearer, given, require_allowance};
use super::browser::{self, cookie, set_cookie};
use super::error::{ApiError, ErrorBody};
use super::extract::Query;
use super::limits::Caller;
use super::{API, State};
use crate::login::{
    Begun, LoggedIn, Login, LoginError, Readiness, Role, Session, attempts, readiness, sessions,
};
use crate::twitch::TwitchError;

const PATH_LENGTH_MAX: usize = 512;
/// Codes and states are shorter.
const SENT_LENGTH_MAX: usize = 512;

/// How to log in.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Beginning {
    /// Where to go on after the login: a path here, such as `/overlay`.
    return_to: Option<String>,
    /// `broadcaster` asks Twitch for what only the broadcaster can grant, such as reading the list of moderators.
    r#as: Option<As>,
    /// `1`: have Twitch ask again, even if it was asked before.
    again: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum As {
    Broadcaster,
}

/// What Twitch sends people back with.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Return {
    code: Option<String>,
    state: Option<String>,
    /// `access_denied`, where the person did not want to.
    error: Option<String>,
}

/// Who is logged in.
#[derive(Serialize, ToSchema)]
pub struct SessionAnswer {
    pub viewer: super::query::ViewerAnswer,
    pub role: Role,
    /// What the role may do with everybody's things. With their own account everybody may read and give.
    pub scopes: Vec<&'static str>,
    pub logged_in_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// The secret, to be sent as a bearer; only to programs, which have asked without a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// Sends a browser to Twitch, to log in there.
///
/// 501 `login_off` says what to configure. Twitch sends the browser back to the callback within ten minutes.
#[utoipa::path(
    get, path = "/login", tag = "login", params(Beginning), security(()),
    responses((status = 303, description = "To Twitch"), (status = "4XX", body = ErrorBody),
              (status = 501, body = ErrorBody)),
)]
pub(crate) async fn begin(
    FromState(app): FromState<State>,
    Query(wanted): Query<Beginning>,
    asker: Asker,
    parts: Parts,
) -> Result<Response, ApiError> {
    let (login, redirect_url) = configured(&app)?;
    if let Some(here) = where_cookies_come_back(&parts, &redirect_url) {
        let location = location(here.as_str())?;
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response());
    }
    require_allowance(&app, Caller::Login, &parts, app.config.login.attempts_per_minute)?;
    let return_to = wanted.return_to.as_deref().unwrap_or("/");
    if !is_path_here(return_to) {
        return Err(ApiError::bad_request("return_to is a path here, such as /overlay"));
    }
    let session = asker.known().and_then(|actor| session_of(actor).map(|session| session.id)).ok();
    let goes_on = Begun { return_to: return_to.to_owned(), session };
    let attempt = attempts::begin(&app.pool, &goes_on, Utc::now()).await?;
    let scopes = Login::scopes(&app.config, wanted.r#as == Some(As::Broadcaster));
    let again = wanted.again == Some(1);
    let url = login.oauth.authorize_url(&redirect_url, &attempt.state, scopes, again);
    let pair = (browser::LOGIN, attempt.browser.as_str());
    let set = set_cookie(pair, "Lax", attempts::LASTS, &app.config);
    Ok((
        StatusCode::SEE_OTHER,
        [(header::SET_COOKIE, set), (header::LOCATION, location(url.as_str())?)],
    )
        .into_response())
}

/// Where Twitch sends the browser back to: makes a session of the login.
///
/// Only the browser that began it, and only once. Browsers go on to where they wanted; programs that accept
/// `application/json` get the session's secret.
#[utoipa::path(
    get, path = "/login/callback", tag = "login", params(Return), security(()),
    responses((status = 200, body = SessionAnswer), (status = 303, description = "Logged in"),
              (status = "4XX", body = ErrorBody), (status = 501, body = ErrorBody),
              (status = 503, body = ErrorBody)),
)]
pub(crate) async fn finish(
    FromState(app): FromState<State>,
    Query(sent): Query<Return>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let (login, redirect_url) = configured(&app)?;
    // Who comes back to a login of their own is not held up by those who make some up.
    let no_state = || {
        let per_minute = app.config.login.attempts_per_minute;
        if let Err(refusal) = require_allowance(&app, Caller::Return, &parts, per_minute) {
            return refusal;
        }
        let words = "this login was not begun in this browser, was finished before, or took too long: \
                     begin again at /api/v1/login";
        ApiError::new(StatusCode::BAD_REQUEST, "login_state", words)
    };
    let browser = cookie(&parts.headers, browser::LOGIN).ok_or_else(no_state)?;
    let state = sent.state.filter(|state| state.len() <= SENT_LENGTH_MAX).ok_or_else(no_state)?;
    let now = Utc::now();
    let begun = attempts::finish(&app.pool, &state, browser, now).await?;
    let begun = begun.ok_or_else(no_state)?;
    if sent.error.is_some() {
        let words = "Twitch says that you did not want to log in";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "login_denied", words));
    }
    let code = sent.code.filter(|code| (1..=SENT_LENGTH_MAX).contains(&code.len()));
    let code = code.ok_or_else(|| ApiError::bad_request("Twitch sent no code"))?;
    // The cookie of the session before is overwritten: nobody would ever end it.
    let finished = login.finish(&redirect_url, code, begun.session, now).await?;
    let LoggedIn { session, secret } = finished;
    let gone = set_cookie((browser::LOGIN, ""), "Lax", attempts::LASTS, &app.config);
    let mut response = if accepts_json(&parts.headers) {
        Json(describe(&app, &session, Some(secret.clone())).await?).into_response()
    } else {
        (StatusCode::SEE_OTHER, [(header::LOCATION, location(&begun.return_to)?)]).into_response()
    };
    response.headers_mut().append(header::SET_COOKIE, gone);
    response.headers_mut().append(header::SET_COOKIE, session_cookie(&app, &secret));
    Ok(response)
}

/// Who is logged in, as what, and for how long.
#[utoipa::path(
    get, path = "/session", tag = "login",
    responses((status = 200, body = SessionAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn who(
    FromState(app): FromState<State>,
    asker: Asker,
) -> Result<Json<SessionAnswer>, ApiError> {
    let session = session_of(asker.known()?)?;
    Ok(Json(describe(&app, session, None).await?))
}

/// Gives the session a new secret and a week more, up to 30 days after the login. The old secret is good for one more minute,
/// in which it gives the same new one.
#[utoipa::path(
    post, path = "/session/refresh", tag = "login",
    responses((status = 200, body = SessionAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn refresh(
    FromState(app): FromState<State>,
    asker: Asker,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = session_of(asker.known()?)?;
    let refreshed = app.sessions.refresh(&given(&headers).unwrap_or_default(), Utc::now()).await?;
    let Some((secret, expires_at)) = refreshed else {
        let words = "this session is over: log in again at /api/v1/login";
        return Err(ApiError::unauthorized(words).code_instead("session_over"));
    };
    let by_cookie = bearer(&headers).is_none();
    let session = Session { expires_at, ..session.clone() };
    // A browser has it in its cookie, where no script sees it.
    let shown = (!by_cookie).then(|| secret.clone());
    let mut response = Json(describe(&app, &session, shown).await?).into_response();
    if by_cookie {
        response.headers_mut().append(header::SET_COOKIE, session_cookie(&app, &secret));
    }
    Ok(response)
}

/// Logs out: the session is over at once, and what Twitch granted is revoked there.
#[utoipa::path(
    delete, path = "/session", tag = "login",
    responses((status = 204, description = "Logged out"), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn end(
    FromState(app): FromState<State>,
    asker: Asker,
) -> Result<Response, ApiError> {
    let session = session_of(asker.known()?)?;
    match &app.login {
        Some(login) => login.end(session.id, Utc::now()).await?,
        None => app.sessions.end(session.id, Utc::now()).await?,
    }
    tracing::info!(viewer = session.viewer, session = %session.id, "somebody logged out");
    let gone = browser::session_gone(&app.config);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// What logging in works with, or which keys are to be set first.
fn configured(app: &State) -> Result<(&Login, Url), ApiError> {
    let words = match (readiness(&app.config), &app.login) {
        (Readiness::Ready(url), Some(login)) => return Ok((login, url)),
        (Readiness::Ready(_), None) => {
            "logging in was configured a moment ago, and works after the next start".to_owned()
        }
        (Readiness::Missing(keys), _) => format!(
            "logging in is off. Register an application in Twitch's developer console and set {} in tapedeck.toml or \
             the environment; `tapedeck login status` says more",
            keys.join(", "),
        ),
    };
    Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "login_off", words))
}

/// The session that a request came with.
fn session_of(actor: &Actor) -> Result<&Session, ApiError> {
    match actor.credential() {
        Credential::Session(session, _) => Ok(session),
        Credential::Key(_) | Credential::Service(_) => {
            let words = "this is for those who logged in, and a key is no session";
            Err(ApiError::new(StatusCode::FORBIDDEN, "no_session", words))
        }
    }
}

async fn describe(
    app: &State,
    session: &Session,
    secret: Option<String>,
) -> Result<SessionAnswer, ApiError> {
    let id = session.viewer.clone();
    let name: Option<Option<String>> =
        sqlx::query_scalar("SELECT name FROM viewer_names WHERE viewer_id = $1")
            .bind(&id)
            .fetch_optional(&app.pool)
            .await?;
    let role = Role::of(&id, session.is_listed, &app.config);
    Ok(SessionAnswer {
        viewer: super::query::ViewerAnswer { id, name: name.flatten() },
        role,
        scopes: role.scopes().iter().map(|scope| scope.name()).collect(),
        logged_in_at: session.logged_in_at,
        expires_at: session.expires_at,
        session: secret,
    })
}

fn session_cookie(app: &State, secret: &str) -> HeaderValue {
    set_cookie((browser::SESSION, secret), "Strict", sessions::LASTS, &app.config)
}

fn location(url: &str) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(url).map_err(|_| ApiError::bad_request("this cannot be gone on to"))
}

/// This machine under the name that Twitch sends browsers back to. To them `127.0.0.1` and `localhost` are two sites, and
/// a cookie of the one is not sent to the other.
fn where_cookies_come_back(parts: &Parts, redirect_url: &Url) -> Option<Url> {
    let host = parts.headers.get(header::HOST)?.to_str().ok()?;
    let asked = Url::parse(&format!("{}://{host}", redirect_url.scheme())).ok()?;
    let same_port = asked.port_or_known_default() == redirect_url.port_or_known_default();
    let other_name = matches!(asked.host_str(), Some("127.0.0.1" | "[::1]"));
    if !same_port || !other_name || redirect_url.host_str() != Some("localhost") {
        return None;
    }
    let mut here = redirect_url.clone();
    here.set_path(&format!("{API}/login"));
    here.set_query(parts.uri.query());
    Some(here)
}

/// A path of this site and of no other: browsers take `//` and `/\` for another host.
fn is_path_here(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= PATH_LENGTH_MAX
        && path.bytes().all(plain)
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.trim_start().starts_with("application/json"))
}

impl From<LoginError> for ApiError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Twitch(TwitchError::Refused(_)) => {
                let words =
                    "Twitch does not know this code, or not any more: begin again at /api/v1/login";
                Self::new(StatusCode::FORBIDDEN, "login_refused", words)
            }
            LoginError::Twitch(error) => {
                tracing::warn!(%error, "nobody can log in now");
                // What was begun is used up.
                let words =
                    "Twitch does not answer as it should: begin again soon at /api/v1/login";
                Self::unavailable(words).code_instead("twitch_unavailable")
            }
            LoginError::Database(error) => error.into(),
            LoginError::Unsealed => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the grant cannot be sealed",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_begins_under_the_name_at_which_it_ends() {
        let back = Url::parse("http://localhost:8090/api/v1/login/callback").expect("a URL");
        let begins = |host: &str| {
            let request = axum::http::Request::get("/login?return_to=/overlay");
            let request = request.header("host", host).body(()).expect("a request");
            where_cookies_come_back(&request.into_parts().0, &back).map(String::from)
        };
        let there = "http://localhost:8090/api/v1/login?return_to=/overlay";
        assert_eq!(begins("127.0.0.1:8090").as_deref(), Some(there));
        assert_eq!(begins("[::1]:8090").as_deref(), Some(there));
        for host in ["localhost:8090", "127.0.0.1:9000", "127.0.0.1", "td.example", "evil:8090"] {
            assert_eq!(begins(host), None, "{host}");
        }
    }

    #[test]
    fn nobody_is_sent_to_another_site_after_the_login() {
        for good in ["/", "/overlay", "/dashboard?tab=holds#x"] {
            assert!(is_path_here(good), "{good}");
        }
        let long = format!("/{}", "x".repeat(600));
        for bad in [
            "",
            "overlay",
            "//evil.example",
            "/\\evil",
            "https://evil.example",
            "/a b",
            "/\r\nX: 1",
            &long,
        ] {
            assert!(!is_path_here(bad), "{bad:?}");
        }
    }
}
