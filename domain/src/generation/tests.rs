//! What may happen to a request, told as given, when, then.

use chrono::{DateTime, Utc};
use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::chat_request::Unclear;
use crate::entry_id;

fn request(history: Vec<Event>) -> AggregateTestExecutor<Generation> {
    TestFramework::<Generation>::with(()).given(history)
}

fn named(name: &str) -> Uuid {
    entry_id("test", name)
}

fn viewer() -> String {
    "5001".to_owned()
}

fn tonight() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn wish() -> Wish {
    Wish::Ghost { subject: "a toaster".to_owned() }
}

fn picture() -> Picture {
    Picture {
        content: "ab".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#000000".to_owned(),
        name: None,
        cost_micros: 40_000,
    }
}

fn submit(name: &str) -> Command {
    let (viewer, wish, at) = (viewer(), wish(), tonight());
    Command::Submit {
        entry: named(name),
        viewer,
        wish,
        price: 200,
        prices: 1,
        at,
        retry_of: None,
        state: None,
    }
}

fn submitted() -> Event {
    let (viewer, wish, at) = (viewer(), wish(), tonight());
    Event::Submitted {
        entry: named("r"),
        viewer,
        wish,
        price: 200,
        prices: 1,
        at,
        retry_of: None,
        state: None,
    }
}

fn funded() -> Event {
    Event::Funded { entry: named("f") }
}

fn completed() -> Event {
    Event::Completed { entry: named("c"), viewer: viewer(), picture: Some(picture()) }
}

fn presented() -> Event {
    Event::Presented { entry: named("p"), picture: picture() }
}

fn approve() -> Command {
    Command::Approve { entry: named("a"), actor: "moderator:7".to_owned() }
}

fn reject() -> Command {
    let (actor, reason) = ("moderator:7".to_owned(), "not here".to_owned());
    Command::Reject { entry: named("j"), actor, reason }
}

#[test]
fn a_picture_that_waits_for_review_is_shown_only_once_it_is_approved() {
    let present = Command::Present { entry: named("p"), picture: picture() };
    request(vec![submitted(), funded()]).when(present).then_expect_events(vec![presented()]);
    let waits = || vec![submitted(), funded(), presented()];
    let captured = settle(Settlement::Captured);
    request(waits()).when(captured.clone()).then_expect_error(Rejection::WrongSettlement {
        stage: "presented".to_owned(),
        settlement: "captured".to_owned(),
    });
    let actor = "moderator:7".to_owned();
    let approved = Event::Approved { entry: named("a"), viewer: viewer(), actor };
    request(waits()).when(approve()).then_expect_events(vec![approved.clone()]);
    let shown = Event::Settled {
        entry: named("s"),
        points: 200,
        settlement: Settlement::Captured,
        viewer: viewer(),
        wish: Some(wish()),
        picture: Some(picture()),
    };
    let after = [waits(), vec![approved]].concat();
    request(after.clone()).when(captured).then_expect_events(vec![shown]);
    for late in [reject(), cancel(), complete()] {
        request(after.clone()).when(late).then_expect_error(Rejection::Ended);
    }
}

#[test]
fn a_review_ends_once_and_what_is_rejected_is_given_back() {
    let waits = || vec![submitted(), funded(), presented()];
    let (actor, reason) = ("moderator:7".to_owned(), "not here".to_owned());
    let (entry, asked) = (named("j"), asked());
    let rejected = Event::Rejected { entry, viewer: viewer(), actor, reason, asked };
    request(waits()).when(reject()).then_expect_events(vec![rejected.clone()]);
    let after = [waits(), vec![rejected]].concat();
    request(after.clone()).when(approve()).then_expect_error(Rejection::Ended);
    request(after.clone()).when(settle(Settlement::Captured)).then_expect_error(
        Rejection::WrongSettlement {
            stage: "rejected".to_owned(),
            settlement: "captured".to_owned(),
        },
    );
    let released = |wish| Event::Settled {
        entry: named("s"),
        points: 200,
        settlement: Settlement::Released,
        viewer: viewer(),
        wish,
        picture: None,
    };
    request(after).when(settle(Settlement::Released)).then_expect_events(vec![released(None)]);
    // The hold ran out, whoever ended it: the request ends with its points, and nobody was told of it before.
    let expired = released(Some(wish()));
    request(waits()).when(settle(Settlement::Released)).then_expect_events(vec![expired]);
    for command in [approve(), reject()] {
        request(vec![submitted()]).when(command.clone()).then_expect_error(Rejection::NotPresented);
        request(vec![submitted(), funded(), completed()])
            .when(command)
            .then_expect_error(Rejection::Ended);
    }
    for command in [complete(), Command::Present { entry: named("q"), picture: picture() }] {
        request(waits()).when(command).then_expect_error(Rejection::Ended);
    }
}

#[test]
fn a_review_that_takes_too_long_gives_the_points_back() {
    let waits = vec![submitted(), funded(), presented()];
    request(waits).when(cancel()).then_expect_events(vec![cancelled(true)]);
}

fn complete() -> Command {
    Command::Complete { entry: named("c"), picture: picture() }
}

fn cancel() -> Command {
    let (actor, reason) = ("mod_jane".to_owned(), "not tonight".to_owned());
    Command::Cancel { entry: named("x"), actor, reason }
}

fn cancelled(held: bool) -> Event {
    let (actor, reason) = ("mod_jane".to_owned(), "not tonight".to_owned());
    Event::Cancelled { entry: named("x"), viewer: viewer(), actor, reason, held, asked: asked() }
}

fn asked() -> Option<Asked> {
    Some(Asked { viewer: viewer(), style: "ghost".to_owned(), price: 200 })
}

fn settle(settlement: Settlement) -> Command {
    Command::Settle { entry: named("s"), points: 200, settlement }
}

#[test]
fn a_request_is_submitted_once() {
    request(vec![]).when(submit("r")).then_expect_events(vec![submitted()]);
    request(vec![submitted()]).when(submit("r")).then_expect_events(vec![]);
    request(vec![submitted()]).when(submit("other")).then_expect_error(Rejection::SubmittedBefore);
}

#[test]
fn nothing_happens_to_a_request_that_there_is_not() {
    for command in [Command::Fund { entry: named("f") }, complete(), cancel()] {
        request(vec![]).when(command).then_expect_error(Rejection::Unknown);
    }
}

#[test]
fn nothing_is_made_without_funds() {
    request(vec![submitted()]).when(complete()).then_expect_error(Rejection::NotFunded);
    let declined = Event::Declined { entry: named("d"), available: 5, asked: asked() };
    request(vec![submitted()])
        .when(Command::Decline { entry: named("d"), available: 5 })
        .then_expect_events(vec![declined.clone()]);
    request(vec![submitted(), declined]).when(complete()).then_expect_error(Rejection::Ended);
}

#[test]
fn a_failed_attempt_counts_and_is_not_the_end() {
    let fail = |attempt| Command::FailAttempt {
        entry: named(&format!("a{attempt}")),
        attempt,
        reason: "429".to_owned(),
        retry_at: tonight(),
    };
    let failed = Event::AttemptFailed {
        entry: named("a1"),
        attempt: 1,
        reason: "429".to_owned(),
        retry_at: tonight(),
    };
    let history = vec![submitted(), funded()];
    request(history.clone()).when(fail(1)).then_expect_events(vec![failed.clone()]);
    let history = [history, vec![failed]].concat();
    let wrong = Rejection::NotTheNextAttempt { attempt: 3, next: 2 };
    request(history.clone()).when(fail(3)).then_expect_error(wrong);
    request(history).when(complete()).then_expect_events(vec![completed()]);
}

#[test]
fn a_request_ends_once() {
    let refuse = Command::Refuse {
        entry: named("no"),
        code: "content_policy_violation".to_owned(),
        reason: "the provider refuses it".to_owned(),
    };
    let history = vec![submitted(), funded(), completed()];
    for command in [refuse, cancel(), Command::Fund { entry: named("again") }] {
        request(history.clone()).when(command).then_expect_error(Rejection::Ended);
    }
    request(vec![submitted(), funded(), cancelled(true)])
        .when(complete())
        .then_expect_error(Rejection::Ended);
}

#[test]
fn funds_that_come_after_the_cancellation_go_back() {
    request(vec![submitted()]).when(cancel()).then_expect_events(vec![cancelled(false)]);
    request(vec![submitted(), cancelled(false)])
        .when(Command::Fund { entry: named("f") })
        .then_expect_events(vec![Event::FundedInVain { entry: named("f"), viewer: viewer() }]);
    request(vec![submitted(), cancelled(false)])
        .when(Command::Decline { entry: named("d"), available: 0 })
        .then_expect_events(vec![]);
    request(vec![submitted(), funded()]).when(cancel()).then_expect_events(vec![cancelled(true)]);
}

#[test]
fn what_was_captured_is_shown_and_what_was_released_is_not() {
    let settled = |settlement, wish, picture| Event::Settled {
        entry: named("s"),
        points: 200,
        settlement,
        viewer: viewer(),
        wish,
        picture,
    };
    let history = vec![submitted(), funded(), completed()];
    request(history.clone()).when(settle(Settlement::Captured)).then_expect_events(vec![settled(
        Settlement::Captured,
        Some(wish()),
        Some(picture()),
    )]);
    // Its time was over: nobody was told before.
    for history in [history, vec![submitted(), funded()]] {
        let released = settled(Settlement::Released, Some(wish()), None);
        request(history).when(settle(Settlement::Released)).then_expect_events(vec![released]);
    }
    let released = settled(Settlement::Released, None, None);
    request(vec![submitted(), funded(), cancelled(true)])
        .when(settle(Settlement::Released))
        .then_expect_events(vec![released]);
    request(vec![submitted(), funded(), cancelled(true)])
        .when(settle(Settlement::Captured))
        .then_expect_error(Rejection::WrongSettlement {
            stage: "cancelled".to_owned(),
            settlement: "captured".to_owned(),
        });
}

#[test]
fn what_is_ready_made_is_completed_as_soon_as_it_is_funded() {
    let wish = Wish::Static { id: "test-card".to_owned(), message: "test card!".to_owned() };
    let Event::Submitted { entry, viewer, price, prices, at, retry_of, .. } = submitted() else {
        panic!("it is submitted");
    };
    let wanted = wish.clone();
    let submitted = Event::Submitted {
        entry,
        viewer: viewer.clone(),
        wish,
        price,
        prices,
        at,
        retry_of,
        state: None,
    };
    let fund = Command::Fund { entry: named("f") };
    let funded = Event::Funded { entry: named("f") };
    let completed = Event::Completed { entry: named("f"), viewer: viewer.clone(), picture: None };
    request(vec![submitted.clone()])
        .when(fund.clone())
        .then_expect_events(vec![funded.clone(), completed.clone()]);
    let history = vec![submitted, funded, completed];
    request(history.clone()).when(fund).then_expect_events(vec![]);
    request(history).when(settle(Settlement::Captured)).then_expect_events(vec![Event::Settled {
        entry: named("s"),
        points: 200,
        settlement: Settlement::Captured,
        viewer,
        wish: Some(wanted),
        picture: None,
    }]);
}

#[test]
fn what_was_turned_down_is_over() {
    let unclear = Unclear::NoSubject { style: "ghost".to_owned() };
    let (entry, viewer, at) = (named("t"), viewer(), tonight());
    let command = Command::TurnDown {
        entry,
        viewer: viewer.clone(),
        unclear: unclear.clone(),
        prices: 1,
        at,
    };
    let event = Event::TurnedDown { entry, viewer, unclear, prices: 1, at };
    request(vec![]).when(command.clone()).then_expect_events(vec![event.clone()]);
    request(vec![event.clone()]).when(command).then_expect_events(vec![]);
    request(vec![event.clone()]).when(submit("r")).then_expect_error(Rejection::SubmittedBefore);
    request(vec![event]).when(cancel()).then_expect_error(Rejection::Ended);
}

#[test]
fn a_request_is_never_free() {
    let (viewer, wish, at) = (viewer(), wish(), tonight());
    let free = Command::Submit {
        entry: named("r"),
        viewer,
        wish,
        price: 0,
        prices: 1,
        at,
        retry_of: None,
        state: None,
    };
    request(vec![]).when(free).then_expect_error(Rejection::BadPrice { price: 0 });
}

#[test]
fn a_retry_is_another_request_that_names_the_old_one() {
    let (viewer, wish, at) = (viewer(), wish(), tonight());
    let old = named("old");
    let retry_of = Some(old);
    let again = Command::Submit {
        entry: named("again"),
        viewer: viewer.clone(),
        wish: wish.clone(),
        price: 200,
        prices: 1,
        at,
        retry_of,
        state: None,
    };
    let entry = named("again");
    let event =
        Event::Submitted { entry, viewer, wish, price: 200, prices: 1, at, retry_of, state: None };
    request(vec![]).when(again).then_expect_events(vec![event]);
    assert_ne!(retry_id(old), old);
    assert_eq!(retry_id(old), retry_id(old), "pressing twice asks for the same request");
    assert_ne!(retry_id(retry_id(old)), retry_id(old));
}

#[test]
fn a_request_that_was_stored_without_a_retry_reads_as_none() {
    let stored = serde_json::to_string(&submitted()).expect("json");
    assert!(!stored.contains("retry_of"), "{stored}");
    assert_eq!(serde_json::from_str::<Event>(&stored).expect("readable"), submitted());
}
