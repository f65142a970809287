//! The part that has Twitch tell us what happens, and what is done with what is told, whichever way it comes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use journal::broker::Broker;
use journal::ingest::Publisher;
use sqlx::PgPool;
use tokio::sync::watch;

use super::parts::Parts;
use super::talking;
use crate::chat::Lines;
use crate::config::Config;
use crate::sealing::Sealer;
use crate::twitch::accounts::{Bearer, Role};
use crate::twitch::cache::Cache;
use crate::twitch::eventsub::run::APPLICATION;
use crate::twitch::settings::Hearing;
use crate::twitch::{
    Accounts, Credentials, EventSub, Inbound, Irc, Missed, Secret, Secrets, Versions, Webhook,
};

/// Listens to Twitch, in this process or in another one that does.
pub(super) async fn begin(
    config: &Arc<Config>,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    (versions, accounts, cache): (Option<Arc<Versions>>, Option<&Arc<Accounts>>, Arc<Cache>),
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let knows = (versions, accounts);
    begin_eventsub(config, pool, broker, configs.clone(), knows, parts).await?;
    begin_irc(config, pool, broker, configs, (accounts, cache), parts).await
}

/// Has EventSub tell us, if the configuration says under which account.
async fn begin_eventsub(
    config: &Arc<Config>,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    (versions, accounts): (Option<Arc<Versions>>, Option<&Arc<Accounts>>),
    parts: &mut Parts,
) -> anyhow::Result<()> {
    let Some(bearer) = bearer(config, accounts) else {
        tracing::info!(
            "Twitch is not asked to tell anything: client_id, broadcaster_id, or what the transport takes is not set"
        );
        return Ok(());
    };
    if config.keeps_webhooks() && config.eventsub_secret.is_empty() && versions.is_none() {
        bail!(
            "webhooks need an eventsub_secret, or a sealing_key_file that our own is sealed with"
        );
    }
    let credentials = Credentials { client_id: config.twitch.client_id.clone(), bearer };
    let publisher = parts.publisher(broker).await?;
    let webhook = current("hearing", pool, broker, configs, accounts, parts).await?;
    let application = accounts.filter(|_| config.twitch.is_registered()).map(|accounts| {
        let bearer = Bearer::Account { accounts: accounts.clone(), role: Role::App };
        Credentials { bearer, ..credentials.clone() }
    });
    let missed = missed(config, pool, &publisher, &webhook, (&credentials, accounts));
    parts.comes_in("missed", missed.run(parts.intake.clone()));
    let eventsub = EventSub {
        pool: pool.clone(),
        publisher,
        webhook,
        settings: config.twitch.eventsub.clone(),
        helix_url: config.twitch.helix_url.clone(),
        credentials,
        application,
        broadcaster: config.broadcaster_id.clone(),
        public_url: config.public_url.clone().unwrap_or_default(),
        secret: config.eventsub_secret.clone(),
        versions,
    };
    parts.comes_in("eventsub", eventsub.run(parts.intake.clone()));
    Ok(())
}

/// Asks for what it did not tell: with what whoever listens asks with, or, where that is the application, with what the
/// broadcaster has granted, who alone may know who follows.
fn missed(
    config: &Config,
    pool: &PgPool,
    publisher: &Publisher,
    webhook: &watch::Receiver<Arc<Webhook>>,
    (credentials, accounts): (&Credentials, Option<&Arc<Accounts>>),
) -> Missed {
    let settings = &config.twitch.eventsub;
    let reader = match settings.user_id.as_str() {
        "" => config.broadcaster_id.clone(),
        user_id => user_id.to_owned(),
    };
    let (open, own) = match (&credentials.bearer, accounts) {
        (Bearer::Account { role: Role::App, .. }, Some(accounts)) => {
            let bearer = Bearer::Account { accounts: accounts.clone(), role: Role::Broadcaster };
            let own = Credentials { bearer, ..credentials.clone() };
            let application = (credentials.clone(), APPLICATION.to_owned());
            (application, (own, config.broadcaster_id.clone()))
        }
        _ => ((credentials.clone(), reader.clone()), (credentials.clone(), reader)),
    };
    Missed {
        pool: pool.clone(),
        publisher: publisher.clone(),
        webhook: webhook.clone(),
        settings: config.twitch.missed,
        helix_url: config.twitch.helix_url.clone(),
        open,
        own,
        broadcaster: config.broadcaster_id.clone(),
        sources: Missed::sources(&settings.leave_out),
    }
}

/// With what Twitch is asked for it, where anybody can grant it.
pub(super) fn bearer(config: &Config, accounts: Option<&Arc<Accounts>>) -> Option<Bearer> {
    Some(match config.twitch.hearing(&config.broadcaster_id)? {
        Hearing::Fixed(secret) => Bearer::Fixed(secret),
        Hearing::Account(role) => Bearer::Account { accounts: accounts?.clone(), role },
    })
}

/// Reads chat over IRC, in this process or in another one that does, if the configuration wants it.
async fn begin_irc(
    config: &Arc<Config>,
    pool: &PgPool,
    broker: &Broker,
    configs: watch::Receiver<Arc<Config>>,
    (accounts, cache): (Option<&Arc<Accounts>>, Arc<Cache>),
    parts: &mut Parts,
) -> anyhow::Result<()> {
    if !config.twitch.irc.enabled {
        return Ok(());
    }
    let irc = Irc {
        pool: pool.clone(),
        publisher: parts.publisher(broker).await?,
        webhook: current("hearing IRC", pool, broker, configs, accounts, parts).await?,
        settings: config.twitch.irc.clone(),
        broadcaster: config.broadcaster_id.clone(),
        cache,
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
    accounts: Option<&Arc<Accounts>>,
    parts: &mut Parts,
) -> anyhow::Result<watch::Receiver<Arc<Webhook>>> {
    let needs = (parts.publisher(broker).await?, Lines::start(broker).await?, pool.clone());
    let accounts = accounts.cloned();
    let made = move |config: &Config, (publisher, lines, pool): &(Publisher, Lines, PgPool)| {
        let parts = (publisher.clone(), lines.clone(), pool.clone());
        Arc::new(webhook(config, (&Secrets::default(), None), accounts.as_ref(), parts))
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
    (secrets, versions): (&Secrets, Option<Arc<Versions>>),
    accounts: Option<&Arc<Accounts>>,
    (publisher, lines, pool): (Publisher, Lines, PgPool),
) -> Webhook {
    let broadcaster_id =
        Some(config.broadcaster_id.clone()).filter(|broadcaster| !broadcaster.is_empty());
    let (secrets, rules) = (secrets.clone(), Arc::new(config.rules.clone()));
    let listening = Arc::new(talking::listening(config, accounts));
    let inbound = Inbound { secrets, rules, broadcaster_id, listening };
    Webhook { inbound, publisher, lines, pool, versions }
}

/// The versions of the secret that signs webhooks; nothing where they cannot be sealed.
pub(super) async fn versions(
    roles: &[super::Role],
    config: &Config,
    pool: &PgPool,
    configs: watch::Receiver<Arc<Config>>,
    parts: &mut Parts,
) -> Option<Arc<Versions>> {
    if !roles.contains(&super::Role::Gateway) && !roles.contains(&super::Role::Eventsub) {
        return None;
    }
    let path = config.sealing_key_path()?;
    let sealer = match Sealer::load_or_make(&path) {
        Ok(sealer) => sealer,
        Err(error) => {
            tracing::warn!(%error, "a replaced EventSub secret is believed by this process alone");
            return None;
        }
    };
    let grace = Duration::from_secs(config.twitch.eventsub.secret_grace_s);
    let versions = Arc::new(Versions::new(pool.clone(), sealer, grace));
    versions.expect(config);
    // Before anything is taken in. Where it fails it is tried again, and the configured one is believed meanwhile.
    if let Err(error) = versions.adopt_of(config).await {
        tracing::warn!(%error, "the EventSub secret is not written down yet");
    }
    parts.runs("secrets", Arc::clone(&versions).run(configs, parts.rest.clone()));
    Some(versions)
}

/// With which Twitch signs notifications.
pub(super) fn secret(config: &Config) -> anyhow::Result<Option<Secret>> {
    if config.eventsub_secret.is_empty() {
        if config.keeps_webhooks() {
            return Ok(None);
        }
        tracing::warn!("no eventsub_secret is configured: every webhook will be refused");
        return Ok(None);
    }
    Ok(Some(Secret::new(config.eventsub_secret.as_str())?))
}
