//! Forgetting what a viewer is called. Names are beside history and not in it, so every sum stays.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgPool;

use crate::command::{BadAddress, Envelope, check_id};

/// How many dead letters are gone through in one transaction, and how long that may take. They can be large.
const LETTERS_OF_PAGE: i64 = 50;
const PAGE_LIMIT: &str = "SET LOCAL statement_timeout = '60s'";
/// How many of those who were erased are read at once.
const VIEWERS_OF_PAGE: i64 = 500;
/// Which letters have the id `$1`, before the letter `$2`: in quotes, which are escaped in what is text within text.
const OF_VIEWER: &str = r#"source = 'command' AND id < $2
    AND (position(convert_to('"' || $1 || '"', 'UTF8') IN payload) > 0
         OR position(convert_to('"' || $1 || '\', 'UTF8') IN payload) > 0)"#;

/// What was forgotten, and what could not be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Erased {
    pub viewer: String,
    /// When it was first asked for.
    pub erased_at: DateTime<Utc>,
    /// The dead letters from which the viewer's names, and what the outside said of them, were taken out.
    pub letters_scrubbed: Vec<i64>,
    /// Those that have the viewer's id and cannot be read: somebody has to look at them.
    pub letters_left: Vec<i64>,
    /// How many that have the viewer's id were not gone through in time. Asking again does.
    pub letters_unseen: i64,
}

/// Why nothing was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    BadId(#[from] BadAddress),
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
}

/// A viewer whose names are forgotten. Their dead letters may still have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    pub viewer: String,
    /// When it was first asked for.
    pub erased_at: DateTime<Utc>,
}

/// Forgets the names of `viewer`, and keeps them from coming back: [`mark`], and then [`scrub`]. Asking again goes through
/// the dead letters that came since, and through those that were left.
pub async fn erase(pool: &PgPool, viewer: &str, limit: Duration) -> Result<Erased, EraseError> {
    let marked = mark(pool, viewer).await?;
    scrub(pool, marked, limit).await
}

/// Forgets the names of `viewer`, and keeps them from coming back: the row stays, without names, and whoever records a
/// name sees it there.
pub async fn mark(pool: &PgPool, viewer: &str) -> Result<Marked, EraseError> {
    check_id(viewer)?;
    // A commit that records a name waits for this row, or is waited for: no name slips in between.
    let erased_at: DateTime<Utc> = sqlx::query_scalar(
        "INSERT INTO viewer_names AS known (viewer_id, seen_at, erased_at)
         VALUES ($1, clock_timestamp(), clock_timestamp())
         ON CONFLICT (viewer_id) DO UPDATE SET
             login = NULL, name = NULL, erased_at = COALESCE(known.erased_at, excluded.erased_at)
         RETURNING erased_at",
    )
    .bind(viewer)
    .fetch_one(pool)
    .await?;
    Ok(Marked { viewer: viewer.to_owned(), erased_at })
}

/// Goes through the dead letters of a viewer who is marked, for about as long as `limit`. Where it fails the mark stays.
pub async fn scrub(pool: &PgPool, marked: Marked, limit: Duration) -> Result<Erased, EraseError> {
    let Marked { viewer, erased_at } = marked;
    let Scrubbed { scrubbed, left, unseen } = scrub_letters(pool, &viewer, limit).await?;
    Ok(Erased {
        viewer,
        erased_at,
        letters_scrubbed: scrubbed,
        letters_left: left,
        letters_unseen: unseen,
    })
}

/// Lets the names of `viewer` be recorded again; those that were forgotten stay so. Whether they had been erased.
pub async fn allow(pool: &PgPool, viewer: &str) -> Result<bool, EraseError> {
    check_id(viewer)?;
    let gone =
        sqlx::query("DELETE FROM viewer_names WHERE viewer_id = $1 AND erased_at IS NOT NULL")
            .bind(viewer)
            .execute(pool)
            .await?;
    Ok(gone.rows_affected() > 0)
}

/// Which of these viewers were erased.
pub async fn erased(pool: &PgPool, viewers: &[&str]) -> sqlx::Result<Vec<String>> {
    let query =
        "SELECT viewer_id FROM viewer_names WHERE viewer_id = ANY($1) AND erased_at IS NOT NULL";
    sqlx::query_scalar(query).bind(viewers).fetch_all(pool).await
}

/// Who was erased since `since`, in the order of their ids, those after `after`: a page of them, and none at the end.
pub async fn erased_since(
    pool: &PgPool,
    since: DateTime<Utc>,
    after: &str,
) -> sqlx::Result<Vec<String>> {
    let query = "SELECT viewer_id FROM viewer_names WHERE erased_at >= $1 AND viewer_id > $2
                 ORDER BY viewer_id LIMIT $3";
    sqlx::query_scalar(query).bind(since).bind(after).bind(VIEWERS_OF_PAGE).fetch_all(pool).await
}

/// Notes what a viewer is called, as whoever logged in says, unless the viewer was erased.
pub async fn note(
    pool: &PgPool,
    viewer: &str,
    login: &str,
    name: Option<&str>,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO viewer_names AS known (viewer_id, login, name, seen_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (viewer_id) DO UPDATE SET
             login = excluded.login, name = COALESCE(excluded.name, known.name),
             seen_at = excluded.seen_at
         WHERE known.seen_at < excluded.seen_at AND known.erased_at IS NULL",
    )
    .bind(viewer)
    .bind(login)
    .bind(name)
    .bind(at)
    .execute(pool)
    .await
    .map(drop)
}

/// What was done to the dead letters that have a viewer's id.
#[derive(Default)]
struct Scrubbed {
    scrubbed: Vec<i64>,
    left: Vec<i64>,
    unseen: i64,
}

/// Takes the viewer's names out of commands that could not be decided, together with what arrived from outside where
/// that speaks of the viewer. Such a command can still be tried again, unless it was nothing but what arrived.
///
/// The newest letters come first, a page to a transaction, so that nobody waits for all of them and what was done stays
/// done. Letters without names still have the id: going through them again costs reading them.
async fn scrub_letters(
    pool: &PgPool,
    viewer: &str,
    limit: Duration,
) -> Result<Scrubbed, sqlx::Error> {
    let begun = Instant::now();
    let mut done = Scrubbed::default();
    let mut before = i64::MAX;
    while begun.elapsed() < limit {
        let mut tx = pool.begin().await?;
        sqlx::query(PAGE_LIMIT).execute(&mut *tx).await?;
        let letters: Vec<(i64, Vec<u8>)> = sqlx::query_as(&format!(
            "SELECT id, payload FROM dead_letters WHERE {OF_VIEWER} ORDER BY id DESC LIMIT $3 FOR UPDATE"
        ))
        .bind(viewer)
        .bind(before)
        .bind(LETTERS_OF_PAGE)
        .fetch_all(&mut *tx)
        .await?;
        let Some((last, _)) = letters.last() else { return Ok(done) };
        before = *last;
        for (id, payload) in letters {
            let Ok(mut envelope) = serde_json::from_slice::<Envelope>(&payload) else {
                done.left.push(id);
                continue;
            };
            if !forget(&mut envelope, viewer) {
                continue;
            }
            let Ok(payload) = serde_json::to_vec(&envelope) else {
                done.left.push(id);
                continue;
            };
            sqlx::query("UPDATE dead_letters SET payload = $2 WHERE id = $1")
                .bind(id)
                .bind(payload)
                .execute(&mut *tx)
                .await?;
            done.scrubbed.push(id);
        }
        tx.commit().await?;
    }
    let mut tx = pool.begin().await?;
    sqlx::query(PAGE_LIMIT).execute(&mut *tx).await?;
    let unseen = format!("SELECT count(*) FROM dead_letters WHERE {OF_VIEWER}");
    done.unseen = sqlx::query_scalar(&unseen).bind(viewer).bind(before).fetch_one(&mut *tx).await?;
    tx.rollback().await?;
    Ok(done)
}

/// Takes what the viewer is called out of a command. Whether there was anything.
fn forget(envelope: &mut Envelope, viewer: &str) -> bool {
    let names = envelope.names.len();
    envelope.names.retain(|name| name.id != viewer);
    let [quoted, escaped] = [format!("\"{viewer}\""), format!("\"{viewer}\\")];
    let speaks = |raw: &String| raw.contains(&quoted) || raw.contains(&escaped);
    let spoken_of =
        envelope.aggregate_id == viewer || envelope.origin.raw.as_ref().is_some_and(speaks);
    let had_raw = spoken_of && envelope.origin.raw.take().is_some();
    envelope.names.len() != names || had_raw
}
