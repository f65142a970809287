//! `tapedeck tapes`: the catalogue of tapes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::Utc;
use domain::tape::Card;
use journal::broker::Broker;
use journal::head;
use journal::ingest::Publisher;
use journal::positions::Positions;
use journal::replies::Replies;
use projections::tapes::{self, Filter, Tape};
use projections::{Page, screenings};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::grant::read;
use super::many::actor;
use super::{Globals, print};
use crate::grants::Wrong;
use crate::tapes::import::{Becomes, Change, Source, Understood};
use crate::tapes::list;

/// How long the catalogue may take to show what was imported before.
const KNOWN_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
/// How many changes are shown one by one.
const SHOWN_MAX: usize = 20;

/// Import, list and show the tapes that can be put on screen
///
/// Where there is a catalogue, only its tapes can be screened, and the lower third shows what it says of them: title,
/// year, runtime, tags, colour and a thumbnail.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck tapes import tapes.csv --preview\n  \
    tapedeck tapes import tapes.csv\n  \
    tapedeck tapes list --words aerobics\n  \
    tapedeck tapes show 88\n  \
    tapedeck tape play 88                  put it on screen")]
pub struct Tapes {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Bring a list of tapes into the catalogue, CSV with headings or JSON
    ///
    /// What a tape has: id and title; year; runtime in minutes, m:ss or h:mm:ss (or runtime_s in seconds); tags, between
    /// bars; colour as #rrggbb; series; contributor; thumbnail, a PNG, JPEG or WebP of at most 2 MiB in a file, named from
    /// the list's folder on. JSON is a list of objects with these fields, also under `items` as Golden VCR's catalogue.
    ///
    /// Every line is read and every picture looked at before anything is kept; whatever is wrong is named with its line.
    /// The same list again changes nothing; one that died in the middle is finished by importing it again. Every tape
    /// keeps the name of the list, its SHA-256 and the line.
    Import {
        file: PathBuf,
        /// Leave thumbnails out; those that are known stay
        #[arg(long)]
        without_thumbnails: bool,
        /// The list is the whole catalogue: withdraw the tapes that are not in it
        #[arg(long)]
        withdraw_others: bool,
        /// Only say what would happen
        #[arg(long, visible_alias = "dry-run")]
        preview: bool,
        /// Who does this, as history keeps it
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
        /// Print one line of JSON for each tape that changes, and one with the sums
        #[arg(long)]
        json: bool,
    },
    /// Show the catalogue, in the order of the ids
    List {
        /// Only those that have these words in title, series or contributor
        #[arg(long)]
        words: Option<String>,
        /// Only those with this tag
        #[arg(long)]
        tag: Option<String>,
        /// Also those that were withdrawn
        #[arg(long)]
        withdrawn: bool,
        /// Only those that follow this tape
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How many at most
        #[arg(long, default_value_t = Page::LIMIT_DEFAULT,
              value_parser = clap::value_parser!(i64).range(1..=tapes::LIMIT_MAX))]
        limit: i64,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one tape, and when it was on screen last
    Show {
        id: String,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

impl Tapes {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Import {
                file,
                without_thumbnails,
                withdraw_others,
                preview,
                actor: named,
                json,
            } => {
                let import = Import { file, without_thumbnails, withdraw_others, preview, json };
                import.run(globals, actor(named.as_deref())).await?;
            }
            Command::List { words, tag, withdrawn, after, limit, json } => {
                let (_, pool) = globals.database("tapes").await?;
                let filter = Filter { words, tag, withdrawn };
                let found = tapes::list(&pool, &filter, after.as_deref(), limit).await?;
                if json {
                    print::json(&found)?;
                } else {
                    rows(&found)?;
                }
            }
            Command::Show { id, json } => {
                let (_, pool) = globals.database("tapes").await?;
                let tape = tapes::one(&pool, &id).await?.tape;
                let tape = tape
                    .with_context(|| format!("there is no tape {id}; see tapedeck tapes list"))?;
                let shown = screenings::of_tape(&pool, &id, Page::of(5)).await?;
                if json {
                    print::json(&json!({"tape": tape, "screenings": shown}))?;
                } else {
                    show(&tape, &shown)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

struct Import {
    file: PathBuf,
    without_thumbnails: bool,
    withdraw_others: bool,
    preview: bool,
    json: bool,
}

impl Import {
    async fn run(self, globals: &Globals, actor: String) -> anyhow::Result<()> {
        let text = read(&self.file)?;
        let named = self.file.display().to_string();
        let entries = understood(list::read(&text), &named)?;
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let list = understood(Understood::new(entries, folder, self.without_thumbnails), &named)?;

        let (config, pool) = globals.database("tapes").await?;
        let broker = Broker::new(config.broker());
        let positions = Positions::start(pool.clone(), &broker).await?;
        let head = head::read(&pool).await?.position;
        if let Err(at) = positions.wait(tapes::NAME, head, KNOWN_LIMIT).await {
            bail!("the catalogue is known up to {at} of {head}: is `tapedeck serve` running?");
        }
        let known = tapes::cards(&pool).await?;
        let changes = list.changes(known, self.withdraw_others, self.without_thumbnails);
        if !self.preview {
            let name = self.file.file_name().map(|name| name.to_string_lossy().into_owned());
            let source = Source {
                name: name.unwrap_or(named),
                file: hex::encode(Sha256::digest(text.as_bytes())),
                actor,
                import: Uuid::new_v4(),
                at: Utc::now(),
            };
            let pictures = config.pictures();
            let publisher = Publisher::start(&broker).await?;
            let replies = Replies::start(&broker).await?;
            list.carry_out(&changes, &source, &pictures, (&publisher, &replies)).await?;
        }
        self.said(&changes)
    }

    fn said(&self, changes: &[Change]) -> anyhow::Result<()> {
        let count = |becomes| changes.iter().filter(|change| change.becomes == becomes).count();
        let [new, changed, same, withdrawn] =
            [Becomes::New, Becomes::Changed, Becomes::Same, Becomes::Withdrawn].map(count);
        let moving = changes.iter().filter(|change| change.becomes != Becomes::Same);
        if self.json {
            for change in moving {
                print::json(change)?;
            }
            return print::json(&json!({
                "preview": self.preview, "new": new, "changed": changed, "same": same,
                "withdrawn": withdrawn,
            }));
        }
        for change in moving.clone().take(SHOWN_MAX) {
            print::text(&line(change))?;
        }
        let more = moving.count().saturating_sub(SHOWN_MAX);
        if more > 0 {
            print::text(&format!("  and {more} more: --json names all"))?;
        }
        let would = if self.preview { "Would be: " } else { "" };
        print::text(&format!(
            "{would}{new} new, {changed} changed, {withdrawn} withdrawn, {same} as they were."
        ))
    }
}

/// What was read, or all that is wrong with it.
fn understood<T>(read: Result<T, Wrong>, named: &str) -> anyhow::Result<T> {
    read.map_err(|wrong| {
        let wrong = print::harmless_lines(&wrong.to_string());
        anyhow::anyhow!("{named} was not understood, and nothing was imported:\n{wrong}")
    })
}

fn line(Change { id, becomes, card, fields, .. }: &Change) -> String {
    let title = print::harmless(&card.title);
    match becomes {
        Becomes::Changed => format!("  changed    {id}  {title} ({})", fields.join(", ")),
        Becomes::Withdrawn => format!("  withdrawn  {id}  {title}"),
        Becomes::New | Becomes::Same => format!("  new        {id}  {title}"),
    }
}

fn rows(found: &tapes::List) -> anyhow::Result<()> {
    let mut table = print::table(&["id", "title", "year", "runtime", "tags"], &[2, 3]);
    for tape in &found.tapes {
        let Card { title, year, runtime_s, tags, .. } = &tape.card;
        let gone = if tape.withdrawn_at.is_some() { " (withdrawn)" } else { "" };
        table.add_row([
            tape.id.clone(),
            format!("{}{gone}", print::harmless(title)),
            year.map(|year| year.to_string()).unwrap_or_default(),
            runtime_s.map(runtime).unwrap_or_default(),
            print::harmless(&tags.join(", ")).to_string(),
        ]);
    }
    print::rows(table)?;
    let after = match &found.after {
        Some(after) => format!(" More: --after {after}"),
        None => String::new(),
    };
    print::text(&format!("{} tapes in the catalogue.{after}", found.count))
}

fn show(tape: &Tape, shown: &screenings::Screenings) -> anyhow::Result<()> {
    let Card { title, year, runtime_s, tags, colour, series, contributor, thumbnail } = &tape.card;
    let mut table = print::table(&["tape", &tape.id], &[]);
    let picture = thumbnail.as_ref().map(|content| format!("/api/v1/pictures/{content}"));
    let from = &tape.from;
    for (name, value) in [
        ("title", Some(title.clone())),
        ("year", year.map(|year| year.to_string())),
        ("runtime", runtime_s.map(runtime)),
        ("tags", (!tags.is_empty()).then(|| tags.join(", "))),
        ("colour", colour.clone()),
        ("series", series.clone()),
        ("contributor", contributor.clone()),
        ("thumbnail", picture),
        ("read in", Some(format!("{}, line {}, by {}", from.source, from.line, from.actor))),
        ("withdrawn", tape.withdrawn_at.map(|at| at.to_rfc3339())),
    ] {
        if let Some(value) = value {
            table.add_row([name.to_owned(), print::harmless(&value).to_string()]);
        }
    }
    print::rows(table)?;
    let times = match shown.count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    };
    print::text(&format!("It was on screen {times}."))?;
    for screening in &shown.screenings {
        let (at, broadcast) = (screening.started_at.format("%Y-%m-%d %H:%M"), screening.broadcast);
        print::text(&format!("  {at} UTC, in broadcast {broadcast}"))?;
    }
    Ok(())
}

/// `1:02:30`
fn runtime(seconds: i64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}
