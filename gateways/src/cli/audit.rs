//! `tapedeck audit`: proves what is known from what is recorded.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use journal::broker::Broker;
use projections::AsOf;

use super::balance::moment;
use super::{Globals, print};
use crate::audit::proof::{self, PublicKey, Verification};
use crate::audit::{self, CONNECTIONS, Error, Options, Progress, Report};
use crate::config::{NotReachable, open_database};

const EXIT_DISAGREES: u8 = 3;
const EXIT_UNKNOWN_SIGNER: u8 = 5;

/// Prove every balance from the recorded history
///
/// Reads the whole history once, in constant memory, and checks: positions are 1, 2, 3 without gaps; every link of the
/// hash chain; every account's books, entry by entry; every balance and every reversal is what history says. Of the large
/// copies of history it checks that there are as many and that they add up to the same: accepted commands, statements,
/// and the messages of EVENTS, of which it also reads the newest. It can run beside a live system: all reads of
/// PostgreSQL see the same moment.
///
/// With --everything it compares all copies row for row: every accepted command is there exactly once; every row of every
/// projection and every message of EVENTS is what history says. That takes about three times as long: for now and then,
/// after a power cut, and after a restore. As soon as anything of the present disagrees, everything is compared, to name it.
///
/// It prints what was proved. Where something disagrees it names the first places precisely, with the position, what was
/// expected and what was found, goes on with the other checks, and ends with exit code 3.
///
/// --verify-proof needs no server: it checks one viewer's statement as `tapedeck statement VIEWER --proof FILE` wrote it.
/// From the file alone follows that each event's content makes its link of the hash chain from the link before it, that
/// the events are numbered 1, 2, 3 with none left out in between, and that the sums are those of the events. Two things
/// rest on the signature, so on the channel that signed: that these links are those of its history, and that the account
/// had no later event up to the position. A history that somebody else keeps shows both: name it with --import-check.
/// Whose signature it is you have to know: name the channel's key with --public-key. With neither of them everybody's
/// file agrees with itself; that is said, and ends with exit code 5.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck audit\n  \
    tapedeck audit --everything                      and every copy of history, row for row\n  \
    tapedeck audit --account 5001                    with every entry of that account\n  \
    tapedeck audit --at 2026-11-21T20:15:00Z         the balances as they were then\n  \
    tapedeck audit --export night.jsonl              and keep all of it as a file\n  \
    tapedeck audit --import-check night.jsonl        verify such a file, without any server\n  \
    tapedeck audit --verify-proof 5001.proof --public-key ed25519:…\n  \
    tapedeck audit --verify-proof 5001.proof --import-check night.jsonl")]
pub struct Audit {
    /// Prove the balances as they were at a position, or at a time such as 2026-11-21T20:15:00Z
    #[arg(long, value_name = "POSITION|TIME", value_parser = moment)]
    at: Option<AsOf>,
    /// Print this account's entries with the balance after each, and check only such accounts (repeatable)
    #[arg(long = "account", value_name = "ID")]
    accounts: Vec<String>,
    /// Compare each outcome, each row of every projection and each message of EVENTS; of the present, so not with --at
    #[arg(long, conflicts_with = "at")]
    everything: bool,
    /// Write the whole history as JSON lines, with the sums at its end
    #[arg(long, value_name = "FILE", conflicts_with = "accounts")]
    export: Option<PathBuf>,
    /// Verify a file that --export wrote: no database, no broker
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "everything", "export"])]
    import_check: Option<PathBuf>,
    /// Verify a viewer's proof, without any server; with --import-check also that it is of that history
    #[arg(long, value_name = "FILE", conflicts_with_all = ["at", "everything", "export"])]
    verify_proof: Option<PathBuf>,
    /// The key that must have signed the proof, as `tapedeck key signing` shows it, or a file with it
    #[arg(long, value_name = "KEY|FILE", requires = "verify_proof", value_parser = public_key)]
    public_key: Option<PublicKey>,
    /// How many seconds EVENTS may take to reach the last recorded event
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=600))]
    wait: u64,
    /// EVENTS was trimmed on purpose, and may begin as late as here; otherwise what is missing at its head is named
    #[arg(long, value_name = "POSITION", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..),
          conflicts_with_all = ["at", "import_check", "verify_proof"])]
    events_from: i64,
    /// Print one line of JSON, and no progress
    #[arg(long)]
    json: bool,
}

impl Audit {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let progress = if self.json { Progress::hidden() } else { Progress::on_standard_error() };
        let report = tokio::select! {
            report = self.report(globals, &progress) => report,
            () = progress.lines(), if !self.json => return Ok(ExitCode::FAILURE),
        };
        progress.end();
        let report = report?;
        if self.json {
            print::json(&report)?;
        } else {
            let lines: Vec<_> = report.text().lines().map(print::harmless).collect();
            print::text(&lines.join("\n"))?;
        }
        Ok(match (report.agrees, &report.unknown_signer) {
            (true, None) => ExitCode::SUCCESS,
            (true, Some(_)) => ExitCode::from(EXIT_UNKNOWN_SIGNER),
            (false, _) => ExitCode::from(EXIT_DISAGREES),
        })
    }

    async fn report(&self, globals: &Globals, progress: &Progress) -> anyhow::Result<Report> {
        let options = Options {
            as_of: self.at.unwrap_or_default(),
            accounts: self.accounts.clone(),
            everything: self.everything,
            export: self.export.clone(),
            patience: Duration::from_secs(self.wait),
            events_from: self.events_from,
        };
        if self.import_check.is_some() || self.verify_proof.is_some() {
            let (files, progress) = (self.files(), progress.clone());
            let checked = tokio::task::spawn_blocking(move || files.check(&options, &progress));
            return Ok(checked.await??);
        }
        let config = globals.config()?;
        config.require_servers(globals.data())?;
        let pool = open_database(&config.database_url, CONNECTIONS, "audit").await?;
        let broker = Broker::new(config.broker());
        audit::run(&pool, &broker, &options, progress).await.map_err(reachable)
    }

    fn files(&self) -> Files {
        let (proof, history) = (self.verify_proof.clone(), self.import_check.clone());
        Files { proof, history, public_key: self.public_key }
    }
}

/// What is verified without servers.
struct Files {
    proof: Option<PathBuf>,
    history: Option<PathBuf>,
    public_key: Option<PublicKey>,
}

impl Files {
    /// Verifies the history, the proof, or the proof against the history once that is verified.
    fn check(self, options: &Options, progress: &Progress) -> Result<Report, Error> {
        let Files { proof, history, public_key } = self;
        let checked = match &history {
            Some(history) => Some(audit::import_check(history, options, progress)?),
            None => None,
        };
        let verified = match proof {
            Some(proof) => {
                let verification = Verification { proof, public_key, history };
                Some(proof::verify(&verification, options)?)
            }
            None => None,
        };
        match (checked, verified) {
            (Some(mut history), Some(proof)) => {
                history.agrees &= proof.agrees;
                history.proofs.extend(proof.proofs);
                Ok(history)
            }
            (Some(only), None) | (None, Some(only)) => Ok(only),
            (None, None) => Err(Error::Stopped("no file was named".to_owned())),
        }
    }
}

/// A public key, or the name of a file that has it.
fn public_key(text: &str) -> Result<PublicKey, String> {
    text.parse().or_else(|error| match std::fs::read_to_string(text) {
        Ok(text) => text.parse(),
        Err(_) => Err(error),
    })
}

/// An error, marked if it means that a server did not answer.
fn reachable(error: Error) -> anyhow::Error {
    if error.is_unreachable() {
        return NotReachable(error.to_string()).into();
    }
    error.into()
}
