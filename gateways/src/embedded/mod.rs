//! A private nats-server and a private PostgreSQL under one data folder: real servers with nothing
//! to configure, started with tapedeck and gone with it.
//!
//! Each runs under a guard (`crate::cli::guard`) that stops it when tapedeck is gone, however
//! that happened. Both listen on loopback only, on free ports that stay the same between runs,
//! and every connection needs a password from `secrets.json`.

mod folder;
mod nats;
mod ports;
mod postgres;
mod process;
mod programs;
mod secrets;
mod setup;
mod template;
mod unprivileged;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use self::folder::temporary as temporary_folder;
pub use self::ports::free as free_port;
pub use self::secrets::random_secret;

use self::postgres::DATABASE;
use self::process::Server;
use self::setup::Setup;

const START_ATTEMPTS: u32 = 3;
/// A server that ends by itself this often is not helped by another start.
const REVIVALS_MAX: usize = 5;
const REVIVALS_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const DROP_MAX: Duration = Duration::from_secs(10);

/// What a start of the private servers can be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything the servers keep; made if it is not there.
    pub data: PathBuf,
    /// The `tapedeck` binary, which has the guard. The running one when `None`; a test names it.
    pub guard: Option<PathBuf>,
    /// A folder in which a made PostgreSQL is kept to be copied, so that tests start sooner.
    pub template: Option<PathBuf>,
    /// Whether the data folder is removed when the servers have stopped.
    pub temporary: bool,
}

impl Options {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), guard: None, template: None, temporary: false }
    }

    /// A new folder of their own, which goes when they stop.
    pub fn temporary() -> anyhow::Result<Self> {
        Ok(Self { temporary: true, ..Self::new(folder::temporary()?) })
    }

    /// As `temporary`, with the guard of the given binary and a PostgreSQL that is copied.
    pub fn for_tests(tapedeck: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let owner = rustix::process::geteuid().as_raw();
        let template = std::env::temp_dir().join(format!("tapedeck-template-{owner}"));
        Ok(Self::temporary()?.guard(tapedeck).template(template))
    }

    pub fn guard(self, tapedeck: impl Into<PathBuf>) -> Self {
        Self { guard: Some(tapedeck.into()), ..self }
    }

    pub fn template(self, folder: impl Into<PathBuf>) -> Self {
        Self { template: Some(folder.into()), ..self }
    }
}

/// Where the private servers are and how they let us in.
#[derive(Clone)]
pub struct Connections {
    /// Without user and password, which are those of a role.
    pub nats_url: String,
    /// By role: admin, gateway, processor, relay, follower, chat, cache, compatibility, reader, golden_vcr.
    pub nats_passwords: BTreeMap<String, String>,
    /// As the role `tapedeck`, which may do what the migrations grant it.
    pub database_url: String,
    /// As the owner of the database, for migrations.
    pub owner_database_url: String,
    /// As the superuser, for tests and dumps.
    pub admin_database_url: String,
    /// The data folder, absolute.
    pub data: PathBuf,
    /// PostgreSQL's programs: psql, pg_dump, pg_restore.
    pub postgres_programs: PathBuf,
}

/// The running private servers. Dropping them stops them too, but nobody then waits.
pub struct Servers {
    connections: Connections,
    setup: Setup,
    nats: Option<Server>,
    postgres: Option<Server>,
    temporary: bool,
}

impl Servers {
    /// Starts both and waits until both answer.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let mut setup = Setup::prepare(&options).await?;
        let mut attempt = 1;
        loop {
            setup.choose_ports()?;
            let (mut nats, mut postgres) = (None, None);
            let (first, second) =
                tokio::join!(setup.start_nats(&mut nats), setup.start_postgres(&mut postgres));
            let Err(error) = first.and(second) else {
                return Ok(Self::running(setup, nats, postgres, options.temporary));
            };
            // Before the next attempt, or the error, nothing of this one is left.
            let _ = tokio::join!(stop(nats), stop(postgres));
            // A port may have been taken meanwhile, so the next attempt looks for others.
            if attempt == START_ATTEMPTS {
                return Err(error);
            }
            tracing::debug!(attempt, %error, "the private servers did not start");
            attempt += 1;
        }
    }

    /// Stops both in good order and waits until they are gone.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let (nats, postgres) = (self.nats.take(), self.postgres.take());
        let (nats, postgres) = tokio::join!(stop(nats), stop(postgres));
        nats.and(postgres)
    }

    /// Starts a server again that ended by itself, on the same port; returns only when that does
    /// not help.
    pub async fn keep_running(&mut self) -> anyhow::Error {
        let mut revivals: Vec<Instant> = Vec::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let failure = match self.revive().await {
                Ok(None) => continue,
                Ok(Some(name)) => {
                    tracing::warn!(server = name, "ended by itself and was started again");
                    None
                }
                Err(error) => Some(error),
            };
            revivals.retain(|at| at.elapsed() < REVIVALS_WITHIN);
            revivals.push(Instant::now());
            if revivals.len() > REVIVALS_MAX {
                let words = format!("a private server ended by itself {REVIVALS_MAX} times");
                let last = failure.unwrap_or_else(|| anyhow::anyhow!("see {:?}", self.logs()));
                return last.context(words);
            }
        }
    }

    /// Where both write their logs.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Where they are; it stays true over restarts.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// The same PostgreSQL, as one of its roles, in another database.
    pub fn database_url_of(&self, role: &str, database: &str) -> String {
        postgres::url(&self.setup.secrets, self.setup.ports.postgres, role, database)
    }

    pub async fn restart_nats(&mut self) -> anyhow::Result<()> {
        stop(self.nats.take()).await?;
        self.start_nats().await
    }

    /// Ends nats-server with -9; `start_nats` brings it back on the same port.
    pub async fn kill_nats(&mut self) -> anyhow::Result<()> {
        match self.nats.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    pub async fn start_nats(&mut self) -> anyhow::Result<()> {
        if self.nats.is_none() {
            self.setup.start_nats(&mut self.nats).await?;
        }
        Ok(())
    }

    pub async fn restart_postgres(&mut self) -> anyhow::Result<()> {
        stop(self.postgres.take()).await?;
        self.start_postgres().await
    }

    /// Ends PostgreSQL with -9; `start_postgres` brings it back on the same port.
    pub async fn kill_postgres(&mut self) -> anyhow::Result<()> {
        match self.postgres.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    pub async fn start_postgres(&mut self) -> anyhow::Result<()> {
        if self.postgres.is_none() {
            self.setup.start_postgres(&mut self.postgres).await?;
        }
        Ok(())
    }

    /// The processes of nats-server and PostgreSQL, as far as they run.
    pub fn process_ids(&self) -> anyhow::Result<Vec<u32>> {
        let servers = [&self.nats, &self.postgres].into_iter().flatten();
        servers.filter_map(|server| server.process_id().transpose()).collect()
    }

    /// The processes of their guards.
    pub fn guard_ids(&self) -> Vec<u32> {
        [&self.nats, &self.postgres].into_iter().flatten().map(Server::guard_id).collect()
    }

    /// The name of the server that had ended and runs again, if one had.
    async fn revive(&mut self) -> anyhow::Result<Option<&'static str>> {
        if is_gone(&mut self.nats)? {
            self.nats = None;
            self.start_nats().await?;
            return Ok(Some("nats-server"));
        }
        if is_gone(&mut self.postgres)? {
            self.postgres = None;
            self.start_postgres().await?;
            return Ok(Some("postgres"));
        }
        Ok(None)
    }

    fn running(
        setup: Setup,
        nats: Option<Server>,
        postgres: Option<Server>,
        temporary: bool,
    ) -> Self {
        let url = |role| postgres::url(&setup.secrets, setup.ports.postgres, role, DATABASE);
        let connections = Connections {
            nats_url: nats::url(setup.ports.nats),
            nats_passwords: setup.secrets.nats.clone(),
            database_url: url("tapedeck"),
            owner_database_url: url("tapedeck_owner"),
            admin_database_url: url("postgres"),
            data: setup.folder.path().to_path_buf(),
            postgres_programs: setup.programs.bin.clone(),
        };
        Self { connections, setup, nats, postgres, temporary }
    }
}

impl std::ops::Deref for Servers {
    type Target = Connections;

    fn deref(&self) -> &Connections {
        &self.connections
    }
}

/// Without the passwords.
impl std::fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports = &self.setup.ports;
        formatter
            .debug_struct("Servers")
            .field("data", &self.data)
            .field("ports", ports)
            .finish_non_exhaustive()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let mut left: Vec<Server> =
            [self.nats.take(), self.postgres.take()].into_iter().flatten().collect();
        if !self.temporary {
            return;
        }
        for server in &mut left {
            server.abandon(DROP_MAX);
        }
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

async fn stop(server: Option<Server>) -> anyhow::Result<()> {
    match server {
        Some(server) => server.stop().await,
        None => Ok(()),
    }
}

/// Ended, or never came back from an earlier end.
fn is_gone(server: &mut Option<Server>) -> anyhow::Result<bool> {
    match server {
        Some(server) => Ok(server.ended()?.is_some()),
        None => Ok(true),
    }
}
