//! What `[twitch.eventsub]` of the configuration says: how Twitch tells us what happens, and under which account we ask.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::wanted::CATALOGUE;
use crate::outgoing::Secret;

/// What Twitch allows.
const KEEPALIVE_S: std::ops::RangeInclusive<u64> = 10..=600;
/// A busy machine is no lost connection.
const SLACK_MIN: Duration = Duration::from_secs(2);
/// Twitch takes 20,000. Each is a connection, of one process.
const SHARDS: std::ops::RangeInclusive<i32> = 1..=100;
/// Every process looks at the secrets within two seconds; and a leaked one must not be good for long.
const GRACE_S: std::ops::RangeInclusive<u64> = 2..=86_400;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub transport: Transport,
    /// Over the WebSocket, one of the account `user_id`, with the rights that the types need; for webhooks and conduits, an app's.
    /// Without it, what the account granted with `tapedeck connect`.
    pub token: Secret,
    /// Whose token it is; the broadcaster's, if left out.
    pub user_id: String,
    pub websocket_url: SocketUrl,
    /// How often Twitch says at least that the connection lives.
    pub keepalive_s: u64,
    /// The types that are not wanted.
    pub leave_out: Vec<String>,
    /// The application is Tapedeck's alone: what it has subscribed to at another address is removed.
    pub exclusive: bool,
    /// Over how many shards a conduit tells us: as many processes can hold one.
    pub shards: i32,
    /// How long a secret of webhooks is believed after the last subscription that was made with it is gone.
    pub secret_grace_s: u64,
}

/// How Twitch tells us what happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Over a connection that we open: no public address is needed.
    #[default]
    Websocket,
    /// By requests to `public_url`.
    Webhook,
    /// Over connections that several processes open, each of which is told a part.
    Conduit,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Websocket => "websocket",
            Transport::Webhook => "webhook",
            Transport::Conduit => "conduit",
        }
    }
}

/// Where a WebSocket is opened: over TLS, or on this machine itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketUrl(Url);

impl Default for Settings {
    fn default() -> Self {
        Settings {
            transport: Transport::default(),
            token: Secret::default(),
            user_id: String::new(),
            websocket_url: SocketUrl::of("wss://eventsub.wss.twitch.tv/ws"),
            keepalive_s: 10,
            leave_out: Vec::new(),
            exclusive: true,
            shards: 2,
            secret_grace_s: 600,
        }
    }
}

impl Settings {
    /// Whether it is another account than the broadcaster's that we ask under, and that reads the chat.
    pub fn is_read_by_another(&self, broadcaster: &str) -> bool {
        !self.user_id.is_empty() && self.user_id != broadcaster
    }

    /// Who reads the chat.
    pub fn reader<'a>(&'a self, broadcaster: &'a str) -> &'a str {
        if self.user_id.is_empty() { broadcaster } else { &self.user_id }
    }

    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if !self.token.is_graphic() {
            return Some("twitch.eventsub: token is ASCII without spaces");
        }
        if !self.user_id.is_empty() && journal::command::check_id(&self.user_id).is_err() {
            return Some("twitch.eventsub.user_id: a Twitch user id is made of digits");
        }
        if !KEEPALIVE_S.contains(&self.keepalive_s) {
            return Some("twitch.eventsub.keepalive_s: Twitch takes 10 to 600");
        }
        if !GRACE_S.contains(&self.secret_grace_s) {
            return Some("twitch.eventsub.secret_grace_s: 2 to 86400, a day");
        }
        if !SHARDS.contains(&self.shards) {
            return Some("twitch.eventsub.shards: 1 to 100");
        }
        let known = |name: &String| CATALOGUE.iter().any(|kind| kind.name == name);
        if !self.leave_out.iter().all(known) {
            return Some("twitch.eventsub.leave_out names a type that is not subscribed to anyway");
        }
        None
    }

    /// Where a new connection is opened.
    pub fn opened_at(&self) -> Url {
        let mut url = self.websocket_url.0.clone();
        let seconds = self.keepalive_s.to_string();
        url.query_pairs_mut().append_pair("keepalive_timeout_seconds", &seconds);
        url
    }
}

impl SocketUrl {
    /// One that is written in the code, and that a test of its settings reads.
    #[expect(clippy::expect_used, reason = "a constant of the code")]
    fn of(text: &'static str) -> Self {
        SocketUrl(Url::parse(text).expect("a URL"))
    }

    /// The address that Twitch names to go on at, as it is; never one that is less safe than the first.
    pub fn next(&self, text: &str) -> Option<Url> {
        const LENGTH_MAX: usize = 4_096;
        let next =
            SocketUrl::try_from(text.to_owned()).ok().filter(|_| text.len() <= LENGTH_MAX)?;
        (next.0.scheme() == "wss" || self.0.scheme() == "ws").then_some(next.0)
    }
}

impl TryFrom<String> for SocketUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url = Url::parse(&text).map_err(|_| "this is no URL")?;
        let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_safe = url.scheme() == "wss" || (url.scheme() == "ws" && is_here);
        if !is_safe || !url.username().is_empty() || url.password().is_some() {
            return Err("an address of a WebSocket begins with wss://, and has no user in it");
        }
        Ok(SocketUrl(url))
    }
}

impl From<SocketUrl> for String {
    fn from(url: SocketUrl) -> Self {
        url.0.into()
    }
}

/// How long after the last sign of life a connection is taken for dead, if one was promised every `keepalive`.
pub fn silent_after(keepalive: Duration) -> Duration {
    keepalive + (keepalive / 2).max(SLACK_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_and_show_no_token() {
        let whole = || Settings { token: Secret::new("hush"), ..Settings::default() };
        let user_id = "9000".to_owned();
        assert!(Settings { user_id, ..whole() }.is_read_by_another("1000"));
        assert!(!whole().is_read_by_another("1000"));
        assert_eq!((Settings::default().refusal(), whole().refusal()), (None, None));
        assert!(Settings { token: Secret::new("a b"), ..whole() }.refusal().is_some());
        assert!(Settings { user_id: "my name".to_owned(), ..whole() }.refusal().is_some());
        assert!(Settings { keepalive_s: 9, ..whole() }.refusal().is_some());
        assert!(Settings { shards: 0, ..whole() }.refusal().is_some());
        assert!(Settings { secret_grace_s: 1, ..whole() }.refusal().is_some());
        assert!(Settings { secret_grace_s: 86_401, ..whole() }.refusal().is_some());
        let leave_out = vec!["channel.ad_break.begin".to_owned()];
        assert!(Settings { leave_out, ..whole() }.refusal().is_some());
        assert!(!format!("{:?}", whole()).contains("hush"));
    }

    #[test]
    fn a_connection_goes_on_at_no_address_that_is_less_safe() {
        let twitch = Settings::default().websocket_url;
        let next = "wss://cell-a.eventsub.wss.twitch.tv/ws?id=1&x=%2F";
        assert_eq!(twitch.next(next).map(String::from).as_deref(), Some(next));
        for wrong in ["ws://127.0.0.1/ws", "https://a.example/", "wss://a:b@c/", "x", ""] {
            assert_eq!(twitch.next(wrong), None, "{wrong}");
        }
        assert_eq!(twitch.next(&format!("wss://a.example/{}", "x".repeat(5_000))), None);
        assert!(SocketUrl::try_from("ws://twitch.example/ws".to_owned()).is_err());
        let here = SocketUrl::try_from("ws://127.0.0.1:9/ws".to_owned()).expect("this machine");
        assert!(here.next("ws://127.0.0.1:9/ws?reconnect=1").is_some());
    }
}
