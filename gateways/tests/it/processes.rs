//! The real binary in many processes, which a test kills and starts again.

use std::process::Stdio;

use gateways::config::{CONNECT_FILE, Connect};
use gateways::embedded::Servers;
use gateways::http::keys::{self, Scope};
use gateways::twitch::Secret;
use sqlx::PgPool;
use tokio::process::{Child, Command};

use crate::world::{TAPEDECK, until};

pub const BROADCASTER: &str = "1000";
pub const SECRET: &str = "a secret of this test";

/// Where the processes of one test find their servers, and where they answer.
#[derive(Clone)]
pub struct Site {
    data: std::path::PathBuf,
    pub port: u16,
    pub key: String,
}

impl Site {
    pub async fn new(servers: &Servers, pool: &PgPool) -> Self {
        let port = free_port();
        let connect = Connect {
            nats_url: servers.nats_url.clone(),
            nats_passwords: servers.nats_passwords.clone(),
            database_url: servers.database_url.clone(),
            owner_database_url: Some(servers.owner_database_url.clone()),
            api_url: Some(format!("http://127.0.0.1:{port}")),
            broadcaster_id: Some(BROADCASTER.to_owned()),
            eventsub_secret: Some(SECRET.to_owned()),
            ..Connect::default()
        };
        let json = serde_json::to_vec(&connect).expect("JSON");
        std::fs::write(servers.data.join(CONNECT_FILE), json).expect("written");
        let (_, key) = keys::issue(pool, "a test", &[Scope::Admin]).await.expect("a key");
        Site { data: servers.data.clone(), port, key }
    }

    /// Another port, with the same servers behind it.
    pub fn beside(&self) -> Self {
        Site { port: free_port(), ..self.clone() }
    }

    pub fn secret(&self) -> Secret {
        Secret::new(SECRET).expect("a good secret")
    }

    pub fn url(&self, path: &str) -> reqwest::Url {
        format!("http://127.0.0.1:{}{path}", self.port).parse().expect("a URL")
    }

    /// `tapedeck` with these arguments against these servers.
    pub fn tapedeck(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(TAPEDECK);
        command.arg("--data").arg(&self.data).args(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A `tapedeck serve` with the given roles. Its log goes to a file beside the servers'.
    pub fn serve(&self, name: &str, roles: &str) -> Command {
        let log = self.data.join(format!("{name}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
        let listen = format!("127.0.0.1:{}", self.port);
        let mut command = self.tapedeck(&["serve", "--roles", roles, "--listen", &listen]);
        command.args(["--metrics-listen", "127.0.0.1:0"]);
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        command
    }

    /// Waits until the gateway answers.
    pub async fn answers(&self) {
        let client = reqwest::Client::new();
        until("the gateway answers", async || {
            client
                .get(self.url("/healthz"))
                .send()
                .await
                .is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Runs the audit; panics with its output unless everything was proved.
    pub async fn audit(&self) {
        let output =
            self.tapedeck(&["audit", "--everything"]).output().await.expect("the audit runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{said}\n{complaint}", output.status);
    }
}

/// A process that is started again whenever it was killed, or ended.
pub struct Process {
    command: Box<dyn Fn() -> Command + Send>,
    child: Child,
    pub kills: u32,
}

impl Process {
    pub fn start(command: impl Fn() -> Command + Send + 'static) -> Self {
        let child = command().spawn().expect("it starts");
        Process { command: Box::new(command), child, kills: 0 }
    }

    /// Kill -9, and start another.
    pub async fn replace(&mut self) {
        self.child.kill().await.expect("killed");
        self.kills += 1;
        self.child = (self.command)().spawn().expect("it starts again");
    }

    /// Starts it again if it ended by itself, as one does whose servers are away while it begins.
    pub fn supervise(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a status") {
            let is_told = matches!(status.code(), Some(1 | 4));
            assert!(is_told, "it says what is wrong or away, and ends in good order: {status}");
            self.child = (self.command)().spawn().expect("it starts again");
        }
    }
}

pub fn free_port() -> u16 {
    let listener = gateways::embedded::free_port().expect("a free port");
    listener.local_addr().expect("bound").port()
}
