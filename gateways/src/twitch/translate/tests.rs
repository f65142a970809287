use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;

const SENT_AT: &str = "2026-11-21T20:15:00.123456789Z";

fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// The default rules, and 75 points for the reward "Kind rewind".
fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.points_per_reward.insert("92af127c-7326-4483-a52b-b0da0be61c01".to_owned(), 75);
    rules
}

fn translated(message_id: &str, raw: &str) -> Result<Vec<Envelope>, Untranslatable> {
    let notification = Notification { message_id, sent_at: time(SENT_AT), raw };
    translate(&notification, &rules(), Some("1000"), time("2026-11-21T20:15:01Z"))
}

fn data(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/eventsub");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

/// The notification in `name`.json as JSON that a test can change.
fn notification(name: &str) -> Value {
    serde_json::from_str(&data(&format!("{name}.json"))).unwrap()
}

/// `name`.json with `field` of what it says replaced, translated.
fn with(name: &str, field: &str, value: Value) -> Result<Vec<Envelope>, Untranslatable> {
    let mut notification = notification(name);
    notification["event"][field] = value;
    translated("m-1", &notification.to_string())
}

fn summary(envelope: &Envelope) -> Value {
    json!({
        "to": format!("{}/{}", envelope.aggregate_type, envelope.aggregate_id),
        "id": envelope.id,
        "command": serde_json::from_str::<Value>(envelope.command.get()).unwrap(),
        "names": envelope.names.iter().map(|name| json!({
            "id": name.id, "login": name.login, "name": name.name,
        })).collect::<Vec<_>>(),
    })
}

/// Every notification in the folder, each beside the commands that it means; those were written down independently
/// of this code, with ids computed by Python's `uuid5`.
#[test]
fn every_notification_means_the_commands_written_beside_it() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/eventsub");
    let mut cases = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".commands.json") else { continue };
        let raw = data(&format!("{name}.json"));
        let envelopes = translated(&format!("m-{name}"), &raw).unwrap();
        let expected: Value = serde_json::from_str(&data(&file)).unwrap();
        let actual = Value::from(envelopes.iter().map(summary).collect::<Vec<_>>());
        assert_eq!(actual, expected, "{name}");
        for envelope in envelopes {
            assert_eq!(envelope.origin.source, "eventsub");
            assert_eq!(envelope.origin.source_id, format!("m-{name}"));
            assert_eq!(envelope.origin.raw.as_deref(), Some(raw.as_str()));
            assert!(envelope.subject().is_ok());
        }
        cases += 1;
    }
    assert_eq!(cases, 30);
}

#[test]
fn every_translated_type_has_an_example() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/eventsub");
    let files = std::fs::read_dir(folder).unwrap();
    let all: Vec<String> =
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for kind in KINDS {
        assert!(all.iter().any(|text| text.contains(&format!("\"{kind}\""))), "{kind}");
    }
}

#[test]
fn a_deed_with_a_natural_key_is_one_deed_under_any_message_id() {
    for name in ["follow", "hype_begin", "hype_end", "redemption_add", "redemption_fulfilled"] {
        let raw = data(&format!("{name}.json"));
        let (first, second) = (translated("m-1", &raw).unwrap(), translated("m-2", &raw).unwrap());
        let ids = |all: &[Envelope]| all.iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(ids(&first), ids(&second), "{name}");
    }
}

#[test]
fn the_same_follow_written_with_other_fractions_of_a_second_is_the_same_follow() {
    let id = |at: &str| with("follow", "followed_at", json!(at)).unwrap()[0].id;
    assert_eq!(id("2026-11-21T20:14:59.5Z"), id("2026-11-21T20:14:59.500Z"));
    assert_eq!(id("2026-11-21T20:14:59.5Z"), id("2026-11-21T20:14:59Z"));
    assert_ne!(id("2026-11-21T20:14:59.5Z"), id("2026-11-21T20:15:00.5Z"));
}

#[test]
fn other_deeds_are_named_by_their_message() {
    for name in ["cheer", "subscribe", "gift", "raid", "online", "offline", "update"] {
        let raw = data(&format!("{name}.json"));
        let (first, second) = (translated("m-1", &raw).unwrap(), translated("m-2", &raw).unwrap());
        assert_ne!(first[0].id, second[0].id, "{name}");
        assert_eq!(first[0].id, domain::entry_id("eventsub", "m-1"), "{name}");
    }
}

#[test]
fn a_fulfilled_redemption_is_credited_once_whether_at_once_or_by_an_update() {
    let at_once = translated("m-1", &data("redemption_add_skips_queue.json")).unwrap();
    let updated = translated("m-2", &data("redemption_fulfilled.json")).unwrap();
    assert_eq!((at_once[1].id, at_once[2].id), (updated[0].id, updated[1].id));
    // The points come first: what is noted as settled, and was not credited, was worth nothing.
    assert_eq!(at_once[1].aggregate_type, "account");
    let ids: std::collections::BTreeSet<_> = at_once.iter().map(|one| one.id).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn an_update_that_settles_nothing_is_kept_as_twitch_cli_sends_it_by_default() {
    let kept = with("redemption_fulfilled", "status", json!("unfulfilled")).unwrap_err();
    assert!(matches!(kept, Untranslatable::UnknownValue { .. }));
}

#[test]
fn nobody_is_nobody_in_every_spelling() {
    let nobodies = [
        json!({"is_anonymous": true, "user_id": null}),
        json!({"is_anonymous": true, "user_id": ""}),
        json!({"is_anonymous": true, "user_id": "274598607", "user_login": "ananonymousgifter"}),
        json!({"is_anonymous": false, "user_id": "274598607", "user_login": "ananonymousgifter"}),
        json!({"is_anonymous": true, "user_id": "5001"}),
        json!({"user_id": null}),
        json!({}),
    ];
    for (name, told) in [("cheer", "cheered"), ("gift", "subs_gifted")] {
        for nobody in &nobodies {
            let mut notification = notification(name);
            let said = notification["event"].as_object_mut().unwrap();
            for field in ["is_anonymous", "user_id", "user_login", "user_name"] {
                said.remove(field);
            }
            said.extend(nobody.as_object().unwrap().clone());
            let envelopes = translated("m-1", &notification.to_string()).unwrap();
            assert_eq!(envelopes.len(), 1);
            assert_eq!(envelopes[0].aggregate_type, "broadcast", "{name} {nobody}");
            assert!(envelopes[0].command.get().contains(told), "{name} {nobody}");
            assert_eq!(envelopes[0].names, []);
        }
    }
}

#[test]
fn a_sub_of_nobody_is_kept() {
    assert_eq!(with("subscribe", "user_id", json!(null)).unwrap_err(), Untranslatable::NoViewer);
    assert_eq!(with("follow", "user_id", json!("")).unwrap_err(), Untranslatable::NoViewer);
}

#[test]
fn absurd_numbers_are_kept_with_the_reason() {
    for (name, field, values) in [
        ("cheer", "bits", vec![json!(0), json!(-5), json!(10_000_001), json!(i64::MAX)]),
        ("gift", "total", vec![json!(0), json!(-1), json!(i64::MAX)]),
        ("gift", "cumulative_total", vec![json!(-1), json!(i64::MAX)]),
        ("resub", "cumulative_months", vec![json!(0), json!(-1), json!(40_000)]),
        ("resub", "streak_months", vec![json!(-1), json!(40_000)]),
        ("raid", "viewers", vec![json!(-1), json!(i64::MAX)]),
        ("hype_begin", "total", vec![json!(-1), json!(i64::MAX)]),
        ("hype_begin", "level", vec![json!(-1), json!(i64::MAX)]),
    ] {
        for value in values {
            let reason = with(name, field, value.clone()).unwrap_err();
            let out =
                matches!(reason, Untranslatable::OutOfRange { field: named, .. } if named == field);
            assert!(out, "{name} {field} {value}: {reason:?}");
            assert!(reason.to_string().starts_with(&format!("{field} is {value}")), "{reason}");
        }
    }
    let wrong_kinds = [json!(1.5), json!("100"), json!(1e300), json!(u64::MAX), json!(null)];
    for value in wrong_kinds {
        let reason = with("cheer", "bits", value).unwrap_err();
        assert!(matches!(reason, Untranslatable::Malformed(_)), "{reason:?}");
    }
}

#[test]
fn rules_that_would_overflow_the_ledger_are_no_reason_to_panic() {
    let rules = Rules { points_per_bit: i64::MAX, ..Rules::default() };
    let raw = data("cheer.json");
    let notification = Notification { message_id: "m-1", sent_at: time(SENT_AT), raw: &raw };
    let reason = translate(&notification, &rules, None, time(SENT_AT)).unwrap_err();
    assert_eq!(reason, Untranslatable::TooManyPoints);
}

#[test]
fn a_cheer_worth_no_points_is_still_told() {
    let rules = Rules { points_per_bit: 0, ..Rules::default() };
    let raw = data("cheer.json");
    let notification = Notification { message_id: "m-1", sent_at: time(SENT_AT), raw: &raw };
    let envelopes = translate(&notification, &rules, None, time(SENT_AT)).unwrap();
    assert!(envelopes[0].command.get().contains(r#""points":0"#));
}

#[test]
fn ids_are_opaque_but_must_be_storable() {
    // What twitch-cli draws looks like a UUID and is none: version and variant are arbitrary.
    let odd = with("redemption_add", "id", json!("ffffffff-ffff-0fff-ffff-ffffffffffff"));
    assert!(odd.is_ok());
    for bad in ["a.b", "a b", "*", ">", "ü", &"9".repeat(65)] {
        for (name, field) in [
            ("cheer", "user_id"),
            ("follow", "user_id"),
            ("online", "id"),
            ("offline", "id"),
            ("raid", "from_broadcaster_user_id"),
            ("hype_begin", "id"),
            ("redemption_add", "id"),
            ("redemption_fulfilled", "id"),
        ] {
            let reason = with(name, field, json!(bad)).unwrap_err();
            assert!(matches!(reason, Untranslatable::BadId { .. }), "{name} {bad:?}: {reason:?}");
        }
    }
}

#[test]
fn an_unknown_tier_is_kept_rather_than_guessed() {
    for name in ["subscribe", "gift", "resub", "subscription_end"] {
        let reason = with(name, "tier", json!("Prime")).unwrap_err();
        let expected = Untranslatable::UnknownValue { field: "tier", value: "Prime".to_owned() };
        assert_eq!(reason, expected);
    }
}

#[test]
fn a_zero_byte_in_a_message_reaches_no_event() {
    let envelopes = with("cheer", "message", json!("a\u{0}b\u{1b}c")).unwrap();
    assert!(envelopes[0].command.get().contains(r#""message":"abc""#));
}

#[test]
fn a_very_long_message_of_many_bytes_is_cut_and_credited() {
    let envelopes = with("cheer", "message", json!("📼".repeat(5_000))).unwrap();
    let command: Value = serde_json::from_str(envelopes[0].command.get()).unwrap();
    let kept = command["credit"]["facts"]["cheer"]["message"].as_str().unwrap();
    assert_eq!(kept.chars().count(), 1_000);
}

#[test]
fn names_are_beside_the_command_and_never_in_it() {
    for name in ["cheer", "subscribe", "gift", "follow", "raid", "redemption_add", "hype_begin"] {
        for envelope in translated("m-1", &data(&format!("{name}.json"))).unwrap() {
            let command = envelope.command.get().to_lowercase();
            for seen in ["reeldeal", "betamaxine", "rewinder", "トラッキング", "goldenreel"] {
                assert!(!command.contains(seen), "{name} says {seen}: {command}");
            }
        }
    }
}

#[test]
fn a_notification_about_another_channel_is_kept() {
    let reason = with("cheer", "broadcaster_user_id", json!("1001")).unwrap_err();
    assert!(matches!(reason, Untranslatable::AnotherChannel { about, .. } if about == "1001"));
    // Our own raid of somebody else comes with the same type.
    let raid = with("raid", "to_broadcaster_user_id", json!("1001")).unwrap_err();
    assert!(matches!(raid, Untranslatable::AnotherChannel { .. }));
}

#[test]
fn other_types_and_versions_are_kept_and_can_be_translated_later() {
    let mut poll = notification("cheer");
    poll["subscription"]["type"] = json!("channel.poll.begin");
    let mut follow = notification("follow");
    follow["subscription"]["version"] = json!("1");
    for (notification, kind) in [(poll, "channel.poll.begin"), (follow, "channel.follow")] {
        let reason = translated("m-1", &notification.to_string()).unwrap_err();
        assert!(matches!(&reason, Untranslatable::Unknown { kind: named, .. } if named == kind));
    }
}

#[test]
fn what_was_kept_is_translated_again_to_the_same_commands() {
    let raw = data("redemption_fulfilled.json");
    let letter = Keep::new("m-7", time(SENT_AT), "channel.cheer", "1", "because");
    let kept = keep(letter, Some(&raw), time(SENT_AT));
    assert_eq!(
        (kept.aggregate_type.as_str(), kept.aggregate_id.as_str()),
        ("notification", "channel-cheer")
    );
    let again = retranslate(
        kept.origin.raw.as_deref().unwrap(),
        kept.command.get(),
        &rules(),
        Some("1000"),
        time("2026-11-22T00:00:00Z"),
    );
    let again: Vec<Value> = again.unwrap().iter().map(summary).collect();
    let first: Vec<Value> = translated("m-7", &raw).unwrap().iter().map(summary).collect();
    assert_eq!(again, first);
    assert!(first.iter().all(|one| one["id"] != json!(kept.id)), "a repetition of its keeping");
}

#[test]
fn a_kept_notification_has_an_address_whatever_its_type_is() {
    for (kind, id) in [
        ("channel.poll.begin", "channel-poll-begin"),
        ("revocation:channel.follow:user_removed", "channel-follow"),
        ("", "unknown"),
        ("a b", "unknown"),
        ("channel.>", "unknown"),
        (&"x".repeat(500), "unknown"),
    ] {
        let letter = Keep::new("m-1", time(SENT_AT), kind, "1", "because");
        let envelope = keep(letter, Some("{}\0"), time(SENT_AT));
        assert_eq!(envelope.aggregate_id, id);
        assert!(envelope.subject().unwrap().ends_with(&format!(".notification.{id}.keep")));
        assert!(!envelope.origin.raw.unwrap().contains('\0'));
    }
}

/// JSON that nobody wrote: values of every kind, in and outside of range, under names that are read.
fn arbitrary(random: &mut StdRng, depth: u32) -> Value {
    match random.random_range(0..if depth == 0 { 8 } else { 10 }) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>()),
        3 => json!(random.random_range(-3_i64..2_000)),
        4 => json!(random.random::<f64>() * 1e300),
        5 => json!(
            ["1000", "", "274598607", "fulfilled", "2026-11-21T20:15:00Z"]
                [random.random_range(0..5)]
        ),
        6 => json!(random.random::<char>().to_string().repeat(random.random_range(0..80))),
        7 => json!("\u{0}\u{202e}🦀"),
        8 => (0..random.random_range(0..4)).map(|_| arbitrary(random, depth - 1)).collect(),
        _ => {
            let fields = ["user_id", "text", "id", "title", "cost", "type", "broadcaster_user_id"];
            let field = fields[random.random_range(0..fields.len())];
            json!({field: arbitrary(random, depth - 1)})
        }
    }
}

#[test]
fn nothing_that_twitch_could_say_makes_it_panic() {
    let mut random = StdRng::seed_from_u64(20261121);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/eventsub");
    let all: Vec<Value> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .map(|text| serde_json::from_str::<Value>(&text).unwrap())
        .filter(|value| value.is_object())
        .collect();
    let (mut understood, mut kept) = (0, 0);
    for round in 0..30_000 {
        let mut notification = all[round % all.len()].clone();
        for _ in 0..random.random_range(1..4) {
            let said = notification["event"].as_object_mut().unwrap();
            let fields: Vec<String> = said.keys().cloned().collect();
            let field = &fields[random.random_range(0..fields.len())];
            said.insert(field.clone(), arbitrary(&mut random, 2));
        }
        let mut text = notification.to_string();
        if random.random_ratio(1, 20) {
            let cut = random.random_range(0..text.len());
            text = String::from_utf8_lossy(&text.as_bytes()[..cut]).into_owned();
        }
        match translated("m-1", &text) {
            Ok(envelopes) => {
                understood += 1;
                for envelope in envelopes {
                    assert!(envelope.subject().is_ok(), "{text}");
                    assert!(!envelope.command.get().contains("\\u0000"), "{text}");
                }
            }
            Err(reason) => {
                kept += 1;
                let letter = Keep::new("m-1", time(SENT_AT), "x", "1", &reason.to_string());
                assert!(keep(letter, Some(&text), time(SENT_AT)).subject().is_ok());
            }
        }
    }
    assert!(understood > 1_000 && kept > 1_000, "{understood} understood, {kept} kept");
}
