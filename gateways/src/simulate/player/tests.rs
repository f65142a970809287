use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use bytes::Bytes;

use super::*;
use crate::twitch::signature::{MESSAGE_ID, verify};

/// Somebody who takes webhooks, writes down their ids, and answers as told.
#[derive(Default)]
struct Taker {
    ids: Mutex<Vec<String>>,
    unavailable: AtomicUsize,
    forbidden: bool,
}

fn secret() -> Secret {
    Secret::new("between-twitch-and-us").unwrap()
}

async fn take(State(taker): State<Arc<Taker>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if taker.forbidden || verify(&[secret()], &headers, &body, Utc::now()).is_err() {
        return StatusCode::FORBIDDEN;
    }
    let left = taker
        .unavailable
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    taker.ids.lock().unwrap().push(headers[MESSAGE_ID].to_str().unwrap().to_owned());
    StatusCode::NO_CONTENT
}

async fn listening(taker: Taker) -> (Arc<Taker>, Url) {
    let taker = Arc::new(taker);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/webhooks/twitch", listener.local_addr().unwrap());
    let router = Router::new().route("/webhooks/twitch", post(take)).with_state(taker.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (taker, to.parse().unwrap())
}

fn options(to: Url, duplicates: u32) -> Options {
    Options { to, secret: secret(), pace: Pace::Max, senders: 4, duplicates }
}

#[tokio::test]
async fn a_night_is_posted_once_and_completely() {
    let (taker, to) = listening(Taker::default()).await;
    let night = Arc::new(Night::script(1, 100));
    let seen = AtomicUsize::new(0);
    let progress = |done| seen.store(done, Ordering::SeqCst);
    let report = play(night.clone(), &options(to, 0), progress).await.unwrap();
    assert_eq!((report.requests, report.accepted, report.refused), (100, 100, 0));
    assert!(report.all_accepted() && report.latency(0.99) >= report.latency(0.5));
    assert_eq!(seen.load(Ordering::SeqCst), 100);
    let mut taken = taker.ids.lock().unwrap().clone();
    let mut expected: Vec<_> = night.scenes.iter().map(|scene| scene.message_id.clone()).collect();
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
}

#[tokio::test]
async fn going_off_is_not_overtaken() {
    let (taker, to) = listening(Taker::default()).await;
    let night = Arc::new(Night::script(2, 120));
    play(night.clone(), &options(to, 0), |_| ()).await.unwrap();
    let taken = taker.ids.lock().unwrap();
    for (n, scene) in night.scenes.iter().enumerate() {
        if scene.deed.is_turning_point() {
            assert_eq!(taken[n], scene.message_id, "scene {n}");
        }
    }
}

#[tokio::test]
async fn duplicates_are_posted_under_the_same_id_and_some_under_a_second() {
    let (taker, to) = listening(Taker::default()).await;
    let night = Arc::new(Night::script(3, 100));
    let report = play(night.clone(), &options(to, 3), |_| ()).await.unwrap();
    assert!(report.accepted > 150, "{}", report.accepted);
    let taken = taker.ids.lock().unwrap();
    let second = |scene: &&Scene| {
        scene.second_message_id.as_ref().is_some_and(|second| taken.contains(second))
    };
    assert!(night.scenes.iter().any(|scene| second(&scene)));
    let first = |scene: &Scene| taken.iter().filter(|id| **id == scene.message_id).count();
    assert!(night.scenes.iter().all(|scene| (1..=4).contains(&first(scene))));
}

#[tokio::test]
async fn what_was_not_taken_is_posted_again() {
    let taker = Taker { unavailable: 3.into(), ..Taker::default() };
    let (_, to) = listening(taker).await;
    let report = play(Arc::new(Night::script(4, 20)), &options(to, 0), |_| ()).await.unwrap();
    assert_eq!((report.accepted, report.requests), (20, 23));
}

#[tokio::test]
async fn what_was_refused_is_not_posted_again() {
    let (_, to) = listening(Taker { forbidden: true, ..Taker::default() }).await;
    let report = play(Arc::new(Night::script(4, 20)), &options(to, 0), |_| ()).await.unwrap();
    assert_eq!((report.accepted, report.requests, report.refused), (0, 20, 20));
    assert_eq!(report.first_failure.as_deref(), Some("403 Forbidden was answered"));
    assert_eq!(report.latency(0.5), None);
}
