//! What a night has not: commands that nobody understands, one of which is tried again, and an account of many events.

use std::collections::BTreeMap;

use journal::ingest::Publisher;
use journal::{Envelope, dead_letters};

use crate::world::{World, cheer, until};

/// So many events of an account make a snapshot of it.
const SNAPSHOT_AT: i64 = 100;

/// The accounts of one round.
pub(super) struct Beside {
    /// Comes to a snapshot, and no further.
    busy: String,
    /// Its command is a dead letter, and then as it should have been.
    tried_again: String,
    /// Its command stays a dead letter.
    left: String,
}

impl Beside {
    /// Adds what they will have to the points that are given.
    pub(super) fn new(n: usize, given: &mut BTreeMap<String, i64>) -> Self {
        let [busy, tried_again, left] = [1, 2, 3].map(|one| (70_000 + 10 * n + one).to_string());
        given.insert(busy.clone(), SNAPSHOT_AT);
        given.insert(tried_again.clone(), 1);
        Beside { busy, tried_again, left }
    }

    /// Until the letter that is tried again is closed, whoever dies meanwhile.
    pub(super) async fn send(&self, world: &World, publisher: &Publisher) {
        let good = cheer(&self.tried_again, &self.tried_again, 1);
        for spoilt in [spoilt(&good), spoilt(&cheer(&self.left, &self.left, 1))] {
            publisher.send(&spoilt).await.expect("stored");
        }
        for event in 0..SNAPSHOT_AT {
            let envelope = cheer(&self.busy, &format!("{}-{event}", self.busy), 1);
            publisher.send(&envelope).await.expect("stored");
        }
        let find = format!("SELECT COALESCE(max(id), 0) {}", letters_of(&self.tried_again));
        until("what nobody understands is a dead letter", async || world.count(&find).await > 0)
            .await;
        let letter = world.count(&find).await;
        let instead = Some(vec![good]);
        let sent = dead_letters::retry(&world.pool, publisher, letter, instead).await;
        sent.expect("sent again");
        let closed = format!(
            "SELECT count(*) {} AND resolved_at IS NOT NULL",
            letters_of(&self.tried_again)
        );
        until("the letter is closed", async || world.count(&closed).await == 1).await;
    }

    /// One letter for each command, one snapshot, one outcome.
    pub(super) async fn came_out(&self, world: &World, point: &str) {
        for (account, state) in [
            (&self.tried_again, "resolution = 'accepted on retry'"),
            (&self.left, "resolved_at IS NULL"),
        ] {
            let all = world.count(&format!("SELECT count(*) {}", letters_of(account))).await;
            let right = format!("SELECT count(*) {} AND {state}", letters_of(account));
            assert_eq!((all, world.count(&right).await), (1, 1), "{account} after {point}");
        }
        let outcomes = |account: &str, outcome: &str| {
            format!(
                "SELECT count(*) FROM command_outcomes
                 WHERE aggregate_id = '{account}' AND outcome = '{outcome}'"
            )
        };
        assert_eq!(world.count(&outcomes(&self.tried_again, "accepted")).await, 1, "{point}");
        assert_eq!(world.count(&outcomes(&self.left, "dead")).await, 1, "{point}");
        let snapshot = format!(
            "SELECT COALESCE(max(last_sequence), 0) FROM snapshots
             WHERE aggregate_type = 'account' AND aggregate_id = '{}'",
            self.busy
        );
        assert_eq!(world.count(&snapshot).await, SNAPSHOT_AT, "after dying at {point}");
    }
}

fn letters_of(account: &str) -> String {
    format!("FROM dead_letters WHERE source = 'command' AND name = 'account' AND key = '{account}'")
}

/// `envelope` with a command that nobody understands.
fn spoilt(envelope: &Envelope) -> Envelope {
    let nonsense = serde_json::json!({"credit": {}});
    let command = serde_json::value::to_raw_value(&nonsense).expect("JSON");
    Envelope { command, ..envelope.clone() }
}
