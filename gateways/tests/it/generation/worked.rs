//! Who makes what, and how often.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::world::until;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_worked_in_the_order_of_submission() {
    let (scene, parts) = Scene::start().await;
    let studio = Studio::new([]);
    let worker = scene.worker(studio.clone(), options()).await;
    let mut submitted = Vec::new();
    for n in 0..5 {
        submitted.push(scene.funded(&format!("r{n}")).await);
    }
    for _ in 0..5 {
        turn(&worker).await;
    }
    assert!(is_idle(&worker).await);
    assert_eq!(studio.orders(), submitted);
    for request in submitted {
        let one = scene.one(request).await.generation;
        let picture = one.picture.expect("a picture");
        assert_eq!((one.stage.as_str(), picture.media_type.as_str()), ("completed", "image/png"));
        let kept = worker.pictures.get(&picture.content).await.expect("readable").expect("there");
        assert_eq!(kept.bytes.as_ref(), PIXEL);
    }
    assert_eq!(scene.world.count("SELECT count(*) FROM generation_leases").await, 0);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_never_make_one_request_twice() {
    let (scene, parts) = Scene::start().await;
    let studio = Studio::new([]);
    let (one, other) = (
        scene.worker(studio.clone(), options()).await,
        scene.worker(studio.clone(), options()).await,
    );
    let stop = CancellationToken::new();
    let running =
        [one, other].map(|worker| tokio::spawn(gateways::generation::run(worker, stop.clone())));
    let mut submitted = Vec::new();
    for n in 0..30 {
        submitted.push(scene.funded(&format!("r{n}")).await);
    }
    let completed = "SELECT count(*) FROM projections.generations WHERE stage = 'completed'";
    until("all are made", async || scene.world.count(completed).await == 30).await;
    stop.cancel();
    for running in running {
        running.await.expect("no panic").expect("a good end");
    }
    let mut orders = studio.orders();
    orders.sort();
    submitted.sort();
    assert_eq!(orders, submitted, "each was ordered once");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_was_made_before_its_worker_died_is_reported_by_the_next_and_not_made_again()
{
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([]);
    let mut first = scene.worker(studio.clone(), options()).await;
    first.publisher = cut_off(&scene).await;
    let leased = lease(&first).await;
    first.work(&leased).await.expect_err("it comes no further than its picture");
    assert_eq!(scene.stage(request).await, "funded");

    let second = scene.worker(studio.clone(), options()).await;
    assert!(is_idle(&second).await, "the lease is not over");
    scene.pass(61);
    assert_eq!(turn(&second).await, request);
    assert_eq!(studio.orders().len(), 1, "it was made once");
    assert_eq!(scene.count(request, "completed").await, 1);
    assert!(is_idle(&second).await);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_whose_attempt_counts_as_failed_is_the_next_attempts_and_not_paid_for_again() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::at_a_cost(40, [Deed::Wait]);
    let worker = scene.worker(studio.clone(), options()).await;
    let leased = lease(&worker).await;
    let slow = worker.clone();
    let working = tokio::spawn(async move { slow.work(&leased).await });
    until("it is ordered", async || studio.orders().len() == 1).await;
    // Who had this attempt before reported a failure, which is decided only now.
    let (entry, reason, retry_at) = (studio.keys()[0], "late".to_owned(), scene.now());
    scene.tell(request, &Command::FailAttempt { entry, attempt: 1, reason, retry_at }).await;
    studio.gate.add_permits(1);
    working.await.expect("no panic").expect("the failure is what is known of this attempt");
    assert_eq!(scene.stage(request).await, "funded");

    assert_eq!(turn(&worker).await, request);
    assert_eq!(studio.orders().len(), 1, "it was made once");
    assert_eq!(scene.stage(request).await, "completed");
    let spent = scene.world.count("SELECT sum(cost_micros)::bigint FROM generation_makings").await;
    assert_eq!(spent, 40, "and paid for once");
    parts.stop().await;
}

/// A publisher whose runtime is gone: what is given to it is never sent.
async fn cut_off(scene: &Scene) -> journal::ingest::Publisher {
    let broker = broker(&scene.world.servers);
    let made = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(journal::ingest::Publisher::start(&broker)).expect("the gateway gets in")
    });
    made.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_while_it_waits_for_the_provider_is_followed_by_another() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([Deed::Wait]);
    let first = scene.worker(studio.clone(), options()).await;
    let leased = lease(&first).await;
    let working = tokio::spawn(async move { first.work(&leased).await });
    until("it is ordered", async || studio.orders().len() == 1).await;
    working.abort();
    let _ = working.await;
    scene.pass(61);
    let second = scene.worker(studio.clone(), options()).await;
    assert_eq!(turn(&second).await, request);
    let keys = studio.keys();
    assert_eq!((keys.len(), keys[0]), (2, keys[1]), "the provider can know it is the same order");
    assert_eq!(scene.count(request, "completed").await, 1);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_comes_back_after_its_lease_changes_nothing() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([Deed::Wait]);
    let slow = scene.worker(studio.clone(), options()).await;
    let leased = lease(&slow).await;
    let working = tokio::spawn(async move { slow.work(&leased).await });
    until("it is ordered", async || studio.orders().len() == 1).await;
    scene.pass(61);
    let quick = scene.worker(studio.clone(), options()).await;
    assert_eq!(turn(&quick).await, request);
    studio.gate.add_permits(1);
    working.await.expect("no panic").expect("its report is the one that is there");
    assert_eq!(scene.count(request, "completed").await, 1);
    assert!(is_idle(&quick).await);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_is_made_is_not_shown_and_not_made_again() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([Deed::Wait]);
    let worker = scene.worker(studio.clone(), options()).await;
    let leased = lease(&worker).await;
    let (entry, actor) = (entry_id("test", "cancel"), "mod".to_owned());
    scene.tell(request, &Command::Cancel { entry, actor, reason: "no".to_owned() }).await;
    studio.gate.add_permits(1);
    worker.work(&leased).await.expect("worked off");
    assert_eq!(scene.stage(request).await, "cancelled");
    assert_eq!(scene.count(request, "completed").await, 0);
    assert!(is_idle(&worker).await);
    assert_eq!(scene.world.count("SELECT count(*) FROM generation_leases").await, 0);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_kills_its_workers_ends() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::new([]);
    let worker = scene.worker(studio.clone(), options()).await;
    for _ in 0..3 {
        assert_eq!(lease(&worker).await.request, request);
        scene.pass(61);
    }
    turn(&worker).await;
    let one = scene.one(request).await.generation;
    assert_eq!((one.stage.as_str(), studio.orders().len()), ("failed", 0));
    assert!(one.reason.expect("a reason").contains("died"));
    parts.stop().await;
}
