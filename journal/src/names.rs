//! Forgetting what a viewer is called. Names are beside history and not in it, so every sum stays.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

use crate::command::{BadAddress, Envelope, check_id};

/// The most dead letters that are gone through at once.
const LETTERS_MAX: i64 = 10_000;

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
}

/// Why nothing was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error(transparent)]
    BadId(#[from] BadAddress),
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
}

/// Forgets the names of `viewer`, and keeps them from coming back: the row stays, without names, and whoever records a
/// name sees it there. Asking again goes through the dead letters that came since.
pub async fn erase(pool: &PgPool, viewer: &str) -> Result<Erased, EraseError> {
    check_id(viewer)?;
    let mut tx = pool.begin().await?;
    // A commit that records a name waits for this row, or is waited for: no name slips in between.
    let erased_at: DateTime<Utc> = sqlx::query_scalar(
        "INSERT INTO viewer_names AS known (viewer_id, seen_at, erased_at)
         VALUES ($1, clock_timestamp(), clock_timestamp())
         ON CONFLICT (viewer_id) DO UPDATE SET
             login = NULL, name = NULL, erased_at = COALESCE(known.erased_at, excluded.erased_at)
         RETURNING erased_at",
    )
    .bind(viewer)
    .fetch_one(&mut *tx)
    .await?;
    let (letters_scrubbed, letters_left) = scrub(&mut tx, viewer).await?;
    tx.commit().await?;
    Ok(Erased { viewer: viewer.to_owned(), erased_at, letters_scrubbed, letters_left })
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

/// Takes the viewer's names out of commands that could not be decided, together with what arrived from outside where
/// that speaks of the viewer. Such a command can still be tried again, unless it was nothing but what arrived.
async fn scrub(
    connection: &mut PgConnection,
    viewer: &str,
) -> Result<(Vec<i64>, Vec<i64>), sqlx::Error> {
    let letters: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT id, payload FROM dead_letters
         WHERE source = 'command' AND position(convert_to($1, 'UTF8') IN payload) > 0
         ORDER BY id DESC LIMIT $2 FOR UPDATE",
    )
    .bind(viewer)
    .bind(LETTERS_MAX)
    .fetch_all(&mut *connection)
    .await?;
    let (mut scrubbed, mut left) = (Vec::new(), Vec::new());
    let quoted = format!("\"{viewer}\"");
    for (id, payload) in letters {
        let Ok(mut envelope) = serde_json::from_slice::<Envelope>(&payload) else {
            if String::from_utf8_lossy(&payload).contains(&quoted) {
                left.push(id);
            }
            continue;
        };
        let names = envelope.names.len();
        envelope.names.retain(|name| name.id != viewer);
        let spoken_of = envelope.aggregate_id == viewer
            || envelope.origin.raw.as_ref().is_some_and(|raw| raw.contains(&quoted));
        let had_raw = spoken_of && envelope.origin.raw.take().is_some();
        if envelope.names.len() == names && !had_raw {
            continue;
        }
        let Ok(payload) = serde_json::to_vec(&envelope) else {
            left.push(id);
            continue;
        };
        sqlx::query("UPDATE dead_letters SET payload = $2 WHERE id = $1")
            .bind(id)
            .bind(payload)
            .execute(&mut *connection)
            .await?;
        scrubbed.push(id);
    }
    Ok((scrubbed, left))
}
