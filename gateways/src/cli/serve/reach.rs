//! Getting to PostgreSQL and NATS at the start, and making them ready.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use journal::broker::{Broker, Role as User};
use journal::streams::{self, Step, StreamsFile};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::REACH_LIMIT;
use crate::config::{Config, NotReachable, open_database};
use crate::http::health;

const REACH_AGAIN_AFTER: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until both servers answer, migrates the database, and makes the streams that are missing.
pub(super) async fn reach(config: &Config, broker: &Broker) -> anyhow::Result<PgPool> {
    let owner = config.owner_database_url.as_deref().unwrap_or(&config.database_url);
    let owner = again(|| open_database(owner, 1, "migrate")).await?;
    journal::MIGRATOR.run(&owner).await.context("migrating the database")?;
    owner.close().await;
    let user = match has_admin(config) {
        true => User::Admin,
        false => User::Gateway,
    };
    again(|| async {
        let client = broker.client(user).await;
        client.map_err(|error| NotReachable(format!("{error}. Is NATS_URL right?")))
    })
    .await?;
    if has_admin(config) {
        make_streams(broker).await?;
    }
    let (url, connections) = (&config.database_url, config.database_connections);
    again(|| open_database(url, connections, "serve")).await.map_err(Into::into)
}

/// Whether this process may make streams. Where it may not, the operator runs `tapedeck streams
/// apply`.
fn has_admin(config: &Config) -> bool {
    config.nats_passwords.is_empty() || config.nats_passwords.contains_key(User::Admin.name())
}

async fn make_streams(broker: &Broker) -> anyhow::Result<()> {
    let jetstream = broker.jetstream(User::Admin).await?;
    let steps = streams::apply(&jetstream, &StreamsFile::built_in()?).await?;
    let refused: Vec<String> =
        steps.iter().filter(|step| step.is_refused()).map(Step::to_string).collect();
    if !refused.is_empty() {
        bail!(
            "the streams on this NATS are not as streams.yaml says, and changing them would lose data:\n{}",
            refused.join("\n"),
        );
    }
    for step in steps.iter().filter(|step| {
        matches!(step, Step::Create { .. } | Step::Extend { .. } | Step::Renew { .. })
    }) {
        tracing::info!(%step, "streams");
    }
    Ok(())
}

/// Waits until every projection answers, within the limit for starting: on a new database they are
/// made first.
pub(super) async fn built(pool: &PgPool, stop: &CancellationToken) {
    let all = async {
        let wanted = projections::all().len();
        loop {
            let live = health::projections_behind(pool).await;
            if live.is_ok_and(|live| live.len() >= wanted) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        waited = tokio::time::timeout(REACH_LIMIT, all) => if waited.is_err() {
            tracing::warn!("projections are still being built; queries wait for them");
        },
    }
}

/// Tries until it succeeds or the limit for starting is reached.
async fn again<T, F>(attempt: impl Fn() -> F) -> Result<T, NotReachable>
where
    F: Future<Output = Result<T, NotReachable>>,
{
    let began = Instant::now();
    loop {
        match attempt().await {
            Ok(reached) => return Ok(reached),
            Err(error) if began.elapsed() > REACH_LIMIT => return Err(error),
            Err(error) => tracing::debug!(%error, "not reached yet"),
        }
        tokio::time::sleep(REACH_AGAIN_AFTER).await;
    }
}
