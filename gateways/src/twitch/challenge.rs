//! Asking our own callback what Twitch asks it, and judging the answer as Twitch does: whether what happens would reach us
//! from outside. Goes out, and changes nothing where it comes in.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::Url;
use serde_json::json;
use uuid::Uuid;

use super::signature::{
    MESSAGE_ID, MESSAGE_RETRY, MESSAGE_SIGNATURE, MESSAGE_TIMESTAMP, MESSAGE_TYPE,
    SUBSCRIPTION_TYPE, SUBSCRIPTION_VERSION, Secret, sign,
};
use crate::outgoing::{Answer, Ask, Outgoing, Unanswered};

/// Twitch waits a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const KIND: (&str, &str) = ("stream.online", "1");

/// A challenge, and how it is signed.
struct Letter {
    message_id: String,
    sent_at: String,
    challenge: String,
    body: String,
}

/// Challenges the callback, signed with its secret. What Twitch would hold against the answer, if anything.
pub async fn ask(
    outgoing: &Outgoing,
    callback: &Url,
    secret: &Secret,
    now: DateTime<Utc>,
) -> Result<Result<(), String>, Unanswered> {
    let letter = Letter::new(callback, now);
    let signature = letter.signed_with(secret);
    let answer = outgoing.send(letter.ask(callback, &signature)).await?;
    Ok(judged(&answer, &letter.challenge))
}

/// The same with a signature that is nobody's, which must be refused. What is wrong with the answer, if anything.
pub async fn forge(
    outgoing: &Outgoing,
    callback: &Url,
    now: DateTime<Utc>,
) -> Result<Result<(), String>, Unanswered> {
    let letter = Letter::new(callback, now);
    let signature = format!("sha256={}", hex::encode([0_u8; 32]));
    let answer = outgoing.send(letter.ask(callback, &signature)).await?;
    Ok(match answer.status {
        StatusCode::FORBIDDEN => Ok(()),
        status if status.is_success() => {
            Err(format!("it answered {}: whoever answers there believes anybody", status.as_u16()))
        }
        status => Err(format!("it answered {}, and not 403", status.as_u16())),
    })
}

/// Twitch wants the challenge, bare and as text, with a status of success; and it follows no redirect.
fn judged(answer: &Answer, challenge: &str) -> Result<(), String> {
    let status = answer.status.as_u16();
    if answer.status.is_redirection() {
        return Err(format!("it answered {status}: Twitch follows no redirect"));
    }
    if answer.status == StatusCode::FORBIDDEN {
        return Err("it answered 403: whoever answers there goes by another secret".to_owned());
    }
    if !answer.status.is_success() {
        return Err(format!("it answered {status}"));
    }
    let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or("nothing").trim();
    if answer.body != challenge.as_bytes() {
        return Err(format!(
            "it answered {status} with {} bytes of {kind}, and not with the challenge itself",
            answer.body.len()
        ));
    }
    match kind {
        "text/plain" => Ok(()),
        other => Err(format!("it answered with {other}, and not with text/plain")),
    }
}

impl Letter {
    fn new(callback: &Url, now: DateTime<Utc>) -> Self {
        let (message_id, challenge) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
        let sent_at = now.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let body = json!({
            "challenge": challenge,
            "subscription": {
                "id": message_id, "status": "webhook_callback_verification_pending",
                "type": KIND.0, "version": KIND.1, "cost": 0, "condition": {"broadcaster_user_id": "0"},
                "transport": {"method": "webhook", "callback": callback.as_str()}, "created_at": sent_at,
            },
        });
        Letter { message_id, sent_at, challenge, body: body.to_string() }
    }

    fn signed_with(&self, secret: &Secret) -> String {
        sign(secret, &self.message_id, &self.sent_at, self.body.as_bytes())
    }

    fn ask(&self, callback: &Url, signature: &str) -> Ask {
        let headers = [
            (MESSAGE_ID, self.message_id.as_str()),
            (MESSAGE_RETRY, "0"),
            (MESSAGE_TYPE, "webhook_callback_verification"),
            (MESSAGE_SIGNATURE, signature),
            (MESSAGE_TIMESTAMP, &self.sent_at),
            (SUBSCRIPTION_TYPE, KIND.0),
            (SUBSCRIPTION_VERSION, KIND.1),
            ("content-type", "application/json"),
        ];
        let header = |(name, value): (&'static str, &str)| {
            let value = HeaderValue::from_str(value).ok()?;
            Some((HeaderName::from_static(name), value))
        };
        Ask {
            method: Method::POST,
            url: callback.clone(),
            headers: headers.into_iter().filter_map(header).collect::<HeaderMap>(),
            body: Bytes::from(self.body.clone()),
            time_limit: TIME_LIMIT,
            body_bytes_max: ANSWER_BYTES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bare_challenge_as_text_is_what_twitch_wants() {
        let of = |status: u16, kind: Option<&'static str>, body: &'static str| {
            let mut headers = HeaderMap::new();
            headers.extend(kind.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
            let status = StatusCode::from_u16(status).expect("a status");
            judged(&Answer { status, headers, body: Bytes::from_static(body.as_bytes()) }, "abc")
        };
        assert_eq!(of(200, Some("text/plain"), "abc"), Ok(()));
        assert_eq!(of(204, Some("text/plain; charset=utf-8"), "abc"), Ok(()));
        for (status, kind, body, why) in [
            (200, Some("application/json"), "\"abc\"", "not with the challenge"),
            (200, Some("text/html"), "abc", "text/plain"),
            (200, None, "abc", "nothing"),
            (200, Some("text/plain"), "", "0 bytes"),
            (301, Some("text/plain"), "abc", "redirect"),
            (403, None, "", "another secret"),
            (502, None, "abc", "502"),
        ] {
            let said = of(status, kind, body).expect_err("it is wrong");
            assert!(said.contains(why), "{said}");
        }
    }
}
