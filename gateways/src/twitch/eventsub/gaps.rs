//! What did not reach us, as commands. They are named by when they are said and not by the moment that they say: of two
//! gaps it may be the same, when nothing was heard between them or a clock was set back.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use domain::entry_id;
use domain::intake::{Command, Intake};
use journal::command::BadAddress;
use journal::ingest::{PublishError, Publisher};
use journal::{Envelope, Origin};
use tokio::time::timeout;

use crate::twitch::translate::SOURCE;

/// The namespace of their ids.
const NAMES: &str = "intake";
/// Why nothing reached us while no process of ours was there.
pub const NOBODY: &str = "nobody was listening";
const SEND_LIMIT: Duration = Duration::from_secs(3);
const UNSENT_MAX: usize = 1_024;

/// Commands that are not on the broker's disk yet.
#[derive(Default)]
pub struct Unsent {
    waiting: VecDeque<Envelope>,
    /// When the last gap began.
    since: Option<DateTime<Utc>>,
}

impl Unsent {
    /// Keeps [`lose`] until it is sent; there is nothing to say of no kind.
    pub fn lose(
        &mut self,
        broadcaster: &str,
        kinds: &[String],
        since: DateTime<Utc>,
        reason: &str,
    ) {
        if !kinds.is_empty() {
            self.since = self.since.max(Some(since));
            let now = Utc::now();
            let name = now.timestamp_micros().to_string();
            self.keep(lose(broadcaster, kinds, since, reason, now, &name));
        }
    }

    /// Keeps [`restore`] until it is sent. What was lost before this is over, even by a clock that was set back since.
    pub fn restore(&mut self, broadcaster: &str, kinds: &[String], until: DateTime<Utc>) {
        let until = self.since.map_or(until, |since| since.max(until));
        self.keep(restore(broadcaster, kinds, until));
    }

    fn keep(&mut self, envelope: Result<Envelope, BadAddress>) {
        match envelope {
            Ok(envelope) if self.waiting.len() < UNSENT_MAX => self.waiting.push_back(envelope),
            Ok(_) => tracing::error!("too many gaps wait to be recorded; one is not"),
            Err(error) => tracing::error!(%error, "a gap cannot be recorded"),
        }
    }

    /// Sends them in their order. Whether none is left.
    pub async fn send(&mut self, publisher: &Publisher) -> bool {
        while let Some(envelope) = self.waiting.front() {
            match timeout(SEND_LIMIT, publisher.send(envelope)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error @ (PublishError::BadAddress(_) | PublishError::TooLarge { .. }))) => {
                    tracing::error!(%error, "a gap cannot be recorded");
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a gap is not recorded yet; trying again");
                    return false;
                }
                Err(_) => {
                    tracing::warn!("a gap is not recorded in time; trying again");
                    return false;
                }
            }
            self.waiting.pop_front();
        }
        true
    }
}

/// Of what happened from `since` on, nothing of these kinds may have reached us. Of one `name` this is one command.
pub fn lose(
    broadcaster: &str,
    kinds: &[String],
    since: DateTime<Utc>,
    reason: &str,
    at: DateTime<Utc>,
    name: &str,
) -> Result<Envelope, BadAddress> {
    let since = kept(since);
    let key = format!("lose:{broadcaster}:{name}:{}", kinds.join(","));
    let plain = reason.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let reason = if plain.is_empty() { "unknown".to_owned() } else { plain };
    let (entry, kinds) = (entry_id(NAMES, &key), kinds.to_vec());
    let command = Command::Lose { entry, kinds, since, reason, at: kept(at) };
    Envelope::new::<Intake>(broadcaster, &command, origin(key, at))
}

/// What happens from `until` on reaches us, as far as it is of these kinds.
fn restore(
    broadcaster: &str,
    kinds: &[String],
    until: DateTime<Utc>,
) -> Result<Envelope, BadAddress> {
    let (now, until) = (Utc::now().timestamp_micros(), kept(until));
    let key = format!("restore:{broadcaster}:{now}:{}", kinds.join(","));
    let (entry, kinds) = (entry_id(NAMES, &key), kinds.to_vec());
    let command = Command::Restore { entry, kinds, until };
    Envelope::new::<Intake>(broadcaster, &command, origin(key, until))
}

/// As PostgreSQL keeps a time.
pub fn kept(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

fn origin(key: String, at: DateTime<Utc>) -> Origin {
    let (source, source_id) = (SOURCE.to_owned(), key.chars().take(200).collect());
    Origin { source, source_id, actor: None, received_at: at, raw: None }
}
