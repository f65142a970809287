use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::json;
use std::time::Duration;

use super::*;

const PIXEL: &[u8] = include_bytes!("../../../tests/data/pixel.png");

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    let headers = headers.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        (name, HeaderValue::from_str(value).expect("a value"))
    });
    let (status, body) = (StatusCode::from_u16(status).expect("a status"), body.into().into());
    Answer { status, headers: headers.collect::<HeaderMap>(), body }
}

fn failed(status: u16, headers: &[(&str, &str)], error: Value) -> ProviderError {
    let body = json!({"error": error}).to_string();
    let now = DateTime::from_timestamp(1_750_000_000, 0).expect("a time");
    success(answer(status, headers, body), now).expect_err("a failure")
}

fn drawn(body: Value) -> Result<(Vec<u8>, i64), ProviderError> {
    picture(&answer(200, &[], body.to_string()), &Settings::default())
}

fn pixel() -> Value {
    json!([{"b64_json": STANDARD.encode(PIXEL)}])
}

#[test]
fn a_refusal_goes_by_its_code_whatever_the_words() {
    for (kind, code, known_as) in [
        ("image_generation_user_error", json!("moderation_blocked"), "moderation_blocked"),
        ("invalid_request_error", json!("content_policy_violation"), "content_policy_violation"),
        ("image_generation_user_error", Value::Null, "image_generation_user_error"),
    ] {
        let error = json!({"type": kind, "code": code, "param": null, "message": "sk-secret"});
        let ProviderError::Refused { code, reason } = failed(400, &[], error) else {
            panic!("{kind} is a refusal");
        };
        assert_eq!(code, known_as);
        assert!(!reason.contains("secret"));
    }
    // Words alone do not make one, nor does a broken server.
    let talk = json!({"type": "invalid_request_error", "message": "our content_policy_violation"});
    assert!(matches!(failed(400, &[], talk), ProviderError::Broken { cost_micros: Some(0), .. }));
    let broken = json!({"type": "server_error", "code": "moderation_blocked"});
    assert!(matches!(failed(500, &[], broken), ProviderError::Retry { .. }));
}

#[test]
fn too_often_is_tried_again_and_unpaid_is_not() {
    let often = json!({"type": "requests", "code": "rate_limit_exceeded"});
    let ProviderError::Retry { after, cost_micros, reason } =
        failed(429, &[("retry-after", "20")], often.clone())
    else {
        panic!("it is tried again");
    };
    assert_eq!((after, cost_micros), (Some(Duration::from_secs(20)), Some(0)));
    assert!(reason.contains("429 rate_limit_exceeded"), "{reason}");
    let silent = failed(429, &[], often);
    assert!(matches!(silent, ProviderError::Retry { after: None, cost_micros: Some(0), .. }));
    for unpaid in [json!({"type": "insufficient_quota"}), json!({"code": "insufficient_quota"})] {
        let ProviderError::Broken { reason, .. } = failed(429, &[("retry-after", "1")], unpaid)
        else {
            panic!("it is not tried again");
        };
        assert!(reason.contains("no money"), "{reason}");
    }
}

#[test]
fn a_limit_that_was_not_hit_makes_nobody_wait() {
    let limits = [("x-ratelimit-remaining-tokens", "900"), ("x-ratelimit-reset-tokens", "6m0s")];
    let after = |status| match failed(status, &limits, json!({"type": "server_error"})) {
        ProviderError::Retry { after, .. } => after,
        other => panic!("{other:?}"),
    };
    assert_eq!((after(500), after(429)), (None, Some(Duration::from_secs(360))));
}

#[test]
fn passing_trouble_is_told_from_what_stays_wrong() {
    for status in [408, 409, 429, 500, 502, 503, 504, 529] {
        assert!(matches!(failed(status, &[], json!({})), ProviderError::Retry { .. }), "{status}");
    }
    for status in [201, 204, 301, 307, 400, 401, 403, 404, 405, 413, 422] {
        assert!(matches!(failed(status, &[], json!({})), ProviderError::Broken { .. }), "{status}");
    }
    let no = failed(503, &[("x-should-retry", "false")], json!({}));
    assert!(matches!(no, ProviderError::Broken { .. }));
    let yes = failed(404, &[("x-should-retry", "true"), ("retry-after", "2")], json!({}));
    assert!(matches!(yes, ProviderError::Retry { after: Some(_), .. }));
}

#[test]
fn what_a_failure_cost_is_known_when_openai_itself_said_so() {
    let said = failed(500, &[], json!({"type": "server_error"}));
    assert!(matches!(said, ProviderError::Retry { cost_micros: Some(0), .. }));
    let gateway = answer(504, &[("content-type", "text/html")], "<html>gateway</html>");
    let between = success(gateway, Utc::now()).expect_err("a failure");
    assert!(matches!(between, ProviderError::Retry { cost_micros: None, .. }));
}

#[test]
fn no_text_of_an_error_is_passed_on() {
    let key = "sk-proj-abcdefghijklmnop";
    let message = format!("Incorrect API key provided: {key}");
    for error in [
        json!({"message": message, "type": "invalid_request_error", "code": "invalid_api_key"}),
        json!({"message": message, "type": message, "code": key, "param": key}),
        json!({"code": {"deep": key}, "type": [key]}),
        json!(key),
    ] {
        for status in [400, 401, 404, 429, 500] {
            let error = failed(status, &[], error.clone());
            assert!(!format!("{error} {error:?}").contains("sk-"), "{error:?}");
        }
    }
}

#[test]
fn a_picture_costs_what_its_tokens_do_or_what_was_set_aside() {
    let usage = json!({"input_tokens": 50, "output_tokens": 1_056, "total_tokens": 1_106});
    let counted = drawn(json!({"created": 1, "data": pixel(), "usage": usage}));
    assert_eq!(counted.expect("a picture"), (PIXEL.to_vec(), 500 + 42_240));
    for usage in [Value::Null, json!({"input_tokens": -5, "output_tokens": 1})] {
        let (_, cost) = drawn(json!({"data": pixel(), "usage": usage})).expect("a picture");
        assert_eq!(cost, Settings::default().picture_micros_max());
    }
}

#[test]
fn an_answer_without_a_picture_is_broken_and_was_paid_for_as_far_as_is_known() {
    let usage = json!({"input_tokens": 50, "output_tokens": 1_056});
    let svg = STANDARD.encode("<svg xmlns='http://www.w3.org/2000/svg'/>");
    for data in [
        json!([]),
        json!([{}]),
        json!([{"url": "https://pictures.example/1.png"}]),
        json!([{"b64_json": "no base64!"}]),
        json!([{"b64_json": svg}]),
        json!([{"b64_json": STANDARD.encode(PIXEL)}, {"b64_json": STANDARD.encode(PIXEL)}]),
    ] {
        let error = drawn(json!({"data": data, "usage": usage})).expect_err("no picture");
        let ProviderError::Broken { cost_micros, .. } = error else { panic!("{error:?}") };
        assert_eq!(cost_micros, Some(42_740));
    }
    for garbage in [json!({}), json!([]), json!("ok"), json!({"data": "x"}), Value::Null] {
        let error = drawn(garbage).expect_err("garbage");
        assert!(matches!(error, ProviderError::Broken { cost_micros: None, .. }), "{error:?}");
    }
}

#[test]
fn moderation_lets_pass_only_what_it_clearly_lets_pass() {
    let judged = |body: Value| moderation(&answer(200, &[], body.to_string()));
    judged(json!({"id": "m", "results": [{"flagged": false, "categories": {"hate": false}}]}))
        .expect("it passes");
    let flagged = judged(json!({"results": [
        {"flagged": false},
        {"flagged": true, "categories": {"hate": false, "violence/graphic": true, "Lies!": true}},
    ]}));
    let Err(ProviderError::Refused { code, reason }) = flagged else { panic!("{flagged:?}") };
    assert_eq!(code, "moderation_flagged");
    assert!(reason.ends_with(": violence/graphic"), "{reason}");
    for unclear in [json!({}), json!({"results": []}), json!({"results": [{}]}), json!("ok")] {
        let error = judged(unclear).expect_err("fails closed");
        assert!(matches!(error, ProviderError::Broken { cost_micros: Some(0), .. }));
    }
}

#[test]
fn silence_is_tried_again_and_too_much_is_not() {
    let cut = || Unanswered::Cut { reason: "gone".to_owned() };
    let none = || Unanswered::NotConnected { reason: "refused".to_owned() };
    let large = Unanswered::TooLarge { bytes_max: 5 };
    let cost = |error| match error {
        ProviderError::Retry { after: None, cost_micros, .. } => cost_micros,
        other => panic!("{other:?}"),
    };
    assert_eq!(cost(unanswered(cut())), None);
    assert_eq!(cost(unspent(unanswered(cut()))), Some(0));
    assert_eq!(cost(unanswered(none())), Some(0));
    let large = unanswered(large);
    assert!(matches!(large, ProviderError::Broken { cost_micros: None, .. }));
}
