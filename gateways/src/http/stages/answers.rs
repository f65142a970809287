//! A stage as the API shows it.

use chrono::{DateTime, Utc};
use projections::stages::{List, Showing, View};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::alerts::AlertAnswer;
use crate::stage::presence::Present;

/// A stage, and the overlays that are there.
#[derive(Serialize, ToSchema)]
pub struct StageAnswer {
    pub position: i64,
    pub stage: String,
    pub paused: bool,
    pub muted: MutedAnswer,
    /// What is on the stage now, or starts in a moment; `null` where nothing is.
    pub playing: Option<PlayingAnswer>,
    /// How many wait, counted up to 10000.
    pub waiting: i64,
    /// The first of those that wait, in the order of play.
    pub next: Vec<ShowingAnswer>,
    /// The overlays that are connected, newest first.
    pub overlays: Vec<OverlayAnswer>,
    /// The server's clock, by which `starts_ms` and `ends_ms` are.
    pub server_ms: i64,
}

#[derive(Serialize, ToSchema)]
pub struct MutedAnswer {
    pub sound: bool,
    pub speech: bool,
}

/// What is on the stage.
#[derive(Serialize, ToSchema)]
pub struct PlayingAnswer {
    pub alert: AlertAnswer,
    pub attempt: i64,
    /// Milliseconds since 1970.
    pub starts_ms: i64,
    pub ends_ms: i64,
    /// Whether an overlay has said that it is on the screen.
    pub shown: bool,
}

/// An alert on a stage.
#[derive(Serialize, ToSchema)]
pub struct ShowingAnswer {
    pub alert: AlertAnswer,
    /// `waiting`, `playing`, `shown`, `skipped`, `expired`, `unknown` or `cleared`.
    #[schema(example = "shown")]
    pub state: String,
    /// How often it was started.
    pub attempts: i64,
    /// Since when it waits, or did.
    pub queued_at: DateTime<Utc>,
    /// When it was started last, from when to when.
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub shown_at: Option<DateTime<Utc>>,
    /// Why it waits again or is unknown.
    pub reason: Option<String>,
    /// Who skipped, cleared, replayed or prioritised it.
    pub actor: Option<String>,
    /// Whether somebody wanted it to come next.
    pub prioritised: bool,
}

/// A page of alerts of a stage, newest first.
#[derive(Serialize, ToSchema)]
pub struct ShowingsAnswer {
    pub position: i64,
    pub alerts: Vec<ShowingAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// An overlay that is connected.
#[derive(Serialize, ToSchema)]
pub struct OverlayAnswer {
    /// The page's own id.
    pub overlay: Uuid,
    #[schema(example = "normal")]
    pub layer: String,
    /// The types it shows; empty: all.
    pub types: Vec<String>,
    pub since: DateTime<Utc>,
    /// What it said last that it has on the screen, and when.
    pub painted_alert: Option<Uuid>,
    pub painted_at: Option<DateTime<Utc>>,
}

impl StageAnswer {
    pub(super) fn new(view: View, overlays: Vec<Present>, now: DateTime<Utc>) -> Self {
        let here = overlays.into_iter().filter(|overlay| overlay.here);
        StageAnswer {
            position: view.position,
            stage: view.stage,
            paused: view.paused,
            muted: MutedAnswer { sound: view.sound_muted, speech: view.speech_muted },
            playing: view.playing.and_then(|playing| PlayingAnswer::at(playing, now)),
            waiting: view.waiting,
            next: view.next.into_iter().map(ShowingAnswer::from).collect(),
            overlays: here.map(OverlayAnswer::from).collect(),
            server_ms: now.timestamp_millis(),
        }
    }
}

impl PlayingAnswer {
    fn at(playing: Showing, now: DateTime<Utc>) -> Option<Self> {
        let (starts_at, ends_at) = (playing.starts_at?, playing.ends_at?);
        let shown = playing.state != "playing";
        if shown && ends_at <= now {
            return None;
        }
        Some(PlayingAnswer {
            alert: playing.alert.into(),
            attempt: playing.attempts,
            starts_ms: starts_at.timestamp_millis(),
            ends_ms: ends_at.timestamp_millis(),
            shown,
        })
    }
}

impl From<Showing> for ShowingAnswer {
    fn from(showing: Showing) -> Self {
        ShowingAnswer {
            alert: showing.alert.into(),
            state: showing.state,
            attempts: showing.attempts,
            queued_at: showing.queued_at,
            starts_at: showing.starts_at,
            ends_at: showing.ends_at,
            shown_at: showing.shown_at,
            reason: showing.reason,
            actor: showing.actor,
            prioritised: showing.priority > 0,
        }
    }
}

impl From<List> for ShowingsAnswer {
    fn from(list: List) -> Self {
        ShowingsAnswer {
            position: list.position,
            alerts: list.showings.into_iter().map(ShowingAnswer::from).collect(),
            before: list.before,
        }
    }
}

impl From<Present> for OverlayAnswer {
    fn from(overlay: Present) -> Self {
        OverlayAnswer {
            overlay: overlay.overlay,
            layer: overlay.layer,
            types: overlay.kinds,
            since: overlay.since,
            painted_alert: overlay.painted_alert,
            painted_at: overlay.painted_at,
        }
    }
}
