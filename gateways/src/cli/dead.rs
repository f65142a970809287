//! `tapedeck dead`: what could not be decided, folded or answered by a process.

use std::process::ExitCode;

use anyhow::{Context, bail};
use journal::Envelope;
use journal::broker::Broker;
use journal::dead_letters::{self, DeadLetter};
use journal::ingest::Publisher;
use serde_json::json;

use super::{Globals, print};
use crate::config::Config;
use crate::twitch;

/// The aggregate type under which notifications are kept that were not understood.
const KEPT: &str = "notification";

const LISTED_MAX: i64 = 500;

/// A feed goes on by position and never back, so what is folded late comes to nobody who has read on.
const SHOWN_LATE: &str = "Its alerts come back to lists. The feed has passed their positions, so overlays do not \
                          show them, unless one asks again from before them.";

/// List, show and retry dead letters
///
/// A command that cannot be decided, an event that cannot be folded, or one that a process cannot answer is kept
/// here with all that is needed to try again, and everything else goes on. Retry a letter when its cause is gone.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck dead list\n  \
    tapedeck dead show 3\n  \
    tapedeck dead retry 3")]
pub struct Dead {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the open ones, newest first
    List {
        /// Those that were resolved as well
        #[arg(long)]
        all: bool,
        /// Only those before this one
        #[arg(long, value_name = "ID")]
        before: Option<i64>,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=LISTED_MAX))]
        limit: i64,
        /// Print one line of JSON for each
        #[arg(long)]
        json: bool,
    },
    /// Show one with its payload
    Show {
        id: i64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Try one again
    Retry { id: i64 },
}

impl Dead {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("dead").await?;
        match self.command {
            Command::List { all, before, limit, json } => {
                let letters = dead_letters::list(&pool, !all, limit, before).await?;
                list(&letters, json)?;
            }
            Command::Show { id, json } => match dead_letters::find(&pool, id).await? {
                None => bail!("there is no dead letter {id}; see tapedeck dead list"),
                Some(letter) if json => print::json(&as_json(&letter))?,
                Some(letter) => show(&letter)?,
            },
            Command::Retry { id } => {
                let Some(letter) = dead_letters::find(&pool, id).await? else {
                    bail!("there is no dead letter {id}; see tapedeck dead list");
                };
                let instead = read_again(&letter, &config)?;
                let publisher = Publisher::start(&Broker::new(config.broker())).await?;
                dead_letters::retry(&pool, &publisher, id, instead).await?;
                print::text(&format!("Sent again. tapedeck dead show {id} says what came of it."))?;
                if is_alert(&letter) {
                    print::text(SHOWN_LATE)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn is_alert(letter: &DeadLetter) -> bool {
    letter.source == "projection" && letter.name == projections::alerts::NAME
}

/// A notification that an older version did not understand, as the commands that this version makes
/// of it; `None` for letters that are sent again as they are.
fn read_again(letter: &DeadLetter, config: &Config) -> anyhow::Result<Option<Vec<Envelope>>> {
    let Some(envelope) = letter.envelope().filter(|envelope| envelope.aggregate_type == KEPT)
    else {
        return Ok(None);
    };
    let raw = envelope.origin.raw.as_deref().context("its body was too large to be kept")?;
    let broadcaster = Some(config.broadcaster_id.as_str()).filter(|id| !id.is_empty());
    let (command, at) = (envelope.command.get(), envelope.origin.received_at);
    let envelopes = twitch::retranslate(raw, command, &config.rules, broadcaster, at)
        .context("this version of tapedeck does not understand it either")?;
    Ok(Some(envelopes))
}

fn list(letters: &[DeadLetter], json: bool) -> anyhow::Result<()> {
    if json {
        return letters.iter().try_for_each(|letter| print::json(&as_json(letter)));
    }
    if letters.is_empty() {
        return print::text("No dead letters.");
    }
    let head = ["id", "when (UTC)", "what", "name", "key", "reason", "resolved"];
    let mut table = print::table(&head, &[0]);
    for letter in letters {
        table.add_row([
            letter.id.to_string(),
            print::time(letter.at),
            letter.source.clone(),
            print::harmless(&letter.name),
            print::harmless(&letter.key),
            print::harmless(&letter.reason),
            letter.resolution.as_deref().map(print::harmless).unwrap_or_default(),
        ]);
    }
    print::rows(table)
}

fn show(letter: &DeadLetter) -> anyhow::Result<()> {
    let mut table = print::table(&["", ""], &[]);
    for (name, value) in [
        ("id", letter.id.to_string()),
        ("what", letter.source.clone()),
        ("name", letter.name.clone()),
        ("key", letter.key.clone()),
        ("command", letter.command_id.map_or(String::new(), |id| id.to_string())),
        ("position", letter.position.to_string()),
        ("when (UTC)", print::time(letter.at)),
        ("reason", letter.reason.clone()),
        ("resolved (UTC)", letter.resolved_at.map_or(String::new(), print::time)),
        ("resolution", letter.resolution.clone().unwrap_or_default()),
    ] {
        table.add_row([name.to_owned(), print::harmless(&value)]);
    }
    print::rows(table)?;
    print::text(&print::harmless(&String::from_utf8_lossy(&letter.payload)))
}

fn as_json(letter: &DeadLetter) -> serde_json::Value {
    json!({
        "id": letter.id, "source": letter.source, "name": letter.name, "key": letter.key,
        "command_id": letter.command_id, "position": letter.position, "reason": letter.reason,
        "payload": String::from_utf8_lossy(&letter.payload), "at": letter.at,
        "resolved_at": letter.resolved_at, "resolution": letter.resolution,
    })
}
