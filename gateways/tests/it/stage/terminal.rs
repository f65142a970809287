//! `tapedeck stage`, and the keys of overlays.

use gateways::http::keys::{self, Scope};
use serde_json::{Value, json};

use super::page::Page;
use super::{OVERLAY, audited, comes_to, serving};
use crate::processes::Site;
use crate::world::until;

/// What the command says on both its outputs, and whether it was done.
async fn said(site: &Site, arguments: &[&str]) -> (bool, String) {
    let output = site.tapedeck(arguments).output().await.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

async fn json_of(site: &Site, arguments: &[&str]) -> Value {
    let output = site.tapedeck(arguments).output().await.expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_is_directed_at_a_terminal() {
    let serving = serving().await;
    let site = Site::new(&serving.world.servers, &serving.world.pool).await;
    let (done, words) = said(&site, &["stage", "show"]).await;
    assert!(done && words.contains("No overlay is there"), "{words}");
    let (done, words) = said(&site, &["stage", "pause", "--actor", "jane"]).await;
    assert!(done && words.contains("Paused"), "{words}");
    let (done, words) = said(&site, &["stage", "pause"]).await;
    assert!(done && words.contains("so already"), "{words}");
    let data = r#"{"viewers": 1234}"#;
    let (done, words) = said(&site, &["stage", "test", "raid", "--with", data]).await;
    assert!(done, "{words}");
    let outcome = json_of(&site, &["stage", "test", "cheer", "--json"]).await;
    assert_eq!(outcome["event_types"], json!(["tested"]), "{outcome}");
    serving.world.caught_up().await;
    let shown = json_of(&site, &["stage", "show", "--json"]).await;
    assert_eq!((&shown["stage"]["paused"], &shown["stage"]["waiting"]), (&json!(true), &json!(2)));
    let (raid, cheer) = (&shown["stage"]["next"][0]["alert"], &shown["stage"]["next"][1]["alert"]);
    assert_eq!((&raid["kind"], &cheer["kind"]), (&json!("raid"), &json!("cheer")));
    let (raid, cheer) = (raid["id"].as_str().expect("id"), cheer["id"].as_str().expect("id"));
    let (done, words) = said(&site, &["stage", "show"]).await;
    let parts = ["raid of A Test: 1,234 viewers (a test)", "tapedeck stage resume", raid, cheer];
    assert!(done && parts.iter().all(|part| words.contains(part)), "{words}");

    assert!(said(&site, &["stage", "prioritise", cheer]).await.0);
    assert!(said(&site, &["stage", "clear", raid]).await.0);
    let (done, words) = said(&site, &["stage", "clear", raid]).await;
    assert!(!done, "{words}");
    serving.world.caught_up().await;
    let (done, words) = said(&site, &["stage", "alerts", "--state", "cleared"]).await;
    assert!(done && words.contains(raid) && !words.contains(cheer), "{words}");
    assert!(said(&site, &["stage", "mute", "speech"]).await.0);
    let (done, words) = said(&site, &["stage", "skip"]).await;
    assert!(!done && words.contains("nothing plays"), "{words}");
    let key = serving.key(&OVERLAY).await;
    let mut page = Page::open(serving.listen, &key, "").await;
    assert!(said(&site, &["stage", "resume"]).await.0);
    let alert = cheer.parse().expect("an id");
    page.shows(alert).await;
    assert_eq!(page.state["muted"]["speech"], true);
    comes_to(&serving.world, alert, "shown").await;
    serving.world.caught_up().await;
    let (done, words) = said(&site, &["stage", "show"]).await;
    assert!(done && words.contains("speech") && words.contains("all"), "{words}");
    let (done, words) = said(&site, &["stage", "replay", raid]).await;
    assert!(done, "{words}");
    page.shows(raid.parse().expect("an id")).await;
    for (wrong, words) in [
        (vec!["stage", "show", "--stage", "other"], "main"),
        (vec!["stage", "replay", "00000000-0000-0000-0000-000000000001"], "no alert"),
        (vec!["stage", "test", "raids"], "hype_train"),
        (vec!["stage", "test", "raid", "--with", "7"], "object"),
        (vec!["stage", "mute", "all"], "speech"),
    ] {
        let (done, said) = said(&site, &wrong).await;
        assert!(!done && said.contains(words), "{wrong:?}: {said}");
    }
    comes_to(&serving.world, raid.parse().expect("an id"), "shown").await;
    audited(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_at_a_terminal_and_an_old_one_of_an_overlay_learns_the_stage() {
    let serving = serving().await;
    let (world, site) =
        (&serving.world, Site::new(&serving.world.servers, &serving.world.pool).await);
    let issue = ["key", "issue", "--name", "obs", "--scope", "feed:read", "--json"];
    let issued = json_of(&site, &issue).await;
    let old = issued["key"].as_str().expect("a key").to_owned();
    let refused = Page::try_open(serving.listen, &old, "?overlay=x").await;
    assert!(refused.is_err(), "not an id");
    let id = issued["id"].as_str().expect("an id");
    keys::allow(&world.pool, id.parse().expect("an id"), &OVERLAY).await.expect("allowed");
    let (_, listed) = said(&site, &["key", "list"]).await;
    assert!(listed.contains("feed:read stage:overlay"), "{listed}");
    until("the old secret has learned it", async || {
        let page = Page::open(serving.listen, &old, "").await;
        let here = "SELECT count(*) FROM overlays";
        drop(page);
        world.count(here).await > 0
    })
    .await;

    let rotated = json_of(&site, &["key", "rotate", "obs", "--json"]).await;
    let new = rotated["key"].as_str().expect("a key").to_owned();
    assert_eq!(rotated["id"], issued["id"]);
    until("the old one has ended", async || {
        Page::try_open(serving.listen, &old, "").await.is_err()
    })
    .await;
    Page::open(serving.listen, &new, "").await;
    let (done, words) = said(&site, &["key", "rotate", "nobody"]).await;
    assert!(!done && words.contains("nobody"), "{words}");
    keys::issue(&world.pool, "obs", &[Scope::FeedRead]).await.expect("another");
    let (done, words) = said(&site, &["key", "rotate", "obs"]).await;
    assert!(!done && words.contains("several"), "{words}");
    assert!(said(&site, &["key", "rotate", id]).await.0);
    serving.stop().await;
}
