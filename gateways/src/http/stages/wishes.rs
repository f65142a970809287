//! What people want done on a stage, as commands.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::stage::{Command, Event, Stage};
use journal::outcome;
use projections::stages;
use uuid::Uuid;

use super::{State, check_name, view};
use crate::http::auth::Asker;
use crate::http::commands::{IdempotencyKey, Wish};
use crate::http::error::ApiError;
use crate::http::extract::Path;
use crate::http::keys::Scope;

/// The states of what can be replayed.
pub(super) const OVER: [&str; 5] = ["shown", "skipped", "expired", "unknown", "cleared"];

/// What every control begins with: somebody who may direct a stage that there is, and the key of the wish.
pub(crate) struct Direction {
    pub(super) app: State,
    pub(super) at: DateTime<Utc>,
    asker: Asker,
    name: String,
    idempotency_key: IdempotencyKey,
}

impl FromRequestParts<State> for Direction {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, ApiError> {
        let asker = Asker::from_request_parts(parts, app).await?;
        asker.require(Scope::StageDirect)?;
        let Path(name) = Path::<String>::from_request_parts(parts, app).await?;
        check_name(app, &name)?;
        let idempotency_key = IdempotencyKey::from_request_parts(parts, app).await?;
        Ok(Direction { app: app.clone(), at: Utc::now(), asker, name, idempotency_key })
    }
}

impl Direction {
    /// Sends what `command` makes of the entry and of who wants it; the same key for something else is refused.
    pub(super) async fn carry_out(
        &self,
        command: impl FnOnce(Uuid, String) -> Command,
    ) -> Result<Response, ApiError> {
        let wish = self.wish()?;
        let command = command(wish.id(), wish.key.name.clone());
        let same = |event: &Event| is_of(&command, event);
        wish.carry_out::<Stage>(&self.app, &self.name, &command, same).await
    }

    /// The id of the command and of the entry it makes.
    pub(super) fn entry(&self) -> Result<Uuid, ApiError> {
        Ok(self.wish()?.id())
    }

    fn wish(&self) -> Result<Wish<'_>, ApiError> {
        let key = self.asker.require(Scope::StageDirect)?;
        Ok(Wish { key, idempotency_key: &self.idempotency_key, received_at: self.at })
    }

    /// The position of history that the stage is seen at.
    pub(super) async fn position(&self) -> Result<i64, ApiError> {
        Ok(view(&self.app, &self.name).await?.position)
    }

    /// What plays; for a repetition, what the first attempt has skipped.
    pub(super) async fn skipped(&self) -> Result<Uuid, ApiError> {
        let before: Option<String> = sqlx::query_scalar(
            "SELECT e.payload::json->'skipped'->>'alert' FROM command_outcomes o
             JOIN events e ON e.position = o.first_position
             WHERE o.command_id = $1 AND o.aggregate_type = 'stage' AND o.aggregate_id = $2",
        )
        .bind(self.entry()?)
        .bind(&self.name)
        .fetch_optional(&self.app.pool)
        .await?
        .flatten();
        if let Some(alert) = before.and_then(|alert| alert.parse().ok()) {
            return Ok(alert);
        }
        let now = Utc::now();
        let playing = view(&self.app, &self.name).await?.playing;
        let playing = playing.filter(|playing| {
            playing.state == "playing" || playing.ends_at.is_some_and(|ends_at| now < ends_at)
        });
        let words = "nothing plays on the stage";
        playing
            .map(|playing| playing.alert.id)
            .ok_or_else(|| ApiError::conflict("not_playing", words))
    }

    /// Refuses an alert that is not in one of these states; gives the position at which it is. A command that is decided
    /// already is answered as it was, whatever has become of the alert since.
    pub(super) async fn require(&self, alert: Uuid, states: &[&str]) -> Result<i64, ApiError> {
        if let Some(outcome) = outcome::find(&self.app.pool, self.entry()?).await? {
            return Ok(outcome.last_position().unwrap_or_default());
        }
        let (position, showing) = stages::one(&self.app.pool, &self.name, alert).await?;
        let Some(showing) = showing else {
            return Err(ApiError::not_found("there is no such alert on this stage").at(position));
        };
        if states.contains(&showing.state.as_str()) {
            return Ok(position);
        }
        let words = format!("this alert is {}, and not {}", showing.state, states.join(" or "));
        Err(ApiError::conflict("wrong_state", words).at(position))
    }
}

/// Whether `event` is what `command` would have made.
fn is_of(command: &Command, event: &Event) -> bool {
    match (command, event) {
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
    }
}
