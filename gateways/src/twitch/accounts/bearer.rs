//! With which right Twitch is asked: one that the configuration brings, or the grant of the moment of an account.

use std::sync::Arc;

use hyper::header::HeaderValue;

use super::{Accounts, Held, NoGrant, Role};
use crate::outgoing::Secret;
use crate::twitch::oauth::secret_header;

/// Whoever asks with one asks for its header before each call.
#[derive(Clone)]
pub enum Bearer {
    Fixed(Secret),
    Account { accounts: Arc<Accounts>, role: Role },
}

/// A header, and of which edition of a grant it is; none where it can be no other.
#[derive(Clone)]
pub struct Shown {
    pub header: HeaderValue,
    edition: Option<i64>,
}

impl Bearer {
    /// The header of the moment.
    pub async fn shown(&self) -> Result<Shown, NoGrant> {
        match self {
            Bearer::Fixed(secret) => {
                let header = secret_header("Bearer", secret.reveal());
                Ok(Shown { header: header.map_err(|_| NoGrant::Unsendable)?, edition: None })
            }
            Bearer::Account { accounts, role } => shown(&accounts.current(*role).await?),
        }
    }

    /// Another header than the one that Twitch did not take; none where there is no other to be had.
    pub async fn another(&self, refused: &Shown) -> Option<Shown> {
        let (Bearer::Account { accounts, role }, Some(edition)) = (self, refused.edition) else {
            return None;
        };
        let held = accounts.renewed(*role, edition).await.ok()?;
        shown(&held).ok().filter(|shown| shown.edition != refused.edition)
    }
}

fn shown(held: &Held) -> Result<Shown, NoGrant> {
    let header = held.grant.bearer().map_err(|_| NoGrant::Unsendable)?;
    Ok(Shown { header, edition: Some(held.edition) })
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bearer::Fixed(secret) => secret.fmt(formatter),
            Bearer::Account { role, .. } => write!(formatter, "Bearer({role})"),
        }
    }
}
