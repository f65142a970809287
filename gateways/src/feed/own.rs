//! The feed of one's own account: every entry, in order, to the viewer whose points they move. Goes out.
//!
//! A reader is only told that there is something, and reads it itself when it is ready, on from the position it has: who
//! is slow, or was away, reads the same rows later, and nothing waits in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use journal::positions::Positions;
use projections::statements;
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::envelope::{Frame, Mode};
use super::reader::{Frames, Until};
use super::{PING_EVERY, Request, Wish, poll, sse, websocket};
use crate::http::State as AppState;
use crate::http::actor::Actor;
use crate::http::auth::Asker;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::extract::Query;
use crate::http::keys::Scope;

/// How many readers there may be, apart from those of alerts: viewers must not take the place of an overlay.
pub const READERS_MAX: usize = 512;
/// How many of them may be one viewer's.
const OF_ONE_MAX: usize = 8;
/// How many entries are read at once, and how many readers read at once.
const PAGE: i64 = 128;
const READS_MAX: usize = 4;
const KEY_EVERY: Duration = Duration::from_secs(5);
const KEY_LIMIT: Duration = Duration::from_secs(1);

/// Where readers wait for what is theirs.
pub struct OwnFeed {
    viewers: Mutex<HashMap<String, watch::Sender<i64>>>,
    places: Arc<Semaphore>,
    reads: Semaphore,
}

impl Default for OwnFeed {
    fn default() -> Self {
        let (places, reads) = (Arc::new(Semaphore::new(READERS_MAX)), Semaphore::new(READS_MAX));
        OwnFeed { viewers: Mutex::default(), places, reads }
    }
}

impl OwnFeed {
    /// A place for a reader of this viewer; it is told when there is something.
    fn join(&self, viewer: &str) -> Result<(OwnedSemaphorePermit, watch::Receiver<i64>), ApiError> {
        let full =
            || ApiError::unavailable("the feed has all the readers it can have; come back later");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let mut viewers = self.lock();
        let told = viewers.entry(viewer.to_owned()).or_insert_with(|| watch::Sender::new(0));
        if told.receiver_count() >= OF_ONE_MAX {
            let words = format!("{OF_ONE_MAX} readers of one account are enough: end one of them");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_readers", words));
        }
        Ok((place, told.subscribe()))
    }

    /// Those who have readers.
    fn viewers(&self) -> Vec<String> {
        let mut viewers = self.lock();
        viewers.retain(|_, told| told.receiver_count() > 0);
        viewers.keys().cloned().collect()
    }

    fn tell(&self, viewers: &[String], position: i64) {
        let known = self.lock();
        for told in viewers.iter().filter_map(|viewer| known.get(viewer)) {
            told.send_replace(position);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<i64>>> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the projection `statements`, and tells readers, until told to stop.
pub async fn run(
    feed: Arc<OwnFeed>,
    pool: PgPool,
    positions: Positions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut moved = positions.watch(statements::NAME);
    let mut last = *moved.borrow_and_update();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = moved.changed() => if changed.is_err() {
                return Ok(());
            },
        }
        // First how far it is, then who reads: who joins in between reads at least as far.
        let until = *moved.borrow_and_update();
        let viewers = feed.viewers();
        if !viewers.is_empty() {
            match statements::changed(&pool, last.min(until), until, &viewers).await {
                Ok(changed) => feed.tell(&changed, until),
                Err(error) => {
                    tracing::warn!(%error, "whose account changed cannot be read; all look");
                    feed.tell(&viewers, until);
                }
            }
        }
        last = until;
    }
}

/// What a reader asks for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OwnWish {
    /// Go on after this position. `Last-Event-ID` says the same and is stronger.
    after: Option<i64>,
    /// The epoch that `after` was given in.
    epoch: Option<Uuid>,
    /// `1`: answer with JSON lines of what there is, and end.
    poll: Option<u8>,
}

/// The entries of one's own account as they come, oldest first, over server-sent events.
///
/// For whoever is logged in. Frames are those of the feed of alerts: `type` is the kind of the entry and `data` the entry as
/// the statement has it. Go on after a disconnection with `Last-Event-ID` or `after`.
#[utoipa::path(
    get, path = "/me/feed", tag = "feed", params(OwnWish),
    responses(
        (status = 200, description = "Envelopes `{epoch, position, id, type, at, mode, data}`",
         content((String = "text/event-stream"), (String = "application/jsonl"))),
        (status = "4XX", body = ErrorBody),
    ),
)]
pub(crate) async fn own_feed(
    State(app): State<AppState>,
    asker: Asker,
    Query(wish): Query<OwnWish>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let poll = wish.poll;
    let (reader, place) = reader(app, &asker, wish, &parts)?;
    match poll {
        Some(1) => Ok(poll::answer(OwnReader { until: Until::Present, ..reader }, place)),
        None | Some(0) => Ok(sse::answer(reader, place)),
        Some(_) => Err(ApiError::bad_request("poll is 1 or left out")),
    }
}

/// The same over a WebSocket: one envelope per text frame.
#[utoipa::path(
    get, path = "/me/feed/ws", tag = "feed", params(OwnWish),
    responses(
        (status = 101, description = "Envelopes `{epoch, position, id, type, at, mode, data}`"),
        (status = "4XX", body = ErrorBody),
    ),
)]
pub(crate) async fn own_feed_ws(
    State(app): State<AppState>,
    asker: Asker,
    Query(wish): Query<OwnWish>,
    mut parts: Parts,
) -> Result<Response, ApiError> {
    let (reader, place) = reader(Arc::clone(&app), &asker, wish, &parts)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(websocket::answer(upgrade, reader, place))
}

fn reader(
    app: AppState,
    asker: &Asker,
    wish: OwnWish,
    parts: &Parts,
) -> Result<(OwnReader, OwnedSemaphorePermit), ApiError> {
    let actor = Arc::clone(asker.known()?);
    let Some(viewer) = actor.viewer().map(str::to_owned) else {
        let words = "this is the feed of whoever is logged in, and a key is nobody's account";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "no_session", words));
    };
    asker.require_for(Scope::AccountsRead, &viewer)?;
    let OwnWish { after, epoch, .. } = wish;
    let request = Request::read(&Wish { after, epoch, types: None, poll: None }, parts)?;
    let (place, told) = app.own_feed.join(&viewer)?;
    let epoch = app.hub.epoch();
    let reader = OwnReader {
        app,
        actor,
        viewer,
        request,
        until: Until::Cut,
        told,
        epoch,
        after: None,
        began_at: 0,
        is_behind: true,
        page: VecDeque::new(),
        ended: false,
        key_seen_at: Instant::now(),
    };
    Ok((reader, place))
}

/// The frames of one reader.
struct OwnReader {
    app: AppState,
    actor: Arc<Actor>,
    viewer: String,
    request: Request,
    until: Until,
    told: watch::Receiver<i64>,
    epoch: Uuid,
    /// How far this reader has read; `None` before hello.
    after: Option<i64>,
    /// What is up to here happened before the reader came.
    began_at: i64,
    /// Whether there may be something that it has not read.
    is_behind: bool,
    page: VecDeque<Arc<Frame>>,
    ended: bool,
    key_seen_at: Instant,
}

impl Frames for OwnReader {
    async fn next(&mut self) -> Option<Arc<Frame>> {
        if self.ended {
            return None;
        }
        let Some(mut after) = self.after else { return Some(self.begin()) };
        loop {
            if let Some(frame) = self.page.pop_front() {
                return Some(frame);
            }
            if self.app.hub.epoch() != self.epoch {
                return Some(self.bye("restored"));
            }
            if self.key_seen_at.elapsed() >= KEY_EVERY && self.key_is_gone().await {
                return Some(self.bye("revoked"));
            }
            if self.is_behind {
                self.told.borrow_and_update();
                if self.read(after).await.is_err() {
                    return Some(self.bye("unavailable"));
                }
                after = self.after.unwrap_or(after);
                continue;
            }
            if self.until == Until::Present {
                return None;
            }
            let told = tokio::select! {
                biased;
                () = self.app.stop.cancelled() => return Some(self.bye("shutdown")),
                told = timeout(PING_EVERY, self.told.changed()) => told,
            };
            match told {
                Ok(Ok(())) => self.is_behind = true,
                Ok(Err(_)) => return Some(self.bye("shutdown")),
                Err(_) if self.key_is_gone().await => return Some(self.bye("revoked")),
                Err(_) => return Some(Arc::new(Frame::ping(self.epoch, after))),
            }
        }
    }
}

impl OwnReader {
    fn begin(&mut self) -> Arc<Frame> {
        let position = self.app.positions.current(statements::NAME);
        let same_epoch = self.request.epoch.is_none_or(|asked| asked == self.epoch);
        let asked = self.request.after;
        let resumed = same_epoch && asked.is_some_and(|after| after <= position);
        // A position beyond the end belongs to a history that was cut back.
        let asked = asked.map(|after| after.min(position));
        (self.after, self.began_at) = (Some(asked.unwrap_or(position)), position);
        Arc::new(Frame::hello(self.epoch, position, asked, resumed))
    }

    /// Reads what came after `after`.
    async fn read(&mut self, after: i64) -> Result<(), projections::QueryError> {
        let app = Arc::clone(&self.app);
        let _turn = app.own_feed.reads.acquire().await;
        let read = statements::after(&app.pool, &self.viewer, after, PAGE).await;
        let read = read.inspect_err(|error| {
            tracing::warn!(%error, "a viewer's own entries cannot be read");
        })?;
        self.is_behind = read.lines.len() as i64 == PAGE;
        let last = read.lines.last().map_or(after, |line| line.position);
        // A rebuilt generation may be a little behind the one before it.
        self.after = Some(if self.is_behind { last } else { last.max(read.position) });
        for line in read.lines {
            let mode = if line.position <= self.began_at { Mode::Replay } else { Mode::Live };
            self.page.push_back(Arc::new(Frame::entry(self.epoch, line, mode)));
        }
        Ok(())
    }

    /// Where that cannot be known now, the reader stays.
    async fn key_is_gone(&mut self) -> bool {
        self.key_seen_at = Instant::now();
        let look = timeout(KEY_LIMIT, self.app.is_still_good(&self.actor));
        matches!(look.await, Ok(Ok(false)))
    }

    fn bye(&mut self, reason: &str) -> Arc<Frame> {
        self.ended = true;
        Arc::new(Frame::bye(self.epoch, self.after.unwrap_or_default(), reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_viewer_does_not_take_every_place() {
        let feed = OwnFeed::default();
        let mut readers: Vec<_> =
            (0..OF_ONE_MAX).map(|_| feed.join("5001").expect("a place")).collect();
        assert_eq!(feed.join("5001").expect_err("enough").status(), StatusCode::TOO_MANY_REQUESTS);
        let (_place, mut other) = feed.join("5002").expect("a place");
        feed.tell(&["5001".to_owned()], 7);
        assert!(readers[0].1.has_changed().expect("open") && !other.has_changed().expect("open"));
        assert_eq!(*readers[0].1.borrow_and_update(), 7);
        readers.clear();
        assert_eq!(feed.viewers(), ["5002"]);
        assert_eq!(feed.places.available_permits(), READERS_MAX - 1);
        other.borrow_and_update();
    }
}
