//! Every accepted command is in history exactly once: its events stand together, and its outcome names them.
//!
//! History and outcomes are compared as sets, by adding up a keyed hash of every member, so that neither has to be
//! sorted or kept. Only where the sums differ are the two joined to find out why.

use std::hash::{BuildHasher, RandomState};

use domain::identity::derived_id;
use journal::Content;
use uuid::Uuid;

use super::finding::Findings;

/// The events of history by command.
#[derive(Debug, Default)]
pub struct Commands {
    pub findings: Findings,
    made: Sum,
    events: i64,
    open: Option<Open>,
    key: Key,
}

/// What the outcomes say about the events of history.
#[derive(Debug)]
pub struct Answers {
    answered: Sum,
    key: Key,
}

/// Drawn anew for each audit, so that no two different sets can be made to look the same: by chance they do once in
/// 2^64 audits.
type Key = RandomState;

/// The sum of the hashes of a set, and its size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sum {
    count: u64,
    hashes: u64,
}

/// What one command did: where its events are, and whose they are.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Did<'a> {
    pub command_id: Uuid,
    pub first_position: i64,
    pub events: i32,
    pub aggregate_type: &'a str,
    pub aggregate_id: &'a str,
}

/// The command whose events are being read.
#[derive(Debug)]
struct Open {
    command_id: Uuid,
    first_position: i64,
    events: i32,
    aggregate_type: String,
    aggregate_id: String,
}

impl Commands {
    /// The next event of history.
    pub fn see(&mut self, content: &Content<'_>) {
        self.events += 1;
        let n = match &mut self.open {
            Some(open) if open.goes_on(content) => {
                open.events += 1;
                open.events - 1
            }
            _ => {
                self.close(Some(content));
                0
            }
        };
        let expected = derived_id(content.command_id, n.unsigned_abs());
        if content.event_id != expected {
            let says =
                format!("its id is {}, not the one derived from its command", content.event_id);
            self.findings.event(content, "event_id", expected, content.event_id, says);
        }
    }

    /// The other side, to be filled while history is read.
    pub fn answers(&self) -> Answers {
        Answers { answered: Sum::default(), key: self.key.clone() }
    }

    /// Ends the history. Whether the commands in it are those of the outcomes.
    pub fn finish(&mut self, answers: &Answers) -> bool {
        self.close(None);
        self.made == answers.answered
    }

    /// Ends the history. How many commands it has, and how many events they made.
    pub fn end(&mut self) -> (i64, i64) {
        self.close(None);
        (i64::try_from(self.made.count).unwrap_or(i64::MAX), self.events)
    }

    /// How many commands made events.
    pub fn count(&self) -> u64 {
        self.made.count
    }

    fn close(&mut self, next: Option<&Content<'_>>) {
        if let Some(open) = &self.open {
            self.made = self.made.plus(&open.did(), &self.key);
        }
        let Some(next) = next else {
            self.open = None;
            return;
        };
        // The texts keep their memory from one command to the next.
        let mut open = self.open.take().unwrap_or_else(Open::nothing);
        open.begin(next);
        self.open = Some(open);
    }
}

impl Answers {
    /// An accepted outcome that has events.
    pub fn see(&mut self, did: &Did<'_>) {
        self.answered = self.answered.plus(did, &self.key);
    }
}

impl Sum {
    fn plus(self, did: &Did<'_>, key: &Key) -> Self {
        Sum { count: self.count + 1, hashes: self.hashes.wrapping_add(key.hash_one(did)) }
    }
}

impl Open {
    fn nothing() -> Self {
        Open {
            command_id: Uuid::nil(),
            first_position: 0,
            events: 0,
            aggregate_type: String::new(),
            aggregate_id: String::new(),
        }
    }

    fn begin(&mut self, content: &Content<'_>) {
        (self.command_id, self.first_position, self.events) =
            (content.command_id, content.position, 1);
        self.aggregate_type.clear();
        self.aggregate_type.push_str(content.aggregate_type);
        self.aggregate_id.clear();
        self.aggregate_id.push_str(content.aggregate_id);
    }

    fn goes_on(&self, content: &Content<'_>) -> bool {
        self.command_id == content.command_id
            && self.first_position + i64::from(self.events) == content.position
            && self.aggregate_id == content.aggregate_id
            && self.aggregate_type == content.aggregate_type
    }

    fn did(&self) -> Did<'_> {
        Did {
            command_id: self.command_id,
            first_position: self.first_position,
            events: self.events,
            aggregate_type: &self.aggregate_type,
            aggregate_id: &self.aggregate_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{Made, history};
    use super::*;

    fn read(events: &[Made]) -> Commands {
        let mut commands = Commands::default();
        events.iter().for_each(|event| commands.see(&event.content()));
        commands
    }

    fn outcome(event: &Made, events: i32) -> Did<'_> {
        Did {
            command_id: event.command_id,
            first_position: event.position,
            events,
            aggregate_type: &event.aggregate_type,
            aggregate_id: &event.aggregate_id,
        }
    }

    /// Whether the commands of history are those answered.
    fn agree(commands: &mut Commands, outcomes: &[Did<'_>]) -> bool {
        let mut answers = commands.answers();
        outcomes.iter().for_each(|did| answers.see(did));
        commands.finish(&answers)
    }

    #[test]
    fn outcomes_in_any_order_answer_for_their_events() {
        let events = history(10);
        let mut commands = read(&events);
        let outcomes: Vec<_> = events.iter().rev().map(|event| outcome(event, 1)).collect();
        assert!(agree(&mut commands, &outcomes));
        assert_eq!(commands.count(), 10);
        assert!(commands.findings.is_empty());
    }

    #[test]
    fn a_missing_a_double_and_a_wrong_outcome_are_noticed() {
        let events = history(10);
        for wrong in 0..3 {
            let mut commands = read(&events);
            let mut outcomes: Vec<_> = events[1..].iter().map(|event| outcome(event, 1)).collect();
            match wrong {
                0 => {}
                1 => outcomes.push(outcome(&events[4], 1)),
                _ => outcomes.push(outcome(&events[0], 2)),
            }
            assert!(!agree(&mut commands, &outcomes), "case {wrong}");
        }
    }

    #[test]
    fn a_command_with_two_events_is_one() {
        let mut events = history(3);
        events[1].command_id = events[0].command_id;
        events[1].event_id = derived_id(events[0].command_id, 1);
        let mut commands = read(&events);
        assert!(agree(&mut commands, &[outcome(&events[0], 2), outcome(&events[2], 1)]));
        assert!(commands.findings.is_empty());
    }

    #[test]
    fn a_command_whose_events_stand_apart_does_not_match_its_outcome() {
        let mut events = history(3);
        events[2].command_id = events[0].command_id;
        let mut commands = read(&events);
        assert!(!agree(&mut commands, &[outcome(&events[0], 2), outcome(&events[1], 1)]));
    }

    #[test]
    fn an_event_id_that_is_not_derived_is_named() {
        let mut events = history(3);
        events[1].event_id = Uuid::nil();
        assert_eq!(read(&events).findings.first[0].position, Some(2));
    }
}
