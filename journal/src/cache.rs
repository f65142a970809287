//! Aggregates in memory: those decided lately, and loading the others from snapshot and tail.

use std::collections::HashMap;

use sqlx::{PgPool, Row};

use crate::aggregates::{Kind, State, StoredEvent, kinds};

/// How many aggregates are kept. Beyond, the half that was idle longest is forgotten.
const AGGREGATES_MAX: usize = 100_000;

/// An aggregate's type and id.
pub(crate) type Key = (String, String);

pub(crate) struct Cache {
    kinds: HashMap<&'static str, Kind>,
    states: HashMap<Key, Cached>,
    tick: u64,
}

struct Cached {
    state: Box<dyn State>,
    used: u64,
}

impl Cache {
    pub(crate) fn new() -> Self {
        Cache { kinds: kinds(), states: HashMap::new(), tick: 0 }
    }

    pub(crate) fn kind(&self, aggregate_type: &str) -> Option<&Kind> {
        self.kinds.get(aggregate_type)
    }

    pub(crate) fn state(&mut self, key: &Key) -> Option<&mut Box<dyn State>> {
        let tick = self.tick;
        let cached = self.states.get_mut(key)?;
        cached.used = tick;
        Some(&mut cached.state)
    }

    pub(crate) fn forget(&mut self, key: &Key) {
        self.states.remove(key);
    }

    /// Forgets everything: after a lost lease, or a commit that did not happen, memory proves nothing.
    pub(crate) fn clear(&mut self) {
        self.states.clear();
    }

    /// Loads those of `keys` that are not here: the snapshot where there is one, then the events after it.
    pub(crate) async fn load(&mut self, pool: &PgPool, keys: &[Key]) -> anyhow::Result<()> {
        self.tick += 1;
        self.make_room(keys.len());
        let mut missing: Vec<&Key> =
            keys.iter().filter(|key| !self.states.contains_key(*key)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let mut loaded = self.load_snapshots(pool, &missing).await?;
        for key in missing {
            let Some(kind) = self.kinds.get(key.0.as_str()) else { continue };
            loaded.entry(key.clone()).or_insert_with(kind.empty);
        }
        load_tails(pool, &mut loaded).await?;
        let used = self.tick;
        self.states.extend(loaded.into_iter().map(|(key, state)| (key, Cached { state, used })));
        Ok(())
    }

    async fn load_snapshots(
        &self,
        pool: &PgPool,
        keys: &[&Key],
    ) -> anyhow::Result<HashMap<Key, Box<dyn State>>> {
        let (types, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(kind, id)| (kind.as_str(), id.as_str())).unzip();
        let rows = sqlx::query(
            "SELECT s.aggregate_type, s.aggregate_id, s.last_sequence, s.schema_version, s.payload::text
             FROM unnest($1::text[], $2::text[]) AS k(type, id)
             JOIN snapshots s ON s.aggregate_type = k.type AND s.aggregate_id = k.id",
        )
        .bind(types)
        .bind(ids)
        .fetch_all(pool)
        .await?;
        let mut loaded = HashMap::new();
        for row in rows {
            let key: Key = (row.try_get(0)?, row.try_get(1)?);
            let Some(kind) = self.kinds.get(key.0.as_str()) else { continue };
            if row.try_get::<i32, _>(3)? != kind.snapshot_version {
                continue;
            }
            match (kind.restore)(row.try_get(4)?, row.try_get(2)?) {
                Ok(state) => drop(loaded.insert(key, state)),
                Err(error) => {
                    tracing::warn!(?key, error, "snapshot not readable, folding all events")
                }
            }
        }
        Ok(loaded)
    }

    fn make_room(&mut self, coming: usize) {
        if self.states.len() + coming <= AGGREGATES_MAX {
            return;
        }
        let mut used: Vec<u64> = self.states.values().map(|cached| cached.used).collect();
        let middle = used.len() / 2;
        let (_, threshold, _) = used.select_nth_unstable(middle);
        let threshold = *threshold;
        self.states.retain(|_, cached| cached.used > threshold);
    }
}

async fn load_tails(
    pool: &PgPool,
    loaded: &mut HashMap<Key, Box<dyn State>>,
) -> anyhow::Result<()> {
    let (mut types, mut ids, mut from) = (Vec::new(), Vec::new(), Vec::new());
    for ((aggregate_type, id), state) in loaded.iter() {
        types.push(aggregate_type.clone());
        ids.push(id.clone());
        from.push(state.sequence());
    }
    let rows = sqlx::query(
        "SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text
         FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k(type, id, sequence)
         JOIN events e ON e.aggregate_type = k.type AND e.aggregate_id = k.id AND e.sequence > k.sequence
         ORDER BY 1, 2, 3",
    )
    .bind(types)
    .bind(ids)
    .bind(from)
    .fetch_all(pool)
    .await?;
    for row in rows {
        let key: Key = (row.try_get(0)?, row.try_get(1)?);
        let event = StoredEvent {
            sequence: row.try_get(2)?,
            event_type: row.try_get(3)?,
            event_version: row.try_get(4)?,
            payload: row.try_get(5)?,
        };
        let sequence = event.sequence;
        let Some(state) = loaded.get_mut(&key) else { continue };
        if let Err(reason) = state.apply(event) {
            // Its commands become dead letters; those of others go on.
            tracing::error!(aggregate = ?key, sequence, reason, "a stored event cannot be applied");
            loaded.remove(&key);
        }
    }
    Ok(())
}
