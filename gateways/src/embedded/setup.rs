//! What has to be known and arranged before the private servers can start.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Options;
use super::folder::Folder;
use super::nats::Broker;
use super::ports::Ports;
use super::postgres::Cluster;
use super::process::Server;
use super::programs::{self, Postgres};
use super::secrets::Secrets;
use super::template;
use super::unprivileged::User;

/// A data folder that is ours and ready, and the programs to run on it.
pub struct Setup {
    pub folder: Folder,
    pub ports: Ports,
    pub programs: Postgres,
    pub secrets: Secrets,
    nats_server: PathBuf,
    user: Option<User>,
    guard: PathBuf,
}

impl Setup {
    pub async fn prepare(options: &Options) -> anyhow::Result<Self> {
        let mut setup = Self::open(options, &options.data).await?;
        if let Some(template) = &options.template
            && !setup.cluster().exists()
            && !setup.secrets_path().exists()
        {
            let made = template::provide(template, options, &setup.programs).await?;
            template::copy(&made, setup.folder.path()).await?;
        }
        setup.make().await?;
        Ok(setup)
    }

    /// Opens the folder, alone.
    pub async fn open(options: &Options, data: &Path) -> anyhow::Result<Self> {
        let guard = match &options.guard {
            Some(guard) => guard.clone(),
            None => std::env::current_exe().context("cannot find tapedeck's own program")?,
        };
        let (nats_server, programs) = (programs::nats_server()?, Postgres::find()?);
        let user = User::for_postgres()?;
        let folder = Folder::open(data)?;
        if let Some(user) = &user {
            user.reach(folder.path()).await?;
        }
        let ports = Ports { nats: 0, postgres: 0 };
        let secrets = Secrets::default();
        Ok(Self { folder, ports, programs, secrets, nats_server, user, guard })
    }

    /// Makes what is not there yet: passwords first, then the PostgreSQL that knows them.
    pub async fn make(&mut self) -> anyhow::Result<()> {
        let (secrets, added) = Secrets::load(&self.secrets_path())?;
        self.secrets = secrets;
        // They hold the ports that are to stay the same, and the cluster that is to be altered.
        let (broker, cluster) = (self.broker(), self.cluster());
        tokio::try_join!(broker.end_stale(), cluster.end_stale())?;
        if added {
            if self.cluster().exists() {
                self.cluster().restore_passwords().await?;
            }
            self.secrets.save(&self.secrets_path())?;
        }
        self.cluster().ensure().await
    }

    pub fn choose_ports(&mut self) -> anyhow::Result<()> {
        self.ports = self.folder.ports()?;
        Ok(())
    }

    /// Starts nats-server into `place` and waits until it answers. It is in its place before the
    /// waiting begins, so that giving up on the waiting does not stop it.
    pub async fn start_nats(&self, place: &mut Option<Server>) -> anyhow::Result<()> {
        let port = self.ports.nats;
        let server = place.insert(self.broker().spawn(port).await?);
        self.broker().ready(server, port).await
    }

    /// Likewise for PostgreSQL.
    pub async fn start_postgres(&self, place: &mut Option<Server>) -> anyhow::Result<()> {
        let port = self.ports.postgres;
        let server = place.insert(self.cluster().spawn(port).await?);
        self.cluster().ready(server, port).await
    }

    fn broker(&self) -> Broker<'_> {
        Broker {
            folder: &self.folder,
            program: &self.nats_server,
            guard: &self.guard,
            secrets: &self.secrets,
        }
    }

    fn cluster(&self) -> Cluster<'_> {
        Cluster {
            folder: &self.folder,
            programs: &self.programs,
            user: self.user.as_ref(),
            guard: &self.guard,
            secrets: &self.secrets,
        }
    }

    fn secrets_path(&self) -> PathBuf {
        self.folder.join("secrets.json")
    }
}
