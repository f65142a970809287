//! What the relay publishes, read once for all followers in one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use async_nats::Subscriber;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast;

use crate::broker::{Broker, Role};
use crate::head;
use crate::recorded::Recorded;
use crate::relay::EVENTS;
use crate::retry::Backoff;

/// The most events taken from EVENTS at once.
const BATCH_MAX: usize = 2_048;

/// How long nobody else must have committed before EVENTS is left unread.
const OTHERS_AWAITED: Duration = Duration::from_secs(1);
/// How far it is gone back for what others committed meanwhile. Longer ago is read in PostgreSQL.
const GONE_BACK_MAX: u64 = 8_192;

/// From this many at once on there is load, and the batch waits for more.
const UNDER_LOAD: usize = 16;
/// How long it waits.
const GATHER_MAX: Duration = Duration::from_millis(5);

/// The newest run of positions that were committed in this process: EVENTS brings them again, and they need not be read
/// again.
#[derive(Default)]
pub(crate) struct Ours(Mutex<(i64, i64)>);

impl Ours {
    /// Told before anybody else is.
    pub(crate) fn add(&self, batch: &[Recorded]) {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return };
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = if first.position == run.1 + 1 { run.0 } else { first.position };
        *run = (from, last.position);
    }

    fn has(&self, position: i64) -> bool {
        let run = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (run.0..=run.1).contains(&position)
    }

    fn end(&self) -> i64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Where to go on reading EVENTS.
struct Others {
    /// After what was committed here last.
    from: i64,
    /// As far as somebody else has committed.
    until: i64,
}

/// Hands on what the relay publishes from now on.
pub(crate) async fn tail(broker: Broker, batches: broadcast::Sender<Arc<Vec<Recorded>>>) {
    let mut backoff = Backoff::default();
    let mut others = None;
    loop {
        others = match read_tail(&broker, &batches, others, &mut backoff).await {
            Ok(others) => others,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "cannot follow EVENTS, reading from PostgreSQL");
                None
            }
        };
        if others.is_none() {
            backoff.wait().await;
        }
    }
}

/// Reads EVENTS from its end on, or what `others` committed shortly before, until the connection was made anew. Where all of
/// it is committed in this process it is left unread until a processor of another tells that it has committed: that is
/// given. What nobody tells of, as of one that died in between, is found where it makes a hole, or by looking.
async fn read_tail(
    broker: &Broker,
    batches: &broadcast::Sender<Arc<Vec<Recorded>>>,
    others: Option<Others>,
    backoff: &mut Backoff,
) -> anyhow::Result<Option<Others>> {
    let (client, ours) = (broker.client(Role::Follower).await?, broker.ours());
    // Listened to before anything is read, so that no commit falls between what is read and what is told.
    let mut told = client.subscribe(head::TOLD).await?;
    let stream = broker.jetstream(Role::Follower).await?.get_stream(EVENTS).await?;
    let mut connections = broker.connections(Role::Follower);
    let end = stream.cached_info().state.last_sequence + 1;
    let start_sequence = others
        .as_ref()
        .and_then(|others| u64::try_from(others.from).ok())
        .filter(|from| *from <= end && end - from <= GONE_BACK_MAX)
        .unwrap_or(end);
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let name = consumer.cached_info().name.clone();
    let mut messages = consumer.messages().await?;
    let mut others_until = others.map_or(0, |others| others.until);
    let mut others_at = Instant::now();
    loop {
        let first = tokio::select! {
            biased;
            _ = connections.changed() => return Ok(None),
            Some(message) = told.next() => {
                let position = head::position_told(&message);
                if let Some(position) = position.filter(|position| !ours.has(*position)) {
                    others_until = others_until.max(position);
                    others_at = Instant::now();
                }
                continue;
            }
            first = messages.next() => first.context("the consumer ended")??,
        };
        let position = position_of(&first)?;
        if u64::try_from(position)? < start_sequence {
            // The client made the consumer again before its first message, and forgot where it was to begin.
            return Ok(None);
        }
        if ours.has(position) {
            if position < others_until || others_at.elapsed() < OTHERS_AWAITED {
                continue;
            }
            drop(messages);
            // It goes by itself too, half a minute later.
            let _ = stream.delete_consumer(&name).await;
            backoff.reset();
            return Ok(tokio::select! {
                biased;
                _ = connections.changed() => None,
                until = others_commit(&mut told, ours) => {
                    until.map(|until| Others { from: ours.end() + 1, until })
                }
            });
        }
        others_at = Instant::now();
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

/// Waits until a commit is told of that was not made here, and gives its position.
async fn others_commit(told: &mut Subscriber, ours: &Ours) -> Option<i64> {
    loop {
        let position = head::position_told(&told.next().await?);
        if let Some(position) = position.filter(|position| !ours.has(*position)) {
            return Some(position);
        }
    }
}

fn parse(message: &Message) -> anyhow::Result<Recorded> {
    let event: Recorded = serde_json::from_slice(&message.payload)?;
    let position = position_of(message)?;
    anyhow::ensure!(
        event.position == position,
        "message {position} of EVENTS holds event {}",
        event.position
    );
    Ok(event)
}

/// The position of the event that a message of EVENTS is.
fn position_of(message: &Message) -> anyhow::Result<i64> {
    let sequence = message.info().map_err(anyhow::Error::msg)?.stream_sequence;
    Ok(i64::try_from(sequence)?)
}
