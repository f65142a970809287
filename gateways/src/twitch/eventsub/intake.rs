//! What was told over a connection on its way into COMMANDS: the way that a webhook takes, with a queue before it, because
//! a connection must be read whatever NATS does, and cannot be asked to say something again. What is said over IRC goes
//! the same way (`twitch::irc`).

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
use crate::twitch::webhook::{NotTaken, Webhook};

/// How much may wait: an hour of a busy chat, while NATS is away.
const WAITING_MAX: usize = 20_000;
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is on its way at once; what goes together shares a sync.
const UNDER_WAY_MAX: usize = 64;
/// Failures beyond so many make nobody wait for longer: four seconds.
const FAILED_MAX: u32 = 4;
/// How long what waits may take when everything stops.
const LAST_LIMIT: Duration = Duration::from_secs(5);

/// Something that was told, as it waits to be stored.
pub trait News: Send + Sync + 'static {
    /// What counts it, by type and result.
    const COUNTER: &'static str;

    /// How much room it takes.
    fn bytes(&self) -> usize;

    /// Stores it, as the configuration of the moment has it, and gives the type and the result for the counter.
    fn store(
        &self,
        webhook: &Webhook,
        at: DateTime<Utc>,
    ) -> impl Future<Output = (&'static str, Result<&'static str, NotTaken>)> + Send;
}

/// Takes in what was told.
pub struct Queue<T> {
    waiting: mpsc::Sender<Waiting<T>>,
    bytes: Arc<AtomicUsize>,
}

/// How much was taken in and is not stored yet.
#[derive(Clone)]
pub struct Backlog(Arc<AtomicUsize>);

/// Hands it on.
pub struct HandsOn<T> {
    waiting: mpsc::Receiver<Waiting<T>>,
    bytes: Arc<AtomicUsize>,
    /// As the configuration of the moment has it.
    webhook: watch::Receiver<Arc<Webhook>>,
    /// Up to when everything is stored.
    stored: watch::Sender<Option<DateTime<Utc>>>,
    /// Whether it is known that nobody else hands on the same.
    alone: watch::Receiver<bool>,
    stop: CancellationToken,
}

struct Waiting<T> {
    at: DateTime<Utc>,
    /// Nothing for a sign of life.
    told: Option<T>,
}

/// A queue, who empties it, and up to when all that went in is stored.
pub fn queue<T: News>(
    webhook: watch::Receiver<Arc<Webhook>>,
    alone: watch::Receiver<bool>,
    stop: CancellationToken,
) -> (Queue<T>, HandsOn<T>, watch::Receiver<Option<DateTime<Utc>>>) {
    let (sender, waiting) = mpsc::channel(WAITING_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let (stored, stored_now) = watch::channel(None);
    let queue = Queue { waiting: sender, bytes: Arc::clone(&bytes) };
    (queue, HandsOn { waiting, bytes, webhook, stored, alone, stop }, stored_now)
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl<T: News> Queue<T> {
    pub fn backlog(&self) -> Backlog {
        Backlog(Arc::clone(&self.bytes))
    }

    /// Whether it was taken in. It is not where too much waits, and is lost then.
    pub fn told(&self, told: T, at: DateTime<Utc>) -> bool {
        let bytes = told.bytes();
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

impl<T: News> HandsOn<T> {
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
    async fn stored<T: News>(mut self, told: Option<T>, at: DateTime<Utc>) -> DateTime<Utc> {
        let Some(told) = told else { return at };
        for failed in 1.. {
            if self.alone.wait_for(|alone| *alone).await.is_err() {
                // Everything ends here, and this one is not stored.
                return std::future::pending().await;
            }
            let webhook = Arc::clone(&self.webhook.borrow());
            let (kind, taken) = told.store(&webhook, at).await;
            let result = taken.as_ref().map_or("unavailable", |result| result);
            metrics::counter!(T::COUNTER, "type" => kind, "result" => result).increment(1);
            let Err(error) = taken else { break };
            tracing::warn!(%error, kind, failed, "what Twitch told is not stored yet; trying again");
            tokio::time::sleep(times::again_after(failed.min(FAILED_MAX))).await;
        }
        self.bytes.fetch_sub(told.bytes(), Ordering::Relaxed);
        at
    }
}

impl News for Told {
    const COUNTER: &'static str = "tapedeck_notifications_total";

    fn bytes(&self) -> usize {
        self.body.len()
    }

    async fn store(
        &self,
        webhook: &Webhook,
        at: DateTime<Utc>,
    ) -> (&'static str, Result<&'static str, NotTaken>) {
        let authentic = Authentic {
            message_id: &self.message_id,
            sent_at: self.sent_at,
            message_type: &self.message_type,
            kind: &self.kind,
            version: &self.version,
        };
        webhook.take(webhook.inbound.understand(&authentic, self.body.as_bytes(), at)).await
    }
}
