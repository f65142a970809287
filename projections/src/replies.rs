//! What is to be answered in chat: one row for each line that asked for something, from the question to the receipt.
//!
//! It is the to-do list of the workers that answer. A row is due when it is asked, or, where something has to happen
//! first, when that has ended. Who works on it just now is not history and not here: see the table `reply_leases`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use domain::chat::{self, Ending, Request, awaited, ending};
use domain::chat_reply::{self, Receipt, reply_id};
use domain::chat_request::Wish;
use domain::{account, generation};
use journal::{Content, Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading, Viewer, cut};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "replies";

/// The stages a reply can be in.
pub const STAGES: [&str; 4] = ["waiting", "due", "delivered", "gave_up"];

/// The projection `replies`.
pub struct Replies;

/// One reply.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reply {
    pub id: Uuid,
    /// What Twitch calls the line that asked.
    pub line: String,
    pub viewer: Viewer,
    pub request: Request,
    /// How it ended, where something had to happen first.
    pub ending: Option<Ending>,
    /// One of [`STAGES`].
    pub stage: String,
    /// Attempts that failed.
    pub attempts: i64,
    pub retry_at: Option<DateTime<Utc>>,
    pub receipt: Option<Receipt>,
    /// Why it was given up, or is tried again.
    pub reason: Option<String>,
    pub asked_position: i64,
    pub asked_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// The last event of it.
    pub position: i64,
}

/// Some replies, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct List {
    pub position: i64,
    pub replies: Vec<Reply>,
    /// The asked position that the next, older page begins before; `None` when this is the last.
    pub before: Option<i64>,
}

/// The replies in `stage`, or in any, newest first.
pub async fn list(pool: &PgPool, stage: Option<&str>, page: Page) -> Result<List, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let mut rows: Vec<Stored> = sqlx::query_as(
        "SELECT r.reply, r.line, r.viewer, v.name, r.request, r.ending, r.stage, r.attempts,
                r.retry_at, r.receipt, r.reason, r.asked_position, r.asked_at, r.ended_at,
                r.position, v.erased_at IS NOT NULL AS erased
         FROM replies r LEFT JOIN public.viewer_names v ON v.viewer_id = r.viewer
         WHERE r.asked_position < $1 AND ($2::text IS NULL OR r.stage = $2)
         ORDER BY r.asked_position DESC LIMIT $3",
    )
    .bind(page.before())
    .bind(stage)
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let position = reading.position;
    reading.close().await?;
    let before = cut(&mut rows, limit, |last| last.asked_position);
    Ok(List { position, replies: rows.into_iter().map(Reply::from).collect(), before })
}

#[derive(sqlx::FromRow)]
struct Stored {
    reply: Uuid,
    line: String,
    viewer: String,
    name: Option<String>,
    request: Json<Request>,
    ending: Option<Json<Ending>>,
    stage: String,
    attempts: i64,
    retry_at: Option<DateTime<Utc>>,
    receipt: Option<Json<Receipt>>,
    reason: Option<String>,
    asked_position: i64,
    asked_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    position: i64,
    erased: bool,
}

impl From<Stored> for Reply {
    fn from(mut row: Stored) -> Self {
        if row.erased {
            forget_words(&mut row.request.0);
        }
        Reply {
            id: row.reply,
            line: row.line,
            viewer: Viewer { id: row.viewer, name: row.name },
            request: row.request.0,
            ending: row.ending.map(|ending| ending.0),
            stage: row.stage,
            attempts: row.attempts,
            retry_at: row.retry_at,
            receipt: row.receipt.map(|receipt| receipt.0),
            reason: row.reason,
            asked_position: row.asked_position,
            asked_at: row.asked_at,
            ended_at: row.ended_at,
            position: row.position,
        }
    }
}

/// What somebody wrote who wants to be forgotten stays in history and is not shown.
fn forget_words(request: &mut Request) {
    if let Request::Wish { wish, .. } = request {
        match wish {
            Wish::Ghost { subject } | Wish::Friend { subject, .. } => subject.clear(),
            Wish::Static { message, .. } => message.clear(),
        }
    }
}

#[async_trait]
impl Projection for Replies {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        2
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["chat", "reply", "generation", "account"]
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        match (event.aggregate_type, event.event_type) {
            ("chat", "asked") | ("reply", _) => true,
            ("generation", kind) => {
                let ends = ["declined", "rejected", "refused", "failed", "cancelled", "settled"];
                ends.contains(&kind)
            }
            // The ends of gifts. What somebody wrote has its quotes escaped.
            ("account", "credited") => event.payload.contains(r#""gift":{"#),
            ("account", "declined") => event.payload.contains(r#""gift: "#),
            _ => false,
        }
    }

    fn tables(&self) -> &'static [&'static str] {
        &["replies"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for table in TABLES {
            sqlx::query(table).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        for recorded in batch {
            fold(connection, recorded).await?;
        }
        Ok(())
    }
}

const TABLES: [&str; 3] = [
    "CREATE TABLE replies (
         reply          uuid        PRIMARY KEY,
         chat           text        NOT NULL,
         line           text        NOT NULL,
         viewer         text        NOT NULL,
         request        json        NOT NULL,
         awaits         uuid,
         ending         json,
         stage          text        NOT NULL,
         attempts       bigint      NOT NULL DEFAULT 0,
         retry_at       timestamptz,
         receipt        json,
         reason         text,
         asked_position bigint      NOT NULL UNIQUE,
         asked_at       timestamptz NOT NULL,
         due_position   bigint,
         due_at         timestamptz,
         ended_at       timestamptz,
         position       bigint      NOT NULL
     )",
    "CREATE INDEX replies_due ON replies (due_position) WHERE stage = 'due'",
    "CREATE INDEX replies_awaiting ON replies (awaits) WHERE stage = 'waiting'",
];

async fn fold(connection: &mut PgConnection, recorded: &Recorded) -> Result<(), Failure> {
    let unreadable = |error| Failure::unreadable(recorded, error);
    match recorded.aggregate_type.as_str() {
        "chat" => {
            let event = recorded.event().map_err(unreadable)?;
            ask(connection, recorded, event).await?;
        }
        "reply" => {
            let event = recorded.event().map_err(unreadable)?;
            report(connection, recorded, event).await?;
        }
        "generation" => {
            let event: generation::Event = recorded.event().map_err(unreadable)?;
            if let Some(ending) = ending::of_generation(&event) {
                let request = id_of(recorded)?;
                end(connection, recorded, request, &ending).await?;
            }
        }
        _ => {
            let event: account::Event = recorded.event().map_err(unreadable)?;
            if let Some((hold, ending)) = ending::of_gift(&event) {
                end(connection, recorded, hold, &ending).await?;
            }
        }
    }
    Ok(())
}

fn id_of(recorded: &Recorded) -> Result<Uuid, Failure> {
    recorded.aggregate_id.parse().map_err(|_| Failure::Poison {
        position: recorded.position,
        reason: format!("{:?} is no UUID", recorded.aggregate_id),
    })
}

async fn ask(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: chat::Event,
) -> sqlx::Result<()> {
    let chat::Event::Asked { line, viewer, request, .. } = event;
    let awaits = awaited(&request, recorded.event_id);
    sqlx::query(
        "INSERT INTO replies (reply, chat, line, viewer, request, awaits, stage, asked_position,
                              asked_at, due_position, due_at, position)
         SELECT $1, $2, $3, $4, $5, $6, CASE WHEN waits THEN 'waiting' ELSE 'due' END, $7, $8,
                CASE WHEN NOT waits THEN $7 END, CASE WHEN NOT waits THEN $8 END, $7
         FROM (SELECT $6::uuid IS NOT NULL AS waits) AS asked",
    )
    .bind(reply_id(recorded.event_id))
    .bind(&recorded.aggregate_id)
    .bind(line)
    .bind(viewer)
    .bind(Json(request))
    .bind(awaits)
    .bind(recorded.position)
    .bind(recorded.recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// What was waited for has ended. Of what was not asked for in chat there is no row.
async fn end(
    connection: &mut PgConnection,
    recorded: &Recorded,
    awaited: Uuid,
    ending: &Ending,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE replies
         SET stage = 'due', ending = $2, due_position = $3, due_at = $4, position = $3
         WHERE awaits = $1 AND stage = 'waiting'",
    )
    .bind(awaited)
    .bind(Json(ending))
    .bind(recorded.position)
    .bind(recorded.recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn report(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: chat_reply::Event,
) -> Result<(), Failure> {
    use chat_reply::Event;
    let (stage, attempt, receipt, reason, retry_at) = match event {
        Event::Delivered { attempt, receipt, .. } => {
            ("delivered", attempt.saturating_sub(1), Some(receipt), None, None)
        }
        Event::AttemptFailed { attempt, reason, retry_at, .. } => {
            ("due", attempt, None, Some(reason), Some(retry_at))
        }
        Event::GaveUp { attempt, reason, .. } => ("gave_up", attempt, None, Some(reason), None),
    };
    sqlx::query(
        "UPDATE replies
         SET stage = $2, attempts = $3, receipt = $4, reason = $5, retry_at = $6, position = $7,
             ended_at = CASE WHEN $2 = 'due' THEN NULL ELSE $8::timestamptz END
         WHERE reply = $1",
    )
    .bind(id_of(recorded)?)
    .bind(stage)
    .bind(i64::from(attempt))
    .bind(receipt.map(Json))
    .bind(reason)
    .bind(retry_at)
    .bind(recorded.position)
    .bind(recorded.recorded_at)
    .execute(connection)
    .await?;
    Ok(())
}
