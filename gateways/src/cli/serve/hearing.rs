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
use crate::twitch::{EventSub, Inbound, Irc, Secret, Secrets, Webhook};

/// Listens, in this process or in another one that does, if the configuration says under which account.
pub(super) async fn begin(
    config: &Arc<Config>,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let Some(credentials) = config.twitch.credentials() else {
        tracing::info!("[twitch.eventsub] names no account: Twitch is not asked to tell anything");
        return Ok(());
    };
    let publisher = parts.publisher(broker).await?;
    let webhook = current("hearing", pool, broker, configs, parts).await?;
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

/// Reads chat over IRC, in this process or in another one that does, if the configuration wants it.
pub(super) async fn begin_irc(
    config: &Arc<Config>,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    parts: &mut Parts,
) -> anyhow::Result<()> {
    if !config.twitch.irc.enabled {
        return Ok(());
    }
    let irc = Irc {
        pool: pool.clone(),
        publisher: parts.publisher(broker).await?,
        webhook: current("hearing IRC", pool, broker, configs, parts).await?,
        settings: config.twitch.irc.clone(),
        broadcaster: config.broadcaster_id.clone(),
        helix: config.twitch.credentials().map(|known| (known, config.twitch.helix_url.clone())),
    };
    parts.comes_in("irc", irc.run(parts.intake.clone()));
    Ok(())
}

/// What is done with what comes over a connection, as the configuration of the moment has it. That is signed by nobody, so
/// no secret is believed here.
async fn current(
    name: &'static str,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    parts: &mut Parts,
) -> anyhow::Result<watch::Receiver<Arc<Webhook>>> {
    let needs = (parts.publisher(broker).await?, Lines::start(broker).await?, pool.clone());
    let made = |config: &Config, (publisher, lines, pool): &(Publisher, Lines, PgPool)| {
        let parts = (publisher.clone(), lines.clone(), pool.clone());
        Arc::new(webhook(config, &Secrets::default(), parts))
    };
    let config = Arc::clone(&configs.borrow());
    let (webhooks, webhook) = watch::channel(made(&config, &needs));
    let (rest, mut configs) = (parts.rest.clone(), configs);
    parts.runs(name, async move {
        while let Some(Ok(())) = rest.run_until_cancelled(configs.changed()).await {
            let config = Arc::clone(&configs.borrow_and_update());
            webhooks.send_replace(made(&config, &needs));
        }
        rest.cancelled().await;
        Ok(())
    });
    Ok(webhook)
}

/// What is done with what Twitch tells.
pub(super) fn webhook(
    config: &Config,
    secrets: &Secrets,
    (publisher, lines, pool): (Publisher, Lines, PgPool),
) -> Webhook {
    let broadcaster_id =
        Some(config.broadcaster_id.clone()).filter(|broadcaster| !broadcaster.is_empty());
    let (secrets, rules) = (secrets.clone(), Arc::new(config.rules.clone()));
    let listening = Arc::new(talking::listening(config));
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
