//! The accounts that this process asks Twitch with.

use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::watch;

use super::Role;
use super::parts::Parts;
use crate::config::Config;
use crate::twitch::{Accounts, accounts};

/// Keeps them good, where anything here asks with them. Without a key to open them with, all else goes on.
pub(super) fn begin(
    roles: &[Role],
    config: &Config,
    pool: &PgPool,
    configs: watch::Receiver<Arc<Config>>,
    parts: &mut Parts,
) -> Option<Arc<Accounts>> {
    let asks = [Role::Gateway, Role::Eventsub, Role::Replies];
    if !asks.iter().any(|role| roles.contains(role)) {
        return None;
    }
    match Accounts::new(config, pool.clone()) {
        Ok(connected) => {
            let connected = connected?;
            let kept = accounts::run(Arc::clone(&connected), configs, parts.rest.clone());
            parts.runs("accounts", kept);
            Some(connected)
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(error, "the accounts that are connected at Twitch cannot be used");
            None
        }
    }
}
