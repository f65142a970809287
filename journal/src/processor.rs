//! The processor: reads the commands of the partitions it owns, decides them in batches, and records each batch in one
//! transaction. There is nothing to acknowledge: the cursor moves with the events.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use uuid::Uuid;

use crate::broker::{Broker, Role};
use crate::cache::Cache;
use crate::commit::{Batch, CommitError, Committed, Snapshot, commit};
use crate::crash;
use crate::decide::{Ruling, decide, key, known};
use crate::inbox::{BATCH_MAX, Inbox, Incoming, fill, next_batch};
use crate::outcome::{Decision, Outcome};
use crate::partitions::{Move, Ownership};
use crate::retry::{Backoff, DATABASE_LIMIT};

mod answers;
mod upkeep;

/// How many events an aggregate may have since its snapshot.
const SNAPSHOT_EVERY: i64 = 100;
/// After a command that was decided before, so many batches are compared with the stored outcomes before they are decided.
/// Otherwise a batch is taken for new, and the key of the outcomes refuses it if it is not.
const COMPARED: u32 = 64;
/// The connections of a processor.
const CONNECTIONS_MAX: u32 = 4;
/// How often leases are renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often decided commands are cleared away, and COMMANDS is looked at.
const TIDY_EVERY: Duration = Duration::from_secs(5);
/// How long that may take: leases and commands wait meanwhile.
const TIDY_LIMIT: Duration = Duration::from_secs(1);

/// What an operator may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a decided command stays in COMMANDS, so that a database restored from a dump finds it again.
    pub keep_decided: Duration,
    /// Ties a span to the trace that a command's `traceparent` names.
    pub adopt_trace: fn(&Span, &str),
}

impl Default for Options {
    fn default() -> Self {
        Options { keep_decided: Duration::from_secs(24 * 3600), adopt_trace: |_, _| {} }
    }
}

/// Decides commands until told to stop. Any number of processes may run this: they share the partitions.
pub fn run(
    pool: PgPool,
    broker: Broker,
    options: Options,
    stop: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(process(pool, broker, options, stop))
}

async fn process(
    pool: PgPool,
    broker: Broker,
    options: Options,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let client = broker.client(Role::Processor).await?;
    let mut processor = Processor {
        pool: looks_up_by_key(&pool),
        model: pool,
        broker,
        client,
        options,
        ownership: Ownership::new(),
        cache: Cache::new(),
        inbox: None,
        read: 0,
        renewed: Instant::now(),
        compare: COMPARED,
        decided: VecDeque::new(),
        tidied: String::new(),
    };
    processor.work(&stop).await;
    let resigned = processor.ownership.resign(&processor.pool);
    let resigned = tokio::time::timeout(DATABASE_LIMIT, resigned).await;
    if let Err(error) = resigned.map_err(anyhow::Error::new).and_then(|r| r.map_err(Into::into)) {
        tracing::warn!(%error, "leases not given back; they end by themselves");
    }
    processor.pool.close().await;
    Ok(())
}

/// Connections on which every lookup goes through an index. The processor asks for some hundred keys at a time, and a
/// plan that was made while the tables were small would read all of them, for every batch, for as long as it runs.
fn looks_up_by_key(pool: &PgPool) -> PgPool {
    let limit = DATABASE_LIMIT.as_millis().to_string();
    let settings = [
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("statement_timeout", limit.as_str()),
    ];
    let options = pool.connect_options().as_ref().clone().options(settings);
    // None is asked before each use whether it is whole. One that broke is met by trying the batch again, and where something
    // took too long none of them is used again.
    PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

struct Processor {
    pool: PgPool,
    /// What [`pool`](Self::pool) is made after.
    model: PgPool,
    broker: Broker,
    client: async_nats::Client,
    options: Options,
    ownership: Ownership,
    cache: Cache,
    inbox: Option<Inbox>,
    /// Everything of the owned partitions up to this sequence is decided.
    read: i64,
    /// When the leases were renewed.
    renewed: Instant,
    /// How many batches more are compared with the stored outcomes first.
    compare: u32,
    /// When the lowest cursor was where, in the COMMANDS that was made at [`tidied`](Self::tidied).
    decided: VecDeque<(Instant, i64)>,
    /// The stream that was looked after last.
    tidied: String,
}

impl Processor {
    async fn work(&mut self, stop: &CancellationToken) {
        let mut renew = tokio::time::interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = renew.tick() => {
                    if let Err(error) = self.renew().await {
                        tracing::warn!(%error, "cannot renew the leases");
                    }
                }
                _ = tidy.tick() => {
                    let error = match tokio::time::timeout(TIDY_LIMIT, self.tidy()).await {
                        Ok(Ok(())) => continue,
                        Ok(Err(error)) => format!("{error:#}"),
                        Err(_) => {
                            self.leave_connections();
                            format!("not done in {TIDY_LIMIT:?}")
                        }
                    };
                    tracing::warn!(error, "cannot look after COMMANDS");
                }
                count = next_batch(&mut self.inbox, &mut batch) => {
                    if count == 0 {
                        self.inbox = None;
                        continue;
                    }
                    fill(&mut self.inbox, &mut batch).await;
                    self.take(&batch, stop).await;
                    batch.clear();
                }
            }
        }
    }

    /// Renews the leases. True: other partitions are ours now, and are read from their cursors.
    async fn renew(&mut self) -> anyhow::Result<bool> {
        let renewal = self.ownership.renew(&self.pool, self.read);
        let Ok(changed) = tokio::time::timeout(DATABASE_LIMIT, renewal).await else {
            self.leave_connections();
            anyhow::bail!("no answer in {DATABASE_LIMIT:?}");
        };
        let changed = changed?;
        self.renewed = Instant::now();
        if changed {
            self.reopen();
        }
        Ok(changed)
    }

    /// Starts to read again from the stored cursors, with nothing remembered.
    fn reopen(&mut self) {
        self.cache.clear();
        self.compare = COMPARED;
        self.read = 0;
        self.inbox = None;
        let partitions: Vec<u16> = self.ownership.owned.keys().copied().collect();
        tracing::info!(partitions = partitions.len(), "deciding");
        if !partitions.is_empty() {
            let cursor = self.ownership.lowest_cursor();
            self.inbox = Some(Inbox::open(self.broker.clone(), partitions, cursor));
        }
    }

    /// Sees to it that `batch` is decided and answered, however often that has to be tried.
    async fn take(&mut self, mut batch: &[Incoming], stop: &CancellationToken) {
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() && !batch.is_empty() {
            let attempt = tokio::time::timeout(DATABASE_LIMIT, self.attempt(batch)).await;
            if attempt.is_err() {
                self.leave_connections();
            }
            match attempt.map_err(anyhow::Error::new).flatten() {
                Ok(done) => {
                    self.read = batch[done - 1].sequence;
                    batch = &batch[done..];
                    if batch.is_empty() || self.renewed.elapsed() < RENEW_EVERY {
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        commands = batch.len(),
                        "batch tried again"
                    );
                    self.cache.clear();
                    self.compare = COMPARED;
                    backoff.wait().await;
                }
            }
            // The cursor row says whether a commit of unknown outcome happened, and who owns what.
            match self.renew().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the database does not answer"),
            }
        }
    }

    /// Goes on with other connections. One on which something was given up may be in a transaction of which sqlx does not
    /// know, or have an answer yet to give, as of a COPY, which the next who asks would take for theirs.
    fn leave_connections(&mut self) {
        let left = std::mem::replace(&mut self.pool, looks_up_by_key(&self.model));
        tokio::spawn(async move { left.close().await });
    }

    /// Decides, records and answers the beginning of `batch`, as a rule all of it. Gives how much.
    async fn attempt(&mut self, batch: &[Incoming]) -> anyhow::Result<usize> {
        let retried = batch.iter().any(Incoming::is_retry);
        let compared = self.compare > 0 || retried;
        match self.attempt_once(batch, compared).await {
            Err(error) if !compared && is_known(&error) => {
                self.compare = COMPARED;
                self.cache.clear();
                self.attempt_once(batch, true).await
            }
            done => done,
        }
    }

    async fn attempt_once(&mut self, batch: &[Incoming], compared: bool) -> anyhow::Result<usize> {
        let started = Instant::now();
        let known = if compared {
            known(&self.pool, batch).await.context("reading known outcomes")?
        } else {
            HashMap::new()
        };
        self.compare = if known.is_empty() { self.compare.saturating_sub(1) } else { COMPARED };
        let fresh: Vec<usize> =
            (0..batch.len()).filter(|n| self.is_fresh(&batch[*n], &known)).collect();
        let keys: Vec<_> =
            fresh.iter().filter_map(|n| batch[*n].envelope.as_ref().ok().map(key)).collect();
        self.cache.load(&self.pool, &keys).await.context("loading aggregates")?;
        let (outcomes, done) = self.decide_and_commit(batch, &fresh).await?;
        let batch = &batch[..done];
        crash::point("commit.answered");
        self.answer(batch, known, outcomes).await;
        metrics::histogram!("tapedeck_batch_commands").record(batch.len() as f64);
        metrics::histogram!("tapedeck_batch_seconds").record(started.elapsed().as_secs_f64());
        let fresh = fresh.iter().filter(|n| **n < done).count();
        metrics::counter!("tapedeck_commands_known_total").increment((done - fresh) as u64);
        Ok(done)
    }

    /// Whether a command is still to be decided: ours, after the cursor, and without a final outcome.
    fn is_fresh(&self, incoming: &Incoming, known: &HashMap<Uuid, Outcome>) -> bool {
        let after_cursor = self
            .ownership
            .owned
            .get(&incoming.partition)
            .is_some_and(|owned| incoming.sequence > owned.cursor);
        let retried = incoming.is_retry();
        let decided = known
            .get(&incoming.id)
            .is_some_and(|outcome| outcome.decision != Decision::Dead || !retried);
        after_cursor && !decided
    }

    /// Decides and records the commands at `fresh` and moves the cursors past them. Rows that the database refuses are
    /// narrowed down to the one command they come from, which becomes a dead letter.
    async fn decide_and_commit(
        &mut self,
        batch: &[Incoming],
        fresh: &[usize],
    ) -> anyhow::Result<(Vec<Outcome>, usize)> {
        let (mut rulings, done) = decide(&mut self.cache, batch, fresh);
        let error = match self.commit(&batch[..done], &rulings).await {
            Ok(committed) => return Ok((self.after_commit(committed).await, done)),
            Err(error) if !error.is_about_the_data() => return Err(error.into()),
            Err(error) => error,
        };
        self.cache.clear();
        if done > 1 {
            let half = done / 2;
            tracing::warn!(%error, commands = done, "narrowing down a command that cannot be recorded");
            let fresh = &fresh[..fresh.partition_point(|n| *n < half)];
            let keys: Vec<_> =
                fresh.iter().filter_map(|n| batch[*n].envelope.as_ref().ok().map(key)).collect();
            self.cache.load(&self.pool, &keys).await?;
            return Box::pin(self.decide_and_commit(&batch[..half], fresh)).await;
        }
        for ruling in &mut rulings {
            ruling.decision = Decision::Dead;
            ruling.reason = Some(format!("the database refused what it made: {error}"));
            ruling.events.clear();
        }
        let committed = self.commit(&batch[..done], &rulings).await?;
        Ok((self.after_commit(committed).await, done))
    }

    async fn commit(
        &mut self,
        incoming: &[Incoming],
        rulings: &[Ruling],
    ) -> Result<Committed, CommitError> {
        let moves = self.moves(incoming);
        if moves.is_empty() && rulings.is_empty() {
            return Ok(Committed { outcomes: Vec::new(), events: Vec::new() });
        }
        let snapshots = self.snapshots(rulings);
        let owner = self.ownership.owner;
        let batch = Batch { owner, moves: &moves, incoming, rulings, snapshots: &snapshots };
        let committed = commit(&self.pool, &batch).await?;
        for moved in moves {
            if let Some(owned) = self.ownership.owned.get_mut(&moved.partition) {
                owned.cursor = moved.to;
            }
        }
        Ok(committed)
    }

    /// From where to where the cursors of the partitions in `batch` go.
    fn moves(&self, batch: &[Incoming]) -> Vec<Move> {
        let mut last: HashMap<u16, i64> = HashMap::new();
        for incoming in batch {
            last.insert(incoming.partition, incoming.sequence);
        }
        let owned = &self.ownership.owned;
        let moves = last.into_iter().filter_map(|(partition, to)| {
            let owned = owned.get(&partition)?;
            let (epoch, from) = (owned.epoch, owned.cursor);
            (to > from).then_some(Move { partition, epoch, from, to })
        });
        moves.collect()
    }

    /// The state of each aggregate that has gone another hundred events.
    fn snapshots(&mut self, rulings: &[Ruling]) -> Vec<Snapshot> {
        let mut snapshots: HashMap<_, Snapshot> = HashMap::new();
        for ruling in rulings {
            let before = ruling.first_sequence - 1;
            let after = before + ruling.events.len() as i64;
            if before / SNAPSHOT_EVERY == after / SNAPSHOT_EVERY || ruling.events.is_empty() {
                continue;
            }
            let Some(schema_version) = self.cache.kind(&ruling.key.0).map(|k| k.snapshot_version)
            else {
                continue;
            };
            let Some(state) = self.cache.state(&ruling.key) else { continue };
            let Ok(payload) = state.snapshot() else { continue };
            let (aggregate_type, aggregate_id) = ruling.key.clone();
            let last_sequence = state.sequence();
            let snapshot =
                Snapshot { aggregate_type, aggregate_id, last_sequence, schema_version, payload };
            snapshots.insert(&ruling.key, snapshot);
        }
        snapshots.into_values().collect()
    }
}

/// Whether a batch was refused because one of its commands was decided before.
fn is_known(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CommitError::Known))
}
