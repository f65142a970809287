//! Logging in with Twitch: who somebody is, what they may do, and for how long. Comes in and goes out.
//!
//! Twitch is asked when somebody logs in and, in the background, each hour about every grant that is held (`keeper`); no
//! request waits for it, so its outage ends no session. What it granted is sealed before it is stored. Our own sessions
//! are random secrets of which the hash is kept.

pub mod attempts;
mod keeper;
pub mod moderators;
mod role;
pub mod sessions;
mod settings;

use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, Utc};
use reqwest::Url;
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::config::Config;
use crate::key_file::SEALING;
use crate::sealing::{Sealer, Unopened};
use crate::twitch::helix::{Helix, MODERATION_READ};
use crate::twitch::oauth::Validated;
use crate::twitch::oauth::hourly::next_check;
use crate::twitch::{Grant, OAuth, TwitchError};

pub use self::attempts::Begun;
pub use self::keeper::run;
pub use self::role::Role;
pub use self::sessions::{NewSession, Session, Sessions};
pub use self::settings::{Readiness, Settings, readiness};

/// What logging in works with, where it is configured.
pub struct Login {
    pub oauth: OAuth,
    helix: Helix,
    sealer: Sealer,
    sessions: Sessions,
    pool: PgPool,
    /// Wakes the keeper.
    wake: Notify,
}

/// Why nobody was logged in.
#[derive(Debug, Error)]
pub enum LoginError {
    #[error(transparent)]
    Twitch(#[from] TwitchError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the grant cannot be sealed")]
    Unsealed,
}

/// Somebody who has just logged in, and the secret of their session.
pub struct LoggedIn {
    pub session: Session,
    pub secret: String,
}

impl Login {
    /// `None` where the configuration lets nobody log in.
    pub fn new(
        config: &Config,
        sessions: Sessions,
        pool: PgPool,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        if let Readiness::Missing(_) = readiness(config) {
            return Ok(None);
        }
        let path = config.sealing_key_path().ok_or_else(|| SEALING.nowhere())?;
        let sealer = Sealer::load_or_make(&path).context("what Twitch grants cannot be sealed")?;
        let oauth = OAuth::new(config.twitch.clone());
        let helix = Helix::new(config.twitch.clone(), pool.clone());
        let wake = Notify::new();
        Ok(Some(Arc::new(Login { oauth, helix, sealer, sessions, pool, wake })))
    }

    /// The scopes that a login asks for: none, but for the broadcaster who wants Twitch's list of moderators read.
    pub fn scopes(config: &Config, as_broadcaster: bool) -> &'static [&'static str] {
        match as_broadcaster && config.login.moderators_from_twitch {
            true => &[MODERATION_READ],
            false => &[],
        }
    }

    /// Logs somebody in for the code with which Twitch sent them back; `before` is the session that their browser had.
    pub async fn finish(
        &self,
        redirect_url: &Url,
        code: String,
        before: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<LoggedIn, LoginError> {
        let grant = self.oauth.exchange(redirect_url, code).await?;
        match self.begin(&grant, before, now).await {
            Ok(begun) => Ok(begun),
            Err(error) => {
                // Nobody keeps this grant. Where it cannot be taken back now, it ends by itself.
                let _ = self.oauth.revoke(&grant).await;
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        grant: &Grant,
        replaces: Option<Uuid>,
        now: DateTime<Utc>,
    ) -> Result<LoggedIn, LoginError> {
        let Validated { user_id, login, .. } = self.oauth.validate(grant).await?;
        if journal::command::check_id(&user_id).is_err() {
            return Err(TwitchError::Garbled.into());
        }
        // Without Helix somebody has no display name for a while, which is no reason not to let them in.
        let user = self.helix.user(grant).await.ok().filter(|user| user.id == user_id);
        let name = user.map(|user| user.display_name);
        journal::names::note(&self.pool, &user_id, &login, name.as_deref(), now).await?;
        let is_listed = moderators::lists(&self.pool, &user_id).await?;
        let id = Uuid::new_v4();
        let (granted, grant_scopes) = (self.seal(id, grant)?, grant.scopes());
        let lists_moderators = grant_scopes.iter().any(|scope| scope == MODERATION_READ);
        let check_at = if lists_moderators { now } else { next_check(now) };
        let (viewer, granted, grant_scopes) = (&user_id, &granted, &grant_scopes);
        let new = NewSession { id, viewer, granted, grant_scopes, check_at, replaces };
        let secret = self.sessions.begin(new, now).await?;
        self.wake.notify_one();
        tracing::info!(viewer = user_id, session = %id, "somebody logged in");
        let expires_at = now + sessions::LASTS;
        let session = Session { id, viewer: user_id, logged_in_at: now, expires_at, is_listed };
        Ok(LoggedIn { session, secret })
    }

    /// Ends a session here at once, and at Twitch as soon as it answers.
    pub async fn end(&self, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
        self.sessions.end(id, now).await?;
        self.wake.notify_one();
        Ok(())
    }

    fn seal(&self, session: Uuid, grant: &Grant) -> Result<Vec<u8>, LoginError> {
        let text = serde_json::to_vec(grant).map_err(|_| LoginError::Unsealed)?;
        self.sealer.seal(&label(session), &text).map_err(|_| LoginError::Unsealed)
    }

    fn unseal(&self, session: Uuid, granted: &[u8]) -> Result<Grant, Unopened> {
        let text = self.sealer.open(&label(session), granted)?;
        serde_json::from_slice(&text).map_err(|_| Unopened)
    }
}

/// What a sealed grant says of itself.
fn label(session: Uuid) -> String {
    format!("session {session}")
}
