//! API keys: 256 random bits, shown once, kept as SHA-256, each with a name and scopes.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rand::RngCore;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// How long a key that was looked up is believed; a revoked one works this much longer at most.
pub const BELIEVED_FOR: Duration = Duration::from_secs(5);

const KNOWN_MAX: usize = 4_096;
/// How many ids are remembered that are no key's, apart from the keys: who makes ids up must not
/// make good keys be forgotten.
const UNKNOWN_MAX: usize = 1_024;
/// How many keys are looked up at once.
const LOOKUPS_MAX: usize = 2;
/// How many callers who are held up for guessing may wait for a lookup all the same.
const LINE_MAX: usize = 64;
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
    /// Everything.
    Admin,
}

impl Scope {
    pub const ALL: [Scope; 13] = [
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
            Scope::Admin => "admin",
        }
    }

    fn writes(self) -> bool {
        matches!(
            self,
            Scope::AccountsWrite
                | Scope::HoldsWrite
                | Scope::BroadcastsWrite
                | Scope::GenerationsWrite
                | Scope::StageOverlay
                | Scope::StageDirect
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

    /// Whether any of its scopes can change something.
    pub fn writes(&self) -> bool {
        Scope::ALL.into_iter().any(|scope| scope.writes() && self.allows(scope))
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
    let secret = new_secret();
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
    Ok((key, format!("tdk_{}_{secret}", id.simple())))
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
    let secret = new_secret();
    let key: Option<Key> = sqlx::query_as(
        "UPDATE api_keys SET hash = $2 WHERE id = $1 AND revoked_at IS NULL
         RETURNING id, name, scopes, created_at, revoked_at",
    )
    .bind(id)
    .bind(hash_of(&secret).as_slice())
    .fetch_optional(pool)
    .await?;
    Ok(key.map(|key| (key, format!("tdk_{}_{secret}", id.simple()))))
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

fn new_secret() -> String {
    let mut secret = [0_u8; 32];
    rand::rng().fill_bytes(&mut secret);
    URL_SAFE_NO_PAD.encode(secret)
}

/// Looks keys up, and remembers for a few seconds what it found.
#[derive(Clone)]
pub struct Keys {
    pool: PgPool,
    memory: Arc<Mutex<Memory>>,
    lookups: Arc<Semaphore>,
    line: Arc<Line>,
}

/// Where those wait who are held up, and the one turn they have: the other lookup is never theirs.
struct Line {
    places: Semaphore,
    turn: Semaphore,
}

/// What was found, and when.
#[derive(Default)]
struct Memory {
    known: HashMap<Uuid, (Instant, Arc<Stored>)>,
    unknown: HashMap<Uuid, Instant>,
}

struct Stored {
    key: Arc<Key>,
    hash: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    key: Key,
    hash: Vec<u8>,
}

impl Keys {
    pub fn new(pool: PgPool) -> Self {
        let line = Line { places: Semaphore::new(LINE_MAX), turn: Semaphore::new(1) };
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        Keys { pool, memory: Arc::default(), lookups, line: Arc::new(line) }
    }

    /// The key of this text, if it is one and was not revoked.
    pub async fn verify(&self, text: &str) -> sqlx::Result<Option<Arc<Key>>> {
        let Some((id, secret)) = parts_of(text) else { return Ok(None) };
        let stored = self.find(id).await?;
        Ok(stored
            .filter(|stored| bool::from(stored.hash.ct_eq(&hash_of(secret))))
            .map(|stored| Arc::clone(&stored.key)))
    }

    /// Like [`verify`](Self::verify), for callers at an address that is held up: one after the other, and `None` when
    /// too many wait. A good key that shares the address with who guesses comes through so, and is known from then on.
    pub async fn verify_in_line(&self, text: &str) -> sqlx::Result<Option<Arc<Key>>> {
        let Ok(_place) = self.line.places.try_acquire() else { return Ok(None) };
        let _turn = self.line.turn.acquire().await;
        self.verify(text).await
    }

    /// Whether this text names a key that was found before, though perhaps not lately.
    pub fn knows(&self, text: &str) -> bool {
        parts_of(text).is_some_and(|(id, _)| self.memory().known.contains_key(&id))
    }

    /// Whether a key that was verified before is still good.
    pub async fn is_good(&self, id: Uuid) -> sqlx::Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    async fn find(&self, id: Uuid) -> sqlx::Result<Option<Arc<Stored>>> {
        if let Some(found) = self.memory().recall(id, Instant::now()) {
            return Ok(found);
        }
        // A thousand readers that come back at once are a few lookups, not a thousand.
        let _turn = self.lookups.acquire().await;
        if let Some(found) = self.memory().recall(id, Instant::now()) {
            return Ok(found);
        }
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, name, scopes, created_at, revoked_at, hash FROM api_keys
             WHERE id = $1 AND revoked_at IS NULL",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        let found = row.map(|Row { key, hash }| Arc::new(Stored { key: Arc::new(key), hash }));
        self.memory().learn(id, found.clone(), Instant::now());
        Ok(found)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// What was found a moment ago.
    fn recall(&self, id: Uuid, now: Instant) -> Option<Option<Arc<Stored>>> {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < BELIEVED_FOR;
        if let Some((_, stored)) = self.known.get(&id).filter(|(at, _)| is_fresh(at)) {
            return Some(Some(Arc::clone(stored)));
        }
        self.unknown.get(&id).filter(|at| is_fresh(at)).map(|_| None)
    }

    fn learn(&mut self, id: Uuid, found: Option<Arc<Stored>>, now: Instant) {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < BELIEVED_FOR;
        self.known.remove(&id);
        self.unknown.remove(&id);
        match found {
            Some(stored) => {
                if self.known.len() >= KNOWN_MAX {
                    self.known.retain(|_, (at, _)| is_fresh(at));
                }
                if self.known.len() < KNOWN_MAX {
                    self.known.insert(id, (now, stored));
                }
            }
            None => {
                if self.unknown.len() >= UNKNOWN_MAX {
                    self.unknown.retain(|_, at| is_fresh(at));
                }
                if self.unknown.len() < UNKNOWN_MAX {
                    self.unknown.insert(id, now);
                }
            }
        }
    }
}

/// `tdk_<id>_<secret>` in its parts; the secret may hold underscores.
fn parts_of(text: &str) -> Option<(Uuid, &str)> {
    let (id, secret) = text.strip_prefix("tdk_")?.split_once('_')?;
    let id = Uuid::try_parse(id).ok()?;
    (secret.len() == 43).then_some((id, secret))
}

fn hash_of(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests;
