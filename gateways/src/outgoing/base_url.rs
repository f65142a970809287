//! Where a server outside is, when secrets are sent to it.

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// An address to which a key may be sent: `https`, or this machine itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// An address that stands in the code.
    pub fn known(text: &'static str) -> Self {
        #[expect(clippy::expect_used, reason = "a constant, and tests read each of them")]
        BaseUrl(Url::parse(text).expect("a URL"))
    }

    /// The address of a resource under it.
    pub fn at(&self, path: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url = Url::parse(&text).map_err(|_| "it is no URL")?;
        let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        match url.scheme() {
            "https" => {}
            "http" if is_here => {}
            _ => return Err("it begins with https://: a secret is not sent in the open"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it has a user in it; a secret has a key of its own");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("it has more in it than a path");
        }
        Ok(BaseUrl(url))
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<BaseUrl, &'static str> {
        BaseUrl::try_from(text.to_owned())
    }

    #[test]
    fn a_key_is_sent_over_tls_or_to_this_machine_only() {
        for good in ["https://api.openai.com/v1", "http://127.0.0.1:8080/v1", "http://[::1]:1/"] {
            url(good).expect(good);
        }
        for wrong in [
            "http://api.openai.com/v1",
            "http://127.0.0.1.example/v1",
            "ftp://127.0.0.1/",
            "https://me:secret@api.example/v1",
            "https://api.example/v1?key=secret",
            "api.openai.com",
            "",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_asked_for_is_under_the_base() {
        for base in ["https://a.example/v1", "https://a.example/v1/"] {
            let url = url(base).expect("a base").at(&["models", "a/../b"]);
            assert_eq!(url.as_str(), "https://a.example/v1/models/a%2F..%2Fb");
        }
    }
}
