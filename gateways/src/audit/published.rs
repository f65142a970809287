//! Each message of EVENTS against the event of the same number.
//!
//! A message has what the relay writes for that event, byte for byte. One that was written in another way is parsed:
//! with the same link, and content that gives that link, it has the same content, because the links of PostgreSQL are
//! proved by the pass over history.

use std::borrow::Cow;
use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use journal::recorded::GENESIS;
use journal::{Content, Hash};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::finding::{Disagreement, Findings, name};
use super::walk::Batch;

/// How many originals are remembered.
const ORIGINALS_MAX: usize = 64;

/// The messages of EVENTS, in order, beside history.
#[derive(Debug)]
pub struct Published {
    pub findings: Findings,
    /// How many messages were compared.
    pub compared: u64,
    /// The first messages that have what was recorded, where PostgreSQL has something else under the same link.
    pub originals: Vec<i64>,
    /// The last sequence that was read.
    last: i64,
    /// PostgreSQL's link at `last`, if it has that event.
    link: Option<Hash>,
    /// The history that comes next: the first batch from this row on.
    history: VecDeque<Batch>,
    row: usize,
    /// What the relay writes for an event; kept for its memory.
    body: Vec<u8>,
}

/// The body of a message, as the relay writes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    position: i64,
    #[serde(borrow)]
    aggregate_type: Cow<'a, str>,
    #[serde(borrow)]
    aggregate_id: Cow<'a, str>,
    sequence: i64,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    event_version: Cow<'a, str>,
    event_id: Uuid,
    command_id: Uuid,
    recorded_at: DateTime<Utc>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    metadata: &'a RawValue,
    #[serde(with = "hex::serde")]
    hash: Hash,
}

impl Body<'_> {
    fn content(&self) -> Content<'_> {
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
}

impl Published {
    /// Begins after the message `after`; what history has before it is not looked at.
    pub fn after(after: i64) -> Self {
        Published {
            findings: Findings::default(),
            compared: 0,
            originals: Vec::new(),
            last: after,
            link: (after == 0).then_some(GENESIS),
            history: VecDeque::new(),
            row: 0,
            body: Vec::new(),
        }
    }

    /// The next part of history; it must be there before the messages that belong to it.
    pub fn expect(&mut self, batch: Batch) {
        self.history.push_back(batch);
    }

    /// The last position of the history that is here.
    pub fn expected_to(&self) -> i64 {
        let last = self.history.back().and_then(|batch| batch.rows.last());
        last.map_or(i64::MIN, |row| row.position())
    }

    pub fn see(&mut self, sequence: i64, subject: &str, body: &[u8]) {
        self.skip_to(sequence);
        self.pass(sequence);
        let previous = self.link.take();
        self.last = sequence;
        self.compared += 1;
        let batch = self.history.front().map(std::sync::Arc::clone);
        let row = batch.as_ref().and_then(|batch| batch.rows.get(self.row));
        let Some(row) = row.filter(|row| row.position() == sequence) else {
            match serde_json::from_slice::<Body<'_>>(body) {
                Ok(body) => {
                    let found = name(&body.content());
                    let expected = "no such event in PostgreSQL".to_owned();
                    self.wrong(sequence, "position", expected, found);
                }
                Err(error) => self.unreadable(sequence, &error),
            }
            return;
        };
        self.link = Some(*row.hash());
        self.row += 1;
        self.body.clear();
        let content = row.content();
        let written = content.write(row.hash(), &mut self.body);
        if written.is_err() || self.body != body {
            match serde_json::from_slice(body) {
                Ok(body) => {
                    let found = self.findings.total;
                    self.compare(sequence, &body, previous.as_ref(), row.hash());
                    if self.findings.total == found && self.originals.len() < ORIGINALS_MAX {
                        self.originals.push(sequence);
                    }
                }
                Err(error) => self.unreadable(sequence, &error),
            }
        }
        let address =
            [content.aggregate_type, content.aggregate_id, content.event_type].into_iter();
        if !address.eq(subject.strip_prefix("evt.").unwrap_or_default().split('.')) {
            let expected = format!(
                "evt.{}.{}.{}",
                content.aggregate_type, content.aggregate_id, content.event_type
            );
            self.wrong(sequence, "subject", expected, subject.to_owned());
        }
    }

    /// Ends at `until`: what was not read by then is missing.
    pub fn finish(&mut self, until: i64) {
        self.skip_to(until + 1);
    }

    /// Compares a message that is not written as the relay writes it.
    fn compare(&mut self, sequence: i64, body: &Body<'_>, previous: Option<&Hash>, link: &Hash) {
        let content = body.content();
        if body.position != sequence {
            self.wrong(sequence, "position", sequence.to_string(), body.position.to_string());
        } else if body.hash != *link {
            self.wrong(sequence, "hash", hex::encode(link), hex::encode(body.hash));
        } else if let Some(previous) = previous
            && content.link(previous) != *link
        {
            let about = format!("message {sequence} of EVENTS, {}", name(&content));
            self.findings.add(|| Disagreement {
                position: Some(sequence),
                sentence: format!("{about}: content does not match its hash"),
                about,
                field: "hash".to_owned(),
                expected: hex::encode(content.link(previous)),
                found: hex::encode(link),
            });
        }
    }

    /// Names the messages between the last one and `sequence`.
    fn skip_to(&mut self, sequence: i64) {
        let (from, to) = (self.last + 1, sequence - 1);
        if from > to {
            return;
        }
        let missing = if from == to {
            format!("sequence {from} is missing")
        } else {
            format!("sequences {from} to {to} are missing")
        };
        self.findings.add(|| Disagreement {
            position: Some(from),
            about: format!("message {from} of EVENTS"),
            field: "sequence".to_owned(),
            expected: format!("messages {from} to {to}"),
            found: "none".to_owned(),
            sentence: format!("EVENTS: {missing}"),
        });
        self.last = to;
        self.link = None;
    }

    /// Leaves behind the history before `sequence`, but for the link that comes before it.
    fn pass(&mut self, sequence: i64) {
        while let Some(batch) = self.history.front() {
            let Some(row) = batch.rows.get(self.row) else {
                self.history.pop_front();
                self.row = 0;
                continue;
            };
            if row.position() >= sequence {
                return;
            }
            if row.position() == sequence - 1 {
                self.link = Some(*row.hash());
            }
            self.row += 1;
        }
    }

    fn unreadable(&mut self, sequence: i64, error: &serde_json::Error) {
        self.wrong(sequence, "body", "a recorded event".to_owned(), error.to_string());
    }

    fn wrong(&mut self, sequence: i64, field: &str, expected: String, found: String) {
        self.findings.add(|| Disagreement {
            position: Some(sequence),
            about: format!("message {sequence} of EVENTS"),
            field: field.to_owned(),
            sentence: format!(
                "message {sequence} of EVENTS: {field} is {found}, PostgreSQL says {expected}"
            ),
            expected,
            found,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use journal::Recorded;
    use journal::history::Row;

    use super::super::made::{Made, history};
    use super::super::walk::Part;
    use super::*;

    fn recorded(made: &Made) -> Recorded {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).expect("JSON");
        let content = made.content();
        Recorded {
            position: content.position,
            aggregate_type: content.aggregate_type.to_owned(),
            aggregate_id: content.aggregate_id.to_owned(),
            sequence: content.sequence,
            event_type: content.event_type.to_owned(),
            event_version: content.event_version.to_owned(),
            event_id: content.event_id,
            command_id: content.command_id,
            recorded_at: DateTime::from_timestamp_micros(content.recorded_at).expect("a time"),
            payload: raw(content.payload),
            metadata: raw(content.metadata),
            hash: made.hash,
        }
    }

    fn batch(history: &[Made]) -> Batch {
        Arc::new(Part::new(
            history.iter().map(|made| Row::new(&made.content(), made.hash)).collect(),
        ))
    }

    fn read(history: &[Made], messages: &[Recorded]) -> Published {
        let mut published = Published::after(0);
        published.expect(batch(history));
        for message in messages {
            let body = serde_json::to_vec(message).expect("JSON");
            published.see(message.position, &message.subject(), &body);
        }
        published.finish(history.len() as i64);
        published
    }

    fn messages(history: &[Made]) -> Vec<Recorded> {
        history.iter().map(recorded).collect()
    }

    #[test]
    fn what_the_relay_writes_is_equal() {
        let history = history(10);
        let published = read(&history, &messages(&history));
        assert!(published.findings.is_empty(), "{:?}", published.findings);
        assert_eq!(published.compared, 10);
    }

    #[test]
    fn a_removed_message_is_one_hole() {
        let history = history(10);
        let mut messages = messages(&history);
        messages.remove(6);
        let published = read(&history, &messages);
        assert_eq!(published.findings.total, 1);
        assert_eq!(published.findings.first[0].sentence, "EVENTS: sequence 7 is missing");
        assert_eq!(published.findings.first[0].position, Some(7));
    }

    #[test]
    fn a_removed_end_is_missing_too() {
        let history = history(10);
        let published = read(&history, &messages(&history)[..7]);
        assert_eq!(published.findings.first[0].sentence, "EVENTS: sequences 8 to 10 are missing");
    }

    #[test]
    fn other_content_another_link_and_another_subject_are_named() {
        let history = history(10);
        let mut changed = messages(&history);
        changed[2].payload = changed[3].payload.clone();
        changed[5].hash = [7; 32];
        let mut published = read(&history, &changed);
        assert_eq!(published.findings.total, 2);
        assert_eq!(
            published.findings.first[0].sentence,
            "message 3 of EVENTS, event 3 (account 5001 #3 credited): content does not match its hash"
        );
        assert_eq!(published.findings.first[1].field, "hash");
        published = Published::after(0);
        published.expect(batch(&history[..1]));
        let body = serde_json::to_vec(&changed[0]).expect("JSON");
        published.see(1, "evt.account.5002.credited", &body);
        assert_eq!(published.findings.first[0].field, "subject");
    }

    #[test]
    fn a_trimmed_head_starts_from_the_link_before_it() {
        let history = history(10);
        let mut published = Published::after(4);
        published.expect(batch(&history[..2]));
        published.expect(batch(&history[2..]));
        for message in &messages(&history)[4..] {
            let body = serde_json::to_vec(message).expect("JSON");
            published.see(message.position, &message.subject(), &body);
        }
        assert!(published.findings.is_empty());
        assert_eq!((published.compared, published.last), (6, 10));
    }

    #[test]
    fn a_message_written_in_another_way_is_equal_if_its_content_is() {
        let history = history(3);
        let mut published = Published::after(1);
        published.expect(batch(&history));
        for message in &messages(&history)[1..] {
            let body = serde_json::to_vec_pretty(message).expect("JSON");
            published.see(message.position, &message.subject(), &body);
        }
        assert!(published.findings.is_empty(), "{:?}", published.findings);
    }

    #[test]
    fn a_message_without_an_event_is_named() {
        let history = history(3);
        let published = read(&history[..2], &messages(&history));
        assert_eq!(published.findings.first[0].position, Some(3));
        assert_eq!(published.findings.first[0].field, "position");
    }
}
