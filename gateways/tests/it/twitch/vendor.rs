//! Clients of Twitch that others made and use take the fake for the real one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines as LinesOf};
use tokio::process::{ChildStdout, Command};

use super::*;
use crate::fakes::vendors;
use crate::world::PATIENCE;

const PACKAGE: &str = "twitchAPI==4.5.0";
const PACKAGES: [&str; 3] =
    ["@twurple/api@8.1.4", "@twurple/auth@8.1.4", "@twurple/eventsub-ws@8.1.4"];

async fn said(lines: &mut LinesOf<BufReader<ChildStdout>>) -> String {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time");
    line.expect("text").expect("it has not ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_others_takes_the_fake_for_twitch() {
    let Some(client) = vendors::pip(PACKAGE).await else { return };
    let fake = fake::EventSub::start(Options::default()).await.expect("a fake Twitch");
    fake.forbids("channel.follow");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/twitch_client.py");
    let mut python = Command::new("python3");
    python.arg(script).args([fake.websocket_url(), fake.base_url(), fake.id_url()]);
    python.args([CLIENT, TOKEN]);
    python.env("PYTHONPATH", client).env("PYTHONDONTWRITEBYTECODE", "1").kill_on_drop(true);
    let mut child = python.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();

    assert_eq!(said(&mut lines).await, "subscribed session-1");
    assert_eq!(fake.tell("m-1", "channel.cheer", &cheer("5001", 100)), 1);
    assert_eq!(said(&mut lines).await, "cheer ReelDeal 100");
    // It goes on over another connection.
    fake.reconnect();
    until("it goes on", async || fake.connections() == 2 && fake.sessions() == 1).await;
    assert_eq!(fake.tell("m-2", "channel.cheer", &cheer("5001", 101)), 1);
    assert_eq!(said(&mut lines).await, "cheer ReelDeal 101");
    // It is cut, comes back by itself, and subscribes again.
    fake.close(4000);
    until("it came back", async || fake.connections() == 3 && fake.enabled() == 1).await;
    // What it is told before it has read that it is subscribed it drops: it is told until it says so.
    let mut pace = tokio::time::interval(Duration::from_secs(1));
    let mut told = 0;
    {
        let mut heard = std::pin::pin!(said(&mut lines));
        let line = loop {
            tokio::select! {
                line = &mut heard => break line,
                _ = pace.tick() => {
                    told += 1;
                    fake.tell(&format!("m-3-{told}"), "channel.cheer", &cheer("5001", 102));
                }
            }
        };
        assert_eq!(line, "cheer ReelDeal 102");
    }
    fake.revoke("channel.cheer", "authorization_revoked");
    let mut line = said(&mut lines).await;
    while told > 1 && line == "cheer ReelDeal 102" {
        (line, told) = (said(&mut lines).await, told - 1);
    }
    assert_eq!(line, "revoked channel.cheer");
    assert_eq!(said(&mut lines).await, "it is content");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time");
    assert!(ended.expect("it ran").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_tools_of_streamers_use_takes_the_fake_for_twitch() {
    let Some(folder) = vendors::npm(&PACKAGES).await else { return };
    let fake = fake::EventSub::start(Options::default()).await.expect("a fake Twitch");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/twitch_client.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(folder).args([CLIENT, TOKEN]);
    node.env("TWURPLE_MOCK_API_PORT", fake.port().to_string()).kill_on_drop(true);
    let mut child = node.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();

    assert_eq!(said(&mut lines).await, "refused: InvalidTokenError");
    assert_eq!(said(&mut lines).await, "subscribed 1000 channel.cheer");
    assert_eq!(fake.tell("m-1", "channel.cheer", &cheer("5001", 100)), 1);
    assert_eq!(said(&mut lines).await, "cheer ReelDeal 100");
    // It goes on over another connection.
    fake.reconnect();
    until("it goes on", async || fake.connections() == 2 && fake.sessions() == 1).await;
    assert_eq!(fake.tell("m-2", "channel.cheer", &cheer("5001", 101)), 1);
    assert_eq!(said(&mut lines).await, "cheer ReelDeal 101");
    // It is cut, comes back by itself, and subscribes again.
    fake.close(4000);
    assert_eq!(said(&mut lines).await, "subscribed 1000 channel.cheer");
    assert_eq!(fake.tell("m-3", "channel.cheer", &cheer("5001", 102)), 1);
    assert_eq!(said(&mut lines).await, "cheer ReelDeal 102");
    fake.revoke("channel.cheer", "authorization_revoked");
    assert_eq!(said(&mut lines).await, "revoked authorization_revoked");
    assert_eq!(said(&mut lines).await, "it is content");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time");
    assert!(ended.expect("it ran").success());
}
