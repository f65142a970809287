//! What overlays are told.

use futures::future::join;
use gateways::cli::serve::Role;
use gateways::http::keys::{self, Scope};
use gateways::stage::presence::{self, Arrival, Layer};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite;
use uuid::Uuid;

use super::page::Page;
use super::{OVERLAY, audited, cheers, comes_to, direct, opened, quick, row, serving};
use crate::http::Serving;
use crate::world::{cheer, until};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_without_an_overlay_and_two_start_together() {
    let serving = serving().await;
    let key = serving.key(&OVERLAY).await;
    let waiting = cheers(&serving.world, "early", 100..102).await;
    // Neither one that may only read nor a layer that never stands alone makes anything start.
    let reader = serving.key(&[Scope::FeedRead]).await;
    let mut reader = Page::open(serving.listen, &reader, "").await;
    let mut screen = Page::open(serving.listen, &key, "?layer=screen").await;
    let told = reader.until("two wait", |state| state["waiting"] == 2).await;
    assert_eq!((&told["playing"], &told["paused"]), (&Value::Null, &json!(false)));
    assert_eq!(told["next"]["id"], json!(waiting[0]));
    assert_eq!(told["next"]["data"]["bits"], 100);
    screen.until("two wait", |state| state["waiting"] == 2).await;
    assert_eq!(row(&serving.world, waiting[0]).await.expect("a row").1, 0, "never started");

    let query = format!("?layer=normal&overlay={}", Uuid::new_v4());
    let mut normal = Page::open(serving.listen, &key, &query).await;
    assert_eq!((&normal.hello["type"], &normal.hello["stage"]), (&json!("hello"), &json!("main")));
    assert_eq!(normal.hello["ping_ms"], 10_000);
    let (attempt, _) = join(normal.told(waiting[0]), screen.told(waiting[0])).await;
    assert_eq!(attempt, 1);
    let (here, there) = (&normal.state["playing"], &screen.state["playing"]);
    assert_eq!(here, there, "the same for both");
    let (starts, ends) = (here["starts_ms"].as_i64(), here["ends_ms"].as_i64());
    assert_eq!(ends.expect("a time") - starts.expect("a time"), 400);
    assert_eq!(here["alert"]["type"], "cheer");
    assert!(here["alert"]["data"]["viewer"]["id"] == "5001");
    normal.say(json!({"type": "clock", "sent_ms": 17.5})).await;
    let frame = normal.frame().await.expect("an answer");
    assert_eq!((&frame["type"], &frame["sent_ms"]), (&json!("clock"), &json!(17.5)));
    assert!(
        (frame["server_ms"].as_i64().expect("a time") - starts.expect("a time")).abs() < 60_000
    );

    // Said by both and twice, by who may not, and of what does not play.
    screen.paint(waiting[0], 1).await;
    reader.paint(waiting[0], 1).await;
    normal.paint(Uuid::new_v4(), 1).await;
    normal.paint(waiting[0], 2).await;
    normal.say(json!({"type": "something new"})).await;
    for _ in 0..2 {
        normal.paint(waiting[0], attempt).await;
    }
    comes_to(&serving.world, waiting[0], "shown").await;
    assert_eq!(normal.shows(waiting[1]).await, 1);
    comes_to(&serving.world, waiting[1], "shown").await;
    let gap = "SELECT (extract(epoch FROM max(starts_at) - min(ends_at)) * 1000)::bigint
               FROM projections.showings";
    assert!(serving.world.count(gap).await >= 30, "there is a gap between them");
    audited(&serving.world).await;
    let shown = "SELECT count(*) FROM events WHERE aggregate_type = 'stage' AND event_type =";
    assert_eq!(serving.world.count(&format!("{shown} 'shown'")).await, 2);
    assert_eq!(serving.world.count(&format!("{shown} 'started'")).await, 2);
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_is_told_of_its_types_only_and_what_nobody_shows_holds_up_nothing() {
    let serving = serving().await;
    let (key, admin) = (serving.key(&OVERLAY).await, serving.key(&[Scope::Admin]).await);
    let [cheered] = cheers(&serving.world, "typed", 5..6).await.try_into().expect("one");
    direct(&serving, &admin, "test", json!({"type": "raid", "data": {"viewers": 7}})).await;
    let mut raids = Page::open(serving.listen, &key, "?types=raid,follow").await;
    let is_raid = |state: &Value| state["playing"]["alert"]["type"] == "raid";
    let told = raids.until("the raid plays", is_raid).await;
    assert_eq!(told["next"], Value::Null, "a cheer is not for it");
    let data = &told["playing"]["alert"]["data"];
    assert_eq!((&data["viewers"], &data["test"]), (&json!(7), &json!(true)));
    assert_eq!(data["viewer"]["name"], "A Test");
    assert_eq!(row(&serving.world, cheered).await.expect("a row").0, "waiting");
    let mut all = Page::open(serving.listen, &key, "").await;
    all.until("the cheer comes next", |state| state["next"]["id"] == json!(cheered)).await;
    all.paint(told["playing"]["alert"]["id"].as_str().expect("id").parse().expect("id"), 1).await;
    assert_eq!(all.shows(cheered).await, 1);
    comes_to(&serving.world, cheered, "shown").await;
    let hidden = |state: &Value| state["playing"].is_null() && state["waiting"] == 0;
    raids.until("nothing plays for it", hidden).await;
    let refused = Page::try_open(serving.listen, &key, "?types=raids").await.err();
    assert!(matches!(refused, Some(tungstenite::Error::Http(answer)) if answer.status() == 400));
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_wants_one_of_two_scopes_and_a_stage_that_there_is() {
    let serving = serving().await;
    let status = async |key: &str, path: &str| {
        let (status, _) = serving.get(key, path).await;
        status.as_u16()
    };
    let other = serving.key(&[Scope::StageDirect, Scope::AlertsRead]).await;
    let refused = Page::try_open(serving.listen, &other, "").await.err();
    assert!(matches!(refused, Some(tungstenite::Error::Http(answer)) if answer.status() == 403));
    let refused = Page::try_open(serving.listen, "tdk_0_x", "").await.err();
    assert!(matches!(refused, Some(tungstenite::Error::Http(answer)) if answer.status() == 401));
    for path in ["/stages/other", "/stages/other/alerts"] {
        assert_eq!(status(&other, path).await, 404, "{path}");
    }
    assert_eq!(status(&other, "/stages/main/alerts?state=lost").await, 400);

    let key = serving.key(&OVERLAY).await;
    for query in ["?overlay=not-an-id", "?layer=upside-down", "?color=red"] {
        let refused = Page::try_open(serving.listen, &key, query).await.err();
        let status =
            matches!(refused, Some(tungstenite::Error::Http(answer)) if answer.status() == 400);
        assert!(status, "{query}");
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_and_a_stop_end_a_socket_with_a_word_and_presence_is_seen() {
    let serving = serving().await;
    let admin = serving.key(&[Scope::Admin]).await;
    let (issued, text) = keys::issue(&serving.world.pool, "obs", &OVERLAY).await.expect("a key");
    let overlay = Uuid::new_v4();
    let query = format!("?layer=normal&types=cheer&overlay={overlay}");
    let mut page = Page::open(serving.listen, &text, &query).await;
    page.until("a state", |_| true).await;
    let (_, stage) = serving.get(&admin, "/stages/main").await;
    let seen = &stage["overlays"][0];
    assert_eq!((&seen["overlay"], &seen["layer"]), (&json!(overlay), &json!("normal")));
    assert_eq!(seen["types"], json!(["cheer"]));
    // A new secret ends the old one for those who come and for those who are there, and revoking does.
    let (_, rotated) =
        keys::rotate(&serving.world.pool, issued.id).await.expect("it works").expect("a key");
    assert_ne!(rotated, text);
    until("the old secret is refused", async || {
        Page::try_open(serving.listen, &text, "").await.is_err()
    })
    .await;
    let mut other = Page::open(serving.listen, &rotated, "").await;
    let bye = async |page: &mut Page| loop {
        let frame = page.frame().await.expect("bye comes before the end");
        if frame["type"] == "bye" {
            return frame["reason"].clone();
        }
    };
    assert_eq!(bye(&mut page).await, "revoked", "it came with the old secret");
    keys::revoke(&serving.world.pool, "obs").await.expect("revoked");
    assert_eq!(bye(&mut other).await, "revoked");
    until("nobody is there", async || {
        let (_, stage) = serving.get(&admin, "/stages/main").await;
        stage["overlays"] == json!([])
    })
    .await;
    let key = serving.key(&OVERLAY).await;
    let mut last = Page::open(serving.listen, &key, "").await;
    last.until("a state", |_| true).await;
    let stopping = tokio::spawn(serving.stop());
    let bye = last.frame().await.expect("a word");
    assert_eq!((&bye["type"], &bye["reason"]), (&json!("bye"), &json!("shutdown")));
    stopping.await.expect("a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_from_before_the_stage_is_not_played() {
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| *role != Role::Directing).collect();
    let serving = Serving::with(&roles, quick).await;
    let asker = serving.world.asker().await;
    for n in 1..4 {
        asker.ask(cheer("5001", &format!("old-{n}"), n)).await;
    }
    serving.world.caught_up().await;
    assert_eq!(serving.world.count("SELECT count(*) FROM projections.showings").await, 0);
    let at = chrono::Utc::now();
    asker.ask(gateways::stage::commands::open("main", 0, at).expect("an address")).await;
    opened(&serving.world).await;
    let [new] = cheers(&serving.world, "new", 7..8).await.try_into().expect("one");
    serving.world.caught_up().await;
    assert_eq!(serving.world.count("SELECT count(*) FROM projections.showings").await, 1);
    assert_eq!(row(&serving.world, new).await.expect("a row").0, "waiting");
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlay_that_comes_and_goes_hides_no_other() {
    let world = crate::world::World::start().await;
    let [healthy, flapping, alert] = [(); 3].map(|()| Uuid::new_v4());
    let arrival = |overlay| Arrival {
        connection: Uuid::new_v4(),
        stage: "main".to_owned(),
        overlay,
        layer: Layer::All,
        kinds: Vec::new(),
        process: Uuid::new_v4(),
        key: Uuid::new_v4(),
    };
    presence::arrive(&world.pool, &arrival(healthy)).await.expect("it is there");
    let told = arrival(flapping);
    presence::arrive(&world.pool, &told).await.expect("it is there");
    assert!(presence::sent(&world.pool, told.connection, alert, 1).await.expect("noted"));
    presence::leave(&world.pool, told.connection).await.expect("it is gone");
    sqlx::query(
        "INSERT INTO overlays (connection, stage, overlay, layer, kinds, process, key, gone_at)
         SELECT gen_random_uuid(), 'main', $1, 'all', '{}', $1, $1, clock_timestamp()
         FROM generate_series(1, 2500)",
    )
    .bind(flapping)
    .execute(&world.pool)
    .await
    .expect("it came and went");
    let rows = presence::of(&world.pool, "main").await.expect("readable");
    let seen: Vec<_> = rows.iter().map(|row| (row.overlay, row.here, row.sent_alert)).collect();
    let gone = (flapping, false, None);
    let expected = [gone, gone, (flapping, false, Some(alert)), (healthy, true, None)];
    assert_eq!(seen, expected, "the newest first");
}
