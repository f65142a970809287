//! What people do while it plays.

use gateways::http::keys::Scope;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::page::Page;
use super::{
    OVERLAY, audited, cheers, comes_to, direct, directed, one, row, serving, serving_with,
};
use crate::world::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_paused_skipped_resumed_cleared_and_what_is_over_is_replayed() {
    let serving = serving_with(|config| {
        config.stage.seconds.insert("cheer".to_owned(), 20.0);
    })
    .await;
    let world = &serving.world;
    let (key, admin) = (serving.key(&OVERLAY).await, serving.key(&[Scope::Admin]).await);
    let mut page = Page::open(serving.listen, &key, "").await;
    directed(&serving, &admin, "pause", json!({})).await;
    page.until("it is paused", |state| state["paused"] == true).await;
    let alerts = cheers(world, "c", 1..6).await;
    page.until("five wait", |state| state["waiting"] == 5).await;
    let (status, refused) = direct(&serving, &admin, "skip", json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("not_playing")));

    // The last comes first, and then the one before it.
    directed(&serving, &admin, "prioritise", one(alerts[4])).await;
    directed(&serving, &admin, "prioritise", one(alerts[3])).await;
    page.until("the fourth is next", |state| state["next"]["id"] == json!(alerts[3])).await;
    assert_eq!(page.state["playing"], Value::Null, "nothing plays while it is paused");
    directed(&serving, &admin, "resume", json!({})).await;
    assert_eq!(page.shows(alerts[3]).await, 1);
    comes_to(world, alerts[3], "shown").await;

    // It would go on for 20 s.
    let (status, refused) = direct(&serving, &admin, "skip", one(alerts[0])).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("not_playing")));
    directed(&serving, &admin, "skip", json!({})).await;
    page.told(alerts[4]).await;
    comes_to(world, alerts[3], "skipped").await;
    directed(&serving, &admin, "pause", json!({})).await;
    directed(&serving, &admin, "skip", one(alerts[4])).await;
    comes_to(world, alerts[4], "skipped").await;

    // The answer may be lost, and then it is asked again.
    for _ in 0..2 {
        let (status, answer) =
            serving.post(&admin, "/stages/main/clear", "clear", one(alerts[1])).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        comes_to(world, alerts[1], "cleared").await;
    }
    let (status, refused) = direct(&serving, &admin, "clear", one(alerts[1])).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("wrong_state")));
    directed(&serving, &admin, "clear", json!({})).await;
    page.until("nothing waits", |state| state["waiting"] == 0).await;
    let after = cheers(world, "after", 9..10).await;
    page.until("what came later waits", |state| state["waiting"] == 1).await;

    directed(&serving, &admin, "replay", one(alerts[3])).await;
    comes_to(world, alerts[3], "waiting").await;
    let (status, _) = direct(&serving, &admin, "replay", one(alerts[3])).await;
    assert_eq!(status, StatusCode::CONFLICT, "it waits already");
    page.until("both wait", |state| state["waiting"] == 2).await;
    directed(&serving, &admin, "resume", json!({})).await;
    page.shows(after[0]).await;
    comes_to(world, after[0], "shown").await;
    directed(&serving, &admin, "skip", json!({})).await;
    assert_eq!(page.shows(alerts[3]).await, 2, "another attempt, with another number");
    comes_to(world, alerts[3], "shown").await;

    let (_, list) = serving.get(&admin, "/stages/main/alerts?state=cleared").await;
    let cleared: Vec<&Value> =
        list["alerts"].as_array().expect("a list").iter().map(|row| &row["alert"]["id"]).collect();
    assert_eq!(cleared, [&json!(alerts[2]), &json!(alerts[1]), &json!(alerts[0])]);
    assert_eq!(list["alerts"][0]["actor"], "tester");
    let (_, page_of) = serving.get(&admin, "/stages/main/alerts?limit=2").await;
    let before = page_of["before"].as_i64().expect("more");
    let (_, rest) =
        serving.get(&admin, &format!("/stages/main/alerts?limit=10&before={before}")).await;
    assert_eq!((rest["alerts"].as_array().map(Vec::len), &rest["before"]), (Some(4), &Value::Null));
    audited(world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sounds_are_muted_and_a_repeated_wish_is_one() {
    let serving = serving().await;
    let (key, admin) = (serving.key(&OVERLAY).await, serving.key(&[Scope::Admin]).await);
    let mut page = Page::open(serving.listen, &key, "").await;
    directed(&serving, &admin, "mute", json!({"what": "speech"})).await;
    let muted = page.until("it is muted", |state| state["muted"]["speech"] == true).await;
    assert_eq!(muted["muted"]["sound"], false);
    let before = muted["revision"].as_i64();
    directed(&serving, &admin, "unmute", json!({"what": "speech"})).await;
    let again = page.until("it is not", |state| state["muted"]["speech"] == false).await;
    assert!(again["revision"].as_i64() > before, "only forward");
    for status in [StatusCode::CREATED, StatusCode::CREATED] {
        let (answered, _) =
            serving.post(&admin, "/stages/main/mute", "once", json!({"what": "sound"})).await;
        assert_eq!(answered, status);
    }
    let (status, _) =
        serving.post(&admin, "/stages/main/mute", "once", json!({"what": "speech"})).await;
    assert_eq!(status, StatusCode::CONFLICT, "the key was used for something else");
    let (status, _) = direct(&serving, &admin, "mute", json!({"what": "sound"})).await;
    assert_eq!(status, StatusCode::OK, "nothing had to happen");
    let (status, _) = direct(&serving, &admin, "mute", json!({"what": "everything"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let events = "SELECT count(*) FROM events WHERE event_type = 'muted'";
    assert_eq!(serving.world.count(events).await, 2);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_every_type_takes_the_whole_way_and_moves_no_points() {
    let serving = serving().await;
    let (key, admin) = (serving.key(&OVERLAY).await, serving.key(&[Scope::Admin]).await);
    let mut page = Page::open(serving.listen, &key, "").await;
    for kind in domain::alerting::Kind::ALL {
        directed(&serving, &admin, "test", json!({"type": kind.name()})).await;
        let is = |state: &Value| {
            state["playing"]["alert"]["type"] == kind.name() && state["playing"]["shown"] == false
        };
        let told = page.until(kind.name(), is).await;
        let alert = &told["playing"]["alert"];
        assert_eq!(alert["data"]["test"], true);
        if let Some(picture) = alert["data"]["picture"].as_str() {
            let (url, client) = (serving.url(&format!("/pictures/{picture}")), &serving.client);
            let shown = client.get(url).send().await.expect("an answer");
            assert_eq!(shown.status(), StatusCode::OK, "{}", kind.name());
        }
        let alert = alert["id"].as_str().expect("an id").parse().expect("an id");
        page.paint(alert, 1).await;
        comes_to(&serving.world, alert, "shown").await;
    }
    let (status, refused) =
        direct(&serving, &admin, "test", json!({"type": "cheer", "data": {"bit": 1}})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused["error"]["message"].as_str().is_some_and(|words| words.contains("bits")));
    let (_, shown) = serving.get(&admin, "/alerts?limit=1").await;
    assert_eq!(shown["alerts"][0]["data"]["test"], true, "in the list of alerts as well");
    audited(&serving.world).await;
    let accounts = "SELECT count(*) FROM events WHERE aggregate_type = 'account'";
    assert_eq!(serving.world.count(accounts).await, 0);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_too_long_expires_by_its_type() {
    let serving = serving_with(|config| {
        config.stage.expire_minutes.insert("cheer".to_owned(), 0.005);
        config.stage.expire_minutes.insert("raid".to_owned(), 0.0);
    })
    .await;
    let admin = serving.key(&[Scope::Admin]).await;
    directed(&serving, &admin, "pause", json!({})).await;
    directed(&serving, &admin, "test", json!({"type": "raid"})).await;
    let alerts = cheers(&serving.world, "old", 1..151).await;
    for alert in [alerts[0], alerts[149]] {
        comes_to(&serving.world, alert, "expired").await;
    }
    let count = "SELECT count(*) FROM projections.showings WHERE state =";
    until("all of them", async || serving.world.count(&format!("{count} 'expired'")).await == 150)
        .await;
    assert_eq!(serving.world.count(&format!("{count} 'waiting'")).await, 1, "the raid");
    let expired = "SELECT count(*) FROM events WHERE event_type = 'expired'";
    assert!(serving.world.count(expired).await < 150, "many at once");
    // Somebody may want it all the same; then it has all the time again.
    directed(&serving, &admin, "replay", one(alerts[7])).await;
    assert_eq!(row(&serving.world, alerts[7]).await.expect("a row").1, 0);
    comes_to(&serving.world, alerts[7], "expired").await;
    audited(&serving.world).await;
    serving.stop().await;
}
