//! What the relay publishes, read once for all projections of the process.

use std::sync::Arc;

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
        while batch.len() < BATCH_MAX
            && let Some(Some(message)) = messages.next().now_or_never()
        {
            batch.push(parse(&message?)?);
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
