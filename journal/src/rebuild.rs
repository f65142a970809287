//! Folding the whole history into new tables while the old ones go on answering.

use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::{PgConnection, PgPool};

use crate::checkpoint::{self, Generation};
use crate::fold::{OnPoison, Parked, fold, fold_within};
use crate::head;
use crate::history;
use crate::projection::{Failure, Projection};
use crate::recorded::Recorded;

/// The most events folded in one transaction.
const FOLD_MAX: usize = 32_768;
/// How near to the head the rest is folded while the live generation stands still.
const NEAR: i64 = 8_192;

/// What a rebuild made.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    pub position: i64,
    pub events: i64,
    pub generation: i32,
}

/// Folds the whole history into new tables beside the live ones, which go on answering, and puts them in their place
/// in one transaction. `progress` is told how many events of how many are folded.
pub async fn rebuild(
    pool: &PgPool,
    projection: Arc<dyn Projection>,
    progress: impl Fn(i64, i64) + Send,
) -> anyhow::Result<Rebuilt> {
    let mut next = checkpoint::create(pool, &*projection).await?;
    let built = build(pool, &*projection, &mut next, &progress).await;
    if built.is_err() {
        discard(pool, projection.name(), &next).await;
    }
    built
}

async fn build(
    pool: &PgPool,
    projection: &dyn Projection,
    next: &mut Generation,
    progress: &(impl Fn(i64, i64) + Send),
) -> anyhow::Result<Rebuilt> {
    let mut writer = pool.acquire().await?;
    let mut reader = pool.acquire().await?;
    loop {
        let head = head::read(pool).await?.position;
        if head - next.position <= NEAR && next.position > 0 || head == 0 {
            break;
        }
        let after = next.position;
        let mut rows = history::read(&mut reader, after, head, Some(projection.aggregates()));
        let mut events: Vec<Recorded> = Vec::with_capacity(FOLD_MAX);
        while let Some(page) = rows.try_next().await? {
            events.extend(page.iter().map(history::Row::recorded));
            if events.len() >= FOLD_MAX {
                let until = events.last().map_or(after, |event| event.position);
                fold_building(&mut writer, projection, next, &events, until).await?;
                progress(until, head);
                events.clear();
            }
        }
        fold_building(&mut writer, projection, next, &events, head).await?;
        progress(head, head);
    }
    // The rest, while the live generation stands still: the new one must not be behind it.
    let mut tx = sqlx::Connection::begin(&mut *writer).await?;
    checkpoint::hold_live(&mut tx, projection.name()).await?;
    let head = head::read(pool).await?.position;
    let rows: Vec<Vec<history::Row>> =
        history::read(&mut reader, next.position, head, None).try_collect().await?;
    let events: Vec<Recorded> = rows.iter().flatten().map(history::Row::recorded).collect();
    checkpoint::set_schema(&mut tx, &next.schema).await?;
    let batch: Vec<&Recorded> = events.iter().collect();
    fold_within(&mut tx, projection, &batch, &Parked::new(), OnPoison::Stop).await?;
    let name = projection.name();
    let moved = checkpoint::advance(&mut tx, name, next.number, next.position, head).await?;
    anyhow::ensure!(moved, "somebody else is building this generation");
    checkpoint::flip(&mut tx, projection, next, head).await?;
    tx.commit().await?;
    progress(head, head);
    Ok(Rebuilt { position: head, events: head, generation: next.number })
}

async fn fold_building(
    writer: &mut PgConnection,
    projection: &dyn Projection,
    next: &mut Generation,
    events: &[Recorded],
    until: i64,
) -> Result<(), Failure> {
    let batch: Vec<&Recorded> = events.iter().collect();
    let mut parked = Parked::new();
    let moved = fold(writer, projection, next, &batch, until, &mut parked, OnPoison::Stop).await?;
    let taken = || sqlx::Error::Protocol("somebody else is building this generation".to_owned());
    if moved { Ok(()) } else { Err(Failure::Database(taken())) }
}

async fn discard(pool: &PgPool, name: &str, next: &Generation) {
    let dropped = async {
        sqlx::query(
            "DELETE FROM checkpoints WHERE name = $1 AND generation = $2 AND status = 'building'",
        )
        .bind(name)
        .bind(next.number)
        .execute(pool)
        .await?;
        sqlx::query(&format!("DROP SCHEMA IF EXISTS {} CASCADE", next.schema)).execute(pool).await
    };
    if let Err(error) = dropped.await {
        tracing::warn!(%error, schema = next.schema, "an unfinished rebuild was left behind");
    }
}
