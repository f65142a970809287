//! `tapedeck init`: the first configuration file.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use reqwest::Url;

use super::{Globals, print};
use crate::config;
use crate::config::template::{EXAMPLE, Set, filled};
use crate::key_file::sync_folder;

/// Write the first tapedeck.toml: every key, explained, with your answers in it
///
/// Asks at most three things, each of which may be left out and filled in later; with flags it asks nothing. Nothing that
/// exists is written over, and the file is readable by you only. Tapedeck runs without any file too: then nothing comes
/// from Twitch. `tapedeck sandbox` has a Twitch of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck init                                asks, and writes tapedeck.toml\n  \
    tapedeck init --client-id abc123             asks nothing; no public address is needed\n  \
    tapedeck init --config other.toml            writes another file")]
pub struct Init {
    /// Of your application at Twitch: dev.twitch.tv/console/apps, "Register Your Application"
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Your channel's Twitch user id; `tapedeck connect` says which it is
    #[arg(long, value_name = "ID")]
    broadcaster_id: Option<String>,
    /// Where the world reaches this machine, if it does: people can log in there. Twitch needs none
    #[arg(long, value_name = "URL", value_parser = address)]
    public_url: Option<String>,
}

impl Init {
    pub fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let path = globals.config.clone().unwrap_or_else(|| PathBuf::from(config::FILE));
        if path.exists() {
            bail!(exists(&path));
        }
        let answers =
            if self.says_something() || !io::stdin().is_terminal() { self } else { Init::ask()? };
        let sets = answers.sets();
        let text = filled(EXAMPLE, &sets)?;
        write(&path, &text)?;
        let program = std::env::args().next().unwrap_or_else(|| "tapedeck".to_owned());
        print::text(&next_steps(&program, &path, &sets))?;
        Ok(ExitCode::SUCCESS)
    }

    fn says_something(&self) -> bool {
        [&self.client_id, &self.broadcaster_id, &self.public_url].iter().any(|said| said.is_some())
    }

    /// Asks a person, again where an answer cannot be worked with.
    fn ask() -> anyhow::Result<Self> {
        print::text(
            "Three questions; Enter leaves one out, and everything can be changed in the file later.\n\n\
             1. Twitch lets programs in by application. Register one at https://dev.twitch.tv/console/apps (any name,\n   \
             OAuth redirect URL http://localhost, client type Public), and copy its client id.",
        )?;
        let client_id = answer("   Client id: ", "client_id", "twitch")?;
        print::text(
            "\n2. Your channel's Twitch user id, a number. If you do not know it, leave it out: `tapedeck connect` says which it is.",
        )?;
        let broadcaster_id = answer("   User id: ", "broadcaster_id", "")?;
        print::text(
            "\n3. Does the world reach this machine, at an https:// address? Only people who log in need one: what happens on\n   \
             Twitch comes over a connection that Tapedeck opens.",
        )?;
        let public_url = answer("   Address: ", "public_url", "")?;
        print::text("")?;
        Ok(Init { client_id, broadcaster_id, public_url })
    }

    /// What the answers come to.
    fn sets(self) -> Vec<Set> {
        let set = |table, key, value: Option<String>| Some(Set { table, key, value: value? });
        let address = self.public_url.map(|url| url.trim_end_matches('/').to_owned());
        let sets = [
            set("", "broadcaster_id", self.broadcaster_id),
            set("", "public_url", address),
            set("twitch", "client_id", self.client_id),
        ];
        sets.into_iter().flatten().collect()
    }
}

/// One answer, which is read as a configuration before it is believed.
fn answer(
    question: &str,
    key: &'static str,
    table: &'static str,
) -> anyhow::Result<Option<String>> {
    loop {
        let mut out = io::stdout().lock();
        write!(out, "{question}")?;
        out.flush()?;
        let mut line = String::new();
        if io::stdin().read_line(&mut line)? == 0 {
            bail!("nothing more was said, and nothing was written");
        }
        let value = line.trim();
        if value.is_empty() {
            return Ok(None);
        }
        let taken = match key {
            "public_url" => address(value).map(drop),
            _ => Ok(()),
        };
        let set = Set { table, key, value: value.to_owned() };
        let taken = taken.and_then(|()| filled(EXAMPLE, &[set]).map_err(|error| error.to_string()));
        match taken {
            Ok(_) => return Ok(Some(value.to_owned())),
            Err(error) => writeln!(out, "   {error}")?,
        }
    }
}

/// An address that the world can be told.
fn address(text: &str) -> Result<String, String> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.has_host() => Ok(text.to_owned()),
        _ => Err("an address begins with https://, such as https://tapedeck.example".to_owned()),
    }
}

fn exists(path: &Path) -> String {
    format!(
        "{} exists already, and nothing was written. `tapedeck doctor` says whether it is well; to begin anew, move it \
         away, or name another with --config.",
        path.display(),
    )
}

/// Written beside and linked into place, so that it is whole or not there, and what exists stays.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension(format!("toml.{}", uuid::Uuid::new_v4().simple()));
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&beside, path)?;
        sync_folder(path)
    };
    let written = write();
    let _ = fs::remove_file(&beside);
    match written {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!(exists(path)),
        written => written.with_context(|| format!("cannot write {}", path.display())),
    }
}

fn next_steps(program: &str, path: &Path, sets: &[Set]) -> String {
    let is_set = |key: &str| sets.iter().any(|set| set.key == key);
    let mut lines = vec![format!(
        "Wrote {}, readable by you only. Every key is in it, explained.",
        path.display()
    )];
    for set in sets {
        lines.push(format!("    {:<26} {}", set.name(), set.value));
    }
    lines.extend([String::new(), "Next, each in a terminal of its own:".to_owned(), String::new()]);
    let edit = || "edit it".to_owned();
    let mut steps = Vec::new();
    if !is_set("client_id") {
        let what = "set client_id in [twitch], when there is an application at Twitch";
        steps.push((edit(), what));
    }
    steps.push((format!("{program} up"), "runs everything on this machine; stop first what runs"));
    steps.push((format!("{program} connect"), "shows a link: say yes there"));
    if !is_set("broadcaster_id") {
        let what = "set the broadcaster_id that `connect` says, and start `up` again";
        steps.push((edit(), what));
    }
    steps.push((format!("{program} doctor"), "says what is well, and what mends what is not"));
    let width = steps.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
    let steps = steps.iter().zip(1..);
    lines.extend(steps.map(|((step, what), n)| format!("    {n}. {step:<width$}   {what}")));
    lines.push(String::new());
    lines.push(format!(
        "Nothing of Twitch is needed to look around: `{program} sandbox` starts one of its own, and leaves your data alone."
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_become_a_configuration_and_an_address_has_to_be_one() {
        let init = Init {
            client_id: Some("abc123".to_owned()),
            broadcaster_id: None,
            public_url: Some("https://tapedeck.example/".to_owned()),
        };
        let text = filled(EXAMPLE, &init.sets()).expect("a configuration");
        assert!(text.contains("\npublic_url = \"https://tapedeck.example\"\n"), "{text}");
        for wrong in ["", "tapedeck.example", "http://tapedeck.example", "https://"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_it_tells_to_do_next_can_be_done() {
        use clap::CommandFactory;
        let cli = crate::cli::Cli::command();
        let said = next_steps("tapedeck", Path::new("tapedeck.toml"), &[]);
        let mut words = said.split("tapedeck ").skip(1).map(|rest| rest.split(' ').next());
        assert!(words.clone().count() >= 4, "{said}");
        let known = |word: &str| cli.find_subcommand(word.trim_end_matches(['`', ','])).is_some();
        assert!(words.all(|word| word.is_some_and(known)), "{said}");
        let said = next_steps("target/release/tapedeck", Path::new("tapedeck.toml"), &[]);
        assert!(said.contains(". target/release/tapedeck connect   shows"), "{said}");
    }

    #[test]
    fn nothing_that_exists_is_written_over_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = crate::embedded::temporary_folder().expect("a folder");
        let path = folder.join("tapedeck.toml");
        write(&path, "log = \"info\"\n").expect("written");
        let error = write(&path, "log = \"debug\"\n").expect_err("it is there").to_string();
        assert!(error.contains("nothing was written"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "log = \"info\"\n");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder).expect("readable").count(), 1, "nothing is beside");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
