//! `tapedeck key`: keys of the API and the feed.

use std::process::ExitCode;

use anyhow::bail;
use uuid::Uuid;

use super::{Globals, print};
use crate::audit::proof::SignerKey;
use crate::http::keys::{self, Key as Stored, Scope};
use crate::key_file::SIGNING;

/// Issue, rotate, list and revoke keys of the API and the feed; show the key that signs proofs
///
/// A key is 256 random bits, shown once and kept as a hash. It can do what its scopes say and
/// nothing else:
///
///   accounts:read     balances and statements, and what Twitch says of users
///   accounts:write    manual credits and reversals
///   holds:write       set points aside, spend them, give them back
///   broadcasts:read   what is on and was on, and what Twitch says of games
///   broadcasts:write  start and end screenings
///   alerts:read       what was shown
///   generations:read  what viewers asked for with points
///   generations:write ask, cancel and try again in a viewer's name
///   feed:read         alerts as they happen, for other programs
///   stage:overlay     show what the stage plays, and say that it is shown: all that an overlay needs
///   stage:direct      pause, skip, clear, replay, mute and test
///   commands:read     what became of a command
///   eventsub:read     what Twitch is asked to tell us, and whether it does
///   eventsub:write    have all of that looked at now
///   viewers:act       get credentials that act for one viewer
///   admin             everything
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "EXAMPLES\n  \
    tapedeck key issue --name overlay --scope stage:overlay\n  \
    tapedeck key issue --name bot --scope accounts:read --scope holds:write\n  \
    tapedeck key rotate bot          a new secret, shown once; the old one ends\n  \
    tapedeck key revoke bot\n  \
    tapedeck key signing             what to tell those who check your proofs"
)]
pub struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a key and show it, this once
    Issue {
        /// Who or what will use it; the journal keeps this name beside what is done with it
        #[arg(long)]
        name: String,
        /// What it may do; give it several times
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Show all keys, without their secrets
    List {
        /// Print one line of JSON for each key
        #[arg(long)]
        json: bool,
    },
    /// Give a key a new secret and show it, this once; the old one ends within seconds
    ///
    /// Its id, its name and what it may do stay. What is connected with the old secret is cut.
    Rotate {
        /// Its id, or its name where one key alone has it
        #[arg(value_name = "ID|NAME")]
        key: String,
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a key useless, within seconds and for ever
    Revoke {
        /// Its id or its name; all keys of this name are revoked
        #[arg(value_name = "ID|NAME")]
        key: String,
    },
    /// Show the public key of this installation, with which its proofs of statements are checked
    Signing,
}

impl Key {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        if let Command::Signing = self.command {
            let path = globals.config()?.signing_key_path().ok_or_else(|| SIGNING.nowhere())?;
            print::text(&SignerKey::load_or_make(&path)?.public().to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        let (_, pool) = globals.database("key").await?;
        match self.command {
            Command::Signing => {}
            Command::Issue { name, scopes, json } => {
                let (key, text) = keys::issue(&pool, &name, &scopes).await?;
                show_once(&key, &text, json)?;
            }
            Command::Rotate { key, json } => {
                let id = one_of(&keys::list(&pool).await?, &key)?;
                match keys::rotate(&pool, id).await? {
                    Some((key, text)) => show_once(&key, &text, json)?,
                    None => bail!("key {key} was revoked in the meantime"),
                }
            }
            Command::List { json } => list(&keys::list(&pool).await?, json)?,
            Command::Revoke { key } => {
                let revoked = keys::revoke(&pool, &key).await?;
                if revoked.is_empty() {
                    bail!("no key has the id or name {key}, or it was revoked before");
                }
                for Stored { id, name, .. } in revoked {
                    print::text(&format!(
                        "Revoked {name} ({id}). It works for up to {} more seconds.",
                        keys::BELIEVED_FOR.as_secs(),
                    ))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn show_once(key: &Stored, text: &str, json: bool) -> anyhow::Result<()> {
    if json {
        return print::json(&serde_json::json!({"key": text, "id": key.id, "name": key.name}));
    }
    eprintln!("This is shown once. Keep it where only its user can read it.");
    print::text(text)
}

/// The one good key of this id or name.
fn one_of(keys: &[Stored], id_or_name: &str) -> anyhow::Result<Uuid> {
    let named = |key: &&Stored| key.name == id_or_name || key.id.to_string() == id_or_name;
    let good = keys.iter().filter(|key| key.revoked_at.is_none()).filter(named);
    match good.collect::<Vec<_>>().as_slice() {
        [key] => Ok(key.id),
        [] => bail!("no key has the id or name {id_or_name}, or it was revoked"),
        _ => {
            bail!("several keys are named {id_or_name}: name one by its id, see tapedeck key list")
        }
    }
}

fn list(keys: &[Stored], json: bool) -> anyhow::Result<()> {
    if json {
        return keys.iter().try_for_each(print::json);
    }
    let mut table = print::table(&["name", "scopes", "issued (UTC)", "revoked (UTC)", "id"], &[]);
    for key in keys {
        table.add_row([
            print::harmless(&key.name),
            key.scopes.join(" "),
            print::time(key.created_at),
            key.revoked_at.map_or(String::new(), print::time),
            key.id.to_string(),
        ]);
    }
    print::rows(table)
}
