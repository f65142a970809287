//! `tapedeck balance`: what a viewer has.

use std::process::ExitCode;

use projections::{AsOf, balances};

use super::{Globals, print};
use crate::http::query::parse_moment;

/// What a viewer has, now or at any moment of history
///
/// The balance is read from the projection for now, and summed from the viewer's entries for a
/// moment of history.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck balance 5001\n  \
    tapedeck balance 5001 --as-of 120                      after event 120\n  \
    tapedeck balance 5001 --as-of 2026-11-21T20:15:00Z     at a time")]
pub struct Balance {
    /// The viewer's Twitch user id
    viewer: String,
    /// A position of history, or a time such as 2026-11-21T20:15:00Z
    #[arg(long, value_name = "POSITION|TIME", value_parser = moment)]
    as_of: Option<AsOf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Reads the value of `--as-of`.
pub fn moment(text: &str) -> Result<AsOf, String> {
    parse_moment(text).ok_or_else(|| {
        "give a position such as 120, or a time such as 2026-11-21T20:15:00Z".to_owned()
    })
}

impl Balance {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        journal::command::check_id(&self.viewer)?;
        let (_, pool) = globals.database("balance").await?;
        let as_of = self.as_of.unwrap_or_default();
        let balance = balances::of(&pool, &self.viewer, as_of).await?;
        if self.json {
            print::json(&balance)?;
            return Ok(ExitCode::SUCCESS);
        }
        let name = balance.viewer.name.as_deref().map(print::harmless);
        let name = name.map_or(String::new(), |name| format!(" ({name})"));
        print::text(&format!(
            "Viewer {}{name} at position {}:\n",
            self.viewer,
            print::points(balance.position)
        ))?;
        let mut table = print::table(&["", "points"], &[1]);
        let sums = balance.sums;
        for (what, points) in [
            ("available", sums.available),
            ("held", sums.held),
            ("total", balance.total),
            ("ever credited", sums.credits),
            ("ever spent", sums.captured),
            ("reversed", sums.reversed),
        ] {
            table.add_row([what.to_owned(), print::points(points)]);
        }
        print::rows(table)?;
        if balance.last_position.is_none() {
            print::text("No entry of this viewer is known up to here.")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
