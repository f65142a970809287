//! Saying something over Helix: `POST /chat/messages`. It is asked once. An attempt of which nobody knows what came is not
//! repeated here: whoever leased the reply says when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::Method;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;

use super::dropped::meaning;
use super::{Said, Voice, later, plain};
use crate::outgoing::{Answer, BaseUrl};
use crate::twitch::Settings;
use crate::twitch::calls::{Calls, Credentials, NoAnswer};

pub struct OverHelix {
    client_id: String,
    url: BaseUrl,
    pool: PgPool,
    /// As whoever spoke last: what Twitch allows is counted by account.
    calls: Mutex<Option<(String, Arc<Calls>)>>,
}

impl OverHelix {
    pub fn new(settings: &Settings, pool: PgPool) -> Self {
        let (client_id, url) = (settings.client_id.clone(), settings.helix_url.clone());
        OverHelix { client_id, url, pool, calls: Mutex::default() }
    }

    pub async fn say(&self, voice: &Voice, broadcaster: &str, text: &str) -> Said {
        let body = json!({
            "broadcaster_id": broadcaster,
            "sender_id": voice.sender,
            "message": text,
        });
        let (url, body) = (self.url.at(&["chat", "messages"]), Bytes::from(body.to_string()));
        match self.calls(voice).ask_once_soon(Method::POST, url, body).await {
            Ok(answer) => said(&answer, Utc::now()),
            Err(NoAnswer::Unsendable) => Said::Refused { reason: NoAnswer::Unsendable.to_string() },
            Err(NoAnswer::Limited { after }) => {
                Said::Later { after, reason: NoAnswer::Limited { after }.to_string() }
            }
            Err(error @ (NoAnswer::Unanswered(_) | NoAnswer::NotGranted(_))) => later(error),
        }
    }

    /// Calls within what Twitch allows whoever speaks.
    fn calls(&self, voice: &Voice) -> Arc<Calls> {
        let mut kept = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((sender, calls)) if *sender == voice.sender => Arc::clone(calls),
            _ => {
                let bearer = voice.bearer.clone();
                let credentials = Credentials { client_id: self.client_id.clone(), bearer };
                let calls = Calls::new(credentials).shared(self.pool.clone(), &voice.sender);
                let calls = Arc::new(calls);
                *kept = Some((voice.sender.clone(), Arc::clone(&calls)));
                calls
            }
        }
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

#[derive(Default, Deserialize)]
struct Dropped {
    code: String,
    message: Option<String>,
}

/// What an answer means. A 200 may say that nothing was sent.
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
        return later("Twitch's answer cannot be read");
    };
    if one.is_sent {
        return Said::Sent { id: plain(&one.message_id) };
    }
    let dropped = one.drop_reason.unwrap_or_default();
    meaning(&dropped.code, dropped.message.as_deref().unwrap_or_default())
}

/// How long until the second that `Ratelimit-Reset` names.
fn until_reset(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let reset: i64 = headers.get("ratelimit-reset")?.to_str().ok()?.parse().ok()?;
    u64::try_from(reset.checked_sub(now.timestamp())?).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

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
}
