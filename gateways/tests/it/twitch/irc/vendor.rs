//! A chat client that others made and use takes the fake for Twitch.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::*;
use crate::fakes::vendors;
use crate::world::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_client_of_others_takes_the_fake_for_twitch() {
    let Some(folder) = vendors::npm(&["tmi.js@1.8.5"]).await else { return };
    let fake = fake::Irc::start().await.expect("a fake");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tmi_client.cjs");
    let mut node = Command::new("node");
    node.arg(script).arg(fake.websocket_port().to_string());
    node.args([fake::LOGIN, &format!("oauth:{}", fake::TOKEN), fake::CHANNEL]);
    node.env("NODE_PATH", folder.join("node_modules")).kill_on_drop(true);
    let mut child = node.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut said = async || {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time");
        line.expect("text").expect("it has not ended")
    };
    assert_eq!(said().await, "refused: Login authentication failed");
    let mut first = [said().await, said().await];
    first.sort();
    assert_eq!(first, ["joined #goldenreel", "room #goldenreel 1000"]);
    let line = privmsg("m-1", "5001", "hi there", "badges=subscriber/6");
    assert_eq!(fake.says(&line), 1);
    let heard = r#"chat Viewer_5001 m-1 5001 {"subscriber":"6"} false hi there"#;
    assert_eq!(said().await, heard);
    assert_eq!(fake.says(&privmsg("m-2", "5001", "\u{1}ACTION waves\u{1}", "")), 1);
    assert_eq!(said().await, "action 5001 waves");
    fake.says(&privmsg("m-3", "5001", "Cheer100 nice", "bits=100"));
    assert_eq!(said().await, "cheer 100 Cheer100 nice");
    assert_eq!(said().await, "said thank you");
    assert_eq!(said().await, format!("taken {}", fake::LOGIN));
    // Told to, it goes away and comes back by itself.
    fake.reconnect();
    assert_eq!(said().await, "room #goldenreel 1000");
    until("it is back", async || fake.joined() == 1).await;
    assert_eq!(fake.says(&cleared(Some("5001"))), 1);
    assert_eq!(said().await, "timeout viewer_5001 600");
    fake.says(&deleted("m-1"));
    assert_eq!(said().await, "deleted viewer_5001 m-1");
    fake.says(&cleared(None));
    assert_eq!(said().await, "cleared #goldenreel");
    assert_eq!(said().await, "it is content");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time");
    assert!(ended.expect("it ran").success());
}
