//! What `[stage]` of the configuration says.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use domain::alerting::Kind;
use domain::stage;
use serde::{Deserialize, Serialize};

/// The longest an alert may be on the stage, in seconds, and the longest that it may wait, in minutes.
const SECONDS_MAX: f64 = 600.0;
const MINUTES_MAX: f64 = 60.0 * 24.0 * 365.0;
/// The longest of all the other times, in milliseconds.
const MS_MAX: u32 = 600_000;
/// The longest that a stage stays open without a name, in seconds.
const CLOSE_AFTER_S_MAX: u32 = 86_400;

/// What becomes of an alert of which nobody can say whether it was shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnknown {
    /// It is a row that somebody may replay: it is never shown twice by itself.
    #[default]
    Leave,
    /// It is shown again: it may be shown twice, and is never missed.
    Requeue,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The stages there are.
    pub names: Vec<String>,
    /// How long a stage that is not named any more stays open: it may be a slip that somebody takes back.
    pub close_after_s: u32,
    /// How long before its start the overlays are told of an alert, so that all begin together.
    pub lead_ms: u32,
    /// From the end of an alert to the start of the next.
    pub gap_ms: u32,
    /// How long an overlay may take to have an alert on the screen.
    pub painted_within_ms: u32,
    /// How long nobody may say anything about an alert before it is unknown.
    pub unknown_after_ms: u32,
    pub when_unknown: WhenUnknown,
    /// How often an alert is started that nobody shows.
    pub attempts_max: u32,
    /// How long an alert is on the stage, by type.
    pub seconds: BTreeMap<String, f64>,
    /// How long an alert may wait, by type; with 0, for ever.
    pub expire_minutes: BTreeMap<String, f64>,
}

impl Default for Settings {
    fn default() -> Self {
        let named = |kind: Kind| kind.name().to_owned();
        let minutes = |kind| Some((named(kind), f64::from(stage::expire_minutes(kind)?)));
        Settings {
            names: vec!["main".to_owned()],
            close_after_s: 300,
            lead_ms: 300,
            gap_ms: 1_000,
            painted_within_ms: 3_000,
            unknown_after_ms: 15_000,
            when_unknown: WhenUnknown::Leave,
            attempts_max: 5,
            seconds: Kind::ALL.map(|kind| (named(kind), stage::seconds(kind))).into(),
            expire_minutes: Kind::ALL.into_iter().filter_map(minutes).collect(),
        }
    }
}

impl Settings {
    /// Why these settings cannot be worked with.
    pub fn refusal(&self) -> Option<String> {
        let times = [self.lead_ms, self.gap_ms, self.painted_within_ms, self.unknown_after_ms];
        if times.iter().any(|time| *time > MS_MAX) {
            return Some(format!("stage: its times are at most {MS_MAX} ms"));
        }
        if !(1..=20).contains(&self.attempts_max) {
            return Some("stage.attempts_max is 1 to 20".to_owned());
        }
        if self.names.is_empty() || self.names.len() > 16 {
            return Some("stage.names has 1 to 16 names".to_owned());
        }
        let bad = self.names.iter().find(|name| journal::command::check_id(name).is_err());
        if let Some(name) = bad {
            return Some(format!("stage.names: {name:?} is not made of A-Z a-z 0-9 _ -"));
        }
        if self.close_after_s > CLOSE_AFTER_S_MAX {
            return Some(format!("stage.close_after_s is at most {CLOSE_AFTER_S_MAX}"));
        }
        let known = |name: &str| Kind::ALL.iter().any(|kind| kind.name() == name);
        let named = self.seconds.keys().chain(self.expire_minutes.keys());
        if let Some(name) = named.into_iter().find(|name| !known(name)) {
            return Some(format!("stage: there is no alert type {name:?}"));
        }
        if self.seconds.values().any(|seconds| !(0.1..=SECONDS_MAX).contains(seconds)) {
            return Some(format!("stage.seconds are 0.1 to {SECONDS_MAX}"));
        }
        if self.expire_minutes.values().any(|minutes| !(0.0..=MINUTES_MAX).contains(minutes)) {
            return Some(format!("stage.expire_minutes are at most {MINUTES_MAX}"));
        }
        None
    }

    /// How long an alert of this type is on the stage.
    pub fn duration(&self, kind: &str) -> TimeDelta {
        let known = Kind::ALL.into_iter().find(|known| known.name() == kind);
        let ordinary = known.map_or(6.0, stage::seconds);
        let seconds = self.seconds.get(kind).copied().unwrap_or(ordinary);
        TimeDelta::milliseconds((seconds * 1_000.0).round() as i64)
    }

    /// The types that may not wait for ever, and for how long they may.
    pub fn expiries(&self) -> impl Iterator<Item = (Kind, TimeDelta)> {
        Kind::ALL.into_iter().filter_map(|kind| {
            let named = self.expire_minutes.get(kind.name()).copied();
            let minutes = named.or_else(|| stage::expire_minutes(kind).map(f64::from))?;
            let expiry = TimeDelta::milliseconds((minutes * 60_000.0).round() as i64);
            (minutes > 0.0).then_some((kind, expiry))
        })
    }

    /// The types that may not wait for ever.
    pub fn expiring(&self) -> Vec<Kind> {
        self.expiries().map(|(kind, _)| kind).collect()
    }

    /// How long a stage stays open that is not named any more.
    pub fn close_after(&self) -> Duration {
        Duration::from_secs(u64::from(self.close_after_s))
    }

    pub fn lead(&self) -> TimeDelta {
        ms(self.lead_ms)
    }

    pub fn gap(&self) -> TimeDelta {
        ms(self.gap_ms)
    }

    pub fn painted_within(&self) -> TimeDelta {
        ms(self.painted_within_ms)
    }

    pub fn unknown_after(&self) -> TimeDelta {
        ms(self.unknown_after_ms)
    }
}

fn ms(time: u32) -> TimeDelta {
    TimeDelta::milliseconds(i64::from(time))
}

/// As a time of the clock that waits.
pub(super) fn until(delta: TimeDelta) -> Duration {
    delta.to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_has_its_ordinary_times() {
        let settings = Settings {
            seconds: [("raid".to_owned(), 0.5)].into(),
            expire_minutes: [("raid".to_owned(), 0.5), ("cheer".to_owned(), 0.0)].into(),
            ..Settings::default()
        };
        assert_eq!(settings.duration("raid"), TimeDelta::milliseconds(500));
        assert_eq!(settings.duration("ghost"), TimeDelta::milliseconds(14_800));
        let expiries = settings.expiries().map(|(kind, expiry)| (kind.name(), expiry));
        let expiries: BTreeMap<_, _> = expiries.collect();
        assert_eq!(expiries.get("raid"), Some(&TimeDelta::seconds(30)));
        assert_eq!(expiries.get("follow"), Some(&TimeDelta::minutes(10)));
        assert!(!expiries.contains_key("cheer") && !expiries.contains_key("ghost"));
    }

    #[test]
    fn the_ordinary_settings_can_be_worked_with_and_wrong_ones_say_why() {
        assert_eq!(Settings::default().refusal(), None);
        let ordinary = Settings::default;
        for (wrong, key) in [
            (Settings { names: vec![], ..ordinary() }, "names"),
            (Settings { names: vec!["a.b".to_owned()], ..ordinary() }, "a.b"),
            (Settings { attempts_max: 0, ..ordinary() }, "attempts_max"),
            (Settings { close_after_s: 86_401, ..ordinary() }, "close_after_s"),
            (Settings { lead_ms: MS_MAX + 1, ..ordinary() }, "ms"),
            (Settings { seconds: [("raids".to_owned(), 1.0)].into(), ..ordinary() }, "raids"),
            (Settings { seconds: [("raid".to_owned(), f64::NAN)].into(), ..ordinary() }, "seconds"),
        ] {
            assert!(wrong.refusal().is_some_and(|words| words.contains(key)), "{key}");
        }
    }
}
