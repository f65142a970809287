//! The parts for people who log in: their sessions are kept, and they follow their own accounts.

use std::sync::Arc;

use journal::positions::Positions;
use sqlx::PgPool;
use tokio::sync::watch;

use super::parts::Parts;
use crate::config::Config;
use crate::feed::own::{self, OwnFeed};
use crate::http::Api;
use crate::login;

/// Keeps sessions true to Twitch, where people can log in.
pub(super) fn keep(api: &Api, config: watch::Receiver<Arc<Config>>, parts: &mut Parts) {
    let Some(login) = &api.login else { return };
    let (login, rest) = (Arc::clone(login), parts.rest.clone());
    parts.runs("sessions", login::run(login, api.pool.clone(), config, rest));
}

/// Tells those who follow their own account that there is something.
pub(super) fn own_feed(pool: &PgPool, positions: &Positions, parts: &mut Parts) -> Arc<OwnFeed> {
    let own_feed: Arc<OwnFeed> = Arc::default();
    let (feed, rest) = (Arc::clone(&own_feed), parts.rest.clone());
    parts.runs("own feed", own::run(feed, pool.clone(), positions.clone(), rest));
    own_feed
}
