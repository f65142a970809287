//! Reads a stage once whenever it changes, and hands the same bytes to every overlay of this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use chrono::{DateTime, Utc};
use journal::positions::Positions;
use projections::QueryError;
use projections::stages::{self, Showing, View};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{MissedTickBehavior, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::presence;

/// The most overlays that one process serves.
const PLACES: usize = 512;
/// How often a stage is read though nobody said that it changed, and how long a read may take.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// So soon after a read the next one is made at the earliest.
const READ_AT_MOST_EVERY: Duration = Duration::from_millis(5);

/// Where the overlays of this process join.
pub struct Hub {
    /// This process, in the table of overlays.
    pub process: Uuid,
    stages: Mutex<HashMap<String, watch::Sender<Told>>>,
    joined: Notify,
    places: Arc<Semaphore>,
}

/// The last that there is to say about a stage; `None` before it was read.
pub type Told = Option<Arc<State>>;

/// What all overlays of a stage are told.
#[derive(Debug)]
pub struct State {
    pub epoch: Uuid,
    pub revision: i64,
    pub playing: Option<Playing>,
    next_kind: Option<String>,
    /// All of it but the revision, to see whether it changed.
    content: Value,
    /// As it is sent: with what plays or without, with what comes next or without.
    texts: [[Utf8Bytes; 2]; 2],
}

/// What plays, as far as a socket has to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Playing {
    pub alert: Uuid,
    pub attempt: i64,
    pub kind: String,
    pub shown: bool,
    pub ends_at: DateTime<Utc>,
}

impl State {
    fn new(epoch: Uuid, position: i64, view: Option<&View>) -> Self {
        let playing = view.and_then(|view| view.playing.as_ref()).and_then(playing_of);
        let (told, playing) = playing.unzip();
        let next = view.and_then(|view| view.next.first());
        let muted = |of: fn(&View) -> bool| view.is_some_and(of);
        let content = json!({
            "type": "state",
            "paused": muted(|view| view.paused),
            "muted": {
                "sound": muted(|view| view.sound_muted),
                "speech": muted(|view| view.speech_muted),
            },
            "waiting": view.map_or(0, |view| view.waiting),
            "playing": told,
            "next": next.map(Showing::told),
        });
        let text = |with_playing: bool, with_next: bool| {
            let mut said = content.clone();
            said["revision"] = position.into();
            if !with_playing {
                said["playing"] = Value::Null;
            }
            if !with_next {
                said["next"] = Value::Null;
            }
            Utf8Bytes::from(said.to_string())
        };
        let texts =
            [[text(false, false), text(false, true)], [text(true, false), text(true, true)]];
        let next_kind = next.map(|next| next.alert.kind.clone());
        State { epoch, revision: position, playing, next_kind, content, texts }
    }

    /// As an overlay is told that shows these types; none means all.
    pub fn text(&self, kinds: &[String]) -> Utf8Bytes {
        let shows = |kind: &String| kinds.is_empty() || kinds.contains(kind);
        let with_playing = self.playing.as_ref().is_some_and(|playing| shows(&playing.kind));
        let with_next = self.next_kind.as_ref().is_some_and(shows);
        self.texts[usize::from(with_playing)][usize::from(with_next)].clone()
    }
}

/// What overlays are told of what plays, and what their sockets have to know.
fn playing_of(showing: &Showing) -> Option<(Value, Playing)> {
    let (starts_at, ends_at) = (showing.starts_at?, showing.ends_at?);
    // One that was shown and waits again is shown no longer by this start.
    let shown = showing.state != "playing";
    let playing = Playing {
        alert: showing.alert.id,
        attempt: showing.attempts,
        kind: showing.alert.kind.clone(),
        shown,
        ends_at,
    };
    let told = json!({
        "alert": showing.told(),
        "attempt": showing.attempts,
        "starts_ms": starts_at.timestamp_millis(),
        "ends_ms": ends_at.timestamp_millis(),
        "shown": shown,
    });
    Some((told, playing))
}

impl Hub {
    pub fn new() -> Arc<Self> {
        Arc::new(Hub {
            process: Uuid::new_v4(),
            stages: Mutex::default(),
            joined: Notify::new(),
            places: Arc::new(Semaphore::new(PLACES)),
        })
    }

    pub(super) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    /// A place behind the hub: what is to be said about `stage` comes here, the last of it.
    pub(super) fn join(&self, stage: &str) -> watch::Receiver<Told> {
        let mut stages = self.lock();
        let sender = stages.entry(stage.to_owned()).or_insert_with(|| watch::Sender::new(None));
        // What was read when the last one left is old.
        if sender.receiver_count() == 0 {
            sender.send_replace(None);
        }
        let mut receiver = sender.subscribe();
        // What was said to others is news here.
        receiver.mark_changed();
        drop(stages);
        self.joined.notify_one();
        receiver
    }

    /// The stages that somebody looks at.
    fn watched(&self) -> Vec<String> {
        let stages = self.lock();
        let watched = stages.iter().filter(|(_, sender)| sender.receiver_count() > 0);
        watched.map(|(name, _)| name.clone()).collect()
    }

    fn tell(&self, stage: &str, state: State) {
        let stages = self.lock();
        let Some(sender) = stages.get(stage) else { return };
        sender.send_if_modified(|told| {
            let same = told
                .as_ref()
                .is_some_and(|told| told.epoch == state.epoch && told.content == state.content);
            if !same {
                *told = Some(Arc::new(state));
            }
            !same
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<Told>>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the projection `stages` until told to stop, and says that this process lives.
pub async fn run(
    hub: Arc<Hub>,
    pool: PgPool,
    positions: Positions,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow(&hub, &pool, &positions) => {}
        () = live(&hub, &pool) => {}
    }
    Ok(())
}

async fn follow(hub: &Hub, pool: &PgPool, positions: &Positions) {
    let mut moved = positions.watch(stages::NAME);
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = hub.joined.notified() => {}
            changed = moved.changed() => if changed.is_err() {
                return;
            },
        }
        moved.borrow_and_update();
        for stage in hub.watched() {
            match timeout(LOOK_LIMIT, read(hub, pool, &stage)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, stage, "the stage cannot be read"),
                Err(_) => tracing::warn!(stage, "the stage cannot be read in time"),
            }
        }
        tokio::time::sleep(READ_AT_MOST_EVERY).await;
    }
}

async fn read(hub: &Hub, pool: &PgPool, stage: &str) -> Result<(), QueryError> {
    let (position, view) = stages::view(pool, stage).await?;
    let epoch = match &view {
        Some(view) => view.epoch,
        None => journal::head::read(pool).await?.epoch,
    };
    hub.tell(stage, State::new(epoch, position, view.as_ref()));
    Ok(())
}

/// Says again and again that this process lives.
async fn live(hub: &Hub, pool: &PgPool) {
    let mut beats = tokio::time::interval(Duration::from_secs(presence::BEAT_S));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        match timeout(LOOK_LIMIT, presence::beat(pool, hub.process)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot say that this process lives"),
            Err(_) => tracing::warn!("cannot say in time that this process lives"),
        }
    }
}

#[cfg(test)]
mod tests;
