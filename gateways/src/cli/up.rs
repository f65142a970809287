//! `tapedeck up`: everything on this machine, with nothing to configure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::embedded::{Options, Servers};

#[derive(Debug, clap::Args)]
pub struct Up {
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    #[arg(long)]
    metrics_listen: Option<SocketAddr>,
}

impl Up {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let servers = Servers::start(Options::new(&self.data)).await?;
        println!("{} {} {:?} Ctrl-C", servers.nats_url, servers.admin_database_url, self.listen);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        servers.stop().await?;
        Ok(ExitCode::SUCCESS)
    }
}
