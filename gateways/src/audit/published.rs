//! Each message of EVENTS against the event of the same number.
//!
//! PostgreSQL's links are proved by the pass over history. A message that carries the same link, and whose own
//! content gives that link, therefore has the same content: the events need not be read a second time.

use std::borrow::Cow;
use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use journal::recorded::GENESIS;
use journal::{Content, Hash};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::finding::{Disagreement, Findings, name};

/// The messages of EVENTS, in order, beside PostgreSQL's links.
#[derive(Debug)]
pub struct Published {
    pub findings: Findings,
    /// How many messages were compared.
    pub compared: u64,
    /// The last sequence that was read.
    last: i64,
    /// PostgreSQL's link at `last`, if it has that event.
    link: Option<Hash>,
    /// PostgreSQL's links that come next.
    links: VecDeque<(i64, Hash)>,
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
    /// Begins after the message `after`, whose link PostgreSQL has as `link`.
    pub fn after(after: i64, link: Option<Hash>) -> Self {
        let link = if after == 0 { Some(GENESIS) } else { link };
        Published {
            findings: Findings::default(),
            compared: 0,
            last: after,
            link,
            links: VecDeque::new(),
        }
    }

    /// PostgreSQL's next links, in order; they must be there before the messages they belong to.
    pub fn expect(&mut self, links: impl IntoIterator<Item = (i64, Hash)>) {
        self.links.extend(links);
    }

    /// The last position whose link is known.
    pub fn expected_to(&self) -> i64 {
        self.links.back().map_or(self.last, |(position, _)| *position)
    }

    /// The last sequence that was read.
    pub fn last(&self) -> i64 {
        self.last
    }

    pub fn see(&mut self, sequence: i64, subject: &str, body: &[u8]) {
        self.skip_to(sequence);
        let link = match self.links.front() {
            Some((position, link)) if *position == sequence => Some(*link),
            _ => None,
        };
        let previous = std::mem::replace(&mut self.link, link);
        self.last = sequence;
        if link.is_some() {
            self.links.pop_front();
        }
        self.compared += 1;
        let body: Body<'_> = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => {
                let found = error.to_string();
                self.wrong(sequence, "body", "a recorded event".to_owned(), found);
                return;
            }
        };
        let Some(link) = link else {
            let found = name(&body.content());
            self.wrong(sequence, "position", "no such event in PostgreSQL".to_owned(), found);
            return;
        };
        self.compare(sequence, subject, &body, previous.as_ref(), &link);
    }

    /// Ends at `until`: what was not read by then is missing.
    pub fn finish(&mut self, until: i64) {
        self.skip_to(until + 1);
    }

    fn compare(
        &mut self,
        sequence: i64,
        subject: &str,
        body: &Body<'_>,
        previous: Option<&Hash>,
        link: &Hash,
    ) {
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
        while let Some((position, link)) = self.links.front()
            && *position <= to
        {
            self.link = (*position == to).then_some(*link);
            self.links.pop_front();
        }
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
    use journal::Recorded;

    use super::super::made::{Made, history};
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

    fn read(history: &[Made], messages: &[Recorded]) -> Published {
        let mut published = Published::after(0, None);
        published.expect(history.iter().map(|made| (made.position, made.hash)));
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
        published = Published::after(0, None);
        published.expect([(1, history[0].hash)]);
        let body = serde_json::to_vec(&changed[0]).expect("JSON");
        published.see(1, "evt.account.5002.credited", &body);
        assert_eq!(published.findings.first[0].field, "subject");
    }

    #[test]
    fn a_trimmed_head_starts_from_the_link_before_it() {
        let history = history(10);
        let mut published = Published::after(4, Some(history[3].hash));
        published.expect(history[4..].iter().map(|made| (made.position, made.hash)));
        for message in &messages(&history)[4..] {
            let body = serde_json::to_vec(message).expect("JSON");
            published.see(message.position, &message.subject(), &body);
        }
        assert!(published.findings.is_empty());
        assert_eq!((published.compared, published.last()), (6, 10));
    }

    #[test]
    fn a_message_without_an_event_is_named() {
        let history = history(3);
        let published = read(&history[..2], &messages(&history));
        assert_eq!(published.findings.first[0].position, Some(3));
        assert_eq!(published.findings.first[0].field, "position");
    }
}
