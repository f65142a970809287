//! The catalogue of tapes, and when each was on screen.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::tape::Card;
use journal::head;
use projections::tapes::{self, Filter, One, Tape};
use projections::{broadcasts, screenings};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::{Path, Query};
use super::keys::Scope;
use super::query::{AtLeast, PageNow, answer, check_id, wait};
use super::{API, Api, State};

const TAPES: i64 = 50;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Only those that have these words in title, series or contributor.
    words: Option<String>,
    /// Only those with this tag.
    tag: Option<String>,
    /// Also those that were withdrawn.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    withdrawn: bool,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    min_position: Option<i64>,
    /// Only what follows this tape: the `after` of the page that came before.
    after: Option<String>,
    /// How many, 1 to 500; 50 if left out.
    limit: Option<i64>,
}

/// A page of the catalogue, in the order of the ids: numbers first, as numbers.
#[derive(Serialize, ToSchema)]
pub struct TapesAnswer {
    pub position: i64,
    pub tapes: Vec<TapeAnswer>,
    /// How many are in the catalogue, whatever the page is limited to.
    pub count: i64,
    /// Give this as `after` to get the next page; `null` on the last.
    pub after: Option<String>,
}

/// One tape and the position it was read at.
#[derive(Serialize, ToSchema)]
pub struct OneTapeAnswer {
    pub position: i64,
    pub tape: TapeAnswer,
}

#[derive(Serialize, ToSchema)]
pub struct TapeAnswer {
    #[schema(example = "88")]
    pub id: String,
    #[schema(example = "Aerobics at Sunrise")]
    pub title: String,
    pub year: Option<i32>,
    /// How long it plays, in seconds.
    pub runtime_s: Option<i64>,
    pub tags: Vec<String>,
    /// Of its shell or label.
    #[schema(example = "#f0a51c")]
    pub colour: Option<String>,
    pub series: Option<String>,
    pub contributor: Option<String>,
    /// Its picture: the name of the content, and where it is to be had.
    pub thumbnail: Option<ThumbnailAnswer>,
    pub from: FromAnswer,
    pub catalogued_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    /// Since when it is not there any more.
    pub withdrawn_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
pub struct ThumbnailAnswer {
    /// SHA-256 of the content.
    pub content: String,
    pub path: String,
}

/// Where it was read.
#[derive(Serialize, ToSchema)]
pub struct FromAnswer {
    /// The name of the list.
    #[schema(example = "tapes.csv")]
    pub source: String,
    /// SHA-256 of the list.
    pub file: String,
    pub line: i64,
    pub actor: String,
}

/// A page of the screenings of one tape, newest first.
#[derive(Serialize, ToSchema)]
pub struct ScreeningsAnswer {
    pub position: i64,
    pub tape: String,
    pub screenings: Vec<ScreeningOfTapeAnswer>,
    /// How many there are in all.
    pub count: i64,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

#[derive(Serialize, ToSchema)]
pub struct ScreeningOfTapeAnswer {
    pub id: Uuid,
    pub broadcaster: String,
    /// The number of the broadcast it was in.
    pub broadcast: i64,
    pub started_position: i64,
    pub started_at: DateTime<Utc>,
    pub ended_position: Option<i64>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// The catalogue.
#[utoipa::path(
    get, path = "/tapes", tag = "tapes", params(Wanted),
    responses((status = 200, body = TapesAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn list(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<Wanted>,
) -> Result<Response, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    let Wanted { words, tag, withdrawn, min_position, after, limit } = wanted;
    let limit = limit.unwrap_or(TAPES);
    if !(1..=tapes::LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit is 1 to {}", tapes::LIMIT_MAX)));
    }
    // PostgreSQL has no text with a zero byte in it, and so no such tape.
    let zero = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains('\0'));
    if zero(&words) || zero(&tag) || zero(&after) {
        return Err(ApiError::bad_request("a zero byte is in no text"));
    }
    wait(&app, &[tapes::NAME], min_position).await?;
    let filter = Filter { words, tag, withdrawn };
    let list = tapes::list(&app.pool, &filter, after.as_deref(), limit).await?;
    let body = TapesAnswer {
        position: list.position,
        tapes: list.tapes.into_iter().map(TapeAnswer::from).collect(),
        count: list.count,
        after: list.after,
    };
    Ok(answer(body.position, body))
}

/// One tape, also when it was withdrawn.
#[utoipa::path(
    get, path = "/tapes/{id}", tag = "tapes",
    params(("id" = String, Path, description = "The tape's id"), AtLeast),
    responses((status = 200, body = OneTapeAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn one(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(id): Path<String>,
    Query(at_least): Query<AtLeast>,
) -> Result<Response, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    check_id(&id)?;
    wait(&app, &[tapes::NAME], at_least.min_position).await?;
    let One { position, tape, .. } = tapes::one(&app.pool, &id).await?;
    let Some(tape) = tape else {
        return Err(ApiError::not_found("there is no tape of this id").at(position));
    };
    Ok(answer(position, OneTapeAnswer { position, tape: tape.into() }))
}

/// When a tape was on screen, newest first.
///
/// Also of a tape that is not in the catalogue, or was not when it was on.
#[utoipa::path(
    get, path = "/tapes/{id}/screenings", tag = "tapes",
    params(("id" = String, Path, description = "The tape's id"), PageNow),
    responses((status = 200, body = ScreeningsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn screenings(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(id): Path<String>,
    Query(wanted): Query<PageNow>,
) -> Result<Response, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    if id.contains('\0') {
        return Err(ApiError::bad_request("a zero byte is in no text"));
    }
    let page = wanted.read(&app, &[broadcasts::NAME]).await?;
    let found = screenings::of_tape(&app.pool, &id, page).await?;
    let body = ScreeningsAnswer {
        position: found.position,
        tape: id,
        screenings: found.screenings.into_iter().map(ScreeningOfTapeAnswer::from).collect(),
        count: found.count,
        before: found.before,
    };
    Ok(answer(body.position, body))
}

/// What the catalogue says of a tape that is to be put on screen. Where there is a catalogue, only its tapes are; where
/// there is none, any tape is, and nothing is said of it. All that was recorded before this was asked is known.
pub(super) async fn card_of(app: &Api, tape: &str) -> Result<Option<Card>, ApiError> {
    wait(app, &[tapes::NAME], Some(head::read(&app.pool).await?.position)).await?;
    let One { tape: found, count, .. } = tapes::one(&app.pool, tape).await?;
    match found.filter(|found| found.withdrawn_at.is_none()) {
        Some(found) => Ok(Some(found.card)),
        None if count == 0 => Ok(None),
        None => {
            let words = format!("tape {tape:?} is not in the catalogue; GET {API}/tapes lists it");
            Err(ApiError::unprocessable("not_in_catalogue", words))
        }
    }
}

impl From<Tape> for TapeAnswer {
    fn from(tape: Tape) -> Self {
        let Card { title, year, runtime_s, tags, colour, series, contributor, thumbnail } =
            tape.card;
        let thumbnail = thumbnail
            .map(|content| ThumbnailAnswer { path: format!("{API}/pictures/{content}"), content });
        let (source, file) = (tape.from.source, tape.from.file);
        let (line, actor) = (tape.from.line, tape.from.actor);
        TapeAnswer {
            id: tape.id,
            title,
            year,
            runtime_s,
            tags,
            colour,
            series,
            contributor,
            thumbnail,
            from: FromAnswer { source, file, line, actor },
            catalogued_at: tape.catalogued_at,
            changed_at: tape.changed_at,
            withdrawn_at: tape.withdrawn_at,
        }
    }
}

impl From<screenings::Screening> for ScreeningOfTapeAnswer {
    fn from(screening: screenings::Screening) -> Self {
        ScreeningOfTapeAnswer {
            id: screening.id,
            broadcaster: screening.broadcaster,
            broadcast: screening.broadcast,
            started_position: screening.started_position,
            started_at: screening.started_at,
            ended_position: screening.ended_position,
            ended_at: screening.ended_at,
        }
    }
}
