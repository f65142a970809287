//! The connections over which Twitch tells us what happens, one after another, without a gap where Twitch allows it: the
//! old one is read until the new one is welcome, and on until it is closed.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Url;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Told};
use super::intake::Queue;
use super::line::{End, Heard, Line, Word};
use super::plan::Place;
use super::settings::Settings;
use super::times;
use super::wanted::SHARD_DISABLED;
use crate::outgoing::Outgoing;

/// How long Twitch keeps a session for whom it told to reconnect.
const GRACE: Duration = Duration::from_secs(30);
const RECONNECT_AGAIN_AFTER: Duration = Duration::from_secs(1);
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
const WORDS_MAX: usize = 1_024;

/// What becomes of the connections.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// There is a new session, in which nothing is subscribed to.
    Fresh {
        session: String,
        at: DateTime<Utc>,
    },
    /// It goes on over another connection.
    Carried {
        session: String,
    },
    /// What happened from `since` on may not have been told.
    Lost {
        since: DateTime<Utc>,
        reason: String,
    },
    NotConnected {
        reason: String,
    },
    /// Twitch tells no more of this type.
    Revoked {
        kind: String,
    },
    /// Every shard of a conduit tells somebody who listens.
    Whole {
        place: Place,
    },
    /// Twitch tells nothing over a shard of ours any more.
    ShardDisabled,
    /// Something was told, and there was no room for it.
    Dropped {
        kind: String,
        since: DateTime<Utc>,
    },
}

pub struct Session {
    settings: Settings,
    outgoing: Arc<Outgoing>,
    queue: Queue<Told>,
    notes: mpsc::Sender<Note>,
    words: mpsc::Receiver<Word>,
    speaker: mpsc::Sender<Word>,
    lines: u64,
    stop: CancellationToken,
}

/// A session under way.
struct Live {
    /// Nothing where it ended, and another may go on.
    line: Option<Line>,
    /// When something was last heard.
    heard: DateTime<Utc>,
    /// How the line ended.
    gone: Option<(DateTime<Utc>, String)>,
    next: Option<Next>,
    /// Those that are being closed; what they still say counts.
    closing: Vec<Line>,
}

/// Where the session is to go on.
struct Next {
    url: Url,
    line: Option<Line>,
    again_at: Instant,
    until: Instant,
}

impl Session {
    pub fn new(
        settings: Settings,
        queue: Queue<Told>,
        notes: mpsc::Sender<Note>,
        stop: CancellationToken,
    ) -> Self {
        let (speaker, words) = mpsc::channel(WORDS_MAX);
        let outgoing = Arc::new(Outgoing::default());
        Session { settings, outgoing, queue, notes, words, speaker, lines: 0, stop }
    }

    /// Listens until told to stop, and connects again for ever.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut failed = 0_u32;
        while !self.stop.is_cancelled() {
            // One over which nothing came but a welcome is no better than none.
            failed = if self.listen().await { 1 } else { failed.saturating_add(1) };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(times::again_after(failed)) => {}
            }
        }
        Ok(())
    }

    /// One session, from its welcome to its end. Whether anything came over it.
    async fn listen(&mut self) -> bool {
        let url = self.settings.opened_at();
        let line = self.open(url);
        let (session, at) = loop {
            let word = tokio::select! {
                () = self.stop.cancelled() => return false,
                Some(word) = self.words.recv() => word,
            };
            match word.heard {
                Heard::Frame(Frame::Welcome { session, .. }) if word.line == line.number => {
                    break (session, word.at);
                }
                Heard::Ended(End { reason, .. }) if word.line == line.number => {
                    tracing::warn!(reason, "EventSub is not connected");
                    self.note(Note::NotConnected { reason }).await;
                    return false;
                }
                Heard::Frame(Frame::Told(told)) => self.told(told, word.at).await,
                _ => {}
            }
        };
        tracing::info!(session, "EventSub is connected");
        self.note(Note::Fresh { session, at }).await;
        let line = Some(line);
        let mut live = Live { line, heard: at, gone: None, next: None, closing: Vec::new() };
        if let Some((since, reason)) = self.live(&mut live).await {
            tracing::warn!(reason, %since, "EventSub was lost");
            self.note(Note::Lost { since, reason }).await;
        }
        live.heard > at
    }

    /// Reads until the session is lost, and says since when and why; nothing where we left.
    async fn live(&mut self, live: &mut Live) -> Option<(DateTime<Utc>, String)> {
        loop {
            let due = live.next.as_ref().map(Next::due);
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.leave(live).await;
                    return None;
                }
                Some(word) = self.words.recv() => self.hear(live, word).await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.go_on(live);
                }
            }
            if live.line.is_none() && live.next.is_none() {
                return live.gone.take();
            }
        }
    }

    async fn hear(&mut self, live: &mut Live, word: Word) {
        let Word { line, at, heard } = word;
        let is_current = live.line.as_ref().is_some_and(|current| current.number == line);
        let is_next = live.next.as_ref().is_some_and(|next| next.number() == Some(line));
        if is_current && !matches!(heard, Heard::Ended(_)) {
            live.heard = at;
        }
        match heard {
            Heard::Frame(Frame::Told(told)) => self.told(told, at).await,
            Heard::Frame(Frame::Keepalive) if is_current => self.queue.alive(at),
            Heard::Frame(Frame::Welcome { session, .. }) if is_next => {
                self.carry_on(live, session, at).await;
            }
            Heard::Frame(Frame::Reconnect { url }) if is_current && live.next.is_none() => {
                self.reconnect(live, &url);
            }
            Heard::Ended(End { since, reason }) if is_current => {
                live.line = None;
                live.gone = Some((since.unwrap_or(live.heard), reason));
                // One that is being opened may still be welcome; no other will be.
                live.next = live.next.take().filter(|next| next.line.is_some());
            }
            Heard::Ended(End { reason, .. }) if is_next => {
                tracing::warn!(reason, "EventSub does not go on yet");
                live.next = live.next.take().filter(|_| live.line.is_some());
                if let Some(next) = &mut live.next {
                    next.line = None;
                    next.again_at = Instant::now() + RECONNECT_AGAIN_AFTER;
                }
            }
            Heard::Ended(_) => live.closing.retain(|closing| closing.number != line),
            Heard::Frame(Frame::Unknown { kind }) => {
                tracing::info!(kind, "Twitch says something new over EventSub");
            }
            Heard::Garbage(error) => tracing::warn!(error, "a frame of EventSub cannot be read"),
            Heard::Frame(_) => {}
        }
    }

    /// Twitch told us to go on elsewhere.
    fn reconnect(&mut self, live: &mut Live, url: &str) {
        let Some(url) = self.settings.websocket_url.next(url) else {
            return tracing::warn!("EventSub names an address to go on at that is not safe");
        };
        let line = Some(self.open(url.clone()));
        let now = Instant::now();
        live.next = Some(Next { url, line, again_at: now, until: now + GRACE });
    }

    /// The session goes on over the next connection; the old one is closed.
    async fn carry_on(&mut self, live: &mut Live, session: String, at: DateTime<Utc>) {
        let Some(Next { line: Some(line), .. }) = live.next.take() else { return };
        tracing::info!(session, "EventSub goes on over another connection");
        if let Some((since, reason)) = live.gone.take() {
            self.note(Note::Lost { since, reason }).await;
        }
        self.note(Note::Carried { session }).await;
        if let Some(old) = live.line.replace(line) {
            old.close();
            live.closing.push(old);
        }
        live.heard = at;
        self.queue.alive(at);
    }

    /// The time to try the next connection again, or to give it up, has come.
    fn go_on(&mut self, live: &mut Live) {
        let Some(next) = &mut live.next else { return };
        if Instant::now() >= next.until {
            live.next = None;
        } else if next.line.is_none() {
            let url = next.url.clone();
            let line = self.open(url);
            if let Some(next) = &mut live.next {
                next.line = Some(line);
            }
        }
    }

    /// Closes the connection, and takes in what was sent before it ended.
    async fn leave(&mut self, live: &mut Live) {
        let Some(line) = live.line.take() else { return };
        line.close();
        let ending = async {
            while let Some(word) = self.words.recv().await {
                match word.heard {
                    Heard::Frame(Frame::Told(told)) => self.told(told, word.at).await,
                    Heard::Ended(End { since, .. }) if word.line == line.number => {
                        return since.into_iter().for_each(|since| self.queue.alive(since));
                    }
                    _ => {}
                }
            }
        };
        let _ = timeout(LEAVE_LIMIT, ending).await;
    }

    async fn told(&self, told: Told, at: DateTime<Utc>) {
        if told.kind == SHARD_DISABLED {
            return self.note(Note::ShardDisabled).await;
        }
        let (kind, revoked) = (told.kind.clone(), told.message_type == "revocation");
        if !self.queue.told(told, at) {
            tracing::error!(kind, "more was told than can wait, and is lost");
            return self.note(Note::Dropped { kind, since: at }).await;
        }
        if revoked {
            self.note(Note::Revoked { kind }).await;
        }
    }

    fn open(&mut self, url: Url) -> Line {
        self.lines += 1;
        Line::open(self.lines, Arc::clone(&self.outgoing), url, self.speaker.clone())
    }

    async fn note(&self, note: Note) {
        // Whoever keeps them has gone when everything stops.
        let _ = self.notes.send(note).await;
    }
}

impl Next {
    fn number(&self) -> Option<u64> {
        self.line.as_ref().map(|line| line.number)
    }

    fn due(&self) -> Instant {
        match self.line {
            Some(_) => self.until,
            None => self.again_at.min(self.until),
        }
    }
}
