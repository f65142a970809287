//! A worker: takes a reply that is due, says it, and reports what came of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use domain::chat_reply::{Command, Receipt, Reply, Way, report_id};
use journal::ingest::Publisher;
use journal::replies::Replies;
use journal::{Decision, Envelope, Origin, head, outcome};
use projections::replies;
use uuid::Uuid;

use super::Settings;
use super::lease::{self, Lease, Taken};
use super::words::Wordsmith;
use crate::chat::{Frame, Line, Lines, Part, Who};
use crate::generation::worker::{Clock, backoff, later, reported, short};
use crate::twitch::saying::{Mouth, Said};

/// How long the to-do list may take to show what was reported.
const SEEN_LIMIT: Duration = Duration::from_secs(10);
/// How long a reply whose report is a dead letter is left alone.
const PARKED: TimeDelta = TimeDelta::hours(1);
/// Twitch may ask to wait for longer; then the reply is tried in vain.
const AFTER_MAX: Duration = Duration::from_secs(300);
/// Nothing is leased again sooner where nothing was tried.
const NOT_YET_MIN: Duration = Duration::from_secs(1);
/// Who speaks on screen, where no account does.
const NOBODY: &str = "tapedeck";

/// All that saying and reporting needs.
#[derive(Clone)]
pub struct Worker {
    pub publisher: Publisher,
    pub replies: Replies,
    pub lines: Lines,
    /// Without it nothing is said at Twitch.
    pub mouth: Option<Arc<Mouth>>,
    pub words: Wordsmith,
    pub settings: Settings,
    /// The Twitch user id that we speak under, where the configuration names it.
    pub sender: Option<String>,
    pub clock: Clock,
    /// Who this is, in the leases.
    pub id: Uuid,
}

/// What came of an attempt.
enum Came {
    Delivered(Receipt),
    /// Again at this moment; without one, not any more.
    Later {
        at: Option<DateTime<Utc>>,
        reason: String,
    },
    /// Nothing was tried: it is no attempt, and may be one after so long.
    NotYet(Duration),
    GaveUp(String),
}

impl Worker {
    /// Leases the next reply that is due.
    pub async fn take(&self) -> sqlx::Result<Taken> {
        lease::take(&self.words.pool, self.id, (self.clock)(), self.settings.per_30_s).await
    }

    /// Works off a lease. Where this fails, nothing is lost: the lease runs out and another worker goes on.
    pub async fn work(&self, lease: &Lease) -> anyhow::Result<()> {
        let pool = &self.words.pool;
        // Who had this before may have reported and died, or the to-do list is behind.
        let found = outcome::find(pool, report_id(lease.reply, lease.attempt)).await?;
        let outcome = match found {
            Some(outcome) => {
                lease::unsaid(pool, lease).await?;
                outcome
            }
            None => {
                let now = (self.clock)();
                let text = self.text(lease, now).await;
                if !matches!(text, Ok(Ok(_))) {
                    lease::unsaid(pool, lease).await?;
                }
                let came = match text? {
                    Ok(text) => self.say(lease, &text, now).await,
                    Err(reason) => Came::GaveUp(reason),
                };
                if let Came::NotYet(after) = came {
                    lease::unsaid(pool, lease).await?;
                    return Ok(lease::park(pool, lease, later((self.clock)(), after)).await?);
                }
                let envelope = self.report(lease, came)?;
                reported(pool, &self.publisher, &self.replies, envelope).await?
            }
        };
        if outcome.decision == Decision::Dead {
            lease::park(pool, lease, (self.clock)() + PARKED).await?;
            bail!("what came of {} is a dead letter", lease.reply);
        }
        let seen = match outcome.last_position() {
            Some(position) => position,
            None => head::read(pool).await?.position,
        };
        if let Err(at) = self.words.positions.wait(replies::NAME, seen, SEEN_LIMIT).await {
            bail!("the to-do list is at {at} and does not show {seen} yet");
        }
        lease::give_back(pool, lease).await?;
        Ok(())
    }

    /// Whether nobody wants to read it any more at `at`.
    fn is_late(&self, lease: &Lease, at: DateTime<Utc>) -> bool {
        at - lease.due_at > TimeDelta::seconds(i64::from(self.settings.late_after_s))
    }

    /// When it is tried again, where that is not after `after` at the earliest; nothing where it is not any more.
    fn again_at(&self, lease: &Lease, after: Option<Duration>) -> Option<DateTime<Utc>> {
        let wait = backoff(lease.attempt, report_id(lease.reply, lease.attempt));
        let at = later((self.clock)(), wait.max(after.unwrap_or_default().min(AFTER_MAX)));
        (lease.attempt < self.settings.attempts_max && !self.is_late(lease, at)).then_some(at)
    }

    /// What is to be said, or why nothing is.
    async fn text(
        &self,
        lease: &Lease,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Result<String, String>> {
        if self.is_late(lease, now) {
            let late = now - lease.due_at;
            return Ok(Err(format!("it was {} seconds late", late.num_seconds())));
        }
        let text = self.words.line(lease, now).await?;
        Ok(text.ok_or_else(|| "its text is not configured any more".to_owned()))
    }

    async fn say(&self, lease: &Lease, text: &str, now: DateTime<Utc>) -> Came {
        let Some(mouth) = &self.mouth else {
            return self.say_on_screen(lease, text, now).await;
        };
        let (way, id) = match mouth.say(&lease.chat, text).await {
            Said::Nobody => return self.say_on_screen(lease, text, now).await,
            Said::Sent { id } => (Way::Twitch, id),
            Said::Before => (Way::TwitchBefore, lease.reply.to_string()),
            Said::NotYet { after, reason } => {
                let after = after.clamp(NOT_YET_MIN, AFTER_MAX);
                if self.is_late(lease, later((self.clock)(), after)) {
                    self.show_only(lease, text, now).await;
                    return Came::GaveUp(reason);
                }
                return Came::NotYet(after);
            }
            Said::Later { after, reason } => {
                let at = self.again_at(lease, after);
                if at.is_none() {
                    self.show_only(lease, text, now).await;
                }
                return Came::Later { at, reason };
            }
            Said::Refused { reason } => {
                self.show_only(lease, text, now).await;
                return Came::GaveUp(reason);
            }
        };
        // Under Twitch's own id, under which it comes back to us as well. What came before is shown by that.
        if way == Way::Twitch
            && let Err(error) = self.show(lease, &id, text, now).await
        {
            tracing::debug!(%error, "shown when Twitch tells of it");
        }
        Came::Delivered(Receipt { way, id })
    }

    /// Where nobody speaks at Twitch, it is said on screen.
    async fn say_on_screen(&self, lease: &Lease, text: &str, now: DateTime<Utc>) -> Came {
        let id = lease.reply.to_string();
        match self.show(lease, &id, text, now).await {
            Ok(()) => Came::Delivered(Receipt { way: Way::Overlay, id }),
            Err(error) => Came::Later { at: self.again_at(lease, None), reason: error.to_string() },
        }
    }

    /// What Twitch does not take is on screen at least.
    async fn show_only(&self, lease: &Lease, text: &str, now: DateTime<Utc>) {
        if let Err(error) = self.show(lease, &lease.reply.to_string(), text, now).await {
            tracing::warn!(reply = %lease.reply, %error, "a reply is not on screen either");
        }
    }

    async fn show(
        &self,
        lease: &Lease,
        id: &str,
        text: &str,
        at: DateTime<Utc>,
    ) -> Result<(), crate::chat::lines::NotKept> {
        let connected = || self.mouth.as_ref()?.connected_speaker();
        let viewer = Who {
            id: self.sender.clone().or_else(connected).unwrap_or_else(|| NOBODY.to_owned()),
            name: Some(self.settings.name.clone()),
        };
        let frame = Frame::Line(Line {
            id: id.to_owned(),
            viewer,
            colour: None,
            badges: Vec::new(),
            parts: vec![Part::Text { text: text.to_owned() }],
            at,
            bot: true,
            request: false,
        });
        self.lines.keep(&lease.chat, &frame, id).await
    }

    fn report(&self, lease: &Lease, came: Came) -> anyhow::Result<Envelope> {
        let (reply, attempt) = (lease.reply, lease.attempt);
        let entry = report_id(reply, attempt);
        let gave_up =
            |reason: &str| ("gave_up", Command::GiveUp { entry, attempt, reason: short(reason) });
        let (result, command) = match came {
            Came::Delivered(receipt) => ("delivered", Command::Deliver { entry, attempt, receipt }),
            Came::NotYet(_) => bail!("nothing was tried, so nothing came of it"),
            Came::Later { at: Some(retry_at), reason } => {
                let reason = short(&reason);
                ("retry", Command::FailAttempt { entry, attempt, reason, retry_at })
            }
            Came::Later { at: None, reason } => {
                gave_up(&format!("after {attempt} attempts: {reason}"))
            }
            Came::GaveUp(reason) => gave_up(&reason),
        };
        metrics::counter!("tapedeck_replies_total", "result" => result).increment(1);
        if result != "delivered" {
            tracing::warn!(%reply, attempt, result, "a reply was not said");
        }
        let origin = Origin {
            source: "replies".to_owned(),
            source_id: format!("{reply}:{attempt}"),
            actor: None,
            received_at: Utc::now(),
            raw: None,
        };
        Ok(Envelope::new::<Reply>(&reply.to_string(), &command, origin)?)
    }
}
