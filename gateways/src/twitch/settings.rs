//! What `[twitch]` of the configuration says: our application there, the account that speaks, and where Twitch is.

use serde::{Deserialize, Serialize};

use super::accounts::{self, Role};
use super::eventsub::{self, Transport};
use super::irc;
use super::missed;
use super::saying::Over;
use crate::outgoing::{BaseUrl, Secret};

/// The application that was registered at Twitch, and the addresses of Twitch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// As the developer console of Twitch shows it. Without it nobody can log in, and nothing is said in chat.
    pub client_id: String,
    /// Without it nobody can log in.
    pub client_secret: Secret,
    /// Where people say that they are who they are.
    pub id_url: BaseUrl,
    pub helix_url: BaseUrl,
    /// Under which account we speak in chat.
    pub chat: Speaker,
    /// How Twitch tells us what happens.
    pub eventsub: eventsub::Settings,
    /// Whether chat is read over IRC too.
    pub irc: irc::Settings,
    /// How often Twitch is asked for what it did not tell.
    pub missed: missed::Settings,
}

/// Under which account, and with what right, something is said in chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Speaker {
    /// The Twitch user id of the account that speaks.
    pub sender_id: String,
    /// A bearer of our application with `user:write:chat`, or the application's own with `user:bot` and `channel:bot`.
    /// Over IRC, one of the account with `chat:edit` and `chat:read`. Without it, what the account granted with
    /// `tapedeck connect`.
    pub token: Secret,
    /// By which way it is said.
    pub over: Over,
}

/// With what Twitch is asked for what it tells us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hearing {
    Fixed(Secret),
    /// What the account of this role has granted, once it has.
    Account(Role),
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            client_id: String::new(),
            client_secret: Secret::default(),
            id_url: BaseUrl::of("https://id.twitch.tv/oauth2"),
            helix_url: BaseUrl::of("https://api.twitch.tv/helix"),
            chat: Speaker::default(),
            eventsub: eventsub::Settings::default(),
            irc: irc::Settings::default(),
            missed: missed::Settings::default(),
        }
    }
}

impl Settings {
    /// Whether people could be asked who they are.
    pub fn is_registered(&self) -> bool {
        !self.client_id.is_empty() && !self.client_secret.is_empty()
    }

    /// With what Twitch is asked for what it tells us; nothing where nobody can grant it.
    pub fn hearing(&self, broadcaster: &str) -> Option<Hearing> {
        let settings = &self.eventsub;
        if !settings.token.is_empty() {
            return Some(Hearing::Fixed(settings.token.clone()));
        }
        if self.client_id.is_empty() || broadcaster.is_empty() {
            return None;
        }
        match (settings.transport, settings.is_read_by_another(broadcaster)) {
            (Transport::Webhook | Transport::Conduit, _) => {
                self.is_registered().then_some(Hearing::Account(Role::App))
            }
            (Transport::Websocket, true) => Some(Hearing::Account(Role::Bot)),
            (Transport::Websocket, false) => Some(Hearing::Account(Role::Broadcaster)),
        }
    }

    /// Which account is said to speak in chat, where the configuration brings no right for it.
    pub fn speaking_role(&self, broadcaster: &str) -> Role {
        accounts::speaking_role(&self.chat.sender_id, broadcaster)
    }

    /// The account that is ours alone: what it says asks for nothing. A broadcaster may lend us their own.
    pub fn bot(&self, broadcaster: &str) -> Option<String> {
        let sender = &self.chat.sender_id;
        (self.chat.is_on() && sender != broadcaster).then(|| sender.clone())
    }

    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        let id_is_plain = self.client_id.bytes().all(|byte| byte.is_ascii_graphic());
        if !id_is_plain || !self.client_secret.is_graphic() || !self.chat.token.is_graphic() {
            return Some("twitch: client_id, client_secret and token are ASCII without spaces");
        }
        if self.client_id.is_empty() && !self.client_secret.is_empty() {
            return Some("twitch.client_secret is set, and client_id is empty");
        }
        let parts = [self.eventsub.refusal(), self.irc.refusal(), self.missed.refusal()];
        if let Some(words) = parts.into_iter().flatten().next() {
            return Some(words);
        }
        if self.chat.over == Over::Irc
            && let Some(words) = self.irc.unnamed()
        {
            return Some(words);
        }
        if !self.chat.is_on() {
            return None;
        }
        if journal::command::check_id(&self.chat.sender_id).is_err() {
            return Some("twitch.chat.sender_id: a Twitch user id is made of digits");
        }
        if self.client_id.is_empty() {
            return Some("twitch.chat.sender_id is set, and twitch.client_id is empty");
        }
        None
    }
}

impl Speaker {
    /// Whether anything is to be said at Twitch.
    pub fn is_on(&self) -> bool {
        !self.sender_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(id: &str, secret: &str) -> Settings {
        let (client_id, client_secret) = (id.to_owned(), Secret::new(secret));
        Settings { client_id, client_secret, ..Settings::default() }
    }

    #[test]
    fn an_application_is_registered_with_its_id_and_its_secret() {
        assert!(!Settings::default().is_registered() && Settings::default().refusal().is_none());
        let whole = app("abc", "hush");
        assert!(whole.is_registered() && whole.refusal().is_none());
        assert!(!format!("{whole:?}").contains("hush"));
        let speaks = app("abc", "");
        assert!(!speaks.is_registered() && speaks.refusal().is_none(), "enough for the chat");
        for wrong in [app("", "hush"), app("a b", "hush"), app("a", "h\r\n")] {
            assert!(wrong.refusal().is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn what_brings_no_token_is_asked_for_with_an_account() {
        let mut settings = app("client", "");
        let of = |settings: &Settings| settings.hearing("1000");
        assert_eq!(of(&settings), Some(Hearing::Account(Role::Broadcaster)));
        assert_eq!(settings.hearing(""), None);
        settings.eventsub.user_id = "1000".to_owned();
        assert_eq!(of(&settings), Some(Hearing::Account(Role::Broadcaster)));
        settings.eventsub.user_id = "9000".to_owned();
        assert_eq!(of(&settings), Some(Hearing::Account(Role::Bot)));
        settings.eventsub.transport = Transport::Webhook;
        assert_eq!(of(&settings), None, "an application asks with its secret");
        settings.client_secret = Secret::new("hush");
        assert_eq!(of(&settings), Some(Hearing::Account(Role::App)));
        settings.eventsub.token = Secret::new("hush");
        assert_eq!(of(&settings), Some(Hearing::Fixed(Secret::new("hush"))), "it wins");
        assert_eq!(of(&Settings::default()), None);
        assert_eq!(
            [settings.speaking_role("1000"), app("a", "").speaking_role("")],
            [Role::Bot; 2]
        );
        settings.chat.sender_id = "1000".to_owned();
        assert_eq!(settings.speaking_role("1000"), Role::Broadcaster);
    }

    #[test]
    fn a_speaker_has_an_application() {
        let with = |id: &str, sender: &str, token: &str| {
            let (sender_id, token) = (sender.to_owned(), Secret::new(token));
            let chat = Speaker { sender_id, token, over: Over::Helix };
            Settings { chat, ..app(id, "") }
        };
        let whole = with("client", "1234", "hush");
        assert_eq!(whole.refusal(), None);
        assert!(!format!("{whole:?}").contains("hush"));
        assert_eq!((whole.bot("1000").as_deref(), whole.bot("1234")), (Some("1234"), None));
        assert_eq!(with("client", "1234", "").refusal(), None, "it may be connected");
        for wrong in [
            with("", "1234", "hush"),
            with("a\nb", "1234", "hush"),
            with("client", "my name", "hush"),
            with("client", "1234", "h\r\nu"),
        ] {
            assert!(wrong.refusal().is_some(), "{wrong:?}");
        }
        let mut over_irc = with("client", "1234", "hush");
        over_irc.chat.over = Over::Irc;
        assert!(over_irc.refusal().is_some(), "over IRC a channel has a name");
        over_irc.irc.channel = "goldenreel".to_owned();
        assert_eq!(over_irc.refusal(), None, "whether or not it is read there");
    }
}
