//! Health: `/healthz` says that the process lives, `/readyz` whether it can do its work, each
//! dependency by name.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use journal::broker::Role;
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;

use super::Api;
use crate::golden_vcr;
use crate::twitch::accounts::{Standing, Verdict, store};
use crate::twitch::eventsub::record;
use crate::twitch::eventsub::round::State;
use crate::twitch::irc;
use crate::twitch::missed::standing::{self, Verdict as Told};
use crate::twitch::settings::Hearing;

/// How long a dependency may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How long an answer is good for: whoever asks more often costs the dependencies nothing.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// A relay or projection that has not handed on what is older than this is not ready.
const BEHIND_MAX_S: f64 = 30.0;

pub fn routes() -> Router<super::State> {
    Router::new()
        .route("/healthz", get(async || Json(serde_json::json!({"status": "alive"}))))
        .route("/readyz", get(ready))
}

/// The last answer. Held while the next is found, so that all who ask meanwhile share it.
#[derive(Default)]
pub struct Readied(Mutex<Option<(Instant, Arc<Readiness>)>>);

/// What is needed, and how it is.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
    /// What is worth knowing and makes nobody less ready: Twitch may be away, and everything else is answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: String,
    ok: bool,
    words: String,
}

/// How far a projection, a process or the relay is behind the journal.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Lag {
    pub name: String,
    pub position: i64,
    /// How many events it has not folded, answered or published.
    pub events: i64,
    /// The age of the oldest of them.
    pub seconds: f64,
}

async fn ready(FromState(app): FromState<super::State>) -> Response {
    let mut last = app.readied.0.lock().await;
    let readiness = match &*last {
        Some((at, readiness)) if at.elapsed() < GOOD_FOR => Arc::clone(readiness),
        _ => {
            let readiness = Arc::new(look(&app).await);
            *last = Some((Instant::now(), Arc::clone(&readiness)));
            readiness
        }
    };
    drop(last);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(&*readiness)).into_response()
}

async fn look(app: &Api) -> Readiness {
    let (postgres, nats, relay, eventsub, accounts, irc, missed) = tokio::join!(
        postgres(app),
        nats(app),
        relay(app),
        eventsub(app),
        accounts(app),
        chat_over_irc(app),
        missed(app)
    );
    let checks: Vec<Check> = [nats].into_iter().chain(postgres).chain([relay]).collect();
    let ready = checks.iter().all(|check| check.ok);
    let notes = eventsub.into_iter().chain(irc).chain(accounts).chain(missed).collect();
    Readiness { ready, checks, notes }
}

/// The accounts that Twitch is asked with, of which something is the matter, with the command that mends it.
async fn accounts(app: &Api) -> Vec<Check> {
    let all = tokio::time::timeout(ANSWER_LIMIT, store::all(&app.pool)).await;
    let Ok(Ok(all)) = all else { return Vec::new() };
    let standings = all.into_iter().map(|account| Standing::of(account, &app.config));
    let connected =
        standings.filter(|one| !matches!(one.verdict, Verdict::Unneeded | Verdict::NotConnected));
    let check = |one: Standing| {
        let mend = one.mend().map(|mend| format!("; mend: {mend}")).unwrap_or_default();
        let (name, ok) = (format!("{} account", one.account.role), one.verdict == Verdict::Well);
        // Whose it is, is for those alone who run this.
        let words = match &one.verdict {
            Verdict::Unsure(words) | Verdict::Wrong(words) => format!("{words}{mend}"),
            _ => "good".to_owned(),
        };
        Check { name, ok, words }
    };
    connected.map(check).collect()
}

/// Whether Twitch tells us what happens, where it is to.
async fn eventsub(app: &Api) -> Option<Check> {
    let hearing = app.config.twitch.hearing(&app.config.broadcaster_id)?;
    let name = "eventsub".to_owned();
    let found = record::find(&app.pool, &app.config.broadcaster_id);
    let feed = match tokio::time::timeout(ANSWER_LIMIT, found).await {
        Ok(Ok(Some(feed))) => feed,
        // Nobody is connected that it could be asked with.
        Ok(Ok(None)) if matches!(hearing, Hearing::Account(_)) => return None,
        Ok(Ok(None)) => {
            return Some(Check { name, ok: false, words: "nobody listened yet".to_owned() });
        }
        _ => return Some(Check { name, ok: false, words: "cannot be asked".to_owned() }),
    };
    let failing = feed.report.as_ref().map_or(0, |report| report.count(State::Failing));
    let ok = failing == 0 && matches!(feed.state.as_str(), "connected" | "subscribed");
    let words =
        format!("{}, {} types are told, {failing} are failing", feed.state, feed.kinds.len());
    Some(Check { name, ok, words })
}

/// Whether chat is read over IRC, where it is to be.
async fn chat_over_irc(app: &Api) -> Option<Check> {
    app.config.twitch.irc.enabled.then_some(())?;
    let found = irc::record::find(&app.pool, &app.config.broadcaster_id);
    let (ok, words) = match tokio::time::timeout(ANSWER_LIMIT, found).await {
        Ok(Ok(Some(feed))) => (feed.state == "joined", feed.state),
        Ok(Ok(None)) => (false, "nobody listened yet".to_owned()),
        _ => (false, "cannot be asked".to_owned()),
    };
    Some(Check { name: "irc".to_owned(), ok, words })
}

/// What Twitch is asked for that it did not tell: when it last told it, what it does not tell, and what mends that.
async fn missed(app: &Api) -> Vec<Check> {
    let all = tokio::time::timeout(ANSWER_LIMIT, standing::all(&app.pool, &app.config)).await;
    let Ok(Ok(all)) = all else { return Vec::new() };
    let check = |one: standing::Standing| {
        let mend = one.mend.map(|mend| format!("; mend: {mend}")).unwrap_or_default();
        let words = format!("{}{mend}", one.words);
        Check { name: "missed".to_owned(), ok: one.verdict != Told::Wrong, words }
    };
    all.into_iter().map(check).collect()
}

/// PostgreSQL and, where it answers, each projection, each process, and what is said to programs of others.
async fn postgres(app: &Api) -> Vec<Check> {
    let name = "postgres".to_owned();
    let said: Vec<&str> =
        app.config.compatibility.golden_vcr.then_some(golden_vcr::NAME).into_iter().collect();
    let behind = async {
        tokio::try_join!(
            projections_behind(&app.pool),
            processes_behind(&app.pool),
            publications_behind(&app.pool, &said),
        )
    };
    match tokio::time::timeout(ANSWER_LIMIT, behind).await {
        Err(_) => vec![Check { name, ok: false, words: "does not answer".to_owned() }],
        Ok(Err(error)) => {
            tracing::warn!(%error, "PostgreSQL cannot be asked how far projections and processes are");
            vec![Check { name, ok: false, words: "cannot be asked".to_owned() }]
        }
        Ok(Ok((lags, processes, publications))) => {
            let unbuilt: Vec<Check> = projections::all()
                .iter()
                .filter(|projection| !lags.iter().any(|lag| lag.name == projection.name()))
                .map(|projection| Check {
                    name: projection.name().to_owned(),
                    ok: false,
                    words: "not built yet".to_owned(),
                })
                .collect();
            let answers = Check { name, ok: true, words: "answers".to_owned() };
            let built = lags.into_iter().chain(processes).chain(publications).map(Check::from);
            [answers].into_iter().chain(built).chain(unbuilt).collect()
        }
    }
}

async fn nats(app: &Api) -> Check {
    let name = "nats".to_owned();
    let connected = async {
        let client = app.broker.client(Role::Gateway).await?;
        client.flush().await?;
        anyhow::Ok(client.connection_state())
    };
    match tokio::time::timeout(ANSWER_LIMIT, connected).await {
        Ok(Ok(state)) => {
            let ok = state == async_nats::connection::State::Connected;
            Check { name, ok, words: state.to_string() }
        }
        Ok(Err(error)) => {
            tracing::warn!(error = format!("{error:#}"), "NATS cannot be asked how it is");
            Check { name, ok: false, words: "cannot be asked".to_owned() }
        }
        Err(_) => Check { name, ok: false, words: "does not answer".to_owned() },
    }
}

async fn relay(app: &Api) -> Check {
    let name = "relay".to_owned();
    let behind = relay_behind(&app.pool, &app.broker);
    match tokio::time::timeout(ANSWER_LIMIT, behind).await {
        Ok(Ok(lag)) => lag.into(),
        Ok(Err(error)) => {
            tracing::warn!(error = format!("{error:#}"), "cannot see how far EVENTS is");
            Check { name, ok: false, words: "EVENTS cannot be asked".to_owned() }
        }
        Err(_) => Check { name, ok: false, words: "EVENTS does not answer".to_owned() },
    }
}

impl From<Lag> for Check {
    fn from(lag: Lag) -> Self {
        let words = match lag.events {
            0 => format!("at position {}", lag.position),
            n => format!("at position {}, {n} events ({:.1} s) behind", lag.position, lag.seconds),
        };
        Check { name: lag.name, ok: lag.seconds <= BEHIND_MAX_S, words }
    }
}

/// How far each live projection is behind.
pub async fn projections_behind(pool: &PgPool) -> sqlx::Result<Vec<Lag>> {
    sqlx::query_as(
        "SELECT c.name, c.position, GREATEST(h.position - c.position, 0) AS events,
                coalesce(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8 AS seconds
         FROM checkpoints c CROSS JOIN head h LEFT JOIN events e ON e.position = c.position + 1
         WHERE c.status = 'live' ORDER BY c.name",
    )
    .fetch_all(pool)
    .await
}

/// How far each process is behind.
pub async fn processes_behind(pool: &PgPool) -> sqlx::Result<Vec<Lag>> {
    sqlx::query_as(
        "SELECT p.name, p.position, GREATEST(h.position - p.position, 0) AS events,
                coalesce(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8 AS seconds
         FROM processes p CROSS JOIN head h LEFT JOIN events e ON e.position = p.position + 1
         ORDER BY p.name",
    )
    .fetch_all(pool)
    .await
}

/// How far each publication of these names is behind.
pub async fn publications_behind(pool: &PgPool, names: &[&str]) -> sqlx::Result<Vec<Lag>> {
    sqlx::query_as(
        "SELECT p.name, p.position, GREATEST(h.position - p.position, 0) AS events,
                coalesce(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8 AS seconds
         FROM publications p CROSS JOIN head h LEFT JOIN events e ON e.position = p.position + 1
         WHERE p.name = ANY($1) ORDER BY p.name",
    )
    .bind(names)
    .fetch_all(pool)
    .await
}

/// How far EVENTS is behind PostgreSQL.
pub async fn relay_behind(pool: &PgPool, broker: &journal::broker::Broker) -> anyhow::Result<Lag> {
    let jetstream = broker.jetstream(Role::Follower).await?;
    let stream = jetstream.get_stream(journal::relay::EVENTS).await?;
    let position = i64::try_from(stream.cached_info().state.last_sequence)?;
    let (events, seconds) = sqlx::query_as(
        "SELECT GREATEST(h.position - $1, 0),
                coalesce(extract(epoch FROM clock_timestamp() - e.recorded_at), 0)::float8
         FROM head h LEFT JOIN events e ON e.position = $1 + 1",
    )
    .bind(position)
    .fetch_one(pool)
    .await?;
    Ok(Lag { name: "relay".to_owned(), position, events, seconds })
}
