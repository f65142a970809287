//! Twitch, outwards: saying something in chat (Helix `POST /chat/messages`).
//!
//! *Once or twice?* Twitch knows no idempotency key. A worker that dies between the answer and its report has the same
//! words said again; Twitch drops the same words of one sender within 30 seconds, and a lease is shorter than that, so a
//! repetition is seen only where the words have changed meanwhile or nobody worked for longer. The same goes for two
//! answers in the same words to the same viewer: who asks again within 30 seconds reads the first one.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::outgoing::{Answer, Ask, BaseUrl, Outgoing, Secret};

/// The longest text that Twitch takes, in characters.
pub const TEXT_CHARS_MAX: usize = 500;

/// For one attempt, with everything around it shorter than the lease of a reply.
const TIME_LIMIT: Duration = Duration::from_secs(8);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const CODE_CHARS_MAX: usize = 60;

/// What `[twitch.chat]` of the configuration says: under which account, and with what right, something is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub client_id: String,
    /// The Twitch user id of the account that speaks.
    pub sender_id: String,
    /// A bearer with `user:write:chat`, or an app's with `user:bot` and `channel:bot`.
    pub token: Secret,
    pub base_url: BaseUrl,
}

impl Default for Settings {
    fn default() -> Self {
        let base_url = BaseUrl::of("https://api.twitch.tv/helix");
        let (client_id, sender_id) = (String::new(), String::new());
        Settings { client_id, sender_id, token: Secret::default(), base_url }
    }
}

impl Settings {
    /// Whether anything is to be said at Twitch.
    pub fn is_on(&self) -> bool {
        !self.sender_id.is_empty()
    }

    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        let graphic = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !graphic(&self.client_id) || !graphic(self.token.reveal()) {
            return Some("twitch.chat: client_id and token are ASCII without spaces");
        }
        if self.is_on() && journal::command::check_id(&self.sender_id).is_err() {
            return Some("twitch.chat.sender_id: a Twitch user id is made of digits");
        }
        if self.is_on() && (self.client_id.is_empty() || self.token.is_empty()) {
            return Some("twitch.chat.sender_id is set, and client_id or token is empty");
        }
        None
    }
}

/// What came of saying something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Under this id.
    Sent { id: String },
    /// The same words of ours are there already.
    Before,
    /// It may be taken later.
    Later { after: Option<Duration>, reason: String },
    /// It will not be taken, however often it is tried.
    Refused { reason: String },
}

/// Speaks in a chat at Twitch.
pub struct Helix {
    settings: Settings,
    outgoing: Outgoing,
}

impl Helix {
    pub fn new(settings: Settings) -> Self {
        Helix { settings, outgoing: Outgoing::default() }
    }

    /// Says `text` in the chat of `broadcaster`.
    pub async fn say(&self, broadcaster: &str, text: &str) -> Said {
        let body = json!({
            "broadcaster_id": broadcaster,
            "sender_id": self.settings.sender_id,
            "message": text,
        });
        let Some(headers) = self.headers() else {
            return Said::Refused { reason: "the configured token cannot be sent".to_owned() };
        };
        let ask = Ask {
            method: Method::POST,
            url: self.settings.base_url.at(&["chat", "messages"]),
            headers,
            body: Bytes::from(body.to_string()),
            time_limit: TIME_LIMIT,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        match self.outgoing.send(ask).await {
            Ok(answer) => said(&answer, Utc::now()),
            Err(unanswered) => Said::Later { after: None, reason: unanswered.to_string() },
        }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let bearer = format!("Bearer {}", self.settings.token.reveal());
        let mut bearer = HeaderValue::from_str(&bearer).ok()?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert("client-id", HeaderValue::from_str(&self.settings.client_id).ok()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Some(headers)
    }
}

#[derive(Deserialize)]
struct Taken {
    data: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    message_id: String,
    is_sent: bool,
    #[serde(default)]
    drop_reason: Option<Dropped>,
}

#[derive(Deserialize)]
struct Dropped {
    code: String,
}

/// What an answer means. A 200 may say that nothing was sent. Twitch's own texts are not passed on: they may quote what
/// was said.
fn said(answer: &Answer, now: DateTime<Utc>) -> Said {
    let status = answer.status.as_u16();
    let reason = format!("Twitch answered {status}");
    match status {
        200 => {}
        429 => return Said::Later { after: until_reset(&answer.headers, now), reason },
        // A token that has run out may be replaced; a server that fails may be mended.
        401 | 408 | 500..=599 => return Said::Later { after: None, reason },
        _ => return Said::Refused { reason },
    }
    let taken: Option<Taken> = serde_json::from_slice(&answer.body).ok();
    let Some(one) = taken.and_then(|taken| taken.data.into_iter().next()) else {
        return Said::Later { after: None, reason: "Twitch's answer cannot be read".to_owned() };
    };
    if one.is_sent {
        let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
        return Said::Sent { id: one.message_id.chars().filter(plain).take(64).collect() };
    }
    let code = one.drop_reason.map(|dropped| dropped.code).unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let code: String = code.chars().filter(plain).take(CODE_CHARS_MAX).collect();
    match code.as_str() {
        "msg_duplicate" => Said::Before,
        "msg_ratelimit" | "msg_slowmode" => {
            let after = Some(Duration::from_secs(30));
            Said::Later { after, reason: format!("Twitch dropped it: {code}") }
        }
        _ => Said::Refused { reason: format!("Twitch dropped it: {code}") },
    }
}

/// How long until the second that `Ratelimit-Reset` names.
fn until_reset(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let reset: i64 = headers.get("ratelimit-reset")?.to_str().ok()?.parse().ok()?;
    u64::try_from(reset.checked_sub(now.timestamp())?).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = hyper::StatusCode::from_u16(status).expect("a status");
        Answer { status, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) }
    }

    fn of(status: u16, body: &str) -> Said {
        said(&answer(status, body), Utc::now())
    }

    #[test]
    fn an_answer_of_200_is_not_yet_a_success() {
        let sent = r#"{"data":[{"message_id":"abc-123","is_sent":true}]}"#;
        assert_eq!(of(200, sent), Said::Sent { id: "abc-123".to_owned() });
        let dropped = |code: &str| {
            let dropped = json!({"code": code, "message": "you said <secret words>"});
            let one = json!({"message_id": "", "is_sent": false, "drop_reason": dropped});
            of(200, &json!({"data": [one]}).to_string())
        };
        assert_eq!(dropped("msg_duplicate"), Said::Before);
        assert!(matches!(dropped("msg_slowmode"), Said::Later { after: Some(_), .. }));
        let Said::Refused { reason } = dropped("channel_settings") else { panic!("refused") };
        assert_eq!(reason, "Twitch dropped it: channel_settings");
        for garbage in ["", "{}", "[]", "{\"data\":[]}", "\u{0}"] {
            assert!(matches!(of(200, garbage), Said::Later { .. }), "{garbage}");
        }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
        for status in [401, 429, 500, 503] {
            assert!(matches!(of(status, "secret"), Said::Later { .. }), "{status}");
        }
        for status in [400, 403, 404, 422] {
            let Said::Refused { reason } = of(status, "secret") else { panic!("{status}") };
            assert!(!reason.contains("secret"));
        }
        let mut limited = answer(429, "");
        limited.headers.insert("ratelimit-reset", HeaderValue::from_static("1750000012"));
        let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        let Said::Later { after, .. } = said(&limited, now) else { panic!("later") };
        assert_eq!(after, Some(Duration::from_secs(12)));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_and_show_no_token() {
        let whole = || Settings {
            client_id: "client".to_owned(),
            sender_id: "1234".to_owned(),
            token: Secret::new("hush"),
            ..Settings::default()
        };
        assert_eq!(Settings::default().refusal(), None);
        assert_eq!(whole().refusal(), None);
        assert!(Settings { token: Secret::default(), ..whole() }.refusal().is_some());
        assert!(Settings { client_id: String::new(), ..whole() }.refusal().is_some());
        assert!(Settings { client_id: "a\nb".to_owned(), ..whole() }.refusal().is_some());
        assert!(Settings { sender_id: "my name".to_owned(), ..whole() }.refusal().is_some());
        assert!(!format!("{:?}", whole()).contains("hush"));
    }
}
