//! API keys: 256 random bits, shown once, kept as SHA-256, each with a name and scopes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::RngCore;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::lookup::Lookup;

pub use super::lookup::BELIEVED_FOR;

/// What the text of a key begins with.
pub const PREFIX: &str = "tdk_";

const NAME_LENGTH_MAX: usize = 64;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    AccountsRead,
    AccountsWrite,
    HoldsWrite,
    BroadcastsRead,
    BroadcastsWrite,
    AlertsRead,
    GenerationsRead,
    GenerationsWrite,
    FeedRead,
    /// Show what a stage plays, and say that it is shown.
    StageOverlay,
    /// Decide what a stage plays.
    StageDirect,
    CommandsRead,
    /// See what Twitch is asked to tell us, and whether it does.
    EventsubRead,
    /// Have all of it looked at now.
    EventsubWrite,
    /// Act for one viewer, as a service.
    ViewersAct,
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 16] = [
        Scope::AccountsRead,
        Scope::AccountsWrite,
        Scope::HoldsWrite,
        Scope::BroadcastsRead,
        Scope::BroadcastsWrite,
        Scope::AlertsRead,
        Scope::GenerationsRead,
        Scope::GenerationsWrite,
        Scope::FeedRead,
        Scope::StageOverlay,
        Scope::StageDirect,
        Scope::CommandsRead,
        Scope::EventsubRead,
        Scope::EventsubWrite,
        Scope::ViewersAct,
        Scope::Admin,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Scope::AccountsRead => "accounts:read",
            Scope::AccountsWrite => "accounts:write",
            Scope::HoldsWrite => "holds:write",
            Scope::BroadcastsRead => "broadcasts:read",
            Scope::BroadcastsWrite => "broadcasts:write",
            Scope::AlertsRead => "alerts:read",
            Scope::GenerationsRead => "generations:read",
            Scope::GenerationsWrite => "generations:write",
            Scope::FeedRead => "feed:read",
            Scope::StageOverlay => "stage:overlay",
            Scope::StageDirect => "stage:direct",
            Scope::CommandsRead => "commands:read",
            Scope::EventsubRead => "eventsub:read",
            Scope::EventsubWrite => "eventsub:write",
            Scope::ViewersAct => "viewers:act",
            Scope::Admin => "admin",
        }
    }

    pub(super) fn writes(self) -> bool {
        matches!(
            self,
            Scope::AccountsWrite
                | Scope::HoldsWrite
                | Scope::BroadcastsWrite
                | Scope::GenerationsWrite
                | Scope::StageOverlay
                | Scope::StageDirect
                | Scope::EventsubWrite
                | Scope::Admin
        )
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Scope::ALL.map(Scope::name).join(", ");
        Scope::ALL
            .into_iter()
            .find(|scope| scope.name() == name)
            .ok_or_else(|| format!("there is no scope {name}; there are {}", known()))
    }
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct Key {
    pub id: Uuid,
    pub name: String,
    pub scopes: Vec<String>,
    pub created_at: DateTime<Utc>,
    pub revoked_at: Option<DateTime<Utc>>,
}

impl Key {
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|had| had == scope.name() || had == Scope::Admin.name())
    }
}

/// Makes a key and returns it with the text that is shown once: `tdk_<id>_<secret>`.
pub async fn issue(pool: &PgPool, name: &str, scopes: &[Scope]) -> anyhow::Result<(Key, String)> {
    let plain =
        !name.is_empty() && name.len() <= NAME_LENGTH_MAX && !name.contains(char::is_control);
    anyhow::ensure!(plain, "a key's name is 1 to {NAME_LENGTH_MAX} characters in one line");
    anyhow::ensure!(
        !scopes.is_empty(),
        "a key without a scope can do nothing: name one with --scope"
    );
    let secret = random_secret();
    let id = Uuid::new_v4();
    let key: Key = sqlx::query_as(
        "INSERT INTO api_keys (id, name, hash, scopes) VALUES ($1, $2, $3, $4)
         RETURNING id, name, scopes, created_at, revoked_at",
    )
    .bind(id)
    .bind(name)
    .bind(hash_of(&secret).as_slice())
    .bind(scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>())
    .fetch_one(pool)
    .await?;
    Ok((key, format!("{PREFIX}{}_{secret}", id.simple())))
}

/// All keys, newest first.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Key>> {
    sqlx::query_as(
        "SELECT id, name, scopes, created_at, revoked_at FROM api_keys
         ORDER BY created_at DESC LIMIT 1000",
    )
    .fetch_all(pool)
    .await
}

/// Revokes the keys with this id or name that are not revoked, and returns them.
pub async fn revoke(pool: &PgPool, id_or_name: &str) -> sqlx::Result<Vec<Key>> {
    sqlx::query_as(
        "UPDATE api_keys SET revoked_at = clock_timestamp()
         WHERE (id = $1 OR name = $2) AND revoked_at IS NULL
         RETURNING id, name, scopes, created_at, revoked_at",
    )
    .bind(Uuid::parse_str(id_or_name).ok())
    .bind(id_or_name)
    .fetch_all(pool)
    .await
}

/// Gives the key of this id a new secret, shown once; its old one ends. `None` where no such key is good.
pub async fn rotate(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<(Key, String)>> {
    let secret = random_secret();
    let key: Option<Key> = sqlx::query_as(
        "UPDATE api_keys SET hash = $2 WHERE id = $1 AND revoked_at IS NULL
         RETURNING id, name, scopes, created_at, revoked_at",
    )
    .bind(id)
    .bind(hash_of(&secret).as_slice())
    .fetch_optional(pool)
    .await?;
    Ok(key.map(|key| (key, format!("{PREFIX}{}_{secret}", id.simple()))))
}

/// Lets a key do more, under its old secret.
pub async fn allow(pool: &PgPool, id: Uuid, scopes: &[Scope]) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE api_keys SET scopes = ARRAY(SELECT DISTINCT unnest(scopes || $2) ORDER BY 1)
         WHERE id = $1",
    )
    .bind(id)
    .bind(scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>())
    .execute(pool)
    .await
    .map(drop)
}

/// Looks keys up, and remembers for a few seconds what it found.
#[derive(Clone)]
pub struct Keys {
    pool: PgPool,
    found: Arc<Lookup<Stored>>,
}

#[derive(sqlx::FromRow)]
struct Stored {
    #[sqlx(flatten)]
    key: Key,
    hash: Vec<u8>,
}

impl Keys {
    pub fn new(pool: PgPool) -> Self {
        Keys { pool, found: Arc::default() }
    }

    /// The key of this text, if it is one and was not revoked, and the mark of its secret.
    pub async fn verify(&self, text: &str) -> sqlx::Result<Option<(Key, String)>> {
        let Some((id, secret)) = parts_of(PREFIX, text) else { return Ok(None) };
        let opens = |stored: &Arc<Stored>| bool::from(stored.hash.ct_eq(&hash_of(secret)));
        let stored = match self.find(id).await? {
            // It may have been rotated a moment ago.
            Some(stored) if !opens(&stored) => {
                self.found.find_again(id, &stored, self.fetch(id)).await?.filter(opens)
            }
            stored => stored,
        };
        Ok(stored.map(|stored| (stored.key.clone(), mark_of(&stored.hash))))
    }

    /// Whether this text names a key that was found before, though perhaps not lately.
    pub fn knows(&self, text: &str) -> bool {
        parts_of(PREFIX, text).is_some_and(|(id, _)| self.found.knows(id))
    }

    /// Whether a key that was verified before is still good, and its secret the one of this mark.
    pub async fn is_good(&self, id: Uuid, mark: &str) -> sqlx::Result<bool> {
        let has_it = |stored: &Arc<Stored>| mark_of(&stored.hash) == mark;
        match self.find(id).await? {
            None => Ok(false),
            Some(stored) if has_it(&stored) => Ok(true),
            // What is remembered may be the secret before this one.
            Some(_) => {
                self.found.forget(id);
                Ok(self.find(id).await?.is_some_and(|stored| has_it(&stored)))
            }
        }
    }

    async fn find(&self, id: Uuid) -> sqlx::Result<Option<Arc<Stored>>> {
        self.found.find(id, self.fetch(id)).await
    }

    async fn fetch(&self, id: Uuid) -> sqlx::Result<Option<Stored>> {
        let query = sqlx::query_as(
            "SELECT id, name, scopes, created_at, revoked_at, hash FROM api_keys
             WHERE id = $1 AND revoked_at IS NULL",
        );
        query.bind(id).fetch_optional(&self.pool).await
    }
}

/// 256 random bits, as 43 characters.
pub fn random_secret() -> String {
    let mut secret = [0_u8; 32];
    rand::rng().fill_bytes(&mut secret);
    URL_SAFE_NO_PAD.encode(secret)
}

/// `<prefix><id>_<secret>` in its parts; the secret may hold underscores.
pub fn parts_of<'a>(prefix: &str, text: &'a str) -> Option<(Uuid, &'a str)> {
    let (id, secret) = text.strip_prefix(prefix)?.split_once('_')?;
    let id = Uuid::try_parse(id).ok()?;
    (secret.len() == 43).then_some((id, secret))
}

/// What is kept of a secret. It is random and long: nothing slower is needed.
pub fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Tells a key's secret from the one before and the one after it, and says nothing of the secret: it may be passed on.
fn mark_of(hash: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(hash).into();
    URL_SAFE_NO_PAD.encode(digest).chars().take(16).collect()
}

#[cfg(test)]
mod tests;
