//! `tapedeck demo`: a stream night from end to end on servers of its own, and the proof that nothing went wrong.

mod agree;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use journal::broker::{Broker, Role};
use journal::positions::Positions;
use sqlx::PgPool;
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use self::agree::{alerts_agree, replies_agree};
use super::guard::StopSignal;
use crate::audit::proof::SignerKey;
use crate::config::{Connect, EXAMPLE_BROADCASTER, open_database};
use crate::embedded;
use crate::simulate::{Night, Options, Pace, Shown, play, watch};
use crate::twitch::{self, Secret};

/// How long starting, catching up and stopping may each take.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Play a simulated stream night from end to end, and prove every balance of it
///
/// Starts everything on private servers in a folder of its own, posts a night of signed EventSub webhooks, some of them
/// two or three times, reads the overlay's feed meanwhile, and ends with an audit. Open the overlay's address in a
/// browser while it plays. The folder is removed in the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck demo                      about half a minute\n  \
    tapedeck demo --speed max          as fast as it goes\n\n\
    EXIT CODES\n  \
    0  every balance, every alert, the audit and a viewer's proof agree\n  \
    3  something disagrees; it is named")]
pub struct Demo {
    /// Which night: the same seed is the same night
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many notifications it has
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    notifications: u32,
    /// How fast it passes: a number of times, or `max`
    #[arg(long, default_value = "600x", value_parser = super::simulate::pace)]
    speed: Pace,
}

impl Demo {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        // Listened for before anything starts, so that an impatient Ctrl-C leaves nothing behind.
        let interrupted = interrupted()?;
        let mut up = PrivateUp::start()?;
        let played = self.play_on(&mut up, interrupted).await;
        let stopped = up.stop().await;
        let code = played?;
        stopped?;
        Ok(code)
    }

    async fn play_on(
        &self,
        up: &mut PrivateUp,
        interrupted: impl Future<Output = ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        tokio::pin!(interrupted);
        let stage = tokio::select! {
            stage = Stage::open(up) => stage?,
            code = &mut interrupted => return Ok(code),
        };
        let played = tokio::select! {
            played = self.play(&stage) => played,
            code = interrupted => Ok(code),
        };
        stage.close().await;
        played
    }

    async fn play(&self, stage: &Stage) -> anyhow::Result<ExitCode> {
        println!("Tapedeck is up. Watch the alerts in a browser while the night plays:\n");
        println!("  {}/overlay#key={}\n", stage.base, stage.key);
        let shown: Arc<Mutex<Vec<Shown>>> = Arc::default();
        let watched = shown.clone();
        let feed = format!("{}/api/v1/feed", stage.base).parse()?;
        let _watcher = AbortOnDropHandle::new(tokio::spawn(watch(feed, stage.key.clone(), 0, {
            move |alert| watched.lock().unwrap_or_else(PoisonError::into_inner).push(alert)
        })));

        let night = Night::script(self.seed, self.notifications as usize);
        let night = night.for_broadcaster(&stage.broadcaster).with_requests().with_chat();
        let night = Arc::new(night);
        let options = Options {
            to: format!("{}{}", stage.base, twitch::webhook::PATH).parse()?,
            secret: stage.secret.clone(),
            pace: self.speed,
            senders: 8,
            duplicates: 2,
        };
        let style = "  {wide_bar:.cyan/blue} {pos}/{len} notifications, {elapsed}";
        let bar = ProgressBar::new(night.scenes.len() as u64)
            .with_style(ProgressStyle::with_template(style)?);
        let report = play(night.clone(), &options, |done| bar.set_position(done as u64)).await?;
        bar.finish_and_clear();
        println!(
            "The night is over: {} notifications in {} signed webhooks, {} of them taken.",
            report.notifications, report.requests, report.accepted
        );
        ensure!(report.all_accepted(), "not all were taken: {:?}", report.first_failure);
        stage.settle(night.requests()).await?;

        let expected = night.expected_points();
        let wrong = stage.wrong_balances(&expected).await?;
        println!("{:>6} balances are what an independent sum says", expected.len() - wrong.len());
        wrong.iter().for_each(|line| println!("WRONG: {line}"));
        println!("{:>6} pictures and ready-made alerts, each paid for once", night.requests());
        let unanswered =
            replies_agree(&stage.pool, &stage.broker, night.expected_replies()).await?;
        match &unanswered {
            None => {
                println!("{:>6} questions in chat, each answered once", night.expected_replies())
            }
            Some(what) => println!("WRONG: {what}"),
        }
        let missing = alerts_agree(night.expected_alerts(), &shown).await;
        match &missing {
            None => println!("{:>6} alerts were shown, each once\n", night.expected_alerts().len()),
            Some(what) => println!("WRONG: {what}\n"),
        }
        let richest = expected.iter().max_by_key(|(_, points)| **points);
        let viewer = richest.map(|(viewer, _)| viewer.as_str()).context("nobody has points")?;
        println!("Why does viewer {viewer} have their points? tapedeck statement {viewer}\n");
        stage.tapedeck(&["statement", viewer]).await?;
        println!("\nAnd the proof, from position 1: tapedeck audit --everything\n");
        let audited = stage.tapedeck(&["audit", "--everything"]).await?;
        let proved = stage.prove(viewer).await?;
        let agree = wrong.is_empty() && missing.is_none() && unanswered.is_none();
        Ok(match (agree, audited == ExitCode::SUCCESS) {
            (false, _) => ExitCode::from(3),
            (true, false) => audited,
            (true, true) => proved,
        })
    }
}

/// Resolves with the exit code of who was asked to stop.
fn interrupted() -> anyhow::Result<impl Future<Output = ExitCode>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => ExitCode::from(130),
            _ = terminate.recv() => ExitCode::from(143),
        }
    })
}

/// A `tapedeck up` in a folder of its own. Its guard stops it when this process is gone, however that came.
struct PrivateUp {
    folder: PathBuf,
    log: PathBuf,
    guard: Child,
    /// The guard stops `up` when this end of the pipe is gone.
    hold: Option<ChildStdin>,
}

impl PrivateUp {
    fn start() -> anyhow::Result<Self> {
        let folder = embedded::temporary_folder()?;
        let log = folder.join("up.log");
        let program = std::env::current_exe()?;
        let mut guard = Command::new(&program)
            .args(["guard", "--stop", StopSignal::Interrupt.name(), "--lock"])
            .arg(folder.join("up.lock"))
            .arg("--")
            .arg(&program)
            .arg("--data")
            .arg(&folder)
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .env_remove("TAPEDECK_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .process_group(0)
            .spawn()
            .context("cannot start `tapedeck up`")?;
        let hold = guard.stdin.take();
        Ok(PrivateUp { folder, log, guard, hold })
    }

    /// Waits until `up` has said where it is.
    async fn connected(&mut self) -> anyhow::Result<Connect> {
        loop {
            if let Some(status) = self.guard.try_wait()? {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("`tapedeck up` ended with {status}:\n{log}");
            }
            let is_up = self.folder.join("overlay.key").exists();
            if let (Some(connect), true) = (Connect::read(&self.folder)?, is_up) {
                return Ok(connect);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.hold.take());
        let ended = tokio::time::timeout(PATIENCE, self.guard.wait()).await;
        let status = ended.context("`tapedeck up` does not stop")??;
        tokio::time::timeout(PATIENCE, removed(&self.folder))
            .await
            .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        // Who is stopped while starting says so.
        let stopped = status.success() || status.code() == Some(130);
        ensure!(stopped, "`tapedeck up` ended with {status}");
        Ok(())
    }
}

/// Removes a folder in which servers may be ending still: `up` does not wait for those it was only starting.
async fn removed(folder: &Path) {
    while std::fs::remove_dir_all(folder).is_err_and(|error| error.kind() != ErrorKind::NotFound) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Where the night is played: what `up` runs, and ways into it.
struct Stage {
    folder: PathBuf,
    base: String,
    key: String,
    broadcaster: String,
    secret: Secret,
    pool: PgPool,
    broker: Broker,
}

impl Stage {
    async fn open(up: &mut PrivateUp) -> anyhow::Result<Self> {
        println!("Starting a private nats-server and PostgreSQL …");
        let connect = tokio::time::timeout(PATIENCE, up.connected())
            .await
            .context("`tapedeck up` did not come up in time")??;
        let folder = up.folder.clone();
        let key = std::fs::read_to_string(folder.join("overlay.key"))?.trim().to_owned();
        let pool = open_database(&connect.database_url, 4, "demo").await?;
        let broker = Broker::new(journal::broker::BrokerConfig {
            url: connect.nats_url,
            passwords: connect.nats_passwords,
        });
        Ok(Stage {
            folder,
            base: connect.api_url.context("`tapedeck up` named no address")?,
            key,
            broadcaster: connect.broadcaster_id.unwrap_or_else(|| EXAMPLE_BROADCASTER.to_owned()),
            secret: Secret::new(connect.eventsub_secret.unwrap_or_default())?,
            pool,
            broker,
        })
    }

    /// Waits until every command is decided, every picture is made and paid for, and every projection has seen what
    /// came of it.
    async fn settle(&self, pictures: usize) -> anyhow::Result<()> {
        let commands = self.broker.jetstream(Role::Admin).await?.get_stream("COMMANDS").await?;
        let last = i64::try_from(commands.cached_info().state.last_sequence)?;
        let decided = async {
            loop {
                let lowest: i64 = sqlx::query_scalar("SELECT min(cursor) FROM partitions")
                    .fetch_one(&self.pool)
                    .await?;
                if lowest >= last {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, decided).await.context("commands are left undecided")??;
        let paid = async {
            loop {
                let paid: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM projections.generations WHERE settlement IS NOT NULL",
                )
                .fetch_one(&self.pool)
                .await?;
                if paid >= i64::try_from(pictures)? {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(PATIENCE, paid).await.context("pictures are left unmade")??;
        let head = journal::head::read(&self.pool).await?.position;
        let positions = Positions::start(self.pool.clone(), &self.broker).await?;
        for projection in projections::all() {
            let name = projection.name();
            if let Err(at) = positions.wait(name, head, PATIENCE).await {
                bail!("{name} is still at {at} of {head}");
            }
        }
        Ok(())
    }

    /// The balances that are not what they must be.
    async fn wrong_balances(
        &self,
        expected: &BTreeMap<String, i64>,
    ) -> anyhow::Result<Vec<String>> {
        let found: BTreeMap<String, i64> = sqlx::query_as(
            "SELECT account, available FROM projections.balances WHERE credits <> 0",
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .collect();
        let viewers =
            expected.keys().chain(found.keys()).collect::<std::collections::BTreeSet<_>>();
        let points =
            |of: &BTreeMap<String, i64>, viewer: &String| of.get(viewer).copied().unwrap_or(0);
        Ok(viewers
            .into_iter()
            .filter(|viewer| points(expected, viewer) != points(&found, viewer))
            .map(|viewer| {
                let (has, must) = (points(&found, viewer), points(expected, viewer));
                format!("viewer {viewer} has {has} points and must have {must}")
            })
            .collect())
    }

    /// Runs another command of ours against this stage, on this terminal.
    async fn tapedeck(&self, arguments: &[&str]) -> anyhow::Result<ExitCode> {
        tapedeck(&self.folder, arguments).await
    }

    /// Writes a viewer's signed statement, and verifies it as the viewer can: with the file and the public key alone.
    async fn prove(&self, viewer: &str) -> anyhow::Result<ExitCode> {
        let file = self.folder.join(format!("{viewer}.proof"));
        let file = file.to_str().context("the folder's name is not text")?;
        println!(
            "\nThe same for viewer {viewer} to keep: tapedeck statement {viewer} --proof FILE\n"
        );
        let written = self.tapedeck(&["statement", viewer, "--proof", file]).await?;
        if written != ExitCode::SUCCESS {
            return Ok(written);
        }
        println!(
            "\nChecked without any server: tapedeck audit --verify-proof FILE --public-key KEY\n"
        );
        let key = SignerKey::load_or_make(&self.folder.join("signing.key"))?.public().to_string();
        // A folder without servers: what verifies has the file and the key, and nothing else.
        let nowhere = self.folder.join("nowhere");
        tapedeck(&nowhere, &["audit", "--verify-proof", file, "--public-key", &key]).await
    }

    async fn close(self) {
        self.pool.close().await;
        self.broker.close().await;
    }
}

async fn tapedeck(data: &Path, arguments: &[&str]) -> anyhow::Result<ExitCode> {
    let status = Command::new(std::env::current_exe()?)
        .arg("--data")
        .arg(data)
        .args(arguments)
        .kill_on_drop(true)
        .status()
        .await?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
