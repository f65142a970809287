//! Saying something in chat: `POST /chat/messages`.
//!
//! *Once or twice?* Twitch knows no idempotency key. A worker that dies between the answer and its report has the same
//! words said again; Twitch drops the same words of one sender within 30 seconds, and a lease is shorter than that, so a
//! repetition is seen only where the words have changed meanwhile or nobody worked for longer. The same goes for two
//! answers in the same words to the same viewer: who asks again within 30 seconds reads the first one.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::Helix;
use crate::outgoing::{Answer, Ask};
use crate::twitch::accounts::{Bearer, NoGrant, Shown};

/// The longest text that Twitch takes, in characters.
pub const TEXT_CHARS_MAX: usize = 500;

/// For one attempt, with everything around it shorter than the lease of a reply.
const TIME_LIMIT: Duration = Duration::from_secs(8);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const CODE_CHARS_MAX: usize = 60;

/// What came of saying something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Under this id.
    Sent { id: String },
    /// The same words of ours are there already.
    Before,
    /// By nobody: no account is configured or connected for it.
    Nobody,
    /// It may be taken later.
    Later { after: Option<Duration>, reason: String },
    /// It will not be taken, however often it is tried.
    Refused { reason: String },
}

impl Helix {
    /// Says `text` in the chat of `broadcaster`, under the account that is configured or connected for it.
    pub async fn say(&self, broadcaster: &str, text: &str) -> Said {
        let all = timeout(TIME_LIMIT, self.try_to_say(broadcaster, text));
        let late = || Said::Later { after: None, reason: "it took too long".to_owned() };
        all.await.unwrap_or_else(|_| late())
    }

    async fn try_to_say(&self, broadcaster: &str, text: &str) -> Said {
        let speaker = &self.settings.chat;
        let voice = match self.voice(broadcaster).await {
            Ok(voice) => voice,
            Err(NoGrant::NotConnected(_)) if speaker.sender_id.is_empty() => return Said::Nobody,
            Err(NoGrant::Unsendable) => {
                return Said::Refused { reason: NoGrant::Unsendable.to_string() };
            }
            // Somebody may mend it.
            Err(error) => return Said::Later { after: None, reason: error.to_string() },
        };
        let body = json!({
            "broadcaster_id": broadcaster,
            "sender_id": voice.sender,
            "message": text,
        });
        let body = Bytes::from(body.to_string());
        let posted = self.post(&voice.shown, body.clone()).await;
        if posted.is_unauthorized()
            && let Some(another) = voice.bearer.another(&voice.shown).await
        {
            return self.post(&another, body).await.of(Utc::now());
        }
        posted.of(Utc::now())
    }

    /// Who is connected to speak, as far as this process knows.
    pub fn connected_speaker(&self) -> Option<String> {
        self.accounts.as_ref()?.bot().borrow().clone()
    }

    /// Under whom we speak, and with what right.
    async fn voice(&self, broadcaster: &str) -> Result<Voice, NoGrant> {
        let speaker = &self.settings.chat;
        let role = self.settings.speaking_role(broadcaster);
        let sender = speaker.sender_id.clone();
        if !speaker.token.is_empty() && !sender.is_empty() {
            let bearer = Bearer::Fixed(speaker.token.clone());
            let shown = bearer.shown().await?;
            return Ok(Voice { sender, bearer, shown });
        }
        let accounts = self.accounts.as_ref().ok_or(NoGrant::NotConnected(role))?;
        let held = accounts.current(role).await?;
        if !sender.is_empty() && held.user_id != sender {
            return Err(NoGrant::NotConnected(role));
        }
        let bearer = Bearer::Account { accounts: accounts.clone(), role };
        let shown = bearer.shown().await?;
        Ok(Voice { sender: held.user_id, bearer, shown })
    }

    async fn post(&self, shown: &Shown, body: Bytes) -> Posted {
        let Ok(mut headers) = self.headers(shown.header.clone()) else {
            return Posted(Err("the client_id cannot be sent".to_owned()));
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let ask = Ask {
            method: Method::POST,
            url: self.settings.helix_url.at(&["chat", "messages"]),
            headers,
            body,
            time_limit: TIME_LIMIT,
            body_bytes_max: ANSWER_BYTES_MAX,
        };
        Posted(self.outgoing.send(ask).await.map_err(|unanswered| unanswered.to_string()))
    }
}

/// Who says it.
struct Voice {
    sender: String,
    bearer: Bearer,
    shown: Shown,
}

/// An answer, or why there is none.
struct Posted(Result<Answer, String>);

impl Posted {
    fn is_unauthorized(&self) -> bool {
        self.0.as_ref().is_ok_and(|answer| answer.status.as_u16() == 401)
    }

    fn of(self, now: DateTime<Utc>) -> Said {
        match self.0 {
            Ok(answer) => said(&answer, now),
            Err(reason) => Said::Later { after: None, reason },
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
}
