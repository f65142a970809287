//! What `[login]` of the configuration says.

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Where Twitch sends people back to, under our own address.
const CALLBACK: &str = "/api/v1/login/callback";
const MODERATORS_MAX: usize = 1_000;

/// Who may log in as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where Twitch sends people back to; `<public_url>/api/v1/login/callback`, if left out.
    pub redirect_url: Option<String>,
    /// Moderators by Twitch user id.
    pub moderators: Vec<String>,
    /// Whether those are moderators too whom Twitch lists, once the broadcaster has let us read the list.
    pub moderators_from_twitch: bool,
    /// How many logins one network address may begin in a minute. 0 means no limit.
    pub attempts_per_minute: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            redirect_url: None,
            moderators: Vec::new(),
            moderators_from_twitch: false,
            attempts_per_minute: 20,
        }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if self.moderators.len() > MODERATORS_MAX {
            return Some("login.moderators: 1000 at most");
        }
        if self.moderators.iter().any(|id| journal::command::check_id(id).is_err()) {
            return Some("login.moderators: a Twitch user id is made of digits");
        }
        if self.redirect_url.as_deref().is_some_and(|text| address(text).is_none()) {
            return Some(
                "login.redirect_url is an address that begins with https://, or with http://localhost",
            );
        }
        None
    }
}

/// What logging in needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready(Url),
    /// The keys that are to be set first.
    Missing(Vec<&'static str>),
}

/// Whether this configuration lets people log in.
pub fn readiness(config: &Config) -> Readiness {
    let redirect_url = redirect_url(config);
    let mut missing = Vec::new();
    if !config.twitch.is_registered() {
        missing.extend(["twitch.client_id", "twitch.client_secret"]);
    }
    if config.broadcaster_id.is_empty() {
        missing.push("broadcaster_id");
    }
    match redirect_url {
        Some(url) if missing.is_empty() => Readiness::Ready(url),
        Some(_) => Readiness::Missing(missing),
        None => {
            missing.push("login.redirect_url");
            Readiness::Missing(missing)
        }
    }
}

/// Where Twitch sends people back to. It is the same for everybody: nothing in a request can change it.
fn redirect_url(config: &Config) -> Option<Url> {
    if let Some(text) = &config.login.redirect_url {
        return address(text);
    }
    if let Some(public) = &config.public_url {
        return address(&format!("{}{CALLBACK}", on_this_machine(public.trim_end_matches('/'))));
    }
    let port = Some(config.listen.port()).filter(|port| *port != 0)?;
    address(&format!("http://localhost:{port}{CALLBACK}"))
}

/// Of the addresses of this machine, Twitch accepts `localhost` alone without TLS.
fn on_this_machine(url: &str) -> String {
    url.replacen("http://127.0.0.1", "http://localhost", 1)
}

fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    let is_plain = url.username().is_empty() && url.password().is_none();
    (is_safe && is_plain && url.fragment().is_none() && url.query().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::Secret;
    use crate::twitch;

    #[test]
    fn logging_in_names_what_it_lacks() {
        let mut config = Config::default();
        let missing = ["twitch.client_id", "twitch.client_secret", "broadcaster_id"];
        assert_eq!(readiness(&config), Readiness::Missing(missing.to_vec()));
        let (client_id, client_secret) = ("abc".to_owned(), Secret::new("hush"));
        config.twitch =
            twitch::Settings { client_id, client_secret, ..twitch::Settings::default() };
        config.broadcaster_id = "1000".to_owned();
        let at = |config: &Config| match readiness(config) {
            Readiness::Ready(url) => url.to_string(),
            Readiness::Missing(missing) => panic!("{missing:?}"),
        };
        assert_eq!(at(&config), "http://localhost:8090/api/v1/login/callback");
        config.public_url = Some("http://127.0.0.1:8090".to_owned());
        assert_eq!(at(&config), "http://localhost:8090/api/v1/login/callback");
        config.public_url = Some("https://td.example/".to_owned());
        assert_eq!(at(&config), "https://td.example/api/v1/login/callback");
        config.login.redirect_url = Some("https://other.example/back".to_owned());
        assert_eq!(at(&config), "https://other.example/back");
        config.listen.set_port(0);
        (config.login.redirect_url, config.public_url) = (None, None);
        assert_eq!(readiness(&config), Readiness::Missing(vec!["login.redirect_url"]));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert_eq!(Settings::default().refusal(), None);
        for wrong in
            ["http://td.example/x", "td.example", "https://a:b@td.example/", "https://x/?a"]
        {
            let settings = Settings { redirect_url: Some(wrong.to_owned()), ..Settings::default() };
            assert!(settings.refusal().is_some(), "{wrong}");
        }
        let moderators = vec!["mod erator".to_owned()];
        assert!(Settings { moderators, ..Settings::default() }.refusal().is_some());
    }
}
