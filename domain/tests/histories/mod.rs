//! Random commands: few names, so that they meet, and numbers at the edges of the range as well as everyday ones.

use chrono::{DateTime, Utc};
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use domain::broadcast::{HypeTrain, Moment};
use domain::entry_id;
use domain::rules::Tier;
use domain::{account, broadcast};

pub fn many<C: std::fmt::Debug>(
    command: impl Strategy<Value = C>,
) -> impl Strategy<Value = Vec<C>> {
    vec(command, 0..60)
}

/// A name out of few: the commands must meet each other's holds and entries, and repeat.
fn entry() -> impl Strategy<Value = Uuid> {
    (0..24_u32).prop_map(|n| entry_id("random", &n.to_string()))
}

fn points() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -5..500_i64,
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(i64::MAX / 2)],
    ]
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000 + minute * 60, 0).expect("a time")
}

fn minute() -> impl Strategy<Value = DateTime<Utc>> {
    (0..600_i64).prop_map(at)
}

pub fn account_command() -> impl Strategy<Value = account::Command> {
    use account::{Command, Facts};
    prop_oneof![
        4 => (entry(), points()).prop_map(|(entry, points)| Command::Credit {
            entry,
            points,
            rules: 1,
            facts: Facts::Cheer { bits: points, message: String::new() },
        }),
        4 => (entry(), points(), minute()).prop_map(|(entry, points, expires_at)| {
            Command::Hold { entry, points, purpose: "image alert".to_owned(), expires_at }
        }),
        2 => (entry(), entry()).prop_map(|(entry, hold)| Command::Capture { entry, hold }),
        2 => (entry(), entry()).prop_map(|(entry, hold)| {
            Command::Release { entry, hold, reason: "refused".to_owned() }
        }),
        3 => (entry(), entry(), points(), any::<bool>()).prop_map(
            |(entry, reverses, points, back)| Command::Reverse {
                entry,
                reverses,
                points: if back { points.saturating_neg() } else { points },
                note: "a mistake".to_owned(),
                actor: "mod".to_owned(),
            }
        ),
    ]
}

pub fn broadcast_command() -> impl Strategy<Value = broadcast::Command> {
    use broadcast::Command;
    let live_id = || (0..5_u32).prop_map(|n| format!("live-{n}"));
    let tape = (0..3_u32).prop_map(|n| format!("tape {n}"));
    prop_oneof![
        4 => (entry(), live_id(), minute(), prop_oneof![Just(900), any::<i64>()]).prop_map(
            |(entry, live_id, at, resume_within_s)| Command::Start {
                entry,
                live_id,
                at,
                resume_within_s,
            }
        ),
        4 => (entry(), proptest::option::of(live_id()), minute())
            .prop_map(|(entry, live_id, at)| Command::End { entry, live_id, at }),
        2 => (entry(), tape, minute())
            .prop_map(|(entry, tape, at)| Command::StartScreening { entry, tape, at, card: None }),
        1 => (entry(), minute()).prop_map(|(entry, at)| Command::EndScreening { entry, at }),
        1 => (entry(), "[ab]", proptest::option::of(minute())).prop_map(|(entry, title, at)| Command::Retitle {
            entry,
            title,
            category: "Retro".to_owned(),
            language: "en".to_owned(),
            at,
        }),
        3 => (entry(), minute(), moment())
            .prop_map(|(entry, at, moment)| Command::Note { entry, at, moment }),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    let viewer = (5_001..5_004_u32).prop_map(|id| id.to_string());
    let train = (0..3_u32, 1..5_i64).prop_map(|(n, level)| HypeTrain {
        id: format!("train-{n}"),
        level,
        total: 100 * level,
        goal: None,
        kind: "regular".to_owned(),
    });
    prop_oneof![
        viewer.clone().prop_map(|viewer| Moment::Followed { viewer }),
        (viewer, 0..99_i64).prop_map(|(viewer, viewers)| Moment::Raided { viewer, viewers }),
        (1..99_i64).prop_map(|count| Moment::SubsGifted { tier: Tier::One, count }),
        train.clone().prop_map(Moment::HypeTrainStarted),
        train.prop_map(Moment::HypeTrainEnded),
    ]
}

/// Up to four times on the air, in order and apart, in minutes.
pub fn times() -> impl Strategy<Value = Vec<(i64, i64)>> {
    vec((1..60_i64, 1..300_i64), 1..=4).prop_map(|lengths| {
        let mut now = 0;
        let mut next = |length| {
            now += length;
            now
        };
        lengths.into_iter().map(|(off, on)| (next(off), next(on))).collect()
    })
}

pub fn start(live_id: &str, minute: i64) -> broadcast::Command {
    broadcast::Command::Start {
        entry: entry_id("start", live_id),
        live_id: live_id.to_owned(),
        at: at(minute),
        resume_within_s: 900,
    }
}

pub fn end(n: usize, minute: i64) -> broadcast::Command {
    let entry = entry_id("end", &n.to_string());
    broadcast::Command::End { entry, live_id: None, at: at(minute) }
}
