//! A request as it comes in over HTTP, and what the API may not do to its hold.

use chrono::Utc;
use gateways::cli::serve::Role;
use gateways::config::Source;
use gateways::http::keys::Scope;
use gateways::simulate::{Deed, Night, Scene, Viewer};
use gateways::twitch::Secret;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{GHOST, VIEWER, audited, comes_to, complete, events, points, request_of};
use crate::http::{BROADCASTER, Serving};
use crate::world::until;

/// Posts a signed cheer, as Twitch does.
async fn cheer(serving: &Serving, id: &str, bits: i64, message: &str) {
    let viewer = Some(Viewer::new(VIEWER, "reeldeal", "ReelDeal"));
    let deed = Deed::Cheer { viewer, bits, message: message.into() };
    let night = Night::script(0, 1).for_broadcaster(BROADCASTER);
    let scene = Scene { deed, message_id: id.to_owned(), ..night.scenes[0].clone() };
    let secret = Secret::new("a secret for tests").expect("a good secret");
    let delivery = night.delivery(&scene, &secret, Utc::now());
    let url = format!("http://{}/webhooks/twitch", serving.listen);
    let request = serving.client.post(url).body(delivery.body);
    let headers = delivery.headers.into_iter();
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    assert!(request.send().await.expect("an answer").status().is_success());
}

async fn post(serving: &Serving, key: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let request = serving.request(Method::POST, key, path).header("Idempotency-Key", path);
    let answer = request.json(&body).send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

async fn get(serving: &Serving, key: &str, path: &str) -> Value {
    let answer = serving.request(Method::GET, key, path).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK, "{path}");
    answer.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_cheer_that_asks_is_funded_and_only_its_request_ends_its_hold() {
    // Nobody makes the picture, so that its hold stays open.
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|role| *role != Role::Making).collect();
    let serving = Serving::with(&roles, |_| {}).await;
    let world = &serving.world;
    let asker = world.asker().await;
    let key = serving.key(&[Scope::Admin]).await;
    for _ in 0..2 {
        cheer(&serving, "asks", 200, GHOST).await;
    }
    cheer(&serving, "talks", 30, "hello friends how are you Cheer30").await;
    comes_to(world, "funded", 1).await;
    assert_eq!(points(world, VIEWER).await, (30, 200, 0));
    assert_eq!(events(world, "submitted").await, 1);

    let request = request_of(world, VIEWER).await;
    let holds = get(&serving, &key, &format!("/accounts/{VIEWER}/holds")).await;
    let [hold] = holds["holds"].as_array().expect("holds").as_slice() else {
        panic!("{holds}");
    };
    assert_eq!(hold["id"], json!(request));
    assert_eq!((&hold["points"], &hold["purpose"]), (&json!(200), &json!("request: ghost")));

    let path = format!("/accounts/{VIEWER}/holds/{request}");
    for (verb, body) in [("capture", json!({})), ("release", json!({"reason": "mine"}))] {
        let (status, answer) = post(&serving, &key, &format!("{path}/{verb}"), body).await;
        let code = &answer["error"]["code"];
        assert_eq!((status, code), (StatusCode::FORBIDDEN, &json!("hold_of_request")), "{verb}");
    }
    let new = json!({"points": 10, "purpose": "request: ghost"});
    let (status, answer) = post(&serving, &key, &format!("/accounts/{VIEWER}/holds"), new).await;
    let code = &answer["error"]["code"];
    assert_eq!((status, code), (StatusCode::UNPROCESSABLE_ENTITY, &json!("reserved_purpose")));
    assert_eq!(points(world, VIEWER).await, (30, 200, 0));

    asker.ask(complete(request, "made")).await;
    comes_to(world, "settled", 1).await;
    assert_eq!(points(world, VIEWER).await, (30, 0, 200));
    let holds = get(&serving, &key, &format!("/accounts/{VIEWER}/holds")).await;
    assert_eq!(holds["holds"], json!([]));
    reversed(&serving, &key).await;
    assert_eq!(points(world, VIEWER).await, (230, 0, 200));
    audited(world).await;
    serving.stop().await;
}

/// A person may still give back what a request took.
async fn reversed(serving: &Serving, key: &str) {
    let statement = get(serving, key, &format!("/accounts/{VIEWER}/statement")).await;
    let entries = statement["entries"].as_array().expect("entries");
    let captured = entries.iter().find(|entry| entry["kind"] == "captured");
    let entry = &captured.unwrap_or_else(|| panic!("{statement}"))["entry"];
    let body = json!({"entry": entry, "note": "the picture was upside down"});
    let (status, answer) = post(serving, key, &format!("/accounts/{VIEWER}/reversals"), body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_left_alone_comes_back_by_itself() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    cheer(&serving, "points", 100, "Cheer100").await;
    let holds = format!("/accounts/{VIEWER}/holds");
    until("there are points", async || serving.world.available(VIEWER).await == 100).await;
    let far = json!({"points": 30, "purpose": "a poster", "expires_in_s": 3600});
    let near = json!({"points": 20, "purpose": "a sticker", "expires_in_s": 1});
    for (once, body) in [("far", far), ("near", near)] {
        let request = serving.request(Method::POST, &key, &holds).header("Idempotency-Key", once);
        let answer = request.json(&body).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    until("the sticker's points are back", async || {
        points(&serving.world, VIEWER).await == (70, 30, 0)
    })
    .await;
    let open = get(&serving, &key, &holds).await;
    assert_eq!(open["holds"].as_array().map(Vec::len), Some(1), "{open}");
    assert_eq!(open["holds"][0]["purpose"], "a poster");
    // Nothing waits for the sticker any more: what it wanted is refused as ever.
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_that_change_in_the_file_are_those_of_the_next_request() {
    let world = crate::world::World::start().await;
    let file = world.servers.data.join("tapedeck.toml");
    std::fs::write(&file, "[prices]\nversion = 1").expect("written");
    let source = Source { file: file.clone(), data: world.servers.data.clone() };
    let serving = Serving::with(&Role::ALL, |config| config.source = Some(source)).await;
    cheer(&serving, "dear", 50, "Cheer50 ghost of a toaster").await;
    let prices = "[prices]\nversion = 2\n[prices.points]\nghost = 50";
    std::fs::write(&file, prices).expect("written");
    let mut asked = 0;
    until("a ghost is to be had for 50", async || {
        asked += 1;
        cheer(&serving, &format!("cheap-{asked}"), 50, "Cheer50 ghost of a toaster").await;
        events(&serving.world, "funded").await > 0
    })
    .await;
    let odd = "SELECT count(*) FROM events WHERE event_type = 'submitted'
               AND ((payload->'submitted'->>'price') <> '50' OR (payload->'submitted'->>'prices') <> '2')";
    assert_eq!(serving.world.count(odd).await, 0);
    audited(&serving.world).await;
    serving.stop().await;
}
