//! A worker: takes a request that is due, has its picture made, keeps it, and reports what came of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use domain::generation::{Command, Generation, Picture};
use domain::identity::derived_id;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::{Decision, Envelope, Origin, Outcome, crash, head, outcome};
use projections::generations;
use sqlx::PgPool;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::lease::{self, BEYOND_TIME_LIMIT, Lease, Taken};
use super::makings::Ended;
use super::{Made, Options, Order, Provider, ProviderError, answer};
use crate::pictures::{PictureError, Pictures, bucket};

/// How long reporting may take, and how long the to-do list may take to show it. Both fit into what a lease is longer
/// than an attempt.
const REPORT_LIMIT: Duration = Duration::from_secs(10);
const SEEN_LIMIT: Duration = Duration::from_secs(10);
/// How often a report is sent before the lease is left to run out.
const REPORTS_MAX: u32 = 3;
/// Keeping, reporting and seeing have their time while the lease lasts.
const _: () = assert!(
    bucket::PATIENCE.as_secs() + REPORTS_MAX as u64 * REPORT_LIMIT.as_secs() + SEEN_LIMIT.as_secs()
        < BEYOND_TIME_LIMIT.as_secs()
);
/// So many workers may die over one attempt before it counts as failed.
const DEATHS_MAX: i64 = 3;
/// So often is a request drawn, at most, because what was drawn is on a host that has not stored it.
const DRAWN_MAX: usize = 2;
/// The wait after the first failed attempt; it doubles with each.
const BACKOFF: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A provider that asks for more than this is asked again all the same: the points are not held for ever.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(900);
const REASON_CHARS_MAX: usize = 300;

/// What time it is; a test brings its own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// All that making and reporting needs.
#[derive(Clone)]
pub struct Worker {
    pub pool: PgPool,
    pub publisher: Publisher,
    pub replies: Replies,
    pub positions: Positions,
    pub pictures: Pictures,
    pub provider: Arc<dyn Provider>,
    pub options: Options,
    pub clock: Clock,
    /// Who this is, in the leases.
    pub id: Uuid,
}

impl Worker {
    /// Leases the next requests that are due, at most `most`.
    pub async fn take(&self, most: i64) -> sqlx::Result<Taken> {
        let (limits, cost) = (&self.options.limits, self.provider.cost_micros_max().max(0));
        lease::take(&self.pool, self.id, (self.clock)(), limits, cost, most).await
    }

    /// Gives back what is in hand and will not be finished here.
    pub async fn give_all_back(&self) -> sqlx::Result<u64> {
        lease::give_all_back(&self.pool, self.id, (self.clock)()).await
    }

    /// Works off a lease. Where this fails, nothing is lost: the lease runs out and another worker goes on.
    pub async fn work(&self, lease: &Lease) -> anyhow::Result<()> {
        let (request, attempt) = (lease.request, lease.attempt);
        // Who had this before may have reported and died, or the to-do list is behind.
        let reported = outcome::find(&self.pool, report_id(lease)).await?;
        let is_known = reported.is_some();
        let outcome = match reported {
            Some(outcome) => outcome,
            None => {
                let Some(command) = self.result(lease).await? else {
                    return Ok(lease::give_back(&self.pool, lease).await?);
                };
                let outcome = self.report(lease, &command).await?;
                crash::point("making.reported");
                outcome
            }
        };
        if outcome.decision == Decision::Dead {
            self.park_making(lease).await?;
            lease::give_back(&self.pool, lease).await?;
            bail!("the result of {request}, attempt {attempt}, is a dead letter");
        }
        if is_known {
            self.forget_making(lease).await?;
        }
        tracing::info!(%request, attempt, reason = outcome.reason, "a request was worked on");
        // What refused it, such as a cancellation, is recorded by now; the to-do list shows it soon.
        let seen = match outcome.last_position() {
            Some(position) => position,
            None => head::read(&self.pool).await?.position,
        };
        if let Err(at) = self.positions.wait(generations::NAME, seen, SEEN_LIMIT).await {
            bail!("the to-do list is at {at} and does not show {seen} yet");
        }
        lease::give_back(&self.pool, lease).await?;
        Ok(())
    }

    /// What has come of an attempt, as the command that reports it: the picture that was drawn before, or a new one.
    /// `None` where a picture is drawn and waits for its store.
    async fn result(&self, lease: &Lease) -> anyhow::Result<Option<Command>> {
        let drawn = self.drawn(lease).await?;
        let times = drawn.len();
        for picture in drawn {
            match self.pictures.store(&picture.content).await {
                Ok(true) => {
                    self.stored(lease).await?;
                    self.forget_making(lease).await?;
                    return Ok(Some(self.made(lease, picture)));
                }
                Ok(false) => {}
                Err(error) => return Ok(self.rest(lease, &error).await.map(|()| None)?),
            }
        }
        let made = match self.deaths(lease).await? {
            _ if times >= DRAWN_MAX => {
                let reason = format!("it was drawn {times} times, by hosts that did not store it");
                Err(ProviderError::Broken { cost_micros: Some(0), reason })
            }
            DEATHS_MAX.. => {
                let reason = format!("{DEATHS_MAX} workers died over it");
                Err(ProviderError::Broken { cost_micros: Some(0), reason })
            }
            _ => {
                crash::point("making.leased");
                self.make(lease).await
            }
        };
        crash::point("making.made");
        match made {
            Ok(made) => self.keep(lease, made).await,
            Err(error) => self.fail(lease, error).await.map(Some),
        }
    }

    /// Asks the provider, for no longer than the time limit. A provider that panics is broken.
    async fn make(&self, lease: &Lease) -> Result<Made, ProviderError> {
        let order = Order {
            wish: lease.wish.clone(),
            viewer: lease.viewer.clone(),
            request: lease.request,
            idempotency_key: report_id(lease),
        };
        let provider = Arc::clone(&self.provider);
        let making = tokio::spawn(async move { provider.make(&order).await });
        let limit = self.options.time_limit;
        match timeout(limit, AbortOnDropHandle::new(making)).await {
            Ok(Ok(made)) => made.and_then(answer::checked),
            Ok(Err(panic)) => {
                Err(ProviderError::Broken { cost_micros: None, reason: format!("it {panic}") })
            }
            Err(_) => {
                let reason = format!("the provider did not answer within {} s", limit.as_secs());
                Err(ProviderError::Retry { after: None, cost_micros: None, reason })
            }
        }
    }

    /// Keeps what was made on this host and notes that it was, so that it is not paid for again whatever comes. Then it is
    /// stored, before anybody is told; `None` where the store does not take it now.
    async fn keep(&self, lease: &Lease, made: Made) -> anyhow::Result<Option<Command>> {
        let spooled = match self.pictures.spool(&made.bytes).await {
            Err(error @ PictureError::Folder { .. }) => {
                tracing::warn!(%error, "a picture cannot wait here for its store");
                self.pictures.put(&made.bytes).await
            }
            spooled => spooled,
        };
        let Made { media_type, background, name, cost_micros, .. } = made;
        let content = match spooled {
            Ok(content) => content,
            // Drawing another one would not help: this is the only one that is paid for.
            Err(error) => {
                let (cost_micros, reason) = (Some(cost_micros), error.to_string());
                let broken = ProviderError::Broken { cost_micros, reason };
                return self.fail(lease, broken).await.map(Some);
            }
        };
        crash::point("making.kept");
        let picture = Picture { content, media_type, background, name, cost_micros };
        let made = Ended { result: "made", cost_micros: Some(cost_micros), resume_at: None };
        self.end_making(lease, made, Some(&picture)).await?;
        crash::point("making.noted");
        match self.pictures.store(&picture.content).await {
            Ok(true) => Ok(Some(self.made(lease, picture))),
            Ok(false) => bail!("the picture {} was drawn and is gone", picture.content),
            Err(error) => Ok(self.rest(lease, &error).await.map(|()| None)?),
        }
    }

    /// The report of a picture: the end of its request, or for somebody to look at first.
    fn made(&self, lease: &Lease, picture: Picture) -> Command {
        let entry = report_id(lease);
        match self.options.review {
            true => Command::Present { entry, picture },
            false => Command::Complete { entry, picture },
        }
    }

    async fn fail(&self, lease: &Lease, error: ProviderError) -> anyhow::Result<Command> {
        let (request, attempt, now) = (lease.request, lease.attempt, (self.clock)());
        tracing::warn!(%request, attempt, %error, provider = self.provider.name(), "no picture");
        let (entry, reason) = (report_id(lease), short(&error.to_string()));
        let (ended, command) = match error {
            ProviderError::Refused { code, reason } => (
                // A refusal costs nothing.
                Ended { result: "refused", cost_micros: Some(0), resume_at: None },
                Command::Refuse { entry, code: short(&code), reason: short(&reason) },
            ),
            ProviderError::Broken { cost_micros, .. } => (
                Ended { result: "broken", cost_micros, resume_at: None },
                Command::Fail { entry, reason },
            ),
            ProviderError::Retry { after, cost_micros, .. } => {
                let after = after.map(|after| after.min(RETRY_AFTER_MAX));
                let resume_at = after.map(|after| later(now, after));
                let wait = backoff(attempt, entry).max(after.unwrap_or_default());
                let command = match attempt < self.options.attempts_max {
                    true => {
                        Command::FailAttempt { entry, attempt, reason, retry_at: later(now, wait) }
                    }
                    false => {
                        let reason = format!("after {attempt} attempts: {reason}");
                        Command::Fail { entry, reason }
                    }
                };
                (Ended { result: "retry", cost_micros, resume_at }, command)
            }
        };
        self.end_making(lease, ended, None).await?;
        Ok(command)
    }

    /// Sends the result until it is decided. Sent twice it is one command: its id is the attempt's.
    async fn report(&self, lease: &Lease, command: &Command) -> anyhow::Result<Outcome> {
        let origin = Origin {
            source: "generation".to_owned(),
            source_id: format!("{}:{}", lease.request, lease.attempt),
            actor: None,
            received_at: Utc::now(),
            raw: None,
        };
        let envelope = Envelope::new::<Generation>(&lease.request.to_string(), command, origin)?;
        reported(&self.pool, &self.publisher, &self.replies, envelope).await
    }
}

/// Sends what a worker reports until it is decided, and gives what was decided.
pub(crate) async fn reported(
    pool: &PgPool,
    publisher: &Publisher,
    replies: &Replies,
    envelope: Envelope,
) -> anyhow::Result<Outcome> {
    let mut last = None;
    for _ in 0..REPORTS_MAX {
        let asked = replies.ask(publisher, envelope.clone(), REPORT_LIMIT);
        match timeout(REPORT_LIMIT, asked).await {
            Ok(Ok(Some(outcome))) => return Ok(outcome),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => last = Some(error),
        }
        // The answer may have been lost, and not the command.
        if let Some(outcome) = outcome::find(pool, envelope.id).await? {
            return Ok(outcome);
        }
    }
    match last {
        Some(error) => Err(error).context("a result could not be reported"),
        None => bail!("a result was reported and is not decided"),
    }
}

/// The id of the command that reports this attempt, whatever came of it.
fn report_id(lease: &Lease) -> Uuid {
    domain::entry_id("generation", &format!("{}:{}", lease.request, lease.attempt))
}

/// The wait after attempt number `attempt`: doubled with each, and a quarter more or less, so that those that failed
/// together do not come back together.
pub(crate) fn backoff(attempt: u32, seed: Uuid) -> Duration {
    let doubled = BACKOFF.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    let [jitter, ..] = *derived_id(seed, attempt).as_bytes();
    doubled.min(BACKOFF_MAX).mul_f64(0.75 + f64::from(jitter) / 510.0)
}

pub(crate) fn later(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::zero())
}

pub(crate) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_is_bounded() {
        let seconds = |attempt, seed: u128| backoff(attempt, Uuid::from_u128(seed)).as_secs_f64();
        for seed in 0..200 {
            assert!((3.75..=6.25).contains(&seconds(1, seed)));
            assert!((15.0..=25.0).contains(&seconds(3, seed)));
            assert!((225.0..=375.0).contains(&seconds(4_000, seed)));
        }
        assert!((0..200).any(|seed| seconds(1, seed) < 4.5));
        assert!((0..200).any(|seed| seconds(1, seed) > 5.5));
    }
}
