//! `tapedeck grant`: points for many at once, and taking them back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::Utc;
use domain::entry_id;
use projections::{Page, grants as given};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::many::{Desk, Tally, Words, actor};
use super::{Globals, print};
use crate::grants::{self, Grant as Batch, Kind, Line, Undo, lines};

/// Give points to many viewers at once, see before what it would do, and take it back with one command
///
/// FILE has a line for each viewer: the user id and the points, or the user id alone with --points. Every line is
/// checked before the first point is given. Each viewer gets the points once however often the command is repeated,
/// so one that was interrupted is simply given again. To give the same list another time, name it with --id.
#[derive(Debug, clap::Args)]
#[command(
    subcommand_negates_reqs = true,
    after_help = "EXAMPLES\n  \
    tapedeck grant thanks.csv --note 'charity night' --preview\n  \
    tapedeck grant thanks.csv --note 'charity night'\n  \
    tapedeck grant --viewers 5001,5002 --points 500 --note 'won the trivia'\n  \
    tapedeck grant list\n  \
    tapedeck grant undo 7c9e6679-7425-40de-944b-e07fc1f90ae7 --note 'wrong list'"
)]
pub struct Grant {
    #[command(subcommand)]
    command: Option<Command>,
    /// A list of viewers and points, as comma-, semicolon- or tab-separated lines
    #[arg(value_name = "FILE", required_unless_present = "viewers", conflicts_with = "viewers")]
    file: Option<PathBuf>,
    /// The viewers' user ids, divided by commas
    #[arg(long, value_delimiter = ',', value_name = "ID,…", requires = "points")]
    viewers: Vec<String>,
    /// What each gets, where the list does not say
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    points: Option<i64>,
    /// Why; it stays in every statement for ever
    #[arg(long, required = true)]
    note: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    preview: bool,
    /// Names this grant; the list and the note do, if left out
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Who does this, as history keeps it
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Print one line of JSON for each viewer, and one with the sums
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Take a grant or an import back: every credit of it once, as far as its points are still there
    Undo {
        /// The grant's id, as `tapedeck grant list` shows it
        grant: Uuid,
        /// Why; it stays in every statement for ever
        #[arg(long)]
        note: String,
        /// Only say what would happen
        #[arg(long)]
        preview: bool,
        /// Who does this, as history keeps it
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Print one line of JSON for each viewer, and one with the sums
        #[arg(long)]
        json: bool,
    },
    /// Show all grants and imports, newest first
    List {
        /// Only those before this position
        #[arg(long, value_name = "POSITION")]
        before: Option<i64>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
        limit: i64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

impl Grant {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        self.check()?;
        match self.command {
            None => self.give(globals).await,
            Some(Command::List { before, limit, json }) => {
                let (_, pool) = globals.database("grant").await?;
                let found = given::list(&pool, Page { before, limit: Some(limit) }).await?;
                if json {
                    print::json(&found)?
                } else {
                    list(&found)?
                }
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::Undo { grant, note, preview, actor: named, json }) => {
                let actor = actor(named.as_deref());
                let desk = Desk::open(globals, "grant").await?;
                // Whoever tries again later asks anew; what was taken back stays so.
                let attempt = journal::head::read(&desk.pool).await?.position.to_string();
                undo(&desk, &Undo { grant, attempt, note, actor }, (preview, json)).await
            }
        }
    }

    /// What is given is not said beside `list` and `undo`. The flags of every command are good with all.
    fn check(&self) -> anyhow::Result<()> {
        let given = [
            ("FILE", self.file.is_some()),
            ("--viewers", !self.viewers.is_empty()),
            ("--points", self.points.is_some()),
            ("--note", self.note.is_some()),
            ("--preview", self.preview),
            ("--id", self.id.is_some()),
            ("--actor", self.actor.is_some()),
            ("--json", self.json),
        ];
        match given.iter().find(|(_, is_given)| *is_given && self.command.is_some()) {
            Some((said, _)) => {
                bail!("{said} stands before `list` or `undo`: say it behind, or leave it out")
            }
            None => Ok(()),
        }
    }

    async fn give(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let note = self.note.unwrap_or_default();
        grants::check_note(&note).map_err(anyhow::Error::msg)?;
        let (text, named) = match &self.file {
            Some(file) => (read(file)?, file.display().to_string()),
            None => (self.viewers.join("\n"), "--viewers".to_owned()),
        };
        let lines = understood(lines::read(&text, self.points), &named)?;
        let desk = Desk::open(globals, "grant").await?;
        let name = self.id.unwrap_or_else(|| name_of(&note, &lines));
        let grant = Batch {
            id: entry_id("grant name", &name),
            kind: Kind::Grant { note },
            actor: actor(self.actor.as_deref()),
            rules: desk.config.rules.version,
            received_at: Utc::now(),
        };
        desk.give(&grant, &lines, (self.preview, self.json)).await
    }
}

/// Reads a list, which has a largest size.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    let named = || format!("cannot read {}", file.display());
    let bytes = std::fs::metadata(file).with_context(named)?.len();
    if bytes > lines::FILE_BYTES_MAX {
        bail!("{} is larger than {} MiB", file.display(), lines::FILE_BYTES_MAX >> 20);
    }
    std::fs::read_to_string(file).with_context(named)
}

/// What was read, or every bad line; nothing was sent then.
pub(super) fn understood<T>(read: Result<T, lines::Wrong>, named: &str) -> anyhow::Result<T> {
    read.map_err(|wrong| {
        let wrong = print::harmless_lines(&wrong.to_string());
        anyhow::anyhow!("{named} was not understood, and nothing was given:\n{wrong}")
    })
}

/// The same list with the same note is the same grant.
fn name_of(note: &str, lines: &[Line]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(note.as_bytes());
    for Line { viewer, points, .. } in lines {
        hasher.update([0]);
        hasher.update(viewer.as_bytes());
        hasher.update(points.to_be_bytes());
    }
    hex::encode(hasher.finalize())
}

async fn undo(desk: &Desk, undo: &Undo, (preview, json): (bool, bool)) -> anyhow::Result<ExitCode> {
    grants::check_note(&undo.note).map_err(anyhow::Error::msg)?;
    desk.know_all().await?;
    let Some(known) = given::find(&desk.pool, undo.grant).await?.1 else {
        bail!("there is no grant {}; see tapedeck grant list", undo.grant);
    };
    let mut tally = Tally::new(json, usize::try_from(known.credits).unwrap_or_default());
    let undone = match preview {
        true => desk.sender.preview_undo(undo.grant, |line| tally.see(line)).await,
        false => desk.sender.undo(undo, |line| tally.see(line)).await,
    };
    tally.end(&Words { grant: undo.grant, verb: "taken back", preview })?;
    undone?;
    Ok(tally.exit_code())
}

fn list(given: &given::Given) -> anyhow::Result<()> {
    let head = ["position", "when (UTC)", "viewers", "points", "undone", "why", "who", "grant"];
    let mut table = print::table(&head, &[0, 2, 3, 4]);
    for grant in &given.grants {
        let why = match &grant.source {
            Some(source) => format!("import from {source}"),
            None => grant.note.clone(),
        };
        table.add_row([
            grant.position.to_string(),
            print::time(grant.at),
            print::points(grant.credits),
            print::points(grant.points),
            print::points(grant.undone),
            print::harmless(&why),
            print::harmless(grant.actor.as_deref().unwrap_or_default()),
            grant.id.to_string(),
        ]);
    }
    print::rows(table)?;
    match given.before {
        Some(before) => print::text(&format!("Older grants: --before {before}")),
        None => Ok(()),
    }
}
