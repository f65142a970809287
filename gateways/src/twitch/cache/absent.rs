//! Who is not at Twitch, remembered for a while: names that somebody makes up cost one call and not many. In memory, so that
//! they push nobody out of the bucket.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::kept::Name;

/// How long it is believed.
const GOOD_FOR: Duration = Duration::from_secs(600);
const NOTED_MAX: usize = 4_096;

#[derive(Default)]
pub struct Absent {
    noted: Mutex<HashMap<Name, Instant>>,
}

impl Absent {
    pub fn has(&self, name: &Name) -> bool {
        let noted = self.noted();
        noted.get(name).is_some_and(|at| is_fresh(*at, Instant::now()))
    }

    pub fn note(&self, name: &Name) {
        note(&mut self.noted(), name, Instant::now());
    }

    fn noted(&self) -> MutexGuard<'_, HashMap<Name, Instant>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(noted: &mut HashMap<Name, Instant>, name: &Name, now: Instant) {
    if noted.len() >= NOTED_MAX {
        noted.retain(|_, at| is_fresh(*at, now));
    }
    if noted.len() < NOTED_MAX {
        noted.insert(name.clone(), now);
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < GOOD_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_there_is_believed_to_be_away_for_a_while_and_a_flood_is_bounded() {
        let (mut noted, now) = (HashMap::new(), Instant::now());
        for n in 0..10_000 {
            note(&mut noted, &Name::Id(n.to_string()), now);
        }
        assert_eq!(noted.len(), NOTED_MAX);
        let later = now + GOOD_FOR;
        assert!(is_fresh(now, later - Duration::from_secs(1)) && !is_fresh(now, later));
        note(&mut noted, &Name::Id("1".to_owned()), later);
        assert_eq!(noted.len(), 1, "what is not believed any more makes room");
    }
}
