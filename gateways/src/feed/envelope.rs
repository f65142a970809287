//! The one envelope of the feed, made once and shared by all who read it.

use std::ops::Range;

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::alerting::Kind;
use projections::alerts::Alert;
use projections::statements::Line;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::PING_EVERY;
use crate::http::accounts::EntryAnswer;

/// What every frame carries.
#[derive(Serialize)]
struct Envelope<'a> {
    epoch: Uuid,
    position: i64,
    id: Option<Uuid>,
    r#type: &'a str,
    at: DateTime<Utc>,
    mode: Mode,
    data: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It happened while the reader was there.
    Live,
    /// It happened before the reader came.
    Replay,
    /// It is about the connection: `hello`, `ping`, `bye`.
    Control,
}

/// An envelope as bytes: a block of server-sent events, with the JSON inside it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub position: i64,
    /// `None` for what is no alert.
    pub kind: Option<Kind>,
    block: Bytes,
    json: Range<usize>,
}

impl Frame {
    pub fn alert(epoch: Uuid, alert: &Alert, mode: Mode) -> Self {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == alert.kind);
        let envelope = Envelope {
            epoch,
            position: alert.position,
            id: Some(alert.id),
            r#type: &alert.kind,
            at: alert.at,
            mode,
            data: alert.feed_data(),
        };
        Self::new(kind, &envelope)
    }

    /// An entry of somebody's own account.
    pub fn entry(epoch: Uuid, line: Line, mode: Mode) -> Self {
        let (position, id, at, kind) =
            (line.position, Some(line.entry), line.at, line.kind.clone());
        let data = serde_json::to_value(EntryAnswer::from(line)).unwrap_or_default();
        Self::new(None, &Envelope { epoch, position, id, r#type: &kind, at, mode, data })
    }

    pub fn hello(epoch: Uuid, position: i64, after: Option<i64>, resumed: bool) -> Self {
        let data = json!({
            "build": env!("CARGO_PKG_VERSION"),
            "after": after,
            "resumed": resumed,
            "ping_ms": PING_EVERY.as_millis() as u64,
        });
        Self::control(epoch, position, "hello", data)
    }

    pub fn ping(epoch: Uuid, position: i64) -> Self {
        Self::control(epoch, position, "ping", json!({}))
    }

    pub fn bye(epoch: Uuid, position: i64, reason: &str) -> Self {
        Self::control(epoch, position, "bye", json!({"reason": reason}))
    }

    fn control(epoch: Uuid, position: i64, r#type: &str, data: Value) -> Self {
        let (id, at, mode) = (None, Utc::now(), Mode::Control);
        Self::new(None, &Envelope { epoch, position, id, r#type, at, mode, data })
    }

    fn new(kind: Option<Kind>, envelope: &Envelope<'_>) -> Self {
        let json = serde_json::to_string(envelope).unwrap_or_else(|_| "{}".to_owned());
        let head = match envelope.id {
            Some(_) => format!("id: {}\ndata: ", envelope.position),
            None => "data: ".to_owned(),
        };
        let range = head.len()..head.len() + json.len();
        let block = Bytes::from(head + &json + "\n\n");
        Frame { position: envelope.position, kind, block, json: range }
    }

    /// As a block of `text/event-stream`.
    pub fn block(&self) -> Bytes {
        self.block.clone()
    }

    /// As JSON with a line feed after it.
    pub fn line(&self) -> Bytes {
        self.block.slice(self.json.start..self.json.end + 1)
    }

    /// As JSON, for a WebSocket.
    pub fn text(&self) -> Utf8Bytes {
        Utf8Bytes::try_from(self.block.slice(self.json.clone())).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use projections::Viewer;

    fn cheer() -> Alert {
        Alert {
            position: 124,
            id: Uuid::from_u128(7),
            kind: "cheer".to_owned(),
            viewer: Some(Viewer { id: "5001".to_owned(), name: Some("ReelDeal".to_owned()) }),
            data: json!({"bits": 150, "message": "a\nb \u{1f4fc}"}),
            at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_alert_is_one_block_whose_json_all_transports_share() {
        let frame = Frame::alert(Uuid::nil(), &cheer(), Mode::Live);
        let block = String::from_utf8(frame.block().to_vec()).expect("text");
        let data = block.strip_prefix("id: 124\ndata: ").and_then(|b| b.strip_suffix("\n\n"));
        let data = data.expect("one id, one data line, one empty line");
        assert!(!data.contains('\n'), "a line feed would end the data line");
        assert_eq!(frame.text().as_str(), data);
        assert_eq!(frame.line(), format!("{data}\n"));
        let value: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(
            value,
            json!({
                "epoch": Uuid::nil(), "position": 124, "id": Uuid::from_u128(7), "type": "cheer",
                "at": "1970-01-01T00:00:00Z", "mode": "live",
                "data": {"bits": 150, "message": "a\nb \u{1f4fc}",
                         "viewer": {"id": "5001", "name": "ReelDeal"}},
            })
        );
    }

    #[test]
    fn a_control_frame_moves_no_last_event_id() {
        let frame = Frame::ping(Uuid::nil(), 9);
        assert!(frame.block().starts_with(b"data: "));
        assert_eq!((frame.position, frame.kind), (9, None));
    }
}
