//! What may happen on a stage, told as given, when, then.

use chrono::TimeDelta;
use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use serde_json::json;

use super::*;
use crate::alerting::Kind;
use crate::entry_id;

fn stage(history: Vec<Event>) -> AggregateTestExecutor<Stage> {
    TestFramework::<Stage>::with(()).given(history)
}

fn named(name: &str) -> Uuid {
    entry_id("test", name)
}

fn at(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time") + TimeDelta::milliseconds(ms)
}

fn jane() -> String {
    "mod_jane".to_owned()
}

fn alert() -> Uuid {
    named("alert")
}

fn opened() -> Event {
    Event::Opened { entry: named("open"), at: at(0) }
}

/// From 1 to 7 s.
fn started() -> Event {
    let (entry, alert) = (named("start"), alert());
    Event::Started { entry, alert, attempt: 1, starts_at: at(1_000), ends_at: at(7_000) }
}

fn shown() -> Event {
    let (entry, alert, overlay) = (named("show"), alert(), named("overlay"));
    Event::Shown { entry, alert, attempt: 1, overlay, at: at(1_010) }
}

fn paused() -> Event {
    Event::Paused { entry: named("pause"), actor: jane() }
}

fn start(revision: i64, alert: Uuid, attempt: u32, starts_ms: i64) -> Command {
    let (entry, starts_at) = (named("start again"), at(starts_ms));
    let ends_at = starts_at + TimeDelta::seconds(6);
    Command::Start { entry, revision, alert, attempt, starts_at, ends_at }
}

fn show(attempt: u32) -> Command {
    let (entry, alert, overlay) = (named("show again"), alert(), named("overlay"));
    Command::Show { entry, alert, attempt, overlay, at: at(1_010) }
}

fn requeue() -> Command {
    let (entry, alert, reason) = (named("end"), alert(), "nobody was there".to_owned());
    Command::Requeue { entry, alert, attempt: 1, reason }
}

fn requeued() -> Event {
    let (entry, alert, reason) = (named("end"), alert(), "nobody was there".to_owned());
    Event::Requeued { entry, alert, attempt: 1, reason }
}

fn skip(alert: Uuid, ms: i64) -> Command {
    Command::Skip { entry: named("skip"), alert, actor: jane(), at: at(ms) }
}

fn skipped() -> Event {
    Event::Skipped { entry: named("skip"), alert: alert(), attempt: 1, actor: jane() }
}

#[test]
fn a_stage_is_opened_once_and_nothing_happens_before() {
    let open = |name: &str| Command::Open { entry: named(name), at: at(0) };
    stage(vec![]).when(open("open")).then_expect_events(vec![opened()]);
    stage(vec![opened()]).when(open("open")).then_expect_events(vec![]);
    stage(vec![opened()]).when(open("again")).then_expect_events(vec![]);
    stage(vec![]).when(start(0, alert(), 1, 0)).then_expect_error(Rejection::NotOpen);
    let pause = Command::Pause { entry: named("pause"), actor: jane() };
    stage(vec![]).when(pause).then_expect_error(Rejection::NotOpen);
}

#[test]
fn a_stage_that_is_closed_plays_nothing_and_opens_again_as_a_new_one() {
    let expires = vec![Kind::Follow, Kind::Raid];
    let close =
        |name: &str| Command::Close { entry: named(name), expires: expires.clone(), at: at(5) };
    let closed = Event::Closed { entry: named("close"), expires: expires.clone(), at: at(5) };
    stage(vec![]).when(close("close")).then_expect_error(Rejection::NotOpen);
    let history = vec![opened(), paused(), started()];
    stage(history).when(close("close")).then_expect_events(vec![closed.clone()]);
    let over = vec![opened(), started(), paused(), closed];
    stage(over.clone()).when(close("close")).then_expect_events(vec![]);
    stage(over.clone()).when(close("again")).then_expect_error(Rejection::NotOpen);
    stage(over.clone()).when(show(1)).then_expect_error(Rejection::NotOpen);
    let (entry, next) = (named("open again"), named("next"));
    let again = Event::Opened { entry, at: at(9) };
    stage(over.clone())
        .when(Command::Open { entry, at: at(9) })
        .then_expect_events(vec![again.clone()]);
    // Neither paused nor with what played, and its revisions go on.
    let history = [over, vec![again]].concat();
    let starts = stage(history).when(start(5, next, 1, 10_000));
    starts.then_expect_events(vec![Event::Started {
        entry: named("start again"),
        alert: next,
        attempt: 1,
        starts_at: at(10_000),
        ends_at: at(16_000),
    }]);
}

#[test]
fn one_alert_plays_after_the_other() {
    let (next, ends_at) = (named("next"), at(14_000));
    let begun = Event::Started {
        entry: named("start again"),
        alert: next,
        attempt: 1,
        starts_at: at(8_000),
        ends_at,
    };
    let history = vec![opened(), started(), shown()];
    stage(history.clone()).when(start(3, next, 1, 8_000)).then_expect_events(vec![begun]);
    stage(history).when(start(3, next, 1, 6_999)).then_expect_error(Rejection::Playing);
    // While nobody knows whether it was shown, nothing else starts, however late it is.
    let unshown = vec![opened(), started()];
    stage(unshown).when(start(2, next, 1, 900_000)).then_expect_error(Rejection::Playing);
}

#[test]
fn a_start_by_who_has_not_seen_the_last_event_is_refused() {
    let moved = Rejection::Moved { revision: 1, seen: 0 };
    stage(vec![opened()]).when(start(0, alert(), 1, 0)).then_expect_error(moved);
    let history = vec![opened(), started(), requeued()];
    let moved = Rejection::Moved { revision: 3, seen: 1 };
    stage(history.clone()).when(start(1, alert(), 1, 0)).then_expect_error(moved);
    let (entry, alerts) = (named("old"), vec![alert()]);
    let expire = |revision| Command::Expire { entry, revision, alerts: alerts.clone() };
    let moved = Rejection::Moved { revision: 3, seen: 2 };
    stage(history.clone()).when(expire(2)).then_expect_error(moved);
    let expired = Event::Expired { entry, alerts: alerts.clone() };
    stage(history).when(expire(3)).then_expect_events(vec![expired]);
}

#[test]
fn nothing_starts_while_it_is_paused_and_what_plays_is_still_shown() {
    let history = vec![opened(), paused()];
    stage(history).when(start(2, alert(), 1, 0)).then_expect_error(Rejection::Paused);
    let seen = Event::Shown {
        entry: named("show again"),
        alert: alert(),
        attempt: 1,
        overlay: named("overlay"),
        at: at(1_010),
    };
    stage(vec![opened(), started(), paused()]).when(show(1)).then_expect_events(vec![seen]);
}

#[test]
fn what_many_overlays_show_is_shown_once() {
    let history = vec![opened(), started(), shown()];
    stage(history.clone()).when(show(1)).then_expect_events(vec![]);
    stage(history.clone()).when(show(2)).then_expect_error(Rejection::NotPlaying);
    // Whoever said so came before who thought that nobody would.
    stage(history).when(requeue()).then_expect_error(Rejection::ShownBefore);
    stage(vec![opened()]).when(show(1)).then_expect_error(Rejection::NotPlaying);
}

#[test]
fn what_nobody_showed_waits_again_or_is_unknown_and_then_nobody_can_show_it() {
    let history = vec![opened(), started()];
    stage(history.clone()).when(requeue()).then_expect_events(vec![requeued()]);
    stage(vec![opened(), started(), requeued()])
        .when(show(1))
        .then_expect_error(Rejection::NotPlaying);
    let (entry, alert, reason) = (named("end"), alert(), "no word".to_owned());
    let give_up = Command::GiveUp { entry, alert, attempt: 1, reason: reason.clone() };
    let unknown = Event::Unknown { entry, alert, attempt: 1, reason };
    stage(history).when(give_up.clone()).then_expect_events(vec![unknown.clone()]);
    let over = vec![opened(), started(), unknown];
    stage(over.clone()).when(show(1)).then_expect_error(Rejection::NotPlaying);
    stage(over).when(give_up).then_expect_events(vec![]);
}

#[test]
fn only_what_plays_is_skipped() {
    for history in [vec![opened(), started()], vec![opened(), started(), shown()]] {
        stage(history.clone()).when(skip(alert(), 2_000)).then_expect_events(vec![skipped()]);
        stage(history).when(skip(named("other"), 2_000)).then_expect_error(Rejection::NotPlaying);
    }
    let over = vec![opened(), started(), shown()];
    stage(over).when(skip(alert(), 7_000)).then_expect_error(Rejection::NotPlaying);
    stage(vec![opened(), started(), skipped()])
        .when(Command::Skip {
            entry: named("skip 2"),
            alert: alert(),
            actor: jane(),
            at: at(2_000),
        })
        .then_expect_error(Rejection::NotPlaying);
}

#[test]
fn what_plays_is_neither_cleared_nor_replayed() {
    let clear = |alert| Command::Clear { entry: named("clear"), alert, until: 9, actor: jane() };
    let cleared = |alert| Event::Cleared { entry: named("clear"), alert, until: 9, actor: jane() };
    let playing = vec![opened(), started()];
    stage(playing.clone()).when(clear(Some(alert()))).then_expect_error(Rejection::Playing);
    stage(playing.clone()).when(clear(None)).then_expect_events(vec![cleared(None)]);
    let other = Some(named("other"));
    stage(playing.clone()).when(clear(other)).then_expect_events(vec![cleared(other)]);

    let (entry, actor) = (named("replay"), jane());
    let replay = |ms| Command::Replay { entry, alert: alert(), actor: actor.clone(), at: at(ms) };
    let replayed = Event::Replayed { entry, alert: alert(), actor: actor.clone() };
    stage(playing).when(replay(9_000)).then_expect_error(Rejection::Playing);
    let over = vec![opened(), started(), shown()];
    stage(over.clone()).when(replay(6_999)).then_expect_error(Rejection::Playing);
    stage(over).when(replay(7_000)).then_expect_events(vec![replayed]);
}

#[test]
fn a_switch_that_is_thrown_already_records_nothing() {
    let (pause, resume) = (named("pause"), named("resume"));
    let pauses = |entry| Command::Pause { entry, actor: jane() };
    let resumes = |entry| Command::Resume { entry, actor: jane() };
    let resumed = Event::Resumed { entry: resume, actor: jane() };
    stage(vec![opened()]).when(pauses(pause)).then_expect_events(vec![paused()]);
    stage(vec![opened(), paused()]).when(pauses(named("p2"))).then_expect_events(vec![]);
    stage(vec![opened(), paused()]).when(resumes(resume)).then_expect_events(vec![resumed]);
    stage(vec![opened()]).when(resumes(resume)).then_expect_events(vec![]);

    let entry = named("mute");
    let mute = |what| Command::Mute { entry, what, actor: jane() };
    let muted = |what| Event::Muted { entry: named("m"), what, actor: jane() };
    let speech = Event::Muted { entry, what: Sound::Speech, actor: jane() };
    let history = vec![opened(), muted(Sound::Sound)];
    stage(history.clone()).when(mute(Sound::Sound)).then_expect_events(vec![]);
    stage(history.clone()).when(mute(Sound::Speech)).then_expect_events(vec![speech]);
    let unmute = |what| Command::Unmute { entry, what, actor: jane() };
    let unmuted = Event::Unmuted { entry, what: Sound::Sound, actor: jane() };
    stage(history.clone()).when(unmute(Sound::Sound)).then_expect_events(vec![unmuted]);
    stage(history).when(unmute(Sound::Speech)).then_expect_events(vec![]);
}

#[test]
fn a_test_is_an_alert_of_its_kind_that_says_it_is_one() {
    let data = json!({"bits": 5}).as_object().expect("an object").clone();
    let (entry, kind, actor) = (named("test"), Kind::Cheer, jane());
    let test = Command::Test { entry, kind, data: data.clone(), actor: actor.clone() };
    let tested = Event::Tested { entry, kind, data, actor };
    stage(vec![opened()]).when(test).then_expect_events(vec![tested.clone()]);
    let alert = crate::alerting::for_stage(&tested).expect("an alert");
    let shown = serde_json::to_value(&alert.data).expect("JSON");
    assert_eq!((alert.kind, alert.viewer), (Kind::Cheer, None));
    assert_eq!(shown, json!({"bits": 5, "test": true}));
    assert!(crate::alerting::for_stage(&opened()).is_none());
    let data = json!({"message": "x".repeat(TEST_BYTES_MAX)});
    let data = data.as_object().expect("an object").clone();
    let long = Command::Test { entry, kind, data, actor: jane() };
    stage(vec![opened()]).when(long).then_expect_error(Rejection::TooLong);
}

#[test]
fn a_start_without_time_and_an_expiry_of_none_or_of_too_many_are_refused() {
    let (entry, alert, starts_at) = (named("start"), alert(), at(0));
    let start =
        Command::Start { entry, revision: 1, alert, attempt: 1, starts_at, ends_at: starts_at };
    stage(vec![opened()]).when(start).then_expect_error(Rejection::NoTime);
    for count in [0, EXPIRED_MAX + 1] {
        let expire = Command::Expire { entry, revision: 1, alerts: vec![alert; count] };
        stage(vec![opened()]).when(expire).then_expect_error(Rejection::BadCount);
    }
}

#[test]
fn the_state_stays_small_however_much_has_happened() {
    let mut state = Stage::default();
    state.apply(opened());
    let size = |state: &Stage| serde_json::to_string(state).expect("JSON").len();
    for n in 0..1_000_u32 {
        let entry = named(&format!("{n}"));
        state.apply(Event::Prioritised { entry, alert: entry, actor: jane() });
        state.apply(Event::Expired { entry, alerts: vec![entry; EXPIRED_MAX] });
    }
    assert_eq!(state.revision, 2_001);
    assert!(size(&state) < 4_096, "{}", size(&state));
}
