//! The director: one in the cluster, for all stages. It looks at a stage, does the one next thing, waits until that is
//! seen, and looks again. It keeps nothing between two looks, so its successor goes on wherever it dies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use domain::alerting::Kind;
use domain::stage::Command;
use journal::broker::Broker;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::{Decision, Envelope, crash, head};
use projections::stages;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::decide::{EXPIRED_AT_ONCE, Next, decide};
use super::settings::{Settings, until};
use super::unnamed::Unnamed;
use super::{commands, presence};
use crate::leading;

/// The name of the lock.
const NAME: &str = "director";

/// How long a command may take to be decided, and how long the projection may take to show it.
const DECISION_LIMIT: Duration = Duration::from_secs(10);
const SEEN_LIMIT: Duration = Duration::from_secs(10);
/// How long the connection that holds the lock may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How often it looks who is there while something waits, and how often otherwise.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const IDLE_LOOK_EVERY: Duration = Duration::from_secs(15);
/// The shortest time between two looks at a stage.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(20);

/// All that directing needs.
pub struct Director {
    pub pool: PgPool,
    pub broker: Broker,
    pub publisher: Publisher,
    pub settings: watch::Receiver<Arc<Settings>>,
}

impl Director {
    /// Directs until told to stop. Any number of processes may run this: one acts, others wait.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let work = |leader| leading::until(&stop, self.lead(leader));
        leading::lead(&self.pool, (NAME, "the director"), &stop, work).await
    }

    /// Directs every stage on its own while we are the one, until something fails.
    async fn lead(&self, mut leader: PgConnection) -> anyhow::Result<()> {
        let positions = Positions::start(self.pool.clone(), &self.broker).await?;
        let replies = Replies::start(&self.broker).await?;
        let mut unnamed = Unnamed::default();
        loop {
            let mut settings = self.settings.clone();
            let now = Arc::clone(&settings.borrow_and_update());
            let (positions, replies) = (&positions, &replies);
            let directing = Directing { director: self, positions, replies, settings: now };
            let stages = directing.settings.names.iter().map(|name| directing.direct(name));
            tokio::select! {
                led = still_leads(&mut leader) => led?,
                directed = futures::future::try_join_all(stages) => drop(directed?),
                closed = directing.close_others(&mut unnamed) => closed?,
                // Other settings, and perhaps other stages.
                changed = settings.changed() => changed?,
            }
        }
    }
}

/// Asks again and again whether the lock is still ours; ends when it is not.
async fn still_leads(leader: &mut PgConnection) -> anyhow::Result<()> {
    loop {
        timeout(ANSWER_LIMIT, sqlx::query("SELECT 1").execute(&mut *leader)).await??;
        tokio::time::sleep(LOOK_EVERY * 4).await;
    }
}

/// The director with what it needs while it leads.
struct Directing<'a> {
    director: &'a Director,
    positions: &'a Positions,
    replies: &'a Replies,
    settings: Arc<Settings>,
}

impl Directing<'_> {
    async fn direct(&self, stage: &str) -> anyhow::Result<()> {
        let mut folded = self.positions.watch(stages::NAME);
        loop {
            folded.borrow_and_update();
            let look = self.step(stage, Utc::now()).await?;
            let wait = match look {
                Look::Again => {
                    tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
                    continue;
                }
                Look::At(at, often) => {
                    let every = if often { LOOK_EVERY } else { IDLE_LOOK_EVERY };
                    let left = at.map_or(every, |at| until(at - Utc::now()));
                    left.min(every)
                }
                // What comes into the line meanwhile has nobody who shows it.
                Look::Deserted => {
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
            };
            if timeout(wait, folded.changed()).await.is_ok() {
                tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
            }
        }
    }

    /// Closes every stage that is open and that the configuration does not name for a while: nobody sees it, and it would
    /// collect alerts for ever. Not at once, for a name may be misspelled, and what waits on a stage ends with it.
    async fn close_others(&self, unnamed: &mut Unnamed) -> anyhow::Result<()> {
        let grace = self.settings.close_after();
        loop {
            let mut others = stages::open(&self.director.pool).await?;
            others.retain(|(stage, _)| !self.settings.names.contains(stage));
            let now = Instant::now();
            for stage in unnamed.look(others.iter().map(|(stage, _)| stage.as_str()), now) {
                tracing::warn!(stage, closes_in = ?grace, "is not configured any more");
            }
            for (stage, revision) in others {
                if unnamed.lasts(&stage, now) < grace {
                    continue;
                }
                let (entry, at) = (commands::close_id(&stage, revision), Utc::now());
                let command = Command::Close { entry, expires: self.settings.expiring(), at };
                tracing::info!(stage, "is not configured any more and is closed");
                self.carry_out(&stage, commands::directed(&stage, &command, at)?).await?;
            }
            let next = unnamed.first_after(grace, now).unwrap_or(IDLE_LOOK_EVERY);
            tokio::time::sleep(next.clamp(LOOK_EVERY, IDLE_LOOK_EVERY)).await;
        }
    }

    /// One look at `stage`, and what is done about it.
    async fn step(&self, stage: &str, now: DateTime<Utc>) -> anyhow::Result<Look> {
        let pool = &self.director.pool;
        let overlays = presence::of(pool, stage).await?;
        let here: Vec<_> = overlays.iter().filter(|overlay| overlay.here).collect();
        let shown = |kind: &&str| here.iter().any(|overlay| overlay.shows(kind));
        let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).filter(shown).collect();
        let too_old: Vec<_> =
            self.settings.expiries().map(|(kind, expiry)| (kind.name(), now - expiry)).collect();
        let line = stages::line(pool, stage, &kinds, &too_old, EXPIRED_AT_ONCE).await?;
        let (_, Some(line)) = line else {
            let closed = commands::closed(pool, stage).await?;
            self.carry_out(stage, commands::open(stage, closed, now)?).await?;
            return Ok(Look::Again);
        };
        match decide(stage, &line, &overlays, &self.settings, now) {
            Next::Do(command) => {
                crash::point("stage.decided");
                self.carry_out(stage, commands::directed(stage, &command, now)?).await?;
                note(stage, &command);
                Ok(Look::Again)
            }
            Next::Wait(_) if here.is_empty() && line.playing.is_none() && line.anything_waits => {
                Ok(Look::Deserted)
            }
            Next::Wait(at) => {
                let unshown = line.playing.as_ref().is_some_and(|playing| !playing.shown);
                Ok(Look::At(at, unshown || (line.anything_waits && !line.paused)))
            }
        }
    }

    /// Sends a command, and waits until the line shows what it did, or what refused it.
    async fn carry_out(&self, stage: &str, envelope: Envelope) -> anyhow::Result<()> {
        let Director { pool, publisher, .. } = self.director;
        let id = envelope.id;
        let asked = self.replies.ask(publisher, envelope, DECISION_LIMIT);
        let answer = timeout(DECISION_LIMIT * 2, asked).await;
        let answer = answer.context("the broker does not answer")??;
        let decided = answer.with_context(|| format!("command {id} is not decided in time"))?;
        crash::point("stage.sent");
        match decided.decision {
            Decision::Accepted => {}
            // Something has happened on the stage since: it is looked at again.
            Decision::Rejected => tracing::debug!(stage, reason = decided.reason, "too late"),
            Decision::Dead => {
                anyhow::bail!(
                    "command {id} is a dead letter: {}",
                    decided.reason.unwrap_or_default()
                );
            }
        }
        let seen = match decided.last_position() {
            Some(position) => position,
            None => head::read(pool).await?.position,
        };
        let waited = self.positions.wait(stages::NAME, seen, SEEN_LIMIT).await;
        waited.map_err(|at| {
            anyhow::anyhow!("{} is at {at}, and {seen} is to be seen", stages::NAME)
        })?;
        crash::point("stage.seen");
        Ok(())
    }
}

/// When a stage is looked at again.
enum Look {
    Again,
    /// At this time, and sooner when something changes; often, or not.
    At(Option<DateTime<Utc>>, bool),
    /// Nobody shows anything: when somebody may have come, whatever else changes.
    Deserted,
}

fn note(stage: &str, command: &Command) {
    match command {
        Command::Start { alert, attempt, starts_at, .. } => {
            tracing::info!(stage, %alert, attempt, %starts_at, "an alert starts");
        }
        Command::Requeue { alert, attempt, reason, .. } => {
            tracing::warn!(stage, %alert, attempt, reason, "an alert waits again");
            metrics::counter!("tapedeck_stage_requeued_total").increment(1);
        }
        Command::GiveUp { alert, attempt, reason, .. } => {
            tracing::warn!(stage, %alert, attempt, reason, "nobody knows of an alert");
            metrics::counter!("tapedeck_stage_unknown_total").increment(1);
        }
        Command::Expire { alerts, .. } => {
            tracing::info!(stage, alerts = alerts.len(), "waited for too long");
        }
        _ => {}
    }
}
