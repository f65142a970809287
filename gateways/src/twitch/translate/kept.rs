//! What cannot be translated is kept with the reason, as a dead letter that a later version can translate after all.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use uuid::Uuid;

use domain::rules::Rules;
use journal::command::check_id;
use journal::{Envelope, Origin};

use super::{SOURCE, Untranslatable, malformed, translate};
use crate::twitch::notification::{Notification, clean_text};

/// The aggregate type of what is kept. No aggregate decides about it: the journal parks it with its reason.
pub const NOTIFICATION: &str = "notification";
/// The namespace of its ids. Another one than [`SOURCE`], so that the translation of a kept notification is not taken
/// for a repetition of its keeping.
const KEPT_SOURCE: &str = "eventsub-kept";
/// The longest kind, version or reason, in characters.
const WORDS_MAX: usize = 300;

/// What is kept beside the body: what [`retranslate`] needs, and what a person wants to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keep {
    pub entry: Uuid,
    pub kind: String,
    pub version: String,
    pub message_id: String,
    pub sent_at: DateTime<Utc>,
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Keep(Keep),
}

impl Keep {
    pub fn new(
        message_id: &str,
        sent_at: DateTime<Utc>,
        kind: &str,
        version: &str,
        reason: &str,
    ) -> Self {
        Keep {
            entry: domain::entry_id(KEPT_SOURCE, message_id),
            kind: shortened(kind),
            version: shortened(version),
            message_id: message_id.to_owned(),
            sent_at,
            reason: shortened(reason),
        }
    }
}

fn shortened(words: &str) -> String {
    clean_text(words).chars().take(WORDS_MAX).collect()
}

/// The envelope that has `raw` kept. It goes to the aggregate named after the type, `channel-poll-begin`.
pub fn keep(keep: Keep, raw: Option<&str>, received_at: DateTime<Utc>) -> Envelope {
    let kind = keep.kind.split(':').nth(1).unwrap_or(&keep.kind).replace('.', "-");
    let aggregate_id = if check_id(&kind).is_ok() { kind } else { "unknown".to_owned() };
    let (entry, source_id) = (keep.entry, keep.message_id.clone());
    Envelope {
        id: entry,
        aggregate_type: NOTIFICATION.to_owned(),
        aggregate_id,
        command: to_raw_value(&Command::Keep(keep)).unwrap_or_default(),
        origin: Origin {
            source: SOURCE.to_owned(),
            source_id,
            actor: None,
            received_at,
            // A zero byte is not JSON, but it is authentic; what stores text refuses it.
            raw: raw.map(|raw| raw.replace('\0', "\u{fffd}")),
        },
        correlation: entry,
        causation: None,
        traceparent: None,
        reply_to: None,
        retry_of: None,
        names: Vec::new(),
    }
}

/// Translates a kept notification again: `raw` is the body in its origin, `command` its `{"keep": …}`. The commands
/// have the ids they would have had at first.
pub fn retranslate(
    raw: &str,
    command: &str,
    rules: &Rules,
    broadcaster_id: Option<&str>,
    received_at: DateTime<Utc>,
) -> Result<Vec<Envelope>, Untranslatable> {
    let Command::Keep(keep) = serde_json::from_str(command).map_err(malformed)?;
    let notification = Notification { message_id: &keep.message_id, sent_at: keep.sent_at, raw };
    translate(&notification, rules, broadcaster_id, received_at)
}
