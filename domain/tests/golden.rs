//! Every event as it is stored. A difference here is a change of history: what was recorded before must stay readable,
//! so a stored file is never edited. A new variant gets a new file.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use domain::account::{self, Facts};
use domain::broadcast::{self, HypeTrain, Reward, Screening};
use domain::chat_request::{Colour, Wish};
use domain::generation::{self, Picture, Settlement};
use domain::rules::Tier;

const ENTRY: Uuid = Uuid::from_u128(0x5f3c_0000_0000_5000_8000_0000_0000_0001);
const OTHER: Uuid = Uuid::from_u128(0x5f3c_0000_0000_5000_8000_0000_0000_0002);

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_750_000_000_123_456).expect("a time")
}

/// One event for each variant, and for each kind of facts.
fn account_events() -> Vec<(&'static str, account::Event)> {
    use account::Event;
    let credited = |facts| Event::Credited { entry: ENTRY, points: 600, rules: 1, facts };
    let (tier, note, actor) = (Tier::One, "sorry".to_owned(), "mod_jane".to_owned());
    let message = "Cheer150 \"hi\" \u{1f39e}".to_owned();
    vec![
        ("credited_cheer", credited(Facts::Cheer { bits: 600, message: message.clone() })),
        ("credited_subscription", credited(Facts::Subscription { tier, gift: false })),
        (
            "credited_resubscription",
            credited(Facts::Resubscription { tier, months: 7, streak: None, message }),
        ),
        (
            "credited_gift_subs",
            credited(Facts::GiftSubs { tier: Tier::Three, count: 5, total: Some(40) }),
        ),
        (
            "credited_reward",
            credited(Facts::Reward {
                redemption: "red-1".to_owned(),
                reward: "rew-1".to_owned(),
                title: "Hydrate".to_owned(),
                cost: 300,
            }),
        ),
        ("credited_manual", credited(Facts::Manual { note: note.clone(), actor: actor.clone() })),
        (
            "credited_grant",
            credited(Facts::Grant { grant: OTHER, note: note.clone(), actor: actor.clone() }),
        ),
        (
            "credited_import",
            credited(Facts::Import {
                grant: OTHER,
                source: "streamelements".to_owned(),
                file: "00ff".repeat(16),
                line: 417,
            }),
        ),
        ("credited_gift", credited(Facts::Gift { from: "5001".to_owned(), hold: OTHER })),
        (
            "held",
            Event::Held {
                entry: ENTRY,
                points: 200,
                purpose: "image alert".to_owned(),
                expires_at: at(),
            },
        ),
        (
            "declined",
            Event::Declined {
                entry: ENTRY,
                points: 200,
                available: 50,
                purpose: "image alert".to_owned(),
            },
        ),
        ("captured", Event::Captured { entry: ENTRY, hold: OTHER, points: 200 }),
        (
            "released",
            Event::Released {
                entry: ENTRY,
                hold: OTHER,
                points: 200,
                reason: "the image was refused".to_owned(),
            },
        ),
        ("reversed", Event::Reversed { entry: ENTRY, reverses: OTHER, points: -600, note, actor }),
    ]
}

fn broadcast_events() -> Vec<(&'static str, broadcast::Event)> {
    use broadcast::Event;
    let (entry, at, broadcast, tier) = (ENTRY, at(), 3, Tier::Two);
    let (viewer, live_id) = ("5001".to_owned(), "41375541868".to_owned());
    let screening = || Screening { id: OTHER, tape: "tape 7".to_owned(), started_at: at };
    let train = || HypeTrain {
        id: "train-1".to_owned(),
        level: 2,
        total: 700,
        goal: Some(1_800),
        kind: "golden_kappa".to_owned(),
    };
    let reward = Reward {
        id: "rew-1".to_owned(),
        title: "Hydrate".to_owned(),
        cost: 300,
        input: String::new(),
    };
    let redemption = "red-1".to_owned();
    let retitled = |at| Event::Retitled {
        title: "Tape night".to_owned(),
        category: "Retro".to_owned(),
        language: "en".to_owned(),
        at,
    };
    vec![
        ("started", Event::Started { broadcast, live_id: live_id.clone(), at }),
        ("resumed", Event::Resumed { broadcast, live_id: live_id.clone(), at }),
        ("ended", Event::Ended { broadcast, at, screening: Some(screening()) }),
        ("offline_noted", Event::OfflineNoted { live_id: Some(live_id), at }),
        ("retitled", retitled(None)),
        ("retitled_at", retitled(Some(at))),
        ("screening_started", Event::ScreeningStarted { broadcast, screening: screening() }),
        ("screening_ended", Event::ScreeningEnded { broadcast, screening: screening(), at }),
        ("followed", Event::Followed { entry, viewer: viewer.clone(), at }),
        ("raided", Event::Raided { entry, viewer: viewer.clone(), viewers: 42, at }),
        ("cheered", Event::Cheered { entry, bits: 100, message: "Cheer100".to_owned(), at }),
        ("subs_gifted", Event::SubsGifted { entry, tier, count: 5, at }),
        ("sub_ended", Event::SubEnded { entry, viewer: viewer.clone(), tier, gift: true, at }),
        (
            "reward_redeemed",
            Event::RewardRedeemed {
                entry,
                redemption: redemption.clone(),
                viewer: viewer.clone(),
                reward,
                at,
            },
        ),
        (
            "redemption_settled",
            Event::RedemptionSettled { entry, redemption, viewer, fulfilled: true, at },
        ),
        ("hype_train_started", Event::HypeTrainStarted { entry, train: train(), at }),
        ("hype_train_progressed", Event::HypeTrainProgressed { entry, train: train(), at }),
        ("hype_train_ended", Event::HypeTrainEnded { entry, train: train(), at }),
    ]
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
    };
    let submitted = |wish| submitted_for(wish, None);
    let ghost = || Wish::Ghost { subject: "a toaster \"hot\"".to_owned() };
    let friend = |colour| Wish::Friend { colour, subject: "an otter".to_owned() };
    let named = Wish::Static { id: "stand-back".to_owned(), message: "stand back!".to_owned() };
    let picture = |name: Option<&str>| Picture {
        content: "0f".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#00ff7f".to_owned(),
        name: name.map(str::to_owned),
        cost_micros: 42_000,
    };
    let (code, reason) = ("moderation_blocked".to_owned(), "it is not offered".to_owned());
    let cancelled = |held| Event::Cancelled {
        entry,
        viewer: viewer(),
        actor: "timer".to_owned(),
        reason: "expired".to_owned(),
        held,
    };
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
        ("submitted_again", submitted_for(ghost(), Some(OTHER))),
        ("funded", Event::Funded { entry }),
        ("funded_in_vain", Event::FundedInVain { entry, viewer: viewer() }),
        ("declined", Event::Declined { entry, available: 50 }),
        (
            "attempt_failed",
            Event::AttemptFailed { entry, attempt: 2, reason: reason.clone(), retry_at: at },
        ),
        ("completed", Event::Completed { entry, viewer: viewer(), picture: picture(None) }),
        (
            "completed_friend",
            Event::Completed { entry, viewer: viewer(), picture: picture(Some("Otto")) },
        ),
        ("presented", Event::Presented { entry, picture: picture(None) }),
        ("approved", Event::Approved { entry, viewer: viewer(), actor: "moderator:7".to_owned() }),
        (
            "rejected",
            Event::Rejected {
                entry,
                viewer: viewer(),
                actor: "moderator:7".to_owned(),
                reason: reason.clone(),
            },
        ),
        ("refused", Event::Refused { entry, viewer: viewer(), code, reason: reason.clone() }),
        ("failed", Event::Failed { entry, viewer: viewer(), reason }),
        ("cancelled", cancelled(true)),
        ("cancelled_before_it_was_funded", cancelled(false)),
        ("settled_captured", settled(Settlement::Captured, Some(ghost()), Some(picture(None)))),
        ("settled_released", settled(Settlement::Released, None, None)),
    ]
}

#[test]
fn every_event_of_an_account_is_stored_as_it_always_was() {
    check("account", &account_events());
}

#[test]
fn every_event_of_a_broadcast_is_stored_as_it_always_was() {
    check("broadcast", &broadcast_events());
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
fn every_kind_of_facts_has_a_golden_file() {
    let covered: BTreeSet<String> = account_events()
        .iter()
        .filter_map(|(_, event)| match event {
            account::Event::Credited { facts, .. } => Some(key_of(facts)),
            _ => None,
        })
        .collect();
    assert_eq!(covered, variants::<Facts>(), "a kind of facts has no golden file");
}

/// The names of all variants of `E`, as serde knows them: whatever is added to the type is added here by itself.
fn variants<E: DeserializeOwned + Debug>() -> BTreeSet<String> {
    let refused = serde_json::from_str::<E>(r#"{"?": {}}"#).expect_err("there is no such variant");
    let names = refused.to_string();
    let names = names.split("expected one of").nth(1).expect("a list of variants");
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The key under which a variant is stored.
fn key_of(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).expect("json");
    let keys: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(keys.len(), 1, "a variant is stored under its one name");
    keys[0].clone()
}

/// The stored file reads as the event, and the event is written as the stored file, byte for byte: stored bytes are
/// hashed bytes. The key that names the variant is the event's type. There is no file without an event.
#[allow(
    clippy::disallowed_methods,
    reason = "the golden files are read by the test, not by the domain"
)]
fn check<E>(aggregate: &str, events: &[(&str, E)])
where
    E: DomainEvent + Serialize + DeserializeOwned + PartialEq + Debug,
{
    let covered: BTreeSet<String> = events.iter().map(|(_, event)| key_of(event)).collect();
    assert_eq!(covered, variants::<E>(), "a variant has no golden file");
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden", aggregate].iter().collect();
    for (name, event) in events {
        let path = folder.join(format!("{name}.json"));
        let written = serde_json::to_string(event).expect("json");
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}. If this event is new, its file is: {written}", path.display())
        });
        assert_eq!(stored.trim_end(), written, "{name} would be stored differently");
        assert_eq!(&serde_json::from_str::<E>(&stored).expect("readable"), event, "{name}");
        assert_eq!(key_of(event), event.event_type(), "{name}");
        assert_eq!(event.event_version(), "1.0", "{name}");
    }
    let files: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("the folder of golden files")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    let expected: BTreeSet<String> =
        events.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(files, expected, "a file without an event, or the other way round");
}
