//! Whether a configuration can be worked with.

use super::{Config, ConfigError};
use crate::twitch::eventsub::Transport;
use crate::twitch::settings::Hearing;

/// The longest name of something that can be asked for.
const STYLE_LENGTH_MAX: usize = 64;
const PROXIES_MAX: usize = 100;

impl Config {
    pub(super) fn checked(self) -> Result<Self, ConfigError> {
        let refuse = |words: &str| Err(ConfigError::Refused(words.to_owned()));
        let length = self.eventsub_secret.len();
        if length > 0 && !(10..=100).contains(&length) {
            return refuse("eventsub_secret: Twitch wants 10 to 100 characters");
        }
        if !self.eventsub_secret.is_ascii() {
            return refuse("eventsub_secret: Twitch wants ASCII characters");
        }
        if self.database_connections < 4 {
            return refuse("database_connections: fewer than 4 cannot serve");
        }
        if !self.broadcaster_id.is_empty()
            && journal::command::check_id(&self.broadcaster_id).is_err()
        {
            return refuse("broadcaster_id: a Twitch user id is made of digits");
        }
        if self.trusted_proxies.len() > PROXIES_MAX {
            return refuse("trusted_proxies: 100 at most");
        }
        if let Some(words) = self.pictures_bucket.refusal() {
            return refuse(words);
        }
        if let Some(words) = self.generation.refusal() {
            return refuse(words);
        }
        if let Some(words) = self.stage.refusal() {
            return refuse(&words);
        }
        if let Some(style) = self.prices.points.keys().find(|style| !is_made(style)) {
            return refuse(&format!(
                "prices.points: {style:?} is nothing that can be made; what is ready-made belongs into [prices.static]"
            ));
        }
        if let Some(id) = self.prices.fixed.keys().find(|id| is_made(id)) {
            return refuse(&format!("prices.static: {id} is made when it is asked for"));
        }
        if let Some(words) = self.chat.refusal(self.prices.fixed.keys().map(String::as_str)) {
            return refuse(&words);
        }
        if let Some(words) = self.replies.refusal() {
            return refuse(&words);
        }
        let twitch = self.twitch.refusal().or_else(|| self.login.refusal());
        if let Some(words) = twitch.or_else(|| self.refusal_of_hearing()) {
            return refuse(words);
        }
        for (style, points) in self.prices.points.iter().chain(&self.prices.fixed) {
            let plain =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if style.is_empty() || style.len() > STYLE_LENGTH_MAX || !style.bytes().all(plain) {
                return refuse(&format!("prices: {style:?} is not made of a-z, 0-9 and hyphens"));
            }
            if *points < 1 {
                return refuse(&format!("prices: {style} costs 1 point or more, not {points}"));
            }
        }
        Ok(self)
    }

    /// Whether the subscriptions that Twitch posts webhooks for are ours to make.
    pub fn keeps_webhooks(&self) -> bool {
        self.twitch.hearing(&self.broadcaster_id).is_some()
            && self.twitch.eventsub.transport == Transport::Webhook
    }

    /// Why Twitch cannot be asked to tell us anything, where it is to be.
    fn refusal_of_hearing(&self) -> Option<&'static str> {
        if self.twitch.irc.enabled && self.broadcaster_id.is_empty() {
            return Some("twitch.irc is enabled, and broadcaster_id is empty");
        }
        let hearing = self.twitch.hearing(&self.broadcaster_id)?;
        if self.twitch.client_id.is_empty() {
            return Some("twitch.eventsub.token is set, and client_id is empty");
        }
        if self.broadcaster_id.is_empty() && matches!(hearing, Hearing::Fixed(_)) {
            return Some("twitch.eventsub.token is set, and broadcaster_id is empty");
        }
        let is_public =
            self.public_url.as_deref().is_some_and(|public| public.starts_with("https://"));
        match self.twitch.eventsub.transport {
            Transport::Webhook if !is_public => {
                Some("twitch.eventsub: Twitch posts webhooks to a public_url of https:// only")
            }
            _ => None,
        }
    }
}

/// Whether there is a style of this name.
fn is_made(style: &str) -> bool {
    matches!(style, "ghost" | "friend")
}
