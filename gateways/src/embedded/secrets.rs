//! The passwords of the private servers: made once, kept in one file that only its owner can read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rand::Rng;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};

/// The users of nats.conf. Each takes its password from `NATS_<ROLE>_PASSWORD`.
pub const NATS_ROLES: [&str; 10] = [
    "admin",
    "gateway",
    "processor",
    "relay",
    "follower",
    "chat",
    "cache",
    "compatibility",
    "reader",
    "golden_vcr",
];

/// The roles of the private PostgreSQL: for tests and dumps, for migrations, for everything else.
pub const POSTGRES_ROLES: [&str; 3] = ["postgres", "tapedeck_owner", "tapedeck"];

#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Secrets {
    pub nats: BTreeMap<String, String>,
    pub postgres: BTreeMap<String, String>,
}

impl Secrets {
    /// Reads the file, gives a password to every role that it lacks, and says whether any did.
    /// The caller saves new ones once PostgreSQL knows them.
    pub fn load(path: &Path) -> anyhow::Result<(Self, bool)> {
        let mut secrets = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let added = secrets.complete();
        Ok((secrets, added))
    }

    /// The environment that nats.conf reads its passwords from.
    pub fn nats_environment(&self) -> impl Iterator<Item = (String, &str)> {
        self.nats.iter().map(|(role, password)| {
            (format!("NATS_{}_PASSWORD", role.to_uppercase()), password.as_str())
        })
    }

    /// Written beside and moved into place, so that a crash leaves the old file or the new one.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let written = path.with_extension("json.new");
        let save = || -> anyhow::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&written)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&written, path)?;
            Ok(())
        };
        save().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds what is missing and says whether anything was.
    fn complete(&mut self) -> bool {
        let before = self.nats.len() + self.postgres.len();
        for role in NATS_ROLES {
            self.nats.entry(role.to_owned()).or_insert_with(random_secret);
        }
        for role in POSTGRES_ROLES {
            self.postgres.entry(role.to_owned()).or_insert_with(random_secret);
        }
        before != self.nats.len() + self.postgres.len()
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secrets(…)")
    }
}

/// 40 letters and digits. Letters first: nats.conf would take a value that begins with digits for a number or a size.
pub fn random_secret() -> String {
    let mut random = rand::rng();
    let letters = (0..4).map(|_| char::from(random.random_range(b'a'..=b'z'))).collect::<String>();
    letters.chars().chain(random.sample_iter(Alphanumeric).take(36).map(char::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_came_later_gets_a_password_and_the_others_keep_theirs() {
        let mut old = Secrets::default();
        assert!(old.complete() && !old.complete());
        let whole = old.clone();
        old.nats.remove("cache");
        assert!(old.complete());
        assert_ne!(old.nats["cache"], whole.nats["cache"]);
        assert!(
            NATS_ROLES.iter().all(|role| *role == "cache" || old.nats[*role] == whole.nats[*role])
        );
    }

    #[test]
    fn a_password_begins_with_letters_and_is_long() {
        for _ in 0..1_000 {
            let password = random_secret();
            assert_eq!(password.len(), 40);
            assert!(password.chars().take(4).all(|c| c.is_ascii_lowercase()));
            assert!(password.chars().all(|c| c.is_ascii_alphanumeric()));
        }
    }
}
