//! Saying something in chat, over Helix or over IRC as `[twitch.chat]` has it. Goes out.
//!
//! *Once or twice?* Twitch knows no idempotency key, in neither way. A worker that dies between the answer and its report has
//! the same words said again, and so has whoever loses the answer. Twitch drops words that are those that the sender said
//! last, less than 30 seconds before, and a lease is shorter than that. So a repetition is seen only where the words have
//! changed meanwhile, something else was said in between, or nobody worked for longer. The same goes for two answers in the
//! same words to the same viewer: who asks again within 30 seconds reads the first one.
//!
//! `helix` and `irc` are the ways, and `dropped` says what a reason means for which Twitch has not taken something: the
//! reasons have the same names in both.

mod dropped;
mod helix;
mod irc;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::{Instant, timeout_at};

use self::helix::OverHelix;
use self::irc::OverIrc;
use super::Settings;
use super::accounts::{Accounts, Bearer, NoGrant, Role};
use crate::outgoing::Secret;

/// The longest text that Twitch takes, in characters.
pub const TEXT_CHARS_MAX: usize = 500;

/// For one attempt, with everything around it shorter than the lease of a reply.
const TIME_LIMIT: Duration = Duration::from_secs(8);

/// By which way something is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    #[default]
    Helix,
    Irc,
}

/// What came of saying something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Under this id.
    Sent { id: String },
    /// The same words of ours are there already, under an id that we are not told.
    Before,
    /// By nobody: no account is configured or connected for it.
    Nobody,
    /// Nothing was tried yet: there is no room for it, or nobody there to take it, for so long.
    NotYet { after: Duration, reason: String },
    /// It may be taken later.
    Later { after: Option<Duration>, reason: String },
    /// It will not be taken, however often it is tried.
    Refused { reason: String },
}

/// Says something under the account that is configured or connected for it.
pub struct Mouth {
    settings: Settings,
    /// Whose right is used where the configuration brings none.
    accounts: Option<Arc<Accounts>>,
    way: Way,
}

enum Way {
    Helix(OverHelix),
    Irc(OverIrc),
}

/// Who says it, and with what right.
#[derive(Clone, Debug)]
struct Voice {
    /// By user id.
    sender: String,
    /// Where it is an account's, its login and what it has granted.
    account: Option<Account>,
    bearer: Bearer,
}

#[derive(Clone, Debug)]
struct Account {
    role: Role,
    login: String,
    scopes: Vec<String>,
}

impl Mouth {
    /// What is shared with other processes, such as how much was said, is in the database. To be called where tasks can be
    /// spawned.
    pub fn new(settings: Settings, accounts: Option<Arc<Accounts>>, pool: PgPool) -> Self {
        let way = match settings.chat.over {
            Over::Helix => Way::Helix(OverHelix::new(&settings, pool)),
            Over::Irc => Way::Irc(OverIrc::start(&settings, pool)),
        };
        Mouth { settings, accounts, way }
    }

    /// Says `text` in the chat of `broadcaster`.
    pub async fn say(&self, broadcaster: &str, text: &str) -> Said {
        let until = Instant::now() + TIME_LIMIT;
        let all = timeout_at(until, self.try_to_say(broadcaster, text, until));
        all.await.unwrap_or_else(|_| later("it took too long"))
    }

    async fn try_to_say(&self, broadcaster: &str, text: &str, until: Instant) -> Said {
        let voice = match self.voice(broadcaster).await {
            Ok(voice) => voice,
            Err(NoGrant::NotConnected(_)) if self.settings.chat.sender_id.is_empty() => {
                return Said::Nobody;
            }
            Err(NoGrant::Unsendable) => {
                return Said::Refused { reason: NoGrant::Unsendable.to_string() };
            }
            // Somebody may mend it.
            Err(error) => return later(error),
        };
        match &self.way {
            Way::Helix(helix) => helix.say(&voice, broadcaster, text).await,
            Way::Irc(irc) => irc.say(voice, broadcaster, text, until).await,
        }
    }

    /// Who is connected to speak, as far as this process knows.
    pub fn connected_speaker(&self) -> Option<String> {
        self.accounts.as_ref()?.bot().borrow().clone()
    }

    /// Under whom we speak, and with what right.
    async fn voice(&self, broadcaster: &str) -> Result<Voice, NoGrant> {
        let speaker = &self.settings.chat;
        let role = self.settings.speaking_role(broadcaster);
        let sender = speaker.sender_id.clone();
        if !speaker.token.is_empty() && !sender.is_empty() {
            let bearer = Bearer::Fixed(bare(&speaker.token));
            return Ok(Voice { sender, account: None, bearer });
        }
        let accounts = self.accounts.as_ref().ok_or(NoGrant::NotConnected(role))?;
        let held = accounts.current(role).await?;
        if !sender.is_empty() && held.user_id != sender {
            return Err(NoGrant::NotConnected(role));
        }
        let account = Some(Account { role, login: held.login, scopes: held.scopes });
        let bearer = Bearer::Account { accounts: Arc::clone(accounts), role };
        Ok(Voice { sender: held.user_id, account, bearer })
    }
}

/// The secret alone: with what Twitch's IRC writes before it, Helix does not take it.
fn bare(secret: &Secret) -> Secret {
    let text = secret.reveal();
    Secret::new(text.strip_prefix("oauth:").unwrap_or(text))
}

fn later(reason: impl ToString) -> Said {
    Said::Later { after: None, reason: reason.to_string() }
}

/// An id as Twitch gives it, with nothing in it that could be anything else.
fn plain(id: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    id.chars().filter(plain).take(64).collect()
}
