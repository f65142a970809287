//! `tapedeck rebuild`: folds the whole journal into new tables beside the live ones.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use journal::{Projection, follower};
use serde_json::json;

use super::{Globals, print};

/// Fold the whole journal anew into a projection's tables, while the old ones go on answering
///
/// Nobody is interrupted: the new tables are built beside the live ones and take their place in one
/// moment. Nothing outside can happen through this: a rebuild sends and shows nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck rebuild balances\n  \
    tapedeck rebuild --all")]
pub struct Rebuild {
    /// Which ones: balances, statements, broadcasts, alerts, generations, holds, grants, stages, tapes, replies, gaps
    #[arg(value_name = "PROJECTION", required_unless_present = "all")]
    names: Vec<String>,
    /// All of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Print one line of JSON for each, and no progress
    #[arg(long)]
    json: bool,
}

impl Rebuild {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let wanted = self.wanted()?;
        let (_, pool) = globals.database("rebuild").await?;
        for projection in wanted {
            let name = projection.name();
            let bar = self.bar(name)?;
            let began = Instant::now();
            let shown = bar.clone();
            let rebuilt = follower::rebuild(&pool, projection, move |done, of| {
                shown.set_length(of.unsigned_abs());
                shown.set_position(done.unsigned_abs());
            })
            .await
            .with_context(|| format!("{name} was not rebuilt; the live tables are untouched"))?;
            bar.finish_and_clear();
            let seconds = began.elapsed().as_secs_f64();
            if self.json {
                print::json(&json!({
                    "projection": name, "position": rebuilt.position, "events": rebuilt.events,
                    "generation": rebuilt.generation, "seconds": seconds,
                }))?;
                continue;
            }
            print::text(&format!(
                "{name}: {} events folded in {seconds:.1} s ({} a second), live at position {}",
                print::points(rebuilt.events),
                print::points((rebuilt.events as f64 / seconds.max(0.001)) as i64),
                print::points(rebuilt.position),
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn wanted(&self) -> anyhow::Result<Vec<Arc<dyn Projection>>> {
        let all = projections::all();
        if self.all {
            return Ok(all);
        }
        let known: Vec<&str> = all.iter().map(|projection| projection.name()).collect();
        if let Some(unknown) = self.names.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("there is no projection {unknown}; there are {}", known.join(", "));
        }
        let named = |projection: &Arc<dyn Projection>| {
            self.names.iter().any(|name| name == projection.name())
        };
        Ok(all.iter().filter(|projection| named(projection)).cloned().collect())
    }

    fn bar(&self, name: &'static str) -> anyhow::Result<ProgressBar> {
        if self.json {
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template(
            "{prefix:<11} {bar:40} {human_pos} of {human_len} events, {per_sec}, {eta} left",
        )?;
        Ok(ProgressBar::new(0).with_style(style).with_prefix(name))
    }
}
