//! Points that were given to many at once: by a grant, or by an import of another bot's balances. Each credit of it, and
//! whether it was taken back.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::account::{Event, Facts};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use journal::{Content, Failure, Projection, Recorded};

use crate::reading::{AsOf, Page, QueryError, Reading, cut};

/// The checkpoint's name, to wait for a position under.
pub const NAME: &str = "grants";

/// The projection `grants`: one row per credit that was one of many.
pub struct Grants;

/// A grant as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Grant {
    pub id: Uuid,
    /// The note of a grant, or the file of an import.
    pub note: String,
    /// Who gave it, where somebody did.
    pub actor: Option<String>,
    /// The bot whose balances these were, for an import.
    pub source: Option<String>,
    pub credits: i64,
    pub points: i64,
    /// How many of the credits were taken back, and how many points.
    pub undone: i64,
    pub undone_points: i64,
    /// Of its first credit.
    pub position: i64,
    pub at: DateTime<Utc>,
}

/// The grants, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Given {
    /// The position of history that this is true for.
    pub position: i64,
    pub grants: Vec<Grant>,
    /// The cursor of the next page, where there is one.
    pub before: Option<i64>,
}

/// One credit of a grant.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow)]
pub struct Credit {
    pub viewer: String,
    pub entry: Uuid,
    pub points: i64,
    pub position: i64,
    /// The position at which it was taken back.
    pub undone: Option<i64>,
}

/// What one viewer had from one bot.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct Imported {
    pub viewer: String,
    /// How often it was imported.
    pub times: i64,
    /// The last time: how much, where, and whether it was taken back.
    pub points: i64,
    pub position: i64,
    pub undone: Option<i64>,
}

/// All grants, newest first. The page's cursor is a position.
pub async fn list(pool: &PgPool, page: Page) -> Result<Given, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let limit = page.limit();
    let mut grants: Vec<Grant> = sqlx::query_as(&summed("", "HAVING min(position) < $1"))
        .bind(page.before())
        .bind(limit + 1)
        .fetch_all(reading.connection())
        .await?;
    let position = reading.position;
    reading.close().await?;
    let before = cut(&mut grants, limit, |grant| grant.position);
    Ok(Given { position, grants, before })
}

/// One grant, with the position that this is true for.
pub async fn find(pool: &PgPool, grant: Uuid) -> Result<(i64, Option<Grant>), QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let found: Option<Grant> = sqlx::query_as(&summed("WHERE grant_id = $1", ""))
        .bind(grant)
        .bind(1_i64)
        .fetch_optional(reading.connection())
        .await?;
    let position = reading.position;
    reading.close().await?;
    Ok((position, found))
}

/// The credits of a grant by viewer, `limit` of those after the viewer `after`.
pub async fn credits(
    pool: &PgPool,
    grant: Uuid,
    after: &str,
    limit: i64,
) -> Result<Vec<Credit>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let found = sqlx::query_as(
        "SELECT account AS viewer, entry, points, position, undone FROM grant_credits
         WHERE grant_id = $1 AND account > $2 ORDER BY account LIMIT $3",
    )
    .bind(grant)
    .bind(after)
    .bind(limit.clamp(1, Page::LIMIT_MAX))
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    Ok(found)
}

/// What these viewers had from the bot `source` before.
pub async fn imported(
    pool: &PgPool,
    source: &str,
    viewers: &[&str],
) -> Result<Vec<Imported>, QueryError> {
    let mut reading = Reading::open(pool, &[NAME], AsOf::Now).await?;
    let found = sqlx::query_as(
        "SELECT DISTINCT ON (account) account AS viewer, count(*) OVER (PARTITION BY account) AS times,
                points, position, undone
         FROM grant_credits WHERE source = $1 AND account = ANY($2) ORDER BY account, position DESC",
    )
    .bind(source)
    .bind(viewers)
    .fetch_all(reading.connection())
    .await?;
    reading.close().await?;
    Ok(found)
}

fn summed(which: &str, having: &str) -> String {
    format!(
        "SELECT grant_id AS id, min(note) AS note, min(actor) AS actor, min(source) AS source,
                count(*) AS credits, sum(points)::bigint AS points, count(undone) AS undone,
                coalesce(sum(points) FILTER (WHERE undone IS NOT NULL), 0)::bigint AS undone_points,
                min(position) AS position, min(at) AS at
         FROM grant_credits {which} GROUP BY grant_id {having} ORDER BY min(position) DESC LIMIT $2"
    )
}

/// What a batch of events adds to the table, and what it marks as taken back.
#[derive(Default)]
struct Changes<'a> {
    credits: Vec<Added<'a>>,
    undone: Vec<(Uuid, i64)>,
}

struct Added<'a> {
    event: &'a Recorded,
    grant: Uuid,
    entry: Uuid,
    points: i64,
    note: String,
    actor: Option<String>,
    source: Option<String>,
}

/// What one event changes.
fn change<'a>(event: &'a Recorded, changes: &mut Changes<'a>) -> Result<(), serde_json::Error> {
    match event.event()? {
        Event::Credited { entry, points, facts: Facts::Grant { grant, note, actor }, .. } => {
            let (actor, source) = (Some(actor), None);
            changes.credits.push(Added { event, grant, entry, points, note, actor, source });
        }
        Event::Credited {
            entry, points, facts: Facts::Import { grant, source, file, .. }, ..
        } => {
            let (source, actor) = (Some(source), None);
            changes.credits.push(Added { event, grant, entry, points, note: file, actor, source });
        }
        Event::Reversed { reverses, .. } => changes.undone.push((reverses, event.position)),
        _ => {}
    }
    Ok(())
}

#[async_trait]
impl Projection for Grants {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        1
    }

    fn aggregates(&self) -> &'static [&'static str] {
        &["account"]
    }

    /// Most events are credits of no grant, which is seen without reading them.
    fn wants(&self, event: &Content<'_>) -> bool {
        event.aggregate_type == "account"
            && match event.event_type {
                "credited" => event.payload.contains("grant"),
                kind => kind == "reversed",
            }
    }

    fn tables(&self) -> &'static [&'static str] {
        &["grant_credits"]
    }

    async fn create(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        for statement in [
            "CREATE TABLE grant_credits (
                 entry    uuid        PRIMARY KEY,
                 grant_id uuid        NOT NULL,
                 account  text        NOT NULL,
                 points   bigint      NOT NULL,
                 note     text        NOT NULL,
                 actor    text,
                 source   text,
                 position bigint      NOT NULL,
                 at       timestamptz NOT NULL,
                 undone   bigint
             )",
            "CREATE INDEX grant_credits_by_grant ON grant_credits (grant_id, account)",
            "CREATE INDEX grant_credits_by_source ON grant_credits (source, account, position)",
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
        let mut changes = Changes::default();
        for event in batch {
            change(event, &mut changes).map_err(|error| Failure::unreadable(event, error))?;
        }
        if !changes.credits.is_empty() {
            add(connection, &changes.credits).await?;
        }
        if !changes.undone.is_empty() {
            // What is taken back was given before, so its row is there by now.
            let (entries, positions): (Vec<Uuid>, Vec<i64>) = changes.undone.into_iter().unzip();
            sqlx::query(
                "UPDATE grant_credits c SET undone = u.position
                 FROM unnest($1::uuid[], $2::bigint[]) AS u(entry, position) WHERE c.entry = u.entry",
            )
            .bind(entries)
            .bind(positions)
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}

async fn add(connection: &mut PgConnection, credits: &[Added<'_>]) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO grant_credits (entry, grant_id, account, points, note, actor, source, position, at)
         SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[],
                              $7::text[], $8::bigint[], $9::timestamptz[])",
    )
    .bind(credits.iter().map(|credit| credit.entry).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.grant).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.points).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.note.as_str()).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.actor.as_deref()).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.source.as_deref()).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.event.position).collect::<Vec<_>>())
    .bind(credits.iter().map(|credit| credit.event.recorded_at).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
