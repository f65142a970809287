//! The client of others takes the sandbox's Discord for the real one.

use std::path::Path;

use gateways::sandbox::discord::{Discord, TOKEN, WEBHOOK};
use tokio::process::Command;

use crate::fakes::vendors;
use crate::world::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_most_bots_are_built_on_takes_the_fake_for_discord() {
    let Some(folder) = vendors::npm(&["@discordjs/rest@2.6.3"]).await else { return };
    let fake = Discord::start().await.expect("a fake");
    let base = format!("http://{}", fake.address().expect("it answers"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/discord_client.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(folder).args([&base, WEBHOOK, TOKEN]).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, node.output()).await.expect("in time");
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = [
        "sent We are live true",
        "pictured A ghost ghost.png 19",
        "changed We were live true",
        "refused 404 10008 ",
        "refused 400 50006 ",
        "refused 400 50035 content",
        "refused 400 50035 username",
        "refused 401 50027 ",
        "refused 404 10015 ",
        "all sent 6",
    ];
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
    // The picture's words, and six more: what was taken back is gone.
    assert_eq!(fake.said().len(), 7);
    // The plain addresses that people copy have no version in them.
    let client = reqwest::Client::new();
    let plain = format!("{base}/api/webhooks/{WEBHOOK}/{TOKEN}");
    fake.is_deleted();
    let answer = client.post(plain).body(r#"{"content":"x"}"#).send().await.expect("an answer");
    assert_eq!(answer.status(), 404);
}
