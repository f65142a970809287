//! Credentials of services: signed statements of who a service is, for whom it acts, what it may do and until when.
//!
//! Each is an EdDSA JSON Web Signature of a key in `service_keys`, whose secret half is sealed. Verifying takes the
//! algorithm and the key from us and never from what is verified: a header chooses among our keys, by `kid`, and nothing
//! else in it is believed.

mod keys;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::config::Config;
use crate::http::keys::Scope;
use crate::key_file::SEALING;
use crate::sealing::Sealer;

pub use self::keys::{GRACE, KeyRow, PUBLISHED_BEFORE, SigningError, list, rotate};
use self::keys::{Known, signing_key};

/// The longest life of a credential.
pub const LASTS_MAX: TimeDelta = TimeDelta::minutes(15);
/// Who accepts a credential that names no other audience: this API.
pub const AUDIENCE: &str = "tapedeck";

/// How long the keys that were read are believed, and how soon an unknown `kid` has them read again.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
const READ_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// Clocks of processes differ by this much.
const LEEWAY_S: u64 = 5;
/// No credential of ours is longer.
const LENGTH_MAX: usize = 4_096;

/// A credential that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The API key that it was issued to, and the mark of the secret that the key had.
    pub key: Uuid,
    pub mark: String,
    pub service: String,
    pub scopes: Vec<Scope>,
    /// The one viewer with whose things it acts.
    pub viewer: Option<String>,
    pub expires_at: DateTime<Utc>,
}

/// The API key that a credential is issued to.
pub struct Holder<'a> {
    pub key: Uuid,
    /// Of its secret.
    pub mark: &'a str,
    /// The service's name.
    pub name: &'a str,
}

/// What a service wants.
pub struct Wanted {
    pub scopes: Vec<Scope>,
    pub audience: String,
    pub viewer: Option<String>,
    pub lasts: TimeDelta,
}

/// Why a credential is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("this is no credential of ours")]
    Malformed,
    #[error("credentials are signed with EdDSA, and with nothing else")]
    WrongAlgorithm,
    #[error("no key of ours has this kid, or its time is over")]
    UnknownKey,
    #[error("the signature is not right")]
    BadSignature,
    #[error("this credential is for somebody else")]
    WrongAudience,
    #[error("this credential is of another issuer")]
    WrongIssuer,
    #[error("this credential has expired: get another at /api/v1/service-token")]
    Expired,
    #[error("the key that this credential was issued to was revoked, or has a new secret")]
    Revoked,
}

impl Refusal {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed_credential",
            Refusal::WrongAlgorithm => "wrong_algorithm",
            Refusal::UnknownKey => "unknown_signing_key",
            Refusal::BadSignature => "bad_signature",
            Refusal::WrongAudience => "wrong_audience",
            Refusal::WrongIssuer => "wrong_issuer",
            Refusal::Expired => "credential_expired",
            Refusal::Revoked => "credential_revoked",
        }
    }
}

/// What a credential says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// The service's name.
    sub: String,
    /// Divided by spaces.
    scope: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: Uuid,
    key: Uuid,
    mark: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    viewer: Option<String>,
}

/// The keys, and when they were read.
type Reading = (Instant, Arc<Known>);

/// Issues credentials and verifies them.
#[derive(Clone)]
pub struct Signing {
    pool: PgPool,
    known: Arc<Mutex<Option<Reading>>>,
    sealer: Arc<OnceCell<Sealer>>,
}

impl Signing {
    pub fn new(pool: PgPool) -> Self {
        Signing { pool, known: Arc::default(), sealer: Arc::default() }
    }

    /// A credential for the service that holds this key.
    pub async fn issue(
        &self,
        to: Holder<'_>,
        wanted: Wanted,
        config: &Config,
        now: DateTime<Utc>,
    ) -> Result<String, SigningError> {
        let sealer = self.sealer.get_or_try_init(|| sealer(config)).await?;
        let (kid, encoding) = signing_key(&self.pool, sealer, now).await?;
        let scopes: Vec<&str> = wanted.scopes.iter().map(|scope| scope.name()).collect();
        let claims = Claims {
            iss: issuer(config),
            aud: wanted.audience,
            sub: to.name.to_owned(),
            scope: scopes.join(" "),
            iat: now.timestamp(),
            nbf: now.timestamp(),
            exp: (now + wanted.lasts.min(LASTS_MAX)).timestamp(),
            jti: Uuid::new_v4(),
            key: to.key,
            mark: to.mark.to_owned(),
            viewer: wanted.viewer,
        };
        let header = Header { kid: Some(kid), ..Header::new(Algorithm::EdDSA) };
        Ok(jsonwebtoken::encode(&header, &claims, &encoding)?)
    }

    /// The credential of this text, if it is one of ours, for us, and its time is not over.
    pub async fn verify(
        &self,
        text: &str,
        config: &Config,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Result<Credential, Refusal>> {
        let kid = match kid_of(text) {
            Ok(kid) => kid,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut known = self.keys(BELIEVED_FOR).await?;
        if !known.has(&kid) {
            known = self.keys(READ_AT_MOST_EVERY).await?;
        }
        let Some(decoding) = known.verifier(&kid, now) else {
            return Ok(Err(Refusal::UnknownKey));
        };
        let read = jsonwebtoken::decode::<Claims>(text, decoding, &validation(config));
        Ok(read.map_err(Refusal::from).and_then(|read| credential(read.claims)))
    }

    /// The public keys, as others check our credentials with them.
    pub async fn published(&self, now: DateTime<Utc>) -> sqlx::Result<serde_json::Value> {
        Ok(self.keys(BELIEVED_FOR).await?.published(now))
    }

    /// The keys as they were read at most so long ago.
    async fn keys(&self, age_max: Duration) -> sqlx::Result<Arc<Known>> {
        if let Some((at, known)) = &*self.lock()
            && at.elapsed() < age_max
        {
            return Ok(Arc::clone(known));
        }
        let known = Arc::new(Known::read(&self.pool).await?);
        *self.lock() = Some((Instant::now(), Arc::clone(&known)));
        Ok(known)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Reading>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Signing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Signing(…)")
    }
}

async fn sealer(config: &Config) -> Result<Sealer, SigningError> {
    let path = config.sealing_key_path().ok_or_else(|| SEALING.nowhere())?;
    let made = tokio::task::spawn_blocking(move || Sealer::load_or_make(&path)).await;
    Ok(made.map_err(|_| SigningError::Ended)??)
}

/// Which key a text says that it was signed with. Nothing of it is believed yet.
fn kid_of(text: &str) -> Result<String, Refusal> {
    if text.len() > LENGTH_MAX {
        return Err(Refusal::Malformed);
    }
    let header = jsonwebtoken::decode_header(text).map_err(|_| Refusal::Malformed)?;
    if header.alg != Algorithm::EdDSA {
        return Err(Refusal::WrongAlgorithm);
    }
    header.kid.ok_or(Refusal::UnknownKey)
}

fn validation(config: &Config) -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[issuer(config)]);
    validation.validate_nbf = true;
    validation.leeway = LEEWAY_S;
    validation
}

fn credential(claims: Claims) -> Result<Credential, Refusal> {
    let expires_at = DateTime::from_timestamp(claims.exp, 0).ok_or(Refusal::Malformed)?;
    let lasts = claims.exp.checked_sub(claims.iat).ok_or(Refusal::Malformed)?;
    if lasts > LASTS_MAX.num_seconds() {
        return Err(Refusal::Expired);
    }
    // A scope that this version does not know gives nothing.
    let scopes = claims.scope.split(' ').filter_map(|name| name.parse().ok()).collect();
    let Claims { key, mark, sub: service, viewer, .. } = claims;
    Ok(Credential { key, mark, service, scopes, viewer, expires_at })
}

/// Who issues: the address at which the keys are published, where there is one.
fn issuer(config: &Config) -> String {
    let public = config.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    public.unwrap_or_else(|| AUDIENCE.to_owned())
}

impl From<jsonwebtoken::errors::Error> for Refusal {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        use jsonwebtoken::errors::ErrorKind;
        match error.kind() {
            ErrorKind::InvalidSignature => Refusal::BadSignature,
            ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Refusal::Expired,
            ErrorKind::InvalidAudience => Refusal::WrongAudience,
            ErrorKind::InvalidIssuer => Refusal::WrongIssuer,
            ErrorKind::InvalidAlgorithm => Refusal::WrongAlgorithm,
            _ => Refusal::Malformed,
        }
    }
}
