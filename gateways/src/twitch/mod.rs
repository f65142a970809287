//! Twitch, inwards: EventSub notifications become commands.
//!
//! A request passes `signature` (is it from Twitch, and fresh), `notification` (what it says), `translate` (what we
//! want because of it), or `chat` (the same for what is said in chat), and `webhook` (append it to COMMANDS, then answer).
//! `inbound` joins the first of them; `webhook` does the I/O. What Twitch tells over a WebSocket goes the same way, from
//! `eventsub`, which also sees to it that Twitch tells us anything. Chat comes a second way, over `irc`. What was not told
//! is asked for by `missed`, as far as Twitch says it again. What it said of users and games is in the `cache`.
//!
//! And outwards: `oauth` and `helix` ask Twitch in the name of the application that `settings` describes, with what the
//! `accounts` have granted, and `saying` says something in chat.

pub mod accounts;
pub mod cache;
pub mod calls;
pub mod challenge;
pub mod chat;
pub mod eventsub;
pub mod helix;
pub mod inbound;
pub mod irc;
pub mod missed;
pub mod notification;
pub mod oauth;
pub mod saying;
pub mod secrets;
pub mod settings;
pub mod signature;
mod standing;
pub mod translate;
pub mod webhook;

pub use accounts::Accounts;
pub use calls::Credentials;
pub use eventsub::EventSub;
pub use inbound::{Inbound, Received};
pub use irc::Irc;
pub use missed::Missed;
pub use notification::Notification;
pub use oauth::{Grant, OAuth, TwitchError};
pub use secrets::{Secrets, Versions};
pub use settings::{Settings, Speaker};
pub use signature::Secret;
pub use translate::{Untranslatable, retranslate, translate};
pub use webhook::{Webhook, router};
