//! Nobody pays or asks in vain without a word: what is ready-made is shown, and what comes to nothing is told.

use domain::alerting::Kind;
use domain::generation::Command;
use journal::Decision;
use projections::Page;
use projections::alerts::{self, Alert};
use serde_json::json;

use super::{
    GHOST, VIEWER, audited, cheer_saying, comes_to, fail, funded, points, refuse, run, submit,
    to_request,
};
use crate::world::{World, cheer, to_account};

/// The alerts of these kinds, oldest first.
async fn shown(world: &World, kinds: &[Kind]) -> Vec<Alert> {
    world.caught_up().await;
    let shown = alerts::list(&world.pool, Page::of(100), kinds).await.expect("an answer");
    shown.alerts.into_iter().rev().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_alert_is_paid_for_and_shown_without_anybody_making_it() {
    let world = World::start().await;
    let parts = run(&world).await;
    let asker = world.asker().await;
    let asks = cheer_saying(VIEWER, "asks", 350, "Cheer350 tracking error");
    for _ in 0..10 {
        asker.ask(asks.clone()).await;
    }
    comes_to(&world, "settled", 1).await;
    assert_eq!(points(&world, VIEWER).await, (50, 0, 300));
    let shown = shown(&world, &[Kind::Cheer, Kind::Static, Kind::Notice]).await;
    let kinds: Vec<&str> = shown.iter().map(|alert| alert.kind.as_str()).collect();
    assert_eq!(kinds, ["cheer", "static"]);
    assert_eq!(shown[1].data, json!({"id": "tracking-error", "message": "tracking error"}));
    assert_eq!(shown[1].viewer.as_ref().map(|viewer| viewer.id.as_str()), Some(VIEWER));
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn w24_every_request_that_comes_to_nothing_is_told_once() {
    let world = World::start().await;
    let parts = run(&world).await;
    let asker = world.asker().await;
    // Said unclearly, and worth too little: the bits are credited, and the viewer is told.
    asker.ask(cheer_saying("6001", "unclear", 200, "!ghost Cheer200")).await;
    comes_to(&world, "turned_down", 1).await;
    asker.ask(cheer_saying("6002", "little", 100, "Cheer100 ghost of a toaster")).await;
    comes_to(&world, "turned_down", 2).await;
    // Too few points, though it was understood.
    asker.ask(cheer("6003", "few", 199)).await;
    asker.ask(submit("6003", "dear").1).await;
    comes_to(&world, "declined", 1).await;
    let refused = funded(&world, &asker, "6004", "refused").await;
    asker.ask(refuse(refused, "no")).await;
    comes_to(&world, "settled", 1).await;
    let failed = funded(&world, &asker, "6005", "failed").await;
    asker.ask(fail(failed, "broken")).await;
    comes_to(&world, "settled", 2).await;
    let cancelled = funded(&world, &asker, "6006", "cancelled").await;
    let (entry, actor) = (domain::entry_id("test", "x"), "mod_jane".to_owned());
    let cancel = Command::Cancel { entry, actor, reason: "not tonight".to_owned() };
    asker.ask(to_request(cancelled, "x", &cancel)).await;
    comes_to(&world, "settled", 3).await;
    let late = funded(&world, &asker, "6007", "late").await;
    let (entry, reason) = (domain::entry_id("test", "time"), "its time was over".to_owned());
    let release = domain::account::Command::Release { entry, hold: late, reason };
    let released = asker.ask(to_account("6007", "time", release)).await;
    assert_eq!(released.decision, Decision::Accepted);
    comes_to(&world, "settled", 4).await;
    // And one that comes to something, up to where it is made.
    asker.ask(cheer_saying(VIEWER, "good", 200, GHOST)).await;
    comes_to(&world, "funded", 5).await;

    let told: Vec<(String, String)> = shown(&world, &[Kind::Notice])
        .await
        .into_iter()
        .map(|alert| {
            let reason = alert.data["reason"].as_str().expect("a reason").to_owned();
            assert!(!alert.data["words"].as_str().expect("words").is_empty());
            (alert.viewer.expect("a viewer").id, reason)
        })
        .collect();
    let expected = [
        ("6001", "unclear"),
        ("6002", "unclear"),
        ("6003", "too_few_points"),
        ("6004", "refused"),
        ("6005", "failed"),
        ("6006", "cancelled"),
        ("6007", "expired"),
    ];
    assert_eq!(told, expected.map(|(viewer, reason)| (viewer.to_owned(), reason.to_owned())));
    // A cheer stays one, whatever became of its request.
    assert!(shown(&world, &[Kind::Cheer]).await.len() >= 3);
    audited(&world).await;
    parts.stop().await;
}
