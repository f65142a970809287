//! The WebSocket of an overlay: it is told what plays, asks what time it is, and says what it has on its screen.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use chrono::{DateTime, Utc};
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use journal::crash;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::commands;
use super::hub::{Hub, Playing, Told};
use super::presence::{self, Arrival, Layer};
use crate::feed::PROTOCOL;
use crate::http::State as AppState;
use crate::http::actor::Actor;

/// An overlay says little; what is larger is not one of ours.
const HEARD_BYTES_MAX: usize = 4_096;
/// How long one frame may take to leave; who is slower is cut.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// What may wait for the socket in this process.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// How often the overlay is asked whether it is there, and looked after whether its key is good; how many such times of
/// silence end it.
const PING_EVERY: Duration = Duration::from_secs(10);
const KEY_EVERY: Duration = Duration::from_secs(5);
const SILENT_PINGS_MAX: u32 = 3;
/// How long a question to the database or the broker may take, and how often a word of an overlay is passed on.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const TRIES_MAX: u32 = 3;
/// The most words of one overlay in the time between two looks at its key; who says more is cut.
const WORDS_MAX: u32 = 500;
/// The most words of one overlay that are being passed on.
const PASSING_MAX: usize = 4;

/// One of the limited places for overlays, until dropped.
pub struct Place(#[expect(dead_code, reason = "held until dropped")] OwnedSemaphorePermit);

impl Place {
    /// A place, if there is one left.
    pub fn take(hub: &Hub) -> Option<Self> {
        hub.places().try_acquire_owned().ok().map(Place)
    }
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Overlay {
    pub arrival: Arrival,
    pub actor: Arc<Actor>,
    /// Whether it may say what it shows. One that may not is told everything and counts for nothing.
    pub may_acknowledge: bool,
}

/// What an overlay says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Clock {
        sent_ms: serde_json::Number,
    },
    Painted {
        alert: Uuid,
        attempt: i64,
    },
    /// Its time was over before it could be on the screen here.
    Missed {
        alert: Uuid,
        attempt: i64,
    },
    /// What a newer page may say.
    #[serde(other)]
    Other,
}

/// Why a conversation ends; the overlay is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Shutdown,
    Revoked,
    Restored,
    Unavailable,
    /// It talks too much.
    Noisy,
    /// It cannot be told any more.
    Gone,
}

impl End {
    fn name(self) -> Option<&'static str> {
        match self {
            End::Shutdown => Some("shutdown"),
            End::Revoked => Some("revoked"),
            End::Restored => Some("restored"),
            End::Unavailable => Some("unavailable"),
            End::Noisy => Some("noisy"),
            End::Gone => None,
        }
    }
}

/// Answers with the WebSocket.
pub fn answer(
    upgrade: WebSocketUpgrade,
    app: AppState,
    overlay: Overlay,
    place: Place,
) -> Response {
    upgrade
        .protocols([PROTOCOL])
        .max_message_size(HEARD_BYTES_MAX)
        .write_buffer_size(0)
        .max_write_buffer_size(WAITING_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            attend(socket, &app, &overlay).await;
            drop(place);
        })
}

async fn attend(socket: WebSocket, app: &AppState, overlay: &Overlay) {
    let arrival = &overlay.arrival;
    let (mut sink, mut heard) = socket.split();
    let arrived = !overlay.may_acknowledge
        || timeout(ANSWER_LIMIT, presence::arrive(&app.pool, arrival)).await.is_ok_and(|arrived| {
            arrived.inspect_err(|error| tracing::warn!(%error, "an overlay")).is_ok()
        });
    metrics::gauge!("tapedeck_stage_overlays").increment(1.0);
    let end = if arrived {
        let told = app.stage.join(&arrival.stage);
        let (noted, passed, early, epoch) = (None, None, None, None);
        let conversation = Conversation { app, overlay, told, noted, passed, early, epoch };
        conversation.hold(&mut sink, &mut heard).await
    } else {
        End::Unavailable
    };
    if let Some(reason) = end.name() {
        send(&mut sink, json!({"type": "bye", "reason": reason}).to_string().into()).await;
        let close = CloseFrame { code: close_code::AGAIN, reason: "bye".into() };
        let _ = timeout(SEND_LIMIT, sink.send(Message::Close(Some(close)))).await;
    }
    metrics::gauge!("tapedeck_stage_overlays").decrement(1.0);
    if arrived && overlay.may_acknowledge {
        // Where this fails, the row is gone with the process at the latest.
        let _ = timeout(ANSWER_LIMIT, presence::leave(&app.pool, arrival.connection)).await;
    }
}

type Sink = SplitSink<WebSocket, Message>;

async fn send(sink: &mut Sink, text: Utf8Bytes) -> bool {
    leaves(sink, Message::Text(text)).await
}

async fn leaves(sink: &mut Sink, message: Message) -> bool {
    matches!(timeout(SEND_LIMIT, sink.send(message)).await, Ok(Ok(())))
}

/// The words of an overlay that are being passed on.
type Passing = JoinSet<Result<(), ()>>;

/// An overlay and what was said to it.
struct Conversation<'a> {
    app: &'a AppState,
    overlay: &'a Overlay,
    told: watch::Receiver<Told>,
    /// The start of which it is noted that it was sent here.
    noted: Option<(Uuid, i64)>,
    /// The start of which was passed on that it is on the screen here.
    passed: Option<(Uuid, i64)>,
    /// What it said before it was known here what plays.
    early: Option<(Uuid, i64)>,
    epoch: Option<Uuid>,
}

impl Conversation<'_> {
    /// Goes on until one of both ends it. What the overlay has said by then is passed on.
    async fn hold<S>(mut self, sink: &mut Sink, heard: &mut S) -> End
    where
        S: futures::Stream<Item = Result<Message, axum::Error>> + Unpin,
    {
        if !send(sink, self.hello().await).await {
            return End::Gone;
        }
        let mut passing = JoinSet::new();
        let end = self.converse(sink, heard, &mut passing).await;
        passing.join_all().await;
        end
    }

    async fn converse<S>(&mut self, sink: &mut Sink, heard: &mut S, passing: &mut Passing) -> End
    where
        S: futures::Stream<Item = Result<Message, axum::Error>> + Unpin,
    {
        let stop = self.app.stop.clone();
        let mut keys = tokio::time::interval(KEY_EVERY);
        let (mut heard_at, mut pinged_at) = (Instant::now(), Instant::now());
        let mut words = 0;
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => Some(End::Shutdown),
                changed = self.told.changed() => match changed {
                    Ok(()) => self.tell(sink, passing).await,
                    Err(_) => Some(End::Shutdown),
                },
                Some(passed) = passing.join_next() => match passed {
                    Ok(Ok(())) => None,
                    // It says it again when it is back.
                    Ok(Err(())) | Err(_) => Some(End::Unavailable),
                },
                said = heard.next() => {
                    heard_at = Instant::now();
                    words += 1;
                    match said {
                        _ if words > WORDS_MAX => Some(End::Noisy),
                        Some(Ok(Message::Text(text))) => self.hear(&text, sink, passing).await,
                        Some(Ok(Message::Close(_)) | Err(_)) | None => Some(End::Gone),
                        Some(Ok(_)) => None,
                    }
                }
                _ = keys.tick() => {
                    words = 0;
                    let asks = pinged_at.elapsed() >= PING_EVERY;
                    pinged_at = if asks { Instant::now() } else { pinged_at };
                    match heard_at.elapsed() > PING_EVERY * SILENT_PINGS_MAX {
                        true => Some(End::Gone),
                        false => self.look_after(sink, asks).await,
                    }
                }
            };
            if let Some(end) = ended {
                return end;
            }
        }
    }

    /// Looks whether its key is still good, and asks whether it is there.
    async fn look_after(&self, sink: &mut Sink, asks: bool) -> Option<End> {
        if self.key_is_gone().await {
            return Some(End::Revoked);
        }
        let asked = !asks
            || send(sink, Utf8Bytes::from_static(r#"{"type":"ping"}"#)).await
                && leaves(sink, Message::Ping(bytes::Bytes::new())).await;
        (!asked).then_some(End::Gone)
    }

    async fn hello(&mut self) -> Utf8Bytes {
        let epoch = timeout(ANSWER_LIMIT, journal::head::read(&self.app.pool)).await;
        self.epoch = epoch.ok().and_then(Result::ok).map(|head| head.epoch);
        let hello = json!({
            "type": "hello",
            "stage": self.overlay.arrival.stage,
            "epoch": self.epoch,
            "build": env!("CARGO_PKG_VERSION"),
            "server_ms": now_ms(),
            "ping_ms": PING_EVERY.as_millis() as u64,
        });
        hello.to_string().into()
    }

    /// Tells the overlay what there is. What starts is noted before it is sent: who was told may show it.
    async fn tell(&mut self, sink: &mut Sink, passing: &mut Passing) -> Option<End> {
        let state = self.told.borrow_and_update().clone()?;
        if *self.epoch.get_or_insert(state.epoch) != state.epoch {
            return Some(End::Restored);
        }
        if let Some(playing) = state.playing.as_ref()
            && self.is_ours(playing)
            && !playing.shown
            && Utc::now() < playing.ends_at
            && self.noted != Some((playing.alert, playing.attempt))
        {
            let (alert, attempt) = (playing.alert, playing.attempt);
            let connection = self.overlay.arrival.connection;
            let noted = presence::sent(&self.app.pool, connection, alert, attempt);
            match timeout(ANSWER_LIMIT, noted).await {
                Ok(Ok(true)) => self.noted = Some((alert, attempt)),
                Ok(Ok(false)) | Err(_) => return Some(End::Unavailable),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a start cannot be noted, so it is not sent");
                    return Some(End::Unavailable);
                }
            }
            crash::point("stage.noted");
        }
        if let Some((alert, attempt)) = self.early.take() {
            self.pass_on(alert, attempt, passing);
        }
        let text = state.text(&self.overlay.arrival.kinds);
        (!send(sink, text).await).then_some(End::Gone)
    }

    /// Whether this overlay can show it by itself, and say so.
    fn is_ours(&self, playing: &Playing) -> bool {
        let Arrival { layer, kinds, .. } = &self.overlay.arrival;
        self.overlay.may_acknowledge
            && *layer != Layer::Screen
            && (kinds.is_empty() || kinds.contains(&playing.kind))
    }

    async fn hear(&mut self, text: &str, sink: &mut Sink, passing: &mut Passing) -> Option<End> {
        match serde_json::from_str(text) {
            Ok(Said::Clock { sent_ms }) => {
                let answer = json!({"type": "clock", "sent_ms": sent_ms, "server_ms": now_ms()});
                (!send(sink, answer.to_string().into()).await).then_some(End::Gone)
            }
            Ok(Said::Painted { alert, attempt }) => {
                if self.told.borrow().is_none() {
                    self.early = Some((alert, attempt));
                } else if passing.len() < PASSING_MAX {
                    self.pass_on(alert, attempt, passing);
                }
                None
            }
            Ok(Said::Missed { .. }) if !self.overlay.may_acknowledge => None,
            Ok(Said::Missed { alert, attempt }) => {
                let connection = self.overlay.arrival.connection;
                let unsent = presence::unsent(&self.app.pool, connection, alert, attempt);
                // Once it is back, it is one that had this and has not shown it; one that stays would be taken for silent.
                let is_noted = matches!(timeout(ANSWER_LIMIT, unsent).await, Ok(Ok(())));
                (!is_noted).then_some(End::Unavailable)
            }
            Ok(Said::Other) | Err(_) => None,
        }
    }

    /// Passes on that the overlay has on its screen what plays; anything else is not believed.
    fn pass_on(&mut self, alert: Uuid, attempt: i64, passing: &mut Passing) {
        if !self.overlay.may_acknowledge || self.passed == Some((alert, attempt)) {
            return;
        }
        let state = self.told.borrow().clone();
        let playing = state.as_ref().and_then(|state| state.playing.as_ref());
        let playing = playing.filter(|now| now.alert == alert && now.attempt == attempt);
        let Some(playing) = playing else { return };
        self.passed = Some((alert, attempt));
        let counts = self.is_ours(playing) && !playing.shown;
        let (app, arrival) = (AppState::clone(self.app), self.overlay.arrival.clone());
        let at = Utc::now();
        passing.spawn(async move {
            let noted = presence::painted(&app.pool, arrival.connection, alert);
            let _ = timeout(ANSWER_LIMIT, noted).await;
            if !counts {
                return Ok(());
            }
            crash::point("stage.painted");
            shown(&app, &arrival, alert, attempt, at).await.map_err(|error| {
                tracing::warn!(error = format!("{error:#}"), "an overlay's word is lost");
            })
        });
    }

    /// Where that cannot be known now, the overlay stays.
    async fn key_is_gone(&self) -> bool {
        let look = self.app.is_still_good(&self.overlay.actor);
        matches!(timeout(ANSWER_LIMIT, look).await, Ok(Ok(false)))
    }
}

/// Says that an alert is on a screen. It is decided when it is decided: every overlay's word is the same command.
async fn shown(
    app: &AppState,
    arrival: &Arrival,
    alert: Uuid,
    attempt: i64,
    at: DateTime<Utc>,
) -> anyhow::Result<()> {
    let attempt = u32::try_from(attempt).context("an attempt is a small number")?;
    let envelope = commands::show(&arrival.stage, alert, attempt, arrival.overlay, at)?;
    for _ in 0..TRIES_MAX {
        match timeout(ANSWER_LIMIT, app.publisher.send(&envelope)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => tracing::debug!(%error, "said again"),
            Err(_) => tracing::debug!("said again"),
        }
    }
    bail!("the broker does not take it");
}

fn now_ms() -> i64 {
    Utc::now().timestamp_millis()
}
