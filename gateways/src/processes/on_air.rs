//! What was on at every position, as far as processes ask: the few events that change it, out of the many.

use std::collections::BTreeMap;

use domain::broadcast::{self, OnAir};
use sqlx::PgPool;

/// How many changes are remembered. Whoever asks for what was on before them is told that nothing was known to be.
const CHANGES_MAX: usize = 4_096;

/// What was on from which position on.
#[derive(Default)]
pub(super) struct Timeline(BTreeMap<i64, Option<OnAir>>);

impl Timeline {
    /// The last changes up to and at `position`, from history.
    pub(super) async fn until(pool: &PgPool, position: i64) -> anyhow::Result<Self> {
        let mut rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT position, aggregate_id, payload::text FROM events
             WHERE aggregate_type = 'broadcast'
               AND event_type IN ('started', 'resumed', 'ended', 'screening_started',
                                  'screening_ended')
               AND position <= $1
             ORDER BY position DESC LIMIT $2",
        )
        .bind(position)
        .bind(CHANGES_MAX as i64)
        .fetch_all(pool)
        .await?;
        rows.reverse();
        let mut timeline = Timeline::default();
        for (position, broadcaster, payload) in rows {
            // One that does not read was a dead letter of its own; all requests must not wait for it.
            match serde_json::from_str::<broadcast::Event>(&payload) {
                Ok(event) => timeline.add(position, &broadcaster, &event),
                Err(error) => tracing::error!(position, %error, "not known what was on then"),
            }
        }
        Ok(timeline)
    }

    /// What `event` changes. The same event again changes nothing.
    pub(super) fn add(&mut self, position: i64, broadcaster: &str, event: &broadcast::Event) {
        let before = self.0.range(..position).next_back().and_then(|(_, on_air)| on_air.clone());
        self.0.insert(position, OnAir::after(before, broadcaster, event));
        while self.0.len() > CHANGES_MAX {
            self.0.pop_first();
        }
    }

    /// What was on at `position`.
    pub(super) fn at(&self, position: i64) -> Option<OnAir> {
        self.0.range(..=position).next_back().and_then(|(_, on_air)| on_air.clone())
    }
}

#[cfg(test)]
mod tests {
    use domain::broadcast::MOVES;

    /// The query names them itself, so that PostgreSQL knows the index for it.
    #[test]
    fn the_changes_that_history_is_asked_for_are_those_of_the_domain() {
        let named = ["started", "resumed", "ended", "screening_started", "screening_ended"];
        assert_eq!(MOVES, named);
    }
}
