//! An event as it is recorded: in PostgreSQL, in EVENTS, and on the way to a projection, always with the same fields.

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
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

    /// The body of that message.
    pub fn body(&self) -> Result<Vec<u8>, serde_json::Error> {
        let fixed = 512; // bytes of names, numbers and ids, and some to spare
        let mut body =
            Vec::with_capacity(fixed + self.payload.get().len() + self.metadata.get().len());
        self.content().write(&self.hash, &mut body)?;
        Ok(body)
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
    /// Writes the event with its `link` as the relay publishes it: the JSON of [`Recorded`], without reading payload
    /// and metadata again.
    pub fn write(&self, link: &Hash, body: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        #[derive(Serialize)]
        struct Beginning<'a> {
            position: i64,
            aggregate_type: &'a str,
            aggregate_id: &'a str,
            sequence: i64,
            event_type: &'a str,
            event_version: &'a str,
            event_id: &'a str,
            command_id: &'a str,
            recorded_at: &'a str,
        }
        let (mut event_id, mut command_id) = (Uuid::encode_buffer(), Uuid::encode_buffer());
        let beginning = Beginning {
            position: self.position,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            event_id: self.event_id.hyphenated().encode_lower(&mut event_id),
            command_id: self.command_id.hyphenated().encode_lower(&mut command_id),
            recorded_at: &written_time(self.recorded_at),
        };
        serde_json::to_writer(&mut *body, &beginning)?;
        body.pop(); // its closing brace: the object goes on
        for (name, json) in [(",\"payload\":", self.payload), (",\"metadata\":", self.metadata)] {
            body.extend_from_slice(name.as_bytes());
            body.extend_from_slice(json.as_bytes());
        }
        body.extend_from_slice(b",\"hash\":\"");
        let mut digits = [0; 64];
        if hex::encode_to_slice(link, &mut digits).is_ok() {
            body.extend_from_slice(&digits);
        }
        body.extend_from_slice(b"\"}");
        Ok(())
    }

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

/// A time as serde writes it: as many digits of the second as it needs, three at a time. This is the inner loop of the
/// relay and of the audit, and the formatter of chrono takes several times as long.
fn written_time(micros: i64) -> String {
    let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
    let Ok(year @ 0..=9999) = u32::try_from(time.year()) else {
        return time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    };
    let mut text = String::with_capacity("2000-01-01T00:00:00.000000Z".len());
    let mut push = |number: u32, digits: u32, then: char| {
        for digit in (0..digits).rev() {
            text.push(char::from(b'0' + (number / 10_u32.pow(digit) % 10) as u8));
        }
        text.push(then);
    };
    push(year, 4, '-');
    push(time.month(), 2, '-');
    push(time.day(), 2, 'T');
    push(time.hour(), 2, ':');
    push(time.minute(), 2, ':');
    match time.timestamp_subsec_micros() {
        0 => push(time.second(), 2, 'Z'),
        micros => {
            push(time.second(), 2, '.');
            match micros % 1000 {
                0 => push(micros / 1000, 3, 'Z'),
                _ => push(micros, 6, 'Z'),
            }
        }
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The event at `position`, of which nothing else is of interest.
    pub(crate) fn event(position: i64) -> Recorded {
        Recorded {
            position,
            aggregate_type: "account".to_owned(),
            aggregate_id: "5001".to_owned(),
            sequence: position,
            event_type: "credited".to_owned(),
            event_version: "1.0".to_owned(),
            event_id: Uuid::nil(),
            command_id: Uuid::nil(),
            recorded_at: DateTime::UNIX_EPOCH,
            payload: RawValue::NULL.to_owned(),
            metadata: RawValue::NULL.to_owned(),
            hash: [0; 32],
        }
    }

    #[test]
    fn a_body_is_the_json_of_the_event() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).expect("JSON");
        let times = [0, 1, -1, 1_700_000_000_000_000, 1_700_000_000_123_000, 1_700_000_000_123_456];
        // The first and the last that four digits can say, and those beside them.
        let far = [-62_167_219_200_000_000, 253_402_300_799_999_999];
        for micros in times.into_iter().chain(far.into_iter().flat_map(|at| [at - 1, at, at + 1])) {
            let recorded = Recorded {
                position: i64::MAX,
                aggregate_type: "account".to_owned(),
                aggregate_id: "a \"quoted\" \u{1f3ab}\n id".to_owned(),
                sequence: 1,
                event_type: "credited".to_owned(),
                event_version: "1.0".to_owned(),
                event_id: Uuid::from_u128(7),
                command_id: Uuid::from_u128(u128::MAX),
                recorded_at: DateTime::from_timestamp_micros(micros).expect("a time"),
                payload: raw("{\"credited\" : {\"points\":1}}"),
                metadata: raw("null"),
                hash: [0xa5; 32],
            };
            let body = recorded.body().expect("written");
            assert_eq!(body, serde_json::to_vec(&recorded).expect("JSON"));
        }
    }
}
