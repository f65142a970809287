//! Reads each new alert once and hands it to every reader of this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use journal::positions::Positions;
use projections::{QueryError, alerts};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};
use tokio::time::{MissedTickBehavior, timeout};
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
/// How often the hub looks whether history was cut back, and how long a look may take.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Where readers join.
pub struct Hub {
    /// Held while frames are sent, so that who joins knows exactly what it has missed.
    line: Mutex<Line>,
    places: Arc<Semaphore>,
    /// Few of those who come back read at once what they missed, so that the database stays free for others.
    reads: Semaphore,
}

/// The line of history that is handed on.
struct Line {
    epoch: Uuid,
    /// How far the hub has handed on.
    position: i64,
    /// Where this line left the one before it, if that happened while the hub was there.
    parted: Option<i64>,
    /// Dropped with the line, which ends its readers.
    frames: broadcast::Sender<Arc<Frame>>,
}

impl Line {
    fn new(epoch: Uuid, position: i64, parted: Option<i64>) -> Self {
        Line { epoch, position, parted, frames: broadcast::Sender::new(BEHIND_MAX) }
    }
}

/// A reader's end of the hub.
pub(super) struct Joined {
    pub(super) epoch: Uuid,
    /// Everything after `position` comes here; closed when history was cut back.
    pub(super) frames: broadcast::Receiver<Arc<Frame>>,
    pub(super) position: i64,
    pub(super) parted: Option<i64>,
}

impl Hub {
    /// A hub that begins at `position`: what came before is for readers to ask for.
    pub fn new(epoch: Uuid, position: i64, readers_max: usize) -> Arc<Self> {
        Arc::new(Hub {
            line: Mutex::new(Line::new(epoch, position, None)),
            places: Arc::new(Semaphore::new(readers_max.min(Semaphore::MAX_PERMITS))),
            reads: Semaphore::new(READS_MAX),
        })
    }

    pub fn epoch(&self) -> Uuid {
        self.lock().epoch
    }

    /// How far the hub is.
    pub fn position(&self) -> i64 {
        self.lock().position
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
        let line = self.lock();
        (frames.is_empty() && !frames.is_closed()).then_some(line.position)
    }

    pub(super) fn join(&self) -> Joined {
        let line = self.lock();
        let (epoch, position, parted) = (line.epoch, line.position, line.parted);
        Joined { epoch, frames: line.frames.subscribe(), position, parted }
    }

    fn hand_on(&self, frames: Vec<Frame>, until: i64) {
        let mut line = self.lock();
        for frame in frames {
            // Nobody there is no failure.
            let _ = line.frames.send(Arc::new(frame));
        }
        line.position = until.max(line.position);
    }

    /// Goes on with another line of history, from where it left the old one. The readers of the old
    /// one are cut: their positions mean something else now.
    fn part(&self, epoch: Uuid, position: i64) {
        *self.lock() = Line::new(epoch, position, Some(position));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the projection `alerts` until told to stop.
pub async fn run(
    hub: Arc<Hub>,
    pool: PgPool,
    positions: Positions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let pool = own_connection(&pool);
    let mut moved = positions.watch(alerts::NAME);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut settled = None;
    let follow = async {
        loop {
            let wanted = *moved.borrow_and_update();
            let is_behind = match catch_up(&hub, &pool, wanted).await {
                // The word came before the rows: a rebuilt generation is a little behind.
                Ok(()) => hub.position() < wanted,
                Err(error) => {
                    tracing::warn!(%error, "the feed cannot read alerts; trying again");
                    true
                }
            };
            tokio::select! {
                _ = looks.tick() => {
                    let look = look(&hub, &pool, &positions, &mut settled);
                    match timeout(LOOK_LIMIT, look).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "the feed cannot see the head"),
                        Err(_) => tracing::debug!("the feed cannot see the head in time"),
                    }
                }
                changed = moved.changed(), if !is_behind => if changed.is_err() {
                    return;
                },
                () = tokio::time::sleep(RETRY_AFTER), if is_behind => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow => {}
    }
    Ok(())
}

/// One connection that nobody else uses: every alert is read on it, so it always knows the queries, and none waits for a
/// connection of the pool to be tried first. One that broke is met by trying again.
fn own_connection(pool: &PgPool) -> PgPool {
    PgPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// The end of the journal when it was last seen to go on from where it was before.
struct Settled {
    position: i64,
    hash: Vec<u8>,
    at: DateTime<Utc>,
}

/// Looks whether history was cut back (a restored dump) and, once the relay has given the new line
/// its epoch, goes over to it. What was recorded after `settled` is news of the new line.
async fn look(
    hub: &Hub,
    pool: &PgPool,
    positions: &Positions,
    settled: &mut Option<Settled>,
) -> sqlx::Result<()> {
    let (epoch, position, hash, at): (Uuid, i64, Vec<u8>, DateTime<Utc>) =
        sqlx::query_as("SELECT epoch, position, hash, clock_timestamp() FROM head")
            .fetch_one(pool)
            .await?;
    if epoch == hub.epoch() {
        if goes_on(pool, settled.as_ref()).await? {
            *settled = Some(Settled { position, hash, at });
        }
        return Ok(());
    }
    let parted: i64 = match settled {
        None => hub.position().min(position),
        Some(settled) => {
            sqlx::query_scalar(
                "SELECT COALESCE((SELECT position FROM events WHERE recorded_at <= $1
                                  ORDER BY position DESC LIMIT 1), 0)",
            )
            .bind(settled.at)
            .fetch_one(pool)
            .await?
        }
    };
    positions.begin_again().await?;
    tracing::warn!(%epoch, position = parted, "history was cut back; the feed goes on from there");
    hub.part(epoch, parted);
    *settled = Some(Settled { position, hash, at });
    Ok(())
}

/// Whether the event that ended the journal then is still the event of its number.
async fn goes_on(pool: &PgPool, settled: Option<&Settled>) -> sqlx::Result<bool> {
    let Some(settled) = settled.filter(|settled| settled.position > 0) else { return Ok(true) };
    let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM events WHERE position = $1")
        .bind(settled.position)
        .fetch_optional(pool)
        .await?;
    Ok(hash.as_ref() == Some(&settled.hash))
}

/// Hands on what there is up to `wanted`, page by page.
async fn catch_up(hub: &Hub, pool: &PgPool, wanted: i64) -> Result<(), QueryError> {
    let (epoch, mut position) = (hub.epoch(), hub.position());
    while position < wanted {
        let page = alerts::after(pool, position, PAGE, &[]).await?;
        let last = page.alerts.last().map_or(position, |alert| alert.position);
        let full = page.alerts.len() as i64 == PAGE;
        let until = if full { last } else { page.position.max(last) };
        let frame = |alert| Frame::alert(epoch, alert, Mode::Live);
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

    #[test]
    fn another_line_of_history_ends_the_readers_of_the_old_one() {
        let hub = Hub::new(Uuid::nil(), 10, 5);
        let mut old = hub.join();
        hub.hand_on(vec![Frame::ping(Uuid::nil(), 11)], 11);
        hub.part(Uuid::max(), 7);
        old.frames.try_recv().expect("what was handed on before");
        assert!(old.frames.is_closed() && old.frames.try_recv().is_err());
        assert_eq!(hub.quiet_at(&old.frames), None, "no position of the new line is said to it");
        let new = hub.join();
        assert_eq!((new.epoch, new.position, new.parted), (Uuid::max(), 7, Some(7)));
    }
}
