//! The points that Twitch allows an account, as it last said and as they were taken since. Pure.
//!
//! A bucket is filled at its *reset*. Until then each call takes a point before it is made, and what an answer says can only
//! lower what is left: answers overtake each other. After the reset nobody knows how many there are, so one asks and the
//! others wait for its answer; the last hundredth is never used, so that whoever asks too early, because clocks differ, is
//! still answered.

use chrono::{DateTime, TimeDelta, Utc};
use hyper::HeaderMap;

/// The longest wait for points: a bucket is filled within a minute.
pub const WAIT_MAX: TimeDelta = TimeDelta::seconds(60);
/// Where Twitch says that there are none left and not until when.
const WAIT_UNSAID: TimeDelta = TimeDelta::seconds(5);
/// How long those wait who wait for what another is answered, before they look again.
const LOOK_AFTER: TimeDelta = TimeDelta::milliseconds(20);
/// Who was not answered by then may be gone, and another asks.
const ASKED_MAX: TimeDelta = TimeDelta::seconds(2);
/// How long to rest where the bucket should have been filled and was not.
const EARLY: TimeDelta = TimeDelta::milliseconds(200);
/// One point of so many is kept back.
const KEPT_BACK: i64 = 100;

/// What headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub left: i64,
    pub most: i64,
    pub reset_at: Option<DateTime<Utc>>,
}

impl Said {
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<i64>().ok();
        let left = number("ratelimit-remaining")?.max(0);
        let most = number("ratelimit-limit").unwrap_or(left).max(0);
        let reset_at = number("ratelimit-reset").and_then(|at| DateTime::from_timestamp(at, 0));
        Some(Said { left, most, reset_at })
    }
}

/// What is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Bucket {
    /// Nobody has taken these; and how many there are after a reset.
    pub free: Option<i64>,
    pub most: Option<i64>,
    pub reset_at: Option<DateTime<Utc>>,
    /// Somebody asks how it is since then.
    pub asked_at: Option<DateTime<Utc>>,
    pub rest_until: Option<DateTime<Utc>>,
}

/// What becomes of a wish to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Go(Point),
    Wait(TimeDelta),
}

/// What a call is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Others wait for its answer.
    pub asks: bool,
    /// How many were left when it was taken, as far as was known, and until when.
    pub left: Option<i64>,
    pub reset_at: Option<DateTime<Utc>>,
}

impl Bucket {
    /// A point for one call at `now`, or how long to wait.
    pub fn take(&mut self, now: DateTime<Utc>) -> Take {
        if let Some(until) = self.rest_until.filter(|until| *until > now) {
            return Take::Wait((until - now).min(WAIT_MAX));
        }
        if let (Some(free), Some(reset_at)) = (self.free, self.reset_at)
            && reset_at > now
        {
            if free <= self.kept_back() {
                return Take::Wait((reset_at - now).min(WAIT_MAX));
            }
            self.free = Some(free - 1);
            return Take::Go(Point { asks: false, left: self.free, reset_at: self.reset_at });
        }
        if self.asked_at.is_some_and(|at| now - at < ASKED_MAX) {
            return Take::Wait(LOOK_AFTER);
        }
        self.asked_at = Some(now);
        Take::Go(Point { asks: true, left: None, reset_at: None })
    }

    /// What an answer says: to whoever `asks`, or to another; with `used_up`, that it was one call too many.
    pub fn learn(&mut self, said: Option<Said>, asks: bool, used_up: bool, now: DateTime<Utc>) {
        if asks {
            self.asked_at = None;
        }
        let Some(Said { left, most, reset_at }) = said else { return };
        let latest = now + WAIT_MAX;
        let unsaid = if left == 0 { now + WAIT_UNSAID } else { now };
        let reset_at = reset_at.unwrap_or(unsaid).min(latest);
        match (self.free, self.reset_at.filter(|at| *at > now)) {
            (Some(free), Some(known)) if reset_at > now => {
                (self.free, self.reset_at) = (Some(free.min(left)), Some(known.max(reset_at)));
            }
            // It comes late, and is about the filling before.
            (Some(_), Some(_)) => {}
            _ if reset_at > now => (self.free, self.reset_at) = (Some(left), Some(reset_at)),
            // It was asked too early: the bucket that was there before is there still.
            _ if asks && self.reset_at == Some(reset_at) => self.rest_until = Some(now + EARLY),
            _ => {}
        }
        self.most = Some(most);
        if used_up && reset_at > now {
            let until = self.reset_at.map_or(reset_at, |known| known.max(reset_at));
            (self.free, self.reset_at, self.rest_until) = (Some(0), Some(until), Some(until));
        } else if used_up {
            self.rest_until = self.rest_until.max(Some(now + EARLY));
        }
    }

    fn kept_back(&self) -> i64 {
        self.most.unwrap_or(0) / KEPT_BACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000 + second, 0).expect("a time")
    }

    fn said(left: i64, reset: i64) -> Option<Said> {
        Some(Said { left, most: 10, reset_at: Some(second(reset)) })
    }

    fn seconds(seconds: i64) -> Take {
        Take::Wait(TimeDelta::seconds(seconds))
    }

    fn goes(take: Take) -> bool {
        matches!(take, Take::Go(_))
    }

    #[test]
    fn one_asks_how_many_points_there_are_and_the_others_wait_for_what_it_is_answered() {
        let mut bucket = Bucket::default();
        assert!(matches!(bucket.take(second(0)), Take::Go(Point { asks: true, .. })));
        assert_eq!(bucket.take(second(1)), Take::Wait(LOOK_AFTER));
        bucket.learn(said(2, 12), true, false, second(1));
        assert!(goes(bucket.take(second(1))) && goes(bucket.take(second(1))));
        assert_eq!(bucket.take(second(2)), seconds(10));
        // After the reset the same again; who died while asking keeps nobody waiting for ever.
        assert!(goes(bucket.take(second(12))));
        assert!(!goes(bucket.take(second(13))));
        assert!(goes(bucket.take(second(24))));
        bucket.learn(None, true, false, second(25));
        assert!(goes(bucket.take(second(25))), "an answer that says nothing lets the next ask");
    }

    #[test]
    fn of_answers_that_overtake_each_other_the_lowest_counts() {
        let mut bucket = Bucket::default();
        bucket.learn(said(3, 12), true, false, second(0));
        bucket.learn(said(7, 12), true, false, second(0));
        assert_eq!(bucket.free, Some(3));
        // One of the filling before, that comes late, says nothing of this one.
        bucket.learn(said(9, 72), true, false, second(13));
        bucket.learn(said(0, 12), false, false, second(13));
        assert_eq!((bucket.free, bucket.reset_at), (Some(9), Some(second(72))));
        bucket.learn(said(0, 12), false, true, second(13));
        assert_eq!(bucket.take(second(13)), Take::Wait(EARLY));
        assert!(goes(bucket.take(second(14))), "nor does one that was one too many then");
    }

    #[test]
    fn whoever_asks_too_early_rests_a_moment_and_the_last_hundredth_is_there_for_it() {
        let most = |left| Some(Said { left, most: 800, reset_at: Some(second(60)) });
        let mut bucket = Bucket::default();
        bucket.learn(most(9), true, false, second(0));
        assert!(goes(bucket.take(second(1))));
        assert_eq!(bucket.take(second(1)), seconds(59), "eight are kept back");
        assert!(goes(bucket.take(second(60))));
        bucket.learn(most(7), true, false, second(60));
        assert_eq!(bucket.take(second(60)), Take::Wait(EARLY));
        assert!(goes(bucket.take(second(61))));
    }

    #[test]
    fn after_one_call_too_many_nobody_calls_until_the_reset() {
        let mut bucket = Bucket::default();
        bucket.learn(said(9, 60), true, false, second(0));
        bucket.learn(said(0, 60), true, true, second(1));
        // An answer that was on its way changes nothing.
        bucket.learn(said(8, 60), true, false, second(1));
        assert_eq!(bucket.take(second(30)), seconds(30));
        assert!(matches!(bucket.take(second(60)), Take::Go(Point { asks: true, .. })));
        assert!(!goes(bucket.take(second(60))), "one finds out, before all run");
    }

    #[test]
    fn no_answer_makes_anybody_wait_for_long() {
        let mut bucket = Bucket::default();
        bucket.learn(said(0, 1_000_000), true, true, second(0));
        assert_eq!(bucket.take(second(0)), Take::Wait(WAIT_MAX));
        let mut unsaid = Bucket::default();
        unsaid.learn(Some(Said { left: 0, most: 0, reset_at: None }), true, true, second(0));
        assert_eq!(unsaid.take(second(0)), Take::Wait(WAIT_UNSAID));
        let mut headers = HeaderMap::new();
        for garbage in ["", "many", "1.5"] {
            headers.insert("ratelimit-remaining", garbage.parse().expect("a header"));
            assert_eq!(Said::read(&headers), None, "{garbage}");
        }
    }
}
