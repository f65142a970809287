//! The command line, as a person and as a program: the real binary against a whole Tapedeck.

use std::process::Output;

use gateways::config::{CONNECT_FILE, Connect};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{PATIENCE, TAPEDECK, World, cheer, hold};

/// Three entries of one viewer and one of another, folded.
async fn with_history() -> World {
    let world = World::start().await;
    let connect = Connect {
        nats_url: world.servers.nats_url.clone(),
        nats_passwords: world.servers.nats_passwords.clone(),
        database_url: world.servers.database_url.clone(),
        owner_database_url: Some(world.servers.owner_database_url.clone()),
        broadcaster_id: Some("1000".to_owned()),
        eventsub_secret: Some("a secret for tests".to_owned()),
        ..Connect::default()
    };
    let json = serde_json::to_vec(&connect).expect("JSON");
    std::fs::write(world.servers.data.join(CONNECT_FILE), json).expect("written");
    let parts = world.run();
    let asker = world.asker().await;
    for envelope in [
        cheer("5001", "a", 100),
        cheer("5001", "b", 50),
        hold("5001", "c", 30),
        cheer("5002", "d", 7),
    ] {
        asker.ask(envelope).await;
    }
    world.caught_up().await;
    world.relayed().await;
    parts.stop().await;
    world
}

async fn tapedeck(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(TAPEDECK);
    command.env("TAPEDECK_DATA", &world.servers.data).args(arguments).kill_on_drop(true);
    command.current_dir(&world.servers.data).env_remove("DATABASE_URL").env_remove("NATS_URL");
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time");
    output.expect("it runs")
}

/// The lines of JSON that a successful command prints.
async fn lines(world: &World, arguments: &[&str]) -> Vec<Value> {
    let output = tapedeck(world, arguments).await;
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

async fn code_and_words(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = tapedeck(world, arguments).await;
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_answered_in_json_and_in_tables() {
    let world = with_history().await;
    let balance = &lines(&world, &["balance", "5001", "--json"]).await[0];
    let sums = ["position", "available", "held", "total"].map(|name| balance[name].as_i64());
    assert_eq!(sums, [Some(4), Some(120), Some(30), Some(150)]);
    let earlier = &lines(&world, &["balance", "5001", "--as-of", "1", "--json"]).await[0];
    assert_eq!(earlier["available"], 100);

    let leaders = &lines(&world, &["top", "--json"]).await[0];
    assert_eq!(leaders["places"][0]["points"], 150, "{leaders}");
    assert_eq!(leaders["places"][1]["viewer"]["id"], "5002", "{leaders}");

    let statement = &lines(&world, &["statement", "5001", "--json"]).await[0];
    assert_eq!(statement["lines"].as_array().map(Vec::len), Some(3), "{statement}");
    let table = tapedeck(&world, &["statement", "5001"]).await;
    let table = String::from_utf8(table.stdout).expect("text");
    for part in ["100 bits: Cheer100", "a test", "+50", "120 available, 30 held, 150 in all"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "no colours where nobody looks");

    let positions = async |arguments: &[&str]| -> Vec<i64> {
        let events = lines(&world, arguments).await;
        events.iter().filter_map(|event| event["position"].as_i64()).collect()
    };
    assert_eq!(positions(&["events", "--json"]).await, [1, 2, 3, 4]);
    assert_eq!(positions(&["events", "--json", "--reverse", "--limit", "2"]).await, [4, 3]);
    assert_eq!(positions(&["events", "--json", "--after", "2"]).await, [3, 4]);
    assert_eq!(positions(&["events", "--json", "--aggregate", "account/5002"]).await, [4]);
    assert_eq!(positions(&["events", "--json", "--type", "held"]).await, [3]);

    let rebuilt = lines(&world, &["rebuild", "balances", "--json"]).await;
    assert_eq!((&rebuilt[0]["position"], &rebuilt[0]["events"]), (&json!(4), &json!(4)));
    assert_eq!(lines(&world, &["balance", "5001", "--json"]).await[0], *balance);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_streams_and_the_doctor_are_at_hand() {
    let world = with_history().await;
    let issue = ["key", "issue", "--name", "bot", "--scope", "feed:read", "--json"];
    let issued = &lines(&world, &issue).await[0];
    assert!(issued["key"].as_str().is_some_and(|key| key.starts_with("tdk_")), "{issued}");
    let listed = &lines(&world, &["key", "list", "--json"]).await[0];
    assert_eq!((&listed["name"], &listed["scopes"]), (&json!("bot"), &json!(["feed:read"])));
    let text = listed.to_string();
    assert!(!text.contains("hash") && !text.contains("tdk_"), "{text}");
    assert_eq!(code_and_words(&world, &["key", "revoke", "bot"]).await.0, Some(0));
    let (code, words) = code_and_words(&world, &["key", "revoke", "bot"]).await;
    assert!(code == Some(1) && words.contains("bot"), "{words}");

    let steps = lines(&world, &["streams", "plan", "--json"]).await;
    assert!(steps.iter().all(|step| step["step"] == "keep"), "{steps:?}");
    assert!(lines(&world, &["dead", "list", "--json"]).await.is_empty());

    let findings = lines(&world, &["doctor", "--json"]).await;
    let wrong = findings.iter().filter(|finding| finding["state"] == "wrong");
    assert_eq!(wrong.count(), 0, "{findings:?}");
    let admin = world.broker.jetstream(journal::broker::Role::Admin).await.expect("let in");
    admin.delete_stream("EVENTS").await.expect("deleted");
    let output = tapedeck(&world, &["doctor"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("EVENTS is missing") && text.contains("tapedeck streams apply"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_exit_codes_and_say_what_to_do() {
    let mut world = with_history().await;
    assert_eq!(code_and_words(&world, &["balances"]).await.0, Some(2));
    assert_eq!(code_and_words(&world, &["balance", "5001", "--as-of", "noon"]).await.0, Some(2));
    let (code, words) = code_and_words(&world, &["rebuild", "balance"]).await;
    assert!(code == Some(1) && words.contains("balances"), "{words}");

    let file = world.servers.data.join("tapedeck.toml");
    std::fs::write(&file, "listem = \"127.0.0.1:1\"\n").expect("written");
    let (code, words) = code_and_words(&world, &["balance", "5001"]).await;
    assert!(code == Some(1) && words.contains("listem"), "{words}");
    std::fs::remove_file(file).expect("removed");

    let (code, words) = code_and_words(&world, &["--data", "nowhere", "events"]).await;
    assert!(code == Some(4) && words.contains("tapedeck up"), "{words}");
    world.servers.kill_postgres().await.expect("killed");
    let (code, words) = code_and_words(&world, &["balance", "5001"]).await;
    assert!(code == Some(4) && words.contains("PostgreSQL at 127.0.0.1"), "{words}");
    assert_eq!(code_and_words(&world, &["doctor"]).await.0, Some(4));
}
