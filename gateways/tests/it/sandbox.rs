//! `tapedeck sandbox`, as a newcomer meets it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use gateways::config::Connect;
use gateways::embedded::temporary_folder;
use gateways::sandbox::control::Control;
use gateways::simulate::{Shown, watch};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

use crate::world::{PATIENCE, TAPEDECK, until};

/// A sandbox in a folder of its own, and whoever plays with it.
struct Sandbox {
    data: PathBuf,
    process: Child,
}

impl Sandbox {
    fn start(arguments: &[&str]) -> Self {
        let data = temporary_folder().expect("a folder");
        let mut command = tapedeck(&data, &["sandbox", "--port", "0", "--listen", "127.0.0.1:0"]);
        let output = std::fs::File::create(data.join("screen")).expect("a file");
        let process = command.args(arguments).stdout(output).spawn().expect("it starts");
        Sandbox { data, process }
    }

    fn folder(&self) -> PathBuf {
        self.data.join("sandbox")
    }

    /// Where it is played with, once everything runs.
    async fn is_up(&mut self) -> Control {
        let folder = self.folder();
        let mut control = None;
        until("the sandbox is up", async || {
            assert!(self.process.try_wait().expect("a status").is_none(), "it has ended");
            control = Control::read(&folder).expect("readable");
            control.is_some()
        })
        .await;
        control.expect("it is up")
    }

    /// Runs a command of somebody in another terminal: how it ends, and what it says.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = tapedeck(&self.data, arguments).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("in time");
        let output = output.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    }

    async fn plays(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(&[&["sandbox"], arguments].concat()).await;
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
        text
    }

    /// The same with the folder of the sandbox.
    async fn looks(&self, arguments: &[&str]) -> Value {
        let folder = self.folder();
        let output = tapedeck(&folder, arguments).output().await.expect("it runs");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    async fn has(&self, viewer: &str, points: i64) {
        until(&format!("{viewer} has {points}"), async || {
            self.looks(&["balance", viewer, "--json"]).await["available"] == points
        })
        .await;
    }

    /// Waits until Tapedeck hears of everything.
    async fn listens(&self) {
        until("it listens", async || {
            let (_, text) = self.run(&["sandbox", "status", "--json"]).await;
            let standing: Value = serde_json::from_str(&text).expect("JSON");
            standing["sessions"] == 1 && standing["subscriptions_enabled"] == 19
        })
        .await;
    }

    async fn ends_with_ctrl_c(mut self) {
        let id = self.process.id().expect("it runs").cast_signed();
        rustix::process::kill_process(Pid::from_raw(id).expect("an id"), Signal::INT)
            .expect("signalled");
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("in time");
        assert!(status.expect("a status").success());
        for lock in ["postgres.lock", "nats/server.lock"] {
            let lock = std::fs::File::open(self.folder().join(lock)).expect("a lock");
            assert!(lock.try_lock().is_ok(), "a server or its guard is left");
        }
        std::fs::remove_dir_all(&self.data).expect("removed");
    }
}

/// A command whose terminal is in `data`, where no real configuration is.
fn tapedeck(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(TAPEDECK);
    let file = data.join("tapedeck.toml");
    if file.exists() {
        command.arg("--config").arg(file);
    }
    command.arg("--data").arg(data).args(arguments).current_dir(data);
    for stronger in ["DATABASE_URL", "NATS_URL", "TAPEDECK_DATA", "TAPEDECK_CONFIG"] {
        command.env_remove(stronger);
    }
    // From there the repository's own nats-server is not found.
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/bin/nats-server");
    if std::env::var_os("TAPEDECK_NATS_SERVER").is_none() && ours.is_file() {
        command.env("TAPEDECK_NATS_SERVER", ours);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The number in brackets after whoever did something.
fn id_in(text: &str) -> String {
    let (_, rest) = text.split_once('(').expect("an id");
    rest.split_once(')').expect("an id").0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_played_is_credited_and_shown_a_trouble_is_a_gap_and_ctrl_c_leaves_nothing() {
    let mut sandbox = Sandbox::start(&["--irc"]);
    let control = sandbox.is_up().await;
    let file = std::fs::metadata(sandbox.folder().join("sandbox.json")).expect("it is there");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let play = reqwest::Client::new().post(format!("{}/play", control.url));
    let refused = play.bearer_auth("guessed").json(&serde_json::json!("online")).send().await;
    assert_eq!(refused.expect("an answer").status(), 401);

    let shown: Arc<Mutex<Vec<Shown>>> = Arc::default();
    let seen = Arc::clone(&shown);
    let connect = Connect::read(&sandbox.folder()).expect("readable").expect("it is up");
    let feed = format!("{}/api/v1/feed", connect.api_url.expect("an address"));
    let key = std::fs::read_to_string(sandbox.folder().join("overlay.key")).expect("a key");
    let watching = watch(feed.parse().expect("a URL"), key.trim().to_owned(), 0, move |alert| {
        seen.lock().expect("no panic").push(alert);
    });
    let watching = AbortOnDropHandle::new(tokio::spawn(watching));

    let text = sandbox.plays(&["cheer", "--viewer", "ada", "--bits", "300", "ghost of a toaster"]);
    let text = text.await;
    assert!(text.contains("cheers 300 bits: Cheer300 ghost of a toaster"), "{text}");
    let ada = id_in(&text);
    // 300 points for the bits, less 200 for the ghost, which the fake OpenAI has drawn.
    sandbox.has(&ada, 100).await;
    for kind in ["cheer", "ghost"] {
        until(&format!("a {kind} is shown"), async || {
            let shown = shown.lock().expect("no panic");
            shown.iter().filter(|alert| alert.r#type == kind).count() == 1
        })
        .await;
    }
    let text = sandbox.plays(&["say", "--viewer", "ada", "!balance"]).await;
    assert_eq!(id_in(&text), ada, "the same login is the same viewer");
    until("the bot answers in chat", async || {
        let (_, text) = sandbox.run(&["sandbox", "status"]).await;
        text.contains("9000 said") && text.contains("@ada you have 100 points")
    })
    .await;
    let (code, text) = sandbox.run(&["sandbox", "trouble", "close", "1000"]).await;
    assert!(code == Some(1) && text.contains("4000 to 4007"), "{text}");

    sandbox.plays(&["trouble", "expire"]).await;
    sandbox.plays(&["trouble", "away", "600"]).await;
    let (code, text) = sandbox.run(&["sandbox", "cheer", "--viewer", "ada", "--bits", "7"]).await;
    assert!(code == Some(1) && text.contains("Nobody was told"), "{text}");
    let redeemed = sandbox.run(&["sandbox", "redeem", "--viewer", "ada"]).await;
    assert!(redeemed.0 == Some(1) && redeemed.1.contains("Nobody was told"), "{redeemed:?}");
    sandbox.plays(&["trouble", "back"]).await;
    sandbox.listens().await;
    sandbox.plays(&["cheer", "--viewer", "ada", "--bits", "11"]).await;
    sandbox.has(&ada, 111).await;
    let gaps = sandbox.looks(&["gaps", "--json"]).await;
    assert!(gaps.to_string().contains("channel.cheer"), "the 7 bits were missed: {gaps}");
    let mut audit = tapedeck(&sandbox.folder(), &["audit", "--everything"]);
    let audit = audit.output().await.expect("it runs");
    assert_eq!(audit.status.code(), Some(0), "{}", String::from_utf8_lossy(&audit.stdout));
    until("the redemption is not said to be found", async || {
        let gaps = tapedeck(&sandbox.folder(), &["gaps"]).output().await.expect("it runs");
        let gaps = String::from_utf8_lossy(&gaps.stdout).into_owned();
        gaps.contains("1 of 1 rewards were not made by this application")
    })
    .await;

    let data = sandbox.data.display().to_string();
    let (code, text) = sandbox.run(&["sandbox", "--data", &data, "online"]).await;
    assert!(code == Some(0) && text.contains("is live"), "{text}");
    for (arguments, words) in [
        (&["sandbox", "--irc", "online"][..], "--irc is said when the sandbox starts"),
        (&["sandbox", "trouble", "revoke", "channel.chear"], "is no type"),
        (&["grant", "--note", "x", "list"], "--note stands before"),
    ] {
        let (code, text) = sandbox.run(arguments).await;
        assert!(code == Some(1) && text.contains(words), "{text}");
    }
    sandbox.plays(&["trouble", "silence"]).await;
    let (code, text) = sandbox.run(&["sandbox", "cheer", "--viewer", "ada", "--bits", "5"]).await;
    assert!(code == Some(1) && text.contains("Nobody was told"), "{text}");

    let screen = std::fs::read_to_string(sandbox.data.join("screen")).expect("a screen");
    assert!(
        screen.contains("/overlay#key=tdk_") && screen.contains("cheer --viewer ada"),
        "{screen}"
    );
    drop(watching);
    sandbox.ends_with_ctrl_c().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_heard_from_the_start_and_have_no_connection_to_cut() {
    let mut sandbox = Sandbox::start(&["--transport", "webhook"]);
    let control = sandbox.is_up().await;
    let text = sandbox.plays(&["cheer", "--viewer", "ada", "--bits", "7"]).await;
    sandbox.has(&id_in(&text), 7).await;
    for trouble in [&["cut"][..], &["silence"], &["reconnect"], &["close", "4000"]] {
        let (code, text) = sandbox.run(&[&["sandbox", "trouble"], trouble].concat()).await;
        assert!(code == Some(1) && text.contains("nobody is connected"), "{trouble:?}: {text}");
    }
    sandbox.plays(&["trouble", "revoke", "channel.cheer"]).await;
    until("the revocation is heard", async || {
        let gaps = sandbox.looks(&["gaps", "--json"]).await.to_string();
        gaps.contains("revoked: authorization_revoked")
    })
    .await;
    sandbox.plays(&["trouble", "away", "600"]).await;
    let (code, text) = sandbox.run(&["sandbox", "follow", "--viewer", "ada"]).await;
    assert!(code == Some(1) && text.contains("Nobody was told"), "{text}");

    let another = serde_json::json!({"url": control.url, "token": "of one that has ended"});
    std::fs::write(sandbox.folder().join("sandbox.json"), another.to_string()).expect("written");
    let (code, text) = sandbox.run(&["sandbox", "status"]).await;
    assert!(code == Some(4) && text.contains("no sandbox runs there"), "{text}");
    sandbox.ends_with_ctrl_c().await;
}

#[tokio::test]
async fn a_folder_with_something_else_in_it_is_left_as_it_is() {
    let data = temporary_folder().expect("a folder");
    let real = data.join("sandbox");
    std::fs::create_dir(&real).expect("made");
    std::fs::write(real.join("tapedeck.toml"), "broadcaster_id = \"4711\"\n").expect("written");
    let output = tapedeck(&data, &["sandbox", "--port", "0"]).output().await.expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("is no sandbox"), "{text}");
    let left: Vec<_> = std::fs::read_dir(&real).expect("readable").collect();
    assert_eq!(left.len(), 1, "nothing was written: {left:?}");
    std::fs::remove_dir_all(data).expect("removed");
}
