//! Gaps, told as given, when, then.

use chrono::TimeDelta;
use cqrs_es::test::TestFramework;

use super::*;
use crate::entry_id;

fn second(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(second)
}

fn kinds(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn lose(name: &str, of: &[&str], since: i64) -> Command {
    let (entry, reason) = (entry_id("test", name), "keepalive lost".to_owned());
    Command::Lose { entry, kinds: kinds(of), since: second(since), reason, at: second(since + 15) }
}

fn lost(name: &str, of: &[&str], since: i64, noticed: i64) -> Event {
    let (entry, reason) = (entry_id("test", name), "keepalive lost".to_owned());
    Event::Lost { entry, kinds: kinds(of), since: second(since), reason, at: second(noticed) }
}

fn restore(name: &str, of: &[&str], until: i64) -> Command {
    Command::Restore { entry: entry_id("test", name), kinds: kinds(of), until: second(until) }
}

fn restored(name: &str, of: &[&str], since: i64, until: i64) -> Event {
    let (since, until) = (second(since), second(until));
    Event::Restored { entry: entry_id("test", name), kinds: kinds(of), since, until }
}

fn intake(history: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Intake> {
    TestFramework::<Intake>::with(()).given(history)
}

#[test]
fn a_gap_begins_once_and_ends_once_and_its_end_says_all_of_it() {
    let both = ["channel.cheer", "channel.raid"];
    let gone = || vec![lost("a", &both, 100, 115)];
    intake(vec![]).when(lose("a", &both, 100)).then_expect_events(gone());
    intake(gone()).when(lose("b", &both, 103)).then_expect_events(vec![]);
    intake(gone())
        .when(restore("c", &both, 130))
        .then_expect_events(vec![restored("c", &both, 100, 130)]);
    intake(vec![gone().remove(0), restored("c", &both, 100, 130)])
        .when(restore("d", &both, 140))
        .then_expect_events(vec![]);
}

#[test]
fn a_kind_that_is_lost_alone_ends_alone() {
    let history = vec![lost("a", &["channel.cheer"], 100, 115)];
    intake(history.clone())
        .when(lose("b", &["channel.raid", "channel.cheer"], 200))
        .then_expect_events(vec![lost("b", &["channel.raid"], 200, 215)]);
    let both = [history, vec![lost("b", &["channel.raid"], 200, 215)]].concat();
    intake(both).when(restore("c", &["channel.raid", "channel.cheer"], 300)).then_expect_events(
        vec![
            restored("c", &["channel.cheer"], 100, 300),
            restored("c", &["channel.raid"], 200, 300),
        ],
    );
}

#[test]
fn a_gap_never_overlaps_the_one_before_it() {
    let kind = ["channel.cheer"];
    let history = vec![lost("a", &kind, 100, 115), restored("b", &kind, 100, 130)];
    intake(history.clone())
        .when(lose("c", &kind, 110))
        .then_expect_events(vec![lost("c", &kind, 130, 125)]);
    intake(history)
        .when(lose("d", &kind, 131))
        .then_expect_events(vec![lost("d", &kind, 131, 146)]);
}

#[test]
fn what_was_known_before_a_gap_began_does_not_end_it() {
    let history = || vec![lost("a", &["x"], 80, 95), lost("b", &["y"], 100, 115)];
    intake(history()).when(restore("c", &["x", "y"], 90)).then_expect_events(vec![restored(
        "c",
        &["x"],
        80,
        90,
    )]);
    intake(history())
        .when(restore("c", &["x", "y"], 100))
        .then_expect_events(vec![restored("c", &["x"], 80, 100), restored("c", &["y"], 100, 100)]);
}

fn found(of: &[(&str, i64)]) -> BTreeMap<String, Found> {
    let one = |found| Found { found, whole: true, untold: 0 };
    of.iter().map(|(kind, found)| ((*kind).to_owned(), one(*found))).collect()
}

fn reconcile(name: &str, of: &[(&str, i64)], since: i64, until: i64) -> Command {
    let (since, until, at) = (second(since), second(until), second(until + 5));
    Command::Reconcile { entry: entry_id("test", name), kinds: found(of), since, until, at }
}

fn reconciled(name: &str, of: &[(&str, i64)], since: i64, until: i64) -> Event {
    let (since, until, at) = (second(since), second(until), second(until + 5));
    Event::Reconciled { entry: entry_id("test", name), kinds: found(of), since, until, at }
}

#[test]
fn a_gap_is_looked_into_once_for_each_kind_and_only_when_it_is_over() {
    let both = ["channel.follow", "stream.online"];
    let open = vec![lost("a", &both, 100, 115)];
    let of_both = [("channel.follow", 2), ("stream.online", 0)];
    intake(open.clone()).when(reconcile("c", &of_both, 100, 130)).then_expect_events(vec![]);
    let over = [open, vec![restored("b", &both, 100, 130)]].concat();
    intake(over.clone())
        .when(reconcile("c", &of_both[..1], 100, 130))
        .then_expect_events(vec![reconciled("c", &of_both[..1], 100, 130)]);
    // What could not be asked for at first is looked into later, and the other not again.
    let half = [over, vec![reconciled("c", &of_both[..1], 100, 130)]].concat();
    intake(half).when(reconcile("d", &of_both, 100, 130)).then_expect_events(vec![reconciled(
        "d",
        &of_both[1..],
        100,
        130,
    )]);
}

#[test]
fn what_is_found_less_often_than_never_is_refused() {
    intake(vec![lost("a", &["x"], 1, 2), restored("b", &["x"], 1, 3)])
        .when(reconcile("c", &[("x", -1)], 1, 3))
        .then_expect_error(Rejection::BadCount);
}

#[test]
fn the_same_command_twice_changes_nothing() {
    let kind = ["channel.cheer"];
    let history = vec![lost("a", &kind, 100, 115), restored("b", &kind, 100, 130)];
    intake(history.clone()).when(lose("a", &kind, 100)).then_expect_events(vec![]);
    intake(history).when(restore("b", &kind, 130)).then_expect_events(vec![]);
}

#[test]
fn what_names_no_kind_or_no_reason_is_refused() {
    for wrong in [vec![], kinds(&[""]), kinds(&["a b"]), kinds(&["x"; 101]), vec!["x".repeat(101)]]
    {
        let entry = entry_id("test", "wrong");
        let restore = Command::Restore { entry, kinds: wrong, until: second(1) };
        intake(vec![]).when(restore).then_expect_error(Rejection::BadKinds);
    }
    for wrong in [String::new(), "x".repeat(201), "a\nb".to_owned()] {
        let Command::Lose { entry, kinds, since, at, .. } = lose("a", &["x"], 1) else { panic!() };
        let lose = Command::Lose { entry, kinds, since, reason: wrong, at };
        intake(vec![]).when(lose).then_expect_error(Rejection::BadReason);
    }
}
