//! What is measured on: private servers as `tapedeck up` starts them, migrated, with their streams.

use std::path::PathBuf;

use anyhow::Context;
use gateways::embedded::{Options, Servers, temporary_folder};
use journal::broker::{Broker, BrokerConfig, Role};
use journal::streams::{self, StreamsFile};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

pub const TAPEDECK: &str = env!("CARGO_BIN_EXE_tapedeck");

/// As many connections as one `tapedeck serve` keeps by default.
const CONNECTIONS: u32 = 16;

pub struct Ground {
    pub servers: Servers,
    pub pool: PgPool,
    pub nats_process: u32,
    pub postgres_process: u32,
}

/// In a folder of its own that goes afterwards, or in `kept`, which stays.
pub fn options(kept: Option<PathBuf>) -> anyhow::Result<Options> {
    let options = match kept {
        Some(data) => Options::new(data),
        None => Options::temporary()?,
    };
    Ok(options.guard(TAPEDECK))
}

/// The folders of servers that have stopped; they go with this. An ext4 without a journal looks for minutes at every file
/// that was deleted whenever one is made, and nats-server makes some for each batch of commands: what one measurement
/// deletes would be paid for by the next.
#[derive(Default)]
pub struct Folders(Vec<PathBuf>);

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in &self.0 {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Measures on new servers with an empty journal, as stock begins with an empty table.
pub async fn on_empty<T>(
    folders: &mut Folders,
    measure: impl AsyncFnOnce(&Ground) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let folder = temporary_folder()?;
    folders.0.push(folder.clone());
    let ground = Ground::prepare(Servers::start(options(Some(folder))?).await?).await?;
    let measured = measure(&ground).await;
    ground.stop().await?;
    measured
}

impl Ground {
    pub async fn prepare(servers: Servers) -> anyhow::Result<Self> {
        let owner = PgPool::connect(&servers.owner_database_url).await?;
        journal::MIGRATOR.run(&owner).await.context("migrating")?;
        owner.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect(&servers.database_url)
            .await?;
        let (mut nats_process, mut postgres_process) = (0, 0);
        for id in servers.process_ids()? {
            let name = std::fs::read_to_string(format!("/proc/{id}/comm"))?;
            let place =
                if name.starts_with("nats") { &mut nats_process } else { &mut postgres_process };
            *place = id;
        }
        let ground = Ground { servers, pool, nats_process, postgres_process };
        let jetstream = ground.broker().jetstream(Role::Admin).await?;
        streams::apply(&jetstream, &StreamsFile::built_in()?).await?;
        Ok(ground)
    }

    /// Connections of their own to nats-server, for an engine or a gateway.
    pub fn broker(&self) -> Broker {
        Broker::new(BrokerConfig {
            url: self.servers.nats_url.clone(),
            passwords: self.servers.nats_passwords.clone(),
        })
    }

    /// As the superuser, for what no part of Tapedeck may do.
    pub async fn admin(&self) -> anyhow::Result<PgPool> {
        Ok(PgPool::connect(&self.servers.database_url_of("postgres", "tapedeck")).await?)
    }

    /// Tidies all tables, stock's and ours, as PostgreSQL does by itself some time after they were filled: otherwise whoever
    /// reads a table first pays for what was written before.
    pub async fn vacuum(&self) -> anyhow::Result<()> {
        let admin = self.admin().await?;
        sqlx::query("VACUUM ANALYZE").execute(&admin).await?;
        admin.close().await;
        Ok(())
    }

    pub async fn position(&self) -> anyhow::Result<i64> {
        Ok(journal::head::read(&self.pool).await?.position)
    }

    /// What tells a `tapedeck` process where these servers are.
    pub fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        let servers = &self.servers;
        let mut variables = vec![
            ("DATABASE_URL".to_owned(), servers.database_url.clone()),
            ("TAPEDECK_OWNER_DATABASE_URL".to_owned(), servers.owner_database_url.clone()),
            ("NATS_URL".to_owned(), servers.nats_url.clone()),
        ];
        for (role, password) in &servers.nats_passwords {
            variables.push((
                format!("TAPEDECK_NATS_PASSWORDS__{}", role.to_uppercase()),
                password.clone(),
            ));
        }
        Ok(variables)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.pool.close().await;
        self.servers.stop().await
    }
}
