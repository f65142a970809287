//! The shapes of messages.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::rules::Tier;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ONSCREEN_EVENTS, TWITCH_EVENTS};

/// A message, and the queue that it belongs to.
pub(super) type Message = (&'static str, Value);

/// The numbers of tapes whose ids are none begin here, well above those on labels, and fit 31 bits.
const TAPES_WITHOUT_NUMBER: u32 = 1_000_000_000;

/// The number of a tape: its id, where that is a number; else a number that always follows from its id. 0 is no tape.
pub fn tape_number(tape: &str) -> i64 {
    match tape.parse::<u32>() {
        Ok(number) if (1..TAPES_WITHOUT_NUMBER).contains(&number) => i64::from(number),
        _ => {
            let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(tape.as_bytes()));
            let drawn = u32::from_be_bytes([a, b, c, d]) % TAPES_WITHOUT_NUMBER;
            i64::from(TAPES_WITHOUT_NUMBER + drawn)
        }
    }
}

pub(super) fn twitch(kind: &str, viewer: Option<Value>, payload: Option<Value>) -> Message {
    (TWITCH_EVENTS, json!({"type": kind, "viewer": viewer, "payload": payload}))
}

pub(super) fn toast(kind: &str, viewer: Value, data: Option<Value>) -> Message {
    let mut payload = json!({"type": kind, "viewer": viewer});
    if let Some(data) = data {
        payload["data"] = data;
    }
    (ONSCREEN_EVENTS, json!({"type": "toast", "payload": payload}))
}

pub(super) fn image(kind: &str, viewer: Value, details: Value) -> Message {
    let payload = json!({"type": kind, "viewer": viewer, "details": details});
    (ONSCREEN_EVENTS, json!({"type": "image", "payload": payload}))
}

pub(super) fn status(tape: i64) -> Message {
    (ONSCREEN_EVENTS, json!({"type": "status", "payload": {"current_tape_id": tape}}))
}

/// As that system wrote the tiers, whatever the rules here give for them.
pub(super) fn multiplier(tier: Tier) -> i64 {
    match tier {
        Tier::One => 1,
        Tier::Two => 2,
        Tier::Three => 5,
    }
}

pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
