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
use crate::twitch::chat::Listening;
use crate::twitch::helix::Helix;

/// The worker of this process.
pub(super) async fn worker(
    config: &Config,
    pool: &PgPool,
    broker: &Broker,
    publisher: Publisher,
) -> anyhow::Result<Worker> {
    let positions = Positions::start(pool.clone(), broker).await?;
    let speaker = &config.twitch.chat;
    let helix = speaker.is_on().then(|| Arc::new(Helix::new(config.twitch.clone())));
    tracing::info!(at_twitch = helix.is_some(), "what is asked in chat is answered");
    let (texts, help) = (config.replies.texts.clone(), config.chat.help.clone());
    Ok(Worker {
        publisher,
        replies: Replies::start(broker).await?,
        lines: Lines::start(broker).await?,
        sender: helix.is_some().then(|| speaker.sender_id.clone()),
        helix,
        words: Wordsmith { pool: pool.clone(), positions, texts, help },
        settings: config.replies.clone(),
        clock: Arc::new(Utc::now),
        id: Uuid::new_v4(),
    })
}

/// What lines of chat are read by.
pub(super) fn listening(config: &Config) -> Listening {
    let bot = config.twitch.bot(&config.broadcaster_id);
    Listening { prices: config.prices.clone(), settings: config.chat.clone(), bot }
}
