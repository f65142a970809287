//! What people want done on a stage, as commands.

use axum::response::Response;
use chrono::Utc;
use domain::stage::{Command, Event, Stage};
use journal::outcome;
use projections::stages;
use uuid::Uuid;

use super::{State, check_name, view};
use crate::http::commands::Wish;
use crate::http::error::ApiError;

/// The states of what can be replayed.
pub(super) const OVER: [&str; 5] = ["shown", "skipped", "expired", "unknown", "cleared"];

/// Sends the command; the same key for something else is refused.
pub(super) async fn carry_out(
    app: &State,
    wish: &Wish<'_>,
    name: &str,
    command: &Command,
) -> Result<Response, ApiError> {
    check_name(app, name)?;
    let same = |event: &Event| match (command, event) {
        (Command::Pause { .. }, Event::Paused { .. })
        | (Command::Resume { .. }, Event::Resumed { .. }) => true,
        (Command::Skip { alert, .. }, Event::Skipped { alert: other, .. })
        | (Command::Replay { alert, .. }, Event::Replayed { alert: other, .. })
        | (Command::Prioritise { alert, .. }, Event::Prioritised { alert: other, .. }) => {
            alert == other
        }
        (Command::Clear { alert, .. }, Event::Cleared { alert: other, .. }) => alert == other,
        (Command::Mute { what, .. }, Event::Muted { what: other, .. })
        | (Command::Unmute { what, .. }, Event::Unmuted { what: other, .. }) => what == other,
        (Command::Test { kind, data, .. }, Event::Tested { kind: other, data: other_data, .. }) => {
            kind == other && data == other_data
        }
        _ => false,
    };
    wish.carry_out::<Stage>(app, name, command, same).await
}

/// What plays; for a repetition, what the first attempt has skipped.
pub(super) async fn skipped(app: &State, wish: &Wish<'_>, name: &str) -> Result<Uuid, ApiError> {
    let before: Option<String> = sqlx::query_scalar(
        "SELECT e.payload::json->'skipped'->>'alert' FROM command_outcomes o
         JOIN events e ON e.position = o.first_position
         WHERE o.command_id = $1 AND o.aggregate_type = 'stage' AND o.aggregate_id = $2",
    )
    .bind(wish.id())
    .bind(name)
    .fetch_optional(&app.pool)
    .await?
    .flatten();
    if let Some(alert) = before.and_then(|alert| alert.parse().ok()) {
        return Ok(alert);
    }
    let now = Utc::now();
    let playing = view(app, name).await?.playing;
    let playing = playing.filter(|playing| {
        playing.state == "playing" || playing.ends_at.is_some_and(|ends_at| now < ends_at)
    });
    let words = "nothing plays on the stage";
    playing.map(|playing| playing.alert.id).ok_or_else(|| ApiError::conflict("not_playing", words))
}

/// As [`require`], unless the command is decided already and will be answered as it was.
pub(super) async fn require_unless_done(
    app: &State,
    wish: &Wish<'_>,
    name: &str,
    alert: Uuid,
    states: &[&str],
) -> Result<(), ApiError> {
    if outcome::find(&app.pool, wish.id()).await?.is_some() {
        return Ok(());
    }
    require(app, name, alert, states).await.map(drop)
}

/// Refuses an alert that is not in one of these states; gives the position at which it is.
pub(super) async fn require(
    app: &State,
    name: &str,
    alert: Uuid,
    states: &[&str],
) -> Result<i64, ApiError> {
    let (position, showing) = stages::one(&app.pool, name, alert).await?;
    let Some(showing) = showing else {
        return Err(ApiError::not_found("there is no such alert on this stage").at(position));
    };
    if states.contains(&showing.state.as_str()) {
        return Ok(position);
    }
    let words = format!("this alert is {}, and not {}", showing.state, states.join(" or "));
    Err(ApiError::conflict("wrong_state", words).at(position))
}
