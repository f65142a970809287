//! `tapedeck connect`, as a person meets it.

use std::process::Output;

use gateways::config::CONNECT_FILE;
use tokio::process::Command;

use super::*;
use crate::processes::Site;
use crate::world::PATIENCE;

/// A command of somebody whose application is at the fake.
pub fn tapedeck(site: &Site, world: &World, twitch: &Twitch, arguments: &[&str]) -> Command {
    let mut command = site.tapedeck(arguments);
    at_the_fake(&mut command, world, twitch);
    command
}

pub fn at_the_fake(command: &mut Command, world: &World, twitch: &Twitch) {
    command
        .env("TAPEDECK_TWITCH__CLIENT_ID", CLIENT_ID)
        .env("TAPEDECK_TWITCH__CLIENT_SECRET", CLIENT_SECRET)
        .env("TAPEDECK_TWITCH__ID_URL", twitch.id_url())
        .env("TAPEDECK_SEALING_KEY_FILE", world.servers.data.join("sealing.key"))
        .current_dir(&world.servers.data);
}

/// What it says, and how it ends.
pub async fn said(mut command: Command) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("in time");
    let Output { status, stdout, stderr } = output.expect("it runs");
    (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broadcaster_opens_a_link_says_yes_and_is_connected() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let site = Site::new(&world.servers, &world.pool).await;
    let run = async |arguments: &[&str]| said(tapedeck(&site, &world, &twitch, arguments)).await;

    twitch.says_yes("5001");
    let (code, text) = run(&["connect"]).await;
    assert!(code == Some(1) && text.contains("Log in at Twitch as the broadcaster"), "{text}");
    assert_eq!(
        (twitch.granted("5001"), state(&world.pool, Role::Broadcaster).await),
        (0, State::None)
    );
    let (code, text) = run(&["connect", "--list"]).await;
    assert!(code == Some(0) && text.contains("Mend it: tapedeck connect broadcaster"), "{text}");

    twitch.says_yes(BROADCASTER);
    twitch.tells_devices(["authorization_pending", "slow_down"]);
    let (code, text) = run(&["connect"]).await;
    assert_eq!(code, Some(0), "{text}");
    for shown in [
        "https://www.twitch.tv/activate?device-code=TAPEDECK",
        "channel:read:subscriptions",
        "channel.subscription.gift",
        "Connected tapehost (1000) as the broadcaster, with 6 scopes",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let (_, text) = run(&["connect", "--list"]).await;
    assert!(text.contains("tapehost") && text.contains("bits:read"), "{text}");
    assert!(!text.contains("connect broadcaster") && text.contains("connect bot"), "{text}");

    // Something is switched on that needs more: it is said, with the command that grants it.
    let more = async |arguments: &[&str]| {
        let mut command = tapedeck(&site, &world, &twitch, arguments);
        command.env("TAPEDECK_LOGIN__MODERATORS_FROM_TWITCH", "true");
        said(command).await.1
    };
    let lacks = "lacks moderation:read (for Twitch's list of moderators)";
    for arguments in [["connect", "--list"].as_slice(), &["doctor"]] {
        let text = more(arguments).await;
        assert!(text.contains(lacks) && text.contains("tapedeck connect broadcaster"), "{text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&more(&["connect", "--list", "--json"]).await).expect("JSON");
    assert_eq!(json[0]["mend"], "tapedeck connect broadcaster");

    let (code, text) = run(&["connect", "--forget", "broadcaster"]).await;
    assert!(code == Some(0) && text.contains("takes nothing of it any more"), "{text}");
    assert_eq!(
        (twitch.granted(BROADCASTER), state(&world.pool, Role::Broadcaster).await),
        (0, State::None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_said_whose_channel_it_is_finds_it_out_by_connecting() {
    let (world, twitch) = (World::start().await, Twitch::start().await.expect("a fake Twitch"));
    let site = Site::new(&world.servers, &world.pool).await;
    // As `tapedeck up` leaves it where nobody named a channel.
    let connect = world.servers.data.join(CONNECT_FILE);
    let text = std::fs::read(&connect).expect("it was written");
    let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    json["broadcaster_id"] = serde_json::Value::Null;
    json["is_example"] = true.into();
    std::fs::write(&connect, json.to_string()).expect("written");
    let run = async |arguments: &[&str]| said(tapedeck(&site, &world, &twitch, arguments)).await;

    let (_, text) = run(&["doctor"]).await;
    assert!(text.contains("nobody said whose channel it is"), "{text}");
    twitch.says_yes(BROADCASTER);
    let (code, text) = run(&["connect"]).await;
    assert!(code == Some(0) && text.contains("Set broadcaster_id = \"1000\""), "{text}");

    // Said now, and what runs knows nothing of it.
    let mut command = tapedeck(&site, &world, &twitch, &["doctor"]);
    command.env("TAPEDECK_BROADCASTER_ID", BROADCASTER);
    let (_, text) = said(command).await;
    assert!(text.contains("nobody listens yet") && !text.contains("whose channel"), "{text}");
}
