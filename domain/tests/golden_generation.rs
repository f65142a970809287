//! Every event of a generation as it is stored; see `golden.rs`.

mod stored;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use domain::broadcast::OnAir;
use domain::chat_request::{Colour, Unclear, Wish};
use domain::generation::{self, Asked, Picture, Settlement};

use stored::{check, key_of, variants};

const ENTRY: Uuid = Uuid::from_u128(0x5f3c_0000_0000_5000_8000_0000_0000_0001);
const OTHER: Uuid = Uuid::from_u128(0x5f3c_0000_0000_5000_8000_0000_0000_0002);

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_750_000_000_123_456).expect("a time")
}

/// One event for each variant, each kind of wish and each settlement.
fn generation_events() -> Vec<(&'static str, generation::Event)> {
    use generation::Event;
    let (entry, at, viewer) = (ENTRY, at(), || "5001".to_owned());
    let submitted_for = |wish, retry_of| Event::Submitted {
        entry,
        viewer: viewer(),
        wish,
        price: 200,
        prices: 1,
        at,
        retry_of,
        state: None,
    };
    let submitted = |wish| submitted_for(wish, None);
    let on_air =
        |screening, tape| OnAir { broadcaster: "1000".to_owned(), broadcast: 3, screening, tape };
    let submitted_while = |on_air| Event::Submitted {
        entry,
        viewer: viewer(),
        wish: Wish::Ghost { subject: "a toaster".to_owned() },
        price: 200,
        prices: 1,
        at,
        retry_of: None,
        state: Some(on_air),
    };
    let ghost = || Wish::Ghost { subject: "a toaster \"hot\"".to_owned() };
    let friend = |colour| Wish::Friend { colour, subject: "an otter".to_owned() };
    let fixed = || Wish::Static { id: "test-card".to_owned(), message: "test card!".to_owned() };
    let named = Wish::Static { id: "stand-back".to_owned(), message: "stand back!".to_owned() };
    let picture = |name: Option<&str>| Picture {
        content: "0f".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#00ff7f".to_owned(),
        name: name.map(str::to_owned),
        cost_micros: 42_000,
    };
    let (code, reason) = ("moderation_blocked".to_owned(), "it is not offered".to_owned());
    let cancelled = |held, asked| Event::Cancelled {
        entry,
        viewer: viewer(),
        actor: "timer".to_owned(),
        reason: "expired".to_owned(),
        held,
        asked,
    };
    let asked = || Some(Asked { viewer: viewer(), style: "ghost".to_owned(), price: 200 });
    let refused = |asked| Event::Refused {
        entry,
        viewer: viewer(),
        code: code.clone(),
        reason: reason.clone(),
        asked,
    };
    let failed = |asked| Event::Failed { entry, viewer: viewer(), reason: reason.clone(), asked };
    let rejected = |asked| Event::Rejected {
        entry,
        viewer: viewer(),
        actor: "moderator:7".to_owned(),
        reason: reason.clone(),
        asked,
    };
    let turned_down =
        |unclear| Event::TurnedDown { entry, viewer: viewer(), unclear, prices: 1, at };
    let style = || "ghost".to_owned();
    let completed = |picture| Event::Completed { entry, viewer: viewer(), picture };
    let settled = |settlement, wish, picture| Event::Settled {
        entry,
        points: 200,
        settlement,
        viewer: viewer(),
        wish,
        picture,
    };
    vec![
        ("submitted_ghost", submitted(ghost())),
        ("submitted_friend", submitted(friend(Some(Colour::SkyBlue)))),
        ("submitted_friend_of_any_colour", submitted(friend(None))),
        ("submitted_static", submitted(named)),
        ("submitted_on_air", submitted_while(on_air(None, None))),
        (
            "submitted_while_a_tape_played",
            submitted_while(on_air(Some(OTHER), Some("88".to_owned()))),
        ),
        ("submitted_again", submitted_for(ghost(), Some(OTHER))),
        ("funded", Event::Funded { entry }),
        ("funded_in_vain", Event::FundedInVain { entry, viewer: viewer() }),
        ("declined", Event::Declined { entry, available: 50, asked: None }),
        ("declined_by_whom", Event::Declined { entry, available: 50, asked: asked() }),
        ("turned_down_no_subject", turned_down(Unclear::NoSubject { style: style() })),
        ("turned_down_too_long", turned_down(Unclear::TooLong { chars: 121 })),
        (
            "turned_down_wrong_amount",
            turned_down(Unclear::WrongAmount { style: style(), price: 200, amount: 1 }),
        ),
        ("turned_down_not_offered", turned_down(Unclear::NotOffered { style: style() })),
        (
            "attempt_failed",
            Event::AttemptFailed { entry, attempt: 2, reason: reason.clone(), retry_at: at },
        ),
        ("completed", completed(Some(picture(None)))),
        ("completed_friend", completed(Some(picture(Some("Otto"))))),
        ("completed_static", completed(None)),
        ("presented", Event::Presented { entry, picture: picture(None) }),
        ("approved", Event::Approved { entry, viewer: viewer(), actor: "moderator:7".to_owned() }),
        ("rejected", rejected(None)),
        ("rejected_by_whom", rejected(asked())),
        ("refused", refused(None)),
        ("refused_by_whom", refused(asked())),
        ("failed", failed(None)),
        ("failed_by_whom", failed(asked())),
        ("cancelled", cancelled(true, None)),
        ("cancelled_before_it_was_funded", cancelled(false, None)),
        ("cancelled_by_whom", cancelled(true, asked())),
        ("settled_captured", settled(Settlement::Captured, Some(ghost()), Some(picture(None)))),
        ("settled_captured_static", settled(Settlement::Captured, Some(fixed()), None)),
        ("settled_released", settled(Settlement::Released, None, None)),
        ("settled_expired", settled(Settlement::Released, Some(ghost()), None)),
    ]
}

#[test]
fn every_event_of_a_generation_is_stored_as_it_always_was() {
    check("generation", &generation_events());
}

#[test]
fn every_colour_is_stored_under_its_name() {
    let stored = serde_json::to_string(&Colour::ALL).expect("json");
    let names = "red red-orange orange yellow-orange yellow chartreuse green cyan sky-blue blue indigo purple magenta";
    let names: Vec<&str> = names.split(' ').collect();
    assert_eq!(stored, serde_json::to_string(&names).expect("json"));
}

#[test]
fn every_kind_of_wish_has_a_golden_file() {
    let covered: BTreeSet<String> = generation_events()
        .iter()
        .filter_map(|(_, event)| match event {
            generation::Event::Submitted { wish, .. } => Some(key_of(wish)),
            _ => None,
        })
        .collect();
    assert_eq!(covered, variants::<Wish>(), "a kind of wish has no golden file");
}

#[test]
fn everything_that_is_unclear_has_a_golden_file() {
    let covered: BTreeSet<String> = generation_events()
        .iter()
        .filter_map(|(_, event)| match event {
            generation::Event::TurnedDown { unclear, .. } => Some(key_of(unclear)),
            _ => None,
        })
        .collect();
    assert_eq!(covered, variants::<Unclear>(), "something unclear has no golden file");
}
