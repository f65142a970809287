//! The part that has Twitch tell us what happens, and what is done with what is told, whichever way it comes.

use std::sync::Arc;

use journal::broker::Broker;
use journal::ingest::Publisher;
use sqlx::PgPool;
use tokio::sync::watch;

use super::parts::Parts;
use super::talking;
use crate::chat::Lines;
use crate::config::Config;
use crate::twitch::accounts::Bearer;
use crate::twitch::settings::Hearing;
use crate::twitch::{Accounts, Credentials, EventSub, Inbound, Secret, Secrets, Webhook};

/// Listens, in this process or in another one that does, if the configuration says under which account.
pub(super) async fn begin(
    config: &Arc<Config>,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    accounts: Option<&Arc<Accounts>>,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let Some(bearer) = bearer(config, accounts) else {
        tracing::info!("[twitch] names no application: Twitch is not asked to tell anything");
        return Ok(());
    };
    let credentials = Credentials { client_id: config.twitch.client_id.clone(), bearer };
    let publisher = parts.publisher(broker).await?;
    let lines = Lines::start(broker).await?;
    let needs = (publisher.clone(), lines, pool.clone());
    // What comes over a WebSocket is signed by nobody, so no secret is believed here.
    let accounts = accounts.cloned();
    let made = move |config: &Config, (publisher, lines, pool): &(Publisher, Lines, PgPool)| {
        let parts = (publisher.clone(), lines.clone(), pool.clone());
        Arc::new(webhook(config, &Secrets::default(), accounts.as_ref(), parts))
    };
    let (webhooks, webhook) = watch::channel(made(config, &needs));
    let (rest, mut configs) = (parts.rest.clone(), configs);
    parts.runs("hearing", async move {
        while let Some(Ok(())) = rest.run_until_cancelled(configs.changed()).await {
            let config = Arc::clone(&configs.borrow_and_update());
            webhooks.send_replace(made(&config, &needs));
        }
        rest.cancelled().await;
        Ok(())
    });
    let eventsub = EventSub {
        pool: pool.clone(),
        publisher,
        webhook,
        settings: config.twitch.eventsub.clone(),
        helix_url: config.twitch.helix_url.clone(),
        credentials,
        broadcaster: config.broadcaster_id.clone(),
        public_url: config.public_url.clone().unwrap_or_default(),
        secret: config.eventsub_secret.clone(),
    };
    parts.comes_in("eventsub", eventsub.run(parts.intake.clone()));
    Ok(())
}

/// With what Twitch is asked for it, where anybody can grant it.
fn bearer(config: &Config, accounts: Option<&Arc<Accounts>>) -> Option<Bearer> {
    Some(match config.twitch.hearing(&config.broadcaster_id)? {
        Hearing::Fixed(secret) => Bearer::Fixed(secret),
        Hearing::Account(role) => Bearer::Account { accounts: accounts?.clone(), role },
    })
}

/// What is done with what Twitch tells.
pub(super) fn webhook(
    config: &Config,
    secrets: &Secrets,
    accounts: Option<&Arc<Accounts>>,
    (publisher, lines, pool): (Publisher, Lines, PgPool),
) -> Webhook {
    let broadcaster_id =
        Some(config.broadcaster_id.clone()).filter(|broadcaster| !broadcaster.is_empty());
    let (secrets, rules) = (secrets.clone(), Arc::new(config.rules.clone()));
    let listening = Arc::new(talking::listening(config, accounts));
    let inbound = Inbound { secrets, rules, broadcaster_id, listening };
    Webhook { inbound, publisher, lines, pool }
}

/// With which Twitch signs notifications.
pub(super) fn secret(config: &Config) -> anyhow::Result<Option<Secret>> {
    if config.eventsub_secret.is_empty() {
        tracing::warn!("no eventsub_secret is configured: every webhook will be refused");
        return Ok(None);
    }
    Ok(Some(Secret::new(config.eventsub_secret.as_str())?))
}
