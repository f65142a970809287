//! Names that are derived, never drawn, so that doing something twice gives it the same name twice.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace under which Tapedeck derives every id (UUIDv5 of `tapedeck` in the DNS namespace).
pub const NAMESPACE: Uuid = Uuid::from_u128(0xd5fb_0a0e_6a0c_5f3c_9d0e_7a6b_8c4f_2e11);

/// The id of whatever `source` calls `key`: a Twitch notification, an `Idempotency-Key`, a redemption.
///
/// The same pair gives the same id for ever; the length prefix keeps `("a", "b:c")` and `("a:b", "c")` apart.
pub fn entry_id(source: &str, key: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{}:{source}:{key}", source.len()).as_bytes())
}

/// The id of the `n`-th thing that follows from `cause`.
pub fn derived_id(cause: Uuid, n: u32) -> Uuid {
    Uuid::new_v5(&cause, &n.to_be_bytes())
}

/// A command that knows its own name. The journal refuses a command whose envelope carries another id, so that
/// remembering command ids is remembering entries, for ever and at a constant cost.
pub trait Identified {
    fn entry(&self) -> Uuid;
}

/// How many entries an aggregate remembers by itself. The journal remembers all of them by command id; this window
/// makes the aggregate safe on its own (in tests and within a batch) without growing with its history.
const RECENT_MAX: usize = 32;

/// The last few entries of an aggregate, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent<T>(VecDeque<(Uuid, T)>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent(VecDeque::new())
    }
}

impl<T> Recent<T> {
    pub fn get(&self, entry: Uuid) -> Option<&T> {
        self.0.iter().rev().find(|(id, _)| *id == entry).map(|(_, value)| value)
    }

    pub fn contains(&self, entry: Uuid) -> bool {
        self.get(entry).is_some()
    }

    pub fn push(&mut self, entry: Uuid, value: T) {
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((entry, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_source_and_key_give_the_same_id() {
        assert_eq!(entry_id("eventsub", "m-1"), entry_id("eventsub", "m-1"));
        assert_ne!(entry_id("eventsub", "m-1"), entry_id("eventsub", "m-2"));
        assert_ne!(entry_id("a", "b:c"), entry_id("a:b", "c"));
    }

    #[test]
    fn the_window_forgets_the_oldest_entry_first() {
        let mut recent = Recent::default();
        for n in 0..40 {
            recent.push(derived_id(NAMESPACE, n), n);
        }
        assert!(!recent.contains(derived_id(NAMESPACE, 7)));
        assert_eq!(recent.get(derived_id(NAMESPACE, 8)), Some(&8));
        assert_eq!(recent.get(derived_id(NAMESPACE, 39)), Some(&39));
    }
}
