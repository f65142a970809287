//! What the relay publishes, read once for all followers in one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast;

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

/// The newest run of positions that were committed in this process and handed on at once: EVENTS brings them again, and
/// they need not be read again.
#[derive(Clone, Default)]
pub(crate) struct HandedOn(Arc<Mutex<(i64, i64)>>);

impl HandedOn {
    pub(crate) fn add(&self, batch: &[Recorded]) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = if first.position == run.1 + 1 { run.0 } else { first.position };
        *run = (from, last.position);
    }

    fn has(&self, message: &async_nats::jetstream::Message) -> bool {
        let run = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence =
            message.info().ok().and_then(|info| i64::try_from(info.stream_sequence).ok());
        sequence.is_some_and(|sequence| (run.0..=run.1).contains(&sequence))
    }
}

/// Hands on what the relay publishes from now on.
pub(crate) async fn tail(
    broker: Broker,
    batches: broadcast::Sender<Arc<Vec<Recorded>>>,
    handed_on: HandedOn,
) {
    let mut backoff = Backoff::default();
    loop {
        if let Err(error) = read_tail(&broker, &batches, &handed_on, &mut backoff).await {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot follow EVENTS, reading from PostgreSQL"
            );
        }
        backoff.wait().await;
    }
}

async fn read_tail(
    broker: &Broker,
    batches: &broadcast::Sender<Arc<Vec<Recorded>>>,
    handed_on: &HandedOn,
    backoff: &mut Backoff,
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
        if first.info().is_ok_and(|info| info.stream_sequence < start_sequence) {
            // The client made the consumer again before its first message, and forgot where it was to begin.
            return Ok(());
        }
        if handed_on.has(&first) {
            continue;
        }
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
        backoff.reset();
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
