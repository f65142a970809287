//! Replacing a grant that ends, or that Twitch does not take any more: once, however many ask for it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use sqlx::{PgTransaction, Postgres, Transaction};

use super::store::{self, Account, New};
use super::{Accounts, Held, NoGrant, Role};
use crate::twitch::{Grant, TwitchError};

/// One that was only just given and is not taken would be followed by another that is not.
const RENEWED_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(10);
/// How often it is tried to store what Twitch has given, and how long is waited in between.
const KEEP_ATTEMPTS_MAX: u32 = 6;
const KEEP_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl Accounts {
    /// Another grant than `spent`: the one that took its place, or a new one of Twitch.
    ///
    /// What was begun is finished even if whoever asked has gone: what Twitch has just replaced must not be lost.
    pub async fn renewed(self: &Arc<Self>, role: Role, spent: i64) -> Result<Held, NoGrant> {
        let accounts = Arc::clone(self);
        let renewal = tokio::spawn(async move { accounts.renew(role, spent).await });
        renewal.await.unwrap_or(Err(NoGrant::Unread))
    }

    async fn renew(&self, role: Role, spent: i64) -> Result<Held, NoGrant> {
        let unread = |error: sqlx::Error| {
            tracing::warn!(%role, %error, "an account of Twitch cannot be read");
            NoGrant::Unread
        };
        let mut tx: Transaction<'_, Postgres> = self.pool.begin().await.map_err(unread)?;
        let account = store::lock(&mut tx, role).await.map_err(unread)?;
        let now = Utc::now();
        let is_new = account.granted_at.is_some_and(|at| now - at < RENEWED_AGAIN_AFTER);
        if account.edition != spent || (account.is_connected() && is_new) {
            return self.opened(&account);
        }
        match self.asked(role, &account).await? {
            Ok(fresh) => self.keep(tx, &account, &fresh).await,
            Err(TwitchError::Refused(_)) => {
                let why = "Twitch does not refresh it any more";
                store::is_taken_back(&mut *tx, role, spent, why, now).await.map_err(unread)?;
                tx.commit().await.map_err(unread)?;
                tracing::error!(%role, login = account.login, mend = %NoGrant::TakenBack(role), "{why}");
                let _ = self.opened(&Account {
                    state: store::State::TakenBack,
                    granted: None,
                    ..account
                });
                Err(NoGrant::TakenBack(role))
            }
            Err(error) => {
                let why = error.to_string();
                store::is_unreachable(&mut *tx, role, spent, &why, now).await.map_err(unread)?;
                tx.commit().await.map_err(unread)?;
                tracing::warn!(%role, %error, "a grant is not replaced yet; trying again");
                Err(NoGrant::Unreachable(why))
            }
        }
    }

    /// Asks Twitch. What the application is granted is not refreshed but asked for again.
    async fn asked(
        &self,
        role: Role,
        account: &Account,
    ) -> Result<Result<Grant, TwitchError>, NoGrant> {
        if role != Role::App {
            let held = self.opened(account)?;
            return Ok(self.oauth.refresh(&held.grant).await);
        }
        match self.settings.is_registered() {
            true => Ok(self.oauth.grant_of_application().await),
            false => Err(NoGrant::NotConnected(role)),
        }
    }

    /// Stores both secrets of a new grant at once, over the one that was read and no other.
    async fn keep(
        &self,
        mut tx: PgTransaction<'_>,
        account: &Account,
        fresh: &Grant,
    ) -> Result<Held, NoGrant> {
        let (role, user_id, now) = (account.role, account.user_id.as_str(), Utc::now());
        let sealed = self.seal(role, user_id, fresh).map_err(|e| NoGrant::Sealed(role, e))?;
        let said = fresh.scopes();
        let new = New {
            client_id: &self.settings.client_id,
            user_id,
            login: &account.login,
            // Twitch says nothing of them where nothing changed.
            scopes: if said.is_empty() { &account.scopes } else { &said },
            granted: &sealed,
            expires_at: fresh.ends_at(now),
        };
        let over = account.edition;
        let kept = store::keep(&mut *tx, role, over, &new, now).await;
        let mut stored = match kept {
            Ok(kept) => tx.commit().await.map(|()| kept),
            Err(error) => Err(error),
        };
        for _ in 1..KEEP_ATTEMPTS_MAX {
            let Err(error) = &stored else { break };
            tracing::error!(%role, %error, "what Twitch has granted is not stored yet; trying again");
            tokio::time::sleep(KEEP_AGAIN_AFTER).await;
            stored = store::keep(&self.pool, role, over, &new, now).await;
        }
        let found = store::find(&self.pool, role).await;
        if let Ok(found) = &found
            && found.granted.as_deref() == Some(sealed.as_slice())
        {
            tracing::info!(%role, login = found.login, "what an account of Twitch granted was renewed");
            return self.opened(found);
        }
        if let (Ok(false), Ok(found)) = (&stored, &found) {
            // Somebody forgot the account, or connected it anew: nobody keeps this one.
            let _ = self.oauth.revoke(fresh).await;
            return self.opened(found);
        }
        Err(NoGrant::Unread)
    }
}
