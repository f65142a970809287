//! `tapedeck demo`: a stream night from end to end on servers of its own, and the proof that nothing went wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use journal::broker::{Broker, Role};
use journal::positions::Positions;
use rustix::process::{Pid, Signal};
use sqlx::PgPool;
use tokio::process::{Child, Command};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Connect, open_database};
use crate::embedded;
use crate::simulate::{ExpectedAlert, Night, Options, Pace, Shown, play, watch};
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
    0  every balance, every alert and the audit agree\n  \
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
        let stage = Stage::open().await?;
        let played = tokio::select! {
            played = self.play(&stage) => played,
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
        };
        let closed = stage.close().await;
        let code = played?;
        closed?;
        Ok(code)
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
        let night = Arc::new(night.for_broadcaster(&stage.broadcaster));
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
        stage.settle().await?;

        let expected = night.expected_points();
        let wrong = stage.wrong_balances(&expected).await?;
        println!("{:>6} balances are what an independent sum says", expected.len() - wrong.len());
        wrong.iter().for_each(|line| println!("WRONG: {line}"));
        let missing = alerts_agree(night.expected_alerts(), &shown).await;
        match &missing {
            None => println!("{:>6} alerts were shown, each once\n", night.expected_alerts().len()),
            Some(what) => println!("WRONG: {what}\n"),
        }
        let richest = expected.iter().max_by_key(|(_, points)| **points);
        if let Some((viewer, _)) = richest {
            println!("Why does viewer {viewer} have their points? tapedeck statement {viewer}\n");
            stage.tapedeck(&["statement", viewer]).await?;
        }
        println!("\nAnd the proof, from position 1: tapedeck audit\n");
        let audited = stage.tapedeck(&["audit"]).await?;
        Ok(if wrong.is_empty() && missing.is_none() { audited } else { ExitCode::from(3) })
    }
}

/// A `tapedeck up` in a folder of its own.
struct Stage {
    folder: PathBuf,
    up: Child,
    base: String,
    key: String,
    broadcaster: String,
    secret: Secret,
    pool: PgPool,
    broker: Broker,
}

impl Stage {
    async fn open() -> anyhow::Result<Self> {
        let folder = embedded::temporary_folder()?;
        let mut up = Command::new(std::env::current_exe()?)
            .arg("--data")
            .arg(&folder)
            .args(["up", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
            .env_remove("TAPEDECK_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.with_extension("log"))?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start `tapedeck up`")?;
        println!("Starting a private nats-server and PostgreSQL …");
        let connect = tokio::time::timeout(PATIENCE, connected(&mut up, &folder))
            .await
            .context("`tapedeck up` did not come up in time")??;
        let key = std::fs::read_to_string(folder.join("overlay.key"))?.trim().to_owned();
        let pool = open_database(&connect.database_url, 4, "demo").await?;
        let broker = Broker::new(journal::broker::BrokerConfig {
            url: connect.nats_url,
            passwords: connect.nats_passwords,
        });
        Ok(Stage {
            folder,
            up,
            base: connect.api_url.context("`tapedeck up` named no address")?,
            key,
            broadcaster: connect.broadcaster_id.unwrap_or_default(),
            secret: Secret::new(connect.eventsub_secret.unwrap_or_default())?,
            pool,
            broker,
        })
    }

    /// Waits until every command is decided and every projection has seen what came of it.
    async fn settle(&self) -> anyhow::Result<()> {
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
        let status = Command::new(std::env::current_exe()?)
            .arg("--data")
            .arg(&self.folder)
            .args(arguments)
            .status()
            .await?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }

    async fn close(mut self) -> anyhow::Result<()> {
        self.pool.close().await;
        self.broker.close().await;
        let id = self.up.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            rustix::process::kill_process(id, Signal::INT)?;
        }
        let ended = tokio::time::timeout(PATIENCE, self.up.wait()).await;
        let status = ended.context("`tapedeck up` does not stop")??;
        ensure!(status.success(), "`tapedeck up` ended with {status}");
        std::fs::remove_dir_all(&self.folder)?;
        std::fs::remove_file(self.folder.with_extension("log"))?;
        Ok(())
    }
}

/// Waits until `up` has said where it is.
async fn connected(up: &mut Child, folder: &Path) -> anyhow::Result<Connect> {
    loop {
        if let Some(status) = up.try_wait()? {
            let log = std::fs::read_to_string(folder.with_extension("log")).unwrap_or_default();
            bail!("`tapedeck up` ended with {status}:\n{log}");
        }
        let is_up = folder.join("overlay.key").exists();
        if let (Some(connect), true) = (Connect::read(folder)?, is_up) {
            return Ok(connect);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `None` once the feed has shown exactly what it must; otherwise what was wrong in the end.
async fn alerts_agree(
    mut expected: Vec<ExpectedAlert>,
    shown: &Mutex<Vec<Shown>>,
) -> Option<String> {
    expected.sort();
    let agreed = async {
        loop {
            let mut found: Vec<ExpectedAlert> = {
                let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.iter().filter_map(ExpectedAlert::of).collect()
            };
            found.sort();
            if found == expected || found.len() > expected.len() {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, agreed).await;
    match found {
        Ok(found) if found == expected => None,
        Ok(found) => {
            Some(format!("{} alerts were shown and must be {}", found.len(), expected.len()))
        }
        Err(_) => Some(format!("not all of {} alerts were shown in time", expected.len())),
    }
}
