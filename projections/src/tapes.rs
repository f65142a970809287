//! The catalogue of tapes: one row per tape that is or was in it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

use domain::tape::{Card, Event, Provenance};
use journal::{Failure, Projection, Recorded};

use crate::reading::{AsOf, QueryError, Reading, cut};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "tapes";

/// The most tapes of a page.
pub const LIMIT_MAX: i64 = 500;

/// The projection `tapes`.
pub struct Tapes;

/// A tape of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tape {
    pub id: String,
    pub card: Card,
    /// Where the card was read.
    pub from: Provenance,
    pub catalogued_at: DateTime<Utc>,
    /// When the card became what it is.
    pub changed_at: DateTime<Utc>,
    /// Since when it is not there any more.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// The last event of it.
    pub position: i64,
}

/// What a list is limited to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Words that the title, the series or the contributor has in it.
    pub words: Option<String>,
    pub tag: Option<String>,
    /// Also those that were withdrawn.
    pub withdrawn: bool,
}

/// A part of the catalogue, in the order of the ids: numbers first, as numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct List {
    pub position: i64,
    pub tapes: Vec<Tape>,
    /// How many there are in all that were not withdrawn, whatever the list is limited to.
    pub count: i64,
    /// The id that the next page begins after; `None` when this is the last.
    pub after: Option<String>,
}

const COLUMNS: &str =
    "SELECT id, card, provenance, catalogued_at, changed_at, withdrawn_at, position FROM tapes";

/// The tapes that `filter` lets through, after the tape `after`.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    after: Option<&str>,
    limit: i64,
) -> Result<List, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = limit.clamp(1, LIMIT_MAX);
    let pattern = filter.words.as_deref().map(|words| format!("%{}%", escaped(words)));
    let mut rows: Vec<Stored> = sqlx::query_as(&format!(
        "{COLUMNS}
         WHERE ($1 OR withdrawn_at IS NULL) AND ($2::text IS NULL OR words ILIKE $2)
           AND ($3::text IS NULL OR $3 = ANY(tags))
           AND ($4::text IS NULL OR (sort, id) > ($5, $4))
         ORDER BY sort, id LIMIT $6"
    ))
    .bind(filter.withdrawn)
    .bind(pattern)
    .bind(&filter.tag)
    .bind(after)
    .bind(after.map(sort))
    .bind(limit + 1)
    .fetch_all(reading.connection())
    .await?;
    let count = count(&mut reading).await?;
    let position = reading.position;
    reading.close().await?;
    let after = cut(&mut rows, limit, |last| last.id.clone());
    Ok(List { position, tapes: rows.into_iter().map(Tape::from).collect(), count, after })
}

/// What the catalogue knows of one tape.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct One {
    pub position: i64,
    /// `None` where it never was in the catalogue.
    pub tape: Option<Tape>,
    /// How many tapes there are in all.
    pub count: i64,
}

pub async fn one(pool: &PgPool, id: &str) -> Result<One, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let row: Option<Stored> = sqlx::query_as(&format!("{COLUMNS} WHERE id = $1"))
        .bind(id)
        .fetch_optional(reading.connection())
        .await?;
    let count = count(&mut reading).await?;
    let position = reading.position;
    reading.close().await?;
    Ok(One { position, tape: row.map(Tape::from), count })
}

/// The cards of all tapes that are in the catalogue, to compare a list with.
pub async fn cards(pool: &PgPool) -> Result<Vec<(String, Card)>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let rows: Vec<(String, Json<Card>)> =
        sqlx::query_as("SELECT id, card FROM tapes WHERE withdrawn_at IS NULL ORDER BY sort, id")
            .fetch_all(reading.connection())
            .await?;
    reading.close().await?;
    Ok(rows.into_iter().map(|(id, card)| (id, card.0)).collect())
}

async fn count(reading: &mut Reading) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT count(*) FROM tapes WHERE withdrawn_at IS NULL")
        .fetch_one(reading.connection())
        .await
}

/// Numbers in their order, before everything else.
fn sort(id: &str) -> i64 {
    id.parse().unwrap_or(i64::MAX)
}

/// For `LIKE`, where these characters mean themselves.
fn escaped(words: &str) -> String {
    words.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[derive(sqlx::FromRow)]
struct Stored {
    id: String,
    card: Json<Card>,
    provenance: Json<Provenance>,
    catalogued_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
    withdrawn_at: Option<DateTime<Utc>>,
    position: i64,
}

impl From<Stored> for Tape {
    fn from(row: Stored) -> Self {
        Tape {
            id: row.id,
            card: row.card.0,
            from: row.provenance.0,
            catalogued_at: row.catalogued_at,
            changed_at: row.changed_at,
            withdrawn_at: row.withdrawn_at,
            position: row.position,
        }
    }
}

#[async_trait]
impl Projection for Tapes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["tape"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["tapes"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for statement in [
            "CREATE TABLE tapes (
                 id            text        PRIMARY KEY,
                 sort          bigint      NOT NULL,
                 card          json        NOT NULL,
                 words         text        NOT NULL,
                 tags          text[]      NOT NULL,
                 provenance    json        NOT NULL,
                 catalogued_at timestamptz NOT NULL,
                 changed_at    timestamptz NOT NULL,
                 withdrawn_at  timestamptz,
                 position      bigint      NOT NULL
             )",
            "CREATE INDEX tapes_in_order ON tapes (sort, id)",
        ] {
            sqlx::query(statement).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn apply(
        &self,
        connection: &mut PgConnection,
        batch: &[&Recorded],
    ) -> Result<(), Failure> {
        for recorded in batch {
            let event = recorded.event().map_err(|error| Failure::unreadable(recorded, error))?;
            fold(connection, recorded, event).await?;
        }
        Ok(())
    }
}

async fn fold(
    connection: &mut PgConnection,
    recorded: &Recorded,
    event: Event,
) -> sqlx::Result<()> {
    let (card, from, at) = match event {
        Event::Catalogued { card, from, at, .. } | Event::Changed { card, from, at, .. } => {
            (card, from, at)
        }
        Event::Withdrawn { at, .. } => {
            sqlx::query("UPDATE tapes SET withdrawn_at = $2, position = $3 WHERE id = $1")
                .bind(&recorded.aggregate_id)
                .bind(at)
                .bind(recorded.position)
                .execute(connection)
                .await?;
            return Ok(());
        }
    };
    let parts = [Some(card.title.as_str()), card.series.as_deref(), card.contributor.as_deref()];
    let words: Vec<&str> = parts.into_iter().flatten().collect();
    sqlx::query(
        "INSERT INTO tapes (id, sort, card, words, tags, provenance, catalogued_at, changed_at,
                            position)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)
         ON CONFLICT (id) DO UPDATE
         SET card = $3, words = $4, tags = $5, provenance = $6, changed_at = $7, position = $8,
             withdrawn_at = NULL",
    )
    .bind(&recorded.aggregate_id)
    .bind(sort(&recorded.aggregate_id))
    .bind(Json(&card))
    .bind(words.join("\n"))
    .bind(&card.tags)
    .bind(Json(&from))
    .bind(at)
    .bind(recorded.position)
    .execute(connection)
    .await?;
    Ok(())
}
