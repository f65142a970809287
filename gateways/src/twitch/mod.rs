//! Twitch, inwards: EventSub notifications become commands.
//!
//! A request passes `signature` (is it from Twitch, and fresh), `notification` (what it says), `translate` (what we
//! want because of it), or `chat` (the same for what is said in chat), and `webhook` (append it to COMMANDS, then answer).
//! `inbound` joins the first of them; `webhook` does the I/O. What Twitch tells over a WebSocket goes the same way, from
//! `eventsub`, which also sees to it that Twitch tells us anything. The other way goes `helix`: what we say in chat.

pub mod calls;
pub mod chat;
pub mod eventsub;
pub mod helix;
pub mod inbound;
pub mod notification;
pub mod secrets;
pub mod signature;
pub mod translate;
pub mod webhook;

pub use calls::Credentials;
pub use eventsub::EventSub;
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
    /// How Twitch tells us what happens.
    pub eventsub: eventsub::Settings,
}

impl Settings {
    /// With what Twitch is asked for what it tells us; nothing where it is not to be asked.
    pub fn credentials(&self) -> Option<Credentials> {
        let (eventsub, chat) = (&self.eventsub, &self.chat);
        let named = [&eventsub.client_id, &chat.client_id].into_iter().find(|id| !id.is_empty());
        let token = eventsub.token.clone();
        eventsub
            .is_on()
            .then(|| Credentials { client_id: named.cloned().unwrap_or_default(), token })
    }

    /// The account that is ours alone: what it says asks for nothing. A broadcaster may lend us their own.
    pub fn bot(&self, broadcaster: &str) -> Option<String> {
        let sender = &self.chat.sender_id;
        (self.chat.is_on() && sender != broadcaster).then(|| sender.clone())
    }
}
