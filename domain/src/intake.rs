//! What reaches us of a channel: since when a kind of notification does not, and from when it does again.
//!
//! The aggregate id is the broadcaster's Twitch user id. A gap is one kind's: a connection that is lost takes all kinds
//! at once, a right that is withdrawn one. What is known of a gap comes late and twice, and from a process that begins
//! where another died; gaps of a kind never overlap all the same.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::identity::{Identified, Recent};

/// The most kinds of one command, and the longest name of one.
const KINDS_MAX: usize = 100;
const KIND_LENGTH_MAX: usize = 100;
const REASON_CHARS_MAX: usize = 200;

/// What to note about what reaches us. `entry` names the command; see [`Identified`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Of what happened from `since` on, nothing of these kinds may have reached us. It was noticed at `at`.
    Lose {
        entry: Uuid,
        kinds: Vec<String>,
        since: DateTime<Utc>,
        reason: String,
        at: DateTime<Utc>,
    },
    /// What happens from `until` on reaches us, as far as it is of these kinds. What was lost after that stays lost.
    Restore { entry: Uuid, kinds: Vec<String>, until: DateTime<Utc> },
    /// A gap from `since` to `until` is over, and at `at` it was looked what had happened in it.
    Reconcile {
        entry: Uuid,
        kinds: BTreeMap<String, Found>,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        at: DateTime<Utc>,
    },
}

/// What was found out later about one kind of what happened in a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// So many are in history, because they were asked for.
    pub found: i64,
    /// That is all that there was.
    pub whole: bool,
    /// So many more seem to have happened, and are not in history: nothing says that they are not there already.
    #[serde(default, skip_serializing_if = "is_none")]
    pub untold: i64,
}

fn is_none(count: &i64) -> bool {
    *count == 0
}

/// What happened to what reaches us. The names and shapes are the stored format: they never change, they are added to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Lost {
        entry: Uuid,
        kinds: Vec<String>,
        since: DateTime<Utc>,
        reason: String,
        at: DateTime<Utc>,
    },
    /// A gap of these kinds is over, and this is all of it.
    Restored { entry: Uuid, kinds: Vec<String>, since: DateTime<Utc>, until: DateTime<Utc> },
    /// It was looked what had happened in a gap. Of kinds that are not named, nothing could be found out.
    Reconciled {
        entry: Uuid,
        kinds: BTreeMap<String, Found>,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        at: DateTime<Utc>,
    },
}

/// Why a command was refused. The refusal is recorded as the command's outcome.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("1 to {KINDS_MAX} kinds are named by a-z, 0-9, dots and underscores")]
    BadKinds,
    #[error("a reason is 1 to {REASON_CHARS_MAX} characters")]
    BadReason,
    #[error("nothing is found less often than never")]
    BadCount,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intake {
    /// Since when each kind that does not reach us does not.
    pub lost: BTreeMap<String, DateTime<Utc>>,
    /// From when each kind reached us again, where it was lost once: nothing before it can be lost again.
    pub restored: BTreeMap<String, DateTime<Utc>>,
    /// Up to when it was looked what had happened in the gaps of each kind.
    #[serde(default)]
    pub reconciled: BTreeMap<String, DateTime<Utc>>,
    recent: Recent<()>,
}

impl Intake {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Lose { entry, kinds, since, reason, at } => {
                check(kinds.iter())?;
                let chars = reason.chars().count();
                if !(1..=REASON_CHARS_MAX).contains(&chars) || reason.chars().any(char::is_control)
                {
                    return Err(Rejection::BadReason);
                }
                let known = |kind: &str| self.lost.contains_key(kind);
                let begins = |kind: &str| {
                    let restored = self.restored.get(kind).copied();
                    Some(since.max(restored.unwrap_or(since)))
                };
                let gaps = together(kinds, |kind| if known(kind) { None } else { begins(kind) });
                let lost = |(since, kinds)| Event::Lost {
                    entry,
                    kinds,
                    since,
                    reason: reason.clone(),
                    at,
                };
                Ok(gaps.into_iter().map(lost).collect())
            }
            Command::Restore { entry, kinds, until } => {
                check(kinds.iter())?;
                let ends = |since: &DateTime<Utc>| *since <= until;
                let gaps = together(kinds, |kind| self.lost.get(kind).copied().filter(ends));
                let restored = |(since, kinds)| Event::Restored { entry, kinds, since, until };
                Ok(gaps.into_iter().map(restored).collect())
            }
            Command::Reconcile { entry, kinds, since, until, at } => {
                check(kinds.keys())?;
                if kinds.values().any(|one| one.found < 0 || one.untold < 0) {
                    return Err(Rejection::BadCount);
                }
                let kinds: BTreeMap<String, Found> =
                    kinds.into_iter().filter(|(kind, _)| self.is_new(kind, until)).collect();
                let reconciled =
                    Event::Reconciled { entry, kinds: kinds.clone(), since, until, at };
                Ok(if kinds.is_empty() { vec![] } else { vec![reconciled] })
            }
        }
    }

    /// Whether a gap of this kind was over at `until`, and was not looked into yet.
    fn is_new(&self, kind: &str, until: DateTime<Utc>) -> bool {
        let is_over = self.restored.get(kind).is_some_and(|restored| *restored >= until);
        is_over && self.reconciled.get(kind).is_none_or(|reconciled| *reconciled < until)
    }
}

fn check<'a>(kinds: impl ExactSizeIterator<Item = &'a String>) -> Result<(), Rejection> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'_'
    };
    let is_name =
        |kind: &String| (1..=KIND_LENGTH_MAX).contains(&kind.len()) && kind.bytes().all(plain);
    let mut kinds = kinds;
    match (1..=KINDS_MAX).contains(&kinds.len()) && kinds.all(is_name) {
        true => Ok(()),
        false => Err(Rejection::BadKinds),
    }
}

/// The kinds by the moment that `when` gives, in order and each once.
fn together(
    kinds: Vec<String>,
    when: impl Fn(&str) -> Option<DateTime<Utc>>,
) -> BTreeMap<DateTime<Utc>, Vec<String>> {
    let mut kinds = kinds;
    kinds.sort();
    kinds.dedup();
    let mut gaps: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
    for kind in kinds {
        if let Some(since) = when(&kind) {
            gaps.entry(since).or_default().push(kind);
        }
    }
    gaps
}

impl Aggregate for Intake {
    const TYPE: &'static str = "intake";
    type Command = Command;
    type Event = Event;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        if self.recent.contains(command.entry()) {
            return Ok(());
        }
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Lost { entry, kinds, since, .. } => {
                self.recent.push(entry, ());
                self.lost.extend(kinds.into_iter().map(|kind| (kind, since)));
            }
            Event::Restored { entry, kinds, until, .. } => {
                self.recent.push(entry, ());
                for kind in kinds {
                    self.lost.remove(&kind);
                    self.restored.insert(kind, until);
                }
            }
            Event::Reconciled { entry, kinds, until, .. } => {
                self.recent.push(entry, ());
                self.reconciled.extend(kinds.into_keys().map(|kind| (kind, until)));
            }
        }
    }
}

impl Identified for Command {
    fn entry(&self) -> Uuid {
        match self {
            Command::Lose { entry, .. }
            | Command::Restore { entry, .. }
            | Command::Reconcile { entry, .. } => *entry,
        }
    }
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        match self {
            Event::Lost { .. } => "lost",
            Event::Restored { .. } => "restored",
            Event::Reconciled { .. } => "reconciled",
        }
        .to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

#[cfg(test)]
mod tests;
