//! What the entries of a proof say about themselves. Asked before a proof is signed, and again when it is verified.

use journal::Hash;
use journal::recorded::GENESIS;
use projections::balances::{self, Sums};

use super::super::accounts::Accounts;
use super::super::finding::{Disagreement, Findings};
use super::{Entry, Header, Said};

/// Reads the entries in order.
pub(super) struct Checker {
    /// Each link follows from the link before it and the event's content.
    pub links: Findings,
    /// They are the account's events 1, 2, 3, in the order of history, up to the position of the proof.
    pub order: Findings,
    /// The account's books.
    pub accounts: Accounts,
    /// Every position and its link.
    pub seen: Vec<(i64, Hash)>,
    viewer: String,
    until: i64,
    hash: Hash,
    since: i64,
    sequence: i64,
    last: i64,
    last_hash: Hash,
    last_time: i64,
    opening: Sums,
    closing: Sums,
}

impl Checker {
    /// The entries of the accounts in `shown` are kept to be printed.
    pub fn new(header: &Header, shown: &[String]) -> Self {
        Checker {
            links: Findings::default(),
            order: Findings::default(),
            accounts: Accounts::new(shown, i64::MAX),
            seen: Vec::new(),
            viewer: header.viewer.clone(),
            until: header.position,
            hash: header.hash,
            since: header.since,
            sequence: 0,
            last: 0,
            last_hash: GENESIS,
            last_time: i64::MIN,
            opening: Sums::default(),
            closing: Sums::default(),
        }
    }

    pub fn see(&mut self, entry: &Entry) {
        self.see_link(entry);
        self.see_order(entry);
        let content = entry.event.content();
        self.accounts.see(&content);
        let moved = balances::movement(&content).ok().flatten().unwrap_or_default();
        // What does not fit is named by the books.
        self.closing = self.closing.plus(moved).unwrap_or(self.closing);
        if content.position <= self.since {
            self.opening = self.closing;
        }
        self.seen.push((content.position, entry.event.hash));
        self.last = content.position;
        self.last_hash = entry.event.hash;
        self.last_time = content.recorded_at;
    }

    /// What the statement comes to.
    pub fn said(&self) -> Said {
        let Checker { opening, closing, .. } = *self;
        Said { entries: self.seen.len() as u64, opening, closing }
    }

    /// The first thing that is wrong, in words.
    pub fn first_wrong(&self) -> Option<&str> {
        let all = [&self.links, &self.order, &self.accounts.findings];
        all.into_iter().find_map(|findings| findings.first.first()).map(|found| &*found.sentence)
    }

    fn see_link(&mut self, Entry { previous, event }: &Entry) {
        let content = event.content();
        let (hash, link) = (event.hash, content.link(previous));
        let mut differs = |expected: &Hash, found: &Hash, says: &str| {
            self.links.event(&content, "hash", hex::encode(expected), hex::encode(found), says);
        };
        if link != hash {
            differs(&link, &hash, "content and the link before it do not make its link");
        }
        let follows = content.position == self.last + 1;
        if follows && *previous != self.last_hash {
            differs(
                &self.last_hash,
                previous,
                "the link before it is not that of the event before",
            );
        }
        if content.position == self.until && hash != self.hash {
            differs(&self.hash, &hash, "its link is not the one that the first line names");
        }
    }

    fn see_order(&mut self, Entry { event, .. }: &Entry) {
        let content = event.content();
        self.sequence += 1;
        let mut wrong = |field: &str, expected: String, found: String, says: String| {
            self.order.event(&content, field, expected, found, says);
        };
        if content.aggregate_type != "account" || content.aggregate_id != self.viewer {
            let found = format!("{} {}", content.aggregate_type, content.aggregate_id);
            let says = format!("it is not an event of account {}", self.viewer);
            wrong("account", format!("account {}", self.viewer), found, says);
        }
        if content.sequence != self.sequence {
            let (expected, found) = (self.sequence, content.sequence);
            let says = format!("its sequence is {found} where {expected} was next");
            wrong("sequence", expected.to_string(), found.to_string(), says);
            self.sequence = content.sequence;
        }
        if content.position <= self.last || content.position > self.until {
            let expected = format!("{} to {}", self.last.saturating_add(1), self.until);
            let says = format!("its position is not one of {expected}");
            wrong("position", expected, content.position.to_string(), says);
        }
        if content.recorded_at < self.last_time {
            let (expected, found) = (self.last_time.to_string(), content.recorded_at.to_string());
            wrong("recorded_at", expected, found, "it is older than the one before it".to_owned());
        }
    }
}

/// Compares what a proof says it comes to with what its entries come to.
pub(super) fn compare(expected: &Said, found: &Said, findings: &mut Findings) {
    let numbers = |said: &Said| {
        let sums = |name: &'static str, sums: Sums| {
            let Sums { credits, available, held, captured, reversed } = sums;
            [
                (name, "credits", credits),
                (name, "available", available),
                (name, "held", held),
                (name, "captured", captured),
                (name, "reversed", reversed),
            ]
        };
        let entries = ("", "entries", i64::try_from(said.entries).unwrap_or(i64::MAX));
        let mut all = vec![entries];
        all.extend(sums("opening ", said.opening));
        all.extend(sums("closing ", said.closing));
        all
    };
    for ((when, field, should), (.., is)) in numbers(expected).into_iter().zip(numbers(found)) {
        if should != is {
            findings.add(|| Disagreement {
                position: None,
                about: "sums".to_owned(),
                field: format!("{when}{field}"),
                expected: should.to_string(),
                found: is.to_string(),
                sentence: format!("sums: {when}{field} is {is}, the entries say {should}"),
            });
        }
    }
}
