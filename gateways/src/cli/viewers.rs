//! `tapedeck viewers`: forgetting what a viewer is called.

use std::process::ExitCode;
use std::time::Duration;

use journal::broker::Broker;
use journal::names::{self, Erased};
use serde::Serialize;

use super::{Globals, print};
use crate::twitch::cache::bucket::Bucket;

/// How long going through dead letters may take.
const LETTERS_LIMIT: Duration = Duration::from_secs(3_600);
const NOT_CLEARED: &str = "What Twitch said of this viewer may still be cached, for up to 7 days";
const CLEARED_BY: &str = "When NATS is back, the same command again, or an hour of `tapedeck serve`, takes it out. If NATS \
    runs and does not let us in, it needs the user `cache` of nats.conf first: until then nothing can be taken out.";

/// Erase what a viewer is called, and keep it from coming back
///
/// Names are kept beside history and not in it. Erasing takes them out of the table of names, out of the dead letters and
/// out of the cache of what Twitch says, and leaves a mark, so that names seen later are not kept. Points, statements
/// and every sum stay, under the user id alone; the overlay, the leaderboard and the API show no name.
///
/// What is not erased: messages, notes and requests are part of what happened, and history is never rewritten; alerts of
/// an erased viewer are shown without their words and pictures, and the list of requests with them. Pictures stay in
/// their folder. Commands keep names until they age out of COMMANDS, 24 hours after they are decided.
/// Files that were written before (exports, proofs, dumps, logs) are yours to find; after a dump from before the erasure
/// is restored, erase again. Asking again also goes through dead letters that came since.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck viewers erase 5001\n  \
    tapedeck viewers allow 5001        names seen from now on are kept again")]
pub struct Viewers {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Forget a viewer's names, and keep them from coming back
    Erase {
        /// The viewer's Twitch user id
        viewer: String,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a viewer's names be kept again
    Allow {
        /// The viewer's Twitch user id
        viewer: String,
    },
}

/// What an erasure came to.
#[derive(Serialize)]
struct Said {
    #[serde(flatten)]
    erased: Erased,
    /// Whether the cache of what Twitch says has nothing of the viewer any more.
    cache_cleared: bool,
}

impl Viewers {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("viewers").await?;
        let bucket = Bucket::new(Broker::new(config.broker()));
        match self.command {
            Command::Erase { viewer, json: true } => {
                let marked = names::mark(&pool, &viewer).await?;
                // Before the dead letters, which take their time and may fail.
                let cache_cleared = bucket.forget(&viewer).await.is_ok();
                let erased = names::scrub(&pool, marked, LETTERS_LIMIT).await?;
                print::json(&Said { erased, cache_cleared })?;
            }
            Command::Erase { viewer, json: false } => {
                let marked = names::mark(&pool, &viewer).await?;
                if let Err(error) = bucket.forget(&viewer).await {
                    print::text(&format!("{NOT_CLEARED} ({error}). {CLEARED_BY}"))?;
                }
                let erased = names::scrub(&pool, marked, LETTERS_LIMIT).await?;
                print::text(&format!(
                    "Viewer {viewer} has no name any more; every sum stays. {} dead letters were scrubbed.",
                    erased.letters_scrubbed.len()
                ))?;
                if erased.letters_unseen > 0 {
                    let (unseen, words) = (erased.letters_unseen, "were not gone through in time");
                    print::text(&format!(
                        "{unseen} dead letters {words}: the same command again."
                    ))?;
                }
                for letter in erased.letters_left {
                    let words = "cannot be read and has this viewer's id: tapedeck dead show";
                    print::text(&format!("Dead letter {letter} {words} {letter}"))?;
                }
            }
            Command::Allow { viewer } => {
                let words = match names::allow(&pool, &viewer).await? {
                    true => "is called again whatever is seen next.",
                    false => "was not erased.",
                };
                print::text(&format!("Viewer {viewer} {words}"))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
