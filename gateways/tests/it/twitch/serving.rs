//! EventSub in a whole `tapedeck serve`, and what the command line says of it.

use gateways::cli::serve::Role;
use gateways::config::{CONNECT_FILE, Connect};
use gateways::http::keys::Scope;
use reqwest::StatusCode;
use tokio::process::Command;

use super::*;
use crate::fakes::lines::privmsg;
use crate::http::Serving;
use crate::world::{PATIENCE, TAPEDECK};
use gateways::sandbox::irc::CHANNEL;

/// What a command prints, and its exit code.
async fn tapedeck(
    serving: &Serving,
    fake: &fake::EventSub,
    chat: &gateways::sandbox::irc::Irc,
    arguments: &[&str],
) -> (Option<i32>, String) {
    let data = &serving.world.servers.data;
    let connect = Connect {
        nats_url: serving.world.servers.nats_url.clone(),
        nats_passwords: serving.world.servers.nats_passwords.clone(),
        database_url: serving.world.servers.database_url.clone(),
        owner_database_url: Some(serving.world.servers.owner_database_url.clone()),
        broadcaster_id: Some(BROADCASTER.to_owned()),
        eventsub_secret: Some("a secret for tests".to_owned()),
        ..Connect::default()
    };
    let json = serde_json::to_vec(&connect).expect("JSON");
    std::fs::write(data.join(CONNECT_FILE), json).expect("written");
    let mut command = Command::new(TAPEDECK);
    command.env("TAPEDECK_DATA", data).args(arguments).kill_on_drop(true).current_dir(data);
    command.env_remove("DATABASE_URL").env_remove("NATS_URL");
    command.env("TAPEDECK_PUBLIC_URL", format!("http://{}", serving.listen));
    command.env("TAPEDECK_TWITCH__EVENTSUB__TOKEN", TOKEN);
    command.env("TAPEDECK_TWITCH__CLIENT_ID", CLIENT);
    command.env("TAPEDECK_TWITCH__HELIX_URL", fake.base_url());
    command.env("TAPEDECK_TWITCH__IRC__ENABLED", "true");
    command.env("TAPEDECK_TWITCH__IRC__CHANNEL", CHANNEL);
    command.env("TAPEDECK_TWITCH__IRC__ADDRESS", chat.address());
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time");
    let output = output.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_listens_to_twitch_and_the_command_line_says_what_is_told_and_what_is_not() {
    let fake = fake::EventSub::start(Options::default()).await.expect("a fake Twitch");
    let chat = gateways::sandbox::irc::Irc::start().await.expect("a fake");
    fake.forbids("channel.follow");
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Directing);
    let serving = Serving::with(&roles.collect::<Vec<_>>(), |config| {
        config.broadcaster_id = BROADCASTER.to_owned();
        config.twitch.client_id = CLIENT.to_owned();
        config.twitch.helix_url = fake.base_url().try_into().expect("a base");
        config.twitch.eventsub = settings(&fake);
        config.twitch.irc = irc::irc_settings(&chat);
    })
    .await;
    until("all else is subscribed to", async || fake.enabled() == KINDS - 1).await;
    assert_eq!(fake.tell("m-1", "channel.cheer", &cheer("5001", 100)), 1);
    until("the cheer is credited", async || serving.world.available("5001").await == 100).await;

    until("IRC is read", async || chat.joined() == 1).await;
    assert_eq!(chat.says(&privmsg("line-1", "5002", "!balance", "")), 1);
    let asked = "SELECT count(*) FROM events WHERE event_type = 'asked'";
    until("it is asked", async || serving.world.count(asked).await == 1).await;
    let mut ready = Value::Null;
    let note = json!({"name": "irc", "ok": true, "words": "joined"});
    let refused = "followers: never told yet; Twitch refuses it";
    until("it was asked who follows, and chat is read", async || {
        let answer = serving.client.get(format!("http://{}/readyz", serving.listen)).send().await;
        ready = answer.expect("an answer").json().await.expect("JSON");
        let joined = ready["notes"].as_array().is_some_and(|notes| notes.contains(&note));
        joined && ready["notes"].to_string().contains(refused)
    })
    .await;

    let (code, text) = tapedeck(&serving, &fake, &chat, &["eventsub", "list"]).await;
    assert_eq!(code, Some(0), "{text}");
    let line = text.lines().find(|line| line.contains("channel.follow")).expect("a line");
    assert!(line.contains("failing"), "{text}");
    assert!(text.contains("moderator:read:followers") && text.contains("connected"), "{text}");
    let reads = serving.key(&[Scope::EventsubRead]).await;
    let (status, now) = serving.get(&reads, "/eventsub").await;
    assert_eq!(status, StatusCode::OK, "{now}");
    let types = now["types"].as_array().expect("types");
    let follow = types.iter().find(|one| one["type"] == "channel.follow").expect("it is wanted");
    assert_eq!((types.len(), &follow["state"]), (KINDS, &json!("failing")), "{now}");
    assert_eq!(
        (&now["listener"]["state"], &now["round"]["failing"]),
        (&json!("connected"), &json!(1))
    );
    let (_, text) = tapedeck(&serving, &fake, &chat, &["eventsub", "list", "--json"]).await;
    let said: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(said["types"], now["types"], "the terminal says the same");
    let (code, text) = tapedeck(&serving, &fake, &chat, &["doctor"]).await;
    assert!(code == Some(1) && text.contains("18 of 19 enabled; channel.follow"), "{text}");
    assert!(text.contains("#goldenreel, joined since "), "{text}");
    let missed = "WRONG  missed         followers: never told yet; Twitch refuses it";
    assert!(text.contains(missed) && text.contains("twitch.eventsub.token"), "{text}");
    assert!(text.contains("/webhooks/twitch answers, and Twitch posts to https:// only"), "{text}");
    assert!(text.contains("none is connected to the stage main"), "{text}");
    fake.calls();
    fake.allows("channel.follow");
    let (code, text) = tapedeck(&serving, &fake, &chat, &["eventsub", "sync"]).await;
    assert!(code == Some(0) && text.contains("19 enabled, 0 pending, 0 failing"), "{text}");
    // A look that comes by itself may have made it already.
    assert!(text.contains("to remove 0, and once more 0"), "{text}");
    let made = |calls: Vec<String>| calls.into_iter().filter(|call| !call.starts_with("GET"));
    assert_eq!(made(fake.calls()).collect::<Vec<_>>(), ["POST channel.follow"]);
    let orders = serving.key(&[Scope::EventsubWrite]).await;
    let (status, done) = serving.post(&orders, "/eventsub/sync", "x", Value::Null).await;
    assert_eq!((status, &done["done"]), (StatusCode::OK, &json!(true)), "{done}");
    assert_eq!(done["round"]["enabled"], json!(KINDS), "{done}");
    let calls = fake.calls();
    assert!(!calls.is_empty() && made(calls).next().is_none(), "nothing was to be made");
    let (code, text) = tapedeck(&serving, &fake, &chat, &["gaps"]).await;
    assert_eq!((code, text.as_str()), (Some(0), "No gaps.\n"));
    fake.close(4000);
    until("the gap is over", async || {
        let list = gaps::list(&serving.world.pool, false, Page::of(10)).await;
        list.is_ok_and(|list| list.open == 0 && list.gaps.len() == 1)
    })
    .await;
    let (_, text) = tapedeck(&serving, &fake, &chat, &["gaps"]).await;
    assert!(text.contains("closed by Twitch: 4000") && text.contains("and 16 more"), "{text}");
    for arguments in [vec!["eventsub", "list", "--json"], vec!["gaps", "--json"]] {
        let (code, text) = tapedeck(&serving, &fake, &chat, &arguments).await;
        let json: Result<Value, _> = serde_json::from_str(&text);
        assert!(code == Some(0) && json.is_ok() && !text.contains(TOKEN), "{text}");
    }
    let (code, text) = tapedeck(&serving, &fake, &chat, &["audit", "--everything"]).await;
    assert!(code == Some(0) && text.contains("1 gap of "), "{text}");
    serving.stop().await;
    until("it said goodbye", async || (fake.sessions(), chat.joined()) == (0, 0)).await;
}
