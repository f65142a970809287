//! What the relay publishes, read once for all projections of the process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Role};
use crate::recorded::Recorded;
use crate::relay::EVENTS;
use crate::retry::Backoff;

/// The most events taken from EVENTS at once.
const BATCH_MAX: usize = 2_048;

/// From this many at once on there is load, and the batch waits for more.
const UNDER_LOAD: usize = 16;
/// How long it waits.
const GATHER_MAX: Duration = Duration::from_millis(5);

/// Hands on what the relay publishes from now on.
pub(crate) async fn tail(
    broker: Broker,
    batches: broadcast::Sender<Arc<Vec<Recorded>>>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        let read = tokio::select! {
            () = stop.cancelled() => return,
            read = read_tail(&broker, &batches) => read,
        };
        if let Err(error) = read {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot follow EVENTS, reading from PostgreSQL"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}

async fn read_tail(
    broker: &Broker,
    batches: &broadcast::Sender<Arc<Vec<Recorded>>>,
) -> anyhow::Result<()> {
    let stream = broker.jetstream(Role::Follower).await?.get_stream(EVENTS).await?;
    let mut connections = broker.connections(Role::Follower);
    let start_sequence = stream.cached_info().state.last_sequence + 1;
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        ..Default::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    loop {
        let first = tokio::select! {
            biased;
            _ = connections.changed() => return Ok(()),
            first = messages.next() => first.context("the consumer ended")??,
        };
        let mut batch = vec![parse(&first)?];
        // Under load a moment's wait makes one transaction of what would be many.
        let until = tokio::time::Instant::now() + GATHER_MAX;
        while batch.len() < BATCH_MAX {
            let next = match messages.next().now_or_never() {
                Some(next) => next,
                None if batch.len() < UNDER_LOAD => break,
                None => match tokio::time::timeout_at(until, messages.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            batch.push(parse(&next.context("the consumer ended")??)?);
        }
        let _ = batches.send(Arc::new(batch));
    }
}

fn parse(message: &async_nats::jetstream::Message) -> anyhow::Result<Recorded> {
    let event: Recorded = serde_json::from_slice(&message.payload)?;
    let sequence = message.info().map_err(anyhow::Error::msg)?.stream_sequence;
    anyhow::ensure!(
        u64::try_from(event.position)? == sequence,
        "message {sequence} of EVENTS holds event {}",
        event.position
    );
    Ok(event)
}
