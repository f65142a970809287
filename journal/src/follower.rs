//! Keeping projections up to date: each folds the journal in its own transaction, at its own pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, Role};
use crate::checkpoint::{self, Generation};
use crate::fold::{OnPoison, Parked, fold, fold_within, key};
use crate::following::{Follower, keep_following, read};
use crate::leader::{self, Lock};
use crate::projection::Projection;
pub use crate::rebuild::{Rebuilt, rebuild};
use crate::recorded::Recorded;

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
    let mut tasks = tokio::task::JoinSet::new();
    for projection in projections {
        let (pool, broker, asleep) = (pool.clone(), broker.clone(), AtomicBool::new(false));
        let folder = Folder { pool: pool.clone(), broker: broker.clone(), projection, asleep };
        tasks.spawn(keep_following(pool, broker, folder, stop.clone()));
    }
    while let Some(task) = tasks.join_next().await {
        task?;
    }
    Ok(())
}

/// One projection of this process.
struct Folder {
    pool: PgPool,
    broker: Broker,
    projection: Arc<dyn Projection>,
    /// There was no event yet of the type that it begins with, so nothing is for it.
    asleep: AtomicBool,
}

/// A generation being folded: its tables, and the connection that holds its lock.
struct Folding {
    connection: PgConnection,
    generation: Generation,
    parked: Parked,
}

#[async_trait]
impl Follower for Folder {
    type Held = Folding;

    fn name(&self) -> String {
        format!("projection {}", self.projection.name())
    }

    fn waiting(&self) -> watch::Receiver<usize> {
        self.broker.positions().waiting(self.projection.name())
    }

    /// The live generation, made or rebuilt where there is none of this version, once nobody else folds it.
    async fn open(&self) -> anyhow::Result<Folding> {
        let name = self.projection.name();
        let mut connection = leader::wait(&self.pool, Lock::Fold(name)).await?;
        // A power cut may take back the last positions: what came after them is folded again.
        sqlx::query("SET synchronous_commit TO off").execute(&mut connection).await?;
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
        let asleep = match self.projection.begins_with() {
            None => false,
            Some(first) => !exists(&mut connection, first, generation.position).await?,
        };
        self.asleep.store(asleep, Ordering::Relaxed);
        self.said(generation.position).await;
        Ok(Folding { connection, generation, parked: parked.into_iter().collect() })
    }

    fn wants(&self, event: &Recorded) -> bool {
        self.is_awake(&[event]) && self.projection.wants(&event.content())
    }

    fn position(&self, folding: &Folding) -> i64 {
        folding.generation.position
    }

    async fn take(
        &self,
        folding: &mut Folding,
        events: &[&Recorded],
        until: i64,
    ) -> anyhow::Result<()> {
        let events = if self.is_awake(events) { events } else { &[] };
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

    /// Folds the parked events of keys that somebody asked to try again.
    async fn look(&self, folding: &mut Folding) -> anyhow::Result<()> {
        if folding.parked.is_empty() { Ok(()) } else { self.retry_parked(folding).await }
    }
}

impl Folder {
    /// Whether anything of `events` may be for it; wakes it where the first such event is among them.
    fn is_awake(&self, events: &[&Recorded]) -> bool {
        if !self.asleep.load(Ordering::Relaxed) {
            return true;
        }
        let first = self.projection.begins_with();
        let wakes = events.iter().any(|event| Some(event.aggregate_type.as_str()) == first);
        self.asleep.store(!wakes, Ordering::Relaxed);
        wakes
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

    async fn retry_parked(&self, folding: &mut Folding) -> anyhow::Result<()> {
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
            events.extend(read(&self.pool, position - 1, position).await?);
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

/// Whether there is an event of this type up to `position`.
async fn exists(
    connection: &mut PgConnection,
    aggregate_type: &str,
    position: i64,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM events WHERE aggregate_type = $1 AND position <= $2)",
    )
    .bind(aggregate_type)
    .bind(position)
    .fetch_one(connection)
    .await
}
