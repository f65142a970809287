//! The part that makes the pictures that were asked for.

use std::sync::Arc;

use chrono::Utc;
use journal::broker::Broker;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use sqlx::PgPool;
use uuid::Uuid;

use crate::config::Config;
use crate::generation::{Options, Worker};

/// The worker of this process.
pub(super) async fn worker(
    config: &Config,
    pool: &PgPool,
    broker: &Broker,
    publisher: Publisher,
) -> anyhow::Result<Worker> {
    let positions = Positions::start(pool.clone(), broker).await?;
    let (provider, pictures) = (config.generation.provider(), config.pictures());
    tracing::info!(provider = provider.name(), place = %pictures.place(), "pictures");
    Ok(Worker {
        pool: pool.clone(),
        publisher,
        replies: Replies::start(broker).await?,
        positions,
        pictures,
        provider,
        options: Options::from(&config.generation),
        clock: Arc::new(Utc::now),
        id: Uuid::new_v4(),
    })
}
