//! Every account, added up event by event.

use std::collections::{BTreeMap, HashMap};

use journal::Content;
use projections::balances::Sums;
use serde::{Deserialize, Serialize};

use super::finding::Findings;
use super::ledger::{Ledger, Said, read};

/// The most entries of one account that are kept to be printed.
const ENTRIES_MAX: usize = 100_000;

/// The ledgers of all accounts, which is all that the audit keeps in memory.
#[derive(Debug, Default)]
pub struct Accounts {
    pub findings: Findings,
    /// How many events of accounts were added.
    pub events: u64,
    ledgers: HashMap<Box<str>, Kept>,
    /// Only these are added up and their entries kept; all of them, without entries, when empty.
    only: BTreeMap<Box<str>, Vec<Line>>,
    /// Where the projection `balances` is: what an account was there is remembered.
    checkpoint: i64,
}

#[derive(Debug, Default)]
struct Kept {
    ledger: Ledger,
    /// What it was at the checkpoint, if something came after.
    then: Option<Box<Then>>,
    /// Whether a row of `balances` was compared with it.
    compared: bool,
}

/// An account's sums at the checkpoint of `balances`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Then {
    pub sums: Sums,
    pub position: i64,
    pub recorded_at: i64,
}

/// One entry of an account with the balance after it.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub position: i64,
    pub sequence: i64,
    pub kind: String,
    /// Microseconds since 1970.
    pub recorded_at: i64,
    #[serde(flatten)]
    pub after: Sums,
}

/// All accounts together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    pub accounts: u64,
    pub credits: i128,
    pub available: i128,
    pub held: i128,
    pub captured: i128,
    pub reversed: i128,
}

impl Accounts {
    pub fn new(only: &[String], checkpoint: i64) -> Self {
        let only = only.iter().map(|id| (id.as_str().into(), Vec::new())).collect();
        Accounts { only, checkpoint, ..Accounts::default() }
    }

    pub fn see(&mut self, content: &Content<'_>) {
        self.see_read(content, &read(content));
    }

    /// The next event, and what was read in it.
    pub fn see_read(&mut self, content: &Content<'_>, said: &Said) {
        let Some(entry) = said else { return };
        if !self.only.is_empty() && !self.only.contains_key(content.aggregate_id) {
            return;
        }
        self.events += 1;
        let kept = match self.ledgers.get_mut(content.aggregate_id) {
            Some(kept) => kept,
            None => self.ledgers.entry(content.aggregate_id.into()).or_default(),
        };
        if content.position > self.checkpoint && kept.then.is_none() {
            kept.then = Some(Box::new(Then::from(&kept.ledger)));
        }
        for wrong in kept.ledger.apply(content, entry) {
            self.findings.event(content, wrong.field, wrong.expected, wrong.found, wrong.says);
        }
        if let Some(lines) = self.only.get_mut(content.aggregate_id)
            && lines.len() < ENTRIES_MAX
        {
            lines.push(Line {
                position: content.position,
                sequence: content.sequence,
                kind: content.event_type.to_owned(),
                recorded_at: content.recorded_at,
                after: kept.ledger.sums,
            });
        }
    }

    /// Whether this account is one of those asked for.
    pub fn covers(&self, account: &str) -> bool {
        self.only.is_empty() || self.only.contains_key(account)
    }

    /// An account as it was at the checkpoint, to be compared; `None` if nothing had happened to it.
    pub fn compare(&mut self, account: &str) -> Option<Then> {
        let kept = self.ledgers.get_mut(account)?;
        kept.compared = true;
        Some(kept.at_checkpoint()).filter(|then| then.position > 0)
    }

    /// The accounts that something had happened to at the checkpoint and that were not compared.
    pub fn not_compared(&self) -> impl Iterator<Item = (&str, Then)> {
        let left = self.ledgers.iter().filter(|(_, kept)| !kept.compared);
        left.map(|(account, kept)| (&**account, kept.at_checkpoint()))
            .filter(|(_, then)| then.position > 0)
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals { accounts: self.ledgers.len() as u64, ..Totals::default() };
        for Kept { ledger, .. } in self.ledgers.values() {
            totals.credits += i128::from(ledger.sums.credits);
            totals.available += i128::from(ledger.sums.available);
            totals.held += i128::from(ledger.sums.held);
            totals.captured += i128::from(ledger.sums.captured);
            totals.reversed += i128::from(ledger.sums.reversed);
        }
        totals
    }

    /// Every account in the order of its id, with its sums at the end.
    pub fn in_order(&self) -> Vec<(&str, Sums)> {
        let mut all: Vec<_> =
            self.ledgers.iter().map(|(account, kept)| (&**account, kept.ledger.sums)).collect();
        all.sort_unstable_by_key(|(account, _)| *account);
        all
    }

    /// The entries of the accounts that were asked for.
    pub fn take_lines(&mut self) -> BTreeMap<Box<str>, Vec<Line>> {
        std::mem::take(&mut self.only)
    }
}

impl Kept {
    fn at_checkpoint(&self) -> Then {
        self.then.as_deref().copied().unwrap_or_else(|| Then::from(&self.ledger))
    }
}

impl From<&Ledger> for Then {
    fn from(ledger: &Ledger) -> Self {
        Then { sums: ledger.sums, position: ledger.position, recorded_at: ledger.recorded_at }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::history;
    use super::*;

    #[test]
    fn an_account_is_remembered_as_it_was_at_the_checkpoint() {
        let mut accounts = Accounts::new(&[], 3);
        history(5).iter().for_each(|event| accounts.see(&event.content()));
        let then = accounts.compare("5001").expect("known");
        assert_eq!((then.sums.available, then.position), (6, 3));
        assert_eq!(accounts.totals().credits, 15);
        assert_eq!(accounts.events, 5);
    }

    #[test]
    fn an_account_that_began_after_the_checkpoint_is_not_there_yet() {
        let mut accounts = Accounts::new(&[], 0);
        history(5).iter().for_each(|event| accounts.see(&event.content()));
        assert_eq!(accounts.compare("5001"), None);
        assert_eq!(accounts.not_compared().count(), 0);
    }

    #[test]
    fn only_the_accounts_asked_for_are_added_up() {
        let mut events = history(5);
        events[4].aggregate_id = "5002".to_owned();
        let mut accounts = Accounts::new(&["5002".to_owned()], i64::MAX);
        events.iter().for_each(|event| accounts.see(&event.content()));
        assert_eq!(accounts.totals().credits, 5);
        assert_eq!(accounts.take_lines()["5002"].len(), 1);
    }
}
