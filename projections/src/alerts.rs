//! What the overlay shows, in order: the alerts made of history by `domain::alerting`.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use domain::alerting::{self, Kind};
use domain::{account, broadcast, generation, stage};
use journal::copy;
use journal::{Content, Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading, Viewer};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "alerts";

/// The projection `alerts`: one row per event that is shown.
pub struct Alerts;

/// A row as it is stored: without a name, so that a name can be erased.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub position: i64,
    /// The event's own id: stable over rebuilds and restored dumps.
    pub id: Uuid,
    pub kind: &'static str,
    pub viewer: Option<String>,
    /// JSON.
    pub data: String,
    pub at: DateTime<Utc>,
}

/// Whether an event may make a row, at a glance: whoever keeps alerts wants these.
pub fn may_show(content: &Content<'_>) -> bool {
    match (content.aggregate_type, content.event_type) {
        ("account", kind) => kind == "credited",
        ("broadcast", kind) => matches!(
            kind,
            "followed"
                | "raided"
                | "cheered"
                | "subs_gifted"
                | "hype_train_started"
                | "screening_started"
        ),
        ("generation", kind) => {
            let ends = ["settled", "declined", "rejected", "refused", "failed", "cancelled"];
            ends.contains(&kind) || kind == "turned_down"
        }
        ("stage", kind) => kind == "tested",
        _ => false,
    }
}

/// The row that an event makes, or `None` for what is not shown.
pub fn row(content: &Content<'_>) -> Result<Option<Row>, serde_json::Error> {
    if !may_show(content) {
        return Ok(None);
    }
    let alert = match content.aggregate_type {
        "account" => {
            let event: account::Event = serde_json::from_str(content.payload)?;
            alerting::for_account(content.aggregate_id, &event)
        }
        "broadcast" => {
            let event: broadcast::Event = serde_json::from_str(content.payload)?;
            let shown = alerting::for_broadcast(&event);
            shown.filter(|alert| !is_stale(content, &event, alert.kind))
        }
        "generation" => {
            let event: generation::Event = serde_json::from_str(content.payload)?;
            alerting::for_generation(&event)
        }
        _ => {
            let event: stage::Event = serde_json::from_str(content.payload)?;
            alerting::for_stage(&event)
        }
    };
    let Some(alert) = alert else { return Ok(None) };
    Ok(Some(Row {
        position: content.position,
        id: content.event_id,
        kind: alert.kind.name(),
        viewer: alert.viewer,
        data: serde_json::to_string(&alert.data)?,
        at: DateTime::from_timestamp_micros(content.recorded_at).unwrap_or_default(),
    }))
}

/// Whether it is known only because Twitch was asked, and too late to be shown.
fn is_stale(content: &Content<'_>, event: &broadcast::Event, kind: Kind) -> bool {
    #[derive(Default, Deserialize)]
    struct Came {
        source: String,
    }
    let broadcast::Event::Followed { at, .. } = event else { return false };
    let came: Came = serde_json::from_str(content.metadata).unwrap_or_default();
    let known_at = DateTime::from_timestamp_micros(content.recorded_at).unwrap_or_default();
    came.source == alerting::ASKED && !alerting::is_in_time(kind, *at, known_at)
}

/// An alert as shown, with the name that is known now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    pub position: i64,
    pub id: Uuid,
    pub kind: String,
    /// `None` for the anonymous and for the whole broadcast.
    pub viewer: Option<Viewer>,
    /// What happened: bits, tier, months and so on, without the viewer.
    pub data: Value,
    pub at: DateTime<Utc>,
}

impl Alert {
    /// The `data` of the feed's envelope: what happened, and who did it where somebody could have. A test may bring a
    /// viewer of its own, who is nobody.
    pub fn feed_data(&self) -> Value {
        let mut data = self.data.clone();
        // These are nobody's.
        let of_nobody = [Kind::HypeTrain, Kind::Tape].map(Kind::name);
        if !of_nobody.contains(&self.kind.as_str())
            && let Value::Object(fields) = &mut data
            && !(fields.contains_key("test") && fields.contains_key("viewer"))
        {
            let viewer = self
                .viewer
                .as_ref()
                .map(|viewer| serde_json::json!({"id": viewer.id, "name": viewer.name}));
            fields.insert("viewer".to_owned(), viewer.unwrap_or(Value::Null));
        }
        data
    }
}

/// A part of the alerts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// How far the projection has come: there is no other alert up to here, unless `alerts` is full.
    pub position: i64,
    pub alerts: Vec<Alert>,
    /// Where the next page of a list begins; `None` at the end.
    pub before: Option<i64>,
}

/// The alerts after `position`, oldest first, at most `limit` (up to [`Page::LIMIT_MAX`]) of the
/// given kinds. No kinds given means all of them.
pub async fn after(
    pool: &PgPool,
    position: i64,
    limit: i64,
    kinds: &[Kind],
) -> Result<Shown, QueryError> {
    const OLDEST_FIRST: &str = "
        SELECT a.position, a.id, a.kind, a.viewer, v.name, a.data, a.at,
               v.erased_at IS NOT NULL AS erased
        FROM alerts a LEFT JOIN viewer_names v ON v.viewer_id = a.viewer
        WHERE a.position > $1 AND (cardinality($2) = 0 OR a.kind = ANY($2))
        ORDER BY a.position LIMIT $3";
    read(pool, OLDEST_FIRST, position, Page::of(limit).limit(), kinds).await
}

/// The alerts, newest first.
pub async fn list(pool: &PgPool, page: Page, kinds: &[Kind]) -> Result<Shown, QueryError> {
    const NEWEST_FIRST: &str = "
        SELECT a.position, a.id, a.kind, a.viewer, v.name, a.data, a.at,
               v.erased_at IS NOT NULL AS erased
        FROM alerts a LEFT JOIN viewer_names v ON v.viewer_id = a.viewer
        WHERE a.position < $1 AND (cardinality($2) = 0 OR a.kind = ANY($2))
        ORDER BY a.position DESC LIMIT $3";
    let limit = page.limit();
    let mut shown = read(pool, NEWEST_FIRST, page.before(), limit, kinds).await?;
    if shown.alerts.len() as i64 == limit {
        shown.before = shown.alerts.last().map(|alert| alert.position);
    }
    Ok(shown)
}

async fn read(
    pool: &PgPool,
    statement: &'static str,
    from: i64,
    limit: i64,
    kinds: &[Kind],
) -> Result<Shown, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let rows: Vec<Stored> = sqlx::query_as(statement)
        .bind(from)
        .bind(kinds.iter().map(|kind| kind.name()).collect::<Vec<&str>>())
        .bind(limit)
        .fetch_all(reading.connection())
        .await?;
    let position = reading.position;
    reading.close().await?;
    Ok(Shown { position, alerts: rows.into_iter().map(Alert::from).collect(), before: None })
}

/// An alert as it is read, with the name that is known now.
#[derive(sqlx::FromRow)]
pub(crate) struct Stored {
    pub(crate) position: i64,
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) viewer: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) data: Value,
    pub(crate) at: DateTime<Utc>,
    pub(crate) erased: bool,
}

impl From<Stored> for Alert {
    fn from(row: Stored) -> Self {
        let Stored { position, id, kind, viewer, name, mut data, at, erased } = row;
        if erased {
            forget_words(&mut data);
        }
        Alert { position, id, kind, viewer: viewer.map(|id| Viewer { id, name }), data, at }
    }
}

/// What somebody wrote who wants to be forgotten, and what was drawn of it, stays in history and is not shown.
fn forget_words(data: &mut Value) {
    for field in ["message", "subject", "name", "picture", "words"] {
        if let Some(text @ Value::String(_)) = data.get_mut(field) {
            *text = Value::String(String::new());
        }
    }
}

#[async_trait]
impl Projection for Alerts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        4
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["account", "broadcast", "generation", "stage"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["alerts"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query(
            "CREATE TABLE alerts (
                 position bigint      PRIMARY KEY,
                 id       uuid        NOT NULL,
                 kind     text        NOT NULL,
                 viewer   text,
                 data     json        NOT NULL,
                 at       timestamptz NOT NULL
             )",
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for event in batch {
            let row = row(&event.content()).map_err(|error| Failure::unreadable(event, error))?;
            rows.extend(row);
        }
        match rows.len() {
            0 => Ok(()),
            few if few < copy::WORTHWHILE_ROWS => Ok(insert(connection, &rows).await?),
            _ => Ok(copy_in(connection, &rows).await?),
        }
    }
}

async fn insert(connection: &mut PgConnection, rows: &[Row]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO alerts (position, id, kind, viewer, data, at)
         SELECT position, id, kind, viewer, data::json, at
         FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[],
                     $6::timestamptz[]) AS new (position, id, kind, viewer, data, at)",
    )
    .bind(rows.iter().map(|row| row.position).collect::<Vec<i64>>())
    .bind(rows.iter().map(|row| row.id).collect::<Vec<Uuid>>())
    .bind(rows.iter().map(|row| row.kind).collect::<Vec<&str>>())
    .bind(rows.iter().map(|row| row.viewer.as_deref()).collect::<Vec<Option<&str>>>())
    .bind(rows.iter().map(|row| row.data.as_str()).collect::<Vec<&str>>())
    .bind(rows.iter().map(|row| row.at).collect::<Vec<DateTime<Utc>>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn copy_in(connection: &mut PgConnection, rows: &[Row]) -> sqlx::Result<()> {
    let mut copied = copy::Rows::with_capacity(rows.len() * 160);
    for row in rows {
        copied.row(6);
        copied.bigint(row.position);
        copied.uuid(row.id);
        copied.text(row.kind);
        copied.optional(row.viewer.as_deref(), copy::Rows::text);
        copied.text(&row.data);
        copied.timestamptz(row.at);
    }
    copied
        .send(connection, "COPY alerts (position, id, kind, viewer, data, at) FROM STDIN BINARY")
        .await
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// Whether a follow that is known `minutes` after it happened is shown, if it came from `source`.
    fn shows(source: &str, minutes: i64) -> bool {
        let at = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let event =
            broadcast::Event::Followed { entry: Uuid::nil(), viewer: "5001".to_owned(), at };
        let content = Content {
            position: 1,
            aggregate_type: "broadcast",
            aggregate_id: "1000",
            sequence: 1,
            event_type: "followed",
            event_version: "1.0",
            event_id: Uuid::nil(),
            command_id: Uuid::nil(),
            recorded_at: (at + TimeDelta::minutes(minutes)).timestamp_micros(),
            payload: &serde_json::to_string(&event).expect("JSON"),
            metadata: &serde_json::json!({ "source": source, "source_id": "x" }).to_string(),
        };
        row(&content).expect("readable").is_some()
    }

    #[test]
    fn a_follow_that_is_found_long_after_is_not_shown() {
        assert!(shows("helix", 10) && !shows("helix", 11));
        assert!(shows("eventsub", 11), "what is told is shown, as it always was");
    }
}
