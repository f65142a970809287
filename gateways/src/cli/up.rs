//! `tapedeck up`: everything on this machine, with nothing to configure.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use journal::broker::{Broker, Role};
use journal::streams::{self, StreamsFile};
use sqlx::{Connection, PgConnection};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{CONNECT_FILE, Config, Connect, open_database};
use crate::embedded::{self, Options, Servers};
use crate::http::keys::{self, Keys, Scope};

/// The channel of a newcomer who has not named one; `tapedeck simulate` plays a night of it.
const EXAMPLE_BROADCASTER: &str = "100000001";

/// How long open requests and the work in hand may take after Ctrl-C.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Run everything on this machine: private servers, the API, the feed and the overlay
///
/// Starts a nats-server and a PostgreSQL of its own under the data folder, migrates the database,
/// applies streams.yaml, and serves until Ctrl-C, which stops everything in good order. Nothing has
/// to be configured, and servers that happen to run on this machine are neither needed nor touched.
///
/// While it runs, the other commands find it through the data folder: try `tapedeck simulate`,
/// `tapedeck audit` and `tapedeck events` in another terminal, in the same working folder.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Where everything is kept: the record, the streams, the passwords, the logs
    #[arg(long, env = "TAPEDECK_DATA", value_name = "FOLDER", default_value = "./data")]
    data: PathBuf,
    /// The configuration file; tapedeck.toml is read when it is there
    #[arg(long, env = "TAPEDECK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API, the feed, the overlay and the webhooks are answered [default: 127.0.0.1:8090,
    /// or a free port when that one is taken]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where Prometheus reads the metrics [default: 127.0.0.1:9464, or a free port]
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
}

impl Up {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let stop = Stop::on_signals()?;
        say(&format!("Starting the private servers in {} …", self.data.display()));
        let mut servers = tokio::select! {
            servers = Servers::start(Options::new(&self.data)) => servers?,
            () = stop.asked.cancelled() => return Ok(ExitCode::from(130)),
        };
        let connections = servers.connections();
        let served = tokio::select! {
            served = self.serve(&connections, &stop, started) => served,
            error = servers.keep_running() => Err(error),
            () = stop.insisted.cancelled() => Ok(()),
        };
        // Nothing of ours uses them any more, whether it ended well or not.
        say("Stopping the private servers …");
        servers.stop().await?;
        served?;
        say("Everything has stopped.");
        Ok(ExitCode::SUCCESS)
    }

    /// Prepares the servers, serves until asked to stop, and drains.
    async fn serve(
        &self,
        servers: &embedded::Connections,
        stop: &Stop,
        started: Instant,
    ) -> anyhow::Result<()> {
        let config = self.config(servers)?;
        let overlay_key = tokio::select! {
            key = prepare(&config, servers) => key?,
            () = stop.asked.cancelled() => return Ok(()),
        };
        let screen = screen(&config, servers, &overlay_key, started.elapsed());
        let serving = serve(config, stop.asked.clone(), move || println!("{screen}"));
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return served,
            () = stop.asked.cancelled() => {}
        }
        say("Stopping: no new requests, finishing what is in hand. Ctrl-C again does not wait.");
        match timeout(DRAIN_MAX, serving).await {
            Ok(served) => served,
            Err(_) => bail!("what was in hand took longer than {DRAIN_MAX:?}; it is not lost"),
        }
    }

    /// What is configured, with the private servers in place of any others, written to where the
    /// other commands find it.
    fn config(&self, servers: &embedded::Connections) -> anyhow::Result<Config> {
        let before = Connect::read(&self.data)?.unwrap_or_default();
        let mut config = Config::load(self.config.as_deref(), &self.data)?;
        let ordinary = Config::default();
        config.listen = address(self.listen, config.listen, ordinary.listen, "--listen")?;
        config.metrics_listen = address(
            self.metrics_listen,
            config.metrics_listen,
            ordinary.metrics_listen,
            "--metrics-listen",
        )?;
        config.nats_url = servers.nats_url.clone();
        config.nats_passwords = servers.nats_passwords.clone();
        config.database_url = servers.database_url.clone();
        config.owner_database_url = Some(servers.owner_database_url.clone());
        if config.broadcaster_id.is_empty() {
            config.broadcaster_id = EXAMPLE_BROADCASTER.to_owned();
        }
        if config.eventsub_secret.is_empty() {
            config.eventsub_secret = embedded::random_secret();
        }
        // Where we listened the last time is not where the world reaches us now.
        if config.public_url == before.api_url {
            config.public_url = None;
        }
        let connect = Connect {
            nats_url: config.nats_url.clone(),
            nats_passwords: config.nats_passwords.clone(),
            database_url: config.database_url.clone(),
            owner_database_url: config.owner_database_url.clone(),
            api_url: Some(format!("http://{}", config.listen)),
            broadcaster_id: Some(config.broadcaster_id.clone()),
            eventsub_secret: Some(config.eventsub_secret.clone()),
        };
        write_private(&servers.data.join(CONNECT_FILE), &serde_json::to_vec_pretty(&connect)?)?;
        Ok(config)
    }
}

/// Ctrl-C and SIGTERM: the first asks, the second insists.
struct Stop {
    asked: CancellationToken,
    insisted: CancellationToken,
}

impl Stop {
    fn on_signals() -> anyhow::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = Self { asked: CancellationToken::new(), insisted: CancellationToken::new() };
        let (asked, insisted) = (stop.asked.clone(), stop.insisted.clone());
        tokio::spawn(async move {
            for step in [asked, insisted] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                step.cancel();
            }
        });
        Ok(stop)
    }
}

/// Migrates, applies streams.yaml, and returns the key that the overlay's address carries.
async fn prepare(config: &Config, servers: &embedded::Connections) -> anyhow::Result<String> {
    let mut owner = PgConnection::connect(&servers.owner_database_url).await?;
    journal::MIGRATOR.run(&mut owner).await.context("the database could not be migrated")?;
    owner.close().await?;

    let broker = Broker::new(config.broker());
    let jetstream = async_nats::jetstream::new(broker.client(Role::Admin).await?);
    let steps = streams::apply(&jetstream, &StreamsFile::built_in()?).await?;
    if let Some(refused) = steps.iter().find(|step| step.is_refused()) {
        bail!("streams.yaml cannot be applied: {refused}; see `tapedeck streams plan`");
    }
    overlay_key(config, &servers.data.join("overlay.key")).await
}

/// The key of the last run, unless it was revoked or lost; then a new one.
async fn overlay_key(config: &Config, path: &Path) -> anyhow::Result<String> {
    let pool = open_database(&config.database_url, 1, "up").await?;
    if let Ok(kept) = std::fs::read_to_string(path)
        && Keys::new(pool.clone()).verify(kept.trim()).await?.is_some()
    {
        return Ok(kept.trim().to_owned());
    }
    let (_, text) = keys::issue(&pool, "overlay", &[Scope::FeedRead]).await?;
    write_private(path, text.as_bytes())?;
    pool.close().await;
    Ok(text)
}

/// The address that was asked for, or a free port beside the ordinary one when that is taken and
/// nobody asked for it.
fn address(
    flag: Option<SocketAddr>,
    configured: SocketAddr,
    ordinary: SocketAddr,
    name: &str,
) -> anyhow::Result<SocketAddr> {
    let wanted = flag.unwrap_or(configured);
    match TcpListener::bind(wanted) {
        Ok(listener) => Ok(listener.local_addr()?),
        Err(_) if flag.is_none() && wanted == ordinary => {
            let listener = TcpListener::bind((wanted.ip(), 0)).context("no port is free")?;
            Ok(listener.local_addr()?)
        }
        Err(error) => Err(error).with_context(|| {
            format!("cannot listen on {wanted}: choose another address with {name}")
        }),
    }
}

/// Written beside and moved into place, readable by its owner only.
fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Progress goes to the standard error, so that the standard output is the screen alone.
fn say(words: &str) {
    eprintln!("{words}");
}

/// Where everything is, how to stop it, and what to try next.
fn screen(
    config: &Config,
    servers: &embedded::Connections,
    overlay_key: &str,
    took: Duration,
) -> String {
    let data = servers.data.display();
    let base = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let base = base.trim_end_matches('/');
    let postgres = without_password(&servers.database_url);
    let program = std::env::args().next().unwrap_or_else(|| "tapedeck".to_owned());
    let here = std::env::current_dir().is_ok_and(|folder| folder.join("data") == servers.data);
    let flag = if here { String::new() } else { format!(" --data {data}") };
    let mut text = format!("\nTapedeck is up, after {:.1} s.\n\n", took.as_secs_f64());
    let mut rows: Vec<(&str, String)> = vec![
        ("Overlay", format!("{base}/overlay#key={overlay_key}")),
        (
            "",
            "add it to OBS as a browser source; the key can read the feed and nothing else".into(),
        ),
        ("API", format!("{base}/api/v1, described in {base}/api/v1/openapi.json")),
        ("Webhooks", format!("{base}/webhooks/eventsub, for channel {}", config.broadcaster_id)),
        ("Health", format!("{base}/healthz, {base}/readyz")),
        ("Metrics", format!("http://{}/metrics", config.metrics_listen)),
        ("NATS", servers.nats_url.clone()),
        ("PostgreSQL", postgres),
        ("", format!("passwords and addresses: {data}/{CONNECT_FILE}, readable by you only")),
        ("Data", format!("{data}")),
        ("Logs", servers.data.join("logs").display().to_string()),
    ];
    for (name, value) in rows.drain(..) {
        text.push_str(&format!("  {name:<11}{value}\n"));
    }
    text.push_str("\nTry next, in another terminal:\n\n");
    for (command, what) in [
        ("simulate", "play a night of follows, cheers, subs and raids"),
        ("audit", "prove every balance from position 1"),
        ("events", "browse the journal"),
        ("key issue", "a key for the API"),
        ("--help", "everything else"),
    ] {
        let flag = if command.starts_with('-') { "" } else { &flag };
        text.push_str(&format!("  {:<44}{what}\n", format!("{program} {command}{flag}")));
    }
    text.push_str("\nCtrl-C stops everything in good order.\n");
    text
}

/// `postgres://user:password@host/…` without the password and the settings.
fn without_password(url: &str) -> String {
    let shown = url.split_once("://").and_then(|(scheme, rest)| {
        let (credentials, place) = rest.split_once('@')?;
        let user = credentials.split(':').next()?;
        let place = place.split('?').next()?;
        Some(format!("{scheme}://{user}@{place}"))
    });
    shown.unwrap_or_default()
}

// CONNECT (lead): `crate::cli::serve::serve` takes the place of this function. It has to call `ready` once it
// listens, return when `stop` is cancelled and all that was in hand is done, and stop the intake first.
async fn serve(
    _config: Config,
    stop: CancellationToken,
    ready: impl FnOnce(),
) -> anyhow::Result<()> {
    ready();
    stop.cancelled().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let url = "postgres://tapedeck:hush@127.0.0.1:5/tapedeck?sslmode=disable";
        assert_eq!(without_password(url), "postgres://tapedeck@127.0.0.1:5/tapedeck");
    }

    #[test]
    fn an_ordinary_address_gives_way_and_a_chosen_one_does_not() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("free");
        let wanted = taken.local_addr().expect("bound");
        let other = address(None, wanted, wanted, "--listen").expect("another port");
        assert_ne!(other.port(), wanted.port());
        let refusal = address(Some(wanted), wanted, wanted, "--listen").expect_err("taken");
        assert!(refusal.to_string().contains("--listen"), "{refusal}");
        let ordinary = "127.0.0.1:1".parse().expect("an address");
        assert!(address(None, wanted, ordinary, "--listen").is_err(), "it was configured");
    }
}
