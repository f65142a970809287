//! Every event as it is stored. A difference here is a change of history: what was recorded before must stay readable,
//! so a stored file is never edited. A new variant gets a new file.

mod stored;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use domain::account::{self, Facts};
use domain::alerting::Kind;
use domain::broadcast::{self, HypeTrain, Reward, Screening};
use domain::intake;
use domain::rules::Tier;
use domain::stage;
use domain::tape::{self, Card, Provenance};

use stored::{check, key_of, variants};

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
        (
            "screening_started",
            Event::ScreeningStarted { broadcast, screening: screening(), card: None },
        ),
        (
            "screening_started_of_the_catalogue",
            Event::ScreeningStarted { broadcast, screening: screening(), card: Some(card()) },
        ),
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

/// One event for each variant.
fn stage_events() -> Vec<(&'static str, stage::Event)> {
    use stage::{Event, Sound};
    let (entry, alert, at, actor) = (ENTRY, OTHER, at(), || "mod_jane".to_owned());
    let reason = || "no overlay was there to show it".to_owned();
    let data = serde_json::json!({"bits": 100, "viewer": {"id": "0", "name": "A Test"}});
    let data = data.as_object().expect("an object").clone();
    let (attempt, starts_at, ends_at) = (2, at, at + chrono::TimeDelta::milliseconds(14_800));
    let cleared = |alert| Event::Cleared { entry, alert, until: 417, actor: actor() };
    vec![
        ("opened", Event::Opened { entry, at }),
        ("closed", Event::Closed { entry, expires: vec![Kind::Follow, Kind::HypeTrain], at }),
        ("started", Event::Started { entry, alert, attempt, starts_at, ends_at }),
        ("shown", Event::Shown { entry, alert, attempt, overlay: ENTRY, at }),
        ("requeued", Event::Requeued { entry, alert, attempt, reason: reason() }),
        ("unknown", Event::Unknown { entry, alert, attempt, reason: reason() }),
        ("expired", Event::Expired { entry, alerts: vec![alert, ENTRY] }),
        ("skipped", Event::Skipped { entry, alert, attempt, actor: actor() }),
        ("cleared_one", cleared(Some(alert))),
        ("cleared_all", cleared(None)),
        ("replayed", Event::Replayed { entry, alert, actor: actor() }),
        ("prioritised", Event::Prioritised { entry, alert, actor: actor() }),
        ("paused", Event::Paused { entry, actor: actor() }),
        ("resumed", Event::Resumed { entry, actor: actor() }),
        ("muted", Event::Muted { entry, what: Sound::Sound, actor: actor() }),
        ("unmuted", Event::Unmuted { entry, what: Sound::Speech, actor: actor() }),
        ("tested", Event::Tested { entry, kind: Kind::HypeTrain, data, actor: actor() }),
    ]
}

fn card() -> Card {
    Card {
        title: "Aerobics at \"Sunrise\"".to_owned(),
        year: Some(1987),
        runtime_s: Some(3_540),
        tags: vec!["fitness".to_owned(), "neon".to_owned()],
        colour: Some("#f0a51c".to_owned()),
        series: Some("Morning Moves".to_owned()),
        contributor: Some("ReelDeal".to_owned()),
        thumbnail: Some("0f".repeat(32)),
    }
}

fn tape_events() -> Vec<(&'static str, tape::Event)> {
    use tape::Event;
    let (entry, at) = (ENTRY, at());
    let from = || Provenance {
        source: "tapes.csv".to_owned(),
        file: "ab".repeat(32),
        line: 89,
        actor: "cli".to_owned(),
    };
    let bare = Card { title: "Untitled".to_owned(), ..Card::default() };
    vec![
        ("catalogued", Event::Catalogued { entry, card: card(), from: from(), at }),
        (
            "catalogued_by_its_title_alone",
            Event::Catalogued { entry, card: bare, from: from(), at },
        ),
        ("changed", Event::Changed { entry, card: card(), from: from(), at }),
        ("withdrawn", Event::Withdrawn { entry, actor: "cli".to_owned(), at }),
    ]
}

/// One event for each variant.
fn intake_events() -> Vec<(&'static str, intake::Event)> {
    use intake::Event;
    let (entry, since) = (ENTRY, at());
    let kinds = || vec!["channel.cheer".to_owned(), "stream.online".to_owned()];
    let until = since + chrono::TimeDelta::seconds(42);
    let reason = "closed by Twitch: 4002, failed ping-pong".to_owned();
    let found = [
        ("channel.follow", intake::Found { found: 2, whole: true, untold: 0 }),
        ("channel.subscribe", intake::Found { found: 0, whole: false, untold: 3 }),
    ];
    let found = found.map(|(kind, found)| (kind.to_owned(), found)).into();
    vec![
        ("lost", Event::Lost { entry, kinds: kinds(), since, reason, at: until }),
        ("restored", Event::Restored { entry, kinds: kinds(), since, until }),
        ("reconciled", Event::Reconciled { entry, kinds: found, since, until, at: until }),
    ]
}

#[test]
fn every_event_of_an_intake_is_stored_as_it_always_was() {
    check("intake", &intake_events());
}

#[test]
fn every_event_of_a_tape_is_stored_as_it_always_was() {
    check("tape", &tape_events());
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
fn every_event_of_a_stage_is_stored_as_it_always_was() {
    check("stage", &stage_events());
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
