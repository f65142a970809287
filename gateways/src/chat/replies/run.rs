//! The part of a process that answers until it is told to stop.

use std::time::Duration;

use projections::replies;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Worker;
use super::lease::{self, Taken};
use crate::generation::until_live;

/// How often the to-do list is looked at when nobody says that it has changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long it may take to find out what is due, with a database that answers slowly or not at all.
const TAKE_LIMIT: Duration = Duration::from_secs(10);
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// Says what is due, one after the other, so that a chat reads it in order.
pub async fn run(worker: Worker, stop: CancellationToken) -> anyhow::Result<()> {
    until_live(&worker.words.pool, replies::NAME, &stop).await;
    let mut moved = worker.words.positions.watch(replies::NAME);
    let mut tidy = tokio::time::interval(TIDY_EVERY);
    while !stop.is_cancelled() {
        // Looked at before the list, so that what changes meanwhile is not waited for in vain.
        moved.mark_unchanged();
        let taken = tokio::select! {
            () = stop.cancelled() => break,
            taken = timeout(TAKE_LIMIT, worker.take()) => taken,
        };
        match taken {
            Ok(Ok(Taken::Lease(lease))) => {
                if let Err(error) = worker.work(&lease).await {
                    let (reply, error) = (lease.reply, format!("{error:#}"));
                    tracing::error!(%reply, error, "left for when its lease is over");
                }
                continue;
            }
            Ok(Ok(Taken::Idle | Taken::Waits { .. })) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the replies cannot be looked at; trying again");
            }
            Err(_) => tracing::warn!("looking at the replies takes too long; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = moved.changed() => {}
            _ = tidy.tick() => {
                if let Err(error) = lease::forget_old(&worker.words.pool, (worker.clock)()).await {
                    tracing::warn!(%error, "old sendings could not be forgotten");
                }
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
    Ok(())
}
