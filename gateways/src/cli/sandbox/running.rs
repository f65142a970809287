//! A sandbox that runs.

use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sqlx::PgPool;

use super::settings::{self, Rehearsal};
use crate::cli::up::{Stop, address, leave_word, say, serve_with, write_private};
use crate::cli::{Globals, serve::Ready};
use crate::config::{Config, open_database};
use crate::embedded::{Connections, Options, Servers};
use crate::http::keys::{self, Keys, Scope};
use crate::observe;
use crate::sandbox::control::{self, Control};
use crate::sandbox::{Outside, twitch};
use crate::twitch::Accounts;
use crate::twitch::accounts::{Role, scopes};
use crate::twitch::eventsub::record;
use crate::twitch::eventsub::wanted::wanted;
use crate::twitch::oauth::Polled;

/// Where Tapedeck and the fakes answer, unless something else does.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_091);
const PORT: u16 = 8_092;
/// How long Tapedeck may take to subscribe to everything.
const SUBSCRIBED_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs it until somebody stops it.
pub async fn run(
    globals: &Globals,
    folder: PathBuf,
    port: Option<u16>,
    rehearsal: Rehearsal,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mine = globals.config()?;
    std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let folder = folder.canonicalize()?;
    settings::takes(&folder)?;
    let outside = outside(port).await?;
    let listen = with_port(address(rehearsal.listen, LISTEN, LISTEN, "--listen")?)?;
    let config = settings::pointed(mine, &rehearsal, listen, &outside)?;
    let text = settings::text(&config)?;
    let config = settings::read_back(&text, &folder)?;
    let observed = observe::begin(&config)?;
    let stop = Stop::on_signals()?;
    say(&format!("Starting the private servers in {} …", folder.display()));
    let mut servers = tokio::select! {
        servers = Servers::start(Options::new(&folder)) => servers?,
        () = stop.asked.cancelled() => return Ok(ExitCode::from(130)),
    };
    // From here on the folder is ours.
    let connections = servers.connections();
    let sandbox = Running { outside, folder, started };
    let served = tokio::select! {
        served = sandbox.serve(config, &text, &connections, &stop) => served,
        error = servers.keep_running() => Err(error),
        () = stop.insisted.cancelled() => Ok(()),
    };
    let _ = std::fs::remove_file(sandbox.folder.join(control::FILE));
    say("Stopping the private servers …");
    let stopped = servers.stop().await;
    observed.end().await;
    served.and(stopped)?;
    say("Everything has stopped.");
    Ok(ExitCode::SUCCESS)
}

/// At the port that was asked for, or at the ordinary one, or at a free one where nobody asked.
async fn outside(port: Option<u16>) -> anyhow::Result<Arc<Outside>> {
    match Outside::start(port.unwrap_or(PORT)).await {
        Err(error) if port.is_none() && error.kind() == io::ErrorKind::AddrInUse => {
            Ok(Outside::start(0).await?)
        }
        other => other.context("the fake Twitch cannot answer there: choose another --port"),
    }
}

/// An address with a port of its own: the file names it before anybody listens there.
fn with_port(address: SocketAddr) -> io::Result<SocketAddr> {
    match address.port() {
        0 => TcpListener::bind(address)?.local_addr(),
        _ => Ok(address),
    }
}

struct Running {
    outside: Arc<Outside>,
    folder: PathBuf,
    started: Instant,
}

impl Running {
    async fn serve(
        &self,
        config: Config,
        text: &str,
        servers: &Connections,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        let _ = std::fs::remove_file(self.folder.join(control::FILE));
        write_private(&self.folder.join(settings::FILE), text.as_bytes())?;
        forget(&config, servers).await;
        let (_control, control) = Control::start(&self.outside).await?;
        // Whoever subscribes before the first answer is asked again until there is one.
        self.outside.eventsub.is_found_at(vec![config.listen]);
        serve_with(config, servers, stop, async |config, ready: Ready| {
            if let Some(listen) = ready.listen {
                self.outside.eventsub.is_found_at(vec![listen]);
            }
            let (config, overlay) = leave_word(config, servers, ready).await?;
            let pool = open_database(&config.database_url, 2, "sandbox").await?;
            say("Connecting the broadcaster and the bot, to whom the fake Twitch says yes …");
            connect(&config, &pool, &self.outside).await?;
            let subscribed = self.is_subscribed(&config).await;
            let key = api_key(&pool, &self.folder.join("api.key")).await?;
            pool.close().await;
            let path = self.folder.join(control::FILE);
            write_private(&path, &serde_json::to_vec_pretty(&control)?)?;
            if !subscribed {
                say("Tapedeck has not subscribed to everything yet: `eventsub list` says why.");
            }
            println!("{}", self.screen(&config, &overlay, &key));
            Ok(())
        })
        .await
    }

    /// Whether Tapedeck hears of everything, within the time that it has for it.
    async fn is_subscribed(&self, config: &Config) -> bool {
        let settings = &config.twitch.eventsub;
        let all = wanted(&config.broadcaster_id, &config.broadcaster_id, &settings.leave_out).len();
        let subscribed = async {
            while self.outside.eventsub.enabled() < all {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(SUBSCRIBED_LIMIT, subscribed).await.is_ok()
    }

    /// Where everything is, and what to try.
    fn screen(&self, config: &Config, overlay: &str, key: &str) -> String {
        let here = std::env::current_dir().unwrap_or_default();
        let folder = self.folder.strip_prefix(&here).unwrap_or(&self.folder);
        let base = format!("http://{}", config.listen);
        let program = std::env::args().next().unwrap_or_else(|| "tapedeck".to_owned());
        let outside = self.outside.address();
        let mut text = format!(
            "\nThe sandbox is up, after {:.1} s.\n\n",
            self.started.elapsed().as_secs_f64()
        );
        for (name, value) in [
            ("Overlay", format!("{base}/overlay#key={overlay}")),
            ("", "open it in a browser, or add it to OBS as a browser source".to_owned()),
            ("API", format!("{base}/api/v1, with the key {key}")),
            ("Log in", format!("http://localhost:{}/api/v1/login", config.listen.port())),
            (
                "Twitch",
                format!("http://{outside}, chat over IRC at {}", self.outside.irc.address()),
            ),
            ("OpenAI", self.outside.openai_url()),
            ("Discord", self.outside.discord_url()),
            (
                "Folder",
                format!("{}, for the next time too; remove it to begin anew", folder.display()),
            ),
        ] {
            let _ = writeln!(text, "  {name:<9}{value}");
        }
        text.push_str("\nTry next, in another terminal:\n\n");
        let stronger = settings::stronger(std::env::vars_os().map(|(name, _)| name));
        if !stronger.is_empty() {
            // They would lead past the sandbox.
            let _ = writeln!(text, "  unset {}", stronger.join(" "));
        }
        let file = folder.join(settings::FILE);
        let (data, file) = (settings::quoted(folder), settings::quoted(&file));
        let _ = writeln!(text, "  export TAPEDECK_DATA={data} TAPEDECK_CONFIG={file}");
        let played = [
            ("online", "the channel goes live"),
            (
                "cheer --viewer ada --bits 300 \"ghost of a toaster\"",
                "an alert, points, and a picture",
            ),
            ("say --viewer ada '!balance'", "a question in chat"),
            ("trouble away 20", "Twitch is gone for a while"),
        ]
        .map(|(command, what)| (format!("sandbox {command}"), what));
        let ada = self.outside.twitch.person("ada").map(|ada| ada.id.to_string());
        let looked = [
            (format!("balance {}", ada.unwrap_or_default()), "the points of ada"),
            ("gaps".to_owned(), "what may have been missed"),
            ("audit".to_owned(), "the proof of it all"),
        ];
        let all = played.into_iter().chain(looked);
        let all: Vec<_> =
            all.map(|(command, what)| (format!("{program} {command}"), what)).collect();
        let width = all.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        for (command, what) in all {
            let _ = writeln!(text, "  {command:<width$}   {what}");
        }
        text.push_str("\nCtrl-C stops everything.\n");
        text
    }
}

/// What an earlier fake has granted is worth nothing at this one.
async fn forget(config: &Config, servers: &Connections) {
    // On the first start there is nothing to read yet.
    let Ok(pool) = open_database(&servers.database_url, 1, "sandbox").await else { return };
    if let Ok(Some(accounts)) = Accounts::new(config, pool.clone()) {
        for role in Role::ALL {
            let _ = accounts.forget(role).await;
        }
    }
    pool.close().await;
}

/// Connects both accounts as `tapedeck connect` does, and says yes.
async fn connect(config: &Config, pool: &PgPool, outside: &Outside) -> anyhow::Result<()> {
    let accounts = Accounts::new(config, pool.clone())?.context("no application is configured")?;
    for (role, person) in [(Role::Broadcaster, twitch::BROADCASTER), (Role::Bot, twitch::BOT)] {
        let needs = scopes::needs(config, role);
        let asked = scopes::asked(&needs);
        if asked.is_empty() {
            continue;
        }
        outside.twitch.says_yes(person);
        let device = accounts.oauth.begin_device(&asked).await?;
        let Polled::Granted(grant) = accounts.oauth.poll_device(&device, &asked).await? else {
            bail!("the fake Twitch does not say yes as the {role}");
        };
        accounts.connect(role, &grant).await?;
    }
    outside.twitch.says_yes(twitch::BROADCASTER);
    let _ = record::ask(pool, &config.broadcaster_id).await;
    Ok(())
}

/// A key that may do everything here; that of the last time, as long as it is good.
async fn api_key(pool: &PgPool, path: &Path) -> anyhow::Result<String> {
    if let Ok(kept) = std::fs::read_to_string(path)
        && Keys::new(pool.clone()).verify(kept.trim()).await?.is_some()
    {
        return Ok(kept.trim().to_owned());
    }
    let (_, text) = keys::issue(pool, "sandbox", &[Scope::Admin]).await?;
    write_private(path, text.as_bytes())?;
    Ok(text)
}
