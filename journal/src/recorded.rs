//! An event as it is recorded: in PostgreSQL, in EVENTS, and on the way to a projection, always with the same fields.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A link of the hash chain: SHA-256 over the previous link and the content of one event.
pub type Hash = [u8; 32];

/// The link before the first event.
pub const GENESIS: Hash = [0; 32];

/// One event of the journal. `payload` and `metadata` are kept as the bytes that were stored and hashed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub event_id: Uuid,
    pub command_id: Uuid,
    pub recorded_at: DateTime<Utc>,
    pub payload: Box<RawValue>,
    pub metadata: Box<RawValue>,
    #[serde(with = "hex::serde")]
    pub hash: Hash,
}

impl Recorded {
    /// `evt.<aggregate>.<id>.<event>`, the subject under which the relay publishes this event.
    pub fn subject(&self) -> String {
        format!("evt.{}.{}.{}", self.aggregate_type, self.aggregate_id, self.event_type)
    }

    /// The fields in the form the hash chain and the audit read them.
    pub fn content(&self) -> Content<'_> {
        Content {
            position: self.position,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
            event_version: &self.event_version,
            event_id: self.event_id,
            command_id: self.command_id,
            recorded_at: self.recorded_at.timestamp_micros(),
            payload: self.payload.get(),
            metadata: self.metadata.get(),
        }
    }

    /// The payload as the event of aggregate `A`.
    pub fn event<E: serde::de::DeserializeOwned>(&self) -> Result<E, serde_json::Error> {
        serde_json::from_str(self.payload.get())
    }
}

/// A borrowed event without its link: what is hashed. Times are microseconds since 1970, as PostgreSQL keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    pub position: i64,
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
    pub sequence: i64,
    pub event_type: &'a str,
    pub event_version: &'a str,
    pub event_id: Uuid,
    pub command_id: Uuid,
    pub recorded_at: i64,
    pub payload: &'a str,
    pub metadata: &'a str,
}

impl Content<'_> {
    /// `H(previous ‖ content)`: numbers as 8 bytes big-endian, ids as 16 bytes, texts with their length in 4 bytes
    /// before them, so that no two contents share their bytes.
    pub fn link(&self, previous: &Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(previous);
        let mut fixed = [0_u8; 56];
        fixed[..8].copy_from_slice(&self.position.to_be_bytes());
        fixed[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        fixed[16..24].copy_from_slice(&self.recorded_at.to_be_bytes());
        fixed[24..40].copy_from_slice(self.event_id.as_bytes());
        fixed[40..].copy_from_slice(self.command_id.as_bytes());
        hasher.update(fixed);
        for text in [
            self.aggregate_type,
            self.aggregate_id,
            self.event_type,
            self.event_version,
            self.payload,
            self.metadata,
        ] {
            hasher.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().into()
    }
}
