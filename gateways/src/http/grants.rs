//! Grants: points for many at once, with a preview, and taking them back.

use std::time::Duration;

use axum::Json;
use axum::extract::State as FromState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use projections::{Page, grants as given};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::State;
use super::auth::Asker;
use super::commands::{IdempotencyKey, Wish};
use super::error::{ApiError, ErrorBody, POSITION};
use super::extract::{Body, Path, Query};
use super::keys::Scope;
use super::query::{PageNow, answer, check_id};
use crate::grants::{self, Counts, Grant, GrantError, Kind, Line, LineDone, Sender, Undo};

/// The most viewers in one request; longer lists are given with `tapedeck grant FILE`. All of them are stored together
/// before the first outcome is waited for.
const CREDITS_MAX: usize = grants::PART;
/// How long commands are sent and waited for until the answer says what is pending, and when the answer comes at the latest:
/// before the request would be ended with nothing said.
const SEND_LIMIT: Duration = Duration::from_secs(8);
const ANSWER_WITHIN: Duration = Duration::from_secs(13);

/// Points for many.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// Why; it stays in every statement for ever.
    #[schema(example = "thank you for the charity night")]
    note: String,
    /// Who gets how many.
    #[serde(default)]
    credits: Vec<NewCreditOfMany>,
    /// Who gets `points` each: instead of `credits`.
    #[serde(default)]
    viewers: Vec<String>,
    #[schema(minimum = 1)]
    points: Option<i64>,
    /// Only say what would happen.
    #[serde(default)]
    preview: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCreditOfMany {
    viewer: String,
    #[schema(minimum = 1)]
    points: i64,
}

/// Why a grant is taken back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUndo {
    #[schema(example = "given to the wrong list")]
    note: String,
    /// Only say what would happen.
    #[serde(default)]
    preview: bool,
}

/// What became, or would become, of a grant.
#[derive(Serialize, ToSchema)]
pub struct GrantAnswer {
    /// Names the grant: to show it, or to undo it.
    pub grant: Uuid,
    pub preview: bool,
    #[serde(flatten)]
    pub counts: Counts,
    /// Every viewer, with `status` `done`, `would`, `before`, `refused` or `pending`.
    pub credits: Vec<LineDone>,
}

/// All grants and imports, newest first.
#[derive(Serialize, ToSchema)]
pub struct GrantsAnswer {
    pub position: i64,
    pub grants: Vec<GivenAnswer>,
    /// Give this as `before` to get the next, older page; `null` on the last.
    pub before: Option<i64>,
}

/// A grant as a whole.
#[derive(Serialize, ToSchema)]
pub struct GivenAnswer {
    pub id: Uuid,
    /// The note of a grant, or the SHA-256 of an import's file.
    pub note: String,
    pub actor: Option<String>,
    /// The bot that an import's balances came from.
    pub source: Option<String>,
    pub credits: i64,
    pub points: i64,
    /// How many of the credits were taken back, and how many points.
    pub undone: i64,
    pub undone_points: i64,
    pub position: i64,
    pub at: DateTime<Utc>,
}

/// Gives points to many, or says what that would do.
///
/// All lines are checked before the first is given. The same key again, with the same list, gives nothing twice and
/// answers what was done `before`. All of them are stored before the first is waited for. 202 if some are not decided
/// after 8 seconds: they are `pending`, will be decided, and the same key again tells what became of them. After a 503 some
/// may not be stored: the same key again finishes it.
#[utoipa::path(
    post, path = "/grants", tag = "accounts", request_body = NewGrant,
    params(("Idempotency-Key" = String, Header, description = "Names the grant: the same for each attempt")),
    responses((status = 200, body = GrantAnswer), (status = 201, body = GrantAnswer),
              (status = 202, body = GrantAnswer), (status = "4XX", body = ErrorBody),
              (status = 503, body = ErrorBody)),
)]
pub(crate) async fn give(
    FromState(app): FromState<State>,
    asker: Asker,
    idempotency_key: IdempotencyKey,
    Body(new): Body<NewGrant>,
) -> Result<Response, ApiError> {
    let key = asker.require(Scope::AccountsWrite)?;
    grants::check_note(&new.note).map_err(|words| ApiError::unprocessable("bad_note", words))?;
    let preview = new.preview;
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let grant = Grant {
        id: wish.id(),
        kind: Kind::Grant { note: new.note.clone() },
        actor: key.name.clone(),
        rules: app.config.rules.version,
        received_at: wish.received_at,
    };
    let lines = lines_of(new)?;
    let (mut counts, mut credits) = (Counts::default(), Vec::with_capacity(lines.len()));
    let done = |line: LineDone| {
        counts.add(&line);
        credits.push(line);
    };
    if preview {
        counts.position = grants::preview(&app.pool, &grant, &lines, done).await?;
    } else {
        sender(&app, Instant::now()).give(&grant, &lines, done).await?;
    }
    Ok(done_answer(GrantAnswer { grant: grant.id, preview, counts, credits }))
}

/// Takes a grant or an import back: every credit of it once.
///
/// Whoever has spent the points keeps the credit, whole, and is `refused` with the reason; nobody goes below zero.
/// Trying again later is another key. 202 if some are not decided after 8 seconds, and 503, mean what they do for a grant:
/// the same key again.
#[utoipa::path(
    post, path = "/grants/{id}/undo", tag = "accounts", request_body = NewUndo,
    params(("id" = Uuid, Path, description = "The grant's id"),
           ("Idempotency-Key" = String, Header, description = "The same for each attempt")),
    responses((status = 200, body = GrantAnswer), (status = 201, body = GrantAnswer),
              (status = 202, body = GrantAnswer), (status = "4XX", body = ErrorBody),
              (status = 503, body = ErrorBody)),
)]
pub(crate) async fn undo(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(id): Path<Uuid>,
    idempotency_key: IdempotencyKey,
    Body(NewUndo { note, preview }): Body<NewUndo>,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    let key = asker.require(Scope::AccountsWrite)?;
    grants::check_note(&note).map_err(|words| ApiError::unprocessable("bad_note", words))?;
    grants::wait_for_all(&app.pool, &app.positions).await?;
    let (position, known) = given::find(&app.pool, id).await?;
    let known = known.ok_or(GrantError::Unknown(id))?;
    if known.credits > CREDITS_MAX as i64 {
        let words = format!("it has {} credits: tapedeck grant undo {id}", known.credits);
        return Err(ApiError::unprocessable("too_many", words));
    }
    let wish = Wish { key, idempotency_key: &idempotency_key, received_at: Utc::now() };
    let (mut counts, mut credits) = (Counts::default(), Vec::new());
    let done = |line: LineDone| {
        counts.add(&line);
        credits.push(line);
    };
    let sender = sender(&app, begun);
    if preview {
        sender.preview_undo(id, done).await?;
        counts.position = position;
    } else {
        let (attempt, actor) = (wish.id().to_string(), key.name.clone());
        sender.undo(&Undo { grant: id, attempt, note, actor }, done).await?;
    }
    Ok(done_answer(GrantAnswer { grant: id, preview, counts, credits }))
}

/// All grants and imports, newest first.
#[utoipa::path(
    get, path = "/grants", tag = "accounts", params(PageNow),
    responses((status = 200, body = GrantsAnswer), (status = "4XX", body = ErrorBody),
              (status = 504, body = ErrorBody)),
)]
pub(crate) async fn list(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(wanted): Query<PageNow>,
) -> Result<Response, ApiError> {
    asker.require(Scope::AccountsRead)?;
    let page: Page = wanted.read(&app, &[given::NAME]).await?;
    let found = given::list(&app.pool, page).await?;
    let grants = found.grants.into_iter().map(GivenAnswer::from).collect();
    let body = GrantsAnswer { position: found.position, grants, before: found.before };
    Ok(answer(body.position, body))
}

fn sender(app: &State, begun: Instant) -> Sender {
    let (publisher, replies) = (app.publisher.clone(), app.replies.clone());
    let answer_by = (Instant::now() + SEND_LIMIT).min(begun + ANSWER_WITHIN);
    Sender { pool: app.pool.clone(), publisher, replies, answer_by: Some(answer_by) }
}

/// The lines of a request, all of them right.
fn lines_of(new: NewGrant) -> Result<Vec<Line>, ApiError> {
    let refuse = |words: String| ApiError::unprocessable("bad_credits", words);
    let credits = match (new.points, new.viewers.is_empty()) {
        (Some(points), false) if new.credits.is_empty() => {
            let credit = |viewer| NewCreditOfMany { viewer, points };
            new.viewers.into_iter().map(credit).collect()
        }
        (None, true) => new.credits,
        _ => return Err(refuse("give either credits, or viewers and points".to_owned())),
    };
    if !(1..=CREDITS_MAX).contains(&credits.len()) {
        return Err(refuse(format!("a grant has 1 to {CREDITS_MAX} viewers")));
    }
    let mut seen = std::collections::HashSet::new();
    let mut lines = Vec::with_capacity(credits.len());
    for (n, NewCreditOfMany { viewer, points }) in credits.into_iter().enumerate() {
        check_id(&viewer)?;
        if points < 1 {
            return Err(refuse(format!("credits[{n}]: points is 1 or more")));
        }
        if !seen.insert(viewer.clone()) {
            return Err(refuse(format!("credits[{n}]: viewer {viewer} is there twice")));
        }
        lines.push(Line { number: n, viewer, points });
    }
    Ok(lines)
}

fn done_answer(body: GrantAnswer) -> Response {
    let status = match (body.preview, body.counts.pending, body.counts.done) {
        (true, ..) | (_, 0, 0) => StatusCode::OK,
        (_, 0, _) => StatusCode::CREATED,
        _ => StatusCode::ACCEPTED,
    };
    (status, [(POSITION, body.counts.position)], Json(body)).into_response()
}

impl From<given::Grant> for GivenAnswer {
    fn from(grant: given::Grant) -> Self {
        let given::Grant { id, note, actor, source, credits, points, .. } = grant;
        let given::Grant { undone, undone_points, position, at, .. } = grant;
        GivenAnswer {
            id,
            note,
            actor,
            source,
            credits,
            points,
            undone,
            undone_points,
            position,
            at,
        }
    }
}

impl From<GrantError> for ApiError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Query(error) => error.into(),
            GrantError::Database(error) => error.into(),
            GrantError::Publish(error) => error.into(),
            GrantError::Behind(_) => ApiError::unavailable(error.to_string()),
            GrantError::Unknown(_) => ApiError::not_found(error.to_string()),
        }
    }
}
