//! Twitch's authorization server: codes against grants, new ones for old, and whether one is still good. Goes out.
//!
//! The exchanges are those of the crate `oauth2`, over our own connections. Twitch departs from the standard in two
//! places, and the types here follow it: `scope` is a list, and a failure is `{status, message}`. It documents no PKCE, so
//! none is sent; our secret, `state` and the cookie of the browser do its work. What Twitch says in a failure is not
//! passed on, because it may repeat what it was sent.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use oauth2::basic::{
    BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, Client, ClientId,
    CsrfToken, EndpointNotSet, EndpointSet, HttpRequest, HttpResponse, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Settings;
use crate::outgoing::{Answer, Ask, Outgoing, Secret};

mod device;
pub mod hourly;
mod validating;

pub use self::device::{Device, Polled};

/// How long one call may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The client that the crate makes requests with, in Twitch's dialect.
type Dialect = Client<
    Failure,
    Grant,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// Why Twitch did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TwitchError {
    /// Nothing follows from it: trying again later may succeed, and so may asking rightly.
    #[error("Twitch cannot be asked now: {0}")]
    Unreachable(String),
    /// The code or the grant is not good, or not any more.
    #[error("Twitch answered {0}")]
    Refused(StatusCode),
    #[error("Twitch's answer cannot be understood")]
    Garbled,
}

/// What a person granted: what we ask Twitch with in their name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    access_token: AccessToken,
    refresh_token: Option<RefreshToken>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(rename = "scope", default)]
    scopes: Option<Vec<Scope>>,
    token_type: BasicTokenType,
}

/// A failure as Twitch says it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    #[serde(default)]
    status: u16,
}

/// What Twitch says of a failure, to be looked at and not passed on.
#[derive(Default, Deserialize)]
struct Words {
    #[serde(default)]
    message: String,
}

/// What Twitch is asked.
#[derive(Clone, Copy, Debug)]
enum Question {
    /// A grant for a code, or for an old grant.
    Exchange,
    Validate,
    Revoke,
}

impl Question {
    /// Whether a refusal is about the code or the grant that it was asked with. All others are about us.
    fn is_refused_by(self, status: StatusCode, message: &str) -> bool {
        let message = message.to_ascii_lowercase();
        let says = |words| message.contains(words);
        match (self, status.as_u16()) {
            (Question::Exchange, 400 | 401) => {
                says("invalid refresh token") || says("invalid authorization code")
            }
            (Question::Validate, 401) => true,
            (Question::Revoke, 400) => says("invalid token"),
            _ => false,
        }
    }
}

/// Whose grant it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Validated {
    pub client_id: String,
    /// Empty where the grant is the application's own, as the login is.
    #[serde(default)]
    pub user_id: String,
    #[serde(default)]
    pub login: String,
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// For how many seconds more it is good.
    #[serde(default)]
    pub expires_in: Option<u64>,
}

/// Asks Twitch's authorization server in the name of our application.
pub struct OAuth {
    settings: Settings,
    outgoing: Outgoing,
}

impl OAuth {
    pub fn new(settings: Settings) -> Self {
        OAuth { settings, outgoing: Outgoing::default() }
    }

    /// Where a person is sent to grant `scopes`. `again` has Twitch ask them even if they granted it before.
    pub fn authorize_url(
        &self,
        redirect_url: &Url,
        state: &str,
        scopes: &[&str],
        again: bool,
    ) -> Url {
        let client = self.client().set_redirect_uri(RedirectUrl::from_url(redirect_url.clone()));
        let state = state.to_owned();
        let mut request = client.authorize_url(|| CsrfToken::new(state));
        for scope in scopes {
            request = request.add_scope(Scope::new((*scope).to_owned()));
        }
        if again {
            request = request.add_extra_param("force_verify", "true");
        }
        request.url().0
    }

    /// A code that Twitch gave to a browser, against the grant it stands for.
    pub async fn exchange(&self, redirect_url: &Url, code: String) -> Result<Grant, TwitchError> {
        let client = self.client().set_redirect_uri(RedirectUrl::from_url(redirect_url.clone()));
        let request = client.exchange_code(AuthorizationCode::new(code));
        request.request_async(self).await.map_err(TwitchError::from)
    }

    /// A new grant for an old one. Twitch may have replaced the refresh token too: both are to be kept.
    pub async fn refresh(&self, grant: &Grant) -> Result<Grant, TwitchError> {
        let Some(refresh_token) = &grant.refresh_token else {
            return Err(TwitchError::Refused(StatusCode::UNAUTHORIZED));
        };
        let client = self.client();
        let fresh = client.exchange_refresh_token(refresh_token).request_async(self).await;
        let fresh = fresh.map_err(TwitchError::from)?;
        let refresh_token = fresh.refresh_token.clone().or_else(|| grant.refresh_token.clone());
        Ok(Grant { refresh_token, ..fresh })
    }

    /// Takes the grant back. One that was not good any more is as well.
    pub async fn revoke(&self, grant: &Grant) -> Result<(), TwitchError> {
        let form = url_encoded(&[
            ("client_id", self.settings.client_id.as_str()),
            ("token", grant.access_token.secret()),
        ]);
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form_type);
        let url = self.settings.id_url.at(&["revoke"]);
        match self.ask(Question::Revoke, Method::POST, url, headers, Bytes::from(form)).await {
            Ok(_) | Err(TwitchError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Where Twitch does not take what it is asked, and that says nothing of the person, it is we who ask wrongly, with a
    /// secret that was replaced at Twitch, say: nobody is logged out for that.
    async fn ask(
        &self,
        question: Question,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, TwitchError> {
        let answer = asked(&self.outgoing, method, url, headers, body).await?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let said: Words = serde_json::from_slice(&answer.body).unwrap_or_default();
        if question.is_refused_by(answer.status, &said.message) {
            return Err(TwitchError::Refused(answer.status));
        }
        let status = answer.status;
        tracing::error!(%status, ?question, "Twitch refuses us: is our client_id with its secret right?");
        Err(TwitchError::Unreachable(status.to_string()))
    }

    /// A request of the crate, over our own connection.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TwitchError> {
        let (head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string()).map_err(|_| TwitchError::Garbled)?;
        let mut headers = head.headers;
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (question, body) = (Question::Exchange, Bytes::from(body));
        let answer = self.ask(question, head.method, url, headers, body).await?;
        let mut response = HttpResponse::new(answer.body.to_vec());
        (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
        Ok(response)
    }

    /// An application that Twitch calls public has no secret.
    fn client(&self) -> Dialect {
        let (id_url, client_id) =
            (&self.settings.id_url, ClientId::new(self.settings.client_id.clone()));
        let client = Client::new(client_id)
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::from_url(id_url.at(&["authorize"])))
            .set_token_uri(TokenUrl::from_url(id_url.at(&["token"])));
        let secret = self.settings.client_secret.reveal();
        match secret.is_empty() {
            true => client,
            false => client.set_client_secret(oauth2::ClientSecret::new(secret.to_owned())),
        }
    }
}

/// The crate's requests go over our own connections.
impl<'c> AsyncHttpClient<'c> for OAuth {
    type Error = TwitchError;
    type Future = BoxFuture<'c, Result<HttpResponse, TwitchError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl Grant {
    /// The header that asks Helix in the name of whoever granted this.
    pub(super) fn bearer(&self) -> Result<HeaderValue, TwitchError> {
        secret_header("Bearer", self.access_token.secret())
    }

    /// What Helix is asked with in the name of whoever granted this.
    pub(super) fn secret(&self) -> Secret {
        Secret::new(self.access_token.secret().as_str())
    }

    /// When it is over, if it was given at `now` and Twitch said how long it lasts.
    pub fn ends_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        hourly::ends_at(now, self.expires_in)
    }

    pub fn scopes(&self) -> Vec<String> {
        self.scopes.iter().flatten().map(|scope| scope.to_string()).collect()
    }
}

impl TokenResponse for Grant {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scopes.as_ref()
    }
}

impl oauth2::ErrorResponse for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.status)
    }
}

impl From<RequestTokenError<TwitchError, Failure>> for TwitchError {
    fn from(error: RequestTokenError<TwitchError, Failure>) -> Self {
        match error {
            RequestTokenError::Request(error) => error,
            RequestTokenError::ServerResponse(failure) => {
                let status = StatusCode::from_u16(failure.status);
                TwitchError::Refused(status.unwrap_or(StatusCode::BAD_REQUEST))
            }
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => TwitchError::Garbled,
        }
    }
}

/// Asks Twitch, and gives what it answered where something follows from it.
async fn asked(
    outgoing: &Outgoing,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, TwitchError> {
    let (time_limit, body_bytes_max) = (TIME_LIMIT, BODY_BYTES_MAX);
    let ask = Ask { method, url, headers, body, time_limit, body_bytes_max };
    let answer = outgoing.send(ask).await;
    let answer = answer.map_err(|error| TwitchError::Unreachable(error.to_string()))?;
    match is_passing(answer.status) {
        true => Err(TwitchError::Unreachable(answer.status.to_string())),
        false => Ok(answer),
    }
}

/// Whether a status says something about Twitch and nothing about what was sent.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
        || status.is_redirection()
        || status.is_informational()
}

/// A header that is not printed.
pub(super) fn secret_header(scheme: &str, secret: &str) -> Result<HeaderValue, TwitchError> {
    let mut value =
        HeaderValue::from_str(&format!("{scheme} {secret}")).map_err(|_| TwitchError::Garbled)?;
    value.set_sensitive(true);
    Ok(value)
}

fn url_encoded(pairs: &[(&str, &str)]) -> String {
    // A URL's query is encoded as a form is.
    let mut url = BLANK.clone();
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

static BLANK: std::sync::LazyLock<Url> = std::sync::LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    Url::parse("https://id.twitch.tv").expect("a URL")
});

#[cfg(test)]
mod tests;
