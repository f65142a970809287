//! Reads each new alert once and hands it to every reader of this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use journal::positions::Positions;
use projections::{QueryError, alerts};
use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::envelope::{Frame, Mode};

/// How many alerts a reader may be behind before it is cut. The frames are shared, so this bounds
/// the memory of all readers together.
const BEHIND_MAX: usize = 4_096;
/// How many alerts are read at once.
const PAGE: i64 = 256;
/// How many readers may read at once what they missed.
const READS_MAX: usize = 4;
/// How soon a failed read is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Where readers join.
pub struct Hub {
    epoch: Uuid,
    /// How far the hub has handed on. Held while frames are sent, so that who joins knows exactly
    /// what it has missed.
    position: Mutex<i64>,
    frames: broadcast::Sender<Arc<Frame>>,
    places: Arc<Semaphore>,
    /// Few of those who come back read at once what they missed, so that the database stays free for others.
    reads: Semaphore,
}

/// A reader's end of the hub.
pub(super) struct Joined {
    /// Everything after `position` comes here.
    pub(super) frames: broadcast::Receiver<Arc<Frame>>,
    pub(super) position: i64,
}

impl Hub {
    /// A hub that begins at `position`: what came before is for readers to ask for.
    pub fn new(epoch: Uuid, position: i64, readers_max: usize) -> Arc<Self> {
        Arc::new(Hub {
            epoch,
            position: Mutex::new(position),
            frames: broadcast::Sender::new(BEHIND_MAX),
            places: Arc::new(Semaphore::new(readers_max.min(Semaphore::MAX_PERMITS))),
            reads: Semaphore::new(READS_MAX),
        })
    }

    pub fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// How far the hub is.
    pub fn position(&self) -> i64 {
        *self.lock()
    }

    /// A turn to read what was missed.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.reads.acquire().await.ok()
    }

    pub(super) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    /// Where the hub is, if this reader has received everything up to there.
    pub(super) fn quiet_at(&self, frames: &broadcast::Receiver<Arc<Frame>>) -> Option<i64> {
        let position = self.lock();
        frames.is_empty().then_some(*position)
    }

    pub(super) fn join(&self) -> Joined {
        let position = self.lock();
        Joined { frames: self.frames.subscribe(), position: *position }
    }

    fn hand_on(&self, frames: Vec<Frame>, until: i64) {
        let mut position = self.lock();
        for frame in frames {
            // Nobody there is no failure.
            let _ = self.frames.send(Arc::new(frame));
        }
        *position = until.max(*position);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, i64> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the projection `alerts` until told to stop.
pub async fn run(
    hub: Arc<Hub>,
    pool: PgPool,
    positions: Positions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut moved = positions.watch(alerts::NAME);
    let follow = async {
        loop {
            let wanted = *moved.borrow_and_update();
            match catch_up(&hub, &pool, wanted).await {
                Ok(()) if hub.position() >= wanted => {}
                // The word came before the rows: a rebuilt generation is a little behind.
                Ok(()) => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "the feed cannot read alerts; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            }
            if moved.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow => {}
    }
    Ok(())
}

/// Hands on what there is up to `wanted`, page by page.
async fn catch_up(hub: &Hub, pool: &PgPool, wanted: i64) -> Result<(), QueryError> {
    let mut position = hub.position();
    while position < wanted {
        let page = alerts::after(pool, position, PAGE, &[]).await?;
        let last = page.alerts.last().map_or(position, |alert| alert.position);
        let full = page.alerts.len() as i64 == PAGE;
        let until = if full { last } else { page.position.max(last) };
        let frame = |alert| Frame::alert(hub.epoch, alert, Mode::Live);
        hub.hand_on(page.alerts.iter().map(frame).collect(), until);
        metrics::counter!("tapedeck_feed_alerts_total").increment(page.alerts.len() as u64);
        if until == position {
            return Ok(());
        }
        position = until;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_joins_gets_everything_after_the_position_it_was_told() {
        let hub = Hub::new(Uuid::nil(), 10, 5);
        hub.hand_on(vec![Frame::ping(Uuid::nil(), 11)], 12);
        let mut joined = hub.join();
        assert_eq!(joined.position, 12);
        hub.hand_on(vec![Frame::ping(Uuid::nil(), 13)], 13);
        assert_eq!(joined.frames.try_recv().expect("a frame").position, 13);
        assert_eq!(hub.position(), 13);
    }
}
