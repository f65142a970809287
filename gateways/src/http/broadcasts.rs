//! Broadcasts: what is on, what was on, and what is screened.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::broadcast::{Broadcast as Aggregate, Command, Event};
use projections::broadcasts::{self, Broadcast, Current, Interval, Screening};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::auth::Asker;
use super::commands::{CommandAnswer, IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{AtLeast, PageNow, answer, wait};
use super::tapes::card_of;
use super::{Api, State};

const TAPE_LENGTH_MAX: usize = 200;

/// What is on now.
#[derive(Serialize, ToSchema)]
pub struct CurrentAnswer {
    pub position: i64,
    pub broadcaster: String,
    pub live: bool,
    pub title: String,
    pub category: String,
    pub language: String,
    /// The last broadcast, live or ended; `null` before the first.
    pub broadcast: Option<BroadcastAnswer>,
    /// What is on screen.
    pub screening: Option<ScreeningAnswer>,
}

/// A page of broadcasts, newest first.
#[derive(Serialize, ToSchema)]
pub struct HistoryAnswer {
    pub position: i64,
    pub broadcasts: Vec<BroadcastAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// One broadcast and the position it was read at.
#[derive(Serialize, ToSchema)]
pub struct OneAnswer {
    pub position: i64,
    pub broadcast: BroadcastAnswer,
}

#[derive(Serialize, ToSchema)]
pub struct BroadcastAnswer {
    /// 1, 2, 3, …
    pub number: i64,
    /// What Twitch called it last.
    pub live_id: String,
    pub live: bool,
    pub title: String,
    pub category: String,
    pub language: String,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
    /// When it was on: more than one where it was resumed, oldest first.
    pub intervals: Vec<IntervalAnswer>,
    /// Oldest first.
    pub screenings: Vec<ScreeningAnswer>,
}

#[derive(Serialize, ToSchema)]
pub struct IntervalAnswer {
    pub live_id: String,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
pub struct ScreeningAnswer {
    pub id: Uuid,
    pub tape: String,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// A tape to put on screen.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewScreening {
    /// Its id in the catalogue; any name, where there is no catalogue.
    #[schema(example = "88")]
    tape: String,
}

/// All broadcasts, newest first.
#[utoipa::path(
    get, path = "/broadcasts", tag = "broadcasts", params(PageNow),
    responses((status = 200, body = HistoryAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn history(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<PageNow>,
) -> Result<Response, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    let page = wanted.read(&app, &[broadcasts::NAME]).await?;
    let history = broadcasts::history(&app.pool, broadcaster(&app)?, page).await?;
    let body = HistoryAnswer {
        position: history.position,
        broadcasts: history.broadcasts.into_iter().map(BroadcastAnswer::from).collect(),
        before: history.before,
    };
    Ok(answer(body.position, body))
}

/// What is on now.
#[utoipa::path(
    get, path = "/broadcasts/current", tag = "broadcasts", params(AtLeast),
    responses((status = 200, body = CurrentAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn current(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(at_least): Query<AtLeast>,
) -> Result<Response, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    wait(&app, &[broadcasts::NAME], at_least.min_position).await?;
    let current = broadcasts::current(&app.pool, broadcaster(&app)?).await?;
    Ok(answer(current.position, CurrentAnswer::from(current)))
}

/// One broadcast by its number.
#[utoipa::path(
    get, path = "/broadcasts/{number}", tag = "broadcasts",
    params(("number" = i64, Path, description = "1, 2, 3, …"), AtLeast),
    responses((status = 200, body = OneAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn one(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(number): Path<i64>,
    Query(at_least): Query<AtLeast>,
) -> Result<Response, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    wait(&app, &[broadcasts::NAME], at_least.min_position).await?;
    let (position, broadcast) = broadcasts::one(&app.pool, broadcaster(&app)?, number).await?;
    let Some(broadcast) = broadcast else {
        return Err(ApiError::not_found("there is no broadcast of this number").at(position));
    };
    Ok(answer(position, OneAnswer { position, broadcast: broadcast.into() }))
}

/// Puts a tape on screen; one that is on screen ends.
///
/// Where there is a catalogue of tapes, the tape is the id of one of them, and what the catalogue says
/// of it is shown; any other is refused with 422 `not_in_catalogue`.
#[utoipa::path(
    post, path = "/broadcasts/current/screenings", tag = "broadcasts", request_body = NewScreening,
    params(("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn start_screening(
    FromState(app): FromState<State>,
    asker: Asker,
    idempotency_key: IdempotencyKey,
    Body(NewScreening { tape }): Body<NewScreening>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::BroadcastsWrite)?;
    if !(1..=TAPE_LENGTH_MAX).contains(&tape.chars().count()) || tape.contains('\0') {
        let words = format!("tape is 1 to {TAPE_LENGTH_MAX} characters");
        return Err(ApiError::unprocessable("bad_text", words));
    }
    let card = card_of(&app, &tape).await?;
    let at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: at };
    let command = Command::StartScreening { entry: wish.id(), tape: tape.clone(), at, card };
    wish.carry_out::<Aggregate>(&app, broadcaster(&app)?, &command, |event| {
        matches!(event, Event::ScreeningStarted { screening, .. } if screening.tape == tape)
    })
    .await
}

/// Takes the tape off the screen; nothing happens when there is none.
#[utoipa::path(
    delete, path = "/broadcasts/current/screenings", tag = "broadcasts",
    params(("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 200, body = CommandAnswer), (status = 201, body = CommandAnswer),
              (status = 202, body = CommandAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn end_screening(
    FromState(app): FromState<State>,
    asker: Asker,
    idempotency_key: IdempotencyKey,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::BroadcastsWrite)?;
    let at = Utc::now();
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: at };
    let command = Command::EndScreening { entry: wish.id(), at };
    let same = |event: &Event| matches!(event, Event::ScreeningEnded { .. });
    wish.carry_out::<Aggregate>(&app, broadcaster(&app)?, &command, same).await
}

fn broadcaster(app: &Api) -> Result<&str, ApiError> {
    match app.config.broadcaster_id.as_str() {
        "" => {
            Err(ApiError::unavailable("no broadcaster_id is configured: set it in tapedeck.toml"))
        }
        id => Ok(id),
    }
}

impl From<Current> for CurrentAnswer {
    fn from(current: Current) -> Self {
        CurrentAnswer {
            position: current.position,
            broadcaster: current.broadcaster,
            live: current.live,
            title: current.title,
            category: current.category,
            language: current.language,
            broadcast: current.broadcast.map(BroadcastAnswer::from),
            screening: current.screening.map(ScreeningAnswer::from),
        }
    }
}

impl From<Broadcast> for BroadcastAnswer {
    fn from(broadcast: Broadcast) -> Self {
        BroadcastAnswer {
            number: broadcast.number,
            live_id: broadcast.live_id,
            live: broadcast.live,
            title: broadcast.title,
            category: broadcast.category,
            language: broadcast.language,
            started_position: broadcast.started_position,
            started_at: broadcast.started_at,
            ended_position: broadcast.ended_position,
            ended_at: broadcast.ended_at,
            intervals: broadcast.intervals.into_iter().map(IntervalAnswer::from).collect(),
            screenings: broadcast.screenings.into_iter().map(ScreeningAnswer::from).collect(),
        }
    }
}

impl From<Interval> for IntervalAnswer {
    fn from(interval: Interval) -> Self {
        IntervalAnswer {
            live_id: interval.live_id,
            started_position: interval.started_position,
            started_at: interval.started_at,
            ended_position: interval.ended_position,
            ended_at: interval.ended_at,
        }
    }
}

impl From<Screening> for ScreeningAnswer {
    fn from(screening: Screening) -> Self {
        ScreeningAnswer {
            id: screening.id,
            tape: screening.tape,
            started_position: screening.started_position,
            started_at: screening.started_at,
            ended_position: screening.ended_position,
            ended_at: screening.ended_at,
        }
    }
}
