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
use crate::twitch::eventsub::overview::{self, OFF, Overview, Round, WantedNow};
use crate::twitch::secrets::listed::Listed;
use crate::twitch::settings::Hearing;

/// How long a look at all subscriptions may take, with Twitch asking for patience now and then.
const SYNC_LIMIT: Duration = Duration::from_secs(300);
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
                let now = overview::now(&pool, &config).await?;
                if json {
                    print::json(&now)?;
                } else {
                    list(&config, &now)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Sync { json } => {
                let round = sync(&pool, &config).await?;
                if json {
                    print::json(&round)?;
                } else {
                    print::text(&words(&round))?;
                }
                let well = round.failed.is_none() && round.failing == 0;
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
                "The secret stands in the configuration: set another eventsub_secret there (in tapedeck.toml, also where \
                 `tapedeck up` made one up, or TAPEDECK_EVENTSUB_SECRET), and the rest follows. Where there is none, Tapedeck \
                 makes its own, and this replaces it.",
            )?;
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

/// Asks whoever listens, and waits for what comes of it.
async fn sync(pool: &PgPool, config: &Config) -> anyhow::Result<Round> {
    let asked = overview::ask(pool, config).await?;
    let report = overview::answered(pool, config, asked, SYNC_LIMIT).await?;
    let late = "nobody looked at them: is `tapedeck serve` running, and connected to Twitch?";
    report.as_ref().map(Round::of).context(late)
}

fn list(config: &Config, now: &Overview) -> anyhow::Result<()> {
    let names = ["type", "version", "state", "cost", "secret", "since (UTC)", "why"];
    let mut table = print::table(&names, &[3, 4]);
    for one in &now.wanted {
        table.add_row(row(one));
    }
    print::rows(table)?;
    if config.keeps_webhooks() && !now.secrets.is_empty() {
        let said: Vec<String> = now.secrets.iter().take(SECRETS_SHOWN).map(secret_words).collect();
        print::text(&format!("\nSecrets: {}.", said.join("; ")))?;
    }
    for shard in &now.shards {
        let whose = shard.holder.map_or_else(|| "nobody".to_owned(), |holder| holder.to_string());
        let heard = shard.heard_at.map_or_else(|| "never".to_owned(), print::time);
        let why = shard.why.as_deref().map(|why| format!("; {}", print::harmless(why)));
        let (shard, why) = (shard.shard, why.unwrap_or_default());
        print::text(&format!("Shard {shard}: held by {whose}, heard up to {heard} UTC{why}."))?;
    }
    for gap in &now.gaps {
        let since = print::time(gap.since);
        let (kinds, reason) = (gap.kinds.len(), print::harmless(&gap.reason));
        print::text(&format!("\nA gap lasts since {since} UTC, of {kinds} types: {reason}."))?;
    }
    let Some(listener) = &now.listener else {
        let first = match config.twitch.hearing(&config.broadcaster_id) {
            Some(Hearing::Account(role)) if role != Role::App => {
                format!("connect an account (`tapedeck connect {role}`), and ")
            }
            _ => String::new(),
        };
        let words =
            format!("\nNobody listens yet: {first}start `tapedeck serve` or `tapedeck up` again.");
        return print::text(&words);
    };
    let why = listener.why.as_deref().map(|why| format!(" ({})", print::harmless(why)));
    print::text(&format!(
        "\n{}: {} since {} UTC{}.",
        listener.transport,
        listener.state,
        print::time(listener.since),
        why.unwrap_or_default(),
    ))?;
    match &now.round {
        Some(round) => print::text(&words(round)),
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

fn row(one: &WantedNow) -> [String; 7] {
    [
        one.kind.clone(),
        one.version.clone(),
        one.state.name().to_owned(),
        one.cost.map(print::points).unwrap_or_default(),
        one.secret.map(|version| version.to_string()).unwrap_or_default(),
        one.at.map(print::time).unwrap_or_default(),
        print::harmless(one.why.as_deref().unwrap_or_default()),
    ]
}

/// What a look came to, in a few sentences.
fn words(round: &Round) -> String {
    let Round { enabled, pending, failing, removed, left, ref cost, calls: ref made, .. } = *round;
    let failed = match &round.failed {
        Some(why) => format!(" Not all could be looked at: {}.", print::harmless(why)),
        None => String::new(),
    };
    format!(
        "Looked at {} UTC: {enabled} enabled, {pending} pending, {failing} failing; {removed} removed, {left} left \
         alone; cost {} of {}. Calls: {}, of which to list {}, to make {}, to remove {}, and once more {}.{failed}",
        print::time(round.at),
        cost.total,
        cost.max,
        made.all(),
        made.pages,
        made.creations,
        made.deletions,
        made.again,
    )
}
