//! Within each aggregate the events are numbered 1, 2, 3.

use std::collections::HashMap;

use journal::Content;

use super::finding::Findings;

/// The last sequence of each aggregate of one type, by id.
type Last = HashMap<Box<str>, i64>;

/// The last sequence of every aggregate.
#[derive(Debug, Default)]
pub struct Sequences {
    pub findings: Findings,
    /// By type, of which there are few, and id.
    types: Vec<(Box<str>, Last)>,
}

impl Sequences {
    pub fn see(&mut self, content: &Content<'_>) {
        let expected = self.take_last(content) + 1;
        if content.sequence != expected {
            let found = content.sequence;
            let says = format!("its sequence is {found} where {expected} was next");
            self.findings.event(content, "sequence", expected, found, says);
        }
    }

    /// How many aggregates there are.
    pub fn aggregates(&self) -> u64 {
        self.types.iter().map(|(_, ids)| ids.len() as u64).sum()
    }

    /// The sequence before this one of the same aggregate, which this one replaces.
    fn take_last(&mut self, content: &Content<'_>) -> i64 {
        let known = self.types.iter().position(|(name, _)| **name == *content.aggregate_type);
        let place = known.unwrap_or_else(|| {
            self.types.push((content.aggregate_type.into(), Last::new()));
            self.types.len() - 1
        });
        let ids = &mut self.types[place].1;
        if let Some(last) = ids.get_mut(content.aggregate_id) {
            return std::mem::replace(last, content.sequence);
        }
        ids.insert(content.aggregate_id.into(), content.sequence);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::history;
    use super::*;

    #[test]
    fn a_gap_and_a_double_are_named() {
        let mut events = history(10);
        events[3].sequence = 5;
        events[7].sequence = 7;
        let mut sequences = Sequences::default();
        for event in &events {
            sequences.see(&event.content());
        }
        let said: Vec<_> =
            sequences.findings.first.iter().map(|found| found.sentence.as_str()).collect();
        assert_eq!(
            said,
            [
                "event 4 (account 5001 #5 credited): its sequence is 5 where 4 was next",
                "event 5 (account 5001 #5 credited): its sequence is 5 where 6 was next",
                "event 8 (account 5001 #7 credited): its sequence is 7 where 8 was next",
                "event 9 (account 5001 #9 credited): its sequence is 9 where 8 was next",
            ]
        );
        assert_eq!(sequences.aggregates(), 1);
    }

    #[test]
    fn every_aggregate_counts_for_itself() {
        let mut events = history(4);
        events[2].aggregate_id = "5002".to_owned();
        events[2].sequence = 1;
        events[3].aggregate_type = "broadcast".to_owned();
        events[3].sequence = 1;
        let mut sequences = Sequences::default();
        events.iter().for_each(|event| sequences.see(&event.content()));
        assert!(sequences.findings.is_empty());
        assert_eq!(sequences.aggregates(), 3);
    }
}
