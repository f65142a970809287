//! Keeping accounts true to Twitch: each hour every grant is validated, and before it ends it is replaced. Any number of
//! processes may run this: an account is one's at a time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::store::{self, Account, EARLY};
use super::{Accounts, Held, NoGrant, Role};
use crate::config::Config;
use crate::login::moderators;
use crate::twitch::TwitchError;
use crate::twitch::helix::{Helix, MODERATION_READ};
use crate::twitch::oauth::{Validated, hourly};

/// How long an account is one process's, which is longer than looking at it takes.
const LEASE: TimeDelta = TimeDelta::minutes(2);
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a look at all of them may take, with a database that does not answer.
const LOOK_LIMIT: Duration = Duration::from_secs(90);

/// Keeps accounts until told to stop.
pub async fn run(
    accounts: Arc<Accounts>,
    config: watch::Receiver<Arc<Config>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let helix = Helix::new(accounts.settings.clone(), accounts.pool.clone());
    while !stop.is_cancelled() {
        let now = Arc::clone(&config.borrow());
        let keeper = Keeper { accounts: &accounts, helix: &helix, config: &now };
        // One that was begun is finished, for its limit is shorter than that of stopping.
        match tokio::time::timeout(LOOK_LIMIT, keeper.round(&stop, Utc::now())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the accounts of Twitch cannot be kept; trying again");
            }
            Err(_) => tracing::warn!("keeping the accounts of Twitch takes too long; trying again"),
        }
        let _ = tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await;
    }
    Ok(())
}

struct Keeper<'a> {
    accounts: &'a Arc<Accounts>,
    helix: &'a Helix,
    config: &'a Config,
}

impl Keeper<'_> {
    /// Looks at what is due, and learns who the bot is.
    async fn round(&self, stop: &CancellationToken, now: DateTime<Utc>) -> sqlx::Result<()> {
        let pool = &self.accounts.pool;
        for account in store::all(pool).await? {
            // What is in it is known from now on, also where it was connected by another process.
            let opened = self.accounts.opened(&account);
            if stop.is_cancelled() || !account.is_due(now) {
                continue;
            }
            if !store::lease(pool, &account, now + LEASE).await? {
                continue;
            }
            match opened {
                Ok(held) => self.check(&account, held, now).await?,
                Err(error) => {
                    tracing::error!(role = %account.role, %error, "an account is of no use")
                }
            }
        }
        Ok(())
    }

    /// Whether the grant is still good; one that ends soon, or that Twitch does not take, is replaced.
    async fn check(&self, account: &Account, held: Held, now: DateTime<Utc>) -> sqlx::Result<()> {
        let (role, pool) = (account.role, &self.accounts.pool);
        let mut held = held;
        if account.is_over_in(EARLY, now) {
            // What came of it in vain is in the row already.
            let Some(renewed) = self.renewed(role, held.edition).await else { return Ok(()) };
            held = renewed;
        }
        let mut validated = self.accounts.oauth.validate(&held.grant).await;
        if let Err(TwitchError::Refused(_)) = validated {
            let Some(renewed) = self.renewed(role, held.edition).await else { return Ok(()) };
            held = renewed;
            validated = self.accounts.oauth.validate(&held.grant).await;
        }
        match validated {
            Ok(Validated { user_id, .. }) if user_id != held.user_id => {
                tracing::error!(%role, "what an account granted is somebody else's");
                let why = "Twitch says that it is somebody else's";
                store::is_taken_back(pool, role, held.edition, why, now).await.map(drop)
            }
            Ok(Validated { scopes, expires_in, .. }) => {
                let now = Utc::now();
                let scopes = scopes.unwrap_or_default();
                let ends_at = hourly::ends_at(now, expires_in);
                store::is_good(pool, role, held.edition, &scopes, ends_at, now).await?;
                self.list_moderators(role, &held, &scopes).await
            }
            Err(TwitchError::Refused(_)) => {
                let why = "Twitch does not take it";
                tracing::error!(%role, mend = %NoGrant::TakenBack(role), "{why}");
                store::is_taken_back(pool, role, held.edition, why, now).await.map(drop)
            }
            Err(error) => {
                tracing::warn!(%role, %error, "an account is not validated; trying again");
                store::is_unreachable(pool, role, held.edition, &error.to_string(), now).await
            }
        }
    }

    async fn renewed(&self, role: Role, spent: i64) -> Option<Held> {
        self.accounts.renewed(role, spent).await.ok().filter(|held| held.edition != spent)
    }

    /// Learns who moderates the channel, where the broadcaster lets us.
    async fn list_moderators(
        &self,
        role: Role,
        held: &Held,
        scopes: &[String],
    ) -> sqlx::Result<()> {
        let may = scopes.iter().any(|scope| scope == MODERATION_READ);
        if role != Role::Broadcaster || !self.config.login.moderators_from_twitch || !may {
            return Ok(());
        }
        match self.helix.moderators(&held.grant, &held.user_id).await {
            Ok(listed) => moderators::keep(&self.accounts.pool, &listed, Utc::now()).await,
            Err(error) => {
                tracing::warn!(%error, "the moderators are not listed; those known stay for a day");
                Ok(())
            }
        }
    }
}
