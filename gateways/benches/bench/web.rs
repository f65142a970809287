//! The real binary: `tapedeck serve` in a process of its own, signed webhooks in, server-sent events out.

mod client;
mod feed;
mod latency;
mod readers;
mod sender;

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use gateways::http::keys::{self, Scope};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::figures::Report;
use crate::ground::{Ground, TAPEDECK};
use crate::parts::Scale;
use crate::work::BROADCASTER;

const SECRET: &str = "a secret for the bench alone";
const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(30);

pub async fn measure(
    ground: &Ground,
    scale: &Scale,
    latency: bool,
    readers: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let serving = Serving::start(ground).await?;
    let measured = async {
        if latency {
            latency::measure(&serving, scale, report).await?;
        }
        if readers {
            readers::measure(&serving, scale, report).await?;
        }
        anyhow::Ok(())
    }
    .await;
    serving.stop().await?;
    measured
}

/// A running `tapedeck serve`.
pub struct Serving {
    pub address: SocketAddr,
    pub key: String,
    child: Child,
}

impl Serving {
    async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let (_, key) = keys::issue(&ground.pool, "bench", &[Scope::FeedRead]).await?;
        let (address, metrics) = (free_address()?, free_address()?);
        let child = Command::new(TAPEDECK)
            .arg("serve")
            .envs(ground.environment()?)
            .env("TAPEDECK_LISTEN", address.to_string())
            .env("TAPEDECK_METRICS_LISTEN", metrics.to_string())
            .env("TAPEDECK_BROADCASTER_ID", BROADCASTER)
            .env("TAPEDECK_EVENTSUB_SECRET", SECRET)
            .env("TAPEDECK_LOG", "warn")
            // A thousand readers come from one address with one key, which no limit foresees.
            .env("TAPEDECK_REQUESTS_PER_MINUTE__USER", "0")
            .current_dir(&ground.servers.data)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting tapedeck serve")?;
        let serving = Serving { address, key, child };
        let started = Instant::now();
        while !client::is_ready(address).await {
            ensure!(started.elapsed() < READY_MAX, "tapedeck serve is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(serving)
    }

    pub fn process(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let id = id.context("tapedeck serve has ended by itself")?;
        kill_process(id, Signal::TERM)?;
        tokio::time::timeout(STOP_MAX, self.child.wait())
            .await
            .context("serve does not stop")??;
        Ok(())
    }
}

/// Free a moment ago, and as a rule still.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
