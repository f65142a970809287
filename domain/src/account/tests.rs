//! What may happen to a viewer's points, told as given, when, then.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::entry_id;

fn account(history: Vec<Event>) -> AggregateTestExecutor<Account> {
    TestFramework::<Account>::with(()).given(history)
}

fn new_account() -> AggregateTestExecutor<Account> {
    account(vec![])
}

fn named(name: &str) -> Uuid {
    entry_id("test", name)
}

fn tonight() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn cheer(bits: i64) -> Facts {
    Facts::Cheer { bits, message: "Cheer".to_owned() }
}

fn credit(name: &str, points: i64) -> Command {
    Command::Credit { entry: named(name), points, rules: 1, facts: cheer(points) }
}

fn credited(name: &str, points: i64) -> Event {
    Event::Credited { entry: named(name), points, rules: 1, facts: cheer(points) }
}

fn hold(name: &str, points: i64) -> Command {
    let purpose = "image alert".to_owned();
    Command::Hold { entry: named(name), points, purpose, expires_at: tonight() }
}

fn held(name: &str, points: i64) -> Event {
    let purpose = "image alert".to_owned();
    Event::Held { entry: named(name), points, purpose, expires_at: tonight() }
}

fn declined(name: &str, points: i64, available: i64, purpose: &str) -> Event {
    Event::Declined { entry: named(name), points, available, purpose: purpose.to_owned() }
}

fn capture(name: &str, hold: &str) -> Command {
    Command::Capture { entry: named(name), hold: named(hold) }
}

fn captured(name: &str, hold: &str, points: i64) -> Event {
    Event::Captured { entry: named(name), hold: named(hold), points }
}

fn release(name: &str, hold: &str) -> Command {
    let reason = "the image was refused".to_owned();
    Command::Release { entry: named(name), hold: named(hold), reason }
}

fn released(name: &str, hold: &str, points: i64) -> Event {
    let reason = "the image was refused".to_owned();
    Event::Released { entry: named(name), hold: named(hold), points, reason }
}

fn reverse(name: &str, reverses: &str, points: i64) -> Command {
    let (note, actor) = ("a mistake".to_owned(), "mod".to_owned());
    Command::Reverse { entry: named(name), reverses: named(reverses), points, note, actor }
}

fn reversed(name: &str, reverses: &str, points: i64) -> Event {
    let (note, actor) = ("a mistake".to_owned(), "mod".to_owned());
    Event::Reversed { entry: named(name), reverses: named(reverses), points, note, actor }
}

fn bad_points(points: i64, wanted: &str) -> Rejection {
    Rejection::BadPoints { points, wanted: wanted.to_owned() }
}

/// The account after `history`, which must be balanced at every step.
fn folded(history: Vec<Event>) -> Account {
    let mut account = Account::default();
    for event in history {
        account.apply(event);
        assert!(account.balanced(), "{account:?}");
    }
    account
}

#[test]
fn a_credit_gives_the_points_and_keeps_the_facts() {
    new_account().when(credit("cheer", 150)).then_expect_events(vec![credited("cheer", 150)]);
}

#[test]
fn a_credit_of_nothing_is_still_recorded() {
    new_account().when(credit("cheer", 0)).then_expect_events(vec![credited("cheer", 0)]);
}

#[test]
fn a_credit_below_zero_is_refused() {
    new_account().when(credit("cheer", -1)).then_expect_error(bad_points(-1, "zero or more"));
}

#[test]
fn the_same_credit_again_changes_nothing() {
    account(vec![credited("cheer", 150)]).when(credit("cheer", 150)).then_expect_events(vec![]);
}

#[test]
fn a_credit_beyond_the_range_of_the_ledger_is_refused() {
    account(vec![credited("cheer", i64::MAX)])
        .when(credit("another", 1))
        .then_expect_error(Rejection::OutOfRange);
}

#[test]
fn a_credit_that_only_the_total_cannot_take_is_refused() {
    account(vec![reversed("refund", "long ago", i64::MAX - 5), credited("cheer", 5)])
        .when(credit("another", 1))
        .then_expect_error(Rejection::OutOfRange);
}

#[test]
fn a_hold_sets_points_aside() {
    account(vec![credited("cheer", 150)])
        .when(hold("alert", 150))
        .then_expect_events(vec![held("alert", 150)]);
    let account = folded(vec![credited("cheer", 150), held("alert", 100)]);
    assert_eq!((account.available, account.held, account.total()), (50, 100, 150));
}

#[test]
fn a_hold_of_more_than_is_available_is_declined() {
    account(vec![credited("cheer", 150), held("alert", 100)])
        .when(hold("another", 51))
        .then_expect_events(vec![declined("another", 51, 50, "image alert")]);
}

#[test]
fn a_declined_hold_stays_declined_when_points_have_come() {
    account(vec![declined("alert", 50, 0, "image alert"), credited("cheer", 150)])
        .when(hold("alert", 50))
        .then_expect_events(vec![]);
}

#[test]
fn a_hold_of_nothing_is_refused() {
    for points in [0, -1, i64::MIN] {
        new_account()
            .when(hold("alert", points))
            .then_expect_error(bad_points(points, "more than zero"));
    }
}

#[test]
fn a_capture_spends_what_was_held() {
    let history = vec![credited("cheer", 150), held("alert", 100)];
    account(history.clone())
        .when(capture("shown", "alert"))
        .then_expect_events(vec![captured("shown", "alert", 100)]);
    let account = folded([history, vec![captured("shown", "alert", 100)]].concat());
    assert_eq!((account.available, account.held, account.captured), (50, 0, 100));
    assert!(account.holds.is_empty());
}

#[test]
fn a_release_returns_the_points() {
    let history = vec![credited("cheer", 150), held("alert", 100)];
    account(history.clone())
        .when(release("refused", "alert"))
        .then_expect_events(vec![released("refused", "alert", 100)]);
    let account = folded([history, vec![released("refused", "alert", 100)]].concat());
    assert_eq!((account.available, account.held, account.captured), (150, 0, 0));
}

#[test]
fn a_hold_can_be_settled_only_once() {
    let settled = vec![credited("cheer", 150), held("alert", 100), captured("shown", "alert", 100)];
    for command in [capture("again", "alert"), release("back", "alert")] {
        account(settled.clone())
            .when(command)
            .then_expect_error(Rejection::NotHeld { hold: named("alert") });
    }
}

#[test]
fn what_was_never_held_cannot_be_settled() {
    account(vec![credited("cheer", 150)])
        .when(capture("shown", "cheer"))
        .then_expect_error(Rejection::NotHeld { hold: named("cheer") });
}

#[test]
fn a_capture_beyond_the_range_of_the_ledger_is_refused() {
    let rich = vec![
        credited("cheer", i64::MAX),
        held("first", i64::MAX),
        captured("spent", "first", i64::MAX),
        reversed("refund", "spent", i64::MAX),
        held("second", 1),
    ];
    assert!(folded(rich.clone()).balanced());
    account(rich).when(capture("more", "second")).then_expect_error(Rejection::OutOfRange);
}

#[test]
fn a_reversed_credit_takes_the_points_back() {
    let history = vec![credited("cheer", 150)];
    account(history.clone())
        .when(reverse("undo", "cheer", -150))
        .then_expect_events(vec![reversed("undo", "cheer", -150)]);
    let account = folded([history, vec![reversed("undo", "cheer", -150)]].concat());
    assert_eq!((account.available, account.credits, account.reversed), (0, 150, -150));
}

#[test]
fn a_reversed_capture_gives_the_points_back() {
    let history = vec![credited("cheer", 150), held("alert", 100), captured("shown", "alert", 100)];
    account(history.clone())
        .when(reverse("undo", "shown", 100))
        .then_expect_events(vec![reversed("undo", "shown", 100)]);
    let account = folded([history, vec![reversed("undo", "shown", 100)]].concat());
    assert_eq!((account.available, account.captured, account.reversed), (150, 100, 100));
}

#[test]
fn an_entry_is_reversed_once() {
    account(vec![credited("cheer", 150), reversed("undo", "cheer", -150)])
        .when(reverse("another", "cheer", -150))
        .then_expect_error(Rejection::AlreadyReversed { reverses: named("cheer") });
}

#[test]
fn a_reversal_moves_exactly_what_the_entry_moved() {
    account(vec![credited("cheer", 150)]).when(reverse("undo", "cheer", -149)).then_expect_error(
        Rejection::NotTheSamePoints {
            reverses: named("cheer"),
            recorded: 150,
            expected: -150,
            points: -149,
        },
    );
}

#[test]
fn what_moved_no_total_cannot_be_reversed() {
    let history = vec![
        credited("cheer", 150),
        held("alert", 100),
        released("back", "alert", 100),
        declined("too much", 500, 150, "image alert"),
    ];
    for entry in ["alert", "back", "too much"] {
        account(history.clone()).when(reverse("undo", entry, 100)).then_expect_error(
            Rejection::NotTheSamePoints {
                reverses: named(entry),
                recorded: 0,
                expected: 0,
                points: 100,
            },
        );
    }
}

#[test]
fn a_reversal_of_points_that_were_spent_is_declined() {
    account(vec![credited("cheer", 150), held("alert", 100)])
        .when(reverse("undo", "cheer", -150))
        .then_expect_events(vec![declined("undo", 150, 50, "a mistake")]);
}

#[test]
fn a_reversal_of_nothing_or_of_an_impossible_number_is_refused() {
    for points in [0, i64::MIN] {
        account(vec![credited("cheer", 150)])
            .when(reverse("undo", "cheer", points))
            .then_expect_error(bad_points(points, "the opposite of what the entry moved"));
    }
}

#[test]
fn a_reversal_beyond_the_range_of_the_ledger_is_refused() {
    account(vec![credited("cheer", 150)])
        .when(reverse("undo", "long ago", i64::MAX))
        .then_expect_error(Rejection::OutOfRange);
}
