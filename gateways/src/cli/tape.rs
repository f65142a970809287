//! `tapedeck tape`: what is on screen.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use chrono::Utc;
use domain::broadcast::{Broadcast, Command as Wish};
use journal::broker::Broker;
use journal::head;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use journal::{Decision, Envelope, Origin};
use projections::tapes;
use uuid::Uuid;

use super::many::actor;
use super::{Globals, print};

/// How long a command may take to be decided, and the catalogue to be known.
const LIMIT: Duration = Duration::from_secs(10);

/// Put a tape of the catalogue on screen, or take it off
///
/// A broadcast has to be live. A tape that is on screen ends when another begins, or when the broadcast does.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck tape play 88\n  \
    tapedeck tape clear\n  \
    tapedeck tapes list                    what there is to play")]
pub struct Tape {
    #[command(subcommand)]
    command: Command,
    /// Who does this, as history keeps it
    #[arg(long, value_name = "NAME", global = true)]
    actor: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Put a tape on screen
    Play {
        /// Its id in the catalogue; any name, where there is no catalogue
        id: String,
    },
    /// Take the tape off the screen
    Clear,
}

impl Tape {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("tape").await?;
        let broadcaster = config.broadcaster_id.as_str();
        ensure!(
            !broadcaster.is_empty(),
            "no broadcaster_id is configured: set it in tapedeck.toml"
        );
        let broker = Broker::new(config.broker());
        let (entry, at) = (Uuid::new_v4(), Utc::now());
        let (command, said) = match self.command {
            Command::Play { id } => {
                let positions = Positions::start(pool.clone(), &broker).await?;
                let head = head::read(&pool).await?.position;
                if let Err(at) = positions.wait(tapes::NAME, head, LIMIT).await {
                    bail!(
                        "the catalogue is known up to {at} of {head}: is `tapedeck serve` running?"
                    );
                }
                let tapes::One { tape, count, .. } = tapes::one(&pool, &id).await?;
                let card = tape.filter(|tape| tape.withdrawn_at.is_none()).map(|tape| tape.card);
                if card.is_none() && count > 0 {
                    bail!("tape {id} is not in the catalogue; see tapedeck tapes list");
                }
                let title = card.as_ref().map_or(id.as_str(), |card| card.title.as_str());
                let said = format!("On screen: {}.", print::harmless(title));
                (Wish::StartScreening { entry, tape: id, at, card }, said)
            }
            Command::Clear => {
                (Wish::EndScreening { entry, at }, "Nothing is on screen any more.".to_owned())
            }
        };
        let origin = Origin {
            source: "cli".to_owned(),
            source_id: entry.to_string(),
            actor: Some(actor(self.actor.as_deref())),
            received_at: at,
            raw: None,
        };
        let envelope = Envelope::new::<Broadcast>(broadcaster, &command, origin)?;
        let (publisher, replies) =
            (Publisher::start(&broker).await?, Replies::start(&broker).await?);
        let asked = replies.ask(&publisher, envelope, LIMIT);
        let asked = tokio::time::timeout(2 * LIMIT, asked).await;
        let outcome = asked.context("the broker does not answer")??;
        let outcome =
            outcome.context("it is sent and not decided yet: is `tapedeck serve` running?")?;
        match outcome.decision {
            Decision::Accepted => print::text(&said)?,
            _ => bail!(outcome.reason.unwrap_or_default()),
        }
        Ok(ExitCode::SUCCESS)
    }
}
