//! The other side: cqrs-es 0.5 and postgres-es 0.5 as their documentation shows them, in a database of their own on the
//! same PostgreSQL, with the same aggregate.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_trait::async_trait;
use cqrs_es::persist::{GenericQuery, QueryReplay};
use cqrs_es::{AggregateError, EventEnvelope, Query, View};
use domain::account::{Account, Event};
use futures::TryStreamExt;
use postgres_es::{PostgresCqrs, PostgresEventRepository, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::ground::Ground;
use crate::measure::{Latencies, Percentiles};
use crate::work::Work;

const DATABASE: &str = "stock";
/// What `postgres_es::default_postgress_pool` opens.
pub const DOCUMENTED_CONNECTIONS: u32 = 10;

const CALLERS: u64 = 32;
const ATTEMPTS_MAX: u32 = 50;

/// `db/init.sql` of postgres-es 0.5, with the view named.
const TABLES: &str = "
CREATE TABLE events (
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE TABLE account_view (
    view_id text                        NOT NULL,
    version bigint CHECK (version >= 0) NOT NULL,
    payload json                        NOT NULL,
    PRIMARY KEY (view_id)
);";

type Views = PostgresViewRepository<AccountView, Account>;

/// The sums of an account: what Tapedeck's `balances` holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountView {
    credits: i64,
    available: i64,
    held: i64,
    captured: i64,
    reversed: i64,
}

impl View<Account> for AccountView {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        self.fold(&event.payload);
    }
}

impl AccountView {
    pub fn fold(&mut self, event: &Event) {
        match event {
            Event::Credited { points, .. } => {
                self.credits += points;
                self.available += points;
            }
            Event::Held { points, .. } => {
                self.available -= points;
                self.held += points;
            }
            Event::Declined { .. } => {}
            Event::Captured { points, .. } => {
                self.held -= points;
                self.captured += points;
            }
            Event::Released { points, .. } => {
                self.available += points;
                self.held -= points;
            }
            Event::Reversed { points, .. } => {
                self.available += points;
                self.reversed += points;
            }
        }
    }
}

/// All the views in memory: the fastest target a replay can have.
#[derive(Clone, Default)]
struct InMemory(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    views: HashMap<String, AccountView>,
    count: u64,
}

#[async_trait]
impl Query<Account> for InMemory {
    async fn dispatch(&self, id: &str, events: &[EventEnvelope<Account>]) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.count += events.len() as u64;
        let update = |view: &mut AccountView| events.iter().for_each(|event| view.update(event));
        match memory.views.get_mut(id) {
            Some(view) => update(view),
            None => {
                let mut view = AccountView::default();
                update(&mut view);
                memory.views.insert(id.to_owned(), view);
            }
        }
    }
}

pub struct Stock {
    pool: PgPool,
}

/// What 32 callers achieved.
pub struct Executed {
    pub per_second: f64,
    pub latency: Percentiles,
    /// Executions that were told of a conflict and tried again.
    pub conflicts: u64,
    /// Updates of the view that failed, which stock does not tell the caller.
    pub views_lost: u64,
}

impl Stock {
    /// Makes the database anew, empty.
    pub async fn prepare(ground: &Ground, connections: u32) -> anyhow::Result<Self> {
        let admin = ground.admin().await?;
        for statement in ["DROP DATABASE IF EXISTS stock WITH (FORCE)", "CREATE DATABASE stock"] {
            sqlx::query(statement).execute(&admin).await?;
        }
        admin.close().await;
        let url = ground.servers.database_url_of("postgres", DATABASE);
        let pool = PgPoolOptions::new().max_connections(connections).connect(&url).await?;
        sqlx::raw_sql(TABLES).execute(&pool).await?;
        Ok(Stock { pool })
    }

    /// Executes `work` with 32 callers, each trying again at a conflict.
    pub async fn execute(&self, work: &Work) -> anyhow::Result<Executed> {
        let (cqrs, views_lost) = self.framework();
        let (cqrs, next) = (Arc::new(cqrs), Arc::new(AtomicU64::new(0)));
        let conflicts = Arc::new(AtomicU64::new(0));
        let started = Instant::now();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (cqrs, work, next) = (cqrs.clone(), work.clone(), next.clone());
                let conflicts = conflicts.clone();
                tokio::spawn(async move {
                    let mut latencies = Latencies::default();
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= work.count {
                            return Ok::<_, anyhow::Error>(latencies);
                        }
                        let began = Instant::now();
                        execute_one(&cqrs, &work, n, &conflicts).await?;
                        latencies.add(began.elapsed());
                    }
                })
            })
            .collect();
        let mut latencies = Latencies::default();
        for caller in callers {
            latencies.extend(caller.await??);
        }
        Ok(Executed {
            per_second: work.count as f64 / started.elapsed().as_secs_f64(),
            latency: latencies.percentiles(),
            conflicts: conflicts.load(Ordering::Relaxed),
            views_lost: views_lost.load(Ordering::Relaxed),
        })
    }

    /// Copies the account events of the journal into the table of postgres-es, up to `until`.
    pub async fn fill(&self, ground: &Ground, until: i64) -> anyhow::Result<u64> {
        const COLUMNS: &str = "aggregate_type, aggregate_id, sequence, event_type, event_version, \
                               payload, metadata";
        sqlx::query("TRUNCATE events, account_view").execute(&self.pool).await?;
        let (mut from, mut to) = (ground.pool.acquire().await?, self.pool.acquire().await?);
        let out = format!(
            "COPY (SELECT {COLUMNS} FROM events WHERE aggregate_type = 'account' AND position <= \
             {until} ORDER BY position) TO STDOUT BINARY"
        );
        let mut pieces = from.copy_out_raw(&out).await?;
        let mut copy =
            to.copy_in_raw(&format!("COPY events ({COLUMNS}) FROM STDIN BINARY")).await?;
        let mut buffer = Vec::with_capacity(1 << 20);
        while let Some(piece) = pieces.try_next().await? {
            buffer.extend_from_slice(&piece);
            if buffer.len() > 1 << 19 {
                copy.send(std::mem::take(&mut buffer)).await?;
            }
        }
        copy.send(buffer).await?;
        let rows = copy.finish().await?;
        sqlx::query("VACUUM ANALYZE events").execute(&self.pool).await?;
        Ok(rows)
    }

    /// `QueryReplay::replay_all` into memory: how long, and how many events arrived.
    pub async fn replay_in_memory(&self) -> anyhow::Result<(Duration, u64)> {
        let views = InMemory::default();
        let repository = PostgresEventRepository::new(self.pool.clone());
        let replay = QueryReplay::<_, _, Account>::new(repository, views.clone());
        let started = Instant::now();
        replay.replay_all().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let count = views.0.lock().unwrap_or_else(PoisonError::into_inner).count;
        Ok((started.elapsed(), count))
    }

    /// `QueryReplay::replay_all` into the `GenericQuery` view, which is empty before.
    pub async fn replay_into_view(&self) -> anyhow::Result<Duration> {
        sqlx::query("TRUNCATE account_view").execute(&self.pool).await?;
        let repository = PostgresEventRepository::new(self.pool.clone());
        let query = GenericQuery::<Views, AccountView, Account>::new(self.views());
        let replay = QueryReplay::<_, _, Account>::new(repository, query);
        let started = Instant::now();
        replay.replay_all().await.map_err(|error| anyhow::anyhow!("{error}"))?;
        let elapsed = started.elapsed();
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM account_view").fetch_one(&self.pool).await?;
        ensure!(rows > 0, "the replay made no views");
        Ok(elapsed)
    }

    pub async fn remove(self, ground: &Ground) -> anyhow::Result<()> {
        self.pool.close().await;
        let admin = ground.admin().await?;
        sqlx::query("DROP DATABASE stock WITH (FORCE)").execute(&admin).await?;
        admin.close().await;
        Ok(())
    }

    fn views(&self) -> Arc<Views> {
        Arc::new(PostgresViewRepository::new("account_view", self.pool.clone()))
    }

    fn framework(&self) -> (PostgresCqrs<Account>, Arc<AtomicU64>) {
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        let mut query = GenericQuery::<Views, AccountView, Account>::new(self.views());
        query.use_error_handler(Box::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        (postgres_cqrs(self.pool.clone(), vec![Box::new(query)], ()), lost)
    }
}

async fn execute_one(
    cqrs: &PostgresCqrs<Account>,
    work: &Work,
    n: u64,
    conflicts: &AtomicU64,
) -> anyhow::Result<()> {
    let account = Work::account(n);
    for _ in 0..ATTEMPTS_MAX {
        match cqrs.execute(&account, work.command(n)).await {
            Ok(()) => return Ok(()),
            Err(AggregateError::AggregateConflict) => {
                conflicts.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => return Err(anyhow::anyhow!("{error}")).context("stock refused"),
        }
    }
    anyhow::bail!("a command met {ATTEMPTS_MAX} conflicts")
}
