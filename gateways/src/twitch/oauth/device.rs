//! Grants without a browser that is sent back to us: a code that a person enters at Twitch (the device flow, RFC 8628 in
//! Twitch's dialect), and what the application is granted by itself. Goes out.

use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::{Bytes, Grant, OAuth, TwitchError, Url, Words, asked, url_encoded};
use crate::outgoing::{Answer, Secret};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// What is waited between two questions where Twitch does not say, and what is waited longer when it is asked too often.
const INTERVAL_S: u64 = 5;
const SLOWER_BY: Duration = Duration::from_secs(5);
/// No answer of Twitch makes anybody wait for longer, between two questions and altogether.
const INTERVAL_S_MAX: u64 = 60;
const LASTS_S_MAX: u64 = 60 * 60;

/// What a person is to do, and what we ask with meanwhile.
#[derive(Debug, Deserialize)]
pub struct Device {
    device_code: Secret,
    pub user_code: String,
    pub verification_uri: String,
    #[serde(default)]
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
}

/// What Twitch answers who asks whether the person has said yes.
#[derive(Debug)]
pub enum Polled {
    Granted(Box<Grant>),
    /// Not yet.
    Pending,
    /// Not yet, and it was asked too often.
    TooOften,
    /// The person said no.
    Denied,
    /// The code is not good any more.
    Over,
}

impl Device {
    /// For how long the code is good.
    pub fn lasts(&self) -> Duration {
        Duration::from_secs(self.expires_in.min(LASTS_S_MAX))
    }

    /// How long to wait before Twitch is asked, at first.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.unwrap_or(INTERVAL_S).clamp(1, INTERVAL_S_MAX))
    }
}

impl Polled {
    /// How long to wait from now on, after having waited for `interval`.
    pub fn paces(&self, interval: Duration) -> Duration {
        match self {
            Polled::TooOften => (interval + SLOWER_BY).min(Duration::from_secs(INTERVAL_S_MAX)),
            _ => interval,
        }
    }

    /// What a refusal says; none where it is about us.
    fn of_refusal(words: &str) -> Option<Self> {
        let words = words.to_ascii_lowercase().replace(' ', "_");
        let says = |known: &[&str]| known.iter().any(|known| words.contains(known));
        match () {
            () if says(&["authorization_pending"]) => Some(Polled::Pending),
            () if says(&["slow_down"]) => Some(Polled::TooOften),
            () if says(&["access_denied", "authorization_denied"]) => Some(Polled::Denied),
            () if says(&["invalid_device_code", "expired_token", "device_code_expired"]) => {
                Some(Polled::Over)
            }
            () => None,
        }
    }
}

impl OAuth {
    /// Begins to have `scopes` granted by a person, who is wherever they are.
    pub async fn begin_device(&self, scopes: &[&str]) -> Result<Device, TwitchError> {
        let scopes = scopes.join(" ");
        let client_id = self.settings.client_id.as_str();
        let url = self.settings.id_url.at(&["device"]);
        let answer = self.post(url, &[("client_id", client_id), ("scopes", &scopes)]).await?;
        if !answer.status.is_success() {
            return Err(about_us(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| TwitchError::Garbled)
    }

    /// Whether the person has granted them.
    pub async fn poll_device(
        &self,
        device: &Device,
        scopes: &[&str],
    ) -> Result<Polled, TwitchError> {
        let scopes = scopes.join(" ");
        let form = [
            ("client_id", self.settings.client_id.as_str()),
            ("scopes", &scopes),
            ("device_code", device.device_code.reveal()),
            ("grant_type", GRANT_TYPE),
        ];
        let answer = self.post(self.settings.id_url.at(&["token"]), &form).await?;
        if answer.status.is_success() {
            let grant = serde_json::from_slice(&answer.body).map_err(|_| TwitchError::Garbled)?;
            return Ok(Polled::Granted(Box::new(grant)));
        }
        let said: Words = serde_json::from_slice(&answer.body).unwrap_or_default();
        Polled::of_refusal(&said.message).ok_or_else(|| about_us(&answer))
    }

    /// What the application is granted by itself. There is nothing to refresh it with: it is asked for again.
    pub async fn grant_of_application(&self) -> Result<Grant, TwitchError> {
        let form = [
            ("client_id", self.settings.client_id.as_str()),
            ("client_secret", self.settings.client_secret.reveal()),
            ("grant_type", "client_credentials"),
        ];
        let answer = self.post(self.settings.id_url.at(&["token"]), &form).await?;
        if !answer.status.is_success() {
            return Err(about_us(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| TwitchError::Garbled)
    }

    async fn post(&self, url: Url, form: &[(&str, &str)]) -> Result<Answer, TwitchError> {
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form_type);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let body = Bytes::from(url_encoded(form));
        asked(&self.outgoing, Method::POST, url, headers, body).await
    }
}

/// A refusal that is about our application and no person.
fn about_us(answer: &Answer) -> TwitchError {
    let mend = match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ": are twitch.client_id and client_secret right?"
        }
        _ => "",
    };
    TwitchError::Unreachable(format!("it answered {}{mend}", answer.status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_a_device_code_means_one_thing() {
        let of = |words: &str| Polled::of_refusal(words);
        assert!(matches!(of("authorization_pending"), Some(Polled::Pending)));
        assert!(matches!(of("slow_down"), Some(Polled::TooOften)));
        assert!(matches!(of("access_denied"), Some(Polled::Denied)));
        assert!(matches!(of("invalid device code"), Some(Polled::Over)));
        assert!(matches!(of("expired_token"), Some(Polled::Over)));
        for about_us in ["invalid client", "missing client id", ""] {
            assert!(of(about_us).is_none(), "{about_us}");
        }
    }

    #[test]
    fn who_asks_too_often_waits_longer_from_then_on() {
        let text = r#"{"device_code":"hush1","expires_in":1800,"interval":5,"user_code":"ABCDEFGH",
                       "verification_uri":"https://www.twitch.tv/activate?device-code=ABCDEFGH"}"#;
        let device: Device = serde_json::from_str(text).expect("a device");
        assert!(!format!("{device:?}").contains("hush"));
        assert_eq!(device.lasts(), Duration::from_secs(1_800));
        let (first, five) = (device.interval(), Duration::from_secs(5));
        assert_eq!((first, Polled::Pending.paces(first)), (five, five));
        assert_eq!(Polled::TooOften.paces(first), Duration::from_secs(10));
        assert_eq!(Polled::TooOften.paces(Duration::from_secs(58)), Duration::from_secs(60));
        for (interval, seconds) in [("0", 1), ("3600", 60), ("null", 5)] {
            let text = text.replace("\"interval\":5", &format!("\"interval\":{interval}"));
            let device: Device = serde_json::from_str(&text).expect("a device");
            assert_eq!(device.interval(), Duration::from_secs(seconds));
        }
    }
}
