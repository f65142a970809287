//! Whoever sees to the conduit: that there is one, that every shard is somebody's, and that Twitch knows whose.

use std::time::Duration;

use chrono::{DateTime, Utc};
use journal::ingest::Publisher;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::assign::{self, Fate, steps};
use super::calls::Conduits;
use super::rows::{Adopted, Rows, SILENCE, Shard};
use crate::twitch::eventsub::gaps::{self, Unsent};
use crate::twitch::eventsub::plan::Place;
use crate::twitch::eventsub::record;
use crate::twitch::eventsub::session::Note;
use crate::twitch::eventsub::subscriptions::Failed;
use crate::twitch::eventsub::times;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often Twitch is asked how the shards are, beside when it says that one is disabled.
const WATCH_EVERY: Duration = Duration::from_secs(10);

pub struct Conductor {
    pub rows: Rows,
    pub publisher: Publisher,
    pub conduits: Conduits,
    pub client_id: String,
    /// Where webhooks of ours are posted to, none of which is to tell what the conduit tells.
    pub callback: String,
    pub shards: i32,
    /// The application is ours alone, and so is a conduit that nobody noted.
    pub exclusive: bool,
    pub notes: mpsc::Sender<Note>,
    /// Up to when all that was told is stored.
    pub stored: watch::Sender<Option<DateTime<Utc>>>,
    pub stop: CancellationToken,
}

/// A conductor at work.
struct Conducting {
    conductor: Conductor,
    conduit: Option<String>,
    /// The one that was found last, which is perhaps not noted yet.
    found: Option<String>,
    /// When it was last known of every shard that Twitch tells whom it is to tell.
    told_at: Option<DateTime<Utc>>,
    state: State,
    /// Before this nobody is taken for gone: PostgreSQL may not have heard them.
    judges_from: Instant,
    watches_at: Instant,
    /// Up to which question somebody asked for a look.
    asked: i64,
    /// Calls rest until then, after so many failures.
    calls_at: Instant,
    failed: u32,
    unsent: Unsent,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Beginning,
    /// Every shard is told to somebody who listens.
    Whole,
    Lost,
}

impl Conductor {
    /// Conducts until told to stop.
    pub async fn run(self) -> anyhow::Result<()> {
        let now = Instant::now();
        let stop = self.stop.clone();
        let mut conducting = Conducting {
            conduit: None,
            found: None,
            told_at: None,
            state: State::Beginning,
            judges_from: now + SILENCE,
            watches_at: now + WATCH_EVERY,
            asked: 0,
            calls_at: now,
            failed: 0,
            unsent: Unsent::default(),
            conductor: self,
        };
        let rows = &conducting.conductor.rows;
        rows.forget().await?;
        let heard = rows.shards().await?.into_iter().filter_map(|shard| shard.heard_at).min();
        conducting.told_at = heard;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            if let Err(error) = conducting.look().await {
                tracing::warn!(%error, "the shards are not looked at");
                conducting.judges_from = Instant::now() + SILENCE;
            }
        }
    }
}

impl Conducting {
    async fn look(&mut self) -> sqlx::Result<()> {
        let Some(conduit) = self.found().await? else { return Ok(()) };
        let rows = self.conductor.rows.clone();
        self.assign().await?;
        let shards = rows.shards().await?;
        // What was lost is said before it is forgotten.
        if !self.say_what_is_lost(&shards).await? {
            return Ok(());
        }
        self.give(&conduit, &shards).await?;
        self.watch(&conduit, &shards).await?;
        let shards = rows.shards().await?;
        let is_whole = !shards.is_empty()
            && shards.iter().all(|shard| shard.assigned.is_some() && shard.lost_at.is_none());
        if !is_whole {
            return Ok(());
        }
        let heard = shards.iter().map(|shard| shard.heard_at).min().flatten();
        if heard.is_some() {
            self.conductor.stored.send_replace(heard);
        }
        if self.state != State::Whole {
            self.state = State::Whole;
            let Conductor { client_id, callback, .. } = &self.conductor;
            let (client_id, callback) = (client_id.clone(), callback.clone());
            let place = Place::Conduit { id: conduit, client_id, callback };
            self.note(Note::Whole { place }).await;
        }
        Ok(())
    }

    /// Our conduit: the one that was noted, or one that is ours as everything here is, or a new one.
    async fn found(&mut self) -> sqlx::Result<Option<String>> {
        if self.conduit.is_some() || Instant::now() < self.calls_at {
            return Ok(self.conduit.clone());
        }
        let noted = self.conductor.rows.conduit().await?;
        let (shards, told_at, now) = (self.conductor.shards, self.told_at, gaps::kept(Utc::now()));
        let (conduit, is_new) = match self.ensured(noted.as_deref()).await {
            Ok(found) => found,
            Err(failed) => {
                self.rest(&failed).await;
                return Ok(None);
            }
        };
        self.found = Some(conduit.clone());
        let since = (!is_new).then_some(now);
        let adopted = Adopted { conduit: &conduit, shards, since, told_at };
        if let Err(error) = self.conductor.rows.adopt(adopted).await {
            self.rest(&Failed::Unreachable(error.to_string())).await;
            return Err(error);
        }
        tracing::info!(conduit, shards, "there is a conduit");
        (self.failed, self.conduit) = (0, Some(conduit));
        Ok(self.conduit.clone())
    }

    /// The id of a conduit that is as it is to be, and whether it has just been made. What there is is looked at before each
    /// time that one is made: Twitch may have made one of which its answer did not reach us.
    async fn ensured(&self, noted: Option<&str>) -> Result<(String, bool), Failed> {
        let Conductor { ref conduits, shards, exclusive, .. } = self.conductor;
        let listed = conduits.list().await?;
        let known = [noted, self.found.as_deref()];
        let known = known.into_iter().flatten();
        let mut found = known.filter_map(|id| listed.iter().find(|conduit| conduit.id == id));
        // Otherwise somebody died who had made one, before it was noted.
        let found = found.next().or_else(|| listed.first().filter(|_| exclusive));
        Ok(match found {
            None => (conduits.create(shards).await?.id, true),
            Some(conduit) if conduit.shard_count == shards => (conduit.id.clone(), false),
            Some(conduit) => (conduits.resize(&conduit.id, shards).await?.id, false),
        })
    }

    /// Says who is to hold which.
    async fn assign(&mut self) -> sqlx::Result<()> {
        let rows = &self.conductor.rows;
        let (shards, holders) = (rows.shards().await?, rows.holders().await?);
        let here = holders.iter().filter(|one| one.here && !one.leaving).map(|one| one.holder);
        let here: Vec<Uuid> = here.collect();
        let judges = Instant::now() >= self.judges_from;
        let fate = |holder| match holders.iter().find(|one| one.holder == holder) {
            None => Fate::Gone,
            Some(one) if one.here => Fate::Leaving,
            Some(_) if judges => Fate::Gone,
            Some(_) => Fate::Unknown,
        };
        let of = |shard: &Shard| assign::Shard {
            number: shard.shard,
            holder: shard.holder,
            settled: shard.session.is_some() && shard.assigned == shard.session,
        };
        let shards: Vec<_> = shards.iter().map(of).collect();
        for step in steps(&shards, &here, fate) {
            tracing::info!(shard = step.number, to = ?step.to, lost = step.is_lost, "a shard goes on");
            rows.hand(&step).await?;
        }
        Ok(())
    }

    /// Whether all that is lost is on the broker's disk.
    async fn say_what_is_lost(&mut self, shards: &[Shard]) -> sqlx::Result<bool> {
        let lost = shards.iter().filter_map(|shard| Some((shard.lost_at?, shard)));
        if let Some((since, shard)) = lost.min_by_key(|(since, _)| *since)
            && self.state != State::Lost
        {
            // Of another shard something may be lost already that is noticed later, and while a gap lasts it begins no
            // earlier.
            let heard = shards.iter().filter_map(|shard| shard.heard_at).min();
            let since = heard.map_or(since, |heard| since.min(heard));
            let why = shard.why.as_deref().unwrap_or("not known");
            let reason = format!("shard {}: {why}", shard.shard);
            let Conductor { ref rows, .. } = self.conductor;
            let feed = record::find(&rows.pool, &rows.broadcaster).await?;
            let kinds = feed.map(|feed| feed.kinds).unwrap_or_default();
            self.unsent.lose(&rows.broadcaster, &kinds, since, &reason);
            tracing::warn!(%since, reason, "a part of EventSub was lost");
            self.state = State::Lost;
            self.note(Note::Lost { since, reason }).await;
        }
        Ok(self.unsent.send(&self.conductor.publisher).await)
    }

    /// Tells Twitch the sessions that it does not know yet.
    async fn give(&mut self, conduit: &str, shards: &[Shard]) -> sqlx::Result<()> {
        for shard in shards.iter().filter(|shard| shard.session == shard.assigned) {
            if let (Some(seen), Some(_)) = (shard.lost_at, &shard.session) {
                self.conductor.rows.said(shard.shard, seen).await?;
            }
        }
        let fresh = |shard: &Shard| {
            let session = shard.session.clone().filter(|_| shard.session != shard.assigned)?;
            Some((shard.shard, session))
        };
        let fresh: Vec<(i32, String)> = shards.iter().filter_map(fresh).collect();
        if fresh.is_empty() || Instant::now() < self.calls_at {
            return Ok(());
        }
        let refused = match self.conductor.conduits.give(conduit, &fresh).await {
            Ok(refused) => refused,
            Err(failed) => {
                // It may be the conduit that is gone.
                if matches!(failed, Failed::Refused(_)) {
                    self.conduit = None;
                }
                self.rest(&failed).await;
                return Ok(());
            }
        };
        let at = gaps::kept(Utc::now());
        for (shard, session) in &fresh {
            match refused.iter().find(|one| one.id == shard.to_string()) {
                None => {
                    let seen = shards.iter().find(|row| row.shard == *shard);
                    let seen = seen.and_then(|row| row.lost_at);
                    self.conductor.rows.given(*shard, session, at, seen).await?;
                }
                Some(refused) => {
                    let why = Failed::Refused(refused.message.clone());
                    self.rest(&why).await;
                }
            }
        }
        if refused.is_empty() {
            self.failed = 0;
        }
        Ok(())
    }

    /// Looks now and then, and when somebody asks, whether Twitch tells whom it was told to.
    async fn watch(&mut self, conduit: &str, shards: &[Shard]) -> sqlx::Result<()> {
        let asked = self.conductor.rows.asked().await?;
        let now = Instant::now();
        if (now < self.watches_at && asked == self.asked) || now < self.calls_at {
            return Ok(());
        }
        (self.watches_at, self.asked) = (now + WATCH_EVERY, asked);
        let began = gaps::kept(Utc::now());
        let listed = match self.conductor.conduits.shards(conduit).await {
            Ok(Some(listed)) => listed,
            Ok(None) => {
                tracing::warn!("the conduit is gone");
                self.conduit = None;
                return Ok(());
            }
            Err(failed) => {
                self.rest(&failed).await;
                return Ok(());
            }
        };
        let mut is_all_told = !shards.is_empty();
        for row in shards {
            let Some(session) = &row.assigned else {
                is_all_told = false;
                continue;
            };
            let found = listed.iter().find(|one| one.id == row.shard.to_string());
            if !found.is_some_and(|one| one.tells(session)) {
                is_all_told = false;
                let why = found.map_or("not given", |one| one.status.as_str());
                let why = format!("Twitch says {}", why.chars().take(60).collect::<String>());
                tracing::warn!(shard = row.shard, why, "a shard is disabled");
                self.conductor.rows.untold(row.shard, session, self.told_at, &why).await?;
            }
        }
        if is_all_told {
            self.told_at = Some(began);
        }
        Ok(())
    }

    /// Twitch is left alone for a moment.
    async fn rest(&mut self, failed: &Failed) {
        self.failed = self.failed.saturating_add(1);
        self.calls_at = Instant::now() + times::again_after(self.failed);
        tracing::warn!(%failed, failures = self.failed, "the conduit is not as it is to be");
        if self.state == State::Beginning {
            self.note(Note::NotConnected { reason: failed.to_string() }).await;
        }
    }

    async fn note(&self, note: Note) {
        // Whoever keeps them has gone when everything stops.
        let _ = self.conductor.notes.send(note).await;
    }
}
