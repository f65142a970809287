//! What is sent to a stage by the machinery, with ids derived from what was decided: sending it again changes nothing.

use chrono::{DateTime, Utc};
use domain::stage::{Command, Stage};
use domain::{Identified, entry_id};
use journal::command::BadAddress;
use journal::{Envelope, Origin};
use sqlx::PgPool;
use uuid::Uuid;

/// Who sends these, as history names the source.
pub const DIRECTOR: &str = "director";
const OVERLAY: &str = "overlay";

/// The id of the command that opens `stage`, for the first time (`closed` is 0) or after the closing with this sequence.
pub fn open_id(stage: &str, closed: i64) -> Uuid {
    match closed {
        0 => entry_id(DIRECTOR, &format!("open:{stage}")),
        closed => entry_id(DIRECTOR, &format!("open:{stage}:{closed}")),
    }
}

pub fn open(stage: &str, closed: i64, at: DateTime<Utc>) -> Result<Envelope, BadAddress> {
    let command = Command::Open { entry: open_id(stage, closed), at };
    addressed(DIRECTOR, stage, &command, at)
}

/// The sequence of the last closing of `stage`; 0 where it was never closed.
pub async fn closed(pool: &PgPool, stage: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "SELECT coalesce(max(sequence), 0)::bigint FROM events
         WHERE aggregate_type = 'stage' AND aggregate_id = $1 AND event_type = 'closed'",
    )
    .bind(stage)
    .fetch_one(pool)
    .await
}

/// The id of a closing by who has seen this revision.
pub fn close_id(stage: &str, revision: i64) -> Uuid {
    entry_id(DIRECTOR, &format!("close:{stage}:{revision}"))
}

/// The id of a start. The revision is part of it, so that a start that came too late is no verdict on the next one; of
/// all starts that have seen the same revision, the stage accepts one.
pub fn start_id(stage: &str, revision: i64, alert: Uuid, attempt: u32) -> Uuid {
    entry_id(DIRECTOR, &format!("start:{stage}:{revision}:{alert}:{attempt}"))
}

/// The id of what is done with an attempt that nobody showed.
pub fn end_id(stage: &str, alert: Uuid, attempt: u32) -> Uuid {
    entry_id(DIRECTOR, &format!("end:{stage}:{alert}:{attempt}"))
}

pub fn expire_id(stage: &str, revision: i64) -> Uuid {
    entry_id(DIRECTOR, &format!("expire:{stage}:{revision}"))
}

pub fn directed(stage: &str, command: &Command, at: DateTime<Utc>) -> Result<Envelope, BadAddress> {
    addressed(DIRECTOR, stage, command, at)
}

/// An overlay has the alert on its screen. However many overlays say so, it is one command.
pub fn show(
    stage: &str,
    alert: Uuid,
    attempt: u32,
    overlay: Uuid,
    at: DateTime<Utc>,
) -> Result<Envelope, BadAddress> {
    let entry = entry_id(OVERLAY, &format!("shown:{stage}:{alert}:{attempt}"));
    addressed(OVERLAY, stage, &Command::Show { entry, alert, attempt, overlay, at }, at)
}

fn addressed(
    source: &str,
    stage: &str,
    command: &Command,
    received_at: DateTime<Utc>,
) -> Result<Envelope, BadAddress> {
    let origin = Origin {
        source: source.to_owned(),
        source_id: command.entry().to_string(),
        actor: None,
        received_at,
        raw: None,
    };
    Envelope::new::<Stage>(stage, command, origin)
}
