//! The parts that direct the stages, and that serve overlays.

use std::sync::Arc;

use chrono::Utc;
use journal::broker::Broker;
use journal::outcome;
use journal::positions::Positions;
use sqlx::PgPool;
use tokio::sync::watch;

use super::parts::Parts;
use crate::config::Config;
use crate::stage::director::Director;
use crate::stage::{Hub, Settings, commands, hub};

/// Directs the stages, in this process or in another one that does.
pub(super) async fn begin(
    pool: &PgPool,
    broker: &Broker,
    settings: watch::Receiver<Arc<Settings>>,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let publisher = parts.publisher(broker).await?;
    let director = Director { pool: pool.clone(), broker: broker.clone(), publisher, settings };
    parts.runs("directing", director.run(parts.rest.clone()));
    Ok(())
}

/// Asks for every stage that is not open to be opened, before anything is taken in: what comes is for it.
pub(super) async fn open(
    pool: &PgPool,
    broker: &Broker,
    settings: &Settings,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let publisher = parts.publisher(broker).await?;
    for stage in &settings.names {
        let closed = commands::closed(pool, stage).await?;
        if outcome::find(pool, commands::open_id(stage, closed)).await?.is_none() {
            publisher.send(&commands::open(stage, closed, Utc::now())?).await?;
        }
    }
    Ok(())
}

/// Where the overlays of this process join.
pub(super) fn hub(pool: &PgPool, positions: &Positions, parts: &mut Parts) -> Arc<Hub> {
    let hub = Hub::new();
    let running = hub::run(Arc::clone(&hub), pool.clone(), positions.clone(), parts.rest.clone());
    parts.runs("stage", running);
    hub
}

/// Other settings, if they changed.
pub(super) fn settings(running: &watch::Sender<Arc<Settings>>, now: &Config) {
    running.send_if_modified(|settings| {
        let changed = **settings != now.stage;
        if changed {
            *settings = Arc::new(now.stage.clone());
        }
        changed
    });
}
