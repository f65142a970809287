//! The private nats-server: the project's nats.conf, with a port and a store of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::folder::Folder;
use super::process::{Recipe, Server};
use super::secrets::Secrets;
use crate::cli::guard::StopSignal;

/// Users, permissions and the fsync policy, as they also hold for a server that is not private.
const NATS_CONF: &str = include_str!("../../../nats.conf");

/// The file that sets the port and includes nats.conf.
const SETTINGS: &str = "server.conf";

/// It reads its whole store before it listens.
const READY_MAX: Duration = Duration::from_secs(180);
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Where a private nats-server keeps what it has and how it is run.
pub struct Broker<'a> {
    pub folder: &'a Folder,
    pub program: &'a Path,
    pub guard: &'a Path,
    pub secrets: &'a Secrets,
}

impl Broker<'_> {
    /// Starts it without waiting until it answers.
    pub async fn spawn(&self, port: u16) -> anyhow::Result<Server> {
        let recipe = self.recipe()?;
        std::fs::write(recipe.folder.join("nats.conf"), NATS_CONF)?;
        let settings = recipe.folder.join(SETTINGS);
        std::fs::write(&settings, settings_of(port, &recipe.log))
            .with_context(|| format!("cannot write {}", settings.display()))?;
        Server::start(recipe).await
    }

    /// Stops the one that an earlier run left behind.
    pub async fn end_stale(&self) -> anyhow::Result<()> {
        self.recipe()?.end_stale().await
    }

    /// Connects as a user of ours, which proves that it is our server that answers.
    pub async fn ready(&self, server: &mut Server, port: u16) -> anyhow::Result<()> {
        let password = self.secrets.nats.get("admin").cloned().unwrap_or_default();
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if server.ended()?.is_some() {
                return Err(server.failure("ended while it was starting"));
            }
            let options = async_nats::ConnectOptions::with_user_and_password(
                "admin".to_owned(),
                password.clone(),
            );
            let connected = options.connection_timeout(CONNECT_MAX).connect(url(port)).await;
            match connected {
                Ok(client) => {
                    client.drain().await.context("nats-server went away at once")?;
                    return Ok(());
                }
                Err(error) if error.to_string().contains("authorization") => {
                    return Err(server.failure("does not know the user admin of nats.conf"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Err(server.failure("was not ready in time"))
    }

    fn recipe(&self) -> anyhow::Result<Recipe> {
        let folder = self.folder.private("nats")?;
        let passwords = self.secrets.nats_environment();
        let mut environment: Vec<(String, String)> =
            passwords.map(|(name, password)| (name, password.to_owned())).collect();
        // nats.conf reads a variable's value as configuration, in which a path needs quotes.
        let store = format!("{:?}", folder.join("store"));
        environment.push(("TAPEDECK_NATS_STORE".to_owned(), store));
        Ok(Recipe {
            name: "nats-server",
            program: self.program.to_path_buf(),
            arguments: vec!["-c".into(), folder.join(SETTINGS).into()],
            environment,
            lock: folder.join("server.lock"),
            folder,
            log: self.folder.private("logs")?.join("nats-server.log"),
            stop: StopSignal::Terminate,
            user: None,
            guard: self.guard.to_path_buf(),
        })
    }
}

pub fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

/// The log is bounded by the server itself, because only it can begin a new one while running.
fn settings_of(port: u16, log: &Path) -> String {
    format!(
        "# Written by tapedeck at every start.\n\
         listen: \"127.0.0.1:{port}\"\n\
         log_file: {log:?}\n\
         logfile_size_limit: 10MB\n\
         logfile_max_num: 2\n\
         include \"nats.conf\"\n"
    )
}
