//! What is done next, told as what is there, and what follows.

use projections::stages::Waiting;

use super::*;
use crate::stage::presence::Layer;

fn tonight() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn at(ms: i64) -> DateTime<Utc> {
    tonight() + TimeDelta::milliseconds(ms)
}

const ALERT: Uuid = Uuid::from_u128(0xa);
const NEXT: Uuid = Uuid::from_u128(0xb);

fn line() -> Line {
    let first = Waiting { alert: NEXT, kind: "cheer".to_owned(), attempts: 0 };
    Line {
        position: 9,
        revision: 3,
        paused: false,
        playing: None,
        first: Some(first),
        anything_waits: true,
        expired: vec![],
    }
}

/// From 0 to 6 s.
fn playing(shown: bool) -> Playing {
    let (kind, starts_at, ends_at) = ("cheer".to_owned(), at(0), at(6_000));
    Playing { alert: ALERT, kind, attempt: 2, tries: 1, starts_at, ends_at, shown }
}

fn unshown() -> Line {
    Line { playing: Some(playing(false)), ..line() }
}

/// A connection of overlay `n` that came `age_ms` ago.
fn overlay(n: u128, age_ms: i64, here: bool, sent: bool) -> Present {
    Present {
        connection: Uuid::from_u128(n << 64 | u128::try_from(age_ms).expect("a number")),
        overlay: Uuid::from_u128(n),
        layer: Layer::Normal.name().to_owned(),
        kinds: vec![],
        since: tonight(),
        age_ms,
        here,
        sent_alert: sent.then_some(ALERT),
        sent_attempt: sent.then_some(2),
        painted_alert: None,
        painted_at: None,
    }
}

fn next(line: &Line, overlays: &[Present], ms: i64) -> Next {
    decide("main", line, overlays, &Settings::default(), at(ms))
}

fn requeued(next: &Next) -> bool {
    matches!(next, Next::Do(command) if matches!(&**command, Command::Requeue { attempt: 2, .. }))
}

fn given_up(next: &Next) -> bool {
    matches!(next, Next::Do(command) if matches!(&**command, Command::GiveUp { attempt: 2, .. }))
}

#[test]
fn the_first_that_waits_starts_in_a_moment_for_as_long_as_its_type_takes() {
    let Next::Do(command) = next(&line(), &[], 0) else { panic!("it starts") };
    let entry = start_id("main", 3, NEXT, 1);
    let (starts_at, ends_at) = (at(300), at(6_300));
    let start = Command::Start { entry, revision: 3, alert: NEXT, attempt: 1, starts_at, ends_at };
    assert_eq!(*command, start);
}

#[test]
fn nothing_starts_while_paused_or_while_nobody_shows_what_waits_or_before_the_gap_is_over() {
    assert_eq!(next(&Line { paused: true, ..line() }, &[], 0), Next::Wait(None));
    assert_eq!(next(&Line { first: None, ..line() }, &[], 0), Next::Wait(None));
    let shown = Line { playing: Some(playing(true)), ..line() };
    assert_eq!(next(&shown, &[], 3_000), Next::Wait(Some(at(7_000))));
    assert_eq!(next(&shown, &[], 6_999), Next::Wait(Some(at(7_000))));
    assert!(matches!(next(&shown, &[], 7_000), Next::Do(_)));
}

#[test]
fn what_is_too_old_expires_before_anything_starts_and_also_while_paused() {
    let old = Line { expired: vec![ALERT, NEXT], paused: true, ..line() };
    let Next::Do(command) = next(&old, &[], 0) else { panic!("they expire") };
    let entry = expire_id("main", 3);
    assert_eq!(*command, Command::Expire { entry, revision: 3, alerts: vec![ALERT, NEXT] });
    let unshown = Line { playing: Some(playing(false)), ..old };
    assert_eq!(next(&unshown, &[], 0), Next::Wait(Some(at(3_000))), "first what plays");
}

#[test]
fn what_was_sent_to_nobody_waits_again() {
    assert_eq!(next(&unshown(), &[], 2_999), Next::Wait(Some(at(3_000))));
    assert!(requeued(&next(&unshown(), &[], 3_000)));
    let others = [overlay(1, 9_000, true, false), overlay(2, 9_000, false, false)];
    assert!(requeued(&next(&unshown(), &others, 3_000)));
}

#[test]
fn what_was_sent_to_one_that_does_not_come_back_is_unknown_after_the_grace() {
    for here in [false, true] {
        let silent = [overlay(1, 9_000, here, true)];
        assert_eq!(next(&unshown(), &silent, 3_000), Next::Wait(Some(at(15_000))));
        assert!(given_up(&next(&unshown(), &silent, 15_000)));
        let settings = Settings { when_unknown: WhenUnknown::Requeue, ..Settings::default() };
        assert!(requeued(&decide("main", &unshown(), &silent, &settings, at(15_000))));
    }
}

#[test]
fn what_one_has_not_shown_that_came_back_waits_again_once_it_had_the_time_to_say_so() {
    let back = |age_ms| [overlay(1, age_ms, true, true), overlay(1, 60_000, false, true)];
    assert_eq!(next(&unshown(), &back(1_000), 4_000), Next::Wait(Some(at(6_000))));
    assert!(requeued(&next(&unshown(), &back(3_000), 6_000)));
    // Another one may have shown it and says nothing.
    let [newest, oldest] = back(3_000);
    let both = [newest, oldest, overlay(2, 60_000, false, true)];
    assert_eq!(next(&unshown(), &both, 6_000), Next::Wait(Some(at(15_000))));
}

#[test]
fn one_that_comes_back_again_and_again_does_not_hold_up_the_stage() {
    let flapping = [overlay(1, 10, true, true), overlay(1, 60_000, false, true)];
    assert!(matches!(next(&unshown(), &flapping, 14_000), Next::Wait(Some(_))));
    assert!(given_up(&next(&unshown(), &flapping, 15_000)));
}

#[test]
fn an_alert_that_is_never_shown_is_given_up_after_its_last_attempt() {
    let tried = Playing { tries: 5, ..playing(false) };
    let tried = Line { playing: Some(tried), ..line() };
    assert!(given_up(&next(&tried, &[], 3_000)));
}

#[test]
fn a_layer_that_never_stands_alone_says_nothing_about_an_alert() {
    let screen =
        Present { layer: Layer::Screen.name().to_owned(), ..overlay(1, 9_000, true, true) };
    assert!(!screen.shows("cheer"));
    assert!(requeued(&next(&unshown(), &[screen], 3_000)));
    let raids = Present { kinds: vec!["raid".to_owned()], ..overlay(1, 9_000, true, true) };
    assert!(raids.shows("raid") && !raids.shows("cheer"));
}
