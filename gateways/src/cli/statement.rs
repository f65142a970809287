//! `tapedeck statement`: why a viewer has the points they have.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use domain::account::Facts;
use domain::rules::Tier;
use projections::statements::{self, Line, Part, Parts, Statement as Page};
use projections::{AsOf, Page as Wanted};

use super::balance::moment;
use super::{Globals, print};
use crate::audit::proof::{self, SignerKey, Wanted as WantedProof};
use crate::key_file::SIGNING;

/// Why a viewer has the points they have: every entry with its cause, newest first
///
/// Each line says what happened, who or what caused it, what it changed, and what was left. The id
/// in the last column is the entry's: name it to reverse it over the API.
///
/// With --proof the whole statement, from the first entry on, goes into a signed file that anybody can check without
/// your servers: every event of this viewer, whole, with its place in the hash chain. The file has what is recorded of
/// this viewer (ids, points, messages, notes), and with it who took part: the id of whom a gift came from or went to, and the
/// name of who granted, noted or reversed something. Nothing else of anybody else. What it proves by itself and
/// what rests on your signature is said by `tapedeck audit --help`.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck statement 5001\n  \
    tapedeck statement 5001 --as-of 2026-11-21T20:15:00Z --limit 10\n  \
    tapedeck statement 5001 --by-broadcast      opening and closing balance of each broadcast\n  \
    tapedeck statement 5001 --json | jq .closing\n  \
    tapedeck statement 5001 --proof 5001.proof  a signed file for the viewer\n  \
    tapedeck key signing                        your public key: publish it where viewers find it\n  \
    tapedeck audit --verify-proof 5001.proof --public-key ed25519:…     how they check it")]
pub struct Statement {
    /// The viewer's Twitch user id
    viewer: String,
    /// A position of history, or a time such as 2026-11-21T20:15:00Z
    #[arg(long, value_name = "POSITION|TIME", value_parser = moment)]
    as_of: Option<AsOf>,
    /// Only entries before this position
    #[arg(long, value_name = "POSITION")]
    before: Option<i64>,
    /// How many lines at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
    limit: i64,
    /// One line for each broadcast instead of each entry
    #[arg(long)]
    by_broadcast: bool,
    /// Write the whole statement as a signed proof into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["before", "by_broadcast"])]
    proof: Option<PathBuf>,
    /// The proof's opening balance is that after this position or time, instead of nothing
    #[arg(long, value_name = "POSITION|TIME", value_parser = moment, requires = "proof")]
    since: Option<AsOf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

impl Statement {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        journal::command::check_id(&self.viewer)?;
        let (config, pool) = globals.database("statement").await?;
        let as_of = self.as_of.unwrap_or_default();
        if let Some(file) = &self.proof {
            let path = config.signing_key_path().ok_or_else(|| SIGNING.nowhere())?;
            let wanted = WantedProof {
                viewer: self.viewer.clone(),
                as_of,
                since: self.since,
                entries_max: u64::MAX,
            };
            let summary =
                proof::write_file(&pool, &wanted, &SignerKey::load_or_make(&path)?, file).await?;
            if self.json {
                print::json(&summary)?
            } else {
                print_proof(&summary, file)?
            }
            return Ok(ExitCode::SUCCESS);
        }
        let page = Wanted { before: self.before, limit: Some(self.limit) };
        if self.by_broadcast {
            let broadcaster = &config.broadcaster_id;
            let parts = statements::parts(&pool, &self.viewer, broadcaster, as_of, page).await?;
            if self.json { print::json(&parts)? } else { print_parts(&parts)? }
        } else {
            let statement = statements::of(&pool, &self.viewer, as_of, page).await?;
            if self.json { print::json(&statement)? } else { print_statement(&statement)? }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print_proof(summary: &proof::Summary, file: &Path) -> anyhow::Result<()> {
    let (said, file) = (&summary.said, file.display());
    print::text(&format!(
        "{file}: {} entries of viewer {} up to position {}, which leave {} points.\n\
         Whoever has it checks it with: tapedeck audit --verify-proof {file} --public-key {}",
        print::points(i64::try_from(said.entries).unwrap_or(i64::MAX)),
        summary.viewer,
        print::points(summary.position),
        print::points(said.closing.total()),
        summary.public_key,
    ))
}

fn print_statement(statement: &Page) -> anyhow::Result<()> {
    print::text(&heading(&statement.viewer, statement.position))?;
    let head = ["position", "when (UTC)", "what", "why", "available", "held", "leaves", "entry"];
    let mut table = print::table(&head, &[0, 4, 5, 6]);
    for line in &statement.lines {
        table.add_row([
            line.position.to_string(),
            print::time(line.at),
            line.kind.clone(),
            print::harmless(&why(line)),
            print::change(line.available_delta),
            print::change(line.held_delta),
            print::points(line.total),
            line.entry.to_string(),
        ]);
    }
    print::rows(table)?;
    let (opening, closing) = (&statement.opening, &statement.closing);
    print::text(&format!(
        "Before these: {} available, {} held. After: {} available, {} held, {} in all.",
        print::points(opening.available),
        print::points(opening.held),
        print::points(closing.available),
        print::points(closing.held),
        print::points(closing.total()),
    ))?;
    match statement.before {
        Some(before) => print::text(&format!("Older entries: --before {before}")),
        None => Ok(()),
    }
}

fn print_parts(parts: &Parts) -> anyhow::Result<()> {
    print::text(&heading(&parts.viewer, parts.position))?;
    let head = ["broadcast", "started (UTC)", "title", "entries", "came with", "left with"];
    let mut table = print::table(&head, &[0, 3, 4, 5]);
    for part in &parts.parts {
        let Part { broadcast, started_at, title, entries, opening, closing, .. } = part;
        table.add_row([
            broadcast.map_or("between".to_owned(), |number| number.to_string()),
            started_at.map_or(String::new(), print::time),
            print::harmless(title.as_deref().unwrap_or_default()),
            entries.to_string(),
            print::points(opening.total()),
            print::points(closing.total()),
        ]);
    }
    print::rows(table)?;
    match parts.before {
        Some(before) => print::text(&format!("Older broadcasts: --before {before}")),
        None => Ok(()),
    }
}

fn heading(viewer: &projections::Viewer, position: i64) -> String {
    let name = viewer.name.as_deref().map(print::harmless);
    let name = name.map_or(String::new(), |name| format!(" ({name})"));
    format!("Statement of viewer {}{name} at position {}:\n", viewer.id, print::points(position))
}

/// The cause in one line.
fn why(line: &Line) -> String {
    let cause = &line.cause;
    let said = |message: &str| match message.is_empty() {
        true => String::new(),
        false => format!(": {message}"),
    };
    let facts = cause.facts.as_ref().map(|facts| match facts {
        Facts::Cheer { bits: 1, message } => format!("1 bit{}", said(message)),
        Facts::Cheer { bits, message } => format!("{bits} bits{}", said(message)),
        Facts::Subscription { tier, gift } => {
            format!("{}, tier {}", if *gift { "a sub as a gift" } else { "sub" }, number(*tier))
        }
        Facts::Resubscription { tier, months, message, .. } => {
            format!("resub, tier {}, month {months}{}", number(*tier), said(message))
        }
        Facts::GiftSubs { tier, count, .. } => format!("gave {count} subs, tier {}", number(*tier)),
        Facts::Reward { title, cost, .. } => format!("reward {title} for {cost}"),
        Facts::Manual { note, actor } | Facts::Grant { note, actor, .. } => {
            format!("{note} ({actor})")
        }
        Facts::Import { source, line, .. } => format!("brought from {source}, line {line}"),
        Facts::Gift { from, .. } => format!("a gift of viewer {from}"),
    });
    let noted = cause.note.as_ref().map(|note| match &line.origin.actor {
        Some(actor) => format!("{note} ({actor})"),
        None => note.clone(),
    });
    let of_hold = |verb: &str| cause.hold.map(|hold| format!("{verb} hold {hold}"));
    let reversed = cause
        .reverses
        .map(|entry| format!("{} (entry {entry})", noted.clone().unwrap_or_default()));
    facts
        .or(reversed)
        .or_else(|| cause.reason.clone())
        .or_else(|| cause.purpose.clone())
        .or_else(|| of_hold("spent"))
        .or(noted)
        .unwrap_or_else(|| "the journal lacks its event: run tapedeck audit".to_owned())
}

fn number(tier: Tier) -> u8 {
    match tier {
        Tier::One => 1,
        Tier::Two => 2,
        Tier::Three => 3,
    }
}
