//! Positions are 1, 2, 3 without gaps, times never go back, and each link of the hash chain follows from the one
//! before and the content it is for.

use journal::head::Head;
use journal::recorded::GENESIS;
use journal::{Content, Hash};

use super::finding::{Disagreement, Findings};

/// Reads events in position order and follows the chain. Each link starts from the stored one before it, so that one
/// changed event is one disagreement.
#[derive(Debug)]
pub struct Chain {
    pub positions: Findings,
    pub links: Findings,
    pub times: Findings,
    /// How many events were read.
    pub count: u64,
    last: i64,
    last_hash: Hash,
    last_time: i64,
    /// The next link cannot follow: what it follows from is not there.
    broken: bool,
}

impl Default for Chain {
    fn default() -> Self {
        Chain {
            positions: Findings::default(),
            links: Findings::default(),
            times: Findings::default(),
            count: 0,
            last: 0,
            last_hash: GENESIS,
            last_time: i64::MIN,
            broken: false,
        }
    }
}

impl Chain {
    pub fn see(&mut self, content: &Content<'_>, hash: &Hash) {
        self.count += 1;
        self.see_position(content);
        let link = content.link(&self.last_hash);
        if link != *hash && !self.broken {
            let says = "content does not match its hash";
            self.links.event(content, "hash", hex::encode(link), hex::encode(hash), says);
        }
        if content.recorded_at < self.last_time {
            let back = self.last_time - content.recorded_at;
            let says = format!("it was recorded {back} µs before the event before it");
            self.times.event(content, "recorded_at", self.last_time, content.recorded_at, says);
        }
        self.broken = false;
        self.last = content.position;
        self.last_hash = *hash;
        self.last_time = content.recorded_at;
    }

    /// Compares the end of what was read with the head row.
    pub fn finish(&mut self, head: &Head) {
        let (end, said) = (self.last, head.position);
        if end != said {
            let beyond = if end < said {
                format!("; events {} to {said} are missing", end + 1)
            } else {
                format!("; events {} to {end} are beyond it", said + 1)
            };
            self.positions.add(|| Disagreement {
                position: Some(end.min(said) + 1),
                about: "head".to_owned(),
                field: "position".to_owned(),
                expected: end.to_string(),
                found: said.to_string(),
                sentence: format!("head says {said} but events end at {end}{beyond}"),
            });
        } else if self.last_hash != head.hash {
            let (expected, found) = (hex::encode(self.last_hash), hex::encode(head.hash));
            self.links.add(|| Disagreement {
                position: Some(end),
                about: "head".to_owned(),
                field: "hash".to_owned(),
                sentence: format!(
                    "head: its hash is {found}, but that of event {end} is {expected}"
                ),
                expected,
                found,
            });
        }
    }

    /// The last position and link that were read.
    pub fn end(&self) -> (i64, Hash) {
        (self.last, self.last_hash)
    }

    fn see_position(&mut self, content: &Content<'_>) {
        let (expected, found) = (self.last + 1, content.position);
        if found == expected {
            return;
        }
        self.broken = true;
        if found < expected {
            let says = format!("it comes after event {}", self.last);
            self.positions.event(content, "position", expected, found, says);
            return;
        }
        let missing = if found - expected == 1 {
            format!("event {expected} is missing")
        } else {
            format!("events {expected} to {} are missing", found - 1)
        };
        self.positions.add(|| Disagreement {
            position: Some(expected),
            about: format!("event {expected}"),
            field: "position".to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
            sentence: missing,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, history};
    use super::*;

    fn read(events: &[Made]) -> Chain {
        let mut chain = Chain::default();
        for event in events {
            chain.see(&event.content(), &event.hash);
        }
        chain
    }

    fn head(events: &[Made]) -> Head {
        let last = events.last().expect("an event");
        Head { position: last.position, hash: last.hash, epoch: uuid::Uuid::nil() }
    }

    #[test]
    fn an_untouched_history_has_nothing_to_say() {
        let events = history(20);
        let mut chain = read(&events);
        chain.finish(&head(&events));
        assert!(chain.positions.is_empty() && chain.links.is_empty() && chain.times.is_empty());
        assert_eq!(chain.count, 20);
    }

    #[test]
    fn one_flipped_byte_is_one_named_event() {
        let mut events = history(20);
        events[6].payload = events[6].payload.replace("\"points\":7", "\"points\":8");
        let mut chain = read(&events);
        chain.finish(&head(&events));
        assert_eq!(chain.links.total, 1);
        let found = &chain.links.first[0];
        assert_eq!(found.position, Some(7));
        assert_eq!(
            found.sentence,
            "event 7 (account 5001 #7 credited): content does not match its hash"
        );
        assert!(chain.positions.is_empty());
    }

    #[test]
    fn a_hole_is_named_once_and_does_not_break_the_links_after_it() {
        let mut events = history(20);
        let end = head(&events);
        events.drain(4..7);
        let mut chain = read(&events);
        chain.finish(&end);
        assert_eq!(chain.positions.total, 1);
        assert_eq!(chain.positions.first[0].sentence, "events 5 to 7 are missing");
        assert_eq!(chain.positions.first[0].position, Some(5));
        assert!(chain.links.is_empty());
    }

    #[test]
    fn a_dropped_end_is_seen_from_the_head() {
        let events = history(20);
        let mut chain = read(&events[..10]);
        chain.finish(&head(&events));
        assert_eq!(
            chain.positions.first[0].sentence,
            "head says 20 but events end at 10; events 11 to 20 are missing"
        );
    }

    #[test]
    fn a_history_rewritten_to_its_end_does_not_match_the_head() {
        let events = history(20);
        let mut rewritten = history(19);
        rewritten.push(Made::credited("5001", 20, 20, 999, &rewritten[18].hash.clone()));
        let mut chain = read(&rewritten);
        chain.finish(&head(&events));
        assert_eq!(chain.links.total, 1);
        assert_eq!(chain.links.first[0].about, "head");
    }

    #[test]
    fn a_time_that_goes_back_is_named() {
        let mut events = history(3);
        events[1].recorded_at -= 5_000_000;
        assert_eq!(read(&events).times.first[0].position, Some(2));
    }
}
