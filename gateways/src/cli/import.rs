//! `tapedeck import`: the balances that viewers had at another bot.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use chrono::Utc;
use domain::entry_id;
use sha2::{Digest, Sha256};
use sqlx::PgPool;

use super::grant::{read, understood};
use super::many::{Desk, actor};
use super::{Globals, print};
use crate::grants::balances_file::{self, Balance, Columns};
use crate::grants::{Grant, Kind};

const SOURCE_LENGTH_MAX: usize = 32;
/// How many names are looked up at once.
const NAMES_MAX: usize = 5_000;

/// Bring the balances that viewers had at another bot, from the list that it exports
///
/// FILE is a list with headings (comma-, semicolon- or tab-separated): a column with the user id or the name, and one
/// with the points; bots call them differently, and --columns and --points-column say how. Points are kept by user id,
/// since names change hands: names without an id are named and nothing is given, until --ids has a file of names and
/// ids, or --known-names takes the ids that this channel has seen these names with.
///
/// Each viewer is imported from a bot once. The same file again, or a newer one, gives nothing to whoever has not
/// changed there, and refuses whoever has, saying how much was imported and where: a balance that changed elsewhere is
/// not simply the difference, since points were earned here meanwhile. --again gives these the whole new amount as well.
/// Every credit keeps the bot, the SHA-256 of the file and the line, and `tapedeck grant undo` takes an import back.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck import points.csv --from streamelements --ids ids.csv --preview\n  \
    tapedeck import viewers.csv --from firebot --points-column 'Film Dollars'\n  \
    tapedeck import plain.csv --from streamlabs --columns name,rank,points --known-names")]
pub struct Import {
    /// The list that the other bot exported
    file: PathBuf,
    /// The other bot: streamelements, streamlabs, firebot, or whatever it is called
    #[arg(long, value_name = "BOT", value_parser = source)]
    from: String,
    /// A list of names and ids: `name,id`
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// Take the ids that names were seen with in this channel
    #[arg(long)]
    known_names: bool,
    /// Pass over viewers whose id is not known, instead of giving nothing
    #[arg(long)]
    skip_unknown: bool,
    /// What the columns are, for a list without headings: `id`, `name`, `points`, and any word for the others
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    columns: Option<Vec<String>>,
    /// The heading of the points
    #[arg(long, value_name = "HEADING")]
    points_column: Option<String>,
    /// Give whoever was imported with another amount the new amount as well
    #[arg(long)]
    again: bool,
    /// Only say what would happen
    #[arg(long)]
    preview: bool,
    /// Who does this, as history keeps it
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Print one line of JSON for each viewer, and one with the sums
    #[arg(long)]
    json: bool,
}

impl Import {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let text = read(&self.file)?;
        let named = self.file.display().to_string();
        let columns = Columns { order: self.columns.clone(), points: self.points_column.clone() };
        let balances = understood(balances_file::read(&text, &columns), &named)?;
        let mut ids = match &self.ids {
            None => HashMap::new(),
            Some(file) => {
                understood(balances_file::read_ids(&read(file)?), &file.display().to_string())?
            }
        };
        let desk = Desk::open(globals, "import").await?;
        if self.known_names {
            for (name, id) in known_names(&desk.pool, &balances).await? {
                ids.entry(name).or_insert(id);
            }
        }
        let resolved = balances_file::resolve(balances, &ids, self.skip_unknown);
        let (lines, skipped) = understood(resolved, &named)?;
        if skipped > 0 {
            eprintln!("{skipped} viewers without a known id are passed over.");
        }
        desk.know_all().await?;
        let file = hex::encode(Sha256::digest(text.as_bytes()));
        let grant = Grant {
            id: entry_id("import file", &format!("{}:{file}", self.from)),
            kind: Kind::Import { source: self.from, file, again: self.again },
            actor: actor(self.actor.as_deref()),
            rules: desk.config.rules.version,
            received_at: Utc::now(),
        };
        desk.give(&grant, &lines, (self.preview, self.json)).await
    }
}

/// The ids with which names without an id were seen in this channel, where there is one.
async fn known_names(
    pool: &PgPool,
    balances: &[Balance],
) -> anyhow::Result<HashMap<String, String>> {
    let names: Vec<&str> = balances
        .iter()
        .filter(|balance| balance.id.is_none())
        .filter_map(|balance| balance.name.as_deref())
        .collect();
    let mut known: HashMap<String, String> = HashMap::new();
    for part in names.chunks(NAMES_MAX) {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT lower(login), min(viewer_id), count(*) FROM viewer_names
             WHERE lower(login) = ANY($1) GROUP BY lower(login)",
        )
        .bind(part)
        .fetch_all(pool)
        .await?;
        for (name, id, count) in rows {
            if count > 1 {
                bail!(
                    "{} was the name of {count} viewers: say in --ids which one it is",
                    print::harmless(&name)
                );
            }
            known.insert(name, id);
        }
    }
    Ok(known)
}

/// The name of a bot, which history keeps.
fn source(text: &str) -> Result<String, String> {
    let text = text.trim().to_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if (1..=SOURCE_LENGTH_MAX).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text);
    }
    Err(format!("the name of a bot is 1 to {SOURCE_LENGTH_MAX} letters and digits"))
}
