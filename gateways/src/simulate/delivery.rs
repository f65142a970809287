//! A notification as a signed HTTP request.

use chrono::{DateTime, Utc};

use super::payload::timestamp;
use crate::twitch::Secret;
use crate::twitch::signature::{
    MESSAGE_ID, MESSAGE_RETRY, MESSAGE_SIGNATURE, MESSAGE_TIMESTAMP, MESSAGE_TYPE,
    SUBSCRIPTION_TYPE, SUBSCRIPTION_VERSION, sign,
};

/// Headers and body, ready to be posted.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Delivery {
    /// `body` signed as Twitch does at `sent_at`. A delivery that is repeated has the same id and may have another
    /// time, and so another signature.
    pub fn signed(
        secret: &Secret,
        message_id: &str,
        (kind, version): (&str, &str),
        sent_at: DateTime<Utc>,
        body: String,
    ) -> Self {
        let timestamp = timestamp(sent_at);
        let signature = sign(secret, message_id, &timestamp, body.as_bytes());
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            (MESSAGE_ID, message_id.to_owned()),
            (MESSAGE_RETRY, "0".to_owned()),
            (MESSAGE_TYPE, "notification".to_owned()),
            (MESSAGE_SIGNATURE, signature),
            (MESSAGE_TIMESTAMP, timestamp),
            (SUBSCRIPTION_TYPE, kind.to_owned()),
            (SUBSCRIPTION_VERSION, version.to_owned()),
        ];
        Delivery { headers, body }
    }
}
