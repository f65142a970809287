//! `tapedeck up`: everything on this machine, with nothing to configure.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::embedded::{Options, Servers};

#[derive(Debug, clap::Args)]
pub struct Up {
    #[arg(long, default_value = "./data")]
    data: PathBuf,
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

impl Up {
    pub async fn run(self) -> anyhow::Result<()> {
        let servers = Servers::start(Options::new(&self.data)).await?;
        println!("{} {} {:?}", servers.nats_url, servers.admin_database_url, self.listen);
        tokio::signal::ctrl_c().await?;
        servers.stop().await
    }
}
