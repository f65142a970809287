//! Every message of Golden VCR's contract, from an event of ours.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use domain::account::{self, Account, Facts};
use domain::broadcast::{self, Broadcast, HypeTrain, OnAir, Screening};
use domain::chat_request::{Colour, Wish};
use domain::generation::{self, Generation, Picture, Settlement};
use domain::rules::Tier;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

const CHANNEL: &str = "1000";
const SCREENING: Uuid = Uuid::from_u128(0x5b0f_5a51_6a5e_4f36_9b2a_0d1d_5cbf_1e11);
const REQUEST: &str = "5f3c0000-0000-5000-8000-000000000001";
/// Where the broadcast of the samples began, which is its id.
const BEGAN: i64 = 7;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn began() -> DateTime<Utc> {
    time("2024-03-01T20:00:04Z")
}

fn known() -> Known {
    let names = [
        ("5001", "ReelDeal"),
        ("5002", "BetaMaxine"),
        ("5003", "TrackingAdj"),
        ("5004", "Rewinder"),
    ];
    let name = |name: &str| Name { name: Some(name.to_owned()), erased: false };
    let begun = Begun { position: BEGAN, at: began() };
    Known {
        names: names.map(|(id, called)| (id.to_owned(), name(called))).into(),
        broadcasts: HashMap::from([((CHANNEL.to_owned(), 3), begun)]),
        pictures: "https://img.example/api/v1/pictures".to_owned(),
    }
}

fn recorded<A>(of: &str, event: &A::Event, source: &str) -> Recorded
where
    A: Aggregate,
    A::Event: Serialize + DomainEvent,
{
    let raw = |value: &Value| RawValue::from_string(value.to_string()).expect("JSON");
    Recorded {
        position: BEGAN,
        aggregate_type: A::TYPE.to_owned(),
        aggregate_id: of.to_owned(),
        sequence: 1,
        event_type: event.event_type(),
        event_version: "1.0".to_owned(),
        event_id: Uuid::from_u128(0xe),
        command_id: Uuid::from_u128(0xd),
        recorded_at: began(),
        payload: raw(&serde_json::to_value(event).expect("JSON")),
        metadata: raw(&json!({"source": source})),
        hash: [0; 32],
    }
}

/// What is said of it, as `queue json`.
fn said_of(recorded: &Recorded, known: &Known) -> Vec<(String, Value)> {
    if !translate::wants(&recorded.content()) {
        return Vec::new();
    }
    let said = Read::of(recorded).expect("it reads").said(known);
    said.into_iter().map(|(queue, body)| (queue.to_owned(), body)).collect()
}

fn assert_said(recorded: &Recorded, samples: &[(&str, &str)]) {
    let wanted: Vec<(String, Value)> = samples
        .iter()
        .map(|(queue, sample)| {
            ((*queue).to_owned(), serde_json::from_str(sample).expect("a sample"))
        })
        .collect();
    assert_eq!(said_of(recorded, &known()), wanted, "{}", recorded.payload);
}

fn of_channel(event: &broadcast::Event) -> Recorded {
    recorded::<Broadcast>(CHANNEL, event, "eventsub")
}

fn of_account(viewer: &str, facts: Facts) -> Recorded {
    let event = account::Event::Credited { entry: Uuid::nil(), points: 1, rules: 1, facts };
    recorded::<Account>(viewer, &event, "eventsub")
}

fn of_request(event: &generation::Event, source: &str) -> Recorded {
    recorded::<Generation>(REQUEST, event, source)
}

fn screening() -> Screening {
    let started_at = time("2024-03-01T20:11:30Z");
    Screening { id: SCREENING, tape: "88".to_owned(), started_at }
}

const STARTED: &str =
    r#"{"type":"broadcast-started","broadcast":{"id":7,"started_at":"2024-03-01T20:00:04Z"}}"#;
const FINISHED: &str =
    r#"{"type":"broadcast-finished","broadcast":{"id":7,"started_at":"2024-03-01T20:00:04Z"}}"#;
const SCREENING_STARTED: &str = r#"{"type":"screening-started","broadcast":{"id":7,"started_at":"2024-03-01T20:00:04Z"},"screening":{"id":"5b0f5a51-6a5e-4f36-9b2a-0d1d5cbf1e11","started_at":"2024-03-01T20:11:30Z","tape_id":88}}"#;
const SCREENING_FINISHED: &str = r#"{"type":"screening-finished","broadcast":{"id":7,"started_at":"2024-03-01T20:00:04Z"},"screening":{"id":"5b0f5a51-6a5e-4f36-9b2a-0d1d5cbf1e11","started_at":"2024-03-01T20:11:30Z","tape_id":88}}"#;
const STREAM_STARTED: &str = r#"{"type":"stream-started","viewer":null,"payload":null}"#;
const STREAM_ENDED: &str = r#"{"type":"stream-ended","viewer":null,"payload":null}"#;
const NO_TAPE: &str = r#"{"type":"status","payload":{"current_tape_id":0}}"#;

/// W21: what ends says what it was, a cleared tape is shown, and a replaced one has an end of its own.
#[test]
fn broadcasts_and_screenings_end_with_their_ids() {
    use broadcast::Event;
    let (live_id, at, broadcast) = (|| "live-1".to_owned(), began(), 3);
    let started = Event::Started { broadcast, live_id: live_id(), at };
    let began = [(TWITCH_EVENTS, STREAM_STARTED), (BROADCAST_EVENTS, STARTED)];
    assert_said(&of_channel(&started), &began);
    // A short outage: the same broadcast again.
    let resumed =
        Event::Resumed { broadcast, live_id: live_id(), at: time("2024-03-01T21:00:00Z") };
    assert_said(&of_channel(&resumed), &began);
    let playing = Event::ScreeningStarted { broadcast, screening: screening(), card: None };
    assert_said(
        &of_channel(&playing),
        &[
            (BROADCAST_EVENTS, SCREENING_STARTED),
            (ONSCREEN_EVENTS, r#"{"type":"status","payload":{"current_tape_id":88}}"#),
        ],
    );
    let cleared = Event::ScreeningEnded { broadcast, screening: screening(), at };
    let gone = [(BROADCAST_EVENTS, SCREENING_FINISHED), (ONSCREEN_EVENTS, NO_TAPE)];
    assert_said(&of_channel(&cleared), &gone);
    let over = [(TWITCH_EVENTS, STREAM_ENDED), (BROADCAST_EVENTS, FINISHED)];
    let ended = |screening| Event::Ended { broadcast, at, screening };
    assert_said(&of_channel(&ended(None)), &over);
    let all: Vec<_> = gone.into_iter().chain(over).collect();
    assert_said(&of_channel(&ended(Some(screening()))), &all);
}

#[test]
fn what_viewers_do_is_said_on_both_queues() {
    use broadcast::Event;
    let (entry, at) = (Uuid::nil(), began());
    let followed = Event::Followed { entry, viewer: "5001".to_owned(), at };
    assert_said(
        &of_channel(&followed),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-followed","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"payload":null}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"followed","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"}}}"#,
            ),
        ],
    );
    let raided = Event::Raided { entry, viewer: "5002".to_owned(), viewers: 17, at };
    assert_said(
        &of_channel(&raided),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-raided","viewer":{"twitch_user_id":"5002","twitch_display_name":"BetaMaxine"},"payload":{"num_raiders":17}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"raided","viewer":{"twitch_user_id":"5002","twitch_display_name":"BetaMaxine"},"data":{"num_viewers":17}}}"#,
            ),
        ],
    );
    let anonymous = Event::Cheered { entry, bits: 50, message: "Anon50 nice tape".to_owned(), at };
    assert_said(
        &of_channel(&anonymous),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-cheered","viewer":null,"payload":{"num_bits":50,"message":"Anon50 nice tape"}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"cheered","viewer":null,"data":{"num_bits":50,"message":"Anon50 nice tape"}}}"#,
            ),
        ],
    );
    let gifted = Event::SubsGifted { entry, tier: Tier::Three, count: 5, at };
    assert_said(
        &of_channel(&gifted),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-gifted-subs","viewer":null,"payload":{"credit_multiplier":5,"num_subscriptions":5}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"gifted-subs","viewer":null,"data":{"num_subscriptions":5}}}"#,
            ),
        ],
    );
    let kind = "regular".to_owned();
    let train = HypeTrain { id: "t".to_owned(), level: 1, total: 1, goal: None, kind };
    assert_said(
        &of_channel(&Event::HypeTrainStarted { entry, train, at }),
        &[
            (TWITCH_EVENTS, r#"{"type":"stream-hype-started","viewer":null,"payload":null}"#),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"image","payload":{"type":"static","viewer":{"twitch_user_id":"12826","twitch_display_name":"Twitch"},"details":{"image_id":"petertrain-a","message":""}}}"#,
            ),
        ],
    );
}

#[test]
fn what_earns_points_is_said_as_it_was() {
    let message = "Cheer200 ghost of a toaster".to_owned();
    assert_said(
        &of_account("5001", Facts::Cheer { bits: 200, message }),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-cheered","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"payload":{"num_bits":200,"message":"Cheer200 ghost of a toaster"}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"cheered","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"data":{"num_bits":200,"message":"Cheer200 ghost of a toaster"}}}"#,
            ),
        ],
    );
    let sub = |gift| Facts::Subscription { tier: Tier::One, gift };
    assert_said(
        &of_account("5003", sub(false)),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-subscribed","viewer":{"twitch_user_id":"5003","twitch_display_name":"TrackingAdj"},"payload":{"credit_multiplier":1}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"subscribed","viewer":{"twitch_user_id":"5003","twitch_display_name":"TrackingAdj"}}}"#,
            ),
        ],
    );
    assert_said(
        &of_account("5004", sub(true)),
        &[(
            TWITCH_EVENTS,
            r#"{"type":"viewer-received-gift-sub","viewer":{"twitch_user_id":"5004","twitch_display_name":"Rewinder"},"payload":{"credit_multiplier":1}}"#,
        )],
    );
    let message = "nine months of static".to_owned();
    let resub = Facts::Resubscription { tier: Tier::Two, months: 9, streak: None, message };
    assert_said(
        &of_account("5003", resub),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-resubscribed","viewer":{"twitch_user_id":"5003","twitch_display_name":"TrackingAdj"},"payload":{"credit_multiplier":2,"num_cumulative_months":9,"message":"nine months of static"}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"resubscribed","viewer":{"twitch_user_id":"5003","twitch_display_name":"TrackingAdj"},"data":{"num_cumulative_months":9,"message":"nine months of static"}}}"#,
            ),
        ],
    );
    let gift = Facts::GiftSubs { tier: Tier::One, count: 5, total: None };
    assert_said(
        &of_account("5002", gift),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-gifted-subs","viewer":{"twitch_user_id":"5002","twitch_display_name":"BetaMaxine"},"payload":{"credit_multiplier":1,"num_subscriptions":5}}"#,
            ),
            (
                ONSCREEN_EVENTS,
                r#"{"type":"toast","payload":{"type":"gifted-subs","viewer":{"twitch_user_id":"5002","twitch_display_name":"BetaMaxine"},"data":{"num_subscriptions":5}}}"#,
            ),
        ],
    );
    let (note, actor) = ("sorry".to_owned(), "mod".to_owned());
    assert_said(&of_account("5001", Facts::Manual { note, actor }), &[]);
}

fn submitted(wish: Wish, state: Option<OnAir>) -> generation::Event {
    let (entry, viewer, at) = (Uuid::nil(), "5001".to_owned(), began());
    let (price, prices, retry_of) = (200, 1, None);
    generation::Event::Submitted { entry, viewer, wish, price, prices, at, retry_of, state }
}

#[test]
fn a_request_carries_what_was_on_and_says_whether_it_was_chat_that_asked() {
    let broadcaster = CHANNEL.to_owned();
    let (screening, tape) = (Some(SCREENING), Some("88".to_owned()));
    let on_air = OnAir { broadcaster, broadcast: 3, screening, tape };
    let ghost = Wish::Ghost { subject: "a toaster".to_owned() };
    assert_said(
        &of_request(&submitted(ghost, Some(on_air)), "redemption"),
        &[(
            GENERATION_REQUESTS,
            r#"{"type":"image","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"state":{"broadcast_id":7,"screening_id":"5b0f5a51-6a5e-4f36-9b2a-0d1d5cbf1e11","tape_id":88},"payload":{"style":"ghost","inputs":{"subject":"a toaster"}}}"#,
        )],
    );
    let friend = Wish::Friend { colour: Some(Colour::Blue), subject: "a heron".to_owned() };
    assert_said(
        &of_request(&submitted(friend, None), "chat"),
        &[
            (
                TWITCH_EVENTS,
                r#"{"type":"viewer-redeemed-fun-points","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"payload":{"num_points":200,"message":"friend blue heron"}}"#,
            ),
            (
                GENERATION_REQUESTS,
                r#"{"type":"image","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"state":{"broadcast_id":0,"screening_id":"00000000-0000-0000-0000-000000000000","tape_id":0},"payload":{"style":"friend","inputs":{"color":"blue","subject":"a heron"}}}"#,
            ),
        ],
    );
}

#[test]
fn a_colour_left_to_chance_is_one_of_the_thirteen_and_always_the_same() {
    let friend = || Wish::Friend { colour: None, subject: "an otter".to_owned() };
    let said = || said_of(&of_request(&submitted(friend(), None), "redemption"), &known());
    let colour = said()[0].1["payload"]["inputs"]["color"].clone();
    assert!(Colour::ALL.iter().any(|known| known.name() == colour), "{colour}");
    assert_eq!(said()[0].1["payload"]["inputs"]["color"], colour);
}

fn captured(wish: Wish, name: Option<&str>) -> generation::Event {
    let picture = Picture {
        content: "ab".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#f0a51c".to_owned(),
        name: name.map(str::to_owned),
        cost_micros: 0,
    };
    let (entry, viewer, settlement) = (Uuid::nil(), "5001".to_owned(), Settlement::Captured);
    let (wish, picture) = (Some(wish), Some(picture));
    generation::Event::Settled { entry, points: 200, settlement, viewer, wish, picture }
}

#[test]
fn a_picture_is_said_with_where_it_is_to_be_had() {
    let url = format!("https://img.example/api/v1/pictures/{}", "ab".repeat(32));
    let ghost = Wish::Ghost { subject: "a toaster".to_owned() };
    let sample = r#"{"type":"image","payload":{"type":"ghost","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"details":{"image_url":"URL","description":"a toaster"}}}"#;
    let sample = sample.replace("URL", &url);
    assert_said(&of_request(&captured(ghost, None), "redemption"), &[(ONSCREEN_EVENTS, &sample)]);
    let friend = Wish::Friend { colour: None, subject: "a heron".to_owned() };
    let sample = r##"{"type":"image","payload":{"type":"friend","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"details":{"image_url":"URL","description":"a heron","name":"Waldo","background_color":"#f0a51c"}}}"##;
    let sample = sample.replace("URL", &url);
    let friend = of_request(&captured(friend, Some("Waldo")), "redemption");
    assert_said(&friend, &[(ONSCREEN_EVENTS, &sample)]);
    let (id, message) = ("stand-back".to_owned(), "everyone stand back".to_owned());
    let ready_made = of_request(&captured(Wish::Static { id, message }, None), "redemption");
    assert_said(
        &ready_made,
        &[(
            ONSCREEN_EVENTS,
            r#"{"type":"image","payload":{"type":"static","viewer":{"twitch_user_id":"5001","twitch_display_name":"ReelDeal"},"details":{"image_id":"stand-back","message":"everyone stand back"}}}"#,
        )],
    );
}

#[test]
fn of_an_erased_viewer_neither_name_nor_words_are_said() {
    let mut known = known();
    known.names.insert("5001".to_owned(), Name { name: None, erased: true });
    let message = "my address is".to_owned();
    let cheer = of_account("5001", Facts::Cheer { bits: 1, message });
    let wish = || Wish::Ghost { subject: "my address".to_owned() };
    let request = of_request(&submitted(wish(), None), "chat");
    for event in [cheer, request, of_request(&captured(wish(), None), "redemption")] {
        for (_, body) in said_of(&event, &known) {
            let text = body.to_string();
            assert!(!text.contains("address") && !text.contains("abab"), "{text}");
            assert!(text.contains(r#""twitch_display_name":"""#), "{text}");
        }
    }
}

#[test]
fn a_tape_has_its_own_number_or_one_that_follows_from_its_name() {
    assert_eq!((tape_number("88"), tape_number("088")), (88, 88));
    let named = tape_number("Tape 42: Aerobics at Sunrise");
    assert_eq!(named, tape_number("Tape 42: Aerobics at Sunrise"));
    for odd in ["", "0", "-1", "4000000000", "Tape 42"] {
        let number = tape_number(odd);
        assert!((1_000_000_000..=i64::from(i32::MAX)).contains(&number), "{odd}: {number}");
    }
}
