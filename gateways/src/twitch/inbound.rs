//! What a request to the webhook is, decided without I/O: a challenge to answer, commands to append, or a refusal.

use std::sync::Arc;

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};

use domain::rules::Rules;
use journal::Envelope;

use super::chat::{self, Heard, Listening};
use super::eventsub::gaps;
use super::notification::{Body, Notification, Verification};
use super::secrets::Secrets;
use super::signature::{Authentic, Refusal, verify};
use super::translate::{KINDS, Keep, keep, translate};

/// The type of whatever is none of ours.
const OTHER: &str = "other";

/// Who may speak to us, about whom, and what it is worth.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub secrets: Secrets,
    pub rules: Arc<Rules>,
    /// With it, notifications about other channels are kept and change nothing.
    pub broadcaster_id: Option<String>,
    /// What lines of chat are read by.
    pub listening: Arc<Listening>,
}

/// An authentic request.
#[derive(Debug)]
pub enum Received {
    /// Twitch asks whether we want this EventSub subscription; the answer is this text and nothing else.
    Challenge(String),
    Commands(Commands),
    /// What was said or taken back in chat, and its type.
    Heard(Box<Heard>, &'static str),
}

/// What is to be appended before the request is answered.
#[derive(Debug)]
pub struct Commands {
    pub envelopes: Vec<Envelope>,
    pub result: Outcome,
    /// The type of the notification if it is one of ours, else `other`: a bounded set, for counters.
    pub kind: &'static str,
    /// To be sent without the body, should the journal find the envelopes too large.
    pub too_large: Keep,
}

/// What became of an authentic message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Translated,
    Kept,
    Revoked,
}

impl Outcome {
    /// Its name in counters.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Translated => "translated",
            Outcome::Kept => "kept",
            Outcome::Revoked => "revoked",
        }
    }
}

impl Inbound {
    /// Nothing in `body` is parsed before its signature is known to be right.
    pub fn receive(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<Received, Refusal> {
        let authentic = verify(self.secrets.believed(now), headers, body, now)?;
        Ok(self.understand(&authentic, body, now))
    }

    /// What a message is that is known to be Twitch's own, over whatever way it came.
    pub fn understand(
        &self,
        authentic: &Authentic<'_>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Received {
        let text = String::from_utf8_lossy(body);
        let about = about(authentic, &text);
        match authentic.message_type {
            "notification" => self.notification(authentic, &about, &text, now),
            "webhook_callback_verification" => {
                if let Ok(Verification { challenge }) = serde_json::from_str(&text) {
                    tracing::info!(kind = about.kind, "EventSub verification answered");
                    return Received::Challenge(challenge);
                }
                let reason = "a verification without a challenge";
                kept(authentic, &about, &text, reason, Outcome::Kept, now)
            }
            "revocation" => {
                let (message_id, kind) = (authentic.message_id, about.kind.as_str());
                let status = about.status.as_str();
                tracing::warn!(message_id, kind, status, "Twitch revoked an EventSub subscription");
                let revoked =
                    About { kind: format!("revocation:{kind}:{status}"), ..about.clone() };
                let reason = format!("Twitch sends no more of {kind}: {status}");
                let kept = kept(authentic, &revoked, &text, &reason, Outcome::Revoked, now);
                self.with_its_gap(kept, authentic, &about, now)
            }
            other => {
                let reason = format!("unknown message type {other:?}");
                kept(authentic, &about, &text, &reason, Outcome::Kept, now)
            }
        }
    }

    /// A revocation, and that from then on its type may not reach us.
    fn with_its_gap(
        &self,
        kept: Received,
        authentic: &Authentic<'_>,
        about: &About,
        now: DateTime<Utc>,
    ) -> Received {
        let mut kept = kept;
        let reason = format!("revoked: {}", about.status);
        if let (Received::Commands(commands), Some(ours)) = (&mut kept, &self.broadcaster_id)
            && commands.kind != OTHER
        {
            let kinds = [commands.kind.to_owned()];
            let Authentic { message_id, sent_at, .. } = *authentic;
            let lost = gaps::lose(ours, &kinds, sent_at, &reason, now, message_id);
            commands.envelopes.extend(lost);
        }
        kept
    }

    fn notification(
        &self,
        authentic: &Authentic<'_>,
        about: &About,
        raw: &str,
        now: DateTime<Utc>,
    ) -> Received {
        let Authentic { message_id, sent_at, .. } = *authentic;
        let notification = Notification { message_id, sent_at, raw };
        let ours = self.broadcaster_id.as_deref();
        let heard = chat::read(&notification, &self.listening, ours, now);
        let translated = match heard {
            Ok(Some(heard)) => return Received::Heard(Box::new(heard), label(&about.kind)),
            Ok(None) => translate(&notification, &self.rules, ours, now),
            Err(untranslatable) => Err(untranslatable),
        };
        match translated {
            Ok(envelopes) => Received::Commands(Commands {
                envelopes,
                result: Outcome::Translated,
                kind: label(&about.kind),
                too_large: letter(authentic, about, "too large to be translated"),
            }),
            Err(untranslatable) => {
                let reason = untranslatable.to_string();
                tracing::warn!(message_id, kind = about.kind, reason, "notification kept");
                kept(authentic, about, raw, &reason, Outcome::Kept, now)
            }
        }
    }
}

/// What a message is about: by its signed body, or by its headers where the body does not say.
#[derive(Clone)]
struct About {
    kind: String,
    version: String,
    status: String,
}

fn about(authentic: &Authentic<'_>, body: &str) -> About {
    match serde_json::from_str::<Body<'_>>(body) {
        Ok(Body { subscription, .. }) => About {
            kind: subscription.kind,
            version: subscription.version,
            status: subscription.status,
        },
        Err(_) => About {
            kind: authentic.kind.to_owned(),
            version: authentic.version.to_owned(),
            status: String::new(),
        },
    }
}

fn letter(authentic: &Authentic<'_>, about: &About, reason: &str) -> Keep {
    let Authentic { message_id, sent_at, .. } = *authentic;
    Keep::new(message_id, sent_at, &about.kind, &about.version, reason)
}

fn kept(
    authentic: &Authentic<'_>,
    about: &About,
    raw: &str,
    reason: &str,
    result: Outcome,
    now: DateTime<Utc>,
) -> Received {
    Received::Commands(Commands {
        envelopes: vec![keep(letter(authentic, about, reason), Some(raw), now)],
        result,
        kind: label(&about.kind),
        too_large: letter(authentic, about, reason),
    })
}

/// `kind` as a label of a counter: whoever sends many types must not make many counters.
pub fn label(kind: &str) -> &'static str {
    let known = kind.strip_prefix("revocation:").and_then(|rest| rest.split(':').next());
    let kind = known.unwrap_or(kind);
    KINDS.iter().chain(&chat::KINDS).find(|known| **known == kind).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests;
