//! Whether webhooks are taken in. Whoever answers them says so in the row, every few seconds, for as long as NATS takes what
//! they say. What nobody answers Twitch sends again for some minutes; of a longer silence something may be lost.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::twitch::standing::limited;

const BEAT_EVERY: Duration = Duration::from_secs(5);
/// What nobody answered for so long, Twitch sends again for longer.
const SILENCE: TimeDelta = TimeDelta::minutes(2);

/// Says that webhooks are taken in.
pub struct Beat {
    pub pool: PgPool,
    /// What was told goes there.
    pub nats: async_nats::Client,
    pub configs: watch::Receiver<Arc<Config>>,
}

impl Beat {
    /// Says so for as long as it is so, until told to stop.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut beats = tokio::time::interval(BEAT_EVERY);
        while stop.run_until_cancelled(beats.tick()).await.is_some() {
            let config = Arc::clone(&self.configs.borrow());
            let is_signed = config.keeps_webhooks() || !config.eventsub_secret.is_empty();
            if !is_signed || self.nats.connection_state() != State::Connected {
                continue;
            }
            let said = limited(beat(&self.pool, &config.broadcaster_id)).await;
            if let Err(error) = said {
                tracing::debug!(%error, "that webhooks are taken in is not written down");
            }
        }
        Ok(())
    }
}

/// They are taken in now. That they were not for long is kept, until the gap is recorded. The clock is PostgreSQL's.
async fn beat(pool: &PgPool, broadcaster: &str) -> sqlx::Result<()> {
    let query = "UPDATE eventsub_feeds SET heard_at = GREATEST(heard_at, now()), lost_since =
             CASE WHEN heard_at < now() - $2 THEN LEAST(lost_since, heard_at) ELSE lost_since END
         WHERE broadcaster = $1 AND transport = 'webhook'";
    sqlx::query(query).bind(broadcaster).bind(SILENCE).execute(pool).await.map(drop)
}

/// What a row says of it.
#[derive(Clone, Copy, Debug, sqlx::FromRow)]
pub struct Posted {
    /// When they were last known to be taken in.
    heard_at: Option<DateTime<Utc>>,
    /// Since when some may be lost, where they are taken in again.
    pub lost_since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
}

impl Posted {
    pub async fn find(pool: &PgPool, broadcaster: &str) -> sqlx::Result<Posted> {
        let query = "SELECT heard_at, lost_since, now() FROM eventsub_feeds WHERE broadcaster = $1";
        limited(sqlx::query_as(query).bind(broadcaster).fetch_one(pool)).await
    }

    /// Since when some may be lost.
    pub fn silent_since(&self) -> Option<DateTime<Utc>> {
        self.lost_since.or(self.heard_at.filter(|heard| self.now - heard > SILENCE))
    }

    /// The gap is recorded.
    pub async fn is_recorded(&self, pool: &PgPool, broadcaster: &str) -> sqlx::Result<()> {
        let query = "UPDATE eventsub_feeds SET lost_since = NULL WHERE broadcaster = $1 AND lost_since = $2";
        let query = sqlx::query(query).bind(broadcaster).bind(self.lost_since);
        limited(query.execute(pool)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_a_gap_once_it_is_longer_than_twitch_surely_sends_again() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(1);
        let since = |heard_s: i64, lost_since| {
            let heard_at = Some(now - TimeDelta::seconds(heard_s));
            Posted { heard_at, lost_since, now }.silent_since()
        };
        assert_eq!(since(120, None), None);
        assert_eq!(since(121, None), Some(now - TimeDelta::seconds(121)));
        let before = now - TimeDelta::minutes(20);
        assert_eq!(since(0, Some(before)), Some(before), "they are taken in again");
        assert_eq!(Posted { heard_at: None, lost_since: None, now }.silent_since(), None);
    }
}
