//! `tapedeck up`: everything on this machine, with nothing to configure.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Globals;
use super::serve::{Ready, Role, serve};
use crate::config::{CONNECT_FILE, Config, Connect, open_database};
use crate::embedded::{self, Connections, Options, Servers};
use crate::http::keys::{self, Keys, Scope};
use crate::{observe, twitch};

pub(super) const QUIET: &str = "warn";

/// Run everything on this machine: private servers, the API, the feed and the overlay
///
/// Starts a nats-server and a PostgreSQL of its own under the data folder, migrates the database,
/// applies streams.yaml, and serves until Ctrl-C, which stops everything in good order. Nothing has
/// to be configured, and servers that happen to run on this machine are neither needed nor touched.
///
/// While it runs, the other commands find it through the data folder: try `tapedeck simulate`,
/// `tapedeck audit` and `tapedeck events` in another terminal, in the same working folder.
///
/// It logs warnings only, so that what it says at the start stays in view; TAPEDECK_LOG=info shows
/// more.
#[derive(Debug, clap::Args)]
pub struct Up {
    /// Where to answer HTTP: the API, the feed, the overlay and the webhooks [default:
    /// 127.0.0.1:8090, or a free port when that one is taken]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to answer Prometheus [default: 127.0.0.1:9464, or a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
}

impl Up {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let started = Instant::now();
        let config = self.config(globals)?;
        let observed = observe::begin(&config)?;
        let stop = Stop::on_signals()?;
        say(&format!("Starting the private servers in {} …", globals.data().display()));
        let mut servers = tokio::select! {
            servers = Servers::start(Options::new(globals.data())) => servers?,
            () = stop.asked.cancelled() => return Ok(ExitCode::from(130)),
        };
        let connections = servers.connections();
        let served = tokio::select! {
            served = serve_with(config, &connections, &stop, async |config, ready| {
                let (config, key) = leave_word(config, &connections, ready).await?;
                println!("{}", screen(&config, &connections, &key, started.elapsed()));
                Ok(())
            }) => served,
            error = servers.keep_running() => Err(error),
            () = stop.insisted.cancelled() => Ok(()),
        };
        // Nothing of ours uses them any more, whether it ended well or not.
        say("Stopping the private servers …");
        let stopped = servers.stop().await;
        observed.end().await;
        served.and(stopped)?;
        say("Everything has stopped.");
        Ok(ExitCode::SUCCESS)
    }

    /// What is configured, and for a newcomer what is not: a channel, a secret, free ports.
    fn config(&self, globals: &Globals) -> anyhow::Result<Config> {
        let before = Connect::read(globals.data())?;
        let mut config = globals.config_over(before.map(Connect::lasting))?;
        let ordinary = Config::default();
        config.listen = address(self.listen, config.listen, ordinary.listen, "--listen")?;
        config.metrics_listen = address(
            self.metrics_listen,
            config.metrics_listen,
            ordinary.metrics_listen,
            "--metrics-listen",
        )?;
        config.or_example();
        if config.eventsub_secret.is_empty() {
            config.eventsub_secret = embedded::random_secret();
        }
        // The screen stays in view: the terminal gets only what needs somebody's attention.
        if config.log == ordinary.log {
            config.log = QUIET.to_owned();
        }
        Ok(config)
    }
}

/// Serves on the private servers until asked to stop, and does `then` once all runs.
pub(super) async fn serve_with(
    mut config: Config,
    servers: &Connections,
    stop: &Stop,
    then: impl AsyncFnOnce(Config, Ready) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    config.nats_url = servers.nats_url.clone();
    config.nats_passwords = servers.nats_passwords.clone();
    config.database_url = servers.database_url.clone();
    config.owner_database_url = Some(servers.owner_database_url.clone());
    let (ready, is_ready) = oneshot::channel();
    let serving = serve(config.clone(), &Role::ALL, stop.asked.clone(), |all| {
        let _ = ready.send(all);
    });
    tokio::pin!(serving);
    let announcing = async {
        // Without an answer `serve` has ended, which says more.
        let Ok(ready) = is_ready.await else { return Ok(()) };
        then(config, ready).await
    };
    let announced = tokio::select! {
        served = &mut serving => return served,
        announced = announcing => announced,
    };
    if announced.is_err() {
        stop.asked.cancel();
    }
    let served = tokio::select! {
        served = &mut serving => served,
        () = stop.asked.cancelled() => {
            say("Stopping: nothing new is taken in, what is in hand is finished. Ctrl-C again does not wait.");
            serving.await
        }
    };
    announced.and(served)
}

/// Says where everything is to the other commands; gives that, and the key of the overlay.
pub(super) async fn leave_word(
    mut config: Config,
    servers: &Connections,
    Ready { listen, metrics_listen }: Ready,
) -> anyhow::Result<(Config, String)> {
    config.listen = listen.unwrap_or(config.listen);
    config.metrics_listen = metrics_listen;
    let (broadcaster_id, is_example) = Connect::channel(&config);
    let connect = Connect {
        nats_url: config.nats_url.clone(),
        nats_passwords: config.nats_passwords.clone(),
        database_url: config.database_url.clone(),
        owner_database_url: config.owner_database_url.clone(),
        api_url: Some(format!("http://{}", config.listen)),
        broadcaster_id,
        is_example,
        eventsub_secret: Some(config.eventsub_secret.clone()),
    };
    write_private(&servers.data.join(CONNECT_FILE), &serde_json::to_vec_pretty(&connect)?)?;
    let key = overlay_key(&config, &servers.data.join("overlay.key")).await?;
    Ok((config, key))
}

/// Ctrl-C and SIGTERM: the first asks, the second insists.
pub(super) struct Stop {
    pub(super) asked: CancellationToken,
    pub(super) insisted: CancellationToken,
}

impl Stop {
    pub(super) fn on_signals() -> anyhow::Result<Self> {
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

/// The key of the last run, unless it was revoked or lost; then a new one.
async fn overlay_key(config: &Config, path: &Path) -> anyhow::Result<String> {
    let pool = open_database(&config.database_url, 1, "up").await?;
    let scopes = [Scope::FeedRead, Scope::StageOverlay];
    if let Ok(kept) = std::fs::read_to_string(path)
        && let Some((key, _)) = Keys::new(pool.clone()).verify(kept.trim()).await?
    {
        // One of before there was a stage stands in OBS already.
        keys::allow(&pool, key.id, &scopes).await?;
        return Ok(kept.trim().to_owned());
    }
    let (_, text) = keys::issue(&pool, "overlay", &scopes).await?;
    write_private(path, text.as_bytes())?;
    pool.close().await;
    Ok(text)
}

/// The address that was asked for, or a free port beside the ordinary one when that is taken and
/// nobody asked for it.
pub(super) fn address(
    flag: Option<SocketAddr>,
    configured: SocketAddr,
    ordinary: SocketAddr,
    name: &str,
) -> anyhow::Result<SocketAddr> {
    let wanted = flag.unwrap_or(configured);
    match TcpListener::bind(wanted) {
        Ok(_) => Ok(wanted),
        Err(_) if flag.is_none() && wanted == ordinary => Ok(SocketAddr::new(wanted.ip(), 0)),
        Err(error) => Err(error).with_context(|| {
            format!("cannot listen on {wanted}: choose another address with {name}")
        }),
    }
}

/// Written beside and moved into place, readable by its owner only.
pub(super) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
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
pub(super) fn say(words: &str) {
    eprintln!("{words}");
}

/// Where everything is, how to stop it, and what to try next.
fn screen(config: &Config, servers: &Connections, overlay_key: &str, took: Duration) -> String {
    let data = servers.data.display();
    let base = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let base = base.trim_end_matches('/');
    let channel = match config.broadcaster_id.as_str() {
        "" => "no channel yet: `connect` says which is yours".to_owned(),
        id => format!("channel {id}"),
    };
    let postgres = without_password(&servers.database_url);
    let program = std::env::args().next().unwrap_or_else(|| "tapedeck".to_owned());
    let here = std::env::current_dir().is_ok_and(|folder| folder.join("data") == servers.data);
    let flag = if here { String::new() } else { format!(" --data {data}") };
    let mut text = format!("\nTapedeck is up, after {:.1} s.\n\n", took.as_secs_f64());
    let rows: [(&str, String); 11] = [
        ("Overlay", format!("{base}/overlay#key={overlay_key}")),
        (
            "",
            "add it to OBS as a browser source; the key shows alerts and does nothing else".into(),
        ),
        ("API", format!("{base}/api/v1, described in {base}/api/v1/openapi.json")),
        ("Webhooks", format!("{base}{}, for {channel}", twitch::webhook::PATH)),
        ("Health", format!("{base}/healthz, {base}/readyz")),
        ("Metrics", format!("http://{}/metrics", config.metrics_listen)),
        ("NATS", servers.nats_url.clone()),
        ("PostgreSQL", postgres),
        ("", format!("passwords and addresses: {data}/{CONNECT_FILE}, readable by you only")),
        ("Data", format!("{data}")),
        ("Logs", servers.data.join("logs").display().to_string()),
    ];
    for (name, value) in rows {
        text.push_str(&format!("  {name:<11}{value}\n"));
    }
    text.push_str("\nTry next, in another terminal:\n\n");
    let commands = [
        ("simulate", "play a night of follows, cheers, subs and raids"),
        ("audit", "prove every balance from position 1"),
        ("events", "browse the journal"),
        ("key issue --name me --scope admin", "a key for the API"),
        ("doctor", "say what is well and what is not"),
    ]
    .map(|(command, what)| (format!("{program} {command}{flag}"), what));
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in &commands {
        text.push_str(&format!("  {command:<width$}   {what}\n"));
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
        assert_eq!(other.port(), 0, "the system chooses one");
        let refusal = address(Some(wanted), wanted, wanted, "--listen").expect_err("taken");
        assert!(refusal.to_string().contains("--listen"), "{refusal}");
        let ordinary = "127.0.0.1:1".parse().expect("an address");
        assert!(address(None, wanted, ordinary, "--listen").is_err(), "it was configured");
    }
}
