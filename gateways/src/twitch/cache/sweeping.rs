//! Takes whoever was erased lately out of the bucket, again and again.
//!
//! An erasure takes them out itself, and so does whoever finds them. But NATS may be away just then, and of two processes
//! one may be putting in what the other takes out. Whatever comes between, it lasts as long as a round takes to come.

use std::time::Duration;

use anyhow::Context;
use chrono::{TimeDelta, Utc};
use journal::names;
use sqlx::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::bucket::Bucket;

const EVERY: Duration = Duration::from_secs(3_600);
/// When a round that failed is made again.
const AGAIN_AFTER: Duration = Duration::from_secs(300);
/// What was kept before that is not kept any more: nothing is for longer than seven days.
const ERASED_WITHIN: TimeDelta = TimeDelta::days(8);

/// Makes a round now and then every hour, until `stop`.
pub async fn run(pool: PgPool, bucket: Bucket, stop: CancellationToken) -> anyhow::Result<()> {
    while let Some(made) = stop.run_until_cancelled(round(&pool, &bucket)).await {
        let wait = match made {
            Ok(()) => EVERY,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "viewers who were erased may still be in the cache");
                AGAIN_AFTER
            }
        };
        if stop.run_until_cancelled(sleep(wait)).await.is_none() {
            break;
        }
    }
    Ok(())
}

/// Takes out everybody who was erased lately. It ends with them: each page begins after the one before.
pub async fn round(pool: &PgPool, bucket: &Bucket) -> anyhow::Result<()> {
    let since = Utc::now() - ERASED_WITHIN;
    let mut after = String::new();
    loop {
        let erased = names::erased_since(pool, since, &after).await;
        let erased = erased.context("it cannot be read who was erased")?;
        for viewer in &erased {
            bucket.forget(viewer).await?;
        }
        let Some(last) = erased.last() else { return Ok(()) };
        after.clone_from(last);
    }
}
