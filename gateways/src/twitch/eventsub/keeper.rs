//! Whoever keeps the subscriptions as they are wanted, and writes down what does not reach us meanwhile.
//!
//! What must not be forgotten is a command first and a row second: while a command waits for NATS, the row stays as it
//! is, so that whoever follows on a death begins at what is written.

use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use journal::ingest::Publisher;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::gaps::{self, NOBODY, Unsent};
use super::plan::Place;
use super::posted::Posted;
use super::record::{self, Row};
use super::round::{self, Order, Report, State};
use super::session::Note;
use super::settings::Transport;
use super::subscriptions::Subscriptions;
use super::times;
use super::wanted::{SHARD_DISABLED, Wanted, of_conduit};
use crate::twitch::secrets::twins;
use crate::twitch::secrets::versions::{VersionError, Versions};
use crate::twitch::standing::{ROW_LIMIT, Unsaid, limited};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A session is new: what others left is cleared away a little later.
const CLEAR_AFTER: Duration = Duration::from_secs(60);
const LOST_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long what was told last may take to be stored, when everything stops.
const LAST_LIMIT: Duration = Duration::from_secs(6);
/// How many former ids of a session are remembered.
const BEFORE_MAX: usize = 16;

pub struct Keeper {
    pub row: Row,
    pub publisher: Publisher,
    pub subscriptions: Arc<Subscriptions>,
    pub transport: Transport,
    pub wanted: Vec<Wanted>,
    pub exclusive: bool,
    /// Where webhooks are posted to, and the versions of the secret that they are signed with.
    pub callback: String,
    pub versions: Option<Arc<Versions>>,
    pub notes: mpsc::Receiver<Note>,
    /// Whether it is known that nobody else listens: until it is, nothing of theirs is taken away.
    pub alone: watch::Receiver<bool>,
    /// Up to when all that was told is stored.
    pub stored: watch::Receiver<Option<DateTime<Utc>>>,
    pub stop: CancellationToken,
}

/// What a keeper knows.
struct Keeping {
    keeper: Keeper,
    place: Option<Place>,
    /// Where it was until the session was lost.
    former: Option<Place>,
    /// What reaches us.
    fed: BTreeSet<String>,
    /// Nobody takes in webhooks, so nothing does.
    silent: bool,
    heard_at: Option<DateTime<Utc>>,
    /// When it was last known of all.
    looked_at: Option<DateTime<Utc>>,
    unsent: Unsent,
    /// What the row has.
    written: (Option<DateTime<Utc>>, Vec<String>),
    unsaid: Unsaid,
    running: Option<Running>,
    /// Up to which question somebody asks for a look.
    asked: i64,
    next: Instant,
    failed: u32,
}

/// A round under way, and up to which question it answers.
struct Running {
    task: AbortOnDropHandle<Report>,
    asked: i64,
    fresh: bool,
    /// What was lost meanwhile: of these, the round may know what is not so any more.
    lost: BTreeSet<String>,
}

impl Keeper {
    /// Keeps until told to stop, or, over the WebSocket, until the session has ended.
    pub async fn run(self) -> anyhow::Result<()> {
        let former = record::find(&self.row.pool, &self.row.broadcaster).await?;
        let before = self.row.begin(self.transport, Utc::now()).await?;
        let mut keeping = Keeping {
            place: None,
            former: None,
            fed: BTreeSet::new(),
            silent: false,
            heard_at: before.heard_at,
            looked_at: before.report.as_ref().map(|report| report.at),
            unsent: Unsent::default(),
            written: (before.heard_at, before.kinds.clone()),
            unsaid: Unsaid::default(),
            running: None,
            asked: before.asked,
            next: Instant::now(),
            failed: 0,
            keeper: self,
        };
        match (keeping.keeper.transport, before.heard_at) {
            (Transport::Websocket, heard_at) => {
                keeping.lose(&before.kinds, heard_at.unwrap_or_else(Utc::now), NOBODY);
            }
            (Transport::Conduit, heard_at) => match former.map(|former| former.transport) {
                // Others may listen all the while: whoever conducts says what was lost.
                Some(former) if former == Transport::Conduit.name() => {
                    keeping.fed = before.kinds.into_iter().collect();
                }
                Some(former) if former == Transport::Websocket.name() => {
                    keeping.lose(&before.kinds, heard_at.unwrap_or_else(Utc::now), NOBODY);
                }
                _ => keeping.lose(&before.kinds, Utc::now(), "told by a conduit from now on"),
            },
            (Transport::Webhook, heard_at) => {
                match former.filter(|former| former.transport != Transport::Webhook.name()) {
                    Some(_) => {
                        let since = heard_at.unwrap_or_else(Utc::now);
                        keeping.lose(&before.kinds, since, "told by webhooks from now on");
                    }
                    None => keeping.fed = before.kinds.into_iter().collect(),
                }
                keeping.posted().await;
                keeping.place = keeping.keeper.webhook_place();
                keeping.is("subscribed", None).await;
            }
        }
        keeping.keep().await;
        Ok(())
    }

    /// Where webhooks go now; nowhere while there is no secret that all processes know.
    fn webhook_place(&self) -> Option<Place> {
        let version = match &self.versions {
            Some(versions) => Some(versions.current()?),
            None => None,
        };
        Some(Place::Webhook { callback: self.callback.clone(), version })
    }

    /// The grace begins of the secrets that no subscription has any more.
    async fn retire(&self, report: &Report) {
        let (Some(versions), None) = (&self.versions, &report.failed) else { return };
        let retired = async {
            versions.retire(&report.signed_with).await?;
            Ok(twins::forget(&self.row.pool).await?)
        };
        match timeout(ROW_LIMIT, retired).await.unwrap_or(Err(VersionError::Late)) {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "an old EventSub secret is believed for longer"),
        }
    }
}

impl Keeping {
    async fn keep(&mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            let idle =
                self.running.is_none() && self.place.is_some() && *self.keeper.alone.borrow();
            tokio::select! {
                note = self.keeper.notes.recv() => match note {
                    Some(note) => self.note(note).await,
                    None => break,
                },
                () = self.keeper.stop.cancelled(),
                    if self.keeper.transport == Transport::Webhook => break,
                report = ended(&mut self.running) => {
                    if let (Some(running), Some(report)) = (self.running.take(), report) {
                        self.looked(report, &running).await;
                    }
                }
                () = sleep_until(self.next), if idle => self.begin(false),
                _ = looks.tick() => self.look().await,
            }
        }
        // What was stored last is written down.
        let stored = &mut self.keeper.stored;
        let _ = timeout(LAST_LIMIT, async { while stored.changed().await.is_ok() {} }).await;
        self.unsaid.forget();
        self.look().await;
        self.is("stopped", None).await;
    }

    async fn note(&mut self, note: Note) {
        match note {
            Note::Fresh { session, at } => {
                self.place = Some(Place::Session { id: session, before: Vec::new() });
                self.former = None;
                self.heard_at = self.heard_at.max(Some(gaps::kept(at)));
                // Whoever subscribes to nothing soon is cut.
                self.begin(true);
                self.is("connected", None).await;
            }
            Note::Carried { session } => {
                let place = self.place.take().or_else(|| self.former.take());
                self.place = Some(match place {
                    Some(Place::Session { id, mut before }) if before.len() < BEFORE_MAX => {
                        before.push(id);
                        Place::Session { id: session, before }
                    }
                    _ => Place::Session { id: session, before: Vec::new() },
                });
                // What was lost meanwhile, if anything was, ends with a look; and one under way, which does not know this id,
                // would take the subscriptions for those of others.
                if self.running.take().is_some() || self.fed.is_empty() {
                    self.next = Instant::now();
                }
                self.is("connected", None).await;
            }
            Note::Whole { place } => {
                (self.place, self.next) = (Some(place), Instant::now());
                self.is("connected", None).await;
            }
            Note::ShardDisabled => self.next = Instant::now(),
            Note::Lost { since, reason } => {
                let fed: Vec<String> = std::mem::take(&mut self.fed).into_iter().collect();
                self.lose(&fed, since, &reason);
                (self.former, self.running) = (self.place.take(), None);
                self.is("connecting", Some(&reason)).await;
            }
            Note::NotConnected { reason } => self.is("connecting", Some(&reason)).await,
            Note::Revoked { kind } => {
                // That it was lost is said by the revocation itself, which went the way of all that is told.
                self.next = Instant::now();
                self.is_lost(kind);
            }
            Note::Dropped { kind, since } => {
                self.lose(from_ref(&kind), since, "more was told than could be stored");
                self.next = self.next.min(Instant::now() + LOST_AGAIN_AFTER);
                self.is_lost(kind);
            }
        }
        self.send().await;
    }

    fn is_lost(&mut self, kind: String) {
        self.fed.remove(&kind);
        self.running.iter_mut().for_each(|running| running.lost.extend([kind.clone()]));
    }

    fn begin(&mut self, fresh: bool) {
        let Some(place) = self.place.clone() else { return };
        let asked = self.asked;
        let (mut wanted, exclusive) = (self.keeper.wanted.clone(), self.keeper.exclusive);
        if let Place::Conduit { id, client_id, .. } = &place {
            wanted.push(of_conduit(client_id, id));
        }
        let order = Order { wanted, place, exclusive, fresh };
        let subscriptions = Arc::clone(&self.keeper.subscriptions);
        let task = async move { round::carry_out(&subscriptions, &order).await };
        let task = AbortOnDropHandle::new(tokio::spawn(task));
        self.running = Some(Running { task, asked, fresh, lost: BTreeSet::new() });
    }

    /// What a look at all subscriptions came to.
    async fn looked(&mut self, report: Report, running: &Running) {
        let Running { asked, fresh, .. } = *running;
        let enabled = |one: &&round::Status| {
            one.state == State::Enabled && !running.lost.contains(&one.wanted.kind)
        };
        // What a conduit says of itself is no news of the channel.
        let news = || report.statuses.iter().filter(|one| one.wanted.kind != SHARD_DISABLED);
        if !report.statuses.is_empty() && !self.silent {
            let now: BTreeSet<String> = news().filter(enabled).map(round::Status::kind).collect();
            let ended = |status: &&round::Status| {
                (!enabled(status) || status.is_new) && self.fed.contains(&status.wanted.kind)
            };
            let mut lost: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for status in news().filter(ended) {
                let gone =
                    if status.is_new { "Twitch did not have it any more" } else { "not enabled" };
                let why = status.why.as_deref().unwrap_or(gone);
                lost.entry(why).or_default().push(status.kind());
            }
            for (why, kinds) in lost {
                // Twitch said nothing of it: it was well when it was last looked at.
                self.lose(&kinds, self.looked_at.unwrap_or(report.at), why);
            }
            for (kinds, at) in round::together(news().filter(enabled)) {
                let at = gaps::kept(at);
                if self.keeper.transport != Transport::Webhook {
                    self.heard_at = self.heard_at.max(Some(at));
                }
                self.unsent.restore(&self.keeper.row.broadcaster, &kinds, at);
            }
            self.fed = now;
            self.looked_at = Some(report.at);
        }
        self.failed = if report.is_passing() { self.failed.saturating_add(1) } else { 0 };
        let wait = match (self.failed, fresh) {
            _ if !running.lost.is_empty() => LOST_AGAIN_AFTER,
            (0, true) => CLEAR_AFTER,
            (0, false) => times::sync_after(),
            (failed, _) => times::again_after(failed.saturating_add(1)),
        };
        self.next = Instant::now() + wait;
        report.log();
        if self.keeper.transport == Transport::Webhook {
            self.keeper.retire(&report).await;
        }
        // Whoever asked for the look has its answer once its gaps are over.
        self.send().await;
        if let Err(error) = limited(self.keeper.row.looked(&report, asked)).await {
            tracing::warn!(%error, "what EventSub subscribes to is not written down");
        }
    }

    /// What changed by itself: the secret, what was stored, and whether somebody asks.
    async fn look(&mut self) {
        if self.keeper.transport == Transport::Webhook {
            self.posted().await;
            let place = self.keeper.webhook_place();
            if self.running.is_none() && place.is_some() && place != self.place {
                (self.place, self.next) = (place, Instant::now());
            }
        }
        let stored = *self.keeper.stored.borrow_and_update();
        if !self.fed.is_empty() {
            self.heard_at = self.heard_at.max(stored.map(gaps::kept));
        }
        self.unsaid.say(&self.keeper.row).await;
        self.send().await;
        if let Ok((asked, answered)) = limited(self.keeper.row.asked()).await {
            self.asked = asked;
            if asked > answered {
                self.next = self.next.min(Instant::now());
            }
        }
    }

    /// Whether webhooks were taken in all the while. What was lost is over with the look that follows.
    async fn posted(&mut self) {
        let Row { pool, broadcaster, .. } = self.keeper.row.clone();
        let Ok(posted) = Posted::find(&pool, &broadcaster).await else { return };
        let since = posted.silent_since();
        let was_silent = std::mem::replace(&mut self.silent, since.is_some());
        let Some(since) = since else {
            return if was_silent {
                (self.running, self.next) = (None, Instant::now());
            };
        };
        let fed: Vec<String> = std::mem::take(&mut self.fed).into_iter().collect();
        self.lose(&fed, since, "no webhook was taken in");
        if posted.lost_since.is_some()
            && self.unsent.send(&self.keeper.publisher).await
            && let Err(error) = posted.is_recorded(&pool, &broadcaster).await
        {
            tracing::warn!(%error, "that a gap is recorded is not written down");
        }
    }

    /// Sends what waits, and then writes down what reaches us.
    async fn send(&mut self) {
        if !self.unsent.send(&self.keeper.publisher).await {
            return;
        }
        // While nothing reaches us, the row keeps what did: its gap was sent, and begins there for whoever follows.
        let kinds: Vec<String> = self.fed.iter().cloned().collect();
        if kinds.is_empty() || self.written == (self.heard_at, kinds.clone()) {
            return;
        }
        match limited(self.keeper.row.heard(self.heard_at, &kinds)).await {
            Ok(()) => self.written = (self.heard_at, kinds),
            Err(error) => tracing::warn!(%error, "what was heard is not written down"),
        }
    }

    fn lose(&mut self, kinds: &[String], since: DateTime<Utc>, reason: &str) {
        self.unsent.lose(&self.keeper.row.broadcaster, kinds, since, reason);
    }

    async fn is(&mut self, state: &'static str, why: Option<&str>) {
        metrics::gauge!("tapedeck_eventsub_connected")
            .set(if matches!(state, "connected" | "subscribed") { 1.0 } else { 0.0 });
        self.unsaid.is(&self.keeper.row, state, why).await;
    }
}

/// Waits for the end of the round under way, for ever where none is.
async fn ended(running: &mut Option<Running>) -> Option<Report> {
    match running {
        None => std::future::pending().await,
        Some(Running { task, .. }) => {
            task.await.inspect_err(|error| tracing::error!(%error, "a round failed")).ok()
        }
    }
}
