//! What is shown of a chat: one frame for each line, deletion and clearing, as the chat overlay gets it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame {
    /// The first one.
    Hello {},
    Line(Line),
    /// This line is not to be seen any more.
    Deleted {
        id: String,
    },
    /// Nor any line of this viewer, by id, that was said before.
    ClearedViewer {
        viewer: String,
        /// When it was cleared, as Twitch says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<DateTime<Utc>>,
    },
    /// Nor any line that was said before.
    Cleared {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<DateTime<Utc>>,
    },
}

/// What somebody said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub id: String,
    pub viewer: Who,
    /// `#rrggbb`, where the viewer has chosen one.
    pub colour: Option<String>,
    /// Their names, such as `moderator` and `subscriber`.
    pub badges: Vec<String>,
    pub parts: Vec<Part>,
    pub at: DateTime<Utc>,
    /// Whether we said it.
    pub bot: bool,
    /// Whether it asks us for something.
    pub request: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Who {
    pub id: String,
    pub name: Option<String>,
}

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    Text {
        text: String,
    },
    /// `emote` is Twitch's id of it.
    Emote {
        emote: String,
        name: String,
    },
    Mention {
        mention: String,
    },
}

impl Part {
    /// What is read of it.
    pub fn words(&self) -> &str {
        match self {
            Part::Text { text } => text,
            Part::Emote { name, .. } => name,
            Part::Mention { mention } => mention,
        }
    }
}

impl Frame {
    /// Its name in subjects.
    pub fn kind(&self) -> &'static str {
        match self {
            Frame::Hello {} => "hello",
            Frame::Line(_) => "line",
            Frame::Deleted { .. } => "deleted",
            Frame::ClearedViewer { .. } => "cleared_viewer",
            Frame::Cleared { .. } => "cleared",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What the overlay is written against.
    #[test]
    fn frames_are_written_as_the_overlay_reads_them() {
        let line = Frame::Line(Line {
            id: "m-1".to_owned(),
            viewer: Who { id: "5001".to_owned(), name: Some("ReelDeal".to_owned()) },
            colour: Some("#ff7f50".to_owned()),
            badges: vec!["moderator".to_owned()],
            parts: vec![
                Part::Text { text: "hi ".to_owned() },
                Part::Emote { emote: "25".to_owned(), name: "Kappa".to_owned() },
                Part::Mention { mention: "BetaMaxine".to_owned() },
            ],
            at: DateTime::from_timestamp(1_750_000_000, 0).expect("a time"),
            bot: false,
            request: true,
        });
        let (id, viewer, at) = ("m-1".to_owned(), "5001".to_owned(), None);
        let cleared = DateTime::from_timestamp(1_750_000_000, 0);
        for (frame, json) in [
            (Frame::Hello {}, json!({"type": "hello"})),
            (
                line,
                json!({"type": "line", "id": "m-1", "viewer": {"id": "5001", "name": "ReelDeal"},
                       "colour": "#ff7f50", "badges": ["moderator"],
                       "parts": [{"text": "hi "}, {"emote": "25", "name": "Kappa"},
                                 {"mention": "BetaMaxine"}],
                       "at": "2025-06-15T15:06:40Z", "bot": false, "request": true}),
            ),
            (Frame::Deleted { id }, json!({"type": "deleted", "id": "m-1"})),
            (
                Frame::ClearedViewer { viewer, at },
                json!({"type": "cleared_viewer", "viewer": "5001"}),
            ),
            (Frame::Cleared { at }, json!({"type": "cleared"})),
            (
                Frame::Cleared { at: cleared },
                json!({"type": "cleared", "at": "2025-06-15T15:06:40Z"}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&frame).expect("JSON"), json);
            assert_eq!(serde_json::from_value::<Frame>(json.clone()).expect("read"), frame);
            assert_eq!(json["type"], Value::from(frame.kind()));
        }
    }
}
