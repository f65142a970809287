//! Every event of the chat and of replies as it is stored. What `golden.rs` says of its events holds for these.

mod stored;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use domain::chat::{self, NoGift, Request};
use domain::chat_reply::{self, Receipt, Way};
use domain::chat_request::{Unclear, Wish};
use stored::{check, key_of, variants};

const ENTRY: Uuid = Uuid::from_u128(0x5f3c_0000_0000_5000_8000_0000_0000_0001);

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_750_000_000_123_456).expect("a time")
}

fn chat_events() -> Vec<(&'static str, chat::Event)> {
    let asked = |request| chat::Event::Asked {
        entry: ENTRY,
        line: "cc106a89-1814-919d-454c-f4f2f970aae7".to_owned(),
        viewer: "5001".to_owned(),
        request,
        settings: 1,
        at: at(),
    };
    let wish = Wish::Ghost { subject: "a toaster \"hot\"".to_owned() };
    let unclear = Unclear::NoSubject { style: "ghost".to_owned() };
    vec![
        ("asked_help", asked(Request::Help { topic: "alerts".to_owned() })),
        ("asked_balance", asked(Request::Balance {})),
        ("asked_uptime", asked(Request::Uptime {})),
        ("asked_tape", asked(Request::Tape {})),
        ("asked_top", asked(Request::Top {})),
        ("asked_wish", asked(Request::Wish { wish, price: 200, prices: 1 })),
        ("asked_unclear", asked(Request::Unclear { unclear, prices: 1 })),
        ("asked_give", asked(Request::Give { to: "5002".to_owned(), points: 50 })),
        ("asked_no_gift", asked(Request::NoGift { why: NoGift::Unclear })),
        ("asked_no_gift_to_nobody", asked(Request::NoGift { why: NoGift::NobodyKnown })),
        ("asked_no_gift_to_oneself", asked(Request::NoGift { why: NoGift::ToThemselves })),
    ]
}

fn reply_events() -> Vec<(&'static str, chat_reply::Event)> {
    use chat_reply::Event;
    let (entry, attempt, reason) = (ENTRY, 1, "the chat is in slow mode".to_owned());
    let delivered = |way| {
        let receipt = Receipt { way, id: "abc-123".to_owned() };
        Event::Delivered { entry, attempt, receipt }
    };
    vec![
        ("delivered", delivered(Way::Twitch)),
        ("delivered_on_screen", delivered(Way::Overlay)),
        ("delivered_before", delivered(Way::TwitchBefore)),
        (
            "attempt_failed",
            Event::AttemptFailed { entry, attempt, reason: reason.clone(), retry_at: at() },
        ),
        ("gave_up", Event::GaveUp { entry, attempt, reason }),
    ]
}

#[test]
fn every_event_of_a_chat_is_stored_as_it_always_was() {
    check("chat", &chat_events());
}

#[test]
fn every_event_of_a_reply_is_stored_as_it_always_was() {
    check("reply", &reply_events());
}

#[test]
fn everything_that_can_be_asked_has_a_golden_file() {
    let asked = chat_events();
    let covered: BTreeSet<String> =
        asked.iter().map(|(_, chat::Event::Asked { request, .. })| key_of(request)).collect();
    assert_eq!(covered, variants::<Request>(), "a request has no golden file");
}
