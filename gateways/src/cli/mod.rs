//! A person at a terminal: one file for each command, and what they have in common.

pub mod audit;
pub mod balance;
pub mod connect;
pub mod dead;
pub mod demo;
pub mod doctor;
pub mod events;
pub mod eventsub;
pub mod gaps;
pub mod give;
pub mod grant;
pub mod guard;
pub mod import;
pub mod init;
pub mod key;
pub mod login;
mod many;
mod print;
pub mod rebuild;
pub mod requests;
pub mod sandbox;
pub mod serve;
pub mod signing;
pub mod simulate;
pub mod stage;
pub mod statement;
pub mod streams;
pub mod tape;
pub mod tapes;
pub mod top;
pub mod up;
pub mod viewers;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sqlx::PgPool;

use crate::config::{Config, Connect, NotReachable, open_database};
use crate::observe;

const EXIT_FAILED: u8 = 1;
const EXIT_NOT_REACHABLE: u8 = 4;

/// The points, broadcasts and alerts of a Twitch channel, each provable from its history
///
/// Tapedeck takes in what Twitch says, records it as a journal of numbered events, shows alerts in
/// OBS, and can replay the journal to prove every viewer's balance. `tapedeck up` runs all of it on
/// this machine, with nothing to configure; the other commands find what it runs through its data
/// folder.
#[derive(Debug, Parser)]
#[command(
    name = "tapedeck",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_long_help = "EXAMPLES\n  \
        tapedeck up                             run everything on this machine\n  \
        tapedeck connect                        let Tapedeck into your channel at Twitch\n  \
        tapedeck simulate                       play a night of follows, cheers, subs and raids\n  \
        tapedeck sandbox                        rehearse with a Twitch on this machine\n  \
        tapedeck stage show                     what plays in OBS, and what waits\n  \
        tapedeck statement 5001                 why a viewer has the points they have\n  \
        tapedeck balance 5001 --as-of 120       the balance after event 120\n  \
        tapedeck events --follow                watch the journal\n  \
        tapedeck audit                          prove every balance from position 1\n  \
        tapedeck doctor                         what is well and what is not\n\n\
        EXIT CODES\n  \
        0    done\n  \
        1    failed; the reason is on the standard error\n  \
        2    wrong usage\n  \
        3    the audit found a disagreement\n  \
        4    the database, the broker or the API cannot be reached\n  \
        5    a viewer's proof agrees with itself, and nothing says whose key signed it\n  \
        130  interrupted\n\n\
        Where a server is found: the flags above, then the environment (DATABASE_URL, NATS_URL,\n\
        TAPEDECK_*), then tapedeck.toml, then connect.json in the data folder of `tapedeck up`."
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// The configuration file; tapedeck.toml is read when it is there
    #[arg(
        long,
        global = true,
        env = "TAPEDECK_CONFIG",
        value_name = "FILE",
        help_heading = "Where things are"
    )]
    config: Option<PathBuf>,
    /// The folder of `tapedeck up`, through which its servers are found
    #[arg(
        long,
        global = true,
        env = "TAPEDECK_DATA",
        value_name = "FOLDER",
        default_value = "./data",
        help_heading = "Where things are"
    )]
    data: PathBuf,
    /// PostgreSQL, stronger than everything else that names it
    #[arg(long, global = true, value_name = "URL", help_heading = "Where things are")]
    database_url: Option<String>,
    /// NATS, stronger than everything else that names it
    #[arg(long, global = true, value_name = "URL", help_heading = "Where things are")]
    nats_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Up(up::Up),
    Serve(serve::Serve),
    Simulate(simulate::Simulate),
    Sandbox(sandbox::Sandbox),
    Audit(audit::Audit),
    Rebuild(rebuild::Rebuild),
    Balance(balance::Balance),
    Statement(statement::Statement),
    Top(top::Top),
    Stage(stage::Stage),
    Requests(requests::Requests),
    Give(give::Give),
    Grant(grant::Grant),
    Import(import::Import),
    Viewers(viewers::Viewers),
    Tapes(tapes::Tapes),
    Tape(tape::Tape),
    Events(events::Events),
    #[command(name = "eventsub")]
    EventSub(eventsub::EventSub),
    Gaps(gaps::Gaps),
    Streams(streams::Streams),
    Dead(dead::Dead),
    Key(key::Key),
    Login(login::Login),
    Connect(connect::Connect),
    Signing(signing::Signing),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
    #[command(hide = true)]
    Guard(guard::Guard),
}

impl Globals {
    /// The configuration, with the flags over it.
    pub fn config(&self) -> anyhow::Result<Config> {
        self.config_over(Connect::read(&self.data)?)
    }

    /// The same over what is known of `tapedeck up`.
    fn config_over(&self, connect: Option<Connect>) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref(), &self.data, connect)?;
        if let Some(url) = &self.database_url {
            config.database_url.clone_from(url);
        }
        if let Some(url) = &self.nats_url {
            config.nats_url.clone_from(url);
        }
        Ok(config)
    }

    /// The data folder of `tapedeck up`.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The configuration and a connection to the database, for a command that reads.
    pub async fn database(&self, purpose: &str) -> anyhow::Result<(Config, PgPool)> {
        let config = self.config()?;
        config.require_servers(&self.data)?;
        let pool = open_database(&config.database_url, 4, purpose).await?;
        Ok((config, pool))
    }
}

/// Runs what the command line says.
pub fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    // The runtime is here and not in the binary, so that everything below is compiled once, in this crate.
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tapedeck: cannot start: {error}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match runtime.block_on(run(globals, command)) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tapedeck: {error:#}");
            ExitCode::from(match is_unreachable(&error) {
                true => EXIT_NOT_REACHABLE,
                false => EXIT_FAILED,
            })
        }
    }
}

async fn run(globals: Globals, command: Command) -> anyhow::Result<ExitCode> {
    let logs = match &command {
        Command::Serve(_) | Command::Up(_) | Command::Guard(_) => true,
        Command::Sandbox(sandbox) => sandbox.serves(),
        _ => false,
    };
    if !logs {
        observe::begin_quietly();
    }
    match command {
        Command::Init(init) => init.run(&globals),
        Command::Up(up) => up.run(&globals).await,
        Command::Serve(serve) => serve.run(&globals).await,
        Command::Simulate(simulate) => simulate.run(&globals).await,
        Command::Sandbox(sandbox) => sandbox.run(&globals).await,
        Command::Audit(audit) => audit.run(&globals).await,
        Command::Rebuild(rebuild) => rebuild.run(&globals).await,
        Command::Balance(balance) => balance.run(&globals).await,
        Command::Top(top) => top.run(&globals).await,
        Command::Give(give) => give.run(&globals).await,
        Command::Viewers(viewers) => viewers.run(&globals).await,
        Command::Tapes(tapes) => tapes.run(&globals).await,
        Command::Tape(tape) => tape.run(&globals).await,
        Command::Grant(grant) => grant.run(&globals).await,
        Command::Import(import) => import.run(&globals).await,
        Command::Statement(statement) => statement.run(&globals).await,
        Command::Stage(stage) => stage.run(&globals).await,
        Command::Requests(requests) => requests.run(&globals).await,
        Command::Events(events) => events.run(&globals).await,
        Command::EventSub(eventsub) => eventsub.run(&globals).await,
        Command::Gaps(gaps) => gaps.run(&globals).await,
        Command::Streams(streams) => streams.run(&globals).await,
        Command::Dead(dead) => dead.run(&globals).await,
        Command::Key(key) => key.run(&globals).await,
        Command::Login(login) => login.run(&globals).await,
        Command::Connect(connect) => connect.run(&globals).await,
        Command::Signing(signing) => signing.run(&globals).await,
        Command::Doctor(doctor) => doctor.run(&globals).await,
        Command::Demo(demo) => demo.run().await,
        Command::Guard(guard) => guard.run().await,
    }
}

/// Whoever read our output has seen enough, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<NotReachable>().is_some()
            || matches!(cause.downcast_ref(), Some(journal::broker::BrokerError::Connect { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_is_well_formed_and_says_what_it_does() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands().filter(|command| !command.is_hide_set()) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 20, "{} says too little: {about:?}", command.get_name());
        }
    }

    #[test]
    fn what_cannot_be_reached_ends_with_4_and_a_closed_pipe_with_0() {
        let unreachable = anyhow::Error::new(NotReachable("gone".to_owned())).context("reading");
        assert!(is_unreachable(&unreachable) && !is_broken_pipe(&unreachable));
        let closed = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("x");
        assert!(is_broken_pipe(&closed) && !is_unreachable(&closed));
    }
}
