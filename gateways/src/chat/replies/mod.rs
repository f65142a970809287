//! Answers to what was asked in chat.
//!
//! The projection `replies` is the to-do list. A [`worker`] leases a reply that is due ([`lease`]), finds the words
//! ([`words`], from the templates in [`texts`]), says them, and reports what came of it with a command whose id is derived
//! from reply and attempt. Wherever a worker dies, another goes on when the lease is over.
//!
//! Two ways lead out. The chat that is shown on screen has every reply, as a line of our own; Twitch has it where
//! `[twitch.chat]` says under which account. Both are told at least once: on screen the same reply is one line, because
//! its id is the reply's; for Twitch see [`crate::twitch::saying`].

pub mod lease;
mod run;
pub mod texts;
pub mod words;
pub mod worker;

use serde::{Deserialize, Serialize};

pub use run::run;
pub use texts::Texts;
pub use worker::Worker;

/// What `[replies]` of the configuration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What we are called in the chat that is shown on screen.
    pub name: String,
    /// How many replies are sent within 30 seconds, by all processes together. Twitch takes 20, or 100 of a moderator.
    pub per_30_s: u32,
    /// How often a reply is tried before it is given up.
    pub attempts_max: u32,
    /// What is due for longer than so many seconds is not said any more.
    pub late_after_s: u32,
    pub texts: Texts,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            name: "Tapedeck".to_owned(),
            per_30_s: 20,
            attempts_max: 4,
            late_after_s: 600,
            texts: Texts::default(),
        }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<String> {
        if !(1..=25).contains(&self.name.chars().count()) || self.name.chars().any(char::is_control)
        {
            return Some("replies.name is 1 to 25 characters".to_owned());
        }
        if !(1..=7_500).contains(&self.per_30_s) {
            return Some("replies.per_30_s is 1 to 7500".to_owned());
        }
        if !(1..=20).contains(&self.attempts_max) {
            return Some("replies.attempts_max is 1 to 20".to_owned());
        }
        if !(30..=86_400).contains(&self.late_after_s) {
            return Some("replies.late_after_s is 30 to 86400".to_owned());
        }
        self.texts.refusal()
    }
}
