//! What a stage's director does next: a pure function of what plays and waits, of who is there, and of the time.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use domain::stage::{Command, EXPIRED_MAX};
use projections::stages::{Line, Playing};
use uuid::Uuid;

use super::commands::{end_id, expire_id, start_id};
use super::presence::Present;
use super::settings::{Settings, WhenUnknown};

/// The most alerts that are expired at once.
pub const EXPIRED_AT_ONCE: i64 = EXPIRED_MAX as i64;

const NOBODY: &str = "no overlay was there to show it";
const CAME_BACK: &str = "its overlay came back and had not shown it";
const SILENT: &str = "its overlay said nothing about it any more";
const TOO_OFTEN: &str = "it was started too often and never shown";

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Do(Box<Command>),
    /// Nothing before this time, or before something changes.
    Wait(Option<DateTime<Utc>>),
}

/// What to do on `stage` at `now`.
pub fn decide(
    stage: &str,
    line: &Line,
    overlays: &[Present],
    settings: &Settings,
    now: DateTime<Utc>,
) -> Next {
    if let Some(playing) = line.playing.as_ref().filter(|playing| !playing.shown) {
        return watch(stage, playing, overlays, settings, now);
    }
    if !line.expired.is_empty() {
        let (revision, alerts) = (line.revision, line.expired.clone());
        let entry = expire_id(stage, revision);
        return Next::Do(Box::new(Command::Expire { entry, revision, alerts }));
    }
    let free_at = line.playing.as_ref().map(|playing| playing.ends_at + settings.gap());
    if free_at.is_some_and(|free_at| now < free_at) {
        return Next::Wait(free_at);
    }
    match &line.first {
        Some(first) if !line.paused => {
            let (revision, alert) = (line.revision, first.alert);
            let attempt = attempt_of(first.attempts + 1);
            let entry = start_id(stage, revision, alert, attempt);
            let starts_at = (now + settings.lead()).trunc_subsecs(3);
            let ends_at = starts_at + settings.duration(&first.kind);
            let start = Command::Start { entry, revision, alert, attempt, starts_at, ends_at };
            Next::Do(Box::new(start))
        }
        _ => Next::Wait(None),
    }
}

/// What was started and is on no screen yet, as far as anybody said.
fn watch(
    stage: &str,
    playing: &Playing,
    overlays: &[Present],
    settings: &Settings,
    now: DateTime<Utc>,
) -> Next {
    let painted_by = playing.starts_at + settings.painted_within();
    if now < painted_by {
        return Next::Wait(Some(painted_by));
    }
    let unknown_at = (playing.starts_at + settings.unknown_after()).max(painted_by);
    match heard(playing, overlays, settings.painted_within(), now) {
        Heard::Nobody => again(stage, playing, settings, NOBODY),
        Heard::NotShown => again(stage, playing, settings, CAME_BACK),
        Heard::MayCome(at) if now < unknown_at => Next::Wait(Some(at.min(unknown_at))),
        Heard::Silent if now < unknown_at => Next::Wait(Some(unknown_at)),
        Heard::MayCome(_) | Heard::Silent => match settings.when_unknown {
            WhenUnknown::Leave => give_up(stage, playing, SILENT),
            WhenUnknown::Requeue => again(stage, playing, settings, SILENT),
        },
    }
}

/// What is known of those to whom the start was sent, and of whom none says that it is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// It was sent to nobody.
    Nobody,
    /// All came back since then, and would have said so.
    NotShown,
    /// One came back and has until then to say so.
    MayCome(DateTime<Utc>),
    /// One got it and says nothing, or has not come back.
    Silent,
}

fn heard(
    playing: &Playing,
    overlays: &[Present],
    painted_within: TimeDelta,
    now: DateTime<Utc>,
) -> Heard {
    let is_sent = |row: &Present| {
        row.sent_alert == Some(playing.alert) && row.sent_attempt == Some(playing.attempt)
    };
    // The newest connection of each overlay, and whether an older one of it, or it alone, was sent this.
    let mut by_overlay: HashMap<Uuid, (&Present, bool, bool)> = HashMap::new();
    for row in overlays.iter().filter(|row| row.shows(&playing.kind)) {
        by_overlay
            .entry(row.overlay)
            .and_modify(|(_, _, older)| *older |= is_sent(row))
            .or_insert((row, is_sent(row), false));
    }
    let told = by_overlay.values().filter(|(_, newest, older)| *newest || *older);
    told.map(|(newest, _, older)| {
        if !(newest.here && *older) {
            return Heard::Silent;
        }
        let says_by = now - TimeDelta::milliseconds(newest.age_ms) + painted_within;
        if now < says_by { Heard::MayCome(says_by) } else { Heard::NotShown }
    })
    .max()
    .unwrap_or(Heard::Nobody)
}

/// It waits again, unless that was tried too often.
fn again(stage: &str, playing: &Playing, settings: &Settings, reason: &str) -> Next {
    if playing.tries >= i64::from(settings.attempts_max) {
        return give_up(stage, playing, TOO_OFTEN);
    }
    let (alert, attempt) = (playing.alert, attempt_of(playing.attempt));
    let (entry, reason) = (end_id(stage, alert, attempt), reason.to_owned());
    Next::Do(Box::new(Command::Requeue { entry, alert, attempt, reason }))
}

fn give_up(stage: &str, playing: &Playing, reason: &str) -> Next {
    let (alert, attempt) = (playing.alert, attempt_of(playing.attempt));
    let (entry, reason) = (end_id(stage, alert, attempt), reason.to_owned());
    Next::Do(Box::new(Command::GiveUp { entry, alert, attempt, reason }))
}

fn attempt_of(attempt: i64) -> u32 {
    u32::try_from(attempt).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
