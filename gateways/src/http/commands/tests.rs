use super::*;
use domain::{account, broadcast};

#[test]
fn every_rejection_of_the_domain_has_its_code() {
    let id = Uuid::nil();
    let accounts = [
        account::Rejection::BadPoints { points: 0, wanted: "more".to_owned() },
        account::Rejection::OutOfRange,
        account::Rejection::NotHeld { hold: id },
        account::Rejection::HoldOfGift { hold: id },
        account::Rejection::AlreadyReversed { reverses: id },
        account::Rejection::NotTheSamePoints { reverses: id, recorded: 1, expected: -1, points: 2 },
    ];
    for refusal in accounts {
        // A new rejection without an arm here does not compile.
        let code = match refusal {
            account::Rejection::BadPoints { .. } => "bad_points",
            account::Rejection::OutOfRange => "out_of_range",
            account::Rejection::NotHeld { .. } => "not_held",
            account::Rejection::AlreadyReversed { .. } => "already_reversed",
            account::Rejection::HoldOfGift { .. } => "hold_of_gift",
            account::Rejection::NotTheSamePoints { .. } => "not_the_same_points",
        };
        assert_eq!(rejection(&refusal.to_string()).1, code);
    }
    for refusal in
        [broadcast::Rejection::NotLive, broadcast::Rejection::SameTape { tape: "T".to_owned() }]
    {
        let code = match refusal {
            broadcast::Rejection::NotLive => "not_live",
            broadcast::Rejection::SameTape { .. } => "same_tape",
        };
        assert_eq!(rejection(&refusal.to_string()).1, code);
    }
}

fn outcome(decision: Decision, event_types: &[&str]) -> Outcome {
    Outcome {
        command_id: Uuid::nil(),
        decision,
        reason: None,
        first_position: (!event_types.is_empty()).then_some(7),
        events: event_types.len() as i32,
        event_types: event_types.iter().map(|name| (*name).to_owned()).collect(),
        aggregate_type: "account".to_owned(),
        aggregate_id: "5001".to_owned(),
        decided_at: DateTime::UNIX_EPOCH,
    }
}

#[test]
fn an_outcome_becomes_an_answer_with_its_position() {
    let created = decided(outcome(Decision::Accepted, &["credited"])).expect("accepted");
    assert_eq!(created.status(), StatusCode::CREATED);
    assert_eq!(created.headers()[POSITION], "7");
    let nothing = decided(outcome(Decision::Accepted, &[])).expect("accepted");
    assert_eq!(nothing.status(), StatusCode::OK);
    let declined = decided(outcome(Decision::Accepted, &["declined"])).expect_err("declined");
    assert_eq!((declined.status(), declined.code()), (StatusCode::CONFLICT, "declined"));
    let dead = decided(outcome(Decision::Dead, &[])).expect_err("dead");
    assert_eq!(dead.code(), "dead");
}

#[test]
fn a_command_that_waits_says_where_to_ask() {
    let response = pending(Uuid::nil(), 3);
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let location = response.headers()[header::LOCATION].to_str().expect("text");
    assert_eq!(location, format!("/api/v1/commands/{}", Uuid::nil()));
}
