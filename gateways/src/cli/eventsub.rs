//! `tapedeck eventsub`: what Twitch is asked to tell us, and whether it does.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::PgPool;

use super::{EXIT_FAILED, Globals, print};
use crate::config::Config;
use crate::twitch::accounts::Role;
use crate::twitch::eventsub::record::{self, Feed};
use crate::twitch::eventsub::round::{Report, State};
use crate::twitch::eventsub::wanted::{Wanted, wanted};
use crate::twitch::settings::Hearing;

/// How long a look at all subscriptions may take, with Twitch asking for patience now and then.
const SYNC_LIMIT: Duration = Duration::from_secs(300);
/// Within so long it has begun, if anybody listens.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const OFF: &str = "[twitch] names no application: set twitch.client_id and broadcaster_id, then `tapedeck connect`";

/// Show what Twitch is asked to tell us and whether it does, or have it put right now
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck eventsub list        each type: enabled, pending or failing, and why\n  \
    tapedeck eventsub sync        look at all of them now, instead of within the hour")]
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
                if json {
                    print::json(&feed)?;
                } else {
                    list(&config, feed.as_ref())?;
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

fn list(config: &Config, feed: Option<&Feed>) -> anyhow::Result<()> {
    let settings = &config.twitch.eventsub;
    let reader = match settings.user_id.as_str() {
        "" => &config.broadcaster_id,
        user => user,
    };
    let all = wanted(&config.broadcaster_id, reader, &settings.leave_out);
    let mut table = print::table(&["type", "version", "state", "cost", "since (UTC)", "why"], &[3]);
    for one in &all {
        table.add_row(row(one, feed.and_then(|feed| feed.report.as_ref())));
    }
    print::rows(table)?;
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

fn row(one: &Wanted, report: Option<&Report>) -> [String; 6] {
    let found = report.and_then(|report| report.statuses.iter().find(|is| is.wanted == *one));
    let (kind, version) = (one.kind.clone(), one.version.clone());
    match found {
        None => [kind, version, "wanted".to_owned(), String::new(), String::new(), String::new()],
        Some(status) => [
            kind,
            version,
            status.state.name().to_owned(),
            print::points(status.cost),
            print::time(status.at),
            print::harmless(status.why.as_deref().unwrap_or_default()),
        ],
    }
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
