//! What a viewer is called can be forgotten; what they have cannot.

use std::time::Duration;

use futures::TryStreamExt;
use gateways::http::keys::Scope;
use gateways::twitch::cache::bucket::{Bucket, HELIX};
use gateways::twitch::cache::kept::User;
use journal::broker::Role;
use journal::{ViewerName, names};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{audit_agrees, connect, json_of, tapedeck, text};
use crate::http::Serving;
use crate::world::{PATIENCE, World, cheer};

fn named(mut envelope: journal::Envelope, id: &str, name: &str) -> journal::Envelope {
    let login = Some(name.to_lowercase());
    envelope.names.push(ViewerName { id: id.to_owned(), login, name: Some(name.to_owned()) });
    envelope
}

/// A command that nobody can decide, with a name and what arrived.
fn dead(key: &str, viewer: &str, name: &str) -> journal::Envelope {
    let mut envelope = named(cheer(viewer, key, 5), viewer, name);
    envelope.command =
        serde_json::value::to_raw_value(&serde_json::json!({"credit": {"odd": 1}})).expect("JSON");
    envelope.origin.raw = Some(format!(r#"{{"user_id":"{viewer}","user_name":"{name}"}}"#));
    envelope
}

async fn name_of(world: &World, viewer: &str) -> Option<String> {
    let name: Option<Option<String>> =
        sqlx::query_scalar("SELECT name FROM viewer_names WHERE viewer_id = $1")
            .bind(viewer)
            .fetch_optional(&world.pool)
            .await
            .expect("an answer");
    name.flatten()
}

fn user(id: &str, login: &str) -> User {
    let (id, login, display_name) = (id.to_owned(), login.to_owned(), login.to_owned());
    User { id, login, display_name, image: None, as_of: chrono::Utc::now() }
}

/// How many keys of the bucket name this viewer.
pub async fn kept(world: &World, viewer: &str) -> usize {
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let bucket = admin.get_stream(HELIX).await.expect("it is there");
    let keys: Vec<(String, usize)> =
        bucket.info_with_subjects(">").await.expect("keys").try_collect().await.expect("keys");
    keys.iter().filter(|(key, _)| key.rsplit('.').next() == Some(viewer)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_name_is_gone_everywhere_and_stays_away_while_every_sum_stays() {
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(named(cheer("5001", "a", 100), "5001", "ReelDeal")).await;
    asker.ask(named(cheer("5002", "b", 70), "5002", "BetaMaxine")).await;
    asker.ask(dead("c", "5001", "ReelDeal")).await;
    asker.ask(dead("d", "5002", "BetaMaxine")).await;
    world.caught_up().await;
    let shown = projections::alerts::list(&world.pool, projections::Page::of(10), &[]).await;
    let of = |shown: &projections::alerts::Shown, id: &str| {
        let found =
            shown.alerts.iter().find(|alert| alert.viewer.as_ref().is_some_and(|v| v.id == id));
        found.cloned().expect("an alert")
    };
    assert_eq!(of(&shown.expect("alerts"), "5001").data["message"], "Cheer100");

    let bucket = Bucket::new(world.broker.clone());
    let renamed = user("5001", "reeldeal_tv");
    bucket.keep(&[user("5001", "reeldeal"), renamed, user("5002", "betamaxine")]).await;
    let erased = json_of(&world, &["viewers", "erase", "5001", "--json"]).await;
    assert_eq!(erased["cache_cleared"], true);
    assert_eq!(kept(&world, "5001").await, 0, "every login of theirs is taken out");
    assert_eq!(kept(&world, "5002").await, 2);
    assert_eq!(erased["letters_scrubbed"].as_array().map(Vec::len), Some(1), "{erased}");
    assert_eq!(erased["letters_left"], serde_json::json!([]));
    asker.ask(named(cheer("5001", "e", 11), "5001", "ReelDealAgain")).await;
    assert_eq!(name_of(&world, "5001").await, None, "a name seen later is not kept");
    assert_eq!(name_of(&world, "5002").await.as_deref(), Some("BetaMaxine"));
    assert_eq!((world.available("5001").await, world.available("5002").await), (111, 70));
    let letters: Vec<Vec<u8>> = sqlx::query_scalar("SELECT payload FROM dead_letters ORDER BY id")
        .fetch_all(&world.pool)
        .await
        .expect("letters");
    let letters = letters.concat();
    let letters = String::from_utf8_lossy(&letters).to_lowercase();
    assert!(!letters.contains("reeldeal") && letters.contains("betamaxine"), "{letters}");
    for arguments in [&["top"][..], &["statement", "5001"], &["dead", "list"]] {
        let words = text(&tapedeck(&world, arguments).await);
        assert!(!words.to_lowercase().contains("reeldeal"), "{words}");
    }
    world.caught_up().await;
    let shown = projections::alerts::list(&world.pool, projections::Page::of(10), &[]).await;
    let shown = shown.expect("alerts");
    let (hers, others) = (of(&shown, "5001"), of(&shown, "5002"));
    assert_eq!(hers.viewer.expect("an id").name, None);
    assert_eq!((hers.data["message"].as_str(), hers.data["bits"].as_i64()), (Some(""), Some(11)));
    assert_eq!(others.data["message"], "Cheer70", "of others everything is shown");

    asker.ask(dead("f", "5001", "ReelDeal")).await;
    let again = json_of(&world, &["viewers", "erase", "5001", "--json"]).await;
    assert_eq!(again["erased_at"], erased["erased_at"]);
    assert_eq!(again["letters_scrubbed"].as_array().map(Vec::len), Some(1), "{again}");
    let output = tapedeck(&world, &["viewers", "allow", "5001"]).await;
    assert!(output.status.success(), "{}", text(&output));
    asker.ask(named(cheer("5001", "g", 1), "5001", "Back")).await;
    assert_eq!(name_of(&world, "5001").await.as_deref(), Some("Back"));
    assert!(!tapedeck(&world, &["viewers", "erase", "5 001"]).await.status.success());
    audit_agrees(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dead_letter_is_gone_through_in_pages_and_those_left_are_counted() {
    let world = World::start().await;
    let mut parts = world.parts();
    parts.processor();
    let asker = world.asker().await;
    asker.ask(dead("a", "5001", "ReelDeal")).await;
    asker.ask(dead("b", "5002", "BetaMaxine")).await;
    // What another's command says of her has her id within the text that arrived, and nowhere else.
    let mut about = dead("c", "5003", "Third");
    about.origin.raw = Some(r#"{"user_id":"5003","to":"5001","to_name":"ReelDeal"}"#.to_owned());
    asker.ask(about).await;
    parts.stop().await;
    let copies =
        "INSERT INTO dead_letters (source, name, key, command_id, position, reason, payload)
                  SELECT source, name, key, command_id, position, reason, payload
                  FROM dead_letters, generate_series(1, 99)";
    sqlx::query(copies).execute(&world.pool).await.expect("copied");
    let unreadable = "INSERT INTO dead_letters (source, name, key, position, reason, payload)
                      VALUES ('command', 'odd', 'odd', 0, 'odd', convert_to('{\"5001\"', 'UTF8')) RETURNING id";
    let odd: i64 = sqlx::query_scalar(unreadable).fetch_one(&world.pool).await.expect("an id");
    let erase = |viewer: &'static str, limit| names::erase(&world.pool, viewer, limit);

    let begun = erase("5001", Duration::ZERO).await.expect("erased");
    assert_eq!((begun.letters_scrubbed.len(), begun.letters_unseen), (0, 201));
    let part = erase("500", Duration::ZERO).await.expect("erased");
    assert_eq!(part.letters_unseen, 0, "an id within another one is no letter's");
    let done = erase("5001", PATIENCE).await.expect("erased");
    assert_eq!((done.letters_scrubbed.len(), done.letters_unseen), (200, 0));
    assert_eq!((done.letters_left, done.erased_at), (vec![odd], begun.erased_at));
    let named = "SELECT count(*) FROM dead_letters WHERE convert_from(payload, 'UTF8') ~* ";
    assert_eq!(world.count(&format!("{named} 'reeldeal'")).await, 0);
    assert_eq!(world.count(&format!("{named} 'betamaxine'")).await, 100);
    assert_eq!(world.count(&format!("{named} 'third'")).await, 100, "nobody else is forgotten");
    let again = erase("5001", PATIENCE).await.expect("erased");
    assert_eq!((again.letters_scrubbed.len(), again.letters_unseen), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_erased_over_the_api_while_they_keep_coming() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::Admin]).await;
    let asker = serving.world.asker().await;
    // Many commands with names at once, and the erasure among them: none slips in behind it.
    let names = (0..200).map(|n| {
        asker.ask(named(cheer("5001", &format!("n-{n}"), 1), "5001", &format!("Name{n}")))
    });
    let erase = async {
        let request = serving.request(Method::DELETE, &key, "/viewers/5001/names");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let erased: Value = response.json().await.expect("JSON");
        assert_eq!(erased["viewer"], "5001");
    };
    tokio::join!(futures::future::join_all(names), erase);
    assert_eq!(name_of(&serving.world, "5001").await, None);
    assert_eq!(serving.world.available("5001").await, 200);
    connect(&serving.world);
    audit_agrees(&serving.world).await;
    serving.stop().await;
}
