//! The part of a process that makes pictures until it is told to stop.

use std::time::Duration;

use projections::generations;
use sqlx::PgPool;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::lease::{Lease, Taken};
use super::standing::Standing;

/// How often the to-do list is looked at when nobody says that it has changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many requests are taken at once, so that others find some as well. What is begun together is reported together,
/// which costs less than one after the other.
const TAKEN_MAX: i64 = 32;
/// How long it may take to find out what is due, with a database that answers slowly or not at all.
const TAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long it is known what the provider was asked and what it cost.
const MAKINGS_KEPT_DAYS: i32 = 90;
/// How long a picture waits on this host for its store. Points are held for an hour, so nobody wants it then.
const SPOOLED_FOR: Duration = Duration::from_secs(86_400);
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// Makes what is due, as much at once as the limits allow.
pub async fn run(worker: Worker, stop: CancellationToken) -> anyhow::Result<()> {
    until_live(&worker.pool, generations::NAME, &stop).await;
    let mut moved = worker.positions.watch(generations::NAME);
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    let mut hands = JoinSet::new();
    let mut standing = Standing::Open;
    while !stop.is_cancelled() {
        // Looked at before the list, so that what changes meanwhile is not waited for in vain.
        moved.mark_unchanged();
        let taken = tokio::select! {
            () = stop.cancelled() => break,
            taken = timeout(TAKE_LIMIT, worker.take(TAKEN_MAX)) => taken,
        };
        match taken {
            Ok(Ok(Taken::Leases(leases))) => {
                note(&mut standing, Standing::Open);
                for lease in leases {
                    hands.spawn(work(worker.clone(), lease));
                }
                continue;
            }
            Ok(Ok(Taken::Idle)) => note(&mut standing, Standing::Open),
            Ok(Ok(Taken::Waits(why))) => note(&mut standing, why),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the requests cannot be looked at; trying again");
            }
            Err(_) => tracing::warn!("looking at the requests takes too long; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = moved.changed() => {}
            Some(ended) = hands.join_next() => log_panic(ended),
            _ = tidy.tick() => forget_old(&worker).await,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    finish(&worker, hands).await;
    Ok(())
}

async fn work(worker: Worker, lease: Lease) {
    if let Err(error) = worker.work(&lease).await {
        let (request, error) = (lease.request, format!("{error:#}"));
        tracing::error!(%request, error, "left for when its lease is over");
    }
}

/// Lets what is in hand come to its end for a while, and gives back what does not.
async fn finish(worker: &Worker, mut hands: JoinSet<()>) {
    let finished = timeout(worker.options.stop_limit, async {
        while let Some(ended) = hands.join_next().await {
            log_panic(ended);
        }
    });
    if finished.await.is_err() {
        tracing::warn!(left = hands.len(), "pictures are left for another worker");
    }
    hands.shutdown().await;
    match timeout(worker.options.give_back_limit, worker.give_all_back()).await {
        Ok(Ok(0)) => {}
        Ok(Ok(requests)) => tracing::info!(requests, "given back"),
        Ok(Err(error)) => tracing::warn!(%error, "leases are left until they are over"),
        Err(_) => tracing::warn!("leases are left until they are over: no answer"),
    }
}

/// On a new database the to-do list is made soon after the start.
pub(crate) async fn until_live(pool: &PgPool, name: &str, stop: &CancellationToken) {
    let live = || async {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM checkpoints WHERE name = $1 AND status = 'live')",
        )
        .bind(name)
        .fetch_one(pool)
        .await
        .unwrap_or(false)
    };
    while !stop.is_cancelled() && !live().await {
        let _ = timeout(LOOK_EVERY, stop.cancelled()).await;
    }
}

/// Says when a reason to wait begins and ends. Being full or at the rate limit is how it should be.
fn note(before: &mut Standing, now: Standing) {
    if *before == now {
        return;
    }
    match &now {
        Standing::BudgetSpent { until } => {
            tracing::warn!(%until, "the day's budget for pictures is spent: requests wait");
        }
        Standing::AskedToWait { until } => {
            tracing::warn!(%until, "the provider asks to wait, or the pictures' store: requests wait");
        }
        Standing::BreakerOpen { until } => {
            tracing::error!(%until, "the provider failed too often in a row: requests wait");
        }
        Standing::Open if is_trouble(before) => tracing::info!("nothing has to wait any more"),
        Standing::Open
        | Standing::BreakerTrying
        | Standing::Full
        | Standing::RateLimited { .. } => {}
    }
    *before = now;
}

fn is_trouble(standing: &Standing) -> bool {
    !matches!(standing, Standing::Open | Standing::Full | Standing::RateLimited { .. })
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a worker panicked; its request is left for when its lease is over");
    }
}

async fn forget_old(worker: &Worker) {
    let forgotten = sqlx::query(
        "DELETE FROM generation_makings
         WHERE started_at < $2::timestamptz - make_interval(days => $1)",
    )
    .bind(MAKINGS_KEPT_DAYS)
    .bind((worker.clock)())
    .execute(&worker.pool)
    .await;
    if let Err(error) = forgotten {
        tracing::warn!(%error, "old makings could not be forgotten");
    }
    match worker.pictures.tidy(SPOOLED_FOR).await {
        Ok(0) => {}
        Ok(pictures) => tracing::warn!(pictures, "waited for their store in vain and are deleted"),
        Err(error) => tracing::warn!(%error, "pictures that wait for their store cannot be tidied"),
    }
}
