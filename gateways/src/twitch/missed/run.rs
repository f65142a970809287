//! The part of a process that asks Twitch for what it did not tell. Any number of processes may run it: one asks, the others
//! wait to follow it. Two at once would do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use domain::intake::Found;
use futures::future::join_all;
use journal::Envelope;
use journal::ingest::{PublishError, Publisher};
use projections::{broadcasts, gaps as rows};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::ask::{NotTold, State};
use super::gaps;
use super::hint::Hint;
use super::look::{Answer, Look, here};
use super::record::{self, Covered, Noted, Source};
use super::settings::Settings;
use super::subscribers;
use crate::leading;
use crate::outgoing::BaseUrl;
use crate::twitch::calls::{Calls, Credentials};
use crate::twitch::eventsub::times;
use crate::twitch::webhook::Webhook;

/// The name of the lock.
const NAME: &str = "missed";
const LOOK_EVERY: Duration = Duration::from_millis(500);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long one thing may be asked for, page by page.
const SOURCE_LIMIT: Duration = Duration::from_secs(600);
const SEND_LIMIT: Duration = Duration::from_secs(5);
const SENT_AT_ONCE: usize = 256;
/// How long what was sent may take to be decided.
const DECIDED_LIMIT: Duration = Duration::from_secs(15);
const DECIDED_AGAIN: Duration = Duration::from_millis(50);
/// Failures beyond so many make nobody wait for longer.
const FAILED_MAX: u32 = 8;
/// Of what is ours and does not answer for a moment, as at the start, nothing is said.
const FAILED_SAID: u32 = 4;
/// While Twitch and history disagree about whether the channel is live, that alone is asked so often.
const DOUBT_EVERY: TimeDelta = TimeDelta::seconds(30);

/// What asking needs.
#[derive(Clone)]
pub struct Missed {
    pub pool: PgPool,
    pub publisher: Publisher,
    /// By what it is translated, as the configuration of the moment has it.
    pub webhook: watch::Receiver<Arc<Webhook>>,
    pub settings: Settings,
    pub helix_url: BaseUrl,
    /// With what is asked for what everybody may know, and under which account its calls are counted.
    pub open: (Credentials, String),
    /// The same for what only the broadcaster may.
    pub own: (Credentials, String),
    pub broadcaster: String,
    /// What is asked for.
    pub sources: Vec<Source>,
}

/// The calls of one who asks.
pub(super) struct Asking {
    pub open: Calls,
    pub own: Calls,
}

/// What a look came to.
struct Looked {
    /// The position at which the last gap had ended that it knew of for sure.
    last_over: i64,
    /// Everything is to be asked again by then.
    again_at: Option<DateTime<Utc>>,
    /// Whether the channel is live is to be asked again by then.
    live_at: Option<DateTime<Utc>>,
    /// Somebody who was asked did not answer.
    is_away: bool,
}

impl Missed {
    /// What makes up for any type that is wanted.
    pub fn sources(leave_out: &[String]) -> Vec<Source> {
        let is_out = |kind: &&str| leave_out.iter().any(|out| out == *kind);
        let is_wanted = |source: &Source| !source.kinds().iter().all(is_out);
        Source::ALL.into_iter().filter(is_wanted).collect()
    }

    /// Asks until told to stop.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let work = |leader| leading::until(&stop, self.lead(leader));
        leading::lead(&self.pool, (NAME, "what Twitch did not tell"), &stop, work).await
    }

    /// The types that something is asked for of.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        self.sources.iter().flat_map(|source| source.kinds()).copied().collect()
    }

    /// Asks while we are the one.
    async fn lead(&self, leader: PgConnection) -> anyhow::Result<()> {
        let (hint, lines) = (Hint::default(), self.webhook.borrow().lines.clone());
        tokio::select! {
            ended = self.ask_on(leader, &hint) => ended,
            ended = hint.hear(&lines) => ended,
        }
    }

    async fn ask_on(&self, mut leader: PgConnection, hint: &Hint) -> anyhow::Result<()> {
        let calls = |(credentials, account): &(Credentials, String)| {
            Calls::new(credentials.clone()).shared(self.pool.clone(), account)
        };
        let asking = Asking { open: calls(&self.open), own: calls(&self.own) };
        let (mut next, mut failed, mut last) = (Instant::now(), 0_u32, 0);
        let (mut next_live, mut hint_rests) = (None::<Instant>, None);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let asked = sqlx::query("SELECT 1").execute(&mut leader);
            timeout(ANSWER_LIMIT, asked).await.context("PostgreSQL does not answer")??;
            let is_due =
                Instant::now() >= next || (failed == 0 && self.is_over_since(last).await?);
            let is_hinted = hint.is_due(&mut hint_rests, Instant::now()) && self.is_off().await;
            let is_live_due = is_hinted || next_live.is_some_and(|at| Instant::now() >= at);
            if !is_due && !is_live_due {
                continue;
            }
            let wanted: &[Source] = if is_due { &self.sources } else { &[Source::Live] };
            match self.look(&asking, wanted).await {
                Ok(looked) => {
                    next_live = looked.live_at.map(soon);
                    if looked.is_away {
                        failed = failed.saturating_add(1);
                    }
                    if is_due {
                        failed = if looked.is_away { failed } else { 0 };
                        last = looked.last_over;
                        next = Instant::now() + self.settings.every();
                        next = looked.again_at.map_or(next, |at| next.min(soon(at)));
                    }
                }
                Err(error) => {
                    failed = failed.saturating_add(1);
                    if failed == FAILED_SAID {
                        tracing::warn!(%error, "what Twitch did not tell cannot be looked for");
                    }
                    next = Instant::now() + self.settings.every();
                    next_live = None;
                }
            }
            if failed > 0 {
                let again = times::again_after(failed.min(FAILED_MAX));
                next = next.min(Instant::now() + again);
            }
        }
    }

    /// Whether a gap is over of which the last look knew nothing.
    async fn is_over_since(&self, last: i64) -> anyhow::Result<bool> {
        Ok(rows::last_over(&self.pool, &self.broadcaster, &self.kinds()).await? > last)
    }

    /// Whether it can be that the channel is live and history does not know it.
    async fn is_off(&self) -> bool {
        let current = broadcasts::current(&self.pool, &self.broadcaster);
        self.sources.contains(&Source::Live) && current.await.is_ok_and(|current| !current.live)
    }

    /// Whether the configuration of the moment is that of another channel: nothing of what is asked for is its own.
    fn is_another(&self) -> bool {
        let webhook = self.webhook.borrow();
        webhook.inbound.broadcaster_id.as_ref().is_some_and(|ours| *ours != self.broadcaster)
    }

    /// Asks for what is wanted.
    async fn look(&self, asking: &Asking, wanted: &[Source]) -> Result<Looked, NotTold> {
        if self.is_another() {
            let (again_at, live_at, is_away) = (None, None, false);
            return Ok(Looked { last_over: i64::MAX, again_at, live_at, is_away });
        }
        let look = Look::begin(self, asking).await?;
        let sure_after = self.settings.sure_after();
        let recent = look.gaps.iter().filter_map(|gap| gap.until).map(|until| until + sure_after);
        let again_at = recent.filter(|at| *at > look.now).min();
        let last_over = look.last_over;
        let mut looked = Looked { last_over, again_at, live_at: None, is_away: false };
        for source in wanted.iter().copied() {
            let before =
                record::covered(&self.pool, &self.broadcaster, source).await.map_err(here)?;
            let covered = before.unwrap_or_else(|| look.first(source));
            let asked = timeout(SOURCE_LIMIT, self.source(&look, source, &covered)).await;
            let late = || Err(NotTold::Away("it took too long".to_owned()));
            let result = match asked.unwrap_or_else(|_| late()) {
                Ok(is_doubted) => {
                    let live_at = is_doubted.then(|| look.now + sure_after.min(DOUBT_EVERY));
                    looked.live_at = looked.live_at.or(live_at);
                    State::Answered
                }
                Err(NotTold::Here(words)) => return Err(NotTold::Here(words)),
                Err(error) => {
                    looked.is_away |= matches!(error, NotTold::Away(_));
                    self.failed(source, &covered, &error).await?;
                    error.state()
                }
            };
            let (name, result) = (source.name(), result.name());
            metrics::counter!("tapedeck_missed_looks_total", "source" => name, "result" => result)
                .increment(1);
        }
        record::forget(&self.pool).await.map_err(here)?;
        Ok(looked)
    }

    /// Asks for one thing, and does what follows from the answer. Whether something is in doubt.
    async fn source(
        &self,
        look: &Look<'_>,
        source: Source,
        covered: &Covered,
    ) -> Result<bool, NotTold> {
        let Some(answer) = look.ask(source, covered).await? else { return Ok(false) };
        self.do_late(look, source, &answer).await?;
        let began_at = if answer.is_cut { look.now } else { covered.began_at };
        let covered_now = Covered {
            began_at,
            covered_to: look.now,
            succeeded_at: Some(look.now),
            failed: answer.lacks.clone(),
            state: State::Answered.name().to_owned(),
            doubt: answer.doubt.clone().map(Json),
        };
        if let Some(words) =
            answer.lacks.as_ref().filter(|words| covered.failed.as_ref() != Some(words))
        {
            tracing::info!(source = source.name(), words, "Twitch cannot tell all that was missed");
        }
        // Dead anywhere before the last of these, all of it is done again: what was sent has the same names.
        self.reconcile(look, source, &answer, &covered_now).await?;
        if let Some(subscribed) = &answer.subscribed {
            subscribers::keep(&self.pool, &self.broadcaster, subscribed).await.map_err(here)?;
        }
        record::succeeded(&self.pool, &self.broadcaster, source, &covered_now)
            .await
            .map_err(here)?;
        metrics::gauge!("tapedeck_missed_succeeded_seconds", "source" => source.name())
            .set(look.now.timestamp() as f64);
        Ok(answer.doubt.is_some())
    }

    /// Sends what was found and nobody knows.
    async fn do_late(
        &self,
        look: &Look<'_>,
        source: Source,
        answer: &Answer,
    ) -> Result<(), NotTold> {
        let ids: Vec<_> = answer.finds.iter().flat_map(|find| find.known_as.clone()).collect();
        let known = record::known(&self.pool, &ids).await.map_err(here)?;
        let new: Vec<_> = answer.finds.iter().filter(|find| find.is_new(&known)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let noted = |find: &&super::late::Find| {
            let kind = find.kind?;
            let between = gaps::placed(&look.gaps, kind, find.between, look.now);
            Some(Noted { command_id: find.envelope.id, kind, between })
        };
        let noted: Vec<Noted> = new.iter().filter_map(noted).collect();
        record::note(&self.pool, &self.broadcaster, &noted).await.map_err(here)?;
        // Points are sent first: a settlement that is known, and its points are not, was worth nothing.
        let of = |is_points: bool| -> Vec<&Envelope> {
            let some = new.iter().filter(|find| find.kind.is_none() == is_points);
            some.map(|find| &find.envelope).collect()
        };
        self.send(&of(true)).await?;
        self.send(&of(false)).await?;
        let envelopes: Vec<&Envelope> = new.iter().map(|find| &find.envelope).collect();
        self.decided(&envelopes).await?;
        for one in &noted {
            metrics::counter!("tapedeck_missed_found_total", "type" => one.kind).increment(1);
        }
        let (source, found) = (source.name(), noted.len());
        tracing::info!(source, found, "Twitch was asked, and had not told everything");
        Ok(())
    }

    /// Says of each gap that is long enough over what was found of it.
    async fn reconcile(
        &self,
        look: &Look<'_>,
        source: Source,
        answer: &Answer,
        covered: &Covered,
    ) -> Result<(), NotTold> {
        let mut over: BTreeMap<(DateTime<Utc>, DateTime<Utc>), BTreeMap<String, Found>> =
            BTreeMap::new();
        for gap in look.gaps.iter().filter(|gap| look.is_over(gap, covered)) {
            let kind = answer.kinds.iter().find(|(kind, _)| *kind == gap.kind);
            let (Some((_, whole)), Some(until)) = (kind, gap.until) else { continue };
            let hides_none = || gaps::hides_none(answer.live_since, (gap.since, until));
            let whole = *whole || (source == Source::Live && hides_none());
            let found = Found { found: 0, whole, untold: 0 };
            over.entry((gap.since, until)).or_default().insert(gap.kind.clone(), found);
        }
        // Of a kind, what is older than what was looked into is not looked into any more: so the oldest is the first. When
        // somebody subscribed is not known, and it is said of the last gap that it may have been in.
        let newest = over.keys().next_back().copied();
        for ((since, until), mut kinds) in over {
            let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
            let counted = record::found(&self.pool, &self.broadcaster, &names, (since, until));
            let counted = counted.await.map_err(here)?;
            for (kind, found) in &mut kinds {
                found.found = counted.get(kind).copied().unwrap_or_default();
                found.untold = if newest == Some((since, until)) { answer.untold } else { 0 };
            }
            match gaps::reconcile(&self.broadcaster, kinds, (since, until), look.now) {
                Ok(envelope) => self.send(&[&envelope]).await?,
                Err(error) => tracing::error!(%error, "what was found of a gap cannot be said"),
            }
        }
        Ok(())
    }

    /// Waits until what was sent is decided: only then it can be counted what came of it.
    async fn decided(&self, envelopes: &[&Envelope]) -> Result<(), NotTold> {
        let ids: BTreeSet<_> = envelopes.iter().map(|envelope| envelope.id).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let decided = async {
            while record::known(&self.pool, &ids).await.map_err(here)?.len() < ids.len() {
                tokio::time::sleep(DECIDED_AGAIN).await;
            }
            Ok(())
        };
        let late = || Err(here("what was found is not decided yet"));
        timeout(DECIDED_LIMIT, decided).await.unwrap_or_else(|_| late())
    }

    async fn send(&self, envelopes: &[&Envelope]) -> Result<(), NotTold> {
        for some in envelopes.chunks(SENT_AT_ONCE) {
            let all = join_all(some.iter().map(|envelope| self.publisher.send(envelope)));
            let sent = timeout(SEND_LIMIT, all).await.map_err(|_| here("NATS does not answer"))?;
            for result in sent {
                match result {
                    Ok(_) => {}
                    Err(error @ (PublishError::TooLarge { .. } | PublishError::BadAddress(_))) => {
                        tracing::error!(%error, "what was found cannot be sent");
                    }
                    Err(error) => return Err(here(error)),
                }
            }
        }
        Ok(())
    }

    /// Twitch does not say it: that is written down, and logged when it is something new.
    async fn failed(
        &self,
        source: Source,
        covered: &Covered,
        error: &NotTold,
    ) -> Result<(), NotTold> {
        let (state, words) = (error.state(), error.to_string());
        if covered.failed.as_ref() == Some(&words) && covered.state == state.name() {
            return Ok(());
        }
        let name = source.name();
        tracing::warn!(source = name, words, "Twitch does not say what it did not tell");
        let (broadcaster, began_at, why) = (&self.broadcaster, covered.began_at, (state, &*words));
        record::failed(&self.pool, broadcaster, source, began_at, why).await.map_err(here)
    }
}

/// When that is.
fn soon(at: DateTime<Utc>) -> Instant {
    Instant::now() + (at - Utc::now()).to_std().unwrap_or_default()
}
