//! `tapedeck top`: who has the most points.

use std::process::ExitCode;

use projections::leaderboard::{self, By, PLACES_MAX};

use super::{Globals, print};

/// Who has the most points
///
/// Equal points share a place, and the next is as many further down.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck top                        the ten who have most\n  \
    tapedeck top --by credits -n 3      the three who were given most, ever")]
pub struct Top {
    /// What the places are by: total (available and held), available, or credits (ever given)
    #[arg(long, default_value = "total")]
    by: By,
    /// How many places
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(i64).range(1..=PLACES_MAX))]
    limit: i64,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Top {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (_, pool) = globals.database("top").await?;
        let leaders = leaderboard::of(&pool, self.by, self.limit).await?;
        if self.json {
            print::json(&leaders)?;
            return Ok(ExitCode::SUCCESS);
        }
        if leaders.places.is_empty() {
            print::text("Nobody has points yet.")?;
            return Ok(ExitCode::SUCCESS);
        }
        print::text(&format!("At position {}:\n", print::points(leaders.position)))?;
        let mut table = print::table(&["", "viewer", "name", "points"], &[0, 3]);
        for place in leaders.places {
            let name = place.viewer.name.as_deref().map(print::harmless);
            table.add_row([
                place.place.to_string(),
                place.viewer.id,
                name.unwrap_or_default(),
                print::points(place.points),
            ]);
        }
        print::rows(table)?;
        Ok(ExitCode::SUCCESS)
    }
}
