//! Pictures whose store is down when they are drawn.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use gateways::outgoing::Secret;
use gateways::pictures::bucket::{Bucket, Settings};
use gateways::pictures::name_of;

use super::*;
use crate::fakes::s3::{self, S3};

/// What a store says that will say the same however soon it is asked again.
const CLOSED: StatusCode = StatusCode::FORBIDDEN;

fn pictures(fake: &S3, spool: &Path) -> Pictures {
    let settings = Settings {
        name: s3::BUCKET.to_owned(),
        endpoint: fake.endpoint().try_into().expect("an address"),
        region: s3::REGION.to_owned(),
        access_key: s3::ACCESS_KEY.to_owned(),
        secret_key: Secret::new(s3::SECRET_KEY),
        ..Settings::default()
    };
    Pictures::in_bucket(Bucket::new(&settings).expect("good settings"), spool)
}

fn spool(scene: &Scene, host: &str) -> PathBuf {
    scene.world.servers.data.join(format!("spool-of-{host}"))
}

/// A worker as a process on `host` would have it.
async fn on_host(scene: &Scene, studio: &Arc<Studio>, fake: &S3, host: &str) -> Worker {
    let worker = scene.worker(studio.clone(), options()).await;
    Worker { pictures: pictures(fake, &spool(scene, host)), ..worker }
}

async fn rests_until(worker: &Worker) -> DateTime<Utc> {
    let Standing::AskedToWait { until } = waits(worker).await else { panic!("nobody rests") };
    until
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_paid_for_once_however_long_its_store_is_down() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let (fake, studio) = (S3::start().await, Studio::at_a_cost(40, []));
    fake.troubles([CLOSED; 3]);
    let mut waited = TimeDelta::zero();
    // Each is another process on the same host.
    for _ in 0..3 {
        let worker = on_host(&scene, &studio, &fake, "one").await;
        assert_eq!(turn(&worker).await, request);
        let until = rests_until(&worker).await;
        assert!(until - scene.now() > waited, "longer each time");
        waited = until - scene.now();
        scene.pass(waited.num_seconds() + 31);
    }
    let one = scene.one(request).await.generation;
    assert_eq!((one.stage.as_str(), one.attempts), ("funded", 0), "its points are held");

    let worker = on_host(&scene, &studio, &fake, "one").await;
    assert_eq!(turn(&worker).await, request);
    assert_eq!(scene.stage(request).await, "completed");
    assert_eq!(studio.orders().len(), 1, "it was drawn once");
    let spent = scene.world.count("SELECT sum(cost_micros)::bigint FROM generation_makings").await;
    assert_eq!(spent, 40, "and paid for once");
    assert_eq!(scene.state(&options().limits, 40).await.standing, Standing::Open, "all go on");
    assert!(worker.pictures.get(&name_of(PIXEL)).await.expect("readable").is_some());
    let left = spool(&scene, "one").join(&name_of(PIXEL)[..2]);
    assert_eq!(left.read_dir().expect("the folder").count(), 0, "nothing waits here any more");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_draws_once_more_at_most_and_not_while_nobody_knows() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let (fake, studio) = (S3::start().await, Studio::new([]));
    let (one, other) = (
        on_host(&scene, &studio, &fake, "one").await,
        on_host(&scene, &studio, &fake, "other").await,
    );
    fake.troubles([CLOSED; 2]);
    for worker in [&one, &other] {
        turn(worker).await;
        scene.pass(60);
    }
    assert_eq!(studio.orders().len(), 1, "the store may have it, and does not say");
    turn(&other).await;
    assert_eq!(studio.orders().len(), 2, "it has not, and the one that was drawn is elsewhere");
    assert_eq!(scene.stage(request).await, "completed");
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_can_be_kept_nowhere_is_paid_for_once_and_the_points_go_back() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let studio = Studio::at_a_cost(40, []);
    let file = scene.world.servers.data.join("no-folder");
    std::fs::write(&file, "a file").expect("written");
    let worker = scene.worker(studio.clone(), options()).await;
    let worker = Worker { pictures: Pictures::in_folder(&file), ..worker };
    turn(&worker).await;
    let one = scene.one(request).await.generation;
    assert_eq!((one.stage.as_str(), studio.orders().len()), ("failed", 1));
    assert!(one.reason.expect("a reason").contains("no-folder"));
    scene.pass(86_400);
    assert!(is_idle(&worker).await);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_waited_for_its_store_waits_for_its_review_too() {
    let (scene, parts) = Scene::start().await;
    let request = scene.funded("toaster").await;
    let (fake, studio) = (S3::start().await, Studio::at_a_cost(40, []));
    fake.troubles([CLOSED]);
    let reviewed = async || {
        let worker = on_host(&scene, &studio, &fake, "one").await;
        Worker { options: Options { review: true, ..options() }, ..worker }
    };
    // It is drawn and noted, and its store is away; another process goes on.
    let worker = reviewed().await;
    turn(&worker).await;
    let until = rests_until(&worker).await;
    scene.pass((until - scene.now()).num_seconds() + 31);
    drop(worker);
    turn(&reviewed().await).await;
    assert_eq!((scene.stage(request).await.as_str(), studio.orders().len()), ("presented", 1));
    assert_eq!(scene.count(request, "completed").await, 0, "nobody has approved of it");
    parts.stop().await;
}
