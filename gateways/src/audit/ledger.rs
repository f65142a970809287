//! One account, added up from its events alone.
//!
//! This is a second set of books, kept apart from `domain::account` on purpose: it needs little memory per account,
//! refuses what does not add up instead of trusting that it was decided well, and a test compares the two.

use std::collections::BTreeMap;

use journal::Content;
use projections::balances::Sums;
use serde::Deserialize;
use uuid::Uuid;

/// The sums of an account, and its open holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    pub sums: Sums,
    /// The last event, and when it was recorded.
    pub position: i64,
    pub recorded_at: i64,
    /// The sum of the open holds.
    open: i64,
    holds: BTreeMap<Uuid, i64>,
}

/// What is wrong with an entry.
#[derive(Debug, PartialEq)]
pub struct Wrong {
    pub field: &'static str,
    pub expected: String,
    pub found: String,
    pub says: String,
}

/// An account's event, as far as the books need it: borrowed, without facts, notes and purposes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    Credited { entry: Uuid, points: i64 },
    Held { entry: Uuid, points: i64 },
    Declined { entry: Uuid, points: i64, available: i64 },
    Captured { entry: Uuid, hold: Uuid, points: i64 },
    Released { entry: Uuid, hold: Uuid, points: i64 },
    Reversed { entry: Uuid, points: i64 },
}

/// What an event says about its account; `None` for an event of another aggregate.
pub type Said = Option<Result<Entry, serde_json::Error>>;

/// Reads an event for the books.
pub fn read(content: &Content<'_>) -> Said {
    (content.aggregate_type == "account").then(|| serde_json::from_str(content.payload))
}

impl Ledger {
    /// Adds the entry of an event. Whatever is wrong with it is in the answer, and what it says is added all the same,
    /// so that one wrong entry is not many; only what cannot be read or does not fit is left out.
    pub fn apply(
        &mut self,
        content: &Content<'_>,
        entry: &Result<Entry, serde_json::Error>,
    ) -> Vec<Wrong> {
        self.position = content.position;
        self.recorded_at = content.recorded_at;
        let entry = match entry {
            Ok(entry) => *entry,
            Err(error) => return vec![unreadable(error)],
        };
        let mut wrong = Vec::new();
        if entry.name() != content.event_type {
            wrong.push(differs("event_type", entry.name(), content.event_type));
        }
        if entry.id() != content.command_id {
            wrong.push(differs("entry", content.command_id, entry.id()));
        }
        self.check(&entry, &mut wrong);
        match self.sums.plus(entry.moves()) {
            Some(sums) => self.sums = sums,
            None => wrong.push(Wrong {
                field: "points",
                expected: "a sum that fits".to_owned(),
                found: entry.points().to_string(),
                says: "the sum does not fit the ledger's range".to_owned(),
            }),
        }
        self.check_sums(&mut wrong);
        wrong
    }

    /// Whether the entry is one that its account could have made, and what it does to the holds.
    fn check(&mut self, entry: &Entry, wrong: &mut Vec<Wrong>) {
        let points = entry.points();
        match *entry {
            Entry::Credited { .. } if points < 0 => wrong.push(points_of("0 or more", points)),
            Entry::Credited { .. } => {}
            Entry::Held { entry, .. } => {
                if points <= 0 {
                    wrong.push(points_of("more than 0", points));
                }
                self.open = self.open.saturating_add(points);
                self.holds.insert(entry, points);
            }
            Entry::Declined { available, .. } if available != self.sums.available => {
                wrong.push(differs("available", self.sums.available, available));
            }
            Entry::Declined { .. } => {}
            Entry::Captured { hold, .. } | Entry::Released { hold, .. } => {
                let Some(held) = self.holds.remove(&hold) else {
                    wrong.push(Wrong {
                        field: "hold",
                        expected: "an open hold".to_owned(),
                        found: hold.to_string(),
                        says: format!("there is no open hold {hold}"),
                    });
                    return;
                };
                self.open = self.open.saturating_sub(held);
                if held != points {
                    wrong.push(points_of(&held.to_string(), points));
                }
            }
            Entry::Reversed { .. } if points == 0 => wrong.push(points_of("not 0", points)),
            Entry::Reversed { .. } => {}
        }
    }

    /// `credits = available + held + captured - reversed`, `held` is the open holds, and `available` is not negative.
    fn check_sums(&self, wrong: &mut Vec<Wrong>) {
        let Sums { credits, available, held, captured, reversed } = self.sums;
        if available < 0 {
            wrong.push(Wrong {
                field: "available",
                expected: "0 or more".to_owned(),
                found: available.to_string(),
                says: format!("after it {available} points are available"),
            });
        }
        let placed =
            i128::from(available) + i128::from(held) + i128::from(captured) - i128::from(reversed);
        if i128::from(credits) != placed {
            wrong.push(differs("credits", placed, credits));
        }
        if held != self.open && wrong.is_empty() {
            wrong.push(differs("held", self.open, held));
        }
    }
}

impl Entry {
    fn name(&self) -> &'static str {
        match self {
            Entry::Credited { .. } => "credited",
            Entry::Held { .. } => "held",
            Entry::Declined { .. } => "declined",
            Entry::Captured { .. } => "captured",
            Entry::Released { .. } => "released",
            Entry::Reversed { .. } => "reversed",
        }
    }

    fn id(&self) -> Uuid {
        match self {
            Entry::Credited { entry, .. }
            | Entry::Held { entry, .. }
            | Entry::Declined { entry, .. }
            | Entry::Captured { entry, .. }
            | Entry::Released { entry, .. }
            | Entry::Reversed { entry, .. } => *entry,
        }
    }

    fn points(&self) -> i64 {
        match self {
            Entry::Credited { points, .. }
            | Entry::Held { points, .. }
            | Entry::Declined { points, .. }
            | Entry::Captured { points, .. }
            | Entry::Released { points, .. }
            | Entry::Reversed { points, .. } => *points,
        }
    }

    /// What it changes about the sums of its account.
    pub fn moves(&self) -> Sums {
        let none = Sums::default();
        let points = self.points();
        let back = points.saturating_neg();
        match self {
            Entry::Credited { .. } => Sums { credits: points, available: points, ..none },
            Entry::Held { .. } => Sums { available: back, held: points, ..none },
            Entry::Declined { .. } => none,
            Entry::Captured { .. } => Sums { held: back, captured: points, ..none },
            Entry::Released { .. } => Sums { available: points, held: back, ..none },
            Entry::Reversed { .. } => Sums { available: points, reversed: points, ..none },
        }
    }
}

fn unreadable(error: &serde_json::Error) -> Wrong {
    Wrong {
        field: "payload",
        expected: "an event of an account".to_owned(),
        found: error.to_string(),
        says: format!("its payload cannot be read: {error}"),
    }
}

fn points_of(expected: &str, found: i64) -> Wrong {
    Wrong {
        field: "points",
        expected: expected.to_owned(),
        found: found.to_string(),
        says: format!("it moves {found} points, and {expected} was expected"),
    }
}

fn differs(
    field: &'static str,
    expected: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> Wrong {
    Wrong {
        field,
        says: format!("its {field} is {found}, and history says {expected}"),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::Aggregate;
    use domain::account::{Account, Event, Facts};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::super::made::{account_history, entry};
    use super::*;

    fn credited(n: i64, points: i64) -> Event {
        let facts = Facts::Manual { note: "n".to_owned(), actor: "a".to_owned() };
        Event::Credited { entry: entry(n), points, rules: 1, facts }
    }

    fn held(n: i64, points: i64) -> Event {
        Event::Held {
            entry: entry(n),
            points,
            purpose: "p".to_owned(),
            expires_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn apply(ledger: &mut Ledger, content: &Content<'_>) -> Vec<Wrong> {
        ledger.apply(content, &super::read(content).expect("an account's"))
    }

    fn read(events: &[Event]) -> (Ledger, Vec<Wrong>) {
        let mut ledger = Ledger::default();
        let wrong = account_history("5001", events)
            .iter()
            .flat_map(|event| apply(&mut ledger, &event.content()))
            .collect();
        (ledger, wrong)
    }

    /// An event that the account may take now.
    fn possible(account: &Account, n: i64, random: &mut StdRng) -> Event {
        let entry = entry(n);
        let open = account.holds.iter().next().map(|(id, hold)| (*id, hold.points));
        match (random.random_range(0..6), open) {
            (1, _) if account.available > 0 => held(n, random.random_range(1..=account.available)),
            (2, Some((hold, points))) => Event::Captured { entry, hold, points },
            (3, Some((hold, points))) => {
                Event::Released { entry, hold, points, reason: "r".to_owned() }
            }
            (4, _) if account.available > 0 => Event::Reversed {
                entry,
                reverses: entry,
                points: -random.random_range(1..=account.available),
                note: "n".to_owned(),
                actor: "a".to_owned(),
            },
            (5, _) => Event::Declined {
                entry,
                points: account.available + 1,
                available: account.available,
                purpose: "p".to_owned(),
            },
            _ => credited(n, random.random_range(0..1_000)),
        }
    }

    #[test]
    fn both_sets_of_books_agree_on_any_history() {
        for seed in 0..50 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut account = Account::default();
            let mut events = Vec::new();
            for n in 1..=200 {
                let event = possible(&account, n, &mut random);
                account.apply(event.clone());
                events.push(event);
            }
            let (ledger, wrong) = read(&events);
            assert_eq!(wrong, [], "seed {seed}");
            assert!(account.balanced());
            let sums = Sums {
                credits: account.credits,
                available: account.available,
                held: account.held,
                captured: account.captured,
                reversed: account.reversed,
            };
            assert_eq!(ledger.sums, sums, "seed {seed}");
            assert_eq!(ledger.holds.len(), account.holds.len(), "seed {seed}");
        }
    }

    #[test]
    fn a_hold_of_more_than_there_is_is_wrong() {
        let (_, wrong) = read(&[credited(1, 10), held(2, 11)]);
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].says, "after it -1 points are available");
    }

    #[test]
    fn a_hold_cannot_be_spent_twice() {
        let captured = |n| Event::Captured { entry: entry(n), hold: entry(2), points: 4 };
        let (_, wrong) = read(&[credited(1, 10), held(2, 4), captured(3), captured(4)]);
        assert_eq!(wrong[0].field, "hold");
    }

    #[test]
    fn a_capture_of_other_points_than_were_held_is_wrong() {
        let captured = Event::Captured { entry: entry(3), hold: entry(2), points: 5 };
        let (_, wrong) = read(&[credited(1, 10), held(2, 4), captured]);
        assert_eq!(wrong[0].says, "it moves 5 points, and 4 was expected");
    }

    #[test]
    fn points_beyond_the_range_do_not_stop_the_audit() {
        let (ledger, wrong) = read(&[credited(1, i64::MAX), credited(2, 1)]);
        assert_eq!(wrong[0].says, "the sum does not fit the ledger's range");
        assert_eq!(ledger.sums.credits, i64::MAX);
    }

    #[test]
    fn an_entry_under_another_commands_name_is_wrong() {
        let mut events = account_history("5001", &[credited(1, 10)]);
        events[0].command_id = entry(99);
        let wrong = apply(&mut Ledger::default(), &events[0].content());
        assert_eq!(wrong[0].field, "entry");
    }
}
