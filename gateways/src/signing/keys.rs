//! The keys that sign: one does, those before it verify until their grace is over, and a new one is published before it signs.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use jsonwebtoken::{DecodingKey, EncodingKey};
use rand::RngCore;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use thiserror::Error;

use crate::key_file::KeyFileError;
use crate::sealing::{Sealer, Unopened};

/// How long a key verifies after another took its place, if nothing else is said: longer than any credential lives.
pub const GRACE: TimeDelta = TimeDelta::hours(1);
/// How long a new key is published before it signs: others keep the keys for a minute, and we believe them for some seconds.
pub const PUBLISHED_BEFORE: TimeDelta = TimeDelta::minutes(2);
/// How long a key is listed after its grace.
const LISTED: TimeDelta = TimeDelta::days(90);

/// Why nothing is signed.
#[derive(Debug, Error)]
pub enum SigningError {
    #[error(transparent)]
    Sealing(#[from] KeyFileError),
    #[error(
        "the signing key does not open: {0}; `tapedeck signing rotate --grace-min 0` makes another"
    )]
    Unopened(#[from] Unopened),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the key cannot sign: {0}")]
    Unsigned(#[from] jsonwebtoken::errors::Error),
    #[error("the signing key is damaged; `tapedeck signing rotate --grace-min 0` makes another")]
    Damaged,
    #[error("somebody else makes a key at this moment: look with `tapedeck signing list`")]
    Together,
    #[error("reading the sealing key ended")]
    Ended,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct KeyRow {
    pub kid: String,
    #[serde(skip)]
    pub public: Vec<u8>,
    pub created_at: DateTime<Utc>,
    pub signs_from: DateTime<Utc>,
    /// When another takes its place, or did.
    pub retired_at: Option<DateTime<Utc>>,
    pub verifies_until: Option<DateTime<Utc>>,
}

impl KeyRow {
    pub fn signs(&self, now: DateTime<Utc>) -> bool {
        self.signs_from <= now && self.retired_at.is_none_or(|at| at > now)
    }

    pub fn verifies(&self, now: DateTime<Utc>) -> bool {
        self.verifies_until.is_none_or(|until| until > now)
    }
}

/// All keys, newest first.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<KeyRow>> {
    sqlx::query_as(
        "SELECT kid, public, created_at, signs_from, retired_at, verifies_until FROM service_keys
         ORDER BY created_at DESC LIMIT 1000",
    )
    .fetch_all(pool)
    .await
}

/// Makes a key, and says from when it signs: soon, when all have read it. Until then the one before it signs, which then
/// verifies for `grace`. Without any grace it signs at once.
pub async fn rotate(
    pool: &PgPool,
    sealer: &Sealer,
    grace: TimeDelta,
    now: DateTime<Utc>,
) -> Result<(String, DateTime<Utc>), SigningError> {
    let mut tx = pool.begin().await?;
    let soon = if grace > TimeDelta::zero() { now + PUBLISHED_BEFORE } else { now };
    // One that is about to retire still signs.
    let retired = sqlx::query(
        "UPDATE service_keys
         SET retired_at = least(retired_at, $1), verifies_until = least(verifies_until, $2)
         WHERE retired_at IS NULL OR retired_at > $3",
    )
    .bind(soon)
    .bind(soon + grace)
    .bind(now)
    .execute(&mut *tx)
    .await?;
    let signs_from = if retired.rows_affected() > 0 { soon } else { now };
    sqlx::query("DELETE FROM service_keys WHERE verifies_until < $1")
        .bind(now - LISTED)
        .execute(&mut *tx)
        .await?;
    let kid = make(&mut tx, sealer, signs_from).await?.ok_or(SigningError::Together)?;
    tx.commit().await?;
    Ok((kid, signs_from))
}

/// The key that signs, which is made if there is none yet.
pub(super) async fn signing_key(
    pool: &PgPool,
    sealer: &Sealer,
    now: DateTime<Utc>,
) -> Result<(String, EncodingKey), SigningError> {
    if let Some(key) = stored(pool, sealer, now).await? {
        return Ok(key);
    }
    let mut connection = pool.acquire().await?;
    // Whichever process was first, its key is the one.
    make(&mut connection, sealer, now).await?;
    drop(connection);
    stored(pool, sealer, now).await?.ok_or(SigningError::Damaged)
}

async fn stored(
    pool: &PgPool,
    sealer: &Sealer,
    now: DateTime<Utc>,
) -> Result<Option<(String, EncodingKey)>, SigningError> {
    // One whose time comes first, where clocks differ and no other is left.
    let row: Option<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT kid, secret FROM service_keys WHERE retired_at IS NULL OR retired_at > $1
         ORDER BY signs_from > $1, signs_from DESC LIMIT 1",
    )
    .bind(now)
    .fetch_optional(pool)
    .await?;
    let Some((kid, sealed)) = row else { return Ok(None) };
    let secret = sealer.open(&label(&kid), &sealed)?;
    let secret: [u8; 32] = secret.try_into().map_err(|_| SigningError::Damaged)?;
    let der = SigningKey::from_bytes(&secret).to_pkcs8_der().map_err(|_| SigningError::Damaged)?;
    Ok(Some((kid, EncodingKey::from_ed_der(der.as_bytes()))))
}

/// Makes the key that signs from then on, unless there is one.
async fn make(
    connection: &mut PgConnection,
    sealer: &Sealer,
    signs_from: DateTime<Utc>,
) -> Result<Option<String>, SigningError> {
    let (mut secret, mut kid) = ([0_u8; 32], [0_u8; 8]);
    rand::rng().fill_bytes(&mut secret);
    rand::rng().fill_bytes(&mut kid);
    let (kid, key) = (hex::encode(kid), SigningKey::from_bytes(&secret));
    let made = sqlx::query(
        "INSERT INTO service_keys (kid, public, secret, signs_from) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&kid)
    .bind(key.verifying_key().as_bytes().as_slice())
    .bind(sealer.seal(&label(&kid), &secret)?)
    .bind(signs_from)
    .execute(connection)
    .await?;
    Ok((made.rows_affected() == 1).then_some(kid))
}

/// What a sealed key says of itself.
fn label(kid: &str) -> String {
    format!("service key {kid}")
}

/// The keys that verify.
pub(super) struct Known(HashMap<String, (KeyRow, DecodingKey)>);

impl Known {
    pub(super) async fn read(pool: &PgPool) -> sqlx::Result<Self> {
        let rows = list(pool).await?.into_iter();
        let known = rows.filter_map(|row| {
            let key = DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(&row.public)).ok()?;
            Some((row.kid.clone(), (row, key)))
        });
        Ok(Known(known.collect()))
    }

    pub(super) fn has(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// The key of this name, if it verifies now.
    pub(super) fn verifier(&self, kid: &str, now: DateTime<Utc>) -> Option<&DecodingKey> {
        self.0.get(kid).filter(|(row, _)| row.verifies(now)).map(|(_, key)| key)
    }

    /// As a JSON Web Key Set, newest first.
    pub(super) fn published(&self, now: DateTime<Utc>) -> Value {
        let mut rows: Vec<&KeyRow> = self.0.values().map(|(row, _)| row).collect();
        rows.retain(|row| row.verifies(now));
        rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
        let key = |row: &&KeyRow| {
            let x = URL_SAFE_NO_PAD.encode(&row.public);
            json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": row.kid, "x": x})
        };
        json!({"keys": rows.iter().map(key).collect::<Vec<Value>>()})
    }
}
