//! Clients of Twitch that others made and use take the fake for the real one.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use gateways::sandbox::lists::Lists;
use gateways::sandbox::twitch::{CLIENT_SECRET, REDIRECT};
use gateways::simulate::Viewer;
use tokio::io::{AsyncBufReadExt, BufReader, Lines as LinesOf};
use tokio::process::{ChildStdout, Command};
use tower::ServiceExt;

use super::missed::REWARD;
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

/// A Twitch of which there is much to list.
fn filled(twitch: &Twitch) -> Lists {
    let lists = Lists::of(twitch);
    let at = |minute: u32| {
        let at = format!("2026-07-01T18:{minute:02}:00Z");
        DateTime::parse_from_rfc3339(&at).expect("a moment").to_utc()
    };
    twitch.knows(&Viewer::new(BROADCASTER, "goldenreel", "GoldenReel"));
    twitch.moderate(&["7", "9000", "6001"]);
    lists.live(Some(("s-1", at(0))));
    lists.titled("Tapes all night", "Just Chatting");
    for (viewer, minute) in ["6001", "6002", "6003", "6004", "6005"].into_iter().zip(1..) {
        lists.follow(viewer, at(minute));
    }
    for viewer in ["6001", "6002", "6003", "6004"] {
        lists.subscribe(viewer);
    }
    lists.reward(REWARD, true);
    for (id, minute) in ["r-1", "r-2", "r-3"].into_iter().zip(1..) {
        lists.redeem(id, "5001", "UNFULFILLED", at(minute));
    }
    lists.redeem("r-4", "5001", "FULFILLED", at(4));
    lists.reward("made-elsewhere", false);
    lists
}

/// Twitch once more, at the paths where the mock server of its own command line has it.
fn as_its_mock_server(twitch: Router) -> Router {
    let moved = move |mut request: Request| {
        let twitch = twitch.clone();
        async move {
            let asked = request.uri().to_string();
            let helix = asked.strip_prefix("/mock/").map(|rest| format!("/helix/{rest}"));
            let oauth = asked.strip_prefix("/auth/").map(|rest| format!("/oauth2/{rest}"));
            let there = helix.or(oauth).expect("only these two come here");
            *request.uri_mut() = there.parse().expect("an address");
            twitch.oneshot(request).await
        }
    };
    Router::new().route("/mock/{*rest}", any(moved.clone())).route("/auth/{*rest}", any(moved))
}

/// Runs it to its end, at which it has to be content.
async fn is_content(mut client: Command) {
    client.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, client.output()).await.expect("in time");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.ends_with("it is content\n"), "{said}{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_a_token_and_every_list_is_as_a_client_of_others_knows_it() {
    let Some(client) = vendors::pip(PACKAGE).await else { return };
    let twitch = Twitch::unserved();
    let lists = filled(&twitch);
    let fake = fake::EventSub::start_with(0, Options::default(), &twitch, lists.routes())
        .await
        .expect("a fake Twitch");
    // Whoever asks for a device code waits once.
    twitch.tells_devices(["authorization_pending"]);
    twitch.says_yes(BROADCASTER);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/helix_client.py");
    let mut python = Command::new("python3");
    python.arg(script).args([fake.base_url(), fake.id_url()]);
    python.args([REDIRECT, CLIENT_ID, CLIENT_SECRET]);
    python.env("PYTHONPATH", client).env("PYTHONDONTWRITEBYTECODE", "1");
    is_content(python).await;

    let line = (BROADCASTER.to_owned(), "hello from Python & others".to_owned());
    assert_eq!(twitch.said(), [line]);
    assert_eq!(twitch.refreshed(), 2, "once because it asked, once because a token was not good");
    assert_eq!(twitch.calls("device"), 1);
    assert_eq!(lists.calls("followers"), 3, "a page has two");
    assert_eq!(lists.calls("subscriptions"), 2);
    assert_eq!(twitch.calls("moderators"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_is_as_the_client_that_tools_of_streamers_use_knows_it() {
    let Some(folder) = vendors::npm(&PACKAGES).await else { return };
    let twitch = Twitch::unserved();
    let lists = filled(&twitch);
    let beside = as_its_mock_server(twitch.routes().merge(lists.routes()));
    let fake = fake::EventSub::start_with(0, Options::default(), &twitch, beside)
        .await
        .expect("a fake Twitch");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/helix_client.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(folder).args([REDIRECT, CLIENT_ID, CLIENT_SECRET]);
    node.env("TWURPLE_MOCK_API_PORT", fake.port().to_string());
    is_content(node).await;

    let line = (BROADCASTER.to_owned(), "hello from Node & others".to_owned());
    assert_eq!(twitch.said(), [line]);
    assert_eq!(twitch.refreshed(), 2, "once because it asked, once because a token was over");
    assert_eq!(twitch.granted(BROADCASTER), 1, "all others were refreshed or taken back");
    assert_eq!(lists.calls("streams"), 1);
    assert_eq!(twitch.calls("moderators"), 2);
}
