//! What did not reach us, as history says it: the report names it, because what is not in history cannot be proved by it.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use domain::intake::{Event, Found};
use journal::Content;
use serde::Serialize;

use super::finding::{Findings, Proof};
use super::report::grouped;

/// How many of them a report names.
const NAMED_MAX: usize = 10;

/// The check of them, and what it has seen.
#[derive(Default)]
pub struct Gaps {
    pub seen: Seen,
    /// By channel and type, since when it does not reach us.
    open: BTreeMap<(Box<str>, String), Gap>,
    /// By channel and type, until when the last gap was.
    ended: BTreeMap<(Box<str>, String), DateTime<Utc>>,
    findings: Findings,
    events: u64,
}

/// The gaps of a history.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// How many are over.
    pub over: u64,
    /// How long these were together, in milliseconds.
    pub ms: i64,
    /// How much of what happened in them was found later.
    pub found: i64,
    /// The last that are over, oldest first.
    pub last: VecDeque<Gap>,
    /// Those that last.
    pub open: Vec<Gap>,
}

/// One gap: an interval, and the types of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// Of the event that says it.
    pub position: i64,
    pub broadcaster: Box<str>,
    pub kinds: Vec<String>,
    pub since: DateTime<Utc>,
    pub until: Option<DateTime<Utc>>,
    /// What was found later of which kinds; nothing can be of the others.
    pub found: BTreeMap<String, Found>,
}

impl Gaps {
    /// The next event of history.
    pub fn see(&mut self, content: &Content<'_>) {
        if content.aggregate_type != "intake" {
            return;
        }
        self.events += 1;
        match serde_json::from_str(content.payload) {
            Ok(Event::Lost { kinds, since, .. }) => self.lost(content, kinds, since),
            Ok(Event::Restored { kinds, since, until, .. }) => {
                self.restored(content, kinds, since, until);
            }
            Ok(Event::Reconciled { kinds, until, .. }) => self.reconciled(content, kinds, until),
            Err(error) => {
                let says = "its payload does not read as what reaches us";
                self.findings.event(content, "payload", "an event of an intake", error, says);
            }
        }
    }

    fn lost(&mut self, content: &Content<'_>, kinds: Vec<String>, since: DateTime<Utc>) {
        for kind in kinds {
            let key = (Box::from(content.aggregate_id), kind.clone());
            let overlaps = self.ended.get(&key).filter(|ended| **ended > since).copied();
            if let Some(ended) = overlaps {
                let says = format!("{kind} is lost before the gap before it is over");
                self.findings.event(content, "since", ended, since, says);
            }
            let gap = Gap {
                position: content.position,
                broadcaster: content.aggregate_id.into(),
                kinds: vec![kind.clone()],
                since,
                until: None,
                found: BTreeMap::new(),
            };
            if self.open.insert(key, gap).is_some() {
                let says = format!("{kind} is lost, and was lost already");
                self.findings.event(content, "kinds", "one that reaches us", &kind, says);
            }
        }
    }

    fn restored(
        &mut self,
        content: &Content<'_>,
        kinds: Vec<String>,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
    ) {
        for kind in &kinds {
            let key = (Box::from(content.aggregate_id), kind.clone());
            let opened = self.open.remove(&key).map(|gap| gap.since);
            if opened != Some(since) {
                let expected = opened.map_or("a gap".to_owned(), |since| since.to_string());
                let says = format!("{kind} comes back after a gap that did not begin then");
                self.findings.event(content, "since", expected, since, says);
            }
            self.ended.insert(key, until);
        }
        if until < since {
            let says = "a gap ends before it begins";
            self.findings.event(content, "until", since, until, says);
        }
        self.seen.over += 1;
        let ms = (until - since).num_milliseconds().max(0);
        self.seen.ms = self.seen.ms.saturating_add(ms);
        if self.seen.last.len() == NAMED_MAX {
            self.seen.last.pop_front();
        }
        let (position, broadcaster) = (content.position, content.aggregate_id.into());
        let (until, found) = (Some(until), BTreeMap::new());
        self.seen.last.push_back(Gap { position, broadcaster, kinds, since, until, found });
    }

    /// Somebody looked into a gap, which has to be over.
    fn reconciled(
        &mut self,
        content: &Content<'_>,
        kinds: BTreeMap<String, Found>,
        until: DateTime<Utc>,
    ) {
        for (kind, found) in kinds {
            let key = (Box::from(content.aggregate_id), kind.clone());
            if self.ended.get(&key).is_none_or(|ended| *ended < until) {
                let says = format!("what was missed of {kind} is found before the gap is over");
                self.findings.event(content, "until", "a gap that is over", until, says);
            }
            self.seen.found = self.seen.found.saturating_add(found.found);
            let gap = self.seen.last.iter_mut().rev().find(|gap| {
                gap.until == Some(until)
                    && *gap.broadcaster == *content.aggregate_id
                    && gap.kinds.contains(&kind)
            });
            if let Some(gap) = gap {
                gap.found.insert(kind, found);
            }
        }
    }

    /// What was seen, and its proof, if there was anything to be proved.
    pub fn finish(&mut self) -> (Seen, Option<Proof>) {
        let mut seen = std::mem::take(&mut self.seen);
        let mut open: BTreeMap<i64, Gap> = BTreeMap::new();
        for gap in std::mem::take(&mut self.open).into_values() {
            match open.get_mut(&gap.position) {
                Some(same) => same.kinds.extend(gap.kinds),
                None => drop(open.insert(gap.position, gap)),
            }
        }
        seen.open = open.into_values().collect();
        let proof = Proof {
            check: "gaps",
            claim: "gaps of a type end when they are said to, and never overlap".to_owned(),
            proved: self.events,
            of: "events",
            note: None,
            findings: std::mem::take(&mut self.findings),
            took: std::time::Duration::ZERO,
        };
        (seen, (self.events > 0).then_some(proof))
    }
}

impl Seen {
    /// For a person; nothing where there were none.
    pub fn text(&self) -> String {
        if self.over == 0 && self.open.is_empty() {
            return String::new();
        }
        let length = TimeDelta::milliseconds(self.ms).num_seconds();
        let mut text = format!(
            "Not told by Twitch, and so not in this history: {} of {} s in all, and {} that last. \
             Found again by asking: {}.\n",
            counted(self.over, "gap"),
            grouped(length),
            grouped(self.open.len()),
            grouped(self.found),
        );
        let more = self.over.saturating_sub(self.last.len() as u64);
        if more > 0 {
            text.push_str(&format!("  {} older ones: tapedeck gaps\n", grouped(more)));
        }
        for gap in self.last.iter().chain(&self.open) {
            text.push_str(&gap.line());
        }
        text
    }
}

impl Gap {
    fn line(&self) -> String {
        let written = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S").to_string();
        let length = self.until.map(|until| (until - self.since).num_seconds());
        format!(
            "  {} to {} UTC{}, {} of {}: {}{}\n",
            written(self.since),
            self.until.map_or("now".to_owned(), written),
            length.map(|seconds| format!(" ({} s)", grouped(seconds))).unwrap_or_default(),
            counted(self.kinds.len() as u64, "type"),
            self.broadcaster,
            self.kinds.iter().take(3).cloned().collect::<Vec<_>>().join(", "),
            self.again(),
        )
    }

    /// What was found of it later, and what only seems to have happened.
    fn again(&self) -> String {
        let named = |words: &str, count: fn(&Found) -> i64| {
            let some = self.found.iter().filter(|(_, one)| count(one) > 0);
            let some: Vec<String> =
                some.map(|(kind, one)| format!("{kind} {}", grouped(count(one)))).collect();
            if some.is_empty() { String::new() } else { format!("; {words}: {}", some.join(", ")) }
        };
        let found = named("found again", |one| one.found);
        found + &named("seen, and not told again", |one| one.untold)
    }
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    fn finished(events: &[Event]) -> (Seen, u64) {
        let mut gaps = Gaps::default();
        for (position, event) in (1..).zip(events) {
            let payload = serde_json::to_string(event).expect("JSON");
            gaps.see(&Content {
                position,
                aggregate_type: "intake",
                aggregate_id: "1000",
                sequence: position,
                event_type: "x",
                event_version: "1.0",
                event_id: Uuid::nil(),
                command_id: Uuid::nil(),
                recorded_at: 0,
                payload: &payload,
                metadata: "{}",
            });
        }
        let (seen, proof) = gaps.finish();
        (seen, proof.map_or(0, |proof| proof.findings.total))
    }

    fn lost(kind: &str, since: i64) -> Event {
        let (entry, kinds, reason) = (Uuid::nil(), vec![kind.to_owned()], "x".to_owned());
        Event::Lost { entry, kinds, since: second(since), reason, at: second(since) }
    }

    fn restored(kind: &str, since: i64, until: i64) -> Event {
        let (since, until) = (second(since), second(until));
        Event::Restored { entry: Uuid::nil(), kinds: vec![kind.to_owned()], since, until }
    }

    #[test]
    fn a_report_says_what_was_missed_and_what_still_is() {
        let history = [lost("a", 10), restored("a", 10, 52), lost("b", 60)];
        let (seen, wrong) = finished(&history);
        assert_eq!((seen.over, seen.ms, seen.open.len(), wrong), (1, 42_000, 1, 0));
        let text = seen.text();
        assert!(text.contains("1970-01-01 00:00:10 to 1970-01-01 00:00:52 UTC (42 s)"), "{text}");
        assert!(text.contains("1970-01-01 00:01:00 to now UTC, 1 type of 1000: b"), "{text}");
        assert_eq!(finished(&[]).0.text(), "");
    }

    fn looked(kind: &str, until: i64, found: i64) -> Event {
        let kinds = [(kind.to_owned(), Found { found, whole: true, untold: 0 })].into();
        let (since, at) = (second(until - 10), second(until + 5));
        Event::Reconciled { entry: Uuid::nil(), kinds, since, until: second(until), at }
    }

    #[test]
    fn a_report_says_what_was_found_again() {
        let history = [lost("a", 10), restored("a", 10, 52), looked("a", 52, 3)];
        let (seen, wrong) = finished(&history);
        assert_eq!((seen.found, wrong), (3, 0));
        let text = seen.text();
        assert!(text.contains("Found again by asking: 3."), "{text}");
        assert!(text.contains("1 type of 1000: a; found again: a 3"), "{text}");
    }

    #[test]
    fn gaps_that_cannot_be_are_named() {
        assert_eq!(finished(&[looked("a", 20, 1)]).1, 1);
        assert_eq!(finished(&[lost("a", 10), restored("a", 10, 20), looked("a", 30, 1)]).1, 1);
        assert_eq!(finished(&[lost("a", 10), lost("a", 20)]).1, 1);
        assert_eq!(finished(&[restored("a", 10, 20)]).1, 1);
        assert_eq!(finished(&[lost("a", 10), restored("a", 11, 20)]).1, 1);
        assert_eq!(finished(&[lost("a", 10), restored("a", 10, 30), lost("a", 20)]).1, 1);
        assert_eq!(finished(&[lost("a", 10), restored("a", 10, 5)]).1, 1);
    }
}
