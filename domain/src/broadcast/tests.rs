//! How notifications that come late, twice or out of order become broadcasts, told as given, when, then.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::entry_id;

const RESUME_WITHIN_S: i64 = 15 * 60;

fn broadcaster(history: Vec<Event>) -> AggregateTestExecutor<Broadcast> {
    TestFramework::<Broadcast>::with(()).given(history)
}

fn named(name: &str) -> Uuid {
    entry_id("test", name)
}

fn minute(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000 + minute * 60, 0).expect("a time")
}

fn start(live_id: &str, at: i64) -> Command {
    Command::Start {
        entry: named(live_id),
        live_id: live_id.to_owned(),
        at: minute(at),
        resume_within_s: RESUME_WITHIN_S,
    }
}

fn end(at: i64) -> Command {
    Command::End { entry: named("end"), live_id: None, at: minute(at) }
}

fn started(broadcast: i64, live_id: &str, at: i64) -> Event {
    Event::Started { broadcast, live_id: live_id.to_owned(), at: minute(at) }
}

fn resumed(broadcast: i64, live_id: &str, at: i64) -> Event {
    Event::Resumed { broadcast, live_id: live_id.to_owned(), at: minute(at) }
}

fn ended(broadcast: i64, at: i64) -> Event {
    Event::Ended { broadcast, at: minute(at), screening: None }
}

fn offline_noted(at: i64) -> Event {
    Event::OfflineNoted { live_id: None, at: minute(at) }
}

fn start_screening(name: &str, tape: &str, at: i64) -> Command {
    Command::StartScreening {
        entry: named(name),
        tape: tape.to_owned(),
        at: minute(at),
        card: None,
    }
}

fn screening(name: &str, tape: &str, at: i64) -> Screening {
    Screening { id: named(name), tape: tape.to_owned(), started_at: minute(at) }
}

fn screening_started(name: &str, tape: &str, at: i64) -> Event {
    Event::ScreeningStarted { broadcast: 1, screening: screening(name, tape, at), card: None }
}

fn train(level: i64) -> HypeTrain {
    let (id, kind) = ("train-1".to_owned(), "regular".to_owned());
    HypeTrain { id, level, total: 100 * level, goal: Some(1_800), kind }
}

fn note(name: &str, moment: Moment) -> Command {
    Command::Note { entry: named(name), at: minute(5), moment }
}

#[test]
fn the_first_start_is_broadcast_one() {
    broadcaster(vec![]).when(start("a", 0)).then_expect_events(vec![started(1, "a", 0)]);
}

#[test]
fn the_same_start_again_changes_nothing() {
    broadcaster(vec![started(1, "a", 0)]).when(start("a", 0)).then_expect_events(vec![]);
    broadcaster(vec![started(1, "a", 0), ended(1, 60)])
        .when(start("a", 0))
        .then_expect_events(vec![]);
}

#[test]
fn a_start_a_day_later_is_the_next_broadcast() {
    broadcaster(vec![started(1, "a", 0), ended(1, 60)])
        .when(start("b", 1_440))
        .then_expect_events(vec![started(2, "b", 1_440)]);
}

#[test]
fn a_return_within_fifteen_minutes_resumes_the_broadcast() {
    let history = vec![started(1, "a", 0), ended(1, 60)];
    broadcaster(history.clone()).when(start("b", 75)).then_expect_events(vec![resumed(1, "b", 75)]);
    broadcaster(history).when(start("b", 76)).then_expect_events(vec![started(2, "b", 76)]);
}

#[test]
fn a_return_under_the_same_live_id_resumes_the_broadcast_whenever_it_comes() {
    broadcaster(vec![started(1, "a", 0), ended(1, 60)])
        .when(start("a", 600))
        .then_expect_events(vec![resumed(1, "a", 600)]);
}

#[test]
fn a_start_whose_end_was_missed_ends_the_broadcast_before_it() {
    let on_screen = vec![started(1, "a", 0), screening_started("s", "tape 7", 10)];
    let screening = Some(screening("s", "tape 7", 10));
    broadcaster(on_screen).when(start("b", 600)).then_expect_events(vec![
        Event::Ended { broadcast: 1, at: minute(600), screening },
        started(2, "b", 600),
    ]);
}

#[test]
fn a_late_start_after_its_noted_end_is_not_taken_for_a_live_broadcast() {
    broadcaster(vec![]).when(end(60)).then_expect_events(vec![offline_noted(60)]);
    broadcaster(vec![offline_noted(60)])
        .when(start("a", 0))
        .then_expect_events(vec![started(1, "a", 0), ended(1, 60)]);
}

#[test]
fn a_late_end_does_not_end_the_broadcast_after_it() {
    broadcaster(vec![started(1, "b", 100)]).when(end(60)).then_expect_events(vec![]);
}

#[test]
fn a_late_start_does_not_end_the_broadcast_after_it() {
    broadcaster(vec![started(1, "b", 100)]).when(start("a", 0)).then_expect_events(vec![]);
}

#[test]
fn an_end_of_another_live_id_is_noted_until_its_start_comes() {
    let end_of_b =
        Command::End { entry: named("end b"), live_id: Some("b".to_owned()), at: minute(160) };
    let noted = Event::OfflineNoted { live_id: Some("b".to_owned()), at: minute(160) };
    broadcaster(vec![started(1, "a", 0)]).when(end_of_b).then_expect_events(vec![noted.clone()]);
    broadcaster(vec![started(1, "a", 0), noted]).when(start("b", 100)).then_expect_events(vec![
        ended(1, 100),
        started(2, "b", 100),
        ended(2, 160),
    ]);
}

#[test]
fn an_end_is_recorded_once() {
    broadcaster(vec![started(1, "a", 0)]).when(end(60)).then_expect_events(vec![ended(1, 60)]);
    broadcaster(vec![started(1, "a", 0), ended(1, 60)]).when(end(60)).then_expect_events(vec![]);
}

#[test]
fn a_new_title_is_recorded_and_the_same_one_is_not() {
    broadcaster(vec![])
        .when(retitle("Tape night", None))
        .then_expect_events(vec![retitled("Tape night", None)]);
    broadcaster(vec![retitled("Tape night", None)])
        .when(retitle("Tape night", Some(5)))
        .then_expect_events(vec![]);
}

#[test]
fn an_older_title_that_arrives_late_does_not_win() {
    let newer = vec![retitled("Newer", Some(5))];
    broadcaster(newer.clone()).when(retitle("Older", Some(4))).then_expect_events(vec![]);
    broadcaster(newer.clone())
        .when(retitle("Newest", Some(6)))
        .then_expect_events(vec![retitled("Newest", Some(6))]);
    // Titles recorded without a time are older than those with one.
    broadcaster(vec![retitled("Once", None)])
        .when(retitle("Now", Some(1)))
        .then_expect_events(vec![retitled("Now", Some(1))]);
    broadcaster(newer)
        .when(retitle("By hand", None))
        .then_expect_events(vec![retitled("By hand", None)]);
}

fn retitle(title: &str, at: Option<i64>) -> Command {
    let (title, category, language) = (title.to_owned(), "Retro".to_owned(), "en".to_owned());
    Command::Retitle { entry: named(&title), title, category, language, at: at.map(minute) }
}

fn retitled(title: &str, at: Option<i64>) -> Event {
    let (title, category, language) = (title.to_owned(), "Retro".to_owned(), "en".to_owned());
    Event::Retitled { title, category, language, at: at.map(minute) }
}

#[test]
fn a_tape_is_screened_only_while_live() {
    broadcaster(vec![])
        .when(start_screening("s", "tape 7", 10))
        .then_expect_error(Rejection::NotLive);
    broadcaster(vec![started(1, "a", 0)])
        .when(start_screening("s", "tape 7", 10))
        .then_expect_events(vec![screening_started("s", "tape 7", 10)]);
}

#[test]
fn another_tape_ends_the_one_on_screen() {
    broadcaster(vec![started(1, "a", 0), screening_started("s", "tape 7", 10)])
        .when(start_screening("t", "tape 8", 20))
        .then_expect_events(vec![
            Event::ScreeningEnded {
                broadcast: 1,
                screening: screening("s", "tape 7", 10),
                at: minute(20),
            },
            screening_started("t", "tape 8", 20),
        ]);
}

#[test]
fn the_tape_on_screen_cannot_be_started_again() {
    broadcaster(vec![started(1, "a", 0), screening_started("s", "tape 7", 10)])
        .when(start_screening("t", "tape 7", 20))
        .then_expect_error(Rejection::SameTape { tape: "tape 7".to_owned() });
}

#[test]
fn the_same_screening_command_again_changes_nothing() {
    let moved_on = vec![
        started(1, "a", 0),
        screening_started("s", "tape 7", 10),
        screening_started("t", "tape 8", 20),
    ];
    broadcaster(moved_on).when(start_screening("s", "tape 7", 10)).then_expect_events(vec![]);
}

#[test]
fn the_end_of_a_screening_is_recorded_once() {
    let stop = Command::EndScreening { entry: named("stop"), at: minute(30) };
    let screening_ended = Event::ScreeningEnded {
        broadcast: 1,
        screening: screening("s", "tape 7", 10),
        at: minute(30),
    };
    let history = vec![started(1, "a", 0), screening_started("s", "tape 7", 10)];
    broadcaster(history.clone())
        .when(stop.clone())
        .then_expect_events(vec![screening_ended.clone()]);
    broadcaster([history, vec![screening_ended]].concat())
        .when(stop.clone())
        .then_expect_events(vec![]);
    broadcaster(vec![]).when(stop).then_expect_error(Rejection::NotLive);
}

#[test]
fn the_end_of_a_broadcast_takes_the_tape_off_the_screen() {
    let screening = Some(screening("s", "tape 7", 10));
    broadcaster(vec![started(1, "a", 0), screening_started("s", "tape 7", 10)])
        .when(end(60))
        .then_expect_events(vec![Event::Ended { broadcast: 1, at: minute(60), screening }]);
}

#[test]
fn a_moment_is_noted_once() {
    let follow = note("f", Moment::Followed { viewer: "5001".to_owned() });
    let followed = Event::Followed { entry: named("f"), viewer: "5001".to_owned(), at: minute(5) };
    broadcaster(vec![]).when(follow.clone()).then_expect_events(vec![followed.clone()]);
    broadcaster(vec![followed]).when(follow).then_expect_events(vec![]);
}

#[test]
fn a_hype_train_starts_once_whatever_the_notification_is_called() {
    let begun = Event::HypeTrainStarted { entry: named("n1"), train: train(1), at: minute(5) };
    broadcaster(vec![])
        .when(note("n1", Moment::HypeTrainStarted(train(1))))
        .then_expect_events(vec![begun.clone()]);
    broadcaster(vec![begun])
        .when(note("n2", Moment::HypeTrainStarted(train(1))))
        .then_expect_events(vec![]);
}

#[test]
fn a_resume_limit_beyond_all_time_resumes_whatever_comes_back() {
    let start = Command::Start {
        entry: named("b"),
        live_id: "b".to_owned(),
        at: minute(100_000),
        resume_within_s: i64::MAX,
    };
    broadcaster(vec![started(1, "a", 0), ended(1, 60)])
        .when(start)
        .then_expect_events(vec![resumed(1, "b", 100_000)]);
}
