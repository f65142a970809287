//! What the relay publishes, read once for all followers in one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast;

use crate::broker::{Broker, Role};
use crate::delivery::Delivery;
use crate::head;
use crate::recorded::Recorded;
use crate::relay::EVENTS;
use crate::retry::Backoff;

/// The most events taken from EVENTS at once.
const BATCH_MAX: usize = 2_048;

/// How long nobody else must have committed before EVENTS is left unread.
const OTHERS_AWAITED: Duration = Duration::from_secs(1);
/// How far it is gone back for what others committed meanwhile. Longer ago is read in PostgreSQL.
const GONE_BACK_MAX: i64 = 8_192;

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
    /// Where what was committed here last stands.
    after: i64,
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
    let end = i64::try_from(stream.cached_info().state.last_sequence)?;
    let after = others
        .as_ref()
        .map(|others| others.after)
        .filter(|after| *after <= end && end - after <= GONE_BACK_MAX)
        .unwrap_or(end);
    let mut delivery = Delivery::open(stream, Vec::new(), after).await?;
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
            first = delivery.next() => first?,
        };
        let (position, _) = first;
        if ours.has(position) {
            if position < others_until || others_at.elapsed() < OTHERS_AWAITED {
                continue;
            }
            delivery.end().await;
            backoff.reset();
            return Ok(tokio::select! {
                biased;
                _ = connections.changed() => None,
                until = others_commit(&mut told, ours) => {
                    until.map(|until| Others { after: ours.end(), until })
                }
            });
        }
        others_at = Instant::now();
        let mut batch = vec![parse(first)?];
        // Under load a moment's wait makes one transaction of what would be many.
        let until = tokio::time::Instant::now() + GATHER_MAX;
        while batch.len() < BATCH_MAX {
            let next = match delivery.next().now_or_never() {
                Some(next) => next,
                None if batch.len() < UNDER_LOAD => break,
                None => match tokio::time::timeout_at(until, delivery.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next.and_then(parse) {
                Ok(event) => batch.push(event),
                Err(error) => {
                    // What came before it is good.
                    let _ = batches.send(Arc::new(batch));
                    return Err(error);
                }
            }
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

fn parse((position, message): (i64, Message)) -> anyhow::Result<Recorded> {
    let event: Recorded = serde_json::from_slice(&message.payload)?;
    anyhow::ensure!(
        event.position == position,
        "message {position} of EVENTS holds event {}",
        event.position
    );
    Ok(event)
}
