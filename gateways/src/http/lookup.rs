//! Looking up who asks: what was found is believed for a few seconds, and no crowd empties the pool.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use uuid::Uuid;

/// How long what was looked up is believed; what was revoked works this much longer at most.
pub const BELIEVED_FOR: Duration = Duration::from_secs(5);

const KNOWN_MAX: usize = 4_096;
/// How many ids are remembered that are nobody's, apart from the others: who makes ids up must not
/// make good ones be forgotten.
const UNKNOWN_MAX: usize = 1_024;
/// How many are looked up at once.
const LOOKUPS_MAX: usize = 2;
/// How soon the same id is looked up again because what was found does not fit.
const AGAIN_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// How many callers who are held up for guessing may wait for a lookup all the same.
const LINE_MAX: usize = 64;

/// What was looked up, by id.
pub struct Lookup<T> {
    memory: Mutex<Memory<T>>,
    lookups: Semaphore,
    /// What was looked up again a moment ago, one after the other.
    again: tokio::sync::Mutex<HashMap<Uuid, Instant>>,
}

/// What was found, and when.
struct Memory<T> {
    known: HashMap<Uuid, (Instant, Arc<T>)>,
    unknown: HashMap<Uuid, Instant>,
}

impl<T> Default for Lookup<T> {
    fn default() -> Self {
        let (memory, again) = Default::default();
        Lookup { memory, lookups: Semaphore::new(LOOKUPS_MAX), again }
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Memory { known: HashMap::new(), unknown: HashMap::new() }
    }
}

impl<T> Lookup<T> {
    /// What has this id: as it was found a moment ago, or as `fetch` finds it.
    pub async fn find(
        &self,
        id: Uuid,
        fetch: impl Future<Output = sqlx::Result<Option<T>>>,
    ) -> sqlx::Result<Option<Arc<T>>> {
        if let Some(found) = self.memory().recall(id, Instant::now()) {
            return Ok(found);
        }
        // A thousand readers that come back at once are a few lookups, not a thousand.
        let _turn = self.lookups.acquire().await;
        if let Some(found) = self.memory().recall(id, Instant::now()) {
            return Ok(found);
        }
        let found = fetch.await?.map(Arc::new);
        self.memory().learn(id, found.clone(), Instant::now());
        Ok(found)
    }

    /// What has this id now, where `seen` was found before and does not fit: another process may have changed it. Who sends
    /// what fits nothing has it looked up once a second, and `None` in between.
    pub async fn find_again(
        &self,
        id: Uuid,
        seen: &Arc<T>,
        fetch: impl Future<Output = sqlx::Result<Option<T>>>,
    ) -> sqlx::Result<Option<Arc<T>>> {
        let mut again = self.again.lock().await;
        let now = Instant::now();
        let is_other =
            |found: &Option<Arc<T>>| found.as_ref().is_none_or(|found| !Arc::ptr_eq(found, seen));
        // Somebody was here while we waited.
        if let Some(found) = self.memory().recall(id, now).filter(is_other) {
            return Ok(found);
        }
        again.retain(|_, at| now.saturating_duration_since(*at) < AGAIN_AT_MOST_EVERY);
        if again.contains_key(&id) || again.len() >= UNKNOWN_MAX {
            return Ok(None);
        }
        again.insert(id, now);
        let found = fetch.await?.map(Arc::new);
        self.memory().learn(id, found.clone(), Instant::now());
        Ok(found)
    }

    /// Whether this id was found before, though perhaps not lately.
    pub fn knows(&self, id: Uuid) -> bool {
        self.memory().known.contains_key(&id)
    }

    /// Has it looked up anew the next time.
    pub fn forget(&self, id: Uuid) {
        let mut memory = self.memory();
        memory.known.remove(&id);
        memory.unknown.remove(&id);
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory<T>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Memory<T> {
    /// What was found a moment ago.
    fn recall(&self, id: Uuid, now: Instant) -> Option<Option<Arc<T>>> {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < BELIEVED_FOR;
        if let Some((_, found)) = self.known.get(&id).filter(|(at, _)| is_fresh(at)) {
            return Some(Some(Arc::clone(found)));
        }
        self.unknown.get(&id).filter(|at| is_fresh(at)).map(|_| None)
    }

    fn learn(&mut self, id: Uuid, found: Option<Arc<T>>, now: Instant) {
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < BELIEVED_FOR;
        self.known.remove(&id);
        self.unknown.remove(&id);
        match found {
            Some(found) => {
                if self.known.len() >= KNOWN_MAX {
                    self.known.retain(|_, (at, _)| is_fresh(at));
                }
                if self.known.len() < KNOWN_MAX {
                    self.known.insert(id, (now, found));
                }
            }
            None => {
                if self.unknown.len() >= UNKNOWN_MAX {
                    self.unknown.retain(|_, at| is_fresh(at));
                }
                if self.unknown.len() < UNKNOWN_MAX {
                    self.unknown.insert(id, now);
                }
            }
        }
    }
}

/// Where those wait who are held up, and the one turn they have: who shares an address with a guesser comes through so,
/// one after the other.
pub struct Line {
    places: Semaphore,
    turn: Semaphore,
}

/// A turn, until dropped.
pub struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    _turn: Option<SemaphorePermit<'a>>,
}

impl Default for Line {
    fn default() -> Self {
        Line { places: Semaphore::new(LINE_MAX), turn: Semaphore::new(1) }
    }
}

impl Line {
    /// Waits for a turn; `None` when too many wait.
    pub async fn wait(&self) -> Option<Turn<'_>> {
        let place = self.places.try_acquire().ok()?;
        Some(Turn { _place: place, _turn: self.turn.acquire().await.ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_looked_up_again_once_and_not_for_ever() {
        let (lookup, id) = (Lookup::default(), Uuid::nil());
        let fetch = async |found: &'static str| Ok(Some(found));
        let never = async || -> sqlx::Result<Option<&'static str>> { panic!("it is remembered") };
        let old = lookup.find(id, fetch("old")).await.expect("an answer").expect("found");
        // All that come at once get what the first one finds.
        let (one, two) = tokio::join!(
            lookup.find_again(id, &old, fetch("new")),
            lookup.find_again(id, &old, never()),
        );
        for found in [one, two, lookup.find(id, never()).await] {
            assert_eq!(found.expect("an answer").as_deref(), Some(&"new"));
        }
        let new = lookup.find(id, never()).await.expect("an answer").expect("found");
        let wrong = lookup.find_again(id, &new, never()).await.expect("an answer");
        assert_eq!(wrong, None, "a guesser costs one look a second");
    }

    #[test]
    fn ids_that_are_nobodys_push_nobody_out() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        memory.learn(Uuid::nil(), Some(Arc::new("somebody")), now);
        for n in 1..=10_000 {
            memory.learn(Uuid::from_u128(n), None, now);
        }
        assert!(memory.recall(Uuid::nil(), now).is_some_and(|found| found.is_some()));
        assert_eq!(memory.unknown.len(), UNKNOWN_MAX);
        assert!(memory.recall(Uuid::from_u128(1), now).is_some_and(|found| found.is_none()));
        let later = now + BELIEVED_FOR;
        assert!(memory.recall(Uuid::nil(), later).is_none(), "to be looked up again");
        memory.learn(Uuid::nil(), None, later);
        assert!(memory.known.is_empty() && memory.recall(Uuid::nil(), later).is_some());
    }
}
