//! What was told over a WebSocket on its way into COMMANDS: the way that a webhook takes, with a queue before it, because
//! a connection must be read whatever NATS does, and cannot be asked to say something again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::frame::Told;
use super::times;
use crate::twitch::signature::Authentic;
use crate::twitch::webhook::Webhook;

/// How much may wait: an hour of a busy chat, while NATS is away.
const WAITING_MAX: usize = 20_000;
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is on its way at once; what goes together shares a sync.
const UNDER_WAY_MAX: usize = 64;
/// Failures beyond so many make nobody wait for longer: four seconds.
const FAILED_MAX: u32 = 4;
/// How long what waits may take when everything stops.
const LAST_LIMIT: Duration = Duration::from_secs(5);

/// Takes in what was told.
#[derive(Clone)]
pub struct Queue {
    waiting: mpsc::Sender<Waiting>,
    bytes: Arc<AtomicUsize>,
}

/// Hands it on.
pub struct HandsOn {
    waiting: mpsc::Receiver<Waiting>,
    bytes: Arc<AtomicUsize>,
    /// As the configuration of the moment has it.
    webhook: watch::Receiver<Arc<Webhook>>,
    /// Up to when everything is stored.
    stored: watch::Sender<Option<DateTime<Utc>>>,
    /// Whether it is known that nobody else hands on the same.
    alone: watch::Receiver<bool>,
    stop: CancellationToken,
}

struct Waiting {
    at: DateTime<Utc>,
    /// Nothing for a sign of life.
    told: Option<Told>,
}

/// A queue, who empties it, and up to when all that went in is stored.
pub fn queue(
    webhook: watch::Receiver<Arc<Webhook>>,
    alone: watch::Receiver<bool>,
    stop: CancellationToken,
) -> (Queue, HandsOn, watch::Receiver<Option<DateTime<Utc>>>) {
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let (stored, stored_now) = watch::channel(None);
    let queue = Queue { waiting: sender, bytes: Arc::clone(&bytes) };
    (queue, HandsOn { waiting, bytes, webhook, stored, alone, stop }, stored_now)
}

impl Queue {
    /// Whether it was taken in. It is not where too much waits, and is lost then.
    pub fn told(&self, told: Told, at: DateTime<Utc>) -> bool {
        let bytes = told.body.len();
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > WAITING_BYTES_MAX
            || self.waiting.try_send(Waiting { at, told: Some(told) }).is_err()
        {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Everything up to `at` was taken in.
    pub fn alive(&self, at: DateTime<Utc>) {
        // Where it finds no room, a later one says the same.
        let _ = self.waiting.try_send(Waiting { at, told: None });
    }
}

impl HandsOn {
    /// Hands on until the queue ends; when told to stop, for a moment more.
    pub async fn run(self) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let last = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_LIMIT).await;
        };
        tokio::select! {
            () = self.hand_on() => {}
            () = last => tracing::warn!("not everything that Twitch told was stored"),
        }
        Ok(())
    }

    async fn hand_on(mut self) {
        let mut under_way: FuturesOrdered<BoxFuture<'static, DateTime<Utc>>> =
            FuturesOrdered::new();
        let mut ended = false;
        loop {
            tokio::select! {
                Some(at) = under_way.next() => {
                    self.stored.send_modify(|stored| *stored = (*stored).max(Some(at)));
                }
                next = self.waiting.recv(), if !ended && under_way.len() < UNDER_WAY_MAX => {
                    match next {
                        None => ended = true,
                        Some(Waiting { at, told }) => {
                            let (webhook, alone) = (self.webhook.clone(), self.alone.clone());
                            let storing = Storing { webhook, alone, bytes: Arc::clone(&self.bytes) };
                            under_way.push_back(Box::pin(storing.stored(told, at)));
                        }
                    }
                }
                else => return,
            }
        }
    }
}

/// One on its way.
struct Storing {
    webhook: watch::Receiver<Arc<Webhook>>,
    alone: watch::Receiver<bool>,
    bytes: Arc<AtomicUsize>,
}

impl Storing {
    /// Stores what was told, however long that takes. What is told to two who listen has two names, so it waits while it
    /// may be told to another.
    async fn stored(mut self, told: Option<Told>, at: DateTime<Utc>) -> DateTime<Utc> {
        let Some(told) = told else { return at };
        let authentic = Authentic {
            message_id: &told.message_id,
            sent_at: told.sent_at,
            message_type: &told.message_type,
            kind: &told.kind,
            version: &told.version,
        };
        for failed in 1.. {
            if self.alone.wait_for(|alone| *alone).await.is_err() {
                // Everything ends here, and this one is not stored.
                return std::future::pending().await;
            }
            let webhook = Arc::clone(&self.webhook.borrow());
            let received = webhook.inbound.understand(&authentic, told.body.as_bytes(), at);
            let (kind, taken) = webhook.take(received).await;
            let result = taken.as_ref().map_or("unavailable", |result| result);
            metrics::counter!("tapedeck_notifications_total", "type" => kind, "result" => result)
                .increment(1);
            let Err(error) = taken else { break };
            tracing::warn!(%error, kind, failed, "what Twitch told is not stored yet; trying again");
            tokio::time::sleep(times::again_after(failed.min(FAILED_MAX))).await;
        }
        self.bytes.fetch_sub(told.body.len(), Ordering::Relaxed);
        at
    }
}
