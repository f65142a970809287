//! Since when open stages are named by no configuration. Kept in memory by the one that directs: its successor waits anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The stages that nobody names, and since when.
#[derive(Default)]
pub(super) struct Unnamed(HashMap<String, Instant>);

impl Unnamed {
    /// Notes that at `now` these are all that nobody names, and says which of them are new.
    pub(super) fn look<'a>(
        &mut self,
        stages: impl Iterator<Item = &'a str>,
        now: Instant,
    ) -> Vec<&'a str> {
        let stages: Vec<&str> = stages.collect();
        self.0.retain(|stage, _| stages.contains(&stage.as_str()));
        let new = |stage: &&str| !self.0.contains_key(*stage);
        let new: Vec<&str> = stages.into_iter().filter(new).collect();
        self.0.extend(new.iter().map(|stage| ((*stage).to_owned(), now)));
        new
    }

    /// For how long nobody has named this stage.
    pub(super) fn lasts(&self, stage: &str, now: Instant) -> Duration {
        self.0.get(stage).map_or(Duration::ZERO, |since| now.saturating_duration_since(*since))
    }

    /// How long it is until the first of them has been unnamed for `grace`.
    pub(super) fn first_after(&self, grace: Duration, now: Instant) -> Option<Duration> {
        let left = |since: &Instant| (*since + grace).saturating_duration_since(now);
        self.0.values().map(left).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_comes_back_begins_anew() {
        let (mut unnamed, start) = (Unnamed::default(), Instant::now());
        let after = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let grace = Duration::from_secs(300);
        assert_eq!(unnamed.first_after(grace, start), None);
        assert_eq!(unnamed.look(["main", "side"].into_iter(), start), ["main", "side"]);
        assert_eq!(unnamed.lasts("main", start), Duration::ZERO);
        assert_eq!(unnamed.look(["side"].into_iter(), after(4)), [""; 0], "main is named again");
        assert_eq!(unnamed.look(["main", "side"].into_iter(), after(5)), ["main"]);
        assert!(unnamed.lasts("side", after(5)) >= grace);
        assert_eq!(unnamed.lasts("main", after(5)), Duration::ZERO);
        assert_eq!(unnamed.first_after(grace, after(4)), Some(Duration::from_secs(60)));
        assert_eq!(unnamed.first_after(grace, after(6)), Some(Duration::ZERO));
    }
}
