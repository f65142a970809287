//! Whoever writes down how chat is read over IRC, and what of it did not reach us: a gap of the kind [`KIND`]. The command
//! that says so is sent before the row moves on, so that whoever follows on a death begins at what is written.

use std::time::Duration;

use chrono::{DateTime, Utc};
use journal::ingest::Publisher;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::record::Row;
use super::session::Note;
use crate::twitch::eventsub::gaps::{self, NOBODY, Unsent};
use crate::twitch::standing::{Unsaid, limited};

/// What the gaps of this way in are called.
pub const KIND: &str = "irc";

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long what was said last may take to be stored, when everything stops.
const LAST_LIMIT: Duration = Duration::from_secs(6);

pub struct Keeper {
    pub row: Row,
    pub publisher: Publisher,
    pub notes: mpsc::Receiver<Note>,
    /// Up to when all that was said is stored.
    pub stored: watch::Receiver<Option<DateTime<Utc>>>,
}

/// What a keeper knows.
struct Keeping {
    keeper: Keeper,
    joined: bool,
    /// A gap lasts.
    lost: bool,
    heard_at: Option<DateTime<Utc>>,
    /// What the row has.
    written: Option<DateTime<Utc>>,
    unsaid: Unsaid,
    /// Commands that are not on the broker's disk yet.
    unsent: Unsent,
}

impl Keeper {
    /// Keeps until nobody reads any more.
    pub async fn run(self) -> anyhow::Result<()> {
        let heard_at = self.row.begin(Utc::now()).await?.heard_at;
        let (unsent, written) = (Unsent::default(), heard_at);
        let mut keeping = Keeping {
            keeper: self,
            joined: false,
            lost: false,
            heard_at,
            written,
            unsaid: Unsaid::default(),
            unsent,
        };
        if let Some(heard_at) = heard_at {
            keeping.lose(heard_at, NOBODY);
        }
        keeping.keep().await;
        Ok(())
    }
}

impl Keeping {
    async fn keep(&mut self) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                note = self.keeper.notes.recv() => match note {
                    Some(note) => self.note(note).await,
                    None => break,
                },
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
            Note::Joined { at } => {
                if std::mem::take(&mut self.lost) {
                    let kinds = [KIND.to_owned()];
                    let broadcaster = &self.keeper.row.broadcaster;
                    self.unsent.restore(broadcaster, &kinds, at);
                }
                self.joined = true;
                self.heard_at = self.heard_at.max(Some(gaps::kept(at)));
                self.is("joined", None).await;
            }
            Note::Lost { since, reason } => {
                self.joined = false;
                self.lose(since, &reason);
                self.is("connecting", Some(&reason)).await;
            }
            Note::NotConnected { reason, refused } => {
                self.is(if refused { "refused" } else { "connecting" }, Some(&reason)).await;
            }
        }
        self.send().await;
    }

    async fn look(&mut self) {
        let stored = *self.keeper.stored.borrow_and_update();
        if self.joined {
            self.heard_at = self.heard_at.max(stored.map(gaps::kept));
        }
        self.unsaid.say(&self.keeper.row).await;
        self.send().await;
    }

    /// Sends what waits, and then writes down up to when all was heard: while nothing is, that stays as it is.
    async fn send(&mut self) {
        if !self.unsent.send(&self.keeper.publisher).await
            || !self.joined
            || self.written == self.heard_at
        {
            return;
        }
        match limited(self.keeper.row.heard(self.heard_at)).await {
            Ok(()) => self.written = self.heard_at,
            Err(error) => tracing::warn!(%error, "what was heard over IRC is not written down"),
        }
    }

    fn lose(&mut self, since: DateTime<Utc>, reason: &str) {
        self.lost = true;
        let (broadcaster, kinds) = (&self.keeper.row.broadcaster, [KIND.to_owned()]);
        self.unsent.lose(broadcaster, &kinds, since, reason);
    }

    async fn is(&mut self, state: &'static str, why: Option<&str>) {
        metrics::gauge!("tapedeck_irc_connected").set(f64::from(u8::from(state == "joined")));
        self.unsaid.is(&self.keeper.row, state, why).await;
    }
}
