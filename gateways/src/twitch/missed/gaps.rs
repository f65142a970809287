//! What was found of each gap, as commands: pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::alerting::ASKED;
use domain::entry_id;
use domain::intake::{Command, Found, Intake};
use journal::command::BadAddress;
use journal::{Envelope, Origin};
use projections::gaps::Unseen;

/// The namespace of their ids.
const NAMES: &str = "intake";
/// A gap that is shorter has room for no whole broadcast.
const SHORT: TimeDelta = TimeDelta::minutes(1);

/// When a find happened, of which it is known between which two moments: at one moment in the newest gap of its kind that
/// these touch; or between them still, where no gap is known yet in which it was.
pub fn placed(
    gaps: &[Unseen],
    kind: &str,
    between: (DateTime<Utc>, DateTime<Utc>),
    now: DateTime<Utc>,
) -> (DateTime<Utc>, DateTime<Utc>) {
    let (from, to) = between;
    let until = |gap: &Unseen| gap.until.unwrap_or(now);
    let touched = gaps.iter().filter(|gap| gap.kind == kind);
    let touched = touched.filter(|gap| gap.since < to && until(gap) > from);
    match touched.max_by_key(|gap| gap.since) {
        // A gap ends before its end: what happens then is told.
        Some(gap) => {
            let at = from.max(gap.since).min(until(gap) - TimeDelta::microseconds(1));
            (at, at)
        }
        None => between,
    }
}

/// Whether one of these gaps, of this kind, has a part between two moments.
pub fn touches(gaps: &[Unseen], kind: &str, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> bool {
    let mut gaps = gaps.iter().filter(|gap| gap.kind == kind);
    gaps.any(|gap| gap.since <= to && gap.until.is_none_or(|until| until >= from))
}

/// Whether no broadcast can hide in a gap: it is too short for one, or one that began before is still on the air.
pub fn hides_none(
    live_since: Option<DateTime<Utc>>,
    (since, until): (DateTime<Utc>, DateTime<Utc>),
) -> bool {
    until - since < SHORT || live_since.is_some_and(|live_since| live_since <= since)
}

/// Says what was found of the gap that these kinds had in common.
pub fn reconcile(
    broadcaster: &str,
    kinds: BTreeMap<String, Found>,
    (since, until): (DateTime<Utc>, DateTime<Utc>),
    at: DateTime<Utc>,
) -> Result<Envelope, BadAddress> {
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    let key = format!("reconcile:{broadcaster}:{}:{}", until.timestamp_micros(), names.join(","));
    let (entry, source_id) = (entry_id(NAMES, &key), key.chars().take(200).collect());
    let origin =
        Origin { source: ASKED.to_owned(), source_id, actor: None, received_at: at, raw: None };
    let command = Command::Reconcile { entry, kinds, since, until, at };
    Envelope::new::<Intake>(broadcaster, &command, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
    }

    #[test]
    fn a_broadcast_may_hide_in_a_gap_that_began_while_nothing_or_another_was_on_the_air() {
        let gap = (second(100), second(1_000));
        assert!(hides_none(Some(second(100)), gap));
        assert!(!hides_none(Some(second(101)), gap), "it began within the gap");
        assert!(!hides_none(None, gap));
        assert!(hides_none(None, (second(100), second(159))));
    }

    #[test]
    fn a_gap_that_lasts_touches_all_that_comes() {
        let gap = |since, until: Option<i64>| Unseen {
            kind: "x".to_owned(),
            since: second(since),
            until: until.map(second),
            ended_position: None,
        };
        let gaps = [gap(10, Some(20)), gap(60, None)];
        let of = |kind, from, to| touches(&gaps, kind, (second(from), second(to)));
        assert!(of("x", 5, 10) && of("x", 20, 30) && of("x", 70, 80));
        assert!(!of("x", 21, 59) && !of("x", 1, 9) && !of("y", 5, 90));
    }

    #[test]
    fn a_find_is_placed_in_the_newest_gap_that_it_may_have_happened_in() {
        let gap = |since: i64, until: Option<i64>| Unseen {
            kind: "x".to_owned(),
            since: second(since) + TimeDelta::milliseconds(300),
            until: until.map(second),
            ended_position: None,
        };
        let gaps = [gap(10, Some(20)), gap(30, Some(40)), gap(60, None)];
        let of = |from, to| placed(&gaps, "x", (second(from), second(to)), second(70));
        let one = |at| (at, at);
        assert_eq!(of(12, 13), one(second(12)));
        // Helix wrote the second in which the gap began.
        assert_eq!(of(30, 31), one(second(30) + TimeDelta::milliseconds(300)));
        assert_eq!(of(5, 50), one(second(30) + TimeDelta::milliseconds(300)));
        assert_eq!(of(65, 66), one(second(65)));
        let untold = (second(45), second(46));
        assert_eq!(of(45, 46), untold, "it was told of nowhere yet");
        assert_eq!(placed(&gaps, "y", untold, second(70)), untold);
    }
}
