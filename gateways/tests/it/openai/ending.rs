//! How each answer ends.

use chrono::SubsecRound;
use tiny_skia::Pixmap;

use super::*;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn words_are_judged_and_then_drawn_and_the_background_is_cut_out() {
    let fake = fake::OpenAi::start().await.expect("a fake");
    let made = made(&provider(&fake, LONG), &friend()).await.expect("a picture");
    assert_eq!((made.media_type.as_str(), made.cost_micros), ("image/png", COST));
    assert!(made.name.is_some_and(|name| name.len() > 2));
    let picture = Pixmap::decode_png(&made.bytes).expect("a PNG");
    assert_eq!(picture.pixel(0, 0).expect("a corner").alpha(), 0, "it is cut out");
    assert_eq!(picture.pixel(128, 128).expect("the middle").alpha(), 255);

    let (judged, drawn) = (fake.calls("moderations"), fake.calls("images"));
    assert_eq!((judged.len(), drawn.len()), (1, 1));
    assert_eq!(judged[0].body["input"], "a heron");
    let (body, headers) = (&drawn[0].body, &drawn[0].headers);
    let prompt = body["prompt"].as_str().expect("a prompt");
    assert!(prompt.contains("\"a heron\"") && prompt.contains(&made.background), "{prompt}");
    assert_eq!(headers["idempotency-key"], Uuid::from_u128(8).to_string());
    assert_eq!(headers["x-client-request-id"], headers["idempotency-key"]);
    // One viewer can be told from another, and is not named.
    let identifier = body["safety_identifier"].as_str().expect("an identifier");
    assert!(identifier.len() == 64 && !identifier.contains("5001"));
}

#[tokio::test]
async fn whatever_comes_has_a_kind_a_cost_and_an_end() {
    let fake = fake::OpenAi::start().await.expect("a fake");
    let hasty = provider(&fake, Duration::from_secs(4));
    let patient = provider(&fake, LONG);
    let tall = || {
        let mut png = include_bytes!("../../data/pixel.png").to_vec();
        png[20..24].copy_from_slice(&4_000_u32.to_be_bytes());
        png[16..20].copy_from_slice(&4_000_u32.to_be_bytes());
        Deed::Give(png)
    };
    let svg = || Deed::Give(b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec());
    // What it does, whether it is tried again, and what it cost.
    let cases = [
        (Deed::Fail(500), true, Some(0), "trouble (500 server_error)"),
        (Deed::Fail(503), true, Some(0), "trouble (503"),
        (Deed::Busy(vec![]), true, Some(0), "too often (429 rate_limit_exceeded)"),
        (Deed::Page(502), true, None, "trouble (502)"),
        (Deed::Cut, true, None, "the connection broke"),
        (Deed::Hang, true, None, "did not answer within"),
        (Deed::Unpaid, false, Some(0), "no money left"),
        (Deed::Fail(401), false, Some(0), "with this key"),
        (Deed::Fail(403), false, Some(0), "with this key"),
        (Deed::Fail(404), false, Some(0), "does not take"),
        (Deed::Page(200), false, None, "not what its API promises"),
        (Deed::Nonsense, false, None, "not what its API promises"),
        (Deed::Torn, false, None, "not what its API promises"),
        (Deed::Endless, false, None, "more than"),
        (svg(), false, Some(COST), "neither PNG nor JPEG"),
        (tall(), false, Some(COST), "pixels"),
        (Deed::Give(Vec::new()), false, Some(COST), "cannot be shown"),
    ];
    for (deed, again, cost, words) in cases {
        let said = format!("{deed:?}");
        let who = if matches!(deed, Deed::Hang) { &hasty } else { &patient };
        fake.draws([deed]);
        match made(who, &friend()).await.expect_err(&said) {
            ProviderError::Retry { cost_micros, reason, after: None } => {
                assert_eq!((again, cost), (true, cost_micros), "{said}: {reason}");
                assert!(reason.contains(words), "{said}: {reason}");
            }
            ProviderError::Broken { cost_micros, reason } => {
                assert_eq!((again, cost), (false, cost_micros), "{said}: {reason}");
                assert!(reason.contains(words), "{said}: {reason}");
            }
            other => panic!("{said}: {other:?}"),
        }
    }
    let taken = fake.bytes_taken();
    assert!(taken < 64 << 20, "{taken} bytes were taken of what never ends");
}

#[tokio::test]
async fn without_a_clear_judgement_nothing_is_drawn_and_nothing_spent() {
    let fake = fake::OpenAi::start().await.expect("a fake");
    let (hasty, patient) = (provider(&fake, Duration::from_secs(4)), provider(&fake, LONG));
    let deeds = [
        (Deed::Fail(500), true),
        (Deed::Busy(vec![]), true),
        (Deed::Page(502), true),
        (Deed::Cut, true),
        (Deed::Hang, true),
        (Deed::Nonsense, false),
        (Deed::Page(200), false),
        (Deed::Endless, false),
        (Deed::Fail(401), false),
    ];
    for (deed, again) in deeds {
        let said = format!("{deed:?}");
        let who = if matches!(deed, Deed::Hang) { &hasty } else { &patient };
        fake.judges([deed]);
        let (retried, cost) = match made(who, &friend()).await.expect_err(&said) {
            ProviderError::Retry { cost_micros, .. } => (true, cost_micros),
            ProviderError::Broken { cost_micros, .. } => (false, cost_micros),
            ProviderError::Refused { .. } => panic!("{said} is no refusal"),
        };
        assert_eq!((retried, cost), (again, Some(0)), "{said}");
    }
    assert_eq!(fake.drawn(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn points_become_a_picture_that_was_paid_for() {
    let (studio, parts) = Studio::start().await;
    studio.funded("5001").await;
    let one = studio.turn().await.generation;
    assert_eq!((one.stage.as_str(), one.cost_micros), ("completed", COST));
    comes_to(&studio.world, "settled", 1).await;
    assert_eq!(points(&studio.world, "5001").await, (0, 0, 200), "captured");
    assert_eq!(studio.spent().await, COST, "what was set aside beyond it is free again");
    redemption::audited(&studio.world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_once_and_the_points_go_back() {
    let (studio, parts) = Studio::start().await;
    let cases = [
        ("6001", vec![Deed::Flagged], vec![], "moderation_flagged", 0),
        ("6002", vec![], vec![Deed::Blocked], "moderation_blocked", 1),
        ("6003", vec![], vec![Deed::Policy], "content_policy_violation", 2),
    ];
    for (n, (viewer, judged, drawn, code, asked)) in (1..).zip(cases) {
        studio.funded(viewer).await;
        studio.fake.judges(judged);
        studio.fake.draws(drawn);
        let one = studio.turn().await.generation;
        assert_eq!((one.stage.as_str(), one.code.as_deref()), ("refused", Some(code)));
        assert!(one.reason.is_some_and(|reason| reason.len() > 10), "the viewer is told why");
        comes_to(&studio.world, "settled", n).await;
        assert_eq!(points(&studio.world, viewer).await, (200, 0, 0), "{code}: released");
        assert_eq!(studio.fake.drawn(), asked, "{code}");
        studio.pass(86_400);
        assert!(is_idle(&studio.worker).await, "{code} is never tried again");
    }
    assert_eq!(studio.spent().await, 0);
    redemption::audited(&studio.world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_request_and_the_points_go_back() {
    let (studio, parts) = Studio::start().await;
    for (n, deed) in (1..).zip([Deed::Nonsense, Deed::Endless, Deed::Page(200)]) {
        let (viewer, said) = (format!("600{n}"), format!("{deed:?}"));
        studio.funded(&viewer).await;
        studio.fake.draws([deed]);
        let one = studio.turn().await.generation;
        assert_eq!(one.stage, "failed", "{said}");
        assert!(one.reason.is_some_and(|reason| reason.contains("answer")), "{said}");
        comes_to(&studio.world, "settled", n).await;
        assert_eq!(points(&studio.world, &viewer).await, (200, 0, 0), "{said}");
        studio.pass(3_600);
    }
    assert_eq!(studio.fake.drawn(), 3, "none was tried again");
    redemption::audited(&studio.world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_busy_is_asked_again_when_it_says_and_a_bounded_number_of_times() {
    let (studio, parts) = Studio::start().await;
    studio.funded("5001").await;
    studio.funded("5002").await; // in line behind it
    studio.fake.draws([
        Deed::Busy(vec![("retry-after", "20"), ("x-ratelimit-reset-requests", "6m0s")]),
        Deed::Busy(vec![
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1m30s"),
            ("x-ratelimit-remaining-tokens", "900"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]),
        Deed::Fail(500),
    ]);
    for seconds in [20, 90] {
        let asked_at = studio.now().trunc_subsecs(6); // as PostgreSQL keeps it
        let one = studio.turn().await.generation;
        let wait = one.retry_at.expect("a time") - asked_at;
        assert_eq!(wait.num_seconds(), seconds);
        studio.pass(seconds - 1);
        let drawn = studio.fake.drawn();
        assert!(waits(&studio.worker).await.until().is_some(), "everybody waits");
        assert_eq!(studio.fake.drawn(), drawn);
        studio.pass(2);
    }
    let one = studio.turn().await;
    assert_eq!((one.generation.stage.as_str(), one.attempts.len()), ("failed", 2));
    let reason = one.generation.reason.expect("a reason");
    assert!(reason.contains("after 3 attempts") && reason.contains("500"), "{reason}");
    comes_to(&studio.world, "settled", 1).await;
    assert_eq!(points(&studio.world, "5001").await, (200, 0, 0));
    let keys = studio.fake.calls("images");
    let keys: Vec<_> = keys.iter().map(|call| call.headers["idempotency-key"].clone()).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2], "another attempt is another order");
    assert_eq!(studio.spent().await, 0);
    redemption::audited(&studio.world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_or_breaks_off_is_left_and_asked_again() {
    let hasty = Options { time_limit: Duration::from_secs(10), ..options() };
    let (studio, parts) = Studio::with(hasty, |_| {}).await;
    studio.funded("5001").await;
    studio.fake.draws([Deed::Hang, Deed::Cut]);
    for said in ["did not answer", "broke"] {
        let one = studio.turn().await;
        assert_eq!(one.generation.stage, "funded", "the points are still held");
        let reason = &one.attempts.last().expect("an attempt").reason;
        assert!(reason.contains(said), "{reason}");
        studio.pass(3_600);
    }
    assert_eq!(studio.turn().await.generation.stage, "completed");
    comes_to(&studio.world, "settled", 1).await;
    assert_eq!(points(&studio.world, "5001").await, (0, 0, 200));
    redemption::audited(&studio.world).await;
    parts.stop().await;
}
