//! `tapedeck eventsub`: what Twitch is asked to tell us, and whether it does.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::Utc;
use sqlx::PgPool;

use super::{EXIT_FAILED, Globals, print};
use crate::config::Config;
use crate::key_file::SEALING;
use crate::sealing::Sealer;
use crate::twitch::Versions;
use crate::twitch::accounts::Role;
use crate::twitch::eventsub::record::{self, Feed};
use crate::twitch::eventsub::round::{Report, State, Status};
use crate::twitch::eventsub::wanted::{Wanted, wanted};
use crate::twitch::secrets::listed::{self as secrets, Listed};
use crate::twitch::settings::Hearing;

/// How long a look at all subscriptions may take, with Twitch asking for patience now and then.
const SYNC_LIMIT: Duration = Duration::from_secs(300);
/// Within so long it has begun, if anybody listens.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const OFF: &str = "[twitch] names no application: set twitch.client_id and broadcaster_id, then `tapedeck connect`";
/// How many versions of the secret are shown.
const SECRETS_SHOWN: usize = 4;

/// Show what Twitch is asked to tell us and whether it does, or have it put right now
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck eventsub list        each type: enabled, pending or failing, and why\n  \
    tapedeck eventsub sync        look at all of them now, instead of within the hour\n  \
    tapedeck eventsub rotate      have webhooks signed with another secret")]
pub struct EventSub {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show each type that is wanted, and how its subscription is
    List {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have `tapedeck serve` look at all subscriptions now, and make them what is wanted
    ///
    /// Exits 1 when something is still failing after it.
    Sync {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Have Twitch sign webhooks with another secret
    ///
    /// `tapedeck serve` makes every subscription anew with it, beside the old one, so that nothing is missed and nothing
    /// counts twice. The old secret is believed until its last subscription is gone, and for secret_grace_s more. A
    /// secret that stands in the configuration is changed there: then this says where, and exits 1.
    Rotate,
}

impl EventSub {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("eventsub").await?;
        if config.twitch.hearing(&config.broadcaster_id).is_none() {
            bail!(OFF);
        }
        match self.command {
            Command::List { json } => {
                let feed = record::find(&pool, &config.broadcaster_id).await?;
                let secrets = secrets::list(&pool).await?;
                if json {
                    let mut all = serde_json::to_value(&feed)?;
                    if let Some(keys) = all.as_object_mut() {
                        keys.insert("secrets".to_owned(), serde_json::to_value(&secrets)?);
                    }
                    print::json(&all)?;
                } else {
                    list(&config, feed.as_ref(), &secrets)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Sync { json } => {
                let report = sync(&pool, &config.broadcaster_id).await?;
                if json {
                    print::json(&report)?;
                } else {
                    print::text(&words(&report))?;
                }
                let well = report.failed.is_none() && report.count(State::Failing) == 0;
                Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
            }
            Command::Rotate => rotate(&config, &pool).await,
        }
    }
}

/// Makes another secret, where it is ours to make.
async fn rotate(config: &Config, pool: &PgPool) -> anyhow::Result<ExitCode> {
    if !config.keeps_webhooks() {
        print::text("Nothing is signed: Twitch tells us what happens over a WebSocket.")?;
        return Ok(ExitCode::from(EXIT_FAILED));
    }
    let path = config.sealing_key_path().ok_or_else(|| SEALING.nowhere())?;
    let grace_s = config.twitch.eventsub.secret_grace_s;
    let sealer = Sealer::load_or_make(&path)?;
    let versions = Versions::new(pool.clone(), sealer, Duration::from_secs(grace_s));
    match (config.eventsub_secret.is_empty(), versions.rotate().await?) {
        (true, Some(version)) => {
            print::text(&format!(
                "Version {version} is made. Subscriptions follow within seconds where `tapedeck serve` runs; the secret \
                 before is believed until the last is gone, and {grace_s} s more. `tapedeck eventsub list` shows it.",
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            print::text(
                "The secret stands in the configuration: change eventsub_secret there (tapedeck.toml, \
                 TAPEDECK_EVENTSUB_SECRET, or connect.json of `tapedeck up`), and the rest follows. Without one there, \
                 Tapedeck makes its own, and this replaces it.",
            )?;
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

/// Asks whoever listens, and waits for what comes of it.
async fn sync(pool: &PgPool, broadcaster: &str) -> anyhow::Result<Report> {
    let asked = record::ask(pool, broadcaster).await?;
    let asked = asked.context("nobody ever listened: start `tapedeck serve` or `tapedeck up`")?;
    let answered = async {
        loop {
            let feed = record::find(pool, broadcaster).await?;
            if let Some(Feed { answered, report: Some(report), .. }) = feed
                && answered >= asked
            {
                return anyhow::Ok(report);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let late = "nobody looked at them: is `tapedeck serve` running, and connected to Twitch?";
    tokio::time::timeout(SYNC_LIMIT, answered).await.context(late)?
}

fn list(config: &Config, feed: Option<&Feed>, secrets: &[Listed]) -> anyhow::Result<()> {
    let settings = &config.twitch.eventsub;
    let reader = match settings.user_id.as_str() {
        "" => &config.broadcaster_id,
        user => user,
    };
    let all = wanted(&config.broadcaster_id, reader, &settings.leave_out);
    let names = ["type", "version", "state", "cost", "secret", "since (UTC)", "why"];
    let mut table = print::table(&names, &[3, 4]);
    for one in &all {
        table.add_row(row(one, feed.and_then(|feed| feed.report.as_ref()), secrets));
    }
    print::rows(table)?;
    if config.keeps_webhooks() && !secrets.is_empty() {
        let said: Vec<String> = secrets.iter().take(SECRETS_SHOWN).map(secret_words).collect();
        print::text(&format!("\nSecrets: {}.", said.join("; ")))?;
    }
    let Some(feed) = feed else {
        let first = match config.twitch.hearing(&config.broadcaster_id) {
            Some(Hearing::Account(role)) if role != Role::App => {
                format!("connect an account (`tapedeck connect {role}`), and ")
            }
            _ => String::new(),
        };
        let words =
            format!("\nNobody listened yet: {first}start `tapedeck serve` or `tapedeck up`.");
        return print::text(&words);
    };
    let why = feed.why.as_deref().map(|why| format!(" ({})", print::harmless(why)));
    print::text(&format!(
        "\n{}: {} since {} UTC{}.",
        feed.transport,
        feed.state,
        print::time(feed.since),
        why.unwrap_or_default(),
    ))?;
    match &feed.report {
        Some(report) => print::text(&words(report)),
        None => Ok(()),
    }
}

/// What there is to say of a secret, without it.
fn secret_words(secret: &Listed) -> String {
    let Listed { version, configured, made_at, replaced_at, until, .. } = secret;
    let whose = if *configured { "configured" } else { "ours" };
    let how = match (replaced_at, until) {
        (None, _) => format!("the one, since {} UTC", print::time(*made_at)),
        (Some(at), None) => {
            let at = print::time(*at);
            format!("replaced {at} UTC, believed while subscriptions are left of it")
        }
        (_, Some(until)) if *until > Utc::now() => {
            format!("believed until {} UTC", print::time(*until))
        }
        (_, Some(until)) => format!("not believed since {} UTC", print::time(*until)),
    };
    format!("version {version} ({whose}) is {how}")
}

fn row(one: &Wanted, report: Option<&Report>, secrets: &[Listed]) -> [String; 7] {
    let found = report.and_then(|report| report.statuses.iter().find(|is| is.wanted == *one));
    let (kind, version) = (one.kind.clone(), one.version.clone());
    match found {
        None => {
            let nothing = String::new;
            let wanted = "wanted".to_owned();
            [kind, version, wanted, nothing(), nothing(), nothing(), nothing()]
        }
        Some(status) => [
            kind,
            version,
            status.state.name().to_owned(),
            print::points(status.cost),
            version_of(status, secrets),
            print::time(status.at),
            print::harmless(status.why.as_deref().unwrap_or_default()),
        ],
    }
}

/// The version of the secret that it was made with.
fn version_of(status: &Status, secrets: &[Listed]) -> String {
    let Some(name) = &status.secret else { return String::new() };
    let found = secrets.iter().find(|secret| secret.name == *name);
    found.map_or_else(|| "unknown".to_owned(), |secret| secret.version.to_string())
}

/// What a look came to, in a few sentences.
fn words(report: &Report) -> String {
    let [enabled, pending, failing] =
        [State::Enabled, State::Pending, State::Failing].map(|state| report.count(state));
    let made = &report.made;
    let failed = match &report.failed {
        Some(why) => format!(" Not all could be looked at: {}.", print::harmless(why)),
        None => String::new(),
    };
    format!(
        "Looked at {} UTC: {enabled} enabled, {pending} pending, {failing} failing; {} removed, {} left alone; cost {} \
         of {}. Calls: {}, of which to list {}, to make {}, to remove {}, and once more {}.{failed}",
        print::time(report.at),
        report.removed,
        report.left,
        report.cost.total,
        report.cost.max,
        made.all(),
        made.pages,
        made.creations,
        made.deletions,
        made.again,
    )
}
