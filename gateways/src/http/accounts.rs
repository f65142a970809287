//! Accounts: what a viewer has, why, and changing it by hand.

use axum::extract::State as FromState;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::account::{Account, Command, Event, Facts};
use projections::balances::{self, Balance, Sums};
use projections::statements::{self, Line, Part};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::commands::{CommandAnswer, IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{Moment, PageOfMoment, ViewerAnswer, answer, check_id};

const NOTE_LENGTH_MAX: usize = 500;

/// A viewer's balance. Somebody never seen has zero points, which is no error.
#[derive(Serialize, ToSchema)]
pub struct AccountAnswer {
    /// The position of history that this is true for.
    pub position: i64,
    pub viewer: ViewerAnswer,
    /// What can be spent.
    pub available: i64,
    /// What is set aside.
    pub held: i64,
    /// Available and held.
    pub total: i64,
    /// All that was ever given.
    pub credits: i64,
    /// All that was spent.
    pub captured: i64,
    /// The signed sum of reversals.
    pub reversed: i64,
    pub updated_at: Option<DateTime<Utc>>,
}

/// The five sums of an account.
#[derive(Serialize, ToSchema)]
pub struct SumsAnswer {
    pub available: i64,
    pub held: i64,
    pub total: i64,
    pub credits: i64,
    pub captured: i64,
    pub reversed: i64,
}

/// A page of a statement, newest entry first.
#[derive(Serialize, ToSchema)]
pub struct StatementAnswer {
    /// The position of history that this is true for.
    pub position: i64,
    pub viewer: ViewerAnswer,
    /// Before the oldest entry of this page.
    pub opening: SumsAnswer,
    /// After the newest entry of this page.
    pub closing: SumsAnswer,
    pub entries: Vec<EntryAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// One entry, with what caused it and what it left.
#[derive(Serialize, ToSchema)]
pub struct EntryAnswer {
    pub position: i64,
    pub at: DateTime<Utc>,
    /// `credited`, `held`, `declined`, `captured`, `released` or `reversed`.
    #[schema(example = "credited")]
    pub kind: String,
    /// Name this to reverse it.
    pub entry: Uuid,
    /// What the entry is about.
    pub points: i64,
    pub available_delta: i64,
    pub held_delta: i64,
    /// After this entry.
    pub available: i64,
    pub held: i64,
    pub total: i64,
    /// What the viewer did, such as `{"cheer": {"bits": 150, "message": "…"}}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub facts: Option<Facts>,
    /// The version of the earn rules that made points of the facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverses: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The gateway or process that it came from, what that calls it, and who wanted it.
    pub source: Option<String>,
    pub source_id: Option<String>,
    pub actor: Option<String>,
}

/// A statement by broadcast, newest first.
#[derive(Serialize, ToSchema)]
pub struct PartsAnswer {
    pub position: i64,
    pub viewer: ViewerAnswer,
    pub parts: Vec<PartAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// What a viewer came with and left with.
#[derive(Serialize, ToSchema)]
pub struct PartAnswer {
    /// `null` for what came between broadcasts.
    pub broadcast: Option<i64>,
    pub title: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub from_position: i64,
    pub until_position: i64,
    pub opening: SumsAnswer,
    pub closing: SumsAnswer,
    pub entries: i64,
}

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
    asker.require(Scope::AccountsRead)?;
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
    asker.require(Scope::AccountsRead)?;
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
    asker.require(Scope::AccountsRead)?;
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

impl From<Balance> for AccountAnswer {
    fn from(balance: Balance) -> Self {
        let Balance { position, viewer, sums, total, updated_at, .. } = balance;
        AccountAnswer {
            position,
            viewer: viewer.into(),
            available: sums.available,
            held: sums.held,
            total,
            credits: sums.credits,
            captured: sums.captured,
            reversed: sums.reversed,
            updated_at,
        }
    }
}

impl From<Sums> for SumsAnswer {
    fn from(sums: Sums) -> Self {
        SumsAnswer {
            available: sums.available,
            held: sums.held,
            total: sums.total(),
            credits: sums.credits,
            captured: sums.captured,
            reversed: sums.reversed,
        }
    }
}

impl From<Line> for EntryAnswer {
    fn from(line: Line) -> Self {
        let Line { cause, origin, .. } = line;
        EntryAnswer {
            position: line.position,
            at: line.at,
            kind: line.kind,
            entry: line.entry,
            points: line.points,
            available_delta: line.available_delta,
            held_delta: line.held_delta,
            available: line.available,
            held: line.held,
            total: line.total,
            facts: cause.facts,
            rules: cause.rules,
            purpose: cause.purpose,
            expires_at: cause.expires_at,
            hold: cause.hold,
            reason: cause.reason,
            reverses: cause.reverses,
            note: cause.note,
            source: origin.source,
            source_id: origin.source_id,
            actor: origin.actor,
        }
    }
}

impl From<Part> for PartAnswer {
    fn from(part: Part) -> Self {
        PartAnswer {
            broadcast: part.broadcast,
            title: part.title,
            started_at: part.started_at,
            ended_at: part.ended_at,
            from_position: part.from_position,
            until_position: part.until_position,
            opening: part.opening.into(),
            closing: part.closing.into(),
            entries: part.entries,
        }
    }
}
