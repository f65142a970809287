//! The part that answers what was asked in chat, and what lines are read by.

use std::sync::Arc;

use chrono::Utc;
use journal::broker::Broker;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use sqlx::PgPool;
use uuid::Uuid;

use crate::chat::Lines;
use crate::chat::replies::Worker;
use crate::chat::replies::words::Wordsmith;
use crate::config::Config;
use crate::twitch::Accounts;
use crate::twitch::chat::Listening;
use crate::twitch::saying::Mouth;

/// The worker of this process.
pub(super) async fn worker(
    config: &Config,
    pool: &PgPool,
    broker: &Broker,
    publisher: Publisher,
    accounts: Option<Arc<Accounts>>,
) -> anyhow::Result<Worker> {
    let positions = Positions::start(pool.clone(), broker).await?;
    let speaker = &config.twitch.chat;
    let may_speak = speaker.is_on() || accounts.is_some();
    let mouth = || Arc::new(Mouth::new(config.twitch.clone(), accounts, pool.clone()));
    let mouth = may_speak.then(mouth);
    tracing::info!(at_twitch = speaker.is_on(), "what is asked in chat is answered");
    let (texts, help) = (config.replies.texts.clone(), config.chat.help.clone());
    Ok(Worker {
        publisher,
        replies: Replies::start(broker).await?,
        lines: Lines::start(broker).await?,
        sender: speaker.is_on().then(|| speaker.sender_id.clone()),
        mouth,
        words: Wordsmith { pool: pool.clone(), positions, texts, help },
        settings: config.replies.clone(),
        clock: Arc::new(Utc::now),
        id: Uuid::new_v4(),
    })
}

/// What lines of chat are read by.
pub(super) fn listening(config: &Config, accounts: Option<&Arc<Accounts>>) -> Listening {
    let bot = config.twitch.bot(&config.broadcaster_id);
    let connected = accounts.map(|accounts| accounts.bot());
    Listening { prices: config.prices.clone(), settings: config.chat.clone(), bot, connected }
}
