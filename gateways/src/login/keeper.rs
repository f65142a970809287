//! Keeping sessions true to Twitch: each hour every grant is validated and, where its time is over, refreshed; what
//! ended here is revoked there. Any number of processes may run this: a session is one's at a time.
//!
//! Where Twitch cannot be asked, nothing follows but asking again. Where it says that a grant is not good any more and
//! will not refresh it, the person has taken it back, and the session ends.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Login, attempts, moderators};
use crate::config::Config;
use crate::twitch::helix::MODERATION_READ;
use crate::twitch::oauth::Validated;
use crate::twitch::oauth::hourly::next_check;
use crate::twitch::{Grant, TwitchError};

/// How many sessions are taken at once, one after the other.
const BATCH: i64 = 10;
/// How long a session is one process's, which is longer than a batch takes; also how soon Twitch is asked again.
const LEASE: TimeDelta = TimeDelta::minutes(5);
const LOOK_EVERY: Duration = Duration::from_secs(5);
const FAILED_WAIT: Duration = Duration::from_secs(5);
/// How long what has ended stays in the table.
const KEPT: TimeDelta = TimeDelta::days(30);

/// Keeps sessions until told to stop, as the configuration of the moment says.
pub async fn run(
    login: Arc<Login>,
    pool: PgPool,
    config: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let now = Arc::clone(&config.borrow());
        let keeper = Keeper { login: &login, pool: &pool, config: &now, stop: &stop };
        let wait = match keeper.round(Utc::now()).await {
            Ok(taken) if taken >= BATCH as usize => Duration::ZERO,
            Ok(_) => LOOK_EVERY,
            Err(error) => {
                tracing::warn!(%error, "sessions cannot be kept; trying again");
                FAILED_WAIT
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = login.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    Ok(())
}

struct Keeper<'a> {
    login: &'a Login,
    pool: &'a PgPool,
    config: &'a Config,
    stop: &'a CancellationToken,
}

/// A session whose grant is to be looked at, and is this process's for a while.
#[derive(sqlx::FromRow)]
struct Due {
    id: Uuid,
    viewer: String,
    granted: Vec<u8>,
    is_over: bool,
}

impl Keeper<'_> {
    /// Looks at some of the sessions that are due, and says how many it took.
    async fn round(&self, now: DateTime<Utc>) -> sqlx::Result<usize> {
        attempts::forget_old(self.pool, now).await?;
        sqlx::query("DELETE FROM sessions WHERE least(ended_at, expires_at) < $1")
            .bind(now - KEPT)
            .execute(self.pool)
            .await?;
        let due: Vec<Due> = sqlx::query_as(
            "UPDATE sessions SET check_at = $2 WHERE id IN (
                 SELECT id FROM sessions
                 WHERE granted IS NOT NULL AND check_at <= $1 ORDER BY check_at LIMIT $3
                 FOR UPDATE SKIP LOCKED)
             RETURNING id, viewer, granted, (ended_at IS NOT NULL OR expires_at <= $1) AS is_over",
        )
        .bind(now)
        .bind(now + LEASE)
        .bind(BATCH)
        .fetch_all(self.pool)
        .await?;
        for session in &due {
            // One that was begun is finished: what Twitch has just replaced must not be lost.
            if self.stop.is_cancelled() {
                break;
            }
            let id = session.id;
            match self.login.unseal(id, &session.granted) {
                Err(error) => tracing::error!(session = %id, %error, "a grant does not open"),
                Ok(grant) if session.is_over => self.revoke(session, &grant, now).await?,
                Ok(grant) => self.check(session, grant, now).await?,
            }
        }
        Ok(due.len())
    }

    /// Takes back what is not needed any more.
    async fn revoke(&self, due: &Due, grant: &Grant, now: DateTime<Utc>) -> sqlx::Result<()> {
        if let Err(error) = self.login.oauth.revoke(grant).await {
            tracing::warn!(session = %due.id, %error, "a grant is not revoked yet; trying again");
            return Ok(());
        }
        // Not over one that took its place meanwhile: that is revoked the next time.
        let over =
            "UPDATE sessions SET granted = NULL, checked_at = $2 WHERE id = $1 AND granted = $3";
        sqlx::query(over)
            .bind(due.id)
            .bind(now)
            .bind(&due.granted)
            .execute(self.pool)
            .await
            .map(drop)
    }

    /// Whether the grant is still good; one whose time is over is replaced.
    async fn check(&self, due: &Due, grant: Grant, now: DateTime<Utc>) -> sqlx::Result<()> {
        let mut grant = grant;
        let mut validated = self.login.oauth.validate(&grant).await;
        if let Err(TwitchError::Refused(_)) = validated {
            match self.refreshed(due, &grant, now).await? {
                None => return Ok(()),
                Some(fresh) => grant = fresh,
            }
            validated = self.login.oauth.validate(&grant).await;
        }
        match validated {
            Ok(Validated { user_id, .. }) if user_id != due.viewer => {
                tracing::error!(session = %due.id, "a grant is somebody else's");
                self.end(due, now).await
            }
            Ok(Validated { scopes, .. }) => {
                self.good(due, now).await?;
                let scopes = scopes.unwrap_or_default();
                self.list_moderators(due, &grant, &scopes).await
            }
            Err(TwitchError::Refused(_)) => self.end(due, now).await,
            Err(error) => {
                tracing::warn!(session = %due.id, %error, "a grant is not validated; trying again");
                Ok(())
            }
        }
    }

    /// The grant that took the place of this one; `None` where there is none, now or for ever.
    async fn refreshed(
        &self,
        due: &Due,
        grant: &Grant,
        now: DateTime<Utc>,
    ) -> sqlx::Result<Option<Grant>> {
        let fresh = match self.login.oauth.refresh(grant).await {
            Ok(fresh) => fresh,
            Err(TwitchError::Refused(_)) => {
                self.end(due, now).await?;
                return Ok(None);
            }
            Err(error) => {
                tracing::warn!(session = %due.id, %error, "a grant is not refreshed; trying again");
                return Ok(None);
            }
        };
        let Ok(sealed) = self.login.seal(due.id, &fresh) else { return Ok(None) };
        // Both secrets of the grant at once, and only over the one that was read.
        let kept = sqlx::query("UPDATE sessions SET granted = $3 WHERE id = $1 AND granted = $2")
            .bind(due.id)
            .bind(&due.granted)
            .bind(sealed)
            .execute(self.pool)
            .await?;
        if kept.rows_affected() == 1 {
            return Ok(Some(fresh));
        }
        // Meanwhile the session ended, and the old grant was revoked: nobody keeps the new one.
        if let Err(error) = self.login.oauth.revoke(&fresh).await {
            tracing::warn!(session = %due.id, %error, "a grant that nobody needs is not revoked");
        }
        Ok(None)
    }

    async fn good(&self, due: &Due, now: DateTime<Utc>) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE sessions SET check_at = least($2, expires_at), checked_at = $3
             WHERE id = $1 AND ended_at IS NULL",
        )
        .bind(due.id)
        .bind(next_check(now))
        .bind(now)
        .execute(self.pool)
        .await
        .map(drop)
    }

    /// Ends the session of somebody who took the grant back.
    async fn end(&self, due: &Due, now: DateTime<Utc>) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE sessions SET ended_at = COALESCE(ended_at, $2), granted = NULL,
                    ended_by = COALESCE(ended_by, 'revoked') WHERE id = $1",
        )
        .bind(due.id)
        .bind(now)
        .execute(self.pool)
        .await?;
        self.login.sessions.forget(due.id);
        tracing::info!(viewer = due.viewer, session = %due.id, "the grant was taken back at Twitch");
        Ok(())
    }

    /// Learns who moderates the channel, where the broadcaster lets us.
    async fn list_moderators(
        &self,
        due: &Due,
        grant: &Grant,
        scopes: &[String],
    ) -> sqlx::Result<()> {
        let broadcaster = &self.config.broadcaster_id;
        let may = scopes.iter().any(|scope| scope == MODERATION_READ);
        if !self.config.login.moderators_from_twitch || due.viewer != *broadcaster || !may {
            return Ok(());
        }
        let moderators = match self.login.helix.moderators(grant, broadcaster).await {
            Ok(moderators) => moderators,
            Err(error) => {
                tracing::warn!(%error, "the moderators are not listed; those known stay for a day");
                return Ok(());
            }
        };
        moderators::keep(self.pool, &moderators, Utc::now()).await
    }
}
