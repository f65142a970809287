//! The keys in files: the one that signs proofs, and the one that seals what Twitch grants.

use super::{Finding, note, well, wrong};
use crate::audit::proof::SignerKey;
use crate::config::Config;
use crate::login::{Readiness, readiness};
use crate::sealing::{Sealer, SealingError};

/// Whether people can log in, and whether what Twitch grants can be sealed.
pub(super) fn login(config: &Config) -> Finding {
    if let Readiness::Missing(_) = readiness(config) {
        let words = "is off: nobody can log in with Twitch".to_owned();
        return note("login", words, "`tapedeck login status` says what to set, if you want it on");
    }
    let Some(path) = config.sealing_key_path() else {
        return wrong("login", SealingError::Nowhere.to_string(), "set sealing_key_file");
    };
    match Sealer::load(&path) {
        Ok(Some(_)) => well("login", "is on, and what Twitch grants can be sealed".to_owned()),
        Ok(None) => well("login", "is on; the next start makes the sealing key".to_owned()),
        Err(error) => wrong("login", error.to_string(), "without it nobody can log in"),
    }
}

/// The key that signs proofs: not having one yet is well, since the first proof makes it.
pub(super) fn signing(config: &Config) -> Option<Finding> {
    let path = config.signing_key_path()?;
    Some(match SignerKey::load(&path) {
        Ok(Some(key)) => well("signing key", format!("proofs are signed with {}", key.public())),
        Ok(None) => well("signing key", "none yet: the first proof makes it".to_owned()),
        Err(error) => {
            let mend = "without it no statement can be proved; restore it from a backup";
            wrong("signing key", error.to_string(), mend)
        }
    })
}
