//! What did not reach us, as commands. They are named by what they say, so that saying it again changes nothing.

use chrono::{DateTime, SubsecRound, Utc};
use domain::entry_id;
use domain::intake::{Command, Intake};
use journal::command::BadAddress;
use journal::{Envelope, Origin};

use crate::twitch::translate::SOURCE;

/// The namespace of their ids.
const NAMES: &str = "intake";

/// Of what happened from `since` on, nothing of these kinds may have reached us.
pub fn lose(
    broadcaster: &str,
    kinds: &[String],
    since: DateTime<Utc>,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<Envelope, BadAddress> {
    let since = kept(since);
    let key = format!("lose:{broadcaster}:{}:{}", since.timestamp_micros(), kinds.join(","));
    let plain = reason.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let reason = if plain.is_empty() { "unknown".to_owned() } else { plain };
    let (entry, kinds) = (entry_id(NAMES, &key), kinds.to_vec());
    let command = Command::Lose { entry, kinds, since, reason, at: kept(at) };
    Envelope::new::<Intake>(broadcaster, &command, origin(key, at))
}

/// What happens from `until` on reaches us, as far as it is of these kinds.
pub fn restore(
    broadcaster: &str,
    kinds: &[String],
    until: DateTime<Utc>,
) -> Result<Envelope, BadAddress> {
    let until = kept(until);
    let key = format!("restore:{broadcaster}:{}:{}", until.timestamp_micros(), kinds.join(","));
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
