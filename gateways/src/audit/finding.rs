//! What a check found: how much it proved, and where things disagree.

use std::fmt::Display;
use std::time::Duration;

use journal::Content;
use serde::Serialize;

/// A check goes on after the first disagreement, but does not list more than this.
const LISTED_MAX: usize = 20;

/// One place where what is stored is not what the history says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// The position of the event it is about, where it is about one.
    pub position: Option<i64>,
    /// `event 417 (account 5001 #12 credited)`, `balance of account 5001`, `head`.
    pub about: String,
    pub field: String,
    pub expected: String,
    pub found: String,
    /// All of it for a person.
    pub sentence: String,
}

/// The disagreements of one check: all are counted, the first are kept.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    pub total: u64,
    pub first: Vec<Disagreement>,
}

impl Findings {
    pub fn add(&mut self, disagreement: impl FnOnce() -> Disagreement) {
        self.total += 1;
        if self.first.len() < LISTED_MAX {
            self.first.push(disagreement());
        }
    }

    /// These, and `more` after them.
    pub fn and(mut self, more: Findings) -> Self {
        self.total += more.total;
        self.first.extend(more.first);
        self.first.truncate(LISTED_MAX);
        self
    }

    /// Adds a disagreement about an event.
    pub fn event(
        &mut self,
        content: &Content<'_>,
        field: &str,
        expected: impl Display,
        found: impl Display,
        says: impl Display,
    ) {
        self.add(|| {
            let about = name(content);
            Disagreement {
                position: Some(content.position),
                sentence: format!("{about}: {says}"),
                about,
                field: field.to_owned(),
                expected: expected.to_string(),
                found: found.to_string(),
            }
        });
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// A check that was made: what it claims, how many things it looked at, and what disagreed.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// A short name: `hash chain`.
    pub check: &'static str,
    /// What is now known to be true, if nothing disagreed.
    pub claim: String,
    /// How many events, rows, accounts it is true for.
    pub proved: u64,
    pub of: &'static str,
    /// What a reader should know beside it: that EVENTS begins later, that a projection is behind.
    pub note: Option<String>,
    pub findings: Findings,
    #[serde(rename = "took_ms", serialize_with = "as_millis")]
    pub took: Duration,
}

/// `event 417 (account 5001 #12 credited)`.
pub fn name(content: &Content<'_>) -> String {
    format!(
        "event {} ({} {} #{} {})",
        content.position,
        content.aggregate_type,
        content.aggregate_id,
        content.sequence,
        content.event_type
    )
}

fn as_millis<S: serde::Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_kept() {
        let mut findings = Findings::default();
        for n in 1..=30 {
            findings.add(|| Disagreement {
                position: Some(n),
                about: String::new(),
                field: String::new(),
                expected: String::new(),
                found: String::new(),
                sentence: String::new(),
            });
        }
        assert_eq!(findings.total, 30);
        assert_eq!(findings.first.len(), LISTED_MAX);
        assert_eq!(findings.first[0].position, Some(1));
    }
}
