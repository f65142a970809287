//! Whether the channel is live, where Twitch and history disagree: a pure function of both and of the time.
//!
//! Helix says for some minutes what was true before, and its list may flap for channels that are live all the while. So
//! one answer starts a broadcast that history does not know at all; all else has to be said for a while, and by nothing
//! contradicted. What is wrongly ended is resumed, as the same broadcast: its live id is the same.

use chrono::{DateTime, TimeDelta, Utc};
use projections::broadcasts::Current;
use serde::{Deserialize, Serialize};

use super::late::LiveRow;

/// So long nothing has to be live where the end would have been told.
const TOLD_AFTER: TimeDelta = TimeDelta::minutes(15);
/// A doubt lasts at least for so long without an answer.
const STALE_AFTER: TimeDelta = TimeDelta::minutes(1);

/// What history says.
#[derive(Clone, Debug, PartialEq)]
pub struct Ours {
    pub live: bool,
    pub live_id: Option<String>,
    /// When it was last on the air from.
    pub since: Option<DateTime<Utc>>,
    /// When it was last over.
    pub over: Option<DateTime<Utc>>,
    /// The position of what was last noted of it.
    pub position: i64,
}

/// How sure it has to be.
#[derive(Clone, Copy, Debug)]
pub struct Sure {
    /// For so long Helix has to say the same.
    pub after: TimeDelta,
    /// Nothing of how it went off can have been missed: `stream.offline` was told all the while.
    pub is_told: bool,
}

/// Since when Twitch says something else than history, and what both say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    pub since: DateTime<Utc>,
    /// What Twitch says is live; nothing, where nothing is.
    pub live_id: Option<String>,
    /// The position of what history says.
    pub position: i64,
}

/// What is to be done as if Twitch had told it.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    Start { live_id: String, at: DateTime<Utc>, name: String },
    End { live_id: String, at: DateTime<Utc>, name: String },
}

impl Ours {
    pub fn of(current: &Current) -> Self {
        let broadcast = current.broadcast.as_ref();
        let interval = broadcast.and_then(|broadcast| broadcast.intervals.last());
        Ours {
            live: current.live,
            live_id: interval.map(|interval| interval.live_id.clone()),
            since: interval.map(|interval| interval.started_at),
            over: interval.and_then(|interval| interval.ended_at),
            position: interval
                .map_or(0, |last| last.ended_position.unwrap_or(last.started_position)),
        }
    }
}

impl Sure {
    /// How long nothing has to be live before that is the end.
    fn over_after(&self) -> TimeDelta {
        if self.is_told { self.after.max(TOLD_AFTER) } else { self.after }
    }
}

/// What is to be done at `now`, and what remains in doubt. Helix answered last at `answered_at`: a doubt that nobody looked
/// after for long begins anew, since what was said meanwhile is not known.
pub fn decide(
    ours: &Ours,
    theirs: Option<&LiveRow>,
    doubt: Option<Doubt>,
    answered_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    sure: Sure,
) -> (Option<Deed>, Option<Doubt>) {
    let said = theirs.map(|row| row.id.clone());
    let agreed = match &said {
        Some(live_id) => ours.live && ours.live_id.as_ref() == Some(live_id),
        None => !ours.live,
    };
    if agreed {
        return (None, None);
    }
    let stale_after = (sure.after * 2).max(STALE_AFTER);
    let is_fresh = answered_at.is_some_and(|answered_at| now - answered_at <= stale_after);
    let same = doubt.filter(|_| is_fresh);
    let same = same.filter(|doubt| doubt.live_id == said && doubt.position == ours.position);
    let doubt = same.unwrap_or(Doubt { since: now, live_id: said, position: ours.position });
    let (at, lasts) = (doubt.since, now - doubt.since);
    // What is over is live again only as surely as it would be over.
    let is_ours = !ours.live && theirs.is_some_and(|row| ours.live_id.as_ref() == Some(&row.id));
    let is_sure = lasts >= if is_ours { sure.over_after() } else { sure.after };
    let deed = match (theirs, &ours.live_id) {
        (Some(row), _) if !is_sure => is_news(ours, row).then(|| {
            // The one before was over before this one began, whatever it is that was recorded of its end.
            let at = ours.over.map_or(row.started_at, |over| over.max(row.started_at));
            let live_id = row.id.clone();
            Deed::Start { name: format!("online:{live_id}"), live_id, at }
        }),
        (Some(row), _) => {
            let name = format!("online:{}:{}", row.id, at.timestamp_micros());
            Some(Deed::Start { live_id: row.id.clone(), at, name })
        }
        (None, Some(live_id)) if lasts >= sure.over_after() => {
            let name = format!("offline:{live_id}:{}", ours.position);
            Some(Deed::End { live_id: live_id.clone(), at, name })
        }
        (None, _) => None,
    };
    (deed, Some(doubt))
}

/// Whether history knows nothing of it, so that it cannot be what is over.
fn is_news(ours: &Ours, row: &LiveRow) -> bool {
    let is_other = ours.live_id.as_ref() != Some(&row.id);
    is_other && ours.since.is_none_or(|since| row.started_at > since)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Sure = Sure { after: TimeDelta::minutes(3), is_told: false };

    fn minute(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn ours(live: bool, live_id: &str, since: i64, position: i64) -> Ours {
        let (live_id, since) = (Some(live_id.to_owned()), Some(minute(since)));
        Ours { live, live_id, since, over: None, position }
    }

    fn row(id: &str, started_at: i64) -> LiveRow {
        let (id, user_id) = (id.to_owned(), "1000".to_owned());
        LiveRow { id, user_id, started_at: minute(started_at) }
    }

    /// What is done while Twitch says `answers` of what is live, at these minutes, and history stays as it is.
    fn over(ours: &Ours, answers: &[(i64, Option<LiveRow>)]) -> Vec<Option<Deed>> {
        over_as(ours, answers, SURE)
    }

    fn over_as(ours: &Ours, answers: &[(i64, Option<LiveRow>)], sure: Sure) -> Vec<Option<Deed>> {
        let (mut doubt, mut answered_at) = (None, None);
        let mut deeds = Vec::new();
        for (at, theirs) in answers {
            let (deed, left) = decide(ours, theirs.as_ref(), doubt, answered_at, minute(*at), sure);
            (doubt, answered_at) = (left, Some(minute(*at)));
            deeds.push(deed);
        }
        deeds
    }

    fn started(live_id: &str, at: i64, name: &str) -> Option<Deed> {
        let (live_id, name) = (live_id.to_owned(), name.to_owned());
        Some(Deed::Start { live_id, at: minute(at), name })
    }

    fn ended(live_id: &str, at: i64, name: &str) -> Option<Deed> {
        let (live_id, name) = (live_id.to_owned(), name.to_owned());
        Some(Deed::End { live_id, at: minute(at), name })
    }

    #[test]
    fn a_stream_that_nobody_told_of_starts_at_once_and_from_when_it_was() {
        let never = Ours { live: false, live_id: None, since: None, over: None, position: 0 };
        let seen = over(&never, &[(10, Some(row("a", 4)))]);
        assert_eq!(seen, [started("a", 4, "online:a")]);
        let before = ours(false, "a", 1, 7);
        let seen = over(&before, &[(10, Some(row("b", 4)))]);
        assert_eq!(seen, [started("b", 4, "online:b")]);
        // The end of the one before was missed too.
        let live = ours(true, "a", 1, 7);
        assert_eq!(over(&live, &[(10, Some(row("b", 4)))]), [started("b", 4, "online:b")]);
    }

    #[test]
    fn what_agrees_is_left_alone() {
        assert_eq!(over(&ours(true, "a", 1, 7), &[(10, Some(row("a", 1)))]), [None]);
        assert_eq!(over(&ours(false, "a", 1, 7), &[(10, None)]), [None]);
    }

    #[test]
    fn one_answer_that_nothing_is_live_ends_nothing_and_two_with_time_between_do() {
        let live = ours(true, "a", 1, 7);
        let seen = over(&live, &[(10, None), (12, None), (13, None)]);
        assert_eq!(seen, [None, None, ended("a", 10, "offline:a:7")]);
        // A list that flaps ends nothing.
        let up = || Some(row("a", 1));
        let seen = over(&live, &[(10, None), (12, up()), (13, None), (15, None), (16, None)]);
        assert_eq!(seen[..4], [None, None, None, None]);
        assert_eq!(seen[4], ended("a", 13, "offline:a:7"));
    }

    #[test]
    fn a_doubt_that_nobody_looked_after_begins_anew() {
        let live = ours(true, "a", 1, 7);
        // Helix was away from the first answer to the second.
        let seen = over(&live, &[(10, None), (100, None), (102, None), (103, None)]);
        assert_eq!(seen, [None, None, None, ended("a", 100, "offline:a:7")]);
        let seen = over(&live, &[(10, None), (16, None)]);
        assert_eq!(seen[1], ended("a", 10, "offline:a:7"), "it was looked after");
    }

    #[test]
    fn an_end_that_would_have_been_told_takes_longer_to_be_believed() {
        let live = ours(true, "a", 1, 7);
        let told = Sure { is_told: true, ..SURE };
        let answers: Vec<_> = (10..=25).map(|at| (at, None)).collect();
        let seen = over_as(&live, &answers, told);
        assert!(seen[..15].iter().all(Option::is_none));
        assert_eq!(seen[15], ended("a", 10, "offline:a:7"));
        // A start is not: it is found as soon as ever.
        let seen = over_as(&live, &[(10, Some(row("b", 4)))], told);
        assert_eq!(seen, [started("b", 4, "online:b")]);
    }

    #[test]
    fn what_began_before_the_end_of_the_one_before_was_noticed_is_not_over_with_it() {
        let noticed = Ours { over: Some(minute(6)), ..ours(false, "a", 1, 7) };
        let seen = over(&noticed, &[(10, Some(row("b", 4)))]);
        assert_eq!(seen, [started("b", 6, "online:b")]);
        let seen = over(&noticed, &[(10, Some(row("b", 8)))]);
        assert_eq!(seen, [started("b", 8, "online:b")]);
    }

    #[test]
    fn what_is_over_is_not_resumed_by_an_answer_from_before() {
        let over_since = ours(false, "a", 1, 7);
        let up = || Some(row("a", 1));
        let seen = over(&over_since, &[(10, up()), (12, up()), (13, None)]);
        assert_eq!(seen, [None, None, None]);
        let seen = over(&over_since, &[(10, up()), (13, up())]);
        assert_eq!(seen, [None, started("a", 10, "online:a:600000000")]);
    }

    #[test]
    fn an_older_stream_is_not_taken_for_a_new_one() {
        let live = ours(true, "b", 5, 7);
        assert_eq!(over(&live, &[(10, Some(row("a", 1)))]), [None]);
    }

    #[test]
    fn whatever_is_told_meanwhile_makes_the_doubt_begin_again() {
        let doubt = decide(&ours(true, "a", 1, 7), None, None, None, minute(10), SURE).1;
        let told = ours(true, "a", 11, 9);
        let (deed, doubt) = decide(&told, None, doubt, Some(minute(10)), minute(14), SURE);
        assert_eq!((deed, doubt.map(|doubt| doubt.since)), (None, Some(minute(14))));
    }
}
