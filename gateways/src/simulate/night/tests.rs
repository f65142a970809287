use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::twitch::Secrets;
use crate::twitch::inbound::{Commands, Inbound, Outcome, Received};
use domain::rules::Rules;
use serde_json::Value;

fn secret() -> Secret {
    Secret::new("between-twitch-and-us").unwrap()
}

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-11-21T20:15:02.5Z").unwrap().to_utc()
}

/// What the webhook makes of a scene.
fn received(night: &Night, scene: &Scene, message_id: &str) -> Commands {
    let delivery = night.delivery_as(scene, message_id, &secret(), now());
    let headers = delivery.headers.iter();
    let headers =
        headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    let inbound = Inbound {
        secrets: Secrets::new(Some(secret())),
        rules: Rules::default().into(),
        broadcaster_id: Some(night.broadcaster.id.to_string()),
        listening: Default::default(),
    };
    match inbound.receive(&headers, delivery.body.as_bytes(), now()).unwrap() {
        Received::Commands(commands) => commands,
        Received::Challenge(challenge) => panic!("a challenge: {challenge}"),
        Received::Heard(heard, _) => panic!("said in chat: {heard:?}"),
    }
}

#[test]
fn the_same_seed_is_the_same_night_and_another_seed_another() {
    let told = |seed| {
        let night = Night::script(seed, 200);
        let scenes = night.scenes.iter();
        scenes.map(|scene| (scene.message_id.clone(), night.body(scene))).collect::<Vec<_>>()
    };
    assert_eq!(told(7), told(7));
    let (seven, eight): (BTreeSet<_>, BTreeSet<_>) =
        (told(7).into_iter().collect(), told(8).into_iter().collect());
    assert!(seven.is_disjoint(&eight));
}

#[test]
fn a_night_has_exactly_the_notifications_that_were_asked_for() {
    for wanted in [0, 1, 2, 3, 10, 29, 200, 5_000] {
        assert_eq!(Night::script(3, wanted).scenes.len(), wanted);
    }
}

#[test]
fn a_night_begins_live_and_ends_off_and_nothing_in_it_goes_back_in_time() {
    let night = Night::script(11, 300);
    assert!(matches!(night.scenes.first().unwrap().deed, Deed::Online { .. }));
    assert!(matches!(night.scenes.last().unwrap().deed, Deed::Offline { .. }));
    assert!(night.scenes.is_sorted_by_key(|scene| scene.after));
}

#[test]
fn a_short_night_has_some_of_everything() {
    for seed in 0..20 {
        let night = Night::script(seed, 60);
        let kinds = |night: &Night| -> BTreeSet<&'static str> {
            night.scenes.iter().map(|scene| scene.deed.kind(scene.flavour).0).collect()
        };
        assert_eq!(kinds(&night).len(), 16, "seed {seed}: {:?}", kinds(&night));
        let nobody = |deed: &Deed| {
            matches!(deed, Deed::Cheer { viewer: None, .. } | Deed::Gift { viewer: None, .. })
        };
        assert!(night.scenes.iter().any(|scene| nobody(&scene.deed)));
        let ends = night.scenes.iter().filter(|scene| matches!(scene.deed, Deed::Offline { .. }));
        assert!(ends.count() >= 2, "seed {seed} has no outage");
    }
}

#[test]
fn every_scene_is_understood_except_what_is_meant_not_to_be() {
    let night = Night::script(5, 2_000);
    for scene in &night.scenes {
        let commands = received(&night, scene, &scene.message_id);
        let expected = match scene.deed {
            Deed::Poll { .. } => Outcome::Kept,
            _ => Outcome::Translated,
        };
        assert_eq!(commands.result, expected, "{}", night.body(scene));
    }
}

#[test]
fn no_two_scenes_make_the_same_command_and_a_second_message_id_makes_no_other() {
    let night = Night::script(6, 2_000);
    let mut seen = BTreeSet::new();
    let mut twice = 0;
    for scene in &night.scenes {
        let first = received(&night, scene, &scene.message_id);
        for envelope in &first.envelopes {
            assert!(seen.insert(envelope.id), "{}", night.body(scene));
        }
        let Some(second) = &scene.second_message_id else { continue };
        let ids = |commands: Commands| -> Vec<_> {
            commands.envelopes.iter().map(|envelope| envelope.id).collect()
        };
        assert_eq!(ids(received(&night, scene, second)), ids(first));
        twice += 1;
    }
    assert!(twice > 50, "{twice}");
}

#[test]
fn the_commands_of_a_night_come_to_the_points_that_are_expected_of_it() {
    let night = Night::script(9, 3_000);
    let mut points: BTreeMap<String, i64> = BTreeMap::new();
    for scene in &night.scenes {
        for envelope in received(&night, scene, &scene.message_id).envelopes {
            let command: Value = serde_json::from_str(envelope.command.get()).unwrap();
            if let Some(credited) = command["credit"]["points"].as_i64() {
                assert_eq!(envelope.aggregate_type, "account");
                *points.entry(envelope.aggregate_id).or_default() += credited;
            }
        }
    }
    assert_eq!(points, night.expected_points());
    assert!(points.len() > 50);
}

#[test]
fn the_commands_of_a_night_come_to_the_alerts_that_are_expected_of_it() {
    let night = Night::script(9, 3_000);
    let told = [
        ("followed", "follow"),
        ("cheered", "cheer"),
        ("cheer", "cheer"),
        ("resubscription", "resub"),
        ("gift_subs", "gift"),
        ("subs_gifted", "gift"),
        ("raided", "raid"),
        ("hype_train_started", "hype_train"),
    ];
    let mut alerts: BTreeMap<&str, usize> = BTreeMap::new();
    for scene in &night.scenes {
        for envelope in received(&night, scene, &scene.message_id).envelopes {
            let command = envelope.command.get();
            if command.contains(r#""subscription":{"#) && command.contains(r#""gift":false"#) {
                *alerts.entry("sub").or_default() += 1;
            }
            for (fact, alert) in told {
                if command.contains(&format!("\"{fact}\":{{")) {
                    *alerts.entry(alert).or_default() += 1;
                }
            }
        }
    }
    let mut expected: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in night.expected_alerts() {
        *expected.entry(alert.kind).or_default() += 1;
    }
    assert_eq!(alerts, expected);
    assert_eq!(alerts.len(), 7);
}

#[test]
fn times_are_written_as_twitch_writes_them() {
    use crate::simulate::payload::timestamp;
    for text in [
        "2026-11-21T20:15:02Z",
        "2026-11-21T20:15:02.5Z",
        "2026-11-21T20:15:10.000000001Z",
        "2026-11-21T20:15:00.1234Z",
    ] {
        assert_eq!(timestamp(DateTime::parse_from_rfc3339(text).unwrap().to_utc()), text);
    }
}

#[test]
fn who_asks_for_a_picture_is_understood_by_the_grammar_and_nobody_else() {
    use domain::chat_request::{Prices, in_cheer};
    let plain = Night::script(7, 300);
    let night = plain.clone().with_requests();
    assert_eq!((plain.requests(), night.scenes.len()), (0, plain.scenes.len()));
    assert!((4..=REQUESTS_MAX).contains(&night.requests()), "{}", night.requests());
    for scene in &night.scenes {
        let Deed::Cheer { viewer: Some(_), bits, message } = &scene.deed else { continue };
        let asked = in_cheer(message, *bits, &Prices::default());
        let asked = asked.map(|asked| asked.expect("a request that can be granted"));
        let expected = scene.deed.expected_picture();
        assert_eq!(asked.as_ref().map(|asked| asked.wish.style()), expected.map(|one| one.kind));
        assert!(asked.is_none_or(|asked| asked.price == PRICE));
    }
    let sum = |night: &Night| night.expected_points().values().sum::<i64>();
    assert_eq!(sum(&plain) - sum(&night), PRICE * night.requests() as i64);
}
