//! `tapedeck streams`: what JetStream keeps, as streams.yaml says.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use journal::broker::{Broker, Role};
use journal::streams::{self, Step, StreamsFile};

use super::{EXIT_FAILED, Globals, print};

/// Compare the streams on NATS with streams.yaml, and create or extend them
///
/// `apply` creates what is missing and extends what is too small. It never deletes, shrinks or
/// changes what would lose data: such a step is refused, and then nothing at all is done.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck streams plan                       show what apply would do; exits 1 if it would refuse\n  \
    tapedeck streams apply\n  \
    tapedeck streams plan --file streams.yaml   another file than the built-in one")]
pub struct Streams {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what would be done
    Plan(Options),
    /// Do it
    Apply(Options),
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Another streams.yaml than the one this binary was built with
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print one line of JSON for each step
    #[arg(long)]
    json: bool,
}

impl Streams {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let config = globals.config()?;
        config.require_servers(globals.data())?;
        let broker = Broker::new(config.broker());
        let jetstream = broker.jetstream(Role::Admin).await?;
        let (options, steps) = match self.command {
            Command::Plan(options) => {
                let steps = streams::plan(&jetstream, &options.file()?).await?;
                (options, steps)
            }
            Command::Apply(options) => {
                let steps = streams::apply(&jetstream, &options.file()?).await?;
                (options, steps)
            }
        };
        for step in &steps {
            if options.json { print::json(step)? } else { print::text(&step.to_string())? }
        }
        if !steps.iter().any(Step::is_refused) {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("tapedeck: a step is refused because it would lose data; no stream was touched");
        Ok(ExitCode::from(EXIT_FAILED))
    }
}

impl Options {
    fn file(&self) -> anyhow::Result<StreamsFile> {
        let Some(path) = &self.file else { return StreamsFile::built_in() };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        StreamsFile::parse(&text)
    }
}
