//! The accounts that Tapedeck asks Twitch with: the broadcaster's, the bot's, and the application itself. Goes out.
//!
//! `tapedeck connect` has a person grant what `scopes` says that we need, without a public address (`connect`). What was
//! granted is sealed and stored (`store`); each process keeps it good (`keeper`) and asks with it (`bearer`). It is
//! replaced before it ends, or when Twitch does not take it, by one process at a time: whoever locks the row first asks
//! Twitch, and the others read what it got. A grant that was taken back is shown with what mends it, and ends nothing else.

mod bearer;
mod connect;
mod keeper;
mod renewal;
mod role;
pub mod scopes;
mod standing;
pub mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Grant, OAuth, Settings};
use crate::config::Config;
use crate::key_file::SEALING;
use crate::sealing::{Sealer, Unopened};

pub use self::bearer::{Bearer, Shown};
pub use self::connect::{ConnectError, Forgotten};
pub use self::keeper::run;
pub use self::role::Role;
pub use self::standing::{Standing, Verdict};
pub use self::store::{Account, State};

/// How long PostgreSQL may take to say what an account has granted; after that, the last that was read is good.
const READ_LIMIT: Duration = Duration::from_secs(2);
/// What ends within this time is replaced before it is used.
const TOO_SHORT: TimeDelta = TimeDelta::seconds(30);

/// What asking with accounts needs.
pub struct Accounts {
    pub oauth: OAuth,
    settings: Settings,
    broadcaster: String,
    sealer: Sealer,
    pool: PgPool,
    last: Mutex<BTreeMap<Role, Held>>,
    /// The Twitch user id of the bot, as it was last read.
    bot: watch::Sender<Option<String>>,
}

/// What an account has granted.
#[derive(Clone)]
pub struct Held {
    pub grant: Grant,
    pub edition: i64,
    pub user_id: String,
    pub login: String,
    pub scopes: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
}

/// Why Twitch cannot be asked with an account.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoGrant {
    #[error("{}", not_connected(*.0))]
    NotConnected(Role),
    #[error("the {0} account was connected to another application: `tapedeck connect {0}`")]
    OtherApplication(Role),
    #[error("the {0} account took back what it had granted: `tapedeck connect {0}`")]
    TakenBack(Role),
    #[error("the {0} account has not granted {1}: `tapedeck connect {0}`")]
    Lacks(Role, &'static str),
    #[error("what the {0} account granted does not open: {1}")]
    Sealed(Role, Unopened),
    #[error("Twitch cannot be asked for a new grant now: {0}")]
    Unreachable(String),
    #[error("what was granted cannot be read now")]
    Unread,
    #[error("the configured token cannot be sent")]
    Unsendable,
}

fn not_connected(role: Role) -> String {
    match role {
        Role::App => "the application has no grant yet: is twitch.client_secret set?".to_owned(),
        role => format!("no account is connected as the {role}: `tapedeck connect {role}`"),
    }
}

/// The role of whoever speaks in chat; nobody named is the bot.
pub(super) fn speaking_role(sender_id: &str, broadcaster: &str) -> Role {
    match !sender_id.is_empty() && sender_id == broadcaster {
        true => Role::Broadcaster,
        false => Role::Bot,
    }
}

impl Accounts {
    /// `None` where the configuration names no application, which nobody can grant anything to.
    pub fn new(config: &Config, pool: PgPool) -> anyhow::Result<Option<Arc<Self>>> {
        if config.twitch.client_id.is_empty() {
            return Ok(None);
        }
        let path = config.sealing_key_path().ok_or_else(|| SEALING.nowhere())?;
        let sealer = Sealer::load_or_make(&path).context("what Twitch grants cannot be sealed")?;
        Ok(Some(Arc::new(Accounts {
            oauth: OAuth::new(config.twitch.clone()),
            settings: config.twitch.clone(),
            broadcaster: config.broadcaster_id.clone(),
            sealer,
            pool,
            last: Mutex::default(),
            bot: watch::Sender::new(None),
        })))
    }

    /// What `role` has granted, as it is at the moment.
    pub async fn current(self: &Arc<Self>, role: Role) -> Result<Held, NoGrant> {
        let account = match timeout(READ_LIMIT, store::find(&self.pool, role)).await {
            Ok(Ok(account)) => account,
            // Whoever is connected stays so while PostgreSQL is away.
            _ => return self.last(role).ok_or(NoGrant::Unread),
        };
        let now = Utc::now();
        let is_to_be_had = role == Role::App && !account.is_connected();
        if is_to_be_had || (account.is_connected() && account.is_over_in(TOO_SHORT, now)) {
            let renewed = self.renewed(role, account.edition).await;
            let lasts = account.is_connected() && !account.is_over_in(TimeDelta::zero(), now);
            if renewed.is_ok() || !lasts {
                return renewed;
            }
        }
        self.opened(&account)
    }

    /// The Twitch user id of the connected bot, as it changes.
    pub fn bot(&self) -> watch::Receiver<Option<String>> {
        self.bot.subscribe()
    }

    /// What is in the row.
    fn opened(&self, account: &Account) -> Result<Held, NoGrant> {
        let role = account.role;
        let held = self.unsealed(account);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &held {
            Ok(held) => last.insert(role, held.clone()),
            Err(_) => last.remove(&role),
        };
        if role == Role::Bot {
            let bot = held.as_ref().ok().map(|held| held.user_id.clone());
            self.bot.send_if_modified(|known| {
                let is_new = *known != bot;
                *known = bot;
                is_new
            });
        }
        held
    }

    fn unsealed(&self, account: &Account) -> Result<Held, NoGrant> {
        let role = account.role;
        let granted = match (account.state, &account.granted) {
            (State::TakenBack, _) => return Err(NoGrant::TakenBack(role)),
            (_, None) => return Err(NoGrant::NotConnected(role)),
            (_, Some(granted)) => granted,
        };
        if account.client_id != self.settings.client_id {
            return Err(NoGrant::OtherApplication(role));
        }
        let sealed = |error| NoGrant::Sealed(role, error);
        let text = self.sealer.open(&label(role, &account.user_id), granted).map_err(sealed)?;
        let grant = serde_json::from_slice(&text).map_err(|_| sealed(Unopened))?;
        let (edition, user_id) = (account.edition, account.user_id.clone());
        let (login, scopes) = (account.login.clone(), account.scopes.clone());
        Ok(Held { grant, edition, user_id, login, scopes, expires_at: account.expires_at })
    }

    fn seal(&self, role: Role, user_id: &str, grant: &Grant) -> Result<Vec<u8>, Unopened> {
        let text = serde_json::to_vec(grant).map_err(|_| Unopened)?;
        self.sealer.seal(&label(role, user_id), &text)
    }

    fn last(&self, role: Role) -> Option<Held> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&role).filter(|held| held.expires_at.is_none_or(|at| at > Utc::now())).cloned()
    }
}

/// So many scopes, in words.
pub fn counted(scopes: usize) -> String {
    match scopes {
        1 => "1 scope".to_owned(),
        scopes => format!("{scopes} scopes"),
    }
}

/// What a sealed grant says of itself.
fn label(role: Role, user_id: &str) -> String {
    format!("twitch account {role} {user_id}")
}
