//! What `[twitch.irc]` of the configuration says: where IRC is and which channel, and whether chat is read there, under
//! which account.

use std::time::Duration;

use rand::Rng;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::outgoing::Secret;

const LOGIN_CHARS_MAX: usize = 25;
const KEEPALIVE_S: std::ops::RangeInclusive<u64> = 1..=300;
/// How long whoever is asked for a sign of life may take.
/// A busy machine is no lost connection.
const ANSWER_MIN: Duration = Duration::from_secs(3);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Whoever reads without an account calls themselves this, and a number.
const ANONYMOUS: &str = "justinfan";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub enabled: bool,
    pub address: Address,
    /// The broadcaster's login: the name of the channel in the address of its page.
    pub channel: String,
    /// Whose token it is, by login; the broadcaster's, if left out.
    pub login: String,
    /// One with `chat:read`. Without it chat is read anonymously.
    pub token: Secret,
    /// After so many seconds without a word Twitch is asked whether it is there.
    pub keepalive_s: u64,
}

/// Host and port of a server. It is spoken to over TLS, but for one on this machine itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    host: String,
    port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            enabled: false,
            address: Address { host: "irc.chat.twitch.tv".to_owned(), port: 6697 },
            channel: String::new(),
            login: String::new(),
            token: Secret::default(),
            keepalive_s: 30,
        }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if !self.token.is_graphic() {
            return Some("twitch.irc: token is ASCII without spaces");
        }
        if !KEEPALIVE_S.contains(&self.keepalive_s) {
            return Some("twitch.irc.keepalive_s is 1 to 300");
        }
        if !self.login.is_empty() && !is_login(&self.login) {
            return Some("twitch.irc.login is made of a-z, 0-9 and _");
        }
        if !self.login.is_empty() && self.token.is_empty() {
            return Some("twitch.irc.login is set, and token is empty");
        }
        if self.enabled { self.unnamed() } else { None }
    }

    /// Why no channel can be joined.
    pub fn unnamed(&self) -> Option<&'static str> {
        let words = "twitch.irc.channel is the broadcaster's login, of a-z, 0-9 and _";
        (!is_login(&self.channel)).then_some(words)
    }

    /// As whom we log in, and with which password.
    pub fn account(&self) -> (String, String) {
        let token = self.token.reveal();
        if token.is_empty() {
            // Any password is taken, and who is called this can read and nothing else.
            let number = rand::rng().random_range(10_000..100_000);
            return (format!("{ANONYMOUS}{number}"), "anonymous".to_owned());
        }
        let login = if self.login.is_empty() { &self.channel } else { &self.login };
        let token = token.strip_prefix("oauth:").unwrap_or(token);
        (login.clone(), format!("oauth:{token}"))
    }

    /// How long silence may last before Twitch is asked for a sign of life, and then how long until it is taken for gone.
    pub fn silences(&self) -> (Duration, Duration) {
        let silence = Duration::from_secs(self.keepalive_s);
        (silence, silence.clamp(ANSWER_MIN, ANSWER_MAX))
    }
}

/// A login is sent as it is, so nothing else can be in it.
fn is_login(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=LOGIN_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain)
}

impl Address {
    /// As what is connected to outside writes it.
    pub fn url(&self) -> Option<Url> {
        let scheme = if self.is_here() { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{self}")).ok()
    }

    fn is_here(&self) -> bool {
        matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
    }
}

impl TryFrom<String> for Address {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const WRONG: &str = "an address of IRC is a host and a port, as irc.chat.twitch.tv:6697";
        let (host, port) = text.rsplit_once(':').ok_or(WRONG)?;
        let port: u16 = port.parse().map_err(|_| WRONG)?;
        let address = Address { host: host.to_owned(), port };
        // Nothing but a host: no user, no path, and nothing that is another host when it is read again.
        let url = address.url().ok_or(WRONG)?;
        match url.host_str() == Some(host) && port > 0 && !host.is_empty() {
            true => Ok(address),
            false => Err(WRONG),
        }
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, &'static str> {
        Address::try_from(text.to_owned())
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_the_open() {
        let scheme = |text: &str| address(text).expect(text).url().expect(text).scheme().to_owned();
        for far in ["irc.chat.twitch.tv:6697", "irc.chat.twitch.tv:443", "127.0.0.1.example:6667"] {
            assert_eq!(scheme(far), "https", "{far}");
        }
        for here in ["127.0.0.1:6667", "localhost:1", "[::1]:6667"] {
            assert_eq!(scheme(here), "http", "{here}");
        }
        for wrong in [
            "",
            "irc.chat.twitch.tv",
            "a:0",
            ":1",
            "a b:1",
            "me@a:1",
            "a/b:1",
            "irc://a:1",
            "a:70000",
            "A.example:1",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_and_show_no_token() {
        let whole = || Settings {
            enabled: true,
            channel: "goldenreel".to_owned(),
            token: Secret::new("oauth:hush"),
            ..Settings::default()
        };
        assert_eq!((Settings::default().refusal(), whole().refusal()), (None, None));
        assert_eq!(whole().account(), ("goldenreel".to_owned(), "oauth:hush".to_owned()));
        let named = Settings { login: "bot".to_owned(), token: Secret::new("hush"), ..whole() };
        assert_eq!(named.account(), ("bot".to_owned(), "oauth:hush".to_owned()));
        let (anonymous, _) = Settings { token: Secret::default(), ..whole() }.account();
        let number = anonymous.strip_prefix(ANONYMOUS).expect("an anonymous login");
        assert!(number.parse::<u32>().is_ok(), "{anonymous}");
        for wrong in ["", "Golden Reel", "#goldenreel", "a\r\nQUIT", &"x".repeat(26)] {
            assert!(Settings { channel: wrong.to_owned(), ..whole() }.refusal().is_some());
        }
        assert!(Settings { token: Secret::new("a\r\nQUIT"), ..whole() }.refusal().is_some());
        assert!(
            Settings { token: Secret::default(), login: "bot".to_owned(), ..whole() }
                .refusal()
                .is_some()
        );
        assert!(Settings { keepalive_s: 0, ..whole() }.refusal().is_some());
        assert!(!format!("{:?}", whole()).contains("hush"));
    }
}
