//! What Twitch said of users and games, for the parts of this process that want to know it.

use std::sync::Arc;

use journal::broker::Broker;
use sqlx::PgPool;

use super::parts::Parts;
use super::{Role, hearing};
use crate::config::Config;
use crate::twitch::cache::bucket::Bucket;
use crate::twitch::cache::{Cache, sweeping};
use crate::twitch::calls::Calls;
use crate::twitch::eventsub::Transport;
use crate::twitch::eventsub::run::APPLICATION;
use crate::twitch::{Accounts, Credentials};

/// Asks with what whoever listens to Twitch asks with, within what Twitch allows that altogether. Each part that asks has one
/// of its own, so that none waits behind what another one wants; what is kept is kept for all.
pub(super) fn begin(
    config: &Config,
    pool: &PgPool,
    broker: &Broker,
    accounts: Option<&Arc<Accounts>>,
) -> Arc<Cache> {
    let helix = hearing::bearer(config, accounts).map(|bearer| {
        let credentials = Credentials { client_id: config.twitch.client_id.clone(), bearer };
        let account = match config.twitch.eventsub.transport {
            Transport::Websocket => config.twitch.eventsub.reader(&config.broadcaster_id),
            Transport::Webhook | Transport::Conduit => APPLICATION,
        };
        let calls = Calls::new(credentials).shared(pool.clone(), account);
        (calls, config.twitch.helix_url.clone())
    });
    Arc::new(Cache::new(broker.clone(), pool.clone(), helix))
}

/// Takes whoever was erased out of what is kept, now and then every hour, where anything here puts them in.
pub(super) fn sweep(roles: &[Role], pool: &PgPool, broker: &Broker, parts: &mut Parts) {
    if ![Role::Gateway, Role::Eventsub].iter().any(|role| roles.contains(role)) {
        return;
    }
    let bucket = Bucket::new(broker.clone());
    parts.runs("sweep", sweeping::run(pool.clone(), bucket, parts.rest.clone()));
}
