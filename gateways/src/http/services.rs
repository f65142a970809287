//! Credentials for services, and the keys that others check them with.

use axum::extract::State as FromState;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::State;
use super::actor::Credential;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::Body;
use super::keys::Scope;
use super::query::check_id;
use crate::signing::{AUDIENCE, Holder, LASTS_MAX, SigningError, Wanted};

const AUDIENCE_LENGTH_MAX: usize = 100;

/// What a service wants a credential for.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewCredential {
    /// Of those that the key has; all of them, if left out.
    #[schema(example = json!(["accounts:read"]))]
    scopes: Option<Vec<String>>,
    /// Who is to accept it; this API (`tapedeck`), if left out.
    #[schema(example = "tapedeck")]
    audience: Option<String>,
    /// Act with this viewer's things, and with no others: wants the scope `viewers:act`.
    #[schema(example = "5001")]
    viewer: Option<String>,
    /// How many seconds it lasts; 900 if left out.
    #[schema(minimum = 1, maximum = 900)]
    lasts_s: Option<i64>,
}

/// A credential, in the words of OAuth.
#[derive(Serialize, ToSchema)]
pub struct CredentialAnswer {
    /// A JSON Web Token, to be sent as a bearer.
    pub access_token: String,
    #[schema(example = "Bearer")]
    pub token_type: &'static str,
    pub expires_in: i64,
    /// Divided by spaces.
    pub scope: String,
}

/// Gives the service that has this key a short-lived credential with some of its scopes.
///
/// It is signed: other services check it with the keys at `/.well-known/jwks.json`. History names the service, and the
/// viewer it acts for.
#[utoipa::path(
    post, path = "/service-token", tag = "services", request_body = NewCredential,
    responses((status = 200, body = CredentialAnswer), (status = "4XX", body = ErrorBody),
              (status = 503, body = ErrorBody)),
)]
pub(crate) async fn issue(
    FromState(app): FromState<State>,
    asker: Asker,
    Body(new): Body<NewCredential>,
) -> Result<Json<CredentialAnswer>, ApiError> {
    let actor = asker.known()?;
    let Credential::Key(mark) = actor.credential() else {
        let words =
            "credentials are issued to keys: make one for the service with `tapedeck key issue`";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "key_wanted", words));
    };
    if let Some(viewer) = &new.viewer {
        asker.require(Scope::ViewersAct)?;
        check_id(viewer)?;
    }
    let scopes = match new.scopes {
        None => Scope::ALL.into_iter().filter(|scope| actor.has(*scope)).collect(),
        Some(names) => wanted_scopes(&asker, &names)?,
    };
    let lasts_s = new.lasts_s.unwrap_or(LASTS_MAX.num_seconds());
    if !(1..=LASTS_MAX.num_seconds()).contains(&lasts_s) {
        return Err(ApiError::unprocessable("bad_life", "lasts_s is 1 to 900"));
    }
    let audience = new.audience.unwrap_or_else(|| AUDIENCE.to_owned());
    let plain = audience.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || !(1..=AUDIENCE_LENGTH_MAX).contains(&audience.len()) {
        return Err(ApiError::unprocessable(
            "bad_audience",
            "audience is a word of 1 to 100 characters",
        ));
    }
    let scope = scopes.iter().map(|scope: &Scope| scope.name()).collect::<Vec<_>>().join(" ");
    let wanted =
        Wanted { scopes, audience, viewer: new.viewer, lasts: TimeDelta::seconds(lasts_s) };
    let to = Holder { key: actor.id, mark, name: &actor.name };
    let access_token = app.signing.issue(to, wanted, &app.config, Utc::now()).await?;
    Ok(Json(CredentialAnswer { access_token, token_type: "Bearer", expires_in: lasts_s, scope }))
}

/// The scopes of these names, each of which the key has.
fn wanted_scopes(asker: &Asker, names: &[String]) -> Result<Vec<Scope>, ApiError> {
    let mut scopes = Vec::new();
    for name in names.iter().take(Scope::ALL.len() + 1) {
        let scope: Scope =
            name.parse().map_err(|words: String| ApiError::unprocessable("bad_scope", words))?;
        asker.require(scope)?;
        if scopes.contains(&scope) {
            return Err(ApiError::unprocessable("bad_scope", format!("{name} stands there twice")));
        }
        scopes.push(scope);
    }
    if scopes.is_empty() {
        return Err(ApiError::unprocessable(
            "bad_scope",
            "a credential without a scope can do nothing",
        ));
    }
    Ok(scopes)
}

/// The public keys, where programs look for them.
pub fn routes() -> Router<State> {
    Router::new().route("/.well-known/jwks.json", get(published))
}

async fn published(FromState(app): FromState<State>) -> Result<Response, ApiError> {
    let keys = app.signing.published(Utc::now()).await?;
    let fresh = HeaderValue::from_static("public, max-age=60");
    Ok(([(header::CACHE_CONTROL, fresh)], Json(keys)).into_response())
}

impl From<SigningError> for ApiError {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Database(error) => error.into(),
            error => {
                tracing::error!(%error, "a credential cannot be signed");
                Self::unavailable("nothing can be signed here now; the log says why")
            }
        }
    }
}
