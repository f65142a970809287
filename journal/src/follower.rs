//! Following the journal: what is new from EVENTS, what is behind from PostgreSQL, always from the stored position.
//!
//! One consumer for all projections of the process hands on what the relay publishes, and with it comes, sooner, what this
//! process committed itself. Each projection folds it in
//! its own transaction at its own pace; one that falls too far behind reads on in PostgreSQL and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Role};
use crate::checkpoint::{self, Generation};
use crate::fold::{OnPoison, Parked, fold, fold_within, key};
use crate::head;
use crate::history;
use crate::leader::{self, Lock};
use crate::projection::Projection;
pub use crate::rebuild::{Rebuilt, rebuild};
use crate::recorded::Recorded;
use crate::retry::Backoff;
use crate::tail::{HandedOn, tail};

/// How many batches a projection may be behind the consumer.
const BEHIND_MAX: usize = 128;
/// The most events folded in one transaction, live and while reading on in PostgreSQL.
const FOLD_MAX: usize = 8_192;
/// From this many at once on there is load, and a fold waits for more, up to as many as make waiting useless.
const UNDER_LOAD: usize = 128;
const FOLD_ENOUGH: usize = 2_048;
/// How long it waits.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// How long a projection waits for news before it looks into PostgreSQL.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Batches = broadcast::Receiver<Arc<Vec<Recorded>>>;

/// Keeps `projections` up to date until told to stop. Any number of processes may run this: one folds, others wait.
pub fn run(
    pool: PgPool,
    broker: Broker,
    projections: Vec<Arc<dyn Projection>>,
    stop: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(follow_all(pool, broker, projections, stop))
}

async fn follow_all(
    pool: PgPool,
    broker: Broker,
    projections: Vec<Arc<dyn Projection>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let batches = broadcast::Sender::new(BEHIND_MAX);
    let mut tasks = tokio::task::JoinSet::new();
    for projection in projections {
        let follower = Follower { pool: pool.clone(), broker: broker.clone(), projection };
        tasks.spawn(follower.run(batches.subscribe(), stop.clone()));
    }
    let handed_on = HandedOn::default();
    let here = committed_here(broker.clone(), batches.clone(), handed_on.clone(), stop.clone());
    tasks.spawn(here);
    tasks.spawn(tail(broker, batches, handed_on, stop));
    while let Some(task) = tasks.join_next().await {
        task?;
    }
    Ok(())
}

/// `first` and what else is there. Under load a moment's wait makes one transaction of what would be several, and one
/// change of what would be several of the same account.
async fn gather(first: Arc<Vec<Recorded>>, batches: &mut Batches) -> Vec<Arc<Vec<Recorded>>> {
    let until = tokio::time::Instant::now() + GATHER_MAX;
    let mut count = first.len();
    let mut taken = vec![first];
    while count < FOLD_MAX {
        let more = match batches.try_recv() {
            Ok(more) => more,
            Err(_) if !(UNDER_LOAD..FOLD_ENOUGH).contains(&count) => break,
            Err(_) => match tokio::time::timeout_at(until, batches.recv()).await {
                Ok(Ok(more)) => more,
                // What is missing after a lag shows as a hole.
                _ => break,
            },
        };
        count += more.len();
        taken.push(more);
    }
    taken
}

/// Hands on what this process commits, which need not make the detour over EVENTS.
async fn committed_here(
    broker: Broker,
    batches: broadcast::Sender<Arc<Vec<Recorded>>>,
    handed_on: HandedOn,
    stop: CancellationToken,
) {
    let mut committed = broker.committed().subscribe();
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return,
            batch = committed.recv() => batch,
        };
        match batch {
            Ok(batch) => {
                let _ = batches.send(batch.clone());
                handed_on.add(&batch);
            }
            // What was left out makes a hole, and is read in PostgreSQL.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// One projection of this process.
struct Follower {
    pool: PgPool,
    broker: Broker,
    projection: Arc<dyn Projection>,
}

/// A generation being folded: its tables, and the connection that holds its lock.
struct Folding {
    connection: PgConnection,
    generation: Generation,
    parked: Parked,
}

impl Follower {
    async fn run(self, mut batches: Batches, stop: CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let folded = tokio::select! {
                () = stop.cancelled() => return,
                folded = self.follow(&mut batches, &mut backoff) => folded,
            };
            if let Err(error) = folded {
                let name = self.projection.name();
                tracing::warn!(projection = name, error = format!("{error:#}"), "starting again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = backoff.wait() => {}
            }
        }
    }

    /// Folds until something fails, or another generation is live.
    async fn follow(&self, batches: &mut Batches, backoff: &mut Backoff) -> anyhow::Result<()> {
        let name = self.projection.name();
        let mut folding = self.open().await?;
        tracing::info!(projection = name, position = folding.generation.position, "folding");
        self.said(folding.generation.position).await;
        self.catch_up(&mut folding).await?;
        backoff.reset();
        let mut looked = Instant::now();
        loop {
            let batch = match tokio::time::timeout(LOOK_EVERY, batches.recv()).await {
                Ok(Ok(batch)) => batch,
                Ok(Err(broadcast::error::RecvError::Closed)) => return Ok(()),
                Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => {
                    self.catch_up(&mut folding).await?;
                    self.retry_parked(&mut folding).await?;
                    continue;
                }
            };
            let taken = gather(batch, batches).await;
            self.fold_tail(&mut folding, &taken).await?;
            if looked.elapsed() >= LOOK_EVERY {
                self.retry_parked(&mut folding).await?;
                looked = Instant::now();
            }
        }
    }

    /// The live generation, made or rebuilt where there is none of this version, once nobody else folds it.
    async fn open(&self) -> anyhow::Result<Folding> {
        let name = self.projection.name();
        let mut connection = leader::wait(&self.pool, Lock::Fold(name)).await?;
        let generation = match checkpoint::live(&self.pool, name).await? {
            Some(generation) if generation.version == self.projection.version() => generation,
            Some(_) => {
                rebuild(&self.pool, self.projection.clone(), |_, _| {}).await?;
                anyhow::bail!("its tables were rebuilt for a new version")
            }
            None => checkpoint::create(&self.pool, &*self.projection).await?,
        };
        let parked: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT key FROM dead_letters
             WHERE source = 'projection' AND name = $1 AND resolved_at IS NULL",
        )
        .bind(name)
        .fetch_all(&mut connection)
        .await?;
        Ok(Folding { connection, generation, parked: parked.into_iter().collect() })
    }

    /// Folds what was published, reading in PostgreSQL what is missing before it.
    async fn fold_tail(
        &self,
        folding: &mut Folding,
        batches: &[Arc<Vec<Recorded>>],
    ) -> anyhow::Result<()> {
        let mut next = folding.generation.position + 1;
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
            self.fold(folding, &events, next - 1).await?;
        }
        if complete { Ok(()) } else { self.catch_up(folding).await }
    }

    /// Folds everything that PostgreSQL has.
    async fn catch_up(&self, folding: &mut Folding) -> anyhow::Result<()> {
        loop {
            let head = head::read(&self.pool).await?.position;
            if head <= folding.generation.position {
                return Ok(());
            }
            let until = head.min(folding.generation.position + FOLD_MAX as i64);
            let events = self.read(folding.generation.position, until).await?;
            self.fold(folding, &events.iter().collect::<Vec<_>>(), until).await?;
        }
    }

    async fn read(&self, after: i64, until: i64) -> anyhow::Result<Vec<Recorded>> {
        let mut connection = self.pool.acquire().await?;
        let mut rows = history::read(&mut connection, after, until, None);
        let mut events = Vec::new();
        while let Some(page) = rows.try_next().await? {
            events.extend(page.iter().map(history::Row::recorded));
        }
        Ok(events)
    }

    async fn fold(
        &self,
        folding: &mut Folding,
        events: &[&Recorded],
        until: i64,
    ) -> anyhow::Result<()> {
        let moved = fold(
            &mut folding.connection,
            &*self.projection,
            &mut folding.generation,
            events,
            until,
            &mut folding.parked,
            OnPoison::Park,
        )
        .await?;
        anyhow::ensure!(moved, "another generation took over");
        metrics::gauge!("tapedeck_projection_position", "projection" => self.projection.name())
            .set(until as f64);
        self.said(until).await;
        Ok(())
    }

    /// Tells those who wait.
    async fn said(&self, position: i64) {
        let name = self.projection.name();
        self.broker.positions().advance(name, position);
        let Ok(client) = self.broker.client(Role::Follower).await else { return };
        let told =
            client.publish(format!("poke.projected.{name}"), position.to_string().into()).await;
        if let Err(error) = told {
            tracing::debug!(%error, "others were not told; they look by themselves");
        }
    }

    /// Folds the parked events of keys that somebody asked to try again.
    async fn retry_parked(&self, folding: &mut Folding) -> anyhow::Result<()> {
        if folding.parked.is_empty() {
            return Ok(());
        }
        let name = self.projection.name();
        let keys: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT key FROM dead_letters WHERE source = 'projection' AND name = $1
             AND resolved_at IS NULL AND resolution = 'retry'",
        )
        .bind(name)
        .fetch_all(&mut folding.connection)
        .await?;
        for key in keys {
            if let Err(error) = self.retry_key(folding, &key).await {
                tracing::warn!(
                    projection = name,
                    key,
                    error = format!("{error:#}"),
                    "still parked"
                );
                sqlx::query(
                    "UPDATE dead_letters SET resolution = NULL
                     WHERE source = 'projection' AND name = $1 AND key = $2 AND resolved_at IS NULL",
                )
                .bind(name)
                .bind(&key)
                .execute(&mut folding.connection)
                .await?;
            }
        }
        Ok(())
    }

    async fn retry_key(&self, folding: &mut Folding, parked: &str) -> anyhow::Result<()> {
        let name = self.projection.name();
        // An event may have been parked twice, by two rebuilds at once; it is folded once all the same.
        let positions: Vec<i64> = sqlx::query_scalar(
            "SELECT DISTINCT position FROM dead_letters
             WHERE source = 'projection' AND name = $1 AND key = $2 AND resolved_at IS NULL
             ORDER BY position",
        )
        .bind(name)
        .bind(parked)
        .fetch_all(&mut folding.connection)
        .await?;
        let mut events = Vec::new();
        for position in positions {
            events.extend(self.read(position - 1, position).await?);
        }
        events.retain(|event| key(event) == parked);
        let mut tx = sqlx::Connection::begin(&mut folding.connection).await?;
        checkpoint::set_schema(&mut tx, &folding.generation.schema).await?;
        let batch: Vec<&Recorded> = events.iter().collect();
        fold_within(&mut tx, &*self.projection, &batch, &Parked::new(), OnPoison::Stop).await?;
        sqlx::query(
            "UPDATE dead_letters SET resolved_at = clock_timestamp(), resolution = 'folded on retry'
             WHERE source = 'projection' AND name = $1 AND key = $2 AND resolved_at IS NULL",
        )
        .bind(name)
        .bind(parked)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        folding.parked.remove(parked);
        Ok(())
    }
}
