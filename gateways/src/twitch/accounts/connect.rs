//! Connecting an account, and forgetting one.

use std::sync::Arc;

use chrono::Utc;
use thiserror::Error;

use super::store::{self, Account, New};
use super::{Accounts, Role};
use crate::twitch::oauth::Validated;
use crate::twitch::oauth::hourly;
use crate::twitch::{Grant, TwitchError};

/// Why an account is not connected.
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error(
        "{login} ({user_id}) was connected, and the broadcaster of this channel is {wanted}. Log in at Twitch as the \
         broadcaster, or set broadcaster_id = \"{user_id}\", and begin again. Nothing of this account is kept."
    )]
    NotTheBroadcaster { login: String, user_id: String, wanted: String },
    #[error(
        "{login} ({user_id}) is the broadcaster, and a bot is an account of its own. Log in at Twitch as the bot and begin \
         again; to speak as the broadcaster set twitch.chat.sender_id = \"{user_id}\". Nothing of this account is kept."
    )]
    IsTheBroadcaster { login: String, user_id: String },
    #[error(
        "{login} ({user_id}) was connected, and the configuration names {wanted}. Log in at Twitch as that account, or set \
         {key} = \"{user_id}\", and begin again. Nothing of this account is kept."
    )]
    NotAsConfigured { login: String, user_id: String, wanted: String, key: &'static str },
    #[error(transparent)]
    Twitch(#[from] TwitchError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("what was granted cannot be sealed")]
    Unsealed,
}

/// What became of an account that was to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// There was none.
    None,
    Revoked,
    /// It is gone here, and Twitch could not be told.
    HereOnly(String),
}

impl Accounts {
    /// Keeps what somebody has granted as `role`, if it is the account that it is to be. What is not kept is revoked.
    pub async fn connect(
        self: &Arc<Self>,
        role: Role,
        grant: &Grant,
    ) -> Result<Account, ConnectError> {
        let kept = self.try_connect(role, grant).await;
        if kept.is_err() {
            // Where it cannot be taken back now, it ends by itself.
            let _ = self.oauth.revoke(grant).await;
        }
        kept
    }

    async fn try_connect(&self, role: Role, grant: &Grant) -> Result<Account, ConnectError> {
        let validated = self.oauth.validate(grant).await?;
        if journal::command::check_id(&validated.user_id).is_err() {
            return Err(TwitchError::Garbled.into());
        }
        self.is_wanted(role, &validated)?;
        let Validated { user_id, login, scopes, expires_in, .. } = validated;
        let sealed = self.seal(role, &user_id, grant).map_err(|_| ConnectError::Unsealed)?;
        let now = Utc::now();
        let new = New {
            client_id: &self.settings.client_id,
            user_id: &user_id,
            login: &login,
            scopes: &scopes.unwrap_or_else(|| grant.scopes()),
            granted: &sealed,
            expires_at: hourly::ends_at(now, expires_in).or_else(|| grant.ends_at(now)),
        };
        let mut tx = self.pool.begin().await?;
        let before = store::lock(&mut tx, role).await?;
        store::keep(&mut *tx, role, before.edition, &new, now).await?;
        tx.commit().await?;
        // One of the same person ends by itself: Twitch may end what was asked for with it when it is revoked.
        if before.user_id != user_id
            && let Ok(old) = self.unsealed(&before)
        {
            let _ = self.oauth.revoke(&old.grant).await;
        }
        let account = store::find(&self.pool, role).await?;
        let _ = self.opened(&account);
        Ok(account)
    }

    /// Whether it is the account that the configuration wants.
    fn is_wanted(&self, role: Role, found: &Validated) -> Result<(), ConnectError> {
        let (login, user_id) = (found.login.clone(), found.user_id.clone());
        let is_broadcaster = !self.broadcaster.is_empty() && user_id == self.broadcaster;
        if role == Role::Broadcaster {
            return match is_broadcaster || self.broadcaster.is_empty() {
                true => Ok(()),
                false => {
                    let wanted = self.broadcaster.clone();
                    Err(ConnectError::NotTheBroadcaster { login, user_id, wanted })
                }
            };
        }
        if is_broadcaster {
            return Err(ConnectError::IsTheBroadcaster { login, user_id });
        }
        let (chat, eventsub) = (&self.settings.chat, &self.settings.eventsub);
        for (wanted, key) in [
            (&chat.sender_id, "twitch.chat.sender_id"),
            (&eventsub.user_id, "twitch.eventsub.user_id"),
        ] {
            if !wanted.is_empty() && *wanted != self.broadcaster && *wanted != user_id {
                let wanted = wanted.clone();
                return Err(ConnectError::NotAsConfigured { login, user_id, wanted, key });
            }
        }
        Ok(())
    }

    /// Takes back what an account has granted, here and at Twitch.
    pub async fn forget(self: &Arc<Self>, role: Role) -> sqlx::Result<Forgotten> {
        let mut tx = self.pool.begin().await?;
        let before = store::lock(&mut tx, role).await?;
        store::forget(&mut *tx, role, Utc::now()).await?;
        tx.commit().await?;
        if before.state == store::State::None {
            return Ok(Forgotten::None);
        }
        match self.unsealed(&before) {
            Err(super::NoGrant::TakenBack(_)) => Ok(Forgotten::Revoked),
            Err(error) => Ok(Forgotten::HereOnly(error.to_string())),
            Ok(held) => Ok(match self.oauth.revoke(&held.grant).await {
                Ok(()) => Forgotten::Revoked,
                Err(error) => Forgotten::HereOnly(error.to_string()),
            }),
        }
    }
}
