//! The keys in files: the one that signs proofs, and the one that seals what Twitch grants. And who is let in by it.

use sqlx::PgPool;

use super::{Finding, note, well, wrong};
use crate::audit::proof::SignerKey;
use crate::cli::login;
use crate::config::Config;
use crate::key_file::SEALING;
use crate::login::moderators::Kept;
use crate::login::{Readiness, readiness};
use crate::sealing::Sealer;

/// Whether people can log in, and whether what Twitch grants can be sealed.
pub(super) fn login(config: &Config) -> Finding {
    if let Readiness::Missing(_) = readiness(config) {
        let words = "is off: nobody can log in with Twitch".to_owned();
        return note("login", words, "`tapedeck login status` says what to set, if you want it on");
    }
    let Some(path) = config.sealing_key_path() else {
        return wrong("login", SEALING.nowhere().to_string(), "set sealing_key_file");
    };
    match Sealer::load(&path) {
        Ok(Some(_)) => well("login", "is on, and what Twitch grants can be sealed".to_owned()),
        Ok(None) => well("login", "is on; the next start makes the sealing key".to_owned()),
        Err(error) => wrong("login", error.to_string(), "without it nobody can log in"),
    }
}

/// Whether Twitch's list of moderators is read, where it makes moderators.
pub(super) async fn moderators(pool: &PgPool, config: &Config) -> sqlx::Result<Option<Finding>> {
    if !config.login.moderators_from_twitch {
        return Ok(None);
    }
    let kept = Kept::read(pool).await?;
    let words = login::moderators(&kept);
    Ok(Some(match kept.is_too_old() {
        false => well("moderators", words),
        true => {
            note("moderators", words, "log in as the broadcaster at /api/v1/login?as=broadcaster")
        }
    }))
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
