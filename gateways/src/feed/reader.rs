//! What one reader gets, frame by frame: hello, what it missed, what happens, and in the end bye.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use projections::{QueryError, alerts};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::envelope::{Frame, Mode};
use super::hub::Joined;
use super::{PING_EVERY, Request};
use crate::http::State as AppState;
use crate::http::actor::Actor;

/// How many missed alerts are read at once.
const PAGE: i64 = 256;
/// How often, and how many times, a page is asked for that is not there yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS_MAX: u32 = 50;
/// How often a reader's key is looked at while frames keep coming, and how long a look may take.
const KEY_EVERY: Duration = Duration::from_secs(5);
const KEY_LIMIT: Duration = Duration::from_secs(1);

/// When a reader has had enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// When it has everything there is.
    Present,
    /// When it leaves or is cut.
    Cut,
}

/// The frames of one reader. It does nothing between calls of [`Reader::next`] but keep its place
/// behind the hub.
pub(super) struct Reader {
    app: AppState,
    actor: Arc<Actor>,
    request: Request,
    until: Until,
    stage: Stage,
    /// When the key was last looked at.
    key_seen_at: Instant,
}

enum Stage {
    New,
    /// Reading what came before `until`; `joined` already holds what comes after it.
    Missed {
        after: i64,
        until: i64,
        page: VecDeque<Arc<Frame>>,
        joined: Joined,
    },
    Live(Joined),
    Ended,
}

/// Frames one after another.
pub(super) trait Frames: Send + 'static {
    /// The next frame; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Option<Arc<Frame>>> + Send;
}

/// The frames of `reader` as a stream that owns `held` for as long as it lives.
pub(super) fn frames<R: Frames, T: Send + 'static>(
    reader: R,
    held: T,
) -> impl Stream<Item = Arc<Frame>> + Send {
    futures::stream::unfold((reader, held), |(mut reader, held)| async move {
        let frame = reader.next().await?;
        Some((frame, (reader, held)))
    })
}

impl Frames for Reader {
    async fn next(&mut self) -> Option<Arc<Frame>> {
        if self.key_seen_at.elapsed() >= KEY_EVERY
            && matches!(self.stage, Stage::Missed { .. } | Stage::Live(_))
            && self.key_is_gone().await
        {
            return Some(self.bye(self.app.hub.position(), "revoked"));
        }
        loop {
            match std::mem::replace(&mut self.stage, Stage::Ended) {
                Stage::Ended => return None,
                Stage::New => return Some(self.begin()),
                Stage::Missed { after, until, mut page, joined } => {
                    if let Some(frame) = page.pop_front() {
                        self.stage = Stage::Missed { after, until, page, joined };
                        return Some(frame);
                    }
                    if joined.frames.is_closed() {
                        return Some(self.bye(after, "restored"));
                    }
                    if after < until {
                        match self.read_missed(after, until, joined.epoch).await {
                            Ok((reached, _)) if reached == after => {
                                return Some(self.bye(after, "unavailable"));
                            }
                            Ok((after, page)) => {
                                self.stage = Stage::Missed { after, until, page, joined };
                            }
                            Err(error) => {
                                tracing::warn!(%error, "a reader's missed alerts cannot be read");
                                return Some(self.bye(after, "unavailable"));
                            }
                        }
                        continue;
                    }
                    if self.until == Until::Present {
                        return None;
                    }
                    self.stage = Stage::Live(joined);
                }
                Stage::Live(joined) => {
                    if let Some(frame) = self.wait(joined).await {
                        return Some(frame);
                    }
                }
            }
        }
    }
}

impl Reader {
    pub(super) fn new(app: AppState, actor: Arc<Actor>, request: Request, until: Until) -> Self {
        let (stage, key_seen_at) = (Stage::New, Instant::now());
        Reader { app, actor, request, until, stage, key_seen_at }
    }

    fn begin(&mut self) -> Arc<Frame> {
        let joined = self.app.hub.join();
        let (epoch, until) = (joined.epoch, joined.position);
        let same_epoch = self.request.epoch.is_none_or(|asked| asked == epoch);
        let resumed = same_epoch && self.request.after.is_some_and(|after| after <= until);
        // A position beyond the end, or beyond where another epoch ended, belongs to a history that
        // was cut back: from there on it is another one.
        let end = if same_epoch { until } else { joined.parted.unwrap_or(until).min(until) };
        let after = self.request.after.map(|after| after.min(end));
        let hello = Frame::hello(epoch, until, after, resumed);
        let after = after.unwrap_or(until);
        self.stage = Stage::Missed { after, until, page: VecDeque::new(), joined };
        Arc::new(hello)
    }

    /// The next page of what was missed, and the position it reaches.
    async fn read_missed(
        &self,
        after: i64,
        until: i64,
        epoch: Uuid,
    ) -> Result<(i64, VecDeque<Arc<Frame>>), QueryError> {
        let (pool, kinds) = (&self.app.pool, &self.request.kinds);
        let _turn = self.app.hub.turn().await;
        let mut shown = alerts::after(pool, after, PAGE, kinds).await?;
        for _ in 0..LOOKS_MAX {
            if shown.position >= until || shown.alerts.len() as i64 == PAGE {
                break;
            }
            // A rebuilt generation took over and is a little behind the one before it.
            tokio::time::sleep(LOOK_EVERY).await;
            shown = alerts::after(pool, after, PAGE, kinds).await?;
        }
        let full = shown.alerts.len() as i64 == PAGE;
        let last = shown.alerts.last().map_or(after, |alert| alert.position);
        let reached = if full { last.min(until) } else { shown.position.min(until) };
        let missed = shown.alerts.iter().filter(|alert| alert.position <= until);
        let page = missed.map(|alert| Arc::new(Frame::alert(epoch, alert, Mode::Replay)));
        Ok((reached.max(after), page.collect()))
    }

    /// Waits for the next live frame, a ping's time, or the end. `None`: nothing for this reader
    /// yet.
    async fn wait(&mut self, mut joined: Joined) -> Option<Arc<Frame>> {
        let hub = Arc::clone(&self.app.hub);
        let next = async {
            loop {
                let frame = joined.frames.recv().await?;
                if self.request.shows(frame.kind) {
                    return Ok(frame);
                }
            }
        };
        let received = tokio::select! {
            biased;
            () = self.app.stop.cancelled() => return Some(self.bye(hub.position(), "shutdown")),
            received = timeout(PING_EVERY, next) => received,
        };
        match received {
            Ok(Ok(frame)) => {
                self.stage = Stage::Live(joined);
                Some(frame)
            }
            Ok(Err(RecvError::Lagged(behind))) => {
                tracing::info!(
                    behind,
                    actor = self.actor.name,
                    "a reader of the feed was too slow and is cut"
                );
                metrics::counter!("tapedeck_feed_slow_readers_total").increment(1);
                Some(self.bye(hub.position(), "slow"))
            }
            Ok(Err(RecvError::Closed)) => Some(self.bye(hub.position(), "restored")),
            Err(_) if self.key_is_gone().await => Some(self.bye(hub.position(), "revoked")),
            Err(_) => {
                let quiet_at = hub.quiet_at(&joined.frames);
                self.stage = Stage::Live(joined);
                quiet_at.map(|position| Arc::new(Frame::ping(hub.epoch(), position)))
            }
        }
    }

    /// Where that cannot be known now, the reader stays.
    async fn key_is_gone(&mut self) -> bool {
        self.key_seen_at = Instant::now();
        let look = timeout(KEY_LIMIT, self.app.is_still_good(&self.actor));
        matches!(look.await, Ok(Ok(false)))
    }

    fn bye(&mut self, position: i64, reason: &str) -> Arc<Frame> {
        self.stage = Stage::Ended;
        Arc::new(Frame::bye(self.app.hub.epoch(), position, reason))
    }
}
