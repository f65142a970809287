//! What `[twitch.missed]` of the configuration says: how often Twitch is asked for what it did not tell.

use std::time::Duration;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

const EVERY_S: std::ops::RangeInclusive<u64> = 30..=86_400;
const SURE_AFTER_S: std::ops::RangeInclusive<u64> = 60..=3_600;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How often Twitch is asked; at the start and after a gap it is asked at once.
    pub every_s: u64,
    /// For how long Helix may say what was true before: so long it has to disagree before a broadcast is ended or resumed
    /// because of it, and so long after a gap it is asked once more before the gap is done with.
    pub sure_after_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { every_s: 180, sure_after_s: 180 }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<&'static str> {
        if !EVERY_S.contains(&self.every_s) {
            return Some("twitch.missed.every_s: 30 to 86400, a day");
        }
        if !SURE_AFTER_S.contains(&self.sure_after_s) {
            return Some("twitch.missed.sure_after_s: 60 to 3600, an hour");
        }
        None
    }

    pub fn every(&self) -> Duration {
        Duration::from_secs(self.every_s)
    }

    pub fn sure_after(&self) -> TimeDelta {
        TimeDelta::seconds(i64::try_from(self.sure_after_s).unwrap_or(i64::MAX / 1_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twitch_is_asked_neither_all_the_time_nor_never() {
        let usual = Settings::default();
        assert_eq!(usual.refusal(), None);
        for every_s in [0, 29, 86_401] {
            assert!(Settings { every_s, ..usual }.refusal().is_some());
        }
        for sure_after_s in [0, 59, 3_601] {
            assert!(Settings { sure_after_s, ..usual }.refusal().is_some());
        }
    }
}
