//! A process that holds shards: as many sessions as the rows say, each of which tells what a part of all that happens is.
//!
//! Who leaves says so first, and listens until others have what it held; only where nobody else is there it just goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use journal::ingest::Publisher;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rows::{BEAT_EVERY, Rows};
use crate::twitch::eventsub::gaps::{self, NOBODY, Unsent};
use crate::twitch::eventsub::intake::{self, Backlog};
use crate::twitch::eventsub::record;
use crate::twitch::eventsub::session::{Note, Session};
use crate::twitch::eventsub::settings::Settings;
use crate::twitch::webhook::Webhook;

/// How long others may take to take over what somebody holds who leaves.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
const LEAVE_LOOK_EVERY: Duration = Duration::from_millis(250);
const NOTES_MAX: usize = 256;
/// How many ids are remembered that a session had.
const CHAIN_MAX: usize = 16;

/// What holding shards needs.
#[derive(Clone)]
pub struct Holder {
    pub id: Uuid,
    pub rows: Rows,
    pub publisher: Publisher,
    pub webhook: watch::Receiver<Arc<Webhook>>,
    pub settings: Settings,
}

/// A shard that is held.
struct Held {
    stop: CancellationToken,
    session: watch::Receiver<Option<String>>,
}

/// One shard at work.
struct Hold {
    holder: Holder,
    shard: i32,
    /// It is held no more: what was told over it is stored, and nothing new is noted.
    stop: CancellationToken,
    stored: watch::Receiver<Option<DateTime<Utc>>>,
    session: watch::Sender<Option<String>>,
    backlog: Backlog,
    /// When the first session was welcome.
    opened: Option<DateTime<Utc>>,
    /// The ids that the session has had, one after the other.
    chain: Vec<String>,
    /// What is to be noted of sessions that ended.
    lost: Vec<Ended>,
    /// The session that the row has.
    noted: Option<String>,
    /// A look at all subscriptions is to be asked for.
    asks: bool,
    unsent: Unsent,
}

/// A session that ended: the ids that it had, up to when all that it told is stored, and why it ended.
struct Ended {
    chain: Vec<String>,
    since: DateTime<Utc>,
    why: String,
}

impl Holder {
    /// Holds what it is to hold until told to stop.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut held = BTreeMap::new();
        let mut tasks = JoinSet::new();
        // What was told over a shard that others have now is stored, however long that takes, until all ends.
        let ending = CancellationToken::new();
        let _ends = ending.clone().drop_guard();
        let mut beats = tokio::time::interval(BEAT_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beats.tick() => self.look(&mut held, &mut tasks, &ending, false).await,
            }
            while tasks.try_join_next().is_some() {}
        }
        self.hand_over(&mut held, &mut tasks, &ending).await;
        held.values().for_each(|held: &Held| held.stop.cancel());
        ending.cancel();
        while tasks.join_next().await.is_some() {}
        if let Err(error) = self.rows.leave(self.id).await {
            tracing::debug!(%error, "nobody hears that we hold no shard any more");
        }
        Ok(())
    }

    /// Says that we are there, and holds what the rows say.
    async fn look(
        &self,
        held: &mut BTreeMap<i32, Held>,
        tasks: &mut JoinSet<()>,
        ending: &CancellationToken,
        leaving: bool,
    ) {
        let looked = async {
            self.rows.beat(self.id, leaving).await?;
            self.rows.shards().await
        };
        let shards = match looked.await {
            Ok(shards) => shards,
            // What is held is held on.
            Err(error) => return tracing::warn!(%error, "which shards are ours is not known now"),
        };
        for row in shards.iter().filter(|row| row.holder == Some(self.id) && !leaving) {
            held.entry(row.shard).or_insert_with(|| self.hold(row.shard, tasks, ending));
        }
        held.retain(|shard, held| {
            let row = shards.iter().find(|row| row.shard == *shard);
            let is_ours = row.is_some_and(|row| row.holder == Some(self.id));
            let session = held.session.borrow().clone();
            // Until Twitch tells another session, ours is told.
            let is_told = session.is_some() && row.is_some_and(|row| row.assigned == session);
            let stays = is_ours || is_told;
            if !stays {
                held.stop.cancel();
            }
            stays
        });
    }

    fn hold(&self, shard: i32, tasks: &mut JoinSet<()>, ending: &CancellationToken) -> Held {
        let stop = CancellationToken::new();
        let (notes, noted) = mpsc::channel(NOTES_MAX);
        // What is told over a shard has one name, whoever else may hear it.
        let (alone, is_alone) = watch::channel(true);
        let (queue, hands_on, stored) =
            intake::queue(self.webhook.clone(), is_alone, ending.clone());
        let backlog = queue.backlog();
        let session = Session::new(self.settings.clone(), queue, notes, stop.clone());
        let (sender, receiver) = watch::channel(None);
        let hold = Hold {
            holder: self.clone(),
            shard,
            stop: stop.clone(),
            stored,
            session: sender,
            backlog,
            opened: None,
            chain: Vec::new(),
            lost: Vec::new(),
            noted: None,
            asks: false,
            unsent: Unsent::default(),
        };
        tasks.spawn(async move {
            let _alone = alone;
            tokio::join!(
                async {
                    let _ = session.run().await;
                },
                async {
                    let _ = hands_on.run().await;
                },
                hold.run(noted)
            );
        });
        Held { stop, session: receiver }
    }

    /// Has others take what we hold, if there are any.
    async fn hand_over(
        &self,
        held: &mut BTreeMap<i32, Held>,
        tasks: &mut JoinSet<()>,
        ending: &CancellationToken,
    ) {
        let until = Instant::now() + LEAVE_LIMIT;
        while !held.is_empty() && Instant::now() < until {
            self.look(held, tasks, ending, true).await;
            let others = self.rows.holders().await.unwrap_or_default();
            if !others.iter().any(|one| one.holder != self.id && one.here && !one.leaving) {
                return;
            }
            tokio::time::sleep(LEAVE_LOOK_EVERY).await;
        }
    }
}

impl Hold {
    /// Notes what becomes of the sessions of the shard, one after the other, until the last has ended.
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        let mut looks = tokio::time::interval(BEAT_EVERY);
        loop {
            tokio::select! {
                note = notes.recv() => match note {
                    Some(note) => self.note(note),
                    None => break,
                },
                _ = looks.tick() => {}
            }
            self.write().await;
        }
        // What waits is stored while the process lives: whoever hands it on says when nothing more will be.
        loop {
            tokio::select! {
                changed = self.stored.changed() => if changed.is_err() { break },
                _ = looks.tick() => self.write().await,
            }
        }
        self.write().await;
        if self.session.send_replace(None).is_some() {
            self.ended(Utc::now(), NOBODY.to_owned());
            self.write().await;
        }
        let since = self.stored.borrow().or(self.opened);
        let (rows, Some(since), false) = (&self.holder.rows, since, self.backlog.is_empty()) else {
            return;
        };
        // It may be told to somebody else by now, who knows nothing of what we had.
        if let Err(error) = rows.unstored(self.shard, gaps::kept(since)).await {
            tracing::error!(%error, shard = self.shard, %since, "what was told last is in no gap");
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Fresh { session, at } => {
                self.opened.get_or_insert(at);
                self.chain = vec![session.clone()];
                self.session.send_replace(Some(session));
            }
            Note::Carried { session } => {
                if self.chain.len() >= CHAIN_MAX {
                    self.chain.remove(0);
                }
                self.chain.push(session.clone());
                self.session.send_replace(Some(session));
            }
            Note::Lost { since, reason } => {
                if self.session.send_replace(None).is_some() {
                    self.ended(since, reason);
                }
            }
            Note::NotConnected { .. } | Note::Whole { .. } => {}
            // That it was lost is said by the revocation itself; whoever keeps the subscriptions is to look.
            Note::Revoked { .. } | Note::ShardDisabled => self.asks = true,
            Note::Dropped { kind, since } => {
                let reason = "more was told than could be stored";
                self.unsent.lose(&self.holder.rows.broadcaster, &[kind], since, reason);
                self.asks = true;
            }
        }
    }

    /// The session has ended, which told us everything up to `since`; stored is perhaps less.
    fn ended(&mut self, since: DateTime<Utc>, why: String) {
        let stored = self.stored.borrow().or(self.opened).unwrap_or(since);
        let is_all_stored = self.backlog.is_empty() && why != NOBODY;
        let since = if is_all_stored { since } else { since.min(stored) };
        let chain = std::mem::take(&mut self.chain);
        self.lost.push(Ended { chain, since: gaps::kept(since), why });
    }

    /// Writes down what is not written yet. What cannot be is tried again.
    async fn write(&mut self) {
        let (id, rows) = (self.holder.id, self.holder.rows.clone());
        let session = self.session.borrow().clone();
        let stored = *self.stored.borrow_and_update();
        let written = async {
            while let Some(Ended { chain, since, why }) = self.lost.first() {
                rows.taken(self.shard, chain, *since, why).await?;
                self.lost.remove(0);
            }
            // The shard may have gone to somebody else and back since we looked, and with that what was noted.
            let is_held = session.is_some() && !self.stop.is_cancelled();
            if is_held || self.noted != session {
                rows.has(self.shard, id, self.noted.as_deref(), session.as_deref()).await?;
                self.noted = session.clone();
            }
            if let (Some(session), Some(stored)) = (&session, stored) {
                rows.heard(self.shard, session, gaps::kept(stored)).await?;
            }
            // A gap first, and then the look that ends it.
            if self.asks && self.unsent.send(&self.holder.publisher).await {
                record::ask(&rows.pool, &rows.broadcaster).await?;
                self.asks = false;
            }
            sqlx::Result::<()>::Ok(())
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, shard = self.shard, "how a shard is cannot be written down");
        }
    }
}
