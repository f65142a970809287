//! Accounts: what a viewer has, why, and changing it by hand.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::Utc;
use domain::account::{Account, Command, Event, Facts};
use projections::balances;
use projections::statements;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::commands::{CommandAnswer, IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{Moment, PageOfMoment, answer, check_id};

mod answers;

pub use answers::{
    AccountAnswer, EntryAnswer, PartAnswer, PartsAnswer, StatementAnswer, SumsAnswer,
};

const NOTE_LENGTH_MAX: usize = 500;

/// Points to give by hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCredit {
    #[schema(example = 500, minimum = 1)]
    points: i64,
    /// Why; it stays in the statement for ever.
    #[schema(example = "won the tape trivia")]
    note: String,
}

/// An entry to undo.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReversal {
    /// The `entry` of a credit or a capture in the statement.
    entry: Uuid,
    /// Why; it stays in the statement for ever.
    #[schema(example = "credited to the wrong viewer")]
    note: String,
}

/// A viewer's balance, now or at any moment of history.
#[utoipa::path(
    get, path = "/accounts/{viewer}", tag = "accounts",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"), Moment),
    responses((status = 200, body = AccountAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn account(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    Query(moment): Query<Moment>,
) -> Result<Response, ApiError> {
    asker.require_for(Scope::AccountsRead, &viewer)?;
    check_id(&viewer)?;
    let as_of = moment.read(&app, &[balances::NAME, statements::NAME]).await?;
    let balance = balances::of(&app.pool, &viewer, as_of).await?;
    Ok(answer(balance.position, AccountAnswer::from(balance)))
}

/// Why a viewer has these points: every entry, newest first, each with its cause.
#[utoipa::path(
    get, path = "/accounts/{viewer}/statement", tag = "accounts",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"), PageOfMoment),
    responses((status = 200, body = StatementAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn statement(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    Query(wanted): Query<PageOfMoment>,
) -> Result<Response, ApiError> {
    asker.require_for(Scope::AccountsRead, &viewer)?;
    check_id(&viewer)?;
    let (as_of, page) = wanted.read(&app, &[statements::NAME]).await?;
    let statement = statements::of(&app.pool, &viewer, as_of, page).await?;
    let body = StatementAnswer {
        position: statement.position,
        viewer: statement.viewer.into(),
        opening: statement.opening.into(),
        closing: statement.closing.into(),
        entries: statement.lines.into_iter().map(EntryAnswer::from).collect(),
        before: statement.before,
    };
    Ok(answer(body.position, body))
}

/// A viewer's statement by broadcast: what they came with, and what they left with.
#[utoipa::path(
    get, path = "/accounts/{viewer}/statement/broadcasts", tag = "accounts",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"), PageOfMoment),
    responses((status = 200, body = PartsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn statement_parts(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    Query(wanted): Query<PageOfMoment>,
) -> Result<Response, ApiError> {
    asker.require_for(Scope::AccountsRead, &viewer)?;
    check_id(&viewer)?;
    let names = [statements::NAME, projections::broadcasts::NAME];
    let (as_of, page) = wanted.read(&app, &names).await?;
    let broadcaster = &app.config.broadcaster_id;
    let parts = statements::parts(&app.pool, &viewer, broadcaster, as_of, page).await?;
    let body = PartsAnswer {
        position: parts.position,
        viewer: parts.viewer.into(),
        parts: parts.parts.into_iter().map(PartAnswer::from).collect(),
        before: parts.before,
    };
    Ok(answer(body.position, body))
}

/// Gives points by hand, with a note. The key's name is kept as the one who did it.
#[utoipa::path(
    post, path = "/accounts/{viewer}/credits", tag = "accounts", request_body = NewCredit,
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn credit(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(NewCredit { points, note }): Body<NewCredit>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::AccountsWrite)?;
    check_id(&viewer)?;
    check_note(&note)?;
    if points < 1 {
        return Err(ApiError::unprocessable("bad_points", "points is 1 or more"));
    }
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let facts = Facts::Manual { note, actor: key.name.clone() };
    let rules = app.config.rules.version;
    let command = Command::Credit { entry: wish.id(), points, rules, facts: facts.clone() };
    wish.carry_out::<Account>(&app, &viewer, &command, |event| {
        matches!(event, Event::Credited { points: given, facts: was, .. }
            if *given == points && *was == facts)
    })
    .await
}

/// Undoes a credit or a capture, with a note.
///
/// A credit can only be taken back as far as its points are still there: otherwise 409 `declined`.
#[utoipa::path(
    post, path = "/accounts/{viewer}/reversals", tag = "accounts", request_body = NewReversal,
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 201, body = CommandAnswer), (status = 202, body = CommandAnswer),
              (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn reverse(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    idempotency_key: IdempotencyKey,
    Body(NewReversal { entry: reverses, note }): Body<NewReversal>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::AccountsWrite)?;
    check_id(&viewer)?;
    check_note(&note)?;
    let points = points_to_reverse(&app, &viewer, reverses).await?;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let actor = key.name.clone();
    let command =
        Command::Reverse { entry: wish.id(), reverses, points, note: note.clone(), actor };
    wish.carry_out::<Account>(&app, &viewer, &command, |event| match event {
        Event::Reversed { reverses: was, note: noted, .. } => *was == reverses && *noted == note,
        Event::Declined { points: asked, purpose, .. } => *asked == -points && *purpose == note,
        _ => false,
    })
    .await
}

/// The change that undoes an entry of this viewer, as the journal has it.
async fn points_to_reverse(app: &State, viewer: &str, entry: Uuid) -> Result<i64, ApiError> {
    let payload: Option<String> = sqlx::query_scalar(
        "SELECT e.payload::text FROM command_outcomes o JOIN events e ON e.position = o.first_position
         WHERE o.command_id = $1 AND o.aggregate_type = 'account' AND o.aggregate_id = $2",
    )
    .bind(entry)
    .bind(viewer)
    .fetch_optional(&app.pool)
    .await?;
    let event = payload.and_then(|payload| serde_json::from_str::<Event>(&payload).ok());
    match event {
        None => Err(ApiError::not_found("this viewer has no such entry")),
        Some(Event::Credited { points, .. }) if points > 0 => Ok(-points),
        Some(Event::Captured { points, .. }) => Ok(points),
        Some(_) => Err(ApiError::unprocessable(
            "not_reversible",
            "only credits and captures that moved points can be reversed",
        )),
    }
}

fn check_note(note: &str) -> Result<(), ApiError> {
    let length = note.trim().chars().count();
    if (1..=NOTE_LENGTH_MAX).contains(&length) && !note.contains('\0') {
        return Ok(());
    }
    Err(ApiError::unprocessable("bad_note", format!("note is 1 to {NOTE_LENGTH_MAX} characters")))
}
