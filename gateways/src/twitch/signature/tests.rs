use super::*;
use axum::http::HeaderValue;

/// Computed with Python's `hmac`, not with this code: secret, message id, timestamp, body, signature. The first is
/// the one in the project's notes about Twitch.
const VECTORS: [(&str, &str, &str, &[u8], &str); 4] = [
    (
        "s3cRe7test",
        "e76c6bd4-55c9-4987-8304-da1588d8988b",
        "2019-11-16T10:11:12.634234626Z",
        br#"{"a":1}"#,
        "sha256=073ae251b3ef37090e35b7a1773ccc8ac562578dfa928b7ebe08cb653516ff54",
    ),
    (
        "0123456789",
        "m-1",
        "2026-11-21T03:00:00Z",
        b"",
        "sha256=d7d3c43cd36198b103ddb56e25b91d526874e8dc0f6f5bd989dde7ba0fdca780",
    ),
    (
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "befa7b53-d79d-478f-86b9-120f112b044e",
        "2026-11-21T03:00:00.1Z",
        "{\"message\":\"ערב טוב 📼\"}".as_bytes(),
        "sha256=aad8563ae091283bb7b94454fc1aede5889151cd5d67bc61d97e68809c275d13",
    ),
    (
        "a secret with spaces & =",
        "f1c2a387-161a-49f9-a165-0f21d7a4e1c4",
        "2026-11-21T03:00:00.120Z",
        b"{ \"a\" : 1 }\n",
        "sha256=e35c793d88e802264bff033f76e21b2fd98f418eda52820b20c6cf84578bcb6f",
    ),
];

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn time(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn headers(id: &str, timestamp: &str, signature: &str) -> HeaderMap {
    let pairs = [
        (MESSAGE_ID, id),
        (MESSAGE_TIMESTAMP, timestamp),
        (MESSAGE_SIGNATURE, signature),
        (MESSAGE_TYPE, "notification"),
        (SUBSCRIPTION_TYPE, "channel.cheer"),
        (SUBSCRIPTION_VERSION, "1"),
    ];
    pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

#[test]
fn the_golden_vectors_are_signed_and_believed() {
    for (key, id, timestamp, body, signature) in VECTORS {
        assert_eq!(sign(&secret(key), id, timestamp, body), signature);
        let headers = headers(id, timestamp, signature);
        let believed = verify(&[secret(key)], &headers, body, time(timestamp)).unwrap();
        assert_eq!(believed.message_id, id);
        assert_eq!(believed.sent_at, time(timestamp));
        assert_eq!((believed.kind, believed.version), ("channel.cheer", "1"));
    }
}

#[test]
fn every_byte_of_the_body_is_signed_also_those_that_are_not_text() {
    let body: Vec<u8> = (0..=255).collect();
    let signature = sign(&secret("s3cRe7test"), "m-bytes", "2026-11-21T03:00:00.000000001Z", &body);
    let golden = "sha256=79d95e212479a6c46b94e999431daf5e3c881cc13eb92c9863a9343a2c7a4f39";
    assert_eq!(signature, golden);
}

#[test]
fn one_changed_bit_anywhere_is_refused() {
    let (key, id, timestamp, body, signature) = VECTORS[0];
    let verify = |id: &str, timestamp: &str, body: &[u8], signature: &str| {
        verify(&[secret(key)], &headers(id, timestamp, signature), body, time(VECTORS[0].2)).err()
    };
    let wrong = Some(Refusal::WrongSignature);
    assert_eq!(verify(id, timestamp, body, signature), None);
    assert_eq!(verify("f76c6bd4-55c9-4987-8304-da1588d8988b", timestamp, body, signature), wrong);
    assert_eq!(verify(id, timestamp, br#"{"a":2}"#, signature), wrong);
    assert_eq!(verify(id, timestamp, b"", signature), wrong);
    for n in "sha256=".len()..signature.len() {
        let digit = if signature.as_bytes()[n] == b'0' { "1" } else { "0" };
        let forged = format!("{}{digit}{}", &signature[..n], &signature[n + 1..]);
        assert_eq!(verify(id, timestamp, body, &forged), wrong);
    }
}

#[test]
fn the_timestamp_is_signed_as_it_was_written() {
    // The same instant with a trailing zero is another text, so another signature.
    let (key, id, _, body, signature) = VECTORS[3];
    let trimmed = "2026-11-21T03:00:00.12Z";
    let headers = headers(id, trimmed, signature);
    let refusal = verify(&[secret(key)], &headers, body, time(trimmed));
    assert_eq!(refusal.unwrap_err(), Refusal::WrongSignature);
}

#[test]
fn only_a_message_of_the_last_ten_minutes_is_fresh_and_a_clock_may_be_as_wrong() {
    let (key, id, timestamp, body, signature) = VECTORS[1];
    let at = |offset_ms: i64| {
        let now = time(timestamp) + TimeDelta::milliseconds(offset_ms);
        verify(&[secret(key)], &headers(id, timestamp, signature), body, now).err()
    };
    assert_eq!(at(0), None);
    assert_eq!(at(600_000), None);
    assert_eq!(at(600_001), Some(Refusal::TooOld));
    assert_eq!(at(-600_000), None);
    assert_eq!(at(-600_001), Some(Refusal::FromTheFuture));
    assert_eq!(at(86_400_000 * 365 * 100), Some(Refusal::TooOld));
}

#[test]
fn a_stale_forgery_is_a_forgery() {
    let (key, id, timestamp, body, _) = VECTORS[1];
    let forged = format!("sha256={}", "0".repeat(64));
    let now = time(timestamp) + TimeDelta::days(1);
    let headers = headers(id, timestamp, &forged);
    let refusal = verify(&[secret(key)], &headers, body, now);
    assert_eq!(refusal.unwrap_err(), Refusal::WrongSignature);
}

#[test]
fn what_is_unsigned_is_refused_as_twitch_cli_sends_it_without_a_secret() {
    let (key, id, timestamp, body, signature) = VECTORS[0];
    for missing in [MESSAGE_ID, MESSAGE_TIMESTAMP, MESSAGE_SIGNATURE, MESSAGE_TYPE] {
        let mut headers = headers(id, timestamp, signature);
        headers.remove(missing);
        let refusal = verify(&[secret(key)], &headers, body, time(timestamp)).unwrap_err();
        assert_eq!(refusal, Refusal::MissingHeader(missing));
        headers.insert(missing, HeaderValue::from_static(""));
        assert!(verify(&[secret(key)], &headers, body, time(timestamp)).is_err());
    }
}

#[test]
fn a_signature_of_another_form_is_refused() {
    let (key, id, timestamp, body, signature) = VECTORS[0];
    let long = format!("{signature}00");
    for bad in [&signature[7..], "sha1=073ae251", "sha256=", "sha256=zz", &signature[..70], &long] {
        let refusal = verify(&[secret(key)], &headers(id, timestamp, bad), body, time(timestamp))
            .unwrap_err();
        assert_eq!(refusal, Refusal::BadSignatureForm, "{bad}");
    }
}

#[test]
fn a_timestamp_that_is_no_time_is_refused_though_signed() {
    let key = secret("s3cRe7test");
    for bad in ["yesterday", "1763694900", "2026-11-21 03:00:00", "2026-13-21T03:00:00Z"] {
        let headers = headers("m", bad, &sign(&key, "m", bad, b"{}"));
        let refusal =
            verify(std::slice::from_ref(&key), &headers, b"{}", time("2026-11-21T03:00:00Z"));
        assert_eq!(refusal.unwrap_err(), Refusal::BadTimestamp, "{bad}");
    }
}

#[test]
fn while_a_secret_is_replaced_both_are_believed_and_without_any_none_is() {
    let (key, id, timestamp, body, signature) = VECTORS[0];
    let headers = headers(id, timestamp, signature);
    let (old, new) = (secret(key), secret("the-new-secret"));
    let believed = |secrets: &[Secret]| verify(secrets, &headers, body, time(timestamp)).is_ok();
    assert!(believed(&[new.clone(), old.clone()]));
    assert!(believed(&[old, new.clone()]));
    assert!(!believed(&[new]));
    assert!(!believed(&[]));
}

#[test]
fn a_secret_has_the_length_twitch_allows_and_is_never_printed() {
    assert_eq!(Secret::new("too-short").unwrap_err(), BadSecret);
    assert_eq!(Secret::new("x".repeat(101)).unwrap_err(), BadSecret);
    assert_eq!(Secret::new("geheimnisvoll-ü").unwrap_err(), BadSecret);
    assert!(!format!("{:?}", secret("do-not-tell-anyone")).contains("tell"));
}
