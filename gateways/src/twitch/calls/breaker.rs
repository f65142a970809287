//! Whether a server that fails is asked again now. Pure.
//!
//! That of [`crate::generation::standing`] is another thing: it is computed from what was recorded of requests that cost
//! money, for all processes. This one keeps a process from running against a server that is down.

use std::time::{Duration, Instant};

/// So many failures one after the other, and nobody asks for a while.
const FAILURES_MAX: u32 = 10;
const REST: Duration = Duration::from_secs(15);
/// By then whoever tried has an answer, or has given up.
const TRY_MAX: Duration = Duration::from_secs(12);

#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Whether to ask at `now`; else how long to wait. After the rest, one tries for all.
    pub fn allows(&mut self, now: Instant) -> Result<(), Duration> {
        if self.failures < FAILURES_MAX {
            return Ok(());
        }
        match self.closed_until.filter(|until| *until > now) {
            Some(until) => Err(until - now),
            None => {
                self.closed_until = Some(now + TRY_MAX);
                Ok(())
            }
        }
    }

    /// There was an answer, whatever it says.
    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_MAX {
            self.closed_until = Some(now + REST);
        }
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_in_a_row_nobody_asks_for_a_while_and_then_one_tries() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            assert_eq!(breaker.allows(now), Ok(()));
            breaker.failed(now);
        }
        assert_eq!(breaker.allows(now), Err(REST));
        let later = now + REST;
        assert_eq!(breaker.allows(later), Ok(()), "one tries");
        assert_eq!(breaker.allows(later), Err(TRY_MAX), "and the others wait for it");
        breaker.failed(later);
        assert_eq!(breaker.allows(later), Err(REST));
        breaker.succeeded();
        assert_eq!((breaker.allows(later), breaker.failures()), (Ok(()), 0));
    }

    #[test]
    fn failures_that_are_not_in_a_row_keep_nobody_out() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..100 {
            breaker.failed(now);
            breaker.succeeded();
        }
        assert_eq!(breaker.allows(now), Ok(()));
    }
}
