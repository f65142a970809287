//! The connections to Twitch's IRC, one after another. Where Twitch says that one ends soon, the next has joined before it
//! is left; what is said on both is the same line twice, which is one line.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::Rng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::line::{End, Heard, Line, Opening, Word};
use super::settings::Settings;
use super::told::Told;
use super::whois::Whois;
use crate::outgoing::Outgoing;
use crate::twitch::eventsub::intake::Queue;
use crate::twitch::eventsub::times;

/// A login that is not good is tried again this seldom, and up to as long again by chance: Twitch takes few attempts, and
/// only a person can mend it.
const REFUSED_WAIT: Duration = Duration::from_secs(300);
/// A connection that lasted for so long was a good one.
const GOOD_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(30);
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
const WORDS_MAX: usize = 1_024;
/// How many that are being closed are still listened to.
const CLOSING_MAX: usize = 4;

/// What becomes of the connections.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// From then on what is said reaches us.
    Joined {
        at: DateTime<Utc>,
    },
    /// What was said from `since` on may not have reached us.
    Lost {
        since: DateTime<Utc>,
        reason: String,
    },
    NotConnected {
        reason: String,
        refused: bool,
    },
}

pub struct Session {
    opening: Opening,
    queue: Queue<Told>,
    notes: mpsc::Sender<Note>,
    words: mpsc::Receiver<Word>,
    whois: Arc<Whois>,
    lines: u64,
    stop: CancellationToken,
}

/// The connections there are.
struct Live {
    /// The one that has joined.
    here: Option<Here>,
    /// The one that is to follow it.
    coming: Option<Line>,
    /// Those that are being closed; what they still say counts.
    closing: Vec<Line>,
    again_at: Instant,
    failed: u32,
}

struct Here {
    line: Line,
    joined_at: DateTime<Utc>,
    heard: DateTime<Utc>,
    /// Twitch has told us to leave it.
    ending: bool,
    /// Something was said, and there was no room for it.
    dropped: bool,
}

impl Session {
    pub fn new(
        (settings, broadcaster): (Settings, String),
        queue: Queue<Told>,
        notes: mpsc::Sender<Note>,
        whois: Whois,
        stop: CancellationToken,
    ) -> Self {
        let (speaker, words) = mpsc::channel(WORDS_MAX);
        let outgoing = Arc::new(Outgoing::default());
        let opening = Opening { settings, broadcaster, outgoing, words: speaker };
        Session { opening, queue, notes, words, whois: Arc::new(whois), lines: 0, stop }
    }

    /// Reads until told to stop, and connects again for ever.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let (again_at, closing) = (Instant::now(), Vec::new());
        let mut live = Live { here: None, coming: None, closing, again_at, failed: 0 };
        loop {
            let wanted = live.coming.is_none() && live.here.as_ref().is_none_or(|here| here.ending);
            tokio::select! {
                () = self.stop.cancelled() => {
                    self.leave(live).await;
                    return Ok(());
                }
                Some(word) = self.words.recv() => self.hear(&mut live, word).await,
                () = sleep_until(live.again_at), if wanted => live.coming = Some(self.open()),
            }
        }
    }

    async fn hear(&mut self, live: &mut Live, Word { line, at, heard }: Word) {
        let is_coming = live.coming.as_ref().is_some_and(|coming| coming.number == line);
        let mut here = live.here.as_mut().filter(|here| here.line.number == line);
        if let (Some(here), false) = (&mut here, matches!(heard, Heard::Ended(_))) {
            here.heard = at;
            if at - here.joined_at > GOOD_AFTER {
                live.failed = 0;
            }
        }
        match (heard, here) {
            (Heard::Said(text), here) => self.told(here, text, at).await,
            (Heard::Joined, _) if is_coming => self.arrive(live, at).await,
            (Heard::Alive, Some(_)) => self.queue.alive(at),
            (Heard::Reconnect, Some(here)) if !here.ending => {
                tracing::info!("Twitch says that this connection to IRC ends soon");
                here.ending = true;
                let soon = at - here.joined_at <= GOOD_AFTER;
                live.again_at = Instant::now() + if soon { live.fails() } else { Duration::ZERO };
            }
            (Heard::Ended(End { since, reason, .. }), Some(here)) => {
                let (since, was_ending) = (since.unwrap_or(here.heard), here.ending);
                live.here = None;
                if !was_ending && live.coming.is_none() {
                    live.again_at = Instant::now() + live.fails();
                }
                tracing::warn!(reason, %since, "IRC was lost");
                self.note(Note::Lost { since, reason }).await;
            }
            (Heard::Ended(end), None) if is_coming => self.fail(live, end).await,
            (Heard::Ended(_), None) => live.closing.retain(|closing| closing.number != line),
            (Heard::Garbage(why), _) => {
                tracing::debug!(why, "a line of IRC cannot be read");
                count("unreadable");
            }
            _ => {}
        }
    }

    /// The next connection has joined; the old one is closed.
    async fn arrive(&mut self, live: &mut Live, at: DateTime<Utc>) {
        let Some(line) = live.coming.take() else { return };
        let here = Here { line, joined_at: at, heard: at, ending: false, dropped: false };
        match live.here.replace(here) {
            None => tracing::info!("chat is read over IRC"),
            Some(old) => {
                tracing::info!("chat is read over another connection to IRC");
                old.line.close();
                live.closing.truncate(CLOSING_MAX - 1);
                live.closing.push(old.line);
            }
        }
        self.queue.alive(at);
        self.note(Note::Joined { at }).await;
    }

    /// The next connection ended before it had joined.
    async fn fail(&mut self, live: &mut Live, End { reason, refused, .. }: End) {
        live.coming = None;
        let wait = match refused {
            true => REFUSED_WAIT.mul_f64(rand::rng().random_range(1.0..=2.0)),
            false => live.fails(),
        };
        live.again_at = Instant::now() + wait;
        tracing::warn!(reason, seconds = wait.as_secs_f32(), "IRC is not connected; trying again");
        if live.here.is_none() {
            self.note(Note::NotConnected { reason, refused }).await;
        }
    }

    async fn told(&self, here: Option<&mut Here>, text: String, at: DateTime<Utc>) {
        let taken = self.queue.told(Told { text, whois: Arc::clone(&self.whois) }, at);
        let Some(here) = here else { return };
        let was_dropped = std::mem::replace(&mut here.dropped, !taken);
        match (was_dropped, taken) {
            (false, false) => {
                let reason = "more was said than could be stored".to_owned();
                tracing::error!(reason, "lines of IRC are lost");
                self.note(Note::Lost { since: at, reason }).await;
            }
            (true, true) => self.note(Note::Joined { at }).await,
            _ => {}
        }
    }

    /// Closes the connection, and takes in what was sent before it ended.
    async fn leave(&mut self, live: Live) {
        let Some(here) = live.here else { return };
        here.line.close();
        let ending = async {
            while let Some(word) = self.words.recv().await {
                match word.heard {
                    Heard::Said(text) => self.told(None, text, word.at).await,
                    Heard::Ended(End { since, .. }) if word.line == here.line.number => {
                        return since.into_iter().for_each(|since| self.queue.alive(since));
                    }
                    _ => {}
                }
            }
        };
        let _ = timeout(LEAVE_LIMIT, ending).await;
    }

    fn open(&mut self) -> Line {
        self.lines += 1;
        metrics::counter!("tapedeck_irc_connections_total").increment(1);
        Line::open(self.lines, self.opening.clone())
    }

    async fn note(&self, note: Note) {
        // Whoever keeps them has gone when everything stops.
        let _ = self.notes.send(note).await;
    }
}

impl Live {
    /// One more failure, and how long to wait because of all of them.
    fn fails(&mut self) -> Duration {
        self.failed = self.failed.saturating_add(1);
        times::again_after(self.failed)
    }
}

/// A line that goes no further.
fn count(result: &'static str) {
    metrics::counter!("tapedeck_irc_lines_total", "type" => "other", "result" => result)
        .increment(1);
}
