//! How often one caller may ask: a bucket that holds a minute's worth and refills evenly.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use uuid::Uuid;

const MINUTE: Duration = Duration::from_secs(60);
/// How many callers are told apart; beyond that, newcomers share one bucket.
const CALLERS_MAX: usize = 16_384;

/// Who asks, as far as counting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    Address(IpAddr),
    /// An address that loads pictures.
    Watcher(IpAddr),
    Key(Uuid),
    /// An address that begins logins.
    Login(IpAddr),
    /// An address that comes back from Twitch to no login that it began.
    Return(IpAddr),
    /// An address that sends keys which are none.
    Guesser(IpAddr),
    /// Everybody who does not fit into the table.
    Crowd,
}

/// The state of a caller's bucket after one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub limit: u32,
    pub remaining: u32,
    /// Until the bucket is full again.
    pub full_in: Duration,
    /// Until the next request is allowed, when this one was not.
    pub refused_for: Option<Duration>,
}

/// The buckets of all callers, each as the one moment at which it is full again.
#[derive(Default)]
pub struct Limits {
    full_at: Mutex<HashMap<Caller, Instant>>,
}

impl Limits {
    /// Counts a request at `now`; `None` where there is no limit.
    pub fn count(&self, caller: Caller, per_minute: u32, now: Instant) -> Option<Allowance> {
        if per_minute == 0 {
            return None;
        }
        let each = MINUTE / per_minute;
        let mut all = self.lock();
        if all.len() >= CALLERS_MAX && !all.contains_key(&caller) {
            all.retain(|_, full_at| *full_at > now);
        }
        let known = all.len() < CALLERS_MAX || all.contains_key(&caller);
        let full_at = all.entry(if known { caller } else { Caller::Crowd }).or_insert(now);
        let owed = full_at.saturating_duration_since(now);
        if let Some(refusal) = refusal(owed, per_minute) {
            return Some(refusal);
        }
        let full_in = owed + each;
        *full_at = now + full_in;
        let remaining = (MINUTE - full_in).as_nanos() / each.as_nanos().max(1);
        let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
        Some(Allowance { limit: per_minute, remaining, full_in, refused_for: None })
    }

    /// The refusal that the caller's next request would meet, without counting one.
    pub fn refusal(&self, caller: Caller, per_minute: u32, now: Instant) -> Option<Allowance> {
        let all = self.lock();
        let crowd = || all.get(&Caller::Crowd).filter(|_| all.len() >= CALLERS_MAX);
        let full_at = all.get(&caller).or_else(crowd)?;
        refusal(full_at.saturating_duration_since(now), per_minute)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Caller, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a bucket that is full again after `owed` says to one more request, if that is no.
fn refusal(owed: Duration, per_minute: u32) -> Option<Allowance> {
    let each = MINUTE / per_minute.max(1);
    let refused_for = (owed + each).checked_sub(MINUTE).filter(|wait| !wait.is_zero())?;
    let refused_for = Some(refused_for);
    Some(Allowance { limit: per_minute, remaining: 0, full_in: owed, refused_for })
}

impl Allowance {
    /// The three headers, and `Retry-After` on a refusal.
    pub fn write(&self, headers: &mut HeaderMap, unix_now: i64) {
        let reset = unix_now + whole_seconds(self.full_in);
        let named = HeaderName::from_static;
        headers.insert(named("x-ratelimit-limit"), HeaderValue::from(self.limit));
        headers.insert(named("x-ratelimit-remaining"), HeaderValue::from(self.remaining));
        headers.insert(named("x-ratelimit-reset"), HeaderValue::from(reset));
        if let Some(refused_for) = self.refused_for {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(refused_for)));
        }
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Caller = Caller::Key(Uuid::nil());

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_at_a_time() {
        let limits = Limits::default();
        let start = Instant::now();
        for n in (0..60).rev() {
            let allowance = limits.count(KEY, 60, start).expect("limited");
            assert_eq!((allowance.remaining, allowance.refused_for), (n, None));
        }
        let refused = limits.count(KEY, 60, start).expect("limited");
        assert_eq!(refused.refused_for, Some(Duration::from_secs(1)));
        let later = start + Duration::from_secs(1);
        assert_eq!(limits.count(KEY, 60, later).expect("limited").refused_for, None);
        assert!(limits.count(KEY, 60, later).expect("limited").refused_for.is_some());
    }

    #[test]
    fn a_refusal_is_foreseen_without_counting() {
        let limits = Limits::default();
        let now = Instant::now();
        assert_eq!(limits.refusal(KEY, 2, now), None);
        limits.count(KEY, 2, now);
        assert_eq!(limits.refusal(KEY, 2, now), None);
        assert_eq!(limits.refusal(KEY, 2, now), None, "looking is not counted");
        limits.count(KEY, 2, now);
        assert_eq!(limits.refusal(KEY, 2, now), limits.count(KEY, 2, now));
        assert_eq!(limits.refusal(KEY, 2, now + MINUTE / 2), None);
    }

    #[test]
    fn one_caller_does_not_use_up_anothers() {
        let limits = Limits::default();
        let now = Instant::now();
        for _ in 0..2 {
            limits.count(KEY, 1, now);
        }
        let other = Caller::Address(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(limits.count(other, 1, now).expect("limited").refused_for, None);
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let limits = Limits::default();
        let now = Instant::now();
        for n in 0..(CALLERS_MAX + 100) as u128 {
            limits.count(Caller::Key(Uuid::from_u128(n)), 1, now);
        }
        assert!(limits.full_at.lock().expect("whole").len() <= CALLERS_MAX + 1);
    }

    #[test]
    fn zero_means_no_limit() {
        assert_eq!(Limits::default().count(KEY, 0, Instant::now()), None);
    }
}
