//! What it posts to webhooks: challenges, and what happens, signed with the secret of each subscription and under a
//! message id of each. What is not taken is posted again, as Twitch does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::twitch::Secret;
use crate::twitch::signature::{
    MESSAGE_ID, MESSAGE_RETRY, MESSAGE_SIGNATURE, MESSAGE_TIMESTAMP, MESSAGE_TYPE,
    SUBSCRIPTION_TYPE, SUBSCRIPTION_VERSION, sign,
};
use anyhow::ensure;
use chrono::{SecondsFormat, Utc};
use futures::future::join_all;
use reqwest::Url;
use serde_json::{Value, json};

use super::{EventSub, Shared, Sub, keep};

const ATTEMPTS_MAX: usize = 200;
const AGAIN_EVERY: Duration = Duration::from_millis(50);
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Where the callbacks' host is found, one after the other.
#[derive(Default)]
pub struct Hosts {
    pub all: Vec<SocketAddr>,
    next: AtomicUsize,
}

/// What came of all that was posted.
#[derive(Clone, Debug, Default)]
pub struct Posted {
    pub taken: usize,
    /// Answers that Twitch would hold against us: 4xx.
    pub refused: Vec<String>,
    /// Nobody took it, however often it was posted.
    pub given_up: Vec<String>,
    /// Deeds that were told to two subscriptions, and to none.
    pub twice: usize,
    pub to_nobody: Vec<String>,
}

/// A request as it is posted.
struct Letter<'a> {
    sub: &'a Sub,
    secret: &'a str,
    message_type: &'a str,
    message_id: &'a str,
    body: String,
}

impl EventSub {
    /// Where the callbacks' host is found from now on; without any, nothing is posted.
    pub fn is_found_at(&self, all: Vec<SocketAddr>) {
        self.shared.all().hosts = Hosts { all, next: AtomicUsize::new(0) };
    }

    /// Something happens: it is posted to whoever subscribes to it, until it is taken. To how many?
    pub async fn post(&self, name: &str, kind: &str, event: &Value) -> usize {
        let found: Vec<(Sub, String)> = {
            let mut all = self.shared.all();
            if all.is_away {
                return 0;
            }
            let wants = |sub: &&Sub| sub.kind == kind && sub.status == "enabled";
            let found = all.subs.iter().filter(wants).cloned();
            let found: Vec<Sub> = found.collect();
            match found.len() {
                0 => keep(&mut all.posted.to_nobody, name.to_owned()),
                1 => {}
                _ => all.posted.twice += 1,
            }
            // What is told over a connection has no secret.
            let secret = |sub: Sub| Some((sub.clone(), all.secrets.get(&sub.id)?.clone()));
            found.into_iter().filter_map(secret).collect()
        };
        let posts = found.iter().map(|(sub, secret)| async {
            let message_id = format!("{name}-{}", sub.id);
            let body = json!({"subscription": sub.listed(), "event": event}).to_string();
            let letter =
                Letter { sub, secret, message_type: "notification", message_id: &message_id, body };
            deliver(&self.shared, &letter).await.is_some()
        });
        join_all(posts).await.into_iter().filter(|taken| *taken).count()
    }

    /// What each gateway answers to a cheer that is signed with this secret; nothing where nobody subscribes to cheers.
    pub async fn answers_to(&self, secret: &str, name: &str, event: &Value) -> Vec<u16> {
        let (sub, hosts) = {
            let all = self.shared.all();
            let sub = all.subs.iter().find(|sub| sub.kind == "channel.cheer").cloned();
            (sub, all.hosts.all.clone())
        };
        let Some(sub) = sub else { return Vec::new() };
        let body = json!({"subscription": sub.listed(), "event": event}).to_string();
        let letter =
            Letter { sub: &sub, secret, message_type: "notification", message_id: name, body };
        let asked = hosts.iter().map(|host| letter.send(*host, 0));
        let answers = join_all(asked).await.into_iter();
        answers.filter_map(|answer| Some(answer.ok()?.status().as_u16())).collect()
    }

    pub fn posted(&self) -> Posted {
        self.shared.all().posted.clone()
    }

    /// The secret that something of this type is signed with, if anybody is posted it.
    pub fn secret_of(&self, kind: &str) -> Option<String> {
        let all = self.shared.all();
        let sub = all.subs.iter().find(|sub| sub.kind == kind)?;
        all.secrets.get(&sub.id).cloned()
    }

    /// The secret of every subscription there ever was, by its id.
    pub fn secrets(&self) -> Vec<(String, String)> {
        self.shared.all().secrets.clone().into_iter().collect()
    }
}

/// Posts the challenge of a new subscription, which is enabled if it is answered rightly.
pub async fn challenge(shared: Arc<Shared>, sub: Sub, secret: String) {
    if shared.all().hosts.all.is_empty() {
        return;
    }
    let words = format!("challenge-of-{}", sub.id);
    let body = json!({"challenge": words, "subscription": sub.listed()}).to_string();
    let message_id = format!("verify-{}", sub.id);
    let message_type = "webhook_callback_verification";
    let letter = Letter { sub: &sub, secret: &secret, message_type, message_id: &message_id, body };
    let answer = deliver(&shared, &letter).await;
    let status = match answer.as_deref() == Some(words.as_str()) {
        true => "enabled",
        false => "webhook_callback_verification_failed",
    };
    let mut all = shared.all();
    if let Some(sub) = all.subs.iter_mut().find(|one| one.id == sub.id) {
        sub.status = status.to_owned();
    }
}

/// Posts that a subscription is revoked, as Twitch does once.
pub async fn revocation(shared: Arc<Shared>, sub: Sub, secret: String) {
    let body = json!({ "subscription": sub.listed() }).to_string();
    let message_id = format!("revoked-{}", sub.id);
    let message_type = "revocation";
    let letter = Letter { sub: &sub, secret: &secret, message_type, message_id: &message_id, body };
    deliver(&shared, &letter).await;
}

/// Posts until it is taken; gives the answer's body.
async fn deliver(shared: &Shared, letter: &Letter<'_>) -> Option<String> {
    let mut again = tokio::time::interval(AGAIN_EVERY);
    for attempt in 0..ATTEMPTS_MAX {
        again.tick().await;
        let host = {
            let all = shared.all();
            if all.is_away {
                continue;
            }
            all.hosts.next()?
        };
        let Ok(answer) = letter.send(host, attempt).await else { continue };
        let status = answer.status();
        let body = answer.text().await;
        let mut all = shared.all();
        match (status.as_u16(), body) {
            (200..=299, Ok(body)) => {
                all.posted.taken += 1;
                return Some(body);
            }
            (400..=499, _) => {
                let (id, kind) = (letter.message_id, &letter.sub.kind);
                keep(&mut all.posted.refused, format!("{status} to {id} ({kind})"));
            }
            _ => {}
        }
    }
    keep(&mut shared.all().posted.given_up, letter.message_id.to_owned());
    None
}

impl Hosts {
    fn next(&self) -> Option<SocketAddr> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.all.get(n % self.all.len().max(1)).copied()
    }
}

impl Letter<'_> {
    async fn send(&self, host: SocketAddr, attempt: usize) -> anyhow::Result<reqwest::Response> {
        let callback = self.sub.transport["callback"].as_str().unwrap_or_default();
        let url = Url::parse(callback)?;
        ensure!((url.scheme(), url.port()) == ("https", None), "Twitch posts to 443 only");
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let to = format!("http://{host}{}{query}", url.path());
        let sent_at = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
        let secret = Secret::new(self.secret)?;
        let signature = sign(&secret, self.message_id, &sent_at, self.body.as_bytes());
        let client = reqwest::Client::builder().no_proxy().build()?;
        let request = client.post(to).timeout(ANSWER_LIMIT).body(self.body.clone());
        let headers = [
            (MESSAGE_ID, self.message_id),
            (MESSAGE_RETRY, &attempt.to_string()),
            (MESSAGE_TYPE, self.message_type),
            (MESSAGE_SIGNATURE, &signature),
            (MESSAGE_TIMESTAMP, &sent_at),
            (SUBSCRIPTION_TYPE, &self.sub.kind),
            (SUBSCRIPTION_VERSION, &self.sub.version),
            ("content-type", "application/json"),
        ];
        let headers = headers.into_iter();
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        Ok(request.send().await?)
    }
}
