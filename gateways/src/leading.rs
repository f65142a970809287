//! Work that is better done by one process at a time: who is the one, how it ends, and who follows.

use std::time::Duration;

use anyhow::bail;
use journal::leader::{self, Lock};
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::observe;

/// How long it is until it is tried again after it failed.
pub const FAILED_WAIT: Duration = Duration::from_secs(1);
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// Waits to be the one that has the lock `name`, and does `work` with the connection that holds it; again and again, until
/// told to stop. `part` is what it is called in the log.
pub async fn lead<W: Future<Output = anyhow::Result<()>>>(
    pool: &PgPool,
    (name, part): (&str, &str),
    stop: &CancellationToken,
    work: impl Fn(PgConnection) -> W,
) -> anyhow::Result<()> {
    loop {
        let leads = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            leads = leader::wait(pool, Lock::Work(name)) => leads,
        };
        let led = match leads {
            Ok(leader) => work(leader).await,
            Err(error) => Err(error.into()),
        };
        if stop.is_cancelled() {
            return led;
        }
        if let Err(error) = led {
            observe::begins_again(part, &error);
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(FAILED_WAIT) => {}
        }
    }
}

/// Does `work`, which may be dropped at any moment, until it fails or until told to stop.
pub async fn until(
    stop: &CancellationToken,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    match stop.run_until_cancelled(work).await {
        // What it needs ends with everything else, perhaps before it.
        Some(ended) if !stop.is_cancelled() => ended,
        _ => Ok(()),
    }
}

/// Runs `tasks`, which `ending` ends, until told to stop, until one of them ends, or until `leading` says why we are not the
/// one any more.
pub async fn together(
    mut tasks: JoinSet<anyhow::Result<()>>,
    leading: impl Future<Output = anyhow::Error>,
    stop: &CancellationToken,
    ending: &CancellationToken,
) -> anyhow::Result<()> {
    let failed = tokio::select! {
        // Looked at first: the order to stop also ends the tasks, which is then no failure.
        biased;
        () = stop.cancelled() => None,
        error = leading => Some(error),
        Some(ended) = tasks.join_next() => match ended? {
            Ok(()) => Some(anyhow::anyhow!("a part of it ended by itself")),
            Err(error) => Some(error),
        },
    };
    ending.cancel();
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    match (timeout(STOP_LIMIT, all).await, failed) {
        (_, Some(error)) => Err(error),
        (Ok(ended), None) => ended,
        (Err(_), None) => bail!("it did not stop in time"),
    }
}
