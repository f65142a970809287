//! The secret between Twitch and us, and those that it took the place of a while ago. Where they can be sealed they are
//! `versions` in PostgreSQL; else they are what this process remembers.

pub mod listed;
pub mod twins;
pub mod versions;

use chrono::{DateTime, TimeDelta, Utc};

use super::signature::Secret;

pub use versions::{Version, Versions};

/// How long a replaced secret is believed after it was replaced: Twitch signs with it until it is
/// told the new one, and a leaked one must not be good for long.
pub const GRACE: TimeDelta = TimeDelta::minutes(10);

/// Who replaces more than these within the grace loses the oldest.
const REPLACED_MAX: usize = 4;

/// The secrets that are believed.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Without one nobody is believed.
    current: Option<Secret>,
    /// Each with the moment at which it ends, oldest first.
    replaced: Vec<(Secret, DateTime<Utc>)>,
}

impl Secrets {
    pub fn new(current: Option<Secret>) -> Self {
        Secrets { current, replaced: Vec::new() }
    }

    /// What is believed when `next` is the secret from `now` on. The same one again changes nothing,
    /// so a reload for other reasons neither drops nor extends what was replaced.
    pub fn replaced_by(&self, next: Option<Secret>, now: DateTime<Utc>) -> Self {
        let mut replaced = self.replaced.clone();
        if self.current != next {
            replaced.extend(self.current.clone().map(|secret| (secret, now + GRACE)));
        }
        replaced.retain(|(secret, until)| *until > now && Some(secret) != next.as_ref());
        replaced.drain(..replaced.len().saturating_sub(REPLACED_MAX));
        Secrets { current: next, replaced }
    }

    /// Those that are good at `now`.
    pub fn believed(&self, now: DateTime<Utc>) -> impl Iterator<Item = &Secret> {
        let replaced = self.replaced.iter().filter(move |(_, until)| *until > now);
        self.current.iter().chain(replaced.map(|(secret, _)| secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str) -> Option<Secret> {
        Some(Secret::new(format!("the secret {name}")).expect("a good secret"))
    }

    fn minute(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn believes(secrets: &Secrets, name: &str, at: i64) -> bool {
        secrets.believed(minute(at)).any(|believed| Some(believed) == secret(name).as_ref())
    }

    #[test]
    fn a_replaced_secret_is_believed_for_the_grace_and_no_longer() {
        let secrets = Secrets::new(secret("a")).replaced_by(secret("b"), minute(0));
        assert!(believes(&secrets, "a", 9) && believes(&secrets, "b", 9));
        assert!(!believes(&secrets, "a", 10), "ten minutes are over");
        assert!(believes(&secrets, "b", 10_000));
    }

    #[test]
    fn a_reload_for_other_reasons_neither_drops_nor_extends_it() {
        let secrets = Secrets::new(secret("a")).replaced_by(secret("b"), minute(0));
        let reloaded = secrets.replaced_by(secret("b"), minute(9));
        assert!(believes(&reloaded, "a", 9) && !believes(&reloaded, "a", 10));
    }

    #[test]
    fn one_that_comes_back_is_the_current_one_again() {
        let secrets = Secrets::new(secret("a")).replaced_by(secret("b"), minute(0));
        let back = secrets.replaced_by(secret("a"), minute(5));
        assert!(believes(&back, "a", 10_000));
        assert!(believes(&back, "b", 14) && !believes(&back, "b", 15));
        assert_eq!(back.believed(minute(6)).count(), 2);
    }

    #[test]
    fn only_a_few_replaced_ones_are_kept() {
        let all = ["a", "b", "c", "d", "e", "f"].map(secret);
        let none = Secrets::default();
        let last = all.into_iter().fold(none, |secrets, next| secrets.replaced_by(next, minute(0)));
        assert!(!believes(&last, "a", 1) && believes(&last, "b", 1) && believes(&last, "f", 1));
    }
}
