//! The versions of the secret, in PostgreSQL: which is the one, which are still believed, and how one follows another.
//!
//! Twitch signs with the secret that a subscription was made with, for as long as there is that subscription. So a new
//! secret changes nothing until every subscription was made again with it, beside the old one ([`Version::callback`]), and
//! an old one is believed until none is left that was made with it, and the grace more: in every process and after every
//! start. A process that has not looked for a moment looks before it judges ([`Versions::look`]), and a new secret is used
//! only once all have had that moment ([`IN_USE_AFTER`]), so that no process takes the second of two twins for the only
//! one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Secrets;
use crate::config::Config;
use crate::embedded::random_secret;
use crate::sealing::{Sealer, Unopened};
use crate::twitch::signature::Secret;

/// How often a process looks. What it saw is good for twice as long.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How old a secret is before the first subscription is made with it: older than what any process goes by.
pub const IN_USE_AFTER: TimeDelta = TimeDelta::seconds(2);
/// However many strangers knock with signatures that nobody knows, it is not looked more often for them.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const LOOK_LIMIT: Duration = Duration::from_secs(2);
const REFRESH_LIMIT: Duration = Duration::from_millis(500);
const ADOPT_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// For so long an old secret is believed at least while PostgreSQL does not say how it is.
const UNKNOWN_FOR: TimeDelta = TimeDelta::seconds(60);
/// The most versions that are believed at once: who replaces more within the grace loses the oldest.
const BELIEVED_MAX: i64 = 8;
/// How long it is listed what is over.
const LISTED: TimeDelta = TimeDelta::days(30);

/// A secret and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: i64,
    /// What the callback of a subscription that was made with it ends with.
    pub name: String,
    pub secret: Secret,
}

impl Version {
    /// Where subscriptions that are made with it are posted to.
    pub fn callback(&self, base: &str) -> String {
        format!("{base}?v={}", self.name)
    }
}

/// Why a secret cannot be had or changed.
#[derive(Debug, Error)]
pub enum VersionError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the EventSub secret: {0}")]
    Unopened(#[from] Unopened),
    #[error("PostgreSQL does not answer")]
    Late,
}

/// What a process knows.
#[derive(Clone, Debug, Default)]
struct Known {
    current: Option<Version>,
    /// Since when, by PostgreSQL's clock, at the look.
    current_age: TimeDelta,
    replaced: Vec<(Secret, Option<DateTime<Utc>>)>,
    /// When the look began, by two clocks.
    looked: Option<(Instant, DateTime<Utc>)>,
}

/// The secret that a configuration names, and whether we are to have one without it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    configured: Option<Secret>,
    needs_one: bool,
    /// Subscriptions are ours to make again; else it is only the grace that an old secret has.
    keeps: bool,
}

/// The versions as one process knows them.
pub struct Versions {
    pool: PgPool,
    sealer: Sealer,
    grace: TimeDelta,
    known: watch::Sender<Arc<Known>>,
    /// A configured secret that is not a version yet: it is believed from the moment it is configured.
    unadopted: Mutex<Option<Secret>>,
    looking: tokio::sync::Mutex<()>,
    /// When a look failed last that a request waited for.
    failed: Mutex<Option<Instant>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    version: i64,
    name: String,
    secret: Vec<u8>,
    age_ms: i64,
    replaced_at: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Versions {
    pub fn new(pool: PgPool, sealer: Sealer, grace: Duration) -> Self {
        let grace = TimeDelta::from_std(grace).unwrap_or_default();
        let (known, unadopted) = (watch::Sender::new(Arc::default()), Mutex::default());
        let (looking, failed) = (tokio::sync::Mutex::default(), Mutex::default());
        Versions { pool, sealer, grace, known, unadopted, looking, failed }
    }

    /// What is believed, as far as this process knows.
    pub fn secrets(&self) -> Secrets {
        let known = Arc::clone(&self.known.borrow());
        let looked_at = known.looked.map(|(_, at)| at).unwrap_or_default();
        let end = |until: &Option<DateTime<Utc>>| {
            until.unwrap_or(looked_at + self.grace.max(UNKNOWN_FOR))
        };
        let replaced = known.replaced.iter().map(|(secret, until)| (secret.clone(), end(until)));
        let mut replaced: Vec<_> = replaced.collect();
        let unadopted = self.unadopted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let current = known.current.as_ref().map(|version| version.secret.clone());
        let unadopted = unadopted.filter(|secret| Some(secret) != current.as_ref());
        if let (Some(_), Some(old)) = (&unadopted, &current) {
            replaced.push((old.clone(), looked_at + self.grace.max(UNKNOWN_FOR)));
        }
        Secrets { current: unadopted.or(current), replaced }
    }

    /// Whether subscriptions of two secrets may tell of the same, as far as this process knows.
    pub fn overlap(&self, now: DateTime<Utc>) -> bool {
        self.secrets().believed(now).count() > 1
    }

    /// The version that subscriptions are made with, once every process knows it.
    pub fn current(&self) -> Option<Version> {
        let known = self.known.borrow();
        let (looked, _) = known.looked?;
        let age = known.current_age + TimeDelta::from_std(looked.elapsed()).unwrap_or_default();
        known.current.clone().filter(|_| age >= IN_USE_AFTER)
    }

    /// Looks now, unless somebody began to after `since`.
    pub async fn look(&self, since: Instant) -> Result<(), VersionError> {
        let looked = || self.known.borrow().looked.map(|(at, _)| at);
        let looking = async {
            let _one = self.looking.lock().await;
            if looked().is_some_and(|at| at >= since) {
                return Ok(());
            }
            if let Some(at) = looked() {
                tokio::time::sleep(LOOK_AGAIN_AFTER.saturating_sub(at.elapsed())).await;
            }
            let began = (Instant::now(), Utc::now());
            let known = self.read().await?;
            self.known.send_replace(Arc::new(Known { looked: Some(began), ..known }));
            Ok(())
        };
        timeout(LOOK_LIMIT, looking).await.unwrap_or(Err(VersionError::Late))
    }

    /// Looks, unless what is known is new enough to go by. Nobody waits for long where PostgreSQL does not answer.
    pub async fn refresh(&self) {
        let is_new = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < GOOD_FOR);
        let looked = self.known.borrow().looked.map(|(at, _)| at);
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if is_new(looked) || is_new(*failed()) {
            return;
        }
        let oldest = Instant::now().checked_sub(GOOD_FOR).unwrap_or_else(Instant::now);
        if !matches!(timeout(REFRESH_LIMIT, self.look(oldest)).await, Ok(Ok(()))) {
            *failed() = Some(Instant::now());
        }
    }

    async fn read(&self) -> Result<Known, VersionError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT version, name, secret, replaced_at, until,
                    (extract(epoch FROM clock_timestamp() - made_at) * 1000)::bigint AS age_ms
             FROM eventsub_secrets WHERE until IS NULL OR until > clock_timestamp()
             ORDER BY version DESC LIMIT $1",
        )
        .bind(BELIEVED_MAX)
        .fetch_all(&self.pool)
        .await?;
        let mut known = Known::default();
        for row in rows {
            let opened = open(&self.sealer, row.version, &row.secret);
            let Ok(secret) = opened else {
                tracing::error!(version = row.version, "an EventSub secret does not open");
                continue;
            };
            match row.replaced_at {
                None => {
                    known.current_age = TimeDelta::milliseconds(row.age_ms);
                    let (number, name) = (row.version, row.name);
                    known.current = Some(Version { number, name, secret });
                }
                Some(_) => known.replaced.push((secret, row.until)),
            }
        }
        Ok(known)
    }

    /// Has the secret that `config` names be the version that counts, now and whenever `configs` changes, and looks
    /// now and then, until told to stop.
    pub async fn run(
        self: Arc<Self>,
        mut configs: watch::Receiver<Arc<Config>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut adopted = None;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut again = Instant::now();
        let keeping = async {
            loop {
                tokio::select! {
                    changed = configs.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    },
                    _ = looks.tick() => {}
                }
                let wish = Wish::of(&configs.borrow_and_update());
                if adopted.as_ref() != Some(&wish) && Instant::now() >= again {
                    match self.adopt(&wish).await {
                        Ok(()) => adopted = Some(wish),
                        Err(error) => {
                            tracing::warn!(%error, "the EventSub secret is not written down yet");
                            again = Instant::now() + ADOPT_AGAIN_AFTER;
                        }
                    }
                }
                if let Err(error) = self.look(Instant::now()).await {
                    tracing::debug!(%error, "the EventSub secrets cannot be looked at");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeping => {}
        }
        Ok(())
    }

    /// Believes the secret that `config` names from now on, before it is a version.
    pub fn expect(&self, config: &Config) {
        let wish = Wish::of(config);
        let is_current = wish.configured.is_some()
            && self.known.borrow().current.as_ref().map(|version| &version.secret)
                == wish.configured.as_ref();
        let mut unadopted = self.unadopted.lock().unwrap_or_else(PoisonError::into_inner);
        *unadopted = wish.configured.filter(|_| !is_current);
    }

    /// Has what `config` names be the version that counts.
    pub async fn adopt_of(&self, config: &Config) -> Result<(), VersionError> {
        self.adopt(&Wish::of(config)).await
    }

    async fn adopt(&self, wish: &Wish) -> Result<(), VersionError> {
        let mut tx = self.pool.begin().await?;
        let current = locked(&mut tx).await?;
        let opened = current.as_ref().map(|row| open(&self.sealer, row.version, &row.secret));
        let is_it = match (&wish.configured, opened) {
            (Some(wanted), Some(Ok(there))) => *wanted == there,
            (None, Some(Ok(_))) => {
                wish.needs_one && current.as_ref().is_some_and(|c| !c.configured)
            }
            (None, None) => !wish.needs_one,
            (_, Some(Err(_))) | (Some(_), None) => false,
        };
        if !is_it {
            let next = match &wish.configured {
                Some(secret) => Some((secret.clone(), true)),
                None if wish.needs_one => Some((ours(), false)),
                None => None,
            };
            self.replace(&mut tx, next, wish.keeps).await?;
        }
        tx.commit().await?;
        self.look(Instant::now()).await?;
        let mut unadopted = self.unadopted.lock().unwrap_or_else(PoisonError::into_inner);
        unadopted.take_if(|secret| Some(&*secret) == wish.configured.as_ref());
        Ok(())
    }

    /// Makes another secret, if the one that counts is ours to change, and gives its version.
    pub async fn rotate(&self) -> Result<Option<i64>, VersionError> {
        let mut tx = self.pool.begin().await?;
        if locked(&mut tx).await?.is_some_and(|current| current.configured) {
            return Ok(None);
        }
        let made = self.replace(&mut tx, Some((ours(), false)), true).await?;
        tx.commit().await?;
        Ok(made)
    }

    async fn replace(
        &self,
        connection: &mut PgConnection,
        next: Option<(Secret, bool)>,
        keeps: bool,
    ) -> Result<Option<i64>, VersionError> {
        sqlx::query(
            "UPDATE eventsub_secrets SET replaced_at = clock_timestamp(),
                    until = CASE WHEN $1 THEN NULL ELSE clock_timestamp() + $2 * interval '1 ms' END
             WHERE replaced_at IS NULL",
        )
        .bind(keeps)
        .bind(self.grace.num_milliseconds())
        .execute(&mut *connection)
        .await?;
        let Some((secret, configured)) = next else { return Ok(None) };
        let last: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM eventsub_secrets")
            .fetch_one(&mut *connection)
            .await?;
        let version = last.unwrap_or(0) + 1;
        let name = format!("{:08x}", rand::rng().random::<u32>());
        let query = "INSERT INTO eventsub_secrets (version, name, configured, secret)
             VALUES ($1, $2, $3, $4)";
        let sealed = self.sealer.seal(&label(version), secret.reveal().as_bytes())?;
        let query = sqlx::query(query).bind(version).bind(&name).bind(configured).bind(sealed);
        query.execute(connection).await?;
        tracing::info!(version, name, configured, "another EventSub secret");
        Ok(Some(version))
    }

    /// No subscription is left but those that were made with the versions of these names: the grace of the others begins.
    pub async fn retire(&self, left: &BTreeSet<String>) -> Result<(), VersionError> {
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        let ended: Vec<i64> = sqlx::query_scalar(
            "UPDATE eventsub_secrets SET until = clock_timestamp() + $1 * interval '1 ms'
             WHERE replaced_at IS NOT NULL AND until IS NULL AND name <> ALL($2) RETURNING version",
        )
        .bind(self.grace.num_milliseconds())
        .bind(left)
        .fetch_all(&self.pool)
        .await?;
        for version in ended {
            let grace_s = self.grace.num_seconds();
            tracing::info!(version, grace_s, "no subscription has this EventSub secret any more");
        }
        let over =
            "DELETE FROM eventsub_secrets WHERE until < clock_timestamp() - $1 * interval '1 ms'";
        sqlx::query(over).bind(LISTED.num_milliseconds()).execute(&self.pool).await?;
        Ok(())
    }
}

impl Wish {
    fn of(config: &Config) -> Self {
        let configured = Secret::new(config.eventsub_secret.as_str()).ok();
        let keeps = config.keeps_webhooks();
        Wish { needs_one: configured.is_none() && keeps, configured, keeps }
    }
}

#[derive(sqlx::FromRow)]
struct Current {
    version: i64,
    configured: bool,
    secret: Vec<u8>,
}

/// The one that counts, while nobody else changes it.
async fn locked(connection: &mut PgConnection) -> sqlx::Result<Option<Current>> {
    let lock = "LOCK TABLE eventsub_secrets IN SHARE ROW EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *connection).await?;
    let query =
        "SELECT version, configured, secret FROM eventsub_secrets WHERE replaced_at IS NULL";
    sqlx::query_as(query).fetch_optional(connection).await
}

fn open(sealer: &Sealer, version: i64, sealed: &[u8]) -> Result<Secret, Unopened> {
    let opened = String::from_utf8(sealer.open(&label(version), sealed)?).map_err(|_| Unopened)?;
    Secret::new(opened).map_err(|_| Unopened)
}

/// What a sealed secret says of itself.
fn label(version: i64) -> String {
    format!("EventSub secret {version}")
}

/// A secret that nobody chose: 40 letters and digits.
fn ours() -> Secret {
    #[expect(clippy::expect_used, reason = "it has a length that Twitch takes")]
    Secret::new(random_secret()).expect("a good secret")
}
