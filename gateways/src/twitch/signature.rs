//! Whether a request is Twitch's own and fresh: HMAC-SHA256 over message id, timestamp and body as they came.
//!
//! The subscription type and the message type in the headers are not signed. What a notification is about is
//! therefore read from its signed body.

use axum::http::HeaderMap;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;

pub const MESSAGE_ID: &str = "twitch-eventsub-message-id";
pub const MESSAGE_RETRY: &str = "twitch-eventsub-message-retry";
pub const MESSAGE_TYPE: &str = "twitch-eventsub-message-type";
pub const MESSAGE_SIGNATURE: &str = "twitch-eventsub-message-signature";
pub const MESSAGE_TIMESTAMP: &str = "twitch-eventsub-message-timestamp";
pub const SUBSCRIPTION_TYPE: &str = "twitch-eventsub-subscription-type";
pub const SUBSCRIPTION_VERSION: &str = "twitch-eventsub-subscription-version";

/// How far a timestamp may lie in the past or, by the fault of a clock, in the future.
pub const FRESH_MINUTES: i64 = 10;

/// What Twitch and we know and nobody else. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Twitch accepts 10 to 100 ASCII characters.
    pub fn new(secret: impl Into<String>) -> Result<Self, BadSecret> {
        let secret = secret.into();
        if !(10..=100).contains(&secret.len()) || !secret.is_ascii() {
            return Err(BadSecret);
        }
        Ok(Secret(secret))
    }

    /// For Twitch, and to be sealed.
    pub(in crate::twitch) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("an EventSub secret is 10 to 100 ASCII characters")]
pub struct BadSecret;

/// The headers of a request whose signature was right. They live as long as the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Authentic<'a> {
    pub message_id: &'a str,
    pub sent_at: DateTime<Utc>,
    /// `notification`, `webhook_callback_verification`, `revocation`, or what Twitch adds one day. Not signed.
    pub message_type: &'a str,
    /// The type and version of the EventSub subscription, for messages whose body does not say. Not signed.
    pub kind: &'a str,
    pub version: &'a str,
}

/// Why a request is not believed. All of these are answered with 403.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum Refusal {
    #[error("the header {0} is missing or not plain text")]
    MissingHeader(&'static str),
    #[error("the signature is not of the form sha256=<64 hex digits>")]
    BadSignatureForm,
    #[error("the signature does not match any accepted secret")]
    WrongSignature,
    #[error("the timestamp is not RFC 3339")]
    BadTimestamp,
    #[error("the message is older than {FRESH_MINUTES} minutes")]
    TooOld,
    #[error("the message is from more than {FRESH_MINUTES} minutes in the future")]
    FromTheFuture,
}

impl Refusal {
    /// A short name for counters.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::MissingHeader(_) => "unsigned",
            Refusal::BadSignatureForm | Refusal::WrongSignature => "bad_signature",
            Refusal::BadTimestamp | Refusal::TooOld | Refusal::FromTheFuture => "stale",
        }
    }
}

/// Believes a request signed with one of `secrets` (the current one and those it replaced), or says why not.
pub fn verify<'a, 's>(
    secrets: impl IntoIterator<Item = &'s Secret>,
    headers: &'a HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<Authentic<'a>, Refusal> {
    let message_id = text(headers, MESSAGE_ID)?;
    let timestamp = text(headers, MESSAGE_TIMESTAMP)?;
    let claimed = claimed(text(headers, MESSAGE_SIGNATURE)?)?;
    let message_type = text(headers, MESSAGE_TYPE)?;
    let right = secrets.into_iter().fold(Choice::from(0), |right, secret| {
        right | digest(secret, message_id, timestamp, body).ct_eq(&claimed)
    });
    if !bool::from(right) {
        return Err(Refusal::WrongSignature);
    }
    let sent_at = fresh(timestamp, now)?;
    let or_empty = |name| text(headers, name).unwrap_or_default();
    let (kind, version) = (or_empty(SUBSCRIPTION_TYPE), or_empty(SUBSCRIPTION_VERSION));
    Ok(Authentic { message_id, sent_at, message_type, kind, version })
}

/// The value of the signature header for a message. The timestamp is signed as text, so it is never reformatted.
pub fn sign(secret: &Secret, message_id: &str, timestamp: &str, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(digest(secret, message_id, timestamp, body)))
}

fn digest(secret: &Secret, message_id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()) else {
        unreachable!("HMAC refused a key because of its length");
    };
    mac.update(message_id.as_bytes());
    mac.update(timestamp.as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().into()
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.filter(|value| !value.is_empty()).ok_or(Refusal::MissingHeader(name))
}

fn claimed(signature: &str) -> Result<[u8; 32], Refusal> {
    let digits = signature.strip_prefix("sha256=").ok_or(Refusal::BadSignatureForm)?;
    let mut claimed = [0; 32];
    hex::decode_to_slice(digits, &mut claimed).map_err(|_| Refusal::BadSignatureForm)?;
    Ok(claimed)
}

fn fresh(timestamp: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Refusal> {
    let sent_at =
        DateTime::parse_from_rfc3339(timestamp).map_err(|_| Refusal::BadTimestamp)?.to_utc();
    let age = now - sent_at;
    if age > TimeDelta::minutes(FRESH_MINUTES) {
        return Err(Refusal::TooOld);
    }
    if age < -TimeDelta::minutes(FRESH_MINUTES) {
        return Err(Refusal::FromTheFuture);
    }
    Ok(sent_at)
}

#[cfg(test)]
mod tests;
