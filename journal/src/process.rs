//! Processes: what follows from what happened. A process answers events with commands.
//!
//! It follows the journal from its own stored position. The commands that follow from a batch of events are published
//! first, and only when all of them are on disk does the position move; wherever it dies in between, it sees the events
//! again and sends the same commands again, which changes nothing, because their ids are derived from the events'.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::aggregates::panic_text;
use crate::broker::{Broker, Role};
use crate::command::{BadAddress, Envelope};
use crate::crash;
use crate::fold::key;
use crate::following::{Follower, keep_following};
use crate::ingest::{Prepared, PublishError, Publisher};
use crate::leader::{self, Lock};
use crate::recorded::{Content, Recorded};
use crate::relay;
use crate::retry::{Backoff, DATABASE_LIMIT};

/// How many dead letters are tried again at one look.
const RETRIED_MAX: i64 = 100;

/// A process manager: a pure function from an event to the commands that follow from it. One file each, in
/// `gateways/src/processes/`.
///
/// It gets every event at least once, in the order of positions, and none that was recorded before it first ran. The
/// same event must always give the same command ids: make each with [`derived_id`] of the event's id, and its envelope
/// with [`Envelope::following`]. Nothing else is kept between events: what it needs to know is in them, or in the
/// history before them, see [`begin`](Process::begin).
///
/// An event that it cannot answer, with an error or a panic, is kept as a dead letter, and the next ones go on.
///
/// [`derived_id`]: domain::identity::derived_id
pub trait Process: Send + Sync + 'static {
    /// The business process: its position's name, and the source of its commands.
    fn name(&self) -> &'static str;

    /// Reads what it has to know of what came before and at `position`, from which it now goes on. Called whenever it
    /// begins, which may be after somebody else ran it, or after history was cut back.
    fn begin<'a>(&'a self, _pool: &'a PgPool, _position: i64) -> BoxFuture<'a, anyhow::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether something may follow from `event`; others are not passed to [`react`](Process::react). A glance, not a
    /// reading: every event passes here.
    fn wants(&self, event: &Content<'_>) -> bool;

    /// The commands that follow from `event`: all of them are sent, in this order, or none.
    fn react(&self, event: &Recorded) -> Result<Vec<Envelope>, Unanswered>;
}

/// Why nothing follows from an event that should have been answered.
#[derive(Debug, Error)]
pub enum Unanswered {
    #[error("the event cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    NotAddressed(#[from] BadAddress),
    #[error(transparent)]
    NotSent(#[from] PublishError),
    #[error("panicked: {0}")]
    Panicked(String),
}

/// Gives every process that never ran a position, the head of this moment: it answers what is recorded from now on.
/// Called before anything is taken in, so that no event falls between.
pub async fn register(pool: &PgPool, processes: &[Arc<dyn Process>]) -> sqlx::Result<()> {
    let names: Vec<&str> = processes.iter().map(|process| process.name()).collect();
    sqlx::query(
        "INSERT INTO processes (name, position, registered)
         SELECT name, h.position, h.position FROM unnest($1::text[]) AS name, head h
         ON CONFLICT (name) DO NOTHING",
    )
    .bind(names)
    .execute(pool)
    .await?;
    Ok(())
}

/// Runs `processes` until told to stop. Anybody else may run this as well: of each process one runs, others wait.
pub fn run(
    pool: PgPool,
    broker: Broker,
    publisher: Publisher,
    processes: Vec<Arc<dyn Process>>,
    stop: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        register(&pool, &processes).await?;
        let mut tasks = tokio::task::JoinSet::new();
        for process in processes {
            let (pool, broker, publisher) = (pool.clone(), broker.clone(), publisher.clone());
            let runner = Runner { pool: pool.clone(), broker: broker.clone(), publisher, process };
            tasks.spawn(keep_following(pool, broker, runner, stop.clone()));
        }
        while let Some(task) = tasks.join_next().await {
            task?;
        }
        Ok(())
    })
}

/// One process.
struct Runner {
    pool: PgPool,
    broker: Broker,
    publisher: Publisher,
    process: Arc<dyn Process>,
}

/// A process that is ours to run: the connection that holds its lock, and how far it is.
struct Running {
    connection: PgConnection,
    position: i64,
}

/// An event that could not be answered, and why.
struct Letter<'e> {
    event: &'e Recorded,
    reason: String,
}

#[async_trait]
impl Follower for Runner {
    type Held = Running;

    fn name(&self) -> String {
        format!("process {}", self.process.name())
    }

    fn waiting(&self) -> watch::Receiver<usize> {
        self.broker.positions().waiting(self.process.name())
    }

    async fn open(&self) -> anyhow::Result<Running> {
        let name = self.process.name();
        let mut connection = leader::wait(&self.pool, Lock::Process(name)).await?;
        // A dump from before its first run has no row of it.
        register(&self.pool, std::slice::from_ref(&self.process)).await?;
        // A power cut may take back the last positions: what came after them is answered again.
        sqlx::query("SET synchronous_commit TO off").execute(&mut connection).await?;
        let position = stored_position(&mut connection, name).await?;
        self.process.begin(&self.pool, position).await?;
        self.said(position).await;
        Ok(Running { connection, position })
    }

    fn wants(&self, event: &Recorded) -> bool {
        self.process.wants(&event.content())
    }

    fn position(&self, running: &Running) -> i64 {
        running.position
    }

    async fn take(
        &self,
        running: &mut Running,
        events: &[&Recorded],
        until: i64,
    ) -> anyhow::Result<()> {
        let mut commands = Vec::new();
        let mut letters = Vec::new();
        for event in events.iter().filter(|event| self.wants(event)) {
            match self.answer(event) {
                Ok(follow) => commands.extend(follow),
                Err(error) => letters.push(Letter { event, reason: error.to_string() }),
            }
        }
        crash::point_of("process.reacted", self.process.name());
        self.publish(&commands).await;
        crash::point_of("process.published", self.process.name());
        let stored = self.store(&mut running.connection, running.position, until, &letters);
        tokio::time::timeout(DATABASE_LIMIT, stored).await??;
        crash::point_of("process.stored", self.process.name());
        running.position = until;
        self.said(until).await;
        Ok(())
    }

    /// Sees whether history was cut back, as by a restored dump, and answers the events that somebody asked to try again.
    async fn look(&self, running: &mut Running) -> anyhow::Result<()> {
        let stored = stored_position(&mut running.connection, self.process.name());
        let stored = tokio::time::timeout(DATABASE_LIMIT, stored).await??;
        let position = running.position;
        anyhow::ensure!(stored == position, "its position is {stored} and was {position}");
        self.retry_letters(&mut running.connection).await
    }
}

impl Runner {
    /// The commands that follow from `event`, all of which can be sent.
    fn answer(&self, event: &Recorded) -> Result<Vec<Prepared>, Unanswered> {
        let reacted = catch_unwind(AssertUnwindSafe(|| self.process.react(event)));
        let envelopes =
            reacted.map_err(|panic| Unanswered::Panicked(panic_text(&*panic).to_owned()))??;
        envelopes.iter().map(|envelope| Ok(Prepared::of(envelope)?)).collect()
    }

    /// Sends `commands` until all of them are on disk, however long COMMANDS is full or NATS away.
    async fn publish(&self, commands: &[Prepared]) {
        let name = self.process.name();
        let mut backoff = Backoff::default();
        let mut complained = false;
        while let Err(error) = self.publisher.send_all(commands).await {
            if !complained {
                tracing::warn!(process = name, %error, "its commands wait");
                complained = true;
            }
            backoff.wait().await;
        }
        metrics::counter!("tapedeck_process_commands_total", "process" => name)
            .increment(commands.len() as u64);
    }

    /// Moves the position, only from where it was, and keeps what could not be answered with it.
    async fn store(
        &self,
        connection: &mut PgConnection,
        from: i64,
        until: i64,
        letters: &[Letter<'_>],
    ) -> anyhow::Result<()> {
        if letters.is_empty() {
            self.move_on(connection, from, until).await?;
        } else {
            let mut tx = connection.begin().await?;
            for letter in letters {
                self.keep(&mut tx, letter).await?;
            }
            self.move_on(&mut tx, from, until).await?;
            tx.commit().await?;
        }
        let name = self.process.name();
        metrics::gauge!("tapedeck_process_position", "process" => name).set(until as f64);
        Ok(())
    }

    async fn move_on(
        &self,
        connection: &mut PgConnection,
        from: i64,
        until: i64,
    ) -> anyhow::Result<()> {
        let moved = sqlx::query(
            "UPDATE processes SET position = $3, updated_at = clock_timestamp() WHERE name = $1 AND position = $2",
        )
        .bind(self.process.name())
        .bind(from)
        .bind(until)
        .execute(connection)
        .await?;
        anyhow::ensure!(moved.rows_affected() == 1, "its position is not {from} any more");
        Ok(())
    }

    /// Keeps what could not be answered, once.
    async fn keep(&self, connection: &mut PgConnection, letter: &Letter<'_>) -> sqlx::Result<()> {
        let (name, Letter { event, reason }) = (self.process.name(), letter);
        tracing::error!(process = name, position = event.position, reason, "a dead letter");
        sqlx::query(
            "INSERT INTO dead_letters (source, name, key, command_id, position, reason, payload)
             SELECT 'process', $1, $2, $3, $4, $5, $6
             WHERE NOT EXISTS (SELECT FROM dead_letters WHERE source = 'process' AND name = $1 AND key = $2
                               AND position = $4 AND resolved_at IS NULL)",
        )
        .bind(name)
        .bind(key(event))
        .bind(event.command_id)
        .bind(event.position)
        .bind(reason.replace('\0', ""))
        .bind(event.payload.get().as_bytes())
        .execute(connection)
        .await
        .map(drop)
    }

    /// Tells those who wait for a position.
    async fn said(&self, position: i64) {
        let name = self.process.name();
        self.broker.positions().advance(name, position);
        let Ok(client) = self.broker.client(Role::Follower).await else { return };
        let told =
            client.publish(format!("poke.projected.{name}"), position.to_string().into()).await;
        if let Err(error) = told {
            tracing::debug!(%error, "others were not told; they look by themselves");
        }
    }

    async fn retry_letters(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        let letters: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT id, position FROM dead_letters WHERE source = 'process' AND name = $1
             AND resolved_at IS NULL AND resolution = 'retry' ORDER BY position LIMIT $2",
        )
        .bind(self.process.name())
        .bind(RETRIED_MAX)
        .fetch_all(&mut *connection)
        .await?;
        for (letter, position) in letters {
            let events = relay::read(&self.pool, position - 1, 1).await?;
            let answered = match events.first().filter(|event| event.position == position) {
                Some(event) => self.answer(event).map_err(|error| error.to_string()),
                None => Err("its event is not in the journal any more".to_owned()),
            };
            let (resolved, resolution, reason) = match answered {
                Ok(commands) => {
                    self.publish(&commands).await;
                    (true, Some("answered on retry"), None)
                }
                Err(reason) => (false, None, Some(reason.replace('\0', ""))),
            };
            sqlx::query(
                "UPDATE dead_letters SET resolved_at = CASE WHEN $2 THEN clock_timestamp() END,
                        resolution = $3, reason = COALESCE($4, reason)
                 WHERE id = $1",
            )
            .bind(letter)
            .bind(resolved)
            .bind(resolution)
            .bind(reason)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

async fn stored_position(connection: &mut PgConnection, name: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT position FROM processes WHERE name = $1")
        .bind(name)
        .fetch_one(connection)
        .await
}
