//! Where nats-server and PostgreSQL are on this machine, and whether they are new enough.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Older ones lack atomic batches, which a gateway under load depends on.
const NATS_SERVER_MIN: (u32, u32) = (2, 12);
const POSTGRES_MIN: (u32, u32) = (14, 0);
const PROVISION: &str = "`make tools` provides what is missing";

/// The nats-server named by TAPEDECK_NATS_SERVER, else ./tools/bin/nats-server, else on the PATH.
pub fn nats_server() -> anyhow::Result<PathBuf> {
    let program = match std::env::var_os("TAPEDECK_NATS_SERVER") {
        Some(named) => PathBuf::from(named),
        None => beside_working_folder()
            .or_else(|| on_path("nats-server"))
            .with_context(|| format!("nats-server was not found: {PROVISION}"))?,
    };
    let version = version_of(&program)?;
    ensure!(
        version >= NATS_SERVER_MIN,
        "{} is version {}.{}, and tapedeck needs {}.{} or newer: {PROVISION}",
        program.display(),
        version.0,
        version.1,
        NATS_SERVER_MIN.0,
        NATS_SERVER_MIN.1,
    );
    Ok(program)
}

/// A folder of PostgreSQL's programs, and its version.
#[derive(Clone, Debug)]
pub struct Postgres {
    pub bin: PathBuf,
    pub version: (u32, u32),
}

impl Postgres {
    /// The one named by TAPEDECK_POSTGRES_BIN, else the newest that pg_config, the Debian folders
    /// or the PATH lead to.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(named) = std::env::var_os("TAPEDECK_POSTGRES_BIN") {
            return Self::at(PathBuf::from(named));
        }
        let mut refused = None;
        for bin in from_pg_config().into_iter().chain(debian_folders()).chain(postgres_on_path()) {
            match Self::at(bin) {
                Ok(found) => return Ok(found),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) => Err(error),
            None => bail!("PostgreSQL's server programs were not found: {PROVISION}"),
        }
    }

    /// One of its programs, for example `initdb`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn at(bin: PathBuf) -> anyhow::Result<Self> {
        for name in ["postgres", "initdb"] {
            ensure!(
                bin.join(name).is_file(),
                "{} has no {name}: it holds PostgreSQL's client only; {PROVISION}",
                bin.display(),
            );
        }
        let version = version_of(&bin.join("postgres"))?;
        ensure!(
            version >= POSTGRES_MIN,
            "{} holds PostgreSQL {}.{}, and tapedeck needs {} or newer: {PROVISION}",
            bin.display(),
            version.0,
            version.1,
            POSTGRES_MIN.0,
        );
        Ok(Self { bin, version })
    }
}

/// What `make tools` put beside the crates; tests run inside one of them. Somebody else's file in a
/// folder that all may write to is not run.
fn beside_working_folder() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    let tools = [Some(folder.as_path()), folder.parent()];
    let mut tools = tools.into_iter().flatten().map(|above| above.join("tools/bin/nats-server"));
    let ours = rustix::process::geteuid().as_raw();
    tools.find(|tool| {
        tool.metadata().is_ok_and(|file| file.is_file() && [0, ours].contains(&file.uid()))
    })
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().into())
}

/// Debian keeps each major version in a folder of its own; the highest comes first.
fn debian_folders() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut majors: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    majors.sort_by(|a, b| b.cmp(a));
    majors.into_iter().map(|(_, bin)| bin).collect()
}

fn postgres_on_path() -> Option<PathBuf> {
    on_path("postgres").and_then(|program| program.parent().map(Path::to_path_buf))
}

fn version_of(program: &Path) -> anyhow::Result<(u32, u32)> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse_version(&said)
        .with_context(|| format!("{} does not tell its version: {said:?}", program.display()))
}

/// The first number of the text, with what follows its dot: `nats-server: v2.15.1` is (2, 15).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let end = text[start..]
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or(text.len(), |length| start + length);
    let mut numbers = text[start..end].split('.').map(|part| part.parse().unwrap_or(0));
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"),
            Some((15, 8))
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some((18, 0)));
        assert_eq!(parse_version("no version here"), None);
    }
}
