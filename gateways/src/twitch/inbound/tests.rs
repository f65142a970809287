use super::*;
use crate::twitch::Secret;
use crate::twitch::signature::{self, sign};
use serde_json::{Value, json};

const NOW: &str = "2026-11-21T20:15:02Z";
const SENT: &str = "2026-11-21T20:15:00.123456789Z";

fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn secret() -> Secret {
    Secret::new("between-twitch-and-us").unwrap()
}

fn inbound() -> Inbound {
    Inbound {
        secrets: Secrets::new(Some(secret())),
        rules: Arc::new(Rules::default()),
        broadcaster_id: Some("1000".to_owned()),
        listening: Default::default(),
    }
}

/// A request as Twitch signs it.
fn headers(message_type: &str, kind: &str, body: &[u8]) -> HeaderMap {
    sent_at(SENT, message_type, kind, body)
}

fn sent_at(timestamp: &str, message_type: &str, kind: &str, body: &[u8]) -> HeaderMap {
    let id = "m-1";
    let signed = sign(&secret(), id, timestamp, body);
    let pairs = [
        (signature::MESSAGE_ID, id),
        (signature::MESSAGE_RETRY, "0"),
        (signature::MESSAGE_TYPE, message_type),
        (signature::MESSAGE_SIGNATURE, &signed),
        (signature::MESSAGE_TIMESTAMP, timestamp),
        (signature::SUBSCRIPTION_TYPE, kind),
        (signature::SUBSCRIPTION_VERSION, "1"),
    ];
    pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn received(message_type: &str, kind: &str, body: &[u8]) -> Received {
    inbound().receive(&headers(message_type, kind, body), body, time(NOW)).unwrap()
}

fn commands(received: Received) -> Commands {
    match received {
        Received::Commands(commands) => commands,
        Received::Heard(heard, _) => panic!("{heard:?}"),
        Received::Challenge(challenge) => panic!("a challenge: {challenge}"),
    }
}

fn kept(received: Received) -> Value {
    let commands = commands(received);
    let others = &commands.envelopes[1..];
    assert!(others.iter().all(|envelope| envelope.aggregate_type == "intake"), "{others:?}");
    assert_eq!(commands.envelopes[0].aggregate_type, "notification");
    let command: Value = serde_json::from_str(commands.envelopes[0].command.get()).unwrap();
    command["keep"].clone()
}

fn data(name: &str) -> Vec<u8> {
    let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/eventsub");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_challenge_is_given_back_as_it_is() {
    let challenge = "pogchamp-kappa-360noscope-vohiyo \"quoted\" ü";
    let body = json!({
        "challenge": challenge,
        "subscription": {
            "id": "f1c2a387", "status": "webhook_callback_verification_pending",
            "type": "channel.raid", "version": "1",
            // twitch-cli writes the wrong condition for a raid, so no condition is checked here.
            "condition": {"broadcaster_user_id": "77"},
        },
    });
    let body = body.to_string().into_bytes();
    let answer = received("webhook_callback_verification", "channel.raid", &body);
    assert!(matches!(answer, Received::Challenge(text) if text == challenge));
}

#[test]
fn an_unsigned_challenge_gets_no_answer() {
    let body = br#"{"challenge":"x","subscription":{"type":"channel.raid","version":"1"}}"#;
    let mut headers = headers("webhook_callback_verification", "channel.raid", body);
    headers.remove(signature::MESSAGE_SIGNATURE);
    assert!(inbound().receive(&headers, body, time(NOW)).is_err());
}

#[test]
fn a_notification_becomes_commands_named_by_its_message() {
    let commands = commands(received("notification", "channel.cheer", &data("cheer.json")));
    assert_eq!((commands.result, commands.kind), (Outcome::Translated, "channel.cheer"));
    assert_eq!(commands.envelopes[0].aggregate_id, "5001");
    assert_eq!(commands.envelopes[0].origin.received_at, time(NOW));
}

#[test]
fn a_redelivery_with_a_new_timestamp_and_signature_is_the_same_command() {
    let body = data("cheer.json");
    let timestamp = "2026-11-21T20:15:01.9Z";
    let mut again = headers("notification", "channel.cheer", &body);
    let signed = sign(&secret(), "m-1", timestamp, &body);
    again.insert(signature::MESSAGE_TIMESTAMP, timestamp.parse().unwrap());
    again.insert(signature::MESSAGE_SIGNATURE, signed.parse().unwrap());
    let again = commands(inbound().receive(&again, &body, time(NOW)).unwrap());
    let first = commands(received("notification", "channel.cheer", &body));
    assert_eq!(again.envelopes[0].id, first.envelopes[0].id);
}

#[test]
fn the_type_is_read_from_the_signed_body_and_not_from_the_unsigned_header() {
    let commands = commands(received("notification", "channel.subscribe", &data("cheer.json")));
    assert_eq!(commands.kind, "channel.cheer");
    assert!(commands.envelopes[0].command.get().contains("cheer"));
}

#[test]
fn an_unknown_type_is_kept_with_what_is_needed_to_translate_it_later() {
    let mut poll: Value = serde_json::from_slice(&data("cheer.json")).unwrap();
    poll["subscription"]["type"] = json!("channel.poll.begin");
    let body = poll.to_string().into_bytes();
    let received = received("notification", "channel.poll.begin", &body);
    let kept = kept(received);
    assert_eq!(kept["kind"], "channel.poll.begin");
    assert_eq!(kept["version"], "1");
    assert_eq!(kept["message_id"], "m-1");
    assert_eq!(kept["sent_at"], "2026-11-21T20:15:00.123456789Z");
    assert_eq!(kept["reason"], "no translation for channel.poll.begin version 1");
}

#[test]
fn a_revocation_is_kept_with_its_type_and_status() {
    let body = json!({"subscription": {
        "id": "f1c2a387", "status": "authorization_revoked", "type": "channel.follow",
        "version": "2", "condition": {}, "created_at": "2026-11-01T10:11:12Z",
    }});
    let body = body.to_string().into_bytes();
    let received = received("revocation", "channel.follow", &body);
    let result = |sent, at| {
        let headers = sent_at(sent, "revocation", "channel.follow", &body);
        commands(inbound().receive(&headers, &body, time(at)).unwrap())
    };
    let again = result("2026-11-21T20:16:00Z", "2026-11-21T20:16:02Z");
    let result = result(SENT, NOW);
    assert_eq!(result.envelopes[1].id, again.envelopes[1].id, "told twice, it is one loss");
    assert_eq!((result.result, result.kind), (Outcome::Revoked, "channel.follow"));
    assert_eq!(result.envelopes[0].aggregate_id, "channel-follow");
    let lost: Value = serde_json::from_str(result.envelopes[1].command.get()).unwrap();
    assert_eq!(lost["lose"]["kinds"], json!(["channel.follow"]));
    assert_eq!(lost["lose"]["since"], "2026-11-21T20:15:00.123456Z");
    assert_eq!(lost["lose"]["reason"], "revoked: authorization_revoked");
    assert_eq!(kept(received)["kind"], "revocation:channel.follow:authorization_revoked");
}

#[test]
fn what_is_authentic_but_not_understood_is_kept_with_a_reason() {
    for (message_type, body) in [
        ("notification", &b"{\"subscription\":"[..]),
        ("notification", b""),
        ("notification", b"null"),
        ("notification", b"\xff\xfe\x00"),
        ("notification", br#"{"subscription":{"type":"channel.cheer","version":"1"}}"#),
        ("webhook_callback_verification", b"{}"),
        ("webhook_callback_verification", br#"{"challenge":5}"#),
        ("a_type_of_tomorrow", b"{}"),
        ("revocation", b"not json"),
    ] {
        let kept = kept(received(message_type, "channel.cheer", body));
        assert!(kept["kind"].as_str().unwrap().contains("channel.cheer"), "{kept}");
        assert_ne!(kept["reason"], "", "{message_type}");
    }
}

#[test]
fn json_nested_as_deep_as_a_body_can_be_is_kept_and_overflows_no_stack() {
    let deep = format!(
        r#"{{"subscription":{{"type":"channel.cheer","version":"1"}},"event":{}}}"#,
        "[".repeat(500_000)
    );
    let kept = kept(received("notification", "channel.cheer", deep.as_bytes()));
    assert!(kept["reason"].as_str().unwrap().starts_with("not the JSON"), "{kept}");
}

#[test]
fn counters_have_a_bounded_number_of_labels() {
    assert_eq!(label("channel.cheer"), "channel.cheer");
    assert_eq!(label("revocation:channel.cheer:user_removed"), "channel.cheer");
    for other in ["", "channel.poll.begin", "channel.cheer2", "revocation:", "x"] {
        assert_eq!(label(other), "other");
    }
}
