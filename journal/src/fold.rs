//! Folding a batch into a projection: rows and position in one transaction, poison parked by its key.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use sqlx::{Connection, PgConnection, Postgres, Transaction};

use crate::aggregates::panic_text;
use crate::checkpoint::{Generation, advance};
use crate::crash;
use crate::projection::{Failure, Projection};
use crate::recorded::Recorded;

/// What to do with an event that cannot be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnPoison {
    /// Park its key and go on, as live projections do.
    Park,
    /// Stop, as a rebuild does: it must not come out different from what it replaces.
    Stop,
}

/// The keys whose events are parked, `type/id`.
pub(crate) type Parked = HashSet<String>;

/// Folds the events of `batch` that lie after the generation's position, and moves it to `until`. False: the
/// generation was moved by somebody else, and nothing was folded.
pub(crate) async fn fold(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    generation: &mut Generation,
    batch: &[&Recorded],
    until: i64,
    parked: &mut Parked,
    on_poison: OnPoison,
) -> Result<bool, Failure> {
    if parked.is_empty() {
        match fold_plainly(connection, projection, generation, batch, until).await {
            // Something in it cannot be folded: again, with savepoints, to find out what.
            Err(Unfolded::Somewhere(_) | Unfolded::Failed(Failure::Poison { .. })) => {}
            Err(Unfolded::Failed(failure)) => return Err(failure),
            Ok(moved) => return Ok(moved),
        }
    }
    let mut tx = begin(connection, generation).await?;
    let now_parked = fold_within(&mut tx, projection, batch, parked, on_poison).await?;
    if !finish(tx, projection, generation, until).await? {
        return Ok(false);
    }
    *parked = now_parked;
    Ok(true)
}

/// As [`fold`], for a batch that is as it should be, and in as few round trips as can be.
async fn fold_plainly(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    generation: &mut Generation,
    batch: &[&Recorded],
    until: i64,
) -> Result<bool, Unfolded> {
    let events = wanted(projection, batch);
    if events.is_empty() {
        let (name, number, from) = (projection.name(), generation.number, generation.position);
        let moved = advance(connection, name, number, from, until).await.map_err(Failure::from)?;
        generation.position = if moved { until } else { from };
        return Ok(moved);
    }
    let mut tx = begin(connection, generation).await.map_err(Failure::from)?;
    apply(&mut tx, projection, &events).await?;
    Ok(finish(tx, projection, generation, until).await?)
}

/// Why a projection did not take some events.
enum Unfolded {
    /// One of them cannot be folded, and it is not said which: the database refused its rows, or the fold panicked.
    Somewhere(String),
    Failed(Failure),
}

impl From<Failure> for Unfolded {
    fn from(failure: Failure) -> Self {
        Unfolded::Failed(failure)
    }
}

/// Lets the projection fold. What was written before it failed is to be rolled back.
async fn apply(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    events: &[&Recorded],
) -> Result<(), Unfolded> {
    match AssertUnwindSafe(projection.apply(connection, events)).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(Failure::Database(error))) if is_about_the_data(&error) => {
            Err(Unfolded::Somewhere(error.to_string()))
        }
        Ok(Err(failure)) => Err(failure.into()),
        Err(panic) => Err(Unfolded::Somewhere(format!("panicked: {}", panic_text(&*panic)))),
    }
}

async fn begin<'c>(
    connection: &'c mut PgConnection,
    generation: &Generation,
) -> sqlx::Result<Transaction<'c, Postgres>> {
    // A projection that loses its last moments in a power cut folds them again: rows and position stay together.
    let statements = format!(
        "BEGIN; SET LOCAL synchronous_commit TO off; SET LOCAL search_path TO {}, public",
        generation.schema
    );
    connection.begin_with(statements).await
}

async fn finish(
    mut tx: Transaction<'_, Postgres>,
    projection: &dyn Projection,
    generation: &mut Generation,
    until: i64,
) -> Result<bool, Failure> {
    crash::point("fold.applied");
    let moved =
        advance(&mut tx, projection.name(), generation.number, generation.position, until).await?;
    if !moved {
        return Ok(false);
    }
    tx.commit().await?;
    crash::point("fold.committed");
    generation.position = until;
    Ok(true)
}

fn wanted<'e>(projection: &dyn Projection, batch: &[&'e Recorded]) -> Vec<&'e Recorded> {
    batch.iter().copied().filter(|event| projection.wants(&event.content())).collect()
}

/// Folds within a transaction. Gives the keys that are parked after it.
pub(crate) async fn fold_within(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    batch: &[&Recorded],
    parked: &Parked,
    on_poison: OnPoison,
) -> Result<Parked, Failure> {
    let mut parked = parked.clone();
    let mut events = wanted(projection, batch);
    // Each round parks one more key, so there are at most as many rounds as events.
    for _ in 0..=batch.len() {
        let (behind, free): (Vec<&Recorded>, Vec<&Recorded>) =
            events.iter().partition(|event| parked.contains(&key(event)));
        park(connection, projection.name(), &behind, "waits behind an earlier event of its key")
            .await?;
        events = free;
        if events.is_empty() {
            return Ok(parked);
        }
        match Box::pin(try_fold(connection, projection, &events)).await {
            Ok(()) => return Ok(parked),
            Err(Failure::Poison { position, reason }) if on_poison == OnPoison::Park => {
                let Some(poison) = events.iter().copied().find(|e| e.position == position) else {
                    return Err(Failure::Poison { position, reason });
                };
                tracing::error!(projection = projection.name(), position, reason, "parking a key");
                park(connection, projection.name(), &[poison], &reason).await?;
                let before: Vec<&Recorded> = events
                    .iter()
                    .copied()
                    .filter(|e| e.position < position && key(e) == key(poison))
                    .collect();
                // What came before it under its key is still good.
                Box::pin(try_fold(connection, projection, &before)).await?;
                events.retain(|e| {
                    e.position != position && !before.iter().any(|b| b.position == e.position)
                });
                parked.insert(key(poison));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(parked)
}

/// Folds all or nothing. A batch that the database refuses for its data, or over which the fold panics, is halved until
/// the one event is found.
pub async fn try_fold(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    events: &[&Recorded],
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let mut savepoint = connection.begin().await?;
    let reason = match apply(&mut savepoint, projection, events).await {
        Ok(()) => return Ok(savepoint.commit().await?),
        Err(Unfolded::Somewhere(reason)) => reason,
        Err(Unfolded::Failed(failure)) => {
            savepoint.rollback().await?;
            return Err(failure);
        }
    };
    savepoint.rollback().await?;
    if let [event] = events {
        return Err(Failure::Poison { position: event.position, reason });
    }
    let mut all = connection.begin().await?;
    for half in events.chunks(events.len().div_ceil(2)) {
        if let Err(failure) = Box::pin(try_fold(&mut all, projection, half)).await {
            all.rollback().await?;
            return Err(failure);
        }
    }
    Ok(all.commit().await?)
}

fn is_about_the_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// What an event is parked by: the aggregate it belongs to.
pub(crate) fn key(event: &Recorded) -> String {
    format!("{}/{}", event.aggregate_type, event.aggregate_id)
}

async fn park(
    connection: &mut PgConnection,
    name: &str,
    events: &[&Recorded],
    reason: &str,
) -> Result<(), sqlx::Error> {
    for event in events {
        sqlx::query(
            "INSERT INTO public.dead_letters (source, name, key, command_id, position, reason, payload)
             VALUES ('projection', $1, $2, $3, $4, $5, $6)",
        )
        .bind(name)
        .bind(key(event))
        .bind(event.command_id)
        .bind(event.position)
        .bind(reason.replace('\0', ""))
        .bind(event.payload.get().as_bytes())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
