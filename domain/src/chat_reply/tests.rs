use cqrs_es::test::TestFramework;

use super::*;

const REPLY_ID: Uuid = Uuid::from_u128(5);

fn tonight() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn receipt() -> Receipt {
    Receipt { way: Way::Overlay, id: "line-1".to_owned() }
}

fn deliver(attempt: u32) -> Command {
    Command::Deliver { entry: report_id(REPLY_ID, attempt), attempt, receipt: receipt() }
}

fn delivered(attempt: u32) -> Event {
    Event::Delivered { entry: report_id(REPLY_ID, attempt), attempt, receipt: receipt() }
}

fn fail(attempt: u32) -> Command {
    let (entry, reason) = (report_id(REPLY_ID, attempt), "slow mode".to_owned());
    Command::FailAttempt { entry, attempt, reason, retry_at: tonight() }
}

fn failed(attempt: u32) -> Event {
    let (entry, reason) = (report_id(REPLY_ID, attempt), "slow mode".to_owned());
    Event::AttemptFailed { entry, attempt, reason, retry_at: tonight() }
}

fn reply(history: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Reply> {
    TestFramework::<Reply>::with(()).given(history)
}

#[test]
fn a_reply_is_delivered_once() {
    reply(vec![]).when(deliver(1)).then_expect_events(vec![delivered(1)]);
    reply(vec![delivered(1)]).when(deliver(1)).then_expect_events(vec![]);
    reply(vec![delivered(1)]).when(deliver(2)).then_expect_error(Rejection::Ended);
    reply(vec![delivered(1)]).when(fail(2)).then_expect_error(Rejection::Ended);
}

#[test]
fn attempts_are_reported_one_after_the_other() {
    let wrong = |attempt, next| Rejection::NotTheNextAttempt { attempt, next };
    reply(vec![]).when(deliver(2)).then_expect_error(wrong(2, 1));
    reply(vec![]).when(fail(1)).then_expect_events(vec![failed(1)]);
    reply(vec![failed(1)]).when(fail(1)).then_expect_events(vec![]);
    reply(vec![failed(1)]).when(deliver(2)).then_expect_events(vec![delivered(2)]);
    reply(vec![failed(1), failed(2)]).when(deliver(2)).then_expect_events(vec![]);
    reply(vec![failed(1), failed(2)]).when(deliver(1)).then_expect_error(wrong(1, 3));
}

#[test]
fn what_is_given_up_is_over() {
    let (entry, reason) = (report_id(REPLY_ID, 1), "not permitted".to_owned());
    let gave_up = Event::GaveUp { entry, attempt: 1, reason: reason.clone() };
    let give_up = Command::GiveUp { entry, attempt: 1, reason };
    reply(vec![]).when(give_up).then_expect_events(vec![gave_up.clone()]);
    reply(vec![gave_up]).when(deliver(2)).then_expect_error(Rejection::Ended);
}
