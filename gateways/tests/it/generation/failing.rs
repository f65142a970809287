//! A provider that fails in every way, and what keeps it from being asked too often, too soon or too dearly.

use std::path::Path;

use super::*;
use gateways::pictures::BYTES_MAX;

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_names_a_time_is_asked_again_then_and_not_before() {
    let (scene, parts) = Scene::start().await;
    let first = scene.funded("first").await;
    let second = scene.funded("second").await;
    let studio = Studio::new([retry(Some(20))]);
    let worker = scene.worker(studio.clone(), options()).await;
    let asked_at = scene.now();
    assert_eq!(turn(&worker).await, first);
    let one = scene.one(first).await;
    let wait = TimeDelta::seconds(20);
    assert_eq!(one.generation.retry_at, Some(asked_at + wait));
    assert_eq!((one.attempts.len(), one.attempts[0].reason.as_str()), (1, "429"));
    // The provider meant everybody.
    assert_eq!(waits(&worker).await, Standing::AskedToWait { until: asked_at + wait });
    scene.pass(19);
    assert_eq!(waits(&worker).await, Standing::AskedToWait { until: asked_at + wait });
    scene.pass(1);
    assert_eq!(turn(&worker).await, first, "the one that was submitted first");
    assert_eq!(turn(&worker).await, second);
    let keys = studio.keys();
    assert_ne!(keys[0], keys[1], "another attempt is another order");
    assert_eq!(scene.stage(first).await, "completed");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_bounded_and_wait_longer_each_time() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([retry(None), retry(None), retry(None)]);
    let mut patient = options();
    patient.limits.breaker_failures = 99;
    let worker = scene.worker(studio.clone(), patient).await;
    let mut waited = Vec::new();
    for _ in 0..2 {
        let asked_at = scene.now();
        turn(&worker).await;
        let retry_at = scene.one(request).await.generation.retry_at.expect("a time");
        assert!(is_idle(&worker).await, "it is not due");
        waited.push(retry_at - asked_at);
        scene.pass((retry_at - asked_at).num_seconds() + 1);
    }
    assert!(waited[1] > waited[0], "{waited:?}");
    turn(&worker).await;
    let one = scene.one(request).await;
    assert_eq!((one.generation.stage.as_str(), studio.orders().len()), ("failed", 3));
    assert!(one.generation.reason.expect("a reason").contains("after 3 attempts: 429"));
    scene.pass(86_400);
    assert!(is_idle(&worker).await);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_never_tried_again() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let (code, reason) = ("moderation_blocked".to_owned(), "it says no".to_owned());
    let studio = Studio::at_a_cost(40, [Deed::Say(ProviderError::Refused { code, reason })]);
    let worker = scene.worker(studio.clone(), options()).await;
    turn(&worker).await;
    let one = scene.one(request).await.generation;
    assert_eq!((one.stage.as_str(), one.code.as_deref()), ("refused", Some("moderation_blocked")));
    assert_eq!(one.reason.as_deref(), Some("it says no"));
    scene.pass(86_400);
    assert!(is_idle(&worker).await);
    assert_eq!(studio.orders().len(), 1);
    let spent = scene.world.count("SELECT sum(cost_micros)::bigint FROM generation_makings").await;
    assert_eq!(spent, 0, "a refusal costs nothing");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_picture_ends_the_request_with_a_reason() {
    let (scene, parts) = Scene::start().await;
    let huge = Made { bytes: vec![0x89; BYTES_MAX + 1], ..made(0) };
    let page = Made { bytes: b"<html>502 Bad Gateway</html>".to_vec(), ..made(0) };
    let lying = Made { media_type: "image/svg+xml".to_owned(), ..made(0) };
    let (huge, page, lying) = (Deed::Give(huge), Deed::Give(page), Deed::Give(lying));
    let studio = Studio::new([huge, page, lying, Deed::Panic]);
    let mut patient = options();
    patient.limits.breaker_failures = 99;
    let worker = scene.worker(studio.clone(), patient).await;
    for (name, said) in
        [("huge", "too many"), ("page", "cannot be shown"), ("lying", "type"), ("fire", "panic")]
    {
        let request = scene.funded(name).await;
        turn(&worker).await;
        let one = scene.one(request).await.generation;
        let reason = one.reason.expect("a reason");
        assert_eq!(one.stage, "failed", "{name}");
        assert!(reason.contains(said), "{name}: {reason}");
    }
    assert!(!Path::new(&worker.pictures.place()).exists(), "nothing of it was kept");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_left_at_the_time_limit() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([Deed::Wait]);
    let hasty = Options { time_limit: Duration::from_millis(50), ..options() };
    let worker = scene.worker(studio.clone(), hasty).await;
    turn(&worker).await;
    let one = scene.one(request).await;
    assert_eq!((one.generation.stage.as_str(), one.generation.attempts), ("funded", 1));
    assert!(one.attempts[0].reason.contains("did not answer"), "{:?}", one.attempts);
    scene.pass(3_600);
    // Whoever has time for it makes it.
    turn(&scene.worker(studio.clone(), options()).await).await;
    assert_eq!(scene.stage(request).await, "completed");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_stops_spending_until_midnight_and_says_so() {
    let (scene, parts) = Scene::start().await;
    for n in 0..4 {
        scene.funded(&format!("r{n}")).await;
    }
    let mut poor = options();
    poor.limits.daily_budget_micros = 100;
    let studio = Studio::at_a_cost(40, []);
    let worker = scene.worker(studio.clone(), poor.clone()).await;
    // Set aside before it is spent: two that run at once do not overdraw it.
    let (one, other) = (lease(&worker).await, lease(&worker).await);
    let Standing::BudgetSpent { until } = waits(&worker).await else { panic!("it is spent") };
    worker.work(&one).await.expect("worked off");
    worker.work(&other).await.expect("worked off");
    let state = scene.state(&poor.limits, 40).await;
    assert_eq!((state.spent_micros, state.budget_micros, state.in_hand), (80, 100, 0));
    assert_eq!(state.standing, Standing::BudgetSpent { until });
    // Another process, or the same after a restart, knows of it.
    assert_eq!(waits(&scene.worker(studio.clone(), poor).await).await, state.standing);
    scene.pass((until - scene.now()).num_seconds());
    turn(&worker).await;
    turn(&worker).await;
    assert_eq!(studio.orders().len(), 4);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_opens_after_failures_in_a_row_and_closes_when_one_succeeds() {
    let (scene, parts) = Scene::start().await;
    for n in 0..6 {
        scene.funded(&format!("r{n}")).await;
    }
    let studio = Studio::new([retry(None), retry(None), retry(None), retry(None), Deed::Wait]);
    let worker = scene.worker(studio.clone(), options()).await;
    for _ in 0..3 {
        turn(&worker).await;
    }
    let until = scene.now() + TimeDelta::seconds(30);
    assert_eq!(waits(&worker).await, Standing::BreakerOpen { until });
    scene.pass(29);
    assert_eq!(waits(&worker).await, Standing::BreakerOpen { until });
    scene.pass(1);
    // One is let through, fails, and opens it again.
    turn(&worker).await;
    let until = scene.now() + TimeDelta::seconds(30);
    assert_eq!(waits(&worker).await, Standing::BreakerOpen { until });
    scene.pass(30);
    let trial = lease(&worker).await;
    assert_eq!(waits(&worker).await, Standing::BreakerTrying);
    studio.gate.add_permits(1);
    worker.work(&trial).await.expect("worked off");
    assert_eq!(scene.state(&options().limits, 0).await.standing, Standing::Open);
    let (_one, _other) = (lease(&worker).await, lease(&worker).await);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_made_at_once_or_in_a_minute_than_is_allowed() {
    let (scene, parts) = Scene::start().await;
    for n in 0..5 {
        scene.funded(&format!("r{n}")).await;
    }
    let mut strict = options();
    strict.limits.concurrency = 2;
    strict.limits.per_minute = 3;
    let studio = Studio::new([]);
    let worker = scene.worker(studio.clone(), strict.clone()).await;
    let other = scene.worker(studio.clone(), strict).await;
    let began = scene.now();
    let (one, two) = (lease(&worker).await, lease(&other).await);
    assert_eq!(waits(&worker).await, Standing::Full);
    worker.work(&one).await.expect("worked off");
    other.work(&two).await.expect("worked off");
    scene.pass(10);
    turn(&worker).await;
    let until = began + TimeDelta::seconds(60);
    assert_eq!(waits(&other).await, Standing::RateLimited { until });
    scene.pass(50);
    turn(&other).await;
    turn(&worker).await;
    assert_eq!(studio.orders().len(), 5);
    parts.stop().await;
}
