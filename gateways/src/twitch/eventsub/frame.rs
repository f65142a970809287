//! What Twitch says over a WebSocket, one frame at a time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The most that one frame may have; notifications are a few kilobytes.
pub const BYTES_MAX: usize = 1024 * 1024;

/// How often a sign of life is due where Twitch does not say.
const KEEPALIVE_S: u64 = 10;
const KEEPALIVE_S_MAX: u64 = 600;
const SESSION_LENGTH_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The connection is there, under this id.
    Welcome {
        session: String,
        keepalive: Duration,
    },
    Keepalive,
    /// This connection ends soon: go on at that address.
    Reconnect {
        url: String,
    },
    Told(Told),
    /// Of a type that we do not know.
    Unknown {
        kind: String,
    },
}

/// A notification or a revocation: what a webhook has in its headers, and its body.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub message_id: String,
    /// `notification` or `revocation`.
    pub message_type: String,
    pub sent_at: DateTime<Utc>,
    pub kind: String,
    pub version: String,
    pub body: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    metadata: Metadata,
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Metadata {
    message_id: String,
    message_type: String,
    message_timestamp: DateTime<Utc>,
    #[serde(default)]
    subscription_type: String,
    #[serde(default)]
    subscription_version: String,
}

#[derive(Deserialize)]
struct Payload {
    session: Session,
}

#[derive(Deserialize)]
struct Session {
    #[serde(default)]
    id: String,
    #[serde(default)]
    keepalive_timeout_seconds: Option<u64>,
    #[serde(default)]
    reconnect_url: Option<String>,
}

/// Reads a frame; what is wrong with it, if it cannot be read.
pub fn read(text: &str) -> Result<Frame, String> {
    let Envelope { metadata, payload } = serde_json::from_str(text).map_err(said)?;
    let session = || serde_json::from_str::<Payload>(payload.get()).map(|all| all.session);
    match metadata.message_type.as_str() {
        "session_welcome" => {
            let Session { id, keepalive_timeout_seconds, .. } = session().map_err(said)?;
            if id.is_empty() || id.len() > SESSION_LENGTH_MAX {
                return Err("a welcome without an id".to_owned());
            }
            let seconds = keepalive_timeout_seconds.unwrap_or(KEEPALIVE_S);
            let keepalive = Duration::from_secs(seconds.clamp(1, KEEPALIVE_S_MAX));
            Ok(Frame::Welcome { session: id, keepalive })
        }
        "session_keepalive" => Ok(Frame::Keepalive),
        "session_reconnect" => {
            let url = session().map_err(said)?.reconnect_url;
            let url = url.ok_or_else(|| "a reconnect without an address".to_owned())?;
            Ok(Frame::Reconnect { url })
        }
        "notification" | "revocation" => Ok(Frame::Told(Told {
            message_id: metadata.message_id,
            message_type: metadata.message_type,
            sent_at: metadata.message_timestamp,
            kind: metadata.subscription_type,
            version: metadata.subscription_version,
            body: payload.get().to_owned(),
        })),
        _ => Ok(Frame::Unknown { kind: metadata.message_type.chars().take(60).collect() }),
    }
}

fn said(error: serde_json::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn frame(message_type: &str, payload: Value) -> Result<Frame, String> {
        let metadata = json!({
            "message_id": "96a3f3b5-5dec-4eed-908e-e11ee657416c", "message_type": message_type,
            "message_timestamp": "2023-07-19T14:56:51.634234626Z",
        });
        read(&json!({"metadata": metadata, "payload": payload}).to_string())
    }

    #[test]
    fn a_welcome_says_under_which_id_and_how_often_it_lives() {
        let welcome = |session: Value| frame("session_welcome", json!({ "session": session }));
        let of = |session: &str, seconds| Frame::Welcome {
            session: session.to_owned(),
            keepalive: Duration::from_secs(seconds),
        };
        let whole = json!({"id": "AQoQ", "status": "connected", "keepalive_timeout_seconds": 30,
            "reconnect_url": null, "connected_at": "2023-07-19T14:56:51.616329898Z"});
        assert_eq!(welcome(whole), Ok(of("AQoQ", 30)));
        assert_eq!(welcome(json!({"id": "a"})), Ok(of("a", 10)));
        assert_eq!(welcome(json!({"id": "a", "keepalive_timeout_seconds": 0})), Ok(of("a", 1)));
        for wrong in [json!({"id": ""}), json!({}), json!(null), json!({"id": "x".repeat(300)})] {
            assert!(welcome(wrong).is_err());
        }
    }

    #[test]
    fn a_notification_keeps_its_body_byte_for_byte() {
        let body = r#"{"subscription":{"type":"channel.cheer"},"event":{"bits" : 5.0}}"#;
        let text = format!(
            r#"{{"metadata":{{"message_id":"m-1","message_type":"notification","message_timestamp":"2023-07-19T14:56:51Z","subscription_type":"channel.cheer","subscription_version":"1"}},"payload":{body}}}"#
        );
        let Ok(Frame::Told(told)) = read(&text) else { panic!("a notification") };
        assert_eq!((told.body.as_str(), told.kind.as_str()), (body, "channel.cheer"));
        assert_eq!((told.message_id.as_str(), told.message_type.as_str()), ("m-1", "notification"));
    }

    #[test]
    fn whatever_else_comes_ends_nothing() {
        assert_eq!(frame("session_keepalive", json!({})), Ok(Frame::Keepalive));
        let url = "wss://eventsub.wss.twitch.tv?challenge=1".to_owned();
        let session = json!({"session": {"id": "a", "keepalive_timeout_seconds": null,
            "status": "reconnecting", "reconnect_url": url}});
        assert_eq!(frame("session_reconnect", session), Ok(Frame::Reconnect { url }));
        assert!(frame("session_reconnect", json!({"session": {}})).is_err());
        let unknown = Frame::Unknown { kind: "session_party".to_owned() };
        assert_eq!(frame("session_party", json!([])), Ok(unknown));
        for wrong in ["", "{}", "null", "[]", "\u{0}", r#"{"metadata":{},"payload":{}}"#] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        let deep = format!(r#"{{"metadata":{},"payload":{{}}}}"#, "[".repeat(500_000));
        assert!(read(&deep).is_err());
    }
}
