//! What `[twitch]` of the configuration says: the application that was registered at Twitch, and where Twitch is.

use serde::{Deserialize, Serialize};

use crate::outgoing::BaseUrl;

/// The application, and the addresses of Twitch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// As the developer console of Twitch shows it. Without it nobody can log in.
    pub client_id: String,
    pub client_secret: ClientSecret,
    /// Where people say that they are who they are.
    pub id_url: BaseUrl,
    pub helix_url: BaseUrl,
}

impl Default for App {
    fn default() -> Self {
        App {
            client_id: String::new(),
            client_secret: ClientSecret::default(),
            id_url: BaseUrl::known("https://id.twitch.tv/oauth2"),
            helix_url: BaseUrl::known("https://api.twitch.tv/helix"),
        }
    }
}

impl App {
    pub fn is_registered(&self) -> bool {
        !self.client_id.is_empty() && !self.client_secret.0.is_empty()
    }

    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if self.client_id.is_empty() != self.client_secret.0.is_empty() {
            return Some("twitch: client_id and client_secret belong together, and one is missing");
        }
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain(&self.client_id) || !plain(&self.client_secret.0) {
            return Some("twitch: client_id and client_secret are made of letters and digits");
        }
        None
    }
}

/// What the application proves itself with. Printing it with `{:?}` does not show it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientSecret(String);

impl ClientSecret {
    pub fn new(secret: impl Into<String>) -> Self {
        ClientSecret(secret.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for ClientSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClientSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_registered_with_both_or_neither() {
        let app = |id: &str, secret: &str| App {
            client_id: id.to_owned(),
            client_secret: ClientSecret::new(secret),
            ..App::default()
        };
        assert!(!App::default().is_registered() && App::default().refusal().is_none());
        let whole = app("abc", "hush");
        assert!(whole.is_registered() && whole.refusal().is_none());
        assert!(!format!("{whole:?}").contains("hush"));
        for wrong in [app("abc", ""), app("", "hush"), app("a b", "hush"), app("a", "h\r\n")] {
            assert!(wrong.refusal().is_some(), "{wrong:?}");
        }
    }
}
