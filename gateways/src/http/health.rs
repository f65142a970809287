//! Health: `/healthz` says that the process lives, `/readyz` whether it can do its work, each
//! dependency by name.

use std::time::Duration;

use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use journal::broker::Role;
use serde::Serialize;
use sqlx::PgPool;

use super::{Api, State};

/// How long a dependency may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// A relay or projection that has not handed on what is older than this is not ready.
const BEHIND_MAX_S: f64 = 30.0;

pub fn routes() -> Router<State> {
    Router::new()
        .route("/healthz", get(async || Json(serde_json::json!({"status": "alive"}))))
        .route("/readyz", get(ready))
}

/// What is needed, and how it is.
#[derive(Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Serialize)]
struct Check {
    name: String,
    ok: bool,
    words: String,
}

/// How far a projection or the relay is behind the journal.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct Lag {
    pub name: String,
    pub position: i64,
    /// How many events it has not folded.
    pub events: i64,
    /// The age of the oldest of them.
    pub seconds: f64,
}

async fn ready(FromState(app): FromState<State>) -> Response {
    let (postgres, nats) = tokio::join!(postgres(&app), nats(&app));
    let mut checks = vec![nats];
    checks.extend(postgres);
    checks.extend(relay(&app).await);
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, checks })).into_response()
}

/// PostgreSQL and, where it answers, each projection.
async fn postgres(app: &Api) -> Vec<Check> {
    let name = "postgres".to_owned();
    match tokio::time::timeout(ANSWER_LIMIT, projections_behind(&app.pool)).await {
        Err(_) => vec![Check { name, ok: false, words: "does not answer".to_owned() }],
        Ok(Err(error)) => vec![Check { name, ok: false, words: error.to_string() }],
        Ok(Ok(lags)) => {
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
            let built = lags.into_iter().map(Check::from);
            [answers].into_iter().chain(built).chain(unbuilt).collect()
        }
    }
}

async fn nats(app: &Api) -> Check {
    let name = "nats".to_owned();
    let connected = async {
        let client = app.broker.client(Role::Gateway).await.map_err(|error| error.to_string())?;
        client.flush().await.map_err(|error| error.to_string())?;
        match client.connection_state() {
            async_nats::connection::State::Connected => Ok(()),
            state => Err(state.to_string()),
        }
    };
    match tokio::time::timeout(ANSWER_LIMIT, connected).await {
        Ok(Ok(())) => Check { name, ok: true, words: "connected".to_owned() },
        Ok(Err(words)) => Check { name, ok: false, words },
        Err(_) => Check { name, ok: false, words: "does not answer".to_owned() },
    }
}

async fn relay(app: &Api) -> Option<Check> {
    let behind = relay_behind(&app.pool, &app.broker);
    match tokio::time::timeout(ANSWER_LIMIT, behind).await {
        Ok(Ok(lag)) => Some(lag.into()),
        Ok(Err(error)) => {
            Some(Check { name: "relay".to_owned(), ok: false, words: format!("{error:#}") })
        }
        Err(_) => {
            let words = "EVENTS does not answer".to_owned();
            Some(Check { name: "relay".to_owned(), ok: false, words })
        }
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
