//! Points for many at once: seen before, given once, taken back once.

use std::process::Stdio;

use domain::account::Command;
use domain::entry_id;
use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{audit_agrees, connect, tapedeck, text};
use crate::http::Serving;
use crate::world::{PATIENCE, TAPEDECK, World, cheer, hold, to_account, until};

fn write(world: &World, name: &str, text: &str) {
    std::fs::write(world.servers.data.join(name), text).expect("written");
}

/// The exit code, the JSON of every viewer and that of the sums.
async fn many(world: &World, arguments: &[&str]) -> (Option<i32>, Vec<Value>, Value) {
    let output = tapedeck(world, &[arguments, &["--json"]].concat()).await;
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut lines: Vec<Value> = lines
        .map(|line| serde_json::from_slice(line).unwrap_or_else(|_| panic!("{}", text(&output))))
        .collect();
    let sums = lines.pop().unwrap_or_else(|| panic!("{}", text(&output)));
    (output.status.code(), lines, sums)
}

fn counts(sums: &Value) -> (i64, i64, i64) {
    let count = |name: &str| sums["counts"][name].as_i64().expect("a number");
    (count("done"), count("before"), count("refused"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_given_once_and_taken_back_as_far_as_its_points_are_there() {
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "a", 10)).await;
    world.caught_up().await;
    write(&world, "thanks.csv", "viewer,points\n5001,500\n5002,200\n5003,50\n");
    let give = ["grant", "thanks.csv", "--note", "charity night"];

    let (code, lines, sums) = many(&world, &[&give[..], &["--preview"]].concat()).await;
    assert_eq!((code, counts(&sums)), (Some(0), (3, 0, 0)));
    assert_eq!(sums["counts"]["unseen"], 2, "{sums}");
    assert_eq!((&lines[0]["available"], &lines[0]["after"]), (&json!(10), &json!(510)));
    assert_eq!(world.head().await, 1, "a preview changes nothing");

    let (code, _, sums) = many(&world, &give).await;
    assert_eq!((code, counts(&sums), world.head().await), (Some(0), (3, 0, 0), 4));
    let (code, _, again) = many(&world, &give).await;
    assert_eq!((code, counts(&again), world.head().await), (Some(0), (0, 3, 0), 4));
    let (.., other) = many(&world, &[&give[..], &["--id", "second time"]].concat()).await;
    assert_eq!(counts(&other), (3, 0, 0), "another name is another grant");
    let other = other["grant"].as_str().expect("an id").to_owned();
    let (code, ..) = many(&world, &["grant", "undo", &other, "--note", "too much"]).await;
    assert_eq!(code, Some(0));

    asker.ask(hold("5002", "h", 150)).await;
    let entry = |key| entry_id("test", key);
    let capture = Command::Capture { entry: entry("c"), hold: entry("h") };
    asker.ask(to_account("5002", "c", capture)).await;
    world.caught_up().await;
    let grant = sums["grant"].as_str().expect("an id");
    let undo = ["grant", "undo", grant, "--note", "wrong list"];
    let head = world.head().await;
    let (code, _, sums) = many(&world, &[&undo[..], &["--preview"]].concat()).await;
    assert_eq!((code, counts(&sums), world.head().await), (Some(1), (2, 0, 1), head));
    let (code, lines, sums) = many(&world, &undo).await;
    assert_eq!((code, counts(&sums)), (Some(1), (2, 0, 1)));
    let refused: Vec<&Value> = lines.iter().filter(|line| line["status"] == "refused").collect();
    assert_eq!(refused[0]["viewer"], "5002");
    assert!(refused[0]["reason"].as_str().is_some_and(|words| words.contains("only 50 points")));
    assert_eq!((world.available("5001").await, world.available("5002").await), (10, 50));

    asker.ask(cheer("5002", "more", 150)).await;
    world.caught_up().await;
    let (code, _, sums) = many(&world, &undo).await;
    assert_eq!((code, counts(&sums)), (Some(0), (1, 2, 0)), "later the points are there");
    assert_eq!(world.available("5002").await, 0);
    let listed = text(&tapedeck(&world, &["grant", "list"]).await);
    assert!(listed.contains("charity night") && listed.contains(grant), "{listed}");
    let statement = text(&tapedeck(&world, &["statement", "5003"]).await);
    assert!(statement.contains("charity night (terminal)"), "{statement}");
    audit_agrees(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_named_before_anything_is_sent() {
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    write(&world, "bad.csv", "5001,5\n5002,five\n5001,6\na b,7\n");
    let output = tapedeck(&world, &["grant", "bad.csv", "--note", "x"]).await;
    let words = text(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    for part in ["nothing was given", "line 2: \"five\"", "line 3: viewer 5001", "line 4: an id"] {
        assert!(words.contains(part), "{part} is not in\n{words}");
    }
    assert_eq!(world.head().await, 0);
    let nobody = uuid::Uuid::nil().to_string();
    let output = tapedeck(&world, &["grant", "undo", &nobody, "--note", "x"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_was_killed_in_the_middle_is_finished_by_giving_it_again() {
    const VIEWERS: usize = 3_000;
    let world = World::start().await;
    connect(&world);
    let parts = world.run();
    let list: String = (0..VIEWERS).map(|n| format!("{},7\n", 10_000 + n)).collect();
    write(&world, "many.csv", &list);
    let give = ["grant", "many.csv", "--note", "for all"];
    let mut child = tokio::process::Command::new(TAPEDECK)
        .args(give)
        .env("TAPEDECK_DATA", &world.servers.data)
        .current_dir(&world.servers.data)
        .env_remove("DATABASE_URL")
        .env_remove("NATS_URL")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    until("some are given", async || world.head().await > 100).await;
    child.start_kill().expect("killed");
    tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time").expect("ended");
    let (code, _, sums) = many(&world, &give).await;
    assert_eq!(code, Some(0), "{sums}");
    let (done, before, refused) = counts(&sums);
    assert_eq!((done + before, refused), (VIEWERS as i64, 0));
    assert_eq!(world.head().await, VIEWERS as i64, "everybody once");
    audit_agrees(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_gives_shows_and_takes_back() {
    let serving = Serving::start().await;
    let key = serving.key(&[Scope::AccountsWrite, Scope::AccountsRead]).await;
    let body = |preview: bool| json!({"note": "trivia", "viewers": ["5001", "5002"], "points": 40, "preview": preview});
    let (status, seen) = serving.post_once(&key, "/grants", "trivia-1", body(true)).await;
    assert_eq!((status, &seen["done"], &seen["unseen"]), (StatusCode::OK, &json!(2), &json!(2)));
    assert_eq!(serving.world.head().await, 0);
    let (status, given) = serving.post_once(&key, "/grants", "trivia-1", body(false)).await;
    assert_eq!((status, &given["done"]), (StatusCode::CREATED, &json!(2)), "{given}");
    let (status, again) = serving.post_once(&key, "/grants", "trivia-1", body(false)).await;
    assert_eq!((status, &again["before"]), (StatusCode::OK, &json!(2)), "{again}");
    let richer = json!({"note": "trivia", "viewers": ["5001"], "points": 90});
    let (_, other) = serving.post_once(&key, "/grants", "trivia-1", richer).await;
    let words = other["credits"][0]["reason"].as_str().expect("a reason");
    assert!(words.contains("gave 40 points"), "{other}");
    for wrong in [
        json!({"note": "", "viewers": ["5001"], "points": 1}),
        json!({"note": "x", "viewers": ["5001", "5001"], "points": 1}),
        json!({"note": "x", "viewers": ["5001"]}),
        json!({"note": "x"}),
        json!({"note": "x", "credits": [{"viewer": "5001", "points": 0}]}),
    ] {
        let (status, refused) = serving.post_once(&key, "/grants", "wrong", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    }
    let id = given["grant"].as_str().expect("an id");
    let path = format!("/grants?min_position={}", given["position"]);
    let (_, list) = serving.get(&key, &path).await;
    assert_eq!((&list["grants"][0]["id"], &list["grants"][0]["points"]), (&json!(id), &json!(80)));
    let undo = format!("/grants/{id}/undo");
    let (status, undone) = serving.post_once(&key, &undo, "undo-1", json!({"note": "oops"})).await;
    assert_eq!((status, &undone["done"]), (StatusCode::CREATED, &json!(2)), "{undone}");
    let (status, undone) = serving.post_once(&key, &undo, "undo-1", json!({"note": "oops"})).await;
    assert_eq!((status, &undone["before"]), (StatusCode::OK, &json!(2)), "{undone}");
    let nobody = format!("/grants/{}/undo", uuid::Uuid::nil());
    let (status, _) = serving.post_once(&key, &nobody, "undo-2", json!({"note": "oops"})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    connect(&serving.world);
    audit_agrees(&serving.world).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_nobody_decides_is_stored_whole_and_says_that_it_is_pending() {
    const VIEWERS: i64 = 1_000;
    let nobody = [Role::Processor, Role::Directing];
    let roles = Role::ALL.into_iter().filter(|role| !nobody.contains(role));
    let serving = Serving::with(&roles.collect::<Vec<_>>(), |_| {}).await;
    let world = &serving.world;
    connect(world);
    let key = serving.key(&[Scope::AccountsWrite]).await;
    let viewers: Vec<String> = (0..VIEWERS).map(|n| format!("{}", 10_000 + n)).collect();
    let body = json!({"note": "for all", "viewers": viewers, "points": 7});
    let (status, given) = serving.post_once(&key, "/grants", "all", body.clone()).await;
    assert_eq!((status, &given["pending"]), (StatusCode::ACCEPTED, &json!(VIEWERS)), "{given}");
    assert_eq!(given["credits"].as_array().map(Vec::len), Some(1_000));
    let mut parts = world.parts();
    parts.processor();
    until("all of it is decided", async || world.head().await == VIEWERS).await;
    let (status, again) = serving.post_once(&key, "/grants", "all", body).await;
    assert_eq!((status, &again["before"]), (StatusCode::OK, &json!(VIEWERS)), "{again}");
    parts.stop().await;

    let undo = format!("/grants/{}/undo", given["grant"].as_str().expect("an id"));
    let why = json!({"note": "too many"});
    let (status, undone) = serving.post_once(&key, &undo, "undo", why.clone()).await;
    assert_eq!((status, &undone["pending"]), (StatusCode::ACCEPTED, &json!(VIEWERS)), "{undone}");
    let mut parts = world.parts();
    parts.processor();
    until("all of it is taken back", async || world.head().await == 2 * VIEWERS).await;
    let (status, again) = serving.post_once(&key, &undo, "undo", why).await;
    assert_eq!((status, &again["before"]), (StatusCode::OK, &json!(VIEWERS)), "{again}");
    audit_agrees(world).await;
    parts.stop().await;
    serving.stop().await;
}
