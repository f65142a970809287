//! `tapedeck signing`: the keys that sign credentials of services.

use std::process::ExitCode;

use chrono::{TimeDelta, Utc};

use super::{Globals, print};
use crate::key_file::SEALING;
use crate::sealing::Sealer;
use crate::signing::{self, GRACE, KeyRow, LASTS_MAX};

/// List and rotate the keys that sign credentials of services
///
/// A service gets a short-lived credential for its API key at POST /api/v1/service-token. One key signs them; those that
/// it took the place of verify until their grace is over. The public halves are at /.well-known/jwks.json.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck signing list\n  \
    tapedeck signing rotate                  what was issued before stays good until it ends\n  \
    tapedeck signing rotate --grace-min 0    a key leaked: nothing it signed is good any more")]
pub struct Signing {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key that signs two minutes from now, when all have read it; at once without a grace
    Rotate {
        /// For how many minutes the key before it verifies after that; credentials live 15 at most
        #[arg(long, value_name = "MINUTES", default_value_t = GRACE.num_minutes(),
              value_parser = clap::value_parser!(i64).range(0..=10_080))]
        grace_min: i64,
    },
    /// Show all keys, without their secrets
    List {
        /// Print one line of JSON for each key
        #[arg(long)]
        json: bool,
    },
}

impl Signing {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("signing").await?;
        match self.command {
            Command::Rotate { grace_min } => {
                let path = config.sealing_key_path().ok_or_else(|| SEALING.nowhere())?;
                let sealer = Sealer::load_or_make(&path)?;
                let grace = TimeDelta::minutes(grace_min);
                let (kid, from) = signing::rotate(&pool, &sealer, grace, Utc::now()).await?;
                let from = print::time(from);
                print::text(&format!("{kid} is published, and signs from {from} (UTC) on."))?;
                if grace < LASTS_MAX {
                    let words = "What was signed before ends sooner than it says, within seconds of the grace.";
                    print::text(words)?;
                }
            }
            Command::List { json } => list(&signing::list(&pool).await?, json)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(keys: &[KeyRow], json: bool) -> anyhow::Result<()> {
    if json {
        return keys.iter().try_for_each(print::json);
    }
    if keys.is_empty() {
        return print::text("No key yet: the first credential makes it.");
    }
    let now = Utc::now();
    let mut table = print::table(&["kid", "made (UTC)", "it", "until (UTC)"], &[]);
    for key in keys {
        let does = match (key.signs(now), key.verifies(now)) {
            (true, _) => "signs",
            (false, true) if key.signs_from > now => "will sign",
            (false, true) => "verifies",
            (false, false) => "is over",
        };
        let until = key.verifies_until.map_or(String::new(), print::time);
        table.add_row([key.kid.clone(), print::time(key.created_at), does.to_owned(), until]);
    }
    print::rows(table)
}
