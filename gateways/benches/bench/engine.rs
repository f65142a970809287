//! Tapedeck's own processor, relay, projections and processes, in this process, as `tapedeck serve` runs them.

use std::time::Duration;

use anyhow::Context;
use domain::chat_request::Prices;
use gateways::processes;
use journal::broker::Broker;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::{follower, process, processor, relay};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ground::Ground;
use crate::stages;

const START_MAX: Duration = Duration::from_secs(300);
const STOP_MAX: Duration = Duration::from_secs(30);

pub struct Engine {
    pub broker: Broker,
    pub positions: Positions,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Engine {
    /// Starts all of it and waits until every projection has reached the end of the journal.
    pub async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let broker = ground.broker();
        let positions = Positions::start(ground.pool.clone(), &broker).await?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let pool = &ground.pool;
        let options = processor::Options::default();
        tasks.spawn(processor::run(pool.clone(), broker.clone(), options, stop.clone()));
        tasks.spawn(relay::run(pool.clone(), broker.clone(), stop.clone()));
        tasks.spawn(follower::run(pool.clone(), broker.clone(), projections::all(), stop.clone()));
        let prices = watch::Sender::new(Prices::default()).subscribe();
        let (processes, publisher) = (processes::all(prices), Publisher::start(&broker).await?);
        process::register(pool, &processes).await?;
        let running =
            process::run(pool.clone(), broker.clone(), publisher, processes, stop.clone());
        tasks.spawn(running);
        let engine = Engine { broker, positions, stop, tasks };
        tokio::time::timeout(START_MAX, engine.begun(ground)).await.context("no projections")??;
        let head = ground.position().await?;
        for projection in projections::all() {
            engine.projected(projection.name(), head, START_MAX).await?;
        }
        Ok(engine)
    }

    /// Waits until every projection has its tables.
    async fn begun(&self, ground: &Ground) -> anyhow::Result<()> {
        let wanted = i64::try_from(projections::all().len())?;
        loop {
            let live: i64 =
                sqlx::query_scalar("SELECT count(*) FROM checkpoints WHERE status = 'live'")
                    .fetch_one(&ground.pool)
                    .await?;
            if live >= wanted {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn projected(
        &self,
        name: &str,
        position: i64,
        limit: Duration,
    ) -> anyhow::Result<()> {
        self.positions
            .wait(name, position, limit)
            .await
            .map(|_| ())
            .map_err(|at| anyhow::anyhow!("{name} is still at {at} of {position} after {limit:?}"))
    }

    /// Waits until EVENTS holds all that was committed, then stops.
    pub async fn stop(mut self, ground: &Ground) -> anyhow::Result<()> {
        let head = ground.position().await?;
        stages::until(async || Ok(stages::published(&self.broker).await? >= head)).await?;
        self.stop.cancel();
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            Ok(())
        };
        tokio::time::timeout(STOP_MAX, all).await.context("the engine does not stop")?
    }
}
