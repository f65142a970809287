//! When grants are looked at: Twitch wants each that is held validated hourly.

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;

const CHECK_EVERY: TimeDelta = TimeDelta::minutes(50);
const SPLAY_S: i64 = 8 * 60;

/// When a grant that was good at `now` is looked at again: hourly, and not all at the same moment.
pub fn next_check(now: DateTime<Utc>) -> DateTime<Utc> {
    now + CHECK_EVERY + TimeDelta::seconds(rand::rng().random_range(0..=SPLAY_S))
}

/// The end of what lasts for `seconds` from `now` on. Twitch says 0 of what does not end.
pub fn ends_at(now: DateTime<Utc>, seconds: Option<u64>) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(seconds.filter(|seconds| *seconds > 0)?).ok()?;
    now.checked_add_signed(TimeDelta::try_seconds(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_looked_at_within_the_hour() {
        let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        for _ in 0..100 {
            let wait = next_check(now) - now;
            assert!(wait >= TimeDelta::minutes(50) && wait < TimeDelta::minutes(60), "{wait}");
        }
    }

    #[test]
    fn what_does_not_end_has_no_end_and_nonsense_has_none_either() {
        let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
        assert_eq!(ends_at(now, Some(60)), Some(now + TimeDelta::minutes(1)));
        for endless in [None, Some(0), Some(u64::MAX), Some(i64::MAX as u64)] {
            assert_eq!(ends_at(now, endless), None);
        }
    }
}
