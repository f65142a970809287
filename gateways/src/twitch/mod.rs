//! Twitch, inwards: EventSub notifications become commands.
//!
//! A request passes `signature` (is it from Twitch, and fresh), `notification` (what it says), `translate` (what we
//! want because of it), or `chat` (the same for what is said in chat), and `webhook` (append it to COMMANDS, then answer).
//! `inbound` joins the first of them; `webhook` does the I/O. The other way goes `helix`: what we say in chat.

pub mod chat;
pub mod helix;
pub mod inbound;
pub mod notification;
pub mod secrets;
pub mod signature;
pub mod translate;
pub mod webhook;

pub use inbound::{Inbound, Received};
pub use notification::Notification;
pub use secrets::Secrets;
pub use signature::Secret;
pub use translate::{Untranslatable, retranslate, translate};
pub use webhook::{Webhook, router};

use serde::{Deserialize, Serialize};

/// What `[twitch]` of the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Under which account we speak in chat.
    pub chat: helix::Settings,
}

impl Settings {
    /// The account that is ours alone: what it says asks for nothing. A broadcaster may lend us their own.
    pub fn bot(&self, broadcaster: &str) -> Option<String> {
        let sender = &self.chat.sender_id;
        (self.chat.is_on() && sender != broadcaster).then(|| sender.clone())
    }
}
