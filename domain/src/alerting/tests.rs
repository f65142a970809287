//! What is shown, and what is not.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use serde_json::{Value, json};

use super::*;
use crate::broadcast::{Event, HypeTrain, Screening};
use crate::chat_request::Colour;
use crate::generation::Picture;
use crate::rules::Tier;

const ENTRY: Uuid = Uuid::from_u128(1);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn credited(facts: Facts) -> account::Event {
    account::Event::Credited { entry: ENTRY, points: 600, rules: 1, facts }
}

type Shown = Option<(Kind, Option<String>, Value)>;

fn shown(kind: Kind, viewer: Option<&str>, data: Value) -> Shown {
    Some((kind, viewer.map(str::to_owned), data))
}

fn said(alert: Option<Alert>) -> Shown {
    alert.map(|alert| (alert.kind, alert.viewer, serde_json::to_value(alert.data).expect("JSON")))
}

fn train() -> HypeTrain {
    let (id, kind) = ("train-1".to_owned(), "golden_kappa".to_owned());
    HypeTrain { id, level: 2, total: 700, goal: Some(1_800), kind }
}

#[test]
fn a_credit_for_a_deed_shows_who_did_what() {
    let message = "Cheer150 hi".to_owned();
    for (facts, kind, data) in [
        (
            Facts::Cheer { bits: 150, message: message.clone() },
            Kind::Cheer,
            json!({"bits": 150, "message": "Cheer150 hi"}),
        ),
        (Facts::Subscription { tier: Tier::Two, gift: false }, Kind::Sub, json!({"tier": "2000"})),
        (
            Facts::Resubscription { tier: Tier::One, months: 7, streak: Some(3), message },
            Kind::Resub,
            json!({"tier": "1000", "months": 7, "streak": 3, "message": "Cheer150 hi"}),
        ),
        (
            Facts::GiftSubs { tier: Tier::Three, count: 5, total: Some(40) },
            Kind::Gift,
            json!({"tier": "3000", "count": 5}),
        ),
    ] {
        assert_eq!(said(for_account("5001", &credited(facts))), shown(kind, Some("5001"), data));
    }
}

#[test]
fn a_received_gift_a_reward_and_a_manual_credit_show_nothing() {
    for facts in [
        Facts::Subscription { tier: Tier::One, gift: true },
        Facts::Reward {
            redemption: "r".to_owned(),
            reward: "w".to_owned(),
            title: "Hydrate".to_owned(),
            cost: 300,
        },
        Facts::Manual { note: "sorry".to_owned(), actor: "mod".to_owned() },
    ] {
        assert_eq!(said(for_account("5001", &credited(facts))), None);
    }
}

#[test]
fn moving_points_without_a_deed_shows_nothing() {
    let hold = account::Event::Captured { entry: ENTRY, hold: ENTRY, points: 200 };
    assert_eq!(said(for_account("5001", &hold)), None);
}

#[test]
fn what_moves_no_points_is_shown_from_the_broadcast() {
    let (entry, at) = (ENTRY, now());
    let viewer = "5001".to_owned();
    for (event, expected) in [
        (
            Event::Followed { entry, viewer: viewer.clone(), at },
            shown(Kind::Follow, Some("5001"), json!({})),
        ),
        (
            Event::Raided { entry, viewer, viewers: 42, at },
            shown(Kind::Raid, Some("5001"), json!({"viewers": 42})),
        ),
        (
            Event::Cheered { entry, bits: 100, message: "hi".to_owned(), at },
            shown(Kind::Cheer, None, json!({"bits": 100, "message": "hi"})),
        ),
        (
            Event::SubsGifted { entry, tier: Tier::One, count: 5, at },
            shown(Kind::Gift, None, json!({"tier": "1000", "count": 5})),
        ),
        (
            Event::HypeTrainStarted { entry, train: train(), at },
            shown(
                Kind::HypeTrain,
                None,
                json!({"level": 2, "total": 700, "goal": 1_800, "kind": "golden_kappa"}),
            ),
        ),
    ] {
        assert_eq!(said(for_broadcast(&event)), expected);
    }
}

#[test]
fn a_hype_train_is_shown_when_it_begins_and_not_again() {
    let (entry, at) = (ENTRY, now());
    assert_eq!(
        said(for_broadcast(&Event::HypeTrainProgressed { entry, train: train(), at })),
        None
    );
    assert_eq!(said(for_broadcast(&Event::HypeTrainEnded { entry, train: train(), at })), None);
}

#[test]
fn a_tape_that_begins_is_shown_with_what_the_catalogue_says_of_it() {
    let screening = Screening { id: ENTRY, tape: "88".to_owned(), started_at: now() };
    let playing = |card| {
        let screening = screening.clone();
        said(for_broadcast(&Event::ScreeningStarted { broadcast: 1, screening, card }))
    };
    let card = Card {
        title: "Aerobics at Sunrise".to_owned(),
        year: Some(1987),
        runtime_s: Some(3_540),
        tags: vec!["fitness".to_owned()],
        colour: Some("#f0a51c".to_owned()),
        series: Some("Morning Moves".to_owned()),
        contributor: None,
        thumbnail: Some("ab".repeat(32)),
    };
    assert_eq!(
        playing(Some(card)),
        shown(
            Kind::Tape,
            None,
            json!({"id": "88", "title": "Aerobics at Sunrise", "year": 1987, "runtime_s": 3_540,
                   "tags": ["fitness"], "colour": "#f0a51c", "thumbnail": "ab".repeat(32)}),
        )
    );
    assert_eq!(
        playing(None),
        shown(
            Kind::Tape,
            None,
            json!({"id": "88", "title": "88", "year": null, "runtime_s": null, "tags": [],
                   "colour": null, "thumbnail": null}),
        )
    );
    let ended = Event::ScreeningEnded { broadcast: 1, screening, at: now() };
    assert_eq!(said(for_broadcast(&ended)), None);
}

fn settled(wish: Wish, settlement: Settlement) -> generation::Event {
    let is_friend = matches!(wish, Wish::Friend { .. });
    let picture = Picture {
        content: "ab".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#101020".to_owned(),
        name: is_friend.then(|| "Waldo".to_owned()),
        cost_micros: 0,
    };
    let (wish, picture) = (Some(wish), Some(picture));
    let viewer = "5001".to_owned();
    generation::Event::Settled { entry: ENTRY, points: 200, settlement, viewer, wish, picture }
}

#[test]
fn a_picture_is_shown_once_it_is_paid_for() {
    let picture = "ab".repeat(32);
    let ghost = Wish::Ghost { subject: "a toaster".to_owned() };
    assert_eq!(
        said(for_generation(&settled(ghost, Settlement::Captured))),
        shown(
            Kind::Ghost,
            Some("5001"),
            json!({"subject": "a toaster", "colour": null, "name": null, "picture": picture,
                   "media_type": "image/png", "background": "#101020"}),
        )
    );
    let friend = Wish::Friend { colour: Some(Colour::SkyBlue), subject: "a heron".to_owned() };
    assert_eq!(
        said(for_generation(&settled(friend, Settlement::Captured))),
        shown(
            Kind::Friend,
            Some("5001"),
            json!({"subject": "a heron", "colour": "sky-blue", "name": "Waldo", "picture": picture,
                   "media_type": "image/png", "background": "#101020"}),
        )
    );
}

#[test]
fn a_picture_whose_points_went_back_is_not_shown() {
    let ghost = Wish::Ghost { subject: "a toaster".to_owned() };
    assert_eq!(said(for_generation(&settled(ghost, Settlement::Released))), None);
    assert_eq!(said(for_generation(&generation::Event::Funded { entry: ENTRY })), None);
}

#[test]
fn every_kind_is_stored_under_its_name() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("json"), json!(kind.name()));
    }
}
