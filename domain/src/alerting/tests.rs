//! What is shown, and what is not.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use serde_json::{Value, json};

use super::*;
use crate::broadcast::{Event, HypeTrain, Screening};
use crate::chat_request::{Colour, Unclear};
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
    let picture = Some(picture).filter(|_| settlement == Settlement::Captured);
    let wish = Some(wish);
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
fn what_is_ready_made_is_shown_once_it_is_paid_for() {
    let (id, message) = ("test-card".to_owned(), "test card, please".to_owned());
    let settled = generation::Event::Settled {
        entry: ENTRY,
        points: 200,
        settlement: Settlement::Captured,
        viewer: "5001".to_owned(),
        wish: Some(Wish::Static { id, message }),
        picture: None,
    };
    let data = json!({"id": "test-card", "message": "test card, please"});
    assert_eq!(said(for_generation(&settled)), shown(Kind::Static, Some("5001"), data));
}

fn told(event: &generation::Event) -> Value {
    let (kind, viewer, data) = said(for_generation(event)).expect("the viewer is told");
    assert_eq!((kind, viewer.as_deref()), (Kind::Notice, Some("5001")));
    data
}

#[test]
fn w24_whoever_asked_and_gets_nothing_is_told_why_on_screen() {
    use generation::Event;
    let (entry, viewer, at) = (ENTRY, "5001".to_owned(), now());
    let of = Asked { viewer: viewer.clone(), style: "ghost".to_owned(), price: 200 };
    let asked = || Some(of.clone());
    let hidden = || "HTTP 400 from https://api.example/v1 (sk-1)".to_owned();
    let ghost = Wish::Ghost { subject: "a toaster".to_owned() };
    let refused = Event::Refused {
        entry,
        viewer: viewer.clone(),
        code: "moderation_blocked".to_owned(),
        reason: hidden(),
        asked: asked(),
    };
    let failed = Event::Failed { entry, viewer: viewer.clone(), reason: hidden(), asked: asked() };
    let rejected = Event::Rejected {
        entry,
        viewer: viewer.clone(),
        actor: "mod_jane".to_owned(),
        reason: hidden(),
        asked: asked(),
    };
    let cancelled = |actor: &str, reason: &str| Event::Cancelled {
        entry,
        viewer: viewer.clone(),
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        held: true,
        asked: asked(),
    };
    for (event, reason) in [
        (rejected, "rejected"),
        (refused, "refused"),
        (failed, "failed"),
        (cancelled("mod_jane", &hidden()), "cancelled"),
        (cancelled("mod_jane", "expired"), "cancelled"),
        // Such as a picture that nobody looked at in time.
        (cancelled("timer", "expired"), "expired"),
        (settled(ghost, Settlement::Released), "expired"),
    ] {
        let data = told(&event);
        assert_eq!((&data["reason"], &data["price"]), (&json!(reason), &json!(200)));
        assert_eq!(data["style"], "ghost");
        let words = data["words"].as_str().expect("words");
        assert!(!words.contains("400") && !words.contains("api") && !words.contains("jane"));
    }
    assert_eq!(
        told(&Event::Declined { entry, available: 150, asked: asked() }),
        json!({"reason": "too_few_points", "style": "ghost", "price": 200, "available": 150,
               "words": "ghost takes 200 points, and there are 150"})
    );
    let unclear = Unclear::WrongAmount { style: "ghost".to_owned(), price: 200, amount: 100 };
    assert_eq!(
        told(&Event::TurnedDown { entry, viewer, unclear, prices: 1, at }),
        json!({"reason": "unclear", "style": "ghost", "price": 200,
               "words": "ghost costs 200 points, and 100 were named"})
    );
}

#[test]
fn each_request_is_shown_or_told_of_once() {
    use generation::Event;
    let (entry, viewer) = (ENTRY, "5001".to_owned());
    // The release that follows when the end was told of, and events from before anybody was told.
    let released = Event::Settled {
        entry,
        points: 200,
        settlement: Settlement::Released,
        viewer: viewer.clone(),
        wish: None,
        picture: None,
    };
    let reason = String::new();
    for event in [
        released,
        Event::Funded { entry },
        Event::FundedInVain { entry, viewer: viewer.clone() },
        Event::Completed { entry, viewer: viewer.clone(), picture: None },
        Event::Declined { entry, available: 1, asked: None },
        Event::Failed { entry, viewer, reason, asked: None },
    ] {
        assert_eq!(said(for_generation(&event)), None, "{event:?}");
    }
}

#[test]
fn every_kind_is_stored_under_its_name() {
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("json"), json!(kind.name()));
    }
}
