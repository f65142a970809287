//! Following the journal from a stored position: what is new from EVENTS, what is behind from PostgreSQL.
//!
//! One consumer for all followers of the process hands on what the relay publishes, and with it comes, sooner, what this
//! process committed itself. Each follower takes it at its own pace; one that falls too far behind reads on in
//! PostgreSQL and comes back.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::Broker;
use crate::head;
use crate::history;
use crate::recorded::Recorded;
use crate::retry::Backoff;
use crate::tail::tail;

/// How many batches a follower may be behind the consumer.
const BEHIND_MAX: usize = 128;
/// The most events taken at once, live and while reading on in PostgreSQL.
const TAKEN_MAX: usize = 8_192;
/// From this many at once on there is load, and a follower waits for more, up to as many as make waiting useless.
const UNDER_LOAD: usize = 128;
const TAKEN_ENOUGH: usize = 2_048;
/// How long it waits.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// The same while nothing of it concerns the follower, which then has only its position to store; and how long it waits
/// without load, at least, so that a dozen followers do not each write a row for every event that is for one of them.
/// Each waits for a time of its own, up to twice as long: all at once they would be in the way of whatever comes at that
/// moment. Who waits for such a position in this process has it stored at once (`Local::waiting`).
const IDLE_TAKEN_MAX: usize = 32_768;
const IDLE_GATHER_MAX: Duration = Duration::from_millis(250);
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// How long a follower waits for news before it looks into PostgreSQL.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Batches = broadcast::Receiver<Arc<Vec<Recorded>>>;

/// What happens now, for everything in this process that follows the journal.
pub(crate) struct News {
    batches: broadcast::Sender<Arc<Vec<Recorded>>>,
    _reading: [AbortOnDropHandle<()>; 2],
}

impl News {
    /// Begins to read. Dropped, it ends. [`Broker::news`] gives the one that is shared.
    pub(crate) fn start(broker: &Broker) -> Self {
        let batches = broadcast::Sender::new(BEHIND_MAX);
        let here = committed_here(broker.clone(), batches.clone());
        let published = tail(broker.clone(), batches.clone());
        let _reading = [tokio::spawn(here), tokio::spawn(published)].map(AbortOnDropHandle::new);
        News { batches, _reading }
    }
}

/// Hands on what this process commits, which need not make the detour over EVENTS.
async fn committed_here(broker: Broker, batches: broadcast::Sender<Arc<Vec<Recorded>>>) {
    let mut committed = broker.committed();
    loop {
        match committed.recv().await {
            Ok(batch) => {
                let _ = batches.send(batch);
            }
            // What was left out makes a hole, and is read in PostgreSQL.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Something that takes every event, in order, from a stored position on.
#[async_trait]
pub(crate) trait Follower: Send + Sync + 'static {
    /// What is held while it follows: a lock that nobody else has, and the position.
    type Held: Send;

    /// What it is, for the log: `projection balances`.
    fn name(&self) -> String;

    /// How many wait for it to move.
    fn waiting(&self) -> watch::Receiver<usize>;

    /// Waits until nobody else follows in its place, and reads the stored position.
    async fn open(&self) -> anyhow::Result<Self::Held>;

    fn position(&self, held: &Self::Held) -> i64;

    /// Whether `event` is more to it than a step of its position.
    fn wants(&self, event: &Recorded) -> bool;

    /// Takes `events`, which are all after its position up to and including `until`, and stores `until`.
    async fn take(
        &self,
        held: &mut Self::Held,
        events: &[&Recorded],
        until: i64,
    ) -> anyhow::Result<()>;

    /// Does what is to be done now and then.
    async fn look(&self, held: &mut Self::Held) -> anyhow::Result<()>;
}

/// Lets `follower` follow until told to stop, again and again when something fails.
pub(crate) async fn keep_following<F: Follower>(
    pool: PgPool,
    broker: Broker,
    follower: F,
    stop: CancellationToken,
) {
    let news = broker.news();
    let mut batches = news.batches.subscribe();
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        let followed = tokio::select! {
            () = stop.cancelled() => return,
            followed = follow(&pool, &follower, &mut batches, &mut backoff) => followed,
        };
        if let Err(error) = followed {
            let (name, error) = (follower.name(), format!("{error:#}"));
            tracing::warn!(name, error, "starting again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}

/// Takes what happens until something fails.
async fn follow<F: Follower>(
    pool: &PgPool,
    follower: &F,
    batches: &mut Batches,
    backoff: &mut Backoff,
) -> anyhow::Result<()> {
    let mut held = follower.open().await?;
    tracing::info!(name = follower.name(), position = follower.position(&held), "following");
    catch_up(pool, follower, &mut held).await?;
    backoff.reset();
    let (mut looked, mut moved) = (Instant::now(), Instant::now());
    let mut waiting = follower.waiting();
    let drawn = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    let idle_wait = IDLE_WAIT.mul_f64(1.0 + drawn);
    loop {
        let batch = match tokio::time::timeout(LOOK_EVERY, batches.recv()).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(broadcast::error::RecvError::Closed)) => return Ok(()),
            Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => {
                catch_up(pool, follower, &mut held).await?;
                follower.look(&mut held).await?;
                continue;
            }
        };
        let wants = |event: &Recorded| follower.wants(event);
        let taken = gather(batch, batches, &mut waiting, idle_wait, wants).await;
        let before = follower.position(&held);
        take_tail(pool, follower, &mut held, &taken).await?;
        if follower.position(&held) > before {
            moved = Instant::now();
        } else if moved.elapsed() >= LOOK_EVERY {
            // EVENTS is being filled again, and brings what was taken long ago.
            catch_up(pool, follower, &mut held).await?;
            moved = Instant::now();
        }
        if looked.elapsed() >= LOOK_EVERY {
            follower.look(&mut held).await?;
            looked = Instant::now();
        }
    }
}

/// `first` and what else is there, or comes within `idle_wait` where nothing of it is wanted. Under load a moment's wait
/// makes one transaction of what would be several, and one change of what would be several of the same account.
async fn gather(
    first: Arc<Vec<Recorded>>,
    batches: &mut Batches,
    waiting: &mut watch::Receiver<usize>,
    idle_wait: Duration,
    wants: impl Fn(&Recorded) -> bool,
) -> Vec<Arc<Vec<Recorded>>> {
    let begun = tokio::time::Instant::now();
    let mut wanted = first.iter().any(&wants);
    let mut count = first.len();
    let mut taken = vec![first];
    loop {
        let is_load = count >= UNDER_LOAD;
        let presses = wanted || *waiting.borrow_and_update() > 0;
        let (max, wait) = match (presses, is_load) {
            (true, true) if count < TAKEN_ENOUGH => (TAKEN_MAX, GATHER_MAX),
            (true, _) => (TAKEN_MAX, Duration::ZERO),
            (false, true) => (IDLE_TAKEN_MAX, IDLE_GATHER_MAX),
            (false, false) => (IDLE_TAKEN_MAX, idle_wait),
        };
        if count >= max {
            return taken;
        }
        let more = match batches.try_recv() {
            Ok(more) => more,
            Err(_) if wait.is_zero() => return taken,
            Err(_) => tokio::select! {
                more = tokio::time::timeout_at(begun + wait, batches.recv()) => match more {
                    Ok(Ok(more)) => more,
                    // What is missing after a lag shows as a hole.
                    _ => return taken,
                },
                Ok(()) = waiting.changed() => continue,
            },
        };
        wanted = wanted || more.iter().any(&wants);
        count += more.len();
        taken.push(more);
    }
}

/// Takes what was published, reading in PostgreSQL what is missing before it.
async fn take_tail<F: Follower>(
    pool: &PgPool,
    follower: &F,
    held: &mut F::Held,
    batches: &[Arc<Vec<Recorded>>],
) -> anyhow::Result<()> {
    let mut next = follower.position(held) + 1;
    let mut events: Vec<&Recorded> = Vec::new();
    let mut complete = true;
    // Batches overlap: what was committed in this process comes from EVENTS as well.
    for event in batches.iter().flat_map(|batch| batch.iter()) {
        if event.position > next {
            complete = false;
            break;
        }
        if event.position == next {
            events.push(event);
            next += 1;
        }
    }
    if !events.is_empty() {
        follower.take(held, &events, next - 1).await?;
    }
    if complete { Ok(()) } else { catch_up(pool, follower, held).await }
}

/// Takes everything that PostgreSQL has.
async fn catch_up<F: Follower>(
    pool: &PgPool,
    follower: &F,
    held: &mut F::Held,
) -> anyhow::Result<()> {
    loop {
        let head = head::read(pool).await?.position;
        let position = follower.position(held);
        if head <= position {
            return Ok(());
        }
        let until = head.min(position + TAKEN_MAX as i64);
        let events = read(pool, position, until).await?;
        follower.take(held, &events.iter().collect::<Vec<_>>(), until).await?;
    }
}

/// The events after `after` up to and including `until`.
pub(crate) async fn read(pool: &PgPool, after: i64, until: i64) -> anyhow::Result<Vec<Recorded>> {
    let mut connection = pool.acquire().await?;
    let mut rows = history::read(&mut connection, after, until, None);
    let mut events = Vec::new();
    while let Some(page) = rows.try_next().await? {
        events.extend(page.iter().map(history::Row::recorded));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::tests::event;

    /// How long one event is gathered, on a clock that goes on only when all wait.
    async fn gathered(
        waits: usize,
        wants: bool,
        comes: impl FnOnce(watch::Sender<usize>),
    ) -> Duration {
        let (_batches, mut coming) = broadcast::channel(8);
        let (waiters, mut waiting) = watch::channel(waits);
        let begun = tokio::time::Instant::now();
        comes(waiters);
        let first = Arc::new(vec![event(1)]);
        let taken = gather(first, &mut coming, &mut waiting, IDLE_WAIT, |_| wants).await;
        assert_eq!(taken.len(), 1);
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_concerns_nobody_and_is_waited_for_by_nobody_is_gathered() {
        assert_eq!(gathered(0, true, drop).await, Duration::ZERO);
        assert_eq!(gathered(1, false, drop).await, Duration::ZERO);
        assert_eq!(gathered(0, false, drop).await, IDLE_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_to_wait_ends_the_gathering() {
        let later = Duration::from_millis(10);
        let comes = |waiters: watch::Sender<usize>| {
            tokio::spawn(async move {
                let _ = tokio::time::timeout(later, std::future::pending::<()>()).await;
                waiters.send_modify(|count| *count += 1);
                waiters.closed().await;
            });
        };
        assert_eq!(gathered(0, false, comes).await, later);
    }
}
