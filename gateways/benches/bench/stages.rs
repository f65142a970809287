//! The steps of the way one after another, so that it can be seen what each of them costs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use journal::broker::{Broker, Role};
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::{follower, processor, relay};
use tokio_util::sync::CancellationToken;

use crate::figures::{Figure, Report};
use crate::ground::Ground;
use crate::measure::processor_seconds;
use crate::parts::Scale;
use crate::work::{Mix, Work, send};

const GROUP: &str = "Each step alone";
const STEP_MAX: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub async fn measure(ground: &Ground, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("each step alone");
    let broker = ground.broker();
    let head = ground.position().await?;
    let count = scale.commands;
    let last = head + i64::try_from(count)?;
    let work = Work::new(&format!("stages-{head}"), count, Mix::Cheers);
    let mut steps = Vec::new();

    let publisher = Publisher::start(&broker).await?;
    let taken = step(ground, async { send(&publisher, &work, scale.in_flight).await.map(|_| ()) });
    steps.push(("acknowledged by JetStream", taken.await?));

    let stop = CancellationToken::new();
    let options = processor::Options::default();
    let decided = processor::run(ground.pool.clone(), broker.clone(), options, stop.clone());
    let waited = until(async || Ok(ground.position().await? >= last));
    steps.push(("decided and committed", step(ground, beside(decided, waited, &stop)).await?));

    let stop = CancellationToken::new();
    let relayed = relay::run(ground.pool.clone(), broker.clone(), stop.clone());
    let waited = until(async || Ok(published(&broker).await? >= last));
    steps.push(("published as EVENTS", step(ground, beside(relayed, waited, &stop)).await?));

    let stop = CancellationToken::new();
    let positions = Positions::start(ground.pool.clone(), &broker).await?;
    let all = projections::all();
    let folded = follower::run(ground.pool.clone(), broker.clone(), all, stop.clone());
    let waited = async {
        for projection in projections::all() {
            let reached = positions.wait(projection.name(), last, STEP_MAX).await;
            reached.map_err(|at| anyhow::anyhow!("{} is at {at}", projection.name()))?;
        }
        Ok(())
    };
    steps.push(("folded into all projections", step(ground, beside(folded, waited, &stop)).await?));

    for (what, cost) in steps {
        let per_command = |seconds: f64| seconds * 1e6 / count as f64;
        let [own, nats, postgres] = cost.used.map(per_command);
        eprintln!(
            "    {what}: µs: tapedeck {own:.1}, nats-server {nats:.1}, PostgreSQL {postgres:.1}"
        );
        report.add(Figure::new(GROUP, what, "per second", count as f64 / cost.seconds));
        let all = Figure::new(
            GROUP,
            format!("{what}: processor time"),
            "µs per command",
            own + nats + postgres,
        );
        report.add(all.less_is_better());
    }
    report.note(
        "Each step alone: the same commands, but with one step running at a time. Folding reads from PostgreSQL here, \
         because what was published before it began is history to it.",
    );
    Ok(())
}

struct Cost {
    seconds: f64,
    /// Of this process, nats-server and PostgreSQL.
    used: [f64; 3],
}

async fn step(
    ground: &Ground,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<Cost> {
    let processes = [std::process::id(), ground.nats_process, ground.postgres_process];
    let before = processes.map(processor_seconds);
    let started = Instant::now();
    tokio::time::timeout(STEP_MAX, work).await.context("a step takes too long")??;
    let seconds = started.elapsed().as_secs_f64();
    let after = processes.map(processor_seconds);
    Ok(Cost { seconds, used: [0, 1, 2].map(|n| after[n] - before[n]) })
}

/// Runs a part until `done`, on a task of its own as in production, then stops it.
async fn beside(
    part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    done: impl Future<Output = anyhow::Result<()>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let part = tokio::spawn(part);
    done.await?;
    stop.cancel();
    let ended = part.await?;
    ensure!(ended.is_ok(), "a part failed: {ended:?}");
    Ok(())
}

pub async fn until(mut reached: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    while !reached().await? {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

pub async fn published(broker: &Broker) -> anyhow::Result<i64> {
    let stream = broker.jetstream(Role::Admin).await?.get_stream(relay::EVENTS).await?;
    Ok(i64::try_from(stream.cached_info().state.last_sequence)?)
}
